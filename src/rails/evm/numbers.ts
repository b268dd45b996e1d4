import type { Clock, Held, Ledger } from '../../core/ports.ts'
import { WORLD } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Hex } from './hex.ts'
import { isHex } from './steps.ts'

/** How long the taker of a number has until its bytes are written: they are signed in this time, by a device perhaps. */
export const NUMBER_LEASE_MS = 10_000
/** Most numbers that are tried in one go, and how many of them before the chain is asked how far it is. */
const TRIES_MAX = 256
const TRIES_BLIND = 4

/** The right to use one number (nonce) of a sending key. */
export interface Ticket {
  readonly nonce: number
  /** Notes the signed bytes, so that whoever finds the number unused can send them again. Throws when it was taken over. */
  write(raw: Hex, hash: Hex): Promise<void>
  /** Gives the number back: nothing was sent under it. */
  drop(): Promise<void>
  /** The chain has used the number. */
  close(): void
}

/** A number that the chain waits for: the bytes that were written for it, if any were. */
export interface Gap {
  readonly ticket: Ticket
  readonly raw?: Hex
}

/** Gives out the numbers of one sending key, each once. */
export interface Numbers {
  open(): Promise<void>
  take(): Promise<Ticket>
  /** The number was used by somebody who does not ask here. */
  skip(ticket: Ticket): Promise<void>
  /** Makes sure that numbers up to this one are not given any more. */
  passed(nonce: number): void
  /** What to do about a number that the chain waits for; undefined while somebody works on it. */
  gap(nonce: number): Promise<Gap | undefined>
}

/** How many transactions the account has sent, those that wait included or not. */
export type Count = (tag: 'latest' | 'pending') => Promise<number>

/** Numbers of a key that only this process uses. Another program's use is noticed when the chain refuses a number. */
export function counted(count: Count): Numbers {
  let next: number | undefined
  const ticket = (nonce: number): Ticket => ({
    nonce,
    write: async () => undefined,
    drop: async () => void (next = Math.min(next ?? nonce, nonce)),
    close: () => undefined,
  })
  return {
    async open() {
      next = await count('pending')
    },
    async take() {
      const nonce = next ?? (await count('pending'))
      next = nonce + 1
      return ticket(nonce)
    },
    async skip({ nonce }) {
      next = Math.max(await count('pending'), nonce)
    },
    passed(nonce) {
      if (next !== undefined) next = Math.max(next, nonce + 1)
    },
    gap: async (nonce) => ({ ticket: ticket(nonce) }),
  }
}

/** Numbers of a key that several processes use: each is claimed in the books that they share. */
export function leased(ledger: Ledger, prefix: string, count: Count, clock: Clock): Numbers {
  const keyOf = (nonce: number): string => `${prefix}/${nonce}`
  let next = 0

  const ticket = (nonce: number, claim: number): Ticket => ({
    nonce,
    write: (raw, hash) =>
      ledger.step(keyOf(nonce), { type: 'prepared', data: { raw, hash } }, claim),
    async drop() {
      // If the books cannot be written now, the number stays a gap that whoever waits behind it will fill.
      await ledger.void(keyOf(nonce), 'unsent', claim).catch(() => undefined)
      next = Math.min(next, nonce)
    },
    close: () => post(nonce, claim),
  })

  const post = (nonce: number, claim?: number): void => {
    // It only tidies: a number that the chain has used is never asked for again.
    ledger.post(keyOf(nonce), undefined, undefined, claim).catch(() => undefined)
  }

  const claim = async (nonce: number): Promise<Ticket | Held | undefined> => {
    const made = await ledger.transfer({
      key: keyOf(nonce),
      purpose: 'nonce',
      asset: 'nonce',
      amount: 0n,
      legs: [{ debit: `${WORLD}nonces`, credit: `${WORLD}sent` }],
      leaseUntilAt: clock.now() + NUMBER_LEASE_MS,
      note: {},
    })
    if (made.outcome === 'made') return ticket(nonce, made.claim)
    return made.outcome === 'insufficient' ? undefined : made.held
  }

  return {
    async open() {
      next = await count('pending')
      const used = await count('latest')
      for (const { key } of await ledger.pending()) {
        const nonce = key.startsWith(`${prefix}/`) ? Number(key.slice(prefix.length + 1)) : used
        if (nonce < used) post(nonce)
      }
    },
    async take() {
      for (let tries = 1; tries <= TRIES_MAX; tries++) {
        const made = await claim(next)
        if (made && 'nonce' in made) {
          next = made.nonce + 1
          return made
        }
        next++
        if (tries % TRIES_BLIND === 0) next = Math.max(next, await count('pending'))
      }
      throw new PaymentError('rail-unavailable', 'No number of the sending key is free.', {
        retryable: true,
      })
    },
    async skip({ nonce }) {
      // Its bytes are nobody's any more: what was in them has gone under another number.
      const taken = { type: 'taken', data: {} }
      await ledger.post(keyOf(nonce), undefined, taken).catch(() => undefined)
      next = Math.max(await count('pending'), nonce + 1)
    },
    passed(nonce) {
      next = Math.max(next, nonce + 1)
    },
    async gap(nonce) {
      const made = await claim(nonce)
      if (!made) return undefined
      if ('nonce' in made) return { ticket: made }
      const last = made.steps.at(-1)
      const raw = last?.type === 'prepared' ? last.data['raw'] : undefined
      if (isHex(raw)) return { ticket: ticket(nonce, made.claim), raw }
      // Claimed and nothing written yet: somebody works on it.
      return made.state === 'posted' ? { ticket: ticket(nonce, made.claim) } : undefined
    },
  }
}
