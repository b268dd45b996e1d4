import type { ServerResponse } from 'node:http'
import type { Price } from '../core/money.ts'
import type { Meter } from '../core/plan.ts'
import { createNews } from './session-news.ts'
import type { Streamed, Told } from './session-news.ts'

/** How long a stream waits for a top-up. */
export const TOP_UP_WAIT_MS = 60_000
/** How often it looks whether there was one: another process may have booked it. */
export const TOP_UP_LOOK_MS = 250

/**
 * Tells the payer of a session what becomes of it within a stream of events, between those of the work: that the balance is used
 * up, or vouchers go no further, for which the work waits in `take`; that nobody paid for it; and at the end what it has cost. Answers
 * that are no such stream, or are packed, are left as they are. To be called before anything else stands in for the response's methods.
 */
export function tellIn(response: ServerResponse, meter: Meter, streamed: Streamed): Meter {
  const { measure, clock } = streamed
  const news = createNews(meter, streamed)
  const write = response.write.bind(response)
  const end = response.end.bind(response)
  /** Whether no event of the work is half written. */
  let isBetween = true
  let isEnding = false
  let isOver = false

  const note = (chunk: unknown): void => {
    const text = typeof chunk === 'string' ? chunk : ''
    const tail = chunk instanceof Uint8Array ? Buffer.from(chunk.subarray(-2)).toString() : text
    if (tail !== '') isBetween = tail.endsWith('\n\n')
  }
  const canTell = (): boolean => isEvents(response) && isBetween && !isOver && !response.destroyed
  const needsTopUp = (amount: Price): boolean =>
    canTell() && isWithin(meter.used, amount, measure.most)
  const say = (told: Told | undefined): void => {
    if (told && canTell()) write(`event: ${told.event}\ndata: ${JSON.stringify(told.data)}\n\n`)
  }

  /** Until somebody pays for it; false when nobody does, or nobody is there any more. */
  async function wait(amount: Price, what: string | undefined): Promise<boolean> {
    const untilAt = clock.now() + TOP_UP_WAIT_MS
    let isTold = false
    while (clock.now() < untilAt && canTell()) {
      // Nothing leaves before the head may.
      if (!isTold && response.headersSent) {
        isTold = true
        say(await news.need(amount))
      }
      await news.pause(TOP_UP_LOOK_MS)
      if (await meter.take(amount, what)) return true
    }
    if (isTold) say(news.timeout(amount))
    return false
  }

  async function finish(done: readonly unknown[]): Promise<void> {
    say(await news.receipt())
    isOver = true
    Reflect.apply(end, response, done)
  }

  const noted = (chunk: unknown, ...rest: unknown[]): boolean => {
    note(chunk)
    return Reflect.apply(write, response, [chunk, ...rest]) as boolean
  }
  response.write = noted
  response.end = (...args: unknown[]) => {
    if (isEnding) return response
    if (!isEvents(response)) return Reflect.apply(end, response, args) as ServerResponse
    isEnding = true
    const [chunk, encoding] = args
    const isChunk = typeof chunk === 'string' || chunk instanceof Uint8Array
    if (isChunk) noted(chunk, ...(typeof encoding === 'string' ? [encoding] : []))
    void finish(args.filter((one) => typeof one === 'function'))
    return response
  }

  return {
    take: async (amount, what) =>
      (await meter.take(amount, what)) || (needsTopUp(amount) && (await wait(amount, what))),
    add: (amount, what) => meter.add(amount, what),
    correct: (total) => meter.correct(total),
    get used() {
      return meter.used
    },
  }
}

/** Whether the head, as it was set by what holds it back, announces events that anything may be put between. */
function isEvents(response: ServerResponse): boolean {
  const type = response.getHeader('content-type')
  const isPlain = !response.hasHeader('content-encoding') && !response.hasHeader('content-length')
  return typeof type === 'string' && /^text\/event-stream\b/i.test(type) && isPlain
}

/** Whether one request may cost so much more: what goes over that no top-up pays for. */
function isWithin(used: Price, more: Price, most: Price | undefined): boolean {
  if (!most) return true
  const scale = Math.max(used.scale, more.scale, most.scale)
  const at = ({ amount, scale: own }: Price): bigint => amount * 10n ** BigInt(scale - own)
  return at(used) + at(more) <= at(most)
}
