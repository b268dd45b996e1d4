import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { createHmac, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { describe, test } from 'node:test'
import { CompactSign, createLocalJWKSet, decodeJwt, importJWK, jwtVerify, SignJWT } from 'jose'
import type { JSONWebKeySet } from 'jose'
import type { Grant } from '../../core/credential.ts'
import { createJwts, JWT_CHARS_MAX, JWT_KEYS_MAX, JWT_LIFETIME_MS } from './jwts.ts'
import type { JwtSettings } from './jwts.ts'
import { newJwtKey } from './key.ts'
import type { JwtAlg, JwtKey } from './key.ts'

const issuer = 'https://as.test'
const audience = 'https://api.test'
const NOW = 1_700_000_000_000
const clock = { now: () => NOW, sleep: () => Promise.resolve() }
const jkt = 'k'.repeat(43)
const grant: Grant = {
  id: 'ab'.repeat(32),
  rights: {
    paths: ['/a/*'],
    methods: ['GET'],
    uses: [{ scope: 'one', most: 7 }],
    expiresAt: NOW + 60_000,
  },
}
const key = await newJwtKey()
const make = (settings: Partial<JwtSettings> = {}) =>
  createJwts({ keys: [key], issuer, audience, clock, ...settings })

/** A token with that header and those claims, signed by the key whatever the header says. */
async function forge(header: object, claims: object, by: JwtKey = key): Promise<string> {
  const text = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  const { d = '', kty, crv, x, y = '' } = by
  const jwk = { kty, crv, x, d, ...(y !== '' && { y }) }
  const signature = sign(by.alg === 'ES256' ? 'sha256' : null, Buffer.from(text), {
    key: createPrivateKey({ key: jwk, format: 'jwk' }),
    dsaEncoding: 'ieee-p1363',
  })
  return `${text}.${signature.toString('base64url')}`
}

/** The sentence of what must be refused. */
function why(value: unknown): string {
  assert.ok(typeof value === 'string')
  return value
}

const header = { alg: 'ES256', kid: key.kid, typ: 'at+jwt' }
const claims = {
  iss: issuer,
  aud: audience,
  sub: grant.id,
  client_id: grant.id,
  iat: NOW / 1000,
  exp: NOW / 1000 + 60,
  jti: 'one',
  conditions: ['method=GET'],
}

for (const alg of ['ES256', 'EdDSA'] satisfies JwtAlg[]) {
  describe(`a JWT by ${alg}`, () => {
    test('comes back as the grant that it was made for, the second time without a signature check', async () => {
      const jwts = make({ keys: [await newJwtKey(alg)] })
      const token = await jwts.mint(grant)
      const first = jwts.check(token)
      assert.ok(first instanceof Promise)
      assert.deepEqual(await first, grant)
      assert.deepEqual(jwts.check(token), grant)
    })

    test('with one flip in any of its bytes is refused', async () => {
      // All bits but the highest, so that each flip is another letter and none is caught by not being ASCII alone.
      const jwts = make({ keys: [await newJwtKey(alg)] })
      const token = await jwts.mint(grant)
      for (let at = 0; at < token.length; at++) {
        const bytes = Buffer.from(token, 'latin1')
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 7))
        assert.notEqual(typeof (await jwts.check(bytes.toString('latin1'))), 'object', `${at}`)
      }
      assert.deepEqual(await jwts.check(token), grant)
    })

    test('is verified by jose and by the machine’s own ECDSA or EdDSA, from the published keys', async () => {
      const jwts = make({ keys: [await newJwtKey(alg)] })
      const token = await jwts.mint(grant)
      const keys = jwts.jwks()
      assert.ok(!JSON.stringify(keys).includes('"d"'))
      const { payload, protectedHeader } = await jwtVerify(
        token,
        createLocalJWKSet(keys as unknown as JSONWebKeySet),
        { issuer, audience, typ: 'at+jwt', currentDate: new Date(NOW) },
      )
      assert.equal(protectedHeader.alg, alg)
      assert.equal(payload.sub, grant.id)
      const [head, body, signature = ''] = token.split('.')
      const [jwk] = keys.keys
      assert.ok(jwk)
      const publicKey = createPublicKey({ key: { ...jwk }, format: 'jwk' })
      const holds = (text: string) =>
        verify(
          alg === 'ES256' ? 'sha256' : null,
          Buffer.from(text),
          { key: publicKey, dsaEncoding: 'ieee-p1363' },
          Buffer.from(signature, 'base64url'),
        )
      assert.ok(holds(`${head}.${body}`))
      assert.ok(!holds(`${head}.${body}A`))
    })

    test('made by jose is taken', async () => {
      const own = await newJwtKey(alg)
      const token = await new SignJWT(claims)
        .setProtectedHeader({ alg, kid: own.kid, typ: 'at+jwt' })
        .sign(await importJWK({ ...own }, alg))
      const found = await make({ keys: [own] }).check(token)
      assert.ok(typeof found === 'object')
      assert.deepEqual(found.rights, { methods: ['GET'], expiresAt: NOW + 60_000 })
    })
  })
}

