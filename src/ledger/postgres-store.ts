import { assert } from '../core/assert.ts'
import type { Transfer } from '../core/ports.ts'
import type { Command } from './commands.ts'
import { writes } from './commands.ts'
import type { Changes, Store } from './page.ts'
import { text, toLine, toPosition, toStanding, toTail } from './columns.ts'
import type { Columns } from './columns.ts'
import type { Link, Statement } from './postgres-link.ts'
import { checkVersion, quoteSchema } from './postgres-schema.ts'
import { readData, readMade } from './row.ts'
import type { Tail } from './row.ts'

// Lists travel as text with a line for each: no name holds a control character, and JSON writes a line's end otherwise.
// It is a third of the work that an array's own text takes at both ends.
const LINES = (n: number): string => `string_to_array($${n}, E'\\n')`

/** What is asked of the books, for one schema. Each is parsed once a connection. */
export interface Statements {
  readonly begin: string
  readonly snapshot: string
  readonly lock: Statement
  readonly version: Statement
  readonly batch: Statement
  readonly positions: Statement
  readonly standings: Statement
  readonly rows: Statement
  readonly write: Statement
  readonly pending: Statement
  readonly keys: Statement
  readonly allStandings: Statement
  readonly standingsOf: Statement
  readonly lines: Statement
}

const LINE = 'j.sequence, j.at, j.key, j.type, j.data, j.hash'

/** Stands behind every character that a key may hold. */
const LAST = '\u{10ffff}'

/** Writes the statements for a schema. */
export function createStatements(schema: string): Statements {
  const at = quoteSchema(schema)
  const name = (name: string, text: string): Statement => ({ name: `tolsey_${name}`, text })
  return {
    // Whoever waited for the lock must see what its last holder wrote: each statement sees anew.
    // A database that was made read-only by its operator stays so.
    begin: 'BEGIN ISOLATION LEVEL READ COMMITTED',
    snapshot: 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
    lock: name('lock', `SELECT version, sequence, hash FROM ${at}.books WHERE id = 1 FOR UPDATE`),
    version: name('version', `SELECT version FROM ${at}.books WHERE id = 1`),
    batch: name('batch', `SELECT batch FROM ${at}.journal WHERE sequence = $1`),
    positions: name(
      'positions',
      `SELECT p.key AS name, p.made, p.state, p.posted, p.steps, ${LINE}
       FROM ${at}.positions p LEFT JOIN ${at}.journal j ON j.sequence = p.made
       WHERE p.key = ANY(${LINES(1)})`,
    ),
    standings: name(
      'standings',
      `SELECT s.account, s.asset, s.posted, s.debits, s.credits
       FROM unnest(${LINES(1)}, ${LINES(2)}) AS n (account, asset)
       JOIN ${at}.standings s ON s.account = n.account AND s.asset = n.asset`,
    ),
    rows: name('rows', `SELECT ${LINE} FROM ${at}.journal j WHERE j.sequence = ANY($1::bigint[])`),
    write: name('write', writing(at)),
    pending: name(
      'pending',
      `SELECT p.key AS name FROM ${at}.positions p WHERE p.state = 'pending' ORDER BY p.made`,
    ),
    keys: name(
      'keys',
      `SELECT p.key AS name FROM ${at}.positions p
       WHERE p.key > $1 AND p.key >= $2 AND p.key < $3 ORDER BY p.key LIMIT $4`,
    ),
    allStandings: name('all_standings', `SELECT * FROM ${at}.standings`),
    standingsOf: name('standings_of', `SELECT * FROM ${at}.standings WHERE account = $1`),
    lines: name(
      'lines',
      `SELECT ${LINE} FROM ${at}.journal j WHERE j.sequence > $1 ORDER BY j.sequence LIMIT $2`,
    ),
  }
}

/**
 * All that a batch changes, in one statement. It counts one row if the journal still ended where the batch was chained to,
 * and none otherwise. However many payments an account had, its standing is written once.
 */
