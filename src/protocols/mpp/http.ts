import { assert } from '../../core/assert.ts'
import { isBound } from '../../core/credential.ts'
import type { Challenge } from '../../core/challenge.ts'
import { isObject } from '../../core/json.ts'
import type { Json } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Message } from '../../core/ports.ts'
import { problem, problems } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import { ACCEPT_FIELD, prefer, readAccept } from './accept.ts'
import { REQUEST_CHARS_MAX, askFor, echoOf, offerOf, readAsked, writeAsked } from './challenge.ts'
import type { Asked } from './challenge.ts'
import { malformed, takeCredential } from './credential.ts'
import { readObject, writeObject } from './encode.ts'
import { CREDENTIAL_CHARS_MAX, isOurs, readChallenges, readCredentials } from './fields.ts'
import { LAST, SESSION, createTurn, fieldOf, formsOf, sayOffers, sayTerms } from './part.ts'
import type { Asking, Mpp, MppSettings } from './part.ts'
import { codeOf, sessionTypeOf } from './problems.ts'
import { channelCodec } from './channel.ts'
import { RECEIPT_CHARS_MAX, readSaid, sayChannel, sayReceipt } from './receipt.ts'

/**
 * The Machine Payments Protocol over HTTP, the authentication scheme `Payment`, for sellers and buyers. The parts are rails or
 * wallets with a form for MPP. The id of a challenge is the id of its offer: a MAC over all that is asked for and the request that
 * it is asked for, so that nothing is stored. Pure; see the README beside it.
 */
