// The settlement engine on a real chain: many payments, many keys, and everything that can go wrong between signing and
// the block. Where the order of blocks matters, the chain mines only when it is told to.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { concat, keccak256, numberToHex, pad, recoverTransactionAddress } from 'viem'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import batcherContract from '../../../contracts/TolseyBatcher.json' with { type: 'json' }
import type { Event } from '../../core/event.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Ledger, Log, Settlement, Step } from '../../core/ports.ts'
import { systemClock } from '../../core/clock.ts'
import { sqlite } from '../../ledger/sqlite.ts'
import type { Chain } from '../../sandbox/chain.ts'
import { startChain } from '../../sandbox/chain.ts'
import { encodeBatch } from './abi.ts'
import { FAILURES_MAX } from './budget.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'
import { networks } from './networks.ts'
import type { Proof } from './proof.ts'
import type { EvmRail, EvmSettings } from './rail.ts'
import { evm } from './rail.ts'
import type { RpcEvent } from './rpc.ts'
import { fromAccount } from './signer.ts'
import { MULTICALL3, stateCall, transferCall } from './token.ts'
import { typedData } from './typed-data.ts'
import { wallet } from './wallet.ts'

const NETWORK = 'eip155:84532'
const usdc = networks.find(({ id }) => id === NETWORK)?.tokens[0]
assert(usdc)
const PRICE = 10_000n

let chain: Chain
let batcher: Hex
let skippedMs = 0
const clock: Clock = {
  now: () => Date.now() + skippedMs,
  sleep: (ms, signal) => systemClock.sleep(ms, signal),
}
const seller = account()
const calls: RpcEvent[] = []

before(async () => {
  chain = await startChain()
  await chain.mint(seller.address, 1n)
  batcher = lower((await chain.deploy(batcherContract.bytecode)) as Hex)
})

after(async () => {
  await chain?.stop()
})

beforeEach(async () => {
  await chain.request('evm_setAutomine', [true])
  await chain.mine()
})

function account(): LocalAccount {
  return privateKeyToAccount(generatePrivateKey())
}

/** A sending key with ether. */
async function key(): Promise<LocalAccount> {
  const one = account()
  await chain.fundEther(one.address, 10n ** 20n)
  return one
}

async function using<T>(
  more: Partial<EvmSettings>,
  work: (rail: EvmRail) => Promise<T>,
): Promise<T> {
  const rail = evm({
    network: NETWORK,
    rpc: chain.rpc,
    payTo: seller.address,
    signer: more.signer ?? (await key()),
    clock,
    onCall: (event) => calls.push(event),
    ...more,
  })
  await rail.open()
  try {
    return await work(rail)
  } finally {
    await rail.close()
  }
}

function offerBy(rail: EvmRail): Offer<Details> {
  const [terms] = rail.quote(readPrice('0.01 USD'))
  assert(terms)
  const url = 'https://shop.example/a'
  const where = { realm: 'shop', method: 'GET', authority: 'shop.example', path: '/a', query: '' }
  return { ...terms, id: 'x', resource: { ...where, url }, expiresAt: clock.now() + 300_000 }
}

/** A payer with money, put where the token keeps it: hundreds of them cost no blocks. */
async function payer(): Promise<LocalAccount> {
  const one = account()
  const slot = keccak256(concat([pad(one.address), pad('0x09')]))
  const amount = pad(numberToHex(1_000_000))
  await chain.request('anvil_setStorageAt', [usdc?.address, slot, amount])
  return one
}

function many<T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => make(index)))
}

/** A signed payment of somebody who has the money. */
async function payment(offer: Offer<Details>, from?: LocalAccount): Promise<Proof> {
  return wallet({ signer: fromAccount(from ?? (await payer())), clock }).pay(offer, 300_000)
}

interface Memory extends Log {
  readonly steps: Step[]
}

function memory(): Memory {
  const steps: Step[] = []
  return {
    steps,
    read: async () => [...steps],
    write: async (step) => void steps.push(JSON.parse(JSON.stringify(step)) as Step),
  }
}

/** A payment with its log: what the books would keep of it. */
interface Kept {
  readonly offer: Offer<Details>
  readonly proof: Proof
  readonly log: Memory
}

