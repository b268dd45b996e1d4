// The rail by itself, against a stand-in for Stripe whose clock is turned by hand.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Stripe } from 'stripe'
import { purposeHash } from '../../core/fiat.ts'
import type { JsonObject } from '../../core/json.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Log, Rail, Settlement, Step } from '../../core/ports.ts'
import { createHandClock } from '../../gate/fixture.test.ts'
import type { StripeStandIn } from '../../sandbox/processors/index.ts'
import { startStripe } from '../../sandbox/processors/index.ts'
import { LATE_MS, PAGES_MAX, RESEND_MS } from './charge.ts'
import type { Proof, StripeClient, StripeSettings } from './index.ts'
import { createRecorder, stripe, stripeCrypto } from './index.ts'
import { minimums } from './minimum.ts'

const clock = createHandClock()
let standIn: StripeStandIn
before(async () => {
  standIn = await startStripe({ clock })
})
after(() => standIn.close())

function clientOf(secretKey = standIn.secretKey): Stripe {
  const { port } = standIn
  const where = { host: '127.0.0.1', port, protocol: 'http', telemetry: false } as const
  return new Stripe(secretKey, { ...where, maxNetworkRetries: 0 })
}

function railOf(change: Partial<StripeSettings> = {}): Rail {
  return stripe({ client: clientOf(), mode: 'test', profile: 'profile_test', clock, ...change })
}

let made = 0

function offerOf(rail: Rail, price = '1.00 USD', path = '/a'): Offer {
  const [terms = assert.fail('terms')] = rail.quote(readPrice(price))
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path, query: '' }
  const resource = { ...where, url: `http://api.test${path}` }
  return { ...terms, id: `n${++made}.mac`, resource, expiresAt: clock.now() + 300_000 }
}

function idIn(begun: JsonObject | undefined): string {
  const id = begun?.['payment_intent']
  return typeof id === 'string' ? id : assert.fail('an intent')
}

function createLog(): Log & { readonly steps: Step[] } {
  const steps: Step[] = []
  return { steps, read: async () => steps, write: async (step) => void steps.push(step) }
}

async function charge(
  rail: Rail,
  offer: Offer,
  token: string,
  log: Log,
): Promise<{ readonly key: string; readonly settlement: Settlement }> {
  const proof: Proof = { kind: 'token', token }
  const { key } = rail.identify(offer, proof)
  return { key, settlement: await rail.settle(offer, proof, key, log) }
}

function reasonOf(settlement: Settlement | undefined): string {
  if (settlement?.state !== 'failed') return settlement?.state ?? 'none'
  return settlement.problem.reason ?? settlement.problem.code
}

describe('opening', () => {
  test('finds a key that is none, and one for the other kind of money', async () => {
    await railOf().open()
    await assert.rejects(railOf({ client: clientOf('sk_test_wrong') }).open(), {
      code: 'misconfigured',
    })
    await assert.rejects(railOf({ mode: 'live' }).open(), { code: 'misconfigured' })
    const dead: StripeClient = { rawRequest: () => Promise.reject(new Error('No network.')) }
    await assert.rejects(railOf({ client: dead }).open(), { code: 'rail-unavailable' })
  })

  test('settings that cannot be are refused', () => {
    assert.throws(() => railOf({ account: 'somebody' }), RangeError)
    assert.throws(() => railOf({ currencies: ['XAU'] }), RangeError)
    assert.equal(railOf({ account: 'acct_1AbC' }).network, 'stripe:acct_1AbC')
  })
})

