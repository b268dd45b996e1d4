import type { Rights } from '../../core/rights.ts'
import type { Dialect } from './caveats.ts'
import { readCaveats } from './caveats.ts'
import type { Macaroon } from './codec.ts'
import { readToken, writeToken } from './codec.ts'
import type { Identifier } from './identifier.ts'
import { createRootKeys, readIdentifier, writeIdentifier } from './identifier.ts'
import type { Stated, Verified } from './macaroon.ts'
import { mint, narrow, verify } from './macaroon.ts'

/** A token that is ours and whole. What it may be used for is still to be asked of its rights. */
export interface Checked {
  readonly identifier: Identifier
  /** The identifier as it stands in the token: what revocation goes by. */
  readonly id: Uint8Array
  readonly rights: Rights
  /** Put there by the client, in lower-case hex; not compared with anything yet. */
  readonly preimage?: string
}

/** Mints macaroons and checks those that come back; keeps nothing. */
export interface Macaroons {
  /**
   * A token as text, good under the conditions.
   * @throws {RangeError} when {@link Macaroons.check} would refuse a condition, or they do not fit.
   */
  mint(identifier: Identifier, conditions: readonly string[], dialect?: Dialect): string
  /** Whether a token is ours, whole and discharged, and what it says to the dialect's service; a sentence if not. */
  check(token: string, dialect?: Dialect): Checked | string
}

/** What {@link createMacaroons} is made of. */
export interface MacaroonSettings {
  /** The first mints, the others still verify; at least 32 bytes each. */
  readonly secrets: readonly string[]
  /** A hint for people in each token; not signed. */
  readonly location?: string
}

/**
 * Makes the mint and the check from the operator's secrets.
 * @throws {RangeError} when a secret must not be used.
 */
export function createMacaroons({ secrets, location = 'tolsey' }: MacaroonSettings): Macaroons {
  const keys = createRootKeys(secrets)

  /** Which secret minted it is no secret, so the first that holds ends the search. */
  function verifyUnderAny(root: Macaroon, discharges: readonly Macaroon[]): Verified | string {
    let why: Verified | string = ''
    for (const rootKey of keys.every(root.id)) {
      why = verify(root, rootKey, discharges)
      if (typeof why !== 'string') return why
    }
    return why
  }

  return {
    mint(identifier, conditions, dialect) {
      const id = writeIdentifier(identifier)
      const rootKey = keys.newest(id)
      const made = narrow(mint({ rootKey, id, location }), conditions)
      if (typeof made === 'string') throw new RangeError(made)
      const reading = readCaveats(statedIn(made), dialect)
      if (typeof reading === 'string') throw new RangeError(reading)
      return writeToken([made])
    },
    check(token, dialect) {
      const read = readToken(token)
      if (typeof read === 'string') return read
      const [root, ...discharges] = read
      if (!root) return 'There is no token.'
      const identifier = readIdentifier(root.id)
      if (typeof identifier === 'string') return identifier
      const verified = verifyUnderAny(root, discharges)
      if (typeof verified === 'string') return verified
      const reading = readCaveats(verified.conditions, dialect)
      return typeof reading === 'string' ? reading : { identifier, id: root.id, ...reading }
    },
  }
}

/** Its conditions, before anybody counts by them. */
function statedIn({ caveats }: Macaroon): readonly Stated[] {
  return caveats.map(({ id }) => ({ bytes: id, scope: () => '' }))
}
