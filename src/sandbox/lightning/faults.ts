import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { LightningNode } from '../../rails/lightning/node.ts'

/** What goes wrong on the way to a node, as long as it is set. What goes wrong behind it is the network's: `stick`, `charge`, `cut`. */
export interface Faults {
  /** Every answer comes so much later. */
  delayMs: number
  /**
   * Whose next answer is lost after the act, each once for each time that it stands here: a verb of the node, the path of an
   * HTTP API, a method of NIP-47.
   */
  readonly lose: string[]
}

/** No faults. */
export function createFaults(): Faults {
  return { delayMs: 0, lose: [] }
}

/** Waits as the faults say, and tells whether the answer is lost. Each loss is used up. */
export async function suffer(
  faults: Faults,
  what: string,
  clock: Clock = systemClock,
): Promise<boolean> {
  if (faults.delayMs > 0) await clock.sleep(faults.delayMs)
  const index = faults.lose.indexOf(what)
  if (index >= 0) faults.lose.splice(index, 1)
  return index >= 0
}

/** The same node behind a bad line. A lost answer is `rail-unavailable`, as back ends have it. */
export function faulty(
  node: Required<LightningNode>,
  faults: Faults,
  clock?: Clock,
): Required<LightningNode> {
  async function line<T>(verb: string, answer: Promise<T>): Promise<T> {
    const said = await answer
    if (!(await suffer(faults, verb, clock))) return said
    throw new PaymentError('rail-unavailable', `${node.name} does not answer.`)
  }
  return {
    name: node.name,
    can: node.can,
    open: () => line('open', node.open()),
    createInvoice: (request) => line('createInvoice', node.createInvoice(request)),
    invoice: (hash) => line('invoice', node.invoice(hash)),
    settle: (preimage) => line('settle', node.settle(preimage)),
    cancel: (hash) => line('cancel', node.cancel(hash)),
    pay: (request, signal) => line('pay', node.pay(request, signal)),
    payment: (hash) => line('payment', node.payment(hash)),
    fetchInvoice: (offer, msat) => line('fetchInvoice', node.fetchInvoice(offer, msat)),
    balance: () => line('balance', node.balance()),
    close: () => node.close(),
  }
}
