// One payer's life for each call at which it can die: it signs once for each purchase and stays in its budget.
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { toll } from '../../src/adapters/node.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { files as vaultOf } from '../../src/vault/files.ts'
import type { Bought, PayerStart } from './messages.ts'
import { PRICE, ROUND, SECRET, callsOf, files, routes } from './messages.ts'
import type { Child, Pool } from './pool.ts'
import { createPool } from './pool.ts'
import type { Mode, Point } from './ports.ts'
import { spread } from './spread.ts'

/** How one payer's life went. */
export interface PurseOutcome {
  readonly points: readonly Point[]
  readonly died: boolean
  readonly signed: number
  readonly wrong: readonly string[]
}

/** A shop, and payers who come to it. */
export interface Market {
  /** The calls of a life in which nobody is killed; with deaths before, those of the process that comes after them. */
  calls(before?: readonly Point[]): Promise<readonly string[]>
  /** One process dies at each of the points, and another comes after them. */
  live(points: readonly Point[]): Promise<PurseOutcome>
  close(): Promise<void>
}

/** How often the second process buys: more often than the budget allows. */
const TIMES = 3
/** Prices in the budget. */
const BUDGET_TIMES = 2
const PURSE = 5n * PRICE
/** The budget's smallest unit is 10^-18 USD, that of the token 10^-6. */
const TOKEN_UNIT = 10n ** 12n

/** Opens a market on a chain of its own, for payers with local signers or with others. */
export async function createMarket({ local }: { readonly local: boolean }): Promise<Market> {
  const root = await mkdtemp(join(tmpdir(), 'crash-payer-'))
  const chain = await startChain()
  const shop = await openShop(chain, root)
  const pool = await createPool<PayerStart>('payer.ts', 3)
  let count = 0
  const place = async (): Promise<Place> => {
    const directory = join(root, String(++count))
    await mkdir(directory)
    return { chain, pool, shop, directory, local }
  }
  return {
    async calls(before = []) {
      const here = await place()
      const start = await startOf(here)
      for (const [i, point] of before.entries()) await once(here, { ...start, point, life: i + 1 })
      const life = before.length + 1
      const { bought } = await once(here, { ...start, life })
      const wrong = served(bought[0])
      if (wrong.length > 0) throw new Error(`It fails without a kill: ${wrong.join('; ')}`)
      return await lines(join(here.directory, callsOf(life)))
    },
    live: async (points) => live(await place(), points),
    async close() {
      await pool.close()
      await shop.close()
      await chain.stop()
      await rm(root, { recursive: true, force: true })
    },
  }
}

/** Lives through all those deaths, two at once. */
export async function sweepPurse(
  market: Pick<Market, 'live'>,
  calls: readonly string[],
  modes: readonly Mode[],
  before: readonly Point[] = [],
): Promise<readonly PurseOutcome[]> {
  const points = calls.flatMap((call) => modes.map((mode): Point => ({ call, mode })))
  return spread(points, (point) => market.live([...before, point]))
}

/** A request that brought a payment. */
interface Seen {
  readonly payer: string
  readonly round: string
  readonly nonce: string
}

interface Shop {
  readonly url: string
  readonly seen: readonly Seen[]
  close(): Promise<void>
}

