// The node is the stand-in of the fixture; the books are real ones in memory. A "process" is a withdraw of its own on the same
// books and the same node.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bech32 } from '@scure/base'
import type { Answered, Asked, Ledger, Shop, Transfer } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { memory } from '../../ledger/memory.ts'
import type { FakeNode } from './fixture.test.ts'
import { createClock, createNode, plainInvoice } from './fixture.test.ts'
import { bitcoinOn, chains } from './networks.ts'
import { PAYOUT_TIMEOUT_MS } from './payout.ts'
import { lightning } from './rail.ts'
import type { Withdraw, WithdrawSettings, Withdrawal } from './withdraw.ts'
import { createWithdraw, WITHDRAW_ANSWER_MS, WITHDRAW_TURN_MS } from './withdraw.ts'

const network = chains['bcrt'] ?? ''
const asset = bitcoinOn(network).id
const secret = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const origin = 'https://shop.test'
const account = 'sales/GET /weather'
const USED = 'This link has been used.'

interface Said {
  readonly status?: string
  readonly reason?: string
  readonly tag?: string
  readonly callback?: string
  readonly k1?: string
  readonly defaultDescription?: string
  readonly minWithdrawable?: number
  readonly maxWithdrawable?: number
}

interface Stage {
  readonly clock: ReturnType<typeof createClock>
  readonly node: FakeNode
  readonly wallet: FakeNode
  readonly ledger: Ledger
  readonly withdraw: Withdraw
  /** A further process. */
  start(more?: Partial<WithdrawSettings>): Withdraw
  link(more?: Partial<Withdrawal>): string
  invoice(msat?: bigint): Promise<string>
  ask(url: string, process?: Withdraw): Promise<Said>
  pull(url: string, invoice: string, process?: Withdraw): Promise<Said>
  earns(msat: bigint): Promise<void>
  posted(account: string): Promise<bigint>
}

async function stage(earned = 100_000n): Promise<Stage> {
  const clock = createClock()
  const table = new Map()
  const node = createNode(table, clock)
  const wallet = createNode(table, clock)
  const ledger = memory({ clock })
  let sales = 0
  const start = (more: Partial<WithdrawSettings> = {}): Withdraw => {
    const rail = lightning({ node, network: 'regtest', clock })
    return createWithdraw({ rail, ledger, secret, origin, clock, ...more })
  }
  const withdraw = start()
  const s: Stage = {
    clock,
    node,
    wallet,
    ledger,
    withdraw,
    start,
    link: (more = {}) =>
      withdraw.link({
        key: 'sale/1',
        account,
        msat: 50_000n,
        expiresAt: clock.now() + 3_600_000,
        memo: 'Refund',
        ...more,
      }).url,
    async invoice(msat = 50_000n) {
      return (await wallet.createInvoice({ msat, memo: '', expiresInS: 600 })).invoice
    },
    ask: (url, process = withdraw) => get(process, url),
    async pull(url, invoice, process = withdraw) {
      const { callback = '', k1 = '' } = await get(process, url)
      return get(process, `${callback}?${queryOf({ k1, pr: invoice })}`)
    },
    async earns(amount) {
      const key = `sale/${++sales}`
      const legs = [{ debit: 'world/lightning', credit: account }]
      const leaseUntilAt = clock.now() + 1_000
      await ledger.transfer({ key, purpose: 's', asset, amount, legs, leaseUntilAt, note: {} })
      await ledger.post(key)
    },
    async posted(name) {
      const all = await ledger.balances(name)
      return all.reduce((sum, { posted }) => sum + posted, 0n)
    },
  }
  if (earned > 0n) await s.earns(earned)
  return s
}

/** What the service says to a request; it asks the shop for nothing but the query. */
async function get({ service }: Withdraw, url: string, method = 'GET'): Promise<Said> {
  const { pathname: path, search } = new URL(url)
  assert.deepEqual(service.paths, [path])
  const asked = { method, target: path + search } as Asked
  const shop = { resource: { query: search.slice(1) } } as Shop
  const said = (await service.answer(asked, shop)) as Answered
  assert.equal(said.status, method === 'GET' ? 200 : 405)
  assert.equal(said.fields['Content-Type'], 'application/json')
  return JSON.parse(said.body) as Said
}

function queryOf(members: Record<string, string>): string {
  return new URLSearchParams(members).toString()
}

const ok: Said = { status: 'OK' }

