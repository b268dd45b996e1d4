// Nodes that lie, lag, or do not agree.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Json } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import type { Hex } from '../hex.ts'
import type { World } from './fixture.test.ts'
import { PRICE, holds, openWorld, said, textOf } from './fixture.test.ts'
import type { TransactionSettings } from './rail.ts'

let home: World
before(async () => {
  home = await openWorld()
})
after(() => home?.stop())

const COUNT = 'eth_getTransactionCount'

/** What a node says in place of an answer. */
type Lie = (method: string, result: Json) => Json

/** Asks the chain, and lets one of the addresses lie. */
function lying(lie: Lie, only?: string): Pick<TransactionSettings, 'fetch'> {
  return {
    async fetch(input, init) {
      const url = textOf(input)
      const body = JSON.parse(textOf(init?.body)) as Json
      const asked = (Array.isArray(body) ? body : [body]) as readonly {
        id: number
        method: string
      }[]
      const response = await globalThis.fetch(home.chain.rpc, init)
      const said = (await response.json()) as Json
      if (only !== undefined && !url.startsWith(only)) return Response.json(said)
      const change = (one: Json): Json => {
        const method = asked.find(({ id }) => isObject(one) && id === one['id'])?.method ?? ''
        return isObject(one) ? { ...one, result: lie(method, one['result'] ?? null) } : one
      }
      return Response.json(Array.isArray(said) ? (said as Json[]).map(change) : change(said))
    },
  }
}

/** What becomes of an honest payment where nodes lie. */
async function payAmong(
  lie: (transaction: Hex) => Lie,
  more: Partial<TransactionSettings> = {},
  only?: string,
) {
  let told: Lie = (_, result) => result
  const w = await openWorld(
    () => ({ ...lying((...asked) => told(...asked), only), ...more }),
    home.chain,
  )
  try {
    const from = await w.payer()
    const offer = await w.offer()
    const transaction = await w.pay(from)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    told = lie(transaction)
    const first = await w.show(offer, { ...proof }).then(said)
    told = (_, result) => result
    return [first, said(await w.show(offer, { ...proof }))]
  } finally {
    await w.stop()
  }
}

const change =
  (method: string, members: Readonly<Record<string, Json>>) => (): Lie => (asked, result) =>
    asked === method && isObject(result) ? { ...result, ...members } : result

test('a receipt of another block is not believed, wherever it says it stands', async () => {
  await home.chain.mine(2)
  const block = (await home.chain.request('eth_getBlockByNumber', ['0x1', false])) as {
    hash: string
  }
  // Another block's hash, another height, and both as they belong together: the transaction is not in there.
  const members = { blockNumber: '0x1', blockHash: block.hash }
  for (const one of [{ blockHash: block.hash }, { blockNumber: '0x1' }, members]) {
    const [first, then] = await payAmong(change('eth_getTransactionReceipt', one))
    assert.equal(first, 'payment-unknown not-final')
    assert.equal(then, 'served')
  }
  const both = (): Lie => (asked, result) =>
    asked.startsWith('eth_getTransaction') && isObject(result) ? { ...result, ...members } : result
  assert.deepEqual(await payAmong(both), ['payment-unknown not-final', 'served'])
})

test('the receipt of another transaction and another chain are faults of the node, logs out of order are waited for', async () => {
  const other = { transactionHash: `0x${'cd'.repeat(32)}` }
  const lies: readonly ((transaction: Hex) => Lie)[] = [
    change('eth_getTransactionReceipt', other),
    change('eth_getTransactionByHash', { hash: `0x${'cd'.repeat(32)}` }),
    () => (asked, result) => (asked === 'eth_chainId' ? '0x1' : result),
    () => (asked, result) => {
      if (asked !== 'eth_getTransactionReceipt' || !isObject(result)) return result
      const logs = result['logs'] as readonly Json[]
      return { ...result, logs: [...logs, ...logs] }
    },
  ]
  const [unsorted, ...faults] = lies.toReversed()
  assert(unsorted)
  for (const lie of faults) assert.deepEqual(await payAmong(lie), ['rail-unavailable', 'served'])
  assert.deepEqual(await payAmong(unsorted), ['payment-unknown not-final', 'served'])
})

