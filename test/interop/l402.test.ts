// Unmodified L402 clients pay our gate over real Lightning channels: a buyer, a router and a seller of LDK in this process.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fetchWithL402 } from '@getalby/lightning-tools/402/l402'
import { create as createAxios } from 'axios'
import type { AxiosInstance } from 'axios'
import { MemoryTokenStore, PaymentResult, setupL402Interceptor, Wallet } from 'l402'
import type { OpenSeller, SellerSettings } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { readAuth } from '../../src/core/auth.ts'
import { ACCOUNT_FRESH_MS } from '../../src/core/ports.ts'
import { memory } from '../../src/ledger/memory.ts'
import { l402 } from '../../src/protocols/l402/index.ts'
import { oauth } from '../../src/protocols/oauth/index.ts'
import { lightning } from '../../src/rails/lightning/index.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { createMacaroonMint, createMacaroons, hashIn } from '../../src/tokens/macaroon/index.ts'
import type { Doors } from './l402-shop.ts'
import {
  ask,
  askedIn,
  buy,
  changed,
  earned,
  linesOf,
  macaroonOf,
  narrowedByNpm,
  openDoors,
  payInvoice,
  show,
} from './l402-shop.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const PRICE_MSAT = 5_000n
const PLAN_MSAT = 20_000n
const TOKENS = '/.well-known/tolsey/tokens'
const routes = {
  'GET /one': '5 SAT',
  'GET /other': '5 SAT',
  'GET /fine': '1500 MSAT',
  'GET /fail': '5 SAT',
  'GET /three': { plan: 'three' },
  'GET /long/*': { plan: 'long' },
  'GET /also': { price: '5 SAT', takes: ['long'] },
} as const
const plans = {
  three: { price: '20 SAT', uses: 3 },
  long: { price: '20 SAT' },
}

let net: LightningNetwork
let ledger: SellerSettings['ledger']
let doors: Doors
let heldDoors: Doors
const sellers: OpenSeller[] = []
const macaroons = createMacaroons({ secrets: [SECRET] })
const mint = createMacaroonMint(macaroons)

/** A seller on the one node and the one ledger: several of them are several processes of one shop. */
async function openSeller(hold = false): Promise<OpenSeller> {
  const rail = lightning({
    node: net.seller,
    network: 'regtest',
    ...(hold && { hold: { secret: SECRET } }),
  })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [l402({ parts: [rail], mint: macaroons, hashIn }), oauth({ mints: [mint] })],
    ledger,
    mints: [mint],
    plans,
  })
  sellers.push(seller)
  return seller
}

before(async () => {
  net = await startLightning()
  ledger = memory()
  doors = await openDoors(await openSeller(), routes)
  heldDoors = await openDoors(await openSeller(true), routes)
})

after(async () => {
  await doors?.close()
  await heldDoors?.close()
  for (const seller of sellers) await seller.close()
  await net?.close()
})

/** Exactly so much reaches the seller, stands in the books, and for so many runs of the work. */
async function moves(
  wanted: { readonly msat: bigint; readonly runs: number; readonly account: string },
  act: () => Promise<void>,
  at = doors,
): Promise<void> {
  const look = async () => ({
    node: net.seller.balanceMsat(),
    books: await earned(ledger, wanted.account),
    runs: at.runs(),
  })
  const was = await look()
  await act()
  const is = await look()
  assert.equal(is.node - was.node, wanted.msat, 'at the node')
  assert.equal(is.books - was.books, wanted.msat, 'in the books')
  assert.equal(is.runs - was.runs, wanted.runs, 'runs')
}

const wallet = {
  payInvoice: async ({ invoice }: { readonly invoice: string }) => ({
    preimage: await payInvoice(net, invoice),
  }),
}

class NpmWallet extends Wallet {
  async payInvoice(invoice: string): Promise<PaymentResult> {
    return new PaymentResult(await payInvoice(net, invoice), true)
  }
}

/** It was written for an axios of its own, whose types are not ours. */
function npmClient(): AxiosInstance {
  const axios = createAxios()
  setupL402Interceptor(axios as never, new NpmWallet(), new MemoryTokenStore())
  return axios
}

