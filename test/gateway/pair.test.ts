// Two gateways on one database are one gateway: processes as operators start them, over a real chain and a real PostgreSQL,
// either of them killed again and again while a thousand requests are paid for.
import assert from 'node:assert/strict'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../../src/core/clock.ts'
import { postgres } from '../../src/ledger/postgres.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { createDice } from '../../src/testing/faults.ts'
import { createBuyer, createSender } from '../interop/peers.ts'
import { freePort } from '../ports.ts'
import { createCluster, missing } from '../postgres.ts'
import { openDoor, onTheWeb } from '../soak/door.ts'
import { examine } from '../soak/evidence.ts'
import type { Member } from '../soak/family.ts'
import { startMember } from '../soak/family.ts'
import type { BuyersStart } from '../soak/messages.ts'
import { createWeather } from '../soak/weather.ts'
import { spawnTolsey } from '../tolsey.ts'
import { SECRET, serve } from './stage.ts'

const SEED = 402
const PAID = 1_000
const BUYERS = 24
const PURSE = 10n ** 9n
const BLOCK_MS = 200
/** A gateway lives so long at least, and at most twice as long. */
const LIFE_MS = 2_000
/** How long it may take at the very most. */
const PATIENCE_MS = 240_000
/** How long what is open may take at the end: a lease, and a look. */
const CLOSE_MS = 120_000

/** A gateway that somebody starts again whenever it is gone. */
interface Mortal {
  url(): string | undefined
  kill(): Promise<void>
  stop(): Promise<void>
}

test(
  `two gateways on one database, killed at random, sell ${PAID} requests exactly once each`,
  { skip: missing ?? false },
  async (t) => {
    await using ends = new AsyncDisposableStack()
    const root = await mkdtemp(join(tmpdir(), 'pair-'))
    ends.defer(() => rm(root, { recursive: true, force: true }))
    const cluster = await createCluster()
    ends.defer(() => cluster.stop())
    const chain = await startChain({ blockTimeMs: BLOCK_MS })
    ends.defer(() => chain.stop())
    const upstream = await serve((request, response) => response.end(`here is ${request.url}`))
    ends.defer(() => upstream.close())
    const weather = createWeather(createDice(SEED), 0)
    const gateways: Mortal[] = []
    ends.defer(async () => void (await Promise.all(gateways.map((one) => one.stop()))))
    const door = await openDoor({
      to: () => weather.dice.pick(gateways.flatMap((one) => one.url() ?? [])),
      weather,
      kinds: onTheWeb,
      nameOf: () => [],
    })
    ends.defer(() => door.stop())
    const payee = await createSender(chain)
    const env = await environmentOf(chain, cluster.url)
    const document = documentOf({ payTo: payee.address, origin: door.url, upstream: upstream.url })
    for (const name of ['a', 'b'])
      gateways.push(await startMortal({ name, directory: root, document, env }))

    const people = await Promise.all(
      Array.from({ length: BUYERS }, () => createBuyer(chain, PURSE)),
    )
    const directory = join(root, 'buyers')
    await mkdir(directory)
    const failures: string[] = []
    const buyers = await startBuyers(failures, {
      ...{ directory, seed: SEED, share: 0, rpc: chain.rpc, network: chain.network, aheadMs: 0 },
      origins: [door.url],
      keys: people.map(({ privateKey }) => privateKey),
    })
    ends.defer(() => buyers.end())

    const paid = async (): Promise<number> => Number(await chain.balanceOf(payee.address)) / 10_000
    let deaths = 0
    const untilAt = Date.now() + PATIENCE_MS
    while ((await paid()) < PAID && Date.now() < untilAt) {
      await systemClock.sleep(LIFE_MS * (1 + weather.dice.next()))
      await weather.dice.pick(gateways).kill()
      deaths++
    }
    buyers.calm()
    await buyers.stop()
    await closed(cluster.url)
    await Promise.all(gateways.map((one) => one.stop()))

    const report = await examine({
      chain,
      purse: PURSE,
      lost: () => new Set([...door.lost].map((target) => door.url + target)),
      buyers: [{ directory, addresses: people.map(({ address }) => address) }],
      sellers: [
        {
          ...{ name: 'the pair', payee: payee.address },
          books: () => postgres({ url: cluster.url }),
          unkept: async () => [],
        },
      ],
    })
    const { counters, charges, served, lostOnTheWay } = report
    t.diagnostic(
      `${charges} charges, ${served} served, ${lostOnTheWay} lost on the way, ${deaths} deaths: ${JSON.stringify(counters)}`,
    )
    assert.deepEqual(report.wrong, [])
    assert.deepEqual(counters, {
      freeDeliveries: 0,
      doubleCharges: 0,
      paidUndelivered: 0,
      honestRefused: 0,
    })
    assert.deepEqual(failures, [])
    assert.ok(charges >= PAID, `${charges} charges`)
    assert.ok(deaths >= 4, `${deaths} deaths`)
  },
)

