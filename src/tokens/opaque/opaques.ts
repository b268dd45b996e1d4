import { Buffer } from 'node:buffer'
import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import type { Grant } from '../../core/credential.ts'
import { inTime, readGrant, writeGrant } from '../../core/grants.ts'
import { createKnown } from '../../core/known.ts'
import { SECRETS_MAX } from '../../core/mac.ts'
import type { Chance, Clock, Mint, Minted } from '../../core/ports.ts'
import { createSeal } from '../../core/seal.ts'

/** Longest token, in characters. */
export const OPAQUE_CHARS_MAX = 8_192
/** What every token begins with, so that it is known in logs and to scanners for secrets. */
export const OPAQUE_PREFIX = 'tk_'

/** What {@link createOpaques} is made of. */
export interface OpaqueSettings {
  /** The first seals, the others still open; at least 32 bytes each. */
  readonly secrets: readonly string[]
  readonly clock?: Clock
  readonly chance?: Chance
}

/** A mint that answers at once. */
export interface Opaques extends Mint {
  mint(grant: Grant): string
  check(token: string): Minted
}

const SALT_BYTES = 16
const ID_BYTES = 32

/**
 * Bearer tokens that say nothing to their holder and need no store: the grant itself, sealed (AES-256-GCM, a key of its own
 * for each token). Only who has a secret reads or makes one.
 * @throws {RangeError} when a secret must not be used.
 */
export function createOpaques(settings: OpaqueSettings): Opaques {
  const { secrets, clock = systemClock, chance = systemChance } = settings
  if (secrets.length === 0 || secrets.length > SECRETS_MAX)
    throw new RangeError(`Give between one and ${SECRETS_MAX} secrets for tokens.`)
  const seal = createSeal(secrets, 'opaque', chance)
  const known = createKnown<Grant>()

  function open(token: string): Grant | string {
    const bytes = bytesOf(token)
    if (!bytes) return 'The token is not whole: a character was changed, or it was cut.'
    const salt = bytes.subarray(0, SALT_BYTES).toString('hex')
    const said = seal.open(salt, bytes.subarray(SALT_BYTES))
    if (!said) return 'The token was changed, or made by another, or too long ago.'
    const grant = readSaid(Buffer.from(said))
    if (typeof grant === 'object') known.add(token, grant)
    return grant
  }

  return {
    name: 'opaque',
    mint(grant) {
      const salt = Buffer.from(chance(SALT_BYTES))
      const said = Buffer.concat([
        Buffer.from(grant.id, 'hex'),
        Buffer.from(writeGrant(grant).join('\n'), 'latin1'),
      ])
      const sealed = seal.seal(salt.toString('hex'), said)
      const token = OPAQUE_PREFIX + Buffer.concat([salt, sealed]).toString('base64url')
      if (token.length > OPAQUE_CHARS_MAX)
        throw new RangeError(`The token would be longer than ${OPAQUE_CHARS_MAX} characters.`)
      return token
    },
    check(token) {
      if (!token.startsWith(OPAQUE_PREFIX)) return undefined
      const found = known.get(token) ?? open(token)
      if (typeof found === 'string') return found
      return inTime(found, clock.now())
    },
  }
}

/** The bytes behind the prefix, in their one spelling. */
function bytesOf(token: string): Buffer | undefined {
  if (token.length > OPAQUE_CHARS_MAX) return undefined
  const text = token.slice(OPAQUE_PREFIX.length)
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

function readSaid(said: Buffer): Grant | string {
  const text = said.toString('latin1', ID_BYTES)
  return readGrant(said.toString('hex', 0, ID_BYTES), text === '' ? [] : text.split('\n'))
}
