import { lifeOf } from '../gate/life.ts'
import { isSale } from '../gate/note.ts'
import { classOf } from '../books/chart.ts'
import { decimalOf, quantityOf } from '../books/quantity.ts'
import type { NameAsset } from '../books/quantity.ts'
import { quantityJson } from '../books/write.ts'
import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import type { Balance, Held, Ledger } from '../core/ports.ts'

/** Most items of one kind that are listed; how many there are is said. */
export const ITEMS_MAX = 200
/** How long a payment may be open before somebody should look. */
export const OPEN_MS = 300_000
/** Accounts whose standing is an item by itself, by what their names begin with. */
const watched: readonly (readonly [prefix: string, kind: ItemKind])[] = [
  ['suspense/', 'suspense'],
  ['world/missing/', 'missing'],
  ['world/losses/', 'loss'],
]

/** What to do about each kind of item, in plain words. */
export const advice = {
  unknown:
    'Nobody knows yet whether the money moved. It is looked at again every quarter of a minute and closes by itself once the network answers. If it stays, check under Health whether its rail can be reached. Do not refund it: it may never have been taken.',
  prepared:
    'It has been worked on for longer than usual. If its process is gone, recovery takes it over when its lease runs out. Nothing needs to be done.',
  refund:
    'The money is being sent back, or nobody knows whether it was. It is looked at until there is evidence. Do not order it again under another name: look at its payment, and wait.',
  suspense:
    'So much more lies there than the books explain. Look at the account on its network: a transfer that nobody ordered here, or a sale that the books do not know yet. It closes by itself when the sale is booked; else say what it was, and book it there.',
  missing:
    'So much less lies there than the books say. Look at the account on its network at once: if it left without an order of yours, the key is in other hands. Stop the gateway and move the rest. What is gone for good is written off here.',
  loss: 'Sales were booked back because their transfers vanished from the network, and what had been earned was gone already. It is a loss: tell your accountant, and write it off here.',
} as const

type ItemKind = keyof typeof advice

/** What is open and needs a look, the oldest first, with what to do. */
export async function readAttention(
  ledger: Ledger,
  now: number,
  nameAsset: NameAsset,
): Promise<JsonObject> {
  const [pending, balances] = await Promise.all([ledger.pending(), ledger.balances()])
  const payments = pending.flatMap((held) => {
    const kind = kindOf(held, now)
    return kind ? [paymentItem(kind, held, nameAsset)] : []
  })
  const differences = balances.flatMap((balance) => balanceItem(balance, nameAsset))
  return {
    items: [...payments.slice(0, ITEMS_MAX), ...differences.slice(0, ITEMS_MAX)],
    count: payments.length + differences.length,
    underWay: pending.filter((held) => isSale(held) && !kindOf(held, now)).length,
  }
}

function kindOf(held: Held, now: number): ItemKind | undefined {
  const isOld = held.madeAt < now - OPEN_MS
  if (held.note['kind'] === 'refund') return isOld || has(held, 'unknown') ? 'refund' : undefined
  if (!isSale(held)) return undefined
  const life = lifeOf(held, now)
  if (life === 'unknown') return 'unknown'
  return life === 'prepared' && isOld ? 'prepared' : undefined
}

function has({ steps }: Held, what: string): boolean {
  return steps.some(({ type }) => type === what)
}

function paymentItem(kind: ItemKind, held: Held, nameAsset: NameAsset): JsonObject {
  const { note, key, madeAt, steps } = held
  const detail = steps.findLast(({ type }) => type === 'unknown')?.data['detail']
  return {
    kind,
    key,
    since: new Date(madeAt).toISOString(),
    amount: quantityJson(quantityOf(held.asset, held.amount, namedIn(held, nameAsset))),
    ...(typeof note['payer'] === 'string' && { payer: note['payer'] }),
    ...railOf(held),
    ...(typeof note['of'] === 'string' && { of: note['of'] }),
    ...(typeof detail === 'string' && { detail: detail.slice(0, 400) }),
    advice: advice[kind],
  }
}

