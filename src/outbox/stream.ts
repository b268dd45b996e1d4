import { Buffer } from 'node:buffer'
import { systemClock } from '../core/clock.ts'
import type { Clock } from '../core/ports.ts'
import type { CloudEvent } from './cloud-event.ts'
import type { Told } from './feed.ts'
import { wantsOf } from './sink.ts'
import type { Delivery, Sink, Wants } from './sink.ts'

/** How long a stream may take to take an event. */
export const PUBLISH_MS = 10_000

/** What publishes, and resolves when it is kept; with the same id within its window, once. */
export interface Publisher {
  publish(subject: string, bytes: Uint8Array, options: { readonly id: string }): Promise<unknown>
}

/** What a stream is made of. */
export interface StreamSettings extends Wants {
  readonly publisher: Publisher
  /** Under what it is published; the event's type if absent. */
  readonly subject?: (event: CloudEvent) => string
  readonly clock?: Clock
}

/**
 * A sink for a durable log, NATS JetStream for instance. The next event is published when the one before is kept.
 *
 * @example
 * import { connect } from '@nats-io/transport-node'
 * import { jetstream } from '@nats-io/jetstream'
 * const js = jetstream(await connect({ servers: 'nats://127.0.0.1:4222' }))
 * const publisher = {
 *   publish: (subject, bytes, { id }) => js.publish(subject, bytes, { msgID: id }),
 * }
 * const sink = stream({ name: 'nats', publisher })
 */
export function stream(settings: StreamSettings): Sink {
  const { publisher, clock = systemClock } = settings
  const { subject = (event: CloudEvent): string => event.type } = settings

  async function publish({ event }: Told): Promise<boolean> {
    const done = new AbortController()
    const bytes = Buffer.from(JSON.stringify(event))
    const kept = publisher.publish(subject(event), bytes, { id: event.id }).then(
      () => true,
      () => false,
    )
    const late = clock.sleep(PUBLISH_MS, done.signal).then(() => false)
    return await Promise.race([kept, late]).finally(() => done.abort('done'))
  }

  return {
    ...wantsOf(settings),
    async deliver(told, { deadlineAt, signal }): Promise<Delivery> {
      for (const [taken, one] of told.entries()) {
        if (clock.now() > deadlineAt || signal.aborted) return { taken }
        if (!(await publish(one)))
          return { taken, trouble: { kind: 'down', why: 'the stream did not take it' } }
      }
      return { taken: told.length }
    },
    close: () => Promise.resolve(),
  }
}
