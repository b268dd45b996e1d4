// Money that goes back, over real Lightning channels and two hops: to an invoice, an offer, a Lightning address, and by a link that
// a wallet pulls. Each sale is paid over the same two hops at our own gate, and every balance is told to the millisatoshi.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { bech32 } from '@scure/base'
import { toll } from '../../src/adapters/node.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { readOffer } from '../../src/core/offer.ts'
import type { Offer } from '../../src/core/offer.ts'
import type { Gate, Ledger, Log, Rail, Settlement, Step } from '../../src/core/ports.ts'
import { memory } from '../../src/ledger/memory.ts'
import { l402 } from '../../src/protocols/l402/index.ts'
import type { Details, LightningNode, Proof, Withdraw } from '../../src/rails/lightning/index.ts'
import { createWithdraw, lightning } from '../../src/rails/lightning/index.ts'
import { startLnurl } from '../../src/sandbox/lightning/doubles/lnurl.ts'
import { createFaults, faulty } from '../../src/sandbox/lightning/faults.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { createMacaroons, hashIn } from '../../src/tokens/macaroon/index.ts'
import { ask, payInvoice, show } from './l402-shop.ts'
import { listen } from './peers.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
/** Not a whole number of satoshis, so that nothing is rounded unseen. */
const PRICE_MSAT = 5_123n
/** What the router takes for each payment. */
const ROUTE_MSAT = 1_000n
const SALES = 'sales/GET /one'
const WAIT_MS = 10_000

interface Shop {
  readonly url: string
  readonly ledger: Ledger
  readonly gate: Gate
  readonly withdraw: Withdraw
}

interface Sold {
  readonly key: string
  readonly offer: Offer<Details>
  /** What was written ahead of its refund. */
  readonly log: Log & { readonly steps: readonly Step[] }
}

let net: LightningNetwork
const ends: (() => unknown)[] = []

before(async () => {
  net = await startLightning()
})
after(async () => {
  for (const end of ends.toReversed()) await end()
  await net?.close()
})

function railOf(node: LightningNode = net.seller, fee?: bigint): Rail<Details, Proof> {
  const feeMaxMsat = fee === undefined ? {} : { feeMaxMsat: () => fee }
  return lightning({ node, network: 'regtest', ...feeMaxMsat })
}

/** A shop that hands out links; `pays` pays them. Two on the same books are two processes: each has its own rails. */
async function openShop(
  pays: Rail<Details, Proof> = railOf(),
  ledger: Ledger = memory(),
): Promise<Shop> {
  let handler: RequestListener = () => undefined
  const server = createServer((request, response) => handler(request, response))
  const peer = await listen(server.listen(0, '127.0.0.1'))
  const { url } = peer
  const rail = pays
  const withdraw = createWithdraw({ rail: pays, ledger, secret: SECRET, origin: url })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }), hashIn })],
    ledger,
    services: [withdraw.service],
  })
  handler = toll(seller, { 'GET /one': '5.123 SAT' }, (_, response) => void response.end('served'))
  ends.push(
    () => seller.close(),
    () => peer.close(),
  )
  return { url, ledger, gate: seller.gate, withdraw }
}

/** The buyer pays for a request over two hops and is served. */
async function sell({ url, ledger }: Shop): Promise<Sold> {
  const start = balances()
  const { token, invoice } = await ask(`${url}/one`)
  const preimage = await payInvoice(net, invoice)
  const shown = await show(`${url}/one`, [`L402 ${token}:${preimage}`])
  assert.equal(shown.status, 200)
  await moved(start, bought)
  const sales = await ledger.under('bip122:', '', 100)
  const sale = sales.toSorted((a, b) => a.claim - b.claim).at(-1)
  assert.equal(sale?.note['kind'], 'sale')
  const steps: Step[] = []
  const log = { steps, read: async () => steps, write: async (s: Step) => void steps.push(s) }
  return { key: sale.key, offer: readOffer(sale.note['offer']) as Offer<Details>, log }
}

interface Balances {
  readonly buyer: bigint
  readonly router: bigint
  readonly seller: bigint
}

function balances(): Balances {
  const { buyer, router, seller } = net
  return {
    buyer: buyer.balanceMsat(),
    router: router.balanceMsat(),
    seller: seller.balanceMsat(),
  }
}

/** Waits until the balances have moved by exactly that. A little longer, they are still the same. */
async function moved(from: Balances, by: Balances): Promise<void> {
  const change = (): Balances => {
    const now = balances()
    return {
      buyer: now.buyer - from.buyer,
      router: now.router - from.router,
      seller: now.seller - from.seller,
    }
  }
  const same = (): boolean => {
    const { buyer, router, seller } = change()
    return buyer === by.buyer && router === by.router && seller === by.seller
  }
  for (const untilAt = Date.now() + WAIT_MS; !same() && Date.now() < untilAt;) await sleep(5)
  await sleep(50)
  assert.deepEqual(change(), by)
}

