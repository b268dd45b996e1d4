// OAuth beside the routes, through a whole seller: tokens are paid for, bound to keys, asked about and ended.
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import {
  calculateJwkThumbprint,
  createLocalJWKSet,
  exportJWK,
  generateKeyPair,
  jwtVerify,
  SignJWT,
} from 'jose'
import type { JSONWebKeySet } from 'jose'
import type { JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import { ACCOUNT_FRESH_MS } from '../core/ports.ts'
import type { Clock } from '../core/ports.ts'
import { createProofs, GRANT_TYPE_PAYMENT, oauth, oauthService } from '../protocols/oauth/index.ts'
import { createJwts, newJwtKey } from '../tokens/jwt/index.ts'
import {
  createMacaroonMint,
  createMacaroons,
  narrow,
  readToken,
  writeToken,
} from '../tokens/macaroon/index.ts'
import { TOKENS_PATH } from './exchange.ts'
import type { Routes } from './routes.ts'
import {
  bearer,
  createHand,
  createWorld,
  fake,
  ORIGIN,
  pay,
  SECRET,
  START,
  textIn,
} from './shop.test.ts'
import type { Node, Said, Wish } from './shop.test.ts'

const GUARD = 'Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'
const HOUR_MS = 3_600_000
const routes: Routes = { 'GET /read': { plan: 'reader' }, 'GET /page': '0.25 USD' }
const key = await newJwtKey()

function shop(plans: object = {}) {
  const clock = createHand()
  const jwts = createJwts({ keys: [key], issuer: ORIGIN, audience: ORIGIN, clock })
  const macaroons = createMacaroonMint(createMacaroons({ secrets: [SECRET] }), clock)
  const proofs = createProofs({ clock })
  const mints = [macaroons, jwts]
  return createWorld(
    routes,
    {
      plans: { reader: { price: '0.10 USD', uses: 3, validForMs: HOUR_MS }, ...plans },
      mints,
      protocols: [fake, oauth({ mints, proofs, clock })],
      services: [oauthService({ issuer: ORIGIN, mint: jwts, secrets: [GUARD], proofs, clock })],
    },
    clock,
  )
}

function form(members: Readonly<Record<string, string>>, wish: Wish = {}): Wish {
  const type = { 'Content-Type': 'application/x-www-form-urlencoded' }
  const body = new URLSearchParams(members).toString()
  return { method: 'POST', ...wish, body, fields: { ...type, ...wish.fields } }
}

const order = { grant_type: GRANT_TYPE_PAYMENT }
const buy = (node: Node, nonce: string, wish: Wish = {}): Promise<Said> =>
  node.ask('/oauth/token', form(order, { nonce, ...wish }))
const ask = (node: Node, token: string, secret = GUARD): Promise<Said> =>
  node.ask('/oauth/introspect', form({ token }, { fields: bearer(secret) }))
const end = (node: Node, token: string): Promise<Said> => node.ask('/oauth/revoke', form({ token }))

function tokenOf(said: Said): string {
  assert.equal(said.status, 200, said.text)
  return textIn(said, 'access_token')
}

function linesIn({ status, text, body }: Said): readonly JsonObject[] {
  assert.equal(status, 200, text)
  const { entries } = body
  assert.ok(Array.isArray(entries) && entries.every(isObject))
  return entries
}

/** A client's key, and the proofs that it makes (RFC 9449). */
async function createProver(clock: Clock) {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = await exportJWK(publicKey)
  let last = 0
  return {
    jkt: await calculateJwkThumbprint(jwk),
    async prove(htm: string, path: string, token?: string): Promise<string> {
      const ath = token === undefined ? {} : { ath: hash('sha256', token, 'base64url') }
      const claims = { htm, htu: ORIGIN + path, iat: clock.now() / 1000, jti: `j${++last}`, ...ath }
      return await new SignJWT(claims)
        .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk })
        .sign(privateKey)
    },
  }
}

