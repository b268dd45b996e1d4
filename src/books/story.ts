import { assert } from '../core/assert.ts'
import type { Held, Ledger, Row } from '../core/ports.ts'
import { paymentOf, ROWS_AT_ONCE } from './reader.ts'
import type { Payment } from './reader.ts'
import type { NameAsset } from './quantity.ts'

/** Most refunds of one sale that a story tells. */
export const REFUNDS_MAX = 1_000

/** The whole story of a payment. */
export interface Story {
  readonly payment: Payment
  readonly held: Held
  /** What happened to it, with the times. */
  readonly rows: readonly Row[]
  /** Its refunds, as they stand. */
  readonly refunds: readonly Payment[]
  /** The reversal, if its network took it back. */
  readonly reversal?: Held
}

/** Reads the story of one payment; undefined if there is none under the key. */
export async function readStory(
  ledger: Ledger,
  key: string,
  nameAsset: NameAsset = () => undefined,
): Promise<Story | undefined> {
  const held = await ledger.find(key)
  if (!held) return undefined
  const rows = await rowsOf(ledger, held)
  const [made] = rows
  assert(made, 'what is held was made')
  const payment = paymentOf(made, held, nameAsset)
  if (!payment) return undefined
  const refunds = await refundsOf(ledger, key, nameAsset)
  const reversal = await ledger.find(`${key}/undone`)
  return { payment, held, rows, refunds, ...(reversal && { reversal }) }
}

async function refundsOf(
  ledger: Ledger,
  key: string,
  nameAsset: NameAsset,
): Promise<readonly Payment[]> {
  const found = await ledger.under(`${key}/refund/`, '', REFUNDS_MAX)
  return found.flatMap((one) => {
    const row: Row = {
      sequence: one.claim,
      at: one.madeAt,
      key: one.key,
      type: 'made',
      data: {},
      hash: '',
    }
    const payment = paymentOf(row, one, nameAsset)
    return payment ? [payment] : []
  })
}

/** All rows of the last making: it is known how many there are, so that reading ends with the last of them. */
async function rowsOf(ledger: Ledger, held: Held): Promise<readonly Row[]> {
  const { key, claim, steps, state } = held
  const wanted = 1 + steps.length + (state === 'pending' ? 0 : 1)
  const rows: Row[] = []
  let after = claim - 1
  while (rows.length < wanted) {
    const page = await ledger.journal(after, ROWS_AT_ONCE)
    const last = page.at(-1)
    if (!last) break
    rows.push(...page.filter((row) => row.key === key))
    after = last.sequence
  }
  return rows
}
