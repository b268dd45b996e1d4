// One seller's life for each call at which it can die, and what it must come to all the same.
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { JsonObject } from '../../src/core/json.ts'
import type { Held } from '../../src/core/ports.ts'
import { isSale } from '../../src/gate/note.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Answer } from './buyer.ts'
import { buy } from './buyer.ts'
import type { SellerStart } from './messages.ts'
import { PRICE, files } from './messages.ts'
import type { Pool } from './pool.ts'
import { createPool } from './pool.ts'
import type { Mode, Point } from './ports.ts'
import type { Shop } from './shop.ts'
import { openShop } from './shop.ts'
import { LANES, spread } from './spread.ts'

/** What happens while the seller dies: a purchase on one of its routes, or a refund. */
export type Subject = '/plain' | '/kept' | '/deferred' | '/first' | 'refund'

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
  readonly point: Point | undefined
  /** Whether the process died at the point. */
  readonly died: boolean
  /** How often the handler ran in vain, or for an answer that was lost. */
  readonly extraRuns: number
  /** Whether a payer who had its goods, and asked again, got others. */
  readonly servedAgain: boolean
  readonly counters: Counters
  /** Everything else that must not be. */
  readonly wrong: readonly string[]
}

/** The place where lives are lived. */
export interface Bench {
  /** A life in which nobody is killed: the calls that it is made of. */
  calls(subject: Subject): Promise<readonly string[]>
  live(subject: Subject, point: Point): Promise<Outcome>
  close(): Promise<void>
}

/** What a payer holds at first: a second charge would show. */
const PURSE = 5n * PRICE
const ETHER = 10n ** 18n

/** Opens the bench: one chain, and children loaded ahead. `soon`: whoever dies comes back while its leases still run. */
export async function createBench(soon = false): Promise<Bench> {
  const chain = await startChain()
  const pool = await createPool<SellerStart>('seller.ts', LANES + 1)
  const root = await mkdtemp(join(tmpdir(), 'crash-'))
  let count = 0
  const place = async (): Promise<Place> => {
    const directory = join(root, String(++count))
    await mkdir(directory)
    return { chain, pool, directory, soon }
  }
  return {
    async calls(subject) {
      const here = await place()
      const outcome = await live(here, subject, 'calm')
      const bad = complaints(outcome)
      if (bad.length > 0) throw new Error(`${subject} fails without a kill: ${bad.join('; ')}`)
      return await lines(join(here.directory, files.calls))
    },
    live: async (subject, point) => live(await place(), subject, point),
    async close() {
      await pool.close()
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
): Promise<readonly Outcome[]> {
  const points = calls.flatMap((call) => modes.map((mode): Point => ({ call, mode })))
  return spread(points, (point) => bench.live(subject, point))
}

/** All that is not as it must be. */
export function complaints({ counters, wrong }: Outcome): readonly string[] {
  const counted = Object.entries(counters).flatMap(([name, n]) => (n > 0 ? [`${name} ${n}`] : []))
  return [...counted, ...wrong]
}

/** What a sweep must come to: every call was one to die at, and no death did harm. Empty when it did. */
export function verdict(outcomes: readonly Outcome[]): readonly string[] {
  const bad = outcomes.filter((outcome) => complaints(outcome).length > 0).map(lineOf)
  const again = outcomes.filter((one) => one.servedAgain && !isLastGasp(one.point)).map(lineOf)
  const immortal = outcomes.filter(({ died }) => !died)
  // How often the chain is asked for a receipt depends on the moment; all else is always there.
  const odd = immortal.filter(
    ({ point }) => !point?.call.startsWith('rpc eth_getTransactionReceipt'),
  )
  return [...bad, ...again, ...odd.map(lineOf)]
}

/**
 * Its goods had left, and the books did not know it yet. Where nothing is kept, the seller must choose between serving
 * such a payment twice and perhaps never; it serves.
 */
function isLastGasp(point: Point | undefined): boolean {
  return point?.mode === 'before' && point.call === 'ledger.step sale delivered #1'
}

/** A line for each life: where it ended, and what came of it. */
export function table(outcomes: readonly Outcome[]): string {
  return outcomes.map((outcome, i) => `${i + 1} ${lineOf(outcome)}`).join('\n')
}

function lineOf(outcome: Outcome): string {
  const { subject, point, died, extraRuns, servedAgain } = outcome
  const bad = complaints(outcome)
  const words = [
    ...(died ? [] : ['did not die']),
    ...(extraRuns > 0 ? [`${extraRuns} more runs`] : []),
    ...(servedAgain ? ['served again to whoever asked again'] : []),
    bad.length > 0 ? `WRONG: ${bad.join('; ')}` : 'right',
  ]
  return `${subject}, ${point?.mode ?? 'never'} ${point?.call ?? ''}: ${words.join(', ')}`
}

interface Place {
  readonly chain: Chain
  readonly pool: Pool<SellerStart>
  readonly directory: string
  readonly soon: boolean
}

/** Where it dies; in a calm life nowhere, and nobody comes after the first payer. */
type Fate = Point | 'calm'

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
    aheadMs: 0,
  }
  return subject === 'refund'
    ? await giveBack(place, { ...start, refundSigner: payee.key }, fate)
    : await sell(place, start, subject, fate)
}

