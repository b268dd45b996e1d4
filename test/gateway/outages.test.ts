// What a gateway depends on goes away while it sells, and comes back: it is closed meanwhile, and afterwards everything that
// was asked for is served and charged exactly once. The gateway, its chain and its database are processes of their own.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { mkdtemp, open, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { systemClock } from '../../src/core/clock.ts'
import { isObject } from '../../src/core/json.ts'
import { PaymentError } from '../../src/core/problem.ts'
import type { Payer } from '../../src/payer/payer.ts'
import { createDice } from '../../src/testing/faults.ts'
import type { Cluster } from '../postgres.ts'
import { createCluster, missing } from '../postgres.ts'
import type { Door } from '../soak/door.ts'
import { openDoor } from '../soak/door.ts'
import { createWeather } from '../soak/weather.ts'
import type { Running, Stage } from './stage.ts'
import { createBuyerOf, openStage, serve, startGateway } from './stage.ts'

const run = promisify(execFile)
const AHEAD_S = 7_200
const DISK_BYTES = 4_194_304
const NO_MOUNT = 'Only who may mount a small disk can fill one.'
const canMount = await mounts()
if (!canMount) process.emitWarning(NO_MOUNT)
/** 0.01 USDC. */
const PRICE = 10_000n
/** How long one answer is waited for, and how long all of them. */
const ANSWER_MS = 5_000
const RECOVER_MS = 90_000
const PAUSE_MS = 250
/** Purchases that are begun while something is away. */
const MEANWHILE = 2

/** Something that can go away and come back. */
interface Outage {
  readonly begin: () => Promise<unknown> | void
  readonly end: () => Promise<unknown> | void
}

