import { readCondition, splitCondition, writeConditions } from '../core/conditions.ts'
import { readPrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import { FEE_BPS_MAX } from '../core/plan.ts'
import type { Plan, RestTerms } from '../core/plan.ts'
import type { Rights } from '../core/rights.ts'
import { meet } from '../core/rights.ts'

/** How long a token is good where its plan does not say: thirty days. */
export const PLAN_VALID_MS = 2_592_000_000

/** A plan as a seller writes it. */
export interface PlanSettings {
  /** `1 USD`, or the same in several currencies. */
  readonly price: string | readonly string[]
  /** How long a token is good, from its payment on; {@link PLAN_VALID_MS} if absent. */
  readonly validForMs?: number
  /** How many requests a token pays. Without it and a balance: as many as its time lets it. */
  readonly uses?: number
  /** What a token may spend on routes with a price in that currency: `1 USD`. */
  readonly balance?: string
  /** What narrows every token of it, in the words that tokens use: `['path=/v1/*', 'rate=100/m']`. */
  readonly rights?: readonly string[]
  /** Under which of the seller's `limits` its tokens ask; `paid` if absent. */
  readonly tier?: string
  /**
   * Whether holders may have back what is left: `true`, or for a fee, a part (`2%`) or an amount in the currency of the balance
   * (`0.05 USD`). The operator may give it back in any case.
   */
  readonly refund?: true | string
}

/** What a seller sells as tokens, by name. */
export type PlansSettings = Readonly<Record<string, PlanSettings>>

/**
 * Reads the plans.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function readPlans(settings: PlansSettings): ReadonlyMap<string, Plan> {
  return new Map(Object.entries(settings).map(([name, said]) => [name, readPlan(name, said)]))
}

type No = (why: string, cause?: unknown) => RangeError

const members: ReadonlySet<string> = new Set<keyof PlanSettings>([
  'price',
  'validForMs',
  'uses',
  'balance',
  'rights',
  'tier',
  'refund',
])

function readPlan(name: string, said: PlanSettings): Plan {
  const no: No = (why, cause) => new RangeError(`The plan "${name}" ${why}`, { cause })
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw no('needs a name of up to 64 letters, digits, dots, lines and dashes.')
  const stranger = Object.keys(said).find((member) => !members.has(member))
  if (stranger !== undefined) throw no(`has a member "${stranger}" that means nothing.`)
  const { validForMs = PLAN_VALID_MS, uses, rights = [], tier } = said
  if (!Number.isSafeInteger(validForMs) || validForMs <= 0)
    throw no('needs a "validForMs" of whole milliseconds above zero.')
  if (uses !== undefined && (!Number.isSafeInteger(uses) || uses <= 0))
    throw no('needs "uses" that are a whole number above zero.')
  if (uses !== undefined && said.balance !== undefined)
    throw no('is counted by "uses" or by a "balance", not by both.')
  const balance = said.balance === undefined ? undefined : priceOf(said.balance, no)
  return {
    name,
    prices: [said.price].flat().map((text) => priceOf(text, no)),
    validForMs,
    rights: readRights(rights, no),
    ...(uses !== undefined && { uses }),
    ...(balance && { balance }),
    ...(tier !== undefined && { tier }),
    ...(said.refund !== undefined && { refund: readTerms(said, no) }),
  }
}

function readTerms({ refund, uses, balance }: PlanSettings, no: No): RestTerms {
  if (uses === undefined && balance === undefined)
    throw no('is good for a time, of which no rest can be given back.')
  if (refund === true) return { feeBps: 0 }
  const [, whole, part = ''] = /^(\d{1,3})(?:\.(\d{1,2}))?%$/.exec(String(refund)) ?? []
  if (whole !== undefined) {
    const feeBps = Number(whole) * 100 + Number(part.padEnd(2, '0'))
    if (feeBps < FEE_BPS_MAX) return { feeBps }
    throw no('keeps all of what it gives back.')
  }
  const fee = priceOf(refund, no)
  if (balance === undefined || fee.currency !== priceOf(balance, no).currency)
    throw no('has a fee in another currency than its balance.')
  return { feeBps: 0, fee }
}

/** Said once by the plan itself, and counted by its account. */
const said: ReadonlySet<keyof Rights> = new Set(['services', 'expiresAt', 'uses', 'budget'])

function readRights(texts: readonly string[], no: No): Rights {
  let rights: Rights = {}
  for (const text of texts) {
    const halves = splitCondition(text)
    const next =
      typeof halves === 'string' ? halves : readCondition(halves.name, halves.value, () => '')
    if (typeof next === 'string') throw no(`has a right "${text}" that no token can say.`)
    const [own] = Object.keys(next).filter((right) => said.has(right as keyof Rights))
    if (own !== undefined) throw no(`says by itself what stands in its right "${text}".`)
    rights = meet(rights, next)
  }
  try {
    writeConditions(rights)
  } catch (cause) {
    throw no('has rights of which nothing is left. Say each once.', cause)
  }
  return rights
}

function priceOf(text: unknown, no: No): Price {
  try {
    const price = readPrice(String(text))
    if (price.amount === 0n) throw new RangeError('It is nothing.')
    return price
  } catch (cause) {
    throw no(`has no good price. ${cause instanceof Error ? cause.message : ''}`, cause)
  }
}
