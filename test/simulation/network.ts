// HTTP between processes: requests and answers that are late, lost, doubled, cut, or replaced by a proxy's own.
import type { Dice, Process, Scheduler, Weather } from '../../src/testing/faults.ts'

/** How bad the net is; probabilities for one request. */
export interface Net {
  /** The request, or its answer, is lost. */
  lost: number
  /** The request arrives twice. */
  doubled: number
  /** The answer's body ends early. */
  cut: number
  /** A proxy answers in place of the seller, who has done it all. */
  replaced: number
  /** The payer's side closes the connection while it waits. */
  gone: number
}

/** The net that always works. */
export const clear: Readonly<Net> = { lost: 0, doubled: 0, cut: 0, replaced: 0, gone: 0 }

/** What stands behind a host name: some processes of which any may be asked. */
export interface Host {
  pick(): Server | undefined
}

export interface Server {
  readonly process: Process
  readonly handle: (request: Request) => Promise<Response>
}

/** What is on a wire. */
export interface Sent {
  readonly url: string
  readonly method: string
  readonly headers: Headers
  readonly body: Uint8Array | undefined
}

/** An answer that has left a seller, whole. */
export interface Left {
  readonly request: Sent
  readonly status: number
  readonly text: string
  readonly by: Process
}

export interface NetworkParts {
  readonly scheduler: Scheduler
  readonly dice: Dice
  readonly net: Net
  readonly weather: Weather
  readonly hosts: ReadonlyMap<string, Host>
  /** Told of every answer at the moment it leaves. */
  readonly onLeft: (left: Left) => void
  /** Told of every request at the moment it arrives, and then of what leaves for it. */
  readonly onCame?: (sent: Sent) => ((left: Left) => void) | undefined
  /** Told of every request, as somebody on the wire sees it. */
  readonly onSent: (sent: Sent) => void
}

export interface Network {
  fetchOf(client: Process): typeof globalThis.fetch
  /** Breaks the connections of a process that has died. */
  broken(process: Process): void
}

interface Connection {
  readonly server: Process
  readonly client: Process
  readonly gone: AbortController
  readonly fail: (why: string) => void
}

/** How long a lost packet keeps a client waiting. */
const TIMEOUT_MS = 20_000

export function createNetwork(parts: NetworkParts): Network {
  const { scheduler, dice, net, weather, hosts } = parts
  const open = new Set<Connection>()
  const hopMs = (): number =>
    dice.next() * (dice.happens(weather.slow) ? weather.slowMs : weather.usualMs)

  /** One arrival at one server. `answer` is not there for the second of a doubled request. */
  function arrive(client: Process, sent: Sent, answer?: Answer): void {
    const server = hosts.get(new URL(sent.url).host)?.pick()
    if (!server) return answer?.fail('refused')
    const gone = new AbortController()
    const { url, method, headers, body } = sent
    const request = new Request(url, {
      method,
      headers,
      signal: gone.signal,
      ...(body && { body: body.slice(), duplex: 'half' }),
    })
    const connection: Connection = {
      client,
      server: server.process,
      gone,
      fail: (why) => answer?.fail(why),
    }
    open.add(connection)
    const ended = (): void => void open.delete(connection)
    if (dice.happens(net.gone))
      scheduler.plan(dice.next() * 3_000, `${client.name} hangs up`, () => {
        if (!open.delete(connection)) return
        gone.abort()
        answer?.fail('hung up')
      })
    serve(server, request, sent, gone.signal).then(
      (said) => {
        ended()
        if (said) answer?.reach(said.response, said.text)
      },
      (error: unknown) => {
        ended()
        answer?.fail(String(error))
      },
    )
  }

  /** Undefined if there is nobody any more to say it, or to hear it. */
  async function serve(
    { handle, process }: Server,
    request: Request,
    sent: Sent,
    gone: AbortSignal,
  ): Promise<{ readonly response: Response; readonly text: string } | undefined> {
    const told = parts.onCame?.(sent)
    const response = await handle(request).catch(() => new Response('failed', { status: 500 }))
    const text = await response.text()
    if (!process.alive || gone.aborted) return undefined
    const left = { request: sent, status: response.status, text, by: process }
    parts.onLeft(left)
    told?.(left)
    return { response, text }
  }

  return {
    fetchOf: (client) => async (input, init) => {
      const request = new Request(input, init)
      const body = request.body ? new Uint8Array(await request.arrayBuffer()) : undefined
      const { url, method, headers } = request
      const sent: Sent = { url, method, headers, body }
      parts.onSent(sent)
      return await new Promise<Response>((resolve, reject) => {
        const said = `${client.name} ${method} ${new URL(url).pathname}${nonceOf(headers)}`
        const later = (ms: number, how: string, run: () => void): void =>
          void scheduler.plan(ms, `${said} ${how}`, () => {
            if (client.alive) run()
          })
        const answer: Answer = {
          fail: (why) => later(hopMs(), why, () => reject(failedBy(why))),
          reach: (response, text) => {
            if (dice.happens(net.lost))
              return later(TIMEOUT_MS, 'answer lost', () => reject(new TypeError('fetch failed')))
            const code = /"code":"([a-z-]+)"/.exec(text)?.[1] ?? ''
            later(hopMs(), `answered ${response.status} ${code}`, () =>
              resolve(arrived(response, text)),
            )
          },
        }
        if (dice.happens(net.lost))
          return later(TIMEOUT_MS, 'request lost', () => reject(new TypeError('fetch failed')))
        scheduler.plan(hopMs(), `${said} arrives`, () => arrive(client, sent, answer))
        if (dice.happens(net.doubled))
          scheduler.plan(hopMs() + hopMs(), `${said} arrives again`, () => arrive(client, sent))
      })
    },
    broken(process) {
      for (const connection of open) {
        if (connection.server === process) {
          open.delete(connection)
          connection.fail('reset')
        }
        if (connection.client === process && dice.happens(0.7))
          scheduler.plan(hopMs(), `${connection.server.name} sees ${process.name} gone`, () => {
            if (open.delete(connection)) connection.gone.abort()
          })
      }
    },
  }

  function arrived(response: Response, text: string): Response {
    const { status, headers } = response
    if (dice.happens(net.replaced))
      return new Response('<h1>Bad gateway</h1>', {
        status: dice.pick([502, 503, 504]),
        headers: { 'content-type': 'text/html' },
      })
    if (text.length > 1 && dice.happens(net.cut))
      return new Response(cutShort(text.slice(0, dice.below(text.length))), { status, headers })
    return new Response(text === '' ? null : text, { status, headers })
  }
}

/** Where nobody listens, a client is told so. */
function failedBy(why: string): TypeError {
  const cause = why === 'refused' && Object.assign(new Error(why), { code: 'ECONNREFUSED' })
  return new TypeError('fetch failed', cause ? { cause } : undefined)
}

/** The end of the payment's nonce, for a reader of the trace. */
function nonceOf(headers: Headers): string {
  const said = Buffer.from(headers.get('payment-signature') ?? '', 'base64').toString()
  const nonce = /"nonce":"(0x[0-9a-f]+)"/i.exec(said)?.[1]
  return nonce === undefined ? '' : ` with ${nonce.slice(-8)}`
}

interface Answer {
  fail(why: string): void
  reach(response: Response, text: string): void
}

/** A body that breaks off. */
function cutShort(text: string): ReadableStream<Uint8Array> {
  let told = false
  return new ReadableStream({
    pull(controller) {
      if (told || text === '') return controller.error(new TypeError('terminated'))
      told = true
      controller.enqueue(new TextEncoder().encode(text))
    },
  })
}
