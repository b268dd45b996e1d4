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
import type { Ledger } from '../../src/core/ports.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { createDice } from '../../src/testing/faults.ts'
import type { Dice } from '../../src/testing/faults.ts'
import { budget, check, claims } from './linearizability.ts'
import type { BudgetQuestion, Call, KeyQuestion } from './linearizability.ts'

const PROCESSES = 4
const LANES = 2
const CALLS = 40
const KEYS = 4
const CEILING = 120n

type Question = KeyQuestion | BudgetQuestion
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
  const ledger = await sqlite({ file })
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

/** What all children said, one call each. */
async function history(role: string): Promise<readonly Call<Question, string>[]> {
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
