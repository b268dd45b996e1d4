import { Buffer } from 'node:buffer'

/** Most bytes of one macaroon. */
export const TOKEN_BYTES_MAX = 4096
/** Most caveats of one macaroon. */
export const CAVEATS_MAX = 32
/** Most macaroons in one token: the root and its discharges. */
export const MACAROONS_MAX = 8
/** Most bytes of a token with all its discharges. */
export const BUNDLE_BYTES_MAX = 8192
/** Bytes of a signature. */
export const SIGNATURE_BYTES = 32

/** A condition, or with a `vid` one that a third party must see to. */
export interface Caveat {
  readonly id: Uint8Array
  /** The key of the discharge, encrypted for whoever can compute the chain. */
  readonly vid?: Uint8Array
  /** Where a discharge may be had; not signed. */
  readonly location?: string
}

/** A macaroon as it was read or made. */
export interface Macaroon {
  readonly version: 1 | 2
  /** A hint; not signed. Empty if there is none. */
  readonly location: string
  readonly id: Uint8Array
  readonly caveats: readonly Caveat[]
  readonly signature: Uint8Array
  /** As received: libraries differ in what they write, so nothing that was received is written anew. */
  readonly bytes: Uint8Array
}

/**
 * Reads a token: a macaroon, and the discharges that follow it. Base64 in the standard or the URL alphabet, padded or not.
 * Anything else is refused with a sentence; nothing throws.
 */
export function readToken(text: string): readonly Macaroon[] | string {
  const bytes = readBase64(text)
  if (!bytes) return 'The token is not base64, or longer than a token can be.'
  return readMacaroons(bytes)
}

/** Writes a token in standard base64 with padding, which every known client reads. */
export function writeToken(macaroons: readonly Macaroon[]): string {
  return Buffer.concat(macaroons.map(({ bytes }) => bytes)).toString('base64')
}

/** Reads macaroons in binary version 1 or 2, one after the other; a sentence if anything else is there. */
export function readMacaroons(bytes: Uint8Array): readonly Macaroon[] | string {
  if (bytes.length > BUNDLE_BYTES_MAX) return `The token has more than ${BUNDLE_BYTES_MAX} bytes.`
  const cursor: Cursor = { bytes: Buffer.from(bytes), at: 0 }
  const found: Macaroon[] = []
  do {
    const macaroon = takeMacaroon(cursor)
    if (typeof macaroon === 'string') return macaroon
    if (found.push(macaroon) > MACAROONS_MAX)
      return `The token has more than ${MACAROONS_MAX} macaroons.`
  } while (cursor.at < bytes.length)
  return found
}

/** Writes a macaroon of our own making; undefined if it would be longer, or have more caveats, than we read. */
export function writeMacaroon(said: Omit<Macaroon, 'bytes'>): Macaroon | undefined {
  const form = forms[said.version]
  const bytes = Buffer.concat([
    form.head(said.location, said.id),
    ...said.caveats.map((caveat) => form.caveat(caveat)),
    form.tail(said.signature),
  ])
  const fits = bytes.length <= TOKEN_BYTES_MAX && said.caveats.length <= CAVEATS_MAX
  return fits ? { ...said, bytes } : undefined
}

/** Puts caveats at the end; all bytes before the signature stay. Undefined where {@link writeMacaroon} gives it. */
export function extend(
  macaroon: Macaroon,
  added: readonly Caveat[],
  signature: Uint8Array,
): Macaroon | undefined {
  const form = forms[macaroon.version]
  const kept = macaroon.bytes.subarray(0, macaroon.bytes.length - form.tailBytes)
  const parts = added.map((caveat) => form.caveat(caveat))
  const bytes = Buffer.concat([kept, ...parts, form.tail(signature)])
  const caveats = [...macaroon.caveats, ...added]
  const fits = bytes.length <= TOKEN_BYTES_MAX && caveats.length <= CAVEATS_MAX
  return fits ? { ...macaroon, caveats, signature, bytes } : undefined
}

