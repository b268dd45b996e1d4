import type { Held, Ledger, Row } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'

/** Rows that are read at once. */
const ROWS_AT_ONCE = 500
/** After this time a movement is in a state that nothing can undo, or a difference. */
export const SURE_AFTER_MS = 86_400_000

/** A movement that the books hold: into an account of the outside, or out of it. */
export interface Flow {
  readonly key: string
  readonly sequence: number
  /** As the books write the account of the outside, in lower case, and the asset. */
  readonly place: string
  /** Above zero where money came to us. */
  readonly amount: bigint
  /** `sure`: it is so, whatever the network says. A text: where the network has it. Undefined: not to be told yet. */
  readonly evidence: 'sure' | { readonly reference: string } | undefined
}

/** What lies at one account of the outside, in one asset. */
export function placeOf(account: string, asset: string): string {
  return `${account.toLowerCase()} ${asset.toLowerCase()}`
}

/** Which accounts of the books mirror what lies outside, of one rail: in lower case. */
export interface Realm {
  /** What the names of payees begin with. */
  readonly prefix: string
  /** Where costs stand. */
  readonly costs: string
}

/** The accounts of a rail. */
export function realmOf(rail: string, network: string): Realm {
  return {
    prefix: `${WORLD}${rail}/${network}/`.toLowerCase(),
    costs: `costs/${rail}/${network}`.toLowerCase(),
  }
}

/** Reads what was posted behind that row, for all accounts of a rail. The last row that was read is told at the end. */
export async function readFlows(
  ledger: Ledger,
  realm: Realm,
  after: number,
  now: number,
  onFlow: (flow: Flow) => void,
): Promise<number> {
  let last = after
  for (;;) {
    const rows: readonly Row[] = await ledger.journal(last, ROWS_AT_ONCE)
    const end = rows.at(-1)
    if (!end) return last
    const posted = rows.filter(({ type }) => type === 'posted')
    const found = await Promise.all(posted.map(({ key }) => ledger.find(key)))
    for (const [i, row] of posted.entries()) {
      const held = found[i]
      const legs = held ? movesOf(held, realm) : []
      if (!held || legs.length === 0) continue
      const evidence = now - row.at > SURE_AFTER_MS ? 'sure' : await evidenceOf(ledger, held)
      for (const leg of legs) onFlow({ ...leg, key: row.key, sequence: row.sequence, evidence })
    }
    last = end.sequence
  }
}

/** What a transfer moves, or would move, of what lies outside. */
export function movesOf(
  { legs, asset, amount, posted, state }: Held,
  { prefix, costs }: Realm,
): readonly Pick<Flow, 'place' | 'amount'>[] {
  const moved = state === 'posted' ? posted : amount
  if (moved === 0n) return []
  const isOutside = (account: string): boolean => {
    const name = account.toLowerCase()
    return name.startsWith(prefix) || name === costs
  }
  return legs.flatMap(({ debit, credit }) => [
    ...(isOutside(debit) ? [{ place: placeOf(debit, asset), amount: moved }] : []),
    ...(isOutside(credit) ? [{ place: placeOf(credit, asset), amount: -moved }] : []),
  ])
}

async function evidenceOf(ledger: Ledger, held: Held): Promise<Flow['evidence']> {
  const { kind, of } = held.note
  if (kind === 'reversal') {
    const sale = typeof of === 'string' ? await ledger.find(of) : undefined
    return sale && isUndone(sale) ? 'sure' : undefined
  }
  // A sale that came undone and its reversal are nothing together.
  if (isUndone(held)) return 'sure'
  const reference = held.steps.findLast(({ type }) => type === 'settled')?.data['reference']
  // What was booked by hand, or by a round before, happened in the books alone.
  return typeof reference === 'string' ? { reference } : 'sure'
}

function isUndone({ steps }: Held): boolean {
  return steps.some(({ type }) => type === 'undone')
}
