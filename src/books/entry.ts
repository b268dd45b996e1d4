import type { JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import type { Held, Leg, Row } from '../core/ports.ts'
import { classOf } from './chart.ts'
import { quantityOf, taxOf, valueOf } from './quantity.ts'
import type { NameAsset, Quantity, Tax, Value } from './quantity.ts'

/** What happened; {@link kinds} says what each means. */
export type Kind =
  | 'sale'
  | 'refund'
  | 'withdrawal'
  | 'reversal'
  | 'cost'
  | 'deposit'
  | 'draw'
  | 'purchase'
  | 'facilitated'
  | 'sweep'
  | 'opening'
  | 'mismatch'
  | 'income'
  | 'booking'
  | 'other'

interface Meaning {
  /** Whether it changes what was earned. */
  readonly isCash: boolean
  readonly means: string
}

/** The kinds of entries. */
export const kinds: Readonly<Record<Kind, Meaning>> = {
  sale: { isCash: true, means: 'a request or a plan was paid' },
  refund: { isCash: true, means: 'money was given back' },
  withdrawal: { isCash: true, means: 'money was pulled by a link' },
  reversal: { isCash: true, means: 'a settlement vanished from its network' },
  cost: { isCash: false, means: 'what sending something has cost' },
  deposit: { isCash: false, means: 'a token was opened or topped up' },
  draw: { isCash: false, means: 'a request was paid by a token' },
  purchase: { isCash: false, means: 'we paid somebody' },
  facilitated: { isCash: false, means: 'settled for somebody else' },
  sweep: { isCash: false, means: 'money was moved to the treasury' },
  opening: { isCash: false, means: 'it lay there before the first comparison' },
  mismatch: { isCash: false, means: 'what lies there is not what the books say' },
  income: { isCash: true, means: 'what lay in suspense was found to be earned' },
  booking: { isCash: false, means: 'a difference was booked away' },
  other: { isCash: false, means: 'anything else that moved what is ours' },
}

/** One line of the books as an accountant reads them. */
export interface BookEntry {
  /** The row of the journal: where to go on reading. */
  readonly sequence: number
  /** When it was booked, in milliseconds since 1970. */
  readonly at: number
  readonly kind: Kind
  readonly key: string
  /** The key of the sale that it belongs to. */
  readonly of?: string
  /** `GET /weather`; the account where it is none of a route. */
  readonly route: string
  readonly payer: string
  readonly rail: string
  readonly network: string
  readonly amount: Quantity
  /** What it has cost us, in the network's own coin, above zero. */
  readonly cost?: Quantity
  readonly value?: Value
  readonly tax?: Tax
  /** Where the outside world keeps it. */
  readonly reference: string
  /** The id of the request. */
  readonly request: string
  /** What was said about it: a reason, a plan, what was asked for. */
  readonly remark: string
}

/** Reads what was posted; `sale` is what it belongs to. Undefined where nothing moved but counts. */
export function readEntry(
  row: Row,
  held: Held,
  nameAsset: NameAsset,
  sale: Held = held,
): BookEntry | undefined {
  const kind = kindOf(held)
  if (!kind || held.posted === 0n) return undefined
  const { note } = held
  const { of } = note
  const said = { ...sale.note, ...note }
  const settled = held.steps.findLast(({ type }) => type === 'settled')?.data ?? {}
  const offer = offerOf(sale)
  const network = text(offer['network'])
  const amount = amountOf(kind, held, sale, nameAsset)
  const cost = kind === 'sale' ? units(settled['cost']) : 0n
  const worth = kind === 'cost' ? {} : worthOf(amount, said, sale)
  return {
    sequence: row.sequence,
    at: row.at,
    kind,
    key: held.key,
    ...(typeof of === 'string' && { of }),
    route: routeOf(kind, sale),
    payer: text(said['payer']),
    rail: text(offer['rail']),
    network,
    amount,
    ...(cost > 0n && { cost: quantityOf(`gas:${network}`, cost, nameAsset) }),
    ...worth,
    reference: text(settled['reference']),
    request: text(said['request']),
    remark: remarkOf(note),
  }
}

/** By the rate and the tax that were written when it was sold. */
function worthOf(
  amount: Quantity,
  said: JsonObject,
  sale: Held,
): { readonly value?: Value; readonly tax?: Tax } {
  const par = moneyOf(sale)['currency']
  const charged = 'charged' in said ? units(said['charged']) : sale.posted
  const value = valueOf(amount, said['rate'], typeof par === 'string' ? par : undefined)
  const tax = taxOf(said['tax'], amount, charged)
  return { ...(value && { value }), ...(tax && { tax }) }
}

/** What the notes call it. */
const noted: ReadonlyMap<unknown, Kind> = new Map<string, Kind>([
  ['sale', 'sale'],
  ['refund', 'refund'],
  ['withdrawal', 'withdrawal'],
  ['reversal', 'reversal'],
  ['cost', 'cost'],
  // What of a sale went to others, and came undone with it.
  ['cost-back', 'cost'],
  ['facilitated', 'facilitated'],
  ['account', 'deposit'],
  ['topup', 'deposit'],
  ['sweep', 'sweep'],
  ['opening', 'opening'],
  ['mismatch', 'mismatch'],
  ['draw', 'draw'],
  // What takes back one of these, below zero.
  ['rest', 'deposit'],
  ['put-back', 'draw'],
])

/** What kind of transfer the books hold here; undefined for rights and counts. */
function kindOf({ note, legs }: Held): Kind | undefined {
  const kind = noted.get(note['kind'])
  // A draw that only counts under a limit takes nothing.
  const isDrawn = ({ debit, credit }: Leg): boolean => `${debit} ${credit}`.includes('drawn/')
  if (kind === 'draw' && !legs.some(isDrawn)) return undefined
  if (kind) return kind
  if (note['kind'] === 'booking')
    return legs.some(({ credit }) => classOf(credit).kind === 'income') ? 'income' : 'booking'
  if (typeof note['payee'] === 'string' && typeof note['url'] === 'string') return 'purchase'
  const isOurs = legs.some(({ debit, credit }) => !isOutside(debit) || !isOutside(credit))
  return note['kind'] === undefined && isOurs ? 'other' : undefined
}

function isOutside(account: string): boolean {
  return account.startsWith('world/') || /^(?:gas|sent|quota|limits)\//.test(account)
}

/** The offer that was paid, or the words of it that other notes hold. */
function offerOf({ note, steps }: Held): JsonObject {
  const signed = steps.findLast(({ type }) => type === 'signed' || type === 'ordered')?.data
  const offer = note['offer'] ?? signed?.['offer']
  return isObject(offer) ? offer : note
}

/** The asset as the note tells it, with its code and scale. */
function moneyOf(held: Held): JsonObject {
  const { amount } = offerOf(held)
  const asset = isObject(amount) ? amount['asset'] : held.note['money']
  return isObject(asset) ? asset : {}
}

/** Above zero where it came to us, or to a token; below where it left. */
function amountOf(kind: Kind, held: Held, sale: Held, nameAsset: NameAsset): Quantity {
  const { asset, posted } = held
  const isTakenBack = held.note['kind'] === 'rest' || held.note['kind'] === 'put-back'
  if (kind === 'deposit' || kind === 'draw')
    return { ...unitOf(asset), units: isTakenBack ? -posted : posted }
  const { code, scale, id } = moneyOf(sale)
  const isKnown = typeof code === 'string' && typeof scale === 'number'
  if (kind === 'cost') {
    const named: NameAsset = isKnown && id === asset ? () => ({ code, scale }) : nameAsset
    return quantityOf(asset, held.note['kind'] === 'cost-back' ? posted : -posted, named)
  }
  // A purchase is booked in the unit of its budget; what was paid stands in its offer.
  if (kind === 'purchase' && isKnown && typeof id === 'string')
    return { asset: id, code, scale, units: -paidOf(held) }
  // What came back of a refund is ours again.
  const isBack = kind === 'reversal' && sale.note['kind'] === 'refund'
  const sign = isLeaving(kind, held) && !isBack ? -1n : 1n
  return quantityOf(asset, sign * posted, isKnown ? () => ({ code, scale }) : nameAsset)
}

const leaving: ReadonlySet<Kind> = new Set([
  'refund',
  'withdrawal',
  'reversal',
  'purchase',
  'sweep',
])

/** What was found to lie there, or not to, comes out of the account of the payee, or goes into it. */
function isLeaving(kind: Kind, { note, legs }: Held): boolean {
  if (kind === 'booking') return legs.some(({ debit }) => isOutside(debit))
  if (kind !== 'opening' && kind !== 'mismatch') return leaving.has(kind)
  const payee = `world/${text(note['rail'])}/${text(note['network'])}/${text(note['account'])}`
  return legs.some(({ credit }) => credit === payee)
}

/** Tokens count requests, or a currency with so many decimals. */
const TOKEN_SCALE = 18

function unitOf(asset: string): Omit<Quantity, 'units'> {
  return { asset, code: asset, scale: asset === 'uses' ? 0 : TOKEN_SCALE }
}

function paidOf(held: Held): bigint {
  const { amount } = offerOf(held)
  return isObject(amount) ? units(amount['amount']) : 0n
}

function routeOf(kind: Kind, { note, legs }: Held): string {
  if (kind === 'draw') return text(note['what'])
  if (kind === 'purchase') return `${text(note['method'])} ${text(note['url'])}`.trim()
  if (kind === 'deposit') return text(note['plan'])
  const accounts = legs.flatMap(({ debit, credit }) => [credit, debit])
  const earned = accounts.find((account) => account.startsWith(SALES))
  if (kind === 'booking' || kind === 'income')
    return earned?.slice(SALES.length) ?? text(note['to'])
  return earned?.slice(SALES.length) ?? accounts.find((account) => !isOutside(account)) ?? ''
}

const SALES = 'sales/'

function remarkOf(note: JsonObject): string {
  return text(note['reason'] ?? note['what'] ?? note['plan'] ?? note['finding'])
}

function text(said: unknown): string {
  return typeof said === 'string' ? said : ''
}

function units(said: unknown): bigint {
  return typeof said === 'string' && /^\d{1,78}$/.test(said) ? BigInt(said) : 0n
}
