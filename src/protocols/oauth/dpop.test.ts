import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import { exportJWK, UnsecuredJWT } from 'jose'
import type { Proofs, Proven } from './dpop.ts'
import { createProofs, JTI_CHARS_MAX, placeOf, PROOF_AGE_MS, PROOF_CHARS_MAX } from './dpop.ts'
import { athOf, clock, createProver, NOW, resource } from './fixture.test.ts'

const token = 'token'
const ath = athOf(token)
const prover = await createProver()
const proofs = (): Proofs => createProofs({ clock })

function why(proven: Proven): string {
  assert.equal(proven.kind, 'unproven')
  return proven.kind === 'unproven' ? proven.why : ''
}

const proven = { kind: 'proven', jkt: prover.jkt }

describe('a proof', () => {
  test('shows its key, by each algorithm', async () => {
    for (const alg of ['ES256', 'EdDSA', 'ES384']) {
      const one = await createProver(alg)
      const found = await proofs().check(await one.prove({ ath }), resource, token)
      assert.deepEqual(found, { kind: 'proven', jkt: one.jkt })
    }
  })

  test('is good once, from whomever', async () => {
    const both = proofs()
    const proof = await prover.prove({ ath })
    assert.deepEqual(await both.check(proof, resource, token), proven)
    assert.match(why(await both.check(proof, resource, token)), /used before/)
    const same = await prover.prove({ ath, jti: 'same' })
    const other = await prover.prove({ ath, jti: 'same', iat: NOW / 1000 - 1 })
    assert.deepEqual(await both.check(same, resource, token), proven)
    assert.match(why(await both.check(other, resource, token)), /used before/)
    const stranger = await createProver()
    const theirs = await both.check(await stranger.prove({ ath, jti: 'same' }), resource, token)
    assert.equal(theirs.kind, 'proven', 'another key has names of its own')
  })

  test('shown a hundred times at once is good once', async () => {
    const both = proofs()
    const proof = await prover.prove({ ath })
    const found = await Promise.all(
      Array.from({ length: 100 }, () => both.check(proof, resource, token)),
    )
    assert.equal(found.filter(({ kind }) => kind === 'proven').length, 1)
  })

  test('for another request or token is refused, and the right one is not', async () => {
    const both = proofs()
    assert.deepEqual(await both.check(await prover.prove({ ath }), resource, token), proven)
    const wrong: readonly (readonly [claims: object, reason: RegExp])[] = [
      [{ htm: 'POST' }, /method/],
      [{ htm: 'get' }, /method/],
      [{ htm: undefined }, /method/],
      [{ htm: ['GET'] }, /method/],
      [{ htu: 'https://api.test/a' }, /address/],
      [{ htu: 'https://api.test/a/b/' }, /address/],
      [{ htu: 'https://api.test/A/b' }, /address/],
      [{ htu: 'http://api.test/a/b' }, /address/],
      [{ htu: 'https://api.test:8443/a/b' }, /address/],
      [{ htu: 'https://other.test/a/b' }, /address/],
      [{ htu: 'https://u@api.test/a/b' }, /address/],
      [{ htu: '/a/b' }, /address/],
      [{ htu: undefined }, /address/],
      [{ htu: 5 }, /address/],
      [{ ath: undefined }, /ath/],
      [{ ath: athOf('other') }, /ath/],
      [{ ath: `${ath}=` }, /ath/],
      [{ ath: [ath] }, /ath/],
      [{ iat: undefined }, /when/],
      [{ iat: NOW / 1000 - PROOF_AGE_MS / 1000 - 1 }, /old/],
      [{ iat: NOW / 1000 + 11 }, /future/],
      [{ iat: 'now' }, /time/],
      [{ exp: NOW / 1000 - 1 }, /time/],
      [{ nbf: NOW / 1000 + 60 }, /time/],
      [{ jti: undefined }, /jti/],
      [{ jti: '' }, /jti/],
      [{ jti: 5 }, /jti/],
      [{ jti: 'j'.repeat(JTI_CHARS_MAX + 1) }, /jti/],
    ]
    for (const [claims, reason] of wrong) {
      const proof = await prover.prove({ ath, ...claims })
      assert.match(why(await both.check(proof, resource, token)), reason, JSON.stringify(claims))
    }
  })

  test('may write its address in any spelling of the same', async () => {
    for (const htu of [
      'https://api.test/a/b',
      'HTTPS://API.test:443/a/b',
      'https://api.test/a/b?x=y#z',
      'https://api.test/a/./c/../b',
      'https://api.test/%61/b',
    ]) {
      const found = await proofs().check(await prover.prove({ ath, htu }), resource, token)
      assert.deepEqual(found, proven, htu)
    }
    assert.equal(placeOf('https://a.test/%7e%2f%C3%a9'), 'https://a.test/~%2F%C3%A9')
    assert.notEqual(placeOf('https://a.test/a%2Fb'), placeOf('https://a.test/a/b'))
  })

  test('is good to the edge of its time', async () => {
    const old = await prover.prove({ ath, iat: (NOW - PROOF_AGE_MS) / 1000 })
    assert.deepEqual(await proofs().check(old, resource, token), proven)
    const ahead = await prover.prove({ ath, iat: NOW / 1000 + 10 })
    assert.deepEqual(await proofs().check(ahead, resource, token), proven)
  })

  test('needs no ath where there is no token yet', async () => {
    assert.deepEqual(await proofs().check(await prover.prove(), resource), proven)
  })

  test('that does not fit the token is not used up', async () => {
    const both = proofs()
    const proof = await prover.prove({ ath })
    assert.match(why(await both.check(proof, resource, token, () => false)), /another key/)
    assert.deepEqual(await both.check(proof, resource, token, (jkt) => jkt === prover.jkt), proven)
  })
})

