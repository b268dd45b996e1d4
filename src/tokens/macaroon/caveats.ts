import { Buffer } from 'node:buffer'
import * as v from 'valibot'
import { conditions, readCondition, splitCondition } from '../../core/conditions.ts'
import type { Rights } from '../../core/rights.ts'
import { meet } from '../../core/rights.ts'
import type { Stated } from './macaroon.ts'

/** For whom caveats are read: some speak to one service by its name. */
export interface Dialect {
  /** The service that is asked for. */
  readonly service?: string
  /** Other services of the same seller: what is said to them does not bind here. */
  readonly others?: readonly string[]
}

/** What the caveats of a token say. */
export interface Reading {
  /** What is left when all caveats hold at once. */
  readonly rights: Rights
  /** A proof of payment that a client has put into its own token, in lower-case hex. It gives and takes no right. */
  readonly preimage?: string
}

/** Most limits that one token may bring: each is an account that every draw must count in. */
export const LIMITS_MAX = 16

/** What clients and other sellers write for a service `name`, and which condition of ours it is. */
const suffixes: readonly (readonly [suffix: string, condition: string])[] = [
  ['_valid_until', 'expires'],
  ['_capabilities', 'capability'],
]

const PREIMAGE = '[0-9A-Fa-f]{64}'
const preimage = new RegExp(`^${PREIMAGE}$`)
const NOTHING: Rights = {}

/**
 * The rights that all caveats leave together: a later one can only take away, and their order does not matter. What is not in
 * the table is refused with a sentence, since a holder may have meant to take away with it.
 */
export function readCaveats(stated: readonly Stated[], dialect: Dialect = {}): Reading | string {
  let reading: Reading = { rights: NOTHING }
  for (const caveat of stated) {
    const next = readCaveat(reading, caveat, dialect)
    if (typeof next === 'string') return next
    reading = next
  }
  return limitsOf(reading.rights) > LIMITS_MAX
    ? `The token has more than ${LIMITS_MAX} limits that must be counted.`
    : reading
}

function limitsOf({ uses = [], budget = [], rate = [] }: Rights): number {
  return uses.length + budget.length + rate.length
}

function readCaveat(before: Reading, caveat: Stated, dialect: Dialect): Reading | string {
  const halves = splitCondition(textOf(caveat.bytes))
  if (typeof halves === 'string') return halves
  const { name, value } = halves
  if (name === 'preimage') return withPreimage(before, value)
  const { condition, binds } = conditionOf(name, dialect)
  const rights = readCondition(condition, value, caveat.scope)
  if (typeof rights === 'string') return rights
  return binds ? { ...before, rights: meet(before.rights, rights) } : before
}

/** A byte a character: what is not ASCII matches no pattern of the table, and never becomes another letter. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

function conditionOf(name: string, { service, others = [] }: Dialect) {
  for (const [suffix, condition] of suffixes) {
    if (!name.endsWith(suffix)) continue
    const said = name.slice(0, -suffix.length)
    if (said === service) return { condition, binds: true }
    if (others.includes(said)) return { condition, binds: false }
  }
  return { condition: name, binds: true }
}

function withPreimage(before: Reading, value: string): Reading | string {
  if (!preimage.test(value)) return 'The preimage in the token is not 64 hexadecimal digits.'
  const said = value.toLowerCase()
  return before.preimage !== undefined && before.preimage !== said
    ? 'The token holds two different preimages.'
    : { ...before, preimage: said }
}

/** The caveats of a token, as `condition=value` texts: the table of {@link conditions}, and what others write. */
export const CaveatsSchema: v.GenericSchema<readonly string[]> = v.pipe(
  v.array(
    v.union([
      ...conditions.map(({ name, pattern, description }) =>
        said(name, `^${name}=(?:${pattern})$`, description),
      ),
      said(
        'preimage',
        `^preimage=${PREIMAGE}$`,
        'Proof of payment, put there by the client; it gives and takes no right.',
      ),
      said(
        'offer',
        '^offer=[ -~]{1,1024}$',
        'What was offered with the token: the first caveat only, and only by its minter.',
      ),
      ...suffixes.map(([suffix, condition]) =>
        said(
          `service${suffix}`,
          `^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}${suffix}=.+$`,
          `The same as ${condition}, for the service that the name begins with.`,
        ),
      ),
    ]),
  ),
  v.maxLength(32),
  v.description('Conditions of a token; all of them must hold.'),
)

function said(title: string, pattern: string, description: string): v.GenericSchema<string> {
  return v.pipe(
    v.string(),
    v.regex(new RegExp(pattern)),
    v.title(title),
    v.description(description),
  )
}
