// A stranger reads on the chain what a payment shows there, its signature included, and shows it as his own: in every state
// that the buyer's purchase may be in, at every door where tokens are sold, with every offer that he can have.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Credential } from '../core/credential.ts'
import { readPrice } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Ask, Gate, Held, Ledger, Rail } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import type { Shop } from './fixture.test.ts'
import {
  ask,
  createHandClock,
  createShop,
  failing,
  offerOf,
  plan,
  planned,
  priced,
  serve,
} from './fixture.test.ts'
import { DELIVER_MS, OFFER_VALID_MS, SETTLE_MS, WORK_MS } from './gate.ts'
import { OFFER_GRID_MS } from './limits.ts'

const tries = plan('tries', { uses: 10 })
const dollar = plan('dollar', { balance: readPrice('1 USD') })
const unbound = { rail: 'test', network: 'net' }

interface World {
  readonly shop: Shop
  readonly ledger: Ledger
  /** The account of the buyer that is there before. */
  readonly into: string
}

/** What a rail says of a payment that has moved: nothing here looks at who shows it. */
const rails: Readonly<
  Record<string, (moved: () => Shop['moved']) => Partial<Rail<unknown, string>>>
> = {
  'is called spent': () => ({}),
  'is paid before it is shown': () => ({ prepaid: true }),
  'has expired': (moved) => ({
    verify: async (_, key) =>
      moved().has(key)
        ? { ok: false, problem: problem('proof-expired', 'Late.') }
        : { ok: true, key, payer: 'buyer' },
  }),
}

interface Door {
  readonly to: (world: World) => Ask
  readonly show: (gate: Gate, request: Ask) => Promise<string>
}

async function sell(gate: Gate, request: Ask): Promise<string> {
  const sold = await gate.sell(request)
  return sold.kind === 'bought' ? 'serve' : sold.problem.code
}

const doors: Readonly<Record<string, Door>> = {
  'with a request': { to: () => ask(planned(tries)), show: serve },
  alone: { to: () => ask(planned(tries)), show: sell },
  'as a top-up': { to: ({ into }) => ask(planned(dollar), undefined, { into }), show: sell },
}

/** How far the buyer has come when the stranger does. */
const states: Readonly<
  Record<string, (world: World, buy: (gate: Gate) => Promise<string>) => Promise<void>>
> = {
  'has been delivered': async ({ shop }, buy) => {
    assert.equal(await buy(shop.gate), 'serve')
  },
  'was settled by a process that died then': (world, buy) => diesAt(world, 'post', 1, buy),
  'was posted by a process that died then': (world, buy) => diesAt(world, 'transfer', 2, buy),
  'was booked by half by a process that died then': (world, buy) => diesAt(world, 'post', 2, buy),
  'could not be booked': async ({ shop, ledger }, buy) => {
    const broken = failing(ledger, { verb: 'transfer', call: 2, isDone: false })
    assert.equal(await buy(shop.open(broken.ledger)), 'store-unavailable')
  },
}

for (const [rail, change] of Object.entries(rails))
  describe(`a payment that ${rail}`, () => {
    for (const [door, { to, show }] of Object.entries(doors))
      for (const [state, reach] of Object.entries(states))
        test(`and ${state}, for a plan that is sold ${door}, is its buyer’s alone`, async () => {
          const world = await open(change)
          const { shop, ledger } = world
          const old = await offerOf(shop.gate, to(world))
          shop.clock.pass(OFFER_VALID_MS + OFFER_GRID_MS)
          const credential = await shop.pay('p', to(world))
          await reach(world, (gate) => show(gate, { ...to(world), credential }))
          assert.equal(shop.moved.get('p'), 1)

          const before = await booked(ledger)
          const fresh = await offerOf(shop.gate, to(world))
          for (const offer of [fresh, old, unbound, ...altered(fresh), ...altered(old)]) {
            const stolen: Credential = { offer, proof: 'p' }
            const said = await show(shop.gate, { ...to(world), credential: stolen })
            assert.match(said, /^(payment-delivered|offer-(foreign|expired))$/, idOf(offer))
          }
          assert.deepEqual(await booked(ledger), before)

          // At once: no stranger has the buyer's turn.
          for (let i = 0; i < 2; i++)
            assert.equal(await show(shop.gate, { ...to(world), credential }), 'serve')
          assert.equal(shop.moved.get('p'), 1)
          const { accounts, topUps } = await booked(ledger)
          assert.equal(accounts.length + topUps.length, 2)
          assert.deepEqual((await verifyBooks(ledger)).problems, [])
        })
  })

