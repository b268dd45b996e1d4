// Gas of a settled payment, alone and in batches: our batcher beside Multicall3, which everybody has. Each payer of a batch is
// another, the payee has money before.
import type { Address, Hex } from 'viem'
import { encodeFunctionData, parseAbi } from 'viem'
import type { PrivateKeyAccount } from 'viem/accounts'
import testWallet from '../contracts/test/TestWallet.json' with { type: 'json' }
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import contracts from '../src/sandbox/contracts.json' with { type: 'json' }
import type { Authorization } from '../test/contracts/payments.ts'
import {
  authorize,
  batchCall,
  createPayers,
  deployBatcher,
  multicallCall,
  send,
  sign,
  tokenCall,
  used,
} from '../test/contracts/payments.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'

const ROUNDS = 3
const SIZES = [10, 50, 100] as const
/** Sizes from which on the goal is asked. */
const LARGE = 50
const GOAL = { most: 51_000 } as const
/** A batch with one payer who is hostile. */
const HOSTILE_SIZE = 20
const PAYEE: Address = '0x00000000000000000000000000000000000beef1'
/** Its wallet would take any. */
const ANY_SIGNATURE: Hex = `0x${'11'.repeat(64)}1b`
const PEER = 'Multicall3.aggregate3'

/** Where payments are sent to, and how they are written for it. */
interface Way {
  readonly to: string
  write(items: readonly Authorization[]): Hex
}

/** Gas for each payment. */
export async function gas({ quick, tell }: Run): Promise<readonly Result[]> {
  const chain = await startChain()
  try {
    await chain.mint(PAYEE, 1n)
    const payers = await createPayers(chain, Math.max(...SIZES))
    const one: Way = { to: chain.usdc, write: ([item]) => (item ? tokenCall(item) : '0x') }
    const ways = {
      ours: { to: await deployBatcher(chain), write: (items) => batchCall(items) },
      peer: { to: contracts.multicall3, write: multicallCall },
    } satisfies Record<string, Way>
    const rounds = Array.from({ length: quick ? 1 : ROUNDS }, (_, round) => round)
    const line = { bench: 'gas', unit: 'gas', better: 'less' } as const
    const results: Result[] = []
    tell('a payment alone')
    const honest = (size: number) => () => signAll(chain, payers.slice(0, size))
    const alone = await measure(chain, rounds, { ours: one }, honest(1))
    results.push(compare({ ...line, what: 'a payment alone', ours: alone.ours }))
    for (const size of SIZES) {
      tell(`${size} payments`)
      const { ours, peer } = await measure(chain, rounds, ways, honest(size))
      const what = `each of ${size} in one transaction`
      const goal = size < LARGE ? {} : { goal: GOAL }
      results.push(compare({ ...line, what, ours, peer: { name: PEER, rounds: peer }, ...goal }))
    }
    tell('one hostile payer')
    const hostile = await createHostile(chain)
    const { ours, peer } = await measure(chain, rounds, ways, async () => [
      authorize(chain, hostile, PAYEE, { signature: ANY_SIGNATURE }),
      ...(await signAll(chain, payers.slice(1, HOSTILE_SIZE))),
    ])
    const what = `each that is paid of ${HOSTILE_SIZE}, one of which burns all gas it gets`
    return [...results, compare({ ...line, what, ours, peer: { name: PEER, rounds: peer } })]
  } finally {
    await chain.stop()
  }
}

function signAll(chain: Chain, payers: readonly PrivateKeyAccount[]): Promise<Authorization[]> {
  return Promise.all(payers.map((payer) => sign(chain, payer, PAYEE)))
}

/** Gas for each payment that was paid, each round by each way. */
async function measure<W extends string>(
  chain: Chain,
  rounds: readonly number[],
  ways: Readonly<Record<W, Way>>,
  make: () => Promise<readonly Authorization[]>,
): Promise<Readonly<Record<W, readonly number[]>>> {
  const found = Object.fromEntries(
    Object.keys(ways).map((name) => [name, [] as number[]]),
  ) as Record<W, number[]>
  for (const _ of rounds)
    for (const name of Object.keys(ways) as W[]) {
      const way = ways[name]
      const mined = await send(chain, way.to, way.write(await make()))
      const paid = used(mined, chain).length
      if (paid === 0) throw new Error(`Nothing was paid by ${name}.`)
      found[name].push(Number(mined.gas) / paid)
    }
  return found
}

/** A payer with code that never answers. */
async function createHostile(chain: Chain): Promise<Address> {
  const wallet = (await chain.deploy(testWallet.bytecode)) as Address
  await chain.mint(wallet, 1_000_000n)
  const abi = parseAbi(['function set(uint8 mode, address target, bytes data)'])
  const data = encodeFunctionData({ abi, functionName: 'set', args: [2, wallet, '0x'] })
  await chain.send({ to: wallet, data })
  return wallet
}
