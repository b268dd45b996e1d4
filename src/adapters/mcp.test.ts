// A tool behind the door, called by the reference client of MPP. The rail is one of the sandbox's kind: it takes what it is shown.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { McpClient } from 'mppx/mcp/client'
import { evm as evmClient } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'
import type { JsonObject } from '../core/json.ts'
import type { Rail } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { capabilityOf, mpp, mppRpc } from '../protocols/mpp/index.ts'
import { exact } from '../rails/evm/exact.ts'
import { toolDoor } from './mcp.ts'
import type { Reply, ToolDoor, ToolSettings } from './mcp.ts'
import { createSeller } from './seller.ts'
import type { OpenSeller } from './seller.ts'

const payTo = '0x209693Bc6afc0C5328bA36FaF03C514EF312287C'
const usdc = '0x036CbD53842c5426634e7929541eC2318f3dCF7e'
const account = privateKeyToAccount(`0x${'01'.repeat(32)}`)

/** Believes every signature, and counts what it has taken. */
function trusting(): Rail & { taken: number } {
  const method = exact({ network: 'base-sepolia', payTo })
  const rail = {
    ...method,
    taken: 0,
    open: async () => undefined,
    verify: async (offer: never, proof: never) => ({
      ok: true as const,
      ...method.identify(offer, proof),
    }),
    async settle(offer: never, proof: never) {
      rail.taken++
      const { payer } = method.identify(offer, proof)
      return { state: 'settled' as const, reference: '0xab', payer, settledAt: Date.now() }
    },
    find: async () => undefined,
    close: async () => undefined,
  }
  return rail
}

const sellers: OpenSeller[] = []
after(async () => {
  for (const seller of sellers) await seller.close()
})

interface World {
  readonly door: ToolDoor
  readonly rail: { readonly taken: number }
}

async function world(more: Partial<ToolSettings> = {}, rest: object = {}): Promise<World> {
  const rail = trusting()
  const seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [rail],
    protocols: [mpp({ parts: [rail] })],
    ledger: memory(),
    ...rest,
  })
  sellers.push(seller)
  const door = toolDoor(seller, {
    codec: mppRpc({ parts: [rail] }),
    url: 'https://mcp.example.com/mcp',
    tools: { search: '0.01 USD' },
    ...more,
  })
  return { door, rail }
}

const work = async (): Promise<JsonObject> => ({ content: [{ type: 'text', text: 'found' }] })

/** A client of MCP over a wire that carries JSON. */
function clientOf(
  door: ToolDoor,
  worked: () => Promise<JsonObject> = work,
  wire: (message: JsonObject) => JsonObject = (message) => message,
) {
  const sent: JsonObject[] = []
  const client = {
    async callTool(params: JsonObject): Promise<JsonObject> {
      const message = { jsonrpc: '2.0', id: sent.length, method: 'tools/call', params }
      sent.push(JSON.parse(JSON.stringify(wire(message))) as JsonObject)
      const reply = await door.call(sent.at(-1) ?? {}, worked)
      const said = JSON.parse(JSON.stringify(reply)) as Reply
      if ('error' in said) throw Object.assign(new Error(said.error.message), said.error)
      return said.result
    },
  }
  const method = evmClient.charge({
    account,
    currencies: [usdc],
    networks: [84532],
    authorization: { name: 'USDC', version: '2' },
    decimals: 6,
  })
  const paying = McpClient.wrap(client as never, { methods: [method] }) as unknown as {
    callTool(params: JsonObject): Promise<JsonObject & { receipt?: JsonObject }>
  }
  return { paying, sent }
}

function call(name: string, more: JsonObject = {}): JsonObject {
  return { method: 'tools/call', params: { name, arguments: { q: 'x' }, ...more } }
}

function errorOf(reply: Reply): { readonly code: number; readonly data?: JsonObject } {
  assert.ok('error' in reply, JSON.stringify(reply))
  return reply.error
}

