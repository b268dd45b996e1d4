import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Macaroon } from './codec.ts'
import { readToken } from './codec.ts'

/** A macaroon made by Go's library: `vectors/vectors.json`. */
export interface Vector {
  readonly RootKey: string
  readonly Id: string
  readonly Location: string
  readonly Caveats: readonly string[] | null
  readonly V1: string
  readonly V2: string
  readonly Sig: string
}

export const vectors = JSON.parse(
  readFileSync(new URL('vectors/vectors.json', import.meta.url), 'utf8'),
) as readonly Vector[]

/** The root key of the vectors. */
export const rootKey: Uint8Array = Uint8Array.from({ length: 32 }, (_, i) => 0xff - i)

/** A root with a third party's condition, and its discharge, made by Go's library. */
export const third = {
  root: 'AgEBYQIEcm9vdAABAWICCHRoaXJkLWlkBEh6tYVn6J4PyrB/ilhnW415TPT2PVD7aqbgoYUbabdu1BylCOKS8B0GRn31BSShiYJU7Kk2MCFMQREIs9ueFhbDmx856OuOBn4AAAYgzBQZ5oUP91S8kVoaXKsXSWI7ZbMYtvae5GGpbml5vZI=',
  bound: 'AgEBYgIIdGhpcmQtaWQAAgh1c2VyPWJvYgAABiCiPx/w4Kf2aCqkBrHBhUd0R6SNSozSsrq59xRqW3yBFQ==',
  unbound: 'AgEBYgIIdGhpcmQtaWQAAgh1c2VyPWJvYgAABiAUpQGiWYMqZQA6UpUUA2jOj6dZdVqFpPg8FPfRJ0Ew2w==',
} as const

/** The only macaroon of a token that must be one. */
export function one(token: string): Macaroon {
  const read = readToken(token)
  assert.ok(typeof read !== 'string', JSON.stringify(read))
  assert.equal(read.length, 1)
  const [first] = read
  assert.ok(first)
  return first
}

/** What must not be a sentence. */
export function ok<T extends object>(value: T | string): T {
  if (typeof value === 'string') assert.fail(value)
  return value
}

/** The sentence of what must be refused. */
export function why(value: unknown): string {
  assert.ok(typeof value === 'string')
  return value
}

test('the vectors are there', () => {
  assert.equal(vectors.length, 5)
})
