import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  CONDITION_CHARS_MAX,
  CONDITION_ITEMS_MAX,
  conditions,
  readCondition,
  splitCondition,
  writeConditions,
} from './conditions.ts'
import type { Rights } from './rights.ts'
import { meet } from './rights.ts'

const at = (): string => 'here'
const read = (name: string, value: string): Rights | string => readCondition(name, value, at)

/** The sentence of what must be refused. */
function why(found: Rights | string): string {
  assert.ok(typeof found === 'string')
  return found
}

describe('a condition', () => {
  const meant: readonly [name: string, value: string, rights: Rights][] = [
    [
      'services',
      'b:0,a:255',
      {
        services: [
          { name: 'a', tier: 255 },
          { name: 'b', tier: 0 },
        ],
      },
    ],
    ['capability', 'subtract,add', { capabilities: ['add', 'subtract'] }],
    ['path', '/v1/*,/v2', { paths: ['/v1/*', '/v2'] }],
    ['path', '/v1/a,/v1/*,/v1/a/*', { paths: ['/v1/*'] }],
    ['method', 'POST,GET', { methods: ['GET', 'POST'] }],
    [
      'origin',
      'https://a.test,http://[::1]:8402',
      { origins: ['http://[::1]:8402', 'https://a.test'] },
    ],
    ['payer', '0xAbC', { payerKeys: ['0xAbC'] }],
    ['tenant', 'acme', { tenants: ['acme'] }],
    ['expires', '1700000000', { expiresAt: 1_700_000_000_000 }],
    ['uses', '1000', { uses: [{ scope: 'here', most: 1000 }] }],
    [
      'budget',
      '5.00 USD',
      { budget: [{ scope: 'here', most: { currency: 'USD', amount: 5n, scale: 0 } }] },
    ],
    [
      'budget',
      '0.010 USD',
      { budget: [{ scope: 'here', most: { currency: 'USD', amount: 1n, scale: 2 } }] },
    ],
    ['rate', '100/m', { rate: [{ scope: 'here', most: { count: 100, windowMs: 60_000 } }] }],
    ['rate', '5/10s', { rate: [{ scope: 'here', most: { count: 5, windowMs: 10_000 } }] }],
  ]

  test('says its right', () => {
    for (const [name, value, rights] of meant) assert.deepEqual(read(name, value), rights, value)
    assert.deepEqual(
      new Set(meant.map(([name]) => name)),
      new Set(conditions.map(({ name }) => name)),
    )
  })

  test('is read back from how it is written', () => {
    const all = meant.map(([, , rights]) => rights).reduce(meet, {})
    const full: Rights = { ...all, methods: ['GET', 'POST'], paths: ['/v1/*', '/v2'] }
    const back = writeConditions(full).map((text) => {
      const halves = splitCondition(text)
      assert.ok(typeof halves !== 'string')
      const rights = read(halves.name, halves.value)
      assert.ok(typeof rights !== 'string', text)
      return rights
    })
    assert.deepEqual(back.reduce(meet, {}), full)
  })

  test('that cannot be meant is refused beside the nearest good one', () => {
    const wrong: readonly [name: string, good: string, bad: readonly string[]][] = [
      [
        'services',
        'a:0',
        ['', 'a', 'a:', ':0', 'a:256', 'a:01', 'a:0,', 'a:0,a:1', 'a:0, b:0', 'a:-1', '_a:0'],
      ],
      ['capability', 'add', ['', 'add,add', ' add', 'add ', 'a b', ',add', 'add,,b']],
      [
        'path',
        '/a',
        ['', 'a', '/a, /b', '/a/../b', '/a*', '/a,/a', '/%61', '/é', '/a\n', '/v1/%2e'],
      ],
      ['method', 'GET', ['', 'get', 'Get', 'GET ', '*', 'GET,GET']],
      [
        'origin',
        'https://a.test',
        [
          '',
          'a.test',
          'https://a.test/',
          'https://A.test',
          'https://a.test:443',
          'ftp://a.test',
          'https://u@a.test',
          'null',
          '*',
        ],
      ],
      ['payer', 'k', ['', 'k k', 'k,k', 'é', 'x'.repeat(129)]],
      ['tenant', 't', ['', 't t', '-t', "t'"]],
      ['expires', '1', ['', '0', '-1', '01', '1.5', '1e9', ' 1', '1000000000000', '0x1', '１']],
      ['uses', '1', ['', '0', '-1', '+1', '1.0', '1e3', '1000000000000000', '5,6']],
      [
        'budget',
        '1 USD',
        [
          '',
          '1',
          'USD',
          '1USD',
          '1  USD',
          '-1 USD',
          '01 USD',
          '1 usd',
          '1. USD',
          '.5 USD',
          '0 USD',
          '0.00 USD',
          '1e3 USD',
          '1 USD,2 USD',
        ],
      ],
      ['rate', '1/s', ['', '1', '0/s', '1/', '1/0s', '1/ s', '1/y', '1/60', '-1/s', '1/10000s']],
    ]
    for (const [name, good, bad] of wrong) {
      assert.notEqual(typeof read(name, good), 'string', `${name}=${good}`)
      for (const value of bad) assert.match(why(read(name, value)), /\.$/, `${name}=${value}`)
    }
    assert.deepEqual(
      new Set(wrong.map(([name]) => name)),
      new Set(conditions.map(({ name }) => name)),
    )
  })

  test('of an unknown name, another case or with spaces is refused', () => {
    for (const name of ['Path', 'path ', ' path', 'paths', '__proto__', 'constructor', 'toString'])
      assert.match(why(read(name, '/a')), /not known/, name)
  })

  test('is parted at the first equals sign', () => {
    assert.deepEqual(splitCondition('payer=a=b'), { name: 'payer', value: 'a=b' })
    for (const text of ['', 'path', '=x', 'path=', '='])
      assert.equal(typeof splitCondition(text), 'string')
  })

  test('has limits', () => {
    const items = Array.from({ length: CONDITION_ITEMS_MAX }, (_, i) => `t${i}`)
    assert.notEqual(typeof read('tenant', items.join(',')), 'string')
    assert.equal(typeof read('tenant', [...items, 'more'].join(',')), 'string')
    assert.notEqual(typeof splitCondition(`a=${'x'.repeat(CONDITION_CHARS_MAX - 2)}`), 'string')
    assert.equal(typeof splitCondition(`a=${'x'.repeat(CONDITION_CHARS_MAX - 1)}`), 'string')
  })

  test('cannot be written for rights that allow nothing', () => {
    assert.throws(() => writeConditions({ tenants: [] }), RangeError)
    assert.throws(() => writeConditions({ tenants: ['a,b'.repeat(400)] }), RangeError)
  })

  test('that would take long to match is answered at once', () => {
    const long = `${'/a'.repeat(250)}\n`
    assert.equal(typeof read('path', long), 'string')
    assert.equal(typeof read('tenant', `${'a,'.repeat(250)}!`), 'string')
  })
})
