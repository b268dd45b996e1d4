import type { Json } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import { kinds } from './entry.ts'
import type { BookEntry, Kind } from './entry.ts'
import { decimalOf } from './quantity.ts'
import type { Quantity, Tax } from './quantity.ts'
import { paymentStates } from './reader.ts'
import type { Payment } from './reader.ts'

/** Most digits behind the point of an asset that is read back. */
const SCALE_MAX = 96

/** Reads back what {@link entryJson} wrote, for whoever gets entries over the network; undefined for anything else. */
export function readEntryJson(said: Json | undefined): BookEntry | undefined {
  if (!isObject(said)) return undefined
  const { kind, sequence, time, of } = said
  const [at, amount] = [Date.parse(text(time)), quantityIn(said['amount'])]
  if (!isKind(kind) || !Number.isSafeInteger(sequence) || Number.isNaN(at) || !amount)
    return undefined
  const cost = quantityIn(said['cost'])
  return {
    sequence: Number(sequence),
    at,
    kind,
    key: text(said['key']),
    ...(typeof of === 'string' && { of }),
    route: text(said['route']),
    payer: text(said['payer']),
    rail: text(said['rail']),
    network: text(said['network']),
    amount,
    ...(cost && { cost }),
    ...valueIn(said['value']),
    ...taxIn(said['tax']),
    reference: text(said['reference']),
    request: text(said['request']),
    remark: text(said['remark']),
  }
}

/** Reads back an entry with the state that it has as a payment. */
export function readPaymentJson(said: Json | undefined): Payment | undefined {
  const entry = readEntryJson(said)
  const named = isObject(said) ? said['state'] : undefined
  const state = paymentStates.find((one) => one === named)
  return entry && state && { ...entry, state }
}

function isKind(said: Json | undefined): said is Kind {
  return typeof said === 'string' && Object.hasOwn(kinds, said)
}

function quantityIn(said: Json | undefined): Quantity | undefined {
  if (!isObject(said)) return undefined
  const { amount, code, asset } = said
  const units = wholeIn(said['units'])
  const scale = units === undefined ? undefined : scaleOf(text(amount), units)
  if (units === undefined || scale === undefined) return undefined
  return { asset: text(asset), code: text(code), scale, units }
}

/** How many digits stand behind the point, by what is said twice. */
function scaleOf(amount: string, units: bigint): number | undefined {
  for (let scale = 0; scale <= SCALE_MAX; scale++)
    if (decimalOf({ units, scale }) === amount) return scale
  return undefined
}

function valueIn(said: Json | undefined): Pick<BookEntry, 'value'> {
  if (!isObject(said)) return {}
  const [, sign = '', whole = '', part = ''] =
    /^(-?)(\d{1,100})(?:\.(\d{1,100}))?$/.exec(text(said['amount'])) ?? []
  if (whole === '') return {}
  const { currency, rate, source } = said
  const amount = BigInt(`${sign}${whole}${part}`)
  return {
    value: {
      ...{ currency: text(currency), amount, scale: part.length },
      ...{ rate: text(rate), source: text(source) },
    },
  }
}

function taxIn(said: Json | undefined): Pick<BookEntry, 'tax'> {
  const tax = taxLineIn(said)
  if (!tax || !isObject(said)) return {}
  const lines = Array.isArray(said['lines'])
    ? (said['lines'] as readonly Json[]).map(taxLineIn).filter((line) => line !== undefined)
    : []
  return { tax: lines.length > 0 ? { ...tax, lines } : tax }
}

function taxLineIn(said: Json | undefined): Tax | undefined {
  if (!isObject(said)) return undefined
  const amount = quantityIn(said['amount'])
  return amount && { name: text(said['name']), percent: text(said['percent']), amount }
}

function wholeIn(said: Json | undefined): bigint | undefined {
  return typeof said === 'string' && /^-?\d{1,100}$/.test(said) ? BigInt(said) : undefined
}

function text(said: Json | undefined): string {
  return typeof said === 'string' ? said : ''
}
