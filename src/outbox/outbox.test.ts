import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { systemClock } from '../core/clock.ts'
import type { Event } from '../core/event.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import type { CloudEvent } from './cloud-event.ts'
import { createFeed } from './feed.ts'
import { createFastClock, createReceiver, SALE_ROWS, SECRET, sell, until } from './fixture.test.ts'
import type { Receiver } from './fixture.test.ts'
import { openOutbox, REFUSALS_MAX, SKIP_MAX } from './outbox.ts'
import type { Outbox, OutboxSettings } from './outbox.ts'
import type { Sink, Wants } from './sink.ts'
import { webhook } from './webhook.ts'

const source = 'https://shop.example'
// An hour of back-off is eighteen seconds.
const clock = createFastClock(200)
let ledger: Ledger
let receiver: Receiver
let faults: string[]
const open: Outbox[] = []
beforeEach(async () => {
  ledger = memory({ clock })
  receiver = await createReceiver()
  faults = []
})
afterEach(async () => {
  for (const outbox of open.splice(0)) await outbox.close()
  await receiver.close()
  assert.deepEqual((await verifyBooks(ledger)).problems, [])
  await ledger.close()
})

function start(sinks: readonly Sink[], rest: Partial<OutboxSettings> = {}): Outbox {
  const observe = (event: Event): void => {
    if (event.type === 'fault' && event.error instanceof Error) faults.push(event.error.message)
  }
  const outbox = openOutbox({ ledger, source, sinks, clock, observe, ...rest })
  open.push(outbox)
  return outbox
}

/** What a receiver is given is real time, so that it is not late on a busy machine. */
function hook(time: Clock = clock): Sink {
  const basic = { name: 'hook', url: receiver.url, secrets: SECRET, isPrivateAllowed: true }
  return webhook({ ...basic, timeoutMs: 30_000, clock: { ...systemClock, now: () => time.now() } })
}

/** A sink in memory. */
function list(name: string, rest: Partial<Wants> = {}): Sink & { readonly events: CloudEvent[] } {
  const events: CloudEvent[] = []
  return {
    name,
    events,
    ...rest,
    async deliver(told) {
      events.push(...told.map(({ event }) => event))
      return { taken: told.length }
    },
    close: async () => {},
  }
}

async function everything(): Promise<readonly CloudEvent[]> {
  const { told } = await createFeed({ ledger, source }).read(0, 10_000)
  return told.map(({ event }) => event)
}

const sellMany = async (count: number, name = 'k'): Promise<void> => {
  for (let i = 0; i < count; i++) await sell(ledger, `${name}${i}`)
}

