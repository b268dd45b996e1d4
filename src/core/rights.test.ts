import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { readCondition } from './conditions.ts'
import { coversPath, isNormalPath } from './paths.ts'
import type { Resource } from './resource.ts'
import type { Rights, Use } from './rights.ts'
import { allows, meet } from './rights.ts'

// Rights are drawn from small alphabets, so that they often meet; a use is then judged by them.

const some = (...items: readonly string[]): fc.Arbitrary<string> =>
  fc.uniqueArray(fc.constantFrom(...items), { minLength: 1, maxLength: 3 }).map((l) => l.join(','))

const paths = ['/', '/*', '/a', '/a/', '/a/*', '/a/b', '/a/b/*', '/a/b/c', '/b/*', '/A', '/a%20b']

const condition: fc.Arbitrary<Rights> = fc
  .oneof(
    fc.tuple(fc.constant('path'), some(...paths)),
    fc.tuple(fc.constant('method'), some('GET', 'HEAD', 'POST')),
    fc.tuple(fc.constant('origin'), some('https://a.test', 'http://a.test:8402', 'https://b.test')),
    fc.tuple(fc.constant('tenant'), some('t1', 't2')),
    fc.tuple(fc.constant('payer'), some('k1', 'k2')),
    fc.tuple(fc.constant('capability'), some('add', 'read')),
    fc.tuple(fc.constant('services'), fc.constantFrom('s:0', 's:1', 't:0', 's:2,t:0', 's:0,t:1')),
    fc.tuple(fc.constant('expires'), fc.constantFrom('1', '2', '3')),
    fc.tuple(fc.constant('uses'), fc.constantFrom('1', '2')),
    fc.tuple(fc.constant('budget'), fc.constantFrom('1 USD', '0.50 USD', '0.5 EUR', '2.00 USD')),
    fc.tuple(fc.constant('rate'), fc.constantFrom('1/s', '60/m', '5/10s')),
  )
  .chain(([name, value]) =>
    fc.constantFrom('x', 'y').map((scope) => {
      const rights = readCondition(name, value, () => scope)
      assert.ok(typeof rights !== 'string', `${name}=${value}`)
      return rights
    }),
  )

const anyRights: fc.Arbitrary<Rights> = fc
  .array(condition, { maxLength: 5 })
  .map((list) => list.reduce(meet, {}))

const anyUse: fc.Arbitrary<Use> = fc.record(
  {
    resource: fc
      .record({
        method: fc.constantFrom('GET', 'HEAD', 'POST'),
        path: fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/b/c', '/b/x', '/a/../b', '/a%20b'),
        origin: fc.constantFrom('https://a.test', 'http://a.test:8402', 'https://b.test'),
      })
      .map(({ method, path, origin }) => resourceOf(method, origin + path, path)),
    service: fc.constantFrom('s', 't'),
    tier: fc.constantFrom(0, 1),
    capability: fc.constantFrom('add', 'read'),
    payerKey: fc.constantFrom('k1', 'k2'),
    tenant: fc.constantFrom('t1', 't2'),
    price: fc.constantFrom(
      { currency: 'USD', amount: 0n, scale: 0 },
      { currency: 'USD', amount: 50n, scale: 2 },
      { currency: 'EUR', amount: 1n, scale: 0 },
    ),
  },
  { requiredKeys: ['resource'] },
)

function resourceOf(method: string, url: string, path: string): Resource {
  return { realm: 'r', method, authority: new URL(url).host, path, query: '', url }
}

const use: Use = { resource: resourceOf('GET', 'https://a.test/a/b', '/a/b') }

describe('the meet of rights', () => {
  test('allows exactly what both allow', () => {
    fc.assert(
      fc.property(anyRights, anyRights, anyUse, fc.nat(4000), (a, b, use, now) => {
        const both = allows(a, use, now).ok && allows(b, use, now).ok
        assert.equal(allows(meet(a, b), use, now).ok, both)
      }),
      { numRuns: 600 },
    )
  })

  test('depends on no order and no grouping, and adds nothing to itself', () => {
    fc.assert(
      fc.property(anyRights, anyRights, anyRights, (a, b, c) => {
        assert.deepEqual(meet(a, b), meet(b, a))
        assert.deepEqual(meet(meet(a, b), c), meet(a, meet(b, c)))
        assert.deepEqual(meet(a, a), a)
        assert.deepEqual(meet(a, {}), a)
        assert.deepEqual(meet({}, a), a)
      }),
      { numRuns: 500 },
    )
  })

  test('stays as short as its parts, whatever paths meet', () => {
    fc.assert(
      fc.property(anyRights, anyRights, (a, b) => {
        const length = (rights: Rights): number => rights.paths?.length ?? 0
        assert.ok(length(meet(a, b)) <= length(a) + length(b))
      }),
    )
  })

  test('of two that share nothing allows nothing', () => {
    const none = meet({ tenants: ['t1'] }, { tenants: ['t2'] })
    assert.deepEqual(none, { tenants: [] })
    assert.equal(allows({ tenants: ['t1'] }, { ...use, tenant: 't1' }, 0).ok, true)
    assert.equal(allows(none, { ...use, tenant: 't1' }, 0).ok, false)
  })

  test('keeps a limit of the token and a limit of its branch side by side', () => {
    const root: Rights = { uses: [{ scope: 'root', most: 1000 }] }
    const branch: Rights = { uses: [{ scope: 'branch', most: 5 }] }
    assert.deepEqual(meet(root, branch).uses, [
      { scope: 'branch', most: 5 },
      { scope: 'root', most: 1000 },
    ])
  })
})