function railOf({ note }: Held): JsonObject {
  const rail = isObject(note['offer']) ? note['offer']['rail'] : undefined
  return typeof rail === 'string' ? { rail } : {}
}

/** By the offer in the note, where there is one. */
function namedIn({ note }: Held, nameAsset: NameAsset): NameAsset {
  const amount = isObject(note['offer']) ? note['offer']['amount'] : undefined
  const asset = isObject(amount) && isObject(amount['asset']) ? amount['asset'] : {}
  const { code, scale } = asset
  const isSaid = typeof code === 'string' && typeof scale === 'number'
  return isSaid ? () => ({ code, scale }) : nameAsset
}

function balanceItem(balance: Balance, nameAsset: NameAsset): readonly JsonObject[] {
  const { account, asset, posted, pending } = balance
  const [, kind] = watched.find(([prefix]) => account.startsWith(prefix)) ?? []
  const units = posted + pending
  if (kind === undefined || units === 0n) return []
  const amount = quantityJson(quantityOf(asset, units, nameAsset))
  return [{ kind, account, amount, advice: advice[kind] }]
}

/** Most accounts that are listed of one class. */
export const ACCOUNTS_SHOWN_MAX = 500

/** What stands elsewhere than at zero, by class of account; each class summed up, and its accounts up to a number. */
export async function readBalances(ledger: Ledger, nameAsset: NameAsset): Promise<JsonObject> {
  const classes = new Map<string, Balance[]>()
  for (const balance of await ledger.balances()) {
    const { prefix } = classOf(balance.account)
    const known = classes.get(prefix)
    if (known) known.push(balance)
    else classes.set(prefix, [balance])
  }
  const said = [...classes.values()].flatMap((balances): readonly JsonObject[] => {
    const [first] = balances
    if (!first) return []
    const { name, kind, means } = classOf(first.account)
    return [
      {
        name,
        kind,
        means,
        count: balances.length,
        sums: sumsOf(balances, nameAsset),
        accounts: balances.slice(0, ACCOUNTS_SHOWN_MAX).map((one) => balanceJson(one, nameAsset)),
      },
    ]
  })
  return { classes: said.toSorted((a, b) => order(a) - order(b)) }
}

/** What an accountant looks at first. */
const ORDER = ['income', 'outside', 'owed', 'cost', 'count']

function order({ kind }: JsonObject): number {
  return ORDER.findIndex((one) => one === kind)
}

function sumsOf(balances: readonly Balance[], nameAsset: NameAsset): readonly JsonObject[] {
  const sums = new Map<string, Balance>()
  for (const balance of balances) {
    const { posted = 0n, pending = 0n } = sums.get(balance.asset) ?? {}
    const sum = { posted: posted + balance.posted, pending: pending + balance.pending }
    sums.set(balance.asset, { ...balance, ...sum })
  }
  return [...sums.values()].map((sum) => {
    const { account: _, ...rest } = balanceJson(sum, nameAsset)
    return rest
  })
}

function balanceJson(
  { account, asset, posted, pending }: Balance,
  nameAsset: NameAsset,
): JsonObject {
  const { scale } = quantityOf(asset, posted, nameAsset)
  return {
    account,
    ...quantityJson(quantityOf(asset, posted, nameAsset)),
    pending: decimalOf({ units: pending, scale }),
  }
}

/** Limits in the books, and how far each is used up: accounts of the class `count` that hold one. */
const LIMITS: readonly string[] = ['limits/', 'quota/', 'sent/', 'gas/', 'spent/']

/** How far limits are used. */
export async function readLimits(
  ledger: Ledger,
  configured: JsonObject,
  nameAsset: NameAsset,
): Promise<JsonObject> {
  const balances = await ledger.balances()
  const used = balances.filter(({ account }) => LIMITS.some((prefix) => account.startsWith(prefix)))
  return {
    configured,
    count: used.length,
    used: used.slice(0, ACCOUNTS_SHOWN_MAX).map((one) => ({
      ...balanceJson(one, nameAsset),
      means: classOf(one.account).means,
    })),
  }
}
