import { isObject } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { WORLD } from '../core/ports.ts'
import type { Balance, Claim, Held, Ledger, Leg, Row } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'

/** Most keys of which is remembered whose they are. */
export const OWNERS_MAX = 50_000
/** Rows and transfers that are read at once to find those of one tenant. */
const READ_MAX = 500

/** What the accounts of tenants begin with, behind `world/` where they stand for what is outside. */
export const TENANTS = 'tenants/'
/** What the purposes of a tenant's transfers begin with; no other purpose begins so. */
const MARK = '@'
/**
 * What keys begin with that are no spends, but what each seller does for itself under names that others have too: sinks, rounds
 * of comparing, orders, requests by their payers' names, events of processors.
 */
const OWN_KEYS: readonly string[] = ['outbox/', 'reconcile/', 'booking/', 'named/', 'inbox/']

/**
 * The books of one tenant in a ledger that several share, or, without a name, the books of whoever is no tenant. It is a ledger:
 * whoever is handed it sees no transfer, row or balance of another, and moves none.
 *
 * Accounts stand in the shared ledger under `tenants/<name>/` and `world/tenants/<name>/`. Keys are not renamed: a key is the
 * natural key of a spend, and one spend is claimed once, whichever tenant it is shown to. Those of a tenant's own housekeeping
 * alone stand under `tenants/<name>/` too. A row of somebody else keeps its number and says nothing.
 */