describe('rights allow', () => {
  const good: readonly [Rights, Use, Use][] = [
    [{ methods: ['GET'] }, use, { resource: { ...use.resource, method: 'HEAD' } }],
    [{ paths: ['/a/*'] }, use, { resource: { ...use.resource, path: '/ab' } }],
    [{ paths: ['/a/*'] }, use, { resource: { ...use.resource, path: '/a' } }],
    [
      { origins: ['https://a.test'] },
      use,
      { resource: resourceOf('GET', 'http://a.test/a/b', '/a/b') },
    ],
    [
      { origins: ['https://a.test'] },
      use,
      { resource: resourceOf('GET', 'https://a.test.evil.test/a/b', '/a/b') },
    ],
    [
      { services: [{ name: 's', tier: 1 }] },
      { ...use, service: 's', tier: 1 },
      { ...use, service: 's', tier: 2 },
    ],
    [{ services: [{ name: 's', tier: 1 }] }, { ...use, service: 's' }, { ...use, service: 't' }],
    [{ services: [{ name: 's', tier: 1 }] }, { ...use, service: 's' }, use],
    [{ capabilities: ['add'] }, { ...use, capability: 'add' }, use],
    [{ payerKeys: ['K'] }, { ...use, payerKey: 'K' }, { ...use, payerKey: 'k' }],
    [{ tenants: ['t'] }, { ...use, tenant: 't' }, use],
    [
      { budget: [{ scope: '', most: { currency: 'USD', amount: 5n, scale: 1 } }] },
      { ...use, price: { currency: 'USD', amount: 500_000n, scale: 6 } },
      { ...use, price: { currency: 'USD', amount: 500_001n, scale: 6 } },
    ],
    [
      { budget: [{ scope: '', most: { currency: 'USD', amount: 5n, scale: 1 } }] },
      { ...use, price: { currency: 'USD', amount: 5n, scale: 1 } },
      { ...use, price: { currency: 'EUR', amount: 1n, scale: 1 } },
    ],
  ]

  test('what they say, and not the nearest other thing', () => {
    for (const [rights, inside, outside] of good) {
      assert.deepEqual(allows(rights, inside, 0), { ok: true })
      const leave = allows(rights, outside, 0)
      assert.ok(!leave.ok && leave.right in rights && leave.detail.endsWith('.'))
    }
  })

  test('until the instant of their end, and not at it', () => {
    assert.equal(allows({ expiresAt: 5000 }, use, 4999).ok, true)
    assert.equal(allows({ expiresAt: 5000 }, use, 5000).ok, false)
    assert.equal(allows({ expiresAt: 5000 }, use, Number.NaN).ok, false)
  })

  test('nothing under a budget when no price is known', () => {
    const rights: Rights = {
      budget: [{ scope: '', most: { currency: 'USD', amount: 1n, scale: 0 } }],
    }
    assert.equal(allows(rights, use, 0).ok, false)
  })

  test('or stop on a right that they cannot judge', () => {
    assert.throws(() => allows({ colour: ['red'] } as unknown as Rights, use, 0), /Bug/)
  })
})

describe('a path pattern', () => {
  test('covers below its star, by whole names', () => {
    for (const path of ['/a/', '/a/b', '/a/b/c', '/a//b', '/a/b;v=1', '/a/%2A'])
      assert.ok(coversPath('/a/*', path), path)
    for (const path of ['/a', '/ab', '/A/b', '//a/b', '/b/a/b'])
      assert.ok(!coversPath('/a/*', path), path)
    assert.ok(coversPath('/*', '/'))
    assert.ok(coversPath('/a b'.replace(' ', '%20'), '/a%20b'))
    assert.ok(coversPath('/a', '/%61'), 'another spelling of the same name')
  })

  test('covers no path that could lead elsewhere', () => {
    const tricks = [
      '..',
      '.',
      '%2e%2e',
      '%2E.',
      '..;',
      '..;x',
      '%2f..',
      'a%2Fb',
      '%5c',
      'b\\c',
      '%252e%252e',
      '%00',
      '%ff',
      '%',
    ]
    for (const trick of tricks) {
      assert.ok(!coversPath('/a/*', `/a/${trick}`), trick)
      assert.ok(!coversPath('/a/*', `/a/${trick}/b`), trick)
      assert.ok(!coversPath('/*', `/${trick}`), trick)
    }
    assert.ok(coversPath('/a/*', '/a/..b'), 'a name may begin with dots')
  })

  test('has one spelling', () => {
    for (const path of ['/', '/*', '/a', '/a/', '/a/*', "/a!$&'()+;=:@~", '/a%20%2C%2A', '/%C3%A9'])
      assert.ok(isNormalPath(path), path)
    const other = [
      '',
      'a',
      '//',
      '/a//b',
      '/a*',
      '/*/a',
      '/**',
      '/%61',
      '/%2c',
      '/%2F',
      '/.',
      '/a/..',
      '/..;',
      '/a b',
      '/a?b',
      '/a#b',
      '/%C3',
      '/%2541',
      '/é',
      '/a,b',
      '/%',
      '/%21',
    ]
    for (const path of other) assert.ok(!isNormalPath(path), path)
  })
})
