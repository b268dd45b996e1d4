// What processes share, over the model, a real PostgreSQL and a real Redis: two instances each, as two gateways have them.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { createCluster, missing as noPostgres } from '../../test/postgres.ts'
import type { Cluster } from '../../test/postgres.ts'
import { binaryOf, startServer } from '../../test/nats.ts'
import type { Server } from '../../test/nats.ts'
import { createRates } from '../adapters/rates.ts'
import { SHARE_MS } from '../adapters/shared-rates.ts'
import { PaymentError } from '../core/problem.ts'
import { createProofs } from '../protocols/oauth/dpop.ts'
import { createProver, resource } from '../protocols/oauth/fixture.test.ts'
import { sharedMemory } from './shared-memory.ts'
import type { Shared } from './shared-memory.ts'
import { sharedPostgres } from './shared-postgres.ts'
import { sharedRedis } from './shared-redis.ts'

const redis = binaryOf('redis-server')
const noRedis =
  redis === undefined ? 'No Redis on this machine: put redis-server in PATH.' : undefined
// A skipped test is easily overlooked.
if (noRedis !== undefined) process.emitWarning(noRedis)

let cluster: Cluster | undefined
let server: Server | undefined
before(async () => {
  if (noPostgres === undefined) cluster = await createCluster()
  if (noRedis === undefined) server = await startRedis()
})
after(async () => {
  await cluster?.stop()
  await server?.stop()
})

function startRedis(): Promise<Server> {
  return startServer(redis ?? '', (port, directory) => [
    ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory],
    ...['--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
  ])
}

const urlOf = ({ port }: Pick<Server, 'port'>): string => `redis://127.0.0.1:${port}`

const now = (): object => ({ iat: Math.floor(Date.now() / 1_000) })

/** Two doors to the same. */
type Pair = readonly [Shared, Shared]

const kinds: readonly (readonly [
  name: string,
  skip: string | undefined,
  open: () => Promise<Pair>,
])[] = [
  [
    'memory',
    undefined,
    () => {
      const one = sharedMemory()
      return Promise.resolve([one, one])
    },
  ],
  [
    'PostgreSQL',
    noPostgres,
    async () => {
      const url = cluster?.url ?? ''
      return await Promise.all([sharedPostgres({ url }), sharedPostgres({ url })])
    },
  ],
  [
    'Redis',
    noRedis,
    async () => {
      const url = urlOf(server ?? { port: 1 })
      return await Promise.all([sharedRedis({ url }), sharedRedis({ url })])
    },
  ],
]

for (const [name, skip, open] of kinds)
  describe(`what is shared through ${name}`, { skip }, () => {
    let pair: Pair
    before(async () => {
      pair = await open()
    })
    after(() => Promise.all(pair.map((one) => one.close())))

    test('is taken once, by whichever process, until its time is over', async () => {
      const [one, other] = pair
      const until = Date.now() + 60_000
      const all = await Promise.all(
        Array.from({ length: 40 }, (_, i) => (i % 2 ? one : other).seen.claim('a', until)),
      )
      assert.equal(all.filter((isNew) => isNew).length, 1)
      assert.equal(await other.seen.claim('b', until), true)
      assert.equal(await one.seen.claim('c', Date.now() + 1_000), true)
      assert.equal(await one.seen.claim('c', Date.now() + 1_000), false)
      await setTimeout(1_200)
      assert.equal(await other.seen.claim('c', until), true)
    })

    test('is counted together, comes back with time, and has an end', async () => {
      const [one, other] = pair
      const by = { name: 'n', by: 1_000_000, perMs: 1, most: 10_000_000_000 }
      await Promise.all(
        Array.from({ length: 20 }, (_, i) => (i % 2 ? one : other).counter.add([by])),
      )
      const [missing = 0] = await one.counter.add([{ ...by, by: 0 }])
      assert.ok(missing > 19_900_000 && missing <= 20_000_000, `${missing}`)
      const [back = 0, fresh = 1] = await other.counter.add([
        { ...by, by: -19_000_000 },
        { ...by, name: 'z', by: 0 },
      ])
      assert.ok(back < 1_000_001 && back > 900_000, `${back}`)
      assert.equal(fresh, 0)
      const [owed] = await one.counter.add([{ ...by, name: 'm', by: 500, most: 100, perMs: 0.001 }])
      assert.ok(owed !== undefined && owed <= 100 && owed > 99, `${owed}`)
    })

    test('holds a limit across two doors', async () => {
      const settings = { tiers: { paid: '10/h' } }
      const [first, second] = pair.map(({ counter }) =>
        createRates(settings, undefined, undefined, counter),
      )
      assert.ok(first && second)
      const takes = (rates: typeof first, caller: string): boolean => rates.take(caller, 'paid').ok
      for (let i = 0; i < 6; i++) assert.ok(takes(first, 'ann'))
      // The second door has not heard of him, and asks from then on.
      assert.ok(takes(second, 'ann'))
      const more: boolean[] = []
      for (let i = 0; i < 6; i++) {
        await setTimeout(SHARE_MS * 2)
        more.push(takes(i % 2 ? first : second, 'ann'))
      }
      // Each door hears of the others when it has counted him itself: one may be one behind.
      const letIn = more.filter((isIn) => isIn).length
      assert.ok(letIn === 3 || letIn === 4, `${7 + letIn} of 10 were let in`)
      assert.deepEqual(more.slice(4), [false, false])
      assert.ok(takes(first, 'bob'), 'another caller has his own')
    })

    test('makes a proof of possession good at one of two doors', async () => {
      const [first, second] = pair.map(({ seen }) => createProofs({ seen }))
      assert.ok(first && second)
      const key = await createProver()
      const proof = await key.prove(now())
      const [a, b] = await Promise.all([
        first.check(proof, resource),
        second.check(proof, resource),
      ])
      assert.deepEqual([a.kind, b.kind].toSorted(), ['proven', 'unproven'])
      const next = await second.check(await key.prove(now()), resource)
      assert.equal(next.kind, 'proven')
    })
  })

