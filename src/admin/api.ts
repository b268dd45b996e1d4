import type { JsonObject } from '../core/json.ts'
import { readPrice, toMoney, writeMoney } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import type { RefundOrder, RefundOutcome, RestOutcome } from '../core/refund.ts'
import { clear } from '../books/clear.ts'
import type { Clearing } from '../books/clear.ts'
import { quantityOf } from '../books/quantity.ts'
import type { NameAsset } from '../books/quantity.ts'
import { quantityJson } from '../books/write.ts'
import { createFeed } from '../outbox/feed.ts'
import { readAttention, readBalances, readLimits } from './attention.ts'
import type { LinksOf } from './explorers.ts'
import type { Health } from './health.ts'
import type { Hub } from './hub.ts'
import type { Login, Session } from './login.ts'
import { writeOpenApi } from './openapi.ts'
import { lastRow, readForward, readPage, standingJson, storyJson } from './payments.ts'
import { Refused } from './refusal.ts'
import { buckets, BUCKETS_MAX, createRevenue, groupings } from './revenue.ts'
import type { Revenue } from './revenue.ts'
import type { Call, Reply } from './route.ts'
import { namerOf } from './shop.ts'
import type { AdminShop } from './shop.ts'
import { exportFormats, FEED_ROWS_MAX, streamEvents, streamExport } from './streams.ts'
import type { RouteName } from './table.ts'
import { readToken, readTokens, readTokenStatement } from './tokens.ts'

/** Payments and tokens on a page, unless more are wanted. */
export const PAGE_ROWS = 50
/** Buckets that are shown, unless a time is named. */
const BUCKETS_SHOWN = 30
/** Exports at once: each reads all of the books. */
export const EXPORTS_MAX = 2
/** Whose events they are, where the shop does not say. */
const SOURCE = 'tolsey'
/** Longest reason of a refund, and longest address. */
const REASON_CHARS_MAX = 1_000

/** What is done for each route. */
export type Api = Readonly<
  Record<RouteName, (call: Call, caller: string, session: Session) => Promise<Reply> | Reply>
> & {
  readonly close: () => void
}

interface ApiSettings {
  readonly clock: Clock
  readonly hub: Hub
  readonly login: Login
  readonly health: Health
  readonly linksOf: LinksOf
  readonly shop: () => AdminShop
}

