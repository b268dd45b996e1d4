import type { Holding } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import type { Flow } from './flows.ts'
import { placeOf } from './flows.ts'
import type { Tallied } from './tally.ts'
import type { Booking, Doubt, Position } from './round.ts'
import { missingOf, openingOf, suspenseOf } from './round.ts'

/** What is known of one account at the time of a round. */
export interface Evidence extends Tallied {
  readonly holding: Holding
  /** `<rail>/<network>/<account>`: what its accounts in the books are named after. */
  readonly where: string
  /** References that are part of the state that was looked at. */
  readonly includes: ReadonlySet<string>
  /** What may or may not have moved: above zero to us, below from us. */
  readonly open: readonly bigint[]
  /** The last row that was read. */
  readonly end: number
  /** What stands unexplained, and what stands missing (above zero). */
  readonly suspense: bigint
  readonly missing: bigint
  readonly now: number
  readonly patienceMs: number
}

/** What follows from it. Undefined: in doubt, so that nothing is known or booked. */
export interface Judgement {
  readonly position: Position
  readonly bookings: readonly Booking[]
}

/** Compares what lies there with what should. A difference is booked once it has stood for the time of patience. */
export function judge(evidence: Evidence): Judgement | undefined {
  const { holding, before, flows, open, now, patienceMs } = evidence
  const isThere = ({ evidence: said }: Flow): boolean =>
    said === 'sure' || (said !== undefined && evidence.includes.has(said.reference))
  const expected = evidence.sum + sumOf(flows.filter(isThere))
  const found = holding.amount
  // What lay there before can only be told when nothing is on its way.
  if (!before && open.length > 0) return undefined
  const low = expected + sumOf(open.filter((amount) => amount < 0n).map((amount) => ({ amount })))
  const high = expected + sumOf(open.filter((amount) => amount > 0n).map((amount) => ({ amount })))
  const difference = found > high ? found - high : found < low ? found - low : 0n
  const { account, asset } = holding
  const position = { account, asset, found, expected, ...tailOf(evidence, isThere) }
  if (!before) return { position, bookings: opening(evidence, found - expected) }
  const { booked, doubt } = stood(before.doubt, difference, now, patienceMs)
  return {
    position: { ...position, ...(doubt && { doubt }) },
    bookings: booked === 0n ? [] : bookingsOf(evidence, booked),
  }
}

/** As far as everything is part of that state. */
function tailOf(
  { sum, flows, end }: Evidence,
  isThere: (flow: Flow) => boolean,
): Pick<Position, 'tail' | 'sum'> {
  const first = flows.find((flow) => !isThere(flow))
  if (!first) return { tail: end, sum: sum + sumOf(flows) }
  const tail = first.sequence - 1
  return { tail, sum: sum + sumOf(flows.filter(({ sequence }) => sequence <= tail)) }
}

/** The part of a difference that has stood long enough, and what goes on standing. */
function stood(
  before: Doubt | undefined,
  difference: bigint,
  now: number,
  patienceMs: number,
): { readonly booked: bigint; readonly doubt?: Doubt } {
  if (difference === 0n) return { booked: 0n }
  const isSame = before !== undefined && before.amount > 0n === difference > 0n
  const { amount, sinceAt } = isSame
    ? { amount: nearer(before.amount, difference), sinceAt: before.sinceAt }
    : { amount: difference, sinceAt: now }
  if (now - sinceAt < patienceMs) return { booked: 0n, doubt: { amount, sinceAt } }
  const rest = difference - amount
  return { booked: amount, ...(rest !== 0n && { doubt: { amount: rest, sinceAt: now } }) }
}

function nearer(a: bigint, b: bigint): bigint {
  return (a < 0n ? -a : a) < (b < 0n ? -b : b) ? a : b
}

function opening(evidence: Evidence, amount: bigint): readonly Booking[] {
  if (amount === 0n) return []
  return [book(evidence, 'opening', openingOf(evidence.where), amount)]
}

/** First what closes something that stood open, then the rest. */
function bookingsOf(evidence: Evidence, amount: bigint): readonly Booking[] {
  const { suspense, missing, where } = evidence
  const [there, rest] = amount > 0n ? [missing, amount] : [suspense, -amount]
  const closing = there < rest ? there : rest
  const sign = amount > 0n ? 1n : -1n
  const [old, fresh] =
    amount > 0n ? [missingOf(where), suspenseOf(where)] : [suspenseOf(where), missingOf(where)]
  return [
    ...(closing > 0n ? [book(evidence, 'closed', old, sign * closing)] : []),
    ...(rest > closing
      ? [book(evidence, amount > 0n ? 'surplus' : 'missing', fresh, sign * (rest - closing))]
      : []),
  ]
}

/** Above zero it comes out of the outside, as a sale does. */
function book(
  { holding: { account, asset }, where }: Evidence,
  finding: Booking['finding'],
  other: string,
  amount: bigint,
): Booking {
  const outside = `${WORLD}${where}`
  const leg = amount > 0n ? { debit: outside, credit: other } : { debit: other, credit: outside }
  return { finding, account, asset, amount, leg }
}

/** The place of a holding in the books. */
export function placeIn(where: string, { asset }: Holding): string {
  return placeOf(`${WORLD}${where}`, asset.id)
}

function sumOf(list: readonly { readonly amount: bigint }[]): bigint {
  return list.reduce((sum, { amount }) => sum + amount, 0n)
}
