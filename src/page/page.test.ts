// The page as text: what is put into it stays text, and what runs in it is what was built.
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Challenge } from '../core/challenge.ts'
import { isBound } from '../core/credential.ts'
import type { Offer } from '../core/offer.ts'
import type { Page, Rail, View } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { createSeal } from '../core/seal.ts'
import { systemChance } from '../core/chance.ts'
import { DESCRIPTION_CHARS_MAX, TICKET_FIELD, page, stripeCard } from './index.ts'
import type { PageSettings } from './index.ts'
import { amountOf, languages, words } from './words.ts'

const directory = mkdtempSync(join(tmpdir(), 'tolsey-shell-'))
const file = join(directory, 'index.html')
const SCRIPT = 'const said = document.querySelector("#said")'
const STYLE = ':root { --accent: blue }'
writeFileSync(
  file,
  `<html lang="%lang%"><title>%title%</title><style>${STYLE}</style><!--theme--><main><!--main--></main><script type="application/json" id="said">%said%</script><script type="module">${SCRIPT}</script></html>`,
)
after(() => rmSync(directory, { recursive: true, force: true }))

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const seal = createSeal([SECRET], 'page', systemChance)

const rail = {
  name: 'test',
  network: 'net',
  seen: (name?: string) => ({ seen: name ?? 'yes' }),
} as unknown as Rail

function open(settings: PageSettings = {}, rails: readonly Rail[] = [rail]): Page {
  return page({ file, ...settings })({
    rails,
    seal: (bytes) => seal.seal('page', bytes),
    open: (bytes) => seal.open('page', bytes),
  })
}

const resource = {
  ...{ realm: 'shop', method: 'GET', authority: 'shop.test', path: '/a', query: '' },
  url: 'https://shop.test/a',
}
const offer: Offer = {
  ...{ id: 'one', rail: 'test', network: 'net', intent: 'charge', payee: 'me', timeoutMs: 1 },
  ...{ resource, expiresAt: 1_800_000_000_000, details: {}, invoice: 'lnbc1abc' },
  amount: { asset: { id: 'usdc', code: 'USDC', scale: 6, currency: 'USD' }, amount: 10_000n },
}

function view(change: Partial<Challenge> = {}, more: Partial<View> = {}): View {
  const why = problem('payment-required', 'Pay.')
  const challenge = { resource, problem: why, offers: [offer], ...change }
  return { resource, problem: why, challenge, request: 'r1', language: 'en', fields: [], ...more }
}

/** What a browser would read out of the data. */
function saidIn(html: string): Record<string, unknown> {
  const found = /id="said">([^<]*)<\/script>/.exec(html)?.[1]
  assert.ok(found !== undefined)
  return JSON.parse(found) as Record<string, unknown>
}

describe('what strangers wrote', () => {
  test('is text wherever it stands, whatever it is', () => {
    const written = open({ name: 'Shop' })
    const shape = (html: string): string => html.replaceAll(/>[^<]*</g, '><')
    const plain = shape(written.write(view({ description: 'x' })).html)
    const evil = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.constantFrom(
        '</script><script>1</script>',
        '<!--',
        '<!--main-->',
        '%said%',
        '$&$1$`',
        '"><img src=x onerror=1>',
        '\u2028\u2029\u0000\u202e',
      ),
    )
    fc.assert(
      fc.property(evil, evil, (description, path) => {
        const { html } = written.write(
          view({ description }, { resource: { ...resource, path }, request: path }),
        )
        assert.equal(shape(html), plain)
        assert.equal(saidIn(html)['path'], path)
      }),
      { numRuns: 300 },
    )
  })

  test('is cut where it is long, and an invoice that is none is no link', () => {
    const long = 'x'.repeat(DESCRIPTION_CHARS_MAX + 50)
    const invoice = 'lnbc1" onclick="alert(1)'
    const { html } = open().write(view({ description: long, offers: [{ ...offer, invoice }] }))
    assert.ok(!html.includes('x'.repeat(DESCRIPTION_CHARS_MAX + 1)))
    assert.doesNotMatch(html, /lightning:/)
    assert.match(open().write(view()).html, /<a class="button" href="lightning:lnbc1abc">/)
  })
})

