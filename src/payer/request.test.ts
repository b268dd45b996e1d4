import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { memory } from '../ledger/memory.ts'
import {
  closeSellers,
  asking,
  counting,
  honest,
  leaping,
  receiptFor,
  selling,
  toy,
} from './fakes.test.ts'
import { BODY_BYTES_MAX } from './limits.ts'
import type { Policy } from './policy.ts'
import { createPayer, paymentOf } from './payer.ts'

after(closeSellers)

const cent = { amount: '10000' }

function paying(policy: Partial<Policy> = {}) {
  const clock = leaping()
  const wallet = counting(clock)
  const ledger = memory({ clock })
  const limits = { perRequest: '0.05 USD', total: '1 USD', ...policy }
  const payer = createPayer({ wallets: [wallet], protocols: [toy], ledger, policy: limits, clock })
  return { payer, wallet, ledger }
}

describe('bodies', () => {
  const text = 'a=1&b=ü'
  const bytes = new TextEncoder().encode(text)
  const bodies: Readonly<Record<string, () => RequestInit>> = {
    string: () => ({ body: text }),
    URLSearchParams: () => ({ body: new URLSearchParams({ a: '1' }) }),
    FormData: () => {
      const form = new FormData()
      form.set('file', new File([bytes], 'x.txt', { type: 'text/plain' }))
      return { body: form }
    },
    Blob: () => ({ body: new Blob([bytes], { type: 'application/x-thing' }) }),
    ArrayBuffer: () => ({ body: bytes.slice().buffer }),
    'a view into a larger buffer': () => ({ body: new Uint8Array(bytes.buffer, 2, 3) }),
    ReadableStream: () => ({ body: new Blob([bytes]).stream(), duplex: 'half' }),
    'async iterable': () => ({
      body: (async function* () {
        yield bytes.slice(0, 3)
        yield bytes.slice(3)
      })(),
      duplex: 'half',
    }),
    'an empty string': () => ({ body: '' }),
  }
  for (const [kind, body] of Object.entries(bodies))
    test(`${kind}: the paid request is the same as the first, to the byte and the boundary`, async () => {
      const seller = await selling(honest(cent))
      const { payer } = paying()
      const init = { method: 'POST', headers: { 'x-mine': 'kept' }, ...body() }
      assert.equal((await payer.fetch(seller.url, init)).status, 200)
      const [first, second] = seller.seen
      assert.ok(first && second)
      assert.equal(second.body, first.body)
      assert.equal(second.req.headers['content-type'], first.req.headers['content-type'])
      assert.equal(second.req.headers['x-mine'], 'kept')
      assert.ok(kind === 'an empty string' || first.body.length > 0)
      if (kind === 'FormData') assert.match(String(first.req.headers['content-type']), /boundary=/)
    })

  test('a Request with a body, and init over it', async () => {
    const seller = await selling(honest(cent))
    const { payer } = paying()
    const request = new Request(seller.url, { method: 'PUT', body: text, headers: { a: '1' } })
    assert.equal((await payer.fetch(request)).status, 200)
    const over = new Request(seller.url, { method: 'PUT', body: text, headers: { a: '1' } })
    assert.equal((await payer.fetch(over, { method: 'PATCH', headers: { b: '2' } })).status, 200)
    const [, put, , patch] = seller.seen
    assert.deepEqual([put?.req.method, put?.body, put?.req.headers['a']], ['PUT', text, '1'])
    assert.deepEqual([patch?.req.method, patch?.body], ['PATCH', text])
    assert.deepEqual([patch?.req.headers['a'], patch?.req.headers['b']], [undefined, '2'])
  })

  test('what does not fit into memory is sent once, and is not paid for', async () => {
    const chunk = new Uint8Array(1024 * 1024).fill(65)
    const chunks = BODY_BYTES_MAX / chunk.length + 1
    const body = () =>
      new ReadableStream({
        start(controller) {
          for (let i = 0; i < chunks; i++) controller.enqueue(chunk)
          controller.close()
        },
      })
    const seller = await selling(({ req, body }, res) =>
      req.url === '/free'
        ? res.writeHead(200).end(String(body.length))
        : res.writeHead(402, asking(cent)).end(),
    )
    const { payer, wallet } = paying()
    const init = () => ({ method: 'POST', body: body(), duplex: 'half' }) as const
    const free = await payer.fetch(`${seller.url}/free`, init())
    assert.equal(await free.text(), String(chunks * chunk.length))
    await assert.rejects(payer.fetch(`${seller.url}/paid`, init()), { code: 'body-unrepeatable' })
    assert.equal(wallet.signed.length, 0)
  })

  test('an abort ends the reading of a body that never ends', async () => {
    const { payer } = paying()
    const reason = new Error('enough')
    const controller = new AbortController()
    const body = new ReadableStream({ pull: () => controller.abort(reason) })
    const call = payer.fetch('http://127.0.0.1:9/', {
      method: 'POST',
      body,
      duplex: 'half',
      signal: controller.signal,
    })
    await assert.rejects(call, reason)
  })

  test('what fetch refuses is refused in the same way', async () => {
    const { payer } = paying()
    await assert.rejects(payer.fetch('/relative'), TypeError)
    await assert.rejects(payer.fetch('http://127.0.0.1/', { method: 'GET', body: 'x' }), TypeError)
  })
})

