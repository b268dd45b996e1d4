// A shop for the tests of this room: a gate over a rail whose money is a set of keys, a clock that is moved by hand, and
// books that fail when they are told to.
import assert from 'node:assert/strict'
import { systemChance } from '../core/chance.ts'
import type { Credential, Grant } from '../core/credential.ts'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import type { Offer, Terms } from '../core/offer.ts'
import { createOffers } from '../core/offers.ts'
import type { Plan } from '../core/plan.ts'
import type { Ask, Bought, Clock, Gate, Kept, Ledger, Pass, Rail, Refusal } from '../core/ports.ts'
import type { Sale, Vault } from '../core/ports.ts'
import { PaymentError, problem } from '../core/problem.ts'
import type { Resource } from '../core/resource.ts'
import type { Rights } from '../core/rights.ts'
import { createSeal } from '../core/seal.ts'
import { memory } from '../ledger/memory.ts'
import type { GateParts } from './gate.ts'
import { createGate } from './gate.ts'
import { boundTo } from './plans.ts'

export const START = 1_800_000_000_000
const HOUR_MS = 3_600_000
/** What its rails are paid in. */
export const coin = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }

/** A clock that stands until it is moved; who sleeps wakes when it passes his time. */
export function createHandClock(): Clock & { pass(ms: number): void } {
  let time = START
  let sleepers: { readonly at: number; readonly wake: () => void }[] = []
  return {
    now: () => time,
    sleep: (ms, signal) =>
      new Promise((wake) => {
        sleepers.push({ at: time + ms, wake })
        signal?.addEventListener('abort', () => wake(), { once: true })
      }),
    pass(ms) {
      time += ms
      const awake = sleepers.filter(({ at }) => at <= time)
      sleepers = sleepers.filter(({ at }) => at > time)
      for (const { wake } of awake) wake()
    },
  }
}

/** What a rail of the shop asks for that much. */
export function termsOf(amount: bigint): Terms {
  return {
    ...{ rail: 'test', network: 'net', intent: 'charge', payee: 'seller' },
    ...{ timeoutMs: 60_000, details: {} },
    amount: { asset: coin, amount },
  }
}

/** The same books, which write a few turns late, or not at all. */
export function lateBooks(books: Ledger, broken: () => Error | undefined): Ledger {
  const wait = async <T>(verb: () => Promise<T>): Promise<T> => {
    for (let i = 0; i < LATE_TURNS; i++) await new Promise(setImmediate)
    const error = broken()
    if (error) throw error
    return await verb()
  }
  return {
    ...books,
    step: (...given) => wait(() => books.step(...given)),
    post: (...given) => wait(() => books.post(...given)),
    void: (...given) => wait(() => books.void(...given)),
    expire: (...given) => wait(() => books.expire(...given)),
  }
}

const LATE_TURNS = 3

/** A rail over keys: each proof is the key that it spends. `moved` counts how often money went for it. */
export function createKeyRail(
  clock: Pick<Clock, 'now'>,
  change: Partial<Rail<unknown, string>> = {},
): { readonly rail: Rail<unknown, string>; readonly moved: Map<string, number> } {
  const moved = new Map<string, number>()
  const settled = (key: string) =>
    ({ state: 'settled', reference: `tx-${key}`, payer: 'buyer', settledAt: clock.now() }) as const
  const rail: Rail<unknown, string> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: ({ amount, scale, currency }) =>
      currency === 'USD'
        ? [
            {
              ...termsOf(amount * 10n ** BigInt(6 - scale)),
              rail: rail.name,
              network: rail.network,
            },
          ]
        : [],
    identify: (_, key) => ({ key, payer: 'buyer' }),
    async verify(_, key) {
      if (key === 'bad') return { ok: false, problem: problem('proof-invalid', 'Bad.') }
      // What is paid before it is shown looks the same ever after.
      if (moved.has(key) && rail.prepaid !== true)
        return { ok: false, key, payer: 'buyer', problem: problem('payment-spent', 'Spent.') }
      return { ok: true, key, payer: 'buyer' }
    },
    async settle(_, __, key, log) {
      await log.write({ type: 'prepared', data: {} })
      moved.set(key, (moved.get(key) ?? 0) + 1)
      return settled(key)
    },
    async find(_, key, log) {
      // What was written ahead is sent again.
      if (!moved.has(key) && (await log.read()).length > 0) moved.set(key, 1)
      return moved.has(key) ? settled(key) : undefined
    },
    ...change,
  }
  return { rail, moved }
}

/** A plan with what is asked for it; without a count it is good for an hour. */
export function plan(name: string, rest: Partial<Plan> = {}): Plan {
  return { name, prices: [readPrice('1 USD')], validForMs: HOUR_MS, rights: {}, ...rest }
}

/** What is sold on a route with a price. */
export function priced(text: string, rest: Partial<Sale> = {}): Sale {
  const prices = [readPrice(text)]
  return { prices, settle: 'before-response', account: 'sales/GET /a', ...rest }
}

/** What is sold on a route of a plan. */
export function planned(sold: Plan, rest: Partial<Sale> = {}): Sale {
  return { ...priced('1 USD', rest), prices: sold.prices, plan: sold }
}

let requests = 0

/** A request, each with an id of its own. */
export function ask(
  sale: Sale,
  credential?: Ask['credential'],
  change: { readonly resource?: Partial<Resource>; readonly into?: string } = {},
): Ask {
  const { resource, into } = change
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path: '/a', query: '' }
  return {
    resource: { ...where, url: 'http://api.test/a', ...resource },
    sale,
    request: `r${++requests}`,
    ...(credential && { credential }),
    ...(into !== undefined && { into }),
  }
}

