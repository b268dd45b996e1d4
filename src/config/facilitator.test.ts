import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OPEN_PER_MINUTE, readCallers, readOpen } from './facilitator.ts'
import { SettingError } from './load.ts'

const shop = { name: 'shop', keys: ['k'.repeat(32)] }

describe('a list of callers', () => {
  test('is read with all limits', () => {
    const limits = {
      ...{ payees: ['0xAb'], assets: ['USDC'], requestsPerMinute: 1, addressPerMinute: 2 },
      ...{ settlementsPerDay: 3, gasPerDayWei: '20000000000000000000', repeats: 'refuse' },
    } as const
    const [found] = readCallers({ callers: [{ ...shop, ...limits, amountPerDay: '1 USD' }] })
    assert.deepEqual(found, {
      ...{ ...shop, ...limits, gasPerDayWei: 20_000_000_000_000_000_000n },
      amountPerDay: found?.amountPerDay,
    })
    assert.equal(found.amountPerDay?.currency, 'USD')
  })

  for (const [name, caller] of [
    ['a limit that is mistyped', { ...shop, gasPerDay: '1' }],
    ['gas as a number, which may be too large for one', { ...shop, gasPerDayWei: 1 }],
    ['gas below nothing', { ...shop, gasPerDayWei: '-1' }],
    ['gas in parts', { ...shop, gasPerDayWei: '1.5' }],
    ['a word for repeats that is none', { ...shop, repeats: 'never' }],
  ] as const)
    test(`is not read with ${name}`, () => {
      assert.throws(() => readCallers({ callers: [caller] }), SettingError)
      assert.equal(readCallers({ callers: [shop] }).length, 1)
    })
})

describe('everybody', () => {
  test('may ask so often from one address if nothing is said, and as is said otherwise', () => {
    assert.deepEqual(readOpen(), { name: 'everybody', addressPerMinute: OPEN_PER_MINUTE })
    assert.deepEqual(readOpen({ addressPerMinute: 5, repeats: 'refuse', gasPerDayWei: '7' }), {
      name: 'everybody',
      addressPerMinute: 5,
      repeats: 'refuse',
      gasPerDayWei: 7n,
    })
    assert.throws(() => readOpen({ addressPerMinute: Number.NaN }), SettingError)
  })
})
