import { isObject, readJson } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'

/** Longest frame that is looked at, in characters: a credential, and what it stands in. */
const FRAME_CHARS_MAX = 65_536

/** What sellers and payers of sessions say on a WebSocket, each in a text frame of its own. */
export type SocketFrame =
  /** A payer: what pays, as an `Authorization` field would say it. */
  | { readonly mpp: 'authorization'; readonly authorization: string }
  /** Either: what the connection is for, where all of it is put in frames of this kind. */
  | { readonly mpp: 'message'; readonly data: string }
  | { readonly mpp: 'payment-need-voucher' | 'payment-need-topup'; readonly data: JsonObject }
  | { readonly mpp: 'payment-receipt' | 'payment-close-ready'; readonly data: JsonObject }
  /** A payer: no more is wanted. The answer is `payment-close-ready`. */
  | { readonly mpp: 'payment-close-request' }
  | { readonly mpp: 'payment-error'; readonly status: number; readonly message: string }

/** A frame as text. */
export function writeSocket(frame: SocketFrame): string {
  return JSON.stringify(frame)
}

/** What the payer of a session is told while the connection runs. */
export function writeNews({
  event,
  data,
}: {
  readonly event: string
  readonly data: JsonObject
}): string {
  return JSON.stringify({ mpp: event, data })
}

/** The frame that a text is; undefined for every other text, which is the application's. */
export function readSocket(text: string): SocketFrame | undefined {
  if (!text.startsWith('{')) return undefined
  const said = readJson(text, FRAME_CHARS_MAX)
  if (!isObject(said)) return undefined
  const { mpp, data, authorization, status, message } = said
  if (mpp === 'payment-close-request') return { mpp }
  if (mpp === 'authorization' && typeof authorization === 'string') return { mpp, authorization }
  if (mpp === 'message' && typeof data === 'string') return { mpp, data }
  if (mpp === 'payment-error' && typeof status === 'number' && typeof message === 'string')
    return { mpp, status, message }
  const named = telling.find((name) => name === mpp)
  return named && isObject(data) ? { mpp: named, data } : undefined
}

/** Frames that tell something as an object. */
const telling = [
  'payment-need-voucher',
  'payment-need-topup',
  'payment-receipt',
  'payment-close-ready',
] as const