/** What makes a gate of the shop. */
export interface Shop {
  readonly gate: Gate
  readonly clock: ReturnType<typeof createHandClock>
  readonly moved: ReadonlyMap<string, number>
  readonly events: Event[]
  /** Another process over other books, or the same. */
  open(ledger: Ledger): Gate
  /** The credential of a payment for that request. Whoever shows a payment again names the offer that he paid. */
  readonly pay: (proof: string, to: Ask, grant?: Grant) => Promise<Credential>
  /** Buys a token alone. */
  buy(proof: string, sold: Plan, into?: string): Promise<Bought>
}

/** Opens the shop. */
export function createShop(
  ledger: Ledger,
  clock: ReturnType<typeof createHandClock> = createHandClock(),
  change: Partial<Rail<unknown, string>> = {},
): Shop {
  const { rail, moved } = createKeyRail(clock, change)
  const events: Event[] = []
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const observe = (event: Event): void => void events.push(event)
  const open = (books: Ledger): Gate =>
    createGate({ rails: [rail], ledger: books, offers, clock, observe })
  const gate = open(ledger)
  const paid = new Map<string, Offer>()
  async function pay(proof: string, to: Ask, grant?: Grant): Promise<Credential> {
    const name = `${proof} ${boundTo(to).path}`
    const offer = paid.get(name) ?? (await offerOf(gate, to))
    paid.set(name, offer)
    return { offer, proof, ...(grant && { grant }) }
  }
  return {
    gate,
    clock,
    moved,
    events,
    open,
    pay,
    async buy(proof, sold, into) {
      const to = ask(planned(sold), undefined, into === undefined ? {} : { into })
      const bought = await gate.sell({ ...to, credential: await pay(proof, to) })
      return bought.kind === 'bought' ? bought : assert.fail(bought.problem.code)
    },
  }
}

/** What makes gates that keep answers and give money back. */
export interface KeepingShop {
  readonly clock: ReturnType<typeof createHandClock>
  readonly ledger: Ledger
  /** What lies in the vault. */
  readonly kept: Map<string, Uint8Array>
  /** How often money went for a key, and how much came back for an order. */
  readonly moved: ReadonlyMap<string, number>
  readonly back: ReadonlyMap<string, bigint>
  /** A process over these parts, or over others in their place. */
  readonly gateOf: (change?: Partial<Pick<GateParts, 'ledger' | 'vault' | 'clock'>>) => Gate
}

/** Opens a shop whose gates keep answers, over a rail that gives back. */
export function createKeepingShop(): KeepingShop {
  const secrets = ['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA']
  const clock = createHandClock()
  const ledger = memory({ clock })
  const kept = new Map<string, Uint8Array>()
  const vault: Vault = {
    put: async (key, sealed) => void kept.set(key, sealed),
    get: async (key) => kept.get(key),
    drop: async (key) => void kept.delete(key),
  }
  const back = new Map<string, bigint>()
  const { rail, moved } = createKeyRail(clock, {
    async refund(_offer, _to, { amount }, key, log) {
      if ((await log.read()).length === 0) await log.write({ type: 'refund', data: {} })
      back.set(key, amount)
      return { state: 'settled', reference: `back-${key}`, payer: 'buyer', settledAt: clock.now() }
    },
  })
  const gateOf: KeepingShop['gateOf'] = (change) =>
    createGate({
      ...{ rails: [rail], ledger, clock, vault, observe: () => undefined, ...change },
      offers: createOffers(createMac(secrets, 'offers')),
      seal: createSeal(secrets, 'vault', systemChance),
    })
  return { clock, ledger, kept, moved, back, gateOf }
}

/** The first offer of a challenge. */
export async function offerOf(gate: Gate, to: Ask): Promise<Offer> {
  const { challenge, problem: why } = await gate.challenge(to)
  return challenge?.offers[0] ?? assert.fail(JSON.stringify(why))
}

/** The entry, which must be a pass. */
export function passed(entry: Pass | Kept | Refusal): Pass {
  return entry.kind === 'pass'
    ? entry
    : assert.fail('problem' in entry ? entry.problem.code : 'kept')
}

/** What becomes of a whole request: `serve`, or the code of its refusal. */
export async function serve(gate: Gate, request: Ask): Promise<string> {
  const entry = await gate.admit(request)
  if (entry.kind !== 'pass') return entry.kind === 'refused' ? entry.problem.code : entry.kind
  const outcome = await entry.finish(true)
  entry.delivered()
  return outcome.kind === 'refused' ? outcome.problem.code : outcome.kind
}

/** The grant, narrowed. */
export function narrowed({ grant }: Bought, rights: Rights): Grant {
  return { ...grant, rights: { ...grant.rights, ...rights } }
}

/** Verbs of the books, and the moment of a fault: before anything is done, or when the answer is on its way. */
export interface Fault {
  readonly verb: keyof Ledger
  /** Which call of the verb it is, from 1 on. */
  readonly call: number
  readonly isDone: boolean
}

/** Books that fail once; `hit` tells whether they have. */
export function failing(
  ledger: Ledger,
  { verb, call, isDone }: Fault,
): { ledger: Ledger; hit(): boolean } {
  let calls = 0
  const broken = new Proxy(ledger, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (name !== verb || typeof value !== 'function') return value
      return async (...given: unknown[]) => {
        const isNow = ++calls === call
        if (isNow && !isDone) throw new PaymentError('store-unavailable', 'Full.')
        const answer: unknown = await Reflect.apply(value, target, given)
        if (isNow) throw new PaymentError('store-unavailable', 'Lost.')
        return answer
      }
    },
  })
  return { ledger: broken, hit: () => calls >= call }
}
