// The dashboard as the gateway has it: beside health, at the address of the operator.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createAdmin, createHub } from '../../src/admin/index.ts'
import { systemClock } from '../../src/core/clock.ts'
import { createHandClock, createShop } from '../../src/gate/fixture.test.ts'
import { startGateway } from '../../src/gateway/gateway.ts'
import { memory } from '../../src/ledger/memory.ts'
import { TOKEN } from './stage.ts'

test('a gateway answers for health by itself and for the rest by the dashboard, and stops while a page listens', async () => {
  const ledger = memory({ clock: systemClock })
  const { gate } = createShop(ledger, createHandClock())
  const hub = createHub()
  const admin = createAdmin({ token: TOKEN, hub, shop: () => ({ gate, ledger, rails: [] }) })
  const nothing = (): void => assert.fail('Nobody buys here.')
  const gateway = await startGateway({
    listen: { host: '127.0.0.1', port: 0 },
    admin: { host: '127.0.0.1', port: 0 },
    beside: admin.handle,
    open: {
      house: {
        serve: nothing,
        checkContinue: nothing,
        upgrade: nothing,
        interrupt: async () => undefined,
        close: async () => {},
      },
      close: async () => {},
      ready: async () => undefined,
    },
  })
  const headers = { authorization: `Bearer ${TOKEN}` }
  const url = gateway.adminUrl ?? ''
  assert.equal(await (await fetch(`${url}/healthz`)).text(), 'ok\n')
  assert.equal((await fetch(`${url}/api/payments`)).status, 401)
  assert.deepEqual(await (await fetch(`${url}/api/payments`, { headers })).json(), { payments: [] })
  const stream = await fetch(`${url}/api/events`, { headers })
  assert.equal(stream.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  admin.close()
  await gateway.stop()
  assert.match(await stream.text(), /^retry: /)
})
