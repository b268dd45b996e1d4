import { hash as digest } from 'node:crypto'
import type { Secp256k1 } from '@bitauth/libauth/build/lib/crypto/secp256k1-types.js'
import { instantiateSecp256k1 } from '@bitauth/libauth/build/lib/crypto/secp256k1.js'
import { bech32 } from '@scure/base'
import { MSAT_MAX, chains } from './networks.ts'

/** Longest invoice that is read, in characters. */
export const INVOICE_CHARS_MAX = 4_096
/** Most tagged fields of one invoice. */
export const FIELDS_MAX = 64
/** Longest time to pay, in 5-bit words: forty bits of seconds. */
const EXPIRY_WORDS_MAX = 8
/** Longest number of blocks, in 5-bit words. */
const CLTV_WORDS_MAX = 6

const TIMESTAMP_WORDS = 7
const SIGNATURE_WORDS = 104
const HASH_WORDS = 52
const KEY_WORDS = 53
const EXPIRY_S = 3_600
const CLTV_DELTA = 18

/** What a BOLT11 invoice says under its signature. Times are milliseconds since 1970. */
export interface Invoice {
  /** CAIP-2. */
  readonly network: string
  /** Absent where the payer names the amount. */
  readonly msat?: bigint
  /** The payment hash: 64 hex digits in lower case. */
  readonly hash: string
  /** The public key that signed it: 66 hex digits in lower case. */
  readonly payee: string
  readonly madeAt: number
  readonly expiresAt: number
  /** As the payee wrote it: clean it before it is shown. Either this or its SHA-256 is there. */
  readonly description?: string
  readonly descriptionHash?: string
  /** Blocks that the last hop must leave. */
  readonly minFinalCltvExpiryDelta: number
  /** 64 hex digits in lower case. */
  readonly paymentSecret: string
  /** Numbers of the feature bits that are set (BOLT 9), in rising order. */
  readonly features: readonly number[]
}

/** Millisatoshis in ten of each unit that an amount may be counted in: ten, since `p` is a tenth of a millisatoshi. */
const multipliers: Readonly<Record<string, bigint>> = {
  '': 1_000_000_000_000n,
  m: 1_000_000_000n,
  u: 1_000_000n,
  n: 1_000n,
  p: 1n,
}

/** Letters of the tagged fields that are read; all others are skipped. */
const letters: Readonly<Record<number, string>> = {
  1: 'p',
  5: '9',
  6: 'x',
  9: 'f',
  13: 'd',
  16: 's',
  19: 'n',
  23: 'h',
  24: 'c',
}

/** Fields of another length are meant for others, and skipped. */
const lengths: Readonly<Record<string, number>> = {
  p: HASH_WORDS,
  s: HASH_WORDS,
  h: HASH_WORDS,
  n: KEY_WORDS,
}

/** Lengths in bytes of on-chain addresses by their version: P2WPKH and P2WSH, P2TR, P2PKH, P2SH. */
const fallbacks: Readonly<Record<number, readonly number[]>> = {
  0: [20, 32],
  1: [32],
  17: [20],
  18: [20],
}

/** Even feature bits that an invoice may ask for (BOLT 9), each with what it needs beside it. */
const features: Readonly<Record<number, readonly number[]>> = {
  8: [],
  14: [8],
  16: [14],
  24: [8],
  48: [],
}

/** The same library as the EVM rail's. Loaded with this file, so that reading an invoice needs nobody to wait. */
const curve: Secp256k1 = await instantiateSecp256k1()

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads a BOLT11 invoice whole and checks its signature, or tells in a sentence why it cannot be paid. Stricter than BOLT 11 in
 * one point: a field that may be there once must not be there twice, since readers differ in which of them counts.
 */
