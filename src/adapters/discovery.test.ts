import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { validate } from 'mppx/discovery'
import type { JsonObject } from '../core/json.ts'
import type { Answered, Asked, Refusal, Shop } from '../core/ports.ts'
import { advertise } from '../protocols/mpp/index.ts'
import { exact } from '../rails/evm/exact.ts'
import { discovery } from './discovery.ts'
import type { DiscoverySettings } from './discovery.ts'
import { readPlans } from './plans.ts'

const payTo = '0x209693Bc6afc0C5328bA36FaF03C514EF312287C'
const usdc = '0x036CbD53842c5426634e7929541eC2318f3dCF7e'
const settings: DiscoverySettings = {
  title: 'Weather',
  description: 'What the sky does.',
  categories: ['data'],
  docs: { homepage: 'https://weather.example/' },
  routes: {
    'GET /weather': {
      price: '0.01 USD',
      description: 'The weather\nnow',
      mimeType: 'application/json',
    },
    'POST /report/:id': { price: () => '0.02 USD' },
    'GET /maps/*': { plan: 'maps' },
    '/all': '5 SAT',
    'GET /free': 'free',
  },
  operations: { 'POST /report/:id': { summary: 'A report', requestBody: { content: {} } } },
  offers: advertise([exact({ network: 'base-sepolia', payTo })]),
}
const plans = readPlans({ maps: { price: '1 USD' } })

async function ask(path: string, method = 'GET', said = settings): Promise<Answered | Refusal> {
  const shop = { resource: { path }, plans } as unknown as Shop
  const asked = { method, target: path } as Asked
  return await discovery(said).answer(asked, shop)
}

async function read(path: string, said = settings): Promise<Answered> {
  const answered = await ask(path, 'GET', said)
  assert.ok('body' in answered)
  return answered
}

interface Told extends JsonObject {
  readonly paths: Readonly<Record<string, Readonly<Record<string, JsonObject>>>>
}

describe('what is sold', () => {
  test('is told as the reference client checks it, without an error', async () => {
    const { body, fields } = await read('/openapi.json')
    assert.equal(fields['Content-Type'], 'application/json')
    assert.equal(fields['Cache-Control'], 'public, max-age=300')
    const told = JSON.parse(body) as Told
    assert.deepEqual(validate(told), [])
    assert.deepEqual(told['x-service-info'], {
      categories: ['data'],
      docs: { llms: '/llms.txt', homepage: 'https://weather.example/' },
    })
    assert.deepEqual(Object.keys(told.paths).toSorted(), [
      '/all',
      '/maps/{rest}',
      '/report/{id}',
      '/weather',
    ])
  })

  test('costs what a challenge would ask for', async () => {
    const { paths } = JSON.parse((await read('/openapi.json')).body) as Told
    const offers = (path: string, verb = 'get'): unknown =>
      (paths[path]?.[verb]?.['x-payment-info'] as JsonObject | undefined)?.['offers']
    const offer = { method: 'evm', intent: 'charge', currency: usdc }
    assert.deepEqual(offers('/weather'), [
      { ...offer, amount: '10000', description: 'The weather\nnow' },
    ])
    assert.deepEqual(offers('/maps/{rest}'), [{ ...offer, amount: '1000000' }])
    const unknown = [{ intent: 'charge', amount: null }]
    assert.deepEqual(offers('/report/{id}', 'post'), unknown)
    // No rail here takes satoshis.
    assert.deepEqual(offers('/all', 'delete'), unknown)
    assert.deepEqual(Object.keys(paths['/all'] ?? {}), ['get', 'post', 'put', 'patch', 'delete'])
  })

  test('has what else is known of an operation, and a name for each part of a path', async () => {
    const { paths } = JSON.parse((await read('/openapi.json')).body) as Told
    const report = paths['/report/{id}']?.['post']
    assert.equal(report?.['summary'], 'A report')
    assert.deepEqual(report?.['requestBody'], { content: {} })
    const [first] = (report?.['parameters'] ?? []) as readonly JsonObject[]
    assert.deepEqual([first?.['name'], first?.['in'], first?.['required']], ['id', 'path', true])
    const wrong = { ...settings, operations: { 'GET /nowhere': {} } }
    assert.throws(() => discovery(wrong), /"GET \/nowhere"/)
  })

  test('is told to models in plain words', async () => {
    const { body, fields } = await read('/llms.txt')
    assert.equal(fields['Content-Type'], 'text/plain; charset=utf-8')
    assert.match(body, /^# Weather\n/)
    assert.match(body, /- `GET \/weather` — 0\.01 USD: The weather now\n/)
    assert.match(body, /- `POST \/report\/:id` — depends on the request/)
    assert.doesNotMatch(body, /\/free/)
  })

  test('is only read', async () => {
    assert.ok('body' in (await ask('/openapi.json', 'HEAD')))
    const refused = await ask('/openapi.json', 'POST')
    assert.ok('problem' in refused && refused.problem.code === 'route-undeclared')
  })
})
