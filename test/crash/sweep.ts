// One seller's life for each call at which it can die, and what it must come to all the same.
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { JsonObject } from '../../src/core/json.ts'
import type { Held } from '../../src/core/ports.ts'
import { isFacilitated } from '../../src/facilitator/note.ts'
import { isSale } from '../../src/gate/note.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Answer } from './buyer.ts'
import { buy } from './buyer.ts'
import { openCounter } from './counter.ts'
import type { FacilitatorStart, SellerStart } from './messages.ts'
import { BATCH, PRICE, callsOf, files } from './messages.ts'
import type { Pool } from './pool.ts'
import { createPool } from './pool.ts'
import type { Mode, Point } from './ports.ts'
import type { Shop } from './shop.ts'
import { openShop } from './shop.ts'
import { LANES, spread } from './spread.ts'

/**
 * What happens while a process dies: a purchase on one of the seller's routes, several at once, or a refund; or a purchase
 * that is settled by a facilitator, and it is the facilitator that dies.
 */
export type Subject =
  | '/plain'
  | '/kept'
  | '/deferred'
  | '/first'
  | '/batch'
  | 'refund'
  | 'facilitator'

/** What must be zero. */
export interface Counters {
  readonly freeDeliveries: number
  readonly doubleCharges: number
  readonly paidUndelivered: number
  readonly honestRefused: number
}

/** How one life went. */
export interface Outcome {
  readonly subject: Subject
  /** Where the first process died, and where those after it. */
  readonly points: readonly Point[]
  /** Whether they all died where they should. */
  readonly died: boolean
  /** How often the handler ran in vain, or for an answer that was lost. */
  readonly extraRuns: number
  /** Whether a payer who had its goods, and asked again, got others. */
  readonly servedAgain: boolean
  /** Whether the books knew of goods that had left, and others were served all the same. */
  readonly knewBetter: boolean
  readonly counters: Counters
  /** Everything else that must not be. */
  readonly wrong: readonly string[]
}

/** The place where lives are lived. */
export interface Bench {
  /** The calls of a life in which nobody is killed; with deaths before, those of the process that comes after them. */
  calls(subject: Subject, before?: readonly Point[]): Promise<readonly string[]>
  live(subject: Subject, points: readonly Point[]): Promise<Outcome>
  close(): Promise<void>
}

/** What a payer holds at first: a second charge would show. */
const PURSE = 5n * PRICE
const ETHER = 10n ** 18n

/** Opens the bench: one chain, and children loaded ahead. `soon`: whoever dies comes back while its leases still run. */
export async function createBench(soon = false): Promise<Bench> {
  const chain = await startChain()
  const pool = await createPool<SellerStart>('seller.ts', LANES + 1)
  let till: Promise<Pool<FacilitatorStart>> | undefined
  const root = await mkdtemp(join(tmpdir(), 'crash-'))
  let count = 0
  const place = async (): Promise<Place> => {
    const directory = join(root, String(++count))
    await mkdir(directory)
    const facilitators = (): Promise<Pool<FacilitatorStart>> =>
      (till ??= createPool<FacilitatorStart>('facilitator.ts', LANES + 1))
    return { chain, pool, facilitators, directory, soon }
  }
  return {
    async calls(subject, before = []) {
      const here = await place()
      const outcome = await live(here, subject, before)
      const bad = complaints(outcome)
      if (bad.length > 0 || !outcome.died) throw new Error(`It fails at once: ${lineOf(outcome)}`)
      return await lines(join(here.directory, callsOf(before.length + 1)))
    },
    live: async (subject, points) => live(await place(), subject, points),
    async close() {
      await pool.close()
      await (await till)?.close()
      await chain.stop()
      await rm(root, { recursive: true, force: true })
    },
  }
}

/** Lives through all those deaths, a few at once. */
export async function sweep(
  bench: Pick<Bench, 'live'>,
  subject: Subject,
  calls: readonly string[],
  modes: readonly Mode[],
  before: readonly Point[] = [],
): Promise<readonly Outcome[]> {
  const points = calls.flatMap((call) => modes.map((mode): Point => ({ call, mode })))
  return spread(points, (point) => bench.live(subject, [...before, point]))
}

