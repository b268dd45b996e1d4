import { assert } from '../../core/assert.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { ChannelCodec } from '../../core/ports.ts'
import type { ChannelTold } from '../../core/voucher.ts'
import { REQUEST_CHARS_MAX } from './challenge.ts'
import { readObject, writeObject } from './encode.ts'
import { SESSION, fieldOf } from './part.ts'
import { PROBLEMS } from './problems.ts'
import { RECEIPT_CHARS_MAX } from './receipt.ts'

/** What the actions are called. */
const actions = { use: 'voucher', close: 'close' } as const

/** The words of a payer for channels (draft-evm-session-00), whatever rail keeps them. */
export const channelCodec: ChannelCodec = {
  terms(offer) {
    const { amount, methodDetails } = requestOf(offer) ?? {}
    const unit = unitsIn(amount)
    const { minVoucherDelta } = isObject(methodDetails) ? methodDetails : {}
    return unit === undefined ? undefined : { unit, step: unitsIn(minVoucherDelta) ?? 0n }
  },
  write({ echo }, act, channel, { cumulative, signature }) {
    assert(isObject(echo), 'a payer draws on a channel that it has opened')
    const payload = {
      ...{ action: actions[act], channelId: `0x${channel}` },
      ...{ cumulativeAmount: cumulative.toString(), signature },
    }
    const said = writeObject({ challenge: echo, payload })
    return { fields: [[fieldOf(echo['header']), `Payment ${said}`]] }
  },
  read(fields) {
    const said = fields.get('Payment-Receipt')
    return said ? readTold(readObject(said, RECEIPT_CHARS_MAX)) : undefined
  },
  readEvent(name, data) {
    if (name !== 'payment-need-voucher' && name !== 'payment-receipt') return undefined
    const said = readJson(data, RECEIPT_CHARS_MAX)
    return isObject(said) ? readTold(said) : undefined
  },
  isShort: (body) => isObject(body) && body['type'] === `${PROBLEMS}session/insufficient-balance`,
}

function requestOf({ echo }: Offer): JsonObject | undefined {
  if (!isObject(echo) || echo['intent'] !== SESSION) return undefined
  const said = echo['request']
  return typeof said === 'string' ? readObject(said, REQUEST_CHARS_MAX) : undefined
}

function readTold(said: JsonObject | undefined): ChannelTold | undefined {
  const { channelId, acceptedCumulative, requiredCumulative, reference, units } = said ?? {}
  const accepted = unitsIn(acceptedCumulative)
  if (typeof channelId !== 'string' || !/^0x[0-9a-fA-F]{64}$/.test(channelId)) return undefined
  if (accepted === undefined) return undefined
  const [spent, needed] = [unitsIn(said?.['spent']), unitsIn(requiredCumulative)]
  const deposit = unitsIn(said?.['deposit'])
  return {
    ...{ channel: channelId.slice(2).toLowerCase(), accepted },
    ...(spent !== undefined && { spent }),
    ...(needed !== undefined && { needed }),
    ...(deposit !== undefined && { deposit }),
    ...(typeof units === 'number' && { isServed: units > 0 }),
    ...(typeof reference === 'string' && reference !== channelId && { reference }),
  }
}

/** A sum in the smallest unit; no channel holds more than a uint128. */
function unitsIn(said: unknown): bigint | undefined {
  return typeof said === 'string' && /^\d{1,39}$/.test(said) ? BigInt(said) : undefined
}
