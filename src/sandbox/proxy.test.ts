import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { suite, test } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { keccak256 } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../core/clock.ts'
import type { Json } from '../core/json.ts'
import type { Chain } from './chain.ts'
import { startChain } from './chain.ts'
import { createSwitches } from './faults.ts'
import type { Switches } from './faults.ts'
import type { Proxy } from './proxy.ts'
import { startProxy } from './proxy.ts'

const someone = '0x00000000000000000000000000000000000000aa'

const headers = { 'content-type': 'application/json' }

interface Stage {
  readonly chain: Chain
  readonly faults: Switches
  readonly proxy: Proxy
  readonly taken: string[]
  /** Sends one wei to someone through the faulty door. */
  pay(): Promise<{ raw: `0x${string}`; said: Said }>
  readonly ask: (url: string, method: string, ...params: unknown[]) => Promise<Said>
  received(): Promise<bigint>
}

interface Said {
  readonly result?: unknown
  readonly error?: { readonly code: number; readonly message: string }
}

async function stageFor(t: TestContext, clock = systemClock): Promise<Stage> {
  const chain = await startChain()
  t.after(() => chain.stop())
  const faults = createSwitches()
  const taken: string[] = []
  const proxy = await startProxy({
    rpc: chain.rpc,
    faults,
    clock,
    onTransaction: async (raw) => void taken.push(raw),
    onChange: () => undefined,
  })
  t.after(() => proxy.stop())
  const payer = privateKeyToAccount(generatePrivateKey())
  await chain.fundEther(payer.address, 10n ** 18n)
  let nonce = 0
  const ask: Stage['ask'] = async (url, method, ...params) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 7, method, params })
    return (await (await fetch(url, { method: 'POST', headers, body })).json()) as Said
  }
  return {
    chain,
    faults,
    proxy,
    taken,
    ask,
    async pay() {
      const fees = { gas: 21_000n, maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 1n }
      const call = { chainId: chain.chainId, to: someone, value: 1n, nonce: nonce++ } as const
      const raw = await payer.signTransaction({ type: 'eip1559', ...call, ...fees })
      return { raw, said: await ask(proxy.faulty, 'eth_sendRawTransaction', raw) }
    },
    received: async () =>
      BigInt(String(await chain.request('eth_getBalance', [someone, 'latest']))),
  }
}

/** Waits for what comes by itself. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 300 && !(await holds()); i++) await after(10)
  assert.ok(await holds())
}

suite('the node behind the proxy', () => {
  test('with no fault set, a transaction arrives and is told of', async (t) => {
    const stage = await stageFor(t)
    const { raw, said } = await stage.pay()
    assert.equal(said.result, keccak256(raw))
    await until(async () => (await stage.received()) === 1n)
    assert.deepEqual(stage.taken, [raw])
  })

  test("the node's refusals pass unchanged, and nothing is told of them", async (t) => {
    const stage = await stageFor(t)
    const said = await stage.ask(stage.proxy.faulty, 'eth_sendRawTransaction', '0x00')
    const direct = await stage.ask(stage.chain.rpc, 'eth_sendRawTransaction', '0x00')
    assert.ok(direct.error)
    assert.deepEqual(said, direct)
    assert.deepEqual(stage.taken, [])
  })

  test('batches are answered in order', async (t) => {
    const { proxy } = await stageFor(t)
    const calls = [1, 2].map((id) => ({ jsonrpc: '2.0', id, method: 'eth_chainId', params: [] }))
    const response = await fetch(proxy.rpc, { method: 'POST', body: JSON.stringify(calls) })
    const said = (await response.json()) as { id: number; result: string }[]
    assert.deepEqual(
      said.map(({ id, result }) => [id, result]),
      [
        [1, '0x14a34'],
        [2, '0x14a34'],
      ],
    )
  })

  test('time goes on for those who look, two seconds a block', async (t) => {
    let now = 1_000_000
    const { chain, proxy, ask } = await stageFor(t, { ...systemClock, now: () => now })
    const height = async (): Promise<number> => Number(await chain.request('eth_blockNumber'))
    await ask(proxy.rpc, 'eth_chainId')
    const before = await height()
    now += 1_999
    await ask(proxy.rpc, 'eth_chainId')
    assert.equal(await height(), before)
    now += 1
    await ask(proxy.rpc, 'eth_chainId')
    assert.equal(await height(), before + 1)
  })
})

suite('faults', () => {
  test('a dropped transaction is accepted and never arrives; the one after it does', async (t) => {
    const stage = await stageFor(t)
    assert.equal(stage.faults.set({ drop: 1 }), undefined)
    const { raw, said } = await stage.pay()
    assert.equal(said.result, keccak256(raw))
    const receipt = await stage.chain.request('eth_getTransactionReceipt', [keccak256(raw)])
    assert.equal(receipt, null)
    // The payer's bytes again, as a seller sends them who heard nothing.
    await stage.ask(stage.proxy.faulty, 'eth_sendRawTransaction', raw)
    await until(async () => (await stage.received()) === 1n)
    assert.equal(stage.faults.now().drop, 0)
  })

  test('a delayed transaction arrives later', async (t) => {
    let wake: () => void = () => undefined
    const slept: number[] = []
    const stage = await stageFor(t, {
      now: () => 0,
      sleep: (ms) => {
        slept.push(ms)
        return new Promise((resolve) => (wake = resolve))
      },
    })
    stage.faults.set({ delayMs: 5_000 })
    const { raw, said } = await stage.pay()
    assert.equal(said.result, keccak256(raw))
    assert.deepEqual(slept, [5_000])
    assert.equal(await stage.received(), 0n)
    wake()
    await until(async () => (await stage.received()) === 1n)
  })

  test('with the answer lost, the transaction has arrived all the same', async (t) => {
    const stage = await stageFor(t)
    stage.faults.set({ loseSends: 1 })
    await assert.rejects(stage.pay(), TypeError)
    await until(async () => (await stage.received()) === 1n)
    assert.equal(stage.taken.length, 1)
  })

  test('a dead node breaks the connection for the seller alone, until it is reset', async (t) => {
    const { faults, proxy, ask } = await stageFor(t)
    faults.set({ deadRpc: true })
    await assert.rejects(ask(proxy.faulty, 'eth_chainId'), TypeError)
    assert.equal((await ask(proxy.rpc, 'eth_chainId')).result, '0x14a34')
    faults.reset()
    assert.equal((await ask(proxy.faulty, 'eth_chainId')).result, '0x14a34')
  })

  test('what cannot be understood is refused whole, with a sentence', () => {
    const faults = createSwitches()
    const wrong: readonly Json[] = [
      null,
      [],
      'drop',
      { drop: -1 },
      { drop: 1.5 },
      { drop: '1' },
      { delayMs: 1e9 },
      { deadRpc: 1 },
      { toString: 1 },
      { drop: 1, dorp: 1 },
    ]
    for (const said of wrong) assert.match(faults.set(said) ?? '', /\.$/, JSON.stringify(said))
    assert.equal(faults.now().drop, 0)
    assert.equal(faults.set({ drop: 2, deadRpc: true }), undefined)
    assert.deepEqual([faults.now().drop, faults.now().deadRpc], [2, true])
    assert.deepEqual(
      [faults.take('drop'), faults.take('drop'), faults.take('drop')],
      [true, true, false],
    )
  })
})
