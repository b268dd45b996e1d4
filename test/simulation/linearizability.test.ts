// Several processes work on one SQLite file, one of them is killed, and what each saw must fit into one order. This file
// is its own child: with a role as its argument it works on a ledger and tests nothing. All processes read the same
// monotonic clock.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import type { Clock, Ledger } from '../../src/core/ports.ts'
import { PaymentError } from '../../src/core/problem.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { createDice } from '../../src/testing/faults.ts'
import type { Dice } from '../../src/testing/faults.ts'
import { NUMBER_LEASE_MS, leased } from '../../src/rails/evm/numbers.ts'
import type { Ticket } from '../../src/rails/evm/numbers.ts'
import { budget, check, claims, numbers } from './linearizability.ts'
import type { BudgetQuestion, Call, KeyQuestion, NumberQuestion } from './linearizability.ts'

const PROCESSES = 4
const LANES = 2
const CALLS = 40
const KEYS = 4
const CEILING = 120n

/** How much faster time goes for whoever leases numbers: leases run out while somebody watches. */
const SPEED = 100

type Question = KeyQuestion | BudgetQuestion | NumberQuestion
type Work = (ledger: Ledger, dice: Dice, name: string) => Promise<void>

const roles: Readonly<Record<string, Work>> = {
  async claims(ledger, dice, name) {
    for (let n = 0; n < CALLS; n++) {
      // A posted key is closed for good, so the keys move on.
      const key = `key-${Math.floor(n / 10) * KEYS + dice.below(KEYS)}`
      const verb = dice.pick(['transfer', 'transfer', 'void', 'post', 'find'] as const)
      const purpose = `p${dice.below(2)}`
      const asked: KeyQuestion = verb === 'transfer' ? { verb, purpose } : { verb }
      await recorded(`${name}-${n}`, key, asked, async () => {
        if (verb === 'transfer') return (await ledger.transfer(sale(key, purpose, 1n))).outcome
        if (verb === 'post') return await ledger.post(key)
        if (verb === 'void') return await ledger.void(key, 'internal')
        const held = await ledger.find(key)
        return held ? `${held.state} ${held.purpose}` : 'absent '
      })
    }
  },
  async budget(ledger, dice, name) {
    for (let n = 0; n < CALLS; n++) {
      const key = `${name}-${n}`
      const amount = BigInt(10 + dice.below(30))
      const made = await recorded(`${key}-take`, 'budget', { verb: 'take', amount }, async () => {
        const legs = [{ debit: 'world/wallet', credit: 'day', ceiling: CEILING }]
        return (await ledger.transfer({ ...sale(key, 'p', amount), legs })).outcome
      })
      if (made !== 'made') continue
      // What is not posted goes back, so that posting half gives the other half.
      const half = n === 30 ? amount / 2n : 0n
      await recorded(`${key}-give`, 'budget', { verb: 'give', amount: amount - half }, async () => {
        const ended = half > 0n ? ledger.post(key, half) : ledger.void(key, 'internal')
        return /posted|voided/.test(await ended) ? 'given' : 'lost'
      })
    }
  },
  async numbers(ledger, dice, name) {
    const lane = leased(ledger, 'nonce/0x7e', async () => 0, clock)
    let most = 0
    for (let n = 0; n < CALLS; n++) {
      const id = `${name}-${n}`
      const fromAt = clock.now()
      const gap = dice.happens(0.3) ? dice.below(most + 2) : undefined
      const found = gap === undefined ? { ticket: await lane.take() } : await lane.gap(gap)
      const nonce = gap ?? found?.ticket.nonce ?? 0
      const said = !found ? 'none' : 'raw' in found ? 'bytes' : 'given'
      const verb = gap === undefined ? 'take' : 'gap'
      tell(id, nonce, { verb, ticket: id, fromAt, toAt: clock.now(), said })
      most = Math.max(most, nonce)
      if (said === 'given' && found) await use(id, found.ticket, dice)
    }
  },
}

/** What may become of a number: it is used, sooner or later, given back, or forgotten. */
async function use(ticket: string, given: Ticket, dice: Dice): Promise<void> {
  if (dice.happens(0.4)) await clock.sleep(dice.next() * 2 * NUMBER_LEASE_MS)
  const fromAt = clock.now()
  const done = (verb: 'write' | 'drop', said: string): void =>
    tell(`${ticket}-${verb}`, given.nonce, { verb, ticket, fromAt, toAt: clock.now(), said })
  const fate = dice.next()
  if (fate < 0.6) done('write', await given.write('0x01', '0x02').then(() => 'written', lostOnly))
  else if (fate < 0.8) done('drop', await given.drop().then(() => 'dropped'))
}

function lostOnly(error: unknown): string {
  assert(error instanceof PaymentError && error.code === 'payment-in-flight', String(error))
  return 'lost'
}

