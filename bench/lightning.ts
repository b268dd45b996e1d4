// Sales over Lightning from end to end: 402 with an invoice, payment over two hops, preimage shown, answer. The nodes are LDK's,
// in this process; the seller is in one of its own and reaches its node over HTTP, so that its CPU time is the gate's alone.
// Most of a sale's time is LDK's, whose three nodes share one thread with the buyers; payments that come at once share signatures.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startLnd } from '../src/sandbox/lightning/doubles/lnd.ts'
import type { LightningNetwork } from '../src/sandbox/lightning/network.ts'
import { startLightning } from '../src/sandbox/lightning/network.ts'
import type { Start } from './lightning-server.ts'
import type { Helper } from './process.ts'
import { startHelper } from './process.ts'
import type { Result, Run } from './result.ts'
import { at, compare } from './result.ts'

const BUYERS = 16
const ROUNDS = 5
/** Sales of one buyer in a round, when he is alone and when he is one of many. */
const SALES = { alone: 24, many: 8 } as const
/** Answers 402 in a round. */
const CHALLENGES = 400
/** Sales after which memory is looked at; they are the warm-up too. What is remembered of tokens is full only after 4,096. */
const MARKS = [200, 1_000] as const
const SAT = 5
const FEE_MAX_MSAT = 5_000n
const PAY_MS = 60_000
const MACAROON = 'abcd12'
const PEER = '@getalby/lightning-tools, Express, no books'
const BARE = 'invoice and payment without HTTP and gate'

/** One way to buy once. */
type Buy = () => Promise<Sale>

/** How long a sale took, in milliseconds. */
interface Sale {
  readonly fromInvoiceMs: number
  readonly fromPreimageMs: number
}

interface Shop {
  readonly helper: Helper
  readonly url: string
  readonly buy: Buy
}

interface Round {
  readonly perSecond: number
  readonly fromInvoiceMs: number
  readonly fromPreimageMs: number
  /** The seller's CPU time for a sale. */
  readonly cpuMs: number
}

interface Found {
  readonly ours: Round[]
  readonly peers: Round[]
  readonly bare: Round[]
}

/** Rate, time and CPU time of sales, for one buyer and for many at once; what a 402 costs; what stays in memory. */
export async function lightning({ quick, tell }: Run): Promise<readonly Result[]> {
  await using parties = new AsyncDisposableStack()
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  parties.defer(() => rm(directory, { recursive: true }))
  const network = await startLightning()
  parties.defer(() => network.close())
  const node = await startLnd(network.seller, MACAROON)
  parties.defer(() => node.close())
  const open = async (verb: string): Promise<Shop> => {
    const helper = await startHelper('./lightning-server.ts')
    parties.defer(() => helper.stop())
    const start: Start = { node: node.url, macaroon: MACAROON, directory, sat: SAT }
    const url = await helper.ask<string>(verb, start)
    return { helper, url, buy: () => buyAt(`${url}/paid`, network) }
  }
  const shops = { ours: await open('ours'), peers: await open('peers') }
  const memory = await fill(shops, quick, tell)
  const turns = quick ? 1 : ROUNDS
  const alone: Found = { ours: [], peers: [], bare: [] }
  const many: Found = { ours: [], peers: [], bare: [] }
  const asked = { ours: [] as number[], peers: [] as number[] }
  for (let turn = 1; turn <= turns; turn++) {
    tell(`round ${turn}`)
    for (const [found, buyers, sales] of [
      [alone, 1, SALES.alone],
      [many, BUYERS, SALES.many],
    ] as const) {
      const each = quick ? sales / 4 : sales
      found.bare.push(await round(() => buyBare(network), buyers, each))
      for (const name of ['ours', 'peers'] as const)
        found[name].push(await round(shops[name].buy, buyers, each, shops[name].helper))
    }
    for (const name of ['ours', 'peers'] as const)
      asked[name].push(await challenge(shops[name], quick ? CHALLENGES / 10 : CHALLENGES))
  }
  return [
    ...lines('one buyer', alone),
    ...lines(`${BUYERS} buyers`, many),
    compare({
      bench: 'lightning',
      what: "402 with an invoice, seller's CPU",
      unit: 'ms',
      better: 'less',
      ours: asked.ours,
      peer: { name: PEER, rounds: asked.peers },
    }),
    ...memory,
  ]
}

/** Buys as a client without a library does. */
async function buyAt(url: string, { buyer }: LightningNetwork): Promise<Sale> {
  const { token, invoice } = await ask(url)
  const invoiceAt = performance.now()
  const paid = await buyer.pay({ invoice, feeMaxMsat: FEE_MAX_MSAT, timeoutMs: PAY_MS })
  if (paid.state !== 'succeeded') throw new Error('A payment found no way.')
  const preimageAt = performance.now()
  const headers = { Authorization: `L402 ${token}:${paid.preimage}` }
  const answer = await fetch(url, { headers })
  if ((await answer.text()) !== 'sold') throw new Error('The request was not sold.')
  const soldAt = performance.now()
  return { fromInvoiceMs: soldAt - invoiceAt, fromPreimageMs: soldAt - preimageAt }
}