describe('the floor', () => {
  test('nothing is quoted below what a card is charged, and nothing finer than a cent', () => {
    const rail = railOf({ currencies: ['USD', 'GBP', 'JPY', 'CZK'] })
    const quoted = (price: string): bigint | undefined =>
      rail.quote(readPrice(price))[0]?.amount.amount
    for (const [price, amount] of [
      ['0.50 USD', 50n],
      ['0.49 USD', undefined],
      ['0.01 USD', undefined],
      ['0.505 USD', undefined],
      ['0.30 GBP', 30n],
      ['0.29 GBP', undefined],
      ['50 JPY', 50n],
      ['49 JPY', undefined],
      ['15 CZK', 1500n],
      ['14.99 CZK', undefined],
      ['999999.99 USD', 99_999_999n],
      ['1000000 USD', undefined],
      ['1 EUR', undefined],
    ] as const)
      assert.equal(quoted(price), amount, price)
  })

  test('the offer says what the least is', () => {
    const rail = railOf()
    const words = rail.forms['bearer']?.writeDetails(offerOf(rail)) as {
      readonly details: JsonObject
    }
    assert.equal(words.details['amount_min'], '50')
  })

  test('every least amount is what the stand-in takes too', async () => {
    const rail = railOf({ currencies: Object.keys(minimums) })
    for (const { asset, currency, scale } of rail.units ?? []) {
      const least = minimums[currency] ?? assert.fail(currency)
      const [terms = assert.fail(currency)] = rail.quote({ currency, amount: least, scale })
      assert.equal(terms.amount.asset.id, asset)
      const token = standIn.state.grant(Number(least), { currency: currency.toLowerCase() })
      const { settlement } = await charge(
        rail,
        { ...offerOf(railOf()), ...terms },
        token,
        createLog(),
      )
      assert.equal(settlement.state, 'settled', currency)
    }
  })
})