function writing(at: string): string {
  return `WITH line AS (
    INSERT INTO ${at}.journal (sequence, at, key, type, data, hash, batch)
    SELECT $17::bigint + n, t::bigint, k, y, d, h, CASE WHEN $17::bigint + n = $18::bigint THEN $20 END
    FROM unnest(${LINES(1)}, ${LINES(2)}, ${LINES(3)}, ${LINES(4)}, ${LINES(5)})
      WITH ORDINALITY AS l (t, k, y, d, h, n)
  ), position AS (
    INSERT INTO ${at}.positions (key, made, state, posted, steps)
    SELECT k, m::bigint, s, p::numeric, w
    FROM unnest(${LINES(6)}, ${LINES(7)}, ${LINES(8)}, ${LINES(9)}, ${LINES(10)}) AS l (k, m, s, p, w)
    ON CONFLICT (key) DO UPDATE SET made = excluded.made, state = excluded.state,
      posted = excluded.posted, steps = excluded.steps
  ), standing AS (
    INSERT INTO ${at}.standings (account, asset, posted, debits, credits)
    SELECT a, u, p::numeric, d::numeric, c::numeric
    FROM unnest(${LINES(11)}, ${LINES(12)}, ${LINES(13)}, ${LINES(14)}, ${LINES(15)}) AS l (a, u, p, d, c)
    ON CONFLICT (account, asset) DO UPDATE SET posted = excluded.posted,
      debits = excluded.debits, credits = excluded.credits
  )
  UPDATE ${at}.books SET sequence = $18::bigint, hash = $19
  WHERE id = 1 AND sequence = $17::bigint AND hash = $16
    AND (sequence = 0 OR EXISTS (
      SELECT 1 FROM ${at}.journal j WHERE j.sequence = $17::bigint AND j.hash = $16))`
}

/** The values for the statement that writes. `batch` marks the last row, so that the batch can be looked for. */
export function bind(
  tail: Tail,
  { lines, positions, standings }: Changes,
  batch: string,
): unknown[] {
  const last = lines.at(-1)
  assert(last, 'a batch that writes has rows')
  return [
    join(lines, ({ at }) => at),
    join(lines, ({ key }) => key),
    join(lines, ({ type }) => type),
    join(lines, ({ data }) => data),
    join(lines, ({ hash }) => hash),
    join(positions, ({ key }) => key),
    join(positions, ({ made }) => made),
    join(positions, ({ state }) => state),
    join(positions, ({ posted }) => posted),
    join(positions, ({ steps }) => JSON.stringify(steps)),
    join(standings, ({ account }) => account),
    join(standings, ({ asset }) => asset),
    join(standings, ({ posted }) => posted),
    join(standings, ({ debits }) => debits),
    join(standings, ({ credits }) => credits),
    tail.hash,
    tail.sequence,
    last.sequence,
    last.hash,
    batch,
  ]
}

function join<T>(list: readonly T[], read: (one: T) => string | number | bigint): string {
  return list.map(read).join('\n')
}

/** What the transaction begins with, sent together with the first questions. */
export interface Opening {
  readonly snapshot: Snapshot
  readonly tail: Tail
}

/**
 * Begins a transaction that writes: the end of the journal is locked, and everything that the commands may touch is read
 * after that. Transfers of new keys take one journey to the server, others two.
 */
export async function openWriting(
  link: Link,
  sql: Statements,
  schema: string,
  batch: readonly Command[],
): Promise<Opening> {
  const snapshot = createSnapshot()
  const [, said] = await Promise.all([
    link.ask(sql.begin),
    link.ask(sql.lock),
    askPositions(link, sql, snapshot, keysOf(batch)),
    askStandings(link, sql, snapshot, batch.flatMap(pathsOf)),
  ])
  const [books] = said.rows
  checkVersion(books?.['version'], schema)
  const moved = [...snapshot.positions.values()].filter(({ state }) => state === 'pending')
  await Promise.all([
    askStandings(link, sql, snapshot, moved.flatMap(pathsOfRow)),
    askSteps(link, sql, snapshot, new Set(batch.filter(tellsSteps).flatMap(keyOf))),
  ])
  return { snapshot, tail: toTail(books ?? {}) }
}

/** Begins a transaction that only reads, and resolves as soon as it sees the books at one moment. */
export async function openReading(link: Link, sql: Statements, schema: string): Promise<void> {
  const [, said] = await Promise.all([link.ask(sql.snapshot), link.ask(sql.version)])
  checkVersion(said.rows[0]?.['version'], schema)
}