async function kept(rail: EvmRail, count: number): Promise<Kept[]> {
  const offer = offerBy(rail)
  return many(count, async () => ({ offer, proof: await payment(offer), log: memory() }))
}

function settle(rail: EvmRail, { offer, proof, log }: Kept): Promise<Settlement> {
  return rail.settle(offer, proof, rail.identify(offer, proof).key, log)
}

function find(rail: EvmRail, { offer, proof, log }: Kept): Promise<Settlement | undefined> {
  return rail.find(offer, rail.identify(offer, proof).key, log)
}

function states(settlements: readonly (Settlement | undefined)[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const one of settlements) counts[String(one?.state)] = (counts[String(one?.state)] ?? 0) + 1
  return counts
}

function references(settlements: readonly Settlement[]): Set<string> {
  return new Set(settlements.flatMap((one) => (one.state === 'settled' ? [one.reference] : [])))
}

function prepared({ log }: Kept): Step[] {
  return log.steps.filter(({ type }) => type === 'prepared')
}

async function earned<T>(work: () => Promise<T>): Promise<[bigint, T]> {
  const had = await chain.balanceOf(seller.address)
  const result = await work()
  return [(await chain.balanceOf(seller.address)) - had, result]
}

function feeOf(data: Step['data'] | undefined): bigint {
  assert(typeof data?.['fee'] === 'string')
  return BigInt(data['fee'])
}

async function gasOf(hashes: Iterable<string>): Promise<number> {
  let gas = 0
  for (const hash of hashes) {
    const receipt = await chain.request('eth_getTransactionReceipt', [hash])
    gas += Number((receipt as { gasUsed: string }).gasUsed)
  }
  return gas
}

function sleep(ms: number): Promise<void> {
  return systemClock.sleep(ms)
}

/** Waits until it is so. */
async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await what()) return
    await sleep(10)
  }
  assert.fail('it never came to be')
}

async function waiting(): Promise<number> {
  const status = (await chain.request('txpool_status')) as { pending: string; queued: string }
  return Number(status.pending) + Number(status.queued)
}

/** The chain mines nothing while this runs, but what is told. */
async function halted<T>(work: () => Promise<T>): Promise<T> {
  await chain.request('evm_setAutomine', [false])
  try {
    return await work()
  } finally {
    await chain.request('evm_setAutomine', [true])
    await chain.mine()
  }
}

/** A fetch that answers some questions itself: what `lie` gives is the result, and of undefined the chain is asked. */
function lying(
  lie: (method: string, params: readonly unknown[], address: string) => unknown,
): typeof globalThis.fetch {
  return async (url, init) => {
    assert(typeof url === 'string' && typeof init?.body === 'string')
    const said = JSON.parse(init.body) as { method?: string; params: unknown[]; id: number }
    const result = await lie(said.method ?? '', said.params, url)
    if (result === undefined) return globalThis.fetch(url, init)
    return Response.json({ jsonrpc: '2.0', id: said.id, result })
  }
}

/** Stands before the chain: told of each transaction that is handed over, and decides what becomes of it. */
function gatekeeper(
  decide: (raw: Hex) => 'pass' | 'swallow' | 'die' | 'pass and die' | Promise<'pass' | 'swallow'>,
): typeof globalThis.fetch {
  return lying(async (method, params) => {
    if (method !== 'eth_sendRawTransaction') return undefined
    const [raw] = params as [Hex]
    const verdict = await decide(raw)
    if (verdict === 'pass and die') await chain.request(method, [raw])
    if (verdict === 'die' || verdict === 'pass and die') throw new TypeError('the process is dead')
    return verdict === 'swallow' ? keccak256(raw) : undefined
  })
}

