import { Secret } from '../config/secret.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { isObject, readJson } from '../core/json.ts'
import { createHttpClient, HttpFault } from '../net/http.ts'
import type { HttpAnswer, HttpClient, HttpQuestion } from '../net/http.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Option } from './command.ts'
import { isLoopback, unreachable } from './request.ts'
import { clean } from './text.ts'

/** How long one answer of a gateway may take: it may read far in its books for it, or send money. */
export const OFFICE_MS = 120_000
/** Longest answer of a gateway. */
export const OFFICE_BYTES_MAX = 33_554_432
/** Entries that are asked for at once. */
const ENTRIES_AT_ONCE = 2_000

/** Options of every command that asks a gateway. */
export const officeOptions: Readonly<Record<string, Option>> = { admin: { type: 'string' } }

/** What they mean. */
export const officeHelp: readonly string[] = [
  '      --admin URL        The admin address of a running gateway (TOLSEY_ADMIN): http://127.0.0.1:8403. The token of its',
  '                         dashboard is read from TOLSEY_ADMIN_TOKEN.',
]

/** What a gateway answered. */
export interface Said {
  readonly status: number
  readonly json: JsonObject
}

/** The admin API of a running gateway. */
export interface Office {
  /** @throws {Failure} with a sentence for everything but an answer as it is documented. */
  get(path: string, query?: Query): Promise<JsonObject>
  /** Refusals with the status 409 are answers: they say what became of an order. */
  post(path: string, body: JsonObject, fields?: Readonly<Record<string, string>>): Promise<Said>
  /** All entries, from behind a row on. */
  entries(query: Query): AsyncGenerator<JsonObject>
  close(): void
}

/** What is asked; what is undefined is left out. */
export type Query = Readonly<Record<string, string | number | undefined>>

/** Whether the command was told to ask a gateway. Books that are named come before a gateway of the environment. */
export function asksOffice({ arguments: args, settings }: Call): boolean {
  const typed = args.text('admin') !== undefined
  const booked = args.text('books') !== undefined
  if (typed && booked) throw misuse('Give one of --admin and --books.')
  return typed || (!booked && settings.variable('TOLSEY_ADMIN') !== undefined)
}

/**
 * The gateway that the command names, with the token of the environment: it is never an option, which every user of the
 * machine could read.
 * @throws {Failure} with what is missing.
 */
export function openOffice(call: Call): Office {
  const { arguments: args, settings } = call
  const typed = args.text('admin') ?? settings.variable('TOLSEY_ADMIN')
  if (typed === undefined)
    throw misuse('Name the admin address of the gateway: --admin http://127.0.0.1:8403.')
  const url = readUrl(typed)
  const said = settings.variable('TOLSEY_ADMIN_TOKEN')
  if (said === undefined)
    throw misuse('TOLSEY_ADMIN_TOKEN is missing: the token that the dashboard is opened with.')
  return officeAt(url, new Secret(said), call)
}

function readUrl(typed: string): URL {
  const text = /^https?:\/\//.test(typed) ? typed : `http://${typed}`
  const url = URL.parse(text)
  if (!url || url.username !== '' || url.password !== '' || url.search !== '')
    throw misuse('The admin address is written like http://127.0.0.1:8403.')
  // Whoever listens on the way would have the token, and with it the money.
  if (url.protocol === 'http:' && !isLoopback(url))
    throw misuse(
      'Over a network the admin address begins with https://. Or go through SSH: ssh -L 8403:127.0.0.1:8403 you@the-server',
    )
  return url
}

function officeAt(url: URL, token: Secret, { signal }: Call): Office {
  const client = createHttpClient({ timeoutMs: OFFICE_MS, bytesMax: OFFICE_BYTES_MAX })
  const base = url.href.replace(/\/$/, '')

  async function ask(question: Omit<HttpQuestion, 'headers'>, fields = {}): Promise<HttpAnswer> {
    const headers = { ...fields, authorization: `Bearer ${token.reveal()}` }
    return await asked(client, { ...question, headers }, url, signal)
  }

  async function get(path: string, query: Query = {}): Promise<HttpAnswer> {
    const answer = await ask({ method: 'GET', url: `${base}/api/${path}${queryOf(query)}` })
    if (answer.status !== 200) throw refused(answer, url)
    return answer
  }

  return {
    get: async (path, query) => objectIn(await get(path, query), url),
    async post(path, body, fields = {}) {
      const typed = { 'content-type': 'application/json', ...fields }
      const question = { method: 'POST', url: `${base}/api/${path}`, body: JSON.stringify(body) }
      const answer = await ask({ ...question, method: 'POST' }, typed)
      const isSaid = answer.status < 300 || answer.status === 409
      if (!isSaid) throw refused(answer, url)
      return { status: answer.status, json: objectIn(answer, url) }
    },
    async *entries({ after = 0, ...query }) {
      let last = Number(after)
      for (;;) {
        const page = { format: 'ndjson', limit: ENTRIES_AT_ONCE, after: last }
        const { text } = await get('export', { ...query, ...page })
        const lines = text.split('\n').filter((line) => line !== '')
        for (const line of lines) {
          const entry = readJson(line, OFFICE_BYTES_MAX)
          if (!isObject(entry) || typeof entry['sequence'] !== 'number') throw strange(url)
          last = entry['sequence']
          yield entry
        }
        if (lines.length < ENTRIES_AT_ONCE) return
      }
    },
    close: () => client.close(),
  }
}

async function asked(
  client: HttpClient,
  question: HttpQuestion,
  url: URL,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  try {
    return await client.ask(question, signal)
  } catch (error) {
    if (error instanceof HttpFault && error.code === undefined)
      throw new Failure(`${url.host} cannot be asked: ${error.message}.`, exits.error, {
        cause: error,
      })
    throw unreachable(error, url)
  }
}

/** In the words of the gateway, made fit for a terminal. */
function refused({ status, text }: HttpAnswer, url: URL): Failure {
  if (status === 401)
    return new Failure(
      `${url.host} does not take the token in TOLSEY_ADMIN_TOKEN. It is the one that its dashboard is opened with.`,
    )
  const said = readJson(text, OFFICE_BYTES_MAX)
  const detail = isObject(said) ? said['detail'] : undefined
  if (typeof detail === 'string') return new Failure(clean(detail))
  return strange(url)
}

function objectIn({ text }: HttpAnswer, url: URL): JsonObject {
  const said: Json | undefined = readJson(text, OFFICE_BYTES_MAX)
  if (!isObject(said)) throw strange(url)
  return said
}

/** An answer that no gateway of ours gives. */
function strange(url: URL): Failure {
  return new Failure(`${url.host} answers, and not as the admin address of a gateway does.`)
}

function queryOf(query: Query): string {
  const named = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, `${value}`]],
  )
  return named.length === 0 ? '' : `?${new URLSearchParams(named).toString()}`
}
