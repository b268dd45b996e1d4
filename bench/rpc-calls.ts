// JSON-RPC calls between a rail and its node, counted on the wire: for a check alone, and for a whole paid request.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodePaymentRequiredHeader } from '@x402/core/http'
import { isBound } from '../src/core/credential.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import { fromPrivateKey, wallet } from '../src/rails/evm/index.ts'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import type { Keys } from '../test/interop/peers.ts'
import { createBuyer, createClient } from '../test/interop/peers.ts'
import type { Counter } from './counter.ts'
import { startCounter } from './counter.ts'
import type { OurSeller, PeerSeller } from './parties.ts'
import { buy, createOurBuyers, createPeerBuyers, startOurs, startPeers } from './parties.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'

const WARM_UP = 3
const REQUESTS = 20
/** Of Base. */
const BLOCK_MS = 2_000
const SLOW_REQUESTS = 8
/** Payments until the chain's time is learned. */
const SLOW_WARM_UP = 5
/** One to check, one to send, one now and then for fees, and two looks. */
const SLOW_CALLS_MAX = 5
const MANY = 16
const MANY_ROUNDS = 4
const FUNDS = 1_000_000n
const peerName = '@x402/evm facilitator'

/** Calls in steady state: connections, domains, nonces and fees are known. */
export async function rpcCalls({ quick, tell }: Run): Promise<readonly Result[]> {
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  const line = { bench: 'rpc-calls', unit: 'calls', better: 'less' } as const
  const requests = quick ? 3 : REQUESTS
  try {
    tell('blocks at once')
    const { checks, paid } = await withChain({}, (chain) => measure(chain, directory, requests))
    tell(`a block every ${BLOCK_MS} ms`)
    const slow = await withChain({ blockTimeMs: BLOCK_MS }, (chain) =>
      measureSlow(chain, directory, quick),
    )
    const peers = (rounds: readonly number[]) => ({ name: peerName, rounds })
    return [
      compare({
        ...line,
        what: 'a check',
        ours: checks.ours,
        peer: peers(checks.peers),
        goal: { most: 1 },
      }),
      compare({
        ...line,
        what: 'a paid request, blocks at once',
        ours: paid.ours,
        peer: peers(paid.peers),
        goal: { most: 3 },
      }),
      compare({
        ...line,
        what: 'a paid request, blocks every 2 s',
        ours: slow.alone,
        goal: { most: SLOW_CALLS_MAX },
      }),
      compare({
        ...line,
        what: `each of ${MANY} paid requests at once, blocks every 2 s`,
        ours: slow.many,
        goal: { most: 1 },
      }),
    ]
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function withChain<T>(
  options: Parameters<typeof startChain>[0],
  work: (chain: Chain) => Promise<T>,
): Promise<T> {
  const chain = await startChain(options)
  try {
    return await work(chain)
  } finally {
    await chain.stop()
  }
}

interface Counts {
  readonly ours: readonly number[]
  readonly peers: readonly number[]
}

async function measure(
  chain: Chain,
  directory: string,
  requests: number,
): Promise<{ readonly checks: Counts; readonly paid: Counts }> {
  await using parties = new AsyncDisposableStack()
  const counter = await startCounter(chain.rpc)
  parties.defer(() => counter.stop())
  const counted = { ...chain, rpc: counter.rpc }
  const ours = await startOurs(counted, directory)
  parties.defer(() => ours.close())
  const peers = await startPeers(counted)
  parties.defer(() => peers.close())
  const keys = await createBuyer(chain, FUNDS)
  const ourBuyers = await createOurBuyers([keys], directory)
  parties.defer(() => ourBuyers.close())
  const ourBuy = buying(ourBuyers.fetches, ours.url)
  const peerBuy = buying(createPeerBuyers([keys]).fetches, peers.url)
  const paid = {
    ours: await count(counter, requests, ourBuy),
    peers: await count(counter, requests, peerBuy),
  }
  const checks = {
    ours: await count(counter, requests, await checking(ours, keys)),
    peers: await count(counter, requests, await peersChecking(peers, keys)),
  }
  return { checks, paid }
}

/** Calls of a paid request alone, and of each of many at once. */
async function measureSlow(
  chain: Chain,
  directory: string,
  quick: boolean,
): Promise<{ readonly alone: readonly number[]; readonly many: readonly number[] }> {
  await using parties = new AsyncDisposableStack()
  const counter = await startCounter(chain.rpc)
  parties.defer(() => counter.stop())
  const ours = await startOurs({ ...chain, rpc: counter.rpc }, directory)
  parties.defer(() => ours.close())
  const keys = await Promise.all(Array.from({ length: MANY }, () => createBuyer(chain, FUNDS)))
  const buyers = await createOurBuyers(keys, directory)
  parties.defer(() => buyers.close())
  const { fetches } = buyers
  const [requests, warmUp] = quick ? [1, 1] : [SLOW_REQUESTS, SLOW_WARM_UP]
  const alone = await count(counter, requests, buying(fetches, ours.url), warmUp)
  const all = fetches.map((_, i) => buying(fetches.slice(i), ours.url))
  const together = async (): Promise<void> => {
    await Promise.all(all.map((buyOne) => buyOne()))
  }
  const many = await count(counter, quick ? 1 : MANY_ROUNDS, together, 1)
  return { alone, many: many.map((calls) => calls / MANY) }
}

function buying(fetches: readonly (typeof fetch)[], url: string): () => Promise<void> {
  const [payingFetch] = fetches
  if (!payingFetch) throw new Error('There is no buyer.')
  return async () => {
    if (!(await buy(payingFetch, url))) throw new Error('The request was not sold.')
  }
}

/** Calls of each run, one run after the other. */
async function count(
  counter: Counter,
  runs: number,
  work: () => Promise<void>,
  warmUp = WARM_UP,
): Promise<readonly number[]> {
  const counts: number[] = []
  for (let run = -warmUp; run < runs; run++) {
    counter.take()
    await work()
    const calls = Object.values(counter.take()).reduce((sum, n) => sum + n, 0)
    if (run >= 0) counts.push(calls)
  }
  return counts
}

/** Our rail's check of a payment that was never checked before. */
async function checking(seller: OurSeller, { privateKey }: Keys): Promise<() => Promise<void>> {
  const purse = wallet({ signer: fromPrivateKey(privateKey) })
  const url = `${seller.url}/paid`
  const response = await fetch(url)
  const body: unknown = await response.json()
  const { host } = new URL(url)
  const resource = { realm: '', method: 'GET', authority: host, path: '/paid', query: '', url }
  const message = { status: response.status, fields: response.headers, body }
  const offer = x402([purse]).readChallenge(message, resource)?.offers[0]
  if (!offer || !isBound(offer)) throw new Error('Our seller offers nothing.')
  const ours = offer as Parameters<typeof purse.pay>[0]
  return async () => {
    const verdict = await seller.rail.verify(ours, await purse.pay(ours, ours.timeoutMs))
    if (!verdict.ok) throw new Error(verdict.problem.detail)
  }
}

/** The peers' check of the same, by the wire of their facilitator. */
async function peersChecking(seller: PeerSeller, { account }: Keys): Promise<() => Promise<void>> {
  const response = await fetch(`${seller.url}/paid`)
  await response.body?.cancel()
  const required = decodePaymentRequiredHeader(response.headers.get('PAYMENT-REQUIRED') ?? '')
  const client = createClient(account)
  return async () => {
    const paymentPayload = await client.createPaymentPayload(required)
    const paymentRequirements = required.accepts[0]
    const answer = await fetch(`${seller.facilitator}/verify`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ x402Version: 2, paymentPayload, paymentRequirements }),
    })
    const { isValid } = (await answer.json()) as { readonly isValid?: boolean }
    if (isValid !== true) throw new Error('The peers refused a good payment.')
  }
}