test(
  'Redis that is killed: nothing that was shown is taken, limits hold at each door, and all comes back',
  {
    skip: noRedis,
  },
  async () => {
    const own = await startRedis()
    const shared = await sharedRedis({ url: urlOf(own) })
    try {
      const proofs = createProofs({ seen: shared.seen })
      const rates = createRates({ tiers: { paid: '3/h' } }, undefined, undefined, shared.counter)
      const key = await createProver()
      const used = await key.prove(now())
      assert.equal((await proofs.check(used, resource)).kind, 'proven')
      assert.ok(rates.take('ann', 'paid').ok)
      await setTimeout(SHARE_MS * 2)
      await own.kill()
      const dark = await proofs.check(await key.prove(now()), resource)
      assert.equal(dark.kind, 'full')
      await assert.rejects(shared.seen.claim('x', Date.now() + 1_000), PaymentError)
      assert.ok(rates.take('ann', 'paid').ok && rates.take('ann', 'paid').ok)
      assert.ok(!rates.take('ann', 'paid').ok)
      await own.start()
      const other = createProofs({ seen: shared.seen })
      for (
        let i = 0;
        (await other.check(await key.prove(now()), resource)).kind !== 'proven';
        i++
      ) {
        assert.ok(i < 100, 'it comes back')
        await setTimeout(100)
      }
      assert.equal(
        (await other.check(used, resource)).kind,
        'unproven',
        'it has kept what was shown',
      )
      const there = createRates({ tiers: { paid: '3/h' } }, undefined, undefined, shared.counter)
      await setTimeout(1_500)
      // Whoever is counted next lets the door tell what it has counted in the dark.
      rates.take('bob', 'paid')
      await setTimeout(SHARE_MS * 3)
      assert.ok(there.take('ann', 'paid').ok)
      await setTimeout(SHARE_MS * 3)
      assert.ok(!there.take('ann', 'paid').ok, 'what was counted in the dark is told')
    } finally {
      await shared.close()
      await own.stop()
    }
  },
)

test('addresses that lead nowhere are told as such, without what they hold', async () => {
  const secret = 'hunter2'
  for (const open of [
    () => sharedRedis({ url: `redis://u:${secret}@127.0.0.1:1` }),
    () => sharedPostgres({ url: `postgres://u:${secret}@127.0.0.1:1/db` }),
    () => sharedRedis({ url: `http://${secret}` }),
  ])
    await assert.rejects(open, (error: unknown) => {
      assert.ok(error instanceof PaymentError)
      return !error.message.includes(secret)
    })
})
