// Accounts of tokens over books in memory and over SQLite, also with two gates on one file. Rails and clock stand by hand.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Grant } from '../core/credential.ts'
import { readPrice, writePrice } from '../core/money.ts'
import type { Gate, Ledger } from '../core/ports.ts'
import { ACCOUNT_FRESH_MS } from '../core/ports.ts'
import { problems } from '../core/problem.ts'
import type { Code } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { verifyBooks } from '../ledger/verify.ts'
import type { Shop } from './fixture.test.ts'
import {
  ask,
  createHandClock,
  createShop,
  failing,
  narrowed,
  passed,
  plan,
  planned,
  priced,
  serve,
} from './fixture.test.ts'
import { SETTLE_MS, WORK_MS } from './gate.ts'
import { DRAW_LIMITS_MAX } from './limits.ts'

const LEASE_MS = WORK_MS + SETTLE_MS
const dollar = plan('dollar', { balance: readPrice('1 USD') })
const tries = plan('tries', { uses: 33 })
const hour = plan('hour')
const three = priced('0.03 USD')

describe('a hundred requests at once', () => {
  const kinds: Readonly<Record<string, (file: string) => Promise<readonly Ledger[]>>> = {
    'over books in memory': async () => [memory({ clock: createHandClock() })],
    'over SQLite': async (file) => [await sqlite({ file, clock: createHandClock() })],
    'of two gates over one file': async (file) => [
      await sqlite({ file, clock: createHandClock() }),
      await sqlite({ file, clock: createHandClock() }),
    ],
  }
  for (const [kind, open] of Object.entries(kinds)) {
    test(`never take more than a balance holds, ${kind}`, async () => {
      await withBooks(open, async (shop, gates, ledger) => {
        const { grant } = await shop.buy('p', dollar)
        const said = await crowd(gates, (gate) => serve(gate, ask(three, { grant })))
        assert.deepEqual(said, { serve: 33, 'token-exhausted': 67 })
        const { balance } = await shop.gate.accounts.left(grant.id)
        assert.equal(balance && writePrice(balance), '0.01 USD')
        assert.equal(await serve(shop.gate, ask(priced('0.01 USD'), { grant })), 'serve')
        assert.equal(await serve(shop.gate, ask(priced('0.01 USD'), { grant })), 'token-exhausted')
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
      })
    })

    test(`never take more uses than were bought, ${kind}`, async () => {
      await withBooks(open, async (shop, gates, ledger) => {
        const { grant } = await shop.buy('p', tries)
        const said = await crowd(gates, (gate) => serve(gate, ask(planned(tries), { grant })))
        assert.deepEqual(said, { serve: 33, 'token-exhausted': 67 })
        assert.deepEqual(await shop.gate.accounts.left(grant.id), { uses: 0 })
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
      })
    })

    test(`never pass a limit that copies of a token share, ${kind}`, async () => {
      await withBooks(open, async (shop, gates, ledger) => {
        const bought = await shop.buy('p', dollar)
        const uses = [{ scope: 'shared', most: 5 }]
        const budget = [{ scope: 'purse', most: readPrice('0.10 USD') }]
        const copies = [
          narrowed(bought, { uses }),
          narrowed(bought, { uses, methods: ['GET'] }),
          narrowed(bought, { uses, budget }),
          narrowed(bought, { uses: [...uses, { scope: 'own', most: 2 }] }),
        ]
        let n = 0
        const said = await crowd(gates, (gate) => {
          const grant = copies[n++ % copies.length] ?? assert.fail()
          return serve(gate, ask(three, { grant }))
        })
        assert.deepEqual(said, { serve: 5, 'token-exhausted': 95 })
        // The token that they were made from goes on.
        assert.equal(await serve(shop.gate, ask(three, { grant: bought.grant })), 'serve')
        const { balance } = await shop.gate.accounts.left(bought.grant.id)
        assert.equal(balance && writePrice(balance), '0.82 USD')
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
        assert.deepEqual(await ledger.pending(), [])
      })
    })
  }
})

