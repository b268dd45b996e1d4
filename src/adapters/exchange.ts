import { isDeepStrictEqual } from 'node:util'
import { writeConditions } from '../core/conditions.ts'
import type { Grant } from '../core/credential.ts'
import { isObject, readJson } from '../core/json.ts'
import { writeMoney, writePrice } from '../core/money.ts'
import type { Account, Plan } from '../core/plan.ts'
import type { Accounts, Answered, Bought, Refusal, Service, Shop } from '../core/ports.ts'
import { ACCOUNT_FRESH_MS } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { RefundDenial } from '../core/refund.ts'
import { meet } from '../core/rights.ts'
import type { Rights } from '../core/rights.ts'
import { rightsOf } from '../gate/plans.ts'

/** Where tokens are bought (`POST …/tokens/<plan>`), looked at (`GET`), given back (`POST`) and revoked (`DELETE`). */
export const TOKENS_PATH = '/.well-known/tolsey/tokens'
/** Longest body of an order, in bytes. */
export const ORDER_BYTES_MAX = 32_768
/** Most lines of a statement in one answer. */
export const STATEMENT_LINES_MAX = 100
/** Longest cursor of a statement, in characters. */
const CURSOR_CHARS_MAX = 256

/** Proof in, token out, whatever the rail; and what a token's holder may ask about it. */
export const exchange: Service = {
  paths: [TOKENS_PATH, `${TOKENS_PATH}/*`],
  async answer(asked, shop) {
    const { method, path } = shop.resource
    const rest = path.slice(TOKENS_PATH.length)
    const plan = method === 'POST' ? shop.plans.get(rest.slice(1)) : undefined
    if (plan) return await buy(shop, plan, await asked.text(ORDER_BYTES_MAX))
    if (method === 'GET' && rest === '') return await look(shop)
    if (method === 'GET' && rest === '/statement') return await statement(shop)
    if (method === 'DELETE' && rest === '') return await revoke(shop)
    if (method === 'POST' && rest === '')
      return await giveBack(shop, await asked.text(ORDER_BYTES_MAX))
    return refused(nothingHere)
  },
}

/**
 * The account of a grant, if whoever holds it holds all of it: what concerns everybody who draws on the account is not for
 * those who were handed less.
 */
export async function wholeOf(
  { id, rights }: Grant,
  accounts: Accounts,
  plans: ReadonlyMap<string, Plan>,
): Promise<Account | Problem> {
  const account = await accounts.find(id)
  if (!account) return unpaid
  const plan = plans.get(account.plan)
  const { payerKeys } = account
  const all = plan && meet(rightsOf(plan), payerKeys ? { payerKeys } : {})
  return all && isSame(rights, all) && lasts(rights, account) ? account : narrowedToken
}

/**
 * Why a payment that comes with a token of its own, as L402's does, buys none: whoever was handed less than the plan could
 * have the whole of it made for them.
 */
export function refusePart({ rights }: Grant, plan: Plan | undefined): Problem | undefined {
  const isAll = plan && rights.expiresAt === undefined && isSame(rights, rightsOf(plan))
  return isAll ? undefined : partBought
}

/** Whether they are the same, whatever their end. */
function isSame(rights: Rights, all: Rights): boolean {
  return isDeepStrictEqual(said(rights), said(all))
}

async function buy(shop: Shop, plan: Plan, body: string | undefined): Promise<Answered | Refusal> {
  if (body === undefined) return refused(malformed)
  const into = body === '' ? undefined : await intoOf(shop, plan, body)
  if (typeof into === 'object') return refused(into)
  const bought = await shop.buy(plan, into)
  if (bought.kind === 'refused') return bought
  return json({ ...(await tokenOf(shop, bought)), ...describe(bought.account) })
}

async function tokenOf({ mints: [mint] }: Shop, { grant }: Bought): Promise<object> {
  return mint ? { token: await mint.mint(grant), type: mint.name } : {}
}

/** The account that is to be topped up; undefined where a new one is bought. */
async function intoOf(shop: Shop, plan: Plan, body: string): Promise<string | Problem | undefined> {
  const order = readJson(body, ORDER_BYTES_MAX)
  if (!isObject(order)) return malformed
  const { topUp } = order
  if (topUp === undefined) return undefined
  const grant = typeof topUp === 'string' ? await shop.read(topUp) : undefined
  const account = grant && (await shop.accounts.find(grant.id))
  if (!account || account.revoked) return unknownToken
  if (account.plan !== plan.name) return otherPlan
  // The answer is a token for all of the account, which whoever was handed less must not be able to buy.
  const whole = await shop.whole(grant)
  return 'code' in whole ? partToppedUp : whole.id
}

async function look(shop: Shop): Promise<Answered | Refusal> {
  const grant = await shown(shop)
  if ('code' in grant) return refused(grant)
  const account = await shop.accounts.find(grant.id)
  if (!account) return refused(unpaid)
  const { uses, balance } = await shop.accounts.left(account.id)
  return json({
    ...describe(account),
    ...(uses !== undefined && { uses }),
    ...(balance && { balance: writePrice(balance) }),
  })
}

async function statement(shop: Shop): Promise<Answered | Refusal> {
  const account = await held(shop)
  if ('code' in account) return refused(account)
  const after = new URLSearchParams(shop.resource.query).get('after') ?? ''
  if (after.length > CURSOR_CHARS_MAX || !/^[\w./-]*$/.test(after)) return refused(badCursor)
  const found = await shop.accounts.statement(account.id, after, STATEMENT_LINES_MAX)
  const entries = found.entries.map((one) => ({ ...one, at: new Date(one.at).toISOString() }))
  const { next } = found
  return json({ account: account.id, entries, ...(next !== undefined && { next }) })
}

