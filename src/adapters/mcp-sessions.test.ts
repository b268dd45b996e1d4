// A tool that is sold by sessions: channels over a stand-in for the chain, said in messages of JSON-RPC.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { memory } from '../ledger/memory.ts'
import { mpp, mppRpc, rpcCodes } from '../protocols/mpp/index.ts'
import { createChannelRail, createEscrow, createPurse } from './escrow.test.ts'
import type { Escrow } from './escrow.test.ts'
import { toolDoor } from './mcp.ts'
import type { Reply } from './mcp.ts'
import { createSeller } from './seller.ts'
import { SECRET } from './shop.test.ts'

interface Shop {
  readonly escrow: Escrow
  /** How often the tool has worked. */
  readonly works: () => number
  readonly say: (payload?: JsonObject, tool?: string) => Promise<Reply>
}

async function open(t: TestContext, isFailing = false): Promise<Shop> {
  const escrow = createEscrow()
  const rail = createChannelRail(escrow)
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [mpp({ parts: [rail] })],
    ledger: memory(),
    plans: { purse: { price: '1 USD', balance: '1 USD', refund: true }, day: { price: '1 USD' } },
  })
  t.after(() => seller.close())
  const url = 'https://mcp.example.com/mcp'
  const codec = mppRpc({ parts: [rail] })
  const tools = { search: { plan: 'purse', price: '0.25 USD' }, other: '0.25 USD' }
  const door = toolDoor(seller, { codec, url, tools })
  for (const wrong of [
    { plan: 'day', price: '0.25 USD' },
    { plan: 'none', price: '0.25 USD' },
    { plan: 'purse', price: ['0.25 USD'] },
  ])
    assert.throws(() => toolDoor(seller, { codec, url, tools: { wrong } }), RangeError)
  let works = 0
  let challenge: JsonObject | undefined
  const shop: Shop = {
    escrow,
    works: () => works,
    async say(payload, tool = 'search') {
      if (payload) challenge ??= challengeIn(await shop.say())
      const credential = payload && challenge && { challenge, payload }
      const meta = credential && { _meta: { 'org.paymentauth/credential': credential } }
      const params = { name: tool, arguments: { q: 'x' }, ...meta }
      return await door.call({ method: 'tools/call', params }, async () => {
        works++
        return { content: [], isError: isFailing }
      })
    },
  }
  return shop
}

function challengeIn(reply: Reply): JsonObject {
  assert.ok('error' in reply)
  const challenges = reply.error.data?.['challenges']
  assert.ok(Array.isArray(challenges) && challenges.length === 1)
  const [only] = challenges as readonly JsonObject[]
  assert.equal(only?.['intent'], 'session')
  return only
}

function receiptIn(reply: Reply): JsonObject {
  assert.ok('result' in reply, JSON.stringify(reply))
  const meta = reply.result['_meta']
  const receipt = isObject(meta) ? meta['org.paymentauth/receipt'] : undefined
  assert.ok(isObject(receipt))
  return receipt
}

describe('a tool that is sold by sessions', () => {
  test('is opened, called, and closed by calls', async (t) => {
    const shop = await open(t)
    const purse = createPurse()
    const opened = receiptIn(await shop.say(purse.open(1_000_000n, 0n)))
    assert.deepEqual([opened['spent'], opened['units'], shop.works()], ['0', 0, 0])
    for (const sum of [250_000n, 500_000n]) {
      const receipt = receiptIn(await shop.say(purse.voucher(sum)))
      assert.deepEqual([receipt['spent'], receipt['units']], [sum.toString(), 1])
    }
    assert.equal(shop.works(), 2)
    const done = receiptIn(await shop.say(purse.close(500_000n)))
    assert.equal(done['spent'], '500000')
    assert.equal(shop.escrow.channels.get(purse.channel)?.collected, 500_000n)
  })

  test('does no work for an old voucher, a short one, or one after the end', async (t) => {
    const shop = await open(t)
    const purse = createPurse()
    receiptIn(await shop.say(purse.open(1_000_000n, 0n)))
    const short = await shop.say(purse.voucher(249_999n))
    assert.ok('error' in short && short.error.code === rpcCodes.refused)
    assert.equal(receiptIn(await shop.say(purse.voucher(250_000n)))['spent'], '250000')
    assert.equal(receiptIn(await shop.say(purse.voucher(1n)))['units'], 0)
    const over = await shop.say(purse.voucher(250_000n))
    assert.ok('error' in over && challengeIn(over))
    assert.equal(shop.works(), 1)
    receiptIn(await shop.say(purse.close(250_000n)))
    const late = await shop.say(purse.voucher(500_000n))
    assert.ok('error' in late && late.error.code === rpcCodes.refused)
    assert.equal(shop.works(), 1)
  })

  test('charges nothing for a result that is an error', async (t) => {
    const shop = await open(t, true)
    const purse = createPurse()
    receiptIn(await shop.say(purse.open(1_000_000n, 0n)))
    await shop.say(purse.voucher(250_000n))
    assert.equal(shop.works(), 1)
    assert.equal(receiptIn(await shop.say(purse.close(0n)))['spent'], '0')
  })

  test('is not paid for by a session where it is sold by the call', async (t) => {
    const shop = await open(t)
    const purse = createPurse()
    receiptIn(await shop.say(purse.open(1_000_000n, 0n)))
    const other = await shop.say(purse.voucher(500_000n), 'other')
    assert.ok('error' in other)
    assert.equal(shop.works(), 0)
  })
})