describe('a draw', () => {
  test('on a plan that counts nothing writes nothing', async () => {
    const { shop, ledger } = world()
    const { grant } = await shop.buy('p', hour)
    const before = await ledger.journal(0, 1_000)
    for (let i = 0; i < 20; i++)
      assert.equal(await serve(shop.gate, ask(planned(hour), { grant })), 'serve')
    assert.deepEqual(await ledger.journal(0, 1_000), before)
    assert.deepEqual(await shop.gate.accounts.left(grant.id), {})
  })

  test('is given back when the work fails', async () => {
    const { shop, left } = world()
    const money = await shop.buy('p', dollar)
    const uses = [{ scope: 's', most: 1 }]
    const grant = narrowed(money, { uses })
    for (let i = 0; i < 3; i++)
      await passed(await shop.gate.admit(ask(three, { grant }))).finish(false)
    assert.equal(await left(money.grant), '1 USD')
    assert.equal(await serve(shop.gate, ask(three, { grant })), 'serve')
    assert.equal(await serve(shop.gate, ask(three, { grant })), 'token-exhausted')
    assert.equal(await left(money.grant), '0.97 USD')
  })

  test('is held from the first moment of the work on', async () => {
    const { shop, left } = world()
    const { grant } = await shop.buy('p', dollar)
    const pass = passed(await shop.gate.admit(ask(priced('0.6 USD'), { grant })))
    assert.equal(await left(grant), '0.4 USD')
    assert.equal(await serve(shop.gate, ask(priced('0.6 USD'), { grant })), 'token-exhausted')
    assert.equal((await pass.finish(true)).kind, 'serve')
    assert.equal(await left(grant), '0.4 USD')
  })

  test('of a process that dies in the work is given back after its lease, and by nobody before', async () => {
    const { shop, ledger, left } = world()
    const bought = await shop.buy('p', dollar)
    const grant = narrowed(bought, { uses: [{ scope: 's', most: 1 }] })
    const dead = shop.open(ledger)
    const pass = passed(await dead.admit(ask(priced('1 USD'), { grant })))
    shop.clock.pass(LEASE_MS - 1)
    await shop.gate.recover()
    assert.equal(await left(grant), '0 USD')
    shop.clock.pass(1)
    await shop.gate.recover()
    assert.equal(await left(grant), '1 USD')
    // It was not dead but slow: its answer does not leave, and takes nothing.
    const late = await pass.finish(true)
    assert.equal(late.kind === 'refused' && late.problem.code, 'work-timed-out')
    assert.equal(await left(grant), '1 USD')
    assert.equal(await serve(shop.gate, ask(priced('1 USD'), { grant })), 'serve')
  })

  test('that was given up in part takes no money for work that is refused', async () => {
    const { shop, ledger, left } = world()
    const bought = await shop.buy('p', dollar)
    const grant = narrowed(bought, { uses: [{ scope: 's', most: 9 }] })
    const pass = passed(await shop.gate.admit(ask(three, { grant })))
    shop.clock.pass(LEASE_MS)
    // Another process is in the middle of giving up what both takes hold.
    const counted = (await ledger.pending()).find(({ asset }) => asset === 'uses')
    assert.ok(counted && (await ledger.expire(counted.key, counted.claim)))
    const late = await pass.finish(true)
    assert.equal(late.kind === 'refused' && late.problem.code, 'work-timed-out')
    await shop.gate.recover()
    assert.equal(await left(grant), '1 USD')
  })

  test('that cannot be written lets nobody in, and what it held comes back', async () => {
    for (const call of [1, 2])
      for (const isDone of [false, true]) {
        const { shop, ledger, left } = world()
        const bought = await shop.buy('p', dollar)
        const grant = narrowed(bought, { uses: [{ scope: 's', most: 9 }] })
        const broken = failing(ledger, { verb: 'transfer', call, isDone })
        const gate = shop.open(broken.ledger)
        assert.equal(await serve(gate, ask(three, { grant })), 'store-unavailable')
        assert.ok(broken.hit())
        shop.clock.pass(LEASE_MS)
        await gate.recover()
        assert.equal(await left(grant), '1 USD')
        assert.equal(await serve(gate, ask(three, { grant })), 'serve')
      }
  })
})

