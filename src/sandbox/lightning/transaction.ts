import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'

/** Most inputs or outputs of a transaction: far more than channels need. */
const PARTS_MAX = 1_000

/** Where an input comes from. */
export interface Coin {
  /** The id of the transaction that made it, in hex, as people read it. */
  readonly id: string
  readonly index: number
}

/** What an output pays, and to whom. */
export interface Output {
  readonly script: Uint8Array
  readonly sat: bigint
}

/** A transaction, as far as a chain without scripts looks at it. */
export interface Transaction {
  readonly id: string
  readonly inputs: readonly Coin[]
  readonly outputs: readonly Output[]
}

/** SHA-256 twice, as Bitcoin hashes. */
export function hash256(bytes: Uint8Array): Buffer {
  return hash('sha256', hash('sha256', bytes, 'buffer'), 'buffer')
}

/** The pay-to-witness-script-hash of `OP_TRUE`: anybody may spend it, and no signature is needed. */
export const openScript: Uint8Array = Buffer.concat([
  Buffer.of(0x00, 0x20),
  hash('sha256', Buffer.of(0x51), 'buffer'),
])

/** A transaction that spends coins of {@link openScript} (BIP 141 serialization). */
export function spendOpen(coins: readonly Coin[], outputs: readonly Output[]): Buffer {
  const inputs = coins.map(({ id, index }) =>
    Buffer.concat([reversed(id), u32(index), Buffer.of(0), u32(0xffffffff)]),
  )
  // The witness of each input is the script itself, `OP_TRUE`.
  const witness = coins.map(() => Buffer.of(1, 1, 0x51))
  return Buffer.concat([
    u32(2),
    Buffer.of(0, 1),
    listOf(inputs),
    listOf(outputs.map(writeOutput)),
    ...witness,
    u32(0),
  ])
}

/** The first transaction of a block, with its height in it (BIP 34), so that no two are alike. */
export function coinbase(height: number, output: Output): Buffer {
  const script = Buffer.concat([Buffer.of(4), u32(height)])
  const input = Buffer.concat([Buffer.alloc(32), u32(0xffffffff), sized(script), u32(0xffffffff)])
  return Buffer.concat([u32(2), listOf([input]), listOf([writeOutput(output)]), u32(0)])
}

/** Reads a transaction with or without witness. Whoever sends another thing has a bug: it is our own node. */
export function readTransaction(raw: Uint8Array): Transaction {
  const bytes = Buffer.from(raw)
  const segwit = bytes[4] === 0 && bytes[5] === 1
  let at = segwit ? 6 : 4
  const take = (size: number): Buffer => {
    assert(at + size <= bytes.length, 'a transaction is whole')
    return bytes.subarray(at, (at += size))
  }
  const count = (): number => {
    const first = take(1).readUInt8()
    assert(first <= 0xfd, 'a script of a transaction is short')
    return first < 0xfd ? first : take(2).readUInt16LE()
  }
  const list = <T>(read: () => T): T[] => {
    const length = count()
    assert(length <= PARTS_MAX, 'a transaction has few inputs and outputs')
    return Array.from({ length }, read)
  }
  const inputs = list(() => {
    const coin = {
      id: Buffer.from(take(32)).reverse().toString('hex'),
      index: take(4).readUInt32LE(),
    }
    take(count())
    take(4)
    return coin
  })
  const outputs = list(() => ({ sat: take(8).readBigUInt64LE(), script: take(count()) }))
  const body = bytes.subarray(segwit ? 6 : 4, at)
  // The id leaves the witness out (BIP 141).
  const plain = Buffer.concat([bytes.subarray(0, 4), body, bytes.subarray(-4)])
  return { id: hash256(plain).reverse().toString('hex'), inputs, outputs }
}

function writeOutput({ sat, script }: Output): Buffer {
  const value = Buffer.alloc(8)
  value.writeBigUInt64LE(sat)
  return Buffer.concat([value, sized(script)])
}

function sized(bytes: Uint8Array): Buffer {
  return Buffer.concat([countOf(bytes.length), bytes])
}

/** A list with its length before it. */
export function listOf(parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([countOf(parts.length), ...parts])
}

function countOf(count: number): Buffer {
  assert(count <= 0xffff, 'lists are short')
  return count < 0xfd ? Buffer.of(count) : Buffer.of(0xfd, count & 0xff, count >> 8)
}

/** A number in four bytes, the lowest first. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

/** The bytes of an id: hashes are shown to people backwards. */
export function reversed(id: string): Buffer {
  return Buffer.from(id, 'hex').reverse()
}
