// WebSockets that are paid by vouchers: a library that is not ours, the real gateway and gate, and a stand-in for channels.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { createChannelRail, createEscrow, createPurse } from '../adapters/escrow.test.ts'
import { createSeller } from '../adapters/seller.ts'
import { SECRET } from '../adapters/shop.test.ts'
import type { JsonObject } from '../core/json.ts'
import { memory } from '../ledger/memory.ts'
import { readChallenges } from '../protocols/mpp/fields.ts'
import { mpp } from '../protocols/mpp/index.ts'
import { readSocket } from '../protocols/mpp/socket.ts'
import { stage } from './fixture.test.ts'

/** An upstream that says as many words as it is asked for, and then ends the connection. */
async function talker(t: TestContext): Promise<string> {
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => {
    socket.on('error', () => undefined)
    socket.on('message', (data) => {
      const most = Number((data as Buffer).toString())
      for (let i = 0; i < most; i++) socket.send(`word ${i}`)
      socket.close(1000, 'all said')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe('a WebSocket that is paid by vouchers', () => {
  for (const graceMs of [30_000, 0])
    test(
      graceMs > 0
        ? 'waits for a voucher that comes by another request, goes on, and ends with its receipt'
        : 'ends with its receipt where vouchers go no further and nobody is waited for',
      async (t) => {
        const escrow = createEscrow()
        const rail = createChannelRail(escrow)
        const seller = await createSeller({
          secret: SECRET,
          rails: [rail],
          protocols: [mpp({ parts: [rail] })],
          ledger: memory(),
          plans: { purse: { price: '1 USD', balance: '1 USD', refund: true } },
        })
        t.after(() => seller.close())
        const gateway = await stage(t, {
          upstreams: { one: { url: await talker(t) } },
          routes: {
            'GET /*': {
              sale: { plan: 'purse', meter: { unit: '0.01 USD' } },
              counts: { per: 'event', price: '0.01 USD', graceMs },
            },
          },
          seller,
        })
        const { headers } = await fetch(`${gateway.url}/talk`)
        const [first] = readChallenges(headers.get('www-authenticate') ?? '')
        assert.ok(first && typeof first !== 'string')
        const challenge = Object.fromEntries(first)
        const purse = createPurse()
        const field = (payload: JsonObject): Record<string, string> => {
          const said = Buffer.from(JSON.stringify({ challenge, payload })).toString('base64url')
          return { Authorization: `Payment ${said}` }
        }
        const say = (payload: JsonObject): Promise<Response> =>
          fetch(`${gateway.url}/talk`, { method: 'HEAD', headers: field(payload) })
        assert.equal((await say(purse.open(1_000_000n, 0n))).status, 200)
        const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/talk`, {
          headers: field(purse.voucher(30_000n)),
        })
        t.after(() => socket.terminate())
        await once(socket, 'open')
        const heard: string[] = []
        const told: string[] = []
        socket.on('message', (data) => {
          const text = (data as Buffer).toString()
          const frame = readSocket(text)
          if (!frame && text.startsWith('word')) heard.push(text)
          if (!frame) return
          told.push(frame.mpp)
          if (frame.mpp === 'payment-need-voucher') {
            assert.deepEqual(frame.data, {
              channelId: `0x${purse.channel}`,
              requiredCumulative: '40000',
              acceptedCumulative: '30000',
              deposit: '1000000',
            })
            void say(purse.voucher(60_000n))
          }
          if (frame.mpp === 'payment-receipt') {
            const { spent, units } = frame.data
            assert.deepEqual([spent, units], graceMs > 0 ? ['60000', 6] : ['30000', 3])
          }
        })
        // The question is a message too.
        socket.send('5')
        const [code] = (await once(socket, 'close')) as [number]
        const isPaid = graceMs > 0
        assert.equal(heard.length, isPaid ? 5 : 2)
        assert.deepEqual(
          told,
          isPaid ? ['payment-need-voucher', 'payment-receipt'] : ['payment-receipt'],
        )
        assert.equal(code, isPaid ? 1000 : 4402)
        const spent = isPaid ? 60_000n : 30_000n
        const done = await say(purse.close(spent))
        assert.equal(done.status, 200)
        assert.equal(escrow.channels.get(purse.channel)?.collected, spent)
      },
    )
})
