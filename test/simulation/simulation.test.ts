// Whole worlds under a virtual clock (see world.ts): real sellers and payers, a chain and a net that lie. A seed that
// fails is replayed with the line that its failure prints. Broken parts show that the watch would see them.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Gate, Pass, Refusal } from '../../src/core/ports.ts'
import { problem } from '../../src/core/problem.ts'
import { calm } from '../../src/testing/faults.ts'
import seeds from './seeds.json' with { type: 'json' }
import type { Outcome } from './simulate.ts'
import { STEPS, commitOf, sentenceOf, simulate } from './simulate.ts'
import { clear } from './network.ts'
import type { Breaks, Climate } from './world.ts'

const WORLDS = 13
const FIRST = 70_000

test('ten thousand steps of bad weather, and nothing is lost or sold twice', async () => {
  const total = { weather: 0, paid: 0, received: 0, deaths: 0, unknown: 0, faults: 0 }
  for (let seed = FIRST; seed < FIRST + WORLDS; seed++) {
    const outcome = await simulate({ seed })
    assert.deepEqual(outcome.violations, [], sentenceOf(outcome, STEPS, commitOf()))
    const { paid, received, deaths, unknown, faults } = outcome.counts
    total.weather += outcome.weather
    total.paid += paid
    total.received += received
    total.deaths += deaths
    total.unknown += unknown
    total.faults += faults
  }
  assert.ok(total.weather >= 10_000, `${total.weather} steps`)
  for (const [name, count] of Object.entries(total)) assert.ok(count >= 10, `${name}: ${count}`)
})

for (const { seed, steps, was } of seeds.seeds)
  test(`seed ${seed} failed once (${was})`, async () => {
    const outcome = await simulate({ seed, steps })
    assert.deepEqual(outcome.violations, [], sentenceOf(outcome, steps, commitOf()))
  })

test('a seed tells the same story for ever', async () => {
  const [one, two] = [
    await simulate({ seed: 7, steps: 200 }),
    await simulate({ seed: 7, steps: 200 }),
  ]
  assert.deepEqual(two, one)
  const other = await simulate({ seed: 8, steps: 200 })
  assert.notEqual(other.print, one.print)
})

describe('the watch sees', () => {
  const broken: Readonly<Record<string, { readonly kind: string; readonly breaks: Breaks }>> = {
    'a claim that is looked up first and made afterwards': {
      kind: 'served-at-once',
      breaks: {
        sellerLedger: (ledger) => ({
          ...ledger,
          async transfer(given) {
            const held = await ledger.find(given.key)
            if (held && held.state !== 'voided') return ledger.transfer(given)
            const claim = await ledger.transfer(given)
            return {
              outcome: 'made',
              claim: 'held' in claim ? claim.held.claim : 'claim' in claim ? claim.claim : 0,
            }
          },
        }),
      },
    },
    'a sale that is given up while its outcome is unknown': {
      kind: 'given-up-and-taken',
      breaks: {
        rail: (rail) => ({
          ...rail,
          async settle(...args) {
            const settlement = await rail.settle(...args)
            if (settlement.state !== 'unknown') return settlement
            return { state: 'failed', problem: problem('settlement-failed', 'Who knows.') }
          },
        }),
      },
    },
    'an unknown outcome that is answered with a new bill': {
      kind: 'asked-anew',
      breaks: { gate: (gate) => refusing(gate, 'payment-unknown') },
    },
    'goods that leave before they are paid': {
      kind: 'level',
      breaks: { gate: (gate) => passing(gate, (pass) => ({ ...pass, finish: serve })) },
    },
    'a delivery that nobody notes': {
      kind: 'served-again',
      breaks: { gate: (gate) => passing(gate, (pass) => ({ ...pass, delivered: () => {} })) },
    },
    'a budget without a ceiling': {
      kind: 'budget',
      breaks: {
        payerLedger: (ledger) => ({
          ...ledger,
          transfer: (given) =>
            ledger.transfer({
              ...given,
              legs: given.legs.map(({ debit, credit }) => ({ debit, credit })),
            }),
        }),
      },
    },
    'a payer that frees its budget before the payment is dead': {
      kind: 'budget',
      breaks: {
        payerLedger: (ledger) => ({
          ...ledger,
          async step(key, step) {
            await ledger.step(key, step)
            if (step.type === 'released') await ledger.void(key, 'internal')
          },
        }),
      },
    },
    'books that say posted and have written nothing': {
      kind: 'open',
      breaks: { sellerLedger: (ledger) => ({ ...ledger, post: async () => 'posted' }) },
    },
  }

  for (const [name, { kind, breaks }] of Object.entries(broken))
    test(name, async () => {
      const seed = await firstWith(kind, breaks)
      assert.ok(seed !== undefined, `${kind} was not seen in ${TRIES} worlds`)
      assert.ok(
        !has(await simulate({ ...harsh, seed }), kind),
        `seed ${seed} has ${kind} without the break`,
      )
    })
})

/** Weather in which what is broken shows soon: blocks are full, and requests come twice. */
const storm: Climate = {
  ledger: { ...calm, usualMs: 300, crashed: 0.002 },
  node: { ...calm, usualMs: 300 },
  net: { ...clear, doubled: 0.3, lost: 0.05 },
  stale: 0,
  reorganisations: 0,
  frontRunners: 0,
  jumps: 0,
  workFails: 0,
  inclusion: 0.1,
}

const harsh = { climate: storm, budget: 50_000n, steps: 600 }

const TRIES = 30

async function firstWith(kind: string, breaks: Breaks): Promise<number | undefined> {
  for (let seed = 1; seed <= TRIES; seed++)
    if (has(await simulate({ ...harsh, seed, breaks }), kind)) return seed
  return undefined
}

function has({ violations, gaps }: Outcome, kind: string): boolean {
  return gaps.has(kind) || violations.some((violation) => violation.kind === kind)
}

const serve: Pass['finish'] = () => Promise.resolve({ kind: 'serve' })

function passing(gate: Gate, change: (pass: Pass) => Pass): Gate {
  return {
    ...gate,
    async admit(ask) {
      const entry = await gate.admit(ask)
      return entry.kind === 'pass' ? change(entry) : entry
    },
  }
}

/** Asks for a new payment where the gate has said something else. */
function refusing(gate: Gate, code: string): Gate {
  const anew = <T extends { readonly kind: string } | Refusal>(
    entry: T,
    challenge: () => Refusal,
  ): T | Refusal => ('problem' in entry && entry.problem.code === code ? challenge() : entry)
  return {
    ...gate,
    async admit(ask) {
      const challenge = (): Refusal => gate.challenge(ask)
      const entry = anew(await gate.admit(ask), challenge)
      if (entry.kind !== 'pass') return entry
      return { ...entry, finish: async (good) => anew(await entry.finish(good), challenge) }
    },
  }
}
