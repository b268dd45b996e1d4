import { keyOf, readAccount } from '../gate/account.ts'
import type { JsonObject } from '../core/json.ts'
import { writePrice } from '../core/money.ts'
import type { Account, Left } from '../core/plan.ts'
import type { Accounts, Held, Ledger } from '../core/ports.ts'

/** Most accounts on one page. */
export const TOKENS_PAGE_MAX = 100
/** Most accounts that are looked at for one page. */
export const TOKENS_LOOKED_MAX = 2_000
/** Most lines of a statement on one page. */
export const STATEMENT_PAGE_MAX = 200

const PREFIX = keyOf('')

/** Which accounts are wanted. */
export interface TokenFilter {
  /** How their ids begin. */
  readonly id?: string
  readonly payer?: string
  readonly plan?: string
}

/** A page of the accounts of tokens, in the order of their ids. */
export async function readTokens(
  ledger: Ledger,
  accounts: Accounts,
  filter: TokenFilter,
  cursor: string,
  limit: number,
  now: number,
): Promise<JsonObject> {
  const found: Held[] = []
  let after = cursor === '' ? '' : PREFIX + cursor
  let isEnd = false
  for (let looked = 0; looked < TOKENS_LOOKED_MAX && found.length < limit && !isEnd;) {
    const page = await ledger.under(PREFIX + (filter.id ?? ''), after, limit)
    for (const held of page) {
      // What does not fit any more is found again by the next page.
      if (found.length === limit) break
      after = held.key
      looked++
      if (isWanted(held, filter)) found.push(held)
    }
    isEnd = page.length < limit && (page.at(-1)?.key ?? after) === after
  }
  const tokens = await Promise.all(
    found.map(async (held) => {
      const id = held.key.slice(PREFIX.length)
      return tokenJson(readAccount(id, held), held, await accounts.left(id), now)
    }),
  )
  return { tokens, ...(!isEnd && { next: after.slice(PREFIX.length) }) }
}

function isWanted({ note, state }: Held, { payer, plan }: TokenFilter): boolean {
  const paid = typeof note['payer'] === 'string' ? note['payer'].toLowerCase() : ''
  return (
    state === 'posted' &&
    (payer === undefined || paid === payer.toLowerCase()) &&
    (plan === undefined || note['plan'] === plan)
  )
}

/** One account; undefined if there is none. */
export async function readToken(
  ledger: Ledger,
  accounts: Accounts,
  id: string,
  now: number,
): Promise<JsonObject | undefined> {
  const held = await ledger.find(keyOf(id))
  if (held?.state !== 'posted') return undefined
  return tokenJson(readAccount(id, held), held, await accounts.left(id), now)
}

function tokenJson(account: Account, { note, madeAt }: Held, left: Left, now: number): JsonObject {
  const { id, plan, expiresAt, revoked } = account
  const { payer, payment } = note
  const isOver = expiresAt <= now
  return {
    id,
    plan,
    state: revoked ? 'revoked' : isOver ? 'expired' : 'good',
    opened: new Date(madeAt).toISOString(),
    expires: timeOf(expiresAt),
    ...(typeof payer === 'string' && { payer }),
    ...(typeof payment === 'string' && { payment }),
    ...(left.uses !== undefined && { uses: left.uses }),
    ...(left.balance && { balance: writePrice(left.balance) }),
  }
}

/** Plans without an end have one that no calendar holds. */
function timeOf(at: number): string {
  const date = new Date(at)
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}

/** A page of a statement; undefined if there is no such account. */
export async function readTokenStatement(
  accounts: Accounts,
  id: string,
  cursor: string,
  limit: number,
): Promise<JsonObject | undefined> {
  if (!(await accounts.find(id))) return undefined
  const { entries, next } = await accounts.statement(id, cursor, limit)
  return {
    entries: entries.map(({ at, ...rest }) => ({ time: new Date(at).toISOString(), ...rest })),
    ...(next !== undefined && { next }),
  }
}