describe('many payments', () => {
  test('160 at concurrency 16 from one key all succeed, in few transactions, with less than a call each', async () => {
    await using({ batcher }, async (rail) => {
      const payments = await kept(rail, 160)
      calls.length = 0
      const queue = [...payments]
      const settlements: Settlement[] = []
      const [gain] = await earned(() =>
        many(16, async () => {
          for (let one = queue.shift(); one; one = queue.shift()) {
            assert((await rail.verify(one.offer, one.proof)).ok)
            settlements.push(await settle(rail, one))
          }
        }),
      )
      assert.deepEqual(states(settlements), { settled: 160 })
      assert.equal(gain, 160n * PRICE)
      const transactions = references(settlements)
      assert(transactions.size < 80, `${transactions.size} transactions`)
      assert(calls.length < 160, `${calls.length} calls`)
      assert.deepEqual(new Set(payments.map((one) => prepared(one).length)), new Set([1]))
    })
  })

  test('that wait go in one transaction, by the batcher or by Multicall3, for half the gas and a fraction of the calls', async () => {
    for (const more of [{ batcher }, {}])
      await using(more, async (rail) => {
        const payments = await kept(rail, 51)
        await using(more, async (warm) => void (await settle(warm, (await kept(warm, 1))[0]!)))
        calls.length = 0
        const [gain, settlements] = await earned(() =>
          Promise.all(payments.map((one) => settle(rail, one))),
        )
        assert.deepEqual(states(settlements), { settled: 51 })
        assert.equal(gain, 51n * PRICE)
        const [alone, ...others] = references(settlements)
        assert(alone)
        assert.equal(others.length, 1)
        const gas = (await gasOf(others)) / 50
        assert(gas <= ('batcher' in more ? 51_000 : 51_200), `${gas} gas`)
        // How often receipts are looked for is a matter of the chain's pace.
        const asked = calls.map(({ method }) => method).filter((m) => !/Receipt/.test(m))
        assert(asked.length <= 4, asked.join())
      })
  })

  test('go to the least loaded of three lanes, and each lane keeps its own order', async () => {
    const signer = await many(3, key)
    await using({ signer, batcher }, async (rail) => {
      const payments = await kept(rail, 12)
      const settlements = await halted(async () => {
        const open: Promise<Settlement>[] = []
        for (const [i, one] of payments.entries()) {
          open.push(settle(rail, one))
          await until(async () => (await waiting()) === i + 1)
        }
        await chain.mine()
        return Promise.all(open)
      })
      assert.deepEqual(states(settlements), { settled: 12 })
      for (const { address } of signer) {
        const own = payments.flatMap((one) =>
          prepared(one).flatMap(({ data }) =>
            data['sender'] === lower(address) ? [data['nonce']] : [],
          ),
        )
        assert.deepEqual(own, [0, 1, 2, 3])
      }
    })
  })

  test('one that cannot be written ahead does not go, and does not stop the others', async () => {
    await using({ batcher }, async (rail) => {
      const payments = await kept(rail, 8)
      const [last] = payments.slice(-1)
      assert(last)
      const broken: Log = {
        read: async () => [],
        write: () => Promise.reject(new Error('the disk is full')),
      }
      const [gain, done] = await earned(() =>
        Promise.allSettled(
          payments.map(({ offer, proof, log }) =>
            rail.settle(
              offer,
              proof,
              rail.identify(offer, proof).key,
              proof === last.proof ? broken : log,
            ),
          ),
        ),
      )
      assert.equal(done.filter(({ status }) => status === 'fulfilled').length, 7)
      assert.equal(gain, 7n * PRICE)
    })
  })
})

/** A wallet that takes any signature until its first word of storage is set, and then burns all gas it gets. */
async function trap(): Promise<Hex> {
  const runtime = '600054601657631626ba7e60e01b60005260206000f35b601656'
  const size = (runtime.length / 2).toString(16)
  const at = lower((await chain.deploy(`0x60${size}600c60003960${size}6000f3${runtime}`)) as Hex)
  await chain.mint(at, 1_000_000n)
  return at
}

async function spring(at: Hex): Promise<void> {
  await chain.request('anvil_setStorageAt', [
    at,
    `0x${'0'.repeat(64)}`,
    `0x${'1'.padStart(64, '0')}`,
  ])
}

async function unspring(at: Hex): Promise<void> {
  await chain.request('anvil_setStorageAt', [at, pad('0x'), pad('0x')])
}

async function signedFor(from: Hex, owner: LocalAccount, offer: Offer<Details>): Promise<Proof> {
  const { signature: _, ...honest } = await payment(offer, owner)
  const authorization = { ...honest, from }
  assert(usdc)
  const { domain, types, primaryType, message } = typedData(usdc, 84532, authorization)
  const signature = await owner.signTypedData({ domain, types, primaryType, message })
  return { ...authorization, signature }
}