describe('an outbox', () => {
  test('tells what was there and what comes, in order, and goes on where it was when it starts again', async () => {
    await sellMany(5)
    const first = start([hook()])
    await until(() => receiver.taken.length === 10, 'the old is told')
    await sellMany(5, 'more')
    await until(() => receiver.taken.length === 20, 'the new is told')
    await first.close()
    await sellMany(5, 'later')
    const second = start([hook()])
    await until(() => receiver.taken.length === 30, 'the rest is told')
    const last = Number((await everything()).at(-1)?.sequence)
    await until(() => second.status()[0]?.cursor === last, 'the cursor is moved')
    assert.deepEqual(receiver.taken, await everything())
    // Nothing was told twice, since nobody died.
    assert.equal(receiver.came.length, 30)
    assert.deepEqual(faults, [])
  })

  test('does not tell of itself: books in which nothing happens get no row', async () => {
    await sellMany(1)
    start([list('a'), list('b')], { pollMs: 200 })
    const rows = async (): Promise<number> => (await ledger.journal(0, 1_000)).length
    await until(async () => (await rows()) === SALE_ROWS + 2 * 2, 'both have told it')
    await clock.sleep(20_000)
    assert.equal(await rows(), SALE_ROWS + 2 * 2)
  })

  test('whose receiver is down holds up that sink alone, and loses and reorders nothing', async () => {
    const { port } = receiver
    await receiver.close()
    const other = list('other')
    const outbox = start([hook(), other])
    await sellMany(10)
    await until(() => other.events.length === 20, 'the other has all')
    await until(() => outbox.status()[0]?.state === 'failing', 'it fails')
    const [down, up] = outbox.status()
    assert.deepEqual(
      [down?.why, down?.cursor, up?.state],
      ['no answer (ECONNREFUSED)', 0, 'following'],
    )
    assert.ok((down?.behindMs ?? 0) > 0 && up?.behindMs === 0)
    await until(() => faults.length >= 3, 'it is tried again')
    receiver = await createReceiver(port)
    await until(() => receiver.taken.length === 20, 'it has all')
    assert.deepEqual(receiver.taken, await everything())
    await until(() => outbox.status()[0]?.state === 'following', 'it is well')
  })

  test('waits as long as it is asked to, and longer each time that nobody asks', async () => {
    const times: number[] = []
    receiver.answer = (_, response) => {
      times.push(clock.now())
      const later = times.length === 1 ? { 'retry-after': '600' } : {}
      response.writeHead(times.length < 5 ? 503 : 204, later).end()
    }
    await sellMany(1)
    start([hook()])
    await until(() => receiver.taken.length === 2, 'it is told')
    const pauses = times.slice(1, 5).map((at, i) => at - (times[i] ?? 0))
    const [asked = 0, ...own] = pauses
    assert.ok(asked >= 600_000, `${asked}`)
    // At random between half of it and all: 2, 4 and 8 seconds.
    for (const [i, pause] of own.entries()) assert.ok(pause >= 1_000 * 2 ** i, own.join())
  })

  test('puts down what is refused for good, and sends it once more when it is told to', async () => {
    await sellMany(4)
    const poison = (await everything())[3]?.id
    let isRefused = true
    receiver.answer = (_, response, [event]) =>
      void response.writeHead(isRefused && event?.id === poison ? 422 : 204).end()
    const outbox = start([hook()])
    await until(() => receiver.taken.length === 7, 'all others are told')
    const rest = (await everything()).filter(({ id }) => id !== poison)
    assert.deepEqual(receiver.taken, rest)
    assert.equal(receiver.came.filter(({ id }) => id === poison).length, REFUSALS_MAX)
    const [grave, ...more] = await outbox.buried('hook', 0, 10)
    assert.deepEqual([grave?.id, grave?.why, more], [poison, 'it answered 422', []])
    assert.equal(outbox.status()[0]?.dead, 1)
    const sequence = grave?.sequence ?? 0
    assert.equal(await outbox.redeliver('hook', sequence), 'refused')
    isRefused = false
    assert.equal(await outbox.redeliver('hook', sequence), 'taken')
    assert.equal(receiver.taken.at(-1)?.id, poison)
    assert.equal((await outbox.buried('hook', 0, 10))[0]?.isRedelivered, true)
    assert.equal(await outbox.redeliver('hook', sequence + 1), 'absent')
  })

  test('keeps trying what a receiver does not let in, however often: it is not about the event', async () => {
    receiver.answer = (_, response) =>
      void response.writeHead(receiver.came.length <= REFUSALS_MAX + 2 ? 401 : 204).end()
    await sellMany(1)
    const outbox = start([hook()])
    await until(() => receiver.taken.length === 2, 'it is told')
    assert.deepEqual(await outbox.buried('hook', 0, 10), [])
    assert.deepEqual(receiver.taken, await everything())
  })

  test('stops when a receiver wants nothing more, and begins there at the next start', async () => {
    receiver.answer = (_, response) => void response.writeHead(410).end()
    await sellMany(2)
    const outbox = start([hook()])
    await until(() => outbox.status()[0]?.state === 'gone', 'it stops')
    await clock.sleep(30_000)
    assert.equal(receiver.requests(), 1)
    await outbox.close()
    receiver.answer = (_, response) => void response.writeHead(204).end()
    start([hook()])
    await until(() => receiver.taken.length === 4, 'all is told')
    assert.deepEqual(receiver.taken, await everything())
  })

  test('that is opened by several at once tells each event by one of them', async () => {
    // Slower, so that nobody's lease runs out on a busy machine.
    const clock = createFastClock(20)
    ledger = memory({ clock })
    const sinks = [1, 2, 3].map(() => hook(clock))
    const all = sinks.map((sink) => start([sink], { clock, ledger }))
    await sellMany(60)
    await until(() => receiver.taken.length === 120, 'all is told')
    assert.deepEqual(receiver.taken, await everything())
    assert.equal(receiver.came.length, 120)
    const shares = all.map((outbox) => outbox.status()[0]?.taken ?? 0)
    assert.equal(
      shares.reduce((a, b) => a + b),
      120,
    )
  })

  test('tells a sink what it wants, from where it wants, and each sink its own', async () => {
    await sellMany(3)
    const posted = list('posted', { types: ['tolsey.sale.posted'] })
    const late = list('late', { after: 2 * SALE_ROWS })
    const never = list('never', { after: 10_000 })
    start([posted, late, never])
    await until(() => posted.events.length === 3 && late.events.length === 2, 'both have theirs')
    const all = await everything()
    assert.deepEqual(
      posted.events,
      all.filter(({ type }) => type === 'tolsey.sale.posted'),
    )
    assert.deepEqual(late.events, all.slice(4))
    assert.deepEqual(never.events, [])
  })

  test('does not read again at each start what a sink never wanted to hear', async () => {
    await sellMany(Math.ceil(SKIP_MAX / SALE_ROWS) + 1)
    const nothing = list('nothing', { types: ['other'] })
    const outbox = start([nothing])
    await until(() => (outbox.status()[0]?.cursor ?? 0) >= SKIP_MAX, 'the cursor is moved')
    assert.deepEqual(nothing.events, [])
  })

  test('that is called looks at once, and not at its next look', async () => {
    const sink = list('called')
    const outbox = start([sink], { pollMs: 3_600_000 })
    await clock.sleep(2_000)
    await sellMany(1)
    outbox.observe({ type: 'delivered', at: 0, key: 'k0' })
    await until(() => sink.events.length === 2, 'it is told')
  })

  test('outlives books that cannot be reached', async () => {
    let isDown = true
    const broken: Ledger = {
      ...ledger,
      journal: (after, limit) =>
        isDown ? Promise.reject(new Error('down')) : ledger.journal(after, limit),
    }
    await sellMany(2)
    const sink = list('patient')
    start([sink], { ledger: broken })
    await until(() => faults.length >= 2, 'it is tried')
    isDown = false
    await until(() => sink.events.length === 4, 'it is told')
  })

  test('outlives a subscriber that throws and a sink that does', async () => {
    await sellMany(2)
    const sink = list('clumsy')
    let calls = 0
    const clumsy: Sink = {
      ...sink,
      deliver: (told, till) =>
        ++calls < 3 ? Promise.reject(new Error('bug')) : sink.deliver(told, till),
    }
    const observe = (): never => {
      throw new Error('deaf')
    }
    const outbox = start([clumsy], { observe })
    await until(() => outbox.status()[0]?.why === 'a fault inside', 'it fails')
    await until(() => sink.events.length === 4, 'it is told')
  })

  test('wants names that are names, each once', () => {
    for (const names of [['A'], [''], ['a/b'], ['a', 'a'], ['x'.repeat(65)]])
      assert.throws(() => start(names.map((name) => list(name))), RangeError)
  })
})
