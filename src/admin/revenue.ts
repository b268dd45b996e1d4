import { kinds } from '../books/entry.ts'
import type { BookEntry } from '../books/entry.ts'
import { decimalOf } from '../books/quantity.ts'
import type { NameAsset } from '../books/quantity.ts'
import { readEntries } from '../books/reader.ts'
import { REST } from '../books/report.ts'
import type { JsonObject } from '../core/json.ts'
import type { Clock, Ledger } from '../core/ports.ts'

/** What revenue is grouped by. */
export const groupings = ['route', 'rail', 'payer'] as const
/** How wide a bucket is. */
export const buckets = { hour: 3_600_000, day: 86_400_000 } as const
/** Most buckets of one answer. */
export const BUCKETS_MAX = 400
/** Groups of one kind that are kept apart; what comes after goes into one more. */
export const GROUPS_MAX = 200
/** Groups that are drawn by themselves; the smaller ones are one. */
export const GROUPS_SHOWN = 8
/** How long hours are kept. */
export const HOURS_KEPT_MS = 1_209_600_000
/** How long days are kept. */
export const DAYS_KEPT_MS = 94_608_000_000
/** How long an answer waits for the books to be read on; what is known then is said. */
export const REFRESH_WAIT_MS = 2_000

type Grouping = (typeof groupings)[number]
type Bucket = keyof typeof buckets

interface Sum {
  units: bigint
  scale: number
  count: number
}

/** For one unit and one grouping: each group's sums by the beginning of the bucket. */
type Series = Map<string, Map<number, Sum>>

/** What is asked for. */
export interface RevenueQuestion {
  readonly by: Grouping
  readonly bucket: Bucket
  readonly from: number
  readonly to: number
  /** A currency, or an asset's code where no value is known; the one with the most sales if absent. */
  readonly unit?: string
}

/** Revenue over time, read from the books once and then on from where it was. */
export interface Revenue {
  answer(question: RevenueQuestion): Promise<JsonObject>
  /** Stops reading. */
  close(): void
}

/** Makes it. Entries never change once they are booked, so what was added up stays right. */
export function createRevenue(ledger: Ledger, nameAsset: NameAsset, clock: Clock): Revenue {
  const all = new Map<string, Series>()
  const names = new Map<Grouping, Set<string>>()
  const sales = new Map<string, number>()
  const closing = new AbortController()
  let after = 0
  let upToAt = 0
  let reading: Promise<void> | undefined
  let failed: unknown

  async function readOn(): Promise<void> {
    const { signal } = closing
    const from = after
    const onRow = (sequence: number): void => void (after = sequence)
    for await (const entry of readEntries(ledger, { after: from, nameAsset, signal, onRow })) {
      // An entry twice, after a fault in the middle of a stretch, would be money twice.
      if (entry.sequence > seen) add(entry)
      seen = Math.max(seen, entry.sequence)
      upToAt = entry.at
    }
  }
  let seen = 0

  function add(entry: BookEntry): void {
    if (!kinds[entry.kind].isCash) return
    const { value, amount } = entry
    const unit = value?.currency ?? amount.code
    const [units, scale] = value ? [value.amount, value.scale] : [amount.units, amount.scale]
    sales.set(unit, (sales.get(unit) ?? 0) + 1)
    for (const by of groupings)
      for (const bucket of ['hour', 'day'] as const) {
        if (bucket === 'hour' && entry.at < clock.now() - HOURS_KEPT_MS) continue
        const series = take(all, `${bucket} ${by} ${unit}`, (): Series => new Map())
        const sums = take(series, nameIn(by, entry), () => new Map<number, Sum>())
        const start = Math.floor(entry.at / buckets[bucket]) * buckets[bucket]
        if (!sums.has(start)) prune(sums, bucket)
        const count = entry.kind === 'sale' ? 1 : 0
        put(take(sums, start, empty), { units, scale, count })
      }
  }

  function nameIn(by: Grouping, entry: BookEntry): string {
    const known = take(names, by, () => new Set<string>())
    const name = by === 'rail' ? `${entry.rail} ${entry.network}`.trim() : entry[by]
    if (!known.has(name) && known.size >= GROUPS_MAX) return REST
    known.add(name)
    return name
  }

  function prune(sums: Map<number, Sum>, bucket: Bucket): void {
    const oldest = clock.now() - (bucket === 'hour' ? HOURS_KEPT_MS : DAYS_KEPT_MS)
    for (const start of sums.keys()) if (start < oldest) sums.delete(start)
  }

  function refresh(): Promise<void> {
    reading ??= readOn()
      .then(
        () => (failed = undefined),
        (error: unknown) => (failed = error),
      )
      .then(() => void (reading = undefined))
    return reading
  }

  async function isCaughtUp(): Promise<boolean> {
    const done = new AbortController()
    const late = clock.sleep(REFRESH_WAIT_MS, done.signal).then(() => false)
    const isDone = await Promise.race([refresh().then(() => true), late])
    done.abort('done')
    if (isDone && failed !== undefined) throw failed
    return isDone
  }

  return {
    async answer({ by, bucket, from, to, unit: wanted }) {
      const isComplete = await isCaughtUp()
      const units = [...sales].toSorted(([, a], [, b]) => b - a).map(([unit]) => unit)
      const unit = wanted ?? units[0] ?? ''
      const starts = startsOf(from, to, bucket)
      const series = all.get(`${bucket} ${by} ${unit}`) ?? new Map<string, Map<number, Sum>>()
      const lines = [...series].map(([group, sums]) => ({
        group,
        values: starts.map((start) => sums.get(start) ?? empty()),
      }))
      return {
        by,
        bucket,
        unit,
        units,
        starts: starts.map((start) => new Date(start).toISOString()),
        ...told(lines, starts.length),
        isComplete,
        ...(upToAt > 0 && { upTo: new Date(upToAt).toISOString() }),
      }
    },
    close: () => closing.abort('closed'),
  }
}

