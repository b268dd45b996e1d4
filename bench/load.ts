// Asks a server as fast as it answers, over raw sockets: little enough work to keep a core of node:http busy.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { serveVerbs } from './process.ts'
import { narrowed, signed } from './stock.ts'

/** What is asked of a server. */
export interface Load {
  readonly port: number
  readonly host: string
  readonly connections: number
  readonly ms: number
  /** Whether each request has a query that was never sent before. */
  readonly fresh: boolean
  /** What is sent as `Authorization`. */
  readonly authorization?: string
  /** Whether each request brings something of the stock; the load ends with it. */
  readonly stocked?: boolean
  /** What each answer must begin with. */
  readonly begins: string
}

/** Queries of one length, so that all answers have one length too. */
const FIRST_QUERY = 1_000_000_000

let query = FIRST_QUERY
let stock: string[] = []

serveVerbs({
  /** Makes what requests bring: tokens that were never seen. */
  narrowed({ token, count }: { readonly token: string; readonly count: number }): void {
    stock = [...narrowed(token, count)]
  },
  /** The same of signed payments. */
  async signed({ port, host, count }: Pick<Load, 'port' | 'host'> & { readonly count: number }) {
    stock = [...(await signed({ port, host, path: '/weather' }, count))]
  },
  /** How many requests were answered. */
  async run(load: Load): Promise<number> {
    const untilAt = performance.now() + load.ms
    const counts = await Promise.all(
      Array.from({ length: load.connections }, () => lane(load, untilAt)),
    )
    return counts.reduce((sum, count) => sum + count, 0)
  },
})

/** One connection, one request at a time. */
async function lane(load: Load, untilAt: number): Promise<number> {
  const socket = connect({ port: load.port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  try {
    return await exchange(socket, load, untilAt)
  } finally {
    socket.destroy()
  }
}

function exchange(socket: Socket, load: Load, untilAt: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  let count = 0
  let length = 0
  let got = 0
  const ask = (): void => {
    const brought = load.stocked ? stock.pop() : ''
    if (brought === undefined) resolve(count)
    else socket.write(requestOf(load, brought))
  }
  socket.on('data', (chunk: Buffer) => {
    if (got === 0 && chunk.toString('latin1', 0, load.begins.length) !== load.begins)
      return reject(new Error(`An answer began with ${chunk.toString('latin1', 0, 64)}.`))
    length ||= lengthOf(chunk)
    got += chunk.length
    if (got > length) return reject(new Error('The answers are not of one length.'))
    if (got < length) return undefined
    got = 0
    count++
    return performance.now() < untilAt ? ask() : resolve(count)
  })
  socket.once('error', reject)
  socket.once('close', () => reject(new Error('The server hung up.')))
  ask()
  return promise
}

function requestOf({ host, fresh, stocked, authorization }: Load, brought: string): string {
  const path = stocked ? '/weather' : `/weather?city=${fresh ? ++query : FIRST_QUERY}`
  const token = authorization === undefined ? '' : `Authorization: ${authorization}\r\n`
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAccept: */*\r\nUser-Agent: load/1\r\n${token}${brought}\r\n`
}

/** The whole answer's length, by its own word. The first piece holds the whole head. */
function lengthOf(chunk: Buffer): number {
  const text = chunk.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const [, length] = /\r\ncontent-length: (\d+)/i.exec(text) ?? []
  if (end < 0 || length === undefined) throw new Error('The answer does not tell its length.')
  return end + 4 + Number(length)
}
