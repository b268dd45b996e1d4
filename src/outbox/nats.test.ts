// Against a real NATS server with JetStream, which is killed in the middle.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { NatsConnection } from '@nats-io/transport-node'
import { missing, startNats } from '../../test/nats.ts'
import type { Server } from '../../test/nats.ts'
import { systemClock } from '../core/clock.ts'
import { memory } from '../ledger/memory.ts'
import type { CloudEvent } from './cloud-event.ts'
import { createFeed } from './feed.ts'
import { sell, until } from './fixture.test.ts'
import { nats } from './nats.ts'
import type { NatsSettings } from './nats.ts'
import { openOutbox } from './outbox.ts'

const SOURCE = 'https://shop.example'
const TOKEN = 'a-token-of-the-test'
const NANOS = 1_000_000

let server: Server
before(async () => {
  if (missing === undefined) server = await startNats(['--auth', TOKEN])
})
after(() => server?.stop())

const servers = (): string => `nats://127.0.0.1:${server.port}`
const settingsOf = (name: string): NatsSettings => ({
  ...{ name, servers: servers(), token: TOKEN, stream: name, prefix: name },
})

async function withClient<T>(use: (client: NatsConnection) => Promise<T>): Promise<T> {
  const client = await connect({ servers: servers(), token: TOKEN })
  try {
    return await use(client)
  } finally {
    await client.close()
  }
}

/** The stream is made by whoever runs the server. */
async function makeStream(name: string): Promise<void> {
  await withClient(async (client) => {
    const manager = await jetstreamManager(client)
    const duplicate_window = 120_000 * NANOS
    await manager.streams.add({ name, subjects: [`${name}.>`], duplicate_window })
  })
}

interface Kept {
  readonly subject: string
  readonly id: string | undefined
  readonly event: CloudEvent
}

/** All that the stream keeps, in its order. */
async function kept(name: string): Promise<readonly Kept[]> {
  return await withClient(async (client) => {
    const manager = await jetstreamManager(client)
    const { state } = await manager.streams.info(name)
    const found: Kept[] = []
    for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
      const message = await manager.streams.getMessage(name, { seq })
      assert.ok(message, 'a stream keeps what it has taken')
      const event = message.json<CloudEvent>()
      found.push({ subject: message.subject, id: message.header.get('Nats-Msg-Id'), event })
    }
    return found
  })
}

async function countOf(name: string): Promise<number> {
  return await withClient(async (client) => {
    const manager = await jetstreamManager(client)
    return (await manager.streams.info(name)).state.messages
  }).catch(() => 0)
}

