// Histories of worlds, each payment's life as the rows of the journals tell it. They are recorded once and lived again by
// the present code: whoever changes the life of a payment sees which, and records it anew on purpose.
import { readFile, writeFile } from 'node:fs/promises'
import { isObject } from '../../src/core/json.ts'
import type { Ledger, Row } from '../../src/core/ports.ts'
import { calm } from '../../src/testing/faults.ts'
import type { Weather } from '../../src/testing/faults.ts'
import { clear } from './network.ts'
import { createWorld } from './world.ts'
import type { Climate } from './world.ts'

/** The lives of the payments of one world, by who keeps the books and what was bought: types of rows, in order. */
export type Lives = Readonly<Record<string, string>>

/** A world that was lived, and how to live it again. */
export interface History {
  readonly name: string
  readonly seed: number
  readonly steps: number
  readonly facilitated: boolean
  readonly lives: Lives
}

const FILE = new URL('histories.json', import.meta.url)
const ROWS_MAX = 20_000
const STEPS = 250
/** Where everybody waits, it takes more until something has become of it. */
const STEPS_SLOW = 2_000
const SLOW = 'blocks are full'

const quick: Weather = { ...calm, usualMs: 20 }
const fair: Climate = {
  ledger: quick,
  node: quick,
  net: clear,
  stale: 0,
  reorganisations: 0,
  frontRunners: 0,
  jumps: 0,
  workFails: 0,
  inclusion: 0.9,
}

/** What goes wrong in each: one thing at a time, so that a change shows for what it is. */
const climates: Readonly<Record<string, Climate>> = {
  'nothing goes wrong': fair,
  'work fails': { ...fair, workFails: 0.5 },
  'answers are lost': { ...fair, net: { ...clear, lost: 0.2, cut: 0.1, replaced: 0.1 } },
  'requests come twice': { ...fair, net: { ...clear, doubled: 0.5 } },
  'processes die': { ...fair, ledger: { ...quick, crashed: 0.01 } },
  'books fail': { ...fair, ledger: { ...quick, refused: 0.05, lost: 0.05 } },
  'nodes fail': { ...fair, node: { ...quick, refused: 0.1, lost: 0.1 }, stale: 0.2 },
  [SLOW]: { ...fair, inclusion: 0.02 },
  'somebody is faster': { ...fair, frontRunners: 1 },
}

/** Climates that are lived through facilitators too. */
const SHARED = ['nothing goes wrong', 'requests come twice', 'processes die', SLOW]

/** Every history that is kept, before it is lived: even seeds have a vault, odd ones have none. */
export const plans: readonly Omit<History, 'lives'>[] = [
  ...Object.keys(climates).map((name, i) => ({ name, seed: 2 + (i % 2), facilitated: false })),
  ...SHARED.map((name, i) => ({ name, seed: 4 + i, facilitated: true })),
].map((plan) => ({ ...plan, steps: plan.name === SLOW ? STEPS_SLOW : STEPS }))

/** Lives a history. */
export async function relive({
  name,
  seed,
  steps,
  facilitated,
}: Omit<History, 'lives'>): Promise<Lives> {
  const climate = climates[name]
  if (!climate) throw new Error(`There is no climate "${name}".`)
  const world = createWorld({ seed, climate, facilitated, byName: true })
  await world.run(steps)
  await world.rest()
  const lives: Record<string, string> = {}
  for (const [who, ledger] of world.books) Object.assign(lives, await livesIn(who, ledger))
  return lives
}

async function livesIn(who: string, ledger: Ledger): Promise<Lives> {
  const rows = await ledger.journal(0, ROWS_MAX)
  const lives: Record<string, string> = {}
  const times = new Map<string, number>()
  for (const [, life] of Map.groupBy(rows, ({ key }) => key)) {
    const what = `${who} ${subjectOf(life[0])}`
    const time = (times.get(what) ?? 0) + 1
    times.set(what, time)
    lives[`${what} (${time})`] = life.map(wordOf).join(' ')
  }
  return lives
}

/** Steps that tell of themselves when they were not the usual ones. */
function wordOf({ type, data }: Row): string {
  return type === 'voided' && typeof data['reason'] === 'string' ? `voided:${data['reason']}` : type
}

/** What the payment was for, in words that are the same whatever chance said. */
function subjectOf(made: Row | undefined): string {
  if (!made) return ''
  const { purpose, note } = made.data
  if (/\/(?:delivery|sent)$/.test(made.key)) return made.key.slice(made.key.lastIndexOf('/') + 1)
  if (!isObject(note)) return made.key
  const payer = typeof note['payer'] === 'string' ? ` by ${note['payer'].slice(0, 6)}` : ''
  const { method: verb, url } = note
  if (typeof url === 'string' && typeof verb === 'string') return `${verb} ${url}`
  const asked = typeof purpose === 'string' && purpose.startsWith('[') ? purpose : undefined
  if (asked === undefined) return `payment${payer}`
  const [, method, , path, query] = JSON.parse(asked) as readonly string[]
  return `${method} ${path}?${query}${payer}`
}

/** What is different, a sentence for each payment; nothing if the history is the same. */
export function differences(recorded: Lives, lived: Lives): readonly string[] {
  const all = new Set([...Object.keys(recorded), ...Object.keys(lived)])
  return [...all].flatMap((name) => {
    const [was, is] = [recorded[name], lived[name]]
    if (was === is) return []
    if (was === undefined) return [`${name} is new: ${is}.`]
    if (is === undefined) return [`${name} is not there any more. It was: ${was}.`]
    return [`${name} was: ${was}; and is: ${is}.`]
  })
}

/** What to do about it. */
export const ADVICE =
  'If these lives are meant to be so, record them: node test/simulation/run.ts --record'

/** The histories as they were recorded. */
export async function readHistories(): Promise<readonly History[]> {
  const text = await readFile(FILE, 'utf8').catch(() => '{"histories":[]}')
  return (JSON.parse(text) as { readonly histories: readonly History[] }).histories
}

/** Lives all of them and keeps what they are now. Gives a sentence for people. */
export async function recordHistories(): Promise<string> {
  const before = await readHistories()
  const histories: History[] = []
  let changed = 0
  for (const plan of plans) {
    const lives = await relive(plan)
    const same = before.find((one) => isSame(one, plan))
    if (differences(same?.lives ?? {}, lives).length > 0) changed++
    histories.push({ ...plan, lives })
  }
  const about = 'Lives of payments, recorded by: node test/simulation/run.ts --record'
  await writeFile(FILE, `${JSON.stringify({ '//': about, histories }, undefined, 1)}\n`)
  const payments = histories.reduce((sum, { lives }) => sum + Object.keys(lives).length, 0)
  return `${histories.length} histories of ${payments} payments are recorded, ${changed} of them changed.`
}

/** Whether both are of the same plan. */
export function isSame(one: Omit<History, 'lives'>, other: Omit<History, 'lives'>): boolean {
  return one.name === other.name && one.seed === other.seed && one.facilitated === other.facilitated
}