/** The clock of the machine, which all processes share, and faster. */
const clock: Clock = {
  now: () => Number((process.hrtime.bigint() * BigInt(SPEED)) / 1_000_000n),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms / SPEED)),
}

/** A call in one line, when it has ended. */
function tell(id: string, nonce: number, asked: NumberQuestion): void {
  const { fromAt, toAt, said: answer } = asked
  say({ id, of: `number ${nonce}`, asked, answer, from: String(fromAt), to: String(toAt) })
}

function sale(key: string, purpose: string, amount: bigint): Parameters<Ledger['transfer']>[0] {
  const legs = [{ debit: 'world/chain', credit: 'sales' }]
  return { key, purpose, asset: 'usd', amount, legs, leaseUntilAt: 2 ** 52, note: {} }
}

/** One line before the call, and one after it. */
async function recorded(
  id: string,
  of: string,
  asked: Question,
  call: () => Promise<string>,
): Promise<string> {
  const plain = { ...asked, ...('amount' in asked && { amount: String(asked.amount) }) }
  say({ id, of, asked: plain, from: String(process.hrtime.bigint()) })
  const answer = await call()
  say({ id, answer, to: String(process.hrtime.bigint()) })
  return answer
}

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)

const [role, file, number] = process.argv.slice(2)
if (role && file && number) await work(role, file, Number(number))
else prove()

async function work(role: string, file: string, number: number): Promise<void> {
  const ledger = await sqlite({ file, ...(role === 'numbers' && { clock }) })
  const play = roles[role]
  assert(play)
  const lanes = Array.from({ length: LANES }, (_, lane) =>
    play(ledger, createDice(number * LANES + lane), `${number}-${lane}`),
  )
  await Promise.all(lanes)
  await ledger.close()
}

interface Line {
  readonly id: string
  readonly of?: string
  readonly asked?: Record<string, string>
  readonly from?: string
  readonly answer?: string
  readonly to?: string
}

/** What all children said, one call each. `after` looks at the books that they leave. */
async function history(
  role: string,
  after: (file: string) => Promise<void> = async () => undefined,
): Promise<readonly Call<Question, string>[]> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-history-'))
  const lines: Line[] = []
  try {
    const children = Array.from({ length: PROCESSES }, async (_, i) => {
      const child = spawn(
        process.execPath,
        [import.meta.filename, role, join(directory, 'books.db'), `${i + 1}`],
        { stdio: ['ignore', 'pipe', 'inherit'], env: {} },
      )
      let said = 0
      createInterface({ input: child.stdout }).on('line', (line) => {
        lines.push(JSON.parse(line) as Line)
        if (i === 0 && ++said === 2 * CALLS) child.kill('SIGKILL')
      })
      const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
      assert.deepEqual([code, signal], i === 0 ? [null, 'SIGKILL'] : [0, null])
    })
    await Promise.all(children)
    await after(join(directory, 'books.db'))
  } finally {
    await rm(directory, { recursive: true })
  }
  const ends = new Map(lines.filter(({ to }) => to).map((line) => [line.id, line]))
  return lines.flatMap(({ id, of, asked, from }) => {
    if (!of || !asked || !from) return []
    const end = ends.get(id)
    const question = { ...asked, ...(asked['amount'] && { amount: BigInt(asked['amount']) }) }
    return [
      {
        of,
        asked: question as unknown as Question,
        answer: end?.answer,
        from: BigInt(from),
        ...(end?.to && { to: BigInt(end.to) }),
      },
    ]
  })
}

