// Paid requests from end to end: buyer, seller, check, transaction, block, answer. Ours keeps durable books on both sides; the
// peers keep none. The seller's process holds all that serves it: our rail, the peers' facilitator.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { createBuyer } from '../test/interop/peers.ts'
import type { Start } from './paid-seller.ts'
import type { Buyers } from './parties.ts'
import { buy, createOurBuyers, createPeerBuyers } from './parties.ts'
import type { Helper } from './process.ts'
import { cpuMicros, startHelper } from './process.ts'
import type { Result, Run } from './result.ts'
import { at, compare } from './result.ts'

const BUYERS = 16
const ROUNDS = 5
/** Requests of one buyer in a round, when he is alone and when he is one of many. */
const REQUESTS = { alone: 12, many: 6 } as const
/** Requests of each buyer until what is done all the time is compiled. */
const WARM_UP = 12
const FUNDS = 100_000_000n
const PEER = '@x402/fetch, express, facilitator'

/** One way to buy. */
interface Market {
  readonly seller: Helper
  readonly url: string
  readonly buyers: Buyers
}

/** What a round gave, per request. */
interface Round {
  readonly latencyMs: number
  readonly perSecond: number
  readonly sellerMs: number
  readonly buyerMs: number
  /** Requests that were paid for and refused; they are left out of all the rest. */
  readonly refused: number
}

/** Latency, rate and CPU time of each side, one buyer at a time and many at once. */
export async function paid({ quick, tell }: Run): Promise<readonly Result[]> {
  await using parties = new AsyncDisposableStack()
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  parties.defer(() => rm(directory, { recursive: true }))
  const chain = await startChain()
  parties.defer(() => chain.stop())
  const markets = await open(chain, directory, parties)
  const warmUp = quick ? 1 : WARM_UP
  for (const market of markets) await round(market, BUYERS, warmUp)
  const found = { alone: [[], []] as Round[][], many: [[], []] as Round[][] }
  for (let turn = 1; turn <= (quick ? 1 : ROUNDS); turn++) {
    tell(`round ${turn}`)
    for (const [i, market] of markets.entries()) {
      found.alone[i]?.push(await round(market, 1, REQUESTS.alone))
      found.many[i]?.push(await round(market, BUYERS, REQUESTS.many))
    }
  }
  return [...lines('one buyer', found.alone), ...lines(`${BUYERS} buyers`, found.many)]
}

async function open(
  chain: Chain,
  directory: string,
  parties: AsyncDisposableStack,
): Promise<readonly [ours: Market, peers: Market]> {
  const keys = await Promise.all(Array.from({ length: BUYERS }, () => createBuyer(chain, FUNDS)))
  const { rpc, network } = chain
  const start = async (verb: string, buyers: Buyers): Promise<Market> => {
    parties.defer(() => buyers.close())
    const seller = await startHelper('./paid-seller.ts')
    parties.defer(() => seller.stop())
    const said: Start = { rpc, network, directory }
    return { seller, url: await seller.ask<string>(verb, said), buyers }
  }
  return [
    await start('ours', await createOurBuyers(keys, directory)),
    await start('peers', createPeerBuyers(keys)),
  ]
}

async function round({ seller, url, buyers }: Market, many: number, each: number): Promise<Round> {
  const waits: number[] = []
  let refused = 0
  const lane = async (payingFetch: typeof fetch): Promise<void> => {
    for (let n = 0; n < each; n++) {
      const startAt = performance.now()
      if (await buy(payingFetch, url)) waits.push(performance.now() - startAt)
      else refused++
    }
  }
  const before = { seller: await seller.cpuMicros(), buyer: cpuMicros(), at: performance.now() }
  await Promise.all(buyers.fetches.slice(0, many).map(lane))
  const tookMs = performance.now() - before.at
  const ms = (micros: number): number => micros / 1_000 / waits.length
  return {
    latencyMs: at(
      waits.toSorted((a, b) => a - b),
      0.5,
    ),
    perSecond: (waits.length * 1_000) / tookMs,
    buyerMs: ms(cpuMicros() - before.buyer),
    sellerMs: ms((await seller.cpuMicros()) - before.seller),
    refused,
  }
}

function lines(who: string, [ours = [], peers = []]: readonly Round[][]): readonly Result[] {
  const line = (
    what: string,
    unit: string,
    better: Result['better'],
    of: (round: Round) => number,
  ): Result =>
    compare({
      bench: 'paid',
      what: `${who}, ${what}`,
      unit,
      better,
      ours: ours.map(of),
      peer: { name: PEER, rounds: peers.map(of) },
    })
  const refused = [...ours, ...peers].some((round) => round.refused > 0)
  return [
    line('latency', 'ms', 'less', (round) => round.latencyMs),
    line('paid requests', 'per s', 'more', (round) => round.perSecond),
    line("seller's CPU", 'ms', 'less', (round) => round.sellerMs),
    line("buyer's CPU", 'ms', 'less', (round) => round.buyerMs),
    ...(refused ? [line('refused in a round', 'requests', 'less', (round) => round.refused)] : []),
  ]
}
