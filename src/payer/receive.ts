import type { Clock } from '../core/ports.ts'
import { BODY_HOLD_BYTES_MAX, BODY_HOLD_MS } from './limits.ts'

/** A body as far as it is here. */
export interface Intake {
  readonly chunks: Uint8Array<ArrayBuffer>[]
  /** Where more of it comes from; absent when it is whole. */
  readonly reader?: Reader
  /** What was asked for and had not come yet. */
  readonly next?: ReturnType<Reader['read']>
}

type Reader = ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>

/** Who wants to know how a body goes on. */
export interface Listener {
  /** Somebody reads. */
  reading(): void
  /** It was read to its end, or the reader has had enough. The end is told to the reader after that. */
  ended(): Promise<void>
  /** It broke, or the whole call was aborted. */
  broke(): Promise<void>
}

/**
 * Takes a body off the wire until it is whole, or until the limits are reached, so that one which breaks early can be
 * asked for again. Throws what reading it throws.
 */
export async function receive(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  clock: Clock,
): Promise<Intake> {
  const reader = body.getReader()
  const chunks: Uint8Array<ArrayBuffer>[] = []
  const done = new AbortController()
  const late = clock.sleep(BODY_HOLD_MS, done.signal).then(() => undefined)
  try {
    for (let size = 0; size < BODY_HOLD_BYTES_MAX;) {
      const next = reader.read()
      // It may be waited for by nobody when it fails.
      next.catch(() => undefined)
      const got = await Promise.race([next, late])
      if (!got) return { chunks, reader, next }
      if (got.done) return { chunks }
      chunks.push(got.value)
      size += got.value.byteLength
    }
    return { chunks, reader }
  } finally {
    done.abort()
  }
}

/** The same response with a body that was taken: status, header, address and all. */
export function wrap(from: Response, intake: Intake, listener: Listener): Response {
  const { status, statusText, headers } = from
  const body = intake.reader
    ? handOn(intake, intake.reader, listener)
    : Buffer.concat(intake.chunks)
  return liken(new Response(body, { status, statusText, headers }), from)
}

/** A response that is made knows nothing of where it came from, nor does its copy. */
function liken(made: Response, from: Response): Response {
  const { url, redirected, type } = from
  const clone = (): Response => liken(Response.prototype.clone.call(made), from)
  return Object.defineProperties(made, {
    url: { value: url },
    redirected: { value: redirected },
    type: { value: type },
    clone: { value: clone },
  })
}

/** Reads on only when it is read, as a slow reader slows the sender. */
function handOn(
  { chunks, next }: Intake,
  reader: Reader,
  listener: Listener,
): ReadableStream<Uint8Array> {
  let asked = next
  const read = (): ReturnType<Reader['read']> => {
    const first = asked ?? reader.read()
    asked = undefined
    return first
  }
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        listener.reading()
        const chunk = chunks.shift()
        if (chunk) return controller.enqueue(chunk)
        const got = await read().catch(async (error: unknown) => {
          await listener.broke()
          throw error
        })
        if (!got.done) return controller.enqueue(got.value)
        await listener.ended()
        return controller.close()
      },
      async cancel(reason) {
        await listener.ended()
        await reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}
