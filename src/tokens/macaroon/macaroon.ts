import { xsalsa20poly1305 } from '@noble/ciphers/salsa.js'
import { Buffer } from 'node:buffer'
import { hash, timingSafeEqual } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import type { Chance } from '../../core/ports.ts'
import type { Caveat, Macaroon } from './codec.ts'
import { extend, writeMacaroon } from './codec.ts'
import type { Digest } from './hmac.ts'
import { bytesOf, digestOf, hmac } from './hmac.ts'

/** What a new macaroon is made of. */
export interface Minting {
  readonly rootKey: Uint8Array
  readonly id: Uint8Array
  readonly location?: string
  readonly version?: 1 | 2
}

/** Someone who must see to a condition before the token is good. */
export interface ThirdParty {
  /** Where a discharge may be had. */
  readonly location: string
  /** By what the third party finds the condition and the key. */
  readonly id: Uint8Array
  /** The root key of the discharge, which the third party must learn in another way. */
  readonly rootKey: Uint8Array
}

/** A condition under which a verified token is good. */
export interface Stated {
  readonly bytes: Uint8Array
  /**
   * Names the place in the chain: all macaroons that descend from here share it, no other does, and it tells nothing of the
   * signature there.
   */
  readonly scope: () => string
}

/** The token is whole, and good under all these conditions. */
export interface Verified {
  readonly conditions: readonly Stated[]
}

const NONCE_BYTES = 24
const BOX_BYTES = 48
const SCOPE_CHARS = 22
const GENERATOR: Digest = 'macaroons-key-generator'
const ZERO: Digest = '\0'.repeat(32)

/**
 * Makes a macaroon without caveats.
 * @throws {RangeError} when identifier and location are empty or too long for a token.
 */
export function mint({ rootKey, id, location = '', version = 2 }: Minting): Macaroon {
  const signature = bytesOf(hmac(derive(rootKey), id))
  const made = writeMacaroon({ version, location, id, caveats: [], signature })
  if (!made || id.length === 0)
    throw new RangeError('A macaroon needs an identifier that leaves room in the token.')
  return made
}

/** Adds conditions, which needs no key: whoever holds a token can narrow it. A sentence if they do not fit. */
export function narrow(macaroon: Macaroon, conditions: readonly string[]): Macaroon | string {
  const added = conditions.map((condition): Caveat => ({ id: Buffer.from(condition) }))
  if (added.some(({ id }) => id.length === 0)) return 'A condition is empty.'
  return add(macaroon, added)
}

/** Adds a condition that a third party must discharge. A sentence if it does not fit. */
export function addThirdParty(
  macaroon: Macaroon,
  { location, id, rootKey }: ThirdParty,
  chance: Chance,
): Macaroon | string {
  if (id.length === 0) return 'A third party needs an identifier.'
  const nonce = chance(NONCE_BYTES)
  const key = bytesOf(derive(rootKey))
  const vid = Buffer.concat([nonce, xsalsa20poly1305(macaroon.signature, nonce).encrypt(key)])
  return add(macaroon, [location === '' ? { id, vid } : { id, vid, location }])
}

/** Binds a discharge to the root that it is shown with, so that it is worth nothing with another. Narrow both before. */
export function bind(root: Macaroon, discharge: Macaroon): Macaroon {
  const bound = bytesOf(bindTo(digestOf(root.signature), digestOf(discharge.signature)))
  const made = extend(discharge, [], bound)
  assert(made, 'another signature changes no length')
  return made
}

/**
 * Checks the whole chain: every signature, every third party's discharge, each discharge used exactly once. Gives all
 * conditions, also those of discharges, or a sentence. Signatures are compared in constant time.
 */
export function verify(
  root: Macaroon,
  rootKey: Uint8Array,
  discharges: readonly Macaroon[] = [],
): Verified | string {
  const walk: Walk = {
    rootSignature: digestOf(root.signature),
    unused: [...discharges],
    conditions: [],
  }
  const why = follow(root, derive(rootKey), walk, true)
  if (why !== undefined) return why
  if (walk.unused.length > 0) return 'A discharge belongs to no condition of the token.'
  return { conditions: walk.conditions }
}

interface Walk {
  readonly rootSignature: Digest
  readonly unused: Macaroon[]
  readonly conditions: Stated[]
}

/** Follows one chain from its key; a sentence if it does not hold. */
function follow(macaroon: Macaroon, key: Digest, walk: Walk, isRoot: boolean): string | undefined {
  let signature = hmac(key, macaroon.id)
  for (const caveat of macaroon.caveats) {
    const why = caveat.vid && discharge(caveat.id, caveat.vid, signature, walk)
    if (why !== undefined) return why
    signature = next(signature, caveat)
    if (!caveat.vid) walk.conditions.push(stated(caveat.id, signature))
  }
  const end = isRoot ? signature : bindTo(walk.rootSignature, signature)
  return timingSafeEqual(bytesOf(end), macaroon.signature) ? undefined : NOT_OURS
}

const NOT_OURS = 'The signature of the token does not hold: it was changed, or made by another.'

/** Each discharge is taken once, so that the walk ends. */
function discharge(id: Uint8Array, vid: Uint8Array, key: Digest, walk: Walk): string | undefined {
  const dischargeKey = open(vid, key)
  if (dischargeKey === undefined) return NOT_OURS
  const at = walk.unused.findIndex((candidate) => Buffer.compare(candidate.id, id) === 0)
  const [found] = at < 0 ? [] : walk.unused.splice(at, 1)
  if (!found) return 'A third party has not discharged its condition of the token.'
  return follow(found, dischargeKey, walk, false)
}

function open(vid: Uint8Array, key: Digest): Digest | undefined {
  if (vid.length !== NONCE_BYTES + BOX_BYTES) return undefined
  try {
    const box = xsalsa20poly1305(bytesOf(key), vid.subarray(0, NONCE_BYTES))
    return digestOf(box.decrypt(vid.subarray(NONCE_BYTES)))
  } catch {
    return undefined
  }
}

function add(macaroon: Macaroon, added: readonly Caveat[]): Macaroon | string {
  const signature = added.reduce(next, digestOf(macaroon.signature))
  return extend(macaroon, added, bytesOf(signature)) ?? 'The token has no room for that.'
}

function next(signature: Digest, { id, vid }: Caveat): Digest {
  return vid ? pair(signature, vid, id) : hmac(signature, id)
}

function pair(key: Digest, a: Uint8Array | Digest, b: Uint8Array | Digest): Digest {
  return hmac(key, hmac(key, a) + hmac(key, b))
}

function bindTo(root: Digest, signature: Digest): Digest {
  const same = timingSafeEqual(bytesOf(root), bytesOf(signature))
  return same ? signature : pair(ZERO, root, signature)
}

function derive(rootKey: Uint8Array): Digest {
  assert(rootKey.length > 0, 'a root key is not empty')
  return hmac(GENERATOR, rootKey)
}

/** A hash, since the signature itself would let its reader strip all that follows. */
function stated(bytes: Uint8Array, signature: Digest): Stated {
  return {
    bytes,
    scope: () =>
      hash('sha256', bytesOf(`tolsey/scope/${signature}`), 'base64url').slice(0, SCOPE_CHARS),
  }
}
