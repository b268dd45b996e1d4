// Random histories of two gates on one ledger, over a rail that hangs, lies still and comes late. Every row of the journal
// must be a step of the table, and all steps of the table must have been taken: what cannot happen does not stand in it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import { createOffers } from '../core/offers.ts'
import type { Ask, Gate, Held, Log, Pass, Rail, Row, Settlement, Standing } from '../core/ports.ts'
import type { SettlePoint } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { readAmount, readMade } from '../ledger/row.ts'
import { termsOf } from './fixture.test.ts'
import { createGate } from './gate.ts'
import type { Life } from './life.ts'
import { actOf, lifeOf, lives } from './life.ts'
import { isSale } from './note.ts'

const START = 1_800_000_000_000
const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))

/** What the rail does: `<`: waits before it writes, `w`: writes, `>`: waits after it, `ww`: writes again; then the outcome. */
type Mood = `${'' | '<' | '>'}${'' | 'w' | 'ww'} ${Settlement['state']}`

interface World {
  readonly gates: readonly Gate[]
  readonly now: () => number
  rows(): Promise<readonly Row[]>
  pass(ms: number): void
  mood: Mood
  found: Settlement['state'] | 'none' | 'written' | 'written late'
  standing: Standing['state'] | 'moved'
  /** What becomes of money that is sent back; it waits in the rail until it may go on. */
  back: 'settled' | 'failed' | 'unknown'
  /** Lets everything go on that waits in the rail. */
  resume(): void
  readonly passes: Pass[]
  /** Passes whose answers may leave. */
  readonly served: Pass[]
  ask(key: string, settle: SettlePoint): Ask
}

function createWorld(): World {
  let now = START
  let go = Promise.withResolvers<void>()
  const clock = { now: () => now, sleep: () => new Promise<void>(() => undefined) }
  const ledger = memory({ clock })
  const why = problem('settlement-failed', 'failed')
  const outcome = (state: Settlement['state'], key: string): Settlement =>
    state === 'settled'
      ? { state, reference: `tx-${key}`, payer: 'buyer', settledAt: now }
      : state === 'failed'
        ? { state, problem: why }
        : { state, detail: 'who knows' }
  const write = (log: Log): Promise<void> => log.write({ type: 'prepared', data: {} })
  const rail: Rail<unknown, string> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: ({ amount }) => [termsOf(amount)],
    identify: (_, key) => ({ key, payer: 'buyer' }),
    verify: async (_, key) => ({ ok: true, key, payer: 'buyer' }),
    async settle(_offer, _proof, key, log) {
      const [how = '', state] = world.mood.split(' ')
      const waits = go.promise
      if (how.startsWith('<')) await waits
      if (how.includes('w')) await write(log)
      if (how.startsWith('>')) await waits
      if (how.includes('ww')) await write(log)
      return outcome(state as Settlement['state'], key)
    },
    async find(_offer, key, log) {
      const { found } = world
      if (found === 'none') return undefined
      if (found !== 'written' && found !== 'written late') return outcome(found, key)
      // After the next but one resume: whoever waits in `settle` comes first.
      if (found === 'written late') await go.promise
      if (found === 'written late') await go.promise
      await write(log)
      return outcome('unknown', key)
    },
    async refund(_offer, _payer, _amount, key, log) {
      const waits = go.promise
      await write(log)
      await waits
      return outcome(world.back, key)
    },
    async stands() {
      const { standing } = world
      if (standing === 'moved') return { state: 'open', reference: `tx-at-${now}` }
      return standing === 'gone' ? { state: standing, problem: why } : { state: standing }
    },
  }
  const make = (): Gate => createGate({ rails: [rail], ledger, offers, clock })
  const resource = {
    realm: 'shop',
    method: 'GET',
    authority: 'api.test',
    path: '/a',
    query: '',
    url: 'http://api.test/a',
  }
  const world: World = {
    gates: [make(), make()],
    now: clock.now,
    rows: () => ledger.journal(0, 100_000),
    pass: (ms) => void (now += ms),
    mood: 'w settled',
    found: 'none',
    standing: 'open',
    back: 'settled',
    resume() {
      go.resolve()
      go = Promise.withResolvers()
    },
    passes: [],
    served: [],
    ask: (key, settle) => {
      const sale = { prices: [readPrice('0.000005 USD')], settle, account: 'sales/a' }
      const said = world.gates[0]?.challenge({ resource, sale, request: 'r' })
      assert(said && 'kind' in said, 'nobody must be asked')
      const [offer] = said.challenge?.offers ?? []
      assert(offer)
      return { resource, sale, request: 'r', credential: { offer, proof: key } }
    },
  }
  return world
}

