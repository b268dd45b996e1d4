import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { systemChance } from '../../core/chance.ts'
import type { Macaroon } from './codec.ts'
import { extend, readMacaroons, readToken, writeMacaroon, writeToken } from './codec.ts'
import { ok, one, rootKey, third, vectors } from './fixture.test.ts'
import { bytesOf, digestOf, hmac } from './hmac.ts'
import type { Verified } from './macaroon.ts'
import { addThirdParty, bind, mint, narrow, verify } from './macaroon.ts'

const id = Buffer.from('token')
const six = ['services=s:0', 'path=/a/*', 'method=GET', 'expires=1700000000', 'uses=5', 'tenant=t']
const made = (conditions: readonly string[], version: 1 | 2 = 2): Macaroon =>
  ok(narrow(mint({ rootKey, id, location: 'here', version }), conditions))
const texts = (verified: Verified | string): readonly string[] =>
  ok(verified).conditions.map(({ bytes }) => Buffer.from(bytes).toString())

/** The same macaroon with other caveats under its old signature, as a forger would write it. */
function forged(macaroon: Macaroon, conditions: readonly string[]): Macaroon {
  const caveats = conditions.map((text) => ({ id: Buffer.from(text) }))
  const written = writeMacaroon({ ...macaroon, caveats })
  assert.ok(written)
  return written
}

const keyOfThird = Buffer.from('a root key that both have agreed on')
const idOfThird = Buffer.from('who is it?')
const withThird = (root: Macaroon = made(['path=/a/*'])): Macaroon =>
  ok(addThirdParty(root, { location: 'there', id: idOfThird, rootKey: keyOfThird }, systemChance))
const discharged = (version: 1 | 2 = 2): Macaroon =>
  mint({ rootKey: keyOfThird, id: idOfThird, location: 'there', version })

test('the HMAC is that of RFC 2104', () => {
  const message = fc.uint8Array({ maxLength: 300 })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), message, (key, message) => {
      const wanted = createHmac('sha256', key).update(message).digest()
      assert.deepEqual(bytesOf(hmac(digestOf(key), message)), wanted)
      assert.deepEqual(bytesOf(hmac(digestOf(key), digestOf(message))), wanted)
    }),
  )
})

