import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readDocument } from './document.ts'
import { tenantsOf } from './document-tenants.ts'

const rails = (n: number): string =>
  `rails: { evm: { network: base, payTo: "0x${String(n).repeat(40)}", facilitator: "https://f.example" } }`
const own = (n: number): string =>
  `secret: { env: S${n} }, ${rails(n)}, upstreams: { api: "http://127.0.0.1:3000" }`

const good = `listen: 8402
origin: https://api.example.com
secret: { env: S1 }
${rails(1)}
upstreams: { api: "http://127.0.0.1:3000" }
routes: { GET /a: 0.01 USD }
sizes: { body: 1MB }
tenants:
  acme: { ${own(2)}, origin: "https://acme.example.com", routes: { GET /a: 0.02 USD } }
  city: { ${own(3)}, path: /city, routes: { GET /city/a: 0.03 USD, /city/b/*: free } }
`

function told(text: string): readonly string[] {
  const read = readDocument(text, 'a.yaml')
  return read.ok ? [] : read.mistakes.map((one) => `${one.line} ${one.path}: ${one.sentence}`)
}

describe('tenants of a document', () => {
  test('are documents with what the gateway has for all', () => {
    assert.deepEqual(told(good), [])
    const read = readDocument(good, 'a.yaml')
    assert.ok(read.ok)
    const [acme, city] = tenantsOf(read.document)
    assert.deepEqual(
      [acme?.document.origin, acme?.document.realm, acme?.document.sizes],
      ['https://acme.example.com', undefined, { body: '1MB' }],
    )
    assert.deepEqual(
      [city?.document.origin, city?.document.realm],
      ['https://api.example.com', 'api.example.com/city'],
    )
  })

  for (const [what, from, to, expected] of [
    ['no place', ', path: /city', '', /^10 tenants › city: Say where this seller is/],
    [
      'two places',
      'path: /city',
      'path: /city, origin: "https://c.example"',
      /› city › path: .*or a "path"/,
    ],
    ['a path that is none', 'path: /city', 'path: city', /› city › path: A path is written/],
    [
      'the host of another',
      'acme.example.com',
      'api.example.com',
      /^9 tenants › acme › origin: .*the document itself/,
    ],
    [
      'the account of another',
      '2'.repeat(40),
      '1'.repeat(40),
      /^9 tenants › acme › rails: .*the document itself/,
    ],
    [
      'a route outside its path',
      'GET /city/a',
      'GET /cities/a',
      /routes › GET \/cities\/a: .*not below "\/city"/,
    ],
    [
      'a path that the document sells',
      'GET /a: 0.01',
      'GET /city/x: 0.01',
      /› city › path: The document itself sells/,
    ],
    [
      'tokens below a path',
      'path: /city,',
      'path: /city, plans: { p: { price: 1 USD, uses: 2 } },',
      /› city › plans: .*an "origin" of its own/,
    ],
    [
      'a queue below a path',
      'GET /city/a: 0.03 USD',
      'GET /city/a: { price: 0.03 USD, fallback: queue }',
      /› GET \/city\/a › fallback: .*an "origin" of its own/,
    ],
    [
      'a page below a path',
      'path: /city,',
      'path: /city, page: true,',
      /› city › page: .*an "origin" of its own/,
    ],
    [
      'all that is not named, below a path',
      'path: /city,',
      'path: /city, default: free,',
      /› city › default:/,
    ],
    [
      'the file of another’s events',
      /{ (secret: { env: S[23] })/g,
      '{ events: { file: events.ndjson }, $1',
      /^10 tenants › city › events: .*"acme"'s too/,
    ],
    ['a name in capitals', 'acme:', 'ACME:', /A tenant is named in small letters/],
    [
      'a price that is none',
      '0.02 USD',
      '0.02USD',
      /^9 tenants › acme › routes › GET \/a: A price/,
    ],
    [
      'an upstream that is not there',
      'GET /a: 0.02 USD',
      'GET /a: { price: 0.02 USD, upstream: x }',
      /^9 tenants › acme › routes › GET \/a › upstream/,
    ],
    ['books of its own', 'acme: {', 'acme: { ledger: x,', /There is no "ledger" here/],
    [
      'a path below another',
      'tenants:\n',
      `tenants:\n  deep: { ${own(4)}, path: /city/deep, routes: { GET /city/deep/a: 0.01 USD } }\n`,
      /› deep › path: This is below "\/city"/,
    ],
  ] as const)
    test(`cannot have ${what}`, () => {
      const text = good.replace(from, to)
      assert.notEqual(text, good)
      assert.match(told(text).join('\n'), expected)
    })

  test('cannot have the desk of another', () => {
    const desk = (of: string, port: number): string =>
      good
        .replace('acme: {', 'acme: { admin: 9000,')
        .replace(`${of}: {`, `${of}: { admin: ${port},`)
    assert.match(told(desk('city', 9000)).join('\n'), /› city › admin: .*"acme"/)
    assert.deepEqual(told(desk('city', 9001)), [])
  })
})
