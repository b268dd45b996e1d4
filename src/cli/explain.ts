import type { Challenge } from '../core/challenge.ts'
import { isObject } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import type { Protocol, Received } from '../core/ports.ts'
import type { Resource } from '../core/resource.ts'
import { sayMoney } from '../payer/policy.ts'
import { isLoopback } from './request.ts'
import { jsonOf, readSigns } from './signs.ts'
import type { Answer, Sign } from './signs.ts'
import { clean, count, list, span } from './text.ts'

/** Longest time that a payment may sensibly stay payable. */
const VALIDITY_MS_MAX: number = 10 * 60_000

/** Longest invoice that is shown. */
const INVOICE_CHARS_MAX = 4_096

/** Whoever would pay: says why an offer cannot be paid, if it cannot. */
export interface Purse {
  readonly address?: string
  refuses(offer: Offer, protocol: string): Promise<string | undefined>
}

/** One offer in people's words. */
export interface OfferSaid {
  readonly protocol: string
  readonly rail: string
  readonly amount: string
  /** The amount in the asset's smallest unit. */
  readonly units: string
  readonly asset: string
  readonly network: string
  readonly networkName?: string
  readonly payee: string
  readonly timeoutMs: number
  /** What is paid by, over Lightning. */
  readonly invoice?: string
  readonly payable: boolean
  /** Why it cannot be paid. */
  readonly why?: string
}

/** What an answer is: asked for money, a 402 without an offer, something for free, or anything else. */
type Kind = 'challenge' | 'administrative' | 'free' | 'other'

/** An answer explained. */
export interface Report {
  readonly url: string
  readonly method: string
  readonly status: number
  readonly kind: Kind
  readonly summary: string
  readonly protocols: readonly Sign[]
  readonly offers: readonly OfferSaid[]
  /** Offers of which a sentence is all that can be said. */
  readonly unreadable: readonly string[]
  readonly warnings: readonly string[]
}

/** What an explanation draws on. */
export interface Knowledge {
  readonly protocols: readonly Protocol[]
  readonly purse: Purse
  networkName(id: string): string | undefined
}

interface Read {
  readonly protocol: Protocol
  readonly challenge: Challenge
}

/** Explains an answer. Reads it only; nothing is asked of the seller again. */
export async function explain(
  answer: Answer,
  resource: Resource,
  known: Knowledge,
): Promise<Report> {
  const signs = readSigns(answer)
  const message = { status: answer.status, fields: answer.headers, body: jsonOf(answer) }
  const read = answer.status === 402 ? readAll(message, resource, known.protocols) : []
  const offers = await Promise.all(
    read.flatMap(({ protocol, challenge }) =>
      challenge.offers.map((offer) => sayOffer(offer, protocol.name, known)),
    ),
  )
  const unreadable = read.flatMap(({ challenge }) => challenge.unreadable ?? [])
  const kind = kindOf(answer, signs)
  return {
    url: resource.url,
    method: resource.method,
    status: answer.status,
    kind,
    summary: summarise(kind, answer, signs, offers),
    protocols: signs,
    offers,
    unreadable: unreadable.map(({ why }) => clean(why)),
    warnings: kind === 'challenge' ? warn(answer, message, resource, read, signs) : [],
  }
}

/** Each protocol's challenge; what a stranger wrote must not be able to stop the explanation. */
function readAll(message: Received, resource: Resource, protocols: readonly Protocol[]): Read[] {
  return protocols.flatMap((protocol) => {
    const challenge = protocol.readChallenge(message, resource)
    return challenge ? [{ protocol, challenge }] : []
  })
}

async function sayOffer(offer: Offer, protocol: string, known: Knowledge): Promise<OfferSaid> {
  const why = await known.purse.refuses(offer, protocol)
  const name = known.networkName(offer.network)
  return {
    protocol,
    rail: offer.rail,
    amount: clean(sayMoney(offer.amount)),
    units: offer.amount.amount.toString(),
    asset: clean(offer.amount.asset.id),
    network: clean(offer.network),
    ...(name !== undefined && { networkName: name }),
    payee: clean(offer.payee),
    timeoutMs: offer.timeoutMs,
    ...(offer.invoice !== undefined && { invoice: clean(offer.invoice, INVOICE_CHARS_MAX) }),
    payable: why === undefined,
    ...(why !== undefined && { why: clean(why) }),
  }
}

function kindOf(answer: Answer, signs: readonly Sign[]): Kind {
  if (answer.status === 402) return signs.length > 0 ? 'challenge' : 'administrative'
  return answer.status >= 200 && answer.status < 300 ? 'free' : 'other'
}

function summarise(
  kind: Kind,
  answer: Answer,
  signs: readonly Sign[],
  offers: readonly OfferSaid[],
): string {
  if (kind === 'free') return 'The answer came without payment: nothing is asked for this request.'
  if (kind === 'administrative') return administrative(answer)
  if (kind === 'other') return other(answer)
  if (offers.length > 0)
    return `A payment challenge: the seller asks for money and makes ${count(offers.length, 'offer')} that can be read.`
  const spoken = signs.some((sign) => sign.spoken !== undefined)
  return spoken
    ? 'A payment challenge, but none of its offers can be read.'
    : `A payment challenge in ${list(signs.map((sign) => sign.protocol))}, which Tolsey does not speak yet.`
}