/** Everything that can go on without the rail or the clock goes on. */
const settled = async (): Promise<void> => {
  for (let i = 0; i < 3; i++) await new Promise(setImmediate)
}

type Deed = (world: World) => void

const admit =
  (key: string, settle: SettlePoint, gate: number): Deed =>
  (world) => {
    world.gates[gate]?.admit(world.ask(key, settle)).then(
      (entry) => void (entry.kind === 'pass' && world.passes.push(entry)),
      () => assert.fail('a gate does not throw'),
    )
  }
const take = <T>(list: T[], at: number): T | undefined => list.splice(at % (list.length || 1), 1)[0]
const finish =
  (at: number, success: boolean): Deed =>
  ({ passes, served }) => {
    const pass = take(passes, at)
    pass?.finish(success).then(
      ({ kind }) => void (kind === 'serve' && served.push(pass)),
      () => assert.fail('work ends once'),
    )
  }
/** The body leaves, or nobody is there for it: soon, or when others have been served. */
const leave =
  (at: number, word: 'delivered' | 'lost'): Deed =>
  ({ served }) =>
    take(served, at)?.[word]()
const recover =
  (gate: number): Deed =>
  ({ gates }) =>
    void gates[gate]?.recover()
const wait =
  (ms: number): Deed =>
  (world) =>
    world.pass(ms)
const set =
  (change: Partial<Pick<World, 'mood' | 'found' | 'standing' | 'back'>>): Deed =>
  (world) =>
    void Object.assign(world, change)
const resume: Deed = (world) => world.resume()
const refund: Deed = ({ gates }) => void gates[1]?.refund({ key: 'a', idempotencyKey: 'one' })

const moods: readonly Mood[] = [
  'w settled',
  ' settled',
  'w unknown',
  ' unknown',
  ' failed',
  'w failed',
  '<w settled',
  '<w unknown',
  '>w settled',
  '>w unknown',
  '>w failed',
  '>ww unknown',
  'ww settled',
  '< settled',
  '< unknown',
]

const key = fc.constantFrom('a', 'b')
const point = fc.constantFrom<SettlePoint>('before-work', 'before-response', 'deferred')
const gate = fc.nat(1)
const mood = fc.constantFrom(...moods)
const at = fc.nat(5)
const found = fc.constantFrom<World['found']>(
  'settled',
  'settled',
  'failed',
  'unknown',
  'none',
  'written',
  'written late',
)
const standing = fc.constantFrom<World['standing']>('open', 'final', 'gone', 'moved')

/** Some deeds that go together, so that a short history comes far. */
const scene: fc.Arbitrary<readonly Deed[]> = fc.oneof(
  fc.tuple(mood, key, point, gate).map(([how, ...x]) => [set({ mood: how }), admit(...x)]),
  fc.tuple(at, fc.boolean()).map((x) => [finish(...x)]),
  fc.tuple(at, at).map(([one, other]) => [finish(one, true), leave(other, 'delivered')]),
  fc.tuple(at, fc.constantFrom('delivered' as const, 'lost' as const)).map((x) => [leave(...x)]),
  fc.constantFrom(5_000, 20_000, 40_000, 110_000).map((ms) => [wait(ms)]),
  fc.tuple(found, standing, gate).map(([f, s, g]) => [set({ found: f, standing: s }), recover(g)]),
  fc.tuple(found, gate).map(([f, g]) => [set({ found: f }), wait(110_000), recover(g)]),
  fc.constant([resume]),
)

const sell = (key: string, mood: Mood): readonly Deed[] => [
  set({ mood }),
  admit(key, 'before-response', 0),
  finish(0, true),
]
const refetched: readonly Deed[] = [
  ...sell('a', 'w settled'),
  wait(40_000),
  admit('a', 'before-response', 1),
  finish(0, true),
  leave(1, 'delivered'),
]
const lookAgain = (standing: World['standing']): readonly Deed[] => [
  wait(20_000),
  set({ standing }),
  recover(0),
  recover(1),
]

