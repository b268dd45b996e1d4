// Attacks on the dashboard, each beside the nearest honest request, over a real gate and real books.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStage, TOKEN } from '../../test/dashboard/stage.ts'
import type { Stage } from '../../test/dashboard/stage.ts'
import { createAdmin } from './admin.ts'
import { logIn, send } from './fixture.test.ts'
import type { Answer } from './fixture.test.ts'
import { createHub } from './hub.ts'
import { FAILURES_MAX, LOGINS_MAX } from './login.ts'
import { BODY_BYTES_MAX } from './route.ts'

let stage: Stage
let files: string
let cookie: string
before(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-admin-'))
  files = join(directory, 'dashboard')
  await mkdir(join(files, 'assets'), { recursive: true })
  await writeFile(join(files, 'index.html'), '<!doctype html><title>Front</title>')
  await writeFile(join(files, 'assets', 'main-1.js'), 'let a = 1')
  await writeFile(join(directory, 'secret.js'), 'secret')
  stage = await openStage({ files, hosts: ['admin.example.com'] })
  cookie = await logIn(stage.url, TOKEN)
})
after(async () => {
  await stage?.close()
  await rm(join(files, '..'), { recursive: true, force: true })
})

const json = { 'content-type': 'application/json' }

function get(path: string, fields: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return send(stage.url, path, { fields: { cookie, ...fields } })
}

function enter(token: string): Promise<Answer> {
  const body = JSON.stringify({ token })
  return send(stage.url, '/api/session', { method: 'POST', fields: json, body })
}

function refund(
  body: unknown,
  fields: Readonly<Record<string, string>> = {},
  order: string = 'order-1',
): Promise<Answer> {
  return send(stage.url, '/api/refunds', {
    method: 'POST',
    fields: { ...json, cookie, 'x-tolsey-admin': '1', 'idempotency-key': order, ...fields },
    body: JSON.stringify(body),
  })
}

