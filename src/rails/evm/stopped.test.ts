// Circle's own contract refuses accounts that are on its list, and all when it is paused: what becomes of payments and refunds then,
// at each moment at which that may begin. Each ends with the same payment or refund when the contract takes it again.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createMac } from '../../core/mac.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import { createOffers } from '../../core/offers.ts'
import type { Ask, Gate, Ledger, Log, Settlement, Step } from '../../core/ports.ts'
import { createGate } from '../../gate/gate.ts'
import { memory } from '../../ledger/memory.ts'
import type { Chain } from '../../sandbox/chain.ts'
import { startChain } from '../../sandbox/chain.ts'
import type { Details } from './forms.ts'
import type { Proof } from './proof.ts'
import type { EvmRail } from './rail.ts'
import { evm } from './rail.ts'
import type { Issuer } from './issuer.test.ts'
import { createIssuer, stopsOf } from './issuer.test.ts'
import { fromAccount } from './signer.ts'
import { wallet } from './wallet.ts'

const NETWORK = 'eip155:84532'
const PRICE = 10_000n
const SECRET = 'tRk3p0Zx8Vb1Nw6Qy4Lm7Hc2Js5Fd9Ga'

let chain: Chain
let rail: EvmRail
let gate: Gate
let ledger: Ledger
let issuer: Issuer
const seller = account()
const sending = account()
before(async () => {
  chain = await startChain()
  for (const one of [seller, sending]) await chain.fundEther(one.address, 10n ** 20n)
  await chain.mint(seller.address, 1_000_000n)
  issuer = await createIssuer(chain)
  const { rpc } = chain
  const payTo = seller.address
  rail = evm({ network: NETWORK, rpc, payTo, signer: sending, refundSigner: seller })
  await rail.open()
  ledger = memory()
  gate = createGate({ rails: [rail], ledger, offers: createOffers(createMac([SECRET], 'offers')) })
})
after(async () => {
  await gate?.close()
  await rail?.close()
  await chain?.stop()
})

function account(): LocalAccount {
  return privateKeyToAccount(generatePrivateKey())
}

async function payer(): Promise<LocalAccount> {
  const made = account()
  await chain.mint(made.address, 1_000_000n)
  return made
}

let requests = 0

function ask(): Ask {
  const url = 'https://shop.example/a'
  const where = { realm: 'shop', method: 'GET', authority: 'shop.example', path: '/a', query: '' }
  return {
    resource: { ...where, url },
    sale: {
      prices: [readPrice('0.01 USD')],
      settle: 'before-response',
      account: 'sales/GET /a',
      // Each offer is asked for anew, so that two of a test are never one.
      workMs: 30_000 + ++requests,
    },
    request: 'r',
  }
}

async function offerOf(): Promise<Offer<Details>> {
  const { challenge } = await gate.challenge(ask())
  return (challenge?.offers[0] ?? assert.fail('an offer')) as Offer<Details>
}

function pay(from: LocalAccount, offer: Offer<Details>): Promise<Proof> {
  return wallet({ signer: fromAccount(from) }).pay(offer, 300_000)
}

interface Shown {
  readonly said: string
  readonly detail: string
  readonly key: string
}

/** A whole request; `between` is what happens while the work runs. */
async function show(
  offer: Offer<Details>,
  proof: Proof,
  between?: () => Promise<void>,
): Promise<Shown> {
  const entry = await gate.admit({ ...ask(), credential: { offer, proof } })
  const { key } = rail.identify(offer, proof)
  if (entry.kind === 'refused') return refused(entry.problem, key)
  assert(entry.kind === 'pass')
  await between?.()
  const done = await entry.finish(true)
  entry.delivered()
  return done.kind === 'refused' ? refused(done.problem, key) : { said: 'served', detail: '', key }
}

function refused({ code, detail }: { code: string; detail: string }, key: string): Shown {
  return { said: code, detail, key }
}

function log(written?: () => Promise<void>): Log & { readonly steps: Step[] } {
  const steps: Step[] = []
  return {
    steps,
    read: async () => [...steps],
    async write(step) {
      steps.push(JSON.parse(JSON.stringify(step)) as Step)
      await written?.()
    },
  }
}