describe('metadata', () => {
  test('leads from a refusal to the token', async () => {
    const node = await shop().open()
    const { fields, body } = await node.ask('/.well-known/oauth-protected-resource')
    assert.match(fields.get('content-type') ?? '', /^application\/json/)
    assert.equal(fields.get('access-control-allow-origin'), '*')
    assert.deepEqual([body['resource'], body['authorization_servers']], [ORIGIN, [ORIGIN]])
    const server = await node.ask('/.well-known/oauth-authorization-server')
    assert.equal(server.body['token_endpoint'], `${ORIGIN}/oauth/token`)
    assert.deepEqual(server.body['scopes_supported'], ['reader'])
    const keys = await node.ask(textIn(server, 'jwks_uri').slice(ORIGIN.length))
    const jwks = createLocalJWKSet(keys.body as unknown as JSONWebKeySet)
    const token = tokenOf(await buy(node, 'n1'))
    const { payload } = await jwtVerify(token, jwks, {
      issuer: ORIGIN,
      audience: ORIGIN,
      typ: 'at+jwt',
      currentDate: new Date(START),
    })
    assert.equal(payload.exp, (START + HOUR_MS) / 1000)
    assert.doesNotMatch(keys.text, /"d"/)
    await node.seller.close()
  })
})

describe('the token endpoint', () => {
  test('asks for money with the challenges of all protocols, and sells for it', async () => {
    const { open, moved } = shop()
    const node = await open()
    const asked = await node.ask('/oauth/token', form(order))
    assert.deepEqual([asked.status, asked.body['code']], [402, 'payment-required'])
    assert.match(asked.fields.get('www-authenticate') ?? '', /^Bearer /)
    assert.equal((asked.body['offers'] as readonly unknown[]).length, 1)
    const said = await buy(node, 'n1')
    assert.equal(said.fields.get('cache-control'), 'no-store')
    assert.equal(said.fields.get('fake-receipt'), 'tx-n1')
    const token = tokenOf(said)
    const { access_token: _, ...rest } = said.body
    assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 3_600, scope: 'reader' })
    assert.equal((await node.ask('/read', { fields: bearer(token) })).status, 200)
    // The same payment again is the same account, not more.
    const { payment = '' } = said
    const again = tokenOf(await node.ask('/oauth/token', form(order, { payment })))
    for (const status of [200, 200, 402])
      assert.equal((await node.ask('/read', { fields: bearer(again) })).status, status)
    assert.equal(moved.size, 1)
    await node.seller.close()
  })

  test('refuses what it cannot mean before money moves', async () => {
    const { open, moved } = shop({ purse: { price: '1 USD', balance: '1 USD' } })
    const node = await open()
    const { offers } = (await node.ask('/oauth/token', form({ ...order, scope: 'purse' }))).body
    const [offer] = Array.isArray(offers) ? offers : []
    const paid = { fields: { 'Fake-Payment': pay(offer, 'n1') } }
    for (const [members, error] of [
      [{}, 'invalid_request'],
      [{ grant_type: 'password' }, 'unsupported_grant_type'],
      [order, 'invalid_scope'],
      [{ ...order, scope: 'nothing' }, 'invalid_scope'],
      [{ ...order, scope: 'purse reader' }, 'invalid_scope'],
    ] as const) {
      const { status, body } = await node.ask('/oauth/token', form(members, paid))
      assert.deepEqual([status, body['error']], [400, error])
    }
    const proof = { ...paid.fields, DPoP: 'garbage' }
    const bad = await node.ask(
      '/oauth/token',
      form({ ...order, scope: 'purse' }, { fields: proof }),
    )
    assert.deepEqual([bad.status, bad.body['error']], [400, 'invalid_dpop_proof'])
    const json = { method: 'POST', body: '{}', fields: { 'Content-Type': 'application/json' } }
    assert.equal((await node.ask('/oauth/token', json)).status, 400)
    const long = form({ ...order, x: 'x'.repeat(20_000) }, paid)
    assert.equal((await node.ask('/oauth/token', long)).status, 400)
    const got = await node.ask('/oauth/token')
    assert.deepEqual([got.status, got.fields.get('allow')], [405, 'POST'])
    assert.equal(moved.size, 0)
    tokenOf(await node.ask('/oauth/token', form({ ...order, scope: 'purse' }, paid)))
    await node.seller.close()
  })

  test('binds the token to the key that proves itself, and routes hold to it', async () => {
    const { open, clock } = shop()
    const node = await open()
    const [mine, theirs] = [await createProver(clock), await createProver(clock)]
    const proof = await mine.prove('POST', '/oauth/token')
    // The challenge on the way leaves the proof good for the request that pays.
    const bought = await buy(node, 'n1', { fields: { DPoP: proof } })
    assert.equal(bought.body['token_type'], 'DPoP')
    const token = tokenOf(bought)
    const show = async (prover: typeof mine, text = token) =>
      node.ask('/read', {
        fields: { Authorization: `DPoP ${text}`, DPoP: await prover.prove('GET', '/read', text) },
      })
    assert.equal((await show(mine)).status, 200)
    const stolen = await show(theirs)
    assert.deepEqual([stolen.status, stolen.body['code']], [401, 'token-invalid'])
    assert.match(stolen.fields.get('www-authenticate') ?? '', /DPoP .*invalid_dpop_proof/)
    assert.equal((await node.ask('/read', { fields: bearer(token) })).status, 401)
    const { payment = '' } = bought
    const replayed = await node.ask(
      '/oauth/token',
      form(order, { payment, fields: { DPoP: proof } }),
    )
    assert.equal(replayed.body['error'], 'invalid_dpop_proof')
    const fresh = { DPoP: await mine.prove('POST', '/oauth/token') }
    const again = await node.ask('/oauth/token', form(order, { payment, fields: fresh }))
    assert.equal((await show(mine, tokenOf(again))).status, 200)
    assert.equal((await ask(node, token)).body['uses'], 1)
    assert.deepEqual((await ask(node, token)).body['cnf'], { jkt: mine.jkt })
    await node.seller.close()
  })
})

