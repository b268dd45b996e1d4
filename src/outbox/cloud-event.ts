import type { JsonObject } from '../core/json.ts'

/** The media type of one event in structured mode (CloudEvents HTTP binding 1.0, 3.2). */
export const EVENT_MEDIA_TYPE = 'application/cloudevents+json'

/** The media type of several events (CloudEvents HTTP binding 1.0, 3.3). */
export const BATCH_MEDIA_TYPE = 'application/cloudevents-batch+json'

/** One thing that happened in the books, as CloudEvents 1.0 says it in JSON. */
export interface CloudEvent {
  readonly specversion: '1.0'
  /** The row's number and the beginning of its hash: the same row gives the same id, for ever. */
  readonly id: string
  /** Whose books they are. */
  readonly source: string
  /** For instance `tolsey.sale.posted`. */
  readonly type: string
  /** The account of a token, or the payer: what events are about, and in whose order they come. */
  readonly subject?: string
  /** When it was written down (RFC 3339). */
  readonly time: string
  readonly datacontenttype: 'application/json'
  /** The row's number with leading zeros: texts in their order are events in theirs (the extension `sequence`). */
  readonly sequence: string
  readonly data: JsonObject
}

/** Digits of a row's number: enough for every safe integer. */
export const SEQUENCE_CHARS = 16

/** The number of a row as text whose order is that of the numbers. */
export function writeSequence(sequence: number): string {
  return `${sequence}`.padStart(SEQUENCE_CHARS, '0')
}