interface Line {
  readonly group: string
  readonly values: readonly Sum[]
}

/** The largest groups by themselves, and all others as one. */
function told(lines: readonly Line[], width: number): JsonObject {
  const full = lines
    .map((line) => ({ ...line, total: total(line.values) }))
    .filter(({ values }) => values.some(({ units, count }) => units !== 0n || count > 0))
    .toSorted((a, b) => compare(b.total, a.total))
  const shown: readonly Line[] = full.slice(0, GROUPS_SHOWN)
  const rest = full.slice(GROUPS_SHOWN)
  const columns = Array.from({ length: width }, (_, i) => i)
  const others = columns.map((i) => total(rest.map(({ values }) => values[i] ?? empty())))
  const said = rest.length === 0 ? shown : [...shown, { group: REST, values: others }]
  const everything = total(full.map((line) => line.total))
  return {
    groups: said.map(({ group, values }) => ({
      group,
      total: decimalOf(total(values)),
      count: total(values).count,
      values: values.map((sum) => decimalOf(sum)),
    })),
    total: decimalOf(everything),
    count: everything.count,
  }
}

function startsOf(from: number, to: number, bucket: Bucket): readonly number[] {
  const wide = buckets[bucket]
  const first = Math.floor(from / wide) * wide
  const length = Math.max(0, Math.min(BUCKETS_MAX, Math.ceil((to - first) / wide)))
  return Array.from({ length }, (_, i) => first + i * wide)
}

function total(sums: readonly Sum[]): Sum {
  const sum = empty()
  for (const one of sums) put(sum, one)
  return sum
}

/** Exact: sums are kept at the finest scale that was met. */
function put(sum: Sum, { units, scale, count }: Sum): void {
  const finest = Math.max(sum.scale, scale)
  sum.units = at(sum.units, sum.scale, finest) + at(units, scale, finest)
  sum.scale = finest
  sum.count += count
}

function at(units: bigint, scale: number, finest: number): bigint {
  return units * 10n ** BigInt(finest - scale)
}

function compare(a: Sum, b: Sum): number {
  const finest = Math.max(a.scale, b.scale)
  const [x, y] = [at(a.units, a.scale, finest), at(b.units, b.scale, finest)]
  if (x === y) return 0
  return x < y ? -1 : 1
}

function empty(): Sum {
  return { units: 0n, scale: 0, count: 0 }
}

function take<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