for (const name of ['node:http', 'fetch'])
  describe(`our gate behind ${name}`, () => {
    const url = (path: string): string => `${doors.url(name)}${path}`

    test('is paid by npm @getalby/lightning-tools', () =>
      moves({ msat: PRICE_MSAT, runs: 1, account: 'sales/GET /one' }, async () => {
        const answer = await fetchWithL402(url('/one'), {}, { wallet })
        assert.equal(answer.status, 200)
        assert.deepEqual(await answer.json(), { path: '/one' })
        assert.equal(answer.payment?.amountSat, 5)
      }))

    test('is paid by npm @getalby/lightning-tools for a plan, whose token pays again', () =>
      moves({ msat: PLAN_MSAT, runs: 3, account: 'sales/plans/three' }, async () => {
        const answer = await fetchWithL402(url('/three'), {}, { wallet })
        assert.equal(answer.status, 200)
        assert.ok(answer.payment)
        const { credentials } = answer.payment
        for (const status of [200, 200, 402]) {
          const again = await fetchWithL402(url('/three'), {}, { wallet, credentials })
          assert.equal(again.status, status)
        }
      }))

    test('is paid by npm l402', () =>
      moves({ msat: PRICE_MSAT, runs: 1, account: 'sales/GET /one' }, async () => {
        const axios = npmClient()
        const answer = await axios.get(url('/one'))
        assert.deepEqual(answer.data, { path: '/one' })
      }))

    test('is paid by npm l402 for a plan, and once more when its token is used up', () =>
      moves({ msat: 2n * PLAN_MSAT, runs: 4, account: 'sales/plans/three' }, async () => {
        const axios = npmClient()
        for (let i = 0; i < 4; i++) assert.equal((await axios.get(url('/three'))).status, 200)
      }))

    test('takes amounts that are finer than a satoshi', () =>
      moves({ msat: 1_500n, runs: 1, account: 'sales/GET /fine' }, async () => {
        const { token, preimage } = await buy(net, url('/fine'))
        assert.equal((await show(url('/fine'), [`L402 ${token}:${preimage}`])).status, 200)
      }))

    test('sells one request once, however it is asked for', () =>
      moves({ msat: PRICE_MSAT, runs: 1, account: 'sales/GET /one' }, async () => {
        const { token, preimage } = await buy(net, url('/one'))
        const credential = [`L402 ${token}:${preimage}`]
        const all = await Promise.all(
          Array.from({ length: 8 }, () => show(url('/one'), credential)),
        )
        assert.equal(all.filter(({ status }) => status === 200).length, 1)
        assert.ok(all.every(({ status }) => [200, 409, 410].includes(status)))
        const late = await show(url('/one'), [`LSAT ${token}:${preimage}`])
        assert.equal(late.code, 'payment-delivered')
        const elsewhere = await show(url('/other'), credential)
        assert.equal(elsewhere.code, 'offer-foreign')
        assert.deepEqual(linesOf(elsewhere.raw, 'WWW-Authenticate'), [])
      }))

    test('opens one account, however often a token is shown for the first time', () =>
      moves({ msat: PLAN_MSAT, runs: 3, account: 'sales/plans/three' }, async () => {
        const { token, preimage } = await buy(net, url('/three'))
        const credential = [`L402 ${token}:${preimage}`]
        const all = await Promise.all(
          Array.from({ length: 8 }, () => show(url('/three'), credential)),
        )
        assert.ok(all.every(({ status }) => [200, 402, 409].includes(status)))
        let served = all.filter(({ status }) => status === 200).length
        for (let i = 0; i < 4; i++)
          if ((await show(url('/three'), credential)).status === 200) served++
        assert.equal(served, 3)
      }))

    test('keeps a payment for work that failed, for whoever tries again', async () => {
      const { token, preimage } = await buy(net, url('/fail'))
      const before = doors.runs()
      for (let i = 0; i < 2; i++)
        assert.equal((await show(url('/fail'), [`L402 ${token}:${preimage}`])).status, 500)
      assert.equal(doors.runs() - before, 2)
      assert.equal(await earned(ledger, 'sales/GET /fail'), 0n)
    })
  })

