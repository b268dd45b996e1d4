import { assert } from '../core/assert.ts'
import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { rescale, writePrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import type { Account, Entry, Plan } from '../core/plan.ts'
import type { Ask, Held, Leg, Step } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { readDeposited, writeDeposited } from './channel.ts'
import type { Channel } from './channel.ts'

/** Decimals of a balance: fine enough for every price. */
export const SCALE = 18
/** What a plan that is counted by requests holds. */
export const USES = 'uses'
/** What a plan that is not counted holds, which is nothing. */
export const TIME = 'time'

/** An account with what its plan is counted in: {@link USES}, {@link TIME}, or a currency. */
export interface Known extends Account {
  readonly unit: string
  /** Where its payments are deposits into a channel. */
  readonly channel?: Channel
}

/** The rail of a deposit into a channel, and how much it was. */
export interface PaidIn {
  readonly rail: string
  readonly network: string
  /** In the smallest unit of its asset. */
  readonly paid: bigint
}

/** The key under which the books hold an account. */
export function keyOf(id: string): string {
  return `account/${id}`
}

/** The name of the account in the books. */
export function accountOf(id: string): string {
  return `tokens/${id}`
}

/** What the keys of all draws on an account begin with. */
export function drawsOf(id: string): string {
  return `draw/${id}/`
}

/** What the keys of all that went into an account after its opening begin with. */
export function topUpsOf(id: string): string {
  return `topup/${id}/`
}

/** What the keys of all that has gone back of it begin with. */
export function restsOf(id: string): string {
  return `rest/${id}/`
}

/** The key of what is put back of a draw; with the account's draws, what all such keys begin with. */
export function putBackOf(draw: string): string {
  return `back/${draw.slice(drawsOf('').length - 1)}`
}

const DRAW = 'draw'

/** What the books keep of a draw. */
export function writeDraw({ request, resource: { method, authority, path } }: Ask): JsonObject {
  return { kind: DRAW, request, what: `${method} ${authority}${path}` }
}

/** The same for what the voucher that ends a channel promises beyond what was drawn. */
export function writeLastDraw(): JsonObject {
  return { kind: DRAW, request: '', what: 'last voucher' }
}

/** Whether the books hold a draw here. */
export function isDraw({ note }: Held): boolean {
  return note['kind'] === DRAW
}

/** What is written when an account is opened. */
export function writeAccount(
  plan: Plan,
  payment: string,
  payer: string,
  now: number,
  { returnTo, channel }: { readonly returnTo?: string; readonly channel?: PaidIn } = {},
): JsonObject {
  const expiresAt = now + plan.validForMs
  const { payerKeys } = plan.rights
  return {
    kind: 'account',
    plan: plan.name,
    unit: unitOf(plan),
    expiresAt,
    payment,
    payer,
    ...(payerKeys && { payerKeys }),
    ...(returnTo !== undefined && { returnTo }),
    ...(channel && {
      channel: {
        rail: channel.rail,
        network: channel.network,
        ...writeDeposited({ paid: channel.paid, bought: amountOf(plan) }),
      },
    }),
  }
}

/** The account as its transfer and its steps tell it. */
export function readAccount(id: string, { note, steps }: Held): Known {
  const { plan, unit, payerKeys, returnTo } = note
  assert(typeof plan === 'string' && typeof unit === 'string', 'an account has a plan and a unit')
  const paid = steps.filter(({ type }) => type === 'topped-up').map(({ data }) => data)
  const ends = [note, ...paid].map((said) => Number(said['expiresAt']))
  const revoked = steps.some(({ type }) => type === 'revoked') || isAnyGivenBack(steps)
  const bound = isTexts(payerKeys) ? { payerKeys } : {}
  const back = typeof returnTo === 'string' ? { returnTo } : {}
  const channel = channelOf(note, paid)
  const rest = { ...bound, ...back, ...(channel && { channel, isChannel: true as const }) }
  return { id, plan, unit, expiresAt: Math.max(...ends), ends, revoked, ...rest }
}

function channelOf({ channel }: JsonObject, paid: readonly JsonObject[]): Channel | undefined {
  if (!isObject(channel)) return undefined
  const { rail, network } = channel
  assert(typeof rail === 'string' && typeof network === 'string', 'a channel names its rail')
  return {
    rail,
    network,
    deposits: [channel, ...paid].flatMap((said) => readDeposited(said) ?? []),
  }
}

/** Whether a payment for it has gone back whole, or is about to, and that did not fail. */
function isAnyGivenBack(steps: readonly Step[]): boolean {
  const back = new Set<unknown>()
  for (const { type, data } of steps) {
    if (type === 'refunded') back.add(data['payment'])
    if (type === 'refund-failed') back.delete(data['payment'])
  }
  return back.size > 0
}

/** Whether the account says already that this payment for it goes back. */
export function isPaymentBack(steps: readonly Step[], payment: string): boolean {
  return isAnyGivenBack(steps.filter(({ data }) => data['payment'] === payment))
}

function isTexts(said: unknown): said is readonly string[] {
  return Array.isArray(said) && said.every((text) => typeof text === 'string')
}

/** What the plan is counted in. */
export function unitOf({ uses, balance }: Plan): string {
  if (balance) return balance.currency
  return uses === undefined ? TIME : USES
}

/** How much of it a payment brings. */
export function amountOf({ uses, balance }: Plan): bigint {
  return balance ? fine(balance) : BigInt(uses ?? 0)
}

/** A price in the decimals of a balance. */
export function fine({ amount, scale, currency }: Price): bigint {
  return rescale(amount, scale, SCALE, currency)
}

/** One that may take no more than that from all tokens that share it. */
export function limitLeg(scope: string, most: bigint): Leg {
  return { debit: `${WORLD}limits`, credit: `limits/${scope}`, ceiling: most }
}

/** A line of the statement. */
export function toEntry(held: Held): Entry {
  const { key, note, state, asset, madeAt } = held
  const what = note['what'] ?? note['plan']
  const amount = state === 'posted' ? held.posted : held.amount
  return {
    at: madeAt,
    type: typeOf(key, note, state),
    amount:
      asset === USES || asset === TIME
        ? `${amount}`
        : writePrice({ currency: asset, amount, scale: SCALE }),
    what: typeof what === 'string' ? what : '',
  }
}

function typeOf(key: string, note: JsonObject, state: Held['state']): Entry['type'] {
  if (key.startsWith('back/')) return 'released'
  if (key.startsWith('rest/') && state === 'posted') return 'given-back'
  if (key.startsWith('rest/')) return state === 'pending' ? 'held' : 'released'
  if (note['kind'] !== DRAW) return key.startsWith('topup/') ? 'topped-up' : 'bought'
  if (state === 'pending') return 'held'
  return state === 'posted' ? 'drawn' : 'released'
}
