// What a gateway passes on and what it does not, each attack beside the nearest honest request.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as requestOf } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { createServer as createSocketServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { ask, stage, upstream } from './fixture.test.ts'

test('cookies by which the page has paid are not shown to the upstream, and others are', async (t) => {
  const url = await upstream(
    t,
    (request, response) => void response.end(request.headers.cookie ?? 'none'),
  )
  const gateway = await stage(t, {
    upstreams: { one: { url } },
    routes: { 'GET /a': { sale: 'free' } },
  })
  for (const [said, seen] of [
    ['a=b; c=d', 'a=b; c=d'],
    ['a=b; tolsey-paid=x; c=d; tolsey-token=y', 'a=b; c=d'],
    ['tolsey-paid=x', 'none'],
  ] as const)
    assert.equal((await ask(gateway, '/a', { headers: { Cookie: said } })).body, seen)
})

describe('the path', () => {
  test('is sent upstream in the one form that routes are matched on', async (t) => {
    const seen: string[] = []
    const url = await upstream(t, (request, response) => {
      seen.push(request.url ?? '')
      response.end()
    })
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { '* /*': { sale: 'free' } },
    })
    for (const [said, sent] of [
      ['/', '/'],
      ['/a/b/', '/a/b/'],
      ['/%61%2d/%7e', '/a-/~'],
      ['/caf%c3%a9', '/caf%C3%A9'],
      ['/a;v=1/b', '/a;v=1/b'],
      ['/a%2Cb,c', '/a%2Cb,c'],
      ['/{x}|"', '/%7Bx%7D%7C%22'],
      ['/a?b=%2F../..//\\&c', '/a?b=%2F../..//\\&c'],
      ['/.well-known/x', '/.well-known/x'],
      ['/..a', '/..a'],
    ] as const) {
      assert.equal((await ask(gateway, said)).status, 200, said)
      assert.equal(seen.pop(), sent)
    }
  })

  test('that two servers could read differently reaches none', async (t) => {
    let asked = 0
    const url = await upstream(t, (_, response) => void response.end(String(++asked)))
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { '* /*': { sale: 'free' }, 'GET /paid': { sale: '0.01 USD' } },
    })
    for (const path of [
      ...['/a/../paid', '/a/..;/paid', '/a/.;x/paid', '/./paid', '/a/%2e%2e/paid', '/%2E/paid'],
      ...[
        '//paid',
        '/a//b',
        '/a%2fb',
        '/a%2F..%2Fpaid',
        '/a\\paid',
        '/a%5cpaid',
        '/paid%00',
        '/%0a',
      ],
      ...[
        '/%25%36%31',
        '/%2561',
        '/%ff',
        '/%',
        '/%zz',
        '/%c0%af',
        'http://127.0.0.1/paid',
        '*',
        '/a#b',
      ],
    ])
      assert.equal((await ask(gateway, path)).status, 400, path)
    assert.equal(asked, 0)
    for (const path of ['/paid', '/PAID', '/paid/', '/pai%64', '/paid;x'])
      assert.equal((await ask(gateway, path)).status, 402, path)
    assert.equal(asked, 0)
    assert.equal((await ask(gateway, '/a')).status, 200)
  })

  test('that is not in the table is closed, and so is what reflects or tunnels', async (t) => {
    let asked = 0
    const url = await upstream(t, (_, response) => void response.end(String(++asked)))
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { '* /open/*': { sale: 'free' }, 'GET /paid': { sale: '0.01 USD' } },
    })
    assert.equal((await ask(gateway, '/elsewhere')).status, 404)
    assert.equal((await ask(gateway, '/paid', { method: 'POST' })).status, 404)
    assert.equal((await ask(gateway, '/open/x', { method: 'TRACE' })).status, 404)
    assert.equal(asked, 0)
    assert.equal((await ask(gateway, '/open/x')).status, 200)
  })

  test('is written anew where the route says so, also beside a path of the upstream', async (t) => {
    const url = await upstream(t, (request, response) => void response.end(request.url))
    const gateway = await stage(t, {
      upstreams: { one: { url: `${url}/base/` }, two: { url } },
      routes: {
        '* /v1/*': { sale: 'free', upstream: 'one', rewrite: '/api/*' },
        'GET /users/:id/orders': { sale: 'free', upstream: 'two', rewrite: '/orders/:id' },
      },
    })
    for (const [said, sent] of [
      ['/v1/a/b?c', '/base/api/a/b?c'],
      ['/v1', '/base/api'],
      ['/v1/', '/base/api/'],
      ['/users/7%20x/orders', '/orders/7%20x'],
    ] as const)
      assert.equal((await ask(gateway, said)).body, sent)
  })
})