export function mpp(settings: MppSettings): Mpp {
  const forms = formsOf(settings.parts)
  const inTurn = createTurn(forms)
  const { header, returnTo } = settings
  const field = header ?? 'Authorization'

  function readOffered(asked: Asked | string, resource: Resource): Offer | string {
    if (typeof asked === 'string') return asked
    // The caller's own Authorization is not written over.
    if (fieldOf(asked.header) !== field && header !== undefined)
      return 'The credential is wanted in Authorization, which is for the application here.'
    const found = offerOf(forms, asked, resource)
    const wantsReturn = typeof found === 'object' && !found.form.sessions?.channels
    if (asked.intent === SESSION && wantsReturn && returnTo === undefined)
      return 'It wants to be told where what is left goes back to, and no "returnTo" is set.'
    return typeof found === 'string' ? found : { ...found.offer, echo: echoOf(asked) }
  }

  /** Whether the line is one that fewer can answer than another which asks for the same. */
  function isSaid(line: string, all: readonly string[]): boolean {
    if (!forms.some(({ later }) => later) || all.length < 2) return false
    const asked = sayingOf(line)
    if (!asked || !forms.some((one) => one.later && typeof one.readDetails(asked) !== 'string'))
      return false
    return all.some((other) => other !== line && isAlike(asked, sayingOf(other)))
  }

  return {
    name: 'mpp',
    fields: {
      request: [field],
      response: ['WWW-Authenticate', 'Payment-Receipt'],
      preference: [ACCEPT_FIELD],
    },
    // Proofs on chains are named after the challenge.
    distinct: true,
    stand(line, all = []) {
      const place = line.includes(`method="${LAST}"`) ? 2 : 1
      // The same payment buys a token by the line after it.
      const isSpare = line.includes(`intent="${SESSION}"`) || isSaid(line, all)
      return isSpare ? { place, lean: '' } : { place }
    },
    typeOf: sessionTypeOf,
    isAsked: (asker) => readAccept(asker.get(ACCEPT_FIELD)) !== undefined,

    writeChallenge({ offers, plan }, asker) {
      const preferences = readAccept(asker?.get(ACCEPT_FIELD))
      const said = sayOffers(forms, offers, plan?.session)
      const liked = preferences ? prefer(said, preferences, ({ words }) => words) : said
      const lines = liked.map((one) => writeAsked(askFor(one, settings)))
      return { fields: lines.map((line) => ['WWW-Authenticate', line] as const) }
    },

    readChallenge({ fields, body }, resource) {
      const params = readChallenges(fields.get('WWW-Authenticate') ?? '')
      const read = params.map((one) => readOffered(readAsked(one), resource))
      if (read.length === 0) return undefined
      const reasons = read.filter((one) => typeof one === 'string')
      const offers = read.filter((one) => typeof one === 'object')
      return {
        resource,
        // Of two ways to say one payment the one that gives back what is left.
        offers: offers.toSorted((a, b) => Number(isSession(b)) - Number(isSession(a))),
        problem: whyOf(body),
        ...(reasons.length > 0 && { unreadable: reasons.map((why) => ({ why, said: 'Payment' })) }),
      }
    },

    writeCredential({ offer, proof }) {
      if (proof === undefined || !offer) return { fields: [] }
      assert(isBound(offer), 'a payer pays a whole offer')
      const form = forms.find(
        ({ rail, networks }) => rail === offer.rail && networks.includes(offer.network),
      )
      assert(form && isObject(offer.echo), 'a payer pays an offer that it has read')
      const { payload: charge = {}, source } = form.writeProof(proof)
      const challenge = offer.echo as Json
      const opening = offer.echo['intent'] === SESSION ? form.sessions : undefined
      const opens = opening && (opening.channels || returnTo !== undefined)
      const payload = opens ? opening.open(proof, returnTo ?? '') : charge
      const said = writeObject({ challenge, payload, ...(source !== undefined && { source }) })
      return { fields: [[fieldOf(offer.echo['header']), `Payment ${said}`]] }
    },

    readCredential(fields, resource) {
      const said = fields.get(field)
      if (said === null || said === undefined) return undefined
      if (said.length > CREDENTIAL_CHARS_MAX)
        return isOurs(said) ? malformed('It is too long.') : undefined
      const shown = readCredentials(said)
      const [first] = shown
      if (first === undefined) return undefined
      if (shown.length > 1) return several
      const value = readObject(first, CREDENTIAL_CHARS_MAX)
      if (!value) return malformed('It is not JSON in base64url.')
      return inTurn(() => takeCredential(forms, value, resource, true))
    },

    writeReceipt(receipt, offer): Message {
      // There is none beside a refusal, and none for what is still on its way.
      if (!offer || !isBound(offer) || !receipt.settled) return { fields: [] }
      const words = sayTerms(forms, offer)
      if (!words) return { fields: [] }
      const said = writeObject(sayReceipt(receipt, offer.id, words.method))
      return { fields: [['Payment-Receipt', said]] }
    },

    channels: channelCodec,

    writeChannel(receipt): Message {
      const { rail, network } = receipt
      const form = forms.find((one) => one.rail === rail && one.networks.includes(network))
      if (!form?.sessions) return { fields: [] }
      const body = sayChannel(receipt, form.sessions.method)
      return { fields: [['Payment-Receipt', writeObject(body)]], body }
    },

    readReceipt({ fields }, offer) {
      const value = fields.get('Payment-Receipt')
      return value ? readSaid(readObject(value, RECEIPT_CHARS_MAX), offer) : undefined
    },
  }
}

/** What a line of ours asks for. */
function sayingOf(line: string): Asking | undefined {
  const [params] = readChallenges(line)
  const asked = params && readAsked(params)
  if (!asked || typeof asked === 'string') return undefined
  const request = readObject(asked.request, REQUEST_CHARS_MAX)
  return request && { ...asked, request }
}

function isAlike(one: Asking, other: Asking | undefined): boolean {
  if (one.method !== other?.method || one.intent !== other.intent) return false
  return ['amount', 'currency', 'recipient'].every(
    (name) => one.request[name] === other.request[name],
  )
}

function isSession({ echo }: Offer): boolean {
  return isObject(echo) && echo['intent'] === SESSION
}

/** Why the seller wants a payment, in our words. */
function whyOf(body: unknown): Challenge['problem'] {
  const code = (isObject(body) && codeOf(body['type'])) || 'payment-required'
  return problem(code, `${problems[code].title}.`)
}

const several = problem(
  'credential-malformed',
  'The request has more than one credential of the scheme Payment. Send the one that it is to be paid by.',
)