describe('a payment that names no offer', () => {
  for (const [door, { to, show }] of Object.entries(doors))
    test(`buys a plan that is sold ${door} once, and is never charged again`, async () => {
      const world = await open()
      const { shop } = world
      const credential = { offer: unbound, proof: 'p' }
      assert.equal(await show(shop.gate, { ...to(world), credential }), 'serve')
      for (const more of [unbound, await offerOf(shop.gate, to(world))]) {
        const again = { ...to(world), credential: { offer: more, proof: 'p' } }
        assert.equal(await show(shop.gate, again), 'payment-delivered')
      }
      assert.equal(shop.moved.get('p'), 1)
    })

  test('serves a single request also after a crash', async () => {
    const world = await open()
    const { shop } = world
    const credential = { offer: unbound, proof: 'p' }
    const request = (): Ask => ask(priced('1 USD', { settle: 'before-work' }), credential)
    await diesAt(world, 'post', 1, (gate) => serve(gate, request()))
    assert.equal(await serve(shop.gate, request()), 'serve')
    assert.equal(shop.moved.get('p'), 1)
  })
})

/** A shop in which the buyer has an account already. */
async function open(change: (typeof rails)[string] = () => ({})): Promise<World> {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const shop: Shop = createShop(
    ledger,
    clock,
    change(() => shop.moved),
  )
  const { grant } = await shop.buy('first', dollar)
  return { shop, ledger, into: grant.id }
}

/** The purchase in a process that dies at that call, and the time after which another takes it for dead. */
async function diesAt(
  { shop, ledger }: World,
  verb: keyof Ledger,
  call: number,
  buy: (gate: Gate) => Promise<string>,
): Promise<void> {
  const books = dying(ledger, verb, call)
  const said = await Promise.race([buy(shop.open(books.ledger)), books.death])
  assert.equal(said, undefined, 'the process dies')
  shop.clock.pass(WORK_MS + SETTLE_MS + DELIVER_MS)
}

/** Books that answer nobody any more from a call of that verb on. */
function dying(
  ledger: Ledger,
  verb: keyof Ledger,
  call: number,
): { readonly ledger: Ledger; readonly death: Promise<void> } {
  const death = Promise.withResolvers<void>()
  let calls = 0
  const books = new Proxy(ledger, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return async (...given: unknown[]): Promise<unknown> => {
        if (name === verb) calls++
        if (calls < call) return await Reflect.apply(value, target, given)
        death.resolve()
        return await new Promise(() => undefined)
      }
    },
  })
  return { ledger: books, death: death.promise }
}

/** All accounts, and all that went into or out of them after their opening. */
async function booked(ledger: Ledger) {
  const under = (prefix: string): Promise<readonly Held[]> => ledger.under(prefix, '', 100)
  return {
    accounts: await under('account/'),
    topUps: await under('topup/'),
    draws: await under('draw/'),
  }
}

/** Offers that nobody made. */
function altered(offer: Offer): readonly Offer[] {
  const [nonce = '', sign = ''] = offer.id.split('.')
  const ids = ['', '.', sign, nonce, `.${sign}`, `A${nonce}.${sign}`, `${offer.id}A`]
  return ids.map((id) => ({ ...offer, id }))
}

function idOf(offer: Offer | typeof unbound): string {
  return 'id' in offer ? `offer "${offer.id}"` : 'no offer'
}
