import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import type { Money } from '../core/money.ts'
import type { Ledger, Transfer } from '../core/ports.ts'

/** Most taxes of one sale. */
export const TAX_LINES_MAX = 8
/** Digits of a rate behind its point, at most. */
const RATE_SCALE_MAX = 6

/** What a tax is reckoned from: a sale as it is claimed, before anything has moved. */
export interface TaxedSale {
  readonly key: string
  /** What is asked for, with the tax in it. */
  readonly amount: Money
  /** The account that earns, for instance `sales/GET /weather`. */
  readonly account: string
  readonly payer: string
  readonly rail: string
  readonly network: string
  /** Where the payer asked: host, and path. */
  readonly authority: string
  readonly path: string
}

/** A tax that the amount contains. */
export interface TaxLine {
  /** As it is to stand in the books: `VAT`. */
  readonly name: string
  /** Decimal text, without a sign: `19`, `9.975`. */
  readonly percent: string
  /** In the smallest unit of the sale's asset. */
  readonly amount: bigint
}

/** Which taxes a sale contains. Pure: the same sale gives the same lines, for they are written once and stay. */
export type Taxes = (sale: TaxedSale) => readonly TaxLine[]

/** The rate of one tax. */
export interface TaxRate {
  readonly name: string
  readonly percent: string
}

/** Rates by place. */
export interface TaxTable {
  /**
   * By country (ISO 3166-1, two letters), or by a region of one (ISO 3166-2): `DE`, `CA-QC`. A region without a row has that of
   * its country, and a place without one has no tax.
   */
  readonly rates: Readonly<Record<string, readonly TaxRate[]>>
  /** Where a sale is taxed: a place, or a function that knows. Machines seldom say where they are, so it is mostly our own. */
  readonly place: string | ((sale: TaxedSale) => string | undefined)
}

/**
 * Taxes by a table of fixed rates. Prices contain them: of 1.19 at 19 % the tax is 0.19. Several of one place are all reckoned
 * from the same net amount. Each is rounded to the nearest smallest unit, half of one upwards.
 * @throws {RangeError} for a place or a rate that cannot be meant.
 *
 * @example
 * const taxes = taxTable({ place: 'DE', rates: { DE: [{ name: 'VAT', percent: '19' }] } })
 */
export function taxTable({ rates, place }: TaxTable): Taxes {
  const rows = new Map(
    Object.entries(rates).map(([at, all]) => [checkPlace(at), all.map(readRate)]),
  )
  if (typeof place === 'string') checkPlace(place)
  return (sale) => {
    const at = typeof place === 'string' ? place : place(sale)
    const all = at === undefined ? undefined : (rows.get(at) ?? rows.get(at.slice(0, 2)))
    return linesOf(sale.amount.amount, all ?? [])
  }
}

/** A rate in millionths of a percent. */
interface Rate extends TaxRate {
  readonly parts: bigint
}

const WHOLE = 100n * 10n ** BigInt(RATE_SCALE_MAX)

function linesOf(amount: bigint, rates: readonly Rate[]): readonly TaxLine[] {
  const gross = rates.reduce((sum, { parts }) => sum + parts, WHOLE)
  return rates.map(({ name, percent, parts }) => ({
    ...{ name, percent },
    amount: (2n * amount * parts + gross) / (2n * gross),
  }))
}

function checkPlace(place: string): string {
  if (/^[A-Z]{2}(?:-[A-Z0-9]{1,3})?$/.test(place)) return place
  throw new RangeError(`"${place.slice(0, 20)}" is no place. Write it like "DE" or "CA-QC".`)
}

function readRate({ name, percent }: TaxRate): Rate {
  const [, whole = '', part = ''] = /^(\d{1,3})(?:\.(\d{1,6}))?$/.exec(percent) ?? []
  if (whole === '' || name === '' || name.length > 40)
    throw new RangeError('A rate has a name and a percentage like "19" or "9.975".')
  return { name, percent, parts: BigInt(whole + part.padEnd(RATE_SCALE_MAX, '0')) }
}

/**
 * The same books, in which every sale has the taxes that it contains from its claim on: what a rate is next year changes nothing
 * that was sold. What a seller is given instead of its ledger.
 */
export function taxed(ledger: Ledger, taxes: Taxes): Ledger {
  return {
    ...ledger,
    transfer: (transfer) => ledger.transfer(withTax(transfer, taxes)),
  }
}

function withTax(transfer: Transfer, taxes: Taxes): Transfer {
  const sale = saleIn(transfer)
  if (!sale) return transfer
  const lines = taxes(sale).slice(0, TAX_LINES_MAX)
  if (lines.length === 0) return transfer
  const said = lines.map(({ name, percent, amount }) => ({ name, percent, amount: `${amount}` }))
  const tax = { of: `${transfer.amount}`, lines: said }
  return { ...transfer, note: { ...transfer.note, tax } }
}

function saleIn({ key, note, legs, amount }: Transfer): TaxedSale | undefined {
  const offer = note['offer']
  const [leg] = legs
  if (note['kind'] !== 'sale' || !isObject(offer) || !leg) return undefined
  const money = isObject(offer['amount']) ? offer['amount'] : {}
  const asset = isObject(money['asset']) ? money['asset'] : {}
  const resource = isObject(offer['resource']) ? offer['resource'] : {}
  const currency = asset['currency']
  return {
    key,
    amount: {
      amount,
      asset: {
        ...{ id: text(asset['id']), code: text(asset['code']), scale: Number(asset['scale']) },
        ...(typeof currency === 'string' && { currency }),
      },
    },
    account: leg.credit,
    payer: text(note['payer']),
    ...wordsOf(offer),
    authority: text(resource['authority']),
    path: text(resource['path']),
  }
}

function wordsOf(offer: JsonObject): Pick<TaxedSale, 'rail' | 'network'> {
  return { rail: text(offer['rail']), network: text(offer['network']) }
}

function text(said: Json | undefined): string {
  return typeof said === 'string' ? said : ''
}
