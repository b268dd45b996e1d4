// A facilitator's work over HTTP, as servers ask for it: verify, then settle, all from one sending key. Ours keeps durable books,
// the peers' keep none. Payments are signed before the time is taken. The node runs on the same machine, and so its CPU time is
// told beside, and what it can do when it is handed the same transfers, as many in a transaction, by nobody who checks or waits.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Address } from 'viem'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import type { Authorization } from '../test/contracts/payments.ts'
import { batchCall, createPayers, deployBatcher, send, sign } from '../test/contracts/payments.ts'
import { createSender } from '../test/interop/peers.ts'
import { startCounter } from './counter.ts'
import type { Start } from './facilitator-server.ts'
import type { Helper } from './process.ts'
import { startHelper } from './process.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'

/** Servers that ask at the same time. */
const SERVERS = 16
const ROUNDS = 5
/** Payments of a round. */
const PAYMENTS = 160
const WARM_UP = 320
/** Payments whose calls are counted, in so many rounds. */
const COUNTED = 64
const COUNTS = 3
const PAYERS = 32
const FUNDS = 100_000_000n
const AMOUNT = 1_000n
const PAYEE: Address = '0x00000000000000000000000000000000000beef2'
const PEER = '@x402/core and evm, nonce manager'
/** The kernel's unit of a process's CPU time. */
const TICK_MS = 10

/** A facilitator that is served. */
interface Party {
  readonly helper: Helper
  readonly url: string
}

/** What a round gave, per payment. */
interface Round {
  readonly perSecond: number
  readonly cpuMs: number
  readonly nodeMs: number
  readonly failed: number
}

/** Asks a facilitator. */
type Post = (path: string, body: string) => Promise<Answer>

/** What servers do with one payment: whether it went well. */
type Work = (post: Post, order: string) => Promise<boolean>

/** Where all of it happens. */
interface Stage {
  readonly chain: Chain
  readonly batcher: Address
  start(verb: 'ours' | 'peers', rpc: string): Promise<Party>
  payments(count: number): Promise<readonly Authorization[]>
  orders(count: number): Promise<readonly string[]>
}

/** Rates, CPU time and calls. */
export async function facilitator({ quick, tell }: Run): Promise<readonly Result[]> {
  await using parties = new AsyncDisposableStack()
  const stage = await open(parties)
  const { chain } = stage
  const both = [
    await stage.start('ours', chain.rpc),
    await stage.start('peers', chain.rpc),
  ] as const
  const many = quick ? PAYMENTS / 10 : PAYMENTS
  for (const party of both) await round(stage, party, settle, quick ? SERVERS : WARM_UP)
  const verified: Round[][] = [[], []]
  const settled: Round[][] = [[], []]
  const alone: number[] = []
  for (let turn = 1; turn <= (quick ? 1 : ROUNDS); turn++) {
    tell(`round ${turn}`)
    for (const [i, party] of both.entries()) {
      verified[i]?.push(await round(stage, party, verify, many))
      settled[i]?.push(await round(stage, party, settle, many))
    }
    alone.push(await nodeAlone(stage, many))
  }
  const rates = settled[0]?.map(({ perSecond }) => perSecond) ?? []
  return [
    ...lines('verify', verified, 25),
    ...lines('verify and settle', settled, undefined, 10),
    compare({
      ...{ bench: 'facilitator', what: 'verify and settle', unit: 'per s', better: 'more' },
      ours: rates,
      peer: { name: `the node alone, ${SERVERS} in a transaction`, rounds: alone },
    }),
    ...(await counts(stage, parties, quick ? 1 : COUNTS, tell)),
  ]
}