/** A way to the chain on which the first transaction waits until it is let go. */
interface Gate {
  readonly fetch: typeof globalThis.fetch
  letGo(): void
}

function held(): Gate {
  const { promise, resolve } = Promise.withResolvers<'pass'>()
  return { fetch: gatekeeper(() => promise), letGo: () => resolve('pass') }
}

/** Settles all of these in one transaction, which comes behind another one. */
async function together(
  rail: EvmRail,
  gate: Gate,
  payments: readonly Kept[],
  wallets: number,
): Promise<readonly Settlement[]> {
  calls.length = 0
  const [first] = await kept(rail, 1)
  assert(first)
  const before = settle(rail, first)
  await until(() => prepared(first).length === 1)
  const open = payments.map((one) => settle(rail, one))
  // A wallet is asked about first; then they all wait for the lane.
  await until(() => wallets === 0 || calls.some(({ method }) => method === 'eth_estimateGas'))
  await sleep(50)
  gate.letGo()
  const settlements = await Promise.all(open)
  assert.equal((await before).state, 'settled')
  return settlements
}

describe('one hostile payer', () => {
  test('among twenty honest ones in one transaction stops none of them', async () => {
    const gate = held()
    await using({ batcher, fetch: gate.fetch }, async (rail) => {
      const offer = offerBy(rail)
      const hostile = await trap()
      const proof = await signedFor(hostile, account(), offer)
      const bad: Kept = { offer, proof, log: memory() }
      const honest = await kept(rail, 20)
      assert((await rail.verify(offer, bad.proof)).ok, 'it looks honest')
      const [gain, [worst, ...settlements]] = await earned(() =>
        halted(async () => {
          const done = together(rail, gate, [bad, ...honest], 1)
          await until(() => [bad, ...honest].every((one) => prepared(one).length === 1))
          assert.equal(
            new Set([bad, ...honest].map((one) => prepared(one)[0]?.data['hash'])).size,
            1,
          )
          await spring(hostile)
          await until(async () => (await waiting()) === 2)
          await chain.mine()
          return done
        }),
      )
      assert.deepEqual(states(settlements), { settled: 20 })
      assert.equal(worst?.state, 'failed')
      assert.equal(gain, 21n * PRICE)
      assert.equal(references(settlements).size, 1)
    })
  })

  test('who breaks a whole transaction stops none either: each is tried once more, alone', async () => {
    const gate = held()
    await using({ fetch: gate.fetch }, async (rail) => {
      const offer = offerBy(rail)
      const hostile = await payer()
      const code = await trap()
      const bad: Kept = { offer, proof: await payment(offer, hostile), log: memory() }
      const honest = await kept(rail, 6)
      const [gain, [worst, ...settlements]] = await earned(() =>
        halted(async () => {
          const done = together(rail, gate, [bad, ...honest], 0)
          await until(() => [bad, ...honest].every((one) => prepared(one).length === 1))
          await until(async () => (await waiting()) === 2)
          // Between the look at its code and the block.
          await chain.request('anvil_setCode', [hostile.address, concat(['0xef0100', code])])
          await spring(lower(hostile.address))
          const pump = setInterval(() => void chain.mine().catch(() => undefined), 40)
          return done.finally(() => clearInterval(pump))
        }),
      )
      assert.deepEqual(states(settlements), { settled: 6 })
      assert.equal(worst?.state, 'failed')
      assert.equal(gain, 7n * PRICE)
      assert(honest.every((one) => prepared(one).length === 2))
    })
  })

  test('whose plain key has got code is not let into a batch that has no limit for each', async () => {
    await using({}, async (rail) => {
      const offer = offerBy(rail)
      const hostile = await payer()
      const bad: Kept = { offer, proof: await payment(offer, hostile), log: memory() }
      const honest = await kept(rail, 10)
      const code = await trap()
      await chain.request('anvil_setCode', [hostile.address, concat(['0xef0100', code])])
      await spring(lower(hostile.address))
      const [gain, [worst, ...settlements]] = await earned(() =>
        Promise.all(
          [...honest.slice(0, 1), bad, ...honest.slice(1)].map((one) => settle(rail, one)),
        ),
      )
      assert.deepEqual(states([worst, ...settlements]), { settled: 10, failed: 1 })
      assert.equal(gain, 10n * PRICE)
      assert.equal(references(settlements).size <= 3, true)
    })
  })

  test('is taken no more after it has failed too often, and others are', async () => {
    await using({ batcher }, async (rail) => {
      const offer = offerBy(rail)
      const hostile = await trap()
      const owner = account()
      for (let i = 0; i < FAILURES_MAX; i++) {
        const bad: Kept = { offer, proof: await signedFor(hostile, owner, offer), log: memory() }
        assert((await rail.verify(offer, bad.proof)).ok)
        const settlement = await halted(async () => {
          const open = settle(rail, bad)
          await until(async () => (await waiting()) > 0)
          await spring(hostile)
          await chain.mine()
          return open
        })
        assert.equal(settlement.state, 'failed')
        await unspring(hostile)
      }
      const verdict = await rail.verify(offer, await signedFor(hostile, owner, offer))
      assert(!verdict.ok)
      assert.equal(verdict.problem.code, 'proof-invalid')
      assert((verdict.problem.retryAfterMs ?? 0) > 0)
      assert((await rail.verify(offer, await payment(offer))).ok)
      skippedMs += 600_000
      await chain.increaseTime(600)
      assert((await rail.verify(offer, await signedFor(hostile, owner, offer))).ok)
    })
  })
})

