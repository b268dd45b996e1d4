// What is documented is what is answered: every operation is asked of a real server, and its answer held against its schema.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { readFile } from 'node:fs/promises'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { openStage, TOKEN } from '../../test/dashboard/stage.ts'
import type { Stage } from '../../test/dashboard/stage.ts'
import { send } from './fixture.test.ts'
import { writeOpenApi } from './openapi.ts'
import { shapes, table } from './table.ts'
import type { Operation, RouteName } from './table.ts'

let stage: Stage
let token: string
before(async () => {
  stage = await openStage()
  await stage.pay('GET /a', '0.05 USD', 'sale/one')
  await stage.pay('GET /a', '0.05 USD', 'two')
  await assert.rejects(() => stage.pay('GET /a', '0.05 USD', 'lost'))
  token = await stage.buy('token')
  await stage.find('suspense/test/net/seller', 50_000n)
})
after(() => stage?.close())

const ajv = new Ajv2020({ strict: false, validateFormats: false })
ajv.addSchema({ $id: 'api', components: { schemas: shapes } })

/** What is asked for each operation, and which status is expected. */
const asked: Readonly<Record<RouteName, () => readonly (readonly [string, number, unknown?])[]>> = {
  logIn: () => [
    ['/api/session', 204, { token: TOKEN }],
    ['/api/session', 401, { token: 'wrong' }],
  ],
  session: () => [['/api/session', 200]],
  logOut: () => [['/api/session', 204]],
  description: () => [['/api/openapi.json', 200]],
  payments: () => [
    ['/api/payments', 200],
    ['/api/payments?state=delivered&limit=1&kind=sale&rail=test', 200],
    ['/api/payments?limit=0', 400],
    ['/api/payments?after=0&limit=1&kind=sale', 200],
  ],
  payment: () => [
    ['/api/payments/sale%2Fone', 200],
    ['/api/payments/lost', 200],
    ['/api/payments/none', 404],
  ],
  refund: () => [
    ['/api/refunds', 200, { key: 'sale/one', amount: '0.01 USD' }],
    ['/api/refunds', 409, { key: 'none' }],
  ],
  events: () => [],
  feed: () => [
    ['/api/feed', 200],
    ['/api/feed?after=0&limit=3', 200],
    ['/api/feed?after=x', 400],
  ],
  revenue: () => [
    ['/api/revenue', 200],
    ['/api/revenue?by=payer&bucket=hour&unit=USD', 200],
  ],
  attention: () => [['/api/attention', 200]],
  book: () => [
    [
      '/api/bookings',
      200,
      {
        ...{ account: 'suspense/test/net/seller', to: 'income/gifts', amount: '0.01 COIN' },
        ...{ reason: 'a gift', by: 'ann' },
      },
    ],
    [
      '/api/bookings',
      409,
      { account: 'sales/GET /a', to: 'income/x', reason: 'mine now', by: 'eve' },
    ],
    [
      '/api/bookings',
      400,
      {
        ...{ account: 'suspense/test/net/seller', to: 'income/gifts', amount: '1 USDT' },
        ...{ reason: 'r', by: 'b' },
      },
    ],
  ],
  tokens: () => [['/api/tokens', 200]],
  token: () => [
    [`/api/tokens/${token}`, 200],
    ['/api/tokens/none', 404],
  ],
  tokenStatement: () => [[`/api/tokens/${token}/statement`, 200]],
  revokeToken: () => [
    [`/api/tokens/${token}/revoke`, 200, {}],
    ['/api/tokens/none/revoke', 404, {}],
  ],
  refundToken: () => [[`/api/tokens/none/refund`, 409, {}]],
  balances: () => [['/api/balances', 200]],
  rails: () => [['/api/rails', 200]],
  limits: () => [['/api/limits', 200]],
  export: () => [
    ['/api/export', 200],
    ['/api/export?format=ndjson', 200],
    ['/api/export?format=ndjson&after=1&limit=1', 200],
  ],
}

test('every operation answers as it is documented', async () => {
  const seen: string[] = []
  for (const operation of table) {
    seen.push(operation.name)
    let order = 0
    for (const [path, status, body] of asked[operation.name]()) {
      const answer = await send(stage.url, path, {
        method: operation.method,
        fields: {
          authorization: `Bearer ${TOKEN}`,
          'content-type': 'application/json',
          'idempotency-key': `${operation.name}-${order++}`,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      assert.equal(answer.status, status, `${path}: ${answer.text}`)
      check(operation, path, status, answer.json)
    }
  }
  assert.deepEqual(seen.toSorted(), Object.keys(asked).toSorted())
})

function check({ answers, media }: Operation, path: string, status: number, json: unknown): void {
  const said = answers[status]
  const schema = said ? said.schema : shapes['Problem']
  if (media || schema === undefined) return
  const text = JSON.stringify(schema).replaceAll('"#/components', '"api#/components')
  const valid = ajv.compile(JSON.parse(text) as object)
  assert.ok(valid(json), `${path}: ${ajv.errorsText(valid.errors)}`)
}

test('the description in the repository is the one that is served', async () => {
  const file = new URL('../../schemas/admin.openapi.json', import.meta.url)
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), writeOpenApi())
})

test('the description is OpenAPI 3.1: every reference leads somewhere, every name is there once', () => {
  const text = JSON.stringify(writeOpenApi())
  const wanted = [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name = '']) => name)
  assert.ok(wanted.length > 20)
  assert.deepEqual(
    wanted.filter((name) => !(name in shapes)),
    [],
  )
  const names = table.map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
})