/** Makes what the table promises. */
export function createApi({ clock, hub, login, health, linksOf, shop }: ApiSettings): Api {
  let current: { readonly ledger: Ledger; readonly revenue: Revenue } | undefined
  let exporting = 0

  function revenueOf(here: AdminShop): Revenue {
    const { ledger } = here
    if (current?.ledger === ledger) return current.revenue
    // Other books are read from their beginning, and the old ones no further.
    current?.revenue.close()
    current = { ledger, revenue: createRevenue(ledger, namerOf(here), clock) }
    return current.revenue
  }

  return {
    close: () => current?.revenue.close(),

    async logIn(call, caller) {
      const { token } = await call.body('token')
      if (typeof token !== 'string') throw new Refused('malformed', 'The token is missing.')
      const { cookie } = login.enter(call.request, caller, token)
      return { status: 204, fields: { 'Set-Cookie': cookie } }
    },
    session({ request }, caller) {
      const expiresAt = login.look(request, caller)
      if (expiresAt === undefined) return { json: { isLoggedIn: false } }
      return { json: { isLoggedIn: true, expires: new Date(expiresAt).toISOString() } }
    },
    logOut: ({ request }) => ({ status: 204, fields: { 'Set-Cookie': login.leave(request) } }),
    description: () => ({ json: writeOpenApi() }),

    async payments(call) {
      const here = shop()
      const cursor = call.text('cursor') === undefined ? undefined : call.whole('cursor', 0)
      const since = call.time('since')
      const filter = {
        ...chosen(call, 'route', 'rail', 'payer', 'state', 'kind'),
        ...(since !== undefined && { since }),
      }
      const limit = call.whole('limit', PAGE_ROWS)
      const after = call.text('after') === undefined ? undefined : call.whole('after', 0)
      const page =
        after === undefined
          ? await readPage(here.ledger, filter, limit, cursor, namerOf(here))
          : await readForward(here.ledger, filter, limit, after, namerOf(here))
      const { payments, next } = page
      const said = payments.map((one) => standingJson(here.ledger, one, clock.now()))
      return { json: { payments: await Promise.all(said), ...(next !== undefined && { next }) } }
    },
    async payment(call) {
      const here = shop()
      const key = call.part('key')
      const json = await storyJson(here.ledger, key, clock.now(), namerOf(here), linksOf)
      return { json: json ?? none('There is no payment under this key.') }
    },
    async refund(call) {
      const order = await orderIn(call)
      const outcome = await shop().gate.refund(order)
      const status = { refunded: 200, open: 202, denied: 409 }[outcome.kind]
      return { status, json: outcomeJson(outcome) }
    },
    async events(call, _, session) {
      const last = call.request.headers['last-event-id']
      const lastId = typeof last === 'string' ? last : undefined
      await streamEvents(call.response, hub, clock, session, lastId, call.signal)
      return undefined
    },
    async feed(call) {
      const { ledger, source } = shop()
      if (call.text('after') === undefined)
        return { json: { events: [], next: await lastRow(ledger), more: false } }
      const feed = createFeed({ ledger, source: source || SOURCE })
      const stretch = await feed.read(call.whole('after', 0), call.whole('limit', FEED_ROWS_MAX))
      const { told, next, more } = stretch
      return { json: { events: told.map(({ event }) => ({ ...event })), next, more } }
    },
    async revenue(call) {
      const bucket = call.word('bucket', ['day', 'hour'])
      const to = call.time('until') ?? clock.now() + 1
      const from = call.time('since') ?? to - BUCKETS_SHOWN * buckets[bucket]
      if (to <= from || to - from > BUCKETS_MAX * buckets[bucket])
        throw new Refused('malformed', `At most ${BUCKETS_MAX} buckets are shown at once.`)
      const unit = call.text('unit')
      const question = { by: call.word('by', groupings), bucket, from, to }
      const revenue = revenueOf(shop())
      return { json: await revenue.answer({ ...question, ...(unit !== undefined && { unit }) }) }
    },
    async attention() {
      const here = shop()
      return { json: await readAttention(here.ledger, clock.now(), namerOf(here)) }
    },
    async book(call) {
      const here = shop()
      const order = await clearingIn(call, here)
      const done = await clear({ ledger: here.ledger, clock }, order)
      if (done.kind === 'denied') return { status: 409, json: { ...done } }
      const { from, to, asset } = order
      const amount = quantityJson(quantityOf(asset, done.amount, namerOf(here)))
      return { json: { kind: 'booked', key: done.key, amount, from, to } }
    },
    async tokens(call) {
      const { ledger, gate } = shop()
      const filter = chosen(call, 'id', 'payer', 'plan')
      const limit = call.whole('limit', PAGE_ROWS)
      const cursor = call.text('cursor') ?? ''
      return {
        json: await readTokens(ledger, gate.accounts, filter, cursor, limit, clock.now()),
      }
    },
    async token(call) {
      const { ledger, gate } = shop()
      const json = await readToken(ledger, gate.accounts, call.part('id'), clock.now())
      return { json: json ?? none(noToken) }
    },
    async tokenStatement(call) {
      const { accounts } = shop().gate
      const [cursor, limit] = [call.text('cursor') ?? '', call.whole('limit', PAGE_ROWS)]
      const json = await readTokenStatement(accounts, call.part('id'), cursor, limit)
      return { json: json ?? none(noToken) }
    },
    async revokeToken(call) {
      const { ledger, gate } = shop()
      const id = call.part('id')
      if (!(await gate.accounts.revoke(id))) none(noToken)
      const json = await readToken(ledger, gate.accounts, id, clock.now())
      return { json: json ?? none(noToken) }
    },
    async refundToken(call) {
      const body = await call.body('reason', 'to')
      const [reason, to] = [textIn(body, 'reason'), textIn(body, 'to')]
      const account = call.part('id')
      const outcome = await shop().gate.refundRest({
        account,
        ...(reason !== undefined && { reason }),
        ...(to !== undefined && { to }),
      })
      const status = { refunded: 200, open: 202, denied: 409 }[outcome.kind]
      return { status, json: restJson(outcome) }
    },
    async balances() {
      const here = shop()
      return { json: await readBalances(here.ledger, namerOf(here)) }
    },
    rails: async () => ({ json: await health.read(shop()) }),
    async limits() {
      const here = shop()
      return { json: await readLimits(here.ledger, here.limits ?? {}, namerOf(here)) }
    },
    async export(call) {
      const here = shop()
      const [from, to] = [call.time('since'), call.time('until')]
      const format = call.word('format', exportFormats)
      const cashOnly = call.word('only', ['all', 'cash']) === 'cash'
      const after = call.whole('after', 0)
      const linesMax = call.text('limit') === undefined ? undefined : call.whole('limit', 1)
      if (exporting >= EXPORTS_MAX)
        throw new Refused('limited', 'Two exports run already. Wait for one of them.', 5_000)
      exporting++
      try {
        await streamExport(call.response, here.ledger, format, {
          ...(from !== undefined && { from }),
          ...(to !== undefined && { to }),
          ...(linesMax !== undefined && { linesMax }),
          ...{ after, nameAsset: namerOf(here), signal: call.signal, cashOnly },
        })
      } finally {
        exporting--
      }
      return undefined
    },
  }
}