describe('a proof with another header', () => {
  test('is refused', async () => {
    const secret = await exportJWK(prover.privateKey)
    const stranger = await createProver()
    const wrong: readonly object[] = [
      { typ: 'JWT' },
      { typ: undefined },
      { typ: 'DPOP+JWT' },
      { jwk: undefined },
      { jwk: secret },
      { jwk: stranger.jwk },
      { jwk: { ...prover.jwk, x5c: ['a'] } },
      { jwk: { kty: 'oct', k: 'AAAA' } },
      { jwk: { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' } },
      { jwk: [] },
      { jwk: 'key' },
      { kid: 'a' },
      { jku: 'https://other.test' },
      { crit: ['b64'], b64: true },
    ]
    for (const header of wrong) {
      const proof = await prover.prove({ ath }, header)
      assert.match(why(await proofs().check(proof, resource, token)), /\.$/, JSON.stringify(header))
    }
  })

  test('cannot choose an algorithm without a key of its own', async () => {
    const claims = { htm: 'GET', htu: resource.url, iat: NOW / 1000, jti: 'j', ath }
    const none = new UnsecuredJWT(claims).encode()
    assert.match(why(await proofs().check(none, resource, token)), /\.$/)
    for (const jwk of [
      prover.jwk,
      { kty: 'oct', k: Buffer.from('secret').toString('base64url') },
    ]) {
      const text = [{ typ: 'dpop+jwt', alg: 'HS256', jwk }, claims]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .join('.')
      const mac = createHmac('sha256', 'secret').update(text).digest('base64url')
      assert.match(why(await proofs().check(`${text}.${mac}`, resource, token)), /signed by/)
    }
  })

  test('or no proof at all is refused', async () => {
    const proof = await prover.prove({ ath })
    for (const text of [
      undefined,
      null,
      '',
      'a.b.c',
      'a.b',
      `${proof}, ${proof}`,
      `${proof}.`,
      `${proof.slice(0, -4)}AAAA`,
      'a'.repeat(PROOF_CHARS_MAX + 1),
    ])
      assert.match(why(await proofs().check(text, resource, token)), /\.$/)
    assert.deepEqual(await proofs().check(proof, resource, token), proven)
  })

  test('or with one flip in any of its bytes is refused', async () => {
    const proof = await prover.prove({ ath })
    const end = proof.lastIndexOf('.')
    // The last letter of a signature has spare bits, and a proof is named by its jti whatever its spelling.
    for (let at = 0; at < proof.length - 1; at++) {
      const bytes = Buffer.from(proof, 'latin1')
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 7))
      const found = await proofs().check(bytes.toString('latin1'), resource, token)
      assert.equal(found.kind, 'unproven', `${at} of ${end}`)
    }
    assert.deepEqual(await proofs().check(proof, resource, token), proven)
  })
})

describe('the memory of used proofs', () => {
  test('has a limit, and then takes none until there is room', async () => {
    let now = NOW
    const few = createProofs({ clock: { ...clock, now: () => now }, proofsMax: 2 })
    const first = await prover.prove({ ath })
    for (const proof of [first, await prover.prove({ ath })])
      assert.deepEqual(await few.check(proof, resource, token), proven)
    const third = await prover.prove({ ath, iat: NOW / 1000 + 60 })
    now += 50_000
    const refused = await few.check(third, resource, token)
    assert.deepEqual(refused, { kind: 'full', retryAfterMs: 20_001 })
    now += 20_001
    assert.deepEqual(await few.check(third, resource, token), proven)
    assert.match(why(await few.check(first, resource, token)), /old/)
  })

  test('lasts longer than any proof does', async () => {
    let now = NOW
    const both = createProofs({ clock: { ...clock, now: () => now } })
    const ahead = await prover.prove({ ath, iat: NOW / 1000 + 10 })
    assert.deepEqual(await both.check(ahead, resource, token), proven)
    for (; now < NOW + 2 * PROOF_AGE_MS; now += 2_500)
      assert.equal((await both.check(ahead, resource, token)).kind, 'unproven')
  })
})
