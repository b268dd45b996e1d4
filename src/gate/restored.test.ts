// Books that were restored from a backup know nothing of what was sold since: none of it is given a second time.
import assert from 'node:assert/strict'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { createMac } from '../core/mac.ts'
import type { Offer } from '../core/offer.ts'
import { createOffers } from '../core/offers.ts'
import type { Ask, Gate, Ledger, Rail, Sale, Settlement } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { sqlite } from '../ledger/sqlite.ts'
import {
  ask,
  createHandClock,
  createKeyRail,
  offerOf,
  plan,
  planned,
  priced,
  serve,
} from './fixture.test.ts'
import { OFFER_VALID_MS, createGate } from './gate.ts'

const cent = priced('0.01 USD')
const MINUTE_MS = 60_000

interface Process {
  readonly gate: Gate
  readonly end: () => Promise<void>
}

interface World {
  readonly clock: ReturnType<typeof createHandClock>
  /** Sells that, for the payment with that proof. */
  readonly sell: (proof: string, sale?: Sale) => Promise<Ask>
  /** What becomes of the same request on the books of yesterday. */
  readonly again: (request: Ask, restoredAt?: number) => Promise<string>
}

/** A shop that was backed up after it had sold `a`, and went on. */
async function within(
  work: (world: World) => Promise<void>,
  change: Partial<Rail<unknown, string>> = {},
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'restored-'))
  const clock = createHandClock()
  const { rail } = createKeyRail(clock, change)
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const open = async (name: string, restoredAt?: number): Promise<Process> => {
    const ledger: Ledger = await sqlite({ file: join(directory, name), clock })
    const more = restoredAt === undefined ? {} : { restoredAt }
    const gate = createGate({ rails: [rail], ledger, offers, clock, ...more })
    return { gate, end: () => ledger.close() }
  }
  const by = async <T>(process: Process, use: (gate: Gate) => Promise<T>): Promise<T> => {
    try {
      return await use(process.gate)
    } finally {
      await process.end()
    }
  }
  let copies = 0
  try {
    const sell: World['sell'] = async (proof, sale = cent) =>
      await by(await open('books'), async (gate) => {
        const offer = await offerOf(gate, ask(sale))
        const request = ask(sale, { offer, proof })
        assert.equal(await serve(gate, request), 'serve')
        return request
      })
    await sell('a')
    await copyFile(join(directory, 'books'), join(directory, 'saved'))
    await work({
      clock,
      sell,
      async again(request, restoredAt) {
        const copy = `copy${++copies}`
        await copyFile(join(directory, 'saved'), join(directory, copy))
        return await by(await open(copy, restoredAt), (gate) => serve(gate, request))
      },
    })
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** A chain that knows when it was paid. */
function createKeeper(): Partial<Rail<unknown, string>> {
  const paid = new Map<string, Settlement>()
  return {
    async settle({ expiresAt }, _, key, log) {
      await log.write({ type: 'prepared', data: {} })
      const settledAt = expiresAt - OFFER_VALID_MS
      const done = { state: 'settled', reference: `tx-${key}`, payer: 'buyer', settledAt } as const
      paid.set(key, done)
      return done
    },
    async verify(_, key) {
      const why = problem('payment-spent', 'Spent.')
      return paid.has(key)
        ? { ok: false, key, payer: 'buyer', problem: why }
        : { ok: true, key, payer: 'buyer' }
    },
    find: async (_, key) => paid.get(key),
  }
}

const kinds: Readonly<Record<string, Partial<Rail<unknown, string>>>> = {
  'on a chain': {},
  'that is paid before it is shown': { prepaid: true },
}

for (const [kind, change] of Object.entries(kinds))
  describe(`after a restore, a payment ${kind}`, () => {
    test('that was served since the backup is not served again, though it would be without the setting', () =>
      within(async ({ clock, sell, again }) => {
        const request = await sell('b')
        clock.pass(MINUTE_MS)
        assert.equal(await again(request), 'serve')
        assert.equal(await again(request, clock.now()), 'offer-foreign')
      }, change))

    test('for a token opens no second account', () =>
      within(async ({ clock, sell, again }) => {
        const request = await sell('b', planned(plan('ten', { uses: 10 })))
        clock.pass(MINUTE_MS)
        assert.equal(await again(request), 'serve')
        assert.equal(await again(request, clock.now()), 'offer-foreign')
      }, change))
  })

describe('after a restore', () => {
  test('a payment that names no offer is not served again either', () =>
    within(async ({ clock, sell, again }) => {
      const { credential, ...request } = await sell('b')
      assert.ok(credential && !('code' in credential) && credential.offer)
      const { id: _, expiresAt: __, ...unbound } = credential.offer as Offer
      const shown = { ...request, credential: { offer: unbound, proof: 'b' } }
      clock.pass(MINUTE_MS)
      assert.equal(await again(shown), 'serve')
      assert.notEqual(await again(shown, clock.now()), 'serve')
    }, createKeeper()))

  test('what the backup knows holds, and what is offered from then on is sold', () =>
    within(async ({ clock, sell, again }) => {
      const request = await sell('a2')
      assert.ok(request)
      const known = ask(cent, { ...(request.credential as object), proof: 'a' })
      clock.pass(MINUTE_MS)
      const restoredAt = clock.now()
      assert.notEqual(await again(known, restoredAt), 'serve')
      clock.pass(2 * MINUTE_MS)
      const fresh = await sell('c')
      assert.equal(await again(fresh, restoredAt), 'serve')
    }))
})