/** Steps that chance would seldom take: who comes late, comes behind several others. */
const examples: readonly (readonly Deed[])[] = [
  [...sell('a', 'w settled'), ...lookAgain('moved')],
  [...sell('a', 'w settled'), ...lookAgain('gone'), leave(0, 'delivered')],
  [...sell('a', 'w settled'), ...lookAgain('gone'), leave(0, 'lost')],
  [...refetched, leave(0, 'lost')],
  [...refetched, leave(0, 'delivered')],
  [
    ...sell('a', '>w settled'),
    wait(110_000),
    set({ found: 'written late' }),
    recover(1),
    resume,
    resume,
  ],
  ...(['delivered', 'lost'] as const).flatMap((word) =>
    [1_000, 110_000].map((ms) => [
      set({ mood: '>w settled' }),
      admit('a', 'deferred', 0),
      finish(0, true),
      wait(ms),
      leave(0, word),
      resume,
    ]),
  ),
  [
    ...sell('a', '>ww unknown'),
    wait(110_000),
    set({ found: 'settled' }),
    recover(1),
    admit('a', 'before-response', 1),
    finish(0, true),
    leave(0, 'delivered'),
    resume,
  ],
  [...sell('a', '>ww unknown'), wait(110_000), set({ found: 'settled' }), recover(1), resume],
  [
    ...sell('a', '>ww unknown'),
    wait(110_000),
    set({ found: 'settled' }),
    recover(1),
    ...lookAgain('gone'),
    resume,
  ],
  // Money that goes back: while its maker delivers, when nobody does, and after it.
  ...(['delivered', 'lost'] as const).map((word) => [
    ...sell('a', 'w settled'),
    refund,
    leave(0, word),
    resume,
  ]),
  [...sell('a', 'w settled'), set({ back: 'failed' }), refund, resume],
  [...sell('a', 'w settled'), set({ back: 'failed' }), wait(40_000), refund, resume],
  [...sell('a', 'w settled'), leave(0, 'delivered'), set({ back: 'failed' }), refund, resume],
  [...sell('a', 'w settled'), refund, ...lookAgain('moved')],
  [...sell('a', 'w settled'), set({ back: 'failed' }), refund, ...lookAgain('gone'), resume],
  [
    ...sell('a', '>ww unknown'),
    wait(110_000),
    set({ found: 'settled' }),
    recover(1),
    refund,
    resume,
  ],
]

async function live(scenes: readonly (readonly Deed[])[]): Promise<readonly string[]> {
  const world = createWorld()
  for (const one of scenes.flat()) {
    one(world)
    await settled()
  }
  return stepsOf(await world.rows(), world.now())
}

/** The steps that the sales of a journal took, as `from act to`. */
function stepsOf(rows: readonly Row[], end: number): readonly string[] {
  const keys = new Set(rows.map(({ key }) => key))
  return [...keys].flatMap((key) =>
    walk(
      rows.filter((row) => row.key === key),
      end,
    ),
  )
}

function walk(rows: readonly Row[], end: number): readonly string[] {
  const steps: string[] = []
  let held: Held | undefined
  let life: Life | undefined
  const go = (act: string, at: number): void => {
    const next: Life | undefined = held && lifeOf(held, at)
    if (life !== undefined && (act !== 'time' || next !== life))
      steps.push(`${life} ${act} ${next}`)
    life = next
  }
  for (const [i, row] of rows.entries()) {
    // What is posted is settled in the same commit.
    const second = row.type === 'settled' && rows[i - 1]?.type === 'posted'
    if (!second) go('time', row.at)
    held = after(held, row)
    if (!isSale(held)) return []
    if (row.type === 'posted') assert.equal(rows[i + 1]?.type, 'settled')
    else go(second ? 'posted' : actOf(row.type), row.at)
  }
  go('time', end)
  return steps
}

function after(held: Held | undefined, { type, key, data, sequence, at }: Row): Held {
  if (type === 'made')
    return {
      ...readMade(key, data),
      state: 'pending',
      posted: 0n,
      steps: [],
      madeAt: at,
      claim: sequence,
    }
  assert(held, 'it begins with its making')
  if (type === 'voided') return { ...held, state: 'voided' }
  if (type === 'posted') return { ...held, state: 'posted', posted: readAmount(data['amount']) }
  return { ...held, steps: [...held.steps, { type, data }] }
}

const table: ReadonlySet<string> = new Set(
  Object.entries(lives).flatMap(([from, { next }]) =>
    Object.entries(next).flatMap(([act, to]) => to.map((life) => `${from} ${act} ${life}`)),
  ),
)

test('every step that a gate takes is in the table, and every step of the table is taken', async () => {
  const taken = new Set<string>()
  await fc.assert(
    fc.asyncProperty(fc.array(scene, { minLength: 8, maxLength: 40 }), async (scenes) => {
      for (const step of await live(scenes)) {
        assert.ok(table.has(step), `${step} is not in the table`)
        taken.add(step)
      }
    }),
    { numRuns: RUNS, seed: SEED, examples: examples.map((deeds) => [[deeds]]) },
  )
  assert.deepEqual(
    [...table].filter((step) => !taken.has(step)),
    [],
  )
})

/** The same histories each time: that all steps are taken is a fact, not a chance. */
const SEED = 402
const RUNS = 400
