// Asks a server as fast as it answers, over raw sockets: little enough work to keep a core of node:http busy.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { serveVerbs } from './process.ts'

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
  /** What each answer must begin with. */
  readonly begins: string
}

/** Queries of one length, so that all answers have one length too. */
const FIRST_QUERY = 1_000_000_000

let query = FIRST_QUERY

serveVerbs({
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
  const ask = (): void => void socket.write(requestOf(load))
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

function requestOf({ host, fresh, authorization }: Load): string {
  const path = `/weather?city=${fresh ? ++query : FIRST_QUERY}`
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAccept: */*\r\nUser-Agent: load/1\r\n${authorization === undefined ? '' : `Authorization: ${authorization}\r\n`}\r\n`
}

/** The whole answer's length, by its own word. The first piece holds the whole head. */
function lengthOf(chunk: Buffer): number {
  const text = chunk.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const [, length] = /\r\ncontent-length: (\d+)/i.exec(text) ?? []
  if (end < 0 || length === undefined) throw new Error('The answer does not tell its length.')
  return end + 4 + Number(length)
}
