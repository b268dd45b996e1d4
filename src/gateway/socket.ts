import { Buffer } from 'node:buffer'
import type { Duplex } from 'node:stream'
import { TOKENS_PATH } from '../adapters/exchange.ts'
import type { RequestMeter } from '../adapters/meter.ts'
import type { News } from '../adapters/session-news.ts'
import { writePrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import type { Chance, Clock } from '../core/ports.ts'
import type { SocketCounter } from '../meters/meters.ts'
import { writeNews } from '../protocols/mpp/socket.ts'
import {
  CLOSE,
  FrameError,
  GOING_AWAY,
  PAYMENT_REQUIRED,
  TEXT,
  closing,
  createFrameReader,
  writeFrame,
} from './frames.ts'
import type { Frame } from './frames.ts'

/** How long a payer may take to close a connection that we have ended. */
export const LINGER_MS = 2_000
/** How long a payer may take to hear what an upstream has said that is gone. */
const FLUSH_MS = 30_000
/** How often is looked whether a balance was topped up. */
const TOP_UP_LOOK_MS = 500
const SECOND_MS = 1_000

/** A WebSocket between a payer and an upstream, counted on the meter of its request. */
export interface SocketTrip {
  readonly payer: Duplex
  readonly upstream: Duplex
  /** What the payer has said before. */
  readonly early: Buffer
  readonly meter: RequestMeter
  readonly counter: SocketCounter
  /** The plan whose tokens pay, where it is known. */
  readonly plan: string | undefined
  readonly clock: Clock
  readonly chance: Chance
  /** Where a session pays: its payer is told in the words of MPP. */
  readonly news?: News
  fault(where: string, error: Error): void
}

/** One direction. */
interface Lane {
  readonly from: Duplex
  readonly to: Duplex
  readonly isUpstream: boolean
  readonly reader: ReturnType<typeof createFrameReader>
  /** The head of a frame has left, and not all of its payload. */
  isMidFrame: boolean
}

/**
 * Joins the two and counts every frame before its first byte is passed on, so that the end of the balance is always between
 * two frames. Then the payer is told what to do in a text frame and by the code of the close frame; where the route has a
 * grace, both sides wait that long for a top-up first. What was measured is charged whoever leaves.
 */
export function joinCounted(trip: SocketTrip): void {
  const { payer, upstream, meter, counter, clock, news } = trip
  const up = laneOf(payer, upstream, false)
  const down = laneOf(upstream, payer, true)
  const over = new AbortController()
  /** The upstream is gone, or all of it is over: time costs nothing more, and nothing more is sent there. */
  const left = new AbortController()
  let isEnding: (() => void) | undefined
  /** Somebody waits for a top-up: nobody passes meanwhile. */
  let waiting = 0
  let passed: PromiseWithResolvers<void> | undefined
  let isTold = false

  function end(): void {
    over.abort('ended')
    left.abort('ended')
    passed?.resolve()
  }

  async function covered(price: Price, { signal }: AbortController): Promise<boolean> {
    if (price.amount === 0n) return true
    const text = writePrice(price)
    if (await meter.take(text, counter.what)) return true
    if (counter.graceMs === 0) return false
    waiting++
    passed ??= Promise.withResolvers<void>()
    try {
      return await toppedUp(price, clock.now() + counter.graceMs, signal)
    } finally {
      if (--waiting === 0) {
        passed?.resolve()
        passed = undefined
      }
    }
  }

  async function toppedUp(price: Price, untilAt: number, signal: AbortSignal): Promise<boolean> {
    if (!isTold) {
      // Both directions may come to it at once.
      isTold = true
      isTold = (await tellNeed(price)) || tell('payment-required', { graceMs: counter.graceMs })
    }
    while (!signal.aborted && clock.now() < untilAt) {
      await (news?.pause(TOP_UP_LOOK_MS, signal) ?? clock.sleep(TOP_UP_LOOK_MS, signal))
      if (signal.aborted || !(await meter.take(writePrice(price), counter.what))) continue
      // Who pays by a session sees by what comes that it goes on.
      if (isTold) isTold = news ? false : !tell('payment-resumed')
      return true
    }
    return false
  }

  /** The payer of a session is told what he must do. */
  async function tellNeed(price: Price): Promise<boolean> {
    const told = await news?.need(price)
    return told !== undefined && write(writeNews(told))
  }

  /** What the whole has cost, once: nothing is counted any more. */
  let isCounted = false
  async function tellReceipt(): Promise<void> {
    if (!news || isCounted) return
    isCounted = true
    const told = await news.receipt()
    if (told) write(writeNews(told))
  }

  /** Between two messages alone; false where one is on its way. */
  function tell(type: 'payment-required' | 'payment-resumed', more: object = {}): boolean {
    const topUp = trip.plan === undefined ? {} : { topUp: `${TOKENS_PATH}/${trip.plan}` }
    const required = { code: 'token-exhausted', detail: DETAIL, ...topUp, ...more }
    const said = { type, ...(type === 'payment-required' && required) }
    return write(JSON.stringify(said))
  }

  function write(text: string): boolean {
    if (down.isMidFrame || down.reader.isInMessage || !payer.writable) return false
    payer.write(writeFrame(TEXT, Buffer.from(text)))
    return true
  }

  /** Closes both sides, as soon as no frame is on its way to the payer. */
  function close(code: number, reason: string, isSpent = false): void {
    if (isEnding || over.signal.aborted) return
    isEnding = () => {
      if (over.signal.aborted) return
      end()
      if (isSpent && !isTold) tell('payment-required')
      void tellReceipt().finally(() => {
        if (payer.writable) payer.end(writeFrame(CLOSE, closing(code, reason)))
        linger(payer)
      })
      const bye = closing(
        isSpent ? GOING_AWAY : code,
        isSpent ? 'The payer has no balance left.' : reason,
      )
      if (upstream.writable && !up.isMidFrame) upstream.end(writeFrame(CLOSE, bye, trip.chance(4)))
      linger(upstream)
    }
    if (down.isMidFrame) setTimeout(() => payer.destroy(), LINGER_MS).unref()
    else isEnding()
  }

  const spent = (): void =>
    close(PAYMENT_REQUIRED, 'Payment required: top up and come again.', true)

  function failed(error: unknown): void {
    if (error instanceof FrameError) return close(error.code, error.message)
    trip.fault('meter', error instanceof Error ? error : new Error(String(error)))
    end()
    payer.destroy()
  }

  /** Whether the frame may pass. What its upstream has said is heard when that is gone; what it would have heard costs nothing. */
  async function mayPass(price: Price, { isUpstream }: Lane): Promise<boolean> {
    const ends = isUpstream ? over : left
    // oxlint-disable-next-line no-unmodified-loop-condition -- Whoever waits for a top-up changes it.
    while (passed && !ends.signal.aborted) await passed.promise
    if (isEnding || ends.signal.aborted) return false
    if (await covered(price, ends)) return !over.signal.aborted
    if (!ends.signal.aborted) spent()
    return false
  }

  async function pass(lane: Lane, bytes: Buffer): Promise<void> {
    if (!lane.to.writable || lane.to.write(bytes)) return
    await drained(lane.to, over.signal)
  }

  /** What is read before it is passed on: text frames of the upstream, where its words are what is paid for. */
  interface Kept {
    readonly frame: Frame
    readonly parts: Buffer[]
  }
  let kept: Kept | undefined

  const isKept = (lane: Lane, { opcode, length, isLast, isExtended }: Frame): boolean =>
    lane.isUpstream &&
    counter.reads &&
    opcode === TEXT &&
    isLast &&
    !isExtended &&
    length > 0 &&
    length <= counter.readBytesMax

  async function passKept({ frame, parts }: Kept): Promise<boolean> {
    const [head, ...body] = parts
    const said = counter.message(Buffer.concat(body))
    if (!(await mayPass(said.price, down))) return false
    if (said.total && !(await meter.correct(writePrice(said.total)))) {
      spent()
      return false
    }
    down.isMidFrame = frame.length > 0
    await pass(down, Buffer.concat([head ?? Buffer.alloc(0), ...body]))
    down.isMidFrame = false
    return true
  }

  /** False when nothing more passes. */
  async function take(lane: Lane, chunk: Buffer): Promise<boolean> {
    for (const piece of lane.reader.read(chunk)) {
      if (piece.kind === 'head') {
        const { frame, bytes } = piece
        if (isKept(lane, frame)) {
          kept = { frame, parts: [bytes] }
          continue
        }
        if (!(await mayPass(counter.frame(frame, lane.isUpstream), lane))) return false
        if (lane.isUpstream && frame.opcode === CLOSE) await tellReceipt()
        lane.isMidFrame = frame.length > 0
        await pass(lane, bytes)
      } else if (lane.isUpstream && kept) {
        kept.parts.push(piece.bytes)
        if (!piece.isEnd) continue
        const whole = kept
        kept = undefined
        if (!(await passKept(whole))) return false
      } else {
        await pass(lane, piece.bytes)
        lane.isMidFrame = !piece.isEnd
      }
      if (!lane.isMidFrame && lane.isUpstream && isEnding) {
        isEnding()
        return false
      }
    }
    return !over.signal.aborted
  }

  function run(lane: Lane): (chunk: Buffer) => void {
    const hear = (chunk: Buffer): void => {
      lane.from.pause()
      take(lane, chunk).then((goesOn) => {
        if (goesOn) lane.from.resume()
        // Nobody hears it any more, and its end is waited for.
        else lane.from.off('data', hear).resume()
      }, failed)
    }
    lane.from.on('data', hear)
    lane.from.once('end', () => {
      if (!over.signal.aborted) lane.to.end()
    })
    return hear
  }

  /** Each second is paid as it begins. */
  async function tick(price: Price): Promise<void> {
    while (!left.signal.aborted) {
      if (!(await covered(price, left))) return left.signal.aborted ? undefined : spent()
      await clock.sleep(SECOND_MS, left.signal)
    }
  }

  for (const side of [payer, upstream]) side.on('error', () => side.destroy())
  payer.once('close', () => {
    end()
    upstream.destroy()
  })
  upstream.once('end', () => left.abort('gone'))
  upstream.once('close', () => {
    left.abort('gone')
    if (!over.signal.aborted) endSoon(payer)
  })
  run(down)
  const hear = run(up)
  if (trip.early.length > 0) hear(trip.early)
  if (counter.second) tick(counter.second).catch(failed)
}

function laneOf(from: Duplex, to: Duplex, isUpstream: boolean): Lane {
  return { from, to, isUpstream, reader: createFrameReader(!isUpstream), isMidFrame: false }
}

async function drained(to: Duplex, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const done = (): void => resolve()
  to.once('drain', done).once('close', done)
  signal.addEventListener('abort', done, { once: true })
  await promise
  to.off('drain', done).off('close', done)
  signal.removeEventListener('abort', done)
}

/** Ends a side whose other side is gone, when it has taken what was said before. */
export function endSoon(socket: Duplex): void {
  if (socket.destroyed) return
  const timer = setTimeout(() => socket.destroy(), FLUSH_MS)
  socket.once('close', () => clearTimeout(timer))
  if (socket.writableFinished) linger(socket)
  else socket.once('finish', () => linger(socket)).end()
}

/** Nobody reads the socket any more, so that its end would not be seen; and who does not close it is not waited for. */
export function linger(socket: Duplex): void {
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

const DETAIL =
  'What the token could pay is used up. Nothing that is not paid is passed on. Top it up, and connect again if this connection is closed.'
