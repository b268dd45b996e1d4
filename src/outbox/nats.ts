import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node'
import type { JetStreamClient } from '@nats-io/jetstream'
import type { Clock } from '../core/ports.ts'
import type { CloudEvent } from './cloud-event.ts'
import type { Sink, Wants } from './sink.ts'
import { PUBLISH_MS, stream, Unpublishable } from './stream.ts'
import type { Publisher } from './stream.ts'

/** How long a server may take to be reached. */
export const CONNECT_MS = 5_000
/** Between two attempts to reach one that was lost. */
const RECONNECT_MS = 1_000
/** Longest name that goes into a subject. */
const PREFIX_CHARS_MAX = 128

/** What a sink at NATS JetStream is made of. */
export interface NatsSettings extends Wants {
  /** `nats://127.0.0.1:4222`, or `tls://…`; any of several. */
  readonly servers: string | readonly string[]
  /** The stream that must take the events; whichever takes the subject if absent. It is made by whoever runs the server. */
  readonly stream?: string
  /** Stands with a dot before the event's type, which is the subject. */
  readonly prefix?: string
  /** How we say who we are: one of a token, a user with a password, or what a credentials file holds. */
  readonly token?: string
  readonly user?: string
  readonly password?: string
  readonly credentials?: string
  /** Whose signature of the server's certificate is taken, in PEM, instead of the public authorities'. */
  readonly ca?: string
  readonly clock?: Clock
}

/**
 * A sink at NATS JetStream, by `@nats-io/transport-node` and `@nats-io/jetstream`, which are yours to install. Each event
 * is published when the one before is kept; its id is the `Nats-Msg-Id` by which the stream leaves doubles out. A server that
 * is away is waited for: the connection is made when there is something to tell.
 * @throws {RangeError} with what to do, when a setting is not right or a package is missing.
 */
export async function nats(settings: NatsSettings): Promise<Sink> {
  checkSettings(settings)
  const { prefix, clock, ...rest } = settings
  return stream({
    ...rest,
    publisher: createPublisher(await load(), settings),
    ...(clock && { clock }),
    ...(prefix !== undefined && { subject: ({ type }: CloudEvent) => `${prefix}.${type}` }),
  })
}

/** The client's own packages. */
interface Client {
  readonly transport: typeof import('@nats-io/transport-node')
  readonly jetstream: typeof import('@nats-io/jetstream')
}

async function load(): Promise<Client> {
  try {
    const [transport, jetstream] = await Promise.all([
      import('@nats-io/transport-node'),
      import('@nats-io/jetstream'),
    ])
    return { transport, jetstream }
  } catch {
    throw new RangeError(
      'Events to NATS need its client: npm install @nats-io/transport-node @nats-io/jetstream',
    )
  }
}

function checkSettings({ servers, prefix, token, user, credentials }: NatsSettings): void {
  const all = [servers].flat()
  if (all.length === 0 || !all.every((server) => /^(?:nats|tls):\/\/[^\s@]+$/.test(server)))
    throw new RangeError(
      'A NATS server is written like nats://127.0.0.1:4222, without a user or a password.',
    )
  if (prefix !== undefined && !(prefix.length <= PREFIX_CHARS_MAX && isSubject(prefix)))
    throw new RangeError('The prefix of a subject is made of words with dots between them.')
  if ([token, user, credentials].filter((one) => one !== undefined).length > 1)
    throw new RangeError('Give one of a token, a user and credentials.')
}

function isSubject(text: string): boolean {
  return /^[\w-]+(?:\.[\w-]+)*$/.test(text)
}

function createPublisher({ transport, jetstream }: Client, settings: NatsSettings): Publisher {
  const options = optionsOf(transport, settings)
  const expect = settings.stream === undefined ? {} : { expect: { streamName: settings.stream } }
  let opening: Promise<readonly [NatsConnection, JetStreamClient]> | undefined

  async function open(): Promise<readonly [NatsConnection, JetStreamClient]> {
    const connection = await transport.connect(options)
    return [connection, jetstream.jetstream(connection)]
  }

  /** The connection that there is; a new one where there is none, or it was given up. */
  async function current(): Promise<JetStreamClient> {
    const known = await opening?.catch(() => undefined)
    if (known && !known[0].isClosed()) return known[1]
    opening = open()
    return (await opening)[1]
  }

  return {
    async publish(subject, bytes, { id }) {
      const js = await current()
      try {
        return await js.publish(subject, bytes, { msgID: id, timeout: PUBLISH_MS, ...expect })
      } catch (error) {
        if (isTooLarge(error)) throw new Unpublishable('it is larger than the server takes')
        throw error
      }
    },
    async close() {
      const known = await opening?.catch(() => undefined)
      await known?.[0].close()
    },
  }
}

function optionsOf(
  { credsAuthenticator }: Client['transport'],
  { servers, token, user, password, credentials, ca }: NatsSettings,
): ConnectionOptions {
  return {
    servers: [servers].flat(),
    name: 'tolsey',
    timeout: CONNECT_MS,
    // It is never given up: what is not taken meanwhile waits in the books.
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_MS,
    ...(token !== undefined && { token }),
    ...(user !== undefined && { user }),
    ...(password !== undefined && { pass: password }),
    ...(ca !== undefined && { tls: { ca } }),
    ...(credentials !== undefined && {
      authenticator: credsAuthenticator(new TextEncoder().encode(credentials)),
    }),
  }
}

/** What a stream calls a message above its `max_msg_size`. */
const TOO_LARGE = 10_054

function isTooLarge(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if ('code' in error && error.code === TOO_LARGE) return true
  return error.name === 'InvalidArgumentError' && /max_payload/i.test(error.message)
}
