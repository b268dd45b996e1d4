import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Grant } from '../../core/credential.ts'
import type { Answered, Mint } from '../../core/ports.ts'
import {
  createMacaroonMint,
  createMacaroons,
  narrow,
  readToken,
  writeToken,
} from '../../tokens/macaroon/index.ts'
import { createOpaques } from '../../tokens/opaque/index.ts'
import type { Account, Accounts } from './endpoints.ts'
import {
  documentAnswer,
  FORM_CHARS_MAX,
  FORM_MEMBERS_MAX,
  GRANT_TYPE_PAYMENT,
  introspect,
  readForm,
  refuseCaller,
  refuseTokenRequest,
  resourceMetadata,
  revoke,
  serverMetadata,
  tokenAnswer,
  tokenError,
} from './endpoints.ts'
import { clock, fieldsOf, id, NOW } from './fixture.test.ts'

const secrets = ['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA']
const opaques = createOpaques({ secrets, clock })
const macaroons = createMacaroonMint(createMacaroons({ secrets }), clock)
const mints: readonly Mint[] = [opaques, macaroons]
const grant: Grant = { id, rights: { paths: ['/a/*'], expiresAt: NOW + 60_000 } }
const jkt = 'k'.repeat(43)
const FORM = 'application/x-www-form-urlencoded'

function form(members: Readonly<Record<string, string>>): ReturnType<typeof readForm> {
  return readForm(FORM, new URLSearchParams(members).toString())
}

function bodyOf({ body }: Answered): unknown {
  return JSON.parse(body)
}

/** Books with that one account, in which a token with paths may not end the account. */
function accountsOf(account?: Account): Accounts & { readonly ended: string[] } {
  const ended: string[] = []
  return {
    ended,
    find: (asked) => Promise.resolve(asked.id === id ? account : undefined),
    revoke(asked) {
      if (asked.rights.methods) return Promise.resolve(false)
      ended.push(asked.id)
      return Promise.resolve(true)
    },
  }
}

function narrowed(token: string, ...conditions: readonly string[]): string {
  const read = readToken(token)
  const [first] = typeof read === 'string' ? [] : read
  assert.ok(first)
  const made = narrow(first, conditions)
  assert.ok(typeof made === 'object')
  return writeToken([made])
}

describe('metadata', () => {
  test('of the server is that of RFC 8414', () => {
    const said = serverMetadata({
      issuer: 'https://as.test',
      token: 'https://as.test/oauth/token',
      jwks: 'https://as.test/oauth/keys',
      introspection: 'https://as.test/oauth/introspect',
      revocation: 'https://as.test/oauth/revoke',
    })
    assert.deepEqual(said, {
      issuer: 'https://as.test',
      token_endpoint: 'https://as.test/oauth/token',
      response_types_supported: [],
      grant_types_supported: [GRANT_TYPE_PAYMENT, 'client_credentials'],
      token_endpoint_auth_methods_supported: ['none'],
      jwks_uri: 'https://as.test/oauth/keys',
      introspection_endpoint: 'https://as.test/oauth/introspect',
      revocation_endpoint: 'https://as.test/oauth/revoke',
      revocation_endpoint_auth_methods_supported: ['none'],
      dpop_signing_alg_values_supported: ['ES256', 'EdDSA', 'Ed25519', 'ES384'],
    })
    const { status, fields, body } = documentAnswer(said)
    assert.equal(status, 200)
    assert.equal(fields['Content-Type'], 'application/json')
    assert.deepEqual(JSON.parse(body), said)
  })

  test('of the resource is that of RFC 9728', () => {
    assert.deepEqual(
      resourceMetadata({ resource: 'https://api.test', issuers: ['https://as.test'] }),
      {
        resource: 'https://api.test',
        authorization_servers: ['https://as.test'],
        bearer_methods_supported: ['header'],
        dpop_signing_alg_values_supported: ['ES256', 'EdDSA', 'Ed25519', 'ES384'],
      },
    )
  })
})

describe('a form', () => {
  test('is read', () => {
    assert.deepEqual(form({ token: 'a b&c' }), new Map([['token', 'a b&c']]))
    assert.deepEqual(readForm(`${FORM}; charset=UTF-8`, 'a=b'), new Map([['a', 'b']]))
  })

  test('is refused with a sentence', () => {
    const many = Array.from({ length: FORM_MEMBERS_MAX + 1 }, (_, i) => `a${i}=b`).join('&')
    for (const [type, text] of [
      [undefined, 'a=b'],
      ['application/json', '{}'],
      [`${FORM}x`, 'a=b'],
      [FORM, 'a=b&a=c'],
      [FORM, many],
      [FORM, `a=${'b'.repeat(FORM_CHARS_MAX)}`],
    ] as const)
      assert.equal(typeof readForm(type, text), 'string', text.slice(0, 20))
  })
})