async function openShop(chain: Chain, root: string): Promise<Shop> {
  const [payee, signer] = [generatePrivateKey(), generatePrivateKey()]
  await chain.fundEther(privateKeyToAccount(signer).address, 10n ** 18n)
  const ledger = await sqlite({ file: join(root, 'shop.db') })
  const rail = evm({
    network: chain.network,
    rpc: chain.rpc,
    payTo: privateKeyToAccount(payee).address,
    signer,
  })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
    vault: vaultOf({ directory: join(root, 'vault') }),
  })
  const seen: Seen[] = []
  let goods = 0
  const sold = toll(seller, routes, (_, response) => void response.end(`goods ${++goods}`))
  const server = createServer((request, response) => {
    const paid = request.headers['payment-signature']
    const round = String(request.headers[ROUND])
    if (typeof paid === 'string') seen.push({ ...paymentIn(paid), round })
    sold(request, response)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/kept`,
    seen,
    async close() {
      server.close()
      server.closeAllConnections()
      await seller.close()
      await ledger.close()
    },
  }
}

function paymentIn(header: string): Pick<Seen, 'payer' | 'nonce'> {
  const said = JSON.parse(Buffer.from(header, 'base64').toString()) as {
    payload: { authorization: { from: string; nonce: string } }
  }
  const { from, nonce } = said.payload.authorization
  return { payer: from.toLowerCase(), nonce }
}

interface Place {
  readonly chain: Chain
  readonly pool: Pool<PayerStart>
  readonly shop: Shop
  readonly directory: string
  readonly local: boolean
}

/** A payer with money, who has bought nothing yet. */
async function startOf({
  chain,
  shop,
  directory,
  local,
}: Place): Promise<PayerStart & { readonly address: string }> {
  const signer = generatePrivateKey()
  const { address } = privateKeyToAccount(signer)
  await chain.mint(address, PURSE)
  const { rpc, network } = chain
  const fresh = { point: undefined, life: 1, times: 1, aheadMs: 0 }
  return { directory, rpc, network, url: shop.url, signer, address, local, ...fresh }
}

async function once({ pool }: Place, start: PayerStart): ReturnType<typeof run> {
  return run(await pool.take(), start)
}

async function live(place: Place, points: readonly Point[]): Promise<PurseOutcome> {
  const { chain, shop, directory } = place
  const start = await startOf(place)
  const { address } = start
  let died = true
  for (const [i, point] of points.entries())
    died = (await once(place, { ...start, point, life: i + 1 })).killed && died
  const second = await once(place, { ...start, life: points.length + 1, times: TIMES })
  const signed = (await lines(join(directory, files.notes))).length
  const spent = PURSE - (await chain.balanceOf(address))
  const mine = shop.seen.filter(({ payer }) => payer === address.toLowerCase())
  return {
    points,
    died,
    signed,
    wrong: [
      ...served(second.bought[0]),
      ...(second.killed ? ['the second process was killed'] : []),
      ...(signed <= BUDGET_TIMES ? [] : [`${signed} payments were signed`]),
      ...(spent <= PRICE * BigInt(BUDGET_TIMES) ? [] : [`${spent} was spent`]),
      ...(await audit(directory, spent)),
      ...mine.flatMap(({ nonce, round }) => foreign(mine, nonce, round)),
    ],
  }
}

/** Two calls of one process are two purchases, so they never bring the same payment. */
function foreign(mine: readonly Seen[], nonce: string, round: string): readonly string[] {
  const other = mine.find(
    (one) => one.nonce === nonce && one.round !== round && one.round[0] === round[0],
  )
  return other ? [`one payment was brought in ${round} and in ${other.round}`] : []
}

function served(bought: Bought | undefined): readonly string[] {
  return bought && 'status' in bought && bought.status === 200
    ? []
    : [`the call came to ${JSON.stringify(bought)}`]
}

async function run(
  child: Child<PayerStart>,
  start: PayerStart,
): Promise<{ readonly bought: readonly Bought[]; readonly killed: boolean }> {
  child.begin(start)
  const said = await child.said
  child.stop()
  const { killed, code, stderr } = await child.end
  if (!killed && code !== 0) throw new Error(`A payer failed: ${stderr}`)
  return { bought: typeof said === 'object' && 'bought' in said ? said.bought : [], killed }
}

/** The payer's own books: right, within the budget, not below what the chain says, and one signature for each purchase. */
async function audit(directory: string, spent: bigint): Promise<readonly string[]> {
  const ledger = await sqlite({ file: join(directory, files.books) })
  try {
    const { problems } = await verifyBooks(ledger)
    const total = (await ledger.balances()).find(({ account }) => account === 'spent/total/USD')
    const counted = ((total?.posted ?? 0n) + (total?.pending ?? 0n)) / TOKEN_UNIT
    const rows = (await ledger.journal(0, 1000)).filter(({ key }) => key.startsWith('purchase/'))
    const open = new Set<string>()
    const wrong: string[] = []
    for (const { key, type } of rows) {
      // Whoever asks for the same again, while a payment for it is signed and open, must bring that one.
      if (type === 'made' && open.size > 0) wrong.push('a purchase was made beside an open one')
      if (type === 'signed' && open.has(key)) wrong.push('one purchase was signed twice')
      if (type === 'signed') open.add(key)
      if (type === 'posted' || type === 'voided') open.delete(key)
    }
    return [
      ...problems,
      ...wrong,
      ...(counted <= PRICE * BigInt(BUDGET_TIMES) ? [] : [`the books count ${counted}`]),
      ...(counted >= spent ? [] : [`the books count ${counted}, the chain ${spent}`]),
    ]
  } finally {
    await ledger.close()
  }
}

async function lines(file: string): Promise<readonly string[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.trim().split('\n').filter(Boolean)
}