const bought: Balances = { buyer: -PRICE_MSAT - ROUTE_MSAT, router: ROUTE_MSAT, seller: PRICE_MSAT }
const returned: Balances = {
  buyer: PRICE_MSAT,
  router: ROUTE_MSAT,
  seller: -PRICE_MSAT - ROUTE_MSAT,
}
const nothing: Balances = { buyer: 0n, router: 0n, seller: 0n }

async function invoiceOf(msat = PRICE_MSAT): Promise<string> {
  return (await net.buyer.createInvoice({ msat, memo: 'back', expiresInS: 600 })).invoice
}

/** Where the buyer wants its money. */
const destinations: Record<string, () => Promise<string>> = {
  'a BOLT11 invoice': () => invoiceOf(),
  'a BOLT12 offer': async () => net.buyer.createOffer(),
  async 'a Lightning address'() {
    const service = await startLnurl(net.buyer)
    ends.push(() => service.close())
    return `bob@${new URL(service.url).host}`
  },
}

for (const [name, destination] of Object.entries(destinations))
  describe(`a sale over two hops, refunded to ${name}`, () => {
    test('gives back every millisatoshi, once', async () => {
      const shop = await openShop()
      const { offer, key, log } = await sell(shop)
      const start = balances()
      const refund = async (rail = railOf()): Promise<Settlement | undefined> =>
        rail.refund?.(offer, await destination(), offer.amount, key, log)
      const first = await refund()
      assert.ok(first?.state === 'settled', JSON.stringify(first?.state))
      assert.equal(first.cost, ROUTE_MSAT)
      await moved(start, returned)
      // Another process, asked for another destination, finds what was done.
      const again = await refund(railOf())
      assert.ok(again?.state === 'settled')
      assert.equal(again.reference, first.reference)
      await moved(start, returned)
    })

    test('moves nothing when the route is a millisatoshi too dear, and is made when it is not', async () => {
      const { offer, key, log } = await sell(await openShop())
      const start = balances()
      const refund = async (fee: bigint): Promise<Settlement | undefined> =>
        railOf(net.seller, fee).refund?.(offer, await destination(), offer.amount, key, log)
      const first = await refund(ROUTE_MSAT - 1n)
      assert.ok(first?.state === 'failed', JSON.stringify(first?.state))
      assert.equal(first.problem.code, 'settlement-failed')
      await moved(start, nothing)
      assert.equal((await refund(ROUTE_MSAT))?.state, 'settled')
      await moved(start, returned)
      assert.equal(log.steps.length, 2)
    })
  })

interface Said {
  readonly status?: string
  readonly reason?: string
  readonly tag?: string
  readonly callback?: string
  readonly k1?: string
  readonly minWithdrawable?: number
  readonly maxWithdrawable?: number
}

async function get(url: string): Promise<Said> {
  const response = await fetch(url)
  assert.equal(response.status, 200)
  assert.equal(response.headers.get('access-control-allow-origin'), '*')
  return (await response.json()) as Said
}

/** A wallet as LUD-01 and LUD-03 have it: reads the link, asks, makes an invoice for all there is, and brings it. */
async function pull(lnurl: string, bring?: string): Promise<Said> {
  const { words } = bech32.decode(lnurl.toLowerCase() as `lnurl1${string}`, 2_048)
  const said = await get(Buffer.from(bech32.fromWords(words)).toString())
  assert.equal(said.tag, 'withdrawRequest')
  const { callback = '', k1 = '', minWithdrawable, maxWithdrawable = 0 } = said
  assert.equal(minWithdrawable, maxWithdrawable)
  if (bring === undefined && maxWithdrawable === 0) return said
  const query = new URLSearchParams({ k1, pr: bring ?? (await invoiceOf(BigInt(maxWithdrawable))) })
  return get(`${callback}${callback.includes('?') ? '&' : '?'}${query.toString()}`)
}

function linkOf({ withdraw }: Shop, { key, offer }: Sold): string {
  const msat = offer.amount.amount
  const expiresAt = Date.now() + 600_000
  return withdraw.link({ key, account: SALES, msat, expiresAt, memo: 'Refund' }).lnurl
}

async function earned({ ledger }: Shop): Promise<bigint> {
  const [found] = await ledger.balances(SALES)
  return found?.posted ?? 0n
}