/** Reads all that the commands will want to know. */
export async function readAll(
  link: Link,
  sql: Statements,
  batch: readonly Command[],
): Promise<Snapshot> {
  const snapshot = createSnapshot()
  const lists = await Promise.all(batch.map((command) => askList(link, sql, snapshot, command)))
  await askPositions(link, sql, snapshot, [...keysOf(batch), ...lists.flat()])
  const told = new Set(batch.flatMap((command, i) => toldBy(snapshot, command, lists[i] ?? [])))
  await askSteps(link, sql, snapshot, told)
  return snapshot
}

/** Asks what a command lists. Gives the keys among it. */
async function askList(
  link: Link,
  sql: Statements,
  snapshot: Snapshot,
  command: Command,
): Promise<readonly string[]> {
  if (command.verb === 'pending') {
    const keys = namesOf((await link.ask(sql.pending)).rows)
    snapshot.pending.push(...keys)
    return keys
  }
  if (command.verb === 'under') {
    const { prefix, limit } = command
    // No key holds a zero, so whatever begins like this one and goes on with a zero stands right behind it.
    const [after = ''] = command.after.split('\0')
    const known = isKnowable(prefix) && isKnowable(after)
    const bound = [after, prefix, `${prefix}${LAST}`, limit]
    const keys = known ? namesOf((await link.ask(sql.keys, bound)).rows) : []
    snapshot.keys.set(listName(prefix, command.after, limit), keys)
    return keys
  }
  if (command.verb === 'balances') {
    const { account } = command
    const said = account === undefined ? link.ask(sql.allStandings) : asked(account)
    snapshot.lists.set(account, (await said).rows)
  }
  if (command.verb === 'journal') {
    const { after, limit } = command
    snapshot.pages.set(`${after} ${limit}`, (await link.ask(sql.lines, [after, limit])).rows)
  }
  return []

  async function asked(account: string): Promise<{ readonly rows: readonly Columns[] }> {
    return isKnowable(account) ? link.ask(sql.standingsOf, [account]) : { rows: [] }
  }
}

/** Which of the keys that a command reads are told with their steps. */
function toldBy(snapshot: Snapshot, command: Command, keys: readonly string[]): readonly string[] {
  if (command.verb === 'find') return [command.key]
  if (command.verb !== 'pending' || command.purpose === undefined) return keys
  const { purpose } = command
  return keys.filter((key) => {
    const row = snapshot.positions.get(key)
    return row && madeBy(row)?.purpose === purpose
  })
}

async function askPositions(
  link: Link,
  sql: Statements,
  snapshot: Snapshot,
  keys: readonly string[],
): Promise<void> {
  const wanted = [...new Set(keys)].filter(isKnowable)
  for (const key of keys) snapshot.asked.add(key)
  if (wanted.length === 0) return
  const { rows } = await link.ask(sql.positions, [wanted.join('\n')])
  for (const row of rows) snapshot.positions.set(text(row['name']), row)
  for (const row of rows) if (row['sequence'] !== null) snapshot.rows.set(Number(row['made']), row)
}

/** Asks for the rows of steps, where they will be told. */
async function askSteps(
  link: Link,
  sql: Statements,
  snapshot: Snapshot,
  keys: ReadonlySet<string>,
): Promise<void> {
  const found = [...keys].flatMap((key) => snapshot.positions.get(key)?.['steps'] ?? [])
  const wanted = found.flatMap((steps) => (steps === '[]' ? [] : numbersIn(steps)))
  if (wanted.length === 0) return
  const { rows } = await link.ask(sql.rows, [`{${wanted.join(',')}}`])
  for (const row of rows) snapshot.rows.set(Number(row['sequence']), row)
}

/** An account in an asset. */
type Path = readonly [account: string, asset: string]

async function askStandings(
  link: Link,
  sql: Statements,
  snapshot: Snapshot,
  paths: readonly Path[],
): Promise<void> {
  const wanted = new Map<string, Path>()
  for (const path of paths)
    if (!snapshot.standings.has(pathName(...path))) wanted.set(pathName(...path), path)
  if (wanted.size === 0) return
  const [accounts, assets] = [0, 1].map((i) => join([...wanted.values()], (path) => path[i] ?? ''))
  for (const name of wanted.keys()) snapshot.standings.set(name, undefined)
  const { rows } = await link.ask(sql.standings, [accounts, assets])
  for (const row of rows)
    snapshot.standings.set(pathName(text(row['account']), text(row['asset'])), row)
}

