import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Caveat } from './codec.ts'
import {
  BUNDLE_BYTES_MAX,
  CAVEATS_MAX,
  extend,
  MACAROONS_MAX,
  readMacaroons,
  readToken,
  TOKEN_BYTES_MAX,
  writeMacaroon,
  writeToken,
} from './codec.ts'
import { ok, one, rootKey, third, vectors, why } from './fixture.test.ts'
import { mint } from './macaroon.ts'

const plain = { noNullPrototype: true }
const bytesMax = (max: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: 1, maxLength: max }).map((bytes) => Buffer.from(bytes))
const location = fc.string({ unit: 'binary', maxLength: 20 }).filter((s) => s.isWellFormed())
const caveat: fc.Arbitrary<Caveat> = fc.oneof(
  fc.record({ id: bytesMax(300) }, plain),
  fc.record({ id: bytesMax(40), vid: bytesMax(80) }, plain),
  fc
    .record({ id: bytesMax(40), vid: bytesMax(80), location }, plain)
    .filter(({ location }) => location !== ''),
)
const said = fc.record({
  version: fc.constantFrom(1 as const, 2 as const),
  location,
  id: bytesMax(200),
  caveats: fc.array(caveat, { maxLength: 6 }),
  signature: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
})

describe('a macaroon in bytes', () => {
  test('is read and written as Go does, in both versions', () => {
    for (const vector of vectors) {
      for (const version of [1, 2] as const) {
        const text = vector[`V${version}`]
        const read = one(text)
        assert.equal(read.version, version)
        assert.equal(read.location, vector.Location)
        assert.equal(Buffer.from(read.id).toString('hex'), vector.Id)
        assert.equal(Buffer.from(read.signature).toString('hex'), vector.Sig)
        assert.deepEqual(
          read.caveats.map(({ id }) => Buffer.from(id).toString()),
          vector.Caveats ?? [],
        )
        const { bytes, ...rest } = read
        assert.deepEqual(writeMacaroon(rest)?.bytes, bytes)
        assert.equal(writeToken([read]), text)
      }
    }
    const { bytes, ...rest } = one(third.root)
    assert.deepEqual(writeMacaroon(rest)?.bytes, bytes)
  })

  test('is read back from how it is written, whatever it says', () => {
    fc.assert(
      fc.property(fc.array(said, { minLength: 1, maxLength: 3 }), (list) => {
        const written = list.map((s) => writeMacaroon(s))
        assert.ok(written.every((m) => m !== undefined))
        fc.pre(written.reduce((sum, m) => sum + m.bytes.length, 0) <= BUNDLE_BYTES_MAX)
        const read = ok(readToken(writeToken(written)))
        assert.deepEqual(read, written)
      }),
    )
  })

  test('grows at its end, and all bytes before the signature stay', () => {
    fc.assert(
      fc.property(said, caveat, (s, added) => {
        const { caveats, ...rest } = s
        const whole = writeMacaroon({ ...rest, caveats: [...caveats, added] })
        const before = writeMacaroon(s)
        assert.ok(before)
        assert.deepEqual(extend(before, [added], s.signature), whole)
      }),
    )
  })

  test('of another library keeps its own spelling when it grows', () => {
    // An empty location that is written out, as the Python library does.
    const [, , vector] = vectors
    assert.ok(vector)
    const go = Buffer.from(vector.V2, 'base64')
    const python = Buffer.concat([Buffer.of(2, 1, 0), go.subarray(1)])
    const read = one(python.toString('base64'))
    const grown = extend(read, [{ id: Buffer.from('a=b') }], read.signature)
    assert.ok(grown)
    assert.deepEqual(grown.bytes.subarray(0, python.length - 35), python.subarray(0, -35))
    assert.equal(one(writeToken([grown])).caveats.length, 2)
  })

  test('is refused when anything is missing or follows', () => {
    for (const token of [...vectors.flatMap(({ V1, V2 }) => [V1, V2]), third.root]) {
      const bytes = Buffer.from(token, 'base64')
      ok(readMacaroons(bytes))
      for (let end = 0; end < bytes.length; end++)
        assert.equal(typeof readMacaroons(bytes.subarray(0, end)), 'string', `cut at ${end}`)
      for (const more of [0, 2, 10, 0x30, 0xff])
        assert.equal(typeof readMacaroons(Buffer.concat([bytes, Buffer.of(more)])), 'string')
    }
  })

  test('is refused when it is garbage, and nothing throws', () => {
    const heads = ['', '02', '0201', '30303030', '3030303c6c6f636174696f6e20', '7b22', '0202ffff7f']
    fc.assert(
      fc.property(fc.constantFrom(...heads), fc.uint8Array({ maxLength: 200 }), (head, tail) => {
        const bytes = Buffer.concat([Buffer.from(head, 'hex'), tail])
        assert.equal(typeof readMacaroons(bytes), 'string')
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.equal(typeof readToken(text), 'string')
      }),
    )
  })

  test('has one spelling of a length', () => {
    const good = '0202016b00000620' + '00'.repeat(32)
    ok(readMacaroons(Buffer.from(good, 'hex')))
    // A length of one in two bytes; a first-party caveat with a place; an empty identifier, caveat and verification id.
    const bad = [
      '020281006b00000620',
      '0202016b0001016202016300000620',
      '02020000000620',
      '0202016b00020000000620',
      '0202016b00020163040000000620',
      '0202016b0000061f',
    ]
    for (const head of bad)
      assert.equal(typeof readMacaroons(Buffer.from(head + '00'.repeat(32), 'hex')), 'string', head)
  })

  test('has limits', () => {
    const signature = Buffer.alloc(32)
    const make = (count: number, length: number) =>
      ([1, 2] as const).map((version) =>
        writeMacaroon({
          version,
          location: '',
          id: Buffer.of(1),
          caveats: Array.from({ length: count }, () => ({ id: Buffer.alloc(length, 97) })),
          signature,
        }),
      )
    const fits = make(CAVEATS_MAX, 100)
    for (const macaroon of fits) {
      assert.ok(macaroon)
      assert.equal(one(writeToken([macaroon])).caveats.length, CAVEATS_MAX)
      assert.equal(extend(macaroon, [{ id: Buffer.of(1) }], signature), undefined)
      assert.equal(extend(macaroon, [{ id: Buffer.alloc(TOKEN_BYTES_MAX) }], signature), undefined)
    }
    assert.deepEqual(make(CAVEATS_MAX + 1, 1), [undefined, undefined])
    assert.deepEqual(make(1, TOKEN_BYTES_MAX), [undefined, undefined])
    const [small] = make(0, 1)
    assert.ok(small)
    ok(readMacaroons(Buffer.concat(Array.from({ length: MACAROONS_MAX }, () => small.bytes))))
    const many = Buffer.concat(Array.from({ length: MACAROONS_MAX + 1 }, () => small.bytes))
    assert.match(why(readMacaroons(many)), /more than 8 macaroons/)
    assert.match(why(readMacaroons(Buffer.alloc(BUNDLE_BYTES_MAX + 1))), /more than 8192 bytes/)
  })

  test('written by others is held to the same limits', () => {
    const field = (tag: number, value: Buffer): Buffer => {
      const [low, high] = [value.length & 0x7f, value.length >>> 7]
      return Buffer.concat([Buffer.of(tag, ...(high ? [low | 0x80, high] : [low])), value])
    }
    const head = Buffer.from('0202016b00', 'hex')
    const tail = Buffer.from(`000620${'00'.repeat(32)}`, 'hex')
    const caveat = (length: number): Buffer =>
      Buffer.concat([field(2, Buffer.alloc(length, 97)), Buffer.of(0)])
    const of = (count: number, length: number): string =>
      Buffer.concat([head, ...Array.from({ length: count }, () => caveat(length)), tail]).toString(
        'base64',
      )
    assert.equal(one(of(CAVEATS_MAX, 115)).caveats.length, CAVEATS_MAX)
    assert.match(why(readToken(of(CAVEATS_MAX + 1, 115))), /more than/)
    assert.match(why(readToken(of(2, 2100))), /more than 4096 bytes/)
  })
})

