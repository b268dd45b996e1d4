import { isObject } from '../core/json.ts'
import type { Json } from '../core/json.ts'

/** What goes wrong in the sandbox, as long as it is set. */
export interface Faults {
  /** Every transaction reaches the chain so much later. */
  readonly delayMs: number
  /** So many of the next transactions are accepted and never reach the chain. */
  readonly drop: number
  /** So many of the next transactions reach the chain, but the node's answer to the seller is lost. */
  readonly loseSends: number
  /** So many of the next paid answers are cut off before their first byte; the money has moved. */
  readonly loseAnswers: number
  /** The seller's connections to the node break. */
  readonly deadRpc: boolean
  /** The seller's Lightning node answers so much later. */
  readonly nodeDelayMs: number
  /** So many of the next invoices are made, and the node's answer is lost. */
  readonly loseInvoices: number
  /** Lightning payments stay where they are on the way, until it is switched off. */
  readonly stuckHtlcs: boolean
  /** No Lightning payment finds a way to the seller. */
  readonly noRoute: boolean
}

/** Faults that are used up one by one. */
type Counted = 'drop' | 'loseSends' | 'loseAnswers'

/** The switches. */
export interface Switches {
  now(): Faults
  /** Sets what is named and leaves the rest. Undefined, or a sentence what is wrong with it; then nothing is set. */
  set(said: Json): string | undefined
  /** Whether this one is to go wrong; counts it. */
  take(fault: Counted): boolean
  reset(): void
}

/** Longest delay, so that nothing is held for ever. */
const DELAY_MS_MAX = 600_000

/** Most of a kind at once. */
const COUNT_MAX = 1_000_000

/** Most invoices that are lost in a row: each stands in a list. */
const INVOICES_MAX = 10_000

const none: Faults = {
  delayMs: 0,
  drop: 0,
  loseSends: 0,
  loseAnswers: 0,
  deadRpc: false,
  nodeDelayMs: 0,
  loseInvoices: 0,
  stuckHtlcs: false,
  noRoute: false,
}

const most: Partial<Record<keyof Faults, number>> = {
  delayMs: DELAY_MS_MAX,
  nodeDelayMs: DELAY_MS_MAX,
  loseInvoices: INVOICES_MAX,
}

/** Switches, all off. Who has to do something about it is told of each change. */
export function createSwitches(changed: (faults: Faults) => void = () => undefined): Switches {
  let faults = none
  return {
    now: () => faults,
    set(said) {
      const read = readFaults(said)
      if (typeof read === 'string') return read
      faults = { ...faults, ...read }
      changed(faults)
      return undefined
    },
    take(fault) {
      if (faults[fault] === 0) return false
      faults = { ...faults, [fault]: faults[fault] - 1 }
      return true
    },
    reset() {
      faults = none
      changed(faults)
    },
  }
}

function readFaults(said: Json): Partial<Faults> | string {
  if (!isObject(said)) return 'Send a JSON object, for instance {"drop": 1}.'
  for (const [name, value] of Object.entries(said)) {
    const wrong = refuse(name, value)
    if (wrong !== undefined) return wrong
  }
  return said
}

function refuse(name: string, value: Json): string | undefined {
  if (!Object.hasOwn(none, name))
    return `There is no fault "${name.slice(0, 40)}". There are: ${Object.keys(none).join(', ')}.`
  if (typeof none[name as keyof Faults] === 'boolean')
    return typeof value === 'boolean' ? undefined : `"${name}" is true or false.`
  const max = most[name as keyof Faults] ?? COUNT_MAX
  const whole = Number.isInteger(value) && Number(value) >= 0 && Number(value) <= max
  return whole ? undefined : `"${name}" is a whole number between 0 and ${max}.`
}
