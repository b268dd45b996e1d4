import { hash as digest } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import { bookCost } from '../../core/cost.ts'
import { canonical } from '../../core/json.ts'
import type { Money, Price } from '../../core/money.ts'
import { toMoney } from '../../core/money.ts'
import type { Held, Ledger, Log, Settlement, Transfer } from '../../core/ports.ts'
import { WORLD } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { lastOf } from '../../core/series.ts'
import { uint } from './abi.ts'
import type { Final } from './final.ts'
import { RAIL } from './forms.ts'
import type { Hex } from './hex.ts'
import { ZERO_ADDRESS, isAddress, lower, quantity } from './hex.ts'
import type { Network, Token } from './networks.ts'
import { assetOf, tokenAt } from './networks.ts'
import type { PlainParts } from './plain.ts'
import { createPlain } from './plain.ts'
import type { Queues } from './queue.ts'
import { readHex } from './rpc.ts'
import { balanceCall } from './token.ts'

/** How often a token is swept at most, unless the rule says otherwise. */
export const SWEEP_EVERY_MS = 86_400_000
/** How long one process may be at a sweep, and how much of that must be left to write ahead. */
const TURN_MS = 180_000
const TURN_MARGIN_MS = 20_000

/** When money leaves the key that earns, and whereto. It is read once: nothing that runs can change it. */
export interface SweepRule {
  /** The cold account. Sealed in the books when it is first used. */
  readonly treasury: string
  /** More than this lies there when a sweep is made: of each token that stands for the currency. */
  readonly above: Price
  /** What stays: refunds are paid from it. At most `above`. */
  readonly keep: Price
  /** At most one sweep of a token in this time; a day if absent. */
  readonly everyMs?: number
  /** The fingerprint of a treasury that is another than the books know: the second step of a change. */
  readonly treasuryConfirmed?: string
}

/** How it stands with one token. */
export type Swept = { readonly code: string } & (
  | {
      /** `open`: it is being sent, or nobody knows yet whether it was; the next call goes on with it. */
      readonly state: 'swept' | 'open' | 'failed'
      readonly key: string
      readonly amount: Money
      /** The transaction, once it has arrived. */
      readonly reference?: string
    }
  /** There is no more than `above`, or the last sweep is too new. */
  | { readonly state: 'below' | 'early' }
)

/** What sweeping needs. */
export interface SweepParts extends PlainParts {
  readonly rule: SweepRule
  readonly network: Network
  /** As offers name it: its key sends. */
  readonly payee: string
  readonly ledger: Ledger
  readonly final: () => Promise<Final | undefined>
  readonly queues: Queues
}

/** Moves money from the key that earns to the cold account, by the rule. */
export interface Sweep {
  /**
   * Holds the treasury against the books, and seals it at first use.
   * @throws {PaymentError} `misconfigured` when it is another than before, and not confirmed.
   */
  open(): Promise<void>
  /** One look at each token. Safe in any number of processes. @throws {PaymentError} when chain or books cannot be asked. */
  sweep(): Promise<readonly Swept[]>
}

interface Task {
  readonly token: Token
  readonly above: bigint
  readonly keep: bigint
}

