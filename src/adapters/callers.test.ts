import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { createCallers, FORWARDED_CHARS_MAX, HOPS_MAX, TRUSTED_MAX } from './callers.ts'
import type { CallerSettings } from './callers.ts'

const proxied: CallerSettings = { trusted: ['10.0.0.0/8', 'fd00::/8'] }
const standard: CallerSettings = { ...proxied, field: 'forwarded' }

function ask(
  settings: CallerSettings,
  address: string | undefined,
  said: Record<string, string> = {},
): string {
  return createCallers(settings)({ address, fields: new Headers(said) })
}

/** Who is found behind the proxy 10.0.0.1 that says this. */
const plain = (value: string): string => ask(proxied, '10.0.0.1', { 'X-Forwarded-For': value })
const forwarded = (value: string): string => ask(standard, '10.0.0.1', { Forwarded: value })

describe('a caller without a proxy', () => {
  test('is the address of the socket', () => {
    assert.equal(ask({}, '192.0.2.1'), 'ip:192.0.2.1')
    assert.equal(ask({}, '2001:db8:1:2:3:4:5:6'), 'ip:2001:db8:1:2::/64')
    assert.equal(ask({}, undefined), 'ip:unknown')
    assert.equal(ask({}, 'no address'), 'ip:unknown')
  })

  test('is the token where there is one, and no address looks like it', () => {
    const of = createCallers()
    const calling = { address: '192.0.2.1', fields: new Headers() }
    assert.equal(of(calling, 'ab'), 'token:ab')
    assert.equal(of(calling), 'ip:192.0.2.1')
  })

  test('changes nothing by what it says of itself', () => {
    const said = { 'X-Forwarded-For': '198.51.100.1', Forwarded: 'for=198.51.100.1' }
    assert.equal(ask({}, '192.0.2.1', said), 'ip:192.0.2.1')
    assert.equal(ask(proxied, '192.0.2.1', said), 'ip:192.0.2.1')
    assert.equal(ask(standard, '192.0.2.1', said), 'ip:192.0.2.1')
    assert.equal(ask(proxied, 'no address', said), 'ip:unknown')
    assert.equal(ask(proxied, undefined, said), 'ip:unknown')
    assert.equal(ask({ trusted: ['unix'] }, '192.0.2.1', said), 'ip:192.0.2.1')
    assert.equal(ask({ trusted: ['unix'] }, undefined, said), 'ip:198.51.100.1')
  })

  test('is one caller with every address of its prefix, and its neighbour is another', () => {
    const one = ask({}, '2001:db8:1:2::1')
    assert.equal(ask({}, '2001:db8:1:2:ffff:ffff:ffff:ffff'), one)
    assert.equal(ask({}, '2001:0DB8:0001:0002::1'), one)
    assert.notEqual(ask({}, '2001:db8:1:3::1'), one)
    assert.equal(ask({}, '::1'), 'ip:0:0:0:0::/64')
    assert.equal(ask({}, 'fe80::1%eth0'), 'ip:fe80:0:0:0::/64')
    assert.equal(ask({ ipv6Bits: 56 }, '2001:db8:1:2ff::1'), 'ip:2001:db8:1:200::/56')
    assert.equal(ask({ ipv6Bits: 48 }, '2001:db8:1:2::1'), 'ip:2001:db8:1:0::/48')
    assert.equal(ask({ ipv6Bits: 32 }, '2001:db8:1:2::1'), 'ip:2001:db8:0:0::/32')
  })

  test('has one name, however IPv4 is written', () => {
    for (const address of [
      '192.0.2.1',
      '::ffff:192.0.2.1',
      '::FFFF:c000:201',
      '0:0:0:0:0:ffff:192.0.2.1',
      '0000:0000:0000:0000:0000:ffff:c000:0201',
    ])
      assert.equal(ask({}, address), 'ip:192.0.2.1', address)
    assert.equal(ask({}, '::fffe:192.0.2.1'), 'ip:0:0:0:0::/64')
  })
})