describe('fields of a request', () => {
  const echo = (request: IncomingMessage): string =>
    JSON.stringify({ raw: request.rawHeaders, headers: request.headers })

  test('of a connection, of a payment, and those that only the gateway writes stay behind', async (t) => {
    const url = await upstream(t, (request, response) => void response.end(echo(request)))
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { 'GET /a': { sale: '0.01 USD' } },
    })
    const { status, body } = await ask(gateway, '/a', {
      headers: {
        ...{ Pay: 'one', 'X-Own': 'kept', 'X-Twice': ['1', '2'], Cookie: 'a=b', Accept: 'text/x' },
        ...{ Connection: 'X-Hop, Cookie, Host', 'X-Hop': 'gone', 'Keep-Alive': 'timeout=5' },
        ...{ TE: 'trailers', 'Proxy-Authorization': 'Basic x', 'X-Forwarded-For': '9.9.9.9' },
        ...{ X_Forwarded_For: '9.9.9.9', Forwarded: 'for=9.9.9.9', 'X-Real-IP': '9.9.9.9' },
        ...{ 'X-HTTP-Method-Override': 'DELETE', 'X-Original-URL': '/b', X_Rewrite_Url: '/b' },
        ...{
          'Tolsey-Payer': 'me',
          tolsey_payer: 'me',
          'TOLSEY-Signature': 'v1=0',
          Tolsey_Key: 'x',
        },
      },
    })
    assert.equal(status, 200)
    const { headers, raw } = JSON.parse(body) as {
      readonly headers: Record<string, string>
      readonly raw: readonly string[]
    }
    assert.deepEqual(Object.keys(headers).toSorted(), [
      ...['accept', 'connection', 'cookie', 'host', 'x-forwarded-for', 'x-forwarded-host'],
      ...['x-forwarded-proto', 'x-own', 'x-twice'],
    ])
    assert.equal(headers['cookie'], 'a=b')
    assert.equal(headers['x-twice'], '1, 2')
    assert.equal(raw.filter((name) => name === 'X-Twice').length, 2)
    assert.equal(headers['host'], new URL(url).host)
    assert.equal(headers['x-forwarded-for'], '127.0.0.1')
    assert.equal(headers['x-forwarded-host'], `127.0.0.1:${gateway.port}`)
  })

  test('carry a credential on that is the upstream’s own, and none of ours, also where it is free', async (t) => {
    const url = await upstream(
      t,
      (request, response) => void response.end(request.headers.authorization ?? 'none'),
    )
    const routes = { 'GET /paid': { sale: '0.01 USD' }, 'GET /free': { sale: 'free' } }
    const gateway = await stage(t, { upstreams: { one: { url } }, routes })
    const asked = async (path: string, headers: Record<string, string>) =>
      (await ask(gateway, path, { headers })).body
    assert.equal(await asked('/paid', { authorization: 'Ours 1' }), 'none')
    assert.equal(await asked('/paid', { pay: '2', authorization: 'Bearer theirs' }), 'none')
    assert.equal(await asked('/free', { authorization: 'Ours 3' }), 'none')
    assert.equal(await asked('/free', { authorization: 'Bearer theirs' }), 'Bearer theirs')
  })

  test('are set and removed as the route says', async (t) => {
    const url = await upstream(t, (request, response) => {
      response.setHeader('Server', 'secret/1.0')
      response.end(echo(request))
    })
    const gateway = await stage(t, {
      upstreams: { one: { url, host: 'public' } },
      routes: {
        'GET /a': {
          sale: 'free',
          requestFields: { set: { Authorization: 'Bearer upstream-key' }, remove: ['Cookie'] },
          answerFields: { set: { 'X-By': 'gateway' }, remove: ['Server'] },
        },
      },
    })
    const headers = { cookie: 'a=b', authorization: 'Bearer payer' }
    const { body, response } = await ask(gateway, '/a', { headers })
    const seen = (JSON.parse(body) as { readonly headers: Record<string, string> }).headers
    assert.deepEqual([seen['authorization'], seen['cookie']], ['Bearer upstream-key', undefined])
    assert.equal(seen['host'], `127.0.0.1:${gateway.port}`)
    assert.deepEqual([response.headers['server'], response.headers['x-by']], [undefined, 'gateway'])
  })

  test('name who asks as far as proxies of ours say so', async (t) => {
    const url = await upstream(
      t,
      (request, response) => void response.end(request.headers['x-forwarded-for']),
    )
    const settings = { upstreams: { one: { url } }, routes: { 'GET /a': { sale: 'free' } } }
    const headers = { 'x-forwarded-for': '9.9.9.9' }
    const alone = await stage(t, settings)
    assert.equal((await ask(alone, '/a', { headers })).body, '127.0.0.1')
    const behind = await stage(t, { ...settings, proxies: { trusted: ['127.0.0.0/8'] } })
    assert.equal((await ask(behind, '/a', { headers })).body, '9.9.9.9, 127.0.0.1')
  })

  test('name a host that is public, or nothing is served, also for nothing', async (t) => {
    const url = await upstream(
      t,
      (request, response) => void response.end(request.headers['x-forwarded-proto']),
    )
    const gateway = await stage(t, {
      seller: { origin: 'https://shop.test' },
      upstreams: { one: { url } },
      routes: { 'GET /a': { sale: 'free' } },
    })
    assert.equal((await ask(gateway, '/a', { headers: { host: 'evil.test' } })).status, 421)
    const good = await ask(gateway, '/a', { headers: { host: 'SHOP.test' } })
    assert.deepEqual([good.status, good.body], [200, 'https'])
  })
})