describe('the token endpoint', () => {
  test('takes a payment, by either grant type', () => {
    for (const grant_type of [GRANT_TYPE_PAYMENT, 'client_credentials'])
      assert.equal(refuseTokenRequest(form({ grant_type })), undefined)
    const error = (said: ReturnType<typeof form>) => {
      const answer = refuseTokenRequest(said)
      assert.equal(answer?.status, 400)
      return answer && (bodyOf(answer) as { readonly error: string }).error
    }
    assert.equal(error(form({ grant_type: 'password' })), 'unsupported_grant_type')
    assert.equal(error(form({})), 'invalid_request')
    assert.equal(error('The body names a parameter twice.'), 'invalid_request')
  })

  test('answers with a token that nobody may keep', () => {
    const answer = tokenAnswer('tk_a', grant, NOW)
    assert.equal(answer.status, 200)
    assert.equal(answer.fields['Cache-Control'], 'no-store')
    assert.deepEqual(bodyOf(answer), { access_token: 'tk_a', token_type: 'Bearer', expires_in: 60 })
    const bound = tokenAnswer('tk_a', { id, rights: { payerKeys: [`jkt:${jkt}`] } }, NOW)
    assert.deepEqual(bodyOf(bound), { access_token: 'tk_a', token_type: 'DPoP' })
    assert.deepEqual(bodyOf(tokenAnswer('tk_a', grant, NOW + 90_000)), {
      access_token: 'tk_a',
      token_type: 'Bearer',
      expires_in: 0,
    })
  })

  test('refuses in plain ASCII', () => {
    const answer = tokenError('invalid_grant', 'Not "this" \u00e9.')
    assert.equal(answer.status, 400)
    assert.deepEqual(bodyOf(answer), { error: 'invalid_grant', error_description: "Not 'this' ?." })
    assert.equal(tokenError('invalid_client', 'No.').status, 401)
  })
})

describe('introspection', () => {
  const asked = async (token: string, account: Account | undefined = { revoked: false }) =>
    bodyOf(await introspect(form({ token }), mints, accountsOf(account)))

  test('tells what a good token is good for', async () => {
    const account = { revoked: false, more: { balance: '1 USD', active: false } }
    assert.deepEqual(await asked(opaques.mint(grant), account), {
      balance: '1 USD',
      active: true,
      token_type: 'Bearer',
      sub: id,
      client_id: id,
      exp: NOW / 1000 + 60,
      conditions: ['path=/a/*'],
    })
    const bound = { id, rights: { payerKeys: [`jkt:${jkt}`] } }
    assert.deepEqual(await asked(opaques.mint(bound)), {
      active: true,
      token_type: 'DPoP',
      sub: id,
      client_id: id,
      cnf: { jkt },
      conditions: [],
    })
  })

  test('tells nothing of one that is not', async () => {
    const off = { active: false }
    const token = opaques.mint(grant)
    assert.deepEqual(await asked(token, { revoked: true }), off)
    assert.deepEqual(await asked(opaques.mint({ ...grant, id: 'cd'.repeat(32) })), off)
    assert.deepEqual(await asked(opaques.mint({ id, rights: { expiresAt: 1_000 } })), off)
    for (const text of [`${token}A`, 'garbage', '', token.slice(1)])
      assert.deepEqual(await asked(text), off)
    const nothing = narrowed(macaroons.mint(grant), 'path=/other')
    assert.equal(typeof macaroons.check(nothing), 'object')
    assert.deepEqual(await asked(nothing), off, 'nothing is left of it')
    assert.equal((await introspect(form({}), mints, accountsOf())).status, 400)
    assert.equal((await introspect('Unreadable.', mints, accountsOf())).status, 400)
  })

  test('is for callers that say who they are', () => {
    const [secret = ''] = secrets
    const field = (said: string | undefined) =>
      fieldsOf(said === undefined ? {} : { Authorization: said }).get('Authorization')
    const keys = ['Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv', secret]
    assert.equal(refuseCaller(field(`Bearer ${secret}`), keys), undefined)
    for (const said of [
      undefined,
      'Bearer',
      `Bearer ${secret}A`,
      `Basic ${secret}`,
      `DPoP ${secret}`,
    ]) {
      const refusal = refuseCaller(field(said), keys)
      assert.equal(refusal?.status, 401)
      assert.equal(refusal?.fields['WWW-Authenticate'], 'Bearer')
    }
    assert.equal(refuseCaller(field(`Bearer ${secret}`), [])?.status, 401)
    assert.throws(() => refuseCaller('Bearer ', ['']), RangeError)
  })
})

describe('revocation', () => {
  test('ends a token, and is content with one that is none', async () => {
    const accounts = accountsOf()
    const answer = await revoke(form({ token: opaques.mint(grant) }), mints, accounts)
    assert.equal(answer.status, 200)
    assert.deepEqual(accounts.ended, [id])
    for (const token of ['garbage', `${opaques.mint(grant)}A`])
      assert.equal((await revoke(form({ token }), mints, accounts)).status, 200)
    assert.deepEqual(accounts.ended, [id], 'nothing else was ended')
    assert.equal((await revoke(form({}), mints, accounts)).status, 400)
  })

  test('is not for whoever was handed less', async () => {
    const accounts = accountsOf()
    const handed = narrowed(macaroons.mint(grant), 'method=GET')
    assert.equal((await revoke(form({ token: handed }), mints, accounts)).status, 400)
    assert.deepEqual(accounts.ended, [])
    assert.equal(
      (await revoke(form({ token: macaroons.mint(grant) }), mints, accounts)).status,
      200,
    )
    assert.deepEqual(accounts.ended, [id])
  })
})