async function open(parties: AsyncDisposableStack): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  parties.defer(() => rm(directory, { recursive: true }))
  const chain = await startChain()
  parties.defer(() => chain.stop())
  await chain.mint(PAYEE, 1n)
  const batcher = await deployBatcher(chain)
  const payers = await createPayers(chain, PAYERS)
  await Promise.all(payers.map(({ address }) => chain.mint(address, FUNDS)))
  let started = 0
  const payments = (count: number): Promise<readonly Authorization[]> =>
    Promise.all(
      Array.from({ length: count }, (_, i) => {
        const payer = payers[i % PAYERS]
        if (!payer) throw new Error('There is no payer.')
        return sign(chain, payer, PAYEE, { value: AMOUNT })
      }),
    )
  return {
    chain,
    batcher,
    payments,
    orders: async (count) => (await payments(count)).map((payment) => orderOf(chain, payment)),
    async start(verb, rpc) {
      const { privateKey: signer } = await createSender(chain)
      const helper = await startHelper('./facilitator-server.ts')
      parties.defer(() => helper.stop())
      const file = join(directory, `${++started}.db`)
      const said: Start = { rpc, network: chain.network, file, signer, batcher }
      return { helper, url: await helper.ask<string>(verb, said) }
    },
  }
}

const verify: Work = async (post, order) => (await post('/verify', order)).isValid === true

const settle: Work = async (post, order) =>
  (await verify(post, order)) && (await post('/settle', order)).success === true

async function round(stage: Stage, party: Party, work: Work, count: number): Promise<Round> {
  const { chain } = stage
  const { helper } = party
  const orders = await stage.orders(count)
  const before = { cpu: await helper.cpuMicros(), node: await nodeMs(chain), at: performance.now() }
  const failed = await spread(party, orders, work, SERVERS)
  const tookMs = performance.now() - before.at
  const done = count - failed
  return {
    perSecond: (done * 1_000) / tookMs,
    cpuMs: ((await helper.cpuMicros()) - before.cpu) / 1_000 / done,
    nodeMs: ((await nodeMs(chain)) - before.node) / done,
    failed,
  }
}

/** How many of them failed. */
async function spread(
  party: Party,
  orders: readonly string[],
  work: Work,
  servers: number,
): Promise<number> {
  const left = [...orders]
  // One for each time: what lies idle in between is closed by the other side.
  const agent = new Agent({ keepAlive: true })
  const post = postTo(party.url, agent)
  let failed = 0
  const lane = async (): Promise<void> => {
    for (let order = left.pop(); order !== undefined; order = left.pop())
      if (!(await work(post, order))) failed++
  }
  await Promise.all(Array.from({ length: servers }, lane))
  agent.destroy()
  return failed
}

/** Transfers per second of a node that is handed full transactions, one after the other. */
async function nodeAlone(stage: Stage, count: number): Promise<number> {
  const payments = await stage.payments(count)
  const calls: `0x${string}`[] = []
  for (let i = 0; i < count; i += SERVERS) calls.push(batchCall(payments.slice(i, i + SERVERS)))
  const startAt = performance.now()
  for (const call of calls) {
    const { ok } = await send(stage.chain, stage.batcher, call)
    if (!ok) throw new Error('The node did not take a transaction.')
  }
  return (count * 1_000) / (performance.now() - startAt)
}

