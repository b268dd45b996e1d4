import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createPace } from './pace.ts'

/** What looking for one landing took. */
interface Search {
  readonly looks: number
  /** From the block until the look that saw it. */
  readonly lateMs: number
}

/** A buyer who pays again and again, on a chain whose next block after a moment is told by `blockAfter`. */
function pay(
  payments: number,
  restMs: (payment: number) => number,
  blockAfter: (at: number) => { readonly block: number; readonly at: number },
): readonly Search[] {
  let now = 1_700_000_000_000
  const pace = createPace({ now: () => now, sleep: async () => undefined })
  return Array.from({ length: payments }, (_, payment) => {
    now += restMs(payment)
    const sentAt = now
    const { block, at } = blockAfter(now)
    pace.began()
    for (let looks = 1; ; looks++) {
      now += pace.pauseMs()
      if (now < at) {
        pace.missed()
        continue
      }
      pace.landed(BigInt(block), now - sentAt)
      return { looks, lateMs: now - at }
    }
  })
}

function every(periodMs: number): (at: number) => { block: number; at: number } {
  return (at) => {
    const block = Math.floor(at / periodMs) + 1
    return { block, at: block * periodMs }
  }
}

function average(searches: readonly Search[], of: keyof Search): number {
  return searches.reduce((sum, search) => sum + search[of], 0) / searches.length
}

/** Rests that repeat after a while and hit every part of a block. */
const rest = (payment: number): number => (payment * 739) % 5_000

describe('looks for a receipt', () => {
  test('are about two where blocks come regularly, and find it soon', () => {
    for (const periodMs of [250, 1_000, 2_000, 4_000]) {
      const known = pay(200, rest, every(periodMs)).slice(8)
      assert(average(known, 'looks') < 2.5, `${average(known, 'looks')} looks, ${periodMs} ms`)
      assert(average(known, 'lateMs') < periodMs / 3, `${average(known, 'lateMs')} ms late`)
      assert(known.every(({ lateMs }) => lateMs <= periodMs))
    }
  })

  test('come at once where every transaction is a block, however long nobody paid', () => {
    let block = 0
    const atOnce = (at: number): { block: number; at: number } => ({ block: ++block, at })
    for (const restMs of [() => 5, () => 60_000, rest])
      for (const { looks, lateMs } of pay(50, restMs, atOnce)) {
        assert.equal(looks, 1)
        assert.equal(lateMs, 0)
      }
  })

  test('come at once again soon after such a chain has hesitated', () => {
    let block = 0
    const hesitating = (at: number): { block: number; at: number } => ({
      block: ++block,
      at: block === 10 ? at + 300 : at,
    })
    const after = pay(50, () => 10_000, hesitating).slice(11)
    assert(after.every(({ lateMs }) => lateMs <= 20))
    assert(after.slice(20).every(({ lateMs }) => lateMs === 0))
  })

  test('are few, and never later than half a second, where nothing is regular', () => {
    const irregular = (at: number): { block: number; at: number } => {
      const block = Math.floor(at / 1_500) + 1
      return { block, at: block * 1_500 + ((block * 1_367) % 1_400) }
    }
    const known = pay(200, rest, irregular)
    assert(average(known, 'looks') < 10)
    assert(average(known, 'lateMs') < 500)
  })

  test('follow a chain that becomes slower', () => {
    const changesAt = 1_700_000_200_000
    const slower = (at: number): { block: number; at: number } => {
      if (at < changesAt) return every(2_000)(at)
      const blocks = Math.floor((at - changesAt) / 3_000) + 1
      return { block: changesAt / 2_000 + blocks, at: changesAt + blocks * 3_000 }
    }
    const known = pay(300, rest, slower).slice(-100)
    assert(average(known, 'looks') < 2)
  })
})
