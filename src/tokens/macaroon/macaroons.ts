import { Buffer } from 'node:buffer'
import type { Rights } from '../../core/rights.ts'
import type { Dialect } from './caveats.ts'
import { readCaveats } from './caveats.ts'
import type { Macaroon } from './codec.ts'
import { readToken, writeToken } from './codec.ts'
import type { Identifier, RootKeys } from './identifier.ts'
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
  /** What was offered with the token, as its minter wrote it. Such a token is good only with proof that it was paid for. */
  readonly offer?: string
}

/** Mints macaroons and checks those that come back; keeps nothing. */
export interface Macaroons {
  /**
   * A token as text, good under the conditions. The first may be `offer=` and a text of printable ASCII: nobody but us can
   * put that there, and it binds the token to the payment of that offer.
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
  /** For whom caveats are read where nothing else is said. */
  readonly dialect?: Dialect
}

const OFFER = 'offer='
/** Longest offer in a token, in characters. */
export const OFFER_CHARS_MAX = 1024
const offerText = new RegExp(`^${OFFER}([ -~]{1,${OFFER_CHARS_MAX}})$`)

/**
 * Makes the mint and the check from the operator's secrets.
 * @throws {RangeError} when a secret must not be used.
 */
export function createMacaroons(settings: MacaroonSettings): Macaroons {
  const { secrets, location = 'tolsey', dialect: usual = {} } = settings
  // With a key of its own, a token with an offer cannot be made of one without by whoever holds that.
  const plain = createRootKeys(secrets)
  const offering = createRootKeys(secrets, 'macaroon-offer')

  /** Which secret minted it is no secret, so the first that holds ends the search. */
  function verifyUnderAny(
    keys: RootKeys,
    root: Macaroon,
    discharges: readonly Macaroon[],
  ): Verified | string {
    let why: Verified | string = ''
    for (const rootKey of keys.every(root.id)) {
      why = verify(root, rootKey, discharges)
      if (typeof why !== 'string') return why
    }
    return why
  }

  return {
    mint(identifier, conditions, dialect = usual) {
      const id = writeIdentifier(identifier)
      const offers = conditions[0]?.startsWith(OFFER) === true
      const rootKey = (offers ? offering : plain).newest(id)
      const made = narrow(mint({ rootKey, id, location }), conditions)
      if (typeof made === 'string') throw new RangeError(made)
      if (offers && offerIn(made) === undefined)
        throw new RangeError(`An offer is 1 to ${OFFER_CHARS_MAX} characters of printable ASCII.`)
      const reading = readCaveats(statedIn(made).slice(offers ? 1 : 0), dialect)
      if (typeof reading === 'string') throw new RangeError(reading)
      return writeToken([made])
    },
    check(token, dialect = usual) {
      const read = readToken(token)
      if (typeof read === 'string') return read
      const [root, ...discharges] = read
      if (!root) return 'There is no token.'
      const identifier = readIdentifier(root.id)
      if (typeof identifier === 'string') return identifier
      const offer = offerIn(root)
      const keys = offer === undefined ? plain : offering
      const verified = verifyUnderAny(keys, root, discharges)
      if (typeof verified === 'string') return verified
      const { conditions } = verified
      const reading = readCaveats(offer === undefined ? conditions : conditions.slice(1), dialect)
      if (typeof reading === 'string') return reading
      return { identifier, id: root.id, ...reading, ...(offer !== undefined && { offer }) }
    },
  }
}

/** The offer that the first caveat holds; any later one is a condition like others, and none that is known. */
function offerIn({ caveats: [first] }: Macaroon): string | undefined {
  if (!first || first.vid) return undefined
  return offerText.exec(Buffer.from(first.id).toString('latin1'))?.[1]
}

/** Its conditions, before anybody counts by them. */
function statedIn({ caveats }: Macaroon): readonly Stated[] {
  return caveats.map(({ id }) => ({ bytes: id, scope: () => '' }))
}