describe('the claims of a JWT', () => {
  test('are those of RFC 9068, and say nothing twice', async () => {
    const said = decodeJwt(await make().mint(grant))
    const { jti, ...rest } = said
    assert.match(String(jti), /^[\w-]{22}$/)
    assert.deepEqual(rest, {
      iss: issuer,
      aud: audience,
      sub: grant.id,
      client_id: grant.id,
      iat: NOW / 1000,
      exp: NOW / 1000 + 60,
      conditions: ['path=/a/*', 'method=GET', 'one/uses=7'],
    })
  })

  test('end with the rights, or after a time of their own', async () => {
    const exp = async (expiresAt?: number) => {
      const rights = expiresAt === undefined ? {} : { expiresAt }
      return decodeJwt(await make().mint({ id: grant.id, rights })).exp ?? 0
    }
    assert.equal(await exp(NOW + 5_999), NOW / 1000 + 5)
    assert.equal(await exp(), (NOW + JWT_LIFETIME_MS) / 1000)
    assert.equal(await exp(NOW + 2 * JWT_LIFETIME_MS), (NOW + 2 * JWT_LIFETIME_MS) / 1000)
  })

  test('bind a token to one proven key by cnf, and to others by a condition', async () => {
    const jwts = make()
    const bound = { id: grant.id, rights: { ...grant.rights, payerKeys: [`jkt:${jkt}`] } }
    const token = await jwts.mint(bound)
    assert.deepEqual(decodeJwt(token)['cnf'], { jkt })
    assert.ok(!JSON.stringify(decodeJwt(token)['conditions']).includes('payer='))
    assert.deepEqual(await jwts.check(token), bound)
    const two = { ...bound, rights: { ...bound.rights, payerKeys: [`jkt:${jkt}`, 'other'] } }
    const other = await jwts.mint(two)
    assert.equal(decodeJwt(other)['cnf'], undefined)
    assert.deepEqual(await jwts.check(other), two)
  })

  test('that are missing, or of another meaning, are refused', async () => {
    const found = await make().check(await forge(header, claims))
    assert.ok(typeof found === 'object', 'the nearest honest token')
    const wrong: readonly (readonly [change: object, why: RegExp])[] = [
      [{ iss: 'https://other.test' }, /issuer/],
      [{ iss: undefined }, /issuer/],
      [{ aud: 'https://other.test' }, /another service/],
      [{ aud: ['https://other.test'] }, /another service/],
      [{ exp: NOW / 1000 }, /expired/],
      [{ exp: NOW / 1000 - 60 }, /expired/],
      [{ exp: undefined }, /exp/],
      [{ exp: 'never' }, /exp/],
      [{ exp: null }, /exp/],
      [{ nbf: NOW / 1000 + 60 }, /nbf/],
      [{ sub: 'somebody' }, /account/],
      [{ sub: undefined }, /sub/],
      [{ client_id: 'cd'.repeat(32) }, /\.$/],
      [{ jti: undefined }, /jti/],
      [{ conditions: undefined }, /conditions/],
      [{ conditions: 'method=GET' }, /conditions/],
      [{ conditions: ['colour=red'] }, /condition/],
      [{ conditions: Array(33).fill('method=GET') }, /conditions/],
      [{ cnf: { 'x5t#S256': 'abc' } }, /bound/],
      [{ cnf: { jkt: 5 } }, /bound/],
      [{ cnf: 'jkt' }, /bound/],
      [{ cnf: null }, /bound/],
    ]
    for (const [change, reason] of wrong) {
      const token = await forge(header, { ...claims, ...change })
      assert.match(why(await make().check(token)), reason, JSON.stringify(change))
    }
  })

  test('that name several audiences are good where ours is among them', async () => {
    const token = await forge(header, { ...claims, aud: ['https://other.test', audience] })
    assert.equal(typeof (await make().check(token)), 'object')
  })
})

