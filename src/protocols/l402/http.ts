import { Buffer } from 'node:buffer'
import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import { quoted, readAuth } from '../../core/auth.ts'
import type { AuthChallenge } from '../../core/auth.ts'
import type { Challenge } from '../../core/challenge.ts'
import { writeConditions } from '../../core/conditions.ts'
import type { Credential, Grant } from '../../core/credential.ts'
import { isBound } from '../../core/credential.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import { createKnown } from '../../core/known.ts'
import type { Offer } from '../../core/offer.ts'
import type { Protocol, Stand } from '../../core/ports.ts'
import { problem } from '../../core/problem.ts'
import type { Problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import type { Checked, L402Settings, Mint, Words } from './part.ts'
import { formsOf } from './part.ts'
import { readSealed, writeSealed } from './sealed.ts'

/** Longest `Authorization` that is read, in characters. */
export const CREDENTIAL_CHARS_MAX = 16_384
/** Most tokens that are looked at in one request: old clients send the same one under two schemes. */
export const TOKENS_MAX = 4
/** Longest invoice that is read, in characters. */
export const INVOICE_CHARS_MAX = 4_096
/** Longest token of somebody else that is read, in characters: it must fit into a request's head. */
export const TOKEN_CHARS_MAX = 8_192
/** Most challenges of a seller that are looked at. */
const CHALLENGES_MAX = 8

/** The token that a challenge came with, which the credential must show. */
interface Echo {
  readonly token: string
  readonly scheme: 'L402' | 'LSAT'
}

/** What a token that holds was found to bring, all but the request that it comes with. */
interface Opened {
  readonly grant: Grant
  /** Absent in a token that was bought in another way, whose grant is all. */
  readonly paid?: { readonly offer: Omit<Offer, 'resource'>; readonly proof: JsonObject }
}

/**
 * L402 over HTTP, for sellers and buyers. A token (macaroon) goes out with an invoice and is good once its preimage is shown
 * with it. `LSAT` is read as the same scheme. Pure; see the README beside it.
 */
export function l402(settings: L402Settings): Protocol {
  const forms = formsOf(settings.parts)
  const { mint, hashIn, legacy = false } = settings
  const known = createKnown<Opened>()

  function challengeOf(mint: Mint, offer: Offer, challenge: Challenge): string | undefined {
    const form = forms.find(
      ({ rail, networks }) => rail === offer.rail && networks.includes(offer.network),
    )
    const said = form?.writeDetails(offer)
    if (said?.invoice === undefined || said.hash === undefined || said.terms === undefined)
      return undefined
    const paymentHash = Buffer.from(said.hash, 'hex')
    const tokenId = hash('sha256', `l402/${offer.id}`, 'buffer')
    const { plan } = challenge
    const token = mint.mint({ paymentHash, tokenId }, [
      `offer=${writeSealed(offer, said.terms)}`,
      ...writeConditions(plan?.rights ?? {}),
    ])
    const params = { macaroon: token, invoice: said.invoice, version: '0', token }
    // This order, these quotes and these spaces are what all clients read.
    const text = Object.entries(params).map(([name, value]) => `${name}=${quoted(value)}`)
    return `L402 ${[...text, ...(said.hold === true ? ['hold="1"'] : [])].join(', ')}`
  }

  /** The same under the scheme's first name, for clients that look for that on the first line and for nothing else. */
  const legacyOf = (text: string): string => shorten(text).replace(/^L402/, 'LSAT')

  function readOffered(
    { scheme, params }: Pick<AuthChallenge, 'scheme' | 'params'>,
    resource: Resource,
  ): Offer | string | undefined {
    const token = params.get('token') ?? params.get('macaroon')
    const invoice = params.get('invoice')
    if (token === undefined || invoice === undefined) return undefined
    if (invoice.length > INVOICE_CHARS_MAX) return 'The invoice is too long.'
    if (token.length > TOKEN_CHARS_MAX) return 'The token is too long.'
    if (!SHOWABLE.test(token)) return 'The token cannot be shown in a field.'
    const committed = hashIn?.(token)
    const words: Words = {
      invoice,
      ...(committed !== undefined && { hash: committed }),
      ...(params.get('hold') === '1' && { hold: true }),
    }
    let why = 'Nothing here pays Lightning invoices.'
    for (const form of forms) {
      const terms = form.readDetails(words)
      if (typeof terms === 'string') why = terms
      else {
        const echo: Echo = { token, scheme: /^lsat$/i.test(scheme) ? 'LSAT' : 'L402' }
        // The invoice itself says until when it may be paid, and the wallet holds to that.
        return { ...terms, id: '', resource, expiresAt: Number.MAX_SAFE_INTEGER, echo }
      }
    }
    return why
  }

  /** What the first token of the field brings that holds. */
  function find(field: string, mint: Mint): Opened | Problem | undefined {
    const shown = [...field.matchAll(CREDENTIALS)].slice(0, TOKENS_MAX)
    if (shown.length === 0) return isOurs(field) ? garbled : undefined
    let found: Opened | Problem = garbled
    for (const [, tokens = '', preimage] of shown)
      for (const token of tokens.split(',').slice(0, TOKENS_MAX)) {
        found = open(token, preimage?.toLowerCase(), mint)
        if (!('code' in found)) return found
      }
    return found
  }

  /** What a token and the preimage beside it bring. */
  function open(token: string, said: string | undefined, mint: Mint): Opened | Problem {
    const checked = mint.check(token)
    return typeof checked === 'string' ? unfit(checked) : read(checked, said ?? checked.preimage)
  }

  function read(
    { identifier, rights, offer: sealed }: Checked,
    preimage: string | undefined,
  ): Opened | Problem {
    const paymentHash = Buffer.from(identifier.paymentHash).toString('hex')
    const grant = { id: paymentHash, rights }
    if (sealed === undefined) return { grant }
    // Whoever was asked to pay has the token: only the preimage tells that it was paid for.
    if (preimage !== undefined && hashOf(preimage) !== paymentHash) return unproved
    const found = readSealed(sealed, paymentHash, forms)
    if (typeof found === 'string') return foreign
    if (preimage === undefined && !found.isHeld) return bare
    return preimage === undefined
      ? { grant: { ...grant, unproven: true }, paid: { offer: found.offer, proof: {} } }
      : { grant, paid: { offer: found.offer, proof: { preimage } } }
  }

  return {
    name: 'l402',
    fields: { request: ['Authorization'], response: ['WWW-Authenticate'] },

    writeChallenge(challenge) {
      if (!mint) return { fields: [] }
      const said = challenge.offers.map((offer) => challengeOf(mint, offer, challenge))
      const lines = said.filter((text) => text !== undefined)
      const all = legacy ? [...lines.map(legacyOf), ...lines] : lines
      return { fields: all.map((text) => ['WWW-Authenticate', text] as const) }
    },

    stand: (line) => (line.startsWith('LSAT') ? { place: -1, lean: '' } : standOf(line)),

    readChallenge({ fields, body }, resource) {
      const field = fields.get('WWW-Authenticate') ?? ''
      const schemes = readAuth(field).filter(({ scheme }) => /^(?:l402|lsat)$/i.test(scheme))
      const said = schemes.length > 0 ? schemes : inBody(body)
      const read = said.slice(0, CHALLENGES_MAX).map((one) => readOffered(one, resource))
      const offers = read.filter((one) => typeof one === 'object')
      const reasons = read.filter((one) => typeof one === 'string')
      if (offers.length === 0 && reasons.length === 0) return undefined
      // The same invoice under both schemes is one offer; the newer scheme is answered.
      const single = offers.filter((one) => bestOf(offers, one.invoice) === one)
      return {
        resource,
        offers: single,
        problem: problem('payment-required', 'The seller asks for a Lightning payment.'),
        ...(reasons.length > 0 && { unreadable: reasons.map((why) => ({ why, said: 'L402' })) }),
      }
    },

    writeCredential({ offer, proof }) {
      if (proof === undefined || !offer) return { fields: [] }
      assert(isBound(offer), 'a payer pays a whole offer')
      const { token, scheme } = offer.echo as Echo
      const written = forms.find(({ rail }) => rail === offer.rail)?.writeProof(proof)
      const preimage = written?.['preimage']
      const shown = typeof preimage === 'string' ? preimage : ''
      return { fields: [['Authorization', `${scheme} ${token}:${shown}`]] }
    },

    readCredential(fields, resource) {
      const field = fields.get('Authorization')
      if (!mint || field === null || field === undefined) return undefined
      if (field.length > CREDENTIAL_CHARS_MAX) return isOurs(field) ? tooLong : undefined
      // The same token is shown again and again.
      const before = isOurs(field) ? known.get(field) : undefined
      if (before) return credentialOf(before, resource)
      const opened = find(field, mint)
      if (!opened || 'code' in opened) return opened
      if (isLasting(opened)) known.add(field, opened)
      return credentialOf(opened, resource)
    },

    // L402 has no receipt: who has the preimage has paid.
    writeReceipt: () => ({ fields: [] }),
    readReceipt: () => undefined,
  }
}

/** Clients look for it at the start of the field. The token is said twice, for those that know either of its names. */
function standOf(line: string): Stand {
  return { place: 0, lean: shorten(line) }
}

/** Without the second name of the token, which the clients of the first do not need. */
function shorten(line: string): string {
  return line.replace(/, version="0", token="[^"]*"/, '')
}

/** Some servers say it in the body alone. */
function inBody(body: unknown): readonly Pick<AuthChallenge, 'scheme' | 'params'>[] {
  if (!isObject(body)) return []
  const pairs = Object.entries(body).filter(
    (pair): pair is [string, string] => typeof pair[1] === 'string',
  )
  return [{ scheme: 'L402', params: new Map(pairs) }]
}

/** Of what is said twice for one invoice, the first under the newer name. */
function bestOf(offers: readonly Offer[], invoice: string | undefined): Offer | undefined {
  const same = offers.filter((one) => one.invoice === invoice)
  return same.find(({ echo }) => (echo as Echo).scheme === 'L402') ?? same[0]
}

function credentialOf({ grant, paid }: Opened, resource: Resource): Credential {
  return paid ? { offer: { ...paid.offer, resource }, proof: paid.proof, grant } : { grant }
}

/** Whether it is shown again and again. One for a plan names its service; one for a single request is of no use afterwards. */
function isLasting({ grant, paid }: Opened): boolean {
  return paid === undefined || grant.rights.services !== undefined
}

/** `L402 <token>:<preimage>`, and several of them: lines that were joined by commas. */
const CREDENTIALS = /(?:^|[\s,])(?:l402|lsat)\s+([^\s:]+):([0-9a-f]{64})?(?=\s|,|$)/gi

function isOurs(field: string): boolean {
  return /^\s*(?:l402|lsat)(?:\s|$)/i.test(field)
}

/** No space ends it, and no colon: the preimage follows one. */
const SHOWABLE = /^[!-9;-~]+$/

function hashOf(preimage: string): string {
  return hash('sha256', Buffer.from(preimage, 'hex'), 'hex')
}

function unfit(why: string): Problem {
  return problem('proof-invalid', `${why} Send the request without it to be asked anew.`)
}

const garbled = problem(
  'credential-malformed',
  'The Authorization field is not "L402 <token>:<preimage>", the preimage in 64 hex digits.',
)
const tooLong = problem('credential-malformed', 'The token is too long.')
const unproved = problem(
  'proof-invalid',
  'The preimage is not that of the payment that the token was made for.',
)
const bare = problem(
  'proof-invalid',
  'The token is good only with the preimage of its invoice: "L402 <token>:<preimage>".',
)
const foreign = problem('proof-invalid', 'The token holds an offer that is not read here any more.')