describe('redirects', () => {
  test('within the origin are followed, paid at the end, and rewritten as fetch does', async () => {
    for (const [status, method, arrives] of [
      [301, 'POST', 'GET '],
      [302, 'POST', 'GET '],
      [303, 'PUT', 'GET '],
      [307, 'POST', 'POST body'],
      [308, 'PUT', 'PUT body'],
      [302, 'PUT', 'PUT body'],
    ] as const) {
      const seller = await selling((seen, res) => {
        if (seen.req.url === '/end') return honest(cent)(seen, res)
        return void res.writeHead(status, { location: '/end' }).end()
      })
      const { payer } = paying()
      const response = await payer.fetch(`${seller.url}/start`, { method, body: 'body' })
      assert.equal(await response.text(), `served ${arrives}`)
      assert.equal(response.url, `${seller.url}/end`)
      const last = seller.seen.at(-1)?.req.headers['content-type']
      assert.equal(last === undefined, arrives === 'GET ')
    }
  })

  test('"error" and "manual" are kept, and endless ones end', async () => {
    const seller = await selling((_, res) => res.writeHead(302, { location: '/x' }).end())
    const { payer } = paying()
    await assert.rejects(payer.fetch(seller.url, { redirect: 'error' }), TypeError)
    assert.equal((await payer.fetch(seller.url, { redirect: 'manual' })).status, 302)
    const before = seller.seen.length
    await assert.rejects(payer.fetch(seller.url), TypeError)
    assert.equal(seller.seen.length - before, 21)
  })

  test('a 402 behind another origin is not paid, unless the policy lists that host (CLI-10)', async () => {
    const other = await selling(honest(cent))
    const first = await selling((_, res) =>
      res.writeHead(302, { location: `${other.url}/x` }).end(),
    )
    const plain = paying()
    await assert.rejects(plain.payer.fetch(first.url), (error: Error) =>
      /A redirect from another origin led to/.test(error.message),
    )
    assert.equal(plain.wallet.signed.length, 0)
    const elsewhere = paying({ hosts: [first.host] })
    await assert.rejects(elsewhere.payer.fetch(first.url), { code: 'offers-unacceptable' })
    const listed = paying({ hosts: [other.host] })
    const response = await listed.payer.fetch(first.url)
    assert.equal(response.status, 200)
    assert.equal(response.redirected, false, 'the paid request went straight to its end')
    const spent = await listed.payer.spent()
    assert.ok(
      spent.some(({ scope }) => scope === other.host),
      'the final host is charged',
    )
    assert.equal(first.proofs().length, 0)
  })

  test('a way that leaves the origin and comes back is not paid', async () => {
    const other = await selling((_, res) =>
      res.writeHead(302, { location: `${home.url}/dear` }).end(),
    )
    const home = await selling((seen, res) => {
      if (seen.req.url === '/dear') return honest(cent)(seen, res)
      return void res.writeHead(302, { location: other.url }).end()
    })
    const { payer, wallet } = paying()
    await assert.rejects(payer.fetch(home.url), { code: 'offers-unacceptable' })
    assert.equal(wallet.signed.length, 0)
  })

  test('the payment does not follow a redirect to another origin (CLI-11)', async () => {
    const other = await selling(({ req }, res) =>
      res
        .writeHead(200, { 'toy-receipt': JSON.stringify({ ref: 'forged' }) })
        .end(
          JSON.stringify([req.headers['toy-payment'], req.headers['authorization'], req.method]),
        ),
    )
    const seller = await selling(({ req }, res) =>
      req.headers['toy-payment']
        ? res.writeHead(307, { location: other.url }).end()
        : res.writeHead(402, asking(cent)).end(),
    )
    const { payer, ledger } = paying()
    const response = await payer.fetch(seller.url, {
      method: 'POST',
      body: 'x',
      headers: { authorization: 'Bearer mine' },
    })
    assert.deepEqual(await response.json(), [null, null, 'POST'])
    const payment = paymentOf(response)
    assert.equal(payment?.state, 'held', 'another origin cannot say that it was paid')
    assert.equal(payment.receipt, undefined)
    assert.equal((await ledger.find(payment.key))?.state, 'pending')
    assert.equal(seller.proofs().length, 1)
  })

  test('the payment follows a redirect within its origin', async () => {
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      if (req.url !== '/there') return void res.writeHead(302, { location: '/there' }).end()
      return void res.writeHead(200, receiptFor(req)).end('there')
    })
    const response = await paying().payer.fetch(seller.url)
    assert.equal(await response.text(), 'there')
    assert.equal(response.redirected, true)
    assert.equal(paymentOf(response)?.state, 'posted')
  })
})