export function tenantLedger(ledger: Ledger, name?: string): Ledger {
  const mark = name === undefined ? '' : `${MARK}${name} `
  const inside = name === undefined ? '' : `${TENANTS}${name}/`
  const outside = `${WORLD}${inside}`
  /** Whether keys are ours, for those that were asked for last. */
  const known = new Map<string, boolean>()

  const isOurs = (purpose: string): boolean =>
    name === undefined ? !purpose.startsWith(MARK) : purpose.startsWith(mark)

  const toShared = (account: string): string =>
    account.startsWith(WORLD) ? outside + account.slice(WORLD.length) : inside + account

  const toSharedKey = (key: string): string =>
    OWN_KEYS.some((prefix) => key.startsWith(prefix)) ? inside + key : key

  const toOwnKey = (key: string): string =>
    inside !== '' && key.startsWith(inside) ? key.slice(inside.length) : key

  /** Undefined where it is another's. */
  function toOwn(account: string): string | undefined {
    if (name === undefined)
      return account.startsWith(TENANTS) || account.startsWith(WORLD + TENANTS)
        ? undefined
        : account
    if (account.startsWith(outside)) return WORLD + account.slice(outside.length)
    return account.startsWith(inside) ? account.slice(inside.length) : undefined
  }

  const ownLeg = (leg: Leg): Leg => ({
    ...leg,
    debit: toOwn(leg.debit) ?? '',
    credit: toOwn(leg.credit) ?? '',
  })

  function remember(key: string, isOwn: boolean): boolean {
    known.delete(key)
    const [oldest] = known.size < OWNERS_MAX ? [] : known.keys()
    if (oldest !== undefined) known.delete(oldest)
    known.set(key, isOwn)
    return isOwn
  }

  function own(held: Held): Held {
    const { key, purpose, legs } = held
    return {
      ...held,
      ...{ key: toOwnKey(key), purpose: purpose.slice(mark.length), legs: legs.map(ownLeg) },
    }
  }

  function taken(held: Held | undefined): Held | undefined {
    if (!held) return undefined
    return remember(held.key, isOurs(held.purpose)) ? own(held) : undefined
  }

  async function owns(key: string): Promise<boolean> {
    if (known.get(key) === true) return true
    return taken(await ledger.find(key)) !== undefined
  }

  async function rowOf(row: Row): Promise<Row> {
    const { purpose } = row.data
    const key = toOwnKey(row.key)
    if (row.type === 'made' && typeof purpose === 'string')
      return remember(row.key, isOurs(purpose))
        ? { ...row, key, data: madeOf(row.data, purpose) }
        : elsewhere(row)
    return (await owns(row.key)) ? { ...row, key } : elsewhere(row)
  }

  function madeOf(data: JsonObject, purpose: string): JsonObject {
    const { legs } = data
    const said = Array.isArray(legs) ? legs.map(legOf) : []
    return { ...data, purpose: purpose.slice(mark.length), legs: said }
  }

  function legOf(leg: Json): Json {
    if (!isObject(leg)) return leg
    const { debit, credit } = leg
    return {
      ...leg,
      debit: typeof debit === 'string' ? (toOwn(debit) ?? '') : '',
      credit: typeof credit === 'string' ? (toOwn(credit) ?? '') : '',
    }
  }

  return {
    async transfer(transfer) {
      const key = toSharedKey(transfer.key)
      const legs = transfer.legs.map((leg) => ({
        ...leg,
        debit: toShared(leg.debit),
        credit: toShared(leg.credit),
      }))
      const purpose = mark + transfer.purpose
      return claimOf(await ledger.transfer({ ...transfer, key, purpose, legs }), key)
    },
    async step(said, step, claim) {
      const key = toSharedKey(said)
      if (!(await owns(key)))
        throw new PaymentError('payment-in-flight', `The claim on ${said} is lost: it is not held.`)
      await ledger.step(key, step, claim)
    },
    async post(said, ...rest) {
      const key = toSharedKey(said)
      return (await owns(key)) ? await ledger.post(key, ...rest) : 'absent'
    },
    async void(said, ...rest) {
      const key = toSharedKey(said)
      return (await owns(key)) ? await ledger.void(key, ...rest) : 'absent'
    },
    async expire(said, claim) {
      const key = toSharedKey(said)
      return (await owns(key)) && (await ledger.expire(key, claim))
    },
    find: async (key) => taken(await ledger.find(toSharedKey(key))),
    async pending(purpose) {
      const all = await ledger.pending(purpose === undefined ? undefined : mark + purpose)
      return all.flatMap((held) => taken(held) ?? [])
    },
    async under(prefix, after, limit) {
      const found: Held[] = []
      let from = toSharedKey(after)
      while (found.length < limit) {
        const page = await ledger.under(toSharedKey(prefix), from, READ_MAX)
        found.push(...page.flatMap((held) => taken(held) ?? []))
        const last = page.at(-1)
        if (!last || page.length < READ_MAX) break
        from = last.key
      }
      return found.slice(0, limit)
    },
    async balances(account) {
      const all = await ledger.balances(account === undefined ? undefined : toShared(account))
      return all.flatMap((balance): Balance[] => {
        const mine = toOwn(balance.account)
        return mine === undefined ? [] : [{ ...balance, account: mine }]
      })
    },
    async journal(after, limit) {
      return await Promise.all((await ledger.journal(after, limit)).map(rowOf))
    },
    close: () => ledger.close(),
  }

  function claimOf(claim: Claim, key: string): Claim {
    if (claim.outcome === 'insufficient')
      return { outcome: 'insufficient', account: toOwn(claim.account) ?? '' }
    if (claim.outcome === 'made') {
      remember(key, true)
      return claim
    }
    const held = taken(claim.held)
    return held
      ? { outcome: claim.outcome, held }
      : { outcome: 'foreign', held: { ...hidden(claim.held), key: toOwnKey(key) } }
  }
}

/** That a key is taken, and by whom and for what is nobody's business. */
function hidden({ key, asset, state, madeAt, claim }: Held): Held {
  return {
    ...{ key, asset, state, madeAt, claim, purpose: MARK, amount: 0n, posted: 0n },
    ...{ legs: [], leaseUntilAt: 0, note: {}, steps: [] },
  }
}

/** A row of somebody else, so that rows keep their numbers. */
function elsewhere({ sequence, at, hash }: Row): Row {
  return { sequence, at, hash, key: `elsewhere/${sequence}`, type: 'elsewhere', data: {} }
}