describe('a macaroon', () => {
  test('of Go’s library is verified, and minted and narrowed to the same bytes', () => {
    for (const vector of vectors) {
      const key = Buffer.from(vector.RootKey, 'hex')
      for (const version of [1, 2] as const) {
        const text = vector[`V${version}`]
        assert.deepEqual(texts(verify(one(text), key)), vector.Caveats ?? [])
        const bare = mint({
          rootKey: key,
          id: Buffer.from(vector.Id, 'hex'),
          location: vector.Location,
          version,
        })
        assert.equal(writeToken([ok(narrow(bare, vector.Caveats ?? []))]), text)
      }
    }
  })

  test('with the signatures that the reference names', () => {
    const sign = (macaroon: Macaroon): string => Buffer.from(macaroon.signature).toString('hex')
    const bare = mint({ rootKey, id: Buffer.from(vectors[0]?.Id ?? '', 'hex') })
    assert.equal(sign(bare), '5ca66f81706ba0461d3c280be2a3bbd039a3932b8809ad144b7e68e9ed60bdb4')
    assert.equal(
      sign(ok(narrow(bare, ['services=svc:0']))),
      '02bcf14328bbeec9274194130f795be5cd68efdd43dc32c238e2f554de08e4ba',
    )
  })

  test('is verified in both versions with whatever it says', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1 as const, 2 as const),
        fc.array(fc.string({ minLength: 1, maxLength: 60 }), { maxLength: 8 }),
        (version, conditions) => {
          const received = one(writeToken([made(conditions, version)]))
          const wanted = conditions.map((text) => Buffer.from(text).toString())
          assert.deepEqual(texts(verify(received, rootKey)), wanted)
        },
      ),
    )
  })

  test('is narrowed without the key, by whoever received it', () => {
    const received = one(writeToken([made(six.slice(0, 2))]))
    const narrower = one(writeToken([ok(narrow(received, six.slice(2)))]))
    assert.deepEqual(narrower, made(six))
    assert.deepEqual(texts(verify(narrower, rootKey)), six)
  })

  test('with any bit changed is refused, but for the location that nobody signs', () => {
    for (const version of [1, 2] as const) {
      const bytes = Buffer.from(made(six, version).bytes)
      const place = bytes.indexOf('here')
      ok(verify(one(bytes.toString('base64')), rootKey))
      const passed = new Set<number>()
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const flipped = Buffer.from(bytes)
        flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        const read = readMacaroons(flipped)
        if (typeof read === 'string') continue
        const [root, ...discharges] = read
        assert.ok(root)
        if (typeof verify(root, rootKey, discharges) !== 'string') passed.add(bit >> 3)
      }
      assert.deepEqual([...passed], [place, place + 1, place + 2, place + 3], `version ${version}`)
    }
  })

  test('with any bit of its text changed is refused, but for the location', () => {
    const token = writeToken([made(six)])
    ok(verify(one(token), rootKey))
    let refused = 0
    for (let bit = 0; bit < token.length * 8; bit++) {
      const at = bit >> 3
      const char = String.fromCharCode(token.charCodeAt(at) ^ (1 << (bit & 7)))
      const read = readToken(token.slice(0, at) + char + token.slice(at + 1))
      const [root] = typeof read === 'string' ? [] : read
      if (!root || typeof verify(root, rootKey) === 'string') refused++
      else
        assert.deepEqual(
          { ...root, location: '', bytes: '' },
          { ...made(six), location: '', bytes: '' },
        )
    }
    assert.ok(refused > token.length * 8 - 60, `${refused} of ${token.length * 8}`)
  })

  test('stripped, reordered, spliced or widened is refused beside the honest', () => {
    const honest = made(six)
    const other = ok(narrow(mint({ rootKey, id: Buffer.from('other') }), ['expires=1900000000']))
    assert.deepEqual(texts(verify(forged(honest, six), rootKey)), six)
    const [first = '', second = '', ...rest] = six
    const forgeries: readonly Macaroon[] = [
      forged(honest, six.slice(0, -1)),
      forged(honest, six.slice(1)),
      forged(honest, []),
      forged(honest, [second, first, ...rest]),
      forged(honest, [...six, 'uses=5']),
      forged(honest, [...six, ...six]),
      forged(
        honest,
        six.map((text) => text.replace('1700000000', '1900000000')),
      ),
      forged(
        honest,
        six.map((text) => text.replace('/a/*', '/*')),
      ),
      forged(
        honest,
        six.map((text) => text.replace('uses=5', 'uses=50')),
      ),
      forged(other, six),
      { ...honest, id: other.id },
      { ...honest, signature: other.signature },
      { ...other, caveats: [...honest.caveats, ...other.caveats] },
      { ...honest, signature: Buffer.alloc(32) },
    ]
    for (const forgery of forgeries) assert.equal(typeof verify(forgery, rootKey), 'string')
    for (const token of [honest, other]) ok(verify(token, rootKey))
  })

  test('under another key is refused', () => {
    const near = Uint8Array.from(rootKey)
    near[31] = (near[31] ?? 0) ^ 1
    ok(verify(made(six), rootKey))
    for (const key of [near, rootKey.subarray(1), Buffer.alloc(32), Buffer.alloc(1)])
      assert.equal(typeof verify(made(six), key), 'string')
  })

  test('that cannot be is not made', () => {
    assert.throws(() => mint({ rootKey, id: Buffer.alloc(0) }), RangeError)
    assert.throws(() => mint({ rootKey, id: Buffer.alloc(5000) }), RangeError)
    assert.equal(typeof narrow(made([]), ['']), 'string')
    assert.equal(typeof narrow(made([]), ['a='.padEnd(4090, 'x')]), 'string')
    assert.equal(
      typeof narrow(
        made([]),
        Array.from({ length: 33 }, () => 'a=b'),
      ),
      'string',
    )
  })

  test('names each place of its chain for all that descend from it, and no other', () => {
    const scopes = (macaroon: Macaroon): readonly string[] =>
      ok(verify(macaroon, rootKey)).conditions.map((stated) => stated.scope())
    const parent = made(['uses=1000'])
    const [counted] = scopes(parent)
    const left = scopes(ok(narrow(parent, ['uses=5'])))
    const right = scopes(ok(narrow(parent, ['tenant=t', 'uses=5'])))
    assert.deepEqual([left[0], right[0]], [counted, counted])
    assert.equal(new Set([...left, ...right]).size, 4)
    assert.deepEqual(scopes(made(['uses=1000'], 1)), [counted])
    const signature = Buffer.from(parent.signature).toString('base64url')
    assert.ok(!signature.startsWith(counted ?? signature))
  })
})