async function environmentOf(chain: Chain, database: string): Promise<Record<string, string>> {
  const senders = await Promise.all([createSender(chain), createSender(chain)])
  const [first, second] = senders.map(({ privateKey }) => privateKey)
  return {
    SECRET,
    TOLSEY_DEBUG: '1',
    RPC: chain.rpc,
    DATABASE: database,
    FIRST: first ?? '',
    SECOND: second ?? '',
  }
}

/** The same for both: only where they listen is their own. */
function documentOf(of: Record<'payTo' | 'origin' | 'upstream', string>): string {
  return [
    `origin: ${of.origin}`,
    'secret: { env: SECRET }',
    'ledger: { postgres: { env: DATABASE } }',
    'vault: kept',
    'rails:',
    '  evm:',
    '    network: base-sepolia',
    '    rpc: { env: RPC }',
    `    payTo: "${of.payTo}"`,
    '    signer: [{ env: FIRST }, { env: SECOND }]',
    'timeouts: { work: 2s }',
    'upstreams:',
    `  api: ${of.upstream}`,
    'routes:',
    '  GET /plain: 0.01 USD',
    '  GET /kept: { price: 0.01 USD, keep: true }',
    '  GET /deferred: { price: 0.01 USD, keep: true, settle: deferred }',
    '  GET /first: { price: 0.01 USD, keep: true, settle: before-work }',
    '',
  ].join('\n')
}

async function startMortal(of: {
  readonly name: string
  readonly directory: string
  readonly document: string
  readonly env: Readonly<Record<string, string>>
}): Promise<Mortal> {
  let url: string | undefined
  let child: ChildProcessWithoutNullStreams
  const file = join(of.directory, `${of.name}.yaml`)

  async function begin(): Promise<void> {
    const port = await freePort()
    await writeFile(file, `listen: ${port}\n${of.document}`)
    const next = spawnTolsey(['gateway', file, '--json'], { cwd: of.directory, env: of.env })
    child = next
    let said = ''
    next.stderr.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-4_000)))
    const ready = Promise.withResolvers<void>()
    next.stdout.on('data', (text: Buffer) => text.includes('"gateway"') && ready.resolve())
    next.once('exit', (code) => ready.reject(new Error(`It ended with ${code}: ${said}`)))
    await ready.promise
    url = `http://127.0.0.1:${port}`
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    url = undefined
    if (child.exitCode !== null || child.signalCode !== null) return
    const over = once(child, 'exit')
    child.kill(signal)
    await over
  }

  await begin()
  return {
    url: () => url,
    async kill() {
      await end('SIGKILL')
      await begin()
    },
    stop: () => end('SIGTERM'),
  }
}

async function startBuyers(failures: string[], start: BuyersStart): Promise<Member> {
  const onFailure = (sentence: string): void => void failures.push(sentence)
  return await startMember({ name: 'buyers', file: 'buyers.ts', start, aheadMs: 0, onFailure })
}

/** Waits until nothing is open in the books: the gateways look by themselves. */
async function closed(url: string): Promise<void> {
  const ledger = await postgres({ url })
  try {
    const untilAt = Date.now() + CLOSE_MS
    while ((await ledger.pending()).length > 0 && Date.now() < untilAt)
      await systemClock.sleep(1_000)
  } finally {
    await ledger.close()
  }
}