describe('a sink at NATS JetStream', { skip: missing }, () => {
  test('keeps every event once and in order, though the server is killed in the middle', async () => {
    await makeStream('orders')
    const ledger = memory()
    const faults: string[] = []
    const outbox = openOutbox({
      ...{ ledger, source: SOURCE, sinks: [await nats(settingsOf('orders'))] },
      observe: (event) => void (event.type === 'fault' && faults.push(event.where)),
    })
    try {
      for (let i = 0; i < 60; i++) await sell(ledger, `a${i}`, `payer-${i % 5}`)
      await until(async () => (await countOf('orders')) >= 40, 'some are kept')
      await server.kill()
      for (let i = 0; i < 40; i++) await sell(ledger, `b${i}`, `payer-${i % 5}`)
      await until(() => outbox.status()[0]?.state === 'failing', 'it is told that it is away')
      await server.start()
      await until(async () => (await countOf('orders')) >= 200, 'all are kept')
      await until(() => outbox.status()[0]?.behindMs === 0, 'the cursor is there')
    } finally {
      await outbox.close()
    }
    assert.ok(faults.includes('outbox orders'))
    const { told } = await createFeed({ ledger, source: SOURCE }).read(0, 10_000)
    const found = await kept('orders')
    assert.deepEqual(
      found,
      told.map(({ event }) => ({ subject: `orders.${event.type}`, id: event.id, event })),
    )
    assert.equal(found.length, 200)
  })

  test('goes on from the cursor in the books, and what comes again is left out by its id', async () => {
    await makeStream('again')
    const ledger = memory()
    await sell(ledger, 'one')
    const told = (await createFeed({ ledger, source: SOURCE }).read(0, 100)).told
    // A deliverer that died after the stream had it, and before its cursor moved.
    const dead = await nats(settingsOf('again'))
    const signal = new AbortController().signal
    assert.deepEqual(await dead.deliver(told, { deadlineAt: Infinity, signal }), { taken: 2 })
    await dead.close()
    for (const key of ['two', 'three']) {
      await sell(ledger, key)
      const outbox = openOutbox({
        ...{ ledger, source: SOURCE, sinks: [await nats(settingsOf('again'))] },
      })
      await until(() => outbox.status()[0]?.behindMs === 0, 'it has begun').catch(assert.fail)
      const rows = (await ledger.journal(0, 1_000)).filter(({ key: of }) => of === key)
      const last = rows.at(-1)?.sequence ?? 0
      await until(() => (outbox.status()[0]?.cursor ?? 0) >= last, 'all is told')
      await outbox.close()
    }
    const ids = (await kept('again')).map(({ id }) => id)
    const all = (await createFeed({ ledger, source: SOURCE }).read(0, 1_000)).told
    assert.deepEqual(
      ids,
      all.map(({ event }) => event.id),
    )
  })

  test('that no stream takes, or another one, is down and not lost', async () => {
    const ledger = memory()
    await sell(ledger, 'one')
    const told = (await createFeed({ ledger, source: SOURCE }).read(0, 100)).told
    const signal = new AbortController().signal
    await makeStream('other')
    for (const settings of [
      settingsOf('nobody'),
      { ...settingsOf('other'), stream: 'another' },
      { ...settingsOf('other'), token: 'wrong' },
      { ...settingsOf('other'), servers: 'nats://127.0.0.1:1' },
    ]) {
      const sink = await nats(settings)
      const { taken, trouble } = await sink.deliver(told, { deadlineAt: Infinity, signal })
      await sink.close()
      assert.deepEqual([taken, trouble?.kind], [0, 'down'])
      assert.doesNotMatch(`${trouble?.why}`, /127|token|wrong/)
    }
    assert.equal(await countOf('other'), 0)
    const honest = await nats(settingsOf('other'))
    assert.deepEqual(await honest.deliver(told, { deadlineAt: Infinity, signal }), { taken: 2 })
    await honest.close()
  })

  test('refuses what the stream will never take, so that it can be put down', async () => {
    await withClient(async (client) => {
      const manager = await jetstreamManager(client)
      await manager.streams.add({ name: 'small', subjects: ['small.>'], max_msg_size: 100 })
    })
    const ledger = memory()
    await sell(ledger, 'one')
    const { told } = await createFeed({ ledger, source: SOURCE }).read(0, 100)
    const sink = await nats(settingsOf('small'))
    const until = { deadlineAt: systemClock.now() + 60_000, signal: new AbortController().signal }
    assert.deepEqual(await sink.deliver(told, until), {
      taken: 0,
      trouble: { kind: 'refused', why: 'it is larger than the server takes' },
    })
    await sink.close()
  })

  test('takes what a consumer of the server reads in the same order', async () => {
    const found = await withClient(async (client) => {
      const consumer = await jetstream(client).consumers.get('orders')
      const ids: string[] = []
      for await (const message of await consumer.fetch({ max_messages: 200, expires: 5_000 }))
        ids.push(message.json<CloudEvent>().sequence)
      return ids
    })
    assert.equal(found.length, 200)
    assert.deepEqual(found, found.toSorted())
  })
})

test('settings that cannot be meant are sentences', async () => {
  for (const [settings, expected] of [
    [{ servers: 'http://x' }, /written like nats:/],
    [{ servers: 'nats://u:p@x' }, /without a user or a password/],
    [{ servers: [] }, /written like nats:/],
    [{ servers: 'nats://x', prefix: 'a..b' }, /words with dots/],
    [{ servers: 'nats://x', token: 'a', user: 'b' }, /one of a token/],
  ] as const)
    await assert.rejects(nats({ name: 'n', ...settings }), expected)
})
