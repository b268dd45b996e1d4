import { isDeepStrictEqual } from 'node:util'
import { createHash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import { canonical } from '../core/json.ts'
import { WORLD } from '../core/ports.ts'
import type { Balance, Held, Ledger, Row, Transfer } from '../core/ports.ts'
import { GENESIS, readAmount, readMade } from './row.ts'

/** What {@link verifyBooks} found. */
export interface Report {
  /** Sentences, with the sequence numbers of rows; empty when the books are right. */
  readonly problems: readonly string[]
  readonly rows: number
  /** How many transfers of value stand in each state. Claims between accounts of the world alone are not among them. */
  readonly posted: number
  readonly pending: number
  readonly voided: number
  /**
   * The hash of the last row. Kept elsewhere, it shows later that not even the whole journal was written anew; nothing
   * inside the books can show that.
   */
  readonly hash: string
}

/** What else may be done while the books are walked. */
export interface VerifyOptions {
  /** Called for every posted transfer of value, in the order of making: to compare it with what the world has on record. */
  readonly onPosted?: (held: Held) => void | Promise<void>
}

/** Rows and keys that are asked for at once. */
const PAGE = 1000

/** Most problems that are told; the first ones are those that matter. */
const PROBLEMS_MAX = 100

/** How often the walk follows books that change under it, before it says so. */
const ROUNDS_MAX = 50

/**
 * Recomputes hashes, states and balances from the journal alone, and compares them with what the ledger says. Works on
 * books in use, if they stand still now and then for the time of a reading.
 */
export async function verifyBooks(ledger: Ledger, options: VerifyOptions = {}): Promise<Report> {
  const replay = createReplay()
  await follow(ledger, replay)
  await comparePositions(ledger, replay)
  await compareBalances(ledger, replay)
  const counts = { posted: 0, pending: 0, voided: 0 }
  for (const held of replay.books.values()) {
    if (isClaim(held)) continue
    counts[held.state]++
    if (held.state === 'posted') await options.onPosted?.(held)
  }
  return { problems: replay.problems, rows: replay.rows, ...counts, hash: replay.hash }
}

/** Whether it is a right and no value: a number of a sending key, a turn at a delivery. It changes no account of ours. */
function isClaim({ legs }: Transfer): boolean {
  return legs.every(({ debit, credit }) => debit.startsWith(WORLD) && credit.startsWith(WORLD))
}

/** The books as the rows so far tell them. */
interface Replay {
  readonly books: Map<string, Held>
  readonly balances: Map<string, Standing>
  readonly problems: string[]
  rows: number
  sequence: number
  hash: string
}

interface Standing extends Balance {
  readonly debits: bigint
}

function createReplay(): Replay {
  return {
    books: new Map(),
    balances: new Map(),
    problems: [],
    rows: 0,
    sequence: 0,
    hash: GENESIS,
  }
}

function tell({ problems }: Replay, sentence: string): void {
  if (problems.length < PROBLEMS_MAX) problems.push(sentence)
}

/** Reads on to the end of the journal. Gives the keys that were touched. */
async function follow(ledger: Ledger, replay: Replay): Promise<ReadonlySet<string>> {
  const touched = new Set<string>()
  for (;;) {
    const rows = await ledger.journal(replay.sequence, PAGE)
    if (rows.length === 0) return touched
    for (const row of rows) {
      touched.add(row.key)
      take(replay, row)
    }
  }
}

function take(replay: Replay, row: Row): void {
  const { hash, ...rest } = row
  if (row.sequence !== replay.sequence + 1)
    tell(replay, `Rows are missing between ${replay.sequence} and ${row.sequence}.`)
  if (hashOf(replay.hash, rest) !== hash)
    tell(replay, `Row ${row.sequence} does not follow from the row before: its hash is wrong.`)
  try {
    apply(replay, row)
  } catch (error) {
    tell(replay, `Row ${row.sequence} (${row.type} ${row.key}) cannot be: ${sentenceOf(error)}.`)
  }
  replay.rows++
  replay.sequence = row.sequence
  replay.hash = hash
}

function hashOf(before: string, row: Omit<Row, 'hash'>): string {
  const { sequence, at, key, type, data } = row
  const text = canonical({ sequence, at, key, type, data })
  return createHash('sha256').update(before).update(text).digest('hex')
}

function apply(replay: Replay, row: Row): void {
  const { key, type, data, sequence } = row
  const held = replay.books.get(key)
  if (type === 'made') return made(replay, held, readMade(key, data), row)
  assert(held && held.state !== 'voided', 'nothing is held under this key')
  if (type !== 'posted' && type !== 'voided') {
    replay.books.set(key, { ...held, steps: [...held.steps, { type, data }] })
    return
  }
  assert(held.state === 'pending', 'it is posted already')
  const posted = type === 'posted' ? readAmount(data['amount']) : 0n
  if (posted > held.amount) tell(replay, `Row ${sequence} posts more than was held.`)
  move(replay, held, posted, -held.amount)
  replay.books.set(key, { ...held, state: type, posted })
}

function made(
  replay: Replay,
  before: Held | undefined,
  transfer: Transfer,
  { at, sequence }: Row,
): void {
  assert(!before || before.state === 'voided', 'the key is taken')
  move(replay, transfer, 0n, transfer.amount)
  for (const { debit, credit, ceiling } of transfer.legs) {
    const from = standing(replay, debit, transfer.asset)
    const to = standing(replay, credit, transfer.asset)
    if (!debit.startsWith(WORLD) && from.posted < from.debits)
      tell(replay, `The transfer ${transfer.key} overdraws ${debit}.`)
    if (ceiling !== undefined && to.posted + to.pending + to.debits > ceiling)
      tell(replay, `The transfer ${transfer.key} lifts ${credit} above its ceiling.`)
  }
  // Out and in again: the order of the map is the order of making.
  replay.books.delete(transfer.key)
  replay.books.set(transfer.key, {
    ...transfer,
    state: 'pending',
    posted: 0n,
    steps: [],
    madeAt: at,
    claim: sequence,
  })
}

function move(replay: Replay, { asset, legs }: Transfer, posted: bigint, held: bigint): void {
  const add = (account: string, sign: bigint): void => {
    const before = standing(replay, account, asset)
    replay.balances.set(nameOf(account, asset), {
      ...before,
      posted: before.posted + sign * posted,
      pending: before.pending + sign * held,
      debits: before.debits + (sign < 0n ? held : 0n),
    })
  }
  for (const { debit, credit } of legs) {
    add(debit, -1n)
    add(credit, 1n)
  }
}

function standing({ balances }: Replay, account: string, asset: string): Standing {
  const none = { account, asset, posted: 0n, pending: 0n, debits: 0n }
  return balances.get(nameOf(account, asset)) ?? none
}

function nameOf(account: string, asset: string): string {
  return `${account} in ${asset}`
}

/** Every key must be found as the journal tells it, and nothing else be pending. */
async function comparePositions(ledger: Ledger, replay: Replay): Promise<void> {
  let open: readonly string[] = [...replay.books.keys()]
  for (let round = 0; open.length > 0; round++) {
    if (round === ROUNDS_MAX) return tell(replay, `${open.length} transfers did not stand still.`)
    const again: string[] = []
    for (let i = 0; i < open.length; i += PAGE)
      again.push(...(await compareKeys(ledger, replay, open.slice(i, i + PAGE))))
    open = again
  }
  await comparePending(ledger, replay)
}

/** Compares some keys. Gives those that changed meanwhile. */
async function compareKeys(
  ledger: Ledger,
  replay: Replay,
  keys: readonly string[],
): Promise<readonly string[]> {
  const found = await Promise.all(keys.map((key) => ledger.find(key).catch(sentenceOf)))
  const touched = await follow(ledger, replay)
  for (const [i, held] of found.entries()) {
    const key = keys[i]
    if (key === undefined || touched.has(key)) continue
    if (typeof held === 'string') tell(replay, `The transfer ${key} cannot be read: ${held}.`)
    else if (!isDeepStrictEqual(held, replay.books.get(key)))
      tell(replay, `The transfer ${key} is not as the journal tells it.`)
  }
  return keys.filter((key) => touched.has(key))
}

async function comparePending(ledger: Ledger, replay: Replay): Promise<void> {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const said = await ledger.pending().catch(sentenceOf)
    if ((await follow(ledger, replay)).size > 0) continue
    if (typeof said === 'string') return tell(replay, `The pending cannot be read: ${said}.`)
    const told = [...replay.books.values()].filter(({ state }) => state === 'pending')
    if (!isDeepStrictEqual(said, told))
      tell(
        replay,
        `${said.length} transfers are listed as pending, the journal tells of ${told.length}.`,
      )
    return
  }
  tell(replay, 'The pending transfers did not stand still.')
}

