import type { Challenge } from '../core/challenge.ts'
import type { Json } from '../core/json.ts'
import { readJson } from '../core/json.ts'
import type { Clock, Protocol } from '../core/ports.ts'
import type { Resource } from '../core/resource.ts'
import { CHALLENGE_BYTES_MAX, CHALLENGE_MS_MAX, STRANGER_CHARS_MAX } from './limits.ts'

/** What one protocol found in a 402. */
export interface Found {
  readonly protocol: Protocol
  readonly challenge: Challenge
}

/**
 * What each protocol reads in a 402. The response stays whole for the caller: a copy of its body is read, and no more of
 * it, nor longer, than the limits say. Without a payment challenge in it, a 402 is somebody's administrative answer.
 */
export async function readChallenges(
  response: Response,
  protocols: readonly Protocol[],
  resource: Resource,
  clock: Clock,
): Promise<readonly Found[]> {
  const body = await readBody(response, clock)
  const { status, headers: fields } = response
  const message = { status, fields, ...(body !== undefined && { body }) }
  return protocols.flatMap((protocol) => {
    const challenge = protocol.readChallenge(message, resource)
    return challenge ? [{ protocol, challenge }] : []
  })
}

/** The body of an answer as JSON, which stays whole for the caller; undefined if it is none within the limits. */
export async function readBody(response: Response, clock: Clock): Promise<Json | undefined> {
  const text = isJson(response) ? await readText(response.clone(), clock) : undefined
  return text === undefined ? undefined : readJson(text, CHALLENGE_BYTES_MAX)
}

/** A stranger's words as they may stand in our sentences: short, and nothing in them that moves a cursor. */
export function quote(text: string): string {
  const cut = text.slice(0, STRANGER_CHARS_MAX)
  return cut.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim()
}

function isJson(response: Response): boolean {
  return /^application\/(?:[\w.+-]*\+)?json\b/i.test(response.headers.get('content-type') ?? '')
}

/** The body as text; undefined if it is too large, too slow, broken or not UTF-8. */
async function readText(copy: Response, clock: Clock): Promise<string | undefined> {
  const reader = copy.body?.getReader()
  if (!reader) return undefined
  const done = new AbortController()
  const late = clock.sleep(CHALLENGE_MS_MAX, done.signal)
  try {
    return await Promise.race([collect(reader), late.then(() => undefined)])
  } catch {
    return undefined
  } finally {
    done.abort()
    // Both branches of a copied body must be given up before this resolves, so nobody waits for it.
    reader.cancel().catch(() => undefined)
  }
}

async function collect(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<string | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
    chunks.push(value)
    size += value.byteLength
    if (size > CHALLENGE_BYTES_MAX) return undefined
  }
}
