import { Buffer } from 'node:buffer'
import type { Pair } from './answer.ts'

/** Largest answer that is kept for whoever lost it, in bytes. A larger one streams, and is not kept. */
export const KEPT_BYTES_MAX = 1_048_576

/** An answer of the work, whole. */
export interface Whole {
  readonly status: number
  readonly head: readonly Pair[]
  readonly body: Uint8Array
}

/** Fields that belong to one connection or one moment (RFC 9110, 7.6.1), and the length, which is told anew. */
const passing = [
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'trailer',
  'date',
  'content-length',
]

/** The answer as bytes: its head as a line of JSON, then its body. */
export function writeWhole({ status, head, body }: Whole): Uint8Array {
  const lasting = head.filter(([name]) => !passing.includes(name.toLowerCase()))
  return Buffer.concat([Buffer.from(`${JSON.stringify([status, lasting])}\n`), body])
}

/** Reads back what {@link writeWhole} wrote and a seal has kept whole. */
export function readWhole(bytes: Uint8Array): Whole {
  const end = bytes.indexOf(10)
  const [status, head] = JSON.parse(Buffer.from(bytes.subarray(0, end)).toString()) as [
    number,
    Pair[],
  ]
  return { status, head, body: bytes.subarray(end + 1) }
}
