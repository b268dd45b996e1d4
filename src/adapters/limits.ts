import type { Account, Plan } from '../core/plan.ts'
import type { Chance, Clock, Counter, Fields } from '../core/ports.ts'
import type { Code } from '../core/problem.ts'
import type { Pair } from './answer.ts'
import { createCallers } from './callers.ts'
import type { CallerSettings } from './callers.ts'
import { createRates } from './rates.ts'
import type { Limited, Taken, Tiers } from './rates.ts'
import type { Route } from './routes.ts'

/** Who may ask how often, and how callers are told apart. */
export interface LimitSettings extends CallerSettings {
  /**
   * For each caller, by tier: `{ unpaid: '100/h', paid: '10000/h', premium: 'unlimited' }`. A plan names its tier; `challenges`
   * counts 402 answers that cost us an invoice, `failures` payments and tokens that do not hold. Without a counter every door
   * counts for itself.
   */
  readonly tiers?: Tiers
  /** Counts with the doors of other processes: {@link createShare} says how exactly. */
  readonly counter?: Counter
}

/** Who asks, as far as limits care. */
export interface Calling {
  readonly address?: string | undefined
  readonly fields: Fields
}

/** Limits of one door. */
export interface Limits {
  /** Whether every answer to a request without payment must be counted. */
  readonly counts: boolean
  /** What the caller has for nothing on the route; undefined where there is nothing left of it. */
  free(calling: Calling, route: Route): readonly Pair[] | undefined
  /** A request without a payment. Who could not pay now is not asked to. Without a route it is for a service. */
  unpaid(calling: Calling, route?: Route): Taken
  /**
   * A request that pays, by the token's account if it has one. A payment that is not good any more when there would be room
   * for it is let in and counted: the money may have moved.
   */
  paid(calling: Calling, route: Route, account?: Account, goodUntilAt?: number): Taken
  /** Whether an invoice may be made for the caller; counted. */
  mayIssue(calling: Calling): Taken
  /** An honest buyer is not slowed: what was made for him was paid. */
  issuedWell(calling: Calling): void
  /** Beyond what a caller may fail. */
  failing(calling: Calling): Limited | undefined
  /** Counts a credential that was refused so. */
  failed(calling: Calling, code: Code): void
}

/** Refusals that cost us work and an honest caller rarely sees. */
const failures: ReadonlySet<Code> = new Set<Code>([
  'credential-malformed',
  'offer-foreign',
  'proof-invalid',
  'token-invalid',
])

/**
 * Makes the limits. Without settings only invoices are counted.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function createLimits(
  settings: LimitSettings | undefined,
  routes: readonly Route[],
  plans: ReadonlyMap<string, Plan>,
  clock: Clock,
  chance: Chance,
): Limits {
  const { tiers, counter, ...whom } = settings ?? {}
  const callers = createCallers(whom)
  const own = routes.flatMap(({ key, limits }) => (limits ? [[key, limits] as const] : []))
  const free = routes.flatMap((route) =>
    route.free === undefined ? [] : [[route.key, route.free] as const],
  )
  const rates = createRates(
    { ...(tiers && { tiers }), routes: Object.fromEntries(own), free: Object.fromEntries(free) },
    clock,
    chance,
    counter,
  )
  const stranger = [...plans.values()].find(({ tier = 'paid' }) => !rates.tiers.has(tier))
  if (stranger)
    throw new RangeError(
      `The plan "${stranger.name}" names a tier "${stranger.tier}" that is not there.`,
    )
  const tierOf = (account: Account | undefined): string =>
    (account && plans.get(account.plan)?.tier) ?? 'paid'
  return {
    counts: settings !== undefined || own.length > 0 || free.length > 0,
    free(calling, { key }) {
      const taken = rates.free(callers(calling), key)
      return taken?.ok === true ? taken.fields : undefined
    },
    unpaid(calling, route) {
      const caller = callers(calling)
      const payable = route && rates.look(caller, 'paid', route.key)
      return payable?.ok === false ? payable : rates.take(caller, 'unpaid', route?.key)
    },
    paid(calling, { key }, account, goodUntilAt = Infinity) {
      const caller = callers(calling, account?.id)
      const tier = tierOf(account)
      const taken = rates.take(caller, tier, key)
      if (taken.ok || clock.now() + taken.retryAfterMs < goodUntilAt) return taken
      rates.charge(caller, tier, key)
      return { ok: true, fields: taken.fields }
    },
    mayIssue: (calling) => rates.take(callers(calling), 'challenges'),
    issuedWell: (calling) => rates.give(callers(calling), 'challenges'),
    failing(calling) {
      const seen = settings && rates.look(callers(calling), 'failures')
      return seen?.ok === false ? seen : undefined
    },
    failed(calling, code) {
      if (settings && failures.has(code)) rates.charge(callers(calling), 'failures')
    },
  }
}
