import type { Ledger } from '../core/ports.ts'
import { kinds } from './entry.ts'
import type { BookEntry } from './entry.ts'
import type { Quantity } from './quantity.ts'
import { readEntries } from './reader.ts'
import type { ReadOptions } from './reader.ts'

/** Whose statement, and of what time. */
export interface StatementOptions extends ReadOptions {
  readonly payer?: string
  readonly route?: string
}

/** One line of a statement: what stood before its time, what happened, what stands after it. */
export type StatementLine =
  | { readonly type: 'opening' | 'closing'; readonly balances: readonly Quantity[] }
  | { readonly type: 'entry'; readonly entry: BookEntry; readonly balance: Quantity }

/** Whether an entry belongs to a payer, and to a route; what is not named fits. */
export function fits(
  entry: BookEntry,
  { payer, route }: Pick<StatementOptions, 'payer' | 'route'>,
): boolean {
  // Addresses are the same in any case where cases differ at all.
  const isPayer = payer === undefined || entry.payer.toLowerCase() === payer.toLowerCase()
  return isPayer && (route === undefined || entry.route === route)
}

/**
 * What was earned of a payer, or by a route, with the balance after each entry: all that was paid less all that went back, for
 * each asset by itself. Read from the beginning of the books, whatever time it is of.
 */
export async function* readStatement(
  ledger: Ledger,
  options: StatementOptions,
): AsyncGenerator<StatementLine> {
  const { from: _, ...all } = options
  yield* statementOf(readEntries(ledger, all), options)
}

/** As {@link readStatement}, of entries that come from their beginning. */
export async function* statementOf(
  entries: AsyncIterable<BookEntry>,
  options: Pick<StatementOptions, 'from' | 'payer' | 'route'>,
): AsyncGenerator<StatementLine> {
  const { from = -Infinity } = options
  const balances = new Map<string, Quantity>()
  let isOpen = false
  for await (const entry of entries) {
    if (!kinds[entry.kind].isCash || !fits(entry, options)) continue
    if (entry.at >= from && !isOpen) {
      isOpen = true
      yield { type: 'opening', balances: [...balances.values()] }
    }
    const { amount } = entry
    const before = balances.get(amount.asset)?.units ?? 0n
    const balance = { ...amount, units: before + amount.units }
    balances.set(amount.asset, balance)
    if (isOpen) yield { type: 'entry', entry, balance }
  }
  if (!isOpen) yield { type: 'opening', balances: [...balances.values()] }
  yield { type: 'closing', balances: [...balances.values()] }
}
