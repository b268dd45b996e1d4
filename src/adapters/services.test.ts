import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import type { Service } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { createDirectory } from './services.ts'
import { createWorld, ORIGIN } from './shop.test.ts'

function serviceOf(name: string, ...paths: readonly string[]): Service {
  const answered = { status: 200, fields: { 'Content-Type': 'text/plain' }, body: name }
  return { paths, answer: async () => answered }
}

describe('a directory', () => {
  test('finds a whole path before what lies below another, and the first of two', () => {
    const [a, b, c] = [serviceOf('a', '/x/*', '/y'), serviceOf('b', '/x/y'), serviceOf('c', '/y')]
    const find = createDirectory([a, b, c])
    assert.equal(find('/x/y'), b)
    assert.equal(find('/x/z'), a)
    assert.equal(find('/x/'), a)
    assert.equal(find('/y'), a)
    for (const path of ['/x', '/', '', '/Y', '/y/', '/xx/y']) assert.equal(find(path), undefined)
  })
})

describe('a service', () => {
  const plans = { day: { price: '1 USD' } }

  test('answers before the routes do, at its paths alone', async () => {
    const services = [serviceOf('about', '/about')]
    const node = await createWorld({ '* /*': '0.01 USD' }, { services }).open()
    const { status, text, fields } = await node.ask('/about')
    assert.deepEqual([status, text], [200, 'about'])
    assert.equal(fields.get('content-length'), '5')
    assert.equal(fields.get('access-control-allow-origin'), '*')
    assert.match(fields.get('vary') ?? '', /Fake-Payment/)
    assert.equal((await node.ask('/about', { method: 'HEAD' })).text, '')
    assert.equal((await node.ask('/about', { method: 'OPTIONS' })).status, 204)
    assert.equal((await node.ask('/About')).status, 402)
    assert.equal((await node.ask('/about/')).status, 402)
    await node.seller.close()
  })

  test('refuses as all of the house does, and what it throws is a fault that tells nothing', async () => {
    const events: Event[] = []
    const no = problem('token-insufficient', 'Not for you.')
    const services: readonly Service[] = [
      { paths: ['/no'], answer: async () => ({ kind: 'refused', problem: no }) },
      { paths: ['/bug'], answer: () => Promise.reject(new Error('secret detail')) },
    ]
    const observe = (event: Event): void => void events.push(event)
    const node = await createWorld({}, { services, observe }).open()
    const refused = await node.ask('/no')
    assert.deepEqual([refused.status, refused.body['code']], [403, 'token-insufficient'])
    const broken = await node.ask('/bug')
    assert.deepEqual([broken.status, broken.body['code']], [500, 'internal'])
    assert.doesNotMatch(broken.text, /secret/)
    assert.equal(events.filter(({ type }) => type === 'fault').length, 1)
    await node.seller.close()
  })

  test('sells plans, once for one payment, and reads no more of a body than it wants', async () => {
    const answer: Service['answer'] = async (asked, shop) => {
      const plan = shop.plans.get('day')
      const text = await asked.text(4)
      if (!plan || text === undefined) return { status: 413, fields: {}, body: '' }
      const bought = await shop.buy(plan)
      return bought.kind === 'refused'
        ? bought
        : { status: 200, fields: {}, body: bought.account.id }
    }
    const { open, moved } = createWorld({}, { plans, services: [{ paths: ['/day'], answer }] })
    const node = await open()
    const order = { method: 'POST', body: 'abcd' }
    assert.equal((await node.ask('/day', order)).status, 402)
    const bought = await node.ask('/day', { ...order, nonce: 'n1' })
    assert.deepEqual([bought.status, bought.fields.get('fake-receipt')], [200, 'tx-n1'])
    const { payment = '' } = bought
    assert.equal((await node.ask('/day', { ...order, payment })).text, bought.text)
    assert.equal((await node.ask('/day', { ...order, body: 'abcde' })).status, 413)
    assert.equal(moved.size, 1)
    await node.seller.close()
  })

  test('is found under the public name of the shop alone', async () => {
    const services = [serviceOf('about', '/about')]
    const node = await createWorld({}, { services, origin: 'https://other.test' }).open()
    assert.equal((await node.ask('/about')).status, 421)
    await node.seller.close()
    const ours = await createWorld({}, { services, origin: ORIGIN }).open()
    assert.equal((await ours.ask('/about')).status, 200)
    await ours.seller.close()
  })
})