/** A 402 without an offer: somebody's account has to be settled, and no program can do that here. */
function administrative(answer: Answer): string {
  const said = saidBy(answer)
  return [
    'Not a payment challenge: this 402 makes no offer that a program could pay.',
    'It most likely tells of an account, a plan or an unpaid bill with the operator or its host, which a person has to settle there.',
    ...(said ? [`The answer says: "${said}"`] : []),
  ].join(' ')
}

const statuses: Readonly<Record<number, string>> = {
  304: 'What was asked for has not changed; there is no body and no payment.',
  400: 'The server does not understand the request; no payment is asked for.',
  401: 'The server wants to know who asks: a login or a token, not a payment.',
  403: 'The server refuses this request, whoever pays.',
  404: 'There is nothing at this address; no payment is asked for.',
  405: 'The server does not know this method here; try another with -X.',
  409: 'The request collides with another one. If a payment was sent, it is being worked on: send the same one again later.',
  410: 'What was here is gone. If a payment was sent, what it bought has been delivered.',
  413: 'The body is too large for this server.',
  421: 'The server does not answer for this host name.',
  422: 'The server cannot work with what was sent.',
  429: 'There were too many requests; wait and try again.',
}

function other(answer: Answer): string {
  const { status } = answer
  const said = saidBy(answer)
  return [
    statuses[status] ?? family(answer),
    ...(said && status >= 400 ? [`The answer says: "${said}"`] : []),
  ].join(' ')
}

function family({ status, headers }: Answer): string {
  const location = headers.get('location')
  if (status >= 300 && status < 400)
    return location === null
      ? 'The answer is a redirect without an address.'
      : `The answer sends on to ${clean(location)}; inspect that address.`
  if (status >= 500)
    return 'The server has a problem of its own; no payment is asked for. Try again later.'
  return `The answer has the status ${status}; no payment is asked for.`
}

/** What the server itself says in a sentence: a problem's detail, an error's message, a page's title. */
function saidBy(answer: Answer): string | undefined {
  const body = jsonOf(answer)
  const error = isObject(body) && isObject(body['error']) ? body['error'] : undefined
  const members = isObject(body)
    ? [body['detail'], error?.['message'], body['message'], body['error'], body['title']]
    : [/<title[^>]*>([^<]{1,300})/i.exec(answer.text)?.[1]]
  const said = members.find((member) => typeof member === 'string' && member.trim() !== '')
  return typeof said === 'string' ? clean(said) : undefined
}

function warn(
  answer: Answer,
  message: Received,
  resource: Resource,
  read: readonly Read[],
  signs: readonly Sign[],
): readonly string[] {
  return [
    ...transportWarnings(answer, resource),
    ...read.flatMap(({ protocol }) => disagreement(protocol, message, resource)),
    ...elsewhere(signs, resource),
    ...longest(read.flatMap(({ challenge }) => challenge.offers)),
  ]
}

function transportWarnings(answer: Answer, resource: Resource): string[] {
  const url = new URL(resource.url)
  const open = url.protocol === 'http:' && !isLoopback(url)
  const stored = !/(?:^|[,\s])no-store(?:$|[,\s])/i.test(answer.headers.get('cache-control') ?? '')
  return [
    ...(open
      ? ['The address is plain http: anybody on the way can change the payee. Pay over https only.']
      : []),
    ...(stored
      ? [
          'The answer lacks "Cache-Control: no-store", so a cache may give these offers to somebody else.',
        ]
      : []),
  ]
}

/** Header and body of one answer should offer the same: buyers read one or the other. */
function disagreement(protocol: Protocol, message: Received, resource: Resource): string[] {
  const { body: _, ...bodiless } = message
  const inFields = protocol.readChallenge(bodiless, resource)
  const inBody = protocol.readChallenge({ ...message, fields: new Headers() }, resource)
  if (!inFields || !inBody || termsOf(inFields) === termsOf(inBody)) return []
  return [
    'The header and the body offer different terms; a buyer that reads the other one pays something else.',
  ]
}

function termsOf({ offers }: Challenge): string {
  return JSON.stringify(
    offers
      .map(({ network, amount, payee }) =>
        [network, amount.asset.id, amount.amount.toString(), payee].join(' ').toLowerCase(),
      )
      .toSorted(),
  )
}

/** A challenge that names another host may have been copied from there. */
function elsewhere(signs: readonly Sign[], resource: Resource): string[] {
  const { host } = new URL(resource.url)
  const named = signs.flatMap(({ url }) => URL.parse(url ?? '')?.host ?? [])
  const other = named.find((one) => one !== host)
  if (other === undefined) return []
  return [`The challenge names another host, ${clean(other)}; it may not be this seller's own.`]
}

function longest(offers: readonly Offer[]): string[] {
  // An invoice is paid at once, however long it could be.
  const signed = offers.filter(({ invoice }) => invoice === undefined)
  const timeoutMs = Math.max(0, ...signed.map((offer) => offer.timeoutMs))
  if (timeoutMs <= VALIDITY_MS_MAX) return []
  return [
    `An offer asks for a payment that stays payable for ${span(timeoutMs)}; more than ${span(VALIDITY_MS_MAX)} is unusual. Tolsey signs for a shorter time.`,
  ]
}