describe('a JWT with another header', () => {
  const refused = async (token: string) =>
    assert.notEqual(typeof (await make().check(token)), 'object', token)

  test('is not one of ours, whoever signed it', async () => {
    assert.equal(typeof (await make().check(await forge(header, claims))), 'object')
    const other = await newJwtKey()
    const { d: _, ...publicHalf } = other
    const strange = [
      { ...header, typ: 'JWT' },
      { ...header, typ: undefined },
      { ...header, kid: undefined },
      { ...header, kid: 'other' },
      { ...header, alg: 'EdDSA' },
      { ...header, alg: 'none' },
      { ...header, alg: 'HS256' },
      { ...header, crit: ['exp'] },
      { ...header, crit: ['b64'], b64: false },
      { ...header, jwk: publicHalf },
      { ...header, jku: 'https://other.test/keys' },
      { kid: key.kid, alg: 'ES256', typ: 'at+jwt' },
    ]
    for (const one of strange) {
      await refused(await forge(one, claims))
      await refused(await forge(one, claims, other))
    }
    await refused(await forge(header, claims, other))
  })

  test('cannot have itself signed with the public key as a secret', async () => {
    const { d: _, ...publicHalf } = key
    const spki = createPublicKey({ key: { ...publicHalf }, format: 'jwk' })
    const secrets = [
      spki.export({ type: 'spki', format: 'pem' }),
      spki.export({ type: 'spki', format: 'der' }),
      JSON.stringify(make().jwks().keys[0]),
    ]
    for (const secret of secrets)
      for (const head of [header, { ...header, alg: 'HS256' }]) {
        const text = [head, claims]
          .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
          .join('.')
        const mac = createHmac('sha256', secret).update(text).digest('base64url')
        await refused(`${text}.${mac}`)
      }
  })

  test('without a signature is refused', async () => {
    const [head, body] = (await make().mint(grant)).split('.')
    for (const end of ['', '.', '..', '.AA', `.${'A'.repeat(86)}`])
      await refused(`${head}.${body}${end}`)
  })

  test('is left alone, as is any other text', async () => {
    for (const text of [
      '',
      '.',
      '..',
      'tk_abc',
      'AgEA',
      'a.b.c',
      await forge({ alg: 'RS256' }, claims),
    ])
      assert.equal(await make().check(text), undefined, text)
  })

  test('is refused when it is too long, before anything is computed', () => {
    const head = Buffer.from(JSON.stringify(header)).toString('base64url')
    const long = make().check(`${head}.${'A'.repeat(JWT_CHARS_MAX)}.A`)
    assert.match(why(long), /longer/)
  })
})