describe('a sale over two hops, refunded by LNURL-withdraw', () => {
  test('gives back every millisatoshi, once, and the books say so', async () => {
    const shop = await openShop()
    const sold = await sell(shop)
    assert.equal(await earned(shop), PRICE_MSAT)
    const start = balances()
    const link = linkOf(shop, sold)
    assert.deepEqual(await pull(link), { status: 'OK' })
    await moved(start, returned)
    assert.equal(await earned(shop), 0n)
    assert.equal((await pull(link)).maxWithdrawable, 0)
    assert.equal((await pull(link, await invoiceOf())).status, 'ERROR')
    await moved(start, returned)
  })

  test('pulled with twenty invoices at once pays one', async () => {
    const shop = await openShop()
    const sold = await sell(shop)
    await sell(shop)
    const link = linkOf(shop, sold)
    const invoices = await Promise.all(Array.from({ length: 20 }, () => invoiceOf()))
    const start = balances()
    const said = await Promise.all(invoices.map((invoice) => pull(link, invoice)))
    assert.equal(said.filter(({ status }) => status === 'OK').length, 1)
    await moved(start, returned)
    assert.equal(await earned(shop), PRICE_MSAT)
  })

  test('moves nothing when the route is a millisatoshi too dear, and is made when it is not', async () => {
    let fee = ROUTE_MSAT - 1n
    const pays = lightning({ node: net.seller, network: 'regtest', feeMaxMsat: () => fee })
    const shop = await openShop(pays)
    const link = linkOf(shop, await sell(shop))
    const start = balances()
    assert.equal((await pull(link)).status, 'ERROR')
    await moved(start, nothing)
    assert.equal(await earned(shop), PRICE_MSAT)
    fee = ROUTE_MSAT
    assert.deepEqual(await pull(link), { status: 'OK' })
    await moved(start, returned)
    assert.equal(await earned(shop), 0n)
  })

  test('whose answers are lost is paid once, and found by who starts next', async () => {
    const faults = createFaults()
    const shop = await openShop(railOf(faulty(net.seller, faults)))
    const link = linkOf(shop, await sell(shop))
    const start = balances()
    // It is asked whether the invoice was used before, and what became of it.
    faults.lose.push('payment', 'pay', 'payment')
    assert.deepEqual(await pull(link), { status: 'OK' })
    await moved(start, returned)
    assert.equal(await earned(shop), PRICE_MSAT, 'what is not known is not booked')
    await shop.withdraw.recover()
    assert.equal(await earned(shop), 0n)
    assert.equal((await pull(link, await invoiceOf())).status, 'ERROR')
    await moved(start, returned)
  })
})

/** Two nodes that are one: neither hears what it knows of a payment before both have asked for the first time. */
function together(): [LightningNode, LightningNode] {
  const both = Promise.withResolvers<void>()
  let asked = 0
  const nodeOf = (): LightningNode => {
    let isFirst = true
    const payment: LightningNode['payment'] = async (hash) => {
      const found = await net.seller.payment?.(hash)
      if (isFirst && ++asked === 2) both.resolve()
      if (isFirst) await both.promise
      isFirst = false
      return found
    }
    return { ...net.seller, payment }
  }
  return [nodeOf(), nodeOf()]
}

describe('one invoice that is named to two processes at the same moment', () => {
  type Way = (shop: Shop, sold: Sold, invoice: string, order?: string) => Promise<boolean>
  const sent: Way = async ({ gate }, { key }, to, idempotencyKey = 'one') =>
    (await gate.refund({ key, to, idempotencyKey })).kind === 'refunded'
  const pulled: Way = async (shop, sold, invoice) =>
    (await pull(linkOf(shop, sold), invoice)).status === 'OK'
  const ways: Record<string, readonly [Way, Way]> = {
    'two refunds': [sent, sent],
    'a refund and a link': [sent, pulled],
    'two links': [pulled, pulled],
  }
  for (const [name, [one, other]] of Object.entries(ways))
    test(`for ${name} pays one of them, and the other by an invoice of its own`, async () => {
      // Of two links one looks: the other is stopped by the books.
      const nodes = one === pulled ? [net.seller, net.seller] : together()
      const here = await openShop(railOf(nodes[0]))
      const there = await openShop(railOf(nodes[1]), here.ledger)
      const [a, b] = [await sell(here), await sell(here)]
      const start = balances()
      const invoice = await invoiceOf()
      const done = await Promise.all([one(here, a, invoice), other(there, b, invoice)])
      await moved(start, returned)
      assert.equal(done.filter(Boolean).length, 1)
      assert.equal(await earned(here), PRICE_MSAT)
      assert.equal((await here.ledger.pending()).length, 0)
      // Whoever was told no is paid by what it names next.
      const next = balances()
      const [way, sold] = done[0] ? [other, b] : [one, a]
      assert.equal(await way(here, sold, await invoiceOf(), 'two'), true)
      await moved(next, returned)
      assert.equal(await earned(here), 0n)
    })
})
