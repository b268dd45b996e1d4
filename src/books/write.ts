import type { JsonObject } from '../core/json.ts'
import { kinds } from './entry.ts'
import type { BookEntry, Kind } from './entry.ts'
import { decimalOf } from './quantity.ts'
import type { Quantity, Tax } from './quantity.ts'
import type { ReportLine, Sum } from './report.ts'

/** The columns of exported entries. */
export const entryColumns = [
  'sequence',
  'time',
  'kind',
  'route',
  'payer',
  'rail',
  'network',
  'amount',
  'code',
  'units',
  'asset',
  'value',
  'currency',
  'rate',
  'rate_source',
  'tax',
  'tax_name',
  'tax_percent',
  'cost',
  'cost_code',
  'cost_units',
  'reference',
  'key',
  'of',
  'request',
  'remark',
] as const

/** The columns of an exported report. */
export const reportColumns = [
  'group',
  'code',
  'sales',
  'gross',
  'back',
  'net',
  'net_units',
  'tax',
  'value',
  'currency',
  'costs',
  'cost_units',
  'drawn',
  'bought',
  'asset',
] as const

/** An entry as cells. Amounts stand there twice, as exact decimals and in the smallest unit. */
export function entryCells(entry: BookEntry): Record<(typeof entryColumns)[number], string> {
  const { amount, value, tax, cost } = entry
  return {
    sequence: `${entry.sequence}`,
    time: new Date(entry.at).toISOString(),
    kind: entry.kind,
    route: entry.route,
    payer: entry.payer,
    rail: entry.rail,
    network: entry.network,
    amount: decimalOf(amount),
    code: amount.code,
    units: `${amount.units}`,
    asset: amount.asset,
    value: value ? decimalOf({ units: value.amount, scale: value.scale }) : '',
    currency: value?.currency ?? '',
    rate: value?.rate ?? '',
    rate_source: value?.source ?? '',
    tax: tax ? decimalOf(tax.amount) : '',
    tax_name: tax?.name ?? '',
    tax_percent: tax?.percent ?? '',
    cost: cost ? decimalOf(cost) : '',
    cost_code: cost?.code ?? '',
    cost_units: cost ? `${cost.units}` : '',
    reference: entry.reference,
    key: entry.key,
    of: entry.of ?? '',
    request: entry.request,
    remark: entry.remark,
  }
}

/** A line of a report as cells. */
export function reportCells(line: ReportLine): Record<(typeof reportColumns)[number], string> {
  const { sums, scale, value, net, costs, tax } = line
  const decimal = (units: bigint): string => decimalOf({ units, scale })
  const sum = (kind: Kind): Sum => sums[kind] ?? { count: 0, units: 0n }
  const gross = sum('sale')
  return {
    group: line.group,
    code: line.code,
    sales: `${gross.count}`,
    gross: decimal(gross.units),
    back: decimal(gross.units - net),
    net: decimal(net),
    net_units: `${net}`,
    tax: decimal(tax),
    value: value ? decimalOf({ units: value.amount, scale: value.scale }) : '',
    currency: value?.currency ?? '',
    costs: decimal(costs),
    cost_units: `${costs}`,
    drawn: decimal(sum('draw').units),
    bought: decimal(-sum('purchase').units),
    asset: line.asset,
  }
}

/** An entry for programs: one object, amounts as text. */
export function entryJson(entry: BookEntry): JsonObject {
  const { amount, value, tax, cost, at, ...rest } = entry
  return {
    ...rest,
    time: new Date(at).toISOString(),
    amount: quantityJson(amount),
    ...(cost && { cost: quantityJson(cost) }),
    ...(value && {
      value: {
        currency: value.currency,
        amount: decimalOf({ units: value.amount, scale: value.scale }),
        rate: value.rate,
        source: value.source,
      },
    }),
    ...(tax && { tax: taxJson(tax) }),
  }
}

function taxJson({ name, percent, amount, lines }: Tax): JsonObject {
  return {
    ...{ name, percent, amount: quantityJson(amount) },
    ...(lines && { lines: lines.map(taxJson) }),
  }
}

/** A line of a report for programs. */
export function reportJson(line: ReportLine): JsonObject {
  const { group, asset, code, scale, sums, net, tax, costs, value } = line
  const json = (units: bigint): JsonObject => quantityJson({ asset, code, scale, units })
  const counted = Object.keys(kinds).flatMap((kind) => {
    const sum = sums[kind as Kind]
    return sum ? [[kind, { count: sum.count, ...json(sum.units) }] as const] : []
  })
  return {
    group,
    ...Object.fromEntries(counted),
    net: json(net),
    tax: json(tax),
    costs: json(costs),
    ...(value && {
      value: {
        currency: value.currency,
        amount: decimalOf({ units: value.amount, scale: value.scale }),
      },
    }),
  }
}

/** A quantity for programs. */
export function quantityJson(quantity: Quantity): JsonObject {
  const { units, code, asset } = quantity
  return { amount: decimalOf(quantity), code, units: units.toString(), asset }
}

/**
 * One line of CSV, as RFC 4180 has it, its end included. What a spreadsheet would take for a formula gets an apostrophe before
 * it: whoever pays chooses some of these texts. Numbers stay numbers.
 */
export function csvLine(cells: readonly string[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`
}

function csvCell(text: string): string {
  const isNumber = /^-?\d+(?:\.\d+)?$/.test(text)
  const safe = isNumber || !FORMULA.test(text) ? text : `'${text}`
  return /[",\r\n]/.test(safe) || safe !== text ? `"${safe.replaceAll('"', '""')}"` : safe
}

/** How formulas begin, also in the wide letters that some spreadsheets take for the same, and behind blanks. */
const FORMULA = /^[\t\r\n]|^\s*[=+\-@＝＋－＠]/u
