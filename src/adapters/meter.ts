import { readPrice, writePrice } from '../core/money.ts'
import type { Meter } from '../core/plan.ts'

/** Counts what a request on a route with a `meter` costs, in prices as they are written: `0.0004 USD`. */
export interface RequestMeter {
  /**
   * Before something is given: all of it, or nothing. False when it is not covered: give nothing, and end, or ask again later.
   * @throws {RangeError} when the text is no price, or one in another currency than the route's.
   */
  take(price: string, what?: string): Promise<boolean>
  /**
   * For what is only known afterwards: as much as is covered. False when that was not all of it: end.
   * @throws {RangeError} as `take`.
   */
  add(price: string, what?: string): Promise<boolean>
  /**
   * The true measure of the whole, where what was counted so far was an estimate: more as far as it is covered (else false),
   * less as far as it is not charged yet.
   * @throws {RangeError} as `take`.
   */
  correct(total: string): Promise<boolean>
  /** What was counted. */
  readonly used: string
}

const lent = new WeakMap<object, Meter>()

/** Notes the meter of a request for its handler. */
export function lend(request: object, meter: Meter | undefined): void {
  if (meter) lent.set(request, meter)
}

/**
 * The meter of a request: node's (also Express's; `request.raw` in Fastify) or the web's (`context.req.raw` in Hono). What it
 * counts stands in the account's statement under `what`.
 * @throws {RangeError} when its route has no `meter`.
 */
export function meterOf(request: object): RequestMeter {
  const meter = lent.get(request)
  if (!meter)
    throw new RangeError(
      'The request has no meter. Say { plan, meter: { unit: "0.001 USD" } } at its route.',
    )
  return {
    take: async (price, what) => await meter.take(read(price, meter), what),
    add: async (price, what) => await meter.add(read(price, meter), what),
    correct: async (total) => await meter.correct(read(total, meter)),
    get used() {
      return writePrice(meter.used)
    },
  }
}

function read(text: string, { used: { currency } }: Meter): Meter['used'] {
  const price = readPrice(text)
  if (price.currency !== currency)
    throw new RangeError(`The request is metered in ${currency}, and "${text}" is not in that.`)
  return price
}