test('gas beyond the budget of the hour stops admission, is told once, and ends with the hour', async () => {
  const told: Event[] = []
  const more = { gasBudgetWei: 1n, observe: (event: Event) => void told.push(event) }
  await using(more, async (rail) => {
    const [one, two] = await kept(rail, 2)
    assert(one && two)
    assert((await rail.verify(one.offer, one.proof)).ok)
    assert.equal((await settle(rail, one)).state, 'settled')
    const verdict = await rail.verify(two.offer, two.proof)
    assert(!verdict.ok)
    assert.equal(verdict.problem.code, 'rail-unavailable')
    assert.equal((await settle(rail, two)).state, 'settled', 'what was admitted before is settled')
    assert.equal(told.length, 1)
    skippedMs += 3_600_000
    await chain.increaseTime(3_600)
    const later = await kept(rail, 1)
    assert((await rail.verify(later[0]!.offer, later[0]!.proof)).ok)
  })
})

describe('a stuck transaction', () => {
  test('that fees have outgrown is replaced under its number, and everything behind it drains', async () => {
    await using({ bumpAfterMs: 100 }, async (rail) => {
      const payments = await kept(rail, 6)
      const [gain, settlements] = await earned(() =>
        halted(async () => {
          const open: Promise<Settlement>[] = []
          for (const one of payments) {
            open.push(settle(rail, one))
            await until(() => prepared(one).length > 0)
          }
          await until(async () => (await waiting()) > 1)
          const dear = feeOf(prepared(payments[0]!)[0]?.data) * 2n
          await chain.request('anvil_setNextBlockBaseFeePerGas', [`0x${dear.toString(16)}`])
          await chain.mine()
          const hash = prepared(payments[0]!)[0]?.data['hash']
          assert.equal(await chain.request('eth_getTransactionReceipt', [hash]), null)
          skippedMs += 5_000
          const done = Promise.all(open)
          const pump = setInterval(() => void chain.mine().catch(() => undefined), 50)
          return done.finally(() => clearInterval(pump))
        }),
      )
      assert.deepEqual(states(settlements), { settled: 6 })
      assert.equal(gain, 6n * PRICE)
      const [first] = payments
      assert(first)
      const versions = prepared(first).map(({ data }) => data)
      assert(versions.length > 1)
      assert.equal(new Set(versions.map(({ nonce }) => nonce)).size, 1)
      const [cheap, dear] = versions.map(feeOf)
      assert(cheap && dear && dear * 8n >= cheap * 9n)
    })
  })

  test('stops its own lane only; the bytes are handed over again until the lane moves', async () => {
    const signer = await many(2, key)
    let deaf = true
    const lost = lower(signer[0]!.address)
    const fetch = gatekeeper(async (raw) => {
      const serializedTransaction = raw as Parameters<
        typeof recoverTransactionAddress
      >[0]['serializedTransaction']
      const from = lower(await recoverTransactionAddress({ serializedTransaction }))
      return deaf && from === lost ? 'swallow' : 'pass'
    })
    await using({ signer, fetch, bumpAfterMs: 150 }, async (rail) => {
      const [victim, ...others] = await kept(rail, 13)
      assert(victim)
      const open = settle(rail, victim)
      await until(() => prepared(victim).length > 0)
      assert.equal(prepared(victim)[0]?.data['sender'], lost)
      await sleep(200)
      const settlements: Settlement[] = []
      for (const one of others) settlements.push(await settle(rail, one))
      assert.deepEqual(states(settlements), { settled: 12 })
      deaf = false
      assert.equal((await open).state, 'settled')
    })
  })

  test('keeps its number and hash when the settlement has stopped waiting, and is found later', async () => {
    await using({ settleTimeoutMs: 80 }, async (rail) => {
      const payments = await kept(rail, 3)
      const [gain] = await earned(async () => {
        await halted(async () => {
          for (const one of payments) assert.equal((await settle(rail, one)).state, 'unknown')
          await chain.mine()
        })
        const found = await Promise.all(payments.map((one) => find(rail, one)))
        assert.deepEqual(states(found), { settled: 3 })
      })
      assert.equal(gain, 3n * PRICE)
      assert.deepEqual(
        payments.map((one) => prepared(one).length),
        [1, 1, 1],
      )
    })
  })
})

