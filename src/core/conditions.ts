import type { Price } from './money.ts'
import { readPrice, writePrice } from './money.ts'
import { isNormalPath, liesIn, PATH_PATTERN } from './paths.ts'
import type { Rate, Rights, Service } from './rights.ts'
import { originOf, setOf } from './rights.ts'

/** Longest condition, in characters. */
export const CONDITION_CHARS_MAX = 512
/** Most items of a list in one condition. */
export const CONDITION_ITEMS_MAX = 32

/** One line of the table: how a right is written as `name=value`. */
export interface Condition {
  readonly name: string
  readonly right: keyof Rights
  /** What the value must match, whole. */
  readonly pattern: string
  /** One sentence for people. */
  readonly description: string
  /** The rights that the value leaves, or a sentence why it cannot be meant. `scope` is where its limit is counted. */
  read(value: string, scope: () => string): Rights | string
  /** The value for each condition that says this right; none where it is not limited. */
  write(rights: Rights): readonly string[]
}

const NAME = '[A-Za-z0-9][A-Za-z0-9._/-]{0,127}'
const METHOD = '[A-Z][A-Z-]{0,31}'
const ORIGIN = 'https?://[a-z0-9.:[\\]-]{1,255}'
const KEY = '[A-Za-z0-9][A-Za-z0-9._~:+/=@-]{0,127}'
const DAY_MS = 86_400_000

const units: readonly (readonly [name: string, ms: number])[] = [
  ['d', DAY_MS],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
]

/** All that a token can say. Each condition only takes away; several of one name must all hold. */
export const conditions: readonly Condition[] = [
  {
    name: 'services',
    right: 'services',
    pattern: listOf(`${NAME}:(?:0|[1-9][0-9]{0,2})`),
    description: 'Services for which the token is good, each with its tier from 0 to 255.',
    read: (value) => readList(value, (items) => readServices(items)),
    write: ({ services }) => writeList(services?.map(({ name, tier }) => `${name}:${tier}`)),
  },
  strings('capability', 'capabilities', NAME, 'Operations that the token may ask for.'),
  {
    ...strings(
      'path',
      'paths',
      PATH_PATTERN,
      'Paths that the token may ask for; a last segment * stands for all that lies below.',
    ),
    read: (value) => readList(value, readPaths),
  },
  strings('method', 'methods', METHOD, 'Methods that the token may use; GET does not imply HEAD.'),
  {
    ...strings('origin', 'origins', ORIGIN, 'Scheme, host and port where the token may be used.'),
    read: (value) => readList(value, readOrigins),
  },
  strings(
    'payer',
    'payerKeys',
    KEY,
    'Keys, one of which the user of the token must prove to hold.',
  ),
  strings('tenant', 'tenants', KEY, 'Tenants for which the token is good.'),
  {
    name: 'expires',
    right: 'expiresAt',
    pattern: '[1-9][0-9]{0,11}',
    description: 'Unix time in seconds from which the token is good for nothing.',
    read: (value) => ({ expiresAt: Number(value) * 1000 }),
    write: ({ expiresAt }) => (expiresAt === undefined ? [] : [`${Math.floor(expiresAt / 1000)}`]),
  },
  {
    name: 'uses',
    right: 'uses',
    pattern: '[1-9][0-9]{0,14}',
    description: 'Most requests, counted over all tokens that descend from this one.',
    read: (value, scope) => ({ uses: [{ scope: scope(), most: Number(value) }] }),
    write: ({ uses }) => uses?.map(({ most }) => `${most}`) ?? [],
  },
  {
    name: 'budget',
    right: 'budget',
    pattern: '(?:0|[1-9][0-9]{0,29})(?:\\.[0-9]{1,18})? [A-Z][A-Z0-9]{1,15}',
    description: 'Most that may be spent, counted over all tokens that descend from this one.',
    read: readBudget,
    write: ({ budget }) => budget?.map(({ most }) => writePrice(most)) ?? [],
  },
  {
    name: 'rate',
    right: 'rate',
    pattern: '[1-9][0-9]{0,8}/(?:[1-9][0-9]{0,3})?[smhd]',
    description: 'Most requests in a time: 100/m, 5/10s, 10000/h, 1/7d.',
    read: (value, scope) => ({ rate: [{ scope: scope(), most: readRate(value) }] }),
    write: ({ rate }) => rate?.map(({ most }) => writeRate(most)) ?? [],
  },
]

const table: ReadonlyMap<string, Condition & { readonly whole: RegExp }> = new Map(
  conditions.map((row) => [row.name, { ...row, whole: new RegExp(`^(?:${row.pattern})$`) }]),
)

