import type { IncomingMessage, ServerResponse } from 'node:http'
import { isObject, readJson } from '../core/json.ts'
import type { Json } from '../core/json.ts'
import type { Chain } from './chain.ts'
import type { Switches } from './faults.ts'

/** Where the faults are seen, set (POST) and ended (DELETE). */
export const FAULTS_PATH = '/__sandbox/faults'

const BODY_BYTES_MAX = 10_000

/** Deepest reorganisation, in blocks. */
const REORG_BLOCKS_MAX = 100

const hosts: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]'])

/**
 * Answers at {@link FAULTS_PATH}. GET shows the faults, POST sets those named in a JSON object, where `reorg` takes back
 * that many blocks at once, DELETE ends them all.
 */
export function createAdmin(
  faults: Switches,
  chain: Chain,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const act = async (said: Json | undefined): Promise<string | undefined> => {
    if (!isObject(said)) return 'Send a JSON object, for instance {"drop": 1}.'
    const { reorg, ...rest } = said
    const wrong = (reorg === undefined ? undefined : refuseReorg(reorg)) ?? faults.set(rest)
    if (wrong === undefined && reorg !== undefined) await reorganise(chain, Number(reorg))
    return wrong
  }
  return async (request, response) => {
    const { method = '' } = request
    if (!isOurs(request))
      return json(response, 403, { detail: 'This is for programs on this machine alone.' })
    if (method === 'DELETE') faults.reset()
    if (method === 'POST') {
      const wrong = await act(readJson(await textOf(request), BODY_BYTES_MAX))
      if (wrong !== undefined) return json(response, 400, { detail: wrong })
    }
    if (!['GET', 'POST', 'DELETE'].includes(method))
      return json(response, 405, { detail: 'GET shows the faults, POST sets, DELETE ends them.' })
    return json(response, 200, faults.now())
  }
}

/** Neither a page in a browser nor a name that somebody else gave this machine (DNS rebinding). */
function isOurs({ headers, method }: IncomingMessage): boolean {
  const host = (headers.host ?? '').replace(/:\d+$/, '')
  const typed = /^application\/json\b/.test(headers['content-type'] ?? '')
  return hosts.has(host) && headers.origin === undefined && (method !== 'POST' || typed)
}

function refuseReorg(said: Json): string | undefined {
  const whole = Number.isInteger(said) && Number(said) >= 1 && Number(said) <= REORG_BLOCKS_MAX
  return whole ? undefined : `"reorg" is a whole number between 1 and ${REORG_BLOCKS_MAX}.`
}

async function reorganise(chain: Chain, blocks: number): Promise<void> {
  const height = Number(await chain.request('eth_blockNumber'))
  await chain.request('anvil_reorg', [Math.min(blocks, height), []])
  // What was taken back must not be sent again from the journal.
  await chain.save()
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request as AsyncIterable<Buffer>)
    if ((text += chunk.toString()).length > BODY_BYTES_MAX) return ''
  return text
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(`${JSON.stringify(value)}\n`)
}