describe('a token as text', () => {
  const [vector] = vectors
  const text = vector?.V2 ?? ''
  const bare = text.replace(/=+$/, '')

  test('may be in either alphabet, padded or not', () => {
    assert.match(third.root, /[+/]/)
    for (const token of [text, bare, third.root, third.bound]) {
      const url = token.replaceAll('+', '-').replaceAll('/', '_')
      assert.deepEqual(one(url), one(token))
      assert.deepEqual(one(url.replace(/=+$/, '')), one(token))
      assert.match(writeToken([one(url)]), /^[A-Za-z0-9+/]+={0,2}$/)
    }
  })

  test('is refused in any other spelling', () => {
    const slashes = writeToken([mint({ rootKey, id: Buffer.alloc(9, 0xff) })])
    const mixed = slashes.replace('/', '_')
    assert.match(mixed, /\//)
    one(slashes)
    const padded = third.bound
    assert.match(padded, /[^=]==$/)
    const loose = padded.replace(/.==$/, (end) => `${String.fromCharCode(end.charCodeAt(0) + 1)}==`)
    const others = [
      '',
      '=',
      '==',
      ` ${text}`,
      `${text} `,
      `${text}\n`,
      `${text}=`,
      `${bare}====`,
      mixed,
      loose,
      padded.slice(0, -1),
      `${text.slice(0, 9)}\n${text.slice(9)}`,
    ]
    for (const other of others) assert.match(why(readToken(other)), /not base64/, other)
    assert.match(why(readToken('A'.repeat(20_000))), /not base64/)
    assert.match(why(readToken(Buffer.from('{"v":2}').toString('base64'))), /binary version/)
  })
})