describe('a limit', () => {
  test('of another currency than the account refuses, and one of the same lets pass', async () => {
    const { shop, left } = world()
    const bought = await shop.buy('p', dollar)
    const both = { ...three, prices: [readPrice('0.03 USD'), readPrice('0.03 EUR')] }
    const of = (text: string): Grant =>
      narrowed(bought, { budget: [{ scope: 's', most: readPrice(text) }] })
    assert.equal(await serve(shop.gate, ask(both, { grant: of('1 EUR') })), 'token-insufficient')
    assert.equal(await left(bought.grant), '1 USD')
    assert.equal(await serve(shop.gate, ask(both, { grant: of('1 USD') })), 'serve')
  })

  test('that a plan writes into every token is counted for each account alone', async () => {
    const { shop } = world()
    const rights = { uses: [{ scope: '', most: 2 }], rate: [{ scope: '', most: MINUTELY }] }
    const strict = plan('strict', { rights })
    for (const proof of ['a', 'b']) {
      const { grant } = await shop.buy(proof, strict)
      for (const code of ['serve', 'serve', 'token-exhausted'])
        assert.equal(await serve(shop.gate, ask(planned(strict), { grant })), code)
    }
  })

  test('is one of fifteen at most, since a transfer has so many legs', async () => {
    const { shop } = world()
    const bought = await shop.buy('p', tries)
    const of = (count: number): Grant =>
      narrowed(bought, {
        uses: Array.from({ length: count }, (_, i) => ({ scope: `s${i}`, most: 1 })),
      })
    assert.equal(
      await serve(shop.gate, ask(planned(tries), { grant: of(DRAW_LIMITS_MAX + 1) })),
      'token-insufficient',
    )
    assert.equal(
      await serve(shop.gate, ask(planned(tries), { grant: of(DRAW_LIMITS_MAX) })),
      'serve',
    )
  })

  test('of a rate is 429 with the time after which it is served', async () => {
    const { shop, left } = world()
    const bought = await shop.buy('p', dollar)
    const grant = narrowed(bought, { rate: [{ scope: 's', most: MINUTELY }] })
    const copy = narrowed(bought, { rate: [{ scope: 's', most: MINUTELY }], methods: ['GET'] })
    for (let i = 0; i < MINUTELY.count; i++) {
      shop.clock.pass(1_000)
      assert.equal(await serve(shop.gate, ask(three, { grant: i % 2 ? copy : grant })), 'serve')
    }
    const entry = await shop.gate.admit(ask(three, { grant }))
    assert.ok(entry.kind === 'refused' && entry.challenge === undefined)
    assert.equal(problems[entry.problem.code].status, 429)
    assert.equal(await serve(shop.gate, ask(three, { grant: copy })), 'rate-limited')
    assert.equal(await serve(shop.gate, ask(three, { grant: bought.grant })), 'serve')
    const { retryAfterMs = 0 } = entry.problem
    assert.ok(retryAfterMs > 0 && retryAfterMs <= 60_000)
    shop.clock.pass(retryAfterMs)
    assert.equal(await serve(shop.gate, ask(three, { grant: copy })), 'serve')
    assert.equal(await left(grant), '0.76 USD')
  })
})

