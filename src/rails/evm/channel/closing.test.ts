// A look at many channels, while no block takes anything: who wants the end must not wait for all the others.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../../core/clock.ts'
import { memory } from '../../../ledger/memory.ts'
import type { Hex } from '../hex.ts'
import { createBooks } from './books.ts'
import { createClosing } from './closing.ts'
import type { State } from './escrow.ts'
import { shopOf } from './terms.ts'

const CHANNELS = 40
/** How long each transaction waits in vain. */
const WAIT_MS = 30_000

test('a look ends while blocks take nothing, and the next one comes to whoever wants the end, and then to the others', async () => {
  let now = systemClock.now()
  const clock = { ...systemClock, now: () => now }
  const ledger = memory({ clock })
  const account: Hex = `0x${'11'.repeat(20)}`
  const shop = shopOf({ network: 'base', payTo: account })
  const [asset] = shop.network.tokens
  assert.ok(asset)
  const token = asset.address.toLowerCase() as Hex
  const books = createBooks(ledger, clock, shop.network.id)
  const channels = Array.from(
    { length: CHANNELS },
    (_, i): Hex => `0x${`${100 + i}`.repeat(22).slice(0, 64)}`,
  )
  for (const channel of channels) {
    await books.remember({ channel, payer: account, signer: account, token, minVoucherDelta: 0n })
    await books.keep(channel, { cumulative: 5n, signature: `0x${'22'.repeat(65)}` })
  }
  const closing = new Set<Hex>()
  const state = (channel: Hex): State => ({
    ...{ payer: account, payee: account, signer: account, token },
    ...{ isClosing: closing.has(channel), isFinal: false, deposit: 9n, settled: 0n },
  })
  const tried: Hex[] = []
  const fail = (): never => assert.fail('nobody asks for that')
  const closings = createClosing({
    ...{ shop, books, ledger, clock, reader: {} as never, rule: { idleMs: 0 } },
    escrow: {
      ...{ address: shop.place.escrow, open: fail, stateAt: fail, find: fail },
      state: async (channel) => state(channel),
      states: async (all) => all.map(state),
    },
    async send({ data }) {
      tried.push(`0x${data.slice(10, 74)}`)
      now += WAIT_MS
      return undefined
    },
    final: async () => undefined,
    fault: (error) => assert.fail(String(error)),
  })
  await closings.collect()
  assert.ok(tried.length >= 8 && tried.length < CHANNELS, `${tried.length} were tried`)
  const last = channels.find((channel) => !tried.includes(channel))
  assert.ok(last)
  const first = new Set(tried.splice(0))
  closing.add(last)
  await closings.collect()
  assert.equal(tried[0], last)
  assert.ok(tried.every((channel) => !first.has(channel)))
  for (let i = 0; i < CHANNELS; i++) await closings.collect()
  assert.equal(new Set([...first, ...tried]).size, CHANNELS)
  await ledger.close()
})
