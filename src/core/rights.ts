import { assert } from './assert.ts'
import type { Price } from './money.ts'
import { coversPath, liesIn } from './paths.ts'
import type { Resource } from './resource.ts'

/** A service by name, with the tier of it that was bought. */
export interface Service {
  readonly name: string
  /** 0 to 255; a higher tier may do what a lower one may. */
  readonly tier: number
}

/** So many requests in any window of that length. */
export interface Rate {
  readonly count: number
  readonly windowMs: number
}

/**
 * Something that is counted. All tokens that descend from the one in which the limit was written share its `scope`, so that
 * handing on copies multiplies nothing; a limit that a holder adds counts for that branch alone.
 */
export interface Limit<T> {
  readonly scope: string
  readonly most: T
}

interface EveryRight {
  /** Milliseconds since 1970; the first instant at which nothing is allowed any more. */
  readonly expiresAt: number
  readonly services: readonly Service[]
  /** Names of operations, where a service tells them apart. */
  readonly capabilities: readonly string[]
  /** A path, or with a last segment `*` all that lies below it. */
  readonly paths: readonly string[]
  /** In capitals; `GET` does not imply `HEAD`. */
  readonly methods: readonly string[]
  /** Where the token may be used: scheme, host and port of the request's address (RFC 6454, 6.1). */
  readonly origins: readonly string[]
  /** Keys, one of which the payer must prove to hold: a thumbprint, an address. */
  readonly payerKeys: readonly string[]
  readonly tenants: readonly string[]
  /** Most requests. */
  readonly uses: readonly Limit<number>[]
  /** Most that may be spent. */
  readonly budget: readonly Limit<Price>[]
  readonly rate: readonly Limit<Rate>[]
}

/**
 * What a token may do, as plain data, whatever kind of token carries it. What is absent is not limited; an empty list allows
 * nothing. Lists are sorted and without repetition, so that equal rights are deeply equal.
 */
export type Rights = Partial<EveryRight>

/** What is asked for with a token. What is not known is left out, and then satisfies no right that asks for it. */
export interface Use {
  readonly resource: Resource
  readonly service?: string
  /** The tier that is needed; 0 if absent. */
  readonly tier?: number
  readonly capability?: string
  /** The key that the payer has proved to hold. */
  readonly payerKey?: string
  readonly tenant?: string
  /** What the request costs; nothing is written as zero. */
  readonly price?: Price
}

/** Whether rights cover a use; if not, the first that does not, with a sentence for the payer. */
export type Leave =
  | { readonly ok: true }
  | { readonly ok: false; readonly right: keyof Rights; readonly detail: string }

/**
 * The rights that both give: never more than either. The order and grouping of meets does not matter, and a meet with
 * oneself changes nothing. Limits are kept side by side, since each is counted for itself.
 */
export function meet(a: Rights, b: Rights): Rights {
  const met: Mutable<Rights> = { ...a }
  for (const right of rightsOf(b)) join(met, a, b, right)
  return met
}

/**
 * Whether the rights cover the use at that instant (milliseconds since 1970). Limits are not counted here: of a budget only
 * is said whether the price alone fits it. Who draws must count every limit by its scope, in one step with the draw.
 */
export function allows(rights: Rights, use: Use, now: number): Leave {
  for (const right of rightsOf(rights)) if (!holds(rights, right, use, now)) return lacks(right)
  return { ok: true }
}

/** Whether two prices are of one currency and the first is not higher. */
function fits(price: Price, most: Price): boolean {
  const scale = Math.max(price.scale, most.scale)
  const at = ({ amount, scale: own }: Price): bigint => amount * 10n ** BigInt(scale - own)
  return price.currency === most.currency && at(price) <= at(most)
}

/** Sorts, and drops what is there twice by its text. */
export function setOf<T>(items: readonly T[], textOf: (item: T) => string): readonly T[] {
  if (items.length < 2) return items
  const byText = new Map(items.map((item) => [textOf(item), item]))
  return [...byText].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item)
}