describe('revocation', () => {
  test('is seen at once by the gate that revokes, and by every other within its time', async () => {
    const { shop, ledger, left } = world()
    const other = shop.open(ledger)
    const { grant } = await shop.buy('p', dollar)
    const beside = await shop.buy('q', dollar)
    assert.equal(await serve(other, ask(three, { grant })), 'serve')
    assert.equal(await shop.gate.accounts.revoke(grant.id), true)
    assert.equal(await serve(shop.gate, ask(three, { grant })), 'token-invalid')
    shop.clock.pass(ACCOUNT_FRESH_MS)
    assert.equal(await serve(other, ask(three, { grant })), 'token-invalid')
    assert.equal((await other.accounts.find(grant.id))?.revoked, true)
    assert.equal(await left(grant), '0.97 USD')
    for (const gate of [shop.gate, other])
      assert.equal(await serve(gate, ask(three, { grant: beside.grant })), 'serve')
  })

  test('is seen by another gate in time however often it is asked meanwhile', async () => {
    const { shop, ledger } = world()
    const other = shop.open(ledger)
    const { grant } = await shop.buy('p', hour)
    const request = () => serve(other, ask(planned(hour), { grant }))
    assert.equal(await request(), 'serve')
    await shop.gate.accounts.revoke(grant.id)
    const revokedAt = shop.clock.now()
    while ((await request()) === 'serve') shop.clock.pass(90)
    assert.ok(shop.clock.now() - revokedAt <= ACCOUNT_FRESH_MS + 90)
  })

  test('happens once, and to what is there', async () => {
    const { shop, ledger } = world()
    const { grant } = await shop.buy('p', dollar)
    assert.equal(await shop.gate.accounts.revoke('0'.repeat(64)), false)
    assert.equal(await shop.gate.accounts.revoke(grant.id), true)
    const rows = (await ledger.journal(0, 1_000)).length
    assert.equal(await shop.gate.accounts.revoke(grant.id), true)
    assert.equal((await ledger.journal(0, 1_000)).length, rows)
  })

  test('does not make a gate forget that an account was opened elsewhere meanwhile', async () => {
    const { shop, ledger } = world()
    const other = shop.open(ledger)
    const { grant } = await shop.buy('p', dollar)
    const later = { ...grant, id: await idOf(shop, 'q') }
    assert.equal(await serve(other, ask(three, { grant: later })), 'token-invalid')
    await shop.buy('q', dollar)
    assert.equal(await serve(other, ask(three, { grant: later })), 'serve')
  })
})

describe('a top-up', () => {
  test('counts once, however often its payment is shown', async () => {
    const { shop, ledger, left } = world()
    const { grant, account } = await shop.buy('p', dollar)
    assert.equal(await serve(shop.gate, ask(three, { grant })), 'serve')
    shop.clock.pass(60_000)
    const first = await shop.buy('more', dollar, grant.id)
    assert.equal(first.account.expiresAt, account.expiresAt + 60_000)
    for (let i = 0; i < 5; i++) {
      shop.clock.pass(10_000)
      const again = await shop.buy('more', dollar, grant.id)
      assert.deepEqual(again.account, first.account)
    }
    assert.equal(await left(grant), '1.97 USD')
    assert.equal(shop.moved.get('more'), 1)
    const steps = (await ledger.find(`account/${grant.id}`))?.steps ?? []
    assert.deepEqual(
      steps.map(({ type }) => type),
      ['topped-up'],
    )
    await shop.buy('yet more', dollar, grant.id)
    assert.equal(await left(grant), '2.97 USD')
  })

  test('is seen by another gate', async () => {
    const { shop, ledger } = world()
    const other = shop.open(ledger)
    const { grant, account } = await shop.buy('p', tries)
    assert.equal(await serve(other, ask(planned(tries), { grant })), 'serve')
    shop.clock.pass(ACCOUNT_FRESH_MS)
    await shop.buy('more', tries, grant.id)
    assert.deepEqual(await other.accounts.left(grant.id), { uses: 65 })
    const seen = await other.accounts.find(grant.id)
    assert.equal(seen?.expiresAt, account.expiresAt + ACCOUNT_FRESH_MS)
  })
})

describe('a statement', () => {
  test('tells all that went in and out, page by page, and nothing of others', async () => {
    const { shop } = world()
    const bought = await shop.buy('p', dollar)
    const { grant } = bought
    const other = await shop.buy('q', dollar)
    await shop.buy('more', dollar, grant.id)
    await serve(shop.gate, ask(three, { grant: other.grant }))
    const prices = ['0.01 USD', '0.02 USD', '0.03 USD', '0.04 USD']
    for (const price of prices) {
      shop.clock.pass(1)
      assert.equal(await serve(shop.gate, ask(priced(price), { grant })), 'serve')
    }
    shop.clock.pass(1)
    await passed(await shop.gate.admit(ask(priced('0.5 USD'), { grant }))).finish(false)
    shop.clock.pass(1)
    await shop.gate.admit(ask(priced('0.6 USD'), { grant }))
    const lines = [
      'bought 1 USD dollar',
      'topped-up 1 USD dollar',
      ...prices.map((price) => `drawn ${price} GET api.test/a`),
      'released 0.5 USD GET api.test/a',
      'held 0.6 USD GET api.test/a',
    ]
    for (const limit of [1, 2, 3, 7, 8, 9, 100])
      assert.deepEqual(await told(shop.gate, grant.id, limit), lines, `${limit}`)
    assert.deepEqual(await shop.gate.accounts.statement('0'.repeat(64), '', 10), { entries: [] })
  })

  test('of uses counts them', async () => {
    const { shop } = world()
    const { grant } = await shop.buy('p', tries)
    await serve(shop.gate, ask(planned(tries), { grant }))
    const lines = ['bought 33 tries', 'drawn 1 GET api.test/a']
    assert.deepEqual(await told(shop.gate, grant.id, 10), lines)
  })
})