/** All that is not as it must be. */
export function complaints({ counters, wrong }: Outcome): readonly string[] {
  const counted = Object.entries(counters).flatMap(([name, n]) => (n > 0 ? [`${name} ${n}`] : []))
  return [...counted, ...wrong]
}

/** What a sweep must come to: every call was one to die at, and no death did harm. Empty when it did. */
export function verdict(outcomes: readonly Outcome[]): readonly string[] {
  const bad = outcomes.filter((outcome) => complaints(outcome).length > 0).map(lineOf)
  const again = outcomes.filter((one) => one.servedAgain && !isLastGasp(one)).map(lineOf)
  const odd = outcomes.filter((outcome) => !outcome.died && !isByMoment(outcome))
  return [...bad, ...again, ...odd.map(lineOf)]
}

/**
 * How often the chain is asked for a receipt depends on the moment, and so does which of several at once comes to what
 * first, and what is left to do for whoever comes after a death. All else is always there.
 */
function isByMoment({ subject, points }: Outcome): boolean {
  const { call = '' } = points.at(-1) ?? {}
  if (call.startsWith('rpc eth_getTransactionReceipt')) return true
  return (subject === '/batch' || points.length > 1) && !call.endsWith(' #1')
}

/**
 * Its goods had left, and the books did not know it yet. Where nothing is kept, the seller must choose between serving
 * such a payment twice and perhaps never; it serves.
 */
function isLastGasp({ subject, points, knewBetter }: Outcome): boolean {
  // There the answer leaves while the payment is being settled: at any of its calls the books may not know yet.
  if (subject === '/deferred') return !knewBetter
  return points.some(
    ({ call, mode }) => mode === 'before' && call.startsWith('ledger.step sale delivered '),
  )
}

/** A line for each life: where it ended, and what came of it. */
export function table(outcomes: readonly Outcome[]): string {
  return outcomes.map((outcome, i) => `${i + 1} ${lineOf(outcome)}`).join('\n')
}

function lineOf(outcome: Outcome): string {
  const { subject, points, died, extraRuns, servedAgain } = outcome
  const bad = complaints(outcome)
  const words = [
    ...(died ? [] : ['did not die']),
    ...(extraRuns > 0 ? [`${extraRuns} more runs`] : []),
    ...(servedAgain ? ['served again to whoever asked again'] : []),
    bad.length > 0 ? `WRONG: ${bad.join('; ')}` : 'right',
  ]
  const where = points.map(({ mode, call }) => `${mode} ${call}`).join(', then ')
  return `${subject}, ${where || 'never'}: ${words.join(', ')}`
}

interface Place {
  readonly chain: Chain
  readonly pool: Pool<SellerStart>
  readonly facilitators: () => Promise<Pool<FacilitatorStart>>
  readonly directory: string
  readonly soon: boolean
}

/** Where it dies; in a calm life nowhere, and nobody comes after the first payer. */
type Fate = readonly Point[]

interface Person {
  readonly key: string
  readonly address: string
}

function person(): Person {
  const key = generatePrivateKey()
  return { key, address: privateKeyToAccount(key).address }
}

async function live(place: Place, subject: Subject, fate: Fate): Promise<Outcome> {
  const { chain, directory } = place
  const [payee, signer] = [person(), person()]
  for (const { address } of [payee, signer]) await chain.fundEther(address, ETHER)
  const start: SellerStart = {
    directory,
    rpc: chain.rpc,
    network: chain.network,
    payTo: payee.address,
    signer: signer.key,
    point: undefined,
    life: 1,
    aheadMs: 0,
  }
  if (subject === 'facilitator') return await facilitate(place, start, fate)
  return subject === 'refund'
    ? await giveBack(place, { ...start, refundSigner: payee.key }, fate)
    : await sell(place, start, subject, fate)
}