describe('a caller behind trusted proxies', () => {
  test('is the rightmost address that is not ours', () => {
    assert.equal(plain('198.51.100.7'), 'ip:198.51.100.7')
    assert.equal(plain('198.51.100.7, 10.2.3.4'), 'ip:198.51.100.7')
    assert.equal(plain('198.51.100.7,fd12::5 ,10.2.3.4, ::ffff:10.9.9.9'), 'ip:198.51.100.7')
    assert.equal(plain('10.5.5.5, 10.2.3.4'), 'ip:10.5.5.5')
    assert.equal(plain(', 198.51.100.7, ,'), 'ip:198.51.100.7')
    assert.equal(plain(''), 'ip:10.0.0.1')
    const v6 = { 'X-Forwarded-For': '198.51.100.7' }
    assert.equal(ask(proxied, 'fd00::9', v6), 'ip:198.51.100.7')
    assert.equal(ask(proxied, '::ffff:10.0.0.1', v6), 'ip:198.51.100.7')
  })

  test('is read with ports and brackets', () => {
    assert.equal(plain('198.51.100.7:4711'), 'ip:198.51.100.7')
    assert.equal(plain('2001:db8::1'), 'ip:2001:db8:0:0::/64')
    assert.equal(plain('[2001:db8::1]'), 'ip:2001:db8:0:0::/64')
    assert.equal(plain('[2001:db8::1]:443'), 'ip:2001:db8:0:0::/64')
  })

  test('is not what stands to the left of it', () => {
    for (const lie of ['203.0.113.9', '10.0.0.7', 'garbage', '', '"', ',,,', '192.0.2.1, 10.0.0.1'])
      assert.equal(plain(`${lie}, 198.51.100.7`), 'ip:198.51.100.7', lie)
  })

  test('that hides is the hop that hides it', () => {
    for (const hidden of [
      'unknown',
      '_hidden',
      '198.51.100.300',
      '198.51.100.7/8',
      '[::1',
      '0x7f.1',
    ])
      assert.equal(plain(`203.0.113.9, ${hidden}, 10.2.3.4`), 'ip:10.2.3.4', hidden)
  })

  test('is found at the end of a list of any length', () => {
    const long = '203.0.113.9, '.repeat(FORWARDED_CHARS_MAX)
    assert.equal(plain(`${long}198.51.100.7`), 'ip:198.51.100.7')
    assert.equal(plain('1'.repeat(FORWARDED_CHARS_MAX + 1)), 'ip:10.0.0.1')
    // The cut goes through an address, which would then be read as another.
    const cut = `203.0.113.9${' '.repeat(FORWARDED_CHARS_MAX - 12)}, 10.1.1.1`
    assert.equal(plain(cut), 'ip:10.1.1.1')
    assert.equal(plain(`203.0.113.9${' '.repeat(99)}, 10.1.1.1`), 'ip:203.0.113.9')
  })

  test('is not looked for behind too many hops', () => {
    const hops = (n: number): string => `198.51.100.7${', 10.1.1.1'.repeat(n)}`
    assert.equal(plain(hops(HOPS_MAX - 1)), 'ip:198.51.100.7')
    assert.equal(plain(hops(HOPS_MAX)), 'ip:10.1.1.1')
  })
})

describe('Forwarded (RFC 7239)', () => {
  test('is read in every form', () => {
    assert.equal(forwarded('for=198.51.100.7'), 'ip:198.51.100.7')
    assert.equal(forwarded('For="198.51.100.7:4711"'), 'ip:198.51.100.7')
    assert.equal(forwarded('for="[2001:db8:cafe::17]:4711"'), 'ip:2001:db8:cafe:0::/64')
    assert.equal(forwarded('for="[2001:db8:cafe::17]:_port"'), 'ip:2001:db8:cafe:0::/64')
    assert.equal(
      forwarded('proto=https;by=203.0.113.43 ; FOR=198.51.100.7;host="a.test:80"'),
      'ip:198.51.100.7',
    )
    assert.equal(forwarded('for=198.51.100.7, for=10.2.3.4;by="_a,b"'), 'ip:198.51.100.7')
  })

  test('names nobody where it hides, doubles or breaks', () => {
    for (const element of [
      'for=unknown',
      'for="_gazonk"',
      'by=198.51.100.7',
      'for=198.51.100.7;for=198.51.100.8',
      'for=198.51.100.7;',
      'for="198.51.100.7',
      'for=',
      'for',
      String.raw`for="198.51.100\.7"`,
    ])
      assert.equal(forwarded(`for=203.0.113.9, ${element}`), 'ip:10.0.0.1', element)
  })

  test('is not swallowed by a quote that a stranger left open', () => {
    for (const lie of [
      'for="',
      'for="x',
      'for="x;by=',
      '"',
      'for=203.0.113.9;host="',
      String.raw`\"`,
    ])
      for (const truth of ['for=198.51.100.7', 'for="198.51.100.7"', 'by="_p";for=198.51.100.7'])
        assert.equal(forwarded(`${lie}, ${truth}`), 'ip:198.51.100.7', lie)
  })

  test('is not overruled by what stands in another text', () => {
    for (const host of [
      'for=203.0.113.9',
      ';for=203.0.113.9',
      'a, for=203.0.113.9',
      String.raw`a\", for=\"203.0.113.9`,
      String.raw`a\";for=\"203.0.113.9`,
    ])
      assert.equal(forwarded(`for=198.51.100.7;host="${host}"`), 'ip:198.51.100.7', host)
  })

  test('of the two fields only the chosen one is read', () => {
    const both = { 'X-Forwarded-For': '198.51.100.7', Forwarded: 'for=203.0.113.9' }
    assert.equal(ask(proxied, '10.0.0.1', both), 'ip:198.51.100.7')
    assert.equal(ask(standard, '10.0.0.1', both), 'ip:203.0.113.9')
  })

  test('is read in a time that does not grow with its tricks', () => {
    for (const trick of ['"', 'for="', 'a=b;', ', ', 'for="\\', 'for=1.1.1.1;'])
      forwarded(trick.repeat(2 * FORWARDED_CHARS_MAX))
    assert.equal(forwarded(`${'for="'.repeat(9_999)}, for=198.51.100.7`), 'ip:198.51.100.7')
  })
})

