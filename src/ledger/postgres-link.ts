import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ConnectionOptions } from 'node:tls'
import type { Client, QueryResult } from 'pg'
import { Bug } from '../core/assert.ts'
import { PaymentError } from '../core/problem.ts'
import type { Columns } from './columns.ts'

/** Where the database is. What is left out is taken as the package `pg` takes it, from the usual `PG…` variables too. */
export interface PostgresPlace {
  /** `postgres://user:password@host:5432/database?sslmode=verify-full` */
  readonly url?: string
  /** A name, an address, or the directory of a Unix socket. */
  readonly host?: string
  readonly port?: number
  readonly database?: string
  readonly user?: string
  /** A function is asked at each connection: passwords that run out. */
  readonly password?: string | (() => string | Promise<string>)
  readonly ssl?: boolean | ConnectionOptions
}

/** SQL that is parsed once a connection, under its name. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** What came back of one statement. */
export interface Said {
  readonly rows: readonly Columns[]
  readonly count: number
  /** `COMMIT`, `ROLLBACK`, `INSERT`, … */
  readonly tag: string
}

/** One connection. Statements that are sent at once travel together and are done in their order. */
export interface Link {
  readonly ask: (sql: string | Statement, values?: readonly unknown[]) => Promise<Said>
  /** Whether it was lost. */
  readonly dead: () => boolean
  /** Cuts it at once; what was under way fails, and the server rolls back what was not committed. */
  readonly drop: () => void
  readonly end: () => Promise<void>
}

/** How long a new connection may take. */
const CONNECT_TIMEOUT_MS = 5_000

/** How long a goodbye may take. */
const END_TIMEOUT_MS = 1_000

/** How long a lock is waited for: other nodes hold the end of the journal for milliseconds. */
const LOCK_TIMEOUT_MS = 5_000

/**
 * After this the server takes the lock from a node that hangs in the middle of a batch, or whose machine no longer says
 * that it has received what it was sent.
 */
const IDLE_TIMEOUT_MS = 5_000

/** How long one statement may take, on the connection that writes and on those that only read. */
export const STATEMENT_TIMEOUT_MS = { write: 10_000, read: 30_000 } as const

/** What the network may add before the connection counts as lost. */
const GRACE_MS = 2_000

/** What every session is set to. Commits are durable, whatever the server's default; a stricter one stays. */
const SETTINGS = `SELECT set_config('statement_timeout', $1, false),
  set_config('lock_timeout', $2, false),
  set_config('idle_in_transaction_session_timeout', $3, false),
  (SELECT set_config(name, $3, false) FROM pg_settings WHERE name = 'tcp_user_timeout'),
  set_config('enable_seqscan', 'off', false),
  set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
    THEN 'on' ELSE current_setting('synchronous_commit') END, false),
  current_setting('server_encoding') AS encoding,
  current_setting('fsync', true) AS fsync`

/**
 * Opens a connection.
 * @throws {PaymentError} `misconfigured` when the package is missing, the settings cannot be read or the server keeps
 * nothing safe; what the network and the server say otherwise, {@link toFault} reads.
 */
export async function connect(place: PostgresPlace, use: 'write' | 'read'): Promise<Link> {
  const client = await createClient(place, use)
  const link = createLink(client)
  try {
    await client.connect()
    const limits = [STATEMENT_TIMEOUT_MS[use], LOCK_TIMEOUT_MS, IDLE_TIMEOUT_MS].map(String)
    checkServer((await link.ask(SETTINGS, limits)).rows[0])
    return link
  } catch (error) {
    link.drop()
    throw error
  }
}

async function createClient(place: PostgresPlace, use: 'write' | 'read'): Promise<Client> {
  const { url, ...rest } = place
  const pg = await load()
  try {
    return new pg.Client({
      ...rest,
      ...(url !== undefined && { connectionString: url }),
      application_name: 'tolsey',
      keepAlive: true,
      pipeline: true,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: STATEMENT_TIMEOUT_MS[use] + GRACE_MS,
    })
  } catch (error) {
    // Not what it says: it may hold the URL, and with it the password.
    throw refusal(
      `The database's address or settings cannot be read (${codeOf(error) ?? 'no URL'}).`,
    )
  }
}

async function load(): Promise<typeof import('pg')> {
  try {
    return await import('pg')
  } catch (cause) {
    throw new PaymentError(
      'misconfigured',
      'The PostgreSQL ledger needs the package pg. Install it with: npm install pg',
      { cause },
    )
  }
}

