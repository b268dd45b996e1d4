import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { durationOf, readDocument, sizeOf } from './document.ts'

const good = `listen: 8402
origin: https://api.example.com
secret: { env: SECRET }
rails:
  evm:
    network: base
    payTo: "0x1111111111111111111111111111111111111111"
    facilitator: https://facilitator.example
upstreams:
  api: http://127.0.0.1:3000
routes:
  GET /weather: 0.01 USD
`

/** What is said of a document, a line for each mistake. */
function told(text: string, name = 'tolsey.yaml'): readonly string[] {
  const read = readDocument(text, name)
  return read.ok
    ? []
    : read.mistakes.map(({ line, path, sentence }) => `${line} ${path}: ${sentence}`)
}

describe('a document', () => {
  test('is read', () => {
    assert.deepEqual(told(good), [])
  })

  test('is the same in JSON with comments', () => {
    const read = readDocument(good, 'a.yaml')
    assert.ok(read.ok)
    const json = JSON.stringify(read.document, undefined, '\t')
    assert.deepEqual(told(json, 'a.json'), [])
    const spoken = json
      .replace('{', '{ // a comment with "quotes"\n /* and\n another */')
      .replace(/\}$/, ',}')
    const again = readDocument(spoken, 'a.jsonc')
    assert.ok(again.ok, told(spoken, 'a.jsonc').join())
    assert.deepEqual(again.document, read.document)
    assert.match(told(json.replace('"listen"', '"lisen"'), 'a.json').join(), /2 lisen: .*"listen"/)
  })

  for (const [what, from, to, expected] of [
    [
      'a member that is mistyped',
      'routes:',
      'route:',
      '11 route: There is no "route" here. Did you mean "routes"?',
    ],
    [
      'a member inside that is mistyped',
      '    payTo',
      '    payto',
      '7 rails › evm › payto: There is no "payto" here. Did you mean "payTo"?',
    ],
    [
      'a price that is none',
      '0.01 USD',
      '0.01USD',
      '12 routes › GET /weather: A price is written like "0.01 USD".',
    ],
    [
      'a price of nothing',
      '0.01 USD',
      '0 USD',
      /^12 routes › GET \/weather: .*A price of nothing is written "free"/,
    ],
    [
      'a pattern that is none',
      'GET /weather',
      'GET weather',
      /^12 routes › GET weather: .*does not begin with a slash/,
    ],
    [
      'a secret in plain text',
      '{ env: SECRET }',
      'abcdef',
      '3 secret: A secret is written by where it stands: { env: NAME } or { file: PATH }.',
    ],
    [
      'an origin with a path',
      'example.com\n',
      'example.com/v1\n',
      /^2 origin: An origin is written like/,
    ],
    [
      'an upstream that is no address',
      'http://127',
      'ftp://127',
      /^10 upstreams › api: An address begins with/,
    ],
    [
      'nobody who settles',
      '    facilitator: https://facilitator.example\n',
      '',
      /^5 rails › evm: Say who settles/,
    ],
    ['a network of nobody', 'listen: 8402', 'listen: 99999', /^1 listen: Write a port/],
    [
      'an upstream that is not there',
      ': 0.01 USD',
      ': { price: 0.01 USD, upstream: apo }',
      '12 routes › GET /weather › upstream: There is no upstream "apo". Did you mean "api"?',
    ],
    [
      'a plan that is not there',
      ': 0.01 USD',
      ': { plan: gold }',
      /^12 routes › GET \/weather: .*names a plan "gold" that is not there/,
    ],
    [
      'answers that are kept nowhere',
      ': 0.01 USD',
      ': { price: 0.01 USD, keep: true }',
      /^12 routes › GET \/weather › keep: .*"vault"/,
    ],
    [
      'a time without a unit',
      ': 0.01 USD',
      ': { price: 0.01 USD, timeout: "30" }',
      /^12 routes › GET \/weather › timeout: A time is written/,
    ],
    [
      'two routes that are one',
      ': 0.01 USD',
      ': 0.01 USD\n  GET /WEATHER: free',
      /^11 routes: .*are the same to a router/,
    ],
    [
      'a price and a service that tells it',
      ': 0.01 USD',
      ': { price: 0.01 USD, priceService: { url: "https://a.example", secret: { env: A } } }',
      '12 routes › GET /weather › priceService: Say "price" or "priceService".',
    ],
    [
      'a rule without a price',
      ': 0.01 USD',
      ': { price: { when: [{ method: POST, price: 1 USD }] } }',
      /^12 routes › GET \/weather › price: A rule has a "base"/,
    ],
    [
      'a rule in two currencies',
      ': 0.01 USD',
      ': { price: { base: 1 USD, each: { unit: page, price: 1 SAT, query: pages } } }',
      /^12 routes › GET \/weather › price: .*one currency/,
    ],
    [
      'a count that is counted in two ways',
      ': 0.01 USD',
      ': { price: { each: { unit: page, price: 1 SAT, query: pages, param: id } } }',
      /^12 routes › GET \/weather › price › each: Say in one way/,
    ],
    [
      'a body that is priced and not read',
      ': 0.01 USD',
      ': { body: free, price: { each: { unit: kB, price: 1 SAT, bodyBytes: 1000 } } }',
      /^12 routes › GET \/weather › body: A body that is priced is read/,
    ],
    [
      'a rate that is a rounded number',
      'routes:',
      'rates: { fixed: { EUR/USD: 1.08 } }\nroutes:',
      /^11 rates › fixed › EUR\/USD: A number is written as text/,
    ],
    [
      'a pair that is none',
      'routes:',
      'rates: { fixed: { EURUSD: "1.08" } }\nroutes:',
      /^11 rates: .*EURUSD/,
    ],
    [
      'a key of its own beside a facilitator',
      '    facilitator:',
      '    refundSigner: { env: A }\n    facilitator:',
      /^5 rails › evm: A "facilitator" settles by itself/,
    ],
    [
      'confirmations that nobody looks for',
      '    facilitator:',
      '    confirmations: 3\n    facilitator:',
      /^5 rails › evm: To count "confirmations"/,
    ],
    ['a name twice', 'origin:', 'listen: 1\norigin:', /^2 : Map keys must be unique/],
    ['text that is no YAML', 'listen: 8402', 'listen: [', /^\d+ : /],
    [
      'two nodes',
      'rails:',
      'rails:\n  lightning: { lnurl: { address: a@b }, nwc: { uri: { env: X } } }',
      /^5 rails › lightning: Name one node/,
    ],
  ] as const)
    test(`with ${what} is refused, with its line and a sentence`, () => {
      const text = good.replace(from, to)
      assert.notEqual(text, good)
      const all = told(text)
      const found = all.some((one) =>
        typeof expected === 'string' ? one === expected : expected.test(one),
      )
      assert.ok(found, all.join('\n'))
    })

  test('tells all that is wrong with it at once, in the order of its lines', () => {
    const text = good
      .replace('0.01 USD', 'x')
      .replace('listen', 'lissen')
      .replace('network', 'netwrk')
    assert.deepEqual(
      told(text)
        .map((one) => one.split(' ')[0])
        .filter((line) => Number(line) > 1),
      ['5', '6', '12'],
    )
    assert.equal(told(text).length, 5)
  })

  test('says what a price is made of, and what currencies are worth', () => {
    const priced = `{ price: { base: 0.02 USD, when: [{ query: { size: small }, price: 0.01 USD }],
      each: { unit: page, price: 0.01 USD, query: pages, most: 50 } } }`
    const rates = `rates:
  fixed: { EUR/USD: "1.08" }
  fixedUntil: 2027-01-01T00:00:00Z
  http:
    BTC/USD:
      sources: [{ url: "https://a.example/btc", pointer: /last, headers: { Key: { env: RATES } } }]
      between: ["20000", "500000"]
  maxAge: 2m
`
    const served = `  GET /b: { priceService: { url: "https://prices.example/", secret: { env: A },
    cache: { by: [query.pages], for: 1m } } }
`
    const text = good.replace(': 0.01 USD', `: ${priced}`).replace('routes:', `${rates}routes:`)
    assert.deepEqual(told(text + served), [])
    assert.deepEqual(
      told(
        good.replace(
          '    facilitator',
          '    rpc: { env: RPC }\n    confirmations: 3\n    facilitator',
        ),
      ),
      [],
    )
  })

  test('holds aliases, but not millions', () => {
    assert.deepEqual(
      told(
        good
          .replace('  api: http', '  api: &a http')
          .replace('routes:', '  b: *a\nroutes:')
          .replace(': 0.01 USD', ': { price: 0.01 USD, upstream: b }'),
      ),
      [],
    )
    const bomb = Array.from(
      { length: 12 },
      (_, i) =>
        `a${i}: &a${i} [${Array.from({ length: 9 }, () => (i === 0 ? 'x' : `*a${i - 1}`)).join(',')}]`,
    )
    assert.match(told(bomb.join('\n')).join(), /aliases/)
  })
})