describe('charging a token', () => {
  test('is written ahead before it is asked for, and asked for as it was written', async () => {
    const rail = railOf()
    const log = createLog()
    const token = standIn.state.grant(100)
    const calls = standIn.calls.length
    const refusing: Log = { ...log, write: () => Promise.reject(new Error('Full.')) }
    await assert.rejects(charge(rail, offerOf(rail), token, refusing), /Full/)
    assert.equal(standIn.calls.length, calls)
    const { settlement } = await charge(rail, offerOf(rail), token, log)
    assert.equal(settlement.state, 'settled')
    assert.equal(log.steps.length, 1)
    const sent = standIn.calls.at(-1)
    assert.equal(sent?.fields['idempotency-key'], log.steps[0]?.data['spend'])
    assert.match(String(sent?.fields['stripe-version']), /\.preview$/)
  })

  test('a card that is declined, or asks its holder, takes nothing and never will', async () => {
    const rail = railOf()
    const from = standIn.state.charges.size
    const declined = standIn.state.grant(100, { card: 'pm_card_chargeDeclined' })
    assert.equal(
      reasonOf((await charge(rail, offerOf(rail), declined, createLog())).settlement),
      'card-declined',
    )
    const asking = standIn.state.grant(100, { card: 'pm_card_authenticationRequired' })
    const { settlement } = await charge(rail, offerOf(rail), asking, createLog())
    assert.equal(reasonOf(settlement), 'action-required')
    assert.equal([...standIn.state.intents.values()].at(-1)?.status, 'canceled')
    assert.equal(standIn.state.charges.size, from)
    const good = await charge(rail, offerOf(rail), standIn.state.grant(100), createLog())
    assert.equal(good.settlement.state, 'settled')
  })

  test('an intent that must be canceled, and cannot be now, is open until it is', async () => {
    for (const trouble of ['hangup', 'lost', 'down'] as const) {
      const rail = railOf()
      const log = createLog()
      const offer = offerOf(rail)
      const fault = { trouble, path: '/v1/payment_intents/', method: 'POST' }
      standIn.fail(fault, ...(trouble === 'down' ? [] : [fault]))
      const asking = standIn.state.grant(100, { card: 'pm_card_authenticationRequired' })
      const { key, settlement } = await charge(rail, offer, asking, log)
      assert.equal(settlement.state, 'unknown', trouble)
      assert.equal(reasonOf(await rail.find(offer, key, log)), 'action-required', trouble)
    }
  })

  test('a 500 that came after the charge, and is all that the key says ever after, is found by a look', async () => {
    const rail = railOf()
    const log = createLog()
    const offer = offerOf(rail)
    const from = standIn.state.charges.size
    standIn.fail({ trouble: 'broken', method: 'POST', path: '/v1/payment_intents' })
    const { key, settlement } = await charge(rail, offer, standIn.state.grant(100), log)
    assert.equal(settlement.state, 'settled')
    assert.deepEqual(await rail.find(offer, key, log), settlement)
    assert.equal(standIn.state.charges.size - from, 1)
  })

  test('a 500 that came before it is sent again, and is one charge', async () => {
    const rail = railOf()
    const log = createLog()
    const offer = offerOf(rail)
    const from = standIn.state.charges.size
    standIn.fail({ trouble: 'down', method: 'POST', path: '/v1/payment_intents' })
    const { key, settlement } = await charge(rail, offer, standIn.state.grant(100), log)
    assert.equal(settlement.state, 'unknown')
    assert.equal((await rail.find(offer, key, log))?.state, 'settled')
    assert.equal(standIn.state.charges.size - from, 1)
  })

  test('when the key may be forgotten it is not sent again: a whole look decides', async () => {
    const rail = railOf()
    const offer = offerOf(rail)
    const from = standIn.state.charges.size
    const lost = createLog()
    const never = createLog()
    const gone = { path: '/v1/payment_intents' } as const
    standIn.fail(
      { trouble: 'lost', method: 'POST', ...gone },
      { trouble: 'hangup', method: 'POST', ...gone },
      { trouble: 'down', method: 'GET', ...gone },
    )
    const one = await charge(rail, offer, standIn.state.grant(100), lost)
    assert.equal(standIn.state.charges.size - from, 1)
    // The SDK asks once more for what was cut: both are lost.
    standIn.fail(
      { trouble: 'hangup', method: 'POST', ...gone },
      { trouble: 'hangup', method: 'POST', ...gone },
    )
    const other = await charge(rail, offerOf(rail), standIn.state.grant(100), never)
    assert.deepEqual([one.settlement.state, other.settlement.state], ['unknown', 'unknown'])
    const posts = (): number => standIn.calls.filter(({ method }) => method === 'POST').length
    clock.pass(RESEND_MS + 1)
    const before = posts()
    assert.equal((await rail.find(offer, one.key, lost))?.state, 'settled')
    assert.equal((await rail.find(offer, other.key, never))?.state, 'unknown')
    clock.pass(LATE_MS)
    standIn.fail({ trouble: 'down', method: 'GET', ...gone })
    assert.equal((await rail.find(offer, other.key, never))?.state, 'unknown')
    assert.equal(reasonOf(await rail.find(offer, other.key, never)), 'stripe-refused')
    assert.equal(posts(), before)
    assert.equal(standIn.state.charges.size - from, 1)
  })

  for (const isCharged of [true, false])
    test(`a look through more payments than one look reads goes on where it ended, and finds ${isCharged ? 'the charge' : 'that there is none'}`, async () => {
      // Its clock is five minutes behind ours.
      const behind = { ...clock, now: () => clock.now() - 300_000 }
      const busy = await startStripe({ clock: behind })
      try {
        const { port } = busy
        const where = { host: '127.0.0.1', port, protocol: 'http', telemetry: false } as const
        const client = new Stripe(busy.secretKey, { ...where, maxNetworkRetries: 0 })
        const rail = railOf({ client })
        const offer = offerOf(rail)
        const log = createLog()
        const gone = { method: 'POST', path: '/v1/payment_intents' } as const
        busy.fail(
          { trouble: isCharged ? 'lost' : 'hangup', ...gone },
          { trouble: 'hangup', ...gone },
          { trouble: 'down', method: 'GET', path: gone.path },
        )
        const { key, settlement } = await charge(rail, offer, busy.state.grant(100), log)
        assert.equal(settlement.state, 'unknown')
        assert.equal(busy.state.charges.size, isCharged ? 1 : 0)
        const form = { amount: '100', currency: 'usd' }
        const other = { ...gone, path: gone.path, form, isPreview: false, isBrowser: false }
        for (let i = 0; i < PAGES_MAX * 100 + 1; i++) busy.state.answer(other)
        clock.pass(RESEND_MS + LATE_MS + 1)
        assert.equal((await rail.find(offer, key, log))?.state, 'unknown')
        const found = await rail.find(offer, key, log)
        assert.equal(reasonOf(found), isCharged ? 'settled' : 'stripe-refused')
      } finally {
        await busy.close()
      }
    })

  test('whoever slept before he sent sends nothing', async () => {
    const rail = railOf()
    const log = createLog()
    const calls = standIn.calls.length
    const slow: Log = { ...log, write: async (step) => (clock.pass(31_000), log.write(step)) }
    const { settlement } = await charge(rail, offerOf(rail), standIn.state.grant(100), slow)
    assert.equal(settlement.state, 'unknown')
    assert.equal(standIn.calls.length, calls)
  })

  test('a key that was used for something else is no refusal of this charge, and no charge', async () => {
    const rail = railOf()
    const offer = offerOf(rail)
    const token = standIn.state.grant(100)
    const log = createLog()
    // As a later release would have it that asks in other words.
    const early: Log = {
      ...log,
      async write(step) {
        await log.write(step)
        const { spend } = step.data
        assert.ok(typeof spend === 'string')
        const other = { amount: 77, currency: 'usd' }
        await clientOf().paymentIntents.create(other, { idempotencyKey: spend })
      },
    }
    const { key, settlement } = await charge(rail, offer, token, early)
    assert.equal(settlement.state, 'unknown')
    clock.pass(RESEND_MS + LATE_MS + 1)
    assert.equal(reasonOf(await rail.find(offer, key, log)), 'stripe-refused')
  })

  test('its key tells neither the token nor the offer', () => {
    const rail = railOf()
    const offer = offerOf(rail)
    const { key } = rail.identify(offer, { kind: 'token', token: 'spt_secret' })
    assert.match(key, /^stripe\/test\/spt_[0-9a-f]{64}$/)
    const other = rail.identify(offerOf(rail), { kind: 'token', token: 'spt_secret' })
    assert.notEqual(other.key, key)
    assert.notEqual(rail.identify(offer, { kind: 'token', token: 'spt_other' }).key, key)
  })

  test('an answer that names a payment for another offer is none for this one', async () => {
    const rail = railOf()
    const first = offerOf(rail)
    const { settlement } = await charge(rail, first, standIn.state.grant(100), createLog())
    assert.ok(settlement.state === 'settled')
    const intent = standIn.state.intents.get(settlement.reference)
    // A processor that answers every call with the payment of somebody else.
    const client: StripeClient = { rawRequest: async () => ({ ...intent }) }
    const { settlement: other } = await charge(
      railOf({ client }),
      offerOf(rail),
      'spt_any',
      createLog(),
    )
    assert.equal(reasonOf(other), 'intent-foreign')
  })

  test('a token is good for offers that stand, from sellers with a profile', async () => {
    const rail = railOf()
    const offer = offerOf(rail)
    const proof: Proof = { kind: 'token', token: standIn.state.grant(100) }
    const late = { ...offer, expiresAt: clock.now() }
    const verdict = await rail.verify(late, proof)
    assert.ok(!verdict.ok && verdict.problem.code === 'offer-expired')
    const { client, mode } = { client: clientOf(), mode: 'test' as const }
    const none = await stripe({ client, mode, clock }).verify(offer as never, proof)
    assert.ok(!none.ok && none.problem.code === 'credential-unsupported')
    assert.ok((await rail.verify(offer, proof)).ok)
    const short: Proof = { kind: 'token', token: standIn.state.grant(100, { validForMs: 1_000 }) }
    assert.ok((await rail.verify(offer, short)).ok)
    clock.pass(2_000)
    const over = await rail.verify(offer, short)
    assert.ok(!over.ok && over.problem.code === 'proof-expired')
    const euros: Proof = { kind: 'token', token: standIn.state.grant(100, { currency: 'eur' }) }
    const foreign = await rail.verify(offer, euros)
    assert.ok(!foreign.ok && foreign.problem.reason === 'token-unfit')
  })

  test('that Stripe cannot be asked is no verdict', async () => {
    const rail = railOf()
    standIn.fail({ trouble: 'down', path: '/v1/shared_payment' })
    const proof: Proof = { kind: 'token', token: standIn.state.grant(100) }
    await assert.rejects(async () => rail.verify(offerOf(rail), proof), {
      code: 'rail-unavailable',
    })
  })
})

