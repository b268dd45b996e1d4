import { generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** A certificate with its key. */
export interface Certified {
  readonly pem: string
  readonly key: KeyObject
  readonly name: string
}

/** What a certificate says. */
export interface CertificateOrder {
  readonly name: string
  /** Who signs it; itself if absent. */
  readonly by?: Certified
  /** Whether it may sign others. */
  readonly isAuthority?: boolean
  readonly fromAt: number
  readonly untilAt: number
}

/** Makes a key and an X.509 certificate for it (RFC 5280), for stand-ins that sign what they send. */
export function certify({
  name,
  by,
  isAuthority = false,
  fromAt,
  untilAt,
}: CertificateOrder): Certified {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const body = sequence(
    tagged(0xa0, integer(2)),
    integer(Math.floor(fromAt / 1000)),
    sha256WithRsa,
    nameOf(by?.name ?? name),
    sequence(time(fromAt), time(untilAt)),
    nameOf(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(...extensionsOf(name, isAuthority))),
  )
  const signature = sign('sha256', body, by?.key ?? privateKey)
  const whole = sequence(
    body,
    sha256WithRsa,
    tagged(0x03, Buffer.concat([Buffer.of(0), signature])),
  )
  const text = whole.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n')
  const pem = `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`
  return { pem, key: privateKey, name }
}

function tagged(tag: number, body: Buffer): Buffer {
  const { length } = body
  if (length < 128) return Buffer.concat([Buffer.of(tag, length), body])
  const size = Buffer.alloc(4)
  size.writeUInt32BE(length)
  const digits = size.subarray(size.findIndex((byte) => byte !== 0))
  return Buffer.concat([Buffer.of(tag, 128 + digits.length), digits, body])
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts))
}

function integer(value: number): Buffer {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
  return tagged(0x02, (bytes[0] ?? 0) < 128 ? bytes : Buffer.concat([Buffer.of(0), bytes]))
}

/** GeneralizedTime. */
function time(at: number): Buffer {
  const text = new Date(at).toISOString().replaceAll(/[-:T]|\.\d+/g, '')
  return tagged(0x18, Buffer.from(text))
}

/** sha256WithRSAEncryption, 1.2.840.113549.1.1.11. */
const sha256WithRsa: Buffer = Buffer.from('300d06092a864886f70d01010b0500', 'hex')
const COMMON_NAME = Buffer.from('0603550403', 'hex')
const ALTERNATIVE_NAMES = Buffer.from('0603551d11', 'hex')
const CONSTRAINTS = Buffer.from('0603551d13', 'hex')

function nameOf(name: string): Buffer {
  const attribute = sequence(COMMON_NAME, tagged(0x0c, Buffer.from(name)))
  return sequence(tagged(0x31, attribute))
}

function extensionsOf(name: string, isAuthority: boolean): readonly Buffer[] {
  const constraints = sequence(...(isAuthority ? [Buffer.from('0101ff', 'hex')] : []))
  const names = sequence(tagged(0x82, Buffer.from(name)))
  return [
    sequence(CONSTRAINTS, Buffer.from('0101ff', 'hex'), tagged(0x04, constraints)),
    ...(isAuthority ? [] : [sequence(ALTERNATIVE_NAMES, tagged(0x04, names))]),
  ]
}
