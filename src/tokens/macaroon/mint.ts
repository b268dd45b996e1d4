import { Buffer } from 'node:buffer'
import { hash } from 'node:crypto'
import { systemClock } from '../../core/clock.ts'
import { writeConditions } from '../../core/conditions.ts'
import type { Grant } from '../../core/credential.ts'
import { inTime, isGrantId } from '../../core/grants.ts'
import { createKnown } from '../../core/known.ts'
import type { Clock, Mint, Minted } from '../../core/ports.ts'
import type { Rights } from '../../core/rights.ts'
import { readToken } from './codec.ts'
import { readIdentifier } from './identifier.ts'
import type { Macaroons } from './macaroons.ts'

/** A mint that answers at once. */
export interface MacaroonMint extends Mint {
  mint(grant: Grant): string
  check(token: string): Minted
}

/** Macaroons in base64 begin so: version 2 with a byte 2, version 1 with a length in hex digits. */
const BEGINS = /^(?:Ag|MD)/

/**
 * Macaroons for grants: the payment hash of the identifier is the grant's id. Equal grants have equal tokens, so that what is
 * asked for twice multiplies no limit. A limit is counted by its place in the chain, so only limits without a scope can be
 * minted: one that is counted elsewhere already would be counted anew.
 */
export function createMacaroonMint(macaroons: Macaroons, clock: Clock = systemClock): MacaroonMint {
  const known = createKnown<Grant>()

  function read(token: string): Grant | string {
    const checked = macaroons.check(token)
    if (typeof checked === 'string') return checked
    const { identifier, rights, offer } = checked
    if (offer !== undefined)
      return 'The token belongs to an invoice: it is good only with the preimage, as L402 shows it.'
    const grant = { id: Buffer.from(identifier.paymentHash).toString('hex'), rights }
    known.add(token, grant)
    return grant
  }

  return {
    name: 'macaroon',
    mint({ id, rights }) {
      if (!isGrantId(id)) throw new RangeError('The id of a grant is not 64 hexadecimal digits.')
      if (isCounted(rights))
        throw new RangeError('A limit of these rights is counted elsewhere. Narrow that token.')
      const tokenId = hash('sha256', `tolsey/token/${id}`, 'buffer')
      return macaroons.mint(
        { paymentHash: Buffer.from(id, 'hex'), tokenId },
        writeConditions(rights),
      )
    },
    check(token) {
      if (!BEGINS.test(token)) return undefined
      const found = known.get(token) ?? read(token)
      return typeof found === 'string' ? found : inTime(found, clock.now())
    },
  }
}

/** The payment hash in a macaroon of anybody, in hex, if it is one with an identifier of version 0. Nothing is verified. */
export function hashIn(token: string): string | undefined {
  const read = readToken(token)
  const [root] = typeof read === 'string' ? [] : read
  const identifier = root && readIdentifier(root.id)
  return typeof identifier === 'object'
    ? Buffer.from(identifier.paymentHash).toString('hex')
    : undefined
}

function isCounted({ uses = [], budget = [], rate = [] }: Rights): boolean {
  return [...uses, ...budget, ...rate].some(({ scope }) => scope !== '')
}
