import { writeMoney } from '../core/money.ts'

/** Most series of one metric: what comes beyond goes into one whose labels are all `other`. */
export const SERIES_MAX = 500
/** Longest value of a label, in characters. */
export const LABEL_CHARS_MAX = 200

/** One line of an exposition: a suffix to the name, labels, and the value as decimal text. */
export interface Sample {
  readonly suffix: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: string
}

/** Samples under one name. */
export interface Metric {
  /** Without the `_total` of a counter. */
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  samples(): readonly Sample[]
}

/** A number that only grows. */
export interface Counter extends Metric {
  /** Adds so many, counted in 10^-scale, to the series of these values, one a label. Exact. */
  add(values: readonly string[], amount?: bigint, scale?: number): void
}

/** A number of durations by their lengths. */
export interface Histogram extends Metric {
  add(values: readonly string[], ms: number): void
}

/** Series by the values of their labels, with a limit. */
function createSeries<T>(names: readonly string[], make: () => T) {
  const all = new Map<string, { readonly labels: Record<string, string>; readonly value: T }>()
  return {
    all,
    of(values: readonly string[]): T {
      const known = all.get(JSON.stringify(values))
      if (known) return known.value
      const said = all.size < SERIES_MAX ? values : names.map(() => 'other')
      const key = JSON.stringify(said)
      const labels = names.map((name, i) => [name, (said[i] ?? '').slice(0, LABEL_CHARS_MAX)])
      const one = all.get(key) ?? { labels: Object.fromEntries(labels), value: make() }
      all.set(key, one)
      return one.value
    },
  }
}

/** Makes a counter; without labels it stands at zero from the start. */
export function createCounter(name: string, help: string, names: readonly string[] = []): Counter {
  const series = createSeries(names, () => ({ sum: 0n, scale: 0 }))
  if (names.length === 0) series.of([])
  return {
    name,
    help,
    type: 'counter',
    add(values, amount = 1n, scale = 0) {
      const one = series.of(values)
      const finer = Math.max(one.scale, scale)
      one.sum = one.sum * 10n ** BigInt(finer - one.scale) + amount * 10n ** BigInt(finer - scale)
      one.scale = finer
    },
    samples: () =>
      [...series.all.values()].map(({ labels, value: { sum, scale } }) => {
        return { suffix: '_total', labels, value: decimal(sum, scale) }
      }),
  }
}

/** Makes a histogram of seconds with these upper bounds, in milliseconds. */
export function createHistogram(
  name: string,
  help: string,
  names: readonly string[],
  boundsMs: readonly number[],
): Histogram {
  const series = createSeries(names, () => ({ counts: boundsMs.map(() => 0), count: 0, sumMs: 0n }))
  return {
    name,
    help,
    type: 'histogram',
    add(values, ms) {
      const one = series.of(values)
      for (const [i, bound] of boundsMs.entries())
        if (ms <= bound) one.counts[i] = (one.counts[i] ?? 0) + 1
      one.count++
      one.sumMs += BigInt(Math.round(ms))
    },
    samples: () =>
      [...series.all.values()].flatMap(({ labels, value: { counts, count, sumMs } }) => [
        ...boundsMs.map((bound, i) => {
          const le = `${bound / 1_000}`
          return { suffix: '_bucket', labels: { ...labels, le }, value: `${counts[i]}` }
        }),
        { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: `${count}` },
        { suffix: '_sum', labels, value: decimal(sumMs, 3) },
        { suffix: '_count', labels, value: `${count}` },
      ]),
  }
}

/** The metrics as text: Prometheus 0.0.4, or OpenMetrics 1.0, where a counter is named without its suffix. */
export function writeMetrics(metrics: readonly Metric[], format: 'prometheus' | 'open'): string {
  const isOpen = format === 'open'
  const lines = metrics.flatMap((metric) => {
    const { name, help, type } = metric
    const family = type === 'counter' && !isOpen ? `${name}_total` : name
    const said = metric.samples().map(({ suffix, labels, value }) => {
      return `${name}${suffix}${writeLabels(labels)} ${value}`
    })
    return [`# HELP ${family} ${help}`, `# TYPE ${family} ${type}`, ...said]
  })
  return `${[...lines, ...(isOpen ? ['# EOF'] : [])].join('\n')}\n`
}

function writeLabels(labels: Readonly<Record<string, string>>): string {
  const said = Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`)
  return said.length === 0 ? '' : `{${said.join(',')}}`
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function decimal(amount: bigint, scale: number): string {
  const [value = ''] = writeMoney({ asset: { id: '', code: '', scale }, amount }).split(' ', 1)
  return value
}