describe('a process that dies with a batch', () => {
  for (const when of ['before', 'after'] as const)
    for (const books of ['with books', 'without books'] as const)
      test(`${when} the bytes have left, ${books}, leaves nothing open and pays nothing twice`, async () => {
        const signer = await key()
        await withBooks(async (ledger) => {
          const more = { signer, batcher, ...(books === 'with books' && { ledger }) }
          let payments: readonly Kept[] = []
          const paid = await using({}, (rail) => kept(rail, 30))
          const dead = gatekeeper(() => (when === 'before' ? 'die' : 'pass and die'))
          const [gain] = await earned(async () => {
            const done = await halted(async () => {
              const died = { ...more, fetch: dead, closeTimeoutMs: 1 }
              const open = await using(died, async (rail) => {
                payments = paid
                const all = payments.map((one) => settle(rail, one))
                await until(() => payments.every((one) => prepared(one).length === 1))
                if (when === 'after') await until(async () => (await waiting()) === 2)
                return { all }
              })
              return Promise.all(open.all)
            })
            assert.deepEqual(states(done), { unknown: 30 })
            await using(more, async (rail) => {
              const found = await Promise.all(payments.map((one) => find(rail, one)))
              assert.deepEqual(states(found), { settled: 30 })
              // With the books, or when they had left, the very bytes; otherwise each by itself.
              const few = books === 'with books' || when === 'after'
              assert.equal(references(found.filter((one) => one !== undefined)).size, few ? 2 : 30)
              const again = await Promise.all(payments.map((one) => find(rail, one)))
              assert.deepEqual(states(again), { settled: 30 })
            })
          })
          assert.equal(gain, 30n * PRICE)
          assert.equal(await waiting(), 0)
        })
      })
})

async function withBooks<T>(work: (ledger: Ledger, file: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'books-'))
  const file = join(directory, 'books.sqlite')
  const ledger = await sqlite({ file })
  try {
    return await work(ledger, file)
  } finally {
    await ledger.close()
    await rm(directory, { recursive: true })
  }
}

