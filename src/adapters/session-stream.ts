import type { ServerResponse } from 'node:http'
import type { Session } from '../core/credential.ts'
import type { JsonObject } from '../core/json.ts'
import type { Price } from '../core/money.ts'
import type { Measure, Meter } from '../core/plan.ts'
import type { Clock } from '../core/ports.ts'
import type { Teller } from './channels.ts'

/** How long a stream waits for a top-up. */
export const TOP_UP_WAIT_MS = 60_000
/** How often it looks whether there was one: another process may have booked it. */
export const TOP_UP_LOOK_MS = 250

/** A metered answer that is paid by a session. */
export interface Streamed {
  readonly session: Session
  readonly measure: Measure
  readonly clock: Clock
  /** Where it is a channel. `settle` charges what was counted: nothing more is counted then. */
  readonly channel?: { readonly teller: Teller; readonly settle: () => Promise<void> }
}

/**
 * Tells the payer of a session what becomes of it within a stream of events, between those of the work: that the balance is used
 * up, for which the work waits in `take`; that nobody topped it up; and at the end what it has cost. Answers that are no such
 * stream, or are packed, are left as they are. To be called before anything else stands in for the response's methods.
 */
export function tellIn(response: ServerResponse, meter: Meter, streamed: Streamed): Meter {
  const { session, measure, clock, channel } = streamed
  const write = response.write.bind(response)
  const end = response.end.bind(response)
  /** Whether no event of the work is half written. */
  let isBetween = true
  let isOver = false

  const note = (chunk: unknown): void => {
    const text = typeof chunk === 'string' ? chunk : ''
    const tail = chunk instanceof Uint8Array ? Buffer.from(chunk.subarray(-2)).toString() : text
    if (tail !== '') isBetween = tail.endsWith('\n\n')
  }
  const canTell = (): boolean => isEvents(response) && isBetween && !isOver && !response.destroyed
  const needsTopUp = (amount: Price): boolean =>
    canTell() && isWithin(meter.used, amount, measure.most)
  const say = (event: string, data: JsonObject): void =>
    void write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)

  function told(needed: Price): JsonObject {
    return {
      sessionId: session.id,
      balanceSpent: satsOf(meter.used, streamed),
      balanceRequired: satsOf(needed, streamed),
    }
  }

  async function tellNeed(amount: Price): Promise<void> {
    if (!channel) return say('payment-need-topup', told(amount))
    const drawn = await channel.teller.look(amount)
    if (!drawn || !canTell()) return
    say('payment-need-voucher', {
      channelId: `0x${channel.teller.channel}`,
      requiredCumulative: drawn.needed.toString(),
      acceptedCumulative: drawn.accepted.toString(),
      deposit: drawn.deposit.toString(),
    })
  }

  /** At the end: what was counted is charged first, so that the receipt says what the whole has cost. */
  async function settled({ teller, settle }: NonNullable<Streamed['channel']>): Promise<void> {
    await settle()
    const drawn = await teller.look()
    const units = unitsOf(meter.used, measure.unit)
    const { body } = (drawn && teller.write(drawn, { units })) ?? {}
    if (body && canTell()) say('payment-receipt', body)
  }

  /** Until somebody tops it up; false when nobody does, or nobody is there any more. */
  async function wait(amount: Price, what: string | undefined): Promise<boolean> {
    const untilAt = clock.now() + TOP_UP_WAIT_MS
    let isTold = false
    while (clock.now() < untilAt && canTell()) {
      // Nothing leaves before the head may.
      if (!isTold && response.headersSent) {
        await tellNeed(amount)
        isTold = true
      }
      await clock.sleep(TOP_UP_LOOK_MS)
      if (await meter.take(amount, what)) return true
    }
    if (isTold && canTell() && !channel) say('session-timeout', told(amount))
    return false
  }

  function receipt(): JsonObject {
    return {
      ...{ status: 'success', method: session.rail, reference: session.id, sessionId: session.id },
      timestamp: new Date(clock.now()).toISOString(),
      spent: satsOf(meter.used, streamed),
      units: Number(unitsOf(meter.used, measure.unit)),
    }
  }

  const finish = (done: readonly unknown[]): ServerResponse => {
    isOver = true
    return Reflect.apply(end, response, done) as ServerResponse
  }

  const noted = (chunk: unknown, ...rest: unknown[]): boolean => {
    note(chunk)
    return Reflect.apply(write, response, [chunk, ...rest]) as boolean
  }
  response.write = noted
  response.end = (...args: unknown[]) => {
    if (!isEvents(response) || isOver) return Reflect.apply(end, response, args) as ServerResponse
    const [chunk, encoding] = args
    const isChunk = typeof chunk === 'string' || chunk instanceof Uint8Array
    if (isChunk) noted(chunk, ...(typeof encoding === 'string' ? [encoding] : []))
    const done = args.filter((one) => typeof one === 'function')
    if (channel && canTell()) {
      // Without a receipt the next answer tells: what was served is served.
      void settled(channel)
        .catch(() => undefined)
        .finally(() => finish(done))
      return response
    }
    if (canTell()) say('payment-receipt', receipt())
    return finish(done)
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

/** Units that were begun. */
function unitsOf(price: Price, unit: Price): bigint {
  const of = unit.amount * 10n ** BigInt(price.scale)
  return (price.amount * 10n ** BigInt(unit.scale) + of - 1n) / of
}

/** In satoshis, as the payer was told what a unit costs; in units where he was not. */
function satsOf(price: Price, { measure: { unit }, session: { unitSat = 1n } }: Streamed): number {
  const of = unit.amount * 10n ** BigInt(price.scale)
  return Number((price.amount * 10n ** BigInt(unit.scale) * unitSat + of - 1n) / of)
}
