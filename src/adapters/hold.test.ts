// The ways to write on a node response that the suite's work does not use.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as requestOf } from 'node:http'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { serve } from './fixture.test.ts'
import { hold } from './hold.ts'
import type { Admitted } from './http.ts'

type Work = (response: ServerResponse, request: IncomingMessage) => unknown

/** A server whose every response is held by a pass that this test answers. */
async function held(t: TestContext, work: Work, before?: (response: ServerResponse) => void) {
  const finishes: number[] = []
  const log: string[] = []
  const verdict = Promise.withResolvers<'go' | 'refuse'>()
  const asked = Promise.withResolvers<void>()
  const expired = Promise.withResolvers<never>()
  const left = Promise.withResolvers<void>()
  const refusal = { status: 402, head: ['X-Refused', 'yes'], body: Buffer.from('pay first') }
  const pass: Admitted = {
    kind: 'pass',
    keeps: false,
    expired: expired.promise,
    async finish(status) {
      finishes.push(status)
      log.push('finish')
      asked.resolve()
      if ((await verdict.promise) === 'refuse') return { kind: 'answer', answer: refusal }
      return { kind: 'go', fields: () => [['X-Paid', 'yes']] }
    },
    delivered: () => void log.push('delivered'),
    lost: () => void log.push('lost'),
    async abort() {
      log.push('abort')
      left.resolve()
    },
  }
  const listener: RequestListener = (request, response) => {
    before?.(response)
    hold(response, pass)
    void Promise.resolve(work(response, request)).catch(() => {})
  }
  const { origin, close } = await serve(listener)
  t.after(close)
  const request = requestOf(origin, { agent: false })
  const answered = Promise.withResolvers<IncomingMessage>()
  request.on('response', answered.resolve).on('error', answered.reject)
  request.end()
  answered.promise.catch(() => {})
  async function said() {
    const response = await answered.promise
    let body = ''
    for await (const chunk of response.setEncoding('utf8')) body += String(chunk)
    return {
      status: response.statusCode,
      headers: response.headers,
      body,
      message: response.statusMessage,
    }
  }
  return { said, verdict, asked: asked.promise, left: left.promise, finishes, log, request, origin }
}

