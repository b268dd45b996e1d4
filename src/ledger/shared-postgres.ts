import { systemClock } from '../core/clock.ts'
import type { Clock, Counted } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { connect } from './postgres-link.ts'
import type { Link, PostgresPlace, Said } from './postgres-link.ts'
import { quoteSchema } from './postgres-schema.ts'
import type { Shared } from './shared-memory.ts'

/** The schema that it is in, beside that of the books. */
const SCHEMA = 'tolsey_shared'
/** How often what is over is swept out, in calls. */
const SWEEP_CALLS = 10_000
/** How long a counter that nobody adds to is kept. */
const IDLE = '1 day'

/** Settings of what is shared through PostgreSQL. */
export interface SharedPostgresOptions extends PostgresPlace {
  /** `tolsey_shared` if absent: small letters, digits and underscores. Not that of the books. */
  readonly schema?: string
  readonly clock?: Clock
}

/**
 * What processes share, through the PostgreSQL that has their books: no further server is needed for it. Names are forgotten
 * when their time is over. Time is the server's.
 * @throws {PaymentError} `misconfigured` when the settings or the package `pg` are not right, `store-unavailable` when the
 * server cannot be reached; so do its verbs, of which the next tries anew.
 */
export async function sharedPostgres(options: SharedPostgresOptions): Promise<Shared> {
  const { schema = SCHEMA, clock = systemClock, ...place } = options
  const at = quoteSchema(schema)
  const sql = statementsIn(at)
  let calls = 0
  let opening: Promise<Link> | undefined

  async function current(): Promise<Link> {
    const known = await opening?.catch(() => undefined)
    if (known && !known.dead()) return known
    opening = connect(place, 'write')
    return await opening
  }

  async function ask(text: string, values: readonly unknown[]): Promise<Said> {
    try {
      const link = await current()
      if (++calls % SWEEP_CALLS === 0)
        for (const sweep of sql.sweeps) void link.ask(sweep).catch(noop)
      return await link.ask(text, values)
    } catch (cause) {
      if (cause instanceof PaymentError) throw cause
      throw new PaymentError('store-unavailable', 'What is shared cannot be reached.', {
        cause,
        retryable: true,
      })
    }
  }

  await make(ask, sql.makes)
  return {
    seen: {
      async claim(name, untilAt) {
        // As long from now by the server's time, however wrong ours is.
        const forMs = Math.max(0, untilAt - clock.now())
        return (await ask(sql.claim, [name, forMs])).count === 1
      },
    },
    counter: {
      async add(counted) {
        const { rows } = await ask(sql.add, columnsOf(counted))
        const missing = new Map(rows.map((row) => [row['name'], Number(row['missing'])]))
        return counted.map(({ name }) => missing.get(name) ?? 0)
      },
    },
    async close() {
      const link = await opening?.catch(() => undefined)
      await link?.end()
    },
  }
}

/** In one order always, so that two processes never wait for each other. */
function columnsOf(counted: readonly Counted[]): readonly unknown[] {
  const all = counted.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  return [
    all.map(({ name }) => name),
    all.map(({ by }) => by),
    all.map(({ perMs }) => perMs),
    all.map(({ most }) => most),
  ]
}

/** Any number of processes may make them at once: who comes second may be told that they are being made. */
async function make(
  ask: (text: string, values: readonly unknown[]) => Promise<Said>,
  makes: readonly string[],
): Promise<void> {
  for (const text of makes) await ask(text, []).catch(() => ask(text, []))
}

interface Statements {
  readonly makes: readonly string[]
  readonly claim: string
  readonly add: string
  readonly sweeps: readonly string[]
}

function statementsIn(at: string): Statements {
  const past = `greatest(0, extract(epoch FROM clock_timestamp() - c.at) * 1000)`
  const rest = `greatest(0, c.missing - ${past} * excluded.per_ms)`
  return {
    makes: [
      `CREATE SCHEMA IF NOT EXISTS ${at}`,
      `CREATE TABLE IF NOT EXISTS ${at}.seen (name text PRIMARY KEY, until timestamptz NOT NULL)`,
      // A server that stops forgets what was counted, as a process does: it is no money.
      `CREATE UNLOGGED TABLE IF NOT EXISTS ${at}.counters (name text PRIMARY KEY, at timestamptz NOT NULL,
        missing double precision NOT NULL, by double precision NOT NULL,
        per_ms double precision NOT NULL, most double precision NOT NULL)`,
    ],
    claim: `INSERT INTO ${at}.seen AS s (name, until)
      VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond')
      ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE s.until <= clock_timestamp()`,
    add: `INSERT INTO ${at}.counters AS c (name, at, missing, by, per_ms, most)
      SELECT name, clock_timestamp(), least(greatest(0, by), most), by, per_ms, most
      FROM unnest($1::text[], $2::float8[], $3::float8[], $4::float8[]) AS said (name, by, per_ms, most)
      ON CONFLICT (name) DO UPDATE SET at = clock_timestamp(), by = excluded.by,
        per_ms = excluded.per_ms, most = excluded.most,
        missing = least(greatest(0, ${rest} + excluded.by), greatest(excluded.most, ${rest}))
      RETURNING name, missing`,
    sweeps: [
      `DELETE FROM ${at}.seen WHERE until < clock_timestamp()`,
      `DELETE FROM ${at}.counters WHERE at < clock_timestamp() - interval '${IDLE}'`,
    ],
  }
}

function noop(): void {}