describe('a token is refused', () => {
  const other = plan('other', { uses: 5 })
  const grantOf = async (shop: Shop, sold = dollar): Promise<Grant> =>
    (await shop.buy('p', sold)).grant

  const refusals: Readonly<
    Record<string, readonly [status: number, code: Code, (shop: Shop) => Promise<string>]>
  > = {
    'that nobody has paid for': [
      401,
      'token-invalid',
      async (shop) => {
        const grant = await grantOf(shop)
        return serve(shop.gate, ask(three, { grant: { ...grant, id: '0'.repeat(64) } }))
      },
    ],
    'that is revoked': [
      401,
      'token-invalid',
      async (shop) => {
        const grant = await grantOf(shop)
        await shop.gate.accounts.revoke(grant.id)
        return serve(shop.gate, ask(three, { grant }))
      },
    ],
    'whose account has ended': [
      402,
      'token-exhausted',
      async (shop) => {
        const grant = await grantOf(shop)
        const { expiresAt: _, ...rights } = grant.rights
        shop.clock.pass(dollar.validForMs)
        return serve(shop.gate, ask(three, { grant: { ...grant, rights } }))
      },
    ],
    'that says it has ended': [
      402,
      'token-exhausted',
      async (shop) => {
        const bought = await shop.buy('p', dollar)
        const grant = narrowed(bought, { expiresAt: shop.clock.now() + 1 })
        assert.equal(await serve(shop.gate, ask(three, { grant })), 'serve')
        shop.clock.pass(1)
        return serve(shop.gate, ask(three, { grant }))
      },
    ],
    'for the service of another plan': [
      403,
      'token-insufficient',
      async (shop) => {
        const grant = await grantOf(shop, other)
        assert.equal(await serve(shop.gate, ask(planned(other), { grant })), 'serve')
        assert.equal(
          await serve(shop.gate, ask({ ...three, takes: ['other'] }, { grant })),
          'serve',
        )
        assert.equal(await serve(shop.gate, ask(three, { grant })), 'token-insufficient')
        return serve(shop.gate, ask(planned(tries), { grant }))
      },
    ],
    'that says another service than that of its account': [
      403,
      'token-insufficient',
      async (shop) => {
        const bought = await shop.buy('p', other)
        const grant = narrowed(bought, { services: [{ name: 'tries', tier: 0 }] })
        return serve(shop.gate, ask(planned(tries), { grant }))
      },
    ],
    'with a balance in another currency': [
      403,
      'token-insufficient',
      async (shop) => serve(shop.gate, ask(priced('0.03 EUR'), { grant: await grantOf(shop) })),
    ],
    'that was narrowed to another path': [
      403,
      'token-insufficient',
      async (shop) => {
        const bought = await shop.buy('p', dollar)
        const [here, there] = [
          narrowed(bought, { paths: ['/a'] }),
          narrowed(bought, { paths: ['/b'] }),
        ]
        assert.equal(await serve(shop.gate, ask(three, { grant: here })), 'serve')
        return serve(shop.gate, ask(three, { grant: there }))
      },
    ],
    'of a key that the request does not prove': [
      403,
      'token-insufficient',
      async (shop) => {
        const bought = await shop.buy('p', dollar)
        const grant = narrowed(bought, { payerKeys: ['k'] })
        assert.equal(
          await serve(shop.gate, ask(three, { grant: { ...grant, payerKey: 'k' } })),
          'serve',
        )
        return serve(shop.gate, ask(three, { grant: { ...grant, payerKey: 'l' } }))
      },
    ],
    'whose budget is below the price': [
      403,
      'token-insufficient',
      async (shop) => {
        const bought = await shop.buy('p', dollar)
        const grant = narrowed(bought, { budget: [{ scope: 's', most: readPrice('0.029 USD') }] })
        assert.equal(await serve(shop.gate, ask(priced('0.029 USD'), { grant })), 'serve')
        return serve(shop.gate, ask(three, { grant }))
      },
    ],
    'that holds too little': [
      402,
      'token-exhausted',
      async (shop) => serve(shop.gate, ask(priced('1.01 USD'), { grant: await grantOf(shop) })),
    ],
    'that is used too often': [
      429,
      'rate-limited',
      async (shop) => {
        const bought = await shop.buy('p', dollar)
        const rate = [{ scope: 's', most: { count: 1, windowMs: 1_000 } }]
        const grant = narrowed(bought, { rate })
        assert.equal(await serve(shop.gate, ask(three, { grant })), 'serve')
        return serve(shop.gate, ask(three, { grant }))
      },
    ],
  }
  for (const [what, [status, code, attempt]] of Object.entries(refusals))
    test(`${what}: ${status} ${code}`, async () => {
      const { shop } = world()
      const honest = await shop.buy('honest', dollar)
      assert.equal(await attempt(shop), code)
      assert.equal(problems[code].status, status)
      if (shop.clock.now() < honest.account.expiresAt)
        assert.equal(await serve(shop.gate, ask(three, { grant: honest.grant })), 'serve')
      const fresh = await shop.buy('fresh', dollar)
      assert.equal(await serve(shop.gate, ask(three, { grant: fresh.grant })), 'serve')
    })

  test('with offers exactly where a new payment helps', async () => {
    const { shop } = world()
    const { grant } = await shop.buy('p', dollar)
    const poor = await shop.gate.admit(ask(priced('2 USD'), { grant }))
    assert.ok(poor.kind === 'refused' && poor.challenge?.offers.length === 1)
    const none = await shop.gate.admit(ask(three, { grant: { ...grant, id: '0'.repeat(64) } }))
    assert.ok(none.kind === 'refused' && none.challenge === undefined)
  })
})