describe('an intent that is shown', () => {
  test('of the other kind of money, canceled, or disputed, is refused', async () => {
    const rail = railOf()
    const offer = offerOf(rail)
    const begin = async (): Promise<string> => idIn(await rail.begin?.(offer))
    // The offer is one of its kind, so that it has one intent.
    const id = await begin()
    assert.equal(await begin(), id)
    const proof: Proof = { kind: 'intent', intent: id }
    await clientOf().paymentIntents.confirm(id, { payment_method: 'pm_card_visa' })
    assert.ok((await rail.verify(offer, proof)).ok)
    assert.equal(
      (await rail.settle(offer, proof, `stripe/test/${id}`, createLog())).state,
      'settled',
    )
    standIn.state.dispute(id)
    const disputed = await rail.verify(offer, proof)
    assert.ok(!disputed.ok && disputed.problem.reason === 'intent-returned')
    assert.equal(
      reasonOf(await rail.find(offer, `stripe/test/${id}`, createLog())),
      'intent-returned',
    )
    const other = offerOf(rail)
    const canceled = idIn(await rail.begin?.(other))
    await clientOf().paymentIntents.cancel(canceled)
    const verdict = await rail.verify(other, { kind: 'intent', intent: canceled })
    assert.ok(!verdict.ok && verdict.problem.reason === 'intent-unpaid')
  })

  test('of another kind buys nothing, though it names the very request', async () => {
    const rail = railOf()
    const offer = offerOf(rail)
    for (const [kind, isGood] of [
      ['intent', true],
      ['record', false],
      ['token', false],
    ] as const) {
      const { id } = await clientOf().paymentIntents.create({
        amount: 100,
        currency: 'usd',
        confirm: true,
        payment_method: 'pm_card_visa',
        metadata: { tolsey_kind: kind, tolsey_purpose: purposeHash(offer.resource) },
      })
      assert.equal((await rail.verify(offer, { kind: 'intent', intent: id })).ok, isGood, kind)
    }
  })

  test('two buyers with equal offers have two intents', async () => {
    const rail = railOf()
    const offer = { ...offerOf(rail), id: 'mac' }
    const ids = await Promise.all([rail.begin?.(offer), rail.begin?.(offer)])
    assert.notEqual(ids[0]?.['payment_intent'], ids[1]?.['payment_intent'])
  })

  test('that nobody has paid yet has no outcome', async () => {
    const rail = railOf()
    const offer = offerOf(rail)
    const id = idIn(await rail.begin?.(offer))
    assert.equal(await rail.find(offer, `stripe/test/${id}`, createLog()), undefined)
    const verdict = await rail.verify(offer, { kind: 'intent', intent: id })
    assert.ok(!verdict.ok && verdict.problem.code === 'payment-in-flight')
  })
})

