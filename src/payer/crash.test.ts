// Starts itself as a buyer in processes of their own, which share one SQLite file, and kills some of them. Run with the
// arguments `buy`, file, address, count, a place to hang at and the kind of wallet, this file is that buyer.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../core/clock.ts'
import type { Ledger } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { asking, closeSellers, counting, honest, receiptFor, selling, toy } from './fakes.test.ts'
import { BODY_HOLD_BYTES_MAX, LEASE_MS } from './limits.ts'
import { createPayer } from './payer.ts'

const [, self = '', role, file = '', url = '', count = '1', hang = '', kind = ''] = process.argv
const policy = { perRequest: '0.05 USD', total: '1 USD' }

if (role === 'buy') await buy()
else tests()

async function buy(): Promise<void> {
  const ledger = await sqlite({ file })
  const plain = counting(systemClock)
  let signed = 0
  const wallet = counting(systemClock, {
    ...(kind === 'local' && { local: true }),
    async pay(offer, validForMs, signal) {
      if (hang === 'signing') await fetch(`${url}/signing`)
      const proof = await plain.pay(offer, validForMs, signal)
      return { ...proof, nonce: process.pid * 1000 + ++signed }
    },
  })
  const hanging: Ledger = {
    ...ledger,
    async step(key, step, claim) {
      if (hang === `before ${step.type}`) await fetch(`${url}/hanging`)
      await ledger.step(key, step, claim)
      if (hang === `after ${step.type}`) await fetch(`${url}/hanging`)
    },
  }
  const payer = createPayer({ wallets: [wallet], protocols: [toy], ledger: hanging, policy })
  const calls = Array.from({ length: Number(count) }, async () => {
    const response = await payer.fetch(url)
    await response.arrayBuffer()
    return response
  })
  const done = await Promise.allSettled(calls)
  const odd = done.filter(
    (one) =>
      one.status === 'rejected' &&
      !(one.reason instanceof PaymentError && one.reason.code === 'budget-exceeded'),
  )
  const served = done.filter((one) => one.status === 'fulfilled' && one.value.ok).length
  await ledger.close()
  process.stdout.write(JSON.stringify({ signed, served, odd }))
}

interface Told {
  readonly signed: number
  readonly served: number
  readonly odd: readonly unknown[]
}

const children: ChildProcess[] = []

function start(...args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, [self, 'buy', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  return child
}

async function told(child: ChildProcess): Promise<Told> {
  assert.ok(child.stdout)
  return JSON.parse(await text(child.stdout)) as Told
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

const directories: string[] = []

/** A file for the books in a directory of its own. */
async function books(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'payer-'))
  directories.push(directory)
  return join(directory, 'payer.db')
}

