import { hash } from 'node:crypto'
import { systemChance } from '../core/chance.ts'
import type { Caller, Chance } from '../core/ports.ts'

/** Fewest characters of a key: 128 bits in hex. */
export const KEY_CHARS_MIN = 32
/** Most characters of a key. */
export const KEY_CHARS_MAX = 512
/** Most keys of one caller: one in use, the others on their way in or out. */
export const KEYS_MAX = 8
/** Most callers. */
export const CALLERS_MAX = 10_000
/** How the SHA-256 of a key is written in place of it. */
const DIGEST = /^sha256:[0-9a-f]{64}$/

/** A caller with its keys: each the key itself, or `sha256:` and the SHA-256 of it in hex. */
export interface Registered extends Caller {
  readonly keys: readonly string[]
}

/** Who may ask. */
export interface Callers {
  /** The caller whose key it is. */
  find(key: string | undefined): Caller | undefined
}

/** Callers whose list can be changed while they are served. */
export interface KnownCallers extends Callers {
  /**
   * Takes another list in place of the one before, from the next request on.
   * @throws {RangeError} with a sentence, when the list cannot be; the one before stays.
   */
  replace(list: readonly Registered[]): void
}

/**
 * Makes the list of callers. Only salted digests are kept and compared, so that neither memory nor time tells a key.
 * @throws {RangeError} with a sentence, when the list cannot be.
 */
export function createCallers(
  list: readonly Registered[],
  chance: Chance = systemChance,
): KnownCallers {
  const salt = Buffer.from(chance(32)).toString('hex')
  const index = (digest: string): string => hash('sha256', salt + digest)
  let known = new Map<string, Caller>()
  const callers: KnownCallers = {
    find(key) {
      if (key === undefined || key.length > KEY_CHARS_MAX) return undefined
      return known.get(index(hash('sha256', key)))
    },
    replace(list) {
      check(list)
      const next = new Map<string, Caller>()
      for (const { keys, ...caller } of list)
        for (const key of keys) put(next, index(digestOf(key, caller.name)), caller)
      known = next
    },
  }
  callers.replace(list)
  return callers
}

/** Everybody, with or without a key, as one caller: for an open facilitator. */
export function everybody(limits: Partial<Caller> = {}): Callers {
  const caller = { name: 'everybody', ...limits }
  checkName(caller.name)
  return { find: () => caller }
}

function check(list: readonly Registered[]): void {
  if (list.length > CALLERS_MAX) throw new RangeError(`There are more than ${CALLERS_MAX} callers.`)
  const names = new Set<string>()
  for (const { name, keys } of list) {
    checkName(name)
    if (names.has(name)) throw new RangeError(`There are two callers "${name}".`)
    names.add(name)
    if (keys.length === 0 || keys.length > KEYS_MAX)
      throw new RangeError(`Give the caller "${name}" between one and ${KEYS_MAX} keys.`)
  }
}

/** It is part of the names of accounts. */
function checkName(name: string): void {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(name))
    throw new RangeError(
      'The name of a caller is made of a to z, 0 to 9, ".", "_" and "-", at most 64 of them.',
    )
}

function digestOf(key: string, name: string): string {
  if (DIGEST.test(key)) return key.slice('sha256:'.length)
  if (key.length < KEY_CHARS_MIN || key.length > KEY_CHARS_MAX || !/^[!-~]+$/.test(key))
    throw new RangeError(
      `A key of the caller "${name}" is not between ${KEY_CHARS_MIN} and ${KEY_CHARS_MAX} printable characters. Make one with: openssl rand -hex 32`,
    )
  return hash('sha256', key)
}

function put(into: Map<string, Caller>, at: string, caller: Caller): void {
  const other = into.get(at)
  if (other && other !== caller)
    throw new RangeError(`The callers "${other.name}" and "${caller.name}" have the same key.`)
  into.set(at, caller)
}
