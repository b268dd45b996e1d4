import { hash } from 'node:crypto'
import type { Session } from '../../core/credential.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Price } from '../../core/money.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { readInvoice } from './bolt11.ts'
import { isLnurl } from './lnurl.ts'
import { chains } from './networks.ts'
import { CHARGE, RAIL, readAsked } from './terms.ts'
import type { Details, Proof } from './terms.ts'

/** What the method is called in MPP. */
export const METHOD = 'lightning'

/** A balance that is paid in, and drawn on. */
const SESSION = 'session'

/** Terms on Lightning as MPP says them (draft-lightning-charge-00). */
export interface MppWords {
  readonly method: string
  readonly intent: string
  /** Absent where MPP has no words for the terms: payments that are held, and parts of a satoshi. */
  readonly request?: JsonObject
}

/** What the networks are called. */
const names: Readonly<Record<string, string>> = {
  [chains['bc'] ?? '']: 'mainnet',
  [chains['tb'] ?? '']: 'testnet',
  [chains['tbs'] ?? '']: 'signet',
  [chains['bcrt'] ?? '']: 'regtest',
}

const MSAT_PER_SAT = 1_000n
/** Longest time that terms may name. */
const TIMEOUT_MS_MAX = 2 ** 40

/** This rail said in MPP, for any network. */
export const mppForm: Pick<
  Form<Details, Proof, MppWords>,
  'rail' | 'writeDetails' | 'readDetails' | 'writeProof' | 'readProof'
> = {
  rail: RAIL,
  writeDetails,
  readDetails,
  writeProof: ({ preimage, feeMsat }) => ({
    payload: { ...(preimage !== undefined && { preimage }) },
    // For the payer's own books; sellers do not look at it.
    ...(feeMsat !== undefined && { feeMsat: feeMsat.toString() }),
  }),
  readProof,
}

/** What a node of ours can give back what is left of a session to. */
export interface SessionsSettings {
  /** Whether it pays invoices that name no amount. */
  readonly amountless: boolean
}

/** The sessions of this rail (draft-lightning-session-00): `open`, `bearer`, `topUp` and `close`. */
export function createSessions({ amountless }: SessionsSettings): MppSessions {
  return {
    method: METHOD,
    write: writeSession,
    read: (payload, request, terms) => readSession(payload, request, terms, amountless),
    open: ({ preimage }, returnTo) => ({
      action: 'open',
      ...(preimage !== undefined && { preimage }),
      returnInvoice: returnTo,
    }),
  }
}

/** As MPP wants it of a rail with sessions. */
export interface MppSessions {
  readonly method: string
  write(terms: Terms<Details>, use: { readonly balance: Price; readonly unit: Price }): MppWords
  read(
    payload: JsonObject,
    request: JsonObject,
    terms?: Terms<Details>,
  ): { readonly session: Session; readonly proof?: Proof } | string
  open(proof: Proof, returnTo: string): JsonObject
}

/** A unit costs its share of what is paid in, rounded up to whole satoshis: the balance counts in its own currency. */
function writeSession(
  { amount, timeoutMs, details, invoice }: Terms<Details>,
  { balance, unit }: { readonly balance: Price; readonly unit: Price },
): MppWords {
  const sat = amount.amount / MSAT_PER_SAT
  const words = { method: METHOD, intent: SESSION }
  if (details.salt !== undefined || sat * MSAT_PER_SAT !== amount.amount || invoice === undefined)
    return words
  const parts = unit.amount * 10n ** BigInt(balance.scale)
  const whole = balance.amount * 10n ** BigInt(unit.scale)
  return {
    ...words,
    request: {
      amount: ((sat * parts + whole - 1n) / whole).toString(),
      currency: 'sat',
      depositInvoice: invoice,
      paymentHash: details.hash,
      depositAmount: sat.toString(),
      // Ours: the terms are read back from what the payer echoes.
      timeoutMs,
    },
  }
}

function readSession(
  { action, preimage, sessionId, returnInvoice, topUpPreimage }: JsonObject,
  { amount }: JsonObject,
  terms: Terms<Details> | undefined,
  amountless: boolean,
): { readonly session: Session; readonly proof?: Proof } | string {
  const told = typeof amount === 'string' && /^[1-9]\d{0,15}$/.test(amount)
  const rest = { rail: RAIL, ...(told && { unitSat: BigInt(amount) }) }
  if (action === 'open') {
    const id = terms?.details.hash
    if (id === undefined || !opens(preimage, id)) return WRONG
    const returnTo = readReturn(returnInvoice, terms?.network, amountless)
    if (typeof returnTo !== 'object') return returnTo
    const proof = { preimage: preimage.toLowerCase() }
    return { session: { act: 'open', id, ...rest, ...returnTo }, proof }
  }
  if (!isHex32(sessionId)) return 'The id of the session is not 64 hex digits.'
  const id = sessionId.toLowerCase()
  if (action === 'topUp')
    return terms && opens(topUpPreimage, terms.details.hash)
      ? {
          session: { act: 'top-up', id, ...rest },
          proof: { preimage: topUpPreimage.toLowerCase() },
        }
      : WRONG
  if (action !== 'bearer' && action !== 'close') return 'The action is not known.'
  if (!opens(preimage, id)) return WRONG
  return { session: { act: action === 'close' ? 'close' : 'use', id, ...rest } }
}

