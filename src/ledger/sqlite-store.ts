import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { assert } from '../core/assert.ts'
import { PaymentError } from '../core/problem.ts'
import { text, toLine, toPosition, toStanding, toTail } from './columns.ts'
import type { Columns } from './columns.ts'
import type { Changes, Store } from './page.ts'

/** Marks a SQLite file as one of ours: `tols`. */
export const APPLICATION_ID = 0x746f6c73

/**
 * What brings a file from the version that is the index to the next. Rows of the journal are never rewritten. Amounts are
 * text, since SQLite's integers end at 2^63 and a uint256 does not.
 */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE journal (
    sequence INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    key TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    hash TEXT NOT NULL
  ) STRICT;
  CREATE TABLE positions (
    made INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    posted TEXT NOT NULL,
    steps TEXT NOT NULL
  ) STRICT;
  CREATE INDEX pending ON positions (made) WHERE state = 'pending';
  CREATE TABLE standings (
    account TEXT NOT NULL,
    asset TEXT NOT NULL,
    posted TEXT NOT NULL,
    debits TEXT NOT NULL,
    credits TEXT NOT NULL,
    PRIMARY KEY (account, asset)
  ) STRICT, WITHOUT ROWID;`,
]

/** The version of the files that this code writes. */
export const VERSION: number = MIGRATIONS.length

/** Pages in the WAL before it is written back: fewer cost throughput, many more stall a commit for long. */
const CHECKPOINT_PAGES = 4000

/** Bytes that the WAL may keep on disk after it was written back. */
const WAL_BYTES_MAX = 64 * 1024 * 1024

/** Memory for pages of the file, in KiB. */
const CACHE_KIB = 65_536

/** Makes the file and the directories above it, for the owner only, and sees that their names are on the disk. */
export function createFile(file: string): void {
  const top = mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  closeSync(openSync(file, 'a', 0o600))
  const last = top === undefined ? dirname(file) : dirname(top)
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    syncDirectory(directory)
    if (directory === last) return
  }
}

/**
 * Opens the file, refuses what is not ours or newer than this code, and migrates what is older.
 * @throws {PaymentError} `misconfigured` with a sentence, when the file must not be used.
 */
export function openDatabase(file: string): DatabaseSync {
  const db = new DatabaseSync(file)
  try {
    // Before anything is written: a stranger's file stays as it is.
    checkVersion(db, file)
    setUp(db)
    migrate(db, file)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** Refuses, with a sentence, a file that another program or a newer version of this one has written. */
export function checkVersion(db: DatabaseSync, file: string): void {
  const { id, empty, version } = readMarks(db)
  if (id !== APPLICATION_ID && !(id === 0 && empty))
    throw refusal(`${file} is a database of another program. Name another file for the ledger.`)
  if (version > VERSION)
    throw refusal(
      `${file} was written by a newer version (schema ${version}, this one knows ${VERSION}). Update this program.`,
    )
}

/** What the file says of itself, at one moment: another process may be making it just now. */
function readMarks(db: DatabaseSync): { id: unknown; empty: boolean; version: number } {
  const alone = !db.isTransaction
  if (alone) db.exec('BEGIN')
  try {
    const empty = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
    return { empty, id: pragma(db, 'application_id'), version: Number(pragma(db, 'user_version')) }
  } finally {
    if (alone && db.isTransaction) db.exec('COMMIT')
  }
}

/** A check, for every transaction, that no newer program has migrated the file under our feet. */
export function createGuard(db: DatabaseSync, file: string): () => void {
  const version = db.prepare('PRAGMA user_version')
  return () => {
    if (version.get()?.['user_version'] !== VERSION) checkVersion(db, file)
  }
}

function setUp(db: DatabaseSync): void {
  if (pragma(db, 'journal_mode = WAL') !== 'wal')
    throw refusal('The ledger needs a file system that can hold a write-ahead log (WAL).')
  db.exec(`PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
    PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
    PRAGMA journal_size_limit = ${WAL_BYTES_MAX};
    PRAGMA cache_size = -${CACHE_KIB};`)
}

function migrate(db: DatabaseSync, file: string): void {
  if (pragma(db, 'user_version') === VERSION) return
  db.exec('BEGIN IMMEDIATE')
  try {
    // Another process may have been here since.
    checkVersion(db, file)
    for (const sql of MIGRATIONS.slice(Number(pragma(db, 'user_version')))) db.exec(sql)
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${VERSION}; COMMIT`)
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/** Stands behind every character that a key may hold. */
const LAST = '\u{10ffff}'

/** The store over an open database. Its statements are prepared once. */
export function createStore(db: DatabaseSync): Store {
  const tail = db.prepare('SELECT sequence, hash FROM journal ORDER BY sequence DESC LIMIT 1')
  const line = db.prepare('SELECT * FROM journal WHERE sequence = ?')
  const lines = db.prepare('SELECT * FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?')
  const append = db.prepare('INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)')
  const position = db.prepare('SELECT * FROM positions WHERE key = ?')
  const pending = db.prepare(`SELECT key FROM positions WHERE state = 'pending' ORDER BY made`)
  const move = db.prepare('UPDATE positions SET state = ?, posted = ?, steps = ? WHERE made = ?')
  // The row of an earlier making under the same key goes.
  const place = db.prepare('INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)')
  const standing = db.prepare('SELECT * FROM standings WHERE account = ? AND asset = ?')
  const standings = db.prepare('SELECT * FROM standings')
  const standingsOf = db.prepare('SELECT * FROM standings WHERE account = ?')
  const keys = db.prepare(
    'SELECT key FROM positions WHERE key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?',
  )
  const put = db.prepare('INSERT OR REPLACE INTO standings VALUES (?, ?, ?, ?, ?)')

  const write = ({ lines, positions, standings }: Changes): void => {
    for (const { sequence, at, key, type, data, hash } of lines)
      append.run(sequence, at, key, type, data, hash)
    const first = lines[0]?.sequence ?? 0
    for (const { made, key, state, posted, steps } of positions) {
      const rest = [state, `${posted}`, JSON.stringify(steps)] as const
      if (made >= first) place.run(made, key, ...rest)
      else assert(move.run(...rest, made).changes === 1, `the position of ${key} is there`)
    }
    for (const { account, asset, posted, debits, credits } of standings)
      put.run(account, asset, `${posted}`, `${debits}`, `${credits}`)
  }
  return {
    tail: () => found(tail.get(), toTail),
    line: (sequence) => found(line.get(sequence), toLine),
    position: (key) => found(position.get(key), toPosition),
    standing: (account, asset) => found(standing.get(account, asset), toStanding),
    pending: () => pending.all().map(({ key }) => text(key)),
    keys: (prefix, after, limit) =>
      keys.all(after, prefix, `${prefix}${LAST}`, limit).map(({ key }) => text(key)),
    standings: (account) =>
      (account === undefined ? standings.all() : standingsOf.all(account)).map(toStanding),
    lines: (after, limit) => lines.all(after, limit).map(toLine),
    write,
  }
}

function found<T>(row: Columns | undefined, read: (row: Columns) => T): T | undefined {
  return row && read(row)
}

function pragma(db: DatabaseSync, name: string): unknown {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]
}

function refusal(sentence: string): PaymentError {
  return new PaymentError('misconfigured', sentence)
}

function syncDirectory(directory: string): void {
  // Some systems cannot open a directory; they have no need to.
  if (process.platform === 'win32') return
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
