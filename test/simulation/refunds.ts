// One seed is one till: several processes of a seller pay money back from one account, by the refunds, the lane, the numbers
// and the watcher of src/rails/evm, over nodes that are not to be trusted. Whoever asks for a refund claims it in the books
// first, as engines do; the numbers of the account are leased from the same books.
import { keccak } from 'hash-wasm'
import type { Offer } from '../../src/core/offer.ts'
import { writeOffer } from '../../src/core/offer.ts'
import type { Held, Ledger, Log, Settlement } from '../../src/core/ports.ts'
import { PaymentError } from '../../src/core/problem.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { exact } from '../../src/rails/evm/exact.ts'
import { createFees, FEE_MAX } from '../../src/rails/evm/fees.ts'
import { createFlights } from '../../src/rails/evm/flights.ts'
import type { Details } from '../../src/rails/evm/forms.ts'
import type { Hex } from '../../src/rails/evm/hex.ts'
import { createLane } from '../../src/rails/evm/lane.ts'
import { leased } from '../../src/rails/evm/numbers.ts'
import { createQueues } from '../../src/rails/evm/queue.ts'
import { createRefund } from '../../src/rails/evm/refund.ts'
import type { Refund } from '../../src/rails/evm/refund.ts'
import { readNumber } from '../../src/rails/evm/rpc.ts'
import { createReader } from '../../src/rails/evm/token.ts'
import { calm, createDice, createProcess, createScheduler } from '../../src/testing/faults.ts'
import type { Dice, Process, Scheduler, Weather } from '../../src/testing/faults.ts'
import { createBooks, faulted } from './books.ts'
import { createLine, createNode, createSender } from './node.ts'

import type { Violation } from './watch.ts'

/** Wrappers that break a part, to see that the watch sees it. */
export interface TillBreaks {
  readonly refund?: (refund: Refund) => Refund
  readonly ledger?: (ledger: Ledger) => Ledger
}

export interface TillOptions {
  readonly seed: number
  readonly breaks?: TillBreaks
  readonly trace?: (line: string) => void
  /** Nothing goes wrong, but that processes die. */
  readonly mild?: boolean
}

export interface Till {
  readonly scheduler: Scheduler
  readonly violations: readonly Violation[]
  readonly gaps: ReadonlyMap<string, number>
  readonly counts: { deaths: number; refunded: number; failed: number; unknown: number }
  run(steps: number): Promise<void>
  rest(): Promise<void>
}

/** Money that is to go back. */
interface Due {
  readonly key: string
  readonly offer: Offer<Details>
  readonly payer: Hex
  readonly charged: bigint
  readonly amount: bigint
}

const NETWORK = 'eip155:84532'
const TREASURY: Hex = `0x${'7e'.repeat(20)}`
const START_AT = 1_800_000_000_000
const REST_MS = 20 * 60_000
const REST_STEPS_MAX = 60_000
const LEASE_MS = 60_000
const WAIT_MS = 30_000