/** The same money over the same hops. */
async function buyBare({ buyer, seller }: LightningNetwork): Promise<Sale> {
  const msat = 1_000n * BigInt(SAT)
  const { invoice } = await seller.createInvoice({ msat, memo: '/paid', expiresInS: 600 })
  const invoiceAt = performance.now()
  const paid = await buyer.pay({ invoice, feeMaxMsat: FEE_MAX_MSAT, timeoutMs: PAY_MS })
  if (paid.state !== 'succeeded') throw new Error('A payment found no way.')
  return { fromInvoiceMs: performance.now() - invoiceAt, fromPreimageMs: 0 }
}

async function ask(url: string): Promise<{ readonly token: string; readonly invoice: string }> {
  const answer = await fetch(url)
  await answer.text()
  const field = answer.headers.get('www-authenticate') ?? ''
  const [, token] = /\btoken="([^"]+)"/.exec(field) ?? []
  const [, invoice] = /\binvoice="([^"]+)"/.exec(field) ?? []
  if (answer.status !== 402 || token === undefined || invoice === undefined)
    throw new Error('The seller did not ask for a payment.')
  return { token, invoice }
}

async function round(buy: Buy, buyers: number, each: number, seller?: Helper): Promise<Round> {
  const sales: Sale[] = []
  const startAt = performance.now()
  const before = await seller?.cpuMicros()
  await inLanes(buyers, buyers * each, async () => void sales.push(await buy()))
  const tookMs = performance.now() - startAt
  const micros = ((await seller?.cpuMicros()) ?? 0) - (before ?? 0)
  return {
    perSecond: (sales.length * 1_000) / tookMs,
    fromInvoiceMs: middle(sales.map((sale) => sale.fromInvoiceMs)),
    fromPreimageMs: middle(sales.map((sale) => sale.fromPreimageMs)),
    cpuMs: micros / 1_000 / sales.length,
  }
}

/** The seller's CPU time for an answer 402, each with an invoice of its own. */
async function challenge({ helper, url }: Shop, count: number): Promise<number> {
  const invoices = new Set<string>()
  const before = await helper.cpuMicros()
  await inLanes(BUYERS, count, async () => void invoices.add((await ask(`${url}/paid`)).invoice))
  const micros = (await helper.cpuMicros()) - before
  if (invoices.size !== count) throw new Error('An invoice was handed out twice.')
  return micros / 1_000 / count
}

async function inLanes(lanes: number, count: number, work: () => Promise<void>): Promise<void> {
  let begun = 0
  const lane = async (): Promise<void> => {
    while (begun < count) {
      begun++
      await work()
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
}

/** Sells until memory has been looked at, and until what is done all the time is compiled on both sides. */
async function fill(
  { ours, peers }: Readonly<Record<'ours' | 'peers', Shop>>,
  quick: boolean,
  tell: Run['tell'],
): Promise<readonly Result[]> {
  const marks = quick ? MARKS.map((mark) => mark / 20) : MARKS
  const results: Result[] = []
  let sold = 0
  for (const mark of marks) {
    const found = []
    for (const [name, { helper, buy }] of Object.entries({ ours, peers })) {
      tell(`${name}, ${mark} sales`)
      await inLanes(BUYERS, mark - sold, async () => void (await buy()))
      found.push(await helper.ask<number>('heap'))
    }
    sold = mark
    const [our = NaN, their = NaN] = found
    results.push(
      compare({
        bench: 'lightning',
        what: `seller's objects after ${mark.toLocaleString('en')} sales`,
        unit: 'MiB',
        better: 'less',
        ours: [our],
        peer: { name: PEER, rounds: [their] },
      }),
    )
  }
  return results
}

function lines(who: string, { ours, peers, bare }: Found): readonly Result[] {
  const line = (
    what: string,
    unit: string,
    better: Result['better'],
    of: (round: Round) => number,
    peer: { readonly name: string; readonly rounds: readonly Round[] },
  ): Result =>
    compare({
      bench: 'lightning',
      what: `${who}, ${what}`,
      unit,
      better,
      ours: ours.map(of),
      peer: { name: peer.name, rounds: peer.rounds.map(of) },
    })
  const [tools, none] = [
    { name: PEER, rounds: peers },
    { name: BARE, rounds: bare },
  ]
  return [
    line('sales', 'per s', 'more', (found) => found.perSecond, none),
    line('sales', 'per s', 'more', (found) => found.perSecond, tools),
    line('invoice to answer', 'ms', 'less', (found) => found.fromInvoiceMs, none),
    line('invoice to answer', 'ms', 'less', (found) => found.fromInvoiceMs, tools),
    line('preimage to answer', 'ms', 'less', (found) => found.fromPreimageMs, tools),
    line("seller's CPU for a sale", 'ms', 'less', (found) => found.cpuMs, tools),
  ]
}

function middle(values: readonly number[]): number {
  return at(
    values.toSorted((a, b) => a - b),
    0.5,
  )
}
