import type { Event, Observe } from '../core/event.ts'
import type { Money } from '../core/money.ts'
import { createCounter, createHistogram, writeMetrics } from './exposition.ts'
import type { Counter, Metric } from './exposition.ts'

/** Most payments that are timed at once; the oldest is given up when there is no room. */
export const TIMED_MAX = 10_000
/** Upper bounds of the time from a claim to its settlement, in milliseconds. */
const BOUNDS_MS = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000]

/** Numbers of others, which are read when somebody asks. */
export interface Gauge {
  /** With the `_total` of a counter. */
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter'
  read(): readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[]
}

/** Metrics of one process, since it started. */
export interface Metrics {
  readonly observe: Observe
  /** The answer to a scrape: OpenMetrics 1.0 where its `Accept` field names it, else the Prometheus text format 0.0.4. */
  readonly write: (accept?: string) => { readonly contentType: string; readonly text: string }
}

/** What is known of a payment under way. */
interface Held {
  readonly at: number
  readonly labels: readonly string[]
}

/** Counts what engines tell. Labels are names from the settings; a metric has at most as many series as its limit says. */
export function metrics({ gauges = [] }: { readonly gauges?: readonly Gauge[] } = {}): Metrics {
  const way = ['rail', 'network', 'route']
  const asset = ['asset', 'code']
  const counts = {
    challenged: createCounter('tolsey_challenges', 'Requests without a payment: 402.', ['code']),
    refused: createCounter('tolsey_refusals', 'Payments and tokens that were refused.', ['code']),
    held: createCounter('tolsey_payments', 'Payments that were claimed.', way),
    settled: createCounter('tolsey_sales', 'Payments that were settled and posted.', way),
    voided: createCounter('tolsey_voids', 'Payments of which nothing was taken.', ['code']),
    unknown: createCounter('tolsey_unknowns', 'Payments whose outcome was not known.'),
    undone: createCounter('tolsey_undone', 'Sales that vanished from their network.'),
    refunded: createCounter('tolsey_refunds', 'Refunds that were settled.'),
    mismatch: createCounter('tolsey_mismatches', 'Differences between books and world.', [
      'rail',
      'network',
      'finding',
    ]),
    rail: createCounter(
      'tolsey_rail_changes',
      'Rails that went out of what is offered, or came back.',
      ['rail', 'network', 'state'],
    ),
    delivered: createCounter('tolsey_deliveries', 'Answers whose first byte has left.'),
    paid: createCounter('tolsey_purchases', 'Purchases of this process that were paid.'),
    waiting: createCounter('tolsey_purchases_waits', 'Requests that this process sends again.'),
    lost: createCounter('tolsey_purchases_lost', 'Purchases that were paid and will not come.'),
    fault: createCounter('tolsey_faults', 'Faults, by where they happened.', ['where']),
  }
  const amounts = {
    settled: createCounter('tolsey_sales_amount', 'What was settled, in whole units.', asset),
    undone: createCounter('tolsey_undone_amount', 'What vanished, in whole units.', asset),
    refunded: createCounter('tolsey_refunds_amount', 'What went back, in whole units.', asset),
    paid: createCounter('tolsey_purchases_amount', 'What was paid, in whole units.', asset),
  }
  const time = createHistogram(
    'tolsey_payment_seconds',
    'From the claim of a payment to its settlement, the work included.',
    ['rail', 'network'],
    BOUNDS_MS,
  )
  const held = new Map<string, Held>()
  /** Rails that were ever down, by what was told of them last. */
  const down = new Map<string, Event & { readonly type: 'rail' }>()
  const isDown: Gauge = {
    name: 'tolsey_rail_down',
    help: 'Whether a rail is left out of what is offered.',
    type: 'gauge',
    read: () =>
      [...down.values()].map(({ rail, network, state }) => ({
        labels: { rail, network },
        value: state === 'down' ? 1 : 0,
      })),
  }

  function settle(event: Event & { readonly type: 'settled' }): void {
    const before = held.get(event.key)
    held.delete(event.key)
    const labels = before?.labels ?? wayOf(event)
    counts.settled.add(labels)
    if (before) time.add(labels.slice(0, 2), Math.max(event.at - before.at, 0))
  }

  const observe: Observe = (event) => {
    switch (event.type) {
      case 'challenged':
      case 'refused':
      case 'voided':
        counts[event.type].add([event.code])
        if (event.type === 'voided') held.delete(event.key)
        break
      case 'held': {
        const labels = wayOf(event)
        counts.held.add(labels)
        const [oldest] = held.size < TIMED_MAX ? [] : held.keys()
        if (oldest !== undefined) held.delete(oldest)
        held.set(event.key, { at: event.at, labels })
        break
      }
      case 'settled':
        settle(event)
        addMoney(amounts.settled, event.amount)
        break
      case 'undone':
      case 'refunded':
      case 'paid':
        counts[event.type].add([])
        addMoney(amounts[event.type], event.amount)
        break
      case 'unknown':
      case 'waiting':
      case 'lost':
      case 'delivered':
        counts[event.type].add([])
        break
      case 'mismatch':
        counts.mismatch.add([event.rail, event.network, event.finding])
        break
      case 'rail':
        counts.rail.add([event.rail, event.network, event.state])
        down.set(`${event.rail} ${event.network}`, event)
        break
      case 'fault':
        counts.fault.add([event.where])
        break
      case 'reserved':
        // Counted when it is paid.
        break
    }
  }

  const all: readonly Metric[] = [
    ...Object.values(counts),
    ...Object.values(amounts),
    time,
    ...[isDown, ...gauges].map(toMetric),
  ]
  return {
    observe,
    write(accept = '') {
      const isOpen = accept.includes('application/openmetrics-text')
      const contentType = isOpen
        ? 'application/openmetrics-text; version=1.0.0; charset=utf-8'
        : 'text/plain; version=0.0.4; charset=utf-8'
      return { contentType, text: writeMetrics(all, isOpen ? 'open' : 'prometheus') }
    },
  }
}

const UNKNOWN = 'unknown'
const SALES = 'sales/'

function wayOf(event: Event & { readonly type: 'held' | 'settled' }): readonly string[] {
  const { rail = UNKNOWN, network = UNKNOWN, account = UNKNOWN } = event
  return [rail, network, account.startsWith(SALES) ? account.slice(SALES.length) : account]
}

function addMoney(counter: Counter, { asset: { id, code, scale }, amount }: Money): void {
  counter.add([id, code], amount, scale)
}

function toMetric(gauge: Gauge): Metric {
  const { name, help, type } = gauge
  const suffix = type === 'counter' ? '_total' : ''
  return {
    name: name.slice(0, name.length - suffix.length),
    help,
    type,
    samples: () => gauge.read().map(({ labels, value }) => ({ suffix, labels, value: `${value}` })),
  }
}