test('a token that is bound to a key has its statement, and is topped up with one that is bound to it too', async () => {
  const { open, clock } = shop()
  const node = await open()
  const [mine, theirs] = [await createProver(clock), await createProver(clock)]
  const fields = { DPoP: await mine.prove('POST', '/oauth/token') }
  const token = tokenOf(await buy(node, 'n1', { fields }))
  const get = async (prover: typeof mine, path: string, text = token) =>
    node.ask(path, {
      fields: { Authorization: `DPoP ${text}`, DPoP: await prover.prove('GET', path, text) },
    })
  const statement = `${TOKENS_PATH}/statement`
  const [line, ...others] = linesIn(await get(mine, statement))
  assert.deepEqual([line?.['type'], others], ['bought', []])
  for (const said of [
    await get(theirs, statement),
    await node.ask(statement, { fields: bearer(token) }),
  ])
    assert.deepEqual([said.status, said.body['entries']], [401, undefined])

  clock.pass(HOUR_MS / 2)
  const body = JSON.stringify({ topUp: token })
  const more = await node.ask(`${TOKENS_PATH}/reader`, { method: 'POST', nonce: 'n2', body })
  const longer = textIn(more, 'token')
  assert.equal((await ask(node, token)).body['uses'], 6)
  assert.equal(linesIn(await get(mine, statement)).length, 2)
  for (const text of [token, longer]) {
    assert.equal((await get(mine, '/read', text)).status, 200)
    assert.equal((await get(theirs, '/read', text)).status, 401)
    assert.equal((await node.ask('/read', { fields: bearer(text) })).status, 401)
  }
  assert.equal(linesIn(await get(mine, statement, longer)).length, 4)
  assert.equal((await ask(node, longer)).body['uses'], 4)
  clock.pass(HOUR_MS / 2)
  assert.equal((await get(mine, '/read')).status, 401)
  assert.equal((await get(mine, '/read', longer)).status, 200)
  await node.seller.close()
})