describe('a third party', () => {
  test('of Go’s library is discharged by the bound discharge alone', () => {
    const [root, bound, unbound] = [one(third.root), one(third.bound), one(third.unbound)]
    assert.deepEqual(texts(verify(root, rootKey, [bound])), ['user=bob'])
    assert.deepEqual(bind(root, unbound), bound)
    assert.equal(typeof verify(root, rootKey, [unbound]), 'string')
    assert.equal(typeof verify(root, rootKey), 'string')
    assert.equal(typeof verify(root, rootKey, [bound, bound]), 'string')
  })

  test('sees to its condition, and may add its own', () => {
    const root = withThird()
    for (const version of [1, 2] as const) {
      const discharge = bind(root, ok(narrow(discharged(version), ['user=bob', 'expires=5'])))
      const received = ok(readToken(writeToken([root, discharge])))
      const [first, ...others] = received
      assert.ok(first)
      assert.deepEqual(texts(verify(first, rootKey, others)), [
        'path=/a/*',
        'user=bob',
        'expires=5',
      ])
    }
  })

  test('works in version 1, and byte by byte as in version 2', () => {
    const nonce = (): Uint8Array => Buffer.alloc(24, 7)
    const party = { location: 'there', id: idOfThird, rootKey: keyOfThird }
    const roots = ([1, 2] as const).map((version) =>
      one(writeToken([ok(addThirdParty(made([], version), party, nonce))])),
    )
    assert.deepEqual(roots[0]?.signature, roots[1]?.signature)
    for (const root of roots) ok(verify(root, rootKey, [bind(root, discharged())]))
  })

  test('that is missing, wrong, unbound, bound to another, doubled or unused is refused', () => {
    const root = withThird()
    const good = bind(root, discharged())
    const another = withThird(made(['path=/b/*']))
    const stranger = mint({ rootKey: Buffer.from('another key'), id: idOfThird })
    const idle = bind(root, mint({ rootKey: keyOfThird, id: Buffer.from('nobody asked') }))
    ok(verify(root, rootKey, [good]))
    const wrong: readonly (readonly Macaroon[])[] = [
      [],
      [discharged()],
      [bind(another, discharged())],
      [bind(root, stranger)],
      [idle],
      [good, idle],
      [idle, good],
      [good, good],
      [bind(root, good)],
      [root],
    ]
    for (const [i, discharges] of wrong.entries())
      assert.equal(typeof verify(root, rootKey, discharges), 'string', `${i}`)
    assert.equal(typeof verify(made(six), rootKey, [good]), 'string', 'none is wanted')
  })

  test('may ask another in turn, and each discharge is used once', () => {
    const deep = { location: '', id: Buffer.from('deep'), rootKey: Buffer.from('deep key') }
    const root = withThird()
    const first = bind(root, ok(addThirdParty(discharged(), deep, systemChance)))
    const second = bind(root, ok(narrow(mint({ rootKey: deep.rootKey, id: deep.id }), ['deep=1'])))
    const wanted = ['path=/a/*', 'deep=1']
    assert.deepEqual(texts(verify(root, rootKey, [first, second])), wanted)
    assert.deepEqual(texts(verify(root, rootKey, [second, first])), wanted)
    assert.equal(typeof verify(root, rootKey, [first]), 'string')
    assert.equal(typeof verify(root, rootKey, [first, second, second]), 'string')
    const twice = withThird(withThird(made([])))
    const discharge = bind(twice, discharged())
    ok(verify(twice, rootKey, [discharge, discharge]))
    assert.equal(typeof verify(twice, rootKey, [discharge]), 'string')
  })

  test('that asks for itself ends', () => {
    const self = { location: '', id: idOfThird, rootKey: keyOfThird }
    const root = withThird()
    const loop = bind(root, ok(addThirdParty(discharged(), self, systemChance)))
    assert.equal(typeof verify(root, rootKey, [loop, loop, loop]), 'string')
    ok(verify(root, rootKey, [bind(root, discharged())]))
  })

  test('changed in any bit is refused, but for the places that nobody signs', () => {
    const root = withThird()
    const bytes = Buffer.concat([root.bytes, bind(root, discharged()).bytes])
    const places = new Set<number>()
    for (const name of ['here', 'there'])
      for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1))
        for (let i = 0; i < name.length; i++) places.add(at + i)
    assert.equal(places.size, 14)
    let refused = 0
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      if (places.has(bit >> 3)) continue
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const read = readMacaroons(flipped)
      const [first, ...others] = typeof read === 'string' ? [] : read
      if (first) assert.equal(typeof verify(first, rootKey, others), 'string', `bit ${bit}`)
      refused++
    }
    assert.equal(refused, (bytes.length - places.size) * 8)
  })

  test('narrowed after binding is refused: it is no longer bound', () => {
    const root = withThird()
    const late = ok(narrow(bind(root, discharged()), ['a=b']))
    assert.equal(typeof verify(root, rootKey, [late]), 'string')
    const early = bind(root, ok(narrow(discharged(), ['a=b'])))
    assert.deepEqual(texts(verify(root, rootKey, [early])), ['path=/a/*', 'a=b'])
  })

  test('whose key was put there by a holder gains nothing', () => {
    // A holder may add a third party of its own choice; the rest of the chain stays as narrow as before.
    const root = withThird(made(six))
    const all = texts(verify(root, rootKey, [bind(root, discharged())]))
    assert.deepEqual(all, six)
    const emptied = extend(root, [], root.signature)
    assert.ok(emptied)
    assert.equal(
      typeof verify({ ...emptied, caveats: emptied.caveats.slice(-1) }, rootKey, [
        bind(root, discharged()),
      ]),
      'string',
    )
  })
})