const MINUTELY = { count: 6, windowMs: 60_000 }

function world() {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const shop = createShop(ledger, clock)
  return {
    shop,
    ledger,
    left: async ({ id }: Grant): Promise<string> => {
      const { balance } = await shop.gate.accounts.left(id)
      return balance ? writePrice(balance) : assert.fail('the account has a balance')
    },
  }
}

/** One shop over each of the books, which are closed and removed afterwards. */
async function withBooks(
  open: (file: string) => Promise<readonly Ledger[]>,
  run: (shop: Shop, gates: readonly Gate[], ledger: Ledger) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-accounts-'))
  const ledgers = await open(join(directory, 'books.db'))
  const [ledger = assert.fail('no books'), ...others] = ledgers
  try {
    const shop = createShop(ledger)
    await run(shop, [shop.gate, ...others.map((other) => shop.open(other))], ledger)
  } finally {
    for (const one of ledgers) await one.close()
    await rm(directory, { recursive: true })
  }
}

/** A hundred of them at once, by what became of them. */
async function crowd(
  gates: readonly Gate[],
  request: (gate: Gate) => Promise<string>,
): Promise<Readonly<Record<string, number>>> {
  const said = await Promise.all(
    Array.from({ length: 100 }, (_, i) => request(gates[i % gates.length] ?? assert.fail())),
  )
  const counts: Record<string, number> = {}
  for (const one of said.toSorted()) counts[one] = (counts[one] ?? 0) + 1
  return counts
}

async function told(gate: Gate, id: string, limit: number): Promise<readonly string[]> {
  const lines: string[] = []
  let after: string | undefined = ''
  while (after !== undefined) {
    const page: Awaited<ReturnType<Gate['accounts']['statement']>> = await gate.accounts.statement(
      id,
      after,
      limit,
    )
    assert.ok(page.entries.length <= limit)
    lines.push(...page.entries.map(({ type, amount, what }) => `${type} ${amount} ${what}`))
    after = page.next
  }
  return lines
}

/** The id of the account that the proof would open, from a shop beside. */
async function idOf(beside: Shop, proof: string): Promise<string> {
  const shop = createShop(memory({ clock: beside.clock }), beside.clock)
  return (await shop.buy(proof, dollar)).grant.id
}