test('a single node that makes a payment up is not enough where two must agree', async () => {
  const [one, two] = [`${home.chain.rpc}/one`, `${home.chain.rpc}/two`]
  const rpc = [one, two]
  const assurance = [{ confirmations: 1 }, { from: '0.01 USD', quorum: 2 }]
  const w = await openWorld(
    () => ({
      ...lying((method, result) => {
        if (method !== 'eth_getTransactionReceipt' || !isObject(result)) return result
        // Ten times what was paid, by the word of one.
        const logs = (result['logs'] as readonly Json[]).map((line) =>
          isObject(line) ? { ...line, data: `0x${10_000n.toString(16).padStart(64, '0')}` } : line,
        )
        return { ...result, logs }
      }, one),
      rpc,
      assurance,
    }),
    home.chain,
  )
  try {
    const from = await w.payer()
    const offer = await w.offer()
    const transaction = await w.pay(from, 1_000n)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    assert.equal(said(await w.show(offer, proof)), 'payment-unknown not-final')
    // They say the same of one that was paid.
    const honest = await w.pay(from)
    const good = { transaction: honest, signature: await w.sign(from, offer, honest) }
    assert.equal(said(await w.show(offer, good)), 'served')
  } finally {
    await w.stop()
  }
})

test('a node that has forgotten a payment does not undo it where two must agree; alone it is believed', async () => {
  for (const quorum of [1, 2]) {
    let isForgetful = false
    const two = `${home.chain.rpc}/two`
    const w = await openWorld(
      () => ({
        ...lying(
          (method, result) =>
            isForgetful && method.startsWith('eth_getTransaction') && method !== COUNT
              ? null
              : result,
          two,
        ),
        rpc: quorum === 1 ? [two] : [`${home.chain.rpc}/one`, two],
        assurance: [{ quorum }],
      }),
      home.chain,
    )
    try {
      const from = await w.payer()
      const offer = await w.offer()
      const transaction = await w.pay(from)
      const proof = { transaction, signature: await w.sign(from, offer, transaction) }
      assert.equal(said(await w.show(offer, proof)), 'served')
      await home.chain.mine(8)
      isForgetful = true
      w.skip(20_000)
      await w.gate.recover()
      const undone = w.events.filter(({ type }) => type === 'undone')
      assert.equal(undone.length, quorum === 1 ? 1 : 0)
      assert.equal(await holds(w, 'sales/GET /a'), quorum === 1 ? 0n : PRICE)
    } finally {
      await w.stop()
    }
  }
})

test('where one of two is gone, nothing that needs two is taken, and the same payment is served when it is back', async () => {
  const rpc = [`${home.chain.rpc}/one`, 'http://127.0.0.1:9']
  const w = await openWorld(() => ({ rpc, assurance: [{ quorum: 2 }], fetch: reach }), home.chain)
  let isBack = false
  async function reach(input: Parameters<typeof fetch>[0], init?: RequestInit): Promise<Response> {
    if (textOf(input).includes(':9') && !isBack) throw new TypeError('refused')
    return globalThis.fetch(home.chain.rpc, init)
  }
  try {
    const from = await w.payer()
    const offer = await w.offer()
    const transaction = await w.pay(from)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    assert.equal(said(await w.show(offer, { ...proof })), 'rail-unavailable')
    isBack = true
    assert.equal(said(await w.show(offer, { ...proof })), 'served')
  } finally {
    await w.stop()
  }
})

test('a transfer whose memo names a challenge of Tempo is a spend there, and none here; other memos are nobody’s business', async () => {
  const topic = '0x57bc7354aa85aed339e000bccffabbc529466af35f0772c8f8ee1145927de7f0'
  const noted =
    (memo: string) =>
    (): Lie =>
    (asked, result): Json => {
      if (asked !== 'eth_getTransactionReceipt' || !isObject(result)) return result
      const logs = result['logs'] as readonly Json[]
      const [line] = logs
      if (!isObject(line) || !Array.isArray(line['topics'])) return result
      const [, from, to] = line['topics'] as readonly string[]
      const topics = [topic, from ?? '', to ?? '', memo]
      const logIndex = `0x${(Number(line['logIndex']) + logs.length).toString(16)}`
      return { ...result, logs: [...logs, { ...line, topics, logIndex }] }
    }
  const [first] = await payAmong(noted(`0xef1ed71201${'00'.repeat(27)}`))
  assert.equal(first, 'proof-invalid authorized')
  const [other] = await payAmong(noted(`0x${'00'.repeat(32)}`))
  assert.equal(other, 'served')
})
