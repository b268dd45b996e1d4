import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { systemClock } from '../core/clock.ts'
import type { Answered, Asked, Clock, Facilitator } from '../core/ports.ts'
import { createFacilitator } from '../facilitator/facilitator.ts'
import type { FacilitatorParts } from '../facilitator/facilitator.ts'
export { createCallers, everybody } from '../facilitator/callers.ts'
export type { Callers, KnownCallers, Registered } from '../facilitator/callers.ts'
export type { FacilitatorParts } from '../facilitator/facilitator.ts'

/** How often open settlements are looked at. */
const RECOVER_MS = 15_000

/** How long answers in progress may take when it closes: longer than a settlement waits for its block. */
const DRAIN_MS = 45_000

/** A facilitator that is open for business. */
export interface OpenFacilitator extends Facilitator {
  /**
   * Drains it for so long at most, and ends the watching of open settlements and the rails; what is still unknown then
   * stays in the books. The ledger stays open: it belongs to the caller.
   */
  close(drainMs?: number): Promise<void>
}

/**
 * Opens the rails, which check themselves against their networks, and looks at open settlements, at once at those that a
 * crash left and then again and again until it is closed. Nobody waits for that.
 *
 * @example
 * const rail = evm({ network: 'base', rpc, payTo, signer })
 * const facilitator = await openFacilitator({ rails: [rail], ledger: await sqlite({ file }), callers: createCallers(list) })
 * createServer(listener(facilitatorService(facilitator, { rails: [rail] }))).listen(8403, '127.0.0.1')
 *
 * @throws {PaymentError} when a rail and its network do not agree.
 */
export async function openFacilitator(parts: FacilitatorParts): Promise<OpenFacilitator> {
  const { rails, clock = systemClock, observe } = parts
  const facilitator = createFacilitator(parts)
  await Promise.all(rails.map((rail) => rail.open()))
  const closing = new AbortController()
  const watching = watch(facilitator, clock, closing.signal, (error) =>
    observe?.({ type: 'fault', at: clock.now(), where: 'recover', error }),
  )
  return {
    ...facilitator,
    async close(drainMs = DRAIN_MS) {
      const drained = facilitator.drain()
      await Promise.race([drained, clock.sleep(drainMs, closing.signal)])
      closing.abort()
      // A rail that is closed waits for nothing more, so that the rest has its answers now.
      await Promise.all(rails.map((rail) => rail.close()))
      await Promise.all([drained, watching])
    },
  }
}

/** Looks at once, and then at intervals. */
async function watch(
  facilitator: Facilitator,
  clock: Clock,
  signal: AbortSignal,
  fault: (error: unknown) => void,
): Promise<void> {
  while (!signal.aborted) {
    await facilitator.recover().catch(fault)
    await clock.sleep(RECOVER_MS, signal)
  }
}

/** Serves a facilitator's service by node:http. What it throws is a 500 without a word, and told to `fault`. */
export function listener(
  service: (asked: Asked) => Promise<Answered>,
  fault: (error: unknown) => void = () => undefined,
): RequestListener {
  return (request, response) => {
    serve(service, request, response).catch((error: unknown) => {
      // A caller that left in the middle of its own request is no fault of ours.
      if (!request.destroyed || request.complete) fault(error)
      if (response.headersSent) response.destroy()
      else response.writeHead(500, { connection: 'close' }).end()
    })
  }
}

async function serve(
  service: (asked: Asked) => Promise<Answered>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { status, fields, body } = await service(askedBy(request))
  // A body that nobody wants is not waited for.
  if (!request.complete && !request.readableEnded) response.shouldKeepAlive = false
  response.writeHead(status, { ...fields, 'content-length': Buffer.byteLength(body) })
  response.end(request.method === 'HEAD' ? undefined : body)
}

function askedBy(request: IncomingMessage): Asked {
  const { method = 'GET', headers, url = '/', socket } = request
  const { remoteAddress: address } = socket
  return {
    method,
    target: url,
    fields: {
      get(name) {
        const value = headers[name]
        return typeof value === 'string' ? value : undefined
      },
    },
    ...(address !== undefined && { address }),
    text: (bytesMax) => textOf(request, bytesMax),
  }
}

/** The body; undefined when it is longer than the limit. */
function textOf(request: IncomingMessage, bytesMax: number): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>()
  const chunks: Buffer[] = []
  let bytes = 0
  // By events: a loop over the stream costs more than all of the rest.
  const take = (chunk: Buffer): void => {
    bytes += chunk.byteLength
    if (bytes <= bytesMax) return void chunks.push(chunk)
    request.off('data', take)
    request.pause()
    resolve(undefined)
  }
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) return Promise.resolve(undefined)
  request.on('data', take)
  request.once('end', () => resolve(Buffer.concat(chunks).toString()))
  request.once('error', reject)
  request.once('close', () => {
    if (!request.complete) reject(new Error('The request was cut off.'))
  })
  return promise
}
