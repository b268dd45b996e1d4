import { readJson } from '../../../core/json.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import { SIGNATURE_BYTES_MAX } from '../proof.ts'

/** A transaction that is said to pay, and what ties it to whoever shows it. Hex in lower case. */
export interface Proof {
  readonly transaction: Hex
  /** The payer's, over the claim (EIP-712). Without it the calldata must end with the offer's tag. */
  readonly signature?: Hex
  /** The signed transaction itself, where it is not sent yet: whoever takes it sends it. */
  readonly raw?: Hex
  /** Which of the transaction's own logs is the payment, counted from 0; the first that fits if absent. */
  readonly log?: number
  /** By what text the payer names the offer, where that is not its id alone; empty where the protocol has no room for it. */
  readonly offer?: string
  /** Who has paid, where the payer says. */
  readonly payer?: Hex
}

/** Most logs of one transaction that are looked at: a block has room for some ten thousand. */
export const LOGS_MAX = 65_536
/** Longest text by which a payer may name an offer. */
export const NAME_CHARS_MAX = 4_096

/** What a proof is made of, as a stranger says it. */
export interface SaidProof {
  readonly transaction: unknown
  readonly signature?: unknown
  readonly log?: unknown
}

/** The proof, or a sentence what is wrong with it. */
export function readProof({ transaction, signature, log }: SaidProof): Proof | string {
  if (typeof transaction !== 'string' || !/^0x[0-9a-fA-F]{64}$/.test(transaction))
    return 'The hash of the transaction is not 32 bytes in hex with 0x in front.'
  if (signature !== undefined && !isSignature(signature))
    return 'The signature is not bytes in hex with 0x in front, or too long.'
  if (log !== undefined && !isPosition(log)) return 'The number of the log is not a small number.'
  return {
    transaction: lower(transaction as Hex),
    ...(signature !== undefined && { signature: lower(signature) }),
    ...(log !== undefined && { log }),
  }
}

function isSignature(said: unknown): said is Hex {
  if (typeof said !== 'string' || said.length > 2 + 2 * SIGNATURE_BYTES_MAX) return false
  return /^0x(?:[0-9a-fA-F]{2})+$/.test(said)
}

function isPosition(said: unknown): said is number {
  return typeof said === 'number' && Number.isSafeInteger(said) && said >= 0 && said < LOGS_MAX
}

/** The text by which the payer names the offer: what he signs, and what the tag is made of. */
export function nameIn(offer: Pick<Offer, 'id'>, proof: Proof): string {
  return proof.offer ?? offer.id
}

/**
 * Whether the payer names another offer than this one, or none: where a protocol has no room for its id, the terms were found
 * by quoting again. The gateway profile wraps an id into its intent: a JSON list in base64url, behind a word and `_`.
 */
export function isUnbound(offer: Pick<Offer, 'id'>, proof: Proof): boolean {
  const name = nameIn(offer, proof)
  return name !== offer.id && wrapped(name) !== offer.id
}

function wrapped(name: string): unknown {
  const text = /^[a-z]+_([\w-]+)$/.exec(name)?.[1] ?? ''
  const said = readJson(Buffer.from(text, 'base64url').toString(), NAME_CHARS_MAX)
  return Array.isArray(said) ? (said as readonly unknown[])[0] : undefined
}
