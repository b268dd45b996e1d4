// People at the door, without a browser: requests are values, the gate is the real one, and the page is one line of HTML.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { gunzipSync } from 'node:zlib'
import type { Clock, Ledger, Page, Protocol } from '../core/ports.ts'
import { createHandClock, createKeyRail } from '../gate/fixture.test.ts'
import { DELIVER_MS } from '../gate/limits.ts'
import { memory } from '../ledger/memory.ts'
import { createOpaques } from '../tokens/opaque/index.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { toll } from './fetch.ts'
import { KEPT_BYTES_MAX } from './kept.ts'
import {
  COOKIE_CHARS_MAX,
  PAID_CHARS_MAX,
  PAID_MAX,
  TRAY_MAX,
  TRAY_MS,
  prefersHtml,
} from './page.ts'
import type { Routes } from './routes.ts'
import { createSeller } from './seller.ts'
import type { OpenSeller, SellerSettings } from './seller.ts'

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8'
const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'

/** Whoever says a word has paid with it, once. */
const protocol: Protocol = {
  name: 'fake',
  fields: { request: ['Fake-Payment'], response: ['Fake-Offers'] },
  writeChallenge: ({ offers }) => ({
    fields: offers.map(({ amount }) => ['Fake-Offers', String(amount.amount)]),
  }),
  readCredential(fields) {
    const proof = fields.get('Fake-Payment')
    return typeof proof === 'string'
      ? { offer: { rail: 'test', network: 'net' }, proof: proof.slice(0, 20) }
      : undefined
  },
  writeReceipt: ({ reference }) => ({ fields: [['Fake-Receipt', reference]] }),
  readChallenge: () => undefined,
  writeCredential: () => ({ fields: [] }),
  readReceipt: () => undefined,
}

const page: Page = {
  language: (accepted) => (accepted.startsWith('es') ? 'es' : 'en'),
  write: ({ language, problem, fields }) => ({
    fields: [['Content-Security-Policy', "default-src 'none'"]],
    html: `<p lang=${language}>${problem.code} ${JSON.stringify(fields)}`,
  }),
}

interface Shop {
  readonly clock: Clock & { pass(ms: number): void }
  readonly moved: ReadonlyMap<string, number>
  runs: string[]
  ask(
    path: string,
    headers?: Readonly<Record<string, string>>,
    init?: RequestInit,
  ): Promise<Response>
  /** Another process over the same books. */
  beside(): Promise<Shop>
}

const routes: Routes = {
  'GET /a': '0.01 USD',
  'POST /a': '0.01 USD',
  'GET /b': '0.01 USD',
  'GET /fails': '0.01 USD',
  'GET /large': '0.01 USD',
  'GET /pass': { plan: 'day' },
  'GET /in': { price: '0.01 USD', takes: ['day'] },
  'GET /other-pass': { plan: 'music' },
  'GET /song': { price: '0.01 USD', takes: ['music'] },
}

async function open(
  t: TestContext,
  more: Partial<SellerSettings> = {},
  clock = createHandClock(),
  ledger: Ledger = memory({ clock }),
): Promise<Shop> {
  const { rail, moved } = createKeyRail(clock)
  const mints = [createOpaques({ secrets: [SECRET] })]
  const seller = await createSeller({
    ...{ secret: SECRET, rails: [rail], ledger, clock, mints, page: () => page },
    protocols: [protocol, oauth({ mints })],
    plans: {
      day: { price: '1.00 USD', validForMs: 86_400_000 },
      music: { price: '1.00 USD', validForMs: 86_400_000 },
    },
    ...more,
  })
  t.after(() => seller.close())
  const shop: Shop = {
    clock,
    moved,
    runs: [],
    ask: async (path, headers = {}, init = {}) =>
      await handle(new Request(`https://shop.test${path}`, { headers, ...init })),
    beside: () => open(t, more, clock, ledger),
  }
  const handle = toll(seller, routes, ({ url }) => {
    const { pathname } = new URL(url)
    shop.runs.push(pathname)
    if (pathname === '/fails') return new Response('broken', { status: 500 })
    if (pathname === '/large') return new Response('x'.repeat(KEPT_BYTES_MAX + 1))
    return new Response(`content of ${pathname}`, {
      headers: { 'content-type': 'text/html', 'set-cookie': 'own=1' },
    })
  })
  return shop
}

