// Requests that are named and paid anew each time, through a whole seller.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Vault } from '../core/ports.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { TOKENS_PATH } from './exchange.ts'
import { SECRET, createHand, createWorld, fake } from './shop.test.ts'
import type { Node } from './shop.test.ts'

test('a named request that is paid twice is charged once, and answered twice with the same bytes', async () => {
  const stored = new Map<string, Uint8Array>()
  const vault: Vault = {
    put: async (key, sealed) => void stored.set(key, sealed),
    get: async (key) => stored.get(key),
  }
  const world = createWorld(
    { 'GET /a': { price: '0.01 USD', keep: true }, 'GET /b': '0.01 USD' },
    { vault },
  )
  const node = await world.open()
  const fields = { 'Idempotency-Key': '"order 7"' }
  const first = await node.ask('/a', { nonce: 'n1', fields })
  const again = await node.ask('/a', { nonce: 'n2', fields })
  assert.deepEqual([first.status, again.status, again.text], [200, 200, first.text])
  // The receipt is of the payment that was taken.
  assert.equal(again.fields.get('fake-receipt'), 'tx-n1')
  assert.deepEqual([...world.moved], ['n1'])
  assert.equal(node.runs(), 1)
  assert.equal((await node.ask('/b', { nonce: 'n3', fields })).status, 422)
  assert.equal((await node.ask('/b', { nonce: 'n3' })).status, 200)
  await node.seller.close()
})

test('a token that is bought twice under one name is one token, paid once', async () => {
  const clock = createHand()
  const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }), clock)]
  const plans = { purse: { price: '1 USD', balance: '1 USD' }, tries: { price: '1 USD', uses: 3 } }
  const protocols = [fake, oauth({ mints, clock })]
  const world = createWorld({ 'GET /try': { plan: 'tries' } }, { plans, mints, protocols }, clock)
  const [node, other] = [await world.open(), await world.open()]
  const buy = (at: Node, nonce: string, name: string, plan = 'purse') =>
    at.ask(`${TOKENS_PATH}/${plan}`, { method: 'POST', nonce, fields: { 'Idempotency-Key': name } })
  const first = await buy(node, 'n1', 'purse-1')
  const again = await buy(other, 'n2', 'purse-1')
  assert.deepEqual([first.status, again.status], [200, 200])
  assert.equal(again.body['account'], first.body['account'])
  assert.equal(again.fields.get('fake-receipt'), 'tx-n1')
  assert.deepEqual([...world.moved], ['n1'])
  assert.equal((await buy(node, 'n3', 'purse-1', 'tries')).status, 422)
  const more = await buy(node, 'n3', 'purse-2')
  assert.notEqual(more.body['account'], first.body['account'])
  // In band: the same token, and the request that it pays for is not done twice.
  const fields = { 'Idempotency-Key': 'try-1' }
  const tried = await node.ask('/try', { nonce: 'n4', fields })
  assert.equal(tried.status, 200)
  assert.equal((await other.ask('/try', { nonce: 'n5', fields })).status, 410)
  assert.deepEqual([...world.moved], ['n1', 'n3', 'n4'])
  for (const name of ['', 'a b', 'é']) {
    const asking = { method: 'POST', fields: { 'Idempotency-Key': name } }
    assert.equal((await node.ask(`${TOKENS_PATH}/purse`, asking)).status, 400, name)
  }
  await node.seller.close()
  await other.seller.close()
})