describe('one key of two processes', () => {
  test('with the same books gives each number once, and all settle', async () => {
    const signer = await key()
    await withBooks(async (ledger, file) => {
      const second = await sqlite({ file })
      try {
        await using({ signer, ledger, batcher }, (one) =>
          using({ signer, ledger: second, batcher }, async (two) => {
            const payments = await kept(one, 40)
            const [gain, settlements] = await earned(() =>
              Promise.all(
                payments.map(async (payment, i) => {
                  await sleep(i * 4)
                  return settle(i % 2 ? one : two, payment)
                }),
              ),
            )
            assert.deepEqual(states(settlements), { settled: 40 })
            assert.equal(gain, 40n * PRICE)
            const sent = payments.flatMap((payment) => prepared(payment).map(({ data }) => data))
            const numbers = new Set(sent.map(({ nonce }) => nonce))
            const hashes = new Set(sent.map(({ hash }) => hash))
            assert.equal(numbers.size, hashes.size, 'no number has two transactions')
            assert(numbers.size > 1)
          }),
        )
        assert.deepEqual(await leftovers(ledger), [])
      } finally {
        await second.close()
      }
    })
  })

  test('a number that a dead one took and never used is filled by whoever waits behind it', async () => {
    const signer = await key()
    await withBooks(async (ledger) => {
      const claim = (nonce: number): ReturnType<Ledger['transfer']> =>
        ledger.transfer({
          key: `nonce/${NETWORK}/${lower(signer.address)}/${nonce}`,
          purpose: 'nonce',
          asset: 'nonce',
          amount: 0n,
          legs: [{ debit: 'world/nonces', credit: 'world/sent' }],
          leaseUntilAt: Date.now() + 300,
          note: {},
        })
      await claim(0)
      await claim(1)
      await using({ signer, ledger, bumpAfterMs: 100 }, async (rail) => {
        const [one] = await kept(rail, 1)
        assert(one)
        const [gain, settlement] = await earned(() => settle(rail, one))
        assert.equal(settlement.state, 'settled')
        assert.equal(gain, PRICE)
        assert.equal(prepared(one)[0]?.data['nonce'], 2)
      })
    })
  })

  test('bytes that a dead one wrote and did not send are sent by whoever waits behind them', async () => {
    const signer = await key()
    await withBooks(async (ledger) => {
      let lost: Kept | undefined
      const [gain] = await earned(async () => {
        await using(
          { signer, ledger, settleTimeoutMs: 0, fetch: gatekeeper(() => 'die') },
          async (rail) => {
            ;[lost] = await kept(rail, 1)
            assert(lost)
            assert.equal((await settle(rail, lost)).state, 'unknown')
          },
        )
        await using({ signer, ledger, bumpAfterMs: 100 }, async (rail) => {
          const [next] = await kept(rail, 1)
          assert(next && lost)
          assert.equal((await settle(rail, next)).state, 'settled')
          const found = await find(rail, lost)
          assert(found?.state === 'settled')
          assert.equal(found.reference, prepared(lost)[0]?.data['hash'])
        })
      })
      assert.equal(gain, 2n * PRICE)
    })
  })
})

async function leftovers(ledger: Ledger): Promise<readonly string[]> {
  let keys: readonly string[] = []
  // The last word of a number is written behind the answer.
  for (let tries = 0; tries < 50; tries++) {
    keys = (await ledger.pending()).map((held) => held.key)
    if (keys.length === 0) break
    await sleep(10)
  }
  return keys
}

