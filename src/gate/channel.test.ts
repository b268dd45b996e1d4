// What deposits have bought, and back: no rounding may let more be drawn than was signed for, or give back what was spent.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { boughtBy, unitsFor } from './channel.ts'
import type { Deposited } from './channel.ts'

/** The same numbers in each run. */
function dice(seed: number): (most: number) => bigint {
  let state = seed
  return (most) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return BigInt(1 + (state % most))
  }
}

const sum = (list: readonly bigint[]): bigint => list.reduce((a, b) => a + b, 0n)

describe('a channel', () => {
  test('has bought what was paid for, deposit by deposit', () => {
    const deposits = [
      { paid: 5n, bought: 50n },
      { paid: 2n, bought: 40n },
    ]
    const pairs = [
      [0n, 0n],
      [1n, 10n],
      [5n, 50n],
      [6n, 70n],
      [7n, 90n],
    ] as const
    for (const [units, bought] of pairs) {
      assert.equal(boughtBy({ deposits }, units), bought)
      assert.equal(unitsFor({ deposits }, bought), units)
    }
    // More than all of it buys no more, and costs as the last of it.
    assert.equal(boughtBy({ deposits }, 100n), 90n)
    assert.equal(unitsFor({ deposits }, 91n), 8n)
    assert.equal(unitsFor({ deposits }, 51n), 6n)
  })

  test('is never drawn on beyond its vouchers, whatever the ratio', () => {
    const roll = dice(7)
    for (let i = 0; i < 2_000; i++) {
      const deposits: Deposited[] = Array.from({ length: 1 + (i % 3) }, () => ({
        paid: roll(1_000),
        bought: roll(i % 2 === 0 ? 1_000_000 : 900),
      }))
      const paid = sum(deposits.map((one) => one.paid))
      const units = roll(Number(paid))
      const bought = boughtBy({ deposits }, units)
      assert.ok(unitsFor({ deposits }, bought) <= units)
      // What is one more than that, no such voucher pays.
      const isAll = bought === boughtBy({ deposits }, paid)
      assert.ok(isAll || unitsFor({ deposits }, bought + 1n) > units)
      const fine = deposits.every((one) => one.bought >= one.paid)
      if (fine) assert.equal(unitsFor({ deposits }, bought), units)
      const total = sum(deposits.map((one) => one.bought))
      assert.equal(boughtBy({ deposits }, paid), total)
      assert.equal(unitsFor({ deposits }, total), paid)
    }
  })
})