for (const { name, says, begin, end } of stopsOf(() => issuer, seller.address))
  describe(`while ${name}`, () => {
    test('a payment is refused before the work, says what to do, and is good again later', async () => {
      const from = await payer()
      const offer = await offerOf()
      const proof = await pay(from, offer)
      await begin(from.address)
      const shown = await show(offer, { ...proof })
      await end(from.address)
      assert.equal(shown.said, 'proof-invalid')
      assert.match(shown.detail, says)
      assert.match(shown.detail, /Nothing was taken.*[Pp]ay/)
      assert.equal(await chain.balanceOf(from.address), 1_000_000n)
      assert.equal((await show(offer, { ...proof })).said, 'served')
      assert.equal(await chain.balanceOf(from.address), 1_000_000n - PRICE)
    })

    test('that begins under the work takes nothing and serves nothing; the same payment buys later', async () => {
      const from = await payer()
      const offer = await offerOf()
      const proof = await pay(from, offer)
      const shown = await show(offer, { ...proof }, () => begin(from.address))
      await end(from.address)
      assert.equal(shown.said, 'settlement-failed')
      assert.match(shown.detail, /Nothing was taken/)
      assert.equal(await chain.balanceOf(from.address), 1_000_000n)
      assert.equal((await ledger.find(shown.key))?.state, 'voided')
      assert.equal((await show(offer, { ...proof })).said, 'served')
      assert.equal(await chain.balanceOf(from.address), 1_000_000n - PRICE)
    })

    test('a refund is not sent, says why, and goes back by the same order later, once', async () => {
      const from = await payer()
      const offer = await offerOf()
      const { key } = await show(offer, await pay(from, offer))
      const order = { key, idempotencyKey: 'one' }
      await begin(from.address)
      const denied = await gate.refund(order)
      await end(from.address)
      assert(denied.kind === 'denied')
      assert.match(denied.detail, says)
      assert.match(denied.detail, /Nothing was sent.*order/)
      const done = await gate.refund(order)
      assert.equal(done.kind, 'refunded')
      assert.deepEqual(await gate.refund(order), done)
      assert.equal(await chain.balanceOf(from.address), 1_000_000n)
    })

    test('a refund that was written ahead and fails in its block is known as failed, and another goes back', async () => {
      const from = await payer()
      const offer = await offerOf()
      assert.equal((await show(offer, await pay(from, offer))).said, 'served')
      const back = (to: Log, key: string): Promise<Settlement> =>
        rail.refund?.(offer, from.address, offer.amount, key, to) ?? assert.fail('refunds')
      const first = log(() => begin(from.address))
      const failed = await back(first, 'first')
      await end(from.address)
      assert(failed.state === 'failed')
      assert.match(failed.problem.detail, /Nothing was sent.*order/)
      // What it was told once stays so.
      assert.equal((await back(first, 'first')).state, 'failed')
      assert.equal(await chain.balanceOf(from.address), 1_000_000n - PRICE)
      assert.equal((await back(log(), 'second')).state, 'settled')
      assert.equal(await chain.balanceOf(from.address), 1_000_000n)
    })
  })

test('one payer on the list among many that are sent together stops nobody else', async () => {
  const payers = await Promise.all(Array.from({ length: 8 }, () => payer()))
  const [banned] = payers
  assert(banned)
  const offer = await offerOf()
  const proofs = await Promise.all(payers.map((from) => pay(from, offer)))
  const waiting = Promise.withResolvers<void>()
  let inWork = 0
  const shown = proofs.map((proof) =>
    show(offer, proof, async () => {
      if (++inWork === payers.length) {
        await issuer.ban(banned.address)
        waiting.resolve()
      }
      await waiting.promise
    }),
  )
  const said = (await Promise.all(shown)).map((one) => one.said)
  await issuer.clear(banned.address)
  assert.deepEqual(said, ['settlement-failed', ...Array.from({ length: 7 }, () => 'served')])
  assert.equal(await chain.balanceOf(banned.address), 1_000_000n)
})