describe('a signature', () => {
  test('has one spelling', async () => {
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const token = await make().mint(grant)
    const last = letters.indexOf(token.at(-1) ?? '')
    for (let spare = 1; spare < 16; spare++) {
      const text = token.slice(0, -1) + letters[last ^ spare]
      assert.match(why(await make().check(text)), /signature/)
    }
    for (const end of ['=', '==', 'A', '\n', '.'])
      assert.equal(typeof (await make().check(token + end)), 'string', JSON.stringify(end))
  })

  test('over other bytes does not come along', async () => {
    const jwts = make()
    const [a, b] = [await jwts.mint(grant), await jwts.mint({ ...grant, id: 'cd'.repeat(32) })]
    const [head, , signature] = a.split('.')
    const [, body] = b.split('.')
    assert.match(why(await jwts.check([head, body, signature].join('.'))), /signature/)
  })

  test('of a text that is no JSON object is refused', async () => {
    const privateKey = await importJWK({ ...key }, 'ES256')
    const signed = (text: string) =>
      new CompactSign(Buffer.from(text)).setProtectedHeader(header).sign(privateKey)
    assert.equal(typeof (await make().check(await signed(JSON.stringify(claims)))), 'object')
    for (const text of ['', 'null', '[]', '"a"', '{', '\uD800', `[${JSON.stringify(claims)}]`])
      assert.equal(typeof (await make().check(await signed(text))), 'string', text)
  })
})

describe('keys', () => {
  test('are rotated without a break', async () => {
    const young = await newJwtKey('EdDSA')
    const { d: _, ...publicHalf } = key
    const before = make()
    const during = make({ keys: [young, publicHalf] })
    const after = make({ keys: [young] })
    const token = await before.mint(grant)
    assert.deepEqual(await during.check(token), grant)
    assert.equal(await after.check(token), undefined)
    assert.deepEqual(await after.check(await during.mint(grant)), grant)
    assert.deepEqual(
      during.jwks().keys.map(({ kid }) => kid),
      [young.kid, key.kid],
    )
  })

  test('that cannot be meant are refused at once', async () => {
    const { d: _, ...publicHalf } = key
    const { d } = await newJwtKey()
    const wrong: readonly (readonly JwtKey[])[] = [
      [],
      [publicHalf],
      [key, key],
      Array.from({ length: JWT_KEYS_MAX + 1 }, (_, i) => ({ ...key, kid: `k${i}` })),
      [{ ...key, alg: 'EdDSA' }],
      [{ ...key, alg: 'HS256' as JwtAlg }],
      [{ ...key, alg: 'toString' as JwtAlg }],
      [{ ...key, kid: '' }],
      [{ ...key, crv: 'P-384' }],
      [{ ...key, x: 'AAAA' }],
      [{ ...key, d: 'AAAA' }],
      [{ ...key, ...(d !== undefined && { d }) }],
    ]
    for (const keys of wrong) assert.throws(() => make({ keys }), RangeError)
  })
})

test('a token that is known ends with its time', async () => {
  let now = NOW
  const jwts = make({ clock: { ...clock, now: () => now } })
  const token = await jwts.mint(grant)
  assert.deepEqual(await jwts.check(token), grant)
  now = NOW + 59_999
  assert.deepEqual(jwts.check(token), grant)
  now = NOW + 60_000
  assert.match(why(jwts.check(token)), /expired/)
  const fresh = make({ clock: { ...clock, now: () => now } })
  assert.match(why(await fresh.check(token)), /expired/)
})

test('a token is not minted with what would not be read back', async () => {
  await assert.rejects(make().mint({ id: 'ab', rights: {} }), RangeError)
  await assert.rejects(make().mint({ id: grant.id, rights: { paths: [] } }), RangeError)
  const paths = Array.from({ length: 20 }, (_, i) => `/${'a'.repeat(20)}${i}`)
  await make().mint({ id: grant.id, rights: { paths } })
})