async function sell(place: Place, start: SellerStart, path: Subject, fate: Fate): Promise<Outcome> {
  const { chain, pool, directory, soon } = place
  const shop = openShop(pool, { ...start, ...(fate !== 'calm' && { point: fate }) }, soon)
  const buying = purchase(chain, shop, path)
  // Who comes soon does not wait for the one before.
  await (soon ? Promise.race([buying, shop.died]) : buying)
  const purchases = await Promise.all([buying, ...afterwards(chain, shop, fate)])
  const [first] = purchases
  const again = await first.again?.()
  const stopped = await shop.stop().then(() => [], told)
  const earned = await chain.balanceOf(start.payTo)
  const runs = (await lines(join(directory, files.notes))).filter((line) => line.startsWith('run '))
  return {
    ...outcomeOf(path, fate, shop),
    extraRuns: runs.length - purchases.length,
    servedAgain: again?.status === 200 && again.text !== first.answer?.text,
    counters: await count(chain, purchases, earned),
    wrong: [
      ...stopped,
      ...purchases.flatMap(({ wrong }) => wrong),
      ...strange(path, first, again),
      ...(await audit(place, earned, purchases.length)),
    ],
  }
}

function outcomeOf(
  subject: Subject,
  fate: Fate,
  { deaths }: Shop,
): Pick<Outcome, 'subject' | 'point' | 'died'> {
  return { subject, point: fate === 'calm' ? undefined : fate, died: deaths > 0 }
}

/** Whoever comes after a crash must not suffer from it either. */
function afterwards(chain: Chain, shop: Shop, fate: Fate): readonly Promise<Purchase>[] {
  return fate === 'calm' ? [] : [purchase(chain, shop, '/plain')]
}

interface Purchase {
  readonly address: string
  readonly answer?: Answer
  readonly again?: () => Promise<Answer>
  readonly wrong: readonly string[]
}

async function purchase(chain: Chain, { door }: Shop, path: string): Promise<Purchase> {
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
  { answer: had }: Purchase,
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
  { chain, directory }: Place,
  earned: bigint,
  sales: number,
): Promise<readonly string[]> {
  const ledger = await sqlite({ file: join(directory, files.books) })
  try {
    const posted: Held[] = []
    const { problems } = await verifyBooks(ledger, {
      onPosted: (held) => void (isSale(held) && posted.push(held)),
    })
    const sum = posted.reduce((all, held) => all + held.posted, 0n)
    const open = (await ledger.pending()).filter(isSale)
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
  const calm = openShop(pool, start)
  const first = await purchase(chain, calm, '/plain')
  await calm.stop()
  await rm(join(directory, files.calls))
  const refund = await soldIn(directory)
  const shop = openShop(pool, { ...start, refund, ...(fate !== 'calm' && { point: fate }) }, soon)
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
    counters,
    wrong: [
      ...stopped,
      ...others.flatMap(({ wrong }) => wrong),
      ...(back === 0 ? [] : [`after the refund the payer has paid ${back} prices`]),
      ...(await audit(place, earned, sales)),
    ],
  }
}

/** The sale in those books. */
async function soldIn(directory: string): Promise<NonNullable<SellerStart['refund']>> {
  const ledger = await sqlite({ file: join(directory, files.books) })
  const sold: Held[] = []
  await verifyBooks(ledger, { onPosted: (held) => void (isSale(held) && sold.push(held)) })
  await ledger.close()
  if (!sold[0]) throw new Error('Nothing was sold.')
  const { offer, payer } = sold[0].note as { offer: JsonObject; payer: string }
  return { offer, payer }
}

async function lines(file: string): Promise<readonly string[]> {
  return (await readFile(file, 'utf8').catch(() => '')).trim().split('\n')
}