async function sell(place: Place, start: SellerStart, path: Subject, fate: Fate): Promise<Outcome> {
  const { chain, pool, directory, soon } = place
  const shop = openShop(pool, start, fate, soon)
  const crowd = Array.from({ length: path === '/batch' ? BATCH : 1 }, () =>
    purchase(chain, shop, path),
  )
  // Who comes soon does not wait for those before.
  await (soon ? Promise.race([Promise.all(crowd), shop.died]) : Promise.all(crowd))
  const purchases = await Promise.all([...crowd, ...afterwards(chain, shop, fate)])
  const [first] = purchases
  const again = await first?.again?.()
  const stopped = await shop.stop().then(() => [], told)
  const earned = await chain.balanceOf(start.payTo)
  const runs = (await lines(join(directory, files.notes))).filter((line) => line.startsWith('run '))
  return {
    ...outcomeOf(path, fate, shop),
    extraRuns: runs.length - purchases.length,
    servedAgain: again?.status === 200 && again.text !== first?.answer?.text,
    knewBetter: (await soldIn(directory)).some(isServedTwice),
    counters: await count(chain, purchases, earned),
    wrong: [
      ...stopped,
      ...purchases.flatMap(({ wrong }) => wrong),
      ...strange(path, first, again),
      ...(await audit(place, earned, purchases.length, isSale)),
    ],
  }
}

function outcomeOf(
  subject: Subject,
  fate: Fate,
  { deaths }: Shop,
): Pick<Outcome, 'subject' | 'points' | 'died'> {
  return { subject, points: fate, died: deaths === fate.length }
}

/** Whoever comes after a crash must not suffer from it either. */
function afterwards(
  chain: Chain,
  shop: Pick<Shop, 'door'>,
  fate: Fate,
): readonly Promise<Purchase>[] {
  return fate.length === 0 ? [] : [purchase(chain, shop, '/plain')]
}

interface Purchase {
  readonly address: string
  readonly answer?: Answer
  readonly again?: () => Promise<Answer>
  readonly wrong: readonly string[]
}

async function purchase(
  chain: Chain,
  { door }: Pick<Shop, 'door'>,
  path: string,
): Promise<Purchase> {
  const { key, address } = person()
  await chain.mint(address, PURSE)
  try {
    const { answer, again } = await buy(door, path, key)
    const refused = answer.status === 200 ? [] : [`${path} got ${answer.status} ${answer.text}`]
    return { address, answer, again, wrong: refused }
  } catch (error) {
    return { address, wrong: told(error) }
  }
}

function told(error: unknown): readonly string[] {
  const { message, cause } = error as Error
  return [cause === undefined ? message : `${message} ${(cause as Error).message}`]
}

async function count(
  chain: Chain,
  purchases: readonly Purchase[],
  earned: bigint,
): Promise<Counters> {
  const all = purchases.map(async ({ address, answer }) => {
    const spent = PURSE - (await chain.balanceOf(address))
    return { charges: Number(spent / PRICE), served: answer?.status === 200 }
  })
  const ends = await Promise.all(all)
  const served = ends.filter((end) => end.served).length
  return {
    freeDeliveries: Math.max(0, served - Number(earned / PRICE)),
    doubleCharges: ends.reduce((sum, { charges }) => sum + Math.max(0, charges - 1), 0),
    paidUndelivered: ends.filter((end) => end.charges > 0 && !end.served).length,
    honestRefused: ends.length - served,
  }
}

/** What the same payment gets after it was served. */
function strange(
  path: Subject,
  { answer: had }: Pick<Purchase, 'answer'> = {},
  again: Answer | undefined,
): readonly string[] {
  if (had?.status !== 200 || !again) return []
  if (path === '/kept' && again.text !== had.text)
    return [`what was kept is not what was served: ${again.status} ${again.text}`]
  return [200, 410].includes(again.status)
    ? []
    : [`the same payment, sent again, got ${again.status} ${again.text}`]
}

/** The books by themselves, and beside the chain. */
async function audit(
  { chain, directory }: Pick<Place, 'chain' | 'directory'>,
  earned: bigint,
  sales: number,
  is: (held: Held) => boolean,
): Promise<readonly string[]> {
  const ledger = await sqlite({ file: join(directory, files.books) })
  try {
    const posted: Held[] = []
    const { problems } = await verifyBooks(ledger, {
      onPosted: (held) => void (is(held) && posted.push(held)),
    })
    const sum = posted.reduce((all, held) => all + held.posted, 0n)
    const open = (await ledger.pending()).filter(is)
    const lost = await Promise.all(posted.map((held) => unreferred(chain, held)))
    return [
      ...problems,
      ...(sum === earned ? [] : [`the books say ${sum}, the chain says ${earned}`]),
      ...(posted.length === sales ? [] : [`${posted.length} sales and not ${sales} are posted`]),
      ...(open.length === 0 ? [] : [`${open.length} sales are open`]),
      ...lost.flat(),
    ]
  } finally {
    await ledger.close()
  }
}