export function createTill(options: TillOptions): Till {
  const { seed, breaks = {}, trace } = options
  const dice = createDice(seed)
  const scheduler = createScheduler({
    dice: dice.fork(),
    startAt: START_AT,
    ...(trace && { trace }),
  })
  const some = (most: number): number =>
    !options.mild && dice.happens(0.6) ? dice.next() * most : 0
  const weather = (): Weather => ({
    refused: some(0.04),
    lost: some(0.04),
    crashed: some(0.004),
    slow: some(0.05),
    usualMs: dice.pick([5, 50, 400]),
    slowMs: dice.pick([2_000, 20_000]),
  })
  const [ledgerWeather, nodeWeather] = [weather(), weather()]
  const reorganisations = some(0.8)
  const stale = some(0.2)
  let inclusion = options.mild ? 0.9 : dice.pick([0.9, 0.6, 0.2])
  const node = createNode(scheduler, dice.fork(), () => inclusion)
  const books = createBooks(dice.happens(0.5) ? 'verbs' : 'model')
  const worldClock = { now: () => scheduler.now(), sleep: () => Promise.resolve() }
  const truth = books.at(worldClock)
  const list = duesOf(dice, scheduler.now())
  const violations: Violation[] = []
  const gaps = new Map<string, number>()
  const counts = { deaths: 0, refunded: 0, failed: 0, unknown: 0 }
  let resting = false
  let live: Process[] = []

  function violation(kind: string, detail: string): void {
    if (kind === 'undone') gaps.set(kind, (gaps.get(kind) ?? 0) + 1)
    else violations.push({ kind, detail, step: scheduler.steps })
  }

  async function sell(): Promise<void> {
    for (const { key, charged } of list) {
      const legs = [{ debit: 'world/chain', credit: 'sales' }]
      const rest = { purpose: 'sale', leaseUntilAt: 0, note: {} }
      await truth.transfer({ key: `sale/${key}`, asset: 'usdc', amount: charged, legs, ...rest })
      await truth.post(`sale/${key}`)
    }
    // Sometimes there is too little in the till until somebody brings more.
    const sum = list.reduce((total, { amount }) => total + amount, 0n)
    node.fund(TREASURY, dice.happens(0.8) ? sum : sum / 2n)
  }

  function supervise(name: string, number = 1): void {
    const process = createProcess({
      name: `${name}.${number}`,
      scheduler,
      dice: dice.fork(),
      aheadMs: resting ? 0 : Math.round((dice.next() - 0.5) * 2_000),
      onDeath() {
        counts.deaths++
        ending.abort()
        live = live.filter((one) => one !== process)
        scheduler.plan(dice.next() * (resting ? 1_000 : 20_000), `${name} starts`, () =>
          supervise(name, number + 1),
        )
      },
    })
    const ending = new AbortController()
    live.push(process)
    open(process, ending.signal).catch((error: unknown) => {
      if (!(error instanceof PaymentError)) violation('bug', `${name}: ${String(error)}`)
      process.die()
    })
  }

  async function open(process: Process, signal: AbortSignal): Promise<void> {
    const { clock } = process
    const slow = faulted(books.at(clock), process, ledgerWeather)
    const ledger = breaks.ledger?.(slow) ?? slow
    const line = { process, node, dice: dice.fork(), weather: nodeWeather }
    const rpc = createLine({ ...line, stale: () => (resting ? 0 : stale) })
    const reader = createReader(rpc)
    const flights = createFlights({ reader, clock, signal, confirmations: 1, quorum: 1 })
    const count = async (tag: string): Promise<number> =>
      Number(await rpc.read('eth_getTransactionCount', [TREASURY, tag], readNumber))
    const sender = createLane({
      account: createSender(TREASURY),
      chainId: 84_532,
      rpc,
      fees: createFees(rpc, clock, FEE_MAX),
      numbers: leased(ledger, `nonce/${TREASURY}`, count, clock),
      flights,
      clock,
      bumpAfterMs: 15_000,
      landed: () => undefined,
      idle: () => undefined,
    })
    await sender.open()
    const queues = createQueues()
    const plain = createRefund({ sender, rpc, reader, clock, queues, flights, waitMs: WAIT_MS })
    const refund = breaks.refund?.(plain) ?? plain
    await Promise.all(Array.from({ length: 2 }, () => clerk(process, ledger, refund)))
  }

  async function clerk(process: Process, ledger: Ledger, refund: Refund): Promise<void> {
    for (let rounds = 0; ; rounds++) {
      const due = dice.pick(list)
      await one(due, process, ledger, refund).catch((error: unknown) => {
        if (!(error instanceof PaymentError)) violation('bug', String(error))
      })
      await process.clock.sleep(500 + dice.next() * 5_000)
    }
  }

  /** Claim, send, post: or go on with what was written ahead by whoever is gone. */
  async function one(due: Due, { clock }: Process, ledger: Ledger, refund: Refund): Promise<void> {
    const { key, offer, payer, amount } = due
    const made = await ledger.transfer({
      key,
      purpose: 'refund',
      asset: 'usdc',
      amount,
      legs: [{ debit: 'sales', credit: 'world/chain' }],
      leaseUntilAt: clock.now() + LEASE_MS,
      note: { payer, offer: writeOffer(offer) },
    })
    if (made.outcome === 'insufficient') return violation('books', 'The sales are short.')
    const claim = made.outcome === 'made' ? made.claim : idle(made.held, clock.now())
    if (claim === undefined) return
    const log: Log = {
      read: async () => (await ledger.find(key))?.steps ?? [],
      write: (step) => ledger.step(key, step, claim),
    }
    const money = { asset: offer.amount.asset, amount }
    await conclude(due, await refund(offer, payer, money, key, log), ledger, claim)
  }

  async function conclude(
    { key, payer }: Due,
    settlement: Settlement,
    ledger: Ledger,
    claim: number,
  ): Promise<void> {
    if (settlement.state === 'settled') {
      const { reference } = settlement
      if (!node.wasMined(reference)) violation('unbacked', `${key} was not paid back.`)
      await ledger.post(key, undefined, { type: 'settled', data: { reference, payer } }, claim)
      counts.refunded++
    }
    if (settlement.state === 'failed') {
      counts.failed++
      await ledger.void(key, settlement.problem.code, claim)
    }
    if (settlement.state === 'unknown') {
      counts.unknown++
      await ledger.step(key, { type: 'unknown', data: {} }, claim)
    }
  }

  function look(): void {
    for (const { key, payer, amount, charged } of list) {
      const moved = node.movedTo(payer)
      const sum = moved.reduce((total, one) => total + one.amount, 0n)
      if (moved.length > 1)
        violation('refunded-twice', `${key} was paid back ${moved.length} times.`)
      else if (sum > charged)
        violation('refunded-above', `${key} was paid back ${sum} of ${charged}.`)
      else if (sum > amount) violation('refunded-above', `${key} was paid back more than was said.`)
    }
  }

  function sky(): void {
    scheduler.plan(1_000 + dice.next() * 8_000, 'sky', () => {
      if (resting) return
      sky()
      if (dice.happens(reorganisations)) node.reorganise()
      if (dice.happens(reorganisations)) node.forget()
      if (dice.happens(0.1)) node.fund(TREASURY, 10_000n)
      if (dice.happens(0.1) && live.length > 0) dice.pick(live).die()
    })
  }

  async function close(): Promise<void> {
    const { problems } = await verifyBooks(truth)
    for (const problem of problems) violation('books', problem)
    for (const { key, payer } of list) {
      const held = await truth.find(key)
      if (held?.state === 'pending') violation('open', `${key} is open: ${typesOf(held)}.`)
      if (held?.state !== 'posted') continue
      const [moved] = node.movedTo(payer)
      const reference = held.steps.findLast(({ type }) => type === 'settled')?.data['reference']
      if (moved) continue
      if (typeof reference === 'string' && node.undone.has(reference))
        violation('undone', `${key} came undone.`)
      else violation('unbacked', `${key} is posted, and nothing was paid back.`)
    }
    if (node.waiting() > 0)
      violation('hole', `${node.waiting()} transactions wait behind a number that nobody sends.`)
  }

  async function step(): Promise<boolean> {
    const any = await scheduler.step()
    look()
    return any
  }

  const sold = sell()
  for (let i = 0; i < 2 + dice.below(2); i++) supervise(`clerk${i}`)
  sky()

  return {
    scheduler,
    violations,
    gaps,
    counts,
    async run(steps) {
      // Its program is compiled once in a process, out of the scheduler's sight.
      await keccak('', 256)
      await sold
      for (let i = 0; i < steps; i++) if (violations.length > 0 || !(await step())) return
    },
    async rest() {
      resting = true
      const restAt = scheduler.now()
      Object.assign(ledgerWeather, calm)
      Object.assign(nodeWeather, calm)
      inclusion = 0.9
      node.fund(TREASURY, 10n ** 12n)
      for (let steps = 0; scheduler.now() < restAt + REST_MS; steps++) {
        if (violations.length > 0 || !(await step())) break
        if (steps > REST_STEPS_MAX) return violation('rest', 'The world does not come to rest.')
        if (steps % 200 === 0 && (await settledAll())) break
      }
      if (violations.length === 0) await close()
    },
  }

  async function settledAll(): Promise<boolean> {
    if (node.waiting() > 0 || (await truth.pending()).some(({ key }) => key.startsWith('refund/')))
      return false
    for (const { key } of list) if ((await truth.find(key))?.state !== 'posted') return false
    return true
  }
}

/** The claim, if nobody works on it any more and something was written ahead. */
function idle({ state, steps, leaseUntilAt, claim }: Held, now: number): number | undefined {
  if (state !== 'pending' || steps.length === 0) return undefined
  return leaseUntilAt <= now || steps.at(-1)?.type === 'unknown' ? claim : undefined
}

function duesOf(dice: Dice, now: number): readonly Due[] {
  const method = exact({ network: NETWORK, payTo: TREASURY })
  return Array.from({ length: 4 + dice.below(8) }, (_, i): Due => {
    const charged = BigInt(10_000 * (1 + dice.below(4)))
    const [terms] = method.quote({ currency: 'USD', amount: charged, scale: 6 })
    if (!terms) throw new Error('The network of the simulation can be quoted.')
    const url = 'http://shop.test/'
    const resource = { realm: '', method: 'GET', authority: '', path: '/', query: '', url }
    return {
      key: `refund/${i}`,
      offer: { ...terms, id: 'x', resource, expiresAt: now },
      payer: `0x${(i + 16).toString(16).repeat(20)}`,
      charged,
      amount: dice.happens(0.7) ? charged : charged / 2n,
    }
  })
}

function typesOf({ steps }: Held): string {
  return steps.map(({ type }) => type).join(', ')
}
