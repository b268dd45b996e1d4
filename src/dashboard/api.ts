/** Why something could not be had, in words that can be shown. */
export class Trouble extends Error {
  override readonly name = 'Trouble'
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Called when the login has ended. */
export const onLoggedOut: Set<() => void> = new Set()

/** What is sent with a request. */
export interface Sent {
  readonly method?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** How long an answer is waited for. */
const WAIT_MS = 120_000

/** Asks the API. Throws {@link Trouble} with a sentence for people. */
export async function ask<T>(path: string, init: Sent = {}): Promise<T> {
  const answer = await send(path, init)
  const said: unknown = answer.status === 204 ? undefined : await readJson(answer)
  if (answer.ok || isOutcome(said)) return said as T
  if (answer.status === 401 && path !== '/api/session') for (const tell of onLoggedOut) tell()
  throw new Trouble(answer.status, sentenceOf(said) ?? `The server answered ${answer.status}.`)
}

async function send(path: string, init: Sent): Promise<Response> {
  const headers = { 'x-tolsey-admin': '1', ...init.headers }
  const signal = AbortSignal.timeout(WAIT_MS)
  try {
    return await fetch(path, { signal, ...init, headers, credentials: 'same-origin' })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Trouble(0, 'The server cannot be reached. Is the gateway running?')
  }
}

async function readJson(answer: Response): Promise<unknown> {
  try {
    return await answer.json()
  } catch {
    return undefined
  }
}

/** A refund that was denied is an answer: it says what to do. */
function isOutcome(said: unknown): boolean {
  return typeof said === 'object' && said !== null && 'kind' in said && said.kind === 'denied'
}

function sentenceOf(said: unknown): string | undefined {
  const isProblem = typeof said === 'object' && said !== null && 'detail' in said
  return isProblem && typeof said.detail === 'string' ? said.detail : undefined
}

/** Sends JSON. */
export function post(body: unknown, headers: Readonly<Record<string, string>> = {}): Sent {
  const text = JSON.stringify(body)
  return { method: 'POST', body: text, headers: { 'content-type': 'application/json', ...headers } }
}

/** A path with what is asked; what is empty is left out. */
export function withQuery(
  path: string,
  query: Readonly<Record<string, string | number | undefined>>,
): string {
  const said = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [[name, `${value}`]],
  )
  return said.length === 0 ? path : `${path}?${new URLSearchParams(said).toString()}`
}

/** A name for an order, so that it is carried out once however often it is sent. */
export function newOrder(): string {
  // Also where the page is not served over TLS, in which case browsers have no `randomUUID`.
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return `dashboard-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}
