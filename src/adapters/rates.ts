import { hash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import { readCondition } from '../core/conditions.ts'
import type { Chance, Clock, Counter } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { Rate } from '../core/rights.ts'
import type { Pair } from './answer.ts'
import { createShare } from './shared-rates.ts'

/** Callers that every single limit remembers; the rest is remembered together, and never to anybody's gain. */
export const CALLERS_MAX = 65_536
/** The most that can be asked for: a map holds little more. */
export const CALLERS_MAX_MAX = 8_388_608
/** Longest name of a caller that is kept as it is, in characters; a longer one is kept by its hash. */
export const CALLER_CHARS_MAX = 128
/** Most rates in one text. */
export const RATES_MAX = 4
/** How many buckets full a caller may owe for what was counted after it had happened. */
export const DEBT_FILLS_MAX = 8

/** How many groups those are remembered in whom a limit has no room for: half a mebibyte, once there are any. */
const GROUPS = 65_536
const SEED_BYTES = 16
const UNLIMITED = 'unlimited'

/** What holds where nothing else is said; the last two count what costs us something and earns nothing. */
export const RATES_DEFAULT: Readonly<
  Record<'unpaid' | 'paid' | 'challenges' | 'failures', string>
> = { unpaid: UNLIMITED, paid: UNLIMITED, challenges: '60/m', failures: '60/m' }

/** Rates by tier. A rate is written as in tokens (`100/h`, `5/10s`); several, with commas, all hold; or `unlimited`. */
export type Tiers = Readonly<Record<string, string>>

/** Who may ask how often. */
export interface RateSettings {
  /**
   * For each caller of a tier, whatever the route. `unpaid`, `paid` and any name besides; `challenges` are answers 402 that
   * were made for one caller, `failures` are credentials that did not hold. {@link RATES_DEFAULT} holds where nothing is said.
   */
  readonly tiers?: Tiers
  /** For each caller of a tier on one route, besides; by the route's key. */
  readonly routes?: Readonly<Record<string, Tiers>>
  /** What each caller has for nothing on a paid route, by its key: `3/d`. */
  readonly free?: Readonly<Record<string, string>>
  /** Callers that each limit remembers by name; {@link CALLERS_MAX} if absent. */
  readonly callersMax?: number
}

/**
 * Whether the request may go on. `fields` are `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11);
 * a refusal names only the policies that refuse. They are for one caller and must not be cached with an answer.
 */
export type Taken = { readonly ok: true; readonly fields: readonly Pair[] } | Limited

/** Too much was asked for. */
export interface Limited {
  readonly ok: false
  /** After this time as much would be given, if nothing else is taken meanwhile. */
  readonly retryAfterMs: number
  readonly fields: readonly Pair[]
}

/** Counts what callers take. Everything is synchronous and one step: nobody comes between looking and taking. */
export interface Rates {
  /** Names of the tiers that can be asked for. */
  readonly tiers: ReadonlySet<string>
  /** Takes from every limit that applies, or from none. More than a bucket holds takes the whole bucket. */
  take(caller: string, tier: string, route?: string, cost?: number): Taken
  /** What {@link Rates.take} would say, without taking. */
  look(caller: string, tier: string, route?: string, cost?: number): Taken
  /** Counts what has happened already, also beyond the limit; up to {@link DEBT_FILLS_MAX} buckets are then owed. */
  charge(caller: string, tier: string, route?: string, cost?: number): void
  /** Gives back what was taken, for instance for an answer 402 that was paid in the end. A bucket is never more than full. */
  give(caller: string, tier: string, route?: string, cost?: number): void
  /** Takes from what the caller has for nothing on the route; undefined where nothing is given. */
  free(caller: string, route: string): Taken | undefined
}

/** One limit: a bucket for each caller, all of one size. */
interface Bucket {
  readonly rate: Rate
  /** How much is missing from the caller's bucket, in units of {@link createBucket}. */
  missing(caller: string, nowMs: number): number
  set(caller: string, nowMs: number, missing: number): void
}

/** All limits that apply to a tier on a route. */
interface Plan {
  /** Each with its name as the fields say it. */
  readonly buckets: readonly { readonly name: string; readonly bucket: Bucket }[]
  /** The field `RateLimit-Policy`. */
  readonly policy: string
}

/**
 * Makes the limits: token buckets that are full at first, hold as much as the rate says and refill evenly, so that within
 * any time of the rate's length at most twice its count passes, and in the long run its count.
 *
 * Memory is bounded, and forgetting refills nothing: a caller for whom there is no room any more leaves the state of his
 * bucket with a group that he was drawn into by a secret, which keeps the emptiest; whoever is not remembered starts from his
 * group's. A flood of more callers than fit is thus limited by groups, and so are newcomers meanwhile. Limits do not share room, so strangers push out no customers. A clock that is set back refills nothing and stops
 * nothing.
 *
 * @example
 * const rates = createRates({ tiers: { unpaid: '100/h', paid: '10000/h, 50/s', premium: 'unlimited' } })
 * const taken = rates.take('ip:192.0.2.1', 'unpaid')
 * if (!taken.ok) return limited(taken)
 *
 * @throws {RangeError} with a sentence, when the settings cannot be meant.
 */
export function createRates(
  settings: RateSettings = {},
  clock: Clock = systemClock,
  chance: Chance = systemChance,
  counter?: Counter,
): Rates {
  const { routes = {}, free = {}, callersMax = CALLERS_MAX } = settings
  if (!Number.isInteger(callersMax) || callersMax < 1 || callersMax > CALLERS_MAX_MAX)
    throw new RangeError(`A limit remembers between 1 and ${CALLERS_MAX_MAX} callers.`)
  const groupOf = createGroups(chance)
  const elapsedMs = createElapsed(clock)
  const share = counter && createShare(counter, clock, elapsedMs)

  function readLimits(name: string, text: string): Plan['buckets'] {
    const rates = readRates(name, text)
    return rates.map(({ text, rate }) => {
      const bucket = createBucket(rate, callersMax, groupOf)
      return {
        name: writeString(rates.length > 1 ? `${name} ${text}` : name),
        bucket: share ? share(bucket, `${name} ${text}`) : bucket,
      }
    })
  }

  const tiers = new Map(
    Object.entries({ ...RATES_DEFAULT, ...settings.tiers }).map(([tier, text]) => [
      tier,
      createPlan(readLimits(tier, text)),
    ]),
  )
  const onRoutes = new Map(
    Object.entries(routes).map(([route, own]) => [
      route,
      new Map(
        Object.entries(own).map(([tier, text]) => {
          const common = tiers.get(tier)
          if (!common)
            throw new RangeError(`The route "${route}" limits a tier "${tier}" that is not there.`)
          const limits = readLimits(`${tier} ${route}`, text)
          return [tier, createPlan([...common.buckets, ...limits])] as const
        }),
      ),
    ]),
  )
  const gifts = new Map(
    Object.entries(free).map(([route, text]) => {
      if (text === UNLIMITED)
        throw new RangeError(`The route "${route}" gives everything for nothing. Write it "free".`)
      return [route, createPlan(readLimits(`free ${route}`, text))]
    }),
  )

  function planOf(tier: string, route: string | undefined): Plan {
    const own = route === undefined ? undefined : onRoutes.get(route)?.get(tier)
    const plan = own ?? tiers.get(tier)
    assert(plan, 'a tier that is asked for has been declared')
    return plan
  }

  const shift = (plan: Plan, caller: string, by: number): void => {
    const nowMs = elapsedMs()
    const key = keyOf(caller)
    for (const { bucket } of plan.buckets) {
      const { count, windowMs } = bucket.rate
      const owed = DEBT_FILLS_MAX * count * windowMs
      const there = bucket.missing(key, nowMs)
      const missing = Math.max(0, there + by * windowMs)
      bucket.set(key, nowMs, Math.min(missing, Math.max(owed, there)))
    }
  }

  return {
    tiers: new Set(tiers.keys()),
    take: (caller, tier, route, cost = 1) =>
      ask(planOf(tier, route), keyOf(caller), checkCost(cost), elapsedMs(), true),
    look: (caller, tier, route, cost = 1) =>
      ask(planOf(tier, route), keyOf(caller), checkCost(cost), elapsedMs(), false),
    charge: (caller, tier, route, cost = 1) => shift(planOf(tier, route), caller, checkCost(cost)),
    give: (caller, tier, route, cost = 1) => shift(planOf(tier, route), caller, -checkCost(cost)),
    free(caller, route) {
      const plan = gifts.get(route)
      return plan && ask(plan, keyOf(caller), 1, elapsedMs(), true)
    },
  }
}

/** The refusal (429) of a request that was too much. */
export function limited({ retryAfterMs }: Limited): Problem {
  return problem(
    'rate-limited',
    'There were too many requests. Wait as long as Retry-After says; what was sent may then be sent again unchanged.',
    { retryAfterMs },
  )
}

/** The one question: is there enough in every bucket? If so, and if it is meant, takes from all. */
function ask(
  { buckets, policy }: Plan,
  caller: string,
  cost: number,
  nowMs: number,
  takes: boolean,
): Taken {
  if (buckets.length === 0) return unlimited
  const asked = buckets.map(({ name, bucket }) => {
    const { count, windowMs } = bucket.rate
    const missing = bucket.missing(caller, nowMs)
    const left = missing + Math.min(cost, count) * windowMs
    return { name, bucket, missing, left, waitMs: waitOf(bucket.rate, left) }
  })
  const retryAfterMs = Math.max(...asked.map(({ waitMs }) => waitMs))
  if (retryAfterMs > 0) {
    const full = asked.filter(({ waitMs }) => waitMs > 0)
    const said = full.map(({ name, bucket, missing, waitMs }) =>
      writeLimit(name, availableOf(bucket.rate, missing), waitMs),
    )
    return { ok: false, retryAfterMs, fields: fieldsOf(policy, said) }
  }
  if (takes) for (const { bucket, left } of asked) bucket.set(caller, nowMs, left)
  const said = asked.map(({ name, bucket, missing, left }) =>
    writeState(name, bucket.rate, takes ? left : missing),
  )
  return { ok: true, fields: fieldsOf(policy, said) }
}

const unlimited: Taken = { ok: true, fields: [] }

/** How long until no more is missing than a bucket holds. */
function waitOf({ count, windowMs }: Rate, missing: number): number {
  return Math.max(0, Math.ceil((missing - count * windowMs) / count))
}

/** Whole requests that are left. */
function availableOf({ count, windowMs }: Rate, missing: number): number {
  return Math.max(0, Math.floor((count * windowMs - missing) / windowMs))
}

/**
 * What is left, and the time that it is meant to last: as long as it took to come in, so that nobody reads a higher rate out
 * of the two than the policy has (section 8.5 of the draft). If nothing is left, the time until something is.
 */
function writeState(name: string, rate: Rate, missing: number): string {
  const available = availableOf(rate, missing)
  const lastsMs =
    available > 0 ? (available * rate.windowMs) / rate.count : waitOf(rate, missing + rate.windowMs)
  return writeLimit(name, available, lastsMs)
}

function writeLimit(name: string, available: number, windowMs: number): string {
  return `${name};r=${available};t=${Math.max(1, Math.ceil(windowMs / 1_000))}`
}

function fieldsOf(policy: string, limits: readonly string[]): readonly Pair[] {
  return [
    ['RateLimit-Policy', policy],
    ['RateLimit', limits.join(', ')],
  ]
}

function createPlan(buckets: Plan['buckets']): Plan {
  const policies = buckets.map(
    ({ name, bucket: { rate } }) => `${name};q=${rate.count};w=${rate.windowMs / 1_000}`,
  )
  return { buckets, policy: policies.join(', ') }
}

/** A text as a structured field's string (RFC 9651, 4.1.6); what is not plain ASCII is percent-encoded. */
function writeString(text: string): string {
  const plain = text.replaceAll(/[^ -~]+/g, (part) => encodeURIComponent(part.toWellFormed()))
  return `"${plain.replaceAll(/["\\]/g, String.raw`\$&`)}"`
}

/**
 * One limit. One request takes `windowMs` units and one millisecond brings `count` of them back: in whole numbers, so that
 * nothing is won or lost by rounding. What is kept of a caller is the one number when his bucket will be full again.
 */
function createBucket(rate: Rate, callersMax: number, groupOf: (caller: string) => number): Bucket {
  const { count } = rate
  const known = new Map<string, number>()
  // One walk for ever, since a new one would pass all that was deleted at the front. Who asks goes to the end.
  const byAge = known.keys()
  let forgotten: Float64Array | undefined

  /** Who asked longest ago is forgotten first, and leaves what he still misses with his group. */
  function forget(nowMs: number): void {
    const caller = byAge.next().value
    const fullAt = caller === undefined ? undefined : known.get(caller)
    assert(caller !== undefined && fullAt !== undefined, 'there is somebody to forget')
    known.delete(caller)
    if (fullAt <= nowMs * count) return
    forgotten ??= new Float64Array(GROUPS)
    const group = groupOf(caller)
    forgotten[group] = Math.max(forgotten[group] ?? 0, fullAt)
  }

  return {
    rate,
    missing(caller, nowMs) {
      const fullAt = known.get(caller) ?? forgotten?.[groupOf(caller)] ?? 0
      return Math.max(0, fullAt - nowMs * count)
    },
    set(caller, nowMs, missing) {
      known.delete(caller)
      if (known.size >= callersMax) forget(nowMs)
      known.set(caller, nowMs * count + missing)
    },
  }
}

/** Which group a caller is remembered in; nobody outside can tell, so that nobody can seek out another's. */
function createGroups(chance: Chance): (caller: string) => number {
  const seed = Buffer.from(chance(SEED_BYTES)).toString('hex')
  return (caller) => hash('sha256', seed + caller, 'buffer').readUInt32LE(0) % GROUPS
}

/** Milliseconds since the start as far as the clock ran forwards: set back, it goes on from where it is. */
function createElapsed(clock: Clock): () => number {
  let last = clock.now()
  let elapsedMs = 0
  return () => {
    const now = clock.now()
    elapsedMs += Math.max(0, now - last)
    last = now
    return elapsedMs
  }
}

function keyOf(caller: string): string {
  return caller.length > CALLER_CHARS_MAX ? hash('sha256', caller, 'base64url') : caller
}

function checkCost(cost: number): number {
  assert(Number.isSafeInteger(cost) && cost > 0, 'a cost is a whole number above nothing')
  return cost
}

function readRates(
  name: string,
  said: string,
): readonly { readonly text: string; readonly rate: Rate }[] {
  if (said === UNLIMITED) return []
  const no = (why: string): RangeError =>
    new RangeError(`The limit "${name}" ${why} Write it like "100/h", "100/h, 5/s" or "unlimited".`)
  if (typeof said !== 'string') throw no('is not a text.')
  const texts = said.split(',').map((text) => text.trim())
  if (texts.length > RATES_MAX) throw no(`has more than ${RATES_MAX} rates.`)
  if (new Set(texts).size < texts.length) throw no('says a rate twice.')
  return texts.map((text) => {
    const rights = readCondition('rate', text, () => '')
    const rate = typeof rights === 'string' ? undefined : rights.rate?.[0]?.most
    if (!rate) throw no(`has a rate "${text}" that is not one.`)
    return { text, rate }
  })
}