describe('introspection', () => {
  test('is for resource servers that say who they are, and tells what is left', async () => {
    const node = await shop().open()
    const token = tokenOf(await buy(node, 'n1'))
    await node.ask('/read', { fields: bearer(token) })
    const { body } = await ask(node, token)
    assert.deepEqual(
      [body['active'], body['scope'], body['uses'], body['exp']],
      [true, 'reader', 2, (START + HOUR_MS) / 1000],
    )
    for (const secret of ['', `${GUARD}A`, token, SECRET])
      assert.equal((await ask(node, token, secret)).status, 401)
    assert.equal((await node.ask('/oauth/introspect', form({ token }))).status, 401)
    assert.deepEqual((await ask(node, `${token}A`)).body, { active: false })
    await node.seller.close()
  })

  test('says no more when the time is over', async () => {
    const { open, clock } = shop()
    const node = await open()
    const token = tokenOf(await buy(node, 'n1'))
    clock.pass(HOUR_MS - 1_000)
    assert.equal((await ask(node, token)).body['active'], true)
    clock.pass(1_000)
    assert.deepEqual((await ask(node, token)).body, { active: false })
    await node.seller.close()
  })
})

describe('revocation', () => {
  test('is seen by a second door on the same books within its time', async () => {
    const { open, clock } = shop()
    const [node, other] = [await open(), await open()]
    const token = tokenOf(await buy(node, 'n1'))
    assert.equal((await ask(other, token)).body['active'], true)
    assert.equal((await end(node, token)).status, 200)
    assert.deepEqual((await ask(node, token)).body, { active: false })
    assert.equal((await node.ask('/read', { fields: bearer(token) })).status, 401)
    clock.pass(ACCOUNT_FRESH_MS)
    assert.deepEqual((await ask(other, token)).body, { active: false })
    assert.equal((await other.ask('/read', { fields: bearer(token) })).status, 401)
    assert.equal((await end(node, token)).status, 200, 'ended is ended')
    assert.equal((await end(node, 'garbage')).status, 200, 'and so is what never was')
    await node.seller.close()
    await other.seller.close()
  })

  test('is for the holder of the whole token: bound or not, and never of a narrowed one', async () => {
    const { open, clock } = shop()
    const node = await open()
    const bought = await node.ask(`${TOKENS_PATH}/reader`, { method: 'POST', nonce: 'n1' })
    const whole = textIn(bought, 'token')
    const read = readToken(whole)
    const [root] = typeof read === 'string' ? [] : read
    assert.ok(root)
    for (const less of ['method=GET', 'payer=jkt:a', `expires=${START / 1000 + 60}`]) {
      const made = narrow(root, [less])
      assert.ok(typeof made === 'object')
      const refused = await end(node, writeToken([made]))
      assert.deepEqual([refused.status, refused.body['error']], [400, 'unauthorized_client'])
    }
    assert.equal((await ask(node, whole)).body['active'], true)
    assert.equal((await end(node, whole)).status, 200)
    assert.equal((await ask(node, whole)).body['active'], false)
    const prover = await createProver(clock)
    const fields = { DPoP: await prover.prove('POST', '/oauth/token') }
    const bound = tokenOf(await buy(node, 'n2', { fields }))
    assert.equal((await ask(node, bound)).body['active'], true)
    assert.equal((await end(node, bound)).status, 200)
    assert.equal((await ask(node, bound)).body['active'], false)
    await node.seller.close()
  })
})

test('an issuer that is no origin, and a secret that is none, are refused at the start', () => {
  const jwts = createJwts({ keys: [key], issuer: ORIGIN, audience: ORIGIN })
  for (const issuer of ['https://api.test/', 'https://api.test/a', 'api.test', ''])
    assert.throws(() => oauthService({ issuer, mint: jwts }), /not an origin/)
  assert.throws(() => oauthService({ issuer: ORIGIN, mint: jwts, secrets: ['short'] }), RangeError)
  assert.equal(
    oauthService({ issuer: ORIGIN, mint: jwts }).paths.includes('/oauth/introspect'),
    false,
  )
})
