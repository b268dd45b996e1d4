import { keccak256, stringToBytes } from 'viem'
import type { Hex } from '../hex.ts'

/** What a payment is for: a challenge of MPP, and whose it is. */
export interface Challenge {
  readonly id: string
  readonly realm: string
}

/** Where each part of a memo ends, in hex digits behind `0x`. */
const HEAD_END = 10
const SERVER_END = 30
const CLIENT_END = 50
const NOBODY = '0'.repeat(CLIENT_END - SERVER_END)

/**
 * What a transfer says of the challenge that it pays: 32 bytes, of which the tag and version `ef1ed71201`, ten of the hash of
 * the realm, ten of the client's name, and seven of the hash of the challenge's id (draft-tempo-charge, attribution memo).
 */
export function memoOf(challenge: Challenge): Hex {
  return `0x${TAG}${serverOf(challenge)}${NOBODY}${tailOf(challenge.id)}`
}

/** Whether the memo names the challenge with that id. Ids are ours and no two are the same, so the realm adds nothing. */
export function isMemoOf(memo: string, id: string): boolean {
  const text = memo.toLowerCase()
  return text.length === 66 && text.startsWith(`0x${TAG}`) && text.endsWith(tailOf(id))
}

const TAG = `${hashOf('mpp').slice(0, 8)}01`

function serverOf({ realm }: Challenge): string {
  return hashOf(realm).slice(0, SERVER_END - HEAD_END)
}

function tailOf(id: string): string {
  return hashOf(id).slice(0, 64 - CLIENT_END)
}

function hashOf(text: string): string {
  return keccak256(stringToBytes(text)).slice(2)
}