/** Base64 as it is met: both alphabets, padded or not, but not mixed, and one spelling for the same bytes. */
function readBase64(text: string): Buffer | undefined {
  if (text.length > Math.ceil(BUNDLE_BYTES_MAX / 3) * 4) return undefined
  if (!/^(?:[A-Za-z0-9+/]+|[A-Za-z0-9_-]+)={0,2}$/.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  const padded = bytes.toString('base64')
  const said = text.replaceAll('-', '+').replaceAll('_', '/')
  return said === padded || said === padded.replace(/=+$/, '') ? bytes : undefined
}

interface Cursor {
  readonly bytes: Buffer
  at: number
}

/** How a version lies in bytes. */
interface Form {
  /** Bytes of what follows the last caveat. */
  readonly tailBytes: number
  head(location: string, id: Uint8Array): Buffer
  caveat(caveat: Caveat): Buffer
  tail(signature: Uint8Array): Buffer
  takeHead(c: Cursor): { readonly location: string; readonly id: Buffer } | undefined
  takeCaveat(c: Cursor): Caveat | undefined
  /** Whether no caveat follows. */
  atTail(c: Cursor): boolean
  takeSignature(c: Cursor): Buffer | undefined
}

function takeMacaroon(c: Cursor): Macaroon | string {
  const first = c.bytes[c.at] ?? 0
  const version = first === 2 ? 2 : /[0-9a-f]/.test(String.fromCharCode(first)) ? 1 : undefined
  if (!version) return 'The token is not a macaroon in binary version 1 or 2.'
  const from = c.at
  const form = forms[version]
  const broken = `The token is a macaroon of version ${version} that is broken.`
  const head = form.takeHead(c)
  if (!head) return broken
  const caveats: Caveat[] = []
  while (!form.atTail(c)) {
    const caveat = form.takeCaveat(c)
    if (!caveat) return broken
    if (caveats.push(caveat) > CAVEATS_MAX) return `The token has more than ${CAVEATS_MAX} caveats.`
  }
  const signature = form.takeSignature(c)
  if (signature?.length !== SIGNATURE_BYTES) return broken
  const bytes = c.bytes.subarray(from, c.at)
  if (bytes.length > TOKEN_BYTES_MAX) return `The token has more than ${TOKEN_BYTES_MAX} bytes.`
  return { version, ...head, caveats, signature, bytes }
}

const EMPTY = Buffer.alloc(0)

/** Fields of `tag, length, bytes`; sections end with a zero. */
const tagged: Form = {
  tailBytes: 1 + 2 + SIGNATURE_BYTES,
  head: (location, id) =>
    Buffer.concat([Buffer.of(2), place(location), field(2, id), Buffer.of(0)]),
  caveat: ({ id, vid, location = '' }) =>
    Buffer.concat([place(location), field(2, id), vid ? field(4, vid) : EMPTY, Buffer.of(0)]),
  tail: (signature) => Buffer.concat([Buffer.of(0), field(6, signature)]),
  takeHead(c) {
    c.at++
    const location = takePlace(c)
    const id = takeField(c, 2)
    if (location === undefined || !id?.length || !takeByte(c, 0)) return undefined
    return { location, id }
  },
  takeCaveat(c) {
    const location = takePlace(c)
    const id = takeField(c, 2)
    if (location === undefined || !id?.length) return undefined
    const vid = c.bytes[c.at] === 4 ? takeField(c, 4) : undefined
    return takeByte(c, 0) ? caveatOf(id, vid, location) : undefined
  },
  atTail: (c) => c.bytes[c.at] === 0,
  takeSignature: (c) => (takeByte(c, 0) ? takeField(c, 6) : undefined),
}

/** Lines of `length key value`, the length as four hexadecimal digits. */
const lined: Form = {
  tailBytes: 4 + 'signature '.length + SIGNATURE_BYTES + 1,
  head: (location, id) =>
    Buffer.concat([line('location', Buffer.from(location)), line('identifier', id)]),
  caveat: ({ id, vid, location = '' }) =>
    Buffer.concat([
      line('cid', id),
      vid ? line('vid', vid) : EMPTY,
      location === '' ? EMPTY : line('cl', Buffer.from(location)),
    ]),
  tail: (signature) => line('signature', signature),
  takeHead(c) {
    const location = textOf(takeLine(c, 'location'))
    const id = takeLine(c, 'identifier')
    return location === undefined || !id?.length ? undefined : { location, id }
  },
  takeCaveat(c) {
    const id = takeLine(c, 'cid')
    if (!id?.length) return undefined
    const vid = takeLine(c, 'vid')
    const location = vid && takeLine(c, 'cl')
    const place = location ? textOf(location) : ''
    return place === undefined ? undefined : caveatOf(id, vid, place)
  },
  atTail: (c) => c.bytes.subarray(c.at + 4, c.at + 14).equals(SIGNATURE_KEY),
  takeSignature: (c) => takeLine(c, 'signature'),
}

const SIGNATURE_KEY = Buffer.from('signature ')

const forms: Readonly<Record<1 | 2, Form>> = { 1: lined, 2: tagged }

/** A place without a third party, or a third party without its key, is nothing that any library writes. */
function caveatOf(id: Buffer, vid: Buffer | undefined, location: string): Caveat | undefined {
  if (!vid) return location === '' ? { id } : undefined
  if (vid.length === 0) return undefined
  return location === '' ? { id, vid } : { id, vid, location }
}

function field(tag: number, value: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(tag, ...varint(value.length)), value])
}

