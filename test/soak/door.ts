// A door that stands at one address while who is behind it comes and goes, and through which not everything gets.
import { once } from 'node:events'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { createServer, request as ask } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Weather } from './weather.ts'

/** An address of which parts of what goes through are lost. */
export interface Door {
  readonly url: string
  /** How many requests went in, by what they are. */
  readonly counts: Readonly<Record<string, number>>
  /** Targets of which a good answer left whoever is behind the door, and did not come out of it in whole. */
  readonly lost: ReadonlySet<string>
  stop(): Promise<void>
}

/** What a door is made of. */
export interface DoorParts {
  /** Where a request goes on; undefined while nobody is there. */
  readonly to: () => string | undefined
  readonly weather: Weather
  /** What may happen to a request. */
  readonly kinds: readonly Mishap[]
  readonly nameOf: (request: IncomingMessage, body: Buffer) => readonly string[]
  /** Told of each request before it goes on. */
  readonly onRequest?: (body: Buffer) => void
  /** The path to ask for, whatever was asked for. */
  readonly path?: string
}

/**
 * `refused`: it never arrives. `answer lost`: it arrives, the answer does not. `cut`: half of the answer comes. `twice`: it
 * arrives two times. `late`: it waits on the way. The others are answers that somebody in between makes up.
 */
export type Mishap =
  | 'refused'
  | 'answer lost'
  | 'cut'
  | 'twice'
  | 'late'
  | 'status 500'
  | 'status 429'
  | 'status 502'
  | 'garbage'

/** What happens between a buyer and a seller. */
export const onTheWeb: readonly Mishap[] = [
  'refused',
  'answer lost',
  'cut',
  'twice',
  'late',
  'status 502',
]

/** What happens between a seller and its node. */
export const onTheWire: readonly Mishap[] = [
  'refused',
  'answer lost',
  'late',
  'status 500',
  'status 429',
  'garbage',
]

/** How late the latest is: some of it is beyond the patience of whoever asks. */
const LATE_MS_MAX = 12_000

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Opens a door on loopback. */
export async function openDoor(parts: DoorParts): Promise<Door> {
  const counts: Record<string, number> = {}
  const count = (name: string): void => void (counts[name] = (counts[name] ?? 0) + 1)
  const lost = new Set<string>()
  const server = createServer((request, response) => {
    const lose = (): void => void lost.add(request.url ?? '')
    pass(parts, count, lose, request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts,
    lost,
    async stop() {
      server.close()
      server.closeAllConnections()
      if (server.listening) await once(server, 'close')
    },
  }
}

async function pass(
  parts: DoorParts,
  count: (name: string) => void,
  lose: () => void,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await bytesOf(request)
  for (const name of parts.nameOf(request, body)) count(name)
  parts.onRequest?.(body)
  const { weather } = parts
  const mishap = weather.strikes() ? weather.pick(parts.kinds) : undefined
  const forward = (): Promise<Answer> => send(parts, request, body, lose)
  const out = (answer: Answer): void => whole(response, answer, lose)
  switch (mishap) {
    case 'refused':
      return void response.destroy()
    case 'answer lost':
      if (isGood(await forward())) lose()
      return void response.destroy()
    case 'cut':
      return cut(response, await forward(), lose)
    case 'twice':
      return out(await first([forward(), forward()], lose))
    case 'late':
      await later(weather.dice.next() * LATE_MS_MAX)
      return out(await forward())
    case 'status 500':
    case 'status 429':
    case 'status 502':
      return void response.writeHead(Number(mishap.slice(-3))).end()
    case 'garbage':
      return void response.end('<html>')
    case undefined:
      return out(await forward())
  }
}

/** The answer that comes first; the other one is nobody's. */
async function first(both: readonly Promise<Answer>[], lose: () => void): Promise<Answer> {
  let answer: Answer | undefined
  try {
    answer = await Promise.race(both)
    return answer
  } finally {
    for (const one of both)
      one.then(
        (other) => void (other !== answer && isGood(other) && lose()),
        () => undefined,
      )
  }
}

function isGood({ status }: Pick<Answer, 'status'>): boolean {
  return status === 200
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

function send(
  parts: DoorParts,
  from: IncomingMessage,
  body: Buffer,
  lose: () => void,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const to = parts.to()
    if (to === undefined) return reject(new Error('Nobody is there.'))
    const { method, headers } = from
    const url = to + (parts.path ?? from.url ?? '/')
    const asking = ask(url, { method, headers, agent: false }, (answered) => {
      const { statusCode: status = 502, headers } = answered
      bytesOf(answered).then(
        (body) => resolve({ status, headers, body }),
        (error: unknown) => {
          // Whoever is behind died in the middle of it.
          if (isGood({ status })) lose()
          reject(error)
        },
      )
    })
    asking.on('error', (error) => {
      if (isBroken(error)) lose()
      reject(error)
    })
    return asking.end(body)
  })
}

/** Died while it was asked: its first byte may have been on its way. Who was not there has lost nothing. */
function isBroken(error: Error): boolean {
  return 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
}

function whole(
  response: ServerResponse,
  { status, headers, body }: Answer,
  lose: () => void,
): void {
  const toldSo = (): void => void (isGood({ status }) && lose())
  // Whoever asked may have gone.
  if (response.destroyed) return toldSo()
  response.once('close', () => response.writableFinished || toldSo())
  response.writeHead(status, fieldsOf(headers)).end(body)
}

/** The head says how long the body is, and the body is not as long. */
function cut(response: ServerResponse, { status, headers, body }: Answer, lose: () => void): void {
  if (isGood({ status })) lose()
  response.writeHead(status, { ...fieldsOf(headers), 'content-length': body.length })
  response.write(body.subarray(0, body.length / 2), () => response.destroy())
}

function fieldsOf(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { connection: _, 'transfer-encoding': __, 'keep-alive': ___, ...rest } = headers
  return rest
}

async function bytesOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}