/** What was read in one transaction, as it came. It is read further when it is wanted, so that a bad row harms no other. */
export interface Snapshot {
  readonly asked: Set<string>
  readonly positions: Map<string, Columns>
  /** Rows of the journal. */
  readonly rows: Map<number, Columns>
  /** Undefined where there is none. */
  readonly standings: Map<string, Columns | undefined>
  readonly pending: string[]
  readonly keys: Map<string, readonly string[]>
  readonly lists: Map<string | undefined, readonly Columns[]>
  readonly pages: Map<string, readonly Columns[]>
}

function createSnapshot(): Snapshot {
  return {
    asked: new Set(),
    positions: new Map(),
    rows: new Map(),
    standings: new Map(),
    pending: [],
    keys: new Map(),
    lists: new Map(),
    pages: new Map(),
  }
}

/** The store over what was read. What is written to it goes to `write`. */
export function createStore(
  snapshot: Snapshot,
  tail: Tail | undefined,
  write: (changes: Changes) => void,
): Store {
  const { asked, positions, rows, standings, pending, keys, lists, pages } = snapshot
  return {
    tail: () => tail,
    line: (sequence) => read(rows.get(sequence), toLine),
    position(key) {
      assert(asked.has(key), `the position of ${key} was asked for`)
      return read(positions.get(key), toPosition)
    },
    standing(account, asset) {
      const name = pathName(account, asset)
      assert(standings.has(name), `the standing of ${account} was asked for`)
      return read(standings.get(name), toStanding)
    },
    pending: () => pending,
    keys: (prefix, after, limit) => listed(keys.get(listName(prefix, after, limit))),
    standings: (account) => listed(lists.get(account)).map(toStanding),
    lines: (after, limit) => listed(pages.get(`${after} ${limit}`)).map(toLine),
    write,
  }
}

function read<T>(row: Columns | undefined, as: (row: Columns) => T): T | undefined {
  return row && as(row)
}

function listed<T>(list: readonly T[] | undefined): readonly T[] {
  assert(list, 'the list was asked for')
  return list
}

function keyOf(command: Command): readonly string[] {
  if (command.verb === 'transfer') return [command.draft.key]
  return 'key' in command ? [command.key] : []
}

function keysOf(batch: readonly Command[]): readonly string[] {
  return batch.flatMap(keyOf)
}

/** Whether the answer may tell a transfer with its steps. */
function tellsSteps({ verb }: Command): boolean {
  return verb === 'find' || verb === 'transfer'
}

/** Whether a command concerns keys alone, so that it can share a transaction with those that write. */
export function isPoint(command: Command): boolean {
  return writes(command) || command.verb === 'find'
}

function pathsOf(command: Command): readonly Path[] {
  if (command.verb !== 'transfer') return []
  return pathsIn(readMade(command.draft.key, readData(command.draft.data)))
}

function pathsOfRow(row: Columns): readonly Path[] {
  const made = madeBy(row)
  return made ? pathsIn(made) : []
}

function pathsIn({ asset, legs }: Transfer): readonly Path[] {
  return legs.flatMap(({ debit, credit }): readonly Path[] => [
    [debit, asset],
    [credit, asset],
  ])
}

/** What a row tells of the transfer that it made. Nothing if it tells rubbish: the verb will meet it again, and say so. */
function madeBy(row: Columns): Transfer | undefined {
  try {
    return readMade(text(row['name']), readData(text(row['data'])))
  } catch {
    return undefined
  }
}

function numbersIn(steps: unknown): readonly number[] {
  try {
    const said: unknown = JSON.parse(text(steps))
    return Array.isArray(said) ? said.filter((one) => Number.isSafeInteger(one)) : []
  } catch {
    return []
  }
}

/** Whether a name can be in the books at all, and be asked for: PostgreSQL's text has no zero, and lists have lines. */
function isKnowable(name: string): boolean {
  return name.isWellFormed() && !/[\0\n]/.test(name)
}

function namesOf(rows: readonly Columns[]): readonly string[] {
  return rows.map(({ name }) => text(name))
}

function pathName(account: string, asset: string): string {
  return `${account}\n${asset}`
}

function listName(prefix: string, after: string, limit: number): string {
  return `${prefix}\n${after}\n${limit}`
}