async function revoke(shop: Shop): Promise<Answered | Refusal> {
  const account = await held(shop)
  if ('code' in account) return refused(account)
  await shop.accounts.revoke(account.id)
  return json({ account: account.id, revoked: true, everywhereInMs: ACCOUNT_FRESH_MS })
}

/** What is left goes back to whoever has paid: never to whoever was handed less, and never twice. */
async function giveBack(shop: Shop, body: string | undefined): Promise<Answered | Refusal> {
  const order = body === undefined ? undefined : readJson(body, ORDER_BYTES_MAX)
  if (!isObject(order) || order['refund'] !== 'rest') return refused(malformedReturn)
  const { to } = order
  if (to !== undefined && typeof to !== 'string') return refused(malformedReturn)
  const account = await held(shop)
  if ('code' in account) return refused(account)
  const outcome = await shop.giveBack(account, to)
  if (!outcome) return refused(notGivenBack)
  const { id } = account
  if (outcome.kind === 'denied') {
    const { code } = outcome
    const body = { account: id, refund: 'denied', code, detail: whyDenied[code] ?? notReturned }
    return { ...json(body), status: 409 }
  }
  const parts = outcome.parts.map((part) => ({
    amount: writeMoney(part.amount),
    ...(part.kind === 'refunded' && { to: part.to, reference: part.reference }),
  }))
  const said = json({ account: id, refund: outcome.kind, parts })
  return outcome.kind === 'open' ? { ...said, status: 202 } : said
}

/** The account of the token that was shown, for the holder of all of it. */
async function held(shop: Shop): Promise<Account | Problem> {
  const grant = await shown(shop)
  return 'code' in grant ? grant : await shop.whole(grant)
}

/** The grant that was shown, if it may be used here, and by whoever shows it. */
async function shown(shop: Shop): Promise<Grant | Problem> {
  const credential = await shop.credential()
  if (!credential) return tokenNeeded
  if ('code' in credential) return credential
  const { grant } = credential
  if (!grant) return tokenNeeded
  const { origins, payerKeys } = grant.rights
  const elsewhere = origins?.includes(new URL(shop.resource.url).origin) === false
  const anothers = payerKeys?.includes(grant.payerKey ?? '') === false
  return elsewhere || anothers ? narrowedToken : grant
}

function refused(why: Problem): Refusal {
  return { kind: 'refused', problem: why }
}

function json(value: object): Answered {
  const fields = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
  return { status: 200, fields, body: JSON.stringify(value) }
}

function describe({ id, plan, expiresAt, revoked }: Account): object {
  return { account: id, plan, expiresAt: new Date(expiresAt).toISOString(), revoked }
}

/** A token that was narrowed in time ends when no payment has ended. Tokens end at whole seconds. */
function lasts({ expiresAt = Infinity }: Rights, account: Account): boolean {
  const ends = [account.expiresAt, ...(account.ends ?? [])].map(toSeconds)
  return ends.includes(toSeconds(expiresAt)) || expiresAt >= account.expiresAt
}

function toSeconds(ms: number): number {
  return Math.floor(ms / 1000)
}

/** The rights without their end, and without where their limits are counted; nothing where nothing is left of them. */
function said(rights: Rights): readonly string[] | undefined {
  const { expiresAt: _, ...rest } = rights
  try {
    return writeConditions(rest).toSorted()
  } catch {
    return undefined
  }
}

const malformed = problem(
  'credential-malformed',
  'The order is not JSON like {"topUp": "<token>"}. Send no body to buy a new token.',
)
const unknownToken = problem(
  'token-invalid',
  'The token that is to be topped up is not known here, has expired, or was revoked. Nothing was taken.',
)
const otherPlan = problem(
  'token-insufficient',
  'The token that is to be topped up is of another plan. Nothing was taken.',
)
const partToppedUp = problem(
  'token-insufficient',
  'The token that is to be topped up was narrowed. Its account is topped up with the whole one. Nothing was taken.',
)
const partBought = problem(
  'token-insufficient',
  'The token was narrowed. Show it as it came with its invoice. Nothing was taken.',
)
const tokenNeeded = problem('token-invalid', 'Show the token in the Authorization field.')
const unpaid = problem('token-invalid', 'The token has not been paid for here.')
const narrowedToken = problem(
  'token-insufficient',
  'The token was narrowed, and this is for the holder of the whole one.',
)
const badCursor = problem('route-undeclared', 'No statement goes on from there.')
const notReturned =
  'It could not be given back, and is on the token as before. Ask the operator of this service.'
/** What a holder is told where the books have a sentence for the operator. */
const whyDenied: Partial<Record<RefundDenial['code'], string>> = {
  'amount-exceeded': 'Nothing is left that could be given back.',
  'order-invalid': 'The order is not one, or the token was revoked.',
  'rail-unable':
    'What this was paid with cannot be paid back from here. It is on the token as before; ask the operator of this service.',
  failed:
    'The payment back failed, and is on the token as before. Name another destination in "to", or ask later.',
}
const malformedReturn = problem(
  'credential-malformed',
  'What is left is given back for JSON like {"refund": "rest"}, with "to" where the rail needs a destination.',
)
const notGivenBack = problem(
  'token-insufficient',
  'What is left of tokens of this plan is not given back by itself. Ask the operator of this service.',
)
const nothingHere = problem(
  'route-undeclared',
  'Tokens are bought by POST below the name of a plan, looked at by GET, and revoked by DELETE.',
)