describe('an answer', () => {
  test('comes with its own fields, in their spelling, and its trailers; what is paid is private', async (t) => {
    const url = await upstream(t, (_, response) => {
      response.writeHead(201, 'Made It', [
        ...['X-CaSe', 'kept', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Trailer', 'X-Sum'],
        ...[
          'Connection',
          'close, X-Hop',
          'X-Hop',
          'gone',
          'Tolsey-Token',
          'forged',
          'X-Latin',
          'caf\u00E9',
        ],
        ...['Cache-Control', 'public, max-age=3600', 'Vary', 'Accept'],
      ])
      response.write('body')
      response.addTrailers({ 'X-Sum': '42', 'Set-Cookie': 'late=1', 'Tolsey-Payer': 'forged' })
      response.end()
    })
    const routes = { 'GET /paid': { sale: '0.01 USD' }, 'GET /free': { sale: 'free' } }
    const gateway = await stage(t, { upstreams: { one: { url } }, routes })
    for (const [path, cache] of [
      ['/free', 'public, max-age=3600'],
      ['/paid', 'private, no-store'],
    ] as const) {
      const { status, response, body } = await ask(gateway, path, { headers: { pay: path } })
      const { headers, rawHeaders, trailers } = response
      assert.deepEqual([status, response.statusMessage, body], [201, 'Made It', 'body'])
      assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2'])
      assert.ok(rawHeaders.includes('X-CaSe'))
      assert.equal(headers['x-latin'], 'caf\u00E9')
      assert.deepEqual([headers['x-hop'], headers['tolsey-token']], [undefined, undefined])
      assert.equal(headers['cache-control'], cache)
      assert.deepEqual({ ...trailers }, { 'x-sum': '42' })
    }
  })

  test('of an upstream that is away is 502, is not charged, and the payment is still good', async (t) => {
    const dead = createSocketServer().listen(0, '127.0.0.1')
    await once(dead, 'listening')
    const { port } = dead.address() as AddressInfo
    dead.close()
    await once(dead, 'close')
    const settings = { routes: { 'GET /a': { sale: '0.01 USD' } } }
    const gateway = await stage(t, {
      ...settings,
      upstreams: { one: { url: `http://127.0.0.1:${port}` } },
    })
    const { status, response, body } = await ask(gateway, '/a', { headers: { pay: 'one' } })
    assert.equal(status, 502)
    assert.equal(response.headers['content-type'], 'application/problem+json')
    assert.equal((JSON.parse(body) as { readonly code: string }).code, 'upstream-unreachable')
    assert.deepEqual([...gateway.money.spent, ...gateway.money.held], [])
    const fault = gateway.money.events.find(({ type }) => type === 'fault')
    assert.ok(fault?.type === 'fault' && fault.where === 'upstream one')
    const { listening, close } = await reviveAt(port)
    t.after(close)
    await listening
    assert.equal((await ask(gateway, '/a', { headers: { pay: 'one' } })).status, 200)
    assert.deepEqual([...gateway.money.spent], ['one'])
  })

  test('that does not come in time is 504, and is not charged', async (t) => {
    const url = await upstream(t, () => undefined)
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { 'GET /a': { sale: '0.01 USD', headMs: 30 } },
    })
    const { status, body } = await ask(gateway, '/a', { headers: { pay: 'one' } })
    assert.deepEqual(
      [status, (JSON.parse(body) as { readonly code: string }).code],
      [504, 'upstream-late'],
    )
    assert.deepEqual([...gateway.money.spent, ...gateway.money.held], [])
  })

  test('that breaks off breaks off', async (t) => {
    const url = await upstream(t, (_, response) => {
      response.writeHead(200, { 'content-length': '10' })
      response.write('12345', () => response.destroy())
    })
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { 'GET /a': { sale: 'free' } },
    })
    await assert.rejects(ask(gateway, '/a'))
  })

  test('before the body was read reaches a payer that is still sending it', async (t) => {
    const url = await upstream(t, (_, response) => {
      response.writeHead(403, { connection: 'close' }).end('no')
    })
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { 'POST /a': { sale: 'free' } },
    })
    const body = Buffer.alloc(8_000_000)
    const { status } = await ask(gateway, '/a', { method: 'POST', body })
    assert.ok(status === 403 || status === 502, String(status))
  })

  test('is asked for again over a new connection where the kept one had died, and only where that does no harm', async (t) => {
    let asked = 0
    const url = await upstream(t, (request, response) => {
      asked++
      if (asked % 2 === 0) request.socket.destroy()
      else response.end('fine')
    })
    const routes = { '* /a': { sale: 'free' } } as const
    const gateway = await stage(t, { upstreams: { one: { url, connectionsMax: 1 } }, routes })
    assert.equal((await ask(gateway, '/a')).status, 200)
    assert.equal((await ask(gateway, '/a')).status, 200)
    assert.equal(asked, 3)
    assert.equal((await ask(gateway, '/a', { method: 'POST', body: 'x' })).status, 502)
    assert.equal(asked, 4)
  })
})

