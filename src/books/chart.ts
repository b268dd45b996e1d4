import { WORLD } from '../core/ports.ts'

/**
 * What an account is. `outside` mirrors what lies in the world, so that it may be below zero; `income` was earned; `owed` may
 * still be drawn by payers; `cost` was spent; `count` holds a limit, or sees that something is done once, and is no money.
 */
export type AccountKind = 'outside' | 'income' | 'owed' | 'cost' | 'count'

/** One row of the chart. */
export interface AccountClass {
  /** What the names of its accounts begin with. */
  readonly prefix: string
  readonly name: string
  readonly kind: AccountKind
  readonly means: string
}

/** The chart of accounts: the first row whose prefix fits says what an account is. */
export const chart: readonly AccountClass[] = [
  row('sales/', 'sales/<method> <path>', 'income', 'what a route has earned, less what went back'),
  row('income/', 'income/<name>', 'income', 'what was earned beside the routes'),
  row('equity/', 'equity/<name>', 'owed', 'what the owner has put in'),
  row('facilitated/', 'facilitated/<caller>', 'income', 'what was moved for others: not ours'),
  row('tokens/', 'tokens/<id>', 'owed', 'what a token may still draw: uses, or a balance'),
  row('drawn/', 'drawn/<plan>', 'count', 'what tokens of a plan have drawn'),
  row(
    'withdrawn/',
    'withdrawn/<key>',
    'count',
    'what went back of a sale: never above what it brought',
  ),
  row(
    'costs/',
    'costs/<rail>/<network>',
    'cost',
    'what sending has cost, and what others got of sales',
  ),
  row(
    'suspense/',
    'suspense/<rail>/<network>/<payee>',
    'owed',
    'what lies there and nobody has explained',
  ),
  row('gas/', 'gas/<caller>/<day>', 'count', 'what settling for a caller has cost in a day'),
  row('sent/', 'sent/<caller>/<day>', 'count', 'settlements sent for a caller in a day'),
  row('quota/', 'quota/<caller>/<day>', 'count', 'what was moved for a caller in a day'),
  row('limits/', 'limits/<scope>', 'count', 'a limit that a token names'),
  row(
    'promised/',
    'promised/<id>',
    'count',
    'what was drawn of a channel, as far as its vouchers go',
  ),
  row('spent/', 'spent/<limit>', 'count', 'a limit of our own purchases'),
  row('queue/', 'queue/waiting', 'count', 'bytes of paid requests that wait for their upstream'),
  row(`${WORLD}losses/`, 'world/losses/<account>', 'outside', 'sales that came undone, unbacked'),
  row(
    `${WORLD}opening/`,
    'world/opening/<rail>/<network>/<payee>',
    'outside',
    'what lay there before the first comparison',
  ),
  row(
    `${WORLD}missing/`,
    'world/missing/<rail>/<network>/<payee>',
    'outside',
    'what should lie there and does not, below zero',
  ),
  row(
    `${WORLD}written-off/`,
    'world/written-off/<name>',
    'cost',
    'what was missing and is given up, below zero',
  ),
  row(`${WORLD}plans/`, 'world/plans/<plan>', 'outside', 'what tokens were opened with'),
  row(`${WORLD}gas`, 'world/gas', 'outside', 'the coin that costs were paid with'),
  row(`${WORLD}shares`, 'world/shares', 'outside', 'what of sales went to others at once'),
  row(WORLD, 'world/<rail>/<network>/<payee>', 'outside', 'what payers have paid, below zero'),
]

const other: AccountClass = row('', '<other>', 'count', 'an account of somebody else’s making')

/** What an account is by the chart. */
export function classOf(account: string): AccountClass {
  return chart.find(({ prefix }) => account.startsWith(prefix)) ?? other
}

function row(prefix: string, name: string, kind: AccountKind, means: string): AccountClass {
  return { prefix, name, kind, means }
}