/** Makes the sweeping. @throws {RangeError} with what to do, when the rule cannot be. */
export function createSweep(parts: SweepParts): Sweep {
  const { ledger, network, clock, queues, rpc, sender } = parts
  const rule = Object.freeze({ ...parts.rule })
  const treasury = readTreasury(rule.treasury, parts)
  const everyMs = rule.everyMs ?? SWEEP_EVERY_MS
  const tasks = tasksOf(rule, network)
  const plain = createPlain(parts, 'sweep')
  const from = `${network.id}/${sender.address}`
  const seals = `sweep-seal/${from}`
  const print = printOf(network, sender.address, treasury)

  /** The treasury that stands in the books, and where the next one would stand. */
  async function sealed(): Promise<{ readonly seal: Held | undefined; readonly next: number }> {
    const last = await lastOf(ledger, seals)
    if (!last || last.held.state === 'posted')
      return { seal: last?.held, next: (last?.number ?? 0) + 1 }
    // Somebody died while he wrote it.
    return { seal: await ledger.find(`${seals}/${last.number - 1}`), next: last.number }
  }

  async function checkSeal(): Promise<void> {
    const { seal } = await sealed()
    if (seal?.purpose !== print) throw changed(seal)
  }

  async function open(): Promise<void> {
    const { seal, next } = await sealed()
    if (seal?.purpose === print) return
    if (seal && rule.treasuryConfirmed?.toLowerCase() !== print) throw changed(seal)
    const key = `${seals}/${next}`
    const made = await ledger.transfer({
      key,
      purpose: print,
      asset: 'seal',
      amount: 0n,
      legs: [{ debit: `${WORLD}sweeps`, credit: `${WORLD}seals` }],
      leaseUntilAt: clock.now() + TURN_MS,
      note: { kind: 'seal', treasury, from: sender.address },
    })
    if (made.outcome === 'foreign') throw changed(made.held)
    await ledger.post(key)
    await checkSeal()
  }

  function changed(seal: Held | undefined): PaymentError {
    const before = seal?.note['treasury']
    return new PaymentError(
      'misconfigured',
      `The treasury for sweeps from ${sender.address} was ${typeof before === 'string' ? before : 'never sealed'}, and the settings say ${treasury}. Nothing is swept. If it was you who changed it, set "treasuryConfirmed" to ${print}.`,
    )
  }

  async function sweepOne(task: Task): Promise<Swept> {
    const { code } = task.token
    const prefix = `sweep/${from}/${lower(task.token.address)}`
    const last = await lastOf(ledger, prefix)
    if (last?.held.state === 'pending') return await work(last.held.key, task)
    const fresh = last?.held.state === 'posted' && clock.now() - last.held.madeAt < everyMs
    if (fresh) return { code, state: 'early' }
    const found = await balance(task.token)
    if (found <= task.above) return { code, state: 'below' }
    // What was voided was never sent, and its number is free.
    const number = last?.held.state === 'voided' ? last.number : (last?.number ?? 0) + 1
    const transfer = transferOf(`${prefix}/${number}`, task.token, found - task.keep)
    await ledger.transfer(transfer)
    return await work(transfer.key, task)
  }

  /** What was there in the final block and is there still. */
  async function balance({ address }: Token): Promise<bigint> {
    const end = await parts.final()
    if (!end)
      throw new PaymentError('rail-unavailable', 'No block of the chain is final yet.', {
        retryable: true,
      })
    const { target, data } = balanceCall(lower(address), sender.address)
    const [then, now] = await Promise.all(
      [quantity(end.block), 'latest'].map((tag) =>
        rpc.read('eth_call', [{ to: target, data }, tag], (said) => {
          const amount = uint(readHex(said))
          if (amount === undefined) throw new Error('not a balance')
          return amount
        }),
      ),
    )
    assert(then !== undefined && now !== undefined, 'two questions have two answers')
    return then < now ? then : now
  }

  function transferOf(key: string, token: Token, amount: bigint): Transfer {
    const asset = assetOf(network, token)
    const at = `${WORLD}${RAIL}/${network.id}`
    return {
      key,
      purpose: 'sweep',
      asset: asset.id,
      amount,
      legs: [{ debit: `${at}/${treasury}`, credit: `${at}/${parts.payee}` }],
      leaseUntilAt: clock.now() + TURN_MS,
      note: {
        kind: 'sweep',
        rail: RAIL,
        network: network.id,
        payer: sender.address,
        to: treasury,
        money: { ...asset },
      },
    }
  }

  /** One process at a time: what one finds out must not be outrun by what another sends. */
  async function work(key: string, { token }: Task): Promise<Swept> {
    const untilAt = clock.now() + TURN_MS
    const turn = await ledger.transfer({
      key: `${key}/turn`,
      purpose: 'sweep-turn',
      asset: 'sweep-turn',
      amount: 0n,
      legs: [{ debit: `${WORLD}sweeps`, credit: `${WORLD}turns` }],
      leaseUntilAt: untilAt,
      note: { kind: 'sweep-turn' },
    })
    if (turn.outcome !== 'made') return tell(await heldOf(key), token)
    try {
      const held = await heldOf(key)
      if (held.state === 'pending') await send(held, token, untilAt - TURN_MARGIN_MS)
      return tell(await heldOf(key), token)
    } finally {
      // What is not given up now runs out.
      await ledger.void(`${key}/turn`, 'turn-ended', turn.claim).catch(() => undefined)
    }
  }

  async function send(held: Held, token: Token, untilAt: number): Promise<void> {
    const { amount, note, key, claim, steps } = held
    const { address } = token
    // An order of the time before the treasury was changed: what was signed for it may be on its way.
    if (note['to'] !== treasury) {
      if (steps.length > 0) throw left(key)
      await ledger.void(key, 'misconfigured', claim)
      return
    }
    const found = await plain({ token: lower(address), to: treasury, amount }, logOf(held, untilAt))
    if (found.state !== 'unknown') await close(held, found)
  }

  /** Writes ahead only while nobody else can have the turn. */
  function logOf({ key, claim }: Held, untilAt: number): Log {
    return {
      read: async () => (await heldOf(key)).steps,
      async write(step) {
        if (clock.now() >= untilAt)
          throw new PaymentError('payment-in-flight', 'The time for this sweep is over.')
        await ledger.step(key, step, claim)
      },
    }
  }

  async function close(
    { key, claim }: Held,
    found: Exclude<Settlement, { readonly state: 'unknown' }>,
  ): Promise<void> {
    const { cost } = found
    if (cost !== undefined)
      await bookCost(parts, `${key}/cost`, { key }, { rail: RAIL, network: network.id }, cost)
    if (found.state === 'settled') {
      const { reference, settledAt } = found
      const data = { reference, settledAt, ...(cost !== undefined && { cost: cost.toString() }) }
      await ledger.post(key, undefined, { type: 'settled', data }, claim)
    } else if ((await heldOf(key)).steps.length === 0)
      await ledger.void(key, found.problem.code, claim)
    else {
      const { code, detail } = found.problem
      await ledger.post(key, 0n, { type: 'failed', data: { code, detail } }, claim)
    }
  }

  async function heldOf(key: string): Promise<Held> {
    const held = await ledger.find(key)
    assert(held, 'a sweep stands in the books')
    return held
  }

  function tell({ key, amount, state, posted, steps }: Held, token: Token): Swept {
    const told = { code: token.code, key, amount: { asset: assetOf(network, token), amount } }
    if (state === 'pending') return { ...told, state: 'open' }
    if (state === 'voided' || posted === 0n) return { ...told, state: 'failed' }
    const reference = steps.findLast(({ type }) => type === 'settled')?.data['reference']
    return { ...told, state: 'swept', ...(typeof reference === 'string' && { reference }) }
  }

  return {
    open,
    sweep: () =>
      queues.run('sweep', async () => {
        await checkSeal()
        const done: Swept[] = []
        for (const task of tasks) done.push(await sweepOne(task))
        return done
      }),
  }
}

