// What tests of tokens, services and limits share: a whole seller over a rail whose money is a set, by a fetch handler.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromBase64, toBase64 } from '../core/base64.ts'
import { isObject, readJson } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { readOffer, writeOffer } from '../core/offer.ts'
import type { Clock, Ledger, Protocol, Rail, Settlement } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { toll } from './fetch.ts'
import type { Routes } from './routes.ts'
import type { OpenSeller, SellerSettings } from './seller.ts'
import { createSeller } from './seller.ts'

export const ORIGIN = 'https://api.test'
export const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
export const START = 1_800_000_000_000

/** A clock that stands until it is moved, and on which nobody's time runs out by itself. */
export interface Hand extends Clock {
  pass(ms: number): void
}

export function createHand(): Hand {
  let time = START
  return {
    now: () => time,
    sleep: (_, signal) =>
      new Promise((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true })),
    pass: (ms) => void (time += ms),
  }
}

/** Offers in the body, and a payment in a field. */
export const fake: Protocol = {
  name: 'fake',
  fields: { request: ['Fake-Payment'], response: ['Fake-Receipt'] },
  writeChallenge: ({ offers }) => ({ fields: [], body: { offers: offers.map(writeOffer) } }),
  readCredential(fields) {
    const said = fields.get('fake-payment')
    if (said === null || said === undefined) return undefined
    const value = readJson(fromBase64(said) ?? '', 20_000)
    return isObject(value) && isObject(value['offer'])
      ? { offer: readOffer(value['offer']), proof: value['nonce'] }
      : problem('credential-malformed', 'The payment is not one.')
  },
  writeReceipt: ({ reference }) => ({ fields: [['Fake-Receipt', reference]] }),
  readChallenge: () => undefined,
  writeCredential: () => ({ fields: [] }),
  readReceipt: () => undefined,
}

/** A rail on which whoever names a nonce has paid; it takes each once. `issues` counts what it made offer by offer. */
export function createRail(moved: Set<string>, issues?: { count: number }): Rail<unknown, string> {
  const asset = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }
  const settled = (key: string): Settlement => ({
    state: 'settled',
    reference: `tx-${key}`,
    payer: 'buyer',
    settledAt: START,
  })
  return {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: ({ currency, amount, scale }) =>
      currency === 'USD'
        ? [
            {
              rail: 'test',
              network: 'net',
              intent: 'charge',
              payee: 'seller',
              timeoutMs: 60_000,
              details: {},
              amount: { asset, amount: amount * 10n ** BigInt(6 - scale) },
            },
          ]
        : [],
    identify: (_, nonce) => ({ key: nonce, payer: 'buyer' }),
    verify: async (_, nonce) =>
      moved.has(nonce)
        ? { ok: false, key: nonce, payer: 'buyer', problem: problem('payment-spent', 'Spent.') }
        : nonce.startsWith('bad')
          ? { ok: false, problem: problem('proof-invalid', 'Bad.') }
          : { ok: true, key: nonce, payer: 'buyer' },
    async settle(_, nonce, key, log) {
      await log.write({ type: 'prepared', data: {} })
      moved.add(nonce)
      return settled(key)
    },
    find: async (_, key) => (moved.has(key) ? settled(key) : undefined),
    refund: async (_offer, _to, _amount, key) => settled(key),
    ...(issues && {
      async issue(terms) {
        issues.count++
        return { ...terms, invoice: `invoice-${issues.count}` }
      },
    }),
  }
}

/** An answer, read. */
export interface Said {
  readonly status: number
  readonly fields: Headers
  readonly text: string
  readonly body: JsonObject
  /** What paid for it. */
  readonly payment?: string
}

/** A request; `nonce` pays it with the first offer of the challenge that the same request gets without it. */
export interface Wish {
  readonly method?: string
  readonly fields?: Readonly<Record<string, string>>
  readonly body?: string
  readonly nonce?: string
  /** A payment that was shown before. */
  readonly payment?: string
  /** The address at the other end. */
  readonly address?: string
}

export interface Node {
  readonly seller: OpenSeller
  /** How often the handler ran. */
  readonly runs: () => number
  ask(path: string, wish?: Wish): Promise<Said>
}

export interface World {
  readonly clock: Hand
  readonly ledger: Ledger
  readonly moved: Set<string>
  /** One more process on the same books. */
  readonly open: () => Promise<Node>
}

export function createWorld(
  routes: Routes,
  settings: Partial<SellerSettings>,
  clock: Hand = createHand(),
  {
    ledger = memory({ clock }),
    moved = new Set<string>(),
    issues,
  }: Partial<Pick<World, 'ledger' | 'moved'>> & { readonly issues?: { count: number } } = {},
): World {
  return {
    clock,
    ledger,
    moved,
    open: async () => {
      const seller = await createSeller({
        secret: SECRET,
        rails: [createRail(moved, issues)],
        protocols: [fake],
        ledger,
        clock,
        origin: ORIGIN,
        ...settings,
      })
      let runs = 0
      const work = (): Response => {
        runs++
        return new Response('served', { headers: { 'Cache-Control': 'public' } })
      }
      const peers = new WeakMap<Request, string>()
      const handler = toll(seller, routes, work, { address: (request) => peers.get(request) })
      async function send(path: string, wish: Wish, payment?: string): Promise<Said> {
        const { method = 'GET', body, address } = wish
        const headers = new Headers(wish.fields)
        if (payment !== undefined) headers.set('Fake-Payment', payment)
        const request = new Request(ORIGIN + path, {
          method,
          headers,
          ...(body !== undefined && { body }),
        })
        if (address !== undefined) peers.set(request, address)
        const response = await handler(request)
        const text = await response.text()
        const said = readJson(text, 100_000)
        const { status, headers: fields } = response
        const paid = payment === undefined ? {} : { payment }
        return { status, fields, text, body: isObject(said) ? said : {}, ...paid }
      }
      return {
        seller,
        runs: () => runs,
        async ask(path, wish = {}) {
          if (wish.nonce === undefined) return await send(path, wish, wish.payment)
          const { body } = await send(path, wish)
          const { offers } = body
          const [offer] = Array.isArray(offers) ? offers : []
          assert.ok(offer !== undefined, `There is no offer in ${JSON.stringify(body)}.`)
          return await send(path, wish, pay(offer, wish.nonce))
        },
      }
    },
  }
}

/** A member of an answer that must be text. */
export function textIn({ body }: Said, member: string): string {
  const text = body[member]
  assert.ok(typeof text === 'string', `${member} is not text in ${JSON.stringify(body)}`)
  return text
}

/** The field that pays an offer. */
export function pay(offer: unknown, nonce: string): string {
  return toBase64(JSON.stringify({ offer, nonce }))
}

export function bearer(token: string): { readonly Authorization: string } {
  return { Authorization: `Bearer ${token}` }
}

test('the shop of these tests sells', async () => {
  const node = await createWorld({ 'GET /a': '0.01 USD' }, {}).open()
  assert.equal((await node.ask('/a')).status, 402)
  const { status, text, fields } = await node.ask('/a', { nonce: 'n1' })
  assert.deepEqual([status, text, fields.get('fake-receipt')], [200, 'served', 'tx-n1'])
  await node.seller.close()
})