const noToken = 'There is no such account.'

function none(sentence: string): never {
  throw new Refused('not-found', sentence)
}

function chosen<const K extends string>(
  call: Call,
  ...names: readonly K[]
): { readonly [_ in K]?: string } {
  const said = names.flatMap((name) => {
    const value = call.text(name)
    return value === undefined ? [] : [[name, value] as const]
  })
  return Object.fromEntries(said) as { readonly [_ in K]?: string }
}

/** The name of an order: whoever has lost the answer sends the same once more. */
function nameOf({ request }: Call): string {
  const name = request.headers['idempotency-key']
  if (typeof name === 'string' && /^[\w.:-]{1,128}$/.test(name)) return name
  throw new Refused('malformed', 'Name the order in the field Idempotency-Key.')
}

async function clearingIn(call: Call, here: AdminShop): Promise<Clearing> {
  const idempotencyKey = nameOf(call)
  const body = await call.body('account', 'to', 'reason', 'by', 'amount', 'asset')
  const [from = '', to = ''] = [textIn(body, 'account'), textIn(body, 'to')]
  const [reason = '', by = ''] = [textIn(body, 'reason'), textIn(body, 'by')]
  const standing = (await here.ledger.balances(from)).map(({ asset }) => asset)
  const asset = textIn(body, 'asset') ?? standing[0] ?? ''
  if (standing.length > 1 && body['asset'] === undefined)
    throw new Refused('malformed', `Name one asset of these: ${standing.join(', ')}.`)
  const price = priceIn(body)
  const amount = price && unitsIn(price, asset, namerOf(here))
  return {
    ...{ from, to, asset, reason, by, idempotencyKey },
    ...(amount !== undefined && { amount }),
  }
}

/** An amount in the words of the asset that stands there, and no other. */
function unitsIn(price: Price, asset: string, nameAsset: NameAsset): bigint {
  const { code, scale } = nameAsset(asset) ?? { code: asset, scale: 0 }
  try {
    return toMoney(price, { id: asset, code, scale }).amount
  } catch (error) {
    throw error instanceof RangeError ? new Refused('malformed', error.message) : error
  }
}

async function orderIn(call: Call): Promise<RefundOrder> {
  const idempotencyKey = nameOf(call)
  const body = await call.body('key', 'amount', 'reason', 'to')
  const key = textIn(body, 'key')
  if (key === undefined) throw new Refused('malformed', 'Which payment is to go back?')
  const [amount, reason, to] = [priceIn(body), textIn(body, 'reason'), textIn(body, 'to')]
  return {
    key,
    idempotencyKey,
    ...(amount && { amount }),
    ...(reason !== undefined && { reason }),
    ...(to !== undefined && { to }),
  }
}

function textIn(body: JsonObject, name: string): string | undefined {
  const said = body[name]
  if (said === undefined || said === '') return undefined
  if (typeof said === 'string' && said.length <= REASON_CHARS_MAX) return said
  throw new Refused('malformed', `"${name}" is a text of at most ${REASON_CHARS_MAX} characters.`)
}

function priceIn(body: JsonObject): Price | undefined {
  const said = textIn(body, 'amount')
  if (said === undefined) return undefined
  try {
    return readPrice(said)
  } catch (error) {
    throw error instanceof RangeError ? new Refused('malformed', error.message) : error
  }
}

function restJson(outcome: RestOutcome): JsonObject {
  if (outcome.kind === 'denied') return { ...outcome }
  const { kind, account, parts } = outcome
  return { kind, account, parts: parts.map(outcomeJson) }
}

function outcomeJson(outcome: RefundOutcome): JsonObject {
  if (outcome.kind === 'denied') return { ...outcome }
  const { kind, key } = outcome
  const said = { kind, key, amount: writeMoney(outcome.amount) }
  if (outcome.kind === 'open') return said
  const { to, reference, settledAt } = outcome
  return { ...said, to, reference, settled: new Date(settledAt).toISOString() }
}