function isError({ status, reason = '' }: Said): void {
  assert.equal(status, 'ERROR')
  assert.match(reason, /^[A-Z].*\.$/)
  assert.doesNotMatch(reason, /sales|sale\/|stand-in|gone|lost|undefined/)
}

describe('a link', () => {
  test('says what may be withdrawn, and hides what it is for', async () => {
    const s = await stage()
    const url = s.link()
    const said = await s.ask(url)
    assert.deepEqual(said, {
      tag: 'withdrawRequest',
      callback: `${origin}/lnurl/withdraw`,
      k1: new URL(url).searchParams.get('k1'),
      defaultDescription: 'Refund',
      minWithdrawable: 50_000,
      maxWithdrawable: 50_000,
    })
    const bytes = Buffer.from(said.k1 ?? '', 'base64url').toString('latin1')
    assert(!/sale|Refund|weather/.test(url + bytes))
    // Nothing was kept for it.
    assert.equal((await s.ledger.journal(0, 10)).length, 2)
  })

  test('is spelled in three ways', async () => {
    const s = await stage()
    const order = { key: 'k', account, msat: 1n, expiresAt: s.clock.now() + 1_000, memo: '' }
    const { url, lnurl, uri } = s.withdraw.link(order)
    const read = bech32.decode(lnurl.toLowerCase() as `${string}1${string}`, 2_048)
    assert.equal(Buffer.from(bech32.fromWords(read.words)).toString(), url)
    assert.equal(uri, url.replace('https://', 'lnurlw://'))
  })

  test('is refused for what no wallet could withdraw', async () => {
    const s = await stage()
    const bad: Partial<Withdrawal>[] = [
      { msat: 0n },
      { msat: -1n },
      { msat: 2n ** 53n },
      { expiresAt: Infinity },
      { key: '' },
      { account: 'a\n' },
      { memo: 'x'.repeat(129) },
      { key: '\u{1F4A7}'.repeat(128), memo: '\u{1F4A7}'.repeat(64), account: 'é'.repeat(256) },
    ]
    for (const more of bad) assert.throws(() => s.link(more), RangeError)
    const whole = lightning({ node: createNode(new Map(), s.clock, { msat: false }), network })
    const sats = s.start({ rail: whole })
    const order = { key: 'k', account, expiresAt: s.clock.now(), memo: '' }
    assert.throws(() => sats.link({ ...order, msat: 1_500n }), RangeError)
    assert(sats.link({ ...order, msat: 2_000n }).url)
  })

  test('needs a node that pays, an origin, and a secret', async () => {
    const s = await stage()
    const node = createNode(new Map(), s.clock, { pay: false })
    assert.throws(() => s.start({ rail: lightning({ node, network }) }), RangeError)
    for (const bad of ['http://shop.test', 'https://shop.test/', 'shop.test', 'ftp://shop.test'])
      assert.throws(() => s.start({ origin: bad }), RangeError)
    for (const good of ['http://127.0.0.1:8080', 'http://abc.onion']) s.start({ origin: good })
    for (const bad of ['', 'lnurl', '.evil.test/', '/a?b=c', '/a#b', '/a b', '/a/../b', '/a/*'])
      assert.throws(() => s.start({ path: bad }), RangeError, bad)
    s.start({ path: '/money/back' })
    for (const bad of ['short', '', [] as const])
      assert.throws(() => s.start({ secret: bad }), RangeError)
  })

  test('whose secret is rotated out still works, and under another secret does not', async () => {
    const s = await stage()
    const other = 'Qz7Lk2Vb9Xn4Tm6Wp1Rd8Ys3Hc5Gf0Ja'
    isError(await s.ask(s.link(), s.start({ secret: other })))
    assert.equal((await s.ask(s.link(), s.start({ secret: [other, secret] }))).status, undefined)
  })

  test('with any bit flipped is not known, nor is one with letters added', async () => {
    const s = await stage()
    const url = s.link()
    const k1 = new URL(url).searchParams.get('k1') ?? ''
    const bytes = Buffer.from(k1, 'base64url')
    const pr = await s.invoice()
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const wrong = Buffer.from(bytes)
      wrong[bit >> 3] = (wrong[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const query = queryOf({ k1: wrong.toString('base64url'), pr })
      isError(await s.ask(`${origin}/lnurl/withdraw?${query}`))
    }
    for (const wrong of [`${k1}=`, `${k1}A`, ` ${k1}`, k1.slice(0, -1), '', 'A'.repeat(5_000)])
      isError(await s.ask(`${origin}/lnurl/withdraw?${queryOf({ k1: wrong, pr })}`))
    isError(await s.ask(`${url}&${queryOf({ k1, pr })}`))
    isError(await s.ask(`${origin}/lnurl/withdraw`))
    assert.deepEqual(await s.ask(`${url}&pr=${pr}`), ok)
  })
})

describe('a withdrawal', () => {
  test('arrives, is booked out of what was earned, and the link is empty', async () => {
    const s = await stage()
    const url = s.link()
    const invoice = await s.invoice()
    assert.deepEqual(await s.pull(url, `lightning:${invoice.toUpperCase()}`), ok)
    assert.equal(s.node.sent(), 1)
    assert.equal(await s.posted(account), 50_000n)
    assert.equal(await s.posted(`world/lightning/${network}/withdrawn`), 50_000n)
    const left = await s.ask(url)
    assert.deepEqual([left.minWithdrawable, left.maxWithdrawable], [0, 0])
    assert.equal((await s.ledger.pending()).length, 0)
    const rows = await s.ledger.journal(0, 100)
    const settled = rows.find(({ type }) => type === 'settled')
    assert.equal(settled?.data['cost'], '7')
  })

  test('with the same invoice again is the same one, with another it is refused', async () => {
    const s = await stage()
    const url = s.link()
    const invoice = await s.invoice()
    assert.deepEqual(await s.pull(url, invoice), ok)
    s.clock.turn(7_200_000)
    assert.deepEqual(await s.pull(url, invoice), ok)
    assert.equal((await s.pull(s.link(), await s.invoice())).reason, USED)
    assert.equal(s.node.sent(), 1)
  })

  test('for one key is one, whatever links there are', async () => {
    const s = await stage()
    assert.deepEqual(await s.pull(s.link(), await s.invoice()), ok)
    for (const msat of [50_000n, 1_000n, 50_001n, 100_000n])
      assert.equal((await s.pull(s.link({ msat }), await s.invoice(msat))).reason, USED)
    assert.deepEqual(await s.pull(s.link({ key: 'sale/2' }), await s.invoice()), ok)
    assert.equal(s.node.sent(), 2)
  })

  test('of twenty at once with different invoices is one, over two processes', async () => {
    const s = await stage(1_000_000n)
    const url = s.link()
    const processes = [s.withdraw, s.start()]
    const invoices = await Promise.all(Array.from({ length: 20 }, () => s.invoice()))
    const said = await Promise.all(invoices.map((one, i) => s.pull(url, one, processes[i % 2])))
    assert.equal(said.filter(({ status }) => status === 'OK').length, 1)
    assert.equal(s.node.sent(), 1)
    assert.equal(await s.posted(account), 950_000n)
    assert.equal((await s.ledger.pending()).length, 0)
  })

  test('of twenty at once with the same invoice is one, and all hear of it', async () => {
    const s = await stage(1_000_000n)
    const url = s.link()
    const invoice = await s.invoice()
    const all = Array.from({ length: 20 }, () => s.pull(url, invoice))
    assert.deepEqual(new Set((await Promise.all(all)).map(({ status }) => status)), new Set(['OK']))
    assert.equal(s.node.sent(), 1)
    assert.equal(await s.posted(account), 950_000n)
  })

  test('never takes one invoice for two links', async () => {
    const s = await stage()
    const invoice = await s.invoice()
    assert.deepEqual(await s.pull(s.link(), invoice), ok)
    isError(await s.pull(s.link({ key: 'sale/2' }), invoice))
    assert.equal(await s.posted(account), 50_000n)
    assert.deepEqual(await s.pull(s.link({ key: 'sale/2' }), await s.invoice()), ok)
  })

  test('to what is no fitting invoice is refused before anything is claimed', async () => {
    const s = await stage()
    const url = s.link()
    const hash = 'ab'.repeat(32)
    const now = s.clock.now()
    const rows = (await s.ledger.journal(0, 100)).length
    const good = await s.invoice()
    const bad = [
      await s.invoice(49_999n),
      await s.invoice(50_001n),
      plainInvoice(hash, undefined, now),
      plainInvoice(hash, 50_000n, now - 600_000),
      plainInvoice(hash, 50_000n, now - 596_000),
      `${good.slice(0, -1)}${good.endsWith('q') ? 'p' : 'q'}`,
      'bob@shop.test',
      'lno1qqq',
      url,
      'x'.repeat(10_000),
      '',
    ]
    for (const text of bad) isError(await s.pull(url, text))
    const mainnet = lightning({ node: s.node, network: 'bitcoin' })
    isError(await s.pull(url, good, s.start({ rail: mainnet })))
    isError(await s.ask(`${url}&pr=${good}&pr=${await s.invoice()}`))
    assert.equal((await get(s.withdraw, `${url}&pr=${good}`, 'POST')).reason, 'Ask by GET.')
    assert.equal((await s.ledger.journal(0, 100)).length, rows)
    assert.deepEqual(await s.pull(url, good), ok)
  })

  test('after the end of its link is refused', async () => {
    const s = await stage()
    const url = s.link({ expiresAt: s.clock.now() + 1_000 })
    const { callback = '', k1 = '' } = await s.ask(url)
    s.clock.turn(1_000)
    isError(await s.ask(url))
    const query = queryOf({ k1, pr: await s.invoice() })
    isError(await s.ask(`${callback}?${query}`))
    assert.equal(s.node.sent(), 0)
    assert.deepEqual(await s.pull(s.link(), await s.invoice()), ok)
  })

  test('is not made out of what was never earned, and is when it has been', async () => {
    const s = await stage(49_999n)
    const url = s.link()
    const invoice = await s.invoice()
    assert.equal(
      (await s.pull(url, invoice)).reason,
      'The service cannot pay this now. Come back later.',
    )
    assert.equal(s.node.calls.includes('pay'), false)
    await s.earns(1n)
    assert.deepEqual(await s.pull(url, invoice), ok)
    assert.equal(await s.posted(account), 0n)
  })

  test('that found no way moves nothing, and is made with another invoice', async () => {
    const s = await stage()
    const url = s.link()
    const first = await s.invoice()
    s.node.noRoute = true
    isError(await s.pull(url, first))
    assert.equal(await s.posted(account), 100_000n)
    s.node.noRoute = false
    isError(await s.pull(url, first))
    assert.equal((await s.ask(url)).maxWithdrawable, 50_000)
    assert.deepEqual(await s.pull(url, await s.invoice()), ok)
    isError(await s.pull(url, first))
    assert.equal(s.node.sent(), 1)
  })

  test('that takes long is accepted, goes on behind its answer, and keeps others out', async () => {
    const s = await stage()
    const slow = Promise.withResolvers<void>()
    const pay: FakeNode['pay'] = async (request) => {
      await slow.promise
      return s.node.pay?.(request) ?? { state: 'inFlight' }
    }
    const process = s.start({
      rail: lightning({ node: { ...s.node, pay }, network: 'regtest', clock: s.clock }),
    })
    const url = s.link()
    const before = s.clock.now()
    assert.deepEqual(await s.pull(url, await s.invoice(), process), ok)
    assert.equal(s.clock.now() - before, WITHDRAW_ANSWER_MS)
    for (const one of [process, s.withdraw]) isError(await s.pull(url, await s.invoice(), one))
    assert.equal(await s.posted(account), 100_000n)
    slow.resolve()
    await process.close()
    assert.equal(await s.posted(account), 50_000n)
    assert.equal(s.node.sent(), 1)
  })
})

describe('what may be pulled', () => {
  test('is asked before an invoice is taken: what was bought is revoked before the money leaves', async () => {
    const s = await stage()
    const asked: string[] = []
    let may: boolean | 'nobody knows' = 'nobody knows'
    const process = s.start({
      async mayPull(key) {
        asked.push(`${key} ${s.node.sent()}`)
        if (may === 'nobody knows') throw new PaymentError('store-unavailable', 'Not now.')
        return may
      },
    })
    const url = s.link()
    const invoice = await s.invoice()
    const rows = (await s.ledger.journal(0, 100)).length
    isError(await s.pull(url, invoice, process))
    may = false
    assert.equal((await s.pull(url, invoice, process)).reason, 'This link is not good any more.')
    assert.equal((await s.ledger.journal(0, 100)).length, rows)
    assert.equal(s.node.calls.includes('pay'), false)
    may = true
    assert.deepEqual(await s.pull(url, invoice, process), ok)
    assert.deepEqual(asked, ['sale/1 0', 'sale/1 0', 'sale/1 0'])
    // What was pulled is told as before, whatever may be now.
    may = false
    assert.deepEqual(await s.pull(url, invoice, process), ok)
    assert.equal((await s.pull(url, await s.invoice(), process)).reason, USED)
    assert.equal(asked.length, 3)
    assert.equal(s.node.sent(), 1)
  })

  test('is not asked for what was begun: that is seen through', async () => {
    const s = await stage()
    const url = s.link()
    const process = s.start({ mayPull: async () => false })
    const invoice = await s.invoice()
    s.node.trouble = { pay: 'before' }
    assert.deepEqual(await s.pull(url, invoice), ok)
    s.node.trouble = {}
    assert.deepEqual(await s.pull(url, invoice, process), ok)
    assert.equal(s.node.sent(), 1)
  })
})

describe('a withdrawal whose answer is lost', () => {
  for (const when of ['before', 'after'] as const)
    test(`when the node is gone ${when} it was asked stays open, and is made once`, async () => {
      const s = await stage()
      const url = s.link()
      const invoice = await s.invoice()
      s.node.trouble = { pay: when, payment: when }
      // Written ahead: it is accepted, and nobody says that it was paid.
      assert.deepEqual(await s.pull(url, invoice), ok)
      assert.equal(await s.posted(account), 100_000n)
      isError(await s.pull(url, await s.invoice()))
      isError(await s.pull(url, await s.invoice(), s.start()))
      s.node.trouble = {}
      await s.start().recover()
      assert.equal(await s.posted(account), 50_000n)
      assert.equal((await s.pull(url, await s.invoice())).reason, USED)
      assert.deepEqual(await s.pull(url, invoice), ok)
      assert.equal(s.node.sent(), 1)
    })

  test('is found out when another invoice comes', async () => {
    const s = await stage()
    const url = s.link()
    s.node.trouble = { pay: 'after', payment: 'after' }
    await s.pull(url, await s.invoice())
    s.node.trouble = {}
    assert.equal((await s.pull(url, await s.invoice())).reason, USED)
    assert.equal(s.node.sent(), 1)
  })

  test('and which has failed makes room for another invoice', async () => {
    const s = await stage()
    const url = s.link()
    s.node.noRoute = true
    s.node.trouble = { pay: 'after', payment: 'after' }
    assert.deepEqual(await s.pull(url, await s.invoice()), ok)
    s.node.trouble = {}
    s.node.noRoute = false
    assert.deepEqual(await s.pull(url, await s.invoice()), ok)
    assert.equal(s.node.sent(), 1)
    assert.equal(await s.posted(account), 50_000n)
  })

  test('and which never left waits for the end of its invoice before another is paid', async () => {
    const s = await stage()
    const url = s.link()
    s.node.trouble = { pay: 'before' }
    assert.deepEqual(await s.pull(url, await s.invoice()), ok)
    s.clock.turn(610_000)
    isError(await s.pull(url, await s.invoice()))
    s.clock.turn(60_000)
    s.node.trouble = {}
    assert.deepEqual(await s.pull(url, await s.invoice()), ok)
    assert.equal(s.node.sent(), 1)
  })
})

/** Books that die with their process at a call, before it is done or after. */
function dying(books: Ledger, dies: (verb: string, key: string) => boolean, done: boolean): Ledger {
  let dead = false
  const call = async <T>(verb: string, key: string, act: () => Promise<T>): Promise<T> => {
    const last = !dead && dies(verb, key)
    if (last && done) await act()
    dead ||= last
    if (dead) throw new PaymentError('store-unavailable', 'The process is gone.')
    return act()
  }
  return {
    ...books,
    transfer: (given: Transfer) => call('transfer', given.key, () => books.transfer(given)),
    step: (key, ...rest) => call('step', key, () => books.step(key, ...rest)),
    post: (key, ...rest) => call('post', key, () => books.post(key, ...rest)),
    void: (key, ...rest) => call('void', key, () => books.void(key, ...rest)),
    find: (key) => call('find', key, () => books.find(key)),
  }
}

describe('a process that dies', () => {
  const isTurn = (key: string): boolean => key.endsWith('/turn')
  const places: Record<string, (verb: string, key: string) => boolean> = {
    'at the claim': (verb, key) => verb === 'transfer' && !isTurn(key),
    'at its turn': (verb, key) => verb === 'transfer' && isTurn(key),
    'at writing ahead': (verb) => verb === 'step',
    'at posting': (verb) => verb === 'post',
    'at the end of its turn': (verb, key) => verb === 'void' && isTurn(key),
  }
  for (const [where, dies] of Object.entries(places))
    for (const done of [false, true])
      test(`${where}, ${done ? 'after' : 'before'} it was done, leaves a link that pays once`, async () => {
        const s = await stage()
        const url = s.link()
        const invoice = await s.invoice()
        const faults: unknown[] = []
        const observe = (event: unknown): void => void faults.push(event)
        const process = s.start({ ledger: dying(s.ledger, dies, done), observe })
        isError(await s.pull(url, invoice, process))
        assert(faults.length > 0)
        // Its turn may still stand: then nobody else sends, whatever is asked.
        await s.start().recover()
        const early = await s.pull(url, await s.invoice(), s.start())
        assert(s.node.sent() <= 1)
        s.clock.turn(WITHDRAW_TURN_MS)
        await s.start().recover()
        const again = await s.pull(url, invoice, s.start())
        const other = await s.pull(url, await s.invoice(), s.start())
        const taken = [early, again, other].filter(({ status }) => status === 'OK')
        assert.equal(taken.length, 1)
        assert.equal(s.node.sent(), 1)
        assert.equal(await s.posted(account), 50_000n)
        assert.equal(await s.posted('withdrawn/sale/1'), 50_000n)
      })

  test('between writing ahead and paying is followed by one that pays the same invoice', async () => {
    const s = await stage()
    const url = s.link()
    const invoice = await s.invoice()
    const ledger = dying(s.ledger, (verb) => verb === 'step', true)
    isError(await s.pull(url, invoice, s.start({ ledger })))
    assert.equal(s.node.calls.includes('pay'), false)
    // While its turn lasts, nobody knows that it is gone.
    isError(await s.pull(url, await s.invoice(), s.start()))
    await s.start().recover()
    assert.equal(s.node.sent(), 0)
    s.clock.turn(WITHDRAW_TURN_MS)
    isError(await s.pull(url, await s.invoice(), s.start()))
    assert.equal(s.node.sent(), 1)
    assert.deepEqual(await s.pull(url, invoice, s.start()), ok)
    assert.equal(s.node.sent(), 1)
  })
})

describe('a process that was thought dead', () => {
  test('and comes back from writing ahead sends nothing', async () => {
    for (const [sleptMs, said] of [
      [WITHDRAW_TURN_MS, 'ERROR'],
      [PAYOUT_TIMEOUT_MS + 1, 'ERROR'],
      [PAYOUT_TIMEOUT_MS, 'OK'],
    ] as const) {
      const s = await stage()
      const url = s.link()
      const invoice = await s.invoice()
      const step: Ledger['step'] = async (...given) => {
        await s.ledger.step(...given)
        s.clock.turn(sleptMs)
      }
      const slow = s.start({ ledger: { ...s.ledger, step } })
      assert.equal((await s.pull(url, invoice, slow)).status, said)
      assert.equal(s.node.sent(), said === 'OK' ? 1 : 0)
      // Whoever looks next pays it, once.
      await s.start().recover()
      assert.equal(s.node.sent(), 1)
      assert.equal(await s.posted(account), 50_000n)
    }
  })

  test('and finds that the books say otherwise tells the operator', async () => {
    const s = await stage()
    const faults: unknown[] = []
    const process = s.start({
      ledger: {
        ...s.ledger,
        async post(key, _, step, claim) {
          await s.ledger.post(key, 0n, step, claim)
          return 'replayed'
        },
      },
      observe: (event) => void (event.type === 'fault' && faults.push(event.error)),
    })
    isError(await s.pull(s.link(), await s.invoice(), process))
    assert.match(String(faults), /what became of the money/)
  })

  test('and finds that another has booked the same is content', async () => {
    const s = await stage()
    const process = s.start({
      ledger: {
        ...s.ledger,
        async post(...given) {
          await s.ledger.post(...given)
          return s.ledger.post(...given)
        },
      },
    })
    assert.deepEqual(await s.pull(s.link(), await s.invoice(), process), ok)
    assert.equal(await s.posted(account), 50_000n)
  })
})

test('books that cannot be asked are told to the operator, not to the wallet', async () => {
  const s = await stage()
  const url = s.link()
  const faults: string[] = []
  const process = s.start({
    observe: (event) => void (event.type === 'fault' && faults.push(event.where)),
  })
  await s.ledger.close()
  isError(await s.ask(url, process))
  assert.deepEqual(faults, ['withdraw'])
})
