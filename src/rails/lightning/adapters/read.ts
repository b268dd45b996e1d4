import { assert } from '../../../core/assert.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import { PaymentError } from '../../../core/problem.ts'
import { resolveChain } from '../networks.ts'
import type { Answer } from './http.ts'

/** 32 bytes in hex: a payment hash or a preimage. */
const HEX32 = /^[0-9a-f]{64}$/

/** An answer that cannot be read. Nothing of it is told: it may hold a preimage. */
export function misread(what: string): PaymentError {
  return new PaymentError(
    'rail-unavailable',
    `The Lightning node gave an answer that cannot be read (${what}).`,
  )
}

/** @throws {PaymentError} when it is no object. */
export function readObject(said: unknown, what: string): JsonObject {
  if (!isObject(said)) throw misread(what)
  return said
}

/** The object that a good answer is. @throws {PaymentError} when it is none. */
export function demand({ ok, said }: Pick<Answer, 'ok' | 'said'>): JsonObject {
  if (!ok) throw misread('an error')
  return readObject(said, 'answer')
}

/** The member as a list of objects. @throws {PaymentError} when it is not. */
export function readList(said: Json | undefined, what: string): readonly JsonObject[] {
  if (!Array.isArray(said)) throw misread(what)
  const list: readonly Json[] = said
  return list.map((one) => readObject(one, what))
}

/** @throws {PaymentError} when the member is no text, or an empty one. */
export function readText(from: JsonObject, key: string): string {
  const said = from[key]
  if (typeof said !== 'string' || said === '') throw misread(key)
  return said
}

/** The member as 64 hex digits in lower case. @throws {PaymentError} when it is something else. */
export function readHex32(from: JsonObject, key: string): string {
  const text = readText(from, key).toLowerCase()
  if (!HEX32.test(text)) throw misread(key)
  return text
}

/** The member as 64 hex digits in lower case; empty where it is something else. */
export function maybeHex32(from: JsonObject, key: string): string {
  const said = from[key]
  const text = typeof said === 'string' ? said.toLowerCase() : ''
  return HEX32.test(text) ? text : ''
}

/**
 * The member as a whole number, zero or more, whether it is a number, its digits as text (64 bits in JSON), or such with `msat`
 * behind them; 0 where it is absent. @throws {PaymentError} when it is something else.
 */
export function readWhole(from: JsonObject, key: string): bigint {
  const said = from[key]
  if (said === undefined || said === null) return 0n
  if (typeof said === 'number' && Number.isSafeInteger(said) && said >= 0) return BigInt(said)
  const [, digits] = typeof said === 'string' ? (/^(\d{1,19})(?:msat)?$/.exec(said) ?? []) : []
  if (digits === undefined) throw misread(key)
  return BigInt(digits)
}

/** Seconds since 1970 as milliseconds, under `settledAt`; nothing where there are none. */
export function settledAtS(seconds: bigint): { readonly settledAt?: number } {
  return seconds > 0n ? { settledAt: Number(seconds) * 1000 } : {}
}

/** A network by the name that nodes have for it. @throws {PaymentError} when it is not known. */
export function readNetwork(name: string): string {
  const known: Readonly<Record<string, string>> = { mainnet: 'bitcoin', testnet3: 'testnet' }
  try {
    return resolveChain(known[name] ?? name)
  } catch {
    throw new PaymentError('misconfigured', 'The Lightning node is on a network that is not known.')
  }
}

/** An amount for JSON, which has no larger numbers: that is 90,000 bitcoin. */
export function toNumber(amount: bigint): number {
  assert(amount >= 0n && amount <= BigInt(Number.MAX_SAFE_INTEGER), 'the amount fits a number')
  return Number(amount)
}

/** Whole satoshis, for those that know nothing finer. */
export function toSat(msat: bigint): bigint {
  assert(msat % 1000n === 0n, 'the amount is whole satoshis')
  return msat / 1000n
}

/** @throws {RangeError} unless it is hex digits; says nothing of what it is. */
export function checkHex(name: string, key: string, text: string): string {
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(text)) throw new RangeError(`"${key}" of ${name} is not hex.`)
  return text
}

/** @throws {RangeError} unless it can stand in a header; says nothing of what it is. */
export function checkSecretText(name: string, key: string, text: string): string {
  if (!/^[\x21-\x7e]{1,4096}$/.test(text))
    throw new RangeError(`"${key}" of ${name} is empty, or has blanks in it.`)
  return text
}