describe('a payment that is held', () => {
  const at = (path: string): string => `${heldDoors.url('node:http')}${path}`

  /** The payer locks the money, and shows the token at the same time: there is no preimage yet. */
  async function lock(path: string) {
    const { token, invoice } = await ask(at(path))
    const paying = net.buyer.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs: 20_000 })
    const answer = await show(at(path), [`L402 ${token}:`])
    return { token, answer, paid: await paying }
  }

  test('is taken when the work is done', () =>
    moves(
      { msat: PRICE_MSAT, runs: 1, account: 'sales/GET /one' },
      async () => {
        const { token, answer, paid } = await lock('/one')
        assert.equal(answer.status, 200)
        assert.ok(paid.state === 'succeeded')
        const again = await show(at('/one'), [`L402 ${token}:${paid.preimage}`])
        assert.equal(again.code, 'payment-delivered')
      },
      heldDoors,
    ))

  test('is given back when the work fails: no result, no charge', async () => {
    const before = net.buyer.balanceMsat()
    await moves(
      { msat: 0n, runs: 1, account: 'sales/GET /fail' },
      async () => {
        const { answer, paid } = await lock('/fail')
        assert.equal(answer.status, 500)
        assert.equal(paid.state, 'failed')
      },
      heldDoors,
    )
    assert.equal(net.buyer.balanceMsat(), before)
  })

  test('buys a plan too, and its token pays again', () =>
    moves(
      { msat: PLAN_MSAT, runs: 2, account: 'sales/plans/three' },
      async () => {
        const { token, answer, paid } = await lock('/three')
        assert.equal(answer.status, 200)
        assert.ok(paid.state === 'succeeded')
        const again = await show(at('/three'), [`L402 ${token}:${paid.preimage}`])
        assert.equal(again.status, 200)
      },
      heldDoors,
    ))
})

describe('a token', () => {
  const home = (path = ''): string => `${doors.url('node:http')}${path}`
  const answerOf = async (url: string, credential: string, init: RequestInit = {}) => {
    const answer = await fetch(url, { ...init, headers: { Authorization: credential } })
    return [answer.status, (await answer.json()) as Record<string, unknown>] as const
  }

  test('is worth nothing before it is paid for', async () => {
    const { token, invoice } = await ask(home('/long/a'))
    for (const preimage of ['', '00'.repeat(32)])
      for (const path of ['/long/a', TOKENS]) {
        const { status, code } = await show(home(path), [`L402 ${token}:${preimage}`])
        assert.deepEqual([status, code], [402, 'proof-invalid'])
      }
    const preimage = await payInvoice(net, invoice)
    const honest = await show(home('/long/a'), [`L402 ${token}:${preimage}`])
    assert.equal(honest.status, 200)
    // Who only saw the token, when it was offered, has no use of it afterwards either.
    for (const path of ['/long/a', '/also', TOKENS])
      assert.equal((await show(home(path), [`L402 ${token}:`])).code, 'proof-invalid')
  })

  test('pays wherever its plan is taken, at every door', async () => {
    const { token, preimage } = await buy(net, home('/long/a'))
    const credential = [`L402 ${token}:${preimage}`]
    await show(home('/long/a'), credential)
    for (const name of doors.names)
      for (const path of ['/long/a', '/long/b/c', '/also']) {
        const { status } = await show(`${doors.url(name)}${path}`, credential)
        assert.equal(status, 200, `${name} ${path}`)
      }
  })

  test('tells its balance and its statement, and is revoked', async () => {
    const { token, preimage } = await buy(net, home('/three'))
    const credential = `L402 ${token}:${preimage}`
    await show(home('/three'), [credential])
    const [, balance] = await answerOf(home(TOKENS), credential)
    assert.deepEqual([balance['plan'], balance['uses'], balance['revoked']], ['three', 2, false])
    const [, { entries }] = await answerOf(home(`${TOKENS}/statement`), credential)
    const types = (entries as { type: string }[]).map(({ type }) => type)
    assert.deepEqual(types, ['bought', 'drawn'])

    const soon = Math.floor(Date.now() / 1000) + 3600
    for (const condition of ['path=/three', 'uses=1', `expires=${soon}`]) {
      const less = `L402 ${narrowedByNpm(token, condition)}:${preimage}`
      for (const [path, method] of [
        [TOKENS, 'DELETE'],
        [`${TOKENS}/statement`, 'GET'],
      ] as const) {
        const [status, { code }] = await answerOf(home(path), less, { method })
        assert.deepEqual([status, code], [403, 'token-insufficient'], condition)
      }
    }
    const [status, said] = await answerOf(home(TOKENS), credential, { method: 'DELETE' })
    assert.deepEqual([status, said['revoked']], [200, true])
    assert.equal((await show(home('/three'), [credential])).code, 'token-invalid')
  })

  test('that is revoked is refused by every other process within the time that is stated', async () => {
    const other = await openDoors(await openSeller(), routes)
    try {
      const { token, preimage } = await buy(net, home('/long/a'))
      const credential = `L402 ${token}:${preimage}`
      assert.equal((await show(home('/long/a'), [credential])).status, 200)
      const elsewhere = `${other.url('fetch')}/long/a`
      assert.equal((await show(elsewhere, [credential])).status, 200)
      const [, said] = await answerOf(home(TOKENS), credential, { method: 'DELETE' })
      assert.equal(said['everywhereInMs'], ACCOUNT_FRESH_MS)
      await sleep(ACCOUNT_FRESH_MS)
      assert.equal((await show(elsewhere, [credential])).code, 'token-invalid')
    } finally {
      await other.close()
    }
  })

  test('is bought and topped up by Lightning at the exchange', async () => {
    const order = `${home(TOKENS)}/three`
    const post = async (body?: object, credential?: string) =>
      await fetch(order, {
        method: 'POST',
        ...(body && { body: JSON.stringify(body) }),
        headers: credential === undefined ? {} : { Authorization: credential },
      })
    const purchase = async (body?: object) => {
      const { token, invoice } = askedIn((await post(body)).headers.get('www-authenticate') ?? '')
      const credential = `L402 ${token}:${await payInvoice(net, invoice)}`
      const answer = await post(body, credential)
      assert.equal(answer.status, 200)
      const said = (await answer.json()) as { token: string; account: string }
      // Who has lost the answer asks again, and is charged once.
      const again = (await (await post(body, credential)).json()) as typeof said
      assert.deepEqual(again, said)
      return said
    }
    const bought = await purchase()
    const bearer = `Bearer ${bought.token}`
    assert.equal((await show(home('/three'), [bearer])).status, 200)
    const more = await purchase({ topUp: bought.token })
    assert.equal(more.account, bought.account)
    const [, { uses }] = await answerOf(home(TOKENS), bearer)
    assert.equal(uses, 5)
  })
})

