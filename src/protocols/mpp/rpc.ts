import { assert } from '../../core/assert.ts'
import type { Challenge } from '../../core/challenge.ts'
import { isBound } from '../../core/credential.ts'
import type { Credential } from '../../core/credential.ts'
import { isObject } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Read } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { problem, problems } from '../../core/problem.ts'
import type { Receipt } from '../../core/receipt.ts'
import type { Resource } from '../../core/resource.ts'
import type { ChannelReceipt } from '../../core/voucher.ts'
import type { Advertised } from './catalogue.ts'
import { REQUEST_CHARS_MAX, askFor, checkAsked, echoOf, offerOf } from './challenge.ts'
import type { Asked } from './challenge.ts'
import { malformed, plain, takeCredential } from './credential.ts'
import { readObject } from './encode.ts'
import { CHALLENGES_MAX } from './fields.ts'
import { SESSION, createTurn, formsOf, sayOffers, sayTerms } from './part.ts'
import type { MppSettings } from './part.ts'
import { MALFORMED, PAYLOAD, codeOf, typeOf } from './problems.ts'
import { readSaid, sayChannel, sayReceipt } from './receipt.ts'

/** The errors of JSON-RPC by which a payment is asked for, refused, unreadable, or fails here. */
export const rpcCodes = {
  required: -32_042,
  refused: -32_043,
  malformed: -32_602,
  internal: -32_603,
} as const

/** Where in `_meta` a credential stands. */
export const CREDENTIAL_META = 'org.paymentauth/credential'
/** Where a receipt does. */
export const RECEIPT_META = 'org.paymentauth/receipt'
/** Where a tool's result asks for a payment, as some servers do in place of an error. */
export const REQUIRED_META = 'org.paymentauth/payment-required'

/** An error of JSON-RPC. */
export interface RpcError {
  readonly code: number
  readonly message: string
  readonly data: JsonObject
}

/** MPP in messages of JSON-RPC 2.0, those of the Model Context Protocol among them. Pure, as the protocol over HTTP is. */
export interface MppRpc {
  /** The error that refuses a call, with offers where a payment may help. */
  writeError(problem: Problem, challenge?: Challenge): RpcError
  /** What a call brings, in `params._meta` or, outside MCP, in its own `_meta`. */
  readCredential(
    message: JsonObject,
    resource: Resource,
    hasSessions?: boolean,
  ): Read | Promise<Read>
  /** The `_meta` of the answer to a call that was paid for. */
  writeReceipt(receipt: Receipt, offer: Offer): JsonObject
  /** The same where vouchers have paid. */
  writeChannel(receipt: ChannelReceipt): JsonObject
  /** What an answer asks for, as an error or in a tool's result; undefined if it asks for nothing. */
  readChallenge(message: JsonObject, resource: Resource): Challenge | undefined
  /** The `_meta` of a call that pays. */
  writeCredential(credential: Credential): JsonObject
  readReceipt(message: JsonObject, offer: Offer): Receipt | Problem | undefined
}

