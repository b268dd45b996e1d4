import type { Log } from '../../../core/ports.ts'
import type { Flights } from '../flights.ts'
import type { Lane } from '../lane.ts'
import type { Refused } from '../rpc.ts'
import { newest } from '../settling.ts'
import type { Kind, Outgoing } from '../steps.ts'
import { ahead, written } from '../steps.ts'
import type { Mined, Reader } from '../token.ts'

/** Most transactions that one call is signed into; what was made dearer under its number counts once. */
const NUMBERS_MAX = 8

/** What sending needs. */
export interface SendParts {
  readonly lane: Lane
  readonly reader: Reader
  readonly flights: Flights
  /** How long a call waits for its block. */
  readonly waitMs: number
}

/** A call of the contract that does no harm when it is made twice: it is refused there the second time. */
export interface Harmless extends Outgoing {
  readonly kind: Kind
  /** End of the authorization in it, in seconds. */
  readonly validBefore?: bigint
}

/** What became of it: its transaction in a block, none ever, or not to be told yet. */
export type Landed = Mined | { readonly unsent: Refused } | undefined

/** Sends such a call until it is in a block: what was written ahead first, and under a new number if that can land no more. */
export type Send = (call: Harmless, log: Log) => Promise<Landed>

/** Makes it. */
export function createSend({ lane, reader, flights, waitMs }: SendParts): Send {
  return async ({ kind, validBefore, ...call }, log) => {
    const before = await written(log, kind)
    const mined = await newest(reader, before)
    const isSpent = mined !== undefined && !mined.ok
    const isMost = new Set(before.map(({ nonce }) => nonce)).size >= NUMBERS_MAX
    if (mined && (!isSpent || isMost)) return mined
    const write = ahead(log, kind, validBefore)
    const last = isSpent ? undefined : before.at(-1)
    let sent = last ? await lane.again(last, write) : await lane.send(call, write)
    if (sent.state === 'displaced' && !isMost) sent = await lane.send(call, write)
    if (sent.state === 'refused' && before.length === 0) return { unsent: sent.why }
    if (sent.state !== 'sent') return undefined
    const landing = await flights.wait(sent.flight, waitMs)
    return landing === 'displaced' ? undefined : landing
  }
}
