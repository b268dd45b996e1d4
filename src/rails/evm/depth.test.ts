// How deep a transaction is, on a real chain.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { PaymentError } from '../../core/problem.ts'
import type { Chain } from '../../sandbox/chain.ts'
import { startChain } from '../../sandbox/chain.ts'
import type { Depths } from './depth.ts'
import { depths } from './depth.ts'

const NOBODY = '0x00000000000000000000000000000000000beef3'

let chain: Chain
let own: Depths
before(async () => {
  chain = await startChain()
  own = depths({ network: 'base-sepolia', rpc: chain.rpc })
  await own.open()
})
after(async () => {
  own?.close()
  await chain?.stop()
})

test('a transaction’s own block counts, and each one on top of it', async () => {
  const hash = await chain.send({ to: NOBODY })
  assert.equal(await own.depth(hash), 1)
  await chain.mine(2)
  assert.equal(await own.depth(hash), 3)
  assert.equal(await own.depth(`0x${hash.slice(2).toUpperCase()}`), 3)
})

test('what is in no block, or is there no more after a reorganisation, has no depth', async () => {
  assert.equal(await own.depth(`0x${randomBytes(32).toString('hex')}`), 0)
  await chain.mine()
  const snapshot = await chain.request('evm_snapshot')
  const hash = await chain.send({ to: NOBODY })
  assert.equal(await own.depth(hash), 1)
  await chain.request('evm_revert', [snapshot])
  await chain.mine(3)
  assert.equal(await own.depth(hash), 0)
})

test('what has failed has no depth', async () => {
  // Creation code that reverts.
  const failing = { from: NOBODY, data: '0x60006000fd', gas: '0x186a0' }
  await chain.fundEther(NOBODY, 10n ** 18n)
  await chain.request('anvil_impersonateAccount', [NOBODY])
  const hash = String(await chain.request('eth_sendTransaction', [failing]))
  const receipt = (await chain.request('eth_getTransactionReceipt', [hash])) as { status: string }
  assert.equal(receipt.status, '0x0')
  assert.equal(await own.depth(hash), 0)
})

test('a chain that cannot be asked, or is another, is a fault and no answer', async () => {
  const hash = await chain.send({ to: NOBODY })
  const gone = depths({ network: 'base-sepolia', rpc: 'http://127.0.0.1:9', rpcTimeoutMs: 500 })
  await assert.rejects(gone.depth(hash), PaymentError)
  gone.close()
  const other = depths({ network: 'base', rpc: chain.rpc })
  await assert.rejects(other.open())
  other.close()
  await assert.rejects(own.depth('tx-1'), PaymentError)
  assert.equal(await own.depth(hash), 1)
})
