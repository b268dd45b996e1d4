// A shop for the tests of processors: gates over books that they share, and processors that lose answers.
import assert from 'node:assert/strict'
import { Stripe } from 'stripe'
import type { Credential } from '../src/core/credential.ts'
import { systemClock } from '../src/core/clock.ts'
import { createMac } from '../src/core/mac.ts'
import { readPrice } from '../src/core/money.ts'
import type { Offer } from '../src/core/offer.ts'
import type { Offers } from '../src/core/offers.ts'
import { createOffers } from '../src/core/offers.ts'
import type { Ask, Clock, Gate, Ledger, Rail, Sale } from '../src/core/ports.ts'
import { createGate } from '../src/gate/gate.ts'
import { memory } from '../src/ledger/memory.ts'
import { verifyBooks } from '../src/ledger/verify.ts'
import type { StripeClient } from '../src/rails/stripe/index.ts'
import type { StripeStandIn } from '../src/sandbox/processors/index.ts'

export const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
export const offers: Offers = createOffers(createMac([SECRET], 'offers'))

/** The real SDK, pointed at the stand-in. */
export function sdkOf({ secretKey, port }: StripeStandIn, maxNetworkRetries = 0): Stripe {
  return new Stripe(secretKey, {
    host: '127.0.0.1',
    port,
    protocol: 'http',
    telemetry: false,
    maxNetworkRetries,
  })
}

/** A node: a gate with rails of its own, over books that may be shared. */
export function openNode(
  rails: readonly Rail[],
  ledger: Ledger = memory(),
  clock: Clock = systemClock,
): Gate {
  return createGate({ rails, ledger, offers, clock, distinct: true })
}

let requests = 0

/** A request for something that has that price. */
export function ask(price: string, path = '/a', rest: Partial<Sale> = {}): Ask {
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path, query: '' }
  return {
    resource: { ...where, url: `http://api.test${path}` },
    sale: {
      prices: [readPrice(price)],
      settle: 'before-response',
      account: `sales/GET ${path}`,
      ...rest,
    },
    request: `r${++requests}`,
  }
}

/** The first offer of a challenge. */
export async function offerOf(gate: Gate, to: Ask): Promise<Offer> {
  const { challenge, problem } = await gate.challenge(to)
  return challenge?.offers[0] ?? assert.fail(problem.code)
}

/** What became of a request. */
export interface Outcome {
  /** `serve`, or the code of its refusal. */
  readonly outcome: string
  readonly reason?: string
  readonly reference?: string
  readonly key?: string
}

/** A whole request. */
export async function serve(gate: Gate, to: Ask, credential: Credential): Promise<Outcome> {
  const entry = await gate.admit({ ...to, credential })
  if (entry.kind === 'kept') return { outcome: 'kept' }
  if (entry.kind === 'refused') return refused(entry.problem)
  const done = await entry.finish(true)
  entry.delivered()
  if (done.kind === 'refused') return refused(done.problem)
  return { outcome: 'serve', key: entry.key, reference: done.receipt?.reference ?? '' }
}

function refused({ code, reason }: { readonly code: string; readonly reason?: string }): Outcome {
  return { outcome: code, ...(reason !== undefined && { reason }) }
}

/** The books balance. */
export async function balanced(ledger: Ledger): Promise<void> {
  assert.deepEqual((await verifyBooks(ledger)).problems, [])
}

/** A client of which every call may be watched, and fail before it is sent or lose its answer. */
export function loseAnswers(client: StripeClient): StripeClient & {
  lose(path: string, when?: 'before' | 'after'): void
  readonly calls: string[]
} {
  const losses: { readonly path: string; readonly when: 'before' | 'after' }[] = []
  const calls: string[] = []
  return {
    calls,
    lose: (path, when = 'after') => void losses.push({ path, when }),
    async rawRequest(method, path, params, options) {
      calls.push(`${method} ${path}`)
      const at = losses.findIndex((loss) => `${method} ${path}`.startsWith(loss.path))
      const [loss] = at < 0 ? [] : losses.splice(at, 1)
      if (loss?.when === 'before') throw new Error('The connection dropped.')
      const answer = await client.rawRequest(method, path, params, options)
      if (loss) throw new Error('The answer was lost.')
      return answer
    },
  }
}

/** A text in what was answered. */
export function said(answer: object | undefined, name: string): string {
  const value: unknown = answer && Reflect.get(answer, name)
  return typeof value === 'string' ? value : assert.fail(name)
}
