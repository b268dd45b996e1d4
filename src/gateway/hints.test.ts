// Interim answers of an upstream on their way to a payer.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as requestOf } from 'node:http'
import type { IncomingMessage, InformationEvent } from 'node:http'
import { test } from 'node:test'
import { stage, upstream } from './fixture.test.ts'

test('early hints are passed on where nothing must wait for money, and only their links', async (t) => {
  const url = await upstream(t, (request, response) => {
    const links = '</a.css>; rel=preload; as=style, </b.js>; rel=preload; as=script'
    response.socket?.write(
      `HTTP/1.1 103 Early Hints\r\nLink: ${links}\r\nTolsey-Payer: forged\r\nSet-Cookie: a=1\r\n\r\n`,
    )
    if (request.url === '/many')
      for (let i = 0; i < 20; i++)
        response.socket?.write(`HTTP/1.1 103 Early Hints\r\nLink: </${i}>\r\n\r\n`)
    response.socket?.write('HTTP/1.1 102 Processing\r\n\r\n')
    response.end('goods')
  })
  const { port, money } = await stage(t, {
    upstreams: { one: { url } },
    routes: { 'GET /paid': { sale: '0.01 USD' }, 'GET /*': { sale: 'free' } },
  })
  async function ask(path: string, headers = {}): Promise<readonly InformationEvent[]> {
    const request = requestOf({ host: '127.0.0.1', port, path, headers, agent: false }).end()
    const said: InformationEvent[] = []
    request.on('information', (info: InformationEvent) => said.push(info))
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    assert.equal(response.statusCode, 200)
    assert.equal(String(await response.toArray()), 'goods')
    return said
  }
  const [hint, ...rest] = await ask('/free')
  assert.equal(hint?.statusCode, 103)
  assert.deepEqual(Object.keys(hint?.headers ?? {}), ['link'])
  assert.match(String(hint?.headers['link']), /^<\/a\.css>.*<\/b\.js>/)
  assert.deepEqual(rest, [])
  // Nothing of what is sold leaves before it is settled.
  assert.deepEqual(await ask('/paid', { Pay: 'one' }), [])
  assert.deepEqual([...money.spent], ['one'])
  assert.equal((await ask('/many')).length, 8)
})