describe('the login', () => {
  test('a token that is short is refused before anything is opened', () => {
    const shop = () => assert.fail('nobody asks')
    assert.throws(() => createAdmin({ token: 'short', hub: createHub(), shop }), RangeError)
    createAdmin({ token: 'x'.repeat(20), hub: createHub(), shop }).close()
  })

  test('without a login, with a wrong cookie or a wrong token there is nothing; with the right one there is', async () => {
    const paths = ['/api/payments', '/api/events', '/api/export', '/api/balances', '/api/tokens']
    for (const path of paths) {
      assert.equal((await send(stage.url, path)).status, 401, path)
      const forged = { cookie: `tolsey-admin=${'0'.repeat(64)}` }
      assert.equal((await send(stage.url, path, { fields: forged })).status, 401, path)
    }
    assert.equal((await get('/api/payments')).status, 200)
    const bearer = { authorization: `Bearer ${TOKEN}` }
    assert.equal((await send(stage.url, '/api/payments', { fields: bearer })).status, 200)
  })

  test('its cookie is for this origin alone, and no script can read it', async () => {
    const { status, cookies } = await enter(TOKEN)
    assert.equal(status, 204)
    const [set = ''] = cookies
    assert.match(
      set,
      /^tolsey-admin=[0-9a-f]{64}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=\d+$/,
    )
    assert.ok(!set.includes(TOKEN))
  })

  test('whoever logs out is out', async () => {
    const mine = await logIn(stage.url, TOKEN)
    assert.equal((await get('/api/balances', { cookie: mine })).status, 200)
    const left = await send(stage.url, '/api/session', {
      method: 'DELETE',
      fields: { cookie: mine, 'x-tolsey-admin': '1' },
    })
    assert.equal(left.status, 204)
    assert.equal((await get('/api/balances', { cookie: mine })).status, 401)
    assert.deepEqual((await get('/api/session', { cookie: mine })).json, { isLoggedIn: false })
    assert.equal((await get('/api/session')).json['isLoggedIn'], true)
  })

  test('stands beside that of another dashboard at the same host, whose login and logout leave it alone', async (t) => {
    const other = await openStage({ files })
    t.after(() => other.close())
    const enterAt = async (url: string, cookie?: string): Promise<string> => {
      const { status, cookies } = await send(url, '/api/session', {
        method: 'POST',
        fields: { ...json, ...(cookie !== undefined && { cookie }) },
        body: JSON.stringify({ token: TOKEN }),
      })
      assert.equal(status, 204)
      return cookies[0]?.replace(/;.*$/, '') ?? ''
    }
    const isIn = async (url: string, jar: string): Promise<boolean> =>
      (await send(url, '/api/balances', { fields: { cookie: jar } })).status === 200
    const leaveAt = async (url: string, jar: string): Promise<string> => {
      const fields = { cookie: jar, 'x-tolsey-admin': '1' }
      const { cookies } = await send(url, '/api/session', { method: 'DELETE', fields })
      return cookies[0]?.replace(/;.*$/, '') ?? ''
    }
    const one = await enterAt(stage.url)
    const both = await enterAt(other.url, one)
    assert.deepEqual([await isIn(stage.url, both), await isIn(other.url, both)], [true, true])
    // Who logs in again has one login there.
    const again = await enterAt(other.url, both)
    assert.equal(again.length, both.length)
    const left = await leaveAt(other.url, again)
    assert.deepEqual([await isIn(stage.url, left), await isIn(other.url, left)], [true, false])
    // What was left is no login, whoever has kept the cookie.
    assert.equal(await isIn(other.url, again), false)
    let many = one
    for (let i = 0; i < LOGINS_MAX + 3; i++) many = await enterAt(other.url, many)
    assert.equal(await isIn(stage.url, many), true)
    assert.equal(await leaveAt(stage.url, await leaveAt(other.url, many)), 'tolsey-admin=')
  })

  test('who guesses is stopped, even when he guesses right at last; others are not', async (t) => {
    const own = await openStage({ files })
    t.after(() => own.close())
    const mine = await logIn(own.url, TOKEN)
    const guess = (token: string) =>
      send(own.url, '/api/session', {
        method: 'POST',
        fields: json,
        body: JSON.stringify({ token }),
      })
    for (let i = 0; i < FAILURES_MAX; i++)
      assert.equal((await guess(`${TOKEN.slice(0, -1)}${i}x`)).status, 401)
    const stopped = await guess(TOKEN)
    assert.equal(stopped.status, 429)
    assert.ok(Number(stopped.fields['retry-after']) > 0)
    const bearer = { authorization: `Bearer ${TOKEN}` }
    assert.equal((await send(own.url, '/api/payments', { fields: bearer })).status, 429)
    // Who is logged in already does not suffer for it.
    assert.equal((await send(own.url, '/api/payments', { fields: { cookie: mine } })).status, 200)
  })

  test('a cookie changes nothing without the field that only our own page can send', async () => {
    const key = await stage.pay('GET /a', '0.01 USD', 'csrf')
    const { 'x-tolsey-admin': _, ...rest } = { ...json, cookie, 'x-tolsey-admin': '1' }
    const path = '/api/refunds'
    const body = JSON.stringify({ key })
    const fields = { ...rest, 'idempotency-key': 'csrf-1' }
    assert.equal((await send(stage.url, path, { method: 'POST', fields, body })).status, 403)
    assert.equal(stage.returned.size, 0)
    assert.equal((await refund({ key }, {}, 'csrf-1')).status, 200)
    assert.equal(stage.returned.size, 1)
  })
})

describe('where a request comes from', () => {
  test('a page of another origin is refused; our own is not', async () => {
    const { host } = new URL(stage.url)
    for (const origin of ['https://evil.example', 'null', `http://${host}.evil.example`])
      assert.equal((await get('/api/payments', { origin })).status, 403, origin)
    assert.equal((await get('/api/payments', { origin: `http://${host}` })).status, 200)
    const site = { 'sec-fetch-site': 'cross-site' }
    assert.equal((await refund({ key: 'no' }, site)).status, 403)
    assert.equal((await refund({ key: 'no' }, { 'sec-fetch-site': 'same-origin' })).status, 409)
  })

  test('a name that somebody points at this machine is refused; names of ours are not', async () => {
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      'a@127.0.0.1',
      '127.0.0.1.evil.example',
    ])
      assert.equal((await get('/api/payments', { host })).status, 421, host)
    for (const host of ['localhost:9402', '127.0.0.1', '[::1]:80', 'ADMIN.example.com'])
      assert.equal((await get('/api/payments', { host })).status, 200, host)
    assert.equal((await send(stage.url, '/', { fields: { host: 'evil.example' } })).status, 421)
  })

  test('every answer forbids frames, scripts of others and keeping', async () => {
    for (const path of ['/', '/api/payments', '/nothing', '/api/nothing']) {
      const { fields } = await get(path)
      assert.match(
        fields['content-security-policy'] ?? '',
        /^default-src 'none'; script-src 'self';/,
      )
      assert.doesNotMatch(fields['content-security-policy'] ?? '', /unsafe/)
      assert.equal(fields['x-content-type-options'], 'nosniff')
      assert.equal(fields['x-frame-options'], 'DENY')
      assert.equal(fields['referrer-policy'], 'no-referrer')
      assert.equal(fields['cache-control'], 'no-store')
      assert.equal(fields['access-control-allow-origin'], undefined)
    }
  })
})