/** A condition in two halves, parted at the first `=`; a sentence if it is not one. */
export function splitCondition(text: string): { name: string; value: string } | string {
  if (text.length > CONDITION_CHARS_MAX)
    return `A condition of the token has more than ${CONDITION_CHARS_MAX} characters.`
  const cut = text.indexOf('=')
  if (cut < 1 || cut === text.length - 1) return 'A condition of the token is not name=value.'
  return { name: text.slice(0, cut), value: text.slice(cut + 1) }
}

/**
 * The rights that a condition leaves, or a sentence why it is refused: an unknown name, another case, spaces, repetitions,
 * anything beside the pattern. `scope` names where a limit is counted; it is asked only if there is one.
 */
export function readCondition(name: string, value: string, scope: () => string): Rights | string {
  const row = table.get(name)
  if (!row) return 'The token has a condition that is not known here.'
  if (!row.whole.test(value))
    return `The condition ${name} of the token has a value that is not one.`
  return row.read(value, scope)
}

/** Whether a text is a condition that is known here. */
export function isCondition(text: string): boolean {
  const halves = splitCondition(text)
  if (typeof halves === 'string') return false
  return typeof readCondition(halves.name, halves.value, () => '') !== 'string'
}

/**
 * Rights as conditions, in the order of the table; a time is rounded down to the second. A list too long for one condition
 * and an empty list cannot be written.
 * @throws {RangeError} for rights that no condition can say.
 */
export function writeConditions(rights: Rights): readonly string[] {
  return conditions.flatMap((row) =>
    row.write(rights).map((value) => {
      const text = `${row.name}=${value}`
      const back = text.length > CONDITION_CHARS_MAX ? '' : readCondition(row.name, value, () => '')
      if (typeof back === 'string')
        throw new RangeError(`No condition says these rights: ${row.right} is empty or too long.`)
      return text
    }),
  )
}

type Lists = 'capabilities' | 'paths' | 'methods' | 'origins' | 'payerKeys' | 'tenants'

function strings(name: string, right: Lists, item: string, description: string): Condition {
  return {
    name,
    right,
    pattern: listOf(item),
    description,
    read: (value) => readList(value, (items) => ({ [right]: items.toSorted() })),
    write: (rights) => writeList(rights[right]),
  }
}

function listOf(item: string): string {
  return `${item}(?:,${item}){0,${CONDITION_ITEMS_MAX - 1}}`
}

/** An item that stands there twice was not meant. */
function readList(
  value: string,
  read: (items: readonly string[]) => Rights | string,
): Rights | string {
  const items = value.split(',')
  return new Set(items).size < items.length
    ? 'A condition of the token names something twice.'
    : read(items)
}

function writeList(items: readonly string[] | undefined): readonly string[] {
  return items ? [items.join(',')] : []
}

function readServices(items: readonly string[]): Rights | string {
  const services = items.map((item): Service => {
    const [name = '', tier = ''] = item.split(':')
    return { name, tier: Number(tier) }
  })
  if (services.some(({ tier }) => tier > 255)) return 'A tier of the token is above 255.'
  const single = setOf(services, ({ name }) => name)
  return single.length < services.length
    ? 'A condition of the token names a service twice.'
    : { services: single }
}

/** Paths in normal form, without those that another of the list covers. */
function readPaths(items: readonly string[]): Rights | string {
  if (!items.every(isNormalPath))
    return 'The token names a path that can be read in more than one way.'
  const widest = items.filter(
    (path) => !items.some((other) => other !== path && liesIn(path, other)),
  )
  return { paths: widest.toSorted() }
}

function readOrigins(items: readonly string[]): Rights | string {
  return items.every((origin) => originOf(origin) === origin)
    ? { origins: items.toSorted() }
    : 'The token names an origin that is not in normal form.'
}

/** The same value in the fewest digits, so that equal budgets are equal. */
function readBudget(value: string, scope: () => string): Rights | string {
  let { amount, scale, currency } = readPrice(value)
  for (; scale > 0 && amount % 10n === 0n; scale--) amount /= 10n
  if (amount === 0n) return 'The token has a budget of nothing.'
  const most: Price = { currency, amount, scale }
  return { budget: [{ scope: scope(), most }] }
}

function readRate(value: string): Rate {
  const [count = '', window = ''] = value.split('/')
  const ms = units.find(([name]) => window.endsWith(name))?.[1] ?? DAY_MS
  return { count: Number(count), windowMs: Number(window.slice(0, -1) || '1') * ms }
}

function writeRate({ count, windowMs }: Rate): string {
  const [name, ms] = units.find(([, ms]) => windowMs % ms === 0) ?? ['s', 1000]
  return `${count}/${windowMs === ms ? '' : windowMs / ms}${name}`
}
