import type { Held } from '../core/ports.ts'

/** Where a sale is in its life. What each means, and what may come next, stands in {@link lives}. */
export type Life =
  | 'free'
  | 'working'
  | 'prepared'
  | 'unknown'
  | 'voided'
  | 'settled'
  | 'owed'
  | 'delivered'
  | 'refunded'
  | 'undone'

/**
 * What happens to a sale: a row of the journal, or time. `written` is whatever a rail writes down while money moves, and
 * `posted` is one commit with its `settled`; a `settled` by itself names another transaction for the same payment.
 */
export type Act =
  | 'made'
  | 'written'
  | 'unknown'
  | 'posted'
  | 'voided'
  | 'settled'
  | 'released'
  | 'delivered'
  | 'refunded'
  | 'refund-failed'
  | 'undone'
  | 'time'

/** One state of a sale. */
export interface Stage {
  /** What whoever asks for the state of the payment is told. */
  readonly told: 'working' | 'unknown' | 'settled' | 'failed'
  readonly means: string
  /** Where each act may lead. An act that is not named cannot happen. */
  readonly next: Readonly<Partial<Record<Act, readonly Life[]>>>
}

/** The life of a sale, as data: the first state is `working`, by `made`. */
export const lives: Readonly<Record<Life, Stage>> = {
  working: {
    told: 'working',
    means: 'claimed, within its lease, and nothing is written ahead',
    next: {
      written: ['prepared'],
      unknown: ['unknown'],
      posted: ['settled'],
      voided: ['voided'],
      time: ['free'],
    },
  },
  free: {
    told: 'working',
    means:
      'its lease ran out and nothing is written ahead: the next claim voids it and makes it anew',
    next: {
      // A maker that comes late, before anybody else has claimed it.
      written: ['unknown'],
      unknown: ['unknown'],
      posted: ['settled'],
      voided: ['voided'],
    },
  },
  prepared: {
    told: 'unknown',
    means: 'something is written ahead, and its maker is at it',
    next: {
      written: ['prepared'],
      // A deferred sale is served before it is settled.
      delivered: ['prepared'],
      released: ['prepared'],
      unknown: ['unknown'],
      posted: ['settled', 'delivered'],
      voided: ['voided'],
      time: ['unknown'],
    },
  },
  unknown: {
    told: 'unknown',
    means:
      'something may have been sent and its maker has given up or is gone: only evidence closes it',
    next: {
      written: ['unknown'],
      delivered: ['unknown'],
      released: ['unknown'],
      unknown: ['unknown'],
      posted: ['settled', 'owed', 'delivered'],
      voided: ['voided'],
    },
  },
  voided: {
    told: 'failed',
    means:
      'nothing was taken: the work failed, nothing was sent, or it can never be taken any more',
    next: { made: ['working'] },
  },
  settled: {
    told: 'settled',
    means: 'the money has moved, and its maker has time to deliver',
    next: {
      // Whoever looks for it meanwhile, or was thought dead, still writes what it knows.
      written: ['settled'],
      settled: ['settled'],
      released: ['owed'],
      delivered: ['delivered'],
      refunded: ['refunded'],
      undone: ['undone'],
      time: ['owed'],
    },
  },
  owed: {
    told: 'settled',
    means: 'the money has moved, and whoever brings the proof may fetch what it bought',
    next: {
      written: ['owed'],
      unknown: ['owed'],
      settled: ['owed'],
      released: ['owed'],
      delivered: ['delivered'],
      refunded: ['refunded'],
      undone: ['undone'],
    },
  },
  delivered: {
    told: 'settled',
    means: 'the money has moved, and the first byte has left',
    next: {
      written: ['delivered'],
      unknown: ['delivered'],
      settled: ['delivered'],
      released: ['delivered'],
      delivered: ['delivered'],
      refunded: ['delivered'],
      'refund-failed': ['delivered'],
      undone: ['undone'],
    },
  },
  refunded: {
    told: 'failed',
    means: 'all of it goes back, or has gone back, to its payer: it buys nothing more',
    next: {
      written: ['refunded'],
      unknown: ['refunded'],
      settled: ['refunded'],
      // Whoever was at it when the refund was ordered.
      released: ['refunded'],
      delivered: ['delivered'],
      // Nothing went back after all.
      'refund-failed': ['settled', 'owed'],
      undone: ['undone'],
    },
  },
  undone: {
    told: 'failed',
    means: 'the transfer vanished from its network and can never come back: it is booked back',
    next: {
      written: ['undone'],
      unknown: ['undone'],
      released: ['undone'],
      delivered: ['undone'],
      'refund-failed': ['undone'],
    },
  },
}

/** The state that a sale is in at that time. */
export function lifeOf(held: Held, now: number): Life {
  if (held.state === 'voided') return 'voided'
  if (held.state === 'posted') return afterPosting(held, now)
  const late = held.leaseUntilAt <= now
  if (held.steps.length === 0) return late ? 'free' : 'working'
  return late || has(held, 'unknown') ? 'unknown' : 'prepared'
}

function afterPosting(held: Held, now: number): Life {
  if (has(held, 'undone')) return 'undone'
  if (has(held, 'delivered')) return 'delivered'
  if (isGivenBack(held)) return 'refunded'
  return deliverByOf(held) > now ? 'settled' : 'owed'
}

/** Until when the maker of a sale, or whoever got it back, may still deliver it. */
export function deliverByOf({ steps }: Held): number {
  const last = steps.findLast(({ type }) => type === 'settled' || type === 'released')
  const until = last?.data['deliverBy']
  return typeof until === 'number' ? until : 0
}

/** Whether all of a sale goes back, or has gone back, to its payer. */
export function isGivenBack({ steps }: Held): boolean {
  const last = steps.findLast(({ type }) => type === 'refunded' || type === 'refund-failed')
  return last?.type === 'refunded'
}

function has({ steps }: Held, what: string): boolean {
  return steps.some(({ type }) => type === what)
}

const ours: ReadonlySet<string> = new Set<Act>([
  'made',
  'unknown',
  'posted',
  'voided',
  'settled',
  'released',
  'delivered',
  'refunded',
  'refund-failed',
  'undone',
])

/** What a row of the journal does to a sale. Each rail has its own words for what it writes. */
export function actOf(type: string): Act {
  return ours.has(type) ? (type as Act) : 'written'
}