describe('what is sent', () => {
  test('a body that is too long is refused, said or not; one that just fits is read', async () => {
    const key = await stage.pay('GET /a', '0.01 USD', 'body')
    const long = { key, reason: 'x'.repeat(BODY_BYTES_MAX) }
    assert.equal((await refund(long)).status, 413)
    const unsaid = await send(stage.url, '/api/refunds', {
      method: 'POST',
      fields: { ...json, cookie, 'x-tolsey-admin': '1', 'idempotency-key': 'o' },
      body: JSON.stringify(long),
      isChunked: true,
    })
    assert.equal(unsaid.status, 413)
    assert.equal(stage.returned.has(`${key}/refund/o`), false)
    assert.equal((await refund({ key, reason: 'x'.repeat(900) }, {}, 'body-1')).status, 200)
  })

  test('what is no JSON object, has other members, or comes as a form is refused', async () => {
    const key = await stage.pay('GET /a', '0.01 USD', 'form')
    for (const body of ['[]', '"a"', '{', '{"key":"a","__proto__":{}}', '{"key":"a","admin":true}'])
      assert.equal(
        (
          await send(stage.url, '/api/refunds', {
            method: 'POST',
            fields: { ...json, cookie, 'x-tolsey-admin': '1', 'idempotency-key': 'f' },
            body,
          })
        ).status,
        400,
        body,
      )
    assert.equal((await refund({ key }, { 'content-type': 'text/plain' })).status, 415)
    assert.equal((await refund({ key, amount: '1e3 USD' })).status, 400)
    assert.equal((await refund({ key }, {}, 'bad order')).status, 400)
    assert.equal((await refund({ key }, {}, 'form-1')).status, 200)
  })

  test('what cannot be asked is refused with a sentence, and what can is answered', async () => {
    for (const query of [
      'limit=0',
      'limit=9999',
      'cursor=-1',
      'cursor=a',
      'since=now',
      'x=1',
      'limit=1e2',
    ])
      assert.equal((await get(`/api/payments?${query}`)).status, 400, query)
    assert.equal((await get('/api/payments?limit=1&since=2026-01-01')).status, 200)
    assert.equal((await get('/api/payments/%E0%A4%A')).status, 400)
    assert.equal((await get('/api/payments/no%2Fsuch')).status, 404)
    assert.equal(
      (await send(stage.url, '/api/payments', { method: 'PUT', fields: { cookie } })).status,
      405,
    )
    assert.equal((await get('/api/revenue?since=2000-01-01&until=2026-01-01')).status, 400)
  })
})

describe('the files', () => {
  test('those that were built are there, and nothing beside them', async () => {
    const front = await send(stage.url, '/')
    assert.equal(front.status, 200)
    assert.match(front.text, /Front/)
    const script = await send(stage.url, '/assets/main-1.js')
    assert.equal(script.text, 'let a = 1')
    assert.match(script.fields['cache-control'] ?? '', /immutable/)
    const climbing = [
      '/../secret.js',
      '/assets/../../secret.js',
      '/%2e%2e/secret.js',
      '/assets/..%2f..%2fsecret.js',
      String.raw`/..\secret.js`,
      '//secret.js',
      '/etc/passwd',
      '/__proto__',
      '/assets/',
    ]
    for (const path of climbing) {
      const { status, text } = await send(stage.url, path)
      assert.equal(status, 404, path)
      assert.doesNotMatch(text, /^secret|root:/)
    }
    assert.equal((await send(stage.url, '/', { method: 'POST' })).status, 405)
  })

  test('where the dashboard was not built, it says so', async (t) => {
    const own = await openStage({ files: join(files, 'none') })
    t.after(() => own.close())
    assert.match((await send(own.url, '/')).text, /not built/)
  })
})