/** The same limit has the same text. */
function limitText({ scope, most }: Limit<number | Price | Rate>): string {
  if (typeof most === 'number') return `${scope} ${most}`
  if ('currency' in most) return `${scope} ${most.currency} ${most.amount} ${most.scale}`
  return `${scope} ${most.count} ${most.windowMs}`
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

function rightsOf(rights: Rights): (keyof Rights)[] {
  return Object.keys(rights) as (keyof Rights)[]
}

// The parameter ties a right to its own entry of the table.
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters
function join<K extends keyof Rights>(met: Mutable<Rights>, a: Rights, b: Rights, right: K): void {
  const one = a[right]
  const other = b[right]
  if (other === undefined) return
  met[right] = one === undefined ? other : meets[right](one, other)
}

const meets: {
  readonly [K in keyof EveryRight]: (a: EveryRight[K], b: EveryRight[K]) => EveryRight[K]
} = {
  expiresAt: Math.min,
  services: (a, b) =>
    a.flatMap(({ name, tier }) =>
      b
        .filter((other) => other.name === name)
        .map((other) => ({ name, tier: Math.min(tier, other.tier) })),
    ),
  capabilities: common,
  paths: (a, b) =>
    setOf(
      [...a.filter((path) => within(path, b)), ...b.filter((path) => within(path, a))],
      (path) => path,
    ),
  methods: common,
  origins: common,
  payerKeys: common,
  tenants: common,
  uses: (a, b) => setOf([...a, ...b], limitText),
  budget: (a, b) => setOf([...a, ...b], limitText),
  rate: (a, b) => setOf([...a, ...b], limitText),
}

function common(a: readonly string[], b: readonly string[]): readonly string[] {
  return a.filter((item) => b.includes(item))
}

/** Two patterns either lie one in the other or have nothing in common, so a meet is never longer than both together. */
function within(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => liesIn(path, pattern))
}

// The parameter ties a right to its own entry of the table.
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters
function holds<K extends keyof Rights>(rights: Rights, right: K, use: Use, now: number): boolean {
  assert(Object.hasOwn(judges, right), 'a right is one of the table')
  const said = rights[right]
  return said !== undefined && judges[right](said, use, now)
}

const judges: {
  readonly [K in keyof EveryRight]: (said: EveryRight[K], use: Use, now: number) => boolean
} = {
  expiresAt: (end, _, now) => now < end,
  services: (list, { service, tier = 0 }) =>
    list.some((said) => said.name === service && said.tier >= tier),
  capabilities: (list, { capability }) => has(list, capability),
  paths: (list, { resource }) => list.some((path) => coversPath(path, resource.path)),
  methods: (list, { resource }) => has(list, resource.method),
  origins: (list, { resource }) => has(list, originOf(resource.url)),
  payerKeys: (list, { payerKey }) => has(list, payerKey),
  tenants: (list, { tenant }) => has(list, tenant),
  uses: () => true,
  budget: (limits, { price }) =>
    price !== undefined && limits.every(({ most }) => fits(price, most)),
  rate: () => true,
}

function has(list: readonly string[], item: string | undefined): boolean {
  return item !== undefined && list.includes(item)
}

/** The origin of an address in normal form; undefined for what is no web address. */
export function originOf(url: string): string | undefined {
  const parsed = URL.parse(url)
  return parsed && /^https?:$/.test(parsed.protocol) ? parsed.origin : undefined
}

function lacks(right: keyof Rights): Leave {
  return { ok: false, right, detail: sentences[right] }
}

const sentences: Readonly<Record<keyof Rights, string>> = {
  expiresAt: 'The token has expired. Buy a new one.',
  services: 'The token is not for this service, or for a lower tier of it.',
  capabilities: 'The token does not allow this operation.',
  paths: 'The token does not allow this path.',
  methods: 'The token does not allow this method.',
  origins: 'The token may not be used at this address.',
  payerKeys: 'The token belongs to a key that the request does not prove.',
  tenants: 'The token is for another tenant.',
  uses: 'The token has no uses left.',
  budget: 'The price is over what the token may spend, or in another currency.',
  rate: 'The token is used more often than it may be.',
}