/** The transaction that a sale refers to is in a block, and went well. */
async function unreferred(chain: Chain, { steps }: Held): Promise<readonly string[]> {
  const hash = steps.findLast(({ type }) => type === 'settled')?.data['reference']
  const receipt = (await chain.request('eth_getTransactionReceipt', [hash])) as { status?: string }
  return receipt?.status === '0x1' ? [] : [`the transaction ${JSON.stringify(hash)} is in no block`]
}

/** Sells once in peace, and gives it back while dying. */
async function giveBack(place: Place, start: SellerStart, fate: Fate): Promise<Outcome> {
  const { chain, pool, directory, soon } = place
  // Its calls are not those of the processes that die.
  const calm = openShop(pool, { ...start, life: 0 })
  const first = await purchase(chain, calm, '/plain')
  await calm.stop()
  const [sold] = await soldIn(directory)
  if (!sold) throw new Error('Nothing was sold.')
  const { offer, payer } = sold.note as { offer: JsonObject; payer: string }
  const refund = { offer, payer }
  const shop = openShop(pool, { ...start, refund }, fate, soon)
  const others = await Promise.all(afterwards(chain, shop, fate))
  const stopped = await shop.stop().then(() => [], told)
  const sales = 1 + others.length
  const back = Number(PURSE - (await chain.balanceOf(first.address))) / Number(PRICE)
  const earned = (await chain.balanceOf(start.payTo)) + PRICE
  const counters = await count(chain, others, earned - PRICE)
  return {
    ...outcomeOf('refund', fate, shop),
    extraRuns: 0,
    servedAgain: false,
    knewBetter: false,
    counters,
    wrong: [
      ...stopped,
      ...others.flatMap(({ wrong }) => wrong),
      ...(back === 0 ? [] : [`after the refund the payer has paid ${back} prices`]),
      ...(await audit(place, earned, sales, isSale)),
    ],
  }
}

/** Sells at a counter that never dies, and whose facilitator does. */
async function facilitate(place: Place, start: SellerStart, fate: Fate): Promise<Outcome> {
  const { chain, facilitators, directory, soon } = place
  const till = openShop(await facilitators(), start, fate, soon)
  const counter = await openCounter(till.door, start)
  const buying = purchase(chain, counter, '/plain')
  await (soon ? Promise.race([buying, till.died]) : buying)
  const purchases = await Promise.all([buying, ...afterwards(chain, counter, fate)])
  const [first] = purchases
  const again = await first.again?.()
  const differing = await counter.settleAgain()
  await counter.close()
  const stopped = await till.stop().then(() => [], told)
  const earned = await chain.balanceOf(start.payTo)
  const books = [
    { directory, is: isFacilitated },
    { directory: counter.directory, is: isSale },
  ]
  const audits = books.map(({ is, ...where }) =>
    audit({ chain, ...where }, earned, purchases.length, is),
  )
  return {
    ...outcomeOf('facilitator', fate, till),
    extraRuns: 0,
    servedAgain: again?.status === 200 && again.text !== first.answer?.text,
    knewBetter: false,
    counters: await count(chain, purchases, earned),
    wrong: [
      ...stopped,
      ...differing,
      ...purchases.flatMap(({ wrong }) => wrong),
      ...(await Promise.all(audits)).flat(),
    ],
  }
}

/** The sales in those books. */
async function soldIn(directory: string): Promise<readonly Held[]> {
  const ledger = await sqlite({ file: join(directory, files.books) })
  const sold: Held[] = []
  await verifyBooks(ledger, { onPosted: (held) => void (isSale(held) && sold.push(held)) })
  await ledger.close()
  return sold
}

function isServedTwice({ steps }: Held): boolean {
  return steps.filter(({ type }) => type === 'delivered').length > 1
}

async function lines(file: string): Promise<readonly string[]> {
  return (await readFile(file, 'utf8').catch(() => '')).trim().split('\n')
}
