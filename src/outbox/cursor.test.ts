import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createHandClock } from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { createCursor, LEASE_MS } from './cursor.ts'
import type { Busy, Turn } from './cursor.ts'

function world() {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const one = createCursor(ledger, clock, 'hook')
  const other = createCursor(ledger, clock, 'hook')
  return { clock, ledger, one, other }
}

function had(turn: Turn | Busy): Turn {
  return turn.kind === 'turn' ? turn : assert.fail('busy')
}

describe('a cursor', () => {
  test('is moved by whoever has the turn, as far as it came, and is read by all', async () => {
    const { one, other, ledger } = world()
    assert.equal(await one.read(), 0)
    assert.ok(await had(await one.take(0, 10)).end(7))
    assert.equal(await other.read(), 7)
    assert.ok(await had(await other.take(7, 12)).end(12))
    assert.equal(await one.read(), 12)
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })

  test('is had by one at a time, and by the next at once when nothing was delivered', async () => {
    const { one, other, clock } = world()
    const turn = had(await one.take(0, 10))
    assert.deepEqual(await other.take(0, 20), { kind: 'busy', untilAt: clock.now() + LEASE_MS })
    assert.ok(await turn.end(0))
    assert.equal(await other.read(), 0)
    assert.ok(await had(await other.take(0, 20)).end(20))
  })

  test('is followed when its holder is dead, who moves nothing when he comes back', async () => {
    const { one, other, clock } = world()
    const dead = had(await one.take(0, 10))
    clock.pass(LEASE_MS)
    const next = had(await other.take(0, 5))
    assert.equal(await dead.end(10), false)
    assert.equal(await dead.end(0), false)
    assert.equal(await one.read(), 0)
    assert.ok(await next.end(5))
    // Nor when the turn after that is over.
    assert.equal(await dead.end(10), false)
    assert.equal(await one.read(), 5)
  })

  test('is not had from where it does not stand any more', async () => {
    const { one, other } = world()
    const before = await other.read()
    assert.ok(await had(await one.take(0, 3)).end(3))
    assert.deepEqual(await other.take(before, 9), { kind: 'busy', untilAt: 0 })
    assert.equal(await one.read(), 3)
  })

  test('is not that of another sink', async () => {
    const { one, ledger, clock } = world()
    const file = createCursor(ledger, clock, 'file')
    assert.ok(await had(await one.take(0, 3)).end(3))
    assert.equal(await file.read(), 0)
    had(await file.take(0, 3))
  })

  test('puts down once what is refused, and lists it', async () => {
    const { one, other } = world()
    const event = { id: '4-ab', type: 'tolsey.sale.posted' }
    const told = { sequence: 4, at: 0, event } as unknown as Parameters<typeof one.bury>[0]
    await one.bury(told, 'it answered 422')
    await other.bury(told, 'it answered 400')
    const [grave, ...more] = await other.buried(0, 10)
    assert.deepEqual(more, [])
    assert.deepEqual([grave?.sequence, grave?.why], [4, 'it answered 422'])
    assert.deepEqual(await one.buried(4, 10), [])
    await one.unbury(4)
    assert.equal((await one.buried(3, 10))[0]?.isRedelivered, true)
  })
})