function tests(): void {
  assert.equal(fileURLToPath(import.meta.url), self)

  describe('processes that share one budget', () => {
    after(async () => {
      for (const child of children) child.kill('SIGKILL')
      await closeSellers()
      for (const directory of directories) await rm(directory, { recursive: true, force: true })
    })

    test('eight at once sign exactly what it holds', async () => {
      const seller = await selling(honest({ amount: '50000' }))
      const shared = await books()
      const children = Array.from({ length: 8 }, () => start(shared, seller.url, '5'))
      const all = await Promise.all(children.map((child) => told(child)))
      assert.deepEqual(
        all.flatMap(({ odd }) => odd),
        [],
      )
      assert.equal(
        all.reduce((sum, { signed }) => sum + signed, 0),
        20,
      )
      assert.equal(new Set(seller.proofs().map(({ nonce }) => nonce)).size, 20)
    })

    test('killed after the payment was sent: the next run sends the same one (CLI-18)', async () => {
      let arrived = (): void => undefined
      const arrival = new Promise<void>((resolve) => {
        arrived = resolve
      })
      let alive = true
      const seller = await selling(({ req }, res) => {
        if (!req.headers['toy-payment'])
          return void res.writeHead(402, asking({ amount: '50000' })).end()
        if (alive) return arrived()
        return void res.writeHead(200, receiptFor(req)).end()
      })
      const shared = await books()
      const first = start(shared, seller.url)
      await arrival
      await kill(first)
      alive = false
      const second = await told(start(shared, seller.url))
      assert.deepEqual(second, { signed: 0, served: 1, odd: [] })
      const [before, after] = seller.proofs()
      assert.ok(before)
      assert.deepEqual(after, before)
      const ledger = await sqlite({ file: shared })
      const total = (await ledger.balances()).find(({ account }) => account === 'spent/total/USD')
      await ledger.close()
      assert.deepEqual([total?.posted, total?.pending], [5n * 10n ** 16n, 0n])
    })

    for (const hang of ['before adopted', 'after adopted'])
      test(`killed while it takes over (${hang}): the run after that sends the same payment`, async () => {
        let arrival = Promise.withResolvers<void>()
        let alive = true
        const seller = await selling(({ req }, res) => {
          if (req.url === '/hanging') return arrival.resolve()
          if (!req.headers['toy-payment'])
            return void res.writeHead(402, asking({ amount: '50000' })).end()
          if (alive) return arrival.resolve()
          return void res.writeHead(200, receiptFor(req)).end()
        })
        const shared = await books()
        for (const where of ['', hang]) {
          arrival = Promise.withResolvers()
          const child = start(shared, seller.url, '1', where)
          await arrival.promise
          await kill(child)
          alive = false
        }
        assert.deepEqual(await told(start(shared, seller.url)), { signed: 0, served: 1, odd: [] })
        assert.equal(new Set(seller.proofs().map(({ nonce }) => nonce)).size, 1)
        const ledger = await sqlite({ file: shared })
        const total = (await ledger.balances()).find(({ account }) => account === 'spent/total/USD')
        assert.deepEqual([total?.posted, total?.pending], [5n * 10n ** 16n, 0n])
        assert.equal((await ledger.pending()).length, 0)
        await ledger.close()
      })

    test('killed while it signs: the reservation counts, and the next run signs its own', async () => {
      let asked = (): void => undefined
      const question = new Promise<void>((resolve) => {
        asked = resolve
      })
      const seller = await selling((seen, res) => {
        if (seen.req.url === '/signing') return asked()
        return honest({ amount: '50000' })(seen, res)
      })
      const shared = await books()
      const first = start(shared, seller.url, '1', 'signing')
      await question
      await kill(first)
      const second = await told(start(shared, seller.url))
      assert.deepEqual(second, { signed: 1, served: 1, odd: [] })
      const ledger = await sqlite({ file: shared })
      const total = (await ledger.balances()).find(({ account }) => account === 'spent/total/USD')
      await ledger.close()
      assert.deepEqual([total?.posted, total?.pending], [5n * 10n ** 16n, 5n * 10n ** 16n])
    })

    test('killed while a local wallet signs: the reservation ends with its lease', async () => {
      let asked = (): void => undefined
      const question = new Promise<void>((resolve) => {
        asked = resolve
      })
      const seller = await selling((seen, res) => {
        if (seen.req.url === '/signing') return asked()
        return honest({ amount: '50000' })(seen, res)
      })
      const shared = await books()
      const first = start(shared, seller.url, '1', 'signing', 'local')
      await question
      await kill(first)
      let aheadMs = 0
      const clock = { ...systemClock, now: () => Date.now() + aheadMs }
      const ledger = await sqlite({ file: shared, clock })
      const wallets = [counting(clock, { local: true })]
      const payer = createPayer({ wallets, protocols: [toy], ledger, policy, clock })
      const held = async (): Promise<string | undefined> =>
        (await payer.spent()).find(({ limit }) => limit === 'total')?.held
      await payer.recover()
      assert.equal(await held(), '0.05 USD')
      aheadMs = LEASE_MS
      await payer.recover()
      assert.equal(await held(), '0 USD')
      await ledger.close()
    })

    test('killed while the answer arrives: the next run shows the same payment and has all of it', async () => {
      const body = 'x'.repeat(2 * BODY_HOLD_BYTES_MAX)
      const seller = await selling(({ req }, res) => {
        if (!req.headers['toy-payment'])
          return void res.writeHead(402, asking({ amount: '50000' })).end()
        res.writeHead(200, receiptFor(req)).write(body)
        return seller.proofs().length > 1 ? void res.end() : undefined
      })
      const shared = await books()
      const first = start(shared, seller.url)
      const ledger = await sqlite({ file: shared })
      const types = async (): Promise<readonly string[]> =>
        (await ledger.pending()).flatMap(({ steps }) => steps.map(({ type }) => type))
      while (!(await types()).includes('receipt')) await systemClock.sleep(20)
      await kill(first)
      const second = await told(start(shared, seller.url))
      assert.deepEqual(second, { signed: 0, served: 1, odd: [] })
      const [before, after] = seller.proofs()
      assert.ok(before)
      assert.deepEqual(after, before)
      const total = (await ledger.balances()).find(({ account }) => account === 'spent/total/USD')
      await ledger.close()
      assert.deepEqual([total?.posted, total?.pending], [5n * 10n ** 16n, 0n])
    })
  })
}
