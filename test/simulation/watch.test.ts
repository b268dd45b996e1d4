// Broken parts, to show that whoever watches a world would see them: each beside the same world with the part whole.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Gate, Pass, Refusal } from '../../src/core/ports.ts'
import { problem } from '../../src/core/problem.ts'
import { calm } from '../../src/testing/faults.ts'
import { clear } from './network.ts'
import type { SimRail } from './rail.ts'
import type { TillBreaks } from './refunds.ts'
import type { Outcome } from './simulate.ts'
import { simulate, simulateTill } from './simulate.ts'
import type { Breaks, Climate, WorldOptions } from './world.ts'

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

/** A part that is broken, and what must be seen of it; in a world of that kind, where it needs one. */
interface Broken {
  readonly kind: string
  readonly breaks: Breaks
  readonly vault?: boolean
  readonly climate?: Climate
}

describe('the watch sees', () => {
  const broken: Readonly<Record<string, Broken>> = {
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
      breaks: { rail: impatient },
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
      vault: false,
      breaks: { gate: (gate) => passing(gate, (pass) => ({ ...pass, delivered: () => {} })) },
    },
    'an answer that lies in the vault, and is made once more': {
      kind: 'served-again-though-kept',
      vault: true,
      breaks: {
        gate: (gate) => passing(gate, (pass) => ({ ...pass, delivered: () => {} })),
        vault: (vault) => ({ ...vault, get: async () => undefined }),
      },
    },
    'an answer that lies in the vault, and is not given again': {
      kind: 'lost-on-the-way-though-kept',
      vault: true,
      breaks: { vault: (vault) => ({ ...vault, get: async () => undefined }) },
    },
    'a sale that came undone, and that nobody looks at again': {
      kind: 'undone-unseen',
      climate: { ...storm, inclusion: 0.9, reorganisations: 1 },
      breaks: { rail: (rail) => ({ ...rail, stands: async () => ({ state: 'final' }) }) },
    },
    'a sale that is booked back though it stands': {
      kind: 'reversed-and-paid',
      breaks: {
        rail: (rail) => ({
          ...rail,
          stands: async () => ({ state: 'gone', problem: problem('settlement-failed', 'Gone.') }),
        }),
      },
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

  for (const [name, { kind, breaks, vault, climate }] of Object.entries(broken))
    test(name, async () => {
      const more = { ...(vault !== undefined && { vault }), ...(climate && { climate }) }
      const seed = await firstWith(kind, breaks, more)
      assert.ok(seed !== undefined, `${kind} was not seen in ${TRIES} worlds`)
      const whole = await simulate({ ...harsh, ...more, seed })
      assert.ok(!has(whole, kind), `seed ${seed} has ${kind} without the break`)
    })
})

describe('the watch at the facilitator sees', () => {
  const broken: Readonly<Record<string, { readonly kind: string; readonly breaks: Breaks }>> = {
    'a replica that calls a settled payment refused': {
      kind: 'facilitator-two-answers',
      breaks: {
        facilitator: (facilitator) => ({
          ...facilitator,
          async settle(caller, offer, proof) {
            const verdict = await facilitator.verify(caller, offer, proof)
            if ('kind' in verdict || verdict.ok) return facilitator.settle(caller, offer, proof)
            return { kind: 'failed', problem: verdict.problem }
          },
        }),
      },
    },
    'a settlement under way that is called refused': {
      kind: 'facilitator-denied',
      breaks: {
        facilitator: (facilitator) => ({
          ...facilitator,
          async settle(...args) {
            const answer = await facilitator.settle(...args)
            if (answer.kind !== 'pending') return answer
            return { kind: 'failed', problem: problem('settlement-failed', 'Who knows.') }
          },
        }),
      },
    },
    'an answer that goes out before the block': {
      kind: 'facilitator-unbacked',
      breaks: { rail: hasty },
    },
    'a settlement of which nobody notes that it was told': {
      kind: 'facilitator-told',
      breaks: {
        facilitatorLedger: (ledger) => ({
          ...ledger,
          post: (key, amount, step, claim) =>
            ledger.post(
              key,
              amount,
              step && { ...step, data: { ...step.data, told: false } },
              claim,
            ),
          step: async (key, step, claim) =>
            step.type === 'told' ? undefined : ledger.step(key, step, claim),
        }),
      },
    },
  }

  for (const [name, { kind, breaks }] of Object.entries(broken))
    test(name, async () => {
      const found = await firstWith(kind, breaks, { facilitated: true })
      assert.ok(found !== undefined, `${kind} was not seen in ${TRIES} worlds`)
      const whole = await simulate({ ...harsh, seed: found, facilitated: true })
      assert.ok(!has(whole, kind), `seed ${found} has ${kind} without the break`)
    })
})

describe('the watch at the till sees', () => {
  const broken: Readonly<Record<string, { readonly kind: string; readonly breaks: TillBreaks }>> = {
    'a refund that is made anew because nobody reads what was written ahead': {
      kind: 'refunded-twice',
      breaks: {
        refund: (refund) => (offer, payer, amount, key, log) =>
          refund(offer, payer, amount, key, { ...log, read: async () => [] }),
      },
    },
    'a refund of more than was charged': {
      kind: 'refunded-above',
      breaks: {
        refund:
          (refund) =>
          (offer, payer, { asset, amount }, key, log) => {
            const more = { ...offer, amount: { asset, amount: 2n * amount + offer.amount.amount } }
            return refund(more, payer, more.amount, key, log)
          },
      },
    },
    'a refund that is called paid before its block': {
      kind: 'unbacked',
      breaks: {
        refund: (refund) => async (offer, payer, amount, key, log) => {
          const said = await refund(offer, payer, amount, key, log)
          if (said.state !== 'unknown') return said
          return { state: 'settled', reference: '0x', payer, settledAt: 0 }
        },
      },
    },
  }

  for (const [name, { kind, breaks }] of Object.entries(broken))
    test(name, async () => {
      let seed = 1
      while (seed <= TRIES && !has(await simulateTill({ seed, breaks, steps: 600 }), kind)) seed++
      assert.ok(seed <= TRIES, `${kind} was not seen in ${TRIES} worlds`)
      assert.ok(!has(await simulateTill({ seed, steps: 600 }), kind), `seed ${seed} has ${kind}`)
    })
})

/** Says settled as soon as it is written ahead. */
function hasty(rail: SimRail): SimRail {
  return {
    ...rail,
    async settle(offer, proof, key, log) {
      const written = Promise.withResolvers<void>()
      const settling = rail.settle(offer, proof, key, {
        ...log,
        async write(step) {
          await log.write(step)
          written.resolve()
        },
      })
      settling.catch(() => undefined)
      await Promise.race([written.promise, settling])
      return { state: 'settled', reference: `0x${key.slice(-64)}`, payer: proof.from, settledAt: 0 }
    },
  }
}

/** Takes a long wait for a no. */
function impatient(rail: SimRail): SimRail {
  return {
    ...rail,
    async settle(...args) {
      const settlement = await rail.settle(...args)
      if (settlement.state !== 'unknown') return settlement
      return { state: 'failed', problem: problem('settlement-failed', 'Who knows.') }
    },
  }
}

const TRIES = 30

async function firstWith(
  kind: string,
  breaks: Breaks,
  more: Partial<Pick<WorldOptions, 'facilitated' | 'vault' | 'climate'>> = {},
): Promise<number | undefined> {
  for (let seed = 1; seed <= TRIES; seed++)
    if (has(await simulate({ ...harsh, ...more, seed, breaks }), kind)) return seed
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
  const anew = async <T extends { readonly kind: string } | Refusal>(
    entry: T,
    challenge: () => Refusal | Promise<Refusal>,
  ): Promise<T | Refusal> =>
    'problem' in entry && entry.problem.code === code ? await challenge() : entry
  return {
    ...gate,
    async admit(ask) {
      const challenge = (): Refusal | Promise<Refusal> => gate.challenge(ask)
      const entry = await anew(await gate.admit(ask), challenge)
      if (entry.kind !== 'pass') return entry
      return { ...entry, finish: async (good) => await anew(await entry.finish(good), challenge) }
    },
  }
}