async function reviveAt(port: number) {
  const { createServer } = await import('node:http')
  const server = createServer((_, response) => void response.end('back')).listen(port, '127.0.0.1')
  return {
    listening: once(server, 'listening'),
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

describe('limits', () => {
  test('a body above the route’s is refused, whether it tells its length or not', async (t) => {
    const url = await upstream(t, (request, response) => void request.pipe(response))
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { 'POST /a': { sale: { price: '0.01 USD', body: 'free' }, bodyBytesMax: 1_000 } },
    })
    const post = (body: string, pay: string, headers: Record<string, string> = {}) =>
      ask(gateway, '/a', { method: 'POST', body, headers: { ...headers, pay } })
    const chunked = { 'transfer-encoding': 'chunked' }
    assert.equal((await post('x'.repeat(1_001), '1')).status, 413)
    assert.deepEqual([...gateway.money.spent], [])
    assert.equal((await post('x'.repeat(1_000), '1')).body.length, 1_000)
    assert.equal((await post('x'.repeat(1_000), '2', chunked)).body.length, 1_000)
    const long = await post('x'.repeat(200_000), '3', chunked).then(
      ({ status }) => status,
      () => 'cut',
    )
    assert.ok(long === 413 || long === 'cut', String(long))
  })

  test('an upstream has only so many requests at once', async (t) => {
    const go = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    const url = await upstream(t, (_, response) => {
      begun.resolve()
      void go.promise.then(() => response.end('done'))
    })
    const gateway = await stage(t, {
      upstreams: { one: { url, requestsMax: 1 } },
      routes: { 'GET /a': { sale: '0.01 USD' } },
    })
    const first = ask(gateway, '/a', { headers: { pay: '1' } })
    await begun.promise
    const second = await ask(gateway, '/a', { headers: { pay: '2' } })
    assert.equal(second.status, 503)
    assert.equal(second.response.headers['retry-after'], '1')
    go.resolve()
    assert.equal((await first).status, 200)
    assert.equal((await ask(gateway, '/a', { headers: { pay: '2' } })).status, 200)
    assert.deepEqual([...gateway.money.spent], ['1', '2'])
  })

  test('a payer that leaves ends the work upstream', async (t) => {
    const begun = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<void>()
    const url = await upstream(t, (_, response) => {
      response.once('close', () => ended.resolve())
      response.writeHead(200)
      response.write('a')
      begun.resolve()
    })
    const gateway = await stage(t, {
      upstreams: { one: { url } },
      routes: { 'GET /a': { sale: 'free' } },
    })
    const request = requestOf(`${gateway.url}/a`, { agent: false })
      .on('error', () => undefined)
      .end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.on('error', () => undefined)
    await begun.promise
    request.destroy()
    await ended.promise
  })
})