test('times and sizes are what they say', () => {
  assert.deepEqual(
    ['500ms', '30s', '5m', '1h', '30d'].map(durationOf),
    [500, 30_000, 300_000, 3_600_000, 2_592_000_000],
  )
  assert.deepEqual(['7B', '32kB', '10MB', '1GB'].map(sizeOf), [7, 32_000, 1e7, 1e9])
})

test('what is paid waits for its upstream, where that can be meant', () => {
  const start = good.slice(0, good.indexOf('routes:'))
  const routed = (route: string, vault = 'vault: kept'): readonly string[] =>
    told(`${start}${vault}\nroutes:\n  POST /a: ${route}\n`)
  for (const route of [
    '{ price: 0.10 USD, fallback: queue }',
    '{ price: 0.10 USD, fallback: { queue: 2h } }',
    '{ price: 0.10 USD, fallback: { queue: 24h, repeat: true }, body: free }',
  ])
    assert.deepEqual(routed(route), [], route)
  for (const [route, why] of [
    ['{ price: 0.10 USD, fallback: { queue: 2d } }', /up to a day/],
    ['{ price: 0.10 USD, fallback: { queue: 0s } }', /up to a day/],
    ['{ price: 0.10 USD, fallback: later }', /"queue" or/],
    ['{ price: 0.10 USD, fallback: { queue: 1h, charged: false } }', /fallback/],
    ['{ price: free, fallback: queue }', /What is free/],
    ['{ price: 0.10 USD, fallback: queue, settle: deferred }', /leave "settle" out/],
    ['{ price: 0.10 USD, fallback: queue, keep: false }', /leave "keep" out/],
    ['{ price: 0.10 USD, fallback: queue, task: true }', /has no fallback/],
    ['{ price: 0.10 USD, fallback: queue, mimeType: text/event-stream }', /A stream of events/],
  ] as const)
    assert.match(routed(route).join('\n'), why, route)
  const unkept = routed('{ price: 0.10 USD, fallback: queue }', '')
  assert.match(unkept.join('\n'), /need a "vault"/)
})