async function compareBalances(ledger: Ledger, replay: Replay): Promise<void> {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const balances = await ledger.balances()
    if ((await follow(ledger, replay)).size > 0) continue
    compareSums(replay, balances)
    return balanceOut(replay, balances)
  }
  tell(replay, 'The balances did not stand still.')
}

function compareSums(replay: Replay, balances: readonly Balance[]): void {
  const said = new Map(balances.map((one) => [nameOf(one.account, one.asset), one]))
  for (const name of new Set([...said.keys(), ...replay.balances.keys()])) {
    const { posted = 0n, pending = 0n } = said.get(name) ?? {}
    const told = replay.balances.get(name) ?? { posted: 0n, pending: 0n }
    if (posted !== told.posted || pending !== told.pending)
      tell(
        replay,
        `The balance of ${name} is ${posted} and ${pending} pending; the journal up to row ${replay.sequence} makes ${told.posted} and ${told.pending}.`,
      )
  }
}

/** In double entry, what all accounts hold of an asset is nothing. */
function balanceOut(replay: Replay, balances: readonly Balance[]): void {
  const sums = new Map<string, bigint>()
  for (const { asset, posted, pending } of balances) {
    const posts = `posted in ${asset}`
    const holds = `pending in ${asset}`
    sums.set(posts, (sums.get(posts) ?? 0n) + posted)
    sums.set(holds, (sums.get(holds) ?? 0n) + pending)
  }
  for (const [name, sum] of sums)
    if (sum !== 0n) tell(replay, `The balances ${name} add up to ${sum}, not to zero.`)
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
