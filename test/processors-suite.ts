// What holds of cards, whoever charges them: the stand-in, or Stripe itself in its test mode.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Rail } from '../src/core/ports.ts'
import { readPrice } from '../src/core/money.ts'
import { memory } from '../src/ledger/memory.ts'
import type { Proof, StripeClient } from '../src/rails/stripe/index.ts'
import { stripe } from '../src/rails/stripe/index.ts'
import { ask, balanced, loseAnswers, offerOf, openNode, said, serve } from './processors-stage.ts'

/** Where the suite runs. */
export interface CardStage {
  readonly name: string
  /** A client of its own, as each process has one. */
  client(): StripeClient
  /** Our profile, where shared payment tokens can be tried. */
  readonly profile?: string
  /** An agent's token for us, good for so many cents. */
  grant(cents: number, card?: string): Promise<string>
  /** A person pays the intent on a page. */
  pay(begun: Readonly<Record<string, unknown>>, card?: string): Promise<void>
}

const intentOf = (begun: object): string => said(begun, 'payment_intent')

/** Runs it. `stage` is asked when the tests begin. */
export function cardSuite(name: string, stage: () => CardStage): void {
  const railOf = (client: StripeClient = stage().client()): Rail => {
    const { profile } = stage()
    return stripe({ client, mode: 'test', ...(profile !== undefined && { profile }) })
  }

  /** Shared payment tokens are open to some accounts alone. */
  const tokenTest = (what: string, run: () => Promise<void>): void =>
    void test(what, async (t) => {
      if (stage().profile === undefined)
        t.skip('No profile is given that takes shared payment tokens.')
      else await run()
    })

  describe(`shared payment tokens at ${name}`, () => {
    tokenTest('are charged once, and what they bought is served', async () => {
      const ledger = memory()
      const rail = railOf()
      await rail.open()
      const gate = openNode([rail], ledger)
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const proof: Proof = { kind: 'token', token: await stage().grant(100) }
      const first = await serve(gate, to, { offer, proof })
      assert.equal(first.outcome, 'serve')
      assert.match(first.reference ?? '', /^pi_/)
      assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-delivered')
      await balanced(ledger)
    })

    tokenTest('an answer that is lost after the charge is one charge, and served', async () => {
      const ledger = memory()
      const client = loseAnswers(stage().client())
      const gate = openNode([railOf(client)], ledger)
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const proof: Proof = { kind: 'token', token: await stage().grant(100) }
      // So is every look that comes at once after it.
      client.lose('POST /v1/payment_intents')
      client.lose('GET /v1/payment_intents?', 'before')
      assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-unknown')
      const again = await serve(gate, to, { offer, proof })
      assert.equal(again.outcome, 'serve')
      assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-delivered')
      const books = await ledger.balances('sales/GET /a')
      assert.deepEqual(
        books.map(({ posted }) => posted),
        [100n],
      )
      await balanced(ledger)
    })

    tokenTest(
      'a token that is charged for one offer is charged anew for another, or refused',
      async () => {
        const gate = openNode([railOf()])
        const to = ask('1.00 USD')
        const proof: Proof = { kind: 'token', token: await stage().grant(100) }
        const one = await serve(gate, to, { offer: await offerOf(gate, to), proof })
        const other = await serve(gate, to, { offer: await offerOf(gate, to), proof })
        assert.equal(one.outcome, 'serve')
        // It covers one charge: what was charged before pays nothing more.
        assert.notEqual(other.outcome, 'serve')
      },
    )

    tokenTest('what does not cover the price, or is none, is refused before any work', async () => {
      const gate = openNode([railOf()])
      const to = ask('2.00 USD')
      const offer = await offerOf(gate, to)
      const small: Proof = { kind: 'token', token: await stage().grant(199) }
      assert.deepEqual(await serve(gate, to, { offer, proof: small }), {
        outcome: 'amount-mismatch',
        reason: 'token-unfit',
      })
      const none: Proof = { kind: 'token', token: 'spt_nobodyhasissuedthis' }
      assert.equal((await serve(gate, to, { offer, proof: none })).reason, 'token-unknown')
      const enough: Proof = { kind: 'token', token: await stage().grant(200) }
      assert.equal((await serve(gate, to, { offer, proof: enough })).outcome, 'serve')
    })
  })

  describe(`PaymentIntents at ${name}`, () => {
    test('one that was paid buys the one request that it was made for, once', async () => {
      const ledger = memory()
      const rail = railOf()
      const gate = openNode([rail], ledger)
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const begun = (await rail.begin?.(offer)) ?? assert.fail('begun')
      const proof: Proof = { kind: 'intent', intent: intentOf(begun) }
      assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-in-flight')
      await stage().pay(begun)
      const there = ask('1.00 USD', '/b')
      const elsewhere = await serve(gate, there, { offer: await offerOf(gate, there), proof })
      assert.deepEqual(elsewhere, { outcome: 'proof-invalid', reason: 'intent-foreign' })
      const first = await serve(gate, to, { offer, proof })
      assert.deepEqual([first.outcome, first.reference], ['serve', intentOf(begun)])
      assert.equal(first.key, `stripe/test/${intentOf(begun)}`)
      assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-delivered')
      await balanced(ledger)
    })

    test('one that was paid is served by one of two nodes that share their books', async () => {
      const ledger = memory()
      const rails = [railOf(), railOf()] as const
      const [one, other] = rails.map((rail) => openNode([rail], ledger))
      assert.ok(one && other)
      const to = ask('1.00 USD')
      const offer = await offerOf(one, to)
      const begun = (await rails[0].begin?.(offer)) ?? assert.fail('begun')
      await stage().pay(begun)
      const proof: Proof = { kind: 'intent', intent: intentOf(begun) }
      const outcomes = await Promise.all(
        [one, other, one, other].map(
          async (gate) => (await serve(gate, to, { offer, proof })).outcome,
        ),
      )
      assert.equal(outcomes.filter((outcome) => outcome === 'serve').length, 1)
      assert.ok(
        outcomes.every((outcome) =>
          ['serve', 'payment-in-flight', 'payment-delivered'].includes(outcome),
        ),
        outcomes.join(),
      )
      await balanced(ledger)
    })

    tokenTest('one that a token was charged by buys nothing', async () => {
      const gate = openNode([railOf()])
      const to = ask('1.00 USD')
      const token: Proof = { kind: 'token', token: await stage().grant(100) }
      const { reference = '' } = await serve(gate, to, {
        offer: await offerOf(gate, to),
        proof: token,
      })
      const shown: Proof = { kind: 'intent', intent: reference }
      const reused = await serve(gate, to, { offer: await offerOf(gate, to), proof: shown })
      assert.deepEqual(reused, { outcome: 'proof-invalid', reason: 'intent-foreign' })
    })

    test('one over less buys what it was made for, and nothing dearer', async () => {
      const rail = railOf()
      const gate = openNode([rail])
      const to = ask('1.00 USD')
      const dear = ask('1.01 USD')
      const begun = (await rail.begin?.(await offerOf(gate, to))) ?? assert.fail('begun')
      await stage().pay(begun)
      const cheap: Proof = { kind: 'intent', intent: intentOf(begun) }
      const short = await serve(gate, dear, { offer: await offerOf(gate, dear), proof: cheap })
      assert.equal(short.reason, 'amount-wrong')
      // The offer may have been forgotten: it is found again by what is asked for.
      const forgotten = { rail: rail.name, network: rail.network }
      const whole = await serve(gate, to, { offer: forgotten, proof: cheap })
      assert.equal(whole.outcome, 'serve')
      assert.notEqual((await serve(gate, to, { offer: forgotten, proof: cheap })).outcome, 'serve')
    })
  })

  describe(`refunds at ${name}`, () => {
    test('go back in parts and whole, never above what was charged, and once for one order', async () => {
      const ledger = memory()
      const client = loseAnswers(stage().client())
      const rail = railOf(client)
      const gate = openNode([rail], ledger)
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const begun = (await rail.begin?.(offer)) ?? assert.fail('begun')
      await stage().pay(begun)
      const proof: Proof = { kind: 'intent', intent: intentOf(begun) }
      const { key = '' } = await serve(gate, to, { offer, proof })
      const part = { key, idempotencyKey: 'part', amount: readPrice('0.40 USD') }
      client.lose('POST /v1/refunds')
      client.lose('GET /v1/refunds', 'before')
      assert.equal((await gate.refund(part)).kind, 'open')
      const done = await gate.refund(part)
      assert.ok(done.kind === 'refunded' && done.amount.amount === 40n)
      assert.deepEqual(await gate.refund(part), done)
      const much = { key, idempotencyKey: 'much', amount: readPrice('0.61 USD') }
      const denied = await gate.refund(much)
      assert.ok(denied.kind === 'denied' && denied.code === 'amount-exceeded')
      const rest = await gate.refund({ key, idempotencyKey: 'rest' })
      assert.ok(rest.kind === 'refunded' && rest.amount.amount === 60n)
      const after = await gate.refund({ key, idempotencyKey: 'after' })
      assert.equal(after.kind, 'denied')
      await balanced(ledger)
    })

    test('money that went back before it bought anything buys nothing', async () => {
      const rail = railOf()
      const gate = openNode([rail])
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const begun = (await rail.begin?.(offer)) ?? assert.fail('begun')
      await stage().pay(begun)
      await stage()
        .client()
        .rawRequest('POST', '/v1/refunds', { payment_intent: intentOf(begun), amount: 1 })
      const proof: Proof = { kind: 'intent', intent: intentOf(begun) }
      assert.equal((await serve(gate, to, { offer, proof })).reason, 'intent-returned')
    })
  })
}
