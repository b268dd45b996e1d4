import { systemClock } from '../core/clock.ts'
import type { Clock } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { Shared } from './shared-memory.ts'

/** How long an answer may take. */
export const REDIS_MS = 2_000
/** Most questions that wait for their answers. */
const WAITING_MAX = 10_000
/** Longest pause between two attempts to reach a server that was lost. */
const RECONNECT_MAX_MS = 1_000

/** Settings of what is shared through Redis. */
export interface SharedRedisOptions {
  /** `redis://127.0.0.1:6379`, or `rediss://…`, with user and password where it has them. */
  readonly url: string
  /** What the names of its keys begin with; `tolsey:` if absent. */
  readonly prefix?: string
  readonly clock?: Clock
}

/**
 * What processes share, through Redis: faster than a database, and never the truth about money, which is in the books alone.
 * Needs `@redis/client`, which is yours to install, and one server, not a cluster.
 *
 * A server that is away is asked in vain, and the rule is: what was shown once is then taken from nobody (closed), and limits
 * are counted by each process for itself until it is back (no looser than one process alone). One that comes back empty has
 * forgotten names that were shown within their time, so let it keep them: `appendonly yes`.
 * @throws {PaymentError} `misconfigured` when the package is missing or the address cannot be read, `store-unavailable` when
 * nobody answers there.
 */
export async function sharedRedis(options: SharedRedisOptions): Promise<Shared> {
  const { url, prefix = 'tolsey:', clock = systemClock } = options
  const { createClient } = await load()
  if (!/^rediss?:\/\/\S+$/.test(url))
    throw new PaymentError('misconfigured', 'Redis is written like redis://127.0.0.1:6379.')
  const client = createClient({
    url,
    // Who asks while it is away is told so at once.
    disableOfflineQueue: true,
    commandsQueueMaxLength: WAITING_MAX,
    socket: {
      connectTimeout: REDIS_MS,
      reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, RECONNECT_MAX_MS),
    },
  })
  // Without a listener a lost connection would end this process.
  client.on('error', () => undefined)
  await answer(clock, client.connect()).catch((error: unknown) => {
    client.destroy()
    throw error
  })
  return {
    seen: {
      async claim(name, untilAt) {
        const value = Math.max(1, Math.ceil(untilAt - clock.now()))
        const said = await answer(
          clock,
          client.set(`${prefix}seen:${name}`, '1', {
            condition: 'NX',
            expiration: { type: 'PX', value },
          }),
        )
        return said === 'OK'
      },
    },
    counter: {
      async add(counted) {
        if (counted.length === 0) return []
        const keys = counted.map(({ name }) => `${prefix}count:${name}`)
        const args = counted.flatMap(({ by, perMs, most }) => [`${by}`, `${perMs}`, `${most}`])
        const said = await answer(clock, client.eval(ADD, { keys, arguments: args }))
        if (Array.isArray(said)) return said.map(Number)
        throw unreachable(undefined)
      },
    },
    close() {
      client.destroy()
      return Promise.resolve()
    },
  }
}

/** One step for all names: nobody comes between reading and writing. Time is the server's. */
const ADD = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local told = {}
for i, key in ipairs(KEYS) do
  local by, per, most = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
  local held = redis.call('HMGET', key, 'missing', 'at')
  local before, at = tonumber(held[1] or '0'), tonumber(held[2] or now)
  local rest = math.max(0, before - math.max(0, now - at) * per)
  local missing = math.min(math.max(0, rest + by), math.max(most, rest))
  if missing > 0 then
    redis.call('HSET', key, 'missing', string.format('%.0f', missing), 'at', now)
    redis.call('PEXPIRE', key, math.ceil(missing / per) + 1000)
  else
    redis.call('DEL', key)
  end
  told[i] = string.format('%.0f', missing)
end
return told`

async function load(): Promise<typeof import('@redis/client')> {
  try {
    return await import('@redis/client')
  } catch (cause) {
    throw new PaymentError(
      'misconfigured',
      'What is shared through Redis needs its client. Install it with: npm install @redis/client',
      { cause },
    )
  }
}

/** In time, or not at all. What was asked may have been done all the same. */
async function answer<T>(clock: Clock, asked: Promise<T>): Promise<T> {
  const done = new AbortController()
  const late = clock.sleep(REDIS_MS, done.signal).then(() => {
    if (done.signal.aborted) return new Promise<never>(() => undefined)
    throw unreachable(undefined)
  })
  try {
    return await Promise.race([asked, late])
  } catch (error) {
    throw error instanceof PaymentError ? error : unreachable(error)
  } finally {
    done.abort('done')
  }
}

function unreachable(cause: unknown): PaymentError {
  return new PaymentError('store-unavailable', 'What is shared cannot be reached.', {
    cause,
    retryable: true,
  })
}
