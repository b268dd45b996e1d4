// Books that outlive processes, the way a process sees them: slowly, with faults, and as its own.
import { hostname } from 'node:os'
import { createLedger, perform } from '../../src/ledger/commands.ts'
import { memory } from '../../src/ledger/memory.ts'
import { createPage } from '../../src/ledger/page.ts'
import type { Position, Standing, Store } from '../../src/ledger/page.ts'
import { GENESIS } from '../../src/ledger/row.ts'
import type { Line } from '../../src/ledger/row.ts'
import type { JsonObject } from '../../src/core/json.ts'
import { isObject } from '../../src/core/json.ts'
import type { Clock, Held, Ledger, Vault } from '../../src/core/ports.ts'
import { PaymentError } from '../../src/core/problem.ts'
import { ownerUntil } from '../../src/payer/owner.ts'
import type { Process, Weather } from '../../src/testing/faults.ts'

/** Durable books. Nothing here waits, and nothing fails. */
export interface Books {
  /** The ledger as written to by somebody with that clock. */
  at(clock: Clock): Ledger
}

/** `model` is src/ledger/memory.ts, `verbs` the verbs of the real stores over maps in place of tables. */
export function createBooks(kind: 'model' | 'verbs'): Books {
  return kind === 'model' ? createModel() : createVerbs()
}

function createModel(): Books {
  let current: Clock | undefined
  const ledger = memory({ clock: { now: () => current?.now() ?? 0, sleep: () => never } })
  return {
    at(clock) {
      return through(ledger, (_, __, verb) => {
        // The model decides before it first waits, so that the clock is still the caller's.
        current = clock
        return verb()
      })
    },
  }
}

/** The ledger with something around each verb. */
function through(
  ledger: Ledger,
  around: <T>(name: string, args: readonly unknown[], verb: () => Promise<T>) => Promise<T>,
): Ledger {
  return {
    transfer: (...args) => around('transfer', args, () => ledger.transfer(...args)),
    step: (...args) => around('step', args, () => ledger.step(...args)),
    post: (...args) => around('post', args, () => ledger.post(...args)),
    void: (...args) => around('void', args, () => ledger.void(...args)),
    expire: (...args) => around('expire', args, () => ledger.expire(...args)),
    find: (...args) => around('find', args, () => ledger.find(...args)),
    pending: (...args) => around('pending', args, () => ledger.pending(...args)),
    under: (...args) => around('under', args, () => ledger.under(...args)),
    balances: (...args) => around('balances', args, () => ledger.balances(...args)),
    journal: (...args) => around('journal', args, () => ledger.journal(...args)),
    close: () => Promise.resolve(),
  }
}

const never = new Promise<never>(() => undefined)

function createVerbs(): Books {
  const store = createStore()
  return {
    at: (clock) =>
      createLedger(
        {
          close: () => Promise.resolve(),
          async send(command) {
            const page = createPage(store, { sequence: 0, hash: GENESIS })
            const answer = perform(page, command)
            page.flush()
            return answer
          },
        },
        clock,
      ),
  }
}

function createStore(): Store {
  const lines: Line[] = []
  const positions = new Map<string, Position>()
  const standings = new Map<string, Standing>()
  const pending = (): readonly Position[] =>
    [...positions.values()]
      .filter(({ state }) => state === 'pending')
      .toSorted((a, b) => a.made - b.made)
  return {
    tail: () => lines.at(-1),
    line: (sequence) => lines[sequence - 1],
    position: (key) => positions.get(key),
    standing(account, asset) {
      const found = standings.get(`${account}\n${asset}`)
      return found && { ...found }
    },
    pending: () => pending().map(({ key }) => key),
    keys: (prefix, after, limit) =>
      [...positions.keys()]
        .filter((key) => key.startsWith(prefix) && key > after)
        .toSorted()
        .slice(0, limit),
    standings: (account) =>
      [...standings.values()]
        .filter((one) => one.account === (account ?? one.account))
        .map((one) => ({ ...one })),
    lines: (after, limit) => lines.slice(after, after + limit),
    write(changes) {
      lines.push(...changes.lines)
      for (const { made, key, state, posted, steps } of changes.positions)
        positions.set(key, { made, key, state, posted, steps })
      for (const one of changes.standings) standings.set(`${one.account}\n${one.asset}`, { ...one })
    },
  }
}

/** How the books fail. */
const unavailable = (): Error =>
  new PaymentError('store-unavailable', 'The disk is full.', { retryable: true })

