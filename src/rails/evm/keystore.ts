import type { ScryptOptions } from 'node:crypto'
import { createCipheriv, createDecipheriv, pbkdf2, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { keccak } from 'hash-wasm'
import * as v from 'valibot'
import { privateKeyToAddress } from 'viem/accounts'
import { systemChance, uuid } from '../../core/chance.ts'
import { readJson } from '../../core/json.ts'
import type { Chance } from '../../core/ports.ts'
import type { Hex } from './hex.ts'

/** Largest keystore file that is read, in characters. */
export const KEYSTORE_CHARS_MAX = 16_384
/** Most memory that a file may ask scrypt for: four times that of the common files. */
export const SCRYPT_BYTES_MAX: number = 512 * 2 ** 20
/** Most rounds that a file may ask PBKDF2 for. */
export const PBKDF2_ROUNDS_MAX = 10_000_000
/** Most lanes that a file may ask scrypt for, one after the other. */
const SCRYPT_LANES_MAX = 16
const SCRYPT_N = 131_072
const SCRYPT_R = 8
const SCRYPT_P = 1
/** The derived key: half encrypts, half authenticates. */
const DERIVED_BYTES = 32

const HexText = (bytesMax: number): v.GenericSchema<string> =>
  v.pipe(v.string(), v.maxLength(2 * bytesMax), v.regex(/^(?:[0-9a-fA-F]{2})+$/))
const Count = (max: number): v.GenericSchema<number> =>
  v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(max))

const ScryptParams = v.object({
  n: v.pipe(
    Count(2 ** 24),
    v.check((n) => n > 1 && Number.isInteger(Math.log2(n))),
  ),
  r: Count(64),
  p: Count(SCRYPT_LANES_MAX),
  dklen: v.literal(DERIVED_BYTES),
  salt: HexText(128),
})
const Pbkdf2Params = v.object({
  c: Count(PBKDF2_ROUNDS_MAX),
  prf: v.literal('hmac-sha256'),
  dklen: v.literal(DERIVED_BYTES),
  salt: HexText(128),
})
const shared = {
  cipher: v.literal('aes-128-ctr'),
  cipherparams: v.object({ iv: v.pipe(HexText(16), v.length(32)) }),
  ciphertext: v.pipe(HexText(32), v.length(64)),
  mac: v.pipe(HexText(32), v.length(64)),
}
const Keystore = v.object({
  version: v.literal(3),
  crypto: v.variant('kdf', [
    v.object({ ...shared, kdf: v.literal('scrypt'), kdfparams: ScryptParams }),
    v.object({ ...shared, kdf: v.literal('pbkdf2'), kdfparams: Pbkdf2Params }),
  ]),
})
type Crypto = v.InferOutput<typeof Keystore>['crypto']

const scryptOf = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)
const pbkdf2Of = promisify(pbkdf2)

/**
 * The private key in a V3 keystore (Web3 Secret Storage).
 * @throws {RangeError} when the file is not one, asks for too much work, or the password is wrong.
 */
export async function readKeystore(json: string, password: string): Promise<Hex> {
  const file = readJson(json, KEYSTORE_CHARS_MAX)
  // Some programs write the member as "Crypto".
  const named = typeof file === 'object' && file !== null && 'Crypto' in file
  const read = v.safeParse(Keystore, named ? { crypto: file['Crypto'], ...file } : file)
  if (!read.success) throw new RangeError('The keystore is not a V3 file within our limits.')
  const { crypto } = read.output
  const derived = await derive(crypto, password)
  const ciphertext = Buffer.from(crypto.ciphertext, 'hex')
  const mac = await macOf(derived, ciphertext)
  if (!timingSafeEqual(mac, Buffer.from(crypto.mac, 'hex')))
    throw new RangeError('The password does not open the keystore.')
  const iv = Buffer.from(crypto.cipherparams.iv, 'hex')
  const key = createDecipheriv('aes-128-ctr', derived.subarray(0, 16), iv).update(ciphertext)
  return `0x${key.toString('hex')}`
}

/** A V3 keystore of the key, by scrypt with the common cost: a second of work and 128 MiB. */
export async function toKeystore(
  privateKey: Hex,
  password: string,
  chance: Chance = systemChance,
): Promise<string> {
  const address = privateKeyToAddress(privateKey).slice(2).toLowerCase()
  const salt = Buffer.from(chance(32)).toString('hex')
  const iv = Buffer.from(chance(16))
  const kdfparams = { n: SCRYPT_N, r: SCRYPT_R, p: SCRYPT_P, dklen: DERIVED_BYTES, salt } as const
  const derived = await scrypted(kdfparams, password)
  const key = Buffer.from(privateKey.slice(2), 'hex')
  const ciphertext = createCipheriv('aes-128-ctr', derived.subarray(0, 16), iv).update(key)
  const crypto = {
    cipher: 'aes-128-ctr',
    cipherparams: { iv: iv.toString('hex') },
    ciphertext: ciphertext.toString('hex'),
    kdf: 'scrypt',
    kdfparams,
    mac: (await macOf(derived, ciphertext)).toString('hex'),
  }
  return JSON.stringify({ version: 3, id: uuid(chance), address, crypto })
}

async function derive(crypto: Crypto, password: string): Promise<Buffer> {
  if (crypto.kdf === 'scrypt') return scrypted(crypto.kdfparams, password)
  const { c, dklen, salt } = crypto.kdfparams
  return pbkdf2Of(password, Buffer.from(salt, 'hex'), c, dklen, 'sha256')
}

async function scrypted(
  params: v.InferOutput<typeof ScryptParams>,
  password: string,
): Promise<Buffer> {
  const { n, r, p, dklen, salt } = params
  if (128 * n * r > SCRYPT_BYTES_MAX)
    throw new RangeError('The keystore asks for more memory than we give it.')
  // RFC 7914, 2; OpenSSL holds to it. Some published examples do not.
  if (n >= 2 ** (16 * r)) throw new RangeError('The keystore asks for more rounds than scrypt has.')
  // A little above what it needs: Node counts its own blocks too.
  const maxmem = 128 * r * (n + p + 2) + 2 ** 20
  return scryptOf(password, Buffer.from(salt, 'hex'), dklen, { N: n, r, p, maxmem })
}

async function macOf(derived: Buffer, ciphertext: Buffer): Promise<Buffer> {
  return Buffer.from(await keccak(Buffer.concat([derived.subarray(16), ciphertext]), 256), 'hex')
}
