// Whoever issues the token of the chain: accounts that it refuses, and all of it when it is paused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeFunctionData, parseAbi } from 'viem'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import type { Chain } from '../../sandbox/chain.ts'
import { startChain } from '../../sandbox/chain.ts'

const abi = parseAbi([
  'function updateBlacklister(address)',
  'function updatePauser(address)',
  'function blacklist(address)',
  'function unBlacklist(address)',
  'function pause()',
  'function unpause()',
  'function transfer(address, uint256)',
])

export interface Issuer {
  /** The token refuses the account, on either side. */
  ban(account: string): Promise<void>
  clear(account: string): Promise<void>
  /** The token refuses everybody. */
  pause(): Promise<void>
  unpause(): Promise<void>
}

/** Takes the roles that the owner of the contract gives. */
export async function createIssuer(chain: Chain): Promise<Issuer> {
  const keeper = privateKeyToAddress(generatePrivateKey())
  await chain.fundEther(keeper, 10n ** 20n)
  const by = { from: keeper, to: chain.usdc }
  const about =
    (functionName: 'blacklist' | 'unBlacklist') =>
    async (account: string): Promise<void> => {
      const args = [account as `0x${string}`] as const
      await chain.send({ ...by, data: encodeFunctionData({ abi, functionName, args }) })
    }
  const all = (functionName: 'pause' | 'unpause') => async (): Promise<void> => {
    await chain.send({ ...by, data: encodeFunctionData({ abi, functionName }) })
  }
  for (const functionName of ['updateBlacklister', 'updatePauser'] as const) {
    const data = encodeFunctionData({ abi, functionName, args: [keeper] })
    await chain.send({ to: chain.usdc, data })
  }
  const [pause, unpause] = [all('pause'), all('unpause')]
  return { ban: about('blacklist'), clear: about('unBlacklist'), pause, unpause }
}

/** How the token comes to refuse a payment, what is said of it, and how it takes it again. */
export interface Stop {
  readonly name: string
  readonly says: RegExp
  readonly begin: (payer: string) => Promise<void>
  readonly end: (payer: string) => Promise<void>
}

/** All ways. The issuer is there when a test runs. */
export function stopsOf(issuer: () => Issuer, payee: string): readonly Stop[] {
  return [
    {
      name: 'the payer is on the list of the token',
      says: /one of the two accounts/,
      begin: (payer) => issuer().ban(payer),
      end: (payer) => issuer().clear(payer),
    },
    {
      name: 'the payee is on the list of the token',
      says: /one of the two accounts/,
      begin: () => issuer().ban(payee),
      end: () => issuer().clear(payee),
    },
    {
      name: 'the token is paused',
      says: /paused/,
      begin: () => issuer().pause(),
      end: () => issuer().unpause(),
    },
  ]
}

test('the token refuses whom its issuer names, and nobody else', async () => {
  const chain = await startChain()
  try {
    const [one, other] = [generatePrivateKey(), generatePrivateKey()].map(privateKeyToAddress)
    assert(one && other)
    const issuer = await createIssuer(chain)
    await chain.fundEther(one, 10n ** 20n)
    await chain.mint(one, 10n)
    const send = async (): Promise<boolean> => {
      const data = encodeFunctionData({ abi, functionName: 'transfer', args: [other, 1n] })
      const sent = chain.send({ from: one, to: chain.usdc, data })
      return sent.then(
        () => true,
        () => false,
      )
    }
    for (const { name, begin, end } of stopsOf(() => issuer, other)) {
      await begin(one)
      assert.equal(await send(), false, name)
      await end(one)
      assert.equal(await send(), true, name)
    }
  } finally {
    await chain.stop()
  }
})