function createLink(client: Client): Link {
  let dead = false
  let open = 0
  // Without a listener, a server that restarts while nothing is asked would end this process.
  client.on('error', () => void (dead = true))
  client.on('end', () => void (dead = true))
  const hold = (asked: number): void => {
    open += asked
    const { stream } = client.connection
    // Idle, it keeps no process alive. A stream of TLS is a socket too.
    if (stream instanceof Socket && open > 0) stream.ref()
    else if (stream instanceof Socket) stream.unref()
  }
  return {
    async ask(sql, values = []) {
      hold(1)
      bundle(client.connection.stream)
      try {
        const query = typeof sql === 'string' ? { text: sql } : { name: sql.name, text: sql.text }
        const bound = values.length > 0 || typeof sql !== 'string'
        const said: QueryResult<Columns> = await client.query(
          bound ? { ...query, values: [...values] } : query,
        )
        return { rows: said.rows, count: said.rowCount ?? 0, tag: said.command }
      } finally {
        hold(-1)
      }
    },
    dead: () => dead,
    drop() {
      dead = true
      client.connection.stream.destroy()
    },
    async end() {
      const { promise, resolve } = Promise.withResolvers<void>()
      const late = setTimeout(resolve, END_TIMEOUT_MS)
      hold(1)
      await Promise.race([client.end().catch(() => undefined), promise])
      clearTimeout(late)
      client.connection.stream.destroy()
    },
  }
}

/** What is sent in one go leaves in one piece: each piece wakes the server anew. */
function bundle(stream: Duplex): void {
  stream.cork()
  process.nextTick(() => stream.uncork())
}

function checkServer(said: Columns | undefined): void {
  if (said?.['encoding'] !== 'UTF8')
    throw refusal('The database is not kept in UTF-8. Make one with the encoding UTF8.')
  if (said['fsync'] === 'off')
    throw refusal(
      'The database does not write to its disk (fsync is off). Money needs that it does.',
    )
}

/** What is to be done about an error on the way to the books. */
export interface Fault {
  /**
   * `passing`: the same may work soon, elsewhere or on another connection. `command`: something in the batch is to blame.
   * `lasting`: neither.
   */
  readonly kind: 'passing' | 'command' | 'lasting'
  readonly error: PaymentError | Bug
}

/** SQLSTATEs, and classes of them, that pass (postgresql.org/docs/current/errcodes-appendix.html). */
const PASSING = /^(08...|25006|25P03|40...|53300|55P03|57...)$/

/** Those that blame what was written: data, constraints, triggers. */
const OF_COMMAND = /^(22|23|P0)/

/** More than an index can hold: a name that no caller should make. */
const TOO_LONG = '54000'

/** Those that an operator must set right: user, password, database, rights. */
const OF_SETTINGS = /^(28...|3D000|42501)$/

/** What `pg` and TLS say when the settings of both ends do not fit. */
const UNFIT = /^SASL|SSL|_CERT|CERT_|^ERR_TLS|^UNABLE_TO_/

/** What `pg` says of a connection. Other sentences may hold anything, and stay untold. */
const OF_CONNECTION =
  /^(Connection terminated|timeout expired|Query read timeout|Client |SASL|The server )/

/** Reads what was thrown while the database was used. */
export function toFault(error: unknown): Fault {
  if (error instanceof PaymentError) return { kind: 'lasting', error }
  const bug = bugIn(error)
  if (bug) return { kind: 'command', error: bug }
  const state = stateOf(error)
  if (state === undefined) return toLoss(error)
  const said = `PostgreSQL refused: ${messageOf(error)} (${state}).`
  if (OF_SETTINGS.test(state)) return { kind: 'lasting', error: refusal(said) }
  const kind = PASSING.test(state) ? 'passing' : OF_COMMAND.test(state) ? 'command' : 'lasting'
  const retryable = kind === 'passing' || state.startsWith('53')
  return { kind, error: new PaymentError('store-unavailable', said, { retryable }) }
}

/** The way to the server failed. Its address stays untold. */
function toLoss(error: unknown): Fault {
  const message = messageOf(error)
  const why = codeOf(error) ?? (OF_CONNECTION.test(message) ? message : 'unknown')
  const sentence = `The ledger's database cannot be reached (${why}).`
  if (UNFIT.test(why)) return { kind: 'lasting', error: refusal(sentence) }
  const lost = new PaymentError('store-unavailable', sentence, { retryable: true })
  return { kind: 'passing', error: lost }
}

/** An error of ours or of a caller's, that no network and no server makes. */
function bugIn(error: unknown): Bug | undefined {
  if (error instanceof Bug) return error
  if (stateOf(error) === TOO_LONG)
    return new Bug('a name is short enough for an index of the database')
  const ours = [TypeError, RangeError, SyntaxError].some((kind) => error instanceof kind)
  return ours && codeOf(error) === undefined ? new Bug(messageOf(error)) : undefined
}

/** The SQLSTATE, if the server said it. */
export function stateOf(error: unknown): string | undefined {
  // `EPIPE` of the machine has as many letters, and no severity beside it.
  const server = error instanceof Error && 'severity' in error
  return server ? codeOf(error) : undefined
}

function codeOf(error: unknown): string | undefined {
  const known = error instanceof Error && 'code' in error && typeof error.code === 'string'
  return known ? String(error.code) : undefined
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function refusal(sentence: string): PaymentError {
  return new PaymentError('misconfigured', sentence)
}
