import { PaymentError } from '../core/problem.ts'
import { systemClock } from '../core/clock.ts'
import type { Link } from './postgres-link.ts'
import { stateOf } from './postgres-link.ts'
import { GENESIS } from './row.ts'

/**
 * What brings the books from the version that is the index to the next. Rows of the journal are never rewritten. Names are
 * compared byte by byte, whatever the database's language. Amounts have the room of many uint256.
 */
const MIGRATIONS: readonly ((at: string) => string)[] = [
  (at) => `CREATE TABLE ${at}.journal (
    sequence bigint PRIMARY KEY,
    at bigint NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    data text NOT NULL,
    hash text NOT NULL,
    batch text
  );
  CREATE TABLE ${at}.positions (
    key text COLLATE "C" PRIMARY KEY,
    made bigint NOT NULL,
    state text NOT NULL,
    posted numeric(120, 0) NOT NULL,
    steps text NOT NULL
  );
  CREATE INDEX pending ON ${at}.positions (made) WHERE state = 'pending';
  CREATE TABLE ${at}.standings (
    account text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    posted numeric(120, 0) NOT NULL,
    debits numeric(120, 0) NOT NULL,
    credits numeric(120, 0) NOT NULL,
    PRIMARY KEY (account, asset)
  );`,
]

/** The version of the books that this code writes. */
export const VERSION: number = MIGRATIONS.length

/** How often a start gives way to another process that makes the same tables just now. */
const TRIES_MAX = 20

/** The pause between two of those. */
const PAUSE_MS = 50

/** What PostgreSQL says to the slower of two that make the same thing at once. */
const RACES = new Set(['23505', '42P06', '42P07', '42710', '40001', '40P01', 'XX000'])

/** Our tables: the version and the end of the journal in one row, the rows, and what they add up to. */
const TABLES: readonly string[] = ['books', 'journal', 'positions', 'standings']

/**
 * The schema's name as SQL.
 * @throws {PaymentError} `misconfigured` when it is none.
 */
export function quoteSchema(schema: string): string {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw refusal(`"${schema}" is no name of a schema: use small letters, digits and underscores.`)
  return `"${schema}"`
}

/**
 * Makes the tables where there are none, and migrates what is older. Any number of processes may do so at once.
 * @throws {PaymentError} `misconfigured` when the schema is another program's or of a newer version.
 */
export async function openBooks(link: Link, schema: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      if (await isReady(link, schema)) return
      return await migrate(link, schema)
    } catch (error) {
      if (!RACES.has(stateOf(error) ?? '') || tries === TRIES_MAX) throw error
      await link.ask('ROLLBACK')
      await systemClock.sleep(PAUSE_MS)
    }
  }
}

function isOurs(name: unknown): boolean {
  return typeof name === 'string' && TABLES.includes(name)
}

async function isReady(link: Link, schema: string): Promise<boolean> {
  const { rows } = await link.ask(
    'SELECT table_name FROM information_schema.tables WHERE table_schema = $1',
    [schema],
  )
  const ours = rows.map((row) => row['table_name']).filter(isOurs)
  if (ours.length === 0) return false
  if (!ours.includes('books')) throw foreign(schema)
  const said = await link.ask(`SELECT version FROM ${quoteSchema(schema)}.books WHERE id = 1`)
  return checkVersion(said.rows[0]?.['version'], schema) === VERSION
}

/**
 * The version that was read, which this code may write.
 * @throws {PaymentError} `misconfigured` when it is newer, or no version.
 */
export function checkVersion(said: unknown, schema: string): number {
  if (typeof said !== 'number') throw foreign(schema)
  if (said > VERSION)
    throw refusal(
      `The schema ${schema} was written by a newer version (${said}, this one knows ${VERSION}). Update this program.`,
    )
  return said
}

async function migrate(link: Link, schema: string): Promise<void> {
  const at = quoteSchema(schema)
  await link.ask('BEGIN')
  // Only where it is missing: it takes a right that is not needed otherwise.
  const there = await link.ask('SELECT 1 FROM information_schema.schemata WHERE schema_name = $1', [
    schema,
  ])
  if (there.rows.length === 0) await link.ask(`CREATE SCHEMA IF NOT EXISTS ${at}`)
  await link.ask(`CREATE TABLE IF NOT EXISTS ${at}.books (
    id integer PRIMARY KEY,
    version integer NOT NULL,
    sequence bigint NOT NULL,
    hash text NOT NULL
  )`)
  await link.ask(
    `INSERT INTO ${at}.books (id, version, sequence, hash) VALUES (1, 0, 0, $1) ON CONFLICT DO NOTHING`,
    [GENESIS],
  )
  const said = await link.ask(`SELECT version FROM ${at}.books WHERE id = 1 FOR UPDATE`)
  const version = checkVersion(said.rows[0]?.['version'], schema)
  for (const sql of MIGRATIONS.slice(version)) await link.ask(sql(at))
  await link.ask(`UPDATE ${at}.books SET version = $1 WHERE id = 1`, [VERSION])
  await link.ask('COMMIT')
}

function foreign(schema: string): PaymentError {
  return refusal(
    `The schema ${schema} holds tables of another program. Name another for the ledger.`,
  )
}

function refusal(sentence: string): PaymentError {
  return new PaymentError('misconfigured', sentence)
}