describe('a gateway is closed, says so, and recovers', { concurrency: 1 }, () => {
  let stage: Stage
  let upstream: Awaited<ReturnType<typeof serve>>
  let cluster: Cluster | undefined
  let node: Door
  let work: Door
  let disk: string
  let selling: string
  let gateway: Running
  let onDisk: Running
  const away = { node: false, work: false }

  before(async () => {
    stage = await openStage()
    upstream = await serve((request, response) => response.end(`here is ${request.url}`))
    node = await doorTo('node', stage.chain.rpc)
    work = await doorTo('work', upstream.url)
    selling = `upstreams: { api: "${work.url}" }\nvault: kept\ntimeouts: { work: 2s }\nroutes:\n  GET /a: { price: 0.01 USD, keep: true }\n`
    const env = { ...stage.env, RPC: node.url }
    disk = await mkdtemp(join(tmpdir(), 'disk-'))
    if (canMount) await run('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk])
    onDisk = await startGateway({ ...stage, env }, selling, join(disk, 'books.sqlite'))
    gateway = onDisk
    if (missing === undefined) {
      cluster = await createCluster()
      const far = { ...stage, env: { ...env, DATABASE: cluster.url } }
      gateway = await startGateway(far, selling, '{ postgres: { env: DATABASE } }')
    }
  })
  after(async () => {
    await Promise.all([gateway, onDisk].map((one) => one.stop()))
    await Promise.all([node.stop(), work.stop(), upstream.close(), cluster?.stop()])
    await stage.close()
    if (canMount) await run('umount', ['-l', disk])
    await rm(disk, { recursive: true })
  })

  function doorTo(name: 'node' | 'work', to: string): Promise<Door> {
    return openDoor({
      to: () => (away[name] ? undefined : to),
      weather: createWeather(createDice(1), 0),
      kinds: ['refused'],
      nameOf: () => [],
    })
  }

  test('when the node of its chain is gone', async () => {
    await suffer(gateway, {
      begin: () => void (away.node = true),
      end: () => void (away.node = false),
    })
  })

  test('when the upstream is gone', async () => {
    await suffer(gateway, {
      begin: () => void (away.work = true),
      end: () => void (away.work = false),
    })
  })

  test('when the database is stopped', { skip: missing ?? false }, async () => {
    await suffer(gateway, { begin: () => cluster?.kill(), end: () => cluster?.start() })
  })

  test('when the clock of its chain is hours ahead', async () => {
    const { chain } = stage
    let past: unknown
    await suffer(gateway, {
      async begin() {
        past = await chain.request('evm_snapshot')
        await chain.increaseTime(AHEAD_S)
      },
      async end() {
        await chain.request('evm_revert', [past])
        await chain.request('anvil_setTime', [Math.floor(Date.now() / 1_000)])
      },
    })
  })

  test('when the disk is full', { skip: canMount ? false : NO_MOUNT }, async () => {
    const rest = join(disk, 'rest')
    await suffer(onDisk, { begin: () => fill(rest), end: () => rm(rest) })
  })

  test('when the disk errs its books stay closed, and whoever watches it is told to start it again', async () => {
    const { child, file, admin, origin } = await startGateway(stage, selling)
    try {
      const buyer = await createBuyerOf(stage.chain)
      assert.equal(await buy(buyer, `${origin}/a?n=0`), '200')
      const { size } = await stat(file.replace(/yaml$/, 'sqlite'))
      await run('prlimit', ['--pid', String(child.pid), `--fsize=${size}:unlimited`])
      assert.notEqual(await buy(buyer, `${origin}/a?n=1`), '200')
      await run('prlimit', ['--pid', String(child.pid), '--fsize=unlimited:unlimited'])
      const health = async (): Promise<number> => (await fetch(`${admin}/healthz`)).status
      while ((await health()) === 200) await systemClock.sleep(PAUSE_MS)
      assert.notEqual(await buy(buyer, `${origin}/a?n=1`), '200')
      assert.equal((await fetch(`${admin}/readyz`)).status, 503)
    } finally {
      child.kill('SIGKILL')
    }
  })

  /** Asks before, during and after: in the end all is served, and the chain has taken for each once. */
  async function suffer({ origin, notes }: Running, outage: Outage): Promise<void> {
    const { chain, payTo } = stage
    const buyer = await createBuyerOf(chain)
    const before = await chain.balanceOf(payTo)
    const url = (n: number): string => `${origin}/a?n=${n}&by=${before}`
    assert.equal(await buy(buyer, url(0)), '200')

    const asked = Array.from({ length: MEANWHILE }, (_, n) => url(n + 1))
    const told: string[] = []
    await outage.begin()
    try {
      for (const one of asked) told.push(await buy(buyer, one))
      const between = (await chain.balanceOf(payTo)) - before
      assert.ok(!told.includes('200'), `Served while it cannot sell: ${told.join(', ')}`)
      assert.ok(between >= PRICE, 'what was paid before stays paid')
    } finally {
      await outage.end()
    }
    for (const one of [...asked, url(MEANWHILE + 1)]) {
      const untilAt = Date.now() + RECOVER_MS
      for (let said = await buy(buyer, one); said !== '200'; said = await buy(buyer, one)) {
        const why = `${said} after ${told.join(', ')}: ${notes.slice(-5).join('\n')}`
        assert.ok(Date.now() < untilAt, `It does not recover: ${why}`)
        await systemClock.sleep(PAUSE_MS)
      }
    }
    const charges = ((await chain.balanceOf(payTo)) - before) / PRICE
    assert.equal(charges, BigInt(asked.length + 2))
  }
})

/** Whether a small disk can be had: only by who may mount one. */
async function mounts(): Promise<boolean> {
  const place = await mkdtemp(join(tmpdir(), 'mount-'))
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place])
    await run('umount', [place])
    return true
  } catch {
    return false
  } finally {
    await rm(place, { recursive: true })
  }
}

/** Writes until nothing more goes onto the disk. */
async function fill(path: string): Promise<void> {
  const file = await open(path, 'w')
  try {
    for (const bytes of [65_536, 4_096]) while (await isWritten(file, bytes));
  } finally {
    await file.close()
  }
}

async function isWritten(file: FileHandle, bytes: number): Promise<boolean> {
  try {
    return (await file.write(Buffer.alloc(bytes))).bytesWritten === bytes
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error && error.code === 'ENOSPC', String(error))
    return false
  }
}

/** One try: the status, or the code by which it was refused. */
async function buy(payer: Payer, url: string): Promise<string> {
  try {
    const response = await payer.fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) })
    const body: unknown = response.ok ? await response.text() : await response.json()
    const code = isObject(body) ? body['code'] : undefined
    return typeof code === 'string' ? code : String(response.status)
  } catch (error) {
    if (error instanceof PaymentError) return error.code
    return error instanceof Error ? error.message : String(error)
  }
}
