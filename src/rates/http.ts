import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Clock, Rates } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { HttpClient } from '../net/http.ts'
import { createHttpClient, HttpFault } from '../net/http.ts'
import type { Fraction } from './decimal.ts'
import { compare, isFar, median, readFraction } from './decimal.ts'
import type { Known } from './pair.ts'
import { checkPair, checkSource, rateBy } from './pair.ts'
import { at as valueAt, readExact, readPointer } from './pointer.ts'

/** How old a rate may be. */
export const MAX_AGE_MS = 120_000
/** How often sources are asked. */
export const REFRESH_MS = 15_000
/** How long a source may take. */
export const TIMEOUT_MS = 5_000
/** Longest answer of a source, in bytes. */
export const ANSWER_BYTES_MAX = 262_144
/** How far a source may be from the middle of all, as a part of it. */
export const SPREAD_MAX = '0.02'
/** Most pairs, and most sources of one. */
export const PAIRS_MAX = 32
export const SOURCES_MAX = 9
/** How far the clock of a source may be before ours. */
export const SKEW_MS = 60_000

/** Who is asked what one currency is worth in another. */
export interface RateSource {
  /** For the books and for events; the host, cut, if absent. */
  readonly name?: string
  /** `https:`, or `http:` to this very machine. */
  readonly url: string
  /** Where the rate stands in the answer, as a JSON Pointer (RFC 6901): a number, or text with one. */
  readonly pointer: string
  /** Where the time stands of which the rate is: seconds or milliseconds since 1970, or ISO 8601. That of asking if absent. */
  readonly atPointer?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** How the rate of one pair is found. */
export interface RatePair {
  readonly sources: readonly RateSource[]
  /** How many must agree; more than half of them if absent. */
  readonly sourcesMin?: number
  /** What is outside is not believed, whoever says it: `['20000', '500000']`. */
  readonly between?: readonly [string, string]
}

/** What rates over HTTP are made of. */
export interface HttpRatesSettings {
  /** By name, `BTC/USD`: what one bitcoin is worth in dollars. It serves both directions. */
  readonly pairs: Readonly<Record<string, RatePair>>
  readonly maxAgeMs?: number
  readonly refreshMs?: number
  readonly timeoutMs?: number
  /** Decimal text, as a part of the middle: `0.02`. */
  readonly spreadMax?: string
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  /** Told once when a source is not used any more, as a fault. */
  readonly observe?: Observe
}

/** Rates that are asked for in the background. */
export interface HttpRates extends Rates {
  /** Asks all sources now, and resolves when each has answered or its time is up. Never rejects. */
  refresh(): Promise<void>
  open(): Promise<void>
  close(): Promise<void>
}

/** What a source said last, and when it was so. */
interface Reading extends Fraction {
  readonly at: number
}

interface Source extends Omit<RateSource, 'pointer' | 'atPointer' | 'name'> {
  readonly name: string
  readonly steps: readonly string[]
  readonly atSteps: readonly string[] | undefined
  reading: Reading | undefined
  /** Why it is not used, in words; told when it begins. */
  wrong: string | undefined
}

interface Pair {
  readonly name: string
  readonly sources: readonly Source[]
  readonly sourcesMin: number
  readonly between: readonly [Fraction, Fraction] | undefined
}

/**
 * Rates that JSON interfaces tell, refreshed behind: the median of those that agree. What is older than `maxAgeMs` is not used,
 * whatever the reason: then there is no rate, and nothing is sold by an old one.
 *
 * @throws {RangeError} with a sentence, for settings that cannot be meant.
 */
export function httpRates(settings: HttpRatesSettings): HttpRates {
  const { maxAgeMs = MAX_AGE_MS, refreshMs = REFRESH_MS, timeoutMs = TIMEOUT_MS } = settings
  const { clock = systemClock, observe, fetch } = settings
  const spreadMax = readFraction(settings.spreadMax ?? SPREAD_MAX)
  if (!spreadMax) throw new RangeError('"spreadMax" is no number above zero, like "0.02".')
  checkTimes({ maxAgeMs, refreshMs, timeoutMs })
  const pairs = readPairs(settings.pairs)
  const bytesMax = ANSWER_BYTES_MAX
  const client = createHttpClient({ timeoutMs, bytesMax, clock, ...(fetch && { fetch }) })
  const closing = new AbortController()
  let watching: Promise<void> | undefined
  let asking: Promise<void> | undefined

  const isFresh = ({ at }: Reading, now: number): boolean => now >= at && now - at < maxAgeMs

  /** Those that may be believed, and agree: which must be enough of them. */
  function agreeing({ sources, sourcesMin }: Pair, now: number): readonly Reading[] {
    const fresh = sources.flatMap(({ reading }) =>
      reading && isFresh(reading, now) ? [reading] : [],
    )
    const middle = median(fresh)
    const near = middle ? fresh.filter((one) => !isFar(one, middle, spreadMax as Fraction)) : []
    return near.length >= sourcesMin ? near : []
  }

  function known(pair: Pair | undefined): Known | undefined {
    const agreed = pair ? agreeing(pair, clock.now()) : []
    const middle = median(agreed)
    if (!middle || !pair) return undefined
    const at = Math.min(...agreed.map((one) => one.at))
    const [first] = pair.sources
    const source = pair.sources.length === 1 && first ? first.name : `median-of-${agreed.length}`
    return { ...middle, source, at, untilAt: at + maxAgeMs }
  }

  async function round(): Promise<void> {
    const asked = pairs.flatMap((pair) => pair.sources.map((source) => ask(pair, source)))
    const wrongs = await Promise.all(asked)
    if (closing.signal.aborted) return
    const all = pairs.flatMap((pair) => pair.sources.map((source) => ({ pair, source })))
    for (const [i, { pair, source }] of all.entries())
      judge(pair, source, wrongs[i] ?? disagreement(pair, source))
  }

  /** Asks one source. What it said before stands until it is too old. */
  async function ask(pair: Pair, source: Source): Promise<string | undefined> {
    try {
      const reading = await read(client, source, clock, closing.signal)
      if (typeof reading === 'string') return reading
      const [low, high] = pair.between ?? [reading, reading]
      if (compare(reading, low) < 0 || compare(reading, high) > 0)
        return 'what it says is outside of what may be'
      source.reading = reading
      return isFresh(reading, clock.now()) ? undefined : 'what it says is too old'
    } catch (error) {
      return error instanceof HttpFault ? error.message : 'its answer cannot be read'
    }
  }

  function disagreement(pair: Pair, { reading }: Source): string | undefined {
    const agreed = agreeing(pair, clock.now())
    return reading && agreed.includes(reading) ? undefined : 'it is too far from the others'
  }

  function judge(pair: Pair, source: Source, wrong: string | undefined): void {
    if (wrong !== undefined && source.wrong === undefined) tell(pair, source, wrong)
    source.wrong = wrong
  }

  function tell({ name }: Pair, source: Source, wrong: string): void {
    const sentence = `The source "${source.name}" of ${name} gives no rate: ${wrong}.`
    const error = new PaymentError('price-unavailable', sentence, { retryable: true })
    try {
      observe?.({ type: 'fault', at: clock.now(), where: `rates ${name}`, error })
    } catch {
      // A subscriber's fault must not stop the asking.
    }
  }

  function refresh(): Promise<void> {
    asking ??= round().finally(() => (asking = undefined))
    return asking
  }

  async function watch(): Promise<void> {
    while (!closing.signal.aborted) {
      await clock.sleep(refreshMs, closing.signal)
      if (!closing.signal.aborted) await refresh()
    }
  }

  return {
    rate: (from, to) => rateBy(from, to, (name) => known(pairs.find((pair) => pair.name === name))),
    refresh,
    async open() {
      await refresh()
      watching ??= watch()
    },
    async close() {
      closing.abort()
      client.close()
      await Promise.all([asking, watching])
    },
  }
}

/** What the source says now; a sentence if that is no rate. */
async function read(
  client: HttpClient,
  { url, headers = {}, steps, atSteps }: Source,
  clock: Clock,
  signal: AbortSignal,
): Promise<Reading | string> {
  // It may be as old as the question, and not older.
  const askedAt = clock.now()
  const { status, text } = await client.ask({ method: 'GET', url, headers }, signal)
  if (status !== 200) return `it answers ${status}`
  const said = readExact(text, ANSWER_BYTES_MAX)
  if (said === undefined) return 'its answer is no JSON'
  const rate = valueAt(said, steps)
  const fraction = typeof rate === 'string' ? readFraction(rate) : undefined
  if (!fraction) return 'there is no number above zero where its rate should be'
  if (!atSteps) return { ...fraction, at: askedAt }
  const at = readTime(valueAt(said, atSteps))
  if (at === undefined) return 'there is no time where it should be'
  if (at > askedAt + SKEW_MS) return 'its time is to come yet'
  return { ...fraction, at: Math.min(at, askedAt) }
}

/** Above it a number counts milliseconds: as seconds it would be the year 5138. */
const SECONDS_MAX = 100_000_000_000

function readTime(said: unknown): number | undefined {
  if (typeof said !== 'string' || said.length > 40) return undefined
  const count = /^(\d{1,15})(?:\.\d+)?$/.exec(said)
  const at = count
    ? Number(count[1]) * (Number(count[1]) < SECONDS_MAX ? 1000 : 1)
    : Date.parse(said)
  return Number.isSafeInteger(at) && at >= 0 ? at : undefined
}

function checkTimes(times: Readonly<Record<string, number>>): void {
  for (const [name, ms] of Object.entries(times))
    if (!Number.isSafeInteger(ms) || ms <= 0)
      throw new RangeError(`"${name}" is ${ms}. Give whole milliseconds above zero.`)
  const { maxAgeMs = 0, refreshMs = 0 } = times
  if (maxAgeMs <= refreshMs)
    throw new RangeError(
      `"maxAgeMs" is ${maxAgeMs}: rates would be too old before they are asked for again.`,
    )
}

function readPairs(pairs: HttpRatesSettings['pairs']): readonly Pair[] {
  const names = Object.keys(pairs)
  if (names.length === 0 || names.length > PAIRS_MAX)
    throw new RangeError(`Give between one and ${PAIRS_MAX} pairs of currencies.`)
  return Object.entries(pairs).map(([name, said]) => {
    checkPair(name, names)
    return readPair(name, said)
  })
}

function readPair(name: string, { sources: said, sourcesMin, between }: RatePair): Pair {
  const no = (why: string): RangeError => new RangeError(`The pair "${name}" ${why}`)
  if (said.length === 0 || said.length > SOURCES_MAX)
    throw no(`has ${said.length} sources. Give between one and ${SOURCES_MAX}.`)
  const most = Math.floor(said.length / 2) + 1
  const min = sourcesMin ?? most
  if (!Number.isInteger(min) || min < 1 || min > said.length)
    throw no(`asks for ${min} sources that agree, and has ${said.length}.`)
  const sources = said.map((one) => readSource(one))
  if (new Set(sources.map((one) => one.name)).size < sources.length)
    throw no('has two sources of one name. Give each its "name".')
  const [low, high] = between?.map(readFraction) ?? []
  if (between && (!low || !high || compare(low, high) > 0))
    throw no('is "between" two numbers above zero, the lower one first.')
  return { name, sources, sourcesMin: min, between: low && high && [low, high] }
}

function readSource({ name: said, url, pointer, atPointer, headers }: RateSource): Source {
  const host = hostOf(url)
  const name = said ?? host.replaceAll(/[^\w.-]/g, '-').slice(0, 16)
  checkSource(name)
  return {
    name,
    url,
    ...(headers && { headers }),
    steps: readPointer(pointer),
    atSteps: atPointer === undefined ? undefined : readPointer(atPointer),
    reading: undefined,
    wrong: undefined,
  }
}

/** Whoever can change what is read over a line can set our prices. */
function hostOf(url: string): string {
  const { protocol, hostname, host } = URL.canParse(url)
    ? new URL(url)
    : { protocol: '', hostname: '', host: '' }
  const isHere = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname)
  if (protocol !== 'https:' && !(protocol === 'http:' && isHere))
    throw new RangeError(
      'The "url" of a source of rates begins with "https://", or it is on this machine.',
    )
  return host
}