describe('a paid tool', () => {
  test('is bought by npm mppx, with a receipt for its challenge', async () => {
    const { door, rail } = await world()
    const { paying, sent } = clientOf(door)
    const result = await paying.callTool({ name: 'search', arguments: { q: 'x' } })
    assert.deepEqual(result['content'], [{ type: 'text', text: 'found' }])
    assert.equal(sent.length, 2)
    assert.equal(rail.taken, 1)
    assert.deepEqual([result.receipt?.['method'], result.receipt?.['reference']], ['evm', '0xab'])
    const { params } = sent[1] as { params: { _meta: Record<string, { challenge: JsonObject }> } }
    const { challenge } = params['_meta']['org.paymentauth/credential'] ?? {}
    assert.equal(result.receipt?.['challengeId'], challenge?.['id'])
  })

  test('is paid for once, and with these arguments', async () => {
    const { door, rail } = await world()
    const { paying, sent } = clientOf(door)
    await paying.callTool({ name: 'search', arguments: { q: 'x' } })
    const paid = sent[1] as { params: JsonObject }
    const replayed = errorOf(await door.call(paid, work))
    assert.equal(replayed.code, -32_603)
    const other = { ...paid, params: { ...paid.params, arguments: { q: 'y' } } }
    assert.equal(errorOf(await door.call(other, work)).code, -32_043)
    assert.equal(rail.taken, 1)
  })

  test('is paid for in the message’s own _meta too', async () => {
    const { door, rail } = await world()
    const { paying, sent } = clientOf(door, work, ({ params, ...message }) => {
      const { _meta, ...rest } = params as JsonObject
      return { ...message, params: rest, ...(_meta !== undefined && { _meta }) }
    })
    const result = await paying.callTool({ name: 'search', arguments: { q: 'x' } })
    assert.ok(result.receipt)
    assert.ok(sent[1] && '_meta' in sent[1])
    assert.equal(rail.taken, 1)
  })

  test('whose work fails, throws or takes too long is not charged', async () => {
    const { door, rail } = await world({}, { workTimeoutMs: 50 })
    const failing = clientOf(door, async () => ({ isError: true, content: [] }))
    const result = await failing.paying.callTool({ name: 'search', arguments: {} })
    assert.deepEqual([result['isError'], result.receipt], [true, undefined])
    const throwing = clientOf(door, async () => {
      throw new Error('broken')
    })
    await assert.rejects(throwing.paying.callTool({ name: 'search', arguments: {} }), /broken/)
    const slow = clientOf(door, () => new Promise((done) => setTimeout(() => done({}), 400)))
    await assert.rejects(slow.paying.callTool({ name: 'search', arguments: {} }), { code: -32_603 })
    assert.equal(rail.taken, 0)
    const honest = await clientOf(door).paying.callTool({ name: 'search', arguments: {} })
    assert.ok(honest.receipt)
    assert.equal(rail.taken, 1)
  })

  test('asks with everything that is needed to pay, and runs nothing', async () => {
    let runs = 0
    const { door } = await world()
    const reply = await door.call(call('search'), async () => {
      runs++
      return {}
    })
    const { code, data } = errorOf(reply)
    assert.equal(code, -32_042)
    const [challenge] = (data?.['challenges'] ?? []) as readonly JsonObject[]
    assert.deepEqual([challenge?.['realm'], challenge?.['method']], ['mcp.example.com', 'evm'])
    assert.equal(challenge?.['digest'], undefined)
    const foul = { _meta: { 'org.paymentauth/credential': { nope: 1 } } }
    assert.equal(errorOf(await door.call(call('search', foul), work)).code, -32_602)
    assert.equal(runs, 0)
  })

  test('may cost what its arguments say', async () => {
    const price = ({ q }: JsonObject): string => (q === 'x' ? '0.02 USD' : '0.03 USD')
    const { door } = await world({ tools: { search: { price } } })
    const asked = errorOf(await door.call(call('search'), work)).data?.['challenges']
    const [{ request }] = asked as [{ request: JsonObject }]
    assert.equal(request['amount'], '20000')
  })

  test('is not done for nothing when its arguments are none', async () => {
    let runs = 0
    const { door, rail } = await world()
    const worked = async (): Promise<JsonObject> => {
      runs++
      return await work()
    }
    for (const args of [null, [], [{ q: 'x' }], 'q', 0, false]) {
      const message = { method: 'tools/call', params: { name: 'search', arguments: args } }
      assert.equal(errorOf(await door.call(message, worked)).code, -32_602)
    }
    assert.equal(runs, 0)
    const bare = { method: 'tools/call', params: { name: 'search' } }
    assert.equal(errorOf(await door.call(bare, worked)).code, -32_042)
    const result = await clientOf(door, worked).paying.callTool({ name: 'search' })
    assert.ok(result.receipt)
    assert.deepEqual([runs, rail.taken], [1, 1])
  })

  test('that cannot be meant stops the start', async () => {
    await assert.rejects(world({ tools: { search: 'cheap' } }), /not a price/)
    await assert.rejects(world({ url: 'nowhere' }))
  })
})

test('what is not sold is done at once', async () => {
  const { door, rail } = await world()
  for (const message of [call('free'), { method: 'tools/list' }, { method: 'tools/call' }])
    assert.deepEqual(await door.call(message, work), { result: await work() })
  assert.equal(rail.taken, 0)
  assert.deepEqual(capabilityOf([]), { payment: { methods: {} } })
})
