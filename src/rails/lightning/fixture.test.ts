// A stand-in for Lightning: no channels, no routes, no onions. Two or more nodes share one table of invoices, and money moves in
// it at once. It lies about nothing else: hashes, signatures, states and expiries are real. Real HTLCs move in the sandbox's tests.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { instantiateSecp256k1 } from '@bitauth/libauth/build/lib/crypto/secp256k1.js'
import { bech32 } from '@scure/base'
import { PaymentError } from '../../core/problem.ts'
import type { Clock, Log, Step } from '../../core/ports.ts'
import type { Offer, Terms } from '../../core/offer.ts'
import { readInvoice } from './bolt11.ts'
import type { Details } from './forms.ts'
import { chains } from './networks.ts'
import type { Capabilities, LightningNode, PaymentState } from './node.ts'

const curve = await instantiateSecp256k1()

/** A key whose owner signs the invoices here. */
export const KEY: Uint8Array = Buffer.from(
  'e126f68f7eafcc8b74f54d269fe206be715000f94dac067d1c04a8ca3b2db734',
  'hex',
)

/** What an invoice is written from. Field words stand as given, so that anything can be said. */
export interface Draft {
  readonly prefix: string
  readonly madeAtS?: number
  readonly fields: readonly (readonly [letter: string, words: readonly number[]])[]
  readonly key?: Uint8Array
  /** Turns the signature into the other one that holds. */
  readonly highS?: boolean
}

const LETTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'

/** The words of whole bytes. */
export function wordsOf(hexOrText: Uint8Array): number[] {
  return bech32.toWords(hexOrText)
}

/** Writes and signs an invoice. */
export function writeInvoice(draft: Draft): string {
  const { prefix, fields, madeAtS = 1_800_000_000, key = KEY } = draft
  const words = [...numberWords(madeAtS, 7)]
  for (const [letter, data] of fields)
    words.push(LETTERS.indexOf(letter), data.length >> 5, data.length & 31, ...data)
  const bits = words.map((word) => word.toString(2).padStart(5, '0')).join('')
  const whole = bits.padEnd(Math.ceil(bits.length / 8) * 8, '0')
  const bytes = Buffer.from((whole.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)))
  const digest = createHash('sha256').update(prefix).update(bytes).digest()
  const signed = curve.signMessageHashRecoverableCompact(key, digest)
  assert(typeof signed !== 'string')
  const high = draft.highS ? curve.malleateSignatureCompact(signed.signature) : signed.signature
  assert(typeof high !== 'string')
  const recovery = draft.highS ? signed.recoveryId ^ 1 : signed.recoveryId
  const signature = wordsOf(Buffer.concat([high, Buffer.from([recovery])]))
  return bech32.encode(prefix, [...words, ...signature], false)
}

/** A number in so many words. */
export function numberWords(value: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(value / 32 ** (count - 1 - i)) % 32)
}

/** An ordinary invoice on regtest. */
export function plainInvoice(
  hash: string,
  msat: bigint | undefined,
  madeAt: number,
  expiryS = 600,
): string {
  return writeInvoice({
    prefix: `lnbcrt${msat === undefined ? '' : `${msat * 10n}p`}`,
    madeAtS: Math.floor(madeAt / 1000),
    fields: [
      ['s', wordsOf(Buffer.alloc(32, 17))],
      ['p', wordsOf(Buffer.from(hash, 'hex'))],
      ['d', wordsOf(Buffer.from('work'))],
      ['x', numberWords(expiryS, Math.ceil(Math.log2(expiryS + 1) / 5))],
      ['9', [16, 8, 0]],
    ],
  })
}

/** A clock that is turned by hand; sleeping turns it. */
export function createClock(): Clock & { turn(ms: number): void } {
  let at = 1_800_000_000_000
  return {
    now: () => at,
    turn: (ms) => void (at += ms),
    async sleep(ms, signal) {
      await new Promise((resolve) => setImmediate(resolve))
      if (!signal?.aborted) at += ms
    },
  }
}

interface Entry {
  readonly msat: bigint
  readonly expiresAt: number
  readonly preimage?: string
  readonly holds: boolean
  state: 'open' | 'held' | 'settled' | 'cancelled'
  taken?: string
  payers: number
  wake: () => void
  ended: Promise<void>
}

/** What goes wrong, by the verb: before it is done, or after with its answer lost. */
export type Trouble = Partial<
  Record<'pay' | 'payment' | 'invoice' | 'settle' | 'createInvoice', 'before' | 'after' | undefined>
>

/** Invoices that all nodes of a test share. */
export type Table = Map<string, Entry>

/** A node of the stand-in. */
export interface FakeNode extends LightningNode {
  trouble: Trouble
  readonly table: Table
  /** How often money has left this node. */
  readonly sent: () => number
  readonly calls: string[]
  /** Payments fail for want of a route. */
  noRoute: boolean
}

