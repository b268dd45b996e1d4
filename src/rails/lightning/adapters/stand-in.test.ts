// What the tests beside this file share: invoices that hold, and a server on this machine that answers as a back end's documents
// say (a stand-in by documented shapes, not the back end itself). Its own test shows that the invoices can be read.
import assert from 'node:assert/strict'
import { hash as digest, randomBytes } from 'node:crypto'
import type { IncomingMessage, RequestListener, Server } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { instantiateSecp256k1 } from '@bitauth/libauth/build/lib/crypto/secp256k1.js'
import { bech32 } from '@scure/base'
import type { Json } from '../../../core/json.ts'
import { readInvoice } from '../bolt11.ts'

const curve = await instantiateSecp256k1()
const payeeKey = Buffer.alloc(32, 7)

/** A payment that somebody asks for. */
export interface Made {
  readonly invoice: string
  readonly hash: string
  readonly preimage: string
}

/** An invoice on regtest with a signature that holds, and the preimage of its hash. */
export function makeInvoice(
  satoshis: number,
  rest: { readonly descriptionHash?: string; readonly preimage?: string } = {},
): Made {
  const preimage = rest.preimage ?? randomBytes(32).toString('hex')
  const hash = digest('sha256', Buffer.from(preimage, 'hex'), 'hex')
  const described = rest.descriptionHash
  const words = [
    ...number(Math.floor(Date.now() / 1000), 7),
    ...field(1, bech32.toWords(Buffer.from(hash, 'hex'))),
    ...field(16, bech32.toWords(randomBytes(32))),
    ...(described === undefined
      ? field(13, bech32.toWords(Buffer.from('coffee')))
      : field(23, bech32.toWords(Buffer.from(described, 'hex')))),
    ...field(6, number(3600, 3)),
    ...field(24, number(40, 2)),
    // Feature bits 14 and 8.
    ...field(5, [16, 8, 0]),
  ]
  const prefix = `lnbcrt${satoshis * 10}n`
  const signed = Buffer.concat([Buffer.from(prefix), padded(words)])
  const message = digest('sha256', signed, 'buffer')
  const made = curve.signMessageHashRecoverableCompact(payeeKey, message)
  assert.ok(typeof made !== 'string')
  const signature = bech32.toWords(Uint8Array.of(...made.signature, made.recoveryId))
  return { invoice: bech32.encode(prefix, [...words, ...signature], 4096), hash, preimage }
}

/** What a payer reads of a BOLT12 invoice, and no more: made now, that hash, that amount. */
export function makeOfferInvoice(msat: number): string {
  const time = Buffer.alloc(4)
  time.writeUInt32BE(Math.floor(Date.now() / 1000))
  const amount = Buffer.alloc(4)
  amount.writeUInt32BE(msat)
  const first = amount.findIndex((byte) => byte !== 0)
  const fields: readonly (readonly [number, Buffer])[] = [
    [164, time],
    [168, randomBytes(32)],
    [170, amount.subarray(first)],
  ]
  const bytes = fields.flatMap(([type, value]) => [type, value.length, ...value])
  const words = bech32.toWords(Uint8Array.from(bytes))
  return `lni1${words.map((word) => 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'[word]).join('')}`
}

function field(tag: number, words: readonly number[]): readonly number[] {
  return [tag, ...number(words.length, 2), ...words]
}

function number(value: number, words: number): readonly number[] {
  return Array.from({ length: words }, (_, i) => Math.floor(value / 32 ** (words - 1 - i)) % 32)
}

/** Words as bytes, the last filled up with zeros. */
function padded(words: readonly number[]): Buffer {
  const bits = words.map((word) => word.toString(2).padStart(5, '0')).join('')
  const bytes = bits.match(/.{1,8}/g) ?? []
  return Buffer.from(bytes.map((byte) => Number.parseInt(byte.padEnd(8, '0'), 2)))
}

/** What a stand-in does with a request: answers, goes silent, or hangs up. */
export type Reply =
  | { readonly status?: number; readonly json?: Json; readonly text?: string; readonly to?: string }
  | 'silence'
  | 'hang up'

/** One request as it came. */
export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** A server on this machine. */
export interface StandIn {
  readonly url: string
  readonly asked: readonly Asked[]
  close(): Promise<void>
}

/** Answers as it is told, and keeps what it was asked. */
export async function standIn(
  answer: (asked: Asked) => Reply,
  serve: (listener: RequestListener) => Server = createServer,
): Promise<StandIn> {
  const asked: Asked[] = []
  const server = serve((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request
      const one = { method, path, headers, body: Buffer.concat(chunks).toString('utf8') }
      asked.push(one)
      const reply = answer(one)
      if (reply === 'silence') return
      if (reply === 'hang up') {
        request.socket.destroy()
        return
      }
      response.statusCode = reply.status ?? 200
      if (reply.to !== undefined) response.setHeader('location', reply.to)
      response.end(reply.json === undefined ? (reply.text ?? '') : JSON.stringify(reply.json))
    })
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    async close() {
      const closed = Promise.withResolvers<void>()
      server.close(() => closed.resolve())
      server.closeAllConnections()
      await closed.promise
    },
  }
}

test('an invoice made for the tests is one by BOLT 11', () => {
  const made = makeInvoice(21)
  const read = readInvoice(made.invoice)
  assert.ok(typeof read !== 'string')
  assert.equal(read.hash, made.hash)
  assert.equal(read.msat, 21_000n)
})