describe('the policy', () => {
  const policyOf = (settings: PageSettings = {}): string =>
    open(settings)
      .write(view())
      .fields.find(([name]) => name === 'Content-Security-Policy')?.[1] ?? ''

  test('names the script and the styles by what they are, and nothing else', () => {
    const sha = (text: string): string => `'sha256-${hash('sha256', text, 'base64')}'`
    const policy = policyOf({ light: { accent: '#123456' } })
    const theme = ':root{--accent:#123456}'
    assert.match(
      policy,
      /^default-src 'none'; script-src 'sha256-[^ ;]+'; style-src 'sha256-[^ ;]+' 'sha256-[^ ;]+';/,
    )
    for (const text of [SCRIPT, STYLE, theme]) assert.ok(policy.includes(sha(text)), text)
    assert.ok(
      open({ light: { accent: '#123456' } })
        .write(view())
        .html.includes(`<style>${theme}</style>`),
    )
    for (const directive of ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"])
      assert.ok(policy.includes(directive))
    assert.match(policy, /connect-src 'self';/)
    assert.match(policy, /require-trusted-types-for 'script'/)
  })

  test('opens to the processor and to payment apps where they are set, and to these alone', () => {
    const policy = policyOf({
      card: stripeCard('pk_test_1'),
      apps: { evm: 'https://app.test/pay' },
    })
    assert.match(policy, /script-src 'sha256-[^ ]+' https:\/\/js\.stripe\.com;/)
    assert.match(
      policy,
      /connect-src 'self' [^;]*https:\/\/api\.stripe\.com[^;]* https:\/\/app\.test;/,
    )
    assert.match(policy, /frame-src [^;]*https:\/\/hooks\.stripe\.com/)
    for (const script of ['http://js.test/x.js', 'javascript:1', 'https://a.test;x/', ''])
      assert.throws(() => open({ card: { script, publishableKey: 'pk' } }), RangeError, script)
  })
})

describe('a theme', () => {
  test('is colours, a name and a picture, and no way to write more than that', () => {
    const good: readonly PageSettings[] = [
      {
        light: { accent: 'rebeccapurple', card: 'rgb(1 2 3 / 50%)' },
        dark: { text: 'oklch(0.7 0.1 200)' },
      },
      { radiusPx: 0, font: "Georgia, 'Noto Serif', serif", name: 'Küche & <Co>' },
      { logo: 'data:image/png;base64,iVBORw0KGgo=' },
    ]
    for (const settings of good) open(settings)
    const bad: readonly PageSettings[] = [
      { light: { accent: 'red;}body{background:url(//evil)' } },
      { light: { accent: 'url(https://evil)' } },
      { dark: { text: 'expression(1)' } },
      { font: 'a</style><script>' },
      { font: 'a;b' },
      { radiusPx: -1 },
      { radiusPx: Number.NaN },
      { logo: 'https://evil/x.png' },
      { logo: 'data:text/html;base64,AAAA' },
      { logo: `data:image/png;base64,${'A'.repeat(20_000)}` },
      { name: 'x'.repeat(200) },
    ]
    for (const settings of bad)
      assert.throws(() => open(settings), RangeError, JSON.stringify(settings))
  })

  test('a page that was not built is told at the start', () => {
    assert.throws(() => open({ file: join(directory, 'none.html') }), /was not built/)
  })
})

describe('languages', () => {
  test('the reader’s first that is spoken, by weight', () => {
    const written = open()
    const cases: readonly (readonly [string, string])[] = [
      ['', 'en'],
      ['es', 'es'],
      ['zh-Hans-CN,zh;q=0.9,en;q=0.8', 'zh'],
      ['fr, es;q=0.5, en;q=0.9', 'en'],
      ['es;q=0, fr', 'en'],
      ['de;q=abc, ES-mx', 'es'],
      ['*', 'en'],
      ['__proto__, constructor', 'en'],
    ]
    for (const [accepted, language] of cases)
      assert.equal(written.language(accepted), language, accepted)
  })

  test('say the same, with the same places to fill', () => {
    const places = (text: string): string =>
      [...text.matchAll(/\{\d\}/g)]
        .map(String)
        .toSorted((a, b) => a.localeCompare(b))
        .join()
    for (const language of Object.keys(languages) as (keyof typeof languages)[])
      for (const [name, text] of Object.entries(words.en)) {
        const said = words[language][name as keyof typeof words.en]
        assert.equal(places(said), places(text), `${language}: ${name}`)
      }
  })

  test('bitcoin is said in satoshis, exactly, and a currency with its cents', () => {
    const cases = {
      '0.00000005 BTC': '5 sat',
      '1 BTC': '100000000 sat',
      '0.00000000001 BTC': '0.001 sat',
      '0.01 USDC': '0.01 USDC',
      '0.5 USD': '0.50 USD',
      '5 USD': '5 USD',
    }
    for (const [text, said] of Object.entries(cases)) assert.equal(amountOf(text), said)
  })
})

describe('a ticket', () => {
  const ticketOf = (written: Page): string => {
    const [said] = saidIn(written.write(view()).html)['offers'] as readonly { ticket: string }[]
    return said?.ticket ?? assert.fail('there is a ticket')
  }
  const read = (written: Page, ticket: string) =>
    written.protocol?.readCredential(
      { get: (name) => (name === TICKET_FIELD ? ticket : undefined) },
      resource,
    )

  test('is the offer, for who has the page', () => {
    const written = open()
    const ticket = ticketOf(written)
    const found = read(written, ticket)
    assert.ok(
      found &&
        !(found instanceof Promise) &&
        !('code' in found) &&
        found.offer &&
        isBound(found.offer),
    )
    const { invoice: _, ...rest } = offer
    assert.deepEqual(found.offer, rest)
    assert.deepEqual(found.proof, { seen: 'yes' })
    const named = read(written, `${ticket}.pi_123`)
    assert.ok(named && !(named instanceof Promise) && !('code' in named))
    assert.deepEqual(named.proof, { seen: 'pi_123' })
  })

  test('is nothing when it is changed, cut, of another seller, or for a rail that sees nothing', () => {
    const written = open()
    const ticket = ticketOf(written)
    const other = createSeal(['another secret of thirty-two bytes!!'], 'page', systemChance)
    const foreign = page({ file })({
      rails: [rail],
      seal: (bytes) => other.seal('page', bytes),
      open: (bytes) => other.open('page', bytes),
    })
    const blind = { ...rail, seen: () => undefined } as unknown as Rail
    const flipped = ticket.slice(0, 20) + (ticket[20] === 'A' ? 'B' : 'A') + ticket.slice(21)
    const bad = [
      '',
      'x',
      '.',
      `${ticket}.`,
      `${ticket}.a b`,
      ticket.slice(0, -4),
      flipped,
      'A'.repeat(5_000),
    ]
    for (const said of [...bad, ticketOf(foreign)]) {
      const found = read(written, said)
      assert.ok(found && 'code' in found && found.code === 'proof-invalid', said.slice(0, 40))
    }
    const unseen = read(open({}, [blind]), ticket)
    assert.ok(unseen && 'code' in unseen)
    const { seen: _, ...unable } = { ...rail, seen: undefined }
    assert.doesNotMatch(open({}, [unable]).write(view()).html, /"ticket"/)
  })
})