/** Makes it from rails of a seller or wallets of a payer. */
export function mppRpc(settings: Pick<MppSettings, 'parts'>): MppRpc {
  const forms = formsOf(settings.parts)
  const inTurn = createTurn(forms)

  function readOffered(said: Json, resource: Resource): Offer | string {
    if (!isObject(said)) return 'A challenge is no object.'
    const asked = checkAsked({ ...said, ...plain(said) })
    if (typeof asked === 'string') return asked
    const found = offerOf(forms, asked, resource)
    return typeof found === 'string' ? found : { ...found.offer, echo: echoOf(asked) }
  }

  return {
    writeError(why, challenge) {
      const { offers = [], plan } = challenge ?? {}
      // There is no place for a token in a message: what is sold as a plan is a session.
      const all = sayOffers(forms, offers, plan?.session)
      const fit = plan ? all.filter(({ words }) => words.intent === SESSION) : all
      const challenges = fit.map((said) => {
        // The id binds the arguments; there is no body that it could be the digest of.
        const { digest: _, ...asked } = askFor(said, {})
        return native(asked)
      })
      const { title, status } = problems[why.code]
      const [first] = challenges
      const id = first && { challengeId: first['id'] ?? '' }
      const told = { type: typeOf(why), title, status, detail: why.detail, ...id }
      const data = { httpStatus: status, challenges, problem: told }
      return { code: rpcCodeOf(why), message: why.detail, data }
    },

    readCredential(message, resource, hasSessions = false) {
      const said = metaOf(message['params'], CREDENTIAL_META) ?? metaOf(message, CREDENTIAL_META)
      if (said === undefined) return undefined
      if (!isObject(said)) return malformed('It is no object.')
      return inTurn(() => takeCredential(forms, said, resource, hasSessions))
    },

    writeReceipt(receipt, offer) {
      const words = receipt.settled ? sayTerms(forms, offer) : undefined
      return words ? { [RECEIPT_META]: sayReceipt(receipt, offer.id, words.method) } : {}
    },

    writeChannel(receipt) {
      const { rail, network } = receipt
      const form = forms.find((one) => one.rail === rail && one.networks.includes(network))
      return form?.sessions ? { [RECEIPT_META]: sayChannel(receipt, form.sessions.method) } : {}
    },

    readChallenge(message, resource) {
      const said = requiredIn(message)
      if (!said) return undefined
      const { challenges, problem: why } = said
      const list = Array.isArray(challenges) ? (challenges as readonly Json[]) : []
      const read = list.slice(0, CHALLENGES_MAX).map((one) => readOffered(one, resource))
      const reasons = read.filter((one) => typeof one === 'string')
      const code = (isObject(why) && codeOf(why['type'])) || 'payment-required'
      return {
        resource,
        offers: read.filter((one) => typeof one === 'object'),
        problem: problem(code, `${problems[code].title}.`),
        ...(reasons.length > 0 && {
          unreadable: reasons.map((one) => ({ why: one, said: 'Payment' })),
        }),
      }
    },

    writeCredential({ offer, proof }) {
      if (proof === undefined || !offer) return {}
      assert(isBound(offer), 'a payer pays a whole offer')
      const form = forms.find(
        ({ rail, networks }) => rail === offer.rail && networks.includes(offer.network),
      )
      assert(form && isObject(offer.echo), 'a payer pays an offer that it has read')
      const { payload = {}, source } = form.writeProof(proof)
      const challenge = native(offer.echo as unknown as Asked)
      const rest = source !== undefined && { source }
      return { [CREDENTIAL_META]: { challenge, payload, ...rest } }
    },

    readReceipt(message, offer) {
      const said = metaOf(message['result'], RECEIPT_META) ?? metaOf(message, RECEIPT_META)
      return said === undefined ? undefined : readSaid(isObject(said) ? said : undefined, offer)
    },
  }
}

/** What a server says it takes when it is asked what it can (MCP, `capabilities.experimental`). */
export function capabilityOf(offers: readonly Advertised[]): JsonObject {
  const methods: Record<string, { intents: string[] }> = {}
  for (const { method, intent } of offers) {
    const { intents } = (methods[method] ??= { intents: [] })
    if (!intents.includes(intent)) intents.push(intent)
  }
  return { payment: { methods } }
}

/** The challenge as JSON: its request is an object there. */
function native(asked: Asked): JsonObject {
  const request = readObject(asked.request, REQUEST_CHARS_MAX)
  assert(request, 'a request that was written or read is an object')
  return { ...echoOf(asked), request }
}

function rpcCodeOf({ code, reason }: Problem): number {
  if (reason === MALFORMED || reason === PAYLOAD || code === 'credential-malformed')
    return rpcCodes.malformed
  if (code === 'payment-required') return rpcCodes.required
  return problems[code].status === 402 || code === 'session-closed'
    ? rpcCodes.refused
    : rpcCodes.internal
}

function metaOf(holder: Json | undefined, name: string): Json | undefined {
  const meta = isObject(holder) ? holder['_meta'] : undefined
  return isObject(meta) && Object.hasOwn(meta, name) ? meta[name] : undefined
}

/** The data of an error that asks, or what stands in a result in its place. */
function requiredIn({ error, result }: JsonObject): JsonObject | undefined {
  const asks: readonly unknown[] = [rpcCodes.required, rpcCodes.refused]
  const said = isObject(error) && asks.includes(error['code']) ? error['data'] : undefined
  const found = said ?? metaOf(result, REQUIRED_META)
  return isObject(found) ? found : undefined
}
