import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Grant } from '../../core/credential.ts'
import type { Mint, Protocol } from '../../core/ports.ts'
import { problem, problems } from '../../core/problem.ts'
import type { Code } from '../../core/problem.ts'
import { createJwts, newJwtKey } from '../../tokens/jwt/index.ts'
import { createMacaroonMint, createMacaroons } from '../../tokens/macaroon/index.ts'
import { createOpaques } from '../../tokens/opaque/index.ts'
import { x402 } from '../x402/index.ts'
import {
  athOf,
  clock,
  createProver,
  credentialOf,
  fieldsOf,
  id,
  NOW,
  problemOf,
  resource,
} from './fixture.test.ts'
import { oauth } from './http.ts'
import type { OAuthSettings } from './http.ts'

const secrets = ['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA']
const jwts = createJwts({
  keys: [await newJwtKey()],
  issuer: 'https://as.test',
  audience: 'https://api.test',
  clock,
})
const macaroons = createMacaroons({ secrets })
const mints: readonly Mint[] = [
  createOpaques({ secrets, clock }),
  jwts,
  createMacaroonMint(macaroons, clock),
]
const metadataUrl = 'https://api.test/.well-known/oauth-protected-resource'
const grant: Grant = { id, rights: { paths: ['/a/*'], expiresAt: NOW + 60_000 } }
const prover = await createProver()
const bound: Grant = { id, rights: { ...grant.rights, payerKeys: [`jkt:${prover.jkt}`] } }
const make = (settings: OAuthSettings = {}): Protocol =>
  oauth({ mints, metadataUrl, clock, ...settings })
const read = (fields: Readonly<Record<string, string>>, by: Protocol = make()) =>
  by.readCredential(fieldsOf(fields), resource)

for (const mint of mints)
  describe(`a token of the kind ${mint.name}`, () => {
    test('is a grant and nothing else', async () => {
      const token = await mint.mint(grant)
      const found = await read({ Authorization: `Bearer ${token}` })
      assert.deepEqual(credentialOf(found), { grant })
      const beside = await read({ Authorization: `Basic dXNlcjpw, bearer ${token}` })
      assert.deepEqual(credentialOf(beside), { grant })
    })

    test('that belongs to a key is worth nothing without it', async () => {
      const token = await mint.mint(bound)
      const proof = () => prover.prove({ ath: athOf(token) })
      const found = await read({ Authorization: `DPoP ${token}`, DPoP: await proof() })
      const payerKey = `jkt:${prover.jkt}`
      assert.deepEqual(credentialOf(found), { grant: { ...bound, payerKey } })
      const bare = problemOf(await read({ Authorization: `Bearer ${token}` }))
      assert.equal(bare.code, 'token-invalid')
      const proved = await read({ Authorization: `Bearer ${token}`, DPoP: await proof() })
      assert.equal(problemOf(proved).code, 'token-invalid', 'the scheme must say it too')
      const none = problemOf(await read({ Authorization: `DPoP ${token}` }))
      assert.equal(none.reason, 'invalid_dpop_proof')
      const thief = await createProver()
      const stolen = {
        Authorization: `DPoP ${token}`,
        DPoP: await thief.prove({ ath: athOf(token) }),
      }
      assert.match(problemOf(await read(stolen)).detail, /another key/)
    })

    test('that belongs to no key is not made better by a proof', async () => {
      const token = await mint.mint(grant)
      const fields = {
        Authorization: `DPoP ${token}`,
        DPoP: await prover.prove({ ath: athOf(token) }),
      }
      assert.match(problemOf(await read(fields)).detail, /no key/)
    })

    test('that has expired is refused with a sentence', async () => {
      const token = await mint.mint({ id, rights: { expiresAt: NOW - 1_000 } })
      const found = problemOf(await read({ Authorization: `Bearer ${token}` }))
      assert.equal(found.code, 'token-invalid')
      assert.match(found.detail, /expired/)
    })
  })

describe('a proof', () => {
  test('is good for one request', async () => {
    const protocol = make()
    const token = await jwts.mint(bound)
    const fields = {
      Authorization: `DPoP ${token}`,
      DPoP: await prover.prove({ ath: athOf(token) }),
    }
    credentialOf(await read(fields, protocol))
    assert.match(problemOf(await read(fields, protocol)).detail, /used before/)
  })

  test('is not taken when too many came at once, and the payer is told when to come back', async () => {
    const protocol = make({ dpop: { proofsMax: 1 } })
    const token = await jwts.mint(bound)
    const fields = async () => ({
      Authorization: `DPoP ${token}`,
      DPoP: await prover.prove({ ath: athOf(token) }),
    })
    credentialOf(await read(await fields(), protocol))
    const full = problemOf(await read(await fields(), protocol))
    assert.equal(full.code, 'rate-limited')
    assert.ok((full.retryAfterMs ?? 0) > 0)
  })
})