describe('refunds', () => {
  test('the same order twice goes back once; more than is left never does', async () => {
    const key = await stage.pay('GET /a', '0.05 USD', 'refund-me')
    const part = { key, amount: '0.02 USD', reason: 'a trial' }
    const first = await refund(part, {}, 'part-1')
    assert.equal(first.json['kind'], 'refunded')
    assert.deepEqual((await refund(part, {}, 'part-1')).json, first.json)
    assert.equal([...stage.returned].filter(([name]) => name.startsWith(key)).length, 1)
    const other = await refund({ key, amount: '0.03 USD' }, {}, 'part-1')
    assert.equal(other.status, 409)
    assert.equal(other.json['code'], 'order-conflict')
    const more = await refund({ key, amount: '0.04 USD' }, {}, 'part-2')
    assert.equal(more.json['code'], 'amount-exceeded')
    const { json: story } = await get(`/api/payments/${encodeURIComponent(key)}`)
    assert.deepEqual(story['refundable'], { amount: '0.03', code: 'COIN', units: '30000' })
    assert.equal((await refund({ key }, {}, 'rest')).status, 200)
    const { json: after } = await get(`/api/payments/${encodeURIComponent(key)}`)
    assert.deepEqual(after['refundable'], { amount: '0', code: 'COIN', units: '0' })
  })
})

describe('what is told', () => {
  test('pages join without a gap or a double, whatever is asked for', async () => {
    for (let i = 0; i < 7; i++) await stage.pay('GET /page', `0.0${i + 1} USD`, `page-${i}`)
    const keys: string[] = []
    let next: number | string | undefined = ''
    while (next !== undefined) {
      const { json: page }: Answer = await get(
        `/api/payments?limit=2&route=GET%20/page&cursor=${next}`,
      )
      for (const { key } of page['payments'] as readonly { key: string }[]) keys.push(key)
      next = page['next'] as number | undefined
    }
    assert.deepEqual(keys, ['page-6', 'page-5', 'page-4', 'page-3', 'page-2', 'page-1', 'page-0'])
  })

  test('what a rail will send is never shown', async () => {
    const key = await stage.pay('GET /a', '0.01 USD', 'raw')
    const { text, json: story } = await get(`/api/payments/${key}`)
    assert.match(text, /prepared/)
    assert.doesNotMatch(text, /as good as money/)
    assert.deepEqual(story['links'], [
      {
        label: 'explorer.example',
        url: `https://explorer.example/tx/0x${Buffer.from('raw').toString('hex').padEnd(64, '0')}`,
      },
    ])
  })

  test('a payment of which nobody knows is an open item with what to do', async () => {
    await assert.rejects(() => stage.pay('GET /a', '0.01 USD', 'lost-1'))
    const { json: said } = await get('/api/attention')
    const [item] = said['items'] as readonly Record<string, unknown>[]
    assert.equal(item?.['key'], 'lost-1')
    assert.equal(item?.['kind'], 'unknown')
    assert.match(String(item?.['advice']), /Do not refund it/)
  })

  test('a token that is revoked is revoked in the books', async () => {
    const id = await stage.buy('token')
    assert.equal((await get(`/api/tokens/${id}`)).json['state'], 'good')
    assert.equal((await get(`/api/tokens?id=${id.slice(0, 6)}`)).text.includes(id), true)
    const path = `/api/tokens/${id}/revoke`
    const fields = { ...json, cookie, 'x-tolsey-admin': '1' }
    assert.equal((await send(stage.url, path, { method: 'POST', fields, body: '{}' })).status, 200)
    assert.equal((await get(`/api/tokens/${id}`)).json['state'], 'revoked')
    assert.equal((await get('/api/tokens/none')).status, 404)
  })

  test('an export is what the books say, and a formula in it is none', async () => {
    await stage.pay('GET /=1+1', '0.01 USD', 'formula')
    const csv = await get('/api/export?format=csv')
    assert.match(csv.fields['content-disposition'] ?? '', /attachment/)
    const lines = csv.text.trim().split('\r\n')
    assert.match(lines[0] ?? '', /^sequence,time,kind,route,/)
    const ndjson = await get('/api/export?format=ndjson')
    assert.equal(ndjson.text.trim().split('\n').length, lines.length - 1)
    const cash = await get('/api/export?format=ndjson&only=cash')
    assert.ok(cash.text.length < ndjson.text.length)
  })
})