describe('a held response', () => {
  const ways: readonly (readonly [string, Work, number, string])[] = [
    ['end(text)', (r) => r.end('abc'), 200, 'abc'],
    ['end(text, encoding)', (r) => r.end('616263', 'hex'), 200, 'abc'],
    ['end()', (r) => r.end(), 200, ''],
    ['write, write, end', (r) => (r.write('a'), r.write(Buffer.from('b')), r.end('c')), 200, 'abc'],
    ['writeHead(status)', (r) => r.writeHead(201).end('abc'), 201, 'abc'],
    ['writeHead(status, object)', (r) => r.writeHead(201, { 'X-Own': '1' }).end('abc'), 201, 'abc'],
    [
      'writeHead(status, message, object)',
      (r) => r.writeHead(201, 'Fine', { 'X-Own': '1' }).end('abc'),
      201,
      'abc',
    ],
    ['writeHead(status, list)', (r) => r.writeHead(201, ['X-Own', '1']).end('abc'), 201, 'abc'],
    [
      'statusCode and setHeader',
      (r) => ((r.statusCode = 201), r.setHeader('X-Own', '1'), r.end('abc')),
      201,
      'abc',
    ],
    [
      'flushHeaders, then end',
      (r) => (r.flushHeaders(), setImmediate(() => r.end('abc'))),
      200,
      'abc',
    ],
    [
      'cork, uncork',
      (r) => (r.cork(), r.write('a'), r.write('b'), r.uncork(), r.end('c')),
      200,
      'abc',
    ],
    ['pipe', (r) => Readable.from(['a', 'b', 'c']).pipe(r), 200, 'abc'],
    ['pipeline', (r) => pipeline(Readable.from(['a', 'b', 'c']), r), 200, 'abc'],
  ]
  for (const [name, work, status, body] of ways) {
    test(`${name}: nothing goes out before the verdict, all after it`, async (t) => {
      const shop = await held(t, work)
      await shop.asked
      assert.deepEqual(shop.log, ['finish'])
      shop.verdict.resolve('go')
      const said = await shop.said()
      assert.deepEqual([said.status, said.body, said.headers['x-paid']], [status, body, 'yes'])
      if (name.includes('object') || name.includes('list')) assert.equal(said.headers['x-own'], '1')
      if (name.includes('message')) assert.equal(said.message, 'Fine')
      assert.deepEqual(shop.finishes, [status])
      assert.ok(shop.log.includes('delivered'))
    })
    test(`${name}: a refusal takes its place`, async (t) => {
      const shop = await held(t, work, (response) => response.setHeader('X-Before', 'stays'))
      await shop.asked
      shop.verdict.resolve('refuse')
      const said = await shop.said()
      assert.deepEqual(
        [said.status, said.body, said.headers['x-own']],
        [402, 'pay first', undefined],
      )
      assert.deepEqual([said.headers['x-refused'], said.headers['x-before']], ['yes', 'stays'])
      assert.equal(said.message, 'Payment Required')
      assert.ok(!shop.log.includes('delivered'))
    })
  }

  test('looks sent to the work while it is held', async (t) => {
    const seen: unknown[] = []
    const shop = await held(t, (r) => {
      seen.push(r.headersSent, r.writableEnded)
      seen.push(r.write('a'), r.headersSent, r.writableEnded)
      assert.throws(() => r.setHeader('X-Late', '1'), { code: 'ERR_HTTP_HEADERS_SENT' })
      assert.throws(() => r.writeHead(500), { code: 'ERR_HTTP_HEADERS_SENT' })
      r.statusCode = 500
      r.end()
      seen.push(r.writableEnded)
    })
    shop.verdict.resolve('go')
    assert.equal((await shop.said()).status, 200)
    assert.deepEqual(seen, [false, false, false, true, false, true])
  })

  test('calls back once the bytes are out, with an error if they never will be', async (t) => {
    for (const verdict of ['go', 'refuse'] as const) {
      const called: unknown[] = []
      const shop = await held(t, (r) => {
        r.write('a', (error) => called.push(error instanceof Error))
        r.end('b', () => called.push('end'))
      })
      shop.verdict.resolve(verdict)
      await shop.said()
      assert.equal(called[0], verdict === 'refuse')
      assert.equal(called.length, 2)
    }
  })

  test('asks for more once the first write is through', async (t) => {
    const drained = Promise.withResolvers<void>()
    const shop = await held(t, async (r) => {
      assert.equal(r.write('a'), false)
      await once(r, 'drain')
      drained.resolve()
      r.end('b')
    })
    shop.verdict.resolve('go')
    await drained.promise
    assert.equal((await shop.said()).body, 'ab')
  })

  test('gives the server its own methods back after the head', async (t) => {
    const own: boolean[] = []
    const names = ['write', 'end', 'writeHead', 'setHeader', 'headersSent', 'writableEnded']
    const shop = await held(t, async (r) => {
      own.push(names.every((name) => Object.hasOwn(r, name)))
      r.write('a')
      await once(r, 'drain')
      own.push(names.some((name) => Object.hasOwn(r, name)))
      r.end()
    })
    shop.verdict.resolve('go')
    await shop.said()
    assert.deepEqual(own, [true, false])
  })

  test('works under a layer that replaces write and end, as compression does', async (t) => {
    const shop = await held(t, (r) => {
      const write = Reflect.get(r, 'write') as () => boolean
      const end = Reflect.get(r, 'end') as () => ServerResponse
      const implicit = (): void => {
        if (!Reflect.get(r, '_header'))
          Reflect.apply(Reflect.get(r, '_implicitHeader') as () => void, r, [])
      }
      r.write = ((chunk: string) => (
        implicit(),
        Reflect.apply(write, r, [chunk.toUpperCase()])
      )) as ServerResponse['write']
      r.end = ((chunk: string) => (
        implicit(),
        Reflect.apply(end, r, [chunk.toUpperCase()])
      )) as ServerResponse['end']
      r.write('a')
      r.write('b')
      setImmediate(() => r.end('c'))
    })
    shop.verdict.resolve('go')
    assert.equal((await shop.said()).body, 'ABC')
  })

  test('a payer that leaves while work goes on ends the pass', async (t) => {
    const working = Promise.withResolvers<void>()
    const shop = await held(t, () => working.resolve())
    await working.promise
    shop.request.destroy()
    await shop.left
    assert.deepEqual(shop.log, ['abort'])
  })

  test('a payer that leaves during settlement gets nothing, so nothing counts as delivered', async (t) => {
    const shop = await held(t, (r) => r.end('goods'))
    await shop.asked
    shop.request.destroy()
    await shop.left
    shop.verdict.resolve('go')
    await new Promise((resolve) => setImmediate(resolve))
    assert.ok(!shop.log.includes('delivered'))
  })

  test('work that destroys its response ends the pass', async (t) => {
    const shop = await held(t, (r) => r.destroy())
    await shop.left
    assert.deepEqual(shop.log, ['abort'])
    await assert.rejects(shop.said())
  })

  test('what the work writes after a refusal is dropped', async (t) => {
    const more = Promise.withResolvers<void>()
    const shop = await held(t, async (r) => {
      r.write('goods')
      await more.promise
      r.write('goods')
      r.setHeader('X-Late', 'goods')
      r.end('goods')
    })
    shop.verdict.resolve('refuse')
    const said = await shop.said()
    more.resolve()
    assert.equal(said.body, 'pay first')
    // The connection is sound: it takes another request.
    const socket = connect(Number(new URL(shop.origin).port), '127.0.0.1')
    t.after(() => socket.destroy())
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    assert.match(String(await once(socket, 'data')), /402 Payment Required/)
  })
})