function prove(): void {
  test('what processes saw of claims fits into one order', async () => {
    const calls = (await history('claims')) as readonly Call<KeyQuestion, string>[]
    assert.deepEqual(check(calls, claims), [])
    const overlaps = calls.filter((one) =>
      calls.some((other) => one !== other && one.of === other.of && overlap(one, other)),
    )
    assert.ok(calls.length > 200 && overlaps.length > 50, `${overlaps.length} of ${calls.length}`)
  })

  test('what processes saw of a budget fits into one order', async () => {
    const calls = (await history('budget')) as readonly Call<BudgetQuestion, string>[]
    assert.deepEqual(check(calls, budget(CEILING)), [])
    for (const answer of ['made', 'insufficient', 'given'])
      assert.ok(calls.filter((call) => call.answer === answer).length >= 10, answer)
  })

  test('what processes saw of the numbers of a key fits into one order, and no number stays a hole', async () => {
    const calls = (await history('numbers', async (file) => {
      const later: Clock = { ...clock, now: () => clock.now() + 2 * NUMBER_LEASE_MS }
      const ledger = await sqlite({ file, clock: later })
      const lane = leased(ledger, 'nonce/0x7e', async () => 0, later)
      const keys = await ledger.under('nonce/0x7e/', '', 10_000)
      const last = Math.max(...keys.map(({ key }) => Number(key.slice('nonce/0x7e/'.length))))
      for (let nonce = 0; nonce <= last; nonce++)
        assert(await lane.gap(nonce), `${nonce} is a hole`)
      assert.ok(last >= 8, `The last is ${last}.`)
      await ledger.close()
    })) as readonly Call<NumberQuestion, string>[]
    assert.deepEqual(check(calls, numbers(NUMBER_LEASE_MS)), [])
    const counts = Map.groupBy(calls, ({ asked, answer }) => `${asked.verb} ${answer}`)
    for (const kind of ['take given', 'write written', 'drop dropped', 'gap bytes'])
      assert.ok((counts.get(kind)?.length ?? 0) >= 1, `${kind}: ${counts.get(kind)?.length}`)
  })

  describe('no order explains', () => {
    const at = <Q>(from: number, to: number, asked: Q, answer: string): Call<Q, string> => ({
      of: 'k',
      asked,
      answer,
      from: BigInt(from),
      to: BigInt(to),
    })
    const claim = { verb: 'transfer', purpose: 'p' } as const
    const take = (amount: bigint) => ({ verb: 'take', amount }) as const
    const give = (amount: bigint) => ({ verb: 'give', amount }) as const

    test('two that made the same claim', () => {
      assert.deepEqual(check([at(0, 9, claim, 'made'), at(1, 8, claim, 'replayed')], claims), [])
      assert.equal(check([at(0, 9, claim, 'made'), at(1, 8, claim, 'made')], claims).length, 1)
    })

    test('a claim that is made again after it was found', () => {
      const found = at(3, 4, { verb: 'find' } as const, 'pending p')
      const voided = at(1, 5, { verb: 'void' } as const, 'voided')
      assert.deepEqual(
        check<unknown, KeyQuestion, string>(
          [at(0, 1, claim, 'made'), voided, found, at(5, 6, claim, 'made')],
          claims,
        ),
        [],
      )
      const late = at(7, 8, { verb: 'find' } as const, 'absent ')
      assert.equal(
        check<unknown, KeyQuestion, string>([at(0, 1, claim, 'made'), late], claims).length,
        1,
      )
    })

    test('more than the ceiling, or a no while there was enough', () => {
      const model = budget(10n)
      const both = [at(0, 9, take(6n), 'made'), at(0, 9, take(6n), 'made')]
      assert.equal(check<bigint, BudgetQuestion, string>(both, model).length, 1)
      const between = [at(0, 1, take(6n), 'made'), at(2, 5, give(6n), 'given')]
      const made = at(3, 4, take(6n), 'made')
      const refused = at(6, 7, take(4n), 'insufficient')
      assert.deepEqual(check<bigint, BudgetQuestion, string>([...between, made], model), [])
      assert.equal(check<bigint, BudgetQuestion, string>([...between, refused], model).length, 1)
    })

    test('a number that two wrote, or that another took before its time', () => {
      const call = (
        verb: NumberQuestion['verb'],
        ticket: string,
        [from, to]: readonly [number, number],
        said: string,
      ): Call<NumberQuestion, string> =>
        at(from, to, { verb, ticket, fromAt: from, toAt: to, said }, said)
      const judge = (...calls: readonly Call<NumberQuestion, string>[]): number =>
        check(calls, numbers(100)).length
      const a = call('take', 'a', [0, 2], 'given')
      const late = call('take', 'b', [101, 103], 'given')
      assert.equal(judge(a, late, call('write', 'a', [104, 105], 'lost')), 0)
      assert.equal(judge(a, late, call('write', 'a', [104, 105], 'written')), 1)
      assert.equal(judge(a, call('take', 'b', [50, 60], 'given')), 1)
      assert.equal(judge(a, call('drop', 'a', [3, 4], 'dropped'), late), 0)
      const wrote = call('write', 'a', [3, 4], 'written')
      assert.equal(judge(a, wrote, call('gap', 'b', [200, 201], 'bytes')), 0)
      assert.equal(judge(a, wrote, late), 1)
    })

    test('an answer before its question, while a call without an answer explains either', () => {
      const lost = { of: 'k', asked: claim, answer: undefined, from: 0n }
      const seen = (answer: string) => at(5, 6, { verb: 'find' } as const, answer)
      const judge = (calls: readonly Call<KeyQuestion, string>[]) => check(calls, claims).length
      assert.equal(judge([lost, seen('pending p')]), 0)
      assert.equal(judge([lost, seen('absent ')]), 0)
      assert.equal(judge([{ ...lost, from: 7n }, seen('pending p')]), 1)
    })
  })
}

function overlap(one: Call<unknown, unknown>, other: Call<unknown, unknown>): boolean {
  return one.from < (other.to ?? other.from) && other.from < (one.to ?? one.from)
}
