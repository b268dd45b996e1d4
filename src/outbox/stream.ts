import { Buffer } from 'node:buffer'
import { systemClock } from '../core/clock.ts'
import type { Clock } from '../core/ports.ts'
import type { CloudEvent } from './cloud-event.ts'
import type { Told } from './feed.ts'
import { wantsOf } from './sink.ts'
import type { Delivery, Sink, Trouble, Wants } from './sink.ts'

/** How long a stream may take to take an event. */
export const PUBLISH_MS = 10_000

/** What publishes, and resolves when it is kept; with the same id within its window, once. */
export interface Publisher {
  publish(subject: string, bytes: Uint8Array, options: { readonly id: string }): Promise<unknown>
  /** Ends its connection. */
  close?(): Promise<void>
}

/** Thrown by a publisher for what will never be taken, however often it comes. Its message goes on: no address, no secret. */
export class Unpublishable extends Error {
  override readonly name = 'Unpublishable'
}

/** What a stream is made of. */
export interface StreamSettings extends Wants {
  readonly publisher: Publisher
  /** Under what it is published; the event's type if absent. */
  readonly subject?: (event: CloudEvent) => string
  readonly clock?: Clock
}

/**
 * A sink for a durable log. The next event is published when the one before is kept. One for NATS JetStream is ready as `nats`.
 *
 * @example
 * const publisher = {
 *   publish: (subject, bytes, { id }) => log.append(subject, bytes, { once: id }),
 * }
 * const sink = stream({ name: 'log', publisher })
 */
export function stream(settings: StreamSettings): Sink {
  const { publisher, clock = systemClock } = settings
  const { subject = (event: CloudEvent): string => event.type } = settings

  async function publish({ event }: Told): Promise<Trouble | undefined> {
    const done = new AbortController()
    const bytes = Buffer.from(JSON.stringify(event))
    const kept = publisher
      .publish(subject(event), bytes, { id: event.id })
      .then(() => undefined, troubleOf)
    const late = clock.sleep(PUBLISH_MS, done.signal).then(() => down)
    return await Promise.race([kept, late]).finally(() => done.abort('done'))
  }

  return {
    ...wantsOf(settings),
    async deliver(told, { deadlineAt, signal }): Promise<Delivery> {
      for (const [taken, one] of told.entries()) {
        if (clock.now() > deadlineAt || signal.aborted) return { taken }
        const trouble = await publish(one)
        if (trouble) return { taken, trouble }
      }
      return { taken: told.length }
    },
    close: async () => await publisher.close?.(),
  }
}

const down: Trouble = { kind: 'down', why: 'the stream did not take it' }

function troubleOf(error: unknown): Trouble {
  return error instanceof Unpublishable ? { kind: 'refused', why: error.message } : down
}
