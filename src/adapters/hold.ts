import type { ServerResponse } from 'node:http'
import type { Answer, Pair } from './answer.ts'
import { putBack, saidBy, setHead } from './head.ts'
import type { Replaceable } from './head.ts'
import { KEPT_BYTES_MAX } from './kept.ts'
import type { Whole } from './kept.ts'
import type { Admitted, Go } from './http.ts'

/** Most bytes that may wait for settlement. Work that ignores back-pressure beyond this is cut off. */
export const HELD_BYTES_MAX = 67_108_864

/** What waits: one call of `write` or `end`. */
interface Piece {
  readonly verb: 'write' | 'end'
  readonly args: readonly unknown[]
  readonly bytes: number
  readonly done: ((error: Error) => void) | undefined
}

/** The methods that the hold stands in for. `_implicitHeader` is node's own "make the head now". */
const held = [
  'writeHead',
  'write',
  'end',
  'flushHeaders',
  '_implicitHeader',
  'setHeader',
  'setHeaders',
  'appendHeader',
  'removeHeader',
] as const
type Method = (typeof held)[number]

/**
 * `open`: the work has not answered yet. `held`: its head is known and settlement is under way. `through`: calls go to the
 * server's own methods. `replaced`: our answer went out, the work's is dropped.
 */
type State = 'open' | 'held' | 'through' | 'replaced'

/**
 * Holds the head of a response back until the pass has said that it may go. Nothing of the body is kept but what the work
 * wrote before it heard `false`. After the head, the server's own methods are back in their place.
 *
 * The hold sits on the response itself, so that no way of writing passes it by: `pipe`, implicit heads, frameworks.
 */