const WRONG = 'The preimage is not that of the payment.'

/** Where what is left may go: something that can be paid an amount that is not known yet. */
function readReturn(
  said: unknown,
  network: string | undefined,
  amountless: boolean,
): { readonly returnTo: string } | string {
  if (typeof said !== 'string' || said === '' || said.length > RETURN_CHARS_MAX)
    return '"returnInvoice" is no text, or too long.'
  const returnTo = said.replace(/^lightning:/i, '')
  if (isLnurl(returnTo) || /^lno1[a-z0-9]+$/i.test(returnTo)) return { returnTo }
  const invoice = readInvoice(returnTo)
  if (typeof invoice === 'string')
    return '"returnInvoice" is no invoice, offer, Lightning address or LNURL.'
  if (invoice.msat !== undefined) return '"returnInvoice" must leave the amount open.'
  if (invoice.network !== network) return '"returnInvoice" is for another network.'
  return amountless
    ? { returnTo }
    : 'This service cannot pay invoices without an amount: name a Lightning address, an offer or an LNURL.'
}

/** Longest destination of what is left, in characters. */
const RETURN_CHARS_MAX = 2_048

function isHex32(said: unknown): said is string {
  return typeof said === 'string' && /^[0-9a-fA-F]{64}$/.test(said)
}

function opens(preimage: unknown, id: string): preimage is string {
  return isHex32(preimage) && hash('sha256', Buffer.from(preimage, 'hex'), 'hex') === id
}

function writeDetails({ network, amount, timeoutMs, details, invoice }: Terms<Details>): MppWords {
  const sat = amount.amount / MSAT_PER_SAT
  const words = { method: METHOD, intent: CHARGE }
  if (details.salt !== undefined || sat * MSAT_PER_SAT !== amount.amount) return words
  const name = names[network]
  return {
    ...words,
    request: {
      amount: sat.toString(),
      currency: 'sat',
      // Without an invoice it only tells what it would cost.
      ...(invoice !== undefined && {
        methodDetails: {
          invoice,
          paymentHash: details.hash,
          ...(name !== undefined && { network: name }),
          // Ours: the terms are read back from what the payer echoes.
          timeoutMs,
        },
      }),
    },
  }
}

/** The invoice is read whole and its signature checked; what stands beside it must agree. */
function readDetails({ method, intent, request }: MppWords): Terms<Details> | string {
  if (method === METHOD && intent === SESSION && request) return readOffered(request)
  if (method !== METHOD || intent !== CHARGE)
    return `Only ${METHOD}/${CHARGE} is known on this rail.`
  const said = request?.['methodDetails']
  const { invoice, paymentHash, network, timeoutMs } = isObject(said) ? said : {}
  if (typeof invoice !== 'string') return 'There is no invoice.'
  const hash = typeof paymentHash === 'string' ? { hash: paymentHash.toLowerCase() } : {}
  const terms = readAsked(invoice, hash)
  if (typeof terms === 'string') return terms
  const sat = terms.amount.amount / MSAT_PER_SAT
  // The specification's own examples still count in "BTC" where they mean satoshis: only the invoice counts.
  if (request?.['amount'] !== sat.toString() || sat * MSAT_PER_SAT !== terms.amount.amount)
    return 'The invoice asks for another amount than the challenge.'
  if (network !== undefined && network !== names[terms.network])
    return 'The invoice is for another network than the challenge.'
  return isTime(timeoutMs) ? { ...terms, timeoutMs } : terms
}

/** The terms of a session are those of its first payment. */
function readOffered(request: JsonObject): Terms<Details> | string {
  const { depositInvoice, paymentHash, depositAmount, timeoutMs } = request
  if (typeof depositInvoice !== 'string') return 'There is no invoice for the deposit.'
  const hash = typeof paymentHash === 'string' ? { hash: paymentHash.toLowerCase() } : {}
  const terms = readAsked(depositInvoice, hash)
  if (typeof terms === 'string') return terms
  const sat = terms.amount.amount / MSAT_PER_SAT
  const isSame = depositAmount === undefined || depositAmount === sat.toString()
  if (!isSame || sat * MSAT_PER_SAT !== terms.amount.amount)
    return 'The invoice asks for another amount than the challenge.'
  return isTime(timeoutMs) ? { ...terms, timeoutMs } : terms
}

function isTime(ms: unknown): ms is number {
  return Number.isSafeInteger(ms) && Number(ms) >= 0 && Number(ms) <= TIMEOUT_MS_MAX
}

function readProof(said: unknown): Proof | string {
  if (!isObject(said)) return 'The proof is no object.'
  const { id, payload, feeMsat } = said
  const preimage = isObject(payload) ? payload['preimage'] : undefined
  const fee =
    typeof feeMsat === 'string' && /^\d{1,19}$/.test(feeMsat) ? BigInt(feeMsat) : undefined
  // A payer may look for a payment of which it has no preimage yet; a seller is shown one.
  if (preimage === undefined && id === undefined)
    return { ...(fee !== undefined && { feeMsat: fee }) }
  if (typeof preimage !== 'string' || !/^[0-9a-fA-F]{64}$/.test(preimage))
    return 'The preimage is not 64 hex digits.'
  return { preimage: preimage.toLowerCase(), ...(fee !== undefined && { feeMsat: fee }) }
}
