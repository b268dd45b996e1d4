// What the soak counts as lost on the way is what somebody saw to be lost, and nothing else: the rest is a seller's fault.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judge } from './evidence.ts'
import type { Judged } from './evidence.ts'
import type { Line } from './messages.ts'

const kept = 'http://shop/kept?n=1'
const plain = 'http://shop/plain?n=1'

interface Case {
  readonly url?: string
  readonly says: readonly Line['what'][]
  readonly charges?: number
  readonly unkept?: boolean
  /** Whether a door saw the answer go astray. */
  readonly astray?: boolean
}

function judged({ url = plain, says, charges = 1, unkept = false, astray = false }: Case): Judged {
  const lines = says.map((what): Line => ({ by: 0, n: 1, url, what, text: '?n=1', at: 0 }))
  const spends = Array.from({ length: charges }, (_, i) => `spend${i}`)
  return judge(
    { url, lines, end: lines.at(-1) },
    new Map([[url, spends]]),
    new Set(unkept ? spends : []),
    new Set(astray ? [url] : []),
  )
}

test('an answer is lost on the way where it was seen to be lost and nobody keeps it', () => {
  const rows: readonly Case[] = [
    { says: ['asked', 'gone'], astray: true },
    { says: ['asked', 'died', 'gone'] },
    { url: kept, says: ['asked', 'head', 'gone'], unkept: true, astray: true },
    { url: kept, says: ['asked', 'head', 'cut'], astray: true },
  ]
  for (const row of rows) {
    const { lost, paidUndelivered, honestRefused } = judged(row)
    assert.deepEqual([lost, paidUndelivered, honestRefused], [true, 0, 0], JSON.stringify(row))
  }
})

test('all else that was paid and did not come is a fault: a head that was seen excuses nothing', () => {
  const rows: readonly Case[] = [
    { says: ['asked', 'gone'] },
    { says: ['asked', 'head', 'gone'] },
    { url: kept, says: ['asked', 'head', 'gone'], astray: true },
    { url: kept, says: ['asked', 'died', 'gone'] },
    { says: ['asked', 'refused'], astray: true },
    { says: ['asked', 'head'], astray: true },
  ]
  for (const row of rows) {
    const { lost, paidUndelivered, honestRefused } = judged(row)
    assert.deepEqual([lost, paidUndelivered, honestRefused], [false, 1, 1], JSON.stringify(row))
  }
})

test('what was served is free, paid once or paid twice', () => {
  const counts = [0, 1, 2].map((charges) => {
    const { freeDeliveries, doubleCharges, honestRefused } = judged({ says: ['served'], charges })
    return [freeDeliveries, doubleCharges, honestRefused]
  })
  assert.deepEqual(counts, [
    [1, 0, 0],
    [0, 0, 0],
    [0, 1, 0],
  ])
})

test('without a charge nothing is lost: whoever got nothing was refused', () => {
  const { lost, paidUndelivered, honestRefused } = judged({
    says: ['asked', 'gone'],
    charges: 0,
    astray: true,
  })
  assert.deepEqual([lost, paidUndelivered, honestRefused], [false, 0, 1])
})