describe('a token that its holder narrowed by npm macaroon', () => {
  const inAnHour = Math.floor(Date.now() / 1000) + 3600
  let token: string
  let preimage: string

  before(async () => {
    const url = `${doors.url('node:http')}/long/a`
    ;({ token, preimage } = await buy(net, url))
    assert.equal((await show(url, [`L402 ${token}:${preimage}`])).status, 200)
  })

  /** Conditions, and what becomes of a request for `/long/a` with them. */
  const cases: readonly (readonly [conditions: readonly string[], code: string])[] = [
    [[], ''],
    [['path=/long/a'], ''],
    [['path=/long/*', 'path=/long/a'], ''],
    [['path=/long/b'], 'token-insufficient'],
    [['path=/long/a', 'path=/long/b'], 'token-insufficient'],
    [['method=GET'], ''],
    [['method=POST'], 'token-insufficient'],
    [[`expires=${inAnHour}`], ''],
    [[`expires=${inAnHour}`, 'expires=1700000000'], 'token-exhausted'],
    [['services=three:0'], 'token-insufficient'],
    [['services=long:0,three:0'], ''],
    [['tenant=a'], 'token-insufficient'],
    [['color=blue'], 'proof-invalid'],
  ]

  test('does what is left, and no more, at every door', async () => {
    for (const name of doors.names)
      for (const [conditions, wanted] of cases) {
        const less = narrowedByNpm(token, ...conditions)
        const { status, code } = await show(`${doors.url(name)}/long/a`, [
          `L402 ${less}:${preimage}`,
        ])
        assert.equal(code, wanted, `${name} ${conditions.join(' ')}`)
        assert.equal(status === 200, wanted === '', name)
      }
  })

  test('pays as often as is left to it, however its copies are spread', async () => {
    const less = narrowedByNpm(token, 'uses=3')
    const lesser = narrowedByNpm(less, 'method=GET')
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        const url = doors.url(doors.names[i % doors.names.length] ?? '')
        return show(`${url}/long/a`, [`L402 ${i % 2 === 0 ? less : lesser}:${preimage}`])
      }),
    )
    assert.equal(all.filter(({ status }) => status === 200).length, 3)
    assert.ok(all.every(({ code }) => code === '' || code === 'token-exhausted'))
    const whole = await show(`${doors.url('fetch')}/long/a`, [`L402 ${token}:${preimage}`])
    assert.equal(whole.status, 200)
  })

  test('has its preimage inside as some clients send it', async () => {
    const inside = narrowedByNpm(token, `preimage=${preimage}`)
    for (const name of doors.names)
      for (const credential of [`L402 ${inside}:${preimage}`, `LSAT ${inside}:`])
        assert.equal((await show(`${doors.url(name)}/long/a`, [credential])).status, 200, name)
  })

  test('and then widened, stripped, reordered, spliced or made by another is refused at every door', async () => {
    const less = narrowedByNpm(token, 'path=/long/b')
    const own = await buy(net, `${doors.url('node:http')}/one`)
    const { caveats } = macaroonOf(less)
    const [offer, services, path] = caveats
    assert.ok(offer && services && path && caveats.length === 3)
    const foreign = createMacaroons({ secrets: ['Qm9zcm5pY2tlbHRlc3RzZWNyZXRrZXlub3c5'] })
    const said = caveats.map(({ id }) => Buffer.from(id).toString())
    const { id } = macaroonOf(token)
    const forgeries: Readonly<Record<string, string>> = {
      widened: changed(less, { caveats: [offer, services, { id: Buffer.from('path=/long/*') }] }),
      stripped: changed(less, { caveats: [offer, services] }),
      reordered: changed(less, { caveats: [offer, path, services] }),
      doubled: changed(token, { caveats: [offer, services, services] }),
      spliced: changed(token, { caveats: macaroonOf(own.token).caveats }),
      'with the signature of another': changed(token, {
        signature: macaroonOf(own.token).signature,
      }),
      'with the identifier of another': changed(token, { id: macaroonOf(own.token).id }),
      foreign: foreign.mint(
        { paymentHash: id.subarray(2, 34), tokenId: id.subarray(34) },
        said.slice(0, 2),
      ),
    }
    for (const name of doors.names) {
      const url = `${doors.url(name)}/long/a`
      for (const [how, forgery] of Object.entries(forgeries))
        for (const shown of [preimage, own.preimage]) {
          const { status, code, raw } = await show(url, [`L402 ${forgery}:${shown}`])
          assert.deepEqual([status, code], [402, 'proof-invalid'], `${name}: ${how}`)
          // No invoice for whoever sends what is not ours.
          assert.doesNotMatch(linesOf(raw, 'WWW-Authenticate').join(), /L402/, how)
        }
      const other = await show(url, [`L402 ${own.token}:${own.preimage}`])
      assert.equal(other.code, 'offer-foreign', name)
      assert.equal((await show(url, [`L402 ${token}:${preimage}`])).status, 200, name)
    }
  })

  test('is one among several lines, at every door', async () => {
    for (const name of doors.names) {
      const url = `${doors.url(name)}/long/a`
      const credential = `${token}:${preimage}`
      for (const lines of [
        [`LSAT ${credential}`, `L402 ${credential}`],
        ['Basic dTpw', `L402 ${credential}`],
        [`LSAT ${token}:${'00'.repeat(32)}`, `L402 ${credential}`],
      ])
        assert.equal((await show(url, lines)).status, 200, `${name} ${lines.join()}`)
    }
  })
})

test('challenges of several schemes stand side by side, L402 first, at every door', async () => {
  for (const name of doors.names) {
    const { raw } = await show(`${doors.url(name)}/one`, [])
    const lines = linesOf(raw, 'WWW-Authenticate')
    // Web `Headers` fold lines of one name into a list, which every client reads as long as L402 begins it.
    assert.equal(lines.length, ['fetch', 'Hono'].includes(name) ? 1 : 2, name)
    const schemes = readAuth(lines.join(', ')).map(({ scheme }) => scheme)
    assert.deepEqual(schemes, ['L402', 'Bearer'], name)
    assert.match(lines[0] ?? '', /^L402 macaroon="[^"]+", invoice="lnbcrt50n/)
    assert.deepEqual(linesOf(raw, 'Cache-Control'), ['no-store'])
  }
})