export function readInvoice(text: string): Invoice | string {
  if (text.length > INVOICE_CHARS_MAX) return 'The invoice is too long.'
  const read = bech32.decodeUnsafe(text, INVOICE_CHARS_MAX)
  if (!read) return 'The invoice is no Bech32 text, or its checksum is wrong.'
  const { prefix, words } = read
  const head = readPrefix(prefix)
  if (typeof head === 'string') return head
  if (words.length < TIMESTAMP_WORDS + SIGNATURE_WORDS) return 'The invoice is too short.'
  const fields = readFields(words.slice(TIMESTAMP_WORDS, -SIGNATURE_WORDS))
  if (typeof fields === 'string') return fields
  const body = readBody(fields, numberOf(words.slice(0, TIMESTAMP_WORDS)) * 1000)
  if (typeof body === 'string') return body
  const payee = readPayee(prefix, words, fields.get('n'))
  return payee === undefined
    ? 'The signature of the invoice does not hold.'
    : { ...head, ...body, payee }
}

type Fields = ReadonlyMap<string, readonly number[]>

/** Network and amount. */
function readPrefix(prefix: string): Pick<Invoice, 'network' | 'msat'> | string {
  const [, chain = '', amount] = /^ln(bcrt|bc|tbs|tb)(.*)$/.exec(prefix) ?? []
  const network = chains[chain]
  if (network === undefined) return 'The invoice is for a network that is not known.'
  if (amount === undefined || amount === '') return { network }
  const [, digits, unit = ''] = /^([1-9]\d{0,19})([munp]?)$/.exec(amount) ?? []
  if (digits === undefined) return 'The amount of the invoice cannot be read.'
  const tenths = BigInt(digits) * (multipliers[unit] ?? 0n)
  if (tenths % 10n !== 0n) return 'The amount of the invoice is finer than a millisatoshi.'
  const msat = tenths / 10n
  return msat > MSAT_MAX ? 'The amount of the invoice is more than there is.' : { network, msat }
}

/** The tagged fields by their letters. */
function readFields(words: readonly number[]): Fields | string {
  const found = new Map<string, readonly number[]>()
  let at = 0
  for (let count = 0; at < words.length; count++) {
    if (count === FIELDS_MAX) return 'The invoice has too many fields.'
    const end = at + 3 + numberOf(words.slice(at + 1, at + 3))
    if (at + 3 > words.length || end > words.length) return 'The invoice ends within a field.'
    const letter = letters[words[at] ?? 0]
    const data = words.slice(at + 3, end)
    at = end
    if (letter === 'f' && !isFallback(data)) return 'The fallback address of the invoice is none.'
    if (letter === undefined || letter === 'f') continue
    if (data.length !== (lengths[letter] ?? data.length)) continue
    if (found.has(letter)) return `The invoice has two fields "${letter}".`
    found.set(letter, data)
  }
  return found
}

/** Addresses of versions that are not known are somebody else's (BOLT 11). */
function isFallback([version, ...program]: readonly number[]): boolean {
  if (version === undefined) return false
  const allowed = fallbacks[version]
  return allowed === undefined || allowed.includes(bytesOf(program)?.length ?? -1)
}

function readBody(
  fields: Fields,
  madeAt: number,
): Omit<Invoice, 'network' | 'msat' | 'payee'> | string {
  const hash = hexOf(fields.get('p'))
  if (hash === undefined) return 'The invoice names no payment hash.'
  const paymentSecret = hexOf(fields.get('s'))
  if (paymentSecret === undefined) return 'The invoice has no payment secret.'
  const purpose = readPurpose(fields)
  if (typeof purpose === 'string') return purpose
  const bits = readFeatures(fields.get('9'))
  if (typeof bits === 'string') return bits
  const expiryS = readNumber(fields.get('x'), EXPIRY_WORDS_MAX, EXPIRY_S)
  if (expiryS === undefined) return 'The time to pay the invoice cannot be read.'
  const minFinalCltvExpiryDelta = readNumber(fields.get('c'), CLTV_WORDS_MAX, CLTV_DELTA)
  if (minFinalCltvExpiryDelta === undefined) return 'The last delay of the invoice cannot be read.'
  const expiresAt = madeAt + expiryS * 1000
  const rest = { madeAt, expiresAt, minFinalCltvExpiryDelta, features: bits }
  return { hash, paymentSecret, ...purpose, ...rest }
}

