import { kinds } from './entry.ts'
import type { BookEntry, Kind } from './entry.ts'
import type { Quantity } from './quantity.ts'

/** What a report groups by. */
export type By = 'route' | 'rail' | 'payer' | 'day'

/** Most groups of a report: the memory that it takes. What comes after goes into one more. */
export const GROUPS_MAX = 100_000

/** The name of the group for all that had no room. */
export const REST = '(more)'

/** How often, and how much, of a kind. Below zero where it left. */
export interface Sum {
  readonly count: number
  readonly units: bigint
}

/** One group in one asset and, where values are known, one currency. */
export interface ReportLine {
  readonly group: string
  readonly asset: string
  readonly code: string
  readonly scale: number
  readonly sums: Readonly<Partial<Record<Kind, Sum>>>
  /** What was earned: sales less all that went back. */
  readonly net: bigint
  /** Tax that the net contains, in the same asset. */
  readonly tax: bigint
  /** What the net was worth when it was sold. */
  readonly value?: { readonly currency: string; readonly amount: bigint; readonly scale: number }
  /** What it has cost, in this asset. */
  readonly costs: bigint
}

type Line = { -readonly [M in keyof ReportLine]: ReportLine[M] } & {
  sums: Partial<Record<Kind, Sum>>
}

/** Adds entries up, in the order of the groups' names. Exact: nothing is rounded. */
export async function makeReport(
  entries: AsyncIterable<BookEntry>,
  by: By,
  groupsMax: number = GROUPS_MAX,
): Promise<readonly ReportLine[]> {
  const lines = new Map<string, Line>()
  const groups = new Set<string>()
  const lineOf = (group: string, { asset, code, scale }: Quantity, currency: string): Line => {
    const name = JSON.stringify([group, asset, currency])
    const known = lines.get(name)
    if (known) return known
    const made: Line = { group, asset, code, scale, sums: {}, net: 0n, tax: 0n, costs: 0n }
    lines.set(name, made)
    return made
  }
  for await (const entry of entries) {
    const named = groupings[by](entry)
    const group = groups.has(named) || groups.size < groupsMax ? named : REST
    groups.add(group)
    const { currency = '' } = entry.value ?? {}
    add(lineOf(group, entry.amount, kinds[entry.kind].isCash ? currency : ''), entry)
    const { cost } = entry
    if (cost) lineOf(group, cost, '').costs += cost.units
  }
  return [...lines.values()].toSorted(
    (a, b) => compare(a.group, b.group) || compare(a.code, b.code),
  )
}

const groupings: Readonly<Record<By, (entry: BookEntry) => string>> = {
  day: ({ at }) => new Date(at).toISOString().slice(0, 10),
  rail: ({ rail, network }) => `${rail} ${network}`.trim(),
  route: ({ route }) => route,
  payer: ({ payer }) => payer,
}

function add(line: Line, { kind, amount, tax, value }: BookEntry): void {
  const { count, units } = line.sums[kind] ?? { count: 0, units: 0n }
  line.sums[kind] = { count: count + 1, units: units + amount.units }
  if (kind === 'cost') line.costs -= amount.units
  if (!kinds[kind].isCash) return
  line.net += amount.units
  line.tax += tax?.amount.units ?? 0n
  if (value) line.value = addValue(line.value, value)
}

function addValue(
  before: ReportLine['value'],
  { currency, amount, scale }: NonNullable<ReportLine['value']>,
): NonNullable<ReportLine['value']> {
  const finest = Math.max(before?.scale ?? 0, scale)
  const sum = at(before?.amount ?? 0n, before?.scale ?? 0, finest) + at(amount, scale, finest)
  return { currency, amount: sum, scale: finest }
}

function at(amount: bigint, scale: number, finest: number): bigint {
  return amount * 10n ** BigInt(finest - scale)
}

function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