/** An empty location is left out, as Go does. */
function place(location: string): Buffer {
  return location === '' ? EMPTY : field(1, Buffer.from(location))
}

function varint(n: number): number[] {
  return n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...varint(n >>> 7)]
}

function line(key: string, value: Uint8Array): Buffer {
  const length = 4 + key.length + 1 + value.length + 1
  const digits = length.toString(16).padStart(4, '0')
  return Buffer.concat([Buffer.from(`${digits}${key} `), value, Buffer.from('\n')])
}

function takeByte(c: Cursor, byte: number): boolean {
  return c.bytes[c.at++] === byte
}

/** The field, if it is the next and whole. */
function takeField(c: Cursor, tag: number): Buffer | undefined {
  if (c.bytes[c.at] !== tag) return undefined
  const low = c.bytes[c.at + 1] ?? 0
  const high = low < 0x80 ? 0 : (c.bytes[c.at + 2] ?? 0)
  // Two digits of seven bits reach beyond every limit, and a high digit of zero would be a second spelling.
  if (high >= 0x80 || (low >= 0x80 && high === 0)) return undefined
  const from = c.at + (low < 0x80 ? 2 : 3)
  const to = from + (low & 0x7f) + high * 0x80
  if (to > c.bytes.length) return undefined
  c.at = to
  return c.bytes.subarray(from, to)
}

/** The location, empty if there is none; undefined if it is no text. */
function takePlace(c: Cursor): string | undefined {
  return c.bytes[c.at] === 1 ? textOf(takeField(c, 1)) : ''
}

/** The line's value, if it is the next and whole. */
function takeLine(c: Cursor, key: string): Buffer | undefined {
  const digits = c.bytes.toString('latin1', c.at, c.at + 4)
  const from = c.at + 4 + key.length + 1
  const end = c.at + (/^[0-9a-f]{4}$/.test(digits) ? Number.parseInt(digits, 16) : 0)
  if (end <= from || end > c.bytes.length || c.bytes[end - 1] !== 10) return undefined
  if (c.bytes.toString('latin1', c.at + 4, from) !== `${key} `) return undefined
  c.at = end
  return c.bytes.subarray(from, end - 1)
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOf(bytes: Buffer | undefined): string | undefined {
  try {
    return bytes && utf8.decode(bytes)
  } catch {
    return undefined
  }
}