/** A seller of nothing in particular. */
async function sellerOf(t: TestContext): Promise<OpenSeller> {
  const clock = createHandClock()
  const { rail } = createKeyRail(clock)
  const ledger = memory({ clock })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    ledger,
    clock,
    protocols: [protocol],
  })
  t.after(() => seller.close())
  return seller
}

const paying = (word: string): Readonly<Record<string, string>> => ({
  accept: 'application/json',
  'tolsey-page': '1',
  'fake-payment': word,
})

/** The cookies that a browser would send. */
function cookieOf(answer: Response): string {
  return answer.headers
    .getSetCookie()
    .map((line) => line.split(';')[0] ?? '')
    .join('; ')
}

const navigating = (cookie: string): Readonly<Record<string, string>> => ({
  accept: BROWSER,
  cookie,
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
  'sec-fetch-site': 'same-origin',
})

describe('who is shown a page', () => {
  test('whoever prefers HTML to JSON, and no machine', () => {
    const html = [BROWSER, 'text/html', 'text/html;q=0.9, application/json;q=0.5', 'TEXT/HTML, */*']
    const json = [
      ...[undefined, null, '', '*/*', 'application/json', 'application/json, text/html'],
      ...['text/*', 'text/html;q=0', 'text/html;q=0.1, application/problem+json;q=0.2'],
      ...[
        'application/json, text/plain, */*',
        'text/event-stream',
        `text/html${' '.repeat(2_000)}`,
      ],
    ]
    assert.deepEqual(
      html.filter((accept) => !prefersHtml(accept)),
      [],
    )
    assert.deepEqual(
      json.filter((accept) => prefersHtml(accept)),
      [],
    )
  })

  test('the page has the status, the challenge’s fields and a policy, and machines get what they always got', async (t) => {
    const shop = await open(t)
    for (let i = 0; i < 2; i++) {
      const machine = await shop.ask('/a', { accept: '*/*' })
      const person = await shop.ask('/a', { accept: BROWSER })
      const spanish = await shop.ask('/a', { accept: BROWSER, 'accept-language': 'es-MX' })
      assert.deepEqual([machine.status, person.status, spanish.status], [402, 402, 402])
      assert.equal(machine.headers.get('content-type'), 'application/problem+json')
      assert.equal(person.headers.get('content-type'), 'text/html; charset=utf-8')
      assert.equal(machine.headers.get('fake-offers'), '10000')
      assert.equal(person.headers.get('fake-offers'), '10000')
      assert.equal(machine.headers.get('content-security-policy'), null)
      assert.equal(person.headers.get('content-security-policy'), "default-src 'none'")
      for (const { headers } of [machine, person, spanish]) {
        assert.match(
          headers.get('vary') ?? '',
          /Fake-Payment.*Accept, Accept-Language, Accept-Encoding, Cookie/,
        )
        assert.equal(headers.get('cache-control'), 'no-store')
      }
      assert.equal(((await machine.json()) as { code: string }).code, 'payment-required')
      const said = await person.text()
      assert.match(said, /^<p lang=en>payment-required \[\["Fake-Offers","10000"\]/)
      assert.equal(person.headers.get('content-length'), String(said.length))
      assert.match(await spanish.text(), /^<p lang=es>/)
    }
  })

  test('a person is told what is wrong in the same way, and a machine as before', async (t) => {
    const shop = await open(t)
    const broken = toll(
      { ...(await sellerOf(t)), page },
      {
        'GET /broken': {
          price: () => {
            throw new Error('a secret')
          },
        },
      },
      () => new Response('never'),
    )
    const ask = (accept: string): Promise<Response> =>
      broken(new Request('https://shop.test/broken', { headers: { accept } }))
    const [person, machine] = [await ask(BROWSER), await ask('*/*')]
    assert.deepEqual([person.status, machine.status], [500, 500])
    assert.match(await person.text(), /^<p lang=en>internal/)
    assert.equal(((await machine.json()) as { code: string }).code, 'internal')
    // Where nothing is sold there is no page.
    const nowhere = await shop.ask('/nowhere', { accept: BROWSER })
    assert.equal(nowhere.headers.get('content-type'), 'application/problem+json')
  })

  test('the page comes packed to who unpacks it', async (t) => {
    const shop = await open(t)
    const whole = await (await shop.ask('/a', { accept: BROWSER })).text()
    for (const encoding of ['gzip', 'gzip, deflate, br', 'br;q=1, gzip;q=0.8']) {
      const packed = await shop.ask('/a', { accept: BROWSER, 'accept-encoding': encoding })
      assert.equal(packed.headers.get('content-encoding'), 'gzip')
      const bytes = Buffer.from(await packed.arrayBuffer())
      assert.equal(packed.headers.get('content-length'), String(bytes.length))
      assert.equal(gunzipSync(bytes).toString(), whole)
    }
    for (const encoding of ['br', 'identity', 'gzip;q=0', '*', 'x-gzipped'])
      assert.equal(
        await (await shop.ask('/a', { accept: BROWSER, 'accept-encoding': encoding })).text(),
        whole,
      )
  })

  test('HEAD tells of the page without it; what is no GET gets the machine’s answer', async (t) => {
    const shop = await open(t)
    const head = await shop.ask('/a', { accept: BROWSER }, { method: 'HEAD' })
    assert.equal(head.headers.get('content-type'), 'text/html; charset=utf-8')
    assert.equal(await head.text(), '')
    const post = await shop.ask('/a', { accept: BROWSER }, { method: 'POST', body: '{}' })
    assert.equal(post.headers.get('content-type'), 'application/problem+json')
  })
})

describe('what was paid on a page', () => {
  test('waits for the browser, and is there for its reloads, for one payment and one run', async (t) => {
    const shop = await open(t)
    const receipt = await shop.ask('/a', paying('one'))
    assert.equal(receipt.status, 200)
    assert.equal(receipt.headers.get('tolsey-page'), 'receipt')
    assert.equal(receipt.headers.get('fake-receipt'), 'tx-one')
    assert.match(receipt.headers.get('cache-control') ?? '', /no-store/)
    const said = (await receipt.json()) as { receipt: { amount: string } }
    assert.equal(said.receipt.amount, '0.01 COIN')
    const [cookie = ''] = receipt.headers.getSetCookie()
    assert.match(
      cookie,
      /^tolsey-paid-[\w-]{17}=[^;]+; Path=\/a; Max-Age=\d+; HttpOnly; SameSite=Strict; Secure$/,
    )
    for (let i = 0; i < 3; i++) {
      const shown = await shop.ask('/a', navigating(cookieOf(receipt)))
      assert.equal(shown.status, 200)
      assert.equal(await shown.text(), 'content of /a')
      assert.equal(shown.headers.get('fake-receipt'), 'tx-one')
      assert.equal(shown.headers.get('set-cookie'), 'own=1')
      assert.match(shown.headers.get('cache-control') ?? '', /private, no-store/)
    }
    assert.deepEqual(shop.runs, ['/a'])
    assert.equal(shop.moved.get('one'), 1)
  })

  test('a receipt that was lost is told once more, to who brings the same payment', async (t) => {
    const shop = await open(t)
    await shop.ask('/a', paying('one'))
    const again = await shop.ask('/a', paying('one'))
    assert.equal(again.headers.get('tolsey-page'), 'receipt')
    assert.notEqual(cookieOf(again), '')
    assert.equal((await shop.ask('/a', paying('two'))).status, 200)
    assert.equal((await shop.ask('/b', paying('one'))).status, 402)
    assert.deepEqual(shop.runs, ['/a', '/a'])
  })

  test('after a while it is delivered, and the page says so instead of asking for money', async (t) => {
    const shop = await open(t)
    const cookie = cookieOf(await shop.ask('/a', paying('one')))
    assert.equal((await shop.ask('/a', navigating(cookie))).status, 200)
    shop.clock.pass(TRAY_MS)
    const gone = await shop.ask('/a', navigating(cookie))
    assert.equal(gone.status, 410)
    assert.match(await gone.text(), /^<p lang=en>payment-delivered/)
    assert.deepEqual(gone.headers.getSetCookie(), [])
    assert.deepEqual(shop.runs, ['/a'])
  })

  test('a process that was not there serves it, once, when the first has not', async (t) => {
    const shop = await open(t)
    const cookie = cookieOf(await shop.ask('/a', paying('one')))
    const other = await shop.beside()
    const early = await other.ask('/a', navigating(cookie))
    assert.equal(early.status, 409)
    assert.match(await early.text(), /payment-in-flight/)
    shop.clock.pass(DELIVER_MS)
    assert.equal(await (await other.ask('/a', navigating(cookie))).text(), 'content of /a')
    assert.equal((await other.ask('/a', navigating(cookie))).status, 410)
    assert.deepEqual(other.runs, ['/a'])
    assert.equal(other.moved.size, 0)
  })

  test('failed work is told as it is: no receipt, no cookie, no charge', async (t) => {
    const shop = await open(t)
    const failed = await shop.ask('/fails', paying('one'))
    assert.equal(failed.status, 500)
    assert.equal(await failed.text(), 'broken')
    assert.deepEqual(failed.headers.getSetCookie(), [])
    assert.equal(shop.moved.size, 0)
  })

  test('what is too large to wait, or paid with what no cookie holds, comes at once', async (t) => {
    const shop = await open(t)
    const large = await shop.ask('/large', paying('one'))
    assert.equal((await large.text()).length, KEPT_BYTES_MAX + 1)
    assert.equal(large.headers.get('tolsey-page'), null)
    const long = await shop.ask('/a', paying('x'.repeat(COOKIE_CHARS_MAX)))
    assert.equal(await long.text(), 'content of /a')
  })

  test('only so many answers wait, and the oldest goes', async (t) => {
    const shop = await open(t)
    const first = cookieOf(await shop.ask('/a', paying('first')))
    for (let i = 0; i < TRAY_MAX; i++) await shop.ask('/a', paying(`word-${i}`))
    assert.equal((await shop.ask('/a', navigating(first))).status, 409)
  })
})

describe('the cookie', () => {
  test('pays for a person’s own way to that very address, and for nothing else', async (t) => {
    const shop = await open(t)
    const honest = navigating(cookieOf(await shop.ask('/a', paying('one'))))
    const others: readonly Readonly<Record<string, string>>[] = [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-mode': 'cors' },
      { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
      { 'sec-fetch-dest': 'iframe' },
      { 'sec-purpose': 'prefetch;prerender' },
      { accept: '*/*' },
      { accept: 'application/json' },
    ]
    for (const change of others)
      assert.equal(
        (await shop.ask('/a', { ...honest, ...change })).status,
        402,
        Object.values(change)[0],
      )
    for (const path of ['/a?q', '/b']) assert.equal((await shop.ask(path, honest)).status, 402)
    assert.equal((await shop.ask('/a', honest, { method: 'POST', body: '' })).status, 402)
    assert.equal((await shop.ask('/a', honest, { method: 'HEAD' })).status, 402)
    const { accept, cookie } = honest
    assert.ok(accept !== undefined && cookie !== undefined)
    // A browser that tells nothing of where it comes from.
    assert.equal((await shop.ask('/a', { accept, cookie })).status, 200)
    assert.equal((await shop.ask('/a', honest)).status, 200)
    assert.deepEqual(shop.runs, ['/a'])
  })

  test('is not looked at beside a payment that a header brings', async (t) => {
    const shop = await open(t)
    const cookie = cookieOf(await shop.ask('/a', paying('one')))
    const answer = await shop.ask('/a', { ...navigating(cookie), 'fake-payment': 'two' })
    assert.equal(answer.headers.get('fake-receipt'), 'tx-two')
    // What the application itself asks for is no payment.
    const guarded = await shop.ask('/a', { ...navigating(cookie), authorization: 'Basic YTpi' })
    assert.equal(guarded.headers.get('fake-receipt'), 'tx-one')
  })

  test('that does not pay any more is taken back, and the price is told', async (t) => {
    const shop = await open(t)
    const cookie = cookieOf(await shop.ask('/a', paying('one')))
    const [name = '', value = ''] = cookie.split('=')
    const purse = Buffer.from(JSON.stringify({ 'Fake-Payment': 'bad' })).toString('base64url')
    const spoilt = await shop.ask('/a', navigating(`${name}=${value.split('.')[0]}.${purse}`))
    assert.equal(spoilt.status, 402)
    assert.match(
      spoilt.headers.getSetCookie().join(),
      /^tolsey-paid-[\w-]{17}=; Path=\/a; Max-Age=0/,
    )
  })

  test('with rubbish in it is none', async (t) => {
    const shop = await open(t)
    const honest = cookieOf(await shop.ask('/a', paying('one')))
    const [name = '', value = ''] = honest.split('=')
    const [bound = ''] = value.split('.')
    const json = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url')
    const rubbish = [
      ...[name, `${name}=`, `${name}=.`, `${name}=${bound}.`, '=;=;;', `tolsey-paid=${value}`],
      `${name}=${bound}.${json(null)}`,
      `${name}=${bound}.${json(['Fake-Payment'])}`,
      `${name}=${bound}.${json({ 'Fake-Payment': 1 })}`,
      `${name}=${bound}.${json({ Host: 'evil', 'Sec-Fetch-Mode': 'navigate' })}`,
      `${name}=${bound}.${'A'.repeat(20_000)}`,
      `x=${'y'.repeat(20_000)}; ${honest}`,
    ]
    for (const cookie of rubbish) {
      const answer = await shop.ask('/a', navigating(cookie))
      assert.equal(answer.status, 402)
      assert.match(await answer.text(), /payment-required/)
    }
    assert.equal((await shop.ask('/a', navigating(honest))).status, 200)
  })

  test('of one query stands beside that of another, as many as fit into the head of a request', async (t) => {
    const shop = await open(t)
    const jar = new Map<string, string>()
    const sent = (): string => [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const buy = async (path: string, word: string): Promise<void> => {
      const answer = await shop.ask(path, { ...paying(word), cookie: sent() })
      assert.equal(answer.headers.get('tolsey-page'), 'receipt')
      for (const line of answer.headers.getSetCookie()) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*); Path=\/a;/.exec(line) ?? []
        // One that is set anew keeps its place (RFC 6265, 5.3).
        if (line.includes('Max-Age=0')) jar.delete(name)
        else jar.set(name, value)
      }
    }
    const open200 = async (path: string): Promise<boolean> =>
      (await shop.ask(path, navigating(sent()))).status === 200
    await buy('/a?q=1', 'one')
    await buy('/a?q=2', 'two')
    assert.deepEqual([await open200('/a?q=1'), await open200('/a?q=2')], [true, true])
    assert.equal(await open200('/a?q=3'), false)
    for (let i = 3; i < 10; i++) await buy(`/a?q=${i}`, `word ${i}`)
    assert.equal(jar.size, PAID_MAX)
    assert.deepEqual(await Promise.all([5, 6, 7, 8, 9].map((i) => open200(`/a?q=${i}`))), [
      ...[false, true, true, true, true],
    ])
    // Long ones are fewer.
    for (let i = 0; i < 5; i++) await buy(`/a?long=${i}`, `${i}${'x'.repeat(2_000)}`)
    assert.equal(jar.size, 2)
    assert.ok(sent().length < PAID_CHARS_MAX + 100)
  })

  test('of one seller is neither looked at nor taken away by another at the same host', async (t) => {
    const shop = await open(t)
    const neighbour = await open(t, { realm: 'next' })
    const cookie = cookieOf(await shop.ask('/a', paying('one')))
    const there = await neighbour.ask('/a', navigating(cookie))
    assert.deepEqual([there.status, there.headers.getSetCookie()], [402, []])
    const bought = await neighbour.ask('/a', { ...paying('two'), cookie })
    const both = `${cookie}; ${cookieOf(bought)}`
    assert.equal(both.match(/=/g)?.length, 2)
    for (const one of [shop, neighbour])
      assert.equal((await one.ask('/a', navigating(both))).status, 200)
  })

  test('of a plan opens what the plan opens, to a person’s own way there', async (t) => {
    const shop = await open(t)
    const bought = await shop.ask('/pass', paying('one'))
    assert.equal(bought.headers.get('tolsey-page'), 'receipt')
    const [paid = '', token = ''] = bought.headers.getSetCookie()
    assert.match(paid, /Path=\/pass;/)
    assert.match(
      token,
      /^tolsey-token-[\w-]{17}=\*\.[^;]+; Path=\/; Max-Age=86\d{3}; HttpOnly; SameSite=Strict; Secure$/,
    )
    const cookie = cookieOf(bought)
    assert.equal(await (await shop.ask('/in', navigating(cookie))).text(), 'content of /in')
    const elsewhere = await shop.ask('/b', navigating(cookie))
    assert.equal(elsewhere.status, 402)
    assert.match(await elsewhere.text(), /payment-required/)
    assert.equal((await shop.ask('/in', { ...navigating(cookie), accept: '*/*' })).status, 402)
    assert.equal(shop.moved.size, 1)
  })

  test('of a plan is kept where it is good for nothing, and beside a payment that is spoilt', async (t) => {
    const shop = await open(t)
    const pass = cookieOf(await shop.ask('/pass', paying('one')))
    const elsewhere = await shop.ask('/b', navigating(pass))
    assert.equal(elsewhere.status, 402)
    assert.deepEqual(elsewhere.headers.getSetCookie(), [])
    const paid = cookieOf(await shop.ask('/b', paying('two')))
    const [name = '', value = ''] = paid.split('=')
    const [bound = ''] = value.split('.')
    const purse = Buffer.from(JSON.stringify({ 'Fake-Payment': 'bad' })).toString('base64url')
    const both = `${name}=${bound}.${purse}; ${pass}`
    const spoilt = await shop.ask('/b', navigating(both))
    assert.equal(spoilt.status, 402)
    const [dropped = '', ...others] = spoilt.headers.getSetCookie()
    assert.match(dropped, /^tolsey-paid-[\w-]{17}=; Path=\/b; Max-Age=0/)
    assert.deepEqual(others, [])
    assert.equal((await shop.ask('/in', navigating(pass))).status, 200)
  })

  test('of a plan opens what a payment had opened once', async (t) => {
    const shop = await open(t)
    const once = cookieOf(await shop.ask('/in', paying('one')))
    assert.equal((await shop.ask('/in', navigating(once))).status, 200)
    shop.clock.pass(TRAY_MS)
    assert.equal((await shop.ask('/in', navigating(once))).status, 410)
    const [, pass = ''] = cookieOf(await shop.ask('/pass', paying('two'))).split('; ')
    assert.match(pass, /^tolsey-token-/)
    const again = await shop.ask('/in', navigating(`${once}; ${pass}`))
    assert.equal(again.status, 200)
    assert.equal(await again.text(), 'content of /in')
    // Where the pass is good for nothing, what was delivered stays so.
    const other = cookieOf(await shop.ask('/b', paying('three')))
    assert.equal((await shop.ask('/b', navigating(other))).status, 200)
    shop.clock.pass(TRAY_MS)
    assert.equal((await shop.ask('/b', navigating(`${other}; ${pass}`))).status, 410)
    assert.equal(shop.moved.size, 3)
  })

  test('of a plan shows what it was bought with, for as long as it is good', async (t) => {
    const shop = await open(t)
    const pass = cookieOf(await shop.ask('/pass', paying('one')))
    assert.equal(await (await shop.ask('/pass', navigating(pass))).text(), 'content of /pass')
    shop.clock.pass(TRAY_MS)
    assert.equal(await (await shop.ask('/pass', navigating(pass))).text(), 'content of /pass')
    assert.equal(shop.moved.size, 1)
  })

  test('of a plan stays beside that of another, of this seller or of another at the same host', async (t) => {
    const shop = await open(t)
    const secret = `${SECRET}!`
    const mints = [createOpaques({ secrets: [secret] })]
    const protocols = [protocol, oauth({ mints })]
    const neighbour = await open(t, { secret, mints, protocols, realm: 'next' })
    const jar = new Map<string, string>()
    const keep = (answer: Response): void => {
      for (const line of answer.headers.getSetCookie()) {
        const [pair = ''] = line.split(';')
        const [name = '', value = ''] = pair.split('=')
        if (line.includes('Max-Age=0')) jar.delete(name)
        else if (line.includes('Path=/;')) jar.set(name, value)
      }
    }
    const go = async (at: Shop, path: string): Promise<number> => {
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
      const answer = await at.ask(path, navigating(cookie))
      keep(answer)
      return answer.status
    }
    keep(await shop.ask('/pass', paying('one')))
    assert.equal(await go(shop, '/in'), 200)
    keep(await shop.ask('/other-pass', paying('two')))
    keep(await neighbour.ask('/pass', paying('three')))
    assert.equal(await go(neighbour, '/song'), 402)
    assert.equal(await go(shop, '/b'), 402)
    for (const [at, path] of [
      [shop, '/in'],
      [shop, '/song'],
      [neighbour, '/in'],
    ] as const)
      assert.equal(await go(at, path), 200)
    assert.equal(shop.moved.size, 2)
  })
})