describe('what is not ours', () => {
  test('is left alone', async () => {
    for (const field of ['Basic dXNlcjpw', 'L402 AgE:00', 'Digest username="Bearer a"'])
      assert.equal(await read({ Authorization: field }), undefined)
    assert.equal(await read({}), undefined)
    assert.equal(await read({ DPoP: await prover.prove() }), undefined)
  })

  test('is refused where it is a bearer token, unless the service has its own', async () => {
    const found = problemOf(await read({ Authorization: 'Bearer session-of-somebody' }))
    assert.equal(found.code, 'token-invalid')
    const leaves = make({ foreign: 'leave' })
    assert.equal(await read({ Authorization: 'Bearer session-of-somebody' }, leaves), undefined)
    const other = createJwts({
      keys: [await newJwtKey()],
      issuer: 'https://other.test',
      audience: 'https://api.test',
      clock,
    })
    const token = await other.mint(grant)
    assert.equal(await read({ Authorization: `Bearer ${token}` }, leaves), undefined)
    assert.equal(problemOf(await read({ Authorization: `Bearer ${token}` })).code, 'token-invalid')
    const cut = (await mints[0]?.mint(grant))?.slice(0, -1)
    const spoilt = await read({ Authorization: `Bearer ${cut}` }, leaves)
    assert.equal(problemOf(spoilt).code, 'token-invalid', 'a spoilt one of ours is not left')
  })

  test('that cannot be read is malformed', async () => {
    for (const field of ['Bearer', 'Bearer a b', 'Bearer a, Bearer b'])
      assert.equal(problemOf(await read({ Authorization: field })).code, 'credential-malformed')
  })

  test('a token with an offer is no grant', async () => {
    const paymentHash = Buffer.from(id, 'hex')
    const token = macaroons.mint({ paymentHash, tokenId: paymentHash }, ['offer=o'])
    assert.match(problemOf(await read({ Authorization: `Bearer ${token}` })).detail, /preimage/)
  })

  test('x402 beside it reads its own fields, and a token is none of them', async () => {
    const token = await jwts.mint(grant)
    const found = x402([]).readCredential(fieldsOf({ Authorization: `Bearer ${token}` }), resource)
    assert.equal(found, undefined)
    assert.equal(await read({ 'PAYMENT-SIGNATURE': 'e30=' }), undefined)
  })
})

describe('what it writes', () => {
  const challenge = { resource, offers: [], problem: problem('payment-required', 'Pay.') }

  test('is one challenge that tells where tokens are had', () => {
    assert.deepEqual(make().writeChallenge(challenge), {
      fields: [['WWW-Authenticate', `Bearer realm="api", resource_metadata="${metadataUrl}"`]],
    })
    assert.deepEqual(oauth().writeChallenge(challenge), { fields: [] }, 'a payer has none')
  })

  test('is the errors of RFC 6750', () => {
    const said = (code: Code, detail: string, reason?: string) =>
      make().writeRefusal?.(problem(code, detail, reason === undefined ? {} : { reason })).fields
    const one = (code: Code, detail = 'Why not.') => said(code, detail)?.[0]?.[1]
    assert.equal(
      one('token-invalid'),
      `Bearer error="invalid_token", error_description="Why not.", resource_metadata="${metadataUrl}"`,
    )
    assert.match(one('token-insufficient') ?? '', /^Bearer error="insufficient_scope", /)
    assert.match(one('credential-malformed') ?? '', /^Bearer error="invalid_request", /)
    assert.match(one('token-invalid', 'Send "a\\b" \u00e9') ?? '', /description="Send 'a'b' \?"/)
    const codes = Object.keys(problems) as Code[]
    const words = codes.filter((code) => (said(code, 'Why not.') ?? []).length > 0)
    assert.deepEqual(words, ['credential-malformed', 'token-invalid', 'token-insufficient'])
  })

  test('names the scheme that would have been right', async () => {
    const token = await jwts.mint(bound)
    const bare = problemOf(await read({ Authorization: `Bearer ${token}` }))
    const none = problemOf(await read({ Authorization: `DPoP ${token}` }))
    const [wanted] = make().writeRefusal?.(bare).fields ?? []
    const [proof] = make().writeRefusal?.(none).fields ?? []
    assert.match(wanted?.[1] ?? '', /^DPoP algs="ES256 [^"]*", error="invalid_token", /)
    assert.match(proof?.[1] ?? '', /^DPoP algs="ES256 [^"]*", error="invalid_dpop_proof", /)
  })

  test('is nothing for a receipt or a payer', () => {
    const protocol = make()
    assert.deepEqual(protocol.writeCredential({ grant }), { fields: [] })
    const message = { status: 402, fields: fieldsOf({ 'WWW-Authenticate': 'Bearer realm="api"' }) }
    assert.equal(protocol.readChallenge(message, resource), undefined)
  })
})