test('the pieces of documents in the guides are pieces of documents', async () => {
  for (const [name, count] of [
    ['gateway', 6],
    ['pricing', 1],
  ] as const) {
    const page = await readFile(new URL(`../../docs/${name}.md`, import.meta.url), 'utf8')
    const pieces = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, piece = '']) => piece)
    assert.ok(pieces.length >= count, `${pieces.length} in ${name}`)
    for (const piece of pieces) {
      const lines = good.split('\n')
      const own = new Set([...piece.matchAll(/^(\w+):/gm)].map(([, member]) => member))
      // What a piece says stands in the place of what the document says.
      const rest = lines.filter((_, i) => {
        const at = lines.slice(0, i + 1).findLast((one) => /^\w/.test(one))
        return !own.has(/^(\w+):/.exec(at ?? '')?.[1] ?? '')
      })
      assert.deepEqual(told(`${rest.join('\n')}\n${piece}`), [], piece)
    }
  }
})

test('the examples are documents', async () => {
  for (const name of [
    'gateway.yaml',
    'gateway-files.yaml',
    'gateway-lightning.yaml',
    'gateway-tenants.yaml',
  ]) {
    const text = await readFile(new URL(`../../examples/${name}`, import.meta.url), 'utf8')
    assert.deepEqual(told(text, name), [], name)
  }
  const page = await readFile(new URL('../../docs/gateway.md', import.meta.url), 'utf8')
  const shown = await readFile(
    new URL('../../examples/gateway-files.yaml', import.meta.url),
    'utf8',
  )
  assert.ok(
    page.includes(shown.trim()),
    'docs/gateway.md does not show examples/gateway-files.yaml.',
  )
})