export const all: Capabilities = {
  hold: true,
  msat: true,
  feeLimit: true,
  pay: true,
  lookup: true,
  offers: false,
}

/** Makes a node. */
export function createNode(table: Table, clock: Clock, can: Partial<Capabilities> = {}): FakeNode {
  const payments = new Map<string, PaymentState>()
  let sent = 0

  async function guarded<T>(verb: keyof Trouble, work: () => Promise<T>): Promise<T> {
    node.calls.push(verb)
    const when = node.trouble[verb]
    if (when === 'before') throw new PaymentError('rail-unavailable', 'The node is gone.')
    const result = await work()
    if (when === 'after') throw new PaymentError('rail-unavailable', 'The answer is lost.')
    return result
  }

  const node: FakeNode = {
    name: 'stand-in',
    can: { ...all, ...can },
    trouble: {},
    table,
    calls: [],
    noRoute: false,
    sent: () => sent,
    open: async () => ({ network: chains['bcrt'] ?? '', publicKey: '02'.repeat(33) }),
    createInvoice: ({ msat, expiresInS, hash }) =>
      guarded('createInvoice', async () => {
        const preimage = hash === undefined ? randomBytes(32).toString('hex') : undefined
        const named = hash ?? hashHex(preimage ?? '')
        const { promise, resolve } = Promise.withResolvers<void>()
        table.set(named, {
          msat,
          expiresAt: clock.now() + expiresInS * 1000,
          holds: hash !== undefined,
          ...(preimage !== undefined && { preimage }),
          state: 'open',
          payers: 0,
          wake: resolve,
          ended: promise,
        })
        return { invoice: plainInvoice(named, msat, clock.now(), expiresInS), hash: named }
      }),
    invoice: (hash) =>
      guarded('invoice', async () => {
        const entry = table.get(hash)
        const receivedMsat = entry && entry.state !== 'open' ? entry.msat : 0n
        return entry && { state: entry.state, receivedMsat, settledAt: clock.now() }
      }),
    settle: (preimage) =>
      guarded('settle', async () => {
        const entry = table.get(hashHex(preimage))
        if (!entry || entry.state === 'cancelled' || entry.state === 'open')
          throw new PaymentError('rail-unavailable', 'There is nothing to take.')
        entry.state = 'settled'
        entry.taken = preimage
        entry.wake()
      }),
    async cancel(hash) {
      const entry = table.get(hash)
      assert(entry?.state !== 'settled', 'what is settled cannot be cancelled')
      if (!entry) return
      entry.state = 'cancelled'
      entry.wake()
    },
    pay: ({ invoice }) =>
      guarded('pay', async () => {
        const read = readInvoice(invoice)
        assert(typeof read !== 'string', 'a node is given invoices that hold')
        const before = payments.get(read.hash)
        const entry = table.get(read.hash)
        if (before && before.state !== 'failed') return before
        if (node.noRoute || !entry || entry.state !== 'open') return note(read.hash, none)
        assert(clock.now() < entry.expiresAt, 'a node pays nothing that has expired')
        entry.payers++
        sent++
        entry.state = entry.holds ? 'held' : 'settled'
        payments.set(read.hash, { state: 'inFlight' })
        if (entry.holds) await entry.ended
        const preimage = entry.preimage ?? entry.taken
        if (preimage === undefined) {
          sent--
          return note(read.hash, none)
        }
        return note(read.hash, { state: 'succeeded', preimage, feeMsat: 7n })
      }),
    payment: (hash) => guarded('payment', async () => payments.get(hash)),
    close: async () => undefined,
  }

  function note(hash: string, state: PaymentState): PaymentState {
    payments.set(hash, state)
    return state
  }

  return node
}

const none: PaymentState = { state: 'failed', reason: 'no route' }

export function hashHex(preimage: string): string {
  return createHash('sha256').update(Buffer.from(preimage, 'hex')).digest('hex')
}

/** Steps in memory; the next write may fail. */
export function createLog(): Log & { readonly steps: Step[]; full: boolean } {
  const log = {
    steps: [] as Step[],
    full: false,
    read: async () => log.steps,
    async write(step: Step) {
      if (log.full) throw new PaymentError('store-unavailable', 'The disk is full.')
      log.steps.push(step)
    },
  }
  return log
}

/** Terms bound to nothing in particular. */
export function offerOf(terms: Terms<Details>): Offer<Details> {
  const url = 'https://a.test/'
  const resource = { realm: 'r', method: 'GET', authority: 'a.test', path: '/', query: '', url }
  return { ...terms, id: 'id', resource, expiresAt: 1_800_000_300_000 }
}

test('the stand-in writes invoices that are read', () => {
  const hash = 'ab'.repeat(32)
  const read = readInvoice(plainInvoice(hash, 1_234n, 1_800_000_000_000))
  assert(typeof read !== 'string')
  assert.equal(read.hash, hash)
  assert.equal(read.msat, 1_234n)
  assert.equal(read.expiresAt, 1_800_000_600_000)
})
