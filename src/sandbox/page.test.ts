import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { answerFront } from './page.ts'
import type { Front } from './page.ts'

test('whatever stands on the front page is escaped for a browser and plain for a terminal', async (t) => {
  const hostile = `<script>alert("1 & '2'")</script>`
  const front: Front = {
    gateway: hostile,
    rpc: hostile,
    usdc: hostile,
    seller: { address: hostile },
    buyer: { address: hostile },
    faults: hostile,
    samples: [{ method: hostile, path: hostile, price: hostile, about: hostile }],
  }
  const server = createServer((request, response) => answerFront(front, request, response))
  t.after(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const browser = await fetch(url, { headers: { accept: 'text/html' } })
  const html = await browser.text()
  const policy = browser.headers.get('content-security-policy') ?? ''
  assert.match(policy, /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]+='$/)
  assert.ok(html.includes('&lt;script&gt;alert(&quot;1 &amp; &#39;2&#39;&quot;)&lt;/script&gt;'))
  assert.ok(!html.includes('<script'))
  const terminal = await fetch(url)
  assert.match(terminal.headers.get('content-type') ?? '', /^text\/plain/)
  assert.ok((await terminal.text()).includes(hostile))
})