function left(key: string): PaymentError {
  return new PaymentError(
    'misconfigured',
    `The sweep ${key} to the treasury before this one was signed and has no outcome. Nothing is swept until the former treasury is set again and it has one.`,
  )
}

/** What is confirmed: from where to where, on which chain. Lower-case hex of SHA-256. */
function printOf({ id }: Network, from: Hex, treasury: Hex): string {
  return digest('sha256', canonical({ from, network: id, treasury }), 'hex')
}

function readTreasury(address: string, { network, sender, payee }: SweepParts): Hex {
  if (!isAddress(address) || lower(address) === ZERO_ADDRESS)
    throw new RangeError(`"treasury" is "${address}", which is no account.`)
  if (lower(address) === sender.address || tokenAt(network, address))
    throw new RangeError('"treasury" must be another account than the one that is swept.')
  if (sender.address !== payee.toLowerCase())
    throw new RangeError('Sweeping needs the key of "payTo": give it as "refundSigner".')
  return lower(address)
}

function tasksOf({ above, keep, everyMs = 1 }: SweepRule, network: Network): readonly Task[] {
  const tasks = network.tokens
    .filter(({ code, currency }) => [code, currency].includes(above.currency))
    .map((token) => {
      const asset = assetOf(network, token)
      return {
        token,
        above: toMoney(above, asset).amount,
        keep: toMoney(keep, asset).amount,
      }
    })
  if (tasks.length === 0)
    throw new RangeError(`No token stands for ${above.currency}, which "above" is in.`)
  if (tasks.some((task) => task.keep > task.above))
    throw new RangeError('"keep" is more than "above": then there would be nothing to sweep.')
  if (!(everyMs > 0)) throw new RangeError('"everyMs" is a time above zero.')
  return tasks
}
