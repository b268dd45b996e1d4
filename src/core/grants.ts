import { hash } from 'node:crypto'
import { readCondition, splitCondition, writeConditions } from './conditions.ts'
import type { Grant } from './credential.ts'
import type { Limit, Rights } from './rights.ts'
import { meet } from './rights.ts'

/** Most conditions of one grant. */
export const GRANT_CONDITIONS_MAX = 32
/** Most limits among them: each is an account that every draw must count in. */
export const GRANT_LIMITS_MAX = 16

const ID = /^[0-9a-f]{64}$/
const SCOPED = /^([\w-]{1,64})\/((?:uses|budget|rate)=.*)$/
const SCOPE_CHARS = 22

/** Whether a text names an account as {@link Grant.id} does. */
export function isGrantId(text: unknown): text is string {
  return typeof text === 'string' && ID.test(text)
}

/**
 * A grant's rights as conditions, for tokens that carry them whole. A limit that is counted elsewhere already has its scope
 * and a slash before it, so that the same limit in tokens of several kinds is counted once; one without a scope is counted
 * for the grant, and equal grants share it.
 * @throws {RangeError} for an id that is none, and for rights that no condition can say.
 */
export function writeGrant({ id, rights }: Grant): readonly string[] {
  if (!isGrantId(id)) throw new RangeError('The id of a grant is not 64 hexadecimal digits.')
  const { uses = [], budget = [], rate = [], ...rest } = rights
  const texts = [
    ...writeConditions(rest),
    ...uses.flatMap((one) => scoped(one, { uses: [one] })),
    ...budget.flatMap((one) => scoped(one, { budget: [one] })),
    ...rate.flatMap((one) => scoped(one, { rate: [one] })),
  ]
  // What is written is read back at once: no token goes out that would be refused.
  const back = readGrant(id, texts)
  if (typeof back === 'string') throw new RangeError(back)
  return texts
}

/** The grant of an id and its conditions, or a sentence why it is none. */
export function readGrant(id: unknown, said: unknown): Grant | string {
  if (!isGrantId(id)) return 'The token names no account.'
  if (!Array.isArray(said) || said.length > GRANT_CONDITIONS_MAX)
    return `The conditions of the token are not a list of at most ${GRANT_CONDITIONS_MAX}.`
  let rights: Rights = {}
  for (const text of said) {
    const next = typeof text === 'string' ? readOne(id, text) : 'A condition is not a text.'
    if (typeof next === 'string') return next
    rights = meet(rights, next)
  }
  const { uses = [], budget = [], rate = [] } = rights
  return uses.length + budget.length + rate.length > GRANT_LIMITS_MAX
    ? `The token has more than ${GRANT_LIMITS_MAX} limits that must be counted.`
    : { id, rights }
}

/** The grant, or that its time is over: for whoever has just read it in a token. */
export function inTime(grant: Grant, now: number): Grant | string {
  const { expiresAt = Infinity } = grant.rights
  return now < expiresAt ? grant : 'The token has expired. Buy a new one.'
}

function scoped({ scope }: Limit<unknown>, rights: Rights): readonly string[] {
  const texts = writeConditions(rights)
  return scope === '' ? texts : texts.map((text) => `${scope}/${text}`)
}

function readOne(id: string, text: string): Rights | string {
  const [, scope, rest = text] = SCOPED.exec(text) ?? []
  const halves = splitCondition(rest)
  if (typeof halves === 'string') return halves
  return readCondition(halves.name, halves.value, () => scope ?? scopeOf(id, rest))
}

/** Where a limit of the grant itself is counted: in the shape that every scope has. */
function scopeOf(id: string, text: string): string {
  return hash('sha256', `tolsey/grant/${id}/${text}`, 'base64url').slice(0, SCOPE_CHARS)
}
