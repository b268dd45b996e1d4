import { INVOICE_CHARS_MAX } from './bolt11.ts'

/** What of a BOLT12 invoice a payout needs to know. The node that fetched it has checked its signature. */
export interface OfferInvoice {
  /** The payment hash: 64 hex digits in lower case. */
  readonly hash: string
  readonly msat: bigint
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}

/** Letters of Bech32; BOLT12 has them without a checksum. */
const ALPHABET = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
/** How long an invoice stands that does not say (BOLT 12). */
const EXPIRY_S = 7_200
const CREATED_AT = 164n
const RELATIVE_EXPIRY = 166n
const PAYMENT_HASH = 168n
const AMOUNT = 170n

/** Reads hash, amount and end of a BOLT12 invoice (`lni1…`), or tells in a sentence why it cannot. */
export function readOfferInvoice(text: string): OfferInvoice | string {
  const [, data] = /^lni1([02-9ac-hj-np-z]+)$/.exec(text.toLowerCase()) ?? []
  if (data === undefined || text.length > INVOICE_CHARS_MAX)
    return 'The invoice for the offer cannot be read.'
  const fields = readStream(bytesOf(data))
  const hash = fields?.get(PAYMENT_HASH)
  const msat = fields?.get(AMOUNT)
  const createdAt = fields?.get(CREATED_AT)
  if (hash?.length !== 32 || !msat || !createdAt) return 'The invoice for the offer lacks a field.'
  const expiry = fields?.get(RELATIVE_EXPIRY)
  const endsAtS = numberOf(createdAt) + (expiry ? numberOf(expiry) : BigInt(EXPIRY_S))
  if (endsAtS > BigInt(Number.MAX_SAFE_INTEGER) / 1000n) return 'The invoice never ends.'
  return {
    hash: Buffer.from(hash).toString('hex'),
    msat: numberOf(msat),
    expiresAt: Number(endsAtS) * 1000,
  }
}

/** The bits of the letters, without those that make no whole byte. */
function bytesOf(data: string): Uint8Array {
  const bytes: number[] = []
  let held = 0
  let bits = 0
  for (const letter of data) {
    held = ((held << 5) | ALPHABET.indexOf(letter)) & 0xfff
    bits += 5
    if (bits >= 8) bytes.push((held >> (bits -= 8)) & 255)
  }
  return Uint8Array.from(bytes)
}

/** A stream of type, length, value (BOLT 1): types rise, and nothing is left over. */
function readStream(bytes: Uint8Array): ReadonlyMap<bigint, Uint8Array> | undefined {
  const found = new Map<bigint, Uint8Array>()
  let last = -1n
  for (let at = 0; at < bytes.length;) {
    const type = readBigSize(bytes, at)
    const length = type && readBigSize(bytes, type.end)
    if (!type || !length || type.value <= last) return undefined
    if (length.value > BigInt(bytes.length - length.end)) return undefined
    at = length.end + Number(length.value)
    last = type.value
    found.set(type.value, bytes.subarray(length.end, at))
  }
  return found
}

interface BigSize {
  readonly value: bigint
  readonly end: number
}

function readBigSize(bytes: Uint8Array, at: number): BigSize | undefined {
  const first = bytes[at]
  if (first === undefined) return undefined
  const width = first < 0xfd ? 0 : 1 << (first - 0xfc)
  const end = at + 1 + width
  if (end > bytes.length) return undefined
  return { value: width === 0 ? BigInt(first) : numberOf(bytes.subarray(at + 1, end)), end }
}

function numberOf(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n)
}