test('whatever a stranger writes, what the nearest proxy adds decides', () => {
  const strange = fc.oneof(
    fc.string(),
    fc.string({ unit: fc.constantFrom(...Array.from('for=";,\\ .:[]10_')) }),
    fc.ipV4(),
    fc.ipV6(),
  )
  fc.assert(
    fc.property(strange, fc.ipV4(), fc.boolean(), (lie, told, quoted) => {
      fc.pre(!told.startsWith('10.'))
      // As a raw field, since `Headers` would refuse some of the texts.
      const fields = (value: string) => ({ get: () => value })
      const found = (settings: CallerSettings, value: string): string =>
        createCallers(settings)({ address: '10.0.0.1', fields: fields(value) })
      const node = quoted ? `"${told}"` : told
      assert.equal(found(proxied, `${lie}, ${told}`), `ip:${told}`)
      assert.equal(found(standard, `${lie}, for=${node}`), `ip:${told}`)
      assert.equal(
        createCallers(proxied)({ address: told, fields: fields(lie) }),
        `ip:${told}`,
        'a stranger who calls directly',
      )
    }),
    { numRuns: 1_000 },
  )
})

test('one prefix is one caller, and every two differ', () => {
  const half = fc.array(fc.nat(0xffff), { minLength: 4, maxLength: 4 })
  const text = (groups: readonly number[]): string => groups.map((g) => g.toString(16)).join(':')
  fc.assert(
    fc.property(half, half, half, half, (a, b, host, other) => {
      fc.pre(a.some((group, i) => i < 4 && group !== 0) && b.some((group) => group !== 0))
      const of = (prefix: readonly number[], rest: readonly number[]): string =>
        ask({}, text([...prefix, ...rest]))
      assert.equal(of(a, host), of(a, other))
      assert.equal(of(a, host) === of(b, host), text(a) === text(b))
    }),
  )
})

describe('trusted proxies', () => {
  test('are prefixes of both families', () => {
    const behind = (trusted: string, address: string): boolean =>
      ask({ trusted: [trusted] }, address, { 'X-Forwarded-For': '198.51.100.7' }) ===
      'ip:198.51.100.7'
    assert.ok(behind('10.1.2.3/8', '10.255.255.255'))
    assert.ok(!behind('10.1.2.3/8', '11.0.0.0'))
    assert.ok(behind('192.0.2.1', '192.0.2.1'))
    assert.ok(!behind('192.0.2.1', '192.0.2.2'))
    assert.ok(behind('192.0.2.1/32', '::ffff:192.0.2.1'))
    assert.ok(behind('::ffff:10.0.0.0/104', '10.255.255.255'))
    assert.ok(!behind('::ffff:10.0.0.0/104', '11.0.0.0'))
    assert.ok(behind('2001:db8::/33', '2001:db8:7fff::1'))
    assert.ok(!behind('2001:db8::/33', '2001:db8:8000::1'))
    assert.ok(behind('::1', '::1'))
    assert.ok(!behind('::1', '::2'))
    assert.ok(behind('::/1', '::2'))
    assert.ok(!behind('::/1', '10.0.0.1'))
  })

  test('that cannot be meant are refused, with the entry', () => {
    for (const entry of ['', '10.0.0', '10.0.0.0/33', '10.0.0.0/08', '::/129', 'proxy.test', '/8'])
      assert.throws(() => createCallers({ trusted: [entry] }), {
        name: 'RangeError',
        message: /is no address or prefix/,
      })
    assert.throws(() => createCallers({ trusted: ['::ffff:0:0/95'] }), /is no address or prefix/)
    for (const entry of ['0.0.0.0/0', '::/0', '::ffff:0:0/96'])
      assert.throws(() => createCallers({ trusted: [entry] }), /trusts everybody/)
    const many = Array<string>(TRUSTED_MAX + 1).fill('10.0.0.1')
    assert.throws(() => createCallers({ trusted: many }), /more than 1024/)
    assert.ok(createCallers({ trusted: many.slice(1) }))
    for (const ipv6Bits of [31, 65, 63.5])
      assert.throws(() => createCallers({ ipv6Bits }), /32 to 64 bits/)
    // @ts-expect-error -- Settings may come from a file.
    assert.throws(() => createCallers({ field: 'x-real-ip' }), /Callers are read from/)
  })
})
