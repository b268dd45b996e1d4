import type { LightningNode } from './node.ts'

/** The two verbs of a node that pays. */
export type Paying = Required<Pick<LightningNode, 'pay' | 'payment'>>

/**
 * The verbs of a node that pays, bound to it.
 * @throws {RangeError} when it cannot.
 */
export function payerOf(node: LightningNode): Paying {
  const pay = node.can.pay ? node.pay?.bind(node) : undefined
  const payment = node.payment?.bind(node)
  if (!pay || !payment) throw new RangeError(`${node.name} cannot pay.`)
  return { pay, payment }
}
