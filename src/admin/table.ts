import type { JsonObject } from '../core/json.ts'
import { groupings } from './revenue.ts'
import { paymentStates } from '../books/reader.ts'
import { PAGE_MAX } from './payments.ts'
import type { Route } from './route.ts'
import { EXPORT_LINES_MAX, exportFormats, FEED_ROWS_MAX } from './streams.ts'
import { STATEMENT_PAGE_MAX, TOKENS_PAGE_MAX } from './tokens.ts'

const text = { type: 'string' } as const
const whole = { type: 'integer', minimum: 0 } as const
const flag = { type: 'boolean' } as const
const time = { type: 'string', format: 'date-time' } as const
const moment: JsonObject = {
  type: 'string',
  description: 'A day or a time: 2026-03-01, 2026-03-01T12:00:00Z.',
}
const words = (all: readonly string[]): JsonObject => ({ type: 'string', enum: all })
const list = (items: JsonObject): JsonObject => ({ type: 'array', items })
const ref = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` })

/** An object that has these members; those behind the bar need not be there. */
function object(members: JsonObject, optional: JsonObject = {}): JsonObject {
  return {
    type: 'object',
    properties: { ...members, ...optional },
    required: Object.keys(members),
    additionalProperties: false,
  }
}

const quantity = { amount: text, code: text, units: text }

const taxLine = { name: text, percent: text, amount: ref('Quantity') }

/** The shapes that several answers share. */
export const shapes: Readonly<Record<string, JsonObject>> = {
  Problem: object({ type: text, title: text, status: whole, detail: text, code: text }),
  Quantity: object(quantity, { asset: text }),
  Payment: object(
    {
      sequence: whole,
      time,
      kind: words(['sale', 'refund', 'withdrawal', 'purchase', 'facilitated']),
      state: words(paymentStates),
      key: text,
      route: text,
      payer: text,
      rail: text,
      network: text,
      amount: ref('Quantity'),
      reference: text,
      request: text,
      remark: text,
    },
    {
      of: text,
      life: text,
      links: list(ref('Link')),
      cost: ref('Quantity'),
      value: object({ currency: text, amount: text, rate: text, source: text }),
      tax: object(taxLine, { lines: list(object(taxLine)) }),
    },
  ),
  Link: object({ label: text, url: { type: 'string', format: 'uri' } }),
  Story: object(
    {
      payment: ref('Payment'),
      links: list(ref('Link')),
      rows: list(object({ sequence: whole, time, type: text, data: { type: 'object' } })),
      refunds: list(ref('Payment')),
    },
    { life: text, means: text, refundable: ref('Quantity'), reversed: time },
  ),
  Outcome: object(
    { kind: words(['refunded', 'open', 'denied']) },
    { key: text, amount: text, to: text, reference: text, settled: time, code: text, detail: text },
  ),
  RestOutcome: object(
    { kind: words(['refunded', 'open', 'denied']) },
    { account: text, parts: list(ref('Outcome')), code: text, detail: text },
  ),
  Booked: object(
    { kind: words(['booked', 'denied']) },
    { key: text, amount: ref('Quantity'), from: text, to: text, code: text, detail: text },
  ),
  Item: object(
    {
      kind: words(['unknown', 'prepared', 'refund', 'suspense', 'missing', 'loss']),
      amount: ref('Quantity'),
      advice: text,
    },
    { key: text, account: text, since: time, payer: text, rail: text, of: text, detail: text },
  ),
  Token: object(
    {
      id: text,
      plan: text,
      state: words(['good', 'expired', 'revoked']),
      opened: time,
      expires: text,
    },
    { payer: text, payment: text, uses: whole, balance: text },
  ),
  Balance: object({ account: text, ...quantity, asset: text, pending: text }),
}

const page = (most: number): JsonObject => ({ type: 'integer', minimum: 1, maximum: most })
const problemOf = (means: string): { means: string; schema: JsonObject } => ({
  means,
  schema: ref('Problem'),
})

/** The names of the operations. */
export type RouteName =
  | 'logIn'
  | 'session'
  | 'logOut'
  | 'description'
  | 'payments'
  | 'payment'
  | 'refund'
  | 'events'
  | 'feed'
  | 'revenue'
  | 'attention'
  | 'book'
  | 'tokens'
  | 'token'
  | 'tokenStatement'
  | 'revokeToken'
  | 'refundToken'
  | 'balances'
  | 'rails'
  | 'limits'
  | 'export'

/** A route of the table. */
export interface Operation extends Route {
  readonly name: RouteName
}

/** The admin API: what may be asked, and what is answered. The server and its OpenAPI description are both made from it. */
export const table: readonly Operation[] = [
  {
    method: 'POST',
    path: '/api/session',
    name: 'logIn',
    summary: 'Log in: the answer sets a cookie.',
    isOpen: true,
    body: object({ token: text }),
    answers: { 204: { means: 'You are logged in.' }, 429: problemOf('Too many wrong tokens.') },
  },
  {
    method: 'GET',
    path: '/api/session',
    name: 'session',
    summary: 'Whether you are logged in, and until when.',
    isOpen: true,
    answers: {
      200: { means: 'Whether you are.', schema: object({ isLoggedIn: flag }, { expires: time }) },
    },
  },
  {
    method: 'DELETE',
    path: '/api/session',
    name: 'logOut',
    summary: 'Log out.',
    isOpen: true,
    answers: { 204: { means: 'You are logged out.' } },
  },
  {
    method: 'GET',
    path: '/api/openapi.json',
    name: 'description',
    summary: 'This description.',
    answers: { 200: { means: 'OpenAPI 3.1.', schema: { type: 'object' } } },
  },
  {
    method: 'GET',
    path: '/api/payments',
    name: 'payments',
    summary: 'Payments as they stand now, the newest first.',
    query: {
      cursor: { ...whole, description: '`next` of the page before.' },
      after: {
        ...whole,
        description:
          'Instead of `cursor`: the oldest first, from behind that row of the journal on. `next` is then where to go on.',
      },
      limit: page(PAGE_MAX),
      route: text,
      rail: text,
      payer: text,
      state: words(paymentStates),
      kind: words(['sale', 'refund', 'withdrawal', 'purchase', 'facilitated']),
      since: moment,
    },
    answers: {
      200: {
        means: 'A page; without `next` it is the last. A page may be short and have a next one.',
        schema: object({ payments: list(ref('Payment')) }, { next: whole }),
      },
    },
  },
  {
    method: 'GET',
    path: '/api/payments/{key}',
    name: 'payment',
    summary: 'The whole story of one payment.',
    answers: {
      200: { means: 'The story.', schema: ref('Story') },
      404: problemOf('There is no payment under this key.'),
    },
  },
  {
    method: 'POST',
    path: '/api/refunds',
    name: 'refund',
    summary: 'Give a payment back, whole or in part.',
    fields: {
      'Idempotency-Key': {
        type: 'string',
        pattern: '^[A-Za-z0-9._:-]{1,128}$',
        description:
          'The same order under the same key is carried out once, however often it is sent.',
      },
    },
    body: object(
      { key: text },
      {
        amount: { type: 'string', description: 'Like "0.01 USD"; all that is left if absent.' },
        reason: text,
        to: { type: 'string', description: 'Whom to pay, where the rail does not know who paid.' },
      },
    ),
    answers: {
      200: { means: 'The money has gone back.', schema: ref('Outcome') },
      202: {
        means: 'It is under way: the same order tells how it stands.',
        schema: ref('Outcome'),
      },
      409: { means: 'Nothing was given back, and why.', schema: ref('Outcome') },
    },
  },
  {
    method: 'GET',
    path: '/api/events',
    name: 'events',
    summary: 'What happens, as it happens, in this process: server-sent events.',
    fields: { 'Last-Event-ID': text },
    media: ['text/event-stream'],
    answers: {
      200: { means: 'One JSON object for each event; `missed` says how many were dropped.' },
    },
  },
  {
    method: 'GET',
    path: '/api/feed',
    name: 'feed',
    summary: 'What happened, as CloudEvents out of the books, in their order: nothing is missed.',
    query: {
      after: {
        ...whole,
        description:
          'Behind that row of the journal: `next` of the answer before. The end if absent.',
      },
      limit: page(FEED_ROWS_MAX),
    },
    answers: {
      200: {
        means:
          'Events of so many rows; of most rows nothing is told. With `more` there may be others behind.',
        schema: object({ events: list({ type: 'object' }), next: whole, more: flag }),
      },
    },
  },
  {
    method: 'GET',
    path: '/api/revenue',
    name: 'revenue',
    summary: 'What was earned over time: sales less all that went back.',
    query: {
      by: words(groupings),
      bucket: words(['day', 'hour']),
      since: moment,
      until: moment,
      unit: { type: 'string', description: 'A currency, or the code of an asset.' },
    },
    answers: {
      200: {
        means:
          'Sums for each bucket (UTC). While `isComplete` is false the books are still being read.',
        schema: object(
          {
            by: words(groupings),
            bucket: words(['day', 'hour']),
            unit: text,
            units: list(text),
            starts: list(time),
            groups: list(object({ group: text, total: text, count: whole, values: list(text) })),
            total: text,
            count: whole,
            isComplete: flag,
          },
          { upTo: time },
        ),
      },
    },
  },
  {
    method: 'GET',
    path: '/api/attention',
    name: 'attention',
    summary: 'What is open and needs a look, with what to do.',
    answers: {
      200: {
        means:
          'Items, the oldest first; `underWay` counts payments that are merely being worked on.',
        schema: object({ items: list(ref('Item')), count: whole, underWay: whole }),
      },
    },
  },
  {
    method: 'POST',
    path: '/api/bookings',
    name: 'book',
    summary: 'Book a difference away: out of suspense, or what is missing or lost.',
    fields: {
      'Idempotency-Key': {
        type: 'string',
        pattern: '^[A-Za-z0-9._:-]{1,128}$',
        description: 'The same order under the same key is carried out once.',
      },
    },
    body: object(
      {
        account: { type: 'string', description: 'Where it stands: "account" of an open item.' },
        to: {
          type: 'string',
          description:
            'From suspense to sales/…, income/… or equity/…; from world/missing/… and world/losses/… to world/written-off/….',
        },
        reason: text,
        by: { type: 'string', description: 'Who wants it, for the books.' },
      },
      {
        amount: {
          type: 'string',
          description: 'Like "0.01 USDC"; all that stands there if absent.',
        },
        asset: { type: 'string', description: 'Its id, where several stand there.' },
      },
    ),
    answers: {
      200: { means: 'It is booked.', schema: ref('Booked') },
      409: { means: 'Nothing was booked, and why.', schema: ref('Booked') },
    },
  },
  {
    method: 'GET',
    path: '/api/tokens',
    name: 'tokens',
    summary: 'Accounts that tokens draw on.',
    query: {
      cursor: text,
      limit: page(TOKENS_PAGE_MAX),
      id: { type: 'string', description: 'How the id begins.' },
      payer: text,
      plan: text,
    },
    answers: {
      200: { means: 'A page.', schema: object({ tokens: list(ref('Token')) }, { next: text }) },
    },
  },
  {
    method: 'GET',
    path: '/api/tokens/{id}',
    name: 'token',
    summary: 'One account.',
    answers: {
      200: { means: 'The account.', schema: ref('Token') },
      404: problemOf('There is no such account.'),
    },
  },
  {
    method: 'GET',
    path: '/api/tokens/{id}/statement',
    name: 'tokenStatement',
    summary: 'What went into an account and out of it.',
    query: { cursor: text, limit: page(STATEMENT_PAGE_MAX) },
    answers: {
      200: {
        means: 'A page.',
        schema: object(
          {
            entries: list(
              object({
                time,
                type: words(['bought', 'topped-up', 'drawn', 'held', 'released', 'given-back']),
                amount: text,
                what: text,
              }),
            ),
          },
          { next: text },
        ),
      },
      404: problemOf('There is no such account.'),
    },
  },
  {
    method: 'POST',
    path: '/api/tokens/{id}/revoke',
    name: 'revokeToken',
    summary: 'Revoke all tokens of an account, for good.',
    answers: {
      200: { means: 'It is revoked.', schema: ref('Token') },
      404: problemOf('There is no such account.'),
    },
  },
  {
    method: 'POST',
    path: '/api/tokens/{id}/refund',
    name: 'refundToken',
    summary: 'Give back what is left of a token to whoever paid for it, and revoke it.',
    body: object({}, { reason: text, to: text }),
    answers: {
      200: { means: 'It has gone back.', schema: ref('RestOutcome') },
      202: {
        means: 'It is under way: the same order tells how it stands.',
        schema: ref('RestOutcome'),
      },
      409: { means: 'Nothing was given back, and why.', schema: ref('RestOutcome') },
    },
  },
  {
    method: 'GET',
    path: '/api/balances',
    name: 'balances',
    summary: 'What stands in the books, by class of account.',
    answers: {
      200: {
        means: 'Classes of accounts, with their sums.',
        schema: object({
          classes: list(
            object({
              name: text,
              kind: words(['income', 'outside', 'owed', 'cost', 'count']),
              means: text,
              count: whole,
              sums: list(object({ ...quantity, asset: text, pending: text })),
              accounts: list(ref('Balance')),
            }),
          ),
        }),
      },
    },
  },
  {
    method: 'GET',
    path: '/api/rails',
    name: 'rails',
    summary: 'How the rails are, and what this process has counted since it started.',
    answers: {
      200: {
        means: 'The rails.',
        schema: object(
          {
            rails: list(
              object(
                {
                  name: text,
                  network: text,
                  state: words(['good', 'bad', 'not looked at']),
                  settled: whole,
                  refunds: flag,
                },
                { trouble: text, lastSettled: time },
              ),
            ),
            since: time,
            challenged: whole,
            refused: whole,
            faults: whole,
          },
          { lastFault: object({ time, where: text }) },
        ),
      },
    },
  },
  {
    method: 'GET',
    path: '/api/limits',
    name: 'limits',
    summary: 'Limits as they were configured, and how far those in the books are used.',
    answers: {
      200: {
        means: 'The limits.',
        schema: object({
          configured: { type: 'object' },
          count: whole,
          used: list(
            object({ account: text, ...quantity, asset: text, pending: text, means: text }),
          ),
        }),
      },
    },
  },
  {
    method: 'GET',
    path: '/api/export',
    name: 'export',
    summary: 'All entries of the books, for a spreadsheet or a program.',
    query: {
      format: words(exportFormats),
      since: moment,
      until: moment,
      only: words(['all', 'cash']),
      after: { ...whole, description: 'Behind that row of the journal.' },
      limit: { ...page(EXPORT_LINES_MAX), description: 'Most entries; all if absent.' },
    },
    media: ['text/csv', 'application/x-ndjson'],
    answers: { 200: { means: 'A file, written while the books are read.' } },
  },
]