export function hold(response: ServerResponse, pass: Admitted): Replaceable {
  const methods = new Map(held.map((name) => [name, Reflect.get(response, name) as () => unknown]))
  const there = new Map(held.map((n) => [n, Object.getOwnPropertyDescriptor(response, n)]))
  const before = response.getHeaders()
  const pieces: Piece[] = []
  let state: State = 'open'
  /** Whether the answer is awaited whole before it is settled. */
  let collecting = pass.keeps
  let heldBytes = 0
  let owesDrain = false
  let ended = false

  /** The head as the work wants it, fixed at the first sign of output. */
  function capture(): void {
    if (state !== 'open') return
    state = 'held'
    if (!collecting) settle()
  }

  function settle(): void {
    collecting = false
    const { statusCode, statusMessage } = response
    const whole =
      pass.keeps && ended && heldBytes <= KEPT_BYTES_MAX ? wholeOf(response, pieces) : undefined
    const answered = pass.finish(statusCode, whole).then((outcome) => {
      if (state !== 'held') return
      if (outcome.kind === 'answer') return replace(outcome.answer)
      response.statusCode = statusCode
      response.statusMessage = statusMessage
      release(outcome)
    })
    // What natively would throw at the work, say for an encoding that there is not, comes too late for it here.
    answered.catch((error: Error) => response.destroy(error))
  }

  function release(go: Go): void {
    state = 'through'
    restoreOwn(held)
    restoreViews()
    if (response.destroyed) {
      pass.lost()
      return drop()
    }
    for (const [name, value] of go.fields(saidBy(response))) response.setHeader(name, value)
    if (pieces.length === 0) response.flushHeaders()
    for (const { verb, args } of pieces.splice(0)) native(verb, args)
    pass.delivered()
    if (owesDrain && !response.writableNeedDrain) response.emit('drain')
  }

  function native(name: Method, args: readonly unknown[]): unknown {
    return Reflect.apply(methods.get(name) ?? notHere, response, args)
  }

  function replace(answer: Answer): void {
    if (state === 'through' || state === 'replaced') return
    state = 'replaced'
    drop()
    restoreViews()
    if (response.destroyed) return
    restoreHead()
    native('writeHead', [answer.status, [...answer.head]])
    native('end', answer.body ? [answer.body] : [])
  }

  function restoreHead(): void {
    restoreOwn(['setHeader', 'setHeaders', 'appendHeader', 'removeHeader'])
    putBack(response, before)
  }

  /** Tells whoever waits that nothing will be written. */
  function drop(): void {
    if (pieces.length === 0) return
    const error = new Error('The answer was not sent.')
    for (const { done } of pieces.splice(0)) if (done) process.nextTick(done, error)
  }

  function queue(piece: Piece): boolean {
    if (state === 'replaced' || response.destroyed || ended) {
      if (piece.done) process.nextTick(piece.done, new Error('The answer was not sent.'))
      return false
    }
    ended = piece.verb === 'end'
    heldBytes += piece.bytes
    pieces.push(piece)
    capture()
    if (collecting && !ended && heldBytes <= KEPT_BYTES_MAX) return true
    if (collecting) settle()
    owesDrain = true
    if (heldBytes > HELD_BYTES_MAX && pieces.length > 1)
      response.destroy(
        new Error('More was written than may wait for settlement. Heed back-pressure.'),
      )
    return false
  }

  const own: Record<Method, (...args: readonly unknown[]) => unknown> = {
    writeHead(...args) {
      if (state === 'through') return native('writeHead', args)
      if (state === 'held') throw headSent()
      if (state === 'replaced') return response
      setHead(response, args)
      capture()
      return response
    },
    write: (...args) =>
      state === 'through' ? native('write', args) : queue(pieceOf('write', args)),
    end(...args) {
      if (state === 'through') return native('end', args)
      queue(pieceOf('end', args))
      return response
    },
    // Whoever flushes means to stream, and what streams is not kept.
    flushHeaders(...args) {
      if (state === 'through') return native('flushHeaders', args)
      capture()
      if (collecting) settle()
      return undefined
    },
    // Compression calls this before each write until the head is out; natively a second time cannot be.
    _implicitHeader(...args) {
      if (state === 'through') native('_implicitHeader', args)
      else if (state === 'open') response.writeHead(response.statusCode)
    },
    setHeader: (...args) => change('setHeader', args),
    setHeaders: (...args) => change('setHeaders', args),
    appendHeader: (...args) => change('appendHeader', args),
    removeHeader: (...args) => change('removeHeader', args),
  }

  /** After the head is fixed, changing it is the same mistake as it is natively. */
  function change(name: Method, args: readonly unknown[]): unknown {
    if (state === 'held') throw headSent()
    return state === 'replaced' ? response : native(name, args)
  }

  /** Puts back what was there, unless somebody has laid himself over ours. */
  function restoreOwn(names: readonly Method[]): void {
    for (const name of names) {
      if (Reflect.get(response, name) !== own[name]) continue
      const was = there.get(name)
      if (was) Object.defineProperty(response, name, was)
      else Reflect.deleteProperty(response, name)
    }
  }

  /** Node's own `end` writes `finished`, so the views must be gone before it is called. */
  function restoreViews(): void {
    for (const name of Object.keys(views)) Reflect.deleteProperty(response, name)
  }

  const views = {
    headersSent: () => state !== 'open',
    writableEnded: () => ended || state === 'replaced',
    finished: () => ended || state === 'replaced',
    writableNeedDrain: () => owesDrain,
  }

  Object.assign(response, own)
  for (const [name, get] of Object.entries(views))
    Object.defineProperty(response, name, { get, configurable: true })
  response.once('close', () => {
    drop()
    void pass.abort()
  })
  void pass.expired.then(replace)
  return { replace }
}

/** The answer as it would go out, once all of it has been written. */
function wholeOf(response: ServerResponse, pieces: readonly Piece[]): Whole {
  const head = Object.entries(response.getHeaders()).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((one): Pair => [name, String(one)]),
  )
  const body = Buffer.concat(pieces.map(({ args: [chunk, encoding] }) => bytesOf(chunk, encoding)))
  return { status: response.statusCode, head, body }
}

function bytesOf(chunk: unknown, encoding: unknown): Uint8Array {
  if (typeof chunk === 'string')
    return Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
  return chunk instanceof Uint8Array ? chunk : new Uint8Array()
}

/** The overloads of `write` and `end`: chunk, encoding and callback, each of which may be left out. */
function pieceOf(verb: Piece['verb'], args: readonly unknown[]): Piece {
  const done = args.find((arg) => typeof arg === 'function') as Piece['done']
  const [chunk] = args
  const absent = typeof chunk === 'function' || chunk === undefined || chunk === null
  if (absent && verb === 'write') throw new TypeError('A chunk is text or bytes.')
  if (absent) return { verb, args, bytes: 0, done }
  if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array))
    throw new TypeError('A chunk is text or bytes.')
  return { verb, args, bytes: chunk.length, done }
}

function notHere(): never {
  throw new TypeError('This version of the server has no such method.')
}

function headSent(): Error {
  return Object.assign(new Error('Cannot change the head after it was sent.'), {
    code: 'ERR_HTTP_HEADERS_SENT',
  })
}