describe('a refund', () => {
  test('whose key Stripe has forgotten is found, and not sent again', async () => {
    const rail = railOf()
    const offer = offerOf(rail)
    const { settlement } = await charge(rail, offer, standIn.state.grant(100), createLog())
    assert.ok(settlement.state === 'settled')
    const amount = { asset: offer.amount.asset, amount: 40n }
    const log = createLog()
    const back = async (): Promise<Settlement | undefined> =>
      rail.refund?.(offer, 'payer', amount, 'the key', log, settlement.reference)
    const from = standIn.state.refunds.size
    const lost = { trouble: 'lost', method: 'POST', path: '/v1/refunds' } as const
    const down = { trouble: 'down', method: 'GET', path: '/v1/refunds' } as const
    // The SDK asks once more for what was cut.
    standIn.fail(lost, lost, down)
    assert.equal((await back())?.state, 'unknown')
    clock.pass(90_000_000)
    assert.equal((await back())?.state, 'settled')
    assert.equal(standIn.state.refunds.size - from, 1)
    assert.equal(log.steps.length, 1)
  })
})

describe('stablecoins that Stripe takes', () => {
  test('are paid to addresses of the one payment, and buy once', async () => {
    const rail: Rail = stripeCrypto({
      client: clientOf(),
      mode: 'test',
      networks: ['base', 'tempo'],
      clock,
    })
    await rail.open()
    const [terms = assert.fail('terms')] = rail.quote(readPrice('0.01 USD'))
    assert.deepEqual(rail.quote(readPrice('0.001 USD')), [])
    const offer = { ...offerOf(railOf()), ...terms }
    const begun = (await rail.begin?.(offer)) ?? assert.fail('begun')
    assert.deepEqual(Object.keys(begun['deposit_addresses'] as object), ['base', 'tempo'])
    const intent = idIn(begun)
    const early = await rail.verify(offer, { intent })
    assert.ok(!early.ok && early.problem.code === 'payment-in-flight')
    const preview = { apiVersion: '2026-07-29.preview' }
    const path = `/v1/test_helpers/payment_intents/${intent}/simulate_crypto_deposit`
    await clientOf().rawRequest('POST', path, {}, preview)
    const verdict = await rail.verify(offer, { intent })
    assert.ok(verdict.ok && verdict.key === `stripe/test/${intent}`)
    const settled = await rail.settle(offer, { intent }, verdict.key, createLog())
    assert.equal(settled.state, 'settled')
    assert.deepEqual(await rail.find(offer, verdict.key, createLog()), settled)
    // It is the same money for the rail of cards: the same key, and the same reading.
    assert.deepEqual(railOf().identify(offer, { kind: 'intent', intent }).key, verdict.key)
    assert.throws(
      () => stripeCrypto({ client: clientOf(), mode: 'test', networks: ['mars'] }),
      RangeError,
    )
  })

  test('that were settled elsewhere are recorded once each', async () => {
    const recorder = createRecorder({ client: clientOf(), mode: 'test' })
    const address = await recorder.depositAddress('base')
    assert.match(address, /^0x[0-9a-f]{40}$/)
    assert.equal(await recorder.depositAddress('base'), address)
    const asset = { id: 'a', code: 'USDC', scale: 6, currency: 'USD' }
    const transferred = {
      network: 'base',
      transaction: '0xabc',
      amount: { asset, amount: 1_004_999n },
    }
    const from = standIn.state.intents.size
    assert.equal(await recorder.record(transferred), 'recorded')
    assert.equal(await recorder.record(transferred), 'recorded')
    assert.equal(standIn.state.intents.size - from, 1)
    const intent = [...standIn.state.intents.values()].at(-1) ?? assert.fail('an intent')
    assert.equal(intent.amount, 100)
    // What was only recorded buys nothing.
    const rail = railOf()
    const verdict = await rail.verify(offerOf(rail), { kind: 'intent', intent: intent.id })
    assert.ok(!verdict.ok && verdict.problem.reason === 'intent-foreign')
    clock.pass(90_000_000)
    assert.equal(await recorder.record(transferred), 'recorded')
    assert.equal(standIn.state.intents.size - from, 1)
    const dust = { ...transferred, transaction: '0xdef', amount: { asset, amount: 4_999n } }
    assert.equal(await recorder.record(dust), 'skipped')
    standIn.fail({ trouble: 'down', path: '/v1/payment_intents' })
    const next = { ...transferred, transaction: '0x123' }
    await assert.rejects(recorder.record(next), { code: 'rail-unavailable' })
    assert.equal(await recorder.record(next), 'recorded')
  })
})
