// What is said of channels, beside what npm mppx has written of its own (vectors/session.json).
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { ChannelReceipt } from '../../core/voucher.ts'
import { channelCodec } from './channel.ts'
import { readObject, writeObject } from './encode.ts'
import { sayChannel } from './receipt.ts'
import { readSocket, writeNews, writeSocket } from './socket.ts'

const vectors = JSON.parse(
  readFileSync(new URL('vectors/session.json', import.meta.url), 'utf8'),
) as {
  readonly channelId: string
  readonly receipt: JsonObject
  readonly receiptHeader: string
  readonly sse: string
  readonly ws: Readonly<Record<string, string>>
}
const channel = vectors.channelId.slice(2)
const standing: ChannelReceipt = {
  ...{ rail: 'channel', network: 'eip155:42431', channel, challenge: 'ch_1', units: 4n },
  ...{ accepted: 100n, deposit: 500_000n, spent: 100n, held: 0n, needed: 100n },
  at: Date.parse('2026-01-01T00:00:00Z'),
}

const fields = (value: string) => ({ get: () => value })

/** The data of an event in the stream that mppx wrote. */
function dataOf(event: string): string {
  return new RegExp(`event: ${event}\\ndata: (.*)\\n`).exec(vectors.sse)?.[1] ?? ''
}

describe('a receipt of a channel', () => {
  test('has the members that mppx writes, and the chain beside them', () => {
    const { chainId, ...said } = sayChannel(standing, 'tempo')
    assert.deepEqual(said, vectors.receipt)
    assert.equal(chainId, 42431)
  })

  test('is read of mppx, and of what is written here, to the same', () => {
    const told = { channel, accepted: 100n, spent: 100n, isServed: true }
    assert.deepEqual(channelCodec.read(fields(vectors.receiptHeader)), told)
    const own = writeObject(sayChannel(standing, 'evm'))
    assert.deepEqual(channelCodec.read(fields(own)), told)
    const reference = `0x${'12'.repeat(32)}`
    const closed = writeObject(sayChannel({ ...standing, reference, units: 0n }, 'evm'))
    assert.deepEqual(channelCodec.read(fields(closed)), { ...told, isServed: false, reference })
    for (const wrong of ['', 'x', writeObject({}), writeObject({ channelId: vectors.channelId })])
      assert.equal(channelCodec.read(fields(wrong)), undefined)
  })

  test('and the need of a voucher are read within a stream', () => {
    const need = channelCodec.readEvent('payment-need-voucher', dataOf('payment-need-voucher'))
    assert.deepEqual(need, { channel, accepted: 50n, needed: 75n, deposit: 500_000n })
    const receipt = channelCodec.readEvent('payment-receipt', dataOf('payment-receipt'))
    assert.equal(receipt?.spent, 100n)
    assert.equal(channelCodec.readEvent('message', dataOf('payment-receipt')), undefined)
    assert.equal(channelCodec.readEvent('payment-receipt', '{"channelId":1}'), undefined)
  })
})

describe('a payer by channels', () => {
  const request = writeObject({ amount: '25', methodDetails: { minVoucherDelta: '10' } })
  const echo = { id: 'i', realm: 'r', method: 'evm', intent: 'session', request }
  // Only the echo is looked at.
  const offer = { echo } as unknown as Offer

  test('is told what a unit costs, and the least step', () => {
    assert.deepEqual(channelCodec.terms(offer), { unit: 25n, step: 10n })
    const bare = { echo: { ...echo, request: writeObject({ amount: '25' }) } } as unknown as Offer
    assert.deepEqual(channelCodec.terms(bare), { unit: 25n, step: 0n })
    for (const other of [{}, { ...echo, intent: 'charge' }, { ...echo, request: 'x' }])
      assert.equal(channelCodec.terms({ echo: other } as unknown as Offer), undefined)
  })

  test('says its vouchers as the draft has them', () => {
    const voucher = { cumulative: 250_000n, signature: '0xab' }
    const said = (act: 'use' | 'close'): JsonObject | undefined => {
      const [[name, value] = []] = channelCodec.write(offer, act, channel, voucher).fields
      assert.equal(name, 'Authorization')
      return readObject(value?.replace('Payment ', '') ?? '', 10_000)
    }
    const rest = { channelId: vectors.channelId, cumulativeAmount: '250000', signature: '0xab' }
    assert.deepEqual(said('use'), { challenge: echo, payload: { action: 'voucher', ...rest } })
    assert.deepEqual(said('close'), { challenge: echo, payload: { action: 'close', ...rest } })
  })
})

describe('a frame of a WebSocket', () => {
  test('is read of mppx and written again to the letter', () => {
    for (const [name, text] of Object.entries(vectors.ws)) {
      const frame = readSocket(text)
      assert.ok(frame, name)
      assert.deepEqual(JSON.parse(writeSocket(frame)), JSON.parse(text), name)
    }
    const data = JSON.parse(dataOf('payment-need-voucher')) as JsonObject
    assert.equal(writeNews({ event: 'payment-need-voucher', data }), vectors.ws['needVoucher'])
  })

  test('that is none is the application’s', () => {
    for (const text of ['', 'hi', '{', '{}', '[1]', '{"mpp":"x"}', '{"mpp":"message","data":1}'])
      assert.equal(readSocket(text), undefined, text)
  })
})
