import type { Session } from '../core/credential.ts'
import type { JsonObject } from '../core/json.ts'
import type { Price } from '../core/money.ts'
import type { Measure, Meter } from '../core/plan.ts'
import type { Clock } from '../core/ports.ts'
import type { Teller } from './channels.ts'

/** A metered answer that is paid by a session. */
export interface Streamed {
  readonly session: Session
  readonly measure: Measure
  readonly clock: Clock
  /** Where it is a channel. `settle` charges what was counted: nothing more is counted then. */
  readonly channel?: { readonly teller: Teller; readonly settle: () => Promise<void> }
}

/** Something that a payer is told within what he gets, with the name that MPP has for it. */
export interface Told {
  readonly event: string
  readonly data: JsonObject
}

/** What the payer of a session is told while the work runs, whatever carries it. Never rejects. */
export interface News {
  /** That so much more is wanted than there is. Undefined where that cannot be told. */
  need(amount: Price): Promise<Told | undefined>
  /** That nobody paid for it; a payer by vouchers is told of nothing. */
  timeout(amount: Price): Told | undefined
  /** What the whole has cost: nothing is counted any more. Undefined where that cannot be told. */
  receipt(): Promise<Told | undefined>
  /** Waits so long, or until a voucher is heard of here. */
  pause(ms: number, signal?: AbortSignal): Promise<void>
}

/** Makes the news of a session that pays for what is counted on that meter. */
export function createNews(meter: Pick<Meter, 'used'>, streamed: Streamed): News {
  const { session, measure, clock, channel } = streamed

  function balance(needed: Price): JsonObject {
    return {
      sessionId: session.id,
      balanceSpent: satsOf(meter.used, streamed),
      balanceRequired: satsOf(needed, streamed),
    }
  }

  async function voucher(teller: Teller, more: Price): Promise<Told | undefined> {
    const drawn = await teller.look(more).catch(() => undefined)
    const data = drawn && {
      channelId: `0x${teller.channel}`,
      requiredCumulative: drawn.needed.toString(),
      acceptedCumulative: drawn.accepted.toString(),
      deposit: drawn.deposit.toString(),
    }
    return data && { event: 'payment-need-voucher', data }
  }

  const units = (): bigint => unitsOf(meter.used, measure.unit)

  function balanceReceipt(): JsonObject {
    return {
      ...{ status: 'success', method: session.rail, reference: session.id, sessionId: session.id },
      timestamp: new Date(clock.now()).toISOString(),
      spent: satsOf(meter.used, streamed),
      units: Number(units()),
    }
  }

  /** What was counted is charged first, so that it says what the whole has cost. */
  async function voucherReceipt({
    teller,
    settle,
  }: NonNullable<Streamed['channel']>): Promise<JsonObject | undefined> {
    await settle()
    const drawn = await teller.look()
    return drawn && teller.write(drawn, { units: units() }).body
  }

  return {
    need: async (amount) =>
      channel
        ? await voucher(channel.teller, amount)
        : { event: 'payment-need-topup', data: balance(amount) },
    timeout: (amount) =>
      channel ? undefined : { event: 'session-timeout', data: balance(amount) },
    async receipt() {
      if (!channel) return { event: RECEIPT, data: balanceReceipt() }
      // Without one the next answer tells: what was served is served.
      const data = await voucherReceipt(channel).catch(() => undefined)
      return data && { event: RECEIPT, data }
    },
    async pause(ms, signal) {
      const woken = new AbortController()
      const wake = (): void => woken.abort('woken')
      const forget = channel?.teller.hear(wake)
      signal?.addEventListener('abort', wake, { once: true })
      if (signal?.aborted) wake()
      await clock.sleep(ms, woken.signal)
      signal?.removeEventListener('abort', wake)
      forget?.()
    },
  }
}

const RECEIPT = 'payment-receipt'

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
