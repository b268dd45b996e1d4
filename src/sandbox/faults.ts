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

const none: Faults = { delayMs: 0, drop: 0, loseSends: 0, loseAnswers: 0, deadRpc: false }

/** Switches, all off. */
export function createSwitches(): Switches {
  let faults = none
  return {
    now: () => faults,
    set(said) {
      const read = readFaults(said)
      if (typeof read === 'string') return read
      faults = { ...faults, ...read }
      return undefined
    },
    take(fault) {
      if (faults[fault] === 0) return false
      faults = { ...faults, [fault]: faults[fault] - 1 }
      return true
    },
    reset() {
      faults = none
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
  if (name === 'deadRpc')
    return typeof value === 'boolean' ? undefined : '"deadRpc" is true or false.'
  const max = name === 'delayMs' ? DELAY_MS_MAX : COUNT_MAX
  const whole = Number.isInteger(value) && Number(value) >= 0 && Number(value) <= max
  return whole ? undefined : `"${name}" is a whole number between 0 and ${max}.`
}