/** JSON-RPC calls for each payment, one at a time and many at once. */
async function counts(
  stage: Stage,
  parties: AsyncDisposableStack,
  rounds: number,
  tell: Run['tell'],
): Promise<readonly Result[]> {
  const counter = await startCounter(stage.chain.rpc)
  parties.defer(() => counter.stop())
  const both = [await stage.start('ours', counter.rpc), await stage.start('peers', counter.rpc)]
  const measured = async (party: Party, work: Work, servers: number): Promise<number> => {
    const count = servers === 1 ? COUNTED / 4 : COUNTED
    const orders = await stage.orders(count)
    counter.take()
    const failed = await spread(party, orders, work, servers)
    const calls = Object.values(counter.take()).reduce((sum, n) => sum + n, 0)
    return calls / (count - failed)
  }
  const line = async (what: string, work: Work, servers: number, most: number): Promise<Result> => {
    tell(`calls, ${what}`)
    const found: number[][] = [[], []]
    for (let turn = 0; turn < rounds; turn++)
      for (const [i, party] of both.entries()) found[i]?.push(await measured(party, work, servers))
    const [ours = [], peers = []] = found
    return compare({
      ...{ bench: 'facilitator', what: `${what}, JSON-RPC`, unit: 'calls', better: 'less' },
      ...{ ours, peer: { name: PEER, rounds: peers }, goal: { most } },
    })
  }
  for (const party of both) await spread(party, await stage.orders(SERVERS), settle, 1)
  return [
    await line('verify, one at a time', verify, 1, 1),
    await line('verify and settle, one at a time', settle, 1, 3),
    await line(`verify, ${SERVERS} at once`, verify, SERVERS, 1),
    await line(`verify and settle, ${SERVERS} at once`, settle, SERVERS, 1),
  ]
}

function lines(
  what: string,
  [ours = [], peers = []]: readonly Round[][],
  cpuGoal?: number,
  rateGoal?: number,
): readonly Result[] {
  const line = (
    more: string,
    unit: string,
    better: Result['better'],
    of: (round: Round) => number,
    ratioLeast?: number,
  ): Result =>
    compare({
      ...{ bench: 'facilitator', what: `${what}${more}`, unit, better, ours: ours.map(of) },
      peer: { name: PEER, rounds: peers.map(of) },
      ...(ratioLeast !== undefined && { goal: { ratioLeast } }),
    })
  const failed = [...ours, ...peers].some((one) => one.failed > 0)
  const told = [...ours, ...peers].every((one) => one.nodeMs > 0)
  return [
    line('', 'per s', 'more', (one) => one.perSecond, rateGoal),
    line(', facilitator’s CPU', 'ms', 'less', (one) => one.cpuMs, cpuGoal),
    ...(told ? [line(', CPU with the node’s', 'ms', 'less', (one) => one.cpuMs + one.nodeMs)] : []),
    ...(failed ? [line(', failed in a round', 'payments', 'less', (one) => one.failed)] : []),
  ]
}

/** CPU time of the node's process; 0 where the system does not tell it. */
async function nodeMs({ pid }: Chain): Promise<number> {
  const said = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The name may hold spaces; behind it the fields are numbered from 3, and those of CPU time are 14 and 15.
  const fields = said.slice(said.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS
}

/** What a stock server posts. */
function orderOf(chain: Chain, payment: Authorization): string {
  const { from, to, value, validAfter, validBefore, nonce, signature } = payment
  const authorization = {
    ...{ from, to, nonce, value: `${value}` },
    ...{ validAfter: `${validAfter}`, validBefore: `${validBefore}` },
  }
  const paymentRequirements = {
    ...{ scheme: 'exact', network: chain.network, asset: chain.usdc, payTo: to },
    ...{ amount: `${value}`, maxTimeoutSeconds: 300, extra: { name: 'USDC', version: '2' } },
  }
  const paymentPayload = {
    x402Version: 2,
    resource: { url: 'http://seller.test/paid' },
    accepted: paymentRequirements,
    payload: { signature, authorization },
  }
  return JSON.stringify({ x402Version: 2, paymentPayload, paymentRequirements })
}

interface Answer {
  readonly isValid?: boolean
  readonly success?: boolean
}

/** By node:http: the load should take as little of the machine as it can. */
function postTo(url: string, agent: Agent): Post {
  return async (path, body) => {
    const length = Buffer.byteLength(body)
    const headers = { 'content-type': 'application/json', 'content-length': length }
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    request(url + path, { agent, method: 'POST', headers }, (answer) => {
      text(answer).then(resolve, reject)
    })
      .on('error', reject)
      .end(body)
    return JSON.parse(await promise) as Answer
  }
}
