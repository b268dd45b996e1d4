// Whole worlds under a virtual clock (see world.ts): real sellers, facilitators and payers, a chain and a net that lie; and
// tills that pay money back (see refunds.ts). A seed that fails is replayed with the line that its failure prints.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Asked } from './clerk.ts'
import seeds from './seeds.json' with { type: 'json' }
import type { Kind, Outcome } from './simulate.ts'
import { STEPS, commitOf, kinds, live, sentenceOf } from './simulate.ts'
import type { Counts } from './watch.ts'

const WORLDS = 13
const FIRST = 70_000

test('ten thousand steps of bad weather, and nothing is lost or sold twice', async () => {
  const total = await sumOf('shop', WORLDS)
  assert.ok(total.weather >= 10_000, `${total.weather} steps`)
  for (const name of ['paid', 'received', 'deaths', 'unknown', 'faults'] as const)
    assert.ok(total[name] >= 10, `${name}: ${total[name]}`)
})

test('through facilitators one charge for a spend, and one answer for a payment, whoever is asked', async () => {
  const total = await sumOf('facilitated', 5)
  for (const name of ['paid', 'received', 'deaths', 'settled', 'again', 'verified'] as const)
    assert.ok(total[name] >= 10, `${name}: ${total[name]}`)
})

test('money goes back once, and never more than was charged', async () => {
  const total = await sumOf('refunds', 6)
  for (const name of ['refunded', 'deaths'] as const)
    assert.ok(total[name] >= 5, `${name}: ${total[name]}`)
})

type Total = Record<'weather' | keyof Counts | keyof Asked, number>

/** So many worlds of a kind without a violation, and what was counted in all of them. */
async function sumOf(kind: Kind, worlds: number): Promise<Total> {
  const total: Record<string, number> = {}
  for (let seed = FIRST; seed < FIRST + worlds; seed++) {
    const outcome = await live(kind, { seed })
    assert.deepEqual(outcome.violations, [], sentenceOf(outcome, STEPS, commitOf()))
    const counted = { weather: outcome.weather, ...outcome.counts, ...outcome.asked }
    for (const [name, count] of Object.entries(counted)) total[name] = (total[name] ?? 0) + count
  }
  return total as Total
}

for (const { seed, steps, was, world } of seeds.seeds)
  test(`seed ${seed} (${world}) failed once (${was})`, async () => {
    const outcome = await live(world as Kind, { seed, steps })
    assert.deepEqual(outcome.violations, [], sentenceOf(outcome, steps, commitOf()))
  })

for (const kind of kinds)
  test(`a seed tells the same story for ever (${kind})`, async () => {
    const told = (seed: number): Promise<Outcome> => live(kind, { seed, steps: 100 })
    const one = await told(7)
    assert.deepEqual(await told(7), one)
    assert.notEqual((await told(8)).print, one.print)
  })