/** The books as a process has them: each verb takes its time, fails before the commit or after it, or kills. */
export function faulted(ledger: Ledger, process: Process, weather: Weather): Ledger {
  return through(ledger, (name, args, work) => {
    const what = `ledger.${name}${told(args)}`
    return process.effect({ what, work, fault: unavailable, weather, lane: 'ledger' })
  })
}

/** Where answers lie, for all processes of a seller. */
export interface Shelf {
  at(process: Process, weather: Weather): Vault
  /** Whether the answer of that sale lies here. */
  has(key: string): boolean
}

/** Makes a vault that outlives processes and is as slow and faulty as the books. */
export function createShelf(): Shelf {
  const kept = new Map<string, { readonly sealed: Uint8Array; readonly untilAt: number }>()
  return {
    has: (key) => [...kept.keys()].some((name) => name === key || name.startsWith(`${key}/`)),
    at(process, weather) {
      const slowly = <T>(what: string, work: () => T): Promise<T> =>
        process.effect({ what, work, fault: unavailable, weather })
      return {
        put: (key, sealed, untilAt) =>
          slowly('vault.put', () => void kept.set(key, { sealed, untilAt })),
        get: (key) =>
          slowly('vault.get', () => {
            const one = kept.get(key)
            return one && one.untilAt > process.clock.now() ? one.sealed : undefined
          }),
      }
    },
  }
}

/** Which transfer, and which step: enough for a reader of the trace. */
function told(args: readonly unknown[]): string {
  const words = args.slice(0, 3).flatMap((arg) => {
    if (typeof arg === 'string') return [arg.slice(-8)]
    if (!isObject(arg)) return []
    const { key, type } = arg
    return [
      ...(typeof key === 'string' ? [key.slice(-8)] : []),
      ...(typeof type === 'string' ? [type] : []),
    ]
  })
  return words.map((word) => ` ${word}`).join('')
}

/** Where a simulated payer runs. */
export interface Seat {
  readonly run: string
  readonly machine: string
  /** Whether the process that once ran under this name on that machine is still there. */
  lives(run: string): boolean
}

/** No process has this number. */
const PID_OF_NOBODY = 2 ** 30

/**
 * The payer's modules keep, for the whole of a real process, who they are and what they work on. So every simulated
 * process has keys of its own in memory, and finds owners as it would find them on its own machine.
 */
export function seated(ledger: Ledger, seat: Seat): Ledger {
  const suffix = `@${seat.run}`
  const me = ownerUntil(0)
  const bare = (text: string): string => text.replaceAll(suffix, '')
  const mine = (key: string): string => (key.startsWith('purchase/') ? key + suffix : key)

  const signed = (owner: JsonObject): JsonObject => ({
    ...owner,
    run: seat.run,
    host: seat.machine,
  })
  const seen = (owner: JsonObject): JsonObject => {
    const { run } = owner
    if (typeof run !== 'string') return owner
    if (run === seat.run) return { ...owner, run: me.run }
    if (owner['host'] !== seat.machine) return { ...owner, host: 'elsewhere' }
    return { ...owner, host: hostname(), pid: seat.lives(run) ? process.pid : PID_OF_NOBODY }
  }
  const shown = (held: Held): Held => ({
    ...held,
    key: mine(held.key),
    note: isObject(held.note['owner'])
      ? { ...held.note, owner: seen(held.note['owner']) }
      : held.note,
    steps: held.steps.map((step) =>
      step.type === 'adopted' ? { ...step, data: seen(step.data) } : step,
    ),
  })

  return {
    ...ledger,
    async transfer(given) {
      const owner = given.note['owner']
      const claim = await ledger.transfer({
        ...given,
        key: bare(given.key),
        purpose: bare(given.purpose),
        note: isObject(owner) ? { ...given.note, owner: signed(owner) } : given.note,
      })
      return 'held' in claim ? { ...claim, held: shown(claim.held) } : claim
    },
    step: (key, step, claim) => {
      const said = step.type === 'adopted' ? { ...step, data: signed(step.data) } : step
      return ledger.step(bare(key), said, claim)
    },
    post: (key, ...rest) => ledger.post(bare(key), ...rest),
    void: (key, ...rest) => ledger.void(bare(key), ...rest),
    expire: (key, ...rest) => ledger.expire(bare(key), ...rest),
    async find(key) {
      const held = await ledger.find(bare(key))
      return held && shown(held)
    },
    pending: async () => (await ledger.pending()).map(shown),
  }
}