describe('nodes that are not to be believed', () => {
  test('a block that is taken back before it is deep enough settles nothing; the payment is sent again', async () => {
    await using({ confirmations: 3, bumpAfterMs: 100 }, async (rail) => {
      const [one] = await kept(rail, 1)
      assert(one)
      const [gain, settlement] = await earned(async () => {
        const open = settle(rail, one)
        await until(() => prepared(one).length > 0)
        const hash = prepared(one)[0]?.data['hash']
        await until(async () => (await chain.request('eth_getTransactionReceipt', [hash])) !== null)
        await sleep(60)
        await chain.request('anvil_reorg', [1, []])
        assert.equal(await chain.request('eth_getTransactionReceipt', [hash]), null)
        const pump = setInterval(() => void chain.mine().catch(() => undefined), 60)
        return open.finally(() => clearInterval(pump))
      })
      assert.equal(settlement.state, 'settled')
      assert.equal(gain, PRICE)
    })
  })

  test('a receipt of another transaction is not taken for ours', async () => {
    let other: unknown
    const liar = lying((method, _, url) =>
      method === 'eth_getTransactionReceipt' && url.endsWith('#liar') ? other : undefined,
    )
    await using({ rpc: [`${chain.rpc}/#liar`, chain.rpc], fetch: liar }, async (rail) => {
      const hash = await chain.send({ to: seller.address })
      other = await chain.request('eth_getTransactionReceipt', [hash])
      const [one] = await kept(rail, 1)
      assert(one)
      const settlement = await settle(rail, one)
      assert(settlement.state === 'settled')
      assert.notEqual(settlement.reference, hash)
    })
  })

  test('with a quorum the word of one node is not enough, and the word of two is', async () => {
    let blind = true
    const lie = lying((method, _, url) =>
      blind && method === 'eth_getTransactionReceipt' && url.endsWith('#second') ? null : undefined,
    )
    const rpc = [chain.rpc, `${chain.rpc}/#second`]
    const signer = await key()
    const [one, two] = await using({}, (rail) => kept(rail, 2))
    assert(one && two)
    await using({ signer, rpc, fetch: lie, quorum: 2, settleTimeoutMs: 200 }, async (rail) => {
      assert.equal((await settle(rail, one)).state, 'unknown')
      assert.equal((await find(rail, one))?.state, 'unknown')
    })
    blind = false
    await using({ signer, rpc, fetch: lie, quorum: 2 }, async (rail) => {
      assert.equal((await find(rail, one))?.state, 'settled')
      assert.equal((await settle(rail, two)).state, 'settled')
    })
    assert.throws(
      () =>
        evm({
          network: NETWORK,
          rpc: chain.rpc,
          payTo: seller.address,
          signer: account(),
          quorum: 2,
        }),
      /quorum/,
    )
  })

  test('one that is behind its own receipt does not make a payment of somebody else’s sending a failed one', async () => {
    let stale: unknown
    const lag = lying((method, [call, tag]) => {
      const asksState = method === 'eth_call' && JSON.stringify(call).includes('0f28c97d')
      return asksState && tag === 'latest' ? stale : undefined
    })
    await using({ fetch: lag }, async (rail) => {
      const [one] = await kept(rail, 1)
      assert(one)
      const { proof, offer } = one
      const { asset } = offer.details
      const nonce = { token: lower(asset), from: proof.from, nonce: proof.nonce }
      const clockCall = { target: MULTICALL3, data: '0x0f28c97d', allowFailure: false } as const
      const data = encodeBatch([stateCall(nonce), clockCall])
      stale = await chain.request('eth_call', [{ to: MULTICALL3, data }, 'latest'])
      const call = transferCall(nonce.token, proof, proof.signature)
      const hash = await chain.send({ to: asset, data: call.data })
      const settlement = await settle(rail, one)
      assert(settlement.state === 'settled')
      assert.equal(settlement.reference, hash)
    })
  })

  test('one that has a receipt and then has none leaves the outcome unknown, not failed', async () => {
    let flips = 0
    const flip = lying((method) =>
      method === 'eth_getTransactionReceipt' && flips++ % 2 === 1 ? null : undefined,
    )
    await using({ fetch: flip, confirmations: 2, settleTimeoutMs: 150 }, async (rail) => {
      const [one] = await kept(rail, 1)
      assert(one)
      assert.equal((await settle(rail, one)).state, 'unknown')
      await chain.mine(3)
      await until(async () => (await find(rail, one))?.state === 'settled')
    })
  })
})

describe('closing', () => {
  test('waits for settlements that are on their way, and takes no new ones', async () => {
    const rail = evm({
      network: NETWORK,
      rpc: chain.rpc,
      payTo: seller.address,
      signer: await key(),
      clock,
    })
    await rail.open()
    const [one, two] = await kept(rail, 2)
    assert(one && two)
    const settlement = await halted(async () => {
      const open = settle(rail, one)
      await until(async () => (await waiting()) > 0)
      const closing = rail.close()
      const late = await settle(rail, two)
      assert(late.state === 'failed')
      assert.equal(late.problem.code, 'rail-unavailable')
      await chain.mine()
      await closing
      return open
    })
    assert.equal(settlement.state, 'settled')
    assert.equal(prepared(two).length, 0)
  })

  test('does not wait for ever; the rest is found by the next', async () => {
    const signer = await key()
    let one: Kept | undefined
    const first = evm({
      network: NETWORK,
      rpc: chain.rpc,
      payTo: seller.address,
      signer,
      clock,
      closeTimeoutMs: 50,
    })
    await first.open()
    ;[one] = await kept(first, 1)
    assert(one)
    const left = one
    await halted(async () => {
      const open = settle(first, left)
      await until(async () => (await waiting()) > 0)
      await first.close()
      assert.equal((await open).state, 'unknown')
    })
    await using({ signer }, async (next) => {
      assert.equal((await find(next, left))?.state, 'settled')
    })
  })
})