function readPurpose(fields: Fields): Pick<Invoice, 'description' | 'descriptionHash'> | string {
  const said = fields.get('d')
  const hashed = fields.get('h')
  if ((said === undefined) === (hashed === undefined))
    return 'The invoice must say what it is for, in one way.'
  const descriptionHash = hexOf(hashed)
  if (descriptionHash !== undefined) return { descriptionHash }
  const bytes = said && bytesOf(said)
  try {
    if (bytes) return { description: utf8.decode(bytes) }
  } catch {
    // No UTF-8.
  }
  return 'What the invoice is for cannot be read.'
}

/** The bits that are set; a sentence where one of them asks for what we do not know, or lacks what it needs. */
function readFeatures(words: readonly number[] = []): readonly number[] | string {
  if (words[0] === 0) return 'The features of the invoice begin with nothing.'
  const bits = words
    .toReversed()
    .flatMap((word, i) =>
      [0, 1, 2, 3, 4].filter((bit) => (word >> bit) & 1).map((bit) => 5 * i + bit),
    )
  const isSet = (bit: number): boolean => bits.includes(bit) || bits.includes(bit + 1)
  for (const bit of bits) {
    const needs = features[bit - (bit % 2)]
    if (!needs && bit % 2 === 0) return `The invoice asks for feature ${bit}, which is not known.`
    if (needs && !needs.every(isSet)) return `The invoice lacks what its feature ${bit} needs.`
  }
  return bits
}

/** Whoever signed it. A key that is named is the one that must have, and then one form of signature counts. */
function readPayee(
  prefix: string,
  words: readonly number[],
  named: readonly number[] | undefined,
): string | undefined {
  const signed = Buffer.concat([
    Buffer.from(prefix, 'latin1'),
    packed(words.slice(0, -SIGNATURE_WORDS)),
  ])
  const message = digest('sha256', signed, 'buffer')
  const bytes = packed(words.slice(-SIGNATURE_WORDS))
  const signature = bytes.subarray(0, 64)
  const recovery = bytes[64]
  if (recovery !== 0 && recovery !== 1 && recovery !== 2 && recovery !== 3) return undefined
  if (named) {
    const key = bytesOf(named)
    const holds =
      key &&
      curve.validatePublicKey(key) &&
      curve.verifySignatureCompactLowS(signature, key, message)
    return holds ? Buffer.from(key).toString('hex') : undefined
  }
  const key = curve.recoverPublicKeyCompressed(signature, recovery, message)
  return typeof key === 'string' ? undefined : Buffer.from(key).toString('hex')
}

/** A number without leading zeros; the default where there is none. */
function readNumber(
  words: readonly number[] | undefined,
  wordsMax: number,
  otherwise: number,
): number | undefined {
  if (!words) return otherwise
  return words.length === 0 || words.length > wordsMax || words[0] === 0
    ? undefined
    : numberOf(words)
}

/** Big-endian. By multiplication, since shifts end at 32 bits. */
function numberOf(words: readonly number[]): number {
  return words.reduce((sum, word) => sum * 32 + word, 0)
}

function hexOf(words: readonly number[] | undefined): string | undefined {
  const bytes = words && bytesOf(words)
  return bytes && Buffer.from(bytes).toString('hex')
}

/** Whole bytes; undefined where what is over is more than padding with zeros. */
function bytesOf(words: readonly number[]): Uint8Array | undefined {
  return bech32.fromWordsUnsafe([...words]) ?? undefined
}

/** Bytes with zeros appended up to the last one, as the signature is made over them. */
function packed(words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((words.length * 5) / 8))
  words.forEach((word, i) => {
    const at = Math.floor((i * 5) / 8)
    const spread = word << (11 - ((i * 5) % 8))
    bytes[at] = (bytes[at] ?? 0) | (spread >> 8)
    if (at + 1 < bytes.length) bytes[at + 1] = (bytes[at + 1] ?? 0) | (spread & 255)
  })
  return bytes
}