describe('a payer that asks before it uploads', () => {
  for (const [path, pay, welcome, status] of [
    ['/paid', undefined, false, 402],
    ['/paid', 'one', true, 200],
    ['/bound', undefined, true, 402],
    ['/free', undefined, true, 200],
    ['/closed', undefined, false, 404],
    ['/a//b', undefined, false, 400],
  ] as const)
    test(`${path}${pay ? ' with a payment' : ''}: ${welcome ? 'is bidden welcome' : 'hears the answer first'}`, async (t) => {
      const url = await upstream(t, (request, response) => void request.pipe(response))
      const gateway = await stage(t, {
        upstreams: { one: { url } },
        routes: {
          'POST /paid': { sale: { price: '0.01 USD', body: 'free' } },
          'POST /bound': { sale: '0.01 USD' },
          'POST /free': { sale: 'free' },
        },
      })
      const headers = { expect: '100-continue', 'content-length': '5', ...(pay && { pay }) }
      const request = requestOf(`${gateway.url}${path}`, { method: 'POST', headers, agent: false })
      let welcomed = false
      request.on('continue', () => {
        welcomed = true
        request.end('hello')
      })
      request.flushHeaders()
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      assert.deepEqual([response.statusCode, welcomed], [status, welcome])
      response.resume()
      request.destroy()
    })
})

test('an answer that cannot be passed on is 502, is not charged, and the next request is served', async (t) => {
  let strange = true
  const server = createSocketServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', () => {
      const line = strange ? 'X-Strange: a\u0001b\r\n' : ''
      socket.write(Buffer.from(`HTTP/1.1 200 OK\r\n${line}Content-Length: 2\r\n\r\nok`, 'latin1'))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const routes = { 'GET /paid': { sale: '0.01 USD' }, 'GET /free': { sale: 'free' } } as const
  const gateway = await stage(t, { upstreams: { one: { url } }, routes })
  assert.equal((await ask(gateway, '/free')).status, 502)
  assert.equal((await ask(gateway, '/paid', { headers: { pay: '1' } })).status, 502)
  assert.deepEqual([...gateway.money.spent, ...gateway.money.held], [])
  strange = false
  assert.equal((await ask(gateway, '/paid', { headers: { pay: '1' } })).status, 200)
})
