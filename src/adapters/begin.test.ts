import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fiat } from '../core/fiat.ts'
import type { JsonObject } from '../core/json.ts'
import { createMac } from '../core/mac.ts'
import type { Offer } from '../core/offer.ts'
import { writeOffer } from '../core/offer.ts'
import { createOffers } from '../core/offers.ts'
import type { Answered, Asked, Refusal, Shop } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createHandClock } from '../gate/fixture.test.ts'
import { BEGIN_BYTES_MAX, BEGIN_PATH, beginnings } from './begin.ts'

const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
const resource = { realm: 'r', method: 'GET', authority: 'a', path: '/p', query: '', url: '' }

function world(begin?: (offer: Offer) => Promise<JsonObject>) {
  const clock = createHandClock()
  const begun: Offer[] = []
  const rails = [
    { name: 'chain', network: 'n' },
    {
      name: 'card',
      network: 'n',
      begin: begin ?? (async (offer: Offer) => (begun.push(offer), { payment: 'p' })),
    },
  ]
  const service = beginnings({ rails, offers, clock, eachMax: 2, allMax: 3 })
  const offerOn = (rail: string): Offer =>
    offers.bind(
      {
        rail,
        network: 'n',
        intent: 'charge',
        amount: { asset: fiat('USD'), amount: 100n },
        payee: 'me',
        timeoutMs: 0,
        details: {},
      },
      resource,
      clock.now() + 300_000,
      'nonce',
    )
  async function post(
    body: string,
    address = '192.0.2.1',
    method = 'POST',
  ): Promise<Answered | Refusal> {
    const asked: Asked = {
      method,
      target: BEGIN_PATH,
      fields: new Headers(),
      address,
      text: async (bytesMax) => (body.length > bytesMax ? undefined : body),
    }
    // It sells nothing.
    return service.answer(asked, {} as Shop)
  }
  const said = (offer: Offer): string => JSON.stringify({ offer: writeOffer(offer) })
  return { clock, begun, offerOn, post, said }
}

function codeOf(answer: Answered | Refusal): string | number {
  return 'kind' in answer ? answer.problem.code : answer.status
}

describe('the beginning of a payment', () => {
  test('is what the rail says of an offer of ours', async () => {
    const { begun, offerOn, post, said } = world()
    const offer = offerOn('card')
    const answer = await post(said(offer))
    assert.ok('status' in answer)
    assert.deepEqual([answer.status, JSON.parse(answer.body)], [200, { payment: 'p' }])
    assert.equal(answer.fields['cache-control'], 'no-store')
    assert.deepEqual(begun, [offer])
  })

  test('is refused for offers of others, of rails that begin nothing, and after their end', async () => {
    const { begun, clock, offerOn, post, said } = world()
    const offer = offerOn('card')
    const dear = { ...offer, amount: { ...offer.amount, amount: 1n } }
    assert.equal(codeOf(await post(said(dear))), 'offer-foreign')
    assert.equal(codeOf(await post(said(offerOn('chain')))), 'credential-malformed')
    assert.equal(codeOf(await post(said(offerOn('nobody')))), 'credential-malformed')
    for (const body of ['', '{', '[]', '{"offer":1}', `{"offer":${'['.repeat(5_000)}`])
      assert.equal(codeOf(await post(body)), 'credential-malformed', body.slice(0, 20))
    assert.equal(codeOf(await post('x'.repeat(BEGIN_BYTES_MAX + 1))), 'body-too-large')
    assert.equal(codeOf(await post(said(offer), undefined, 'GET')), 405)
    assert.equal(begun.length, 0)
    assert.equal(codeOf(await post(said(offer))), 200)
    clock.pass(400_000)
    assert.equal(codeOf(await post(said(offer))), 'offer-expired')
  })

  test('is counted for each address and for all', async () => {
    const { clock, offerOn, post, said } = world()
    const body = said(offerOn('card'))
    const from = async (address: string): Promise<string | number> =>
      codeOf(await post(body, address))
    assert.deepEqual(
      [await from('a'), await from('a'), await from('a')],
      [200, 200, 'rate-limited'],
    )
    assert.deepEqual([await from('b'), await from('b')], [200, 'rate-limited'])
    clock.pass(60_000)
    assert.equal(await from('b'), 200)
  })

  test('is a fault where the world cannot be asked', async () => {
    const { offerOn, post, said } = world(() =>
      Promise.reject(new PaymentError('rail-unavailable', 'Down.')),
    )
    await assert.rejects(post(said(offerOn('card'))), { code: 'rail-unavailable' })
  })
})
