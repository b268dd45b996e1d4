import { assert } from '../../core/assert.ts'
import { isBound } from '../../core/credential.ts'
import type { Challenge } from '../../core/challenge.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Fields, Message, Protocol, Read } from '../../core/ports.ts'
import { problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import type { Problem } from '../../core/problem.ts'
import {
  echoOf,
  readRequired,
  readRequiredV1,
  readSettled,
  unreadableChallenge,
  writePayload,
} from './buyer.ts'
import { readHeader, writeHeader } from './header.ts'
import { legacyOf } from './networks.ts'
import { formsOf } from './part.ts'
import type { Part } from './part.ts'
import { wordOf } from './reasons.ts'
import {
  readPayload,
  readPayloadV1,
  say,
  writeFailed,
  writeRequired,
  writeRequiredV1,
  writeSettled,
  writeSettledV1,
} from './seller.ts'
import type { Version } from './wire.ts'

/** How x402 is spoken. */
export interface Options {
  /** Versions that are spoken; both by default. */
  readonly versions?: readonly Version[]
  /** Extensions that are told with every challenge, each `{ info, schema? }`, and whose echo is checked. */
  readonly extensions?: JsonObject
}

type Field = readonly [name: string, value: string]

/** Longest piece of an unreadable header that is shown to the payer. */
const SHOWN_CHARS_MAX = 256

/** The protocol, which reads at once. */
export interface X402 extends Protocol {
  readCredential(fields: Fields, resource: Resource): Read
}

/**
 * x402 over HTTP, versions 2 and 1, for sellers and buyers. The parts are rails or wallets, or anything else with a
 * form for x402. Pure; see the README beside it for what is refused and what differs from upstream.
 */
export function x402(parts: readonly Part[], options: Options = {}): X402 {
  const forms = formsOf(parts)
  const { versions = [2, 1], extensions } = options
  const v2 = versions.includes(2)
  const v1 = versions.includes(1)

  return {
    name: 'x402',
    fields: {
      request: [...(v2 ? ['PAYMENT-SIGNATURE'] : []), ...(v1 ? ['X-PAYMENT'] : [])],
      response: [
        ...(v2 ? ['PAYMENT-REQUIRED', 'PAYMENT-RESPONSE'] : []),
        ...(v1 ? ['X-PAYMENT-RESPONSE'] : []),
      ],
    },

    writeChallenge(challenge) {
      const said = say(forms, challenge.offers)
      if (said.length === 0) return { fields: [] }
      const error = wordOf(challenge.problem, forms)
      const fields: Field[] = []
      if (v2) {
        const required = writeRequired(said, challenge, error, extensions)
        fields.push(['PAYMENT-REQUIRED', writeHeader(required)])
      }
      if (challenge.problem.code === 'settlement-failed') fields.push(...failed(challenge, error))
      const body = v1 && writeRequiredV1(said, challenge, error)
      return body ? { fields, body: body as unknown as JsonObject } : { fields }
    },

    readChallenge(message, resource) {
      const value = v2 && message.fields.get('PAYMENT-REQUIRED')
      const first = value ? challengeIn(value) : undefined
      if (first && typeof first !== 'string') return first
      const { body } = message
      // One 402 serves both versions; the body is the second chance of a spoilt header.
      if (v1 && isObject(body) && body['x402Version'] === 1) {
        const second = readRequiredV1(forms, body, resource)
        return typeof second === 'string' ? unreadableChallenge(resource, second, body) : second
      }
      if (!value) return undefined
      return unreadableChallenge(resource, first ?? '', value.slice(0, SHOWN_CHARS_MAX))

      function challengeIn(value: string): Challenge | string {
        const header = readHeader(value)
        return header.ok ? readRequired(forms, header.value, resource) : header.why
      }
    },

    writeCredential({ offer, proof }) {
      if (proof === undefined || !offer) return { fields: [] }
      assert(isBound(offer), 'a payer pays a whole offer')
      const payload = writePayload(forms, offer, proof)
      const name = payload.x402Version === 2 ? 'PAYMENT-SIGNATURE' : 'X-PAYMENT'
      return { fields: [[name, writeHeader(payload)]] }
    },

    readCredential(fields, resource) {
      // With both there, version 2 is read and version 1 is left untouched and unspent.
      const value = fields.get('PAYMENT-SIGNATURE')
      const legacy = fields.get('X-PAYMENT')
      if (value) return v2 ? readV2(value) : unspoken(2)
      if (legacy) return v1 ? readV1(legacy) : unspoken(1)
      return undefined

      function readV2(value: string): ReturnType<typeof readPayload> {
        const header = readHeader(value)
        if (!header.ok) return malformed('PAYMENT-SIGNATURE', header.why)
        return readPayload(forms, header.value, resource, extensions)
      }
      function readV1(value: string): ReturnType<typeof readPayload> {
        const header = readHeader(value)
        if (!header.ok) return malformed('X-PAYMENT', header.why)
        return readPayloadV1(forms, header.value)
      }
    },

    writeReceipt(receipt): Message {
      // A receipt does not know which version asked, and each version's clients ignore the other's field.
      const legacy = v1 && writeSettledV1(receipt)
      return {
        fields: [
          ...(v2 ? [['PAYMENT-RESPONSE', writeHeader(writeSettled(receipt))] as const] : []),
          ...(legacy ? [['X-PAYMENT-RESPONSE', writeHeader(legacy)] as const] : []),
        ],
      }
    },

    readReceipt({ fields }, offer) {
      const version = echoOf(offer)?.version ?? 2
      const value = fields.get(version === 2 ? 'PAYMENT-RESPONSE' : 'X-PAYMENT-RESPONSE')
      if (!value) return undefined
      const header = readHeader(value)
      if (!header.ok) return problem('payment-unknown', `The receipt cannot be read. ${header.why}`)
      return readSettled(header.value, version, offer)
    },
  }

  function failed({ offers }: Challenge, error: string): readonly Field[] {
    const network = offers[0]?.network ?? ''
    const legacy = legacyOf(network)
    return [
      ...(v2 ? [['PAYMENT-RESPONSE', writeHeader(writeFailed(network, error))] as const] : []),
      ...(v1 && legacy !== undefined
        ? [['X-PAYMENT-RESPONSE', writeHeader(writeFailed(legacy, error))] as const]
        : []),
    ]
  }
}

function malformed(field: string, why: string): Problem {
  return problem('credential-malformed', `${field} cannot be read. ${why}`)
}

function unspoken(version: Version): Problem {
  return problem('credential-unsupported', `x402 version ${version} is not spoken here.`)
}
