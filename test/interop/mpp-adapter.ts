// Our codec behind the interface of the conformance suite of MPP (mpp-tools, HARNESS_SPEC): one request as JSON on standard input,
// one answer as JSON on standard output. The suite names this file as its command; it tests nothing itself.
import { createHmac } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { isObject } from '../../src/core/json.ts'
import type { Json, JsonObject } from '../../src/core/json.ts'
import { checkAsked, readAsked, writeAsked } from '../../src/protocols/mpp/challenge.ts'
import type { Asked } from '../../src/protocols/mpp/challenge.ts'
import { plain } from '../../src/protocols/mpp/credential.ts'
import { readObject, writeObject } from '../../src/protocols/mpp/encode.ts'
import { readChallenges, readCredentials } from '../../src/protocols/mpp/fields.ts'

const CHARS_MAX = 65_536
const KINDS: Readonly<Record<string, string>> = {
  parse: 'parse_error',
  format: 'format_error',
  encode: 'encoding_error',
  decode: 'encoding_error',
  id: 'generation_error',
}

const textOf = (value: Json | undefined): string => (typeof value === 'string' ? value : '')

/** A challenge as the suite has it: its request is an object. */
function readChallenge(asked: Asked | string): JsonObject {
  if (typeof asked === 'string') throw new Error(asked)
  return { ...asked, request: needed(readObject(asked.request, CHARS_MAX)) }
}

function askedOf(said: JsonObject): Asked {
  const asked = checkAsked({ ...said, ...plain(said) })
  if (typeof asked === 'string') throw new Error(asked)
  return asked
}

function needed<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('It cannot be read.')
  return value
}

const operations: Readonly<Record<string, (input: JsonObject) => Json>> = {
  'challenge.parse': ({ header }) =>
    readChallenge(readAsked(needed(readChallenges(textOf(header))[0]))),
  'challenge.format'(input) {
    const asked = askedOf(input)
    if (Object.values(asked).some((value) => /[\r\n]/.test(value))) throw new Error('A line ends.')
    return { header: writeAsked(asked) }
  },
  'challenge.id'({ secretKey, ...input }) {
    const asked = askedOf({ id: 'none', ...input })
    const { realm, method, intent, request, expires = '', digest = '', opaque = '' } = asked
    const header = asked.header?.toLowerCase() === 'authorization' ? undefined : asked.header
    const slots = [
      realm,
      method,
      intent,
      request,
      expires,
      digest,
      ...(header ? [header] : []),
      opaque,
    ]
    const mac = createHmac('sha256', textOf(secretKey)).update(slots.join('|'))
    return { id: mac.digest('base64url') }
  },
  'credential.parse'({ header }) {
    const [said] = readCredentials(textOf(header))
    const { challenge, payload, source = null } = needed(readObject(needed(said), CHARS_MAX))
    if (!isObject(challenge) || payload === undefined) throw new Error('A member is missing.')
    return { challenge: readChallenge(askedOf(challenge)), payload, source }
  },
  'credential.format'({ challenge, payload = {}, source }) {
    const asked = { ...askedOf(isObject(challenge) ? challenge : {}) }
    const rest = typeof source === 'string' ? { source } : {}
    return { header: `Payment ${writeObject({ challenge: asked, payload, ...rest })}` }
  },
  'receipt.parse': ({ header }) => needed(readObject(textOf(header), CHARS_MAX)),
  'receipt.format': (receipt) => ({ header: writeObject(receipt) }),
}

const request = JSON.parse(await text(process.stdin)) as { op: string; input: JsonObject }
process.stdout.write(`${JSON.stringify(answer(request))}\n`)

function answer({ op, input }: { op: string; input: JsonObject }): JsonObject {
  const operation = operations[op]
  if (!operation) return { ok: false, error: { type: 'unsupported_operation', message: op } }
  try {
    return { ok: true, value: operation(input) }
  } catch (error) {
    const type = KINDS[op.slice(op.indexOf('.') + 1)] ?? 'unknown_error'
    return { ok: false, error: { type, message: error instanceof Error ? error.message : '' } }
  }
}
