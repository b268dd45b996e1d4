import assert from 'node:assert/strict'
import { createServer } from 'node:https'
import { describe, test } from 'node:test'
import { PaymentError } from '../../../core/problem.ts'
import { ANSWER_BYTES_MAX, createHttp } from './http.ts'
import { createLnd } from './lnd.ts'
import { standIn } from './stand-in.test.ts'

/** Made for these tests, for 127.0.0.1 and localhost; it guards nothing. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBSDCB7qADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCWxvY2FsaG9z
dDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFDESMBAGA1UEAwwJ
bG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEV3JTU/Z4icT+GSlE
vXZrvYXAjacxkviqnw4J/FL8fZziBbQ6m6XGv5Ioon6jOA/evtVKS5JK+eaOS/dl
ePWARqMvMC0wDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SH
BH8AAAEwCgYIKoZIzj0EAwIDSQAwRgIhAPZOGF1f/Ji/iYLmAv54qH76eH9LEOWi
FFIqFInWH6ojAiEAocmHmGq+Wt+K5kS8pLLOZuZ+w7PwTcr+tfe3/L0gqo4=
-----END CERTIFICATE-----
`
const key = Buffer.from(
  'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgofvki84XK2ZHdKSEmYVgRPq+dBJmmXe3fPDycEnmbsWhRANCAARXclNT9niJxP4ZKUS9dmu9hcCNpzGS+KqfDgn8Uvx9nOIFtDqbpca/kiiifqM4D96+1UpLkkr55o5L92V49YBG',
  'base64',
)

function keyText(): string {
  const body = key.toString('base64').replaceAll(/.{64}/g, '$&\n')
  return ['-----BEGIN ', 'PRIVATE KEY-----\n', body, '\n-----END ', 'PRIVATE KEY-----\n'].join('')
}

const info = { identity_pubkey: '02ab', chains: [{ network: 'regtest' }] }

describe('a node that signs its own certificate', () => {
  test('is spoken to by who was given it, and by nobody else', async (t) => {
    const server = await standIn(
      () => ({ json: info }),
      (listener) => createServer({ cert: certificate, key: keyText() }, listener),
    )
    t.after(() => server.close())
    const url = server.url.replace('http:', 'https:')
    const trusting = createLnd({ url, macaroon: '0201', ca: certificate })
    assert.equal((await trusting.open()).publicKey, '02ab')
    assert.equal(server.asked.length, 1)
    await trusting.close()
    await assert.rejects(createLnd({ url, macaroon: '0201' }).open(), (error) => {
      assert.ok(error instanceof PaymentError)
      assert.equal(error.code, 'rail-unavailable')
      // The operator must see what is wrong.
      assert.match(error.message, /CERT/)
      return true
    })
    assert.equal(server.asked.length, 1)
  })

  test('has posts, streams, errors and time-outs as any other', async (t) => {
    const server = await standIn(
      ({ path, body }) => {
        if (path === '/silence') return 'silence'
        if (path === '/hangup') return 'hang up'
        if (path === '/lines') return { text: '{"a":1}\n\n{"a":2}' }
        if (path === '/away') return { status: 302, to: 'https://127.0.0.1:1/' }
        return { status: 201, json: { body } }
      },
      (listener) => createServer({ cert: certificate, key: keyText() }, listener),
    )
    t.after(() => server.close())
    const url = server.url.replace('http:', 'https:')
    const http = createHttp('node', { url, ca: certificate, timeoutMs: 500 }, { 'x-key': 'k' })
    t.after(() => http.close())
    const answer = await http.ask({ method: 'POST', path: '/', json: { price: 'ü' } })
    assert.deepEqual(answer, { status: 201, ok: true, said: { body: '{"price":"ü"}' } })
    assert.equal(server.asked[0]?.headers['x-key'], 'k')
    const lines = []
    for await (const line of http.lines({ method: 'GET', path: '/lines' })) lines.push(line)
    assert.deepEqual(lines, [{ a: 1 }, { a: 2 }])
    for (const path of ['/silence', '/hangup', '/away'])
      await assert.rejects(http.ask({ method: 'GET', path }), { code: 'rail-unavailable' })
  })
})

describe('an answer', () => {
  test('may be as long as the limit, and no longer', async (t) => {
    const text = JSON.stringify({ long: true })
    const server = await standIn(({ path }) => ({
      text: text.padEnd(ANSWER_BYTES_MAX + Number(path.slice(1))),
    }))
    t.after(() => server.close())
    const http = createHttp('node', { url: server.url }, {})
    const answer = await http.ask({ method: 'GET', path: '/0' })
    assert.deepEqual(answer.said, { long: true })
    await assert.rejects(http.ask({ method: 'GET', path: '/1' }), { code: 'rail-unavailable' })
  })

  test('is not waited for when all is closed, or when the caller has gone', async (t) => {
    const server = await standIn(() => 'silence')
    t.after(() => server.close())
    const http = createHttp('node', { url: server.url }, {})
    const gone = new AbortController()
    const first = http.ask({ method: 'GET', path: '/', signal: gone.signal })
    gone.abort()
    await assert.rejects(first, { code: 'rail-unavailable' })
    const second = http.ask({ method: 'GET', path: '/' })
    http.close()
    await assert.rejects(second, { code: 'rail-unavailable' })
  })

  test('that is refused tells the reason by its code alone', async () => {
    const server = await standIn(() => 'silence')
    await server.close()
    const http = createHttp('node', { url: server.url }, {})
    await assert.rejects(http.ask({ method: 'GET', path: '/' }), {
      code: 'rail-unavailable',
      message: 'node does not answer (ECONNREFUSED).',
      cause: undefined,
    })
  })
})
