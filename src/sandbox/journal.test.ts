import assert from 'node:assert/strict'
import { appendFile, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { test } from 'node:test'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Chain } from './chain.ts'
import { startChain } from './chain.ts'

const someone = '0x00000000000000000000000000000000000000aa'
const payer = privateKeyToAccount(generatePrivateKey())

async function stateFor(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'journal-test-'))
  t.after(() => rm(directory, { recursive: true }))
  return join(directory, 'chain.json')
}

async function sign(nonce: number): Promise<`0x${string}`> {
  const fees = { gas: 21_000n, maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 1n }
  const call = { chainId: 84532, to: someone, value: 1n, nonce } as const
  return payer.signTransaction({ type: 'eip1559', ...call, ...fees })
}

async function pay(chain: Chain, nonce: number): Promise<string> {
  const raw = await sign(nonce)
  const receipt = await chain.request('eth_sendRawTransactionSync', [raw])
  await chain.record(raw)
  return (receipt as { transactionHash: string }).transactionHash
}

async function received(chain: Chain): Promise<bigint> {
  return BigInt(String(await chain.request('eth_getBalance', [someone, 'latest'])))
}

/** As a power switch would. */
async function kill(chain: Chain): Promise<void> {
  process.kill(chain.pid, 'SIGKILL')
  while (await chain.request('eth_chainId').catch(() => undefined));
}

test('what was sent after the last save is there again after a kill, and not twice', async (t) => {
  const stateFile = await stateFor(t)
  const first = await startChain({ stateFile })
  await first.fundEther(payer.address, 10n ** 18n)
  await pay(first, 0)
  await first.save()
  const hash = await pay(first, 1)
  await kill(first)

  const second = await startChain({ stateFile })
  assert.equal(await received(second), 2n)
  assert.ok(await second.request('eth_getTransactionReceipt', [hash]))
  await kill(second)

  const third = await startChain({ stateFile })
  t.after(() => third.stop())
  assert.equal(await received(third), 2n)
})

test('a line that was cut off, and one that is in the state already, do no harm', async (t) => {
  const stateFile = await stateFor(t)
  const first = await startChain({ stateFile })
  await first.fundEther(payer.address, 10n ** 18n)
  await pay(first, 0)
  await first.stop()
  await assert.rejects(stat(`${stateFile}.transactions`), { code: 'ENOENT' })
  const now = Math.floor(Date.now() / 1000)
  await appendFile(`${stateFile}.transactions`, `${now} ${await sign(0)}\n${now} 0x02f8`)

  const second = await startChain({ stateFile })
  t.after(() => second.stop())
  assert.equal(await received(second), 1n)
})
