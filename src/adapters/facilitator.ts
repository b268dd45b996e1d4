import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { systemClock } from '../core/clock.ts'
import type { Clock, Facilitator } from '../core/ports.ts'
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
 * Opens the rails, which check themselves against their networks, closes what a crash left open, and goes on looking at
 * open settlements until it is closed.
 *
 * @example
 * const rail = evm({ network: 'base', rpc, payTo, signer })
 * const facilitator = await openFacilitator({ rails: [rail], ledger: await sqlite({ file }), callers: createCallers(list) })
 * createServer(listener(facilitatorHandler(facilitator, { rails: [rail] }))).listen(8403, '127.0.0.1')
 *
 * @throws {PaymentError} when a rail and its network do not agree.
 */
export async function openFacilitator(parts: FacilitatorParts): Promise<OpenFacilitator> {
  const { rails, clock = systemClock, observe } = parts
  const facilitator = createFacilitator(parts)
  await Promise.all(rails.map((rail) => rail.open()))
  await facilitator.recover()
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

async function watch(
  facilitator: Facilitator,
  clock: Clock,
  signal: AbortSignal,
  fault: (error: unknown) => void,
): Promise<void> {
  for (;;) {
    await clock.sleep(RECOVER_MS, signal)
    if (signal.aborted) return
    await facilitator.recover().catch(fault)
  }
}

/** Serves a fetch handler by node:http. What it throws is a 500 without a word, and told to `observe`. */
export function listener(
  handler: (request: Request) => Promise<Response>,
  fault: (error: unknown) => void = () => undefined,
): RequestListener {
  return (request, response) => {
    serve(handler, request, response).catch((error: unknown) => {
      // A caller that left in the middle of its own request is no fault of ours.
      if (!request.destroyed || request.complete) fault(error)
      if (response.headersSent) response.destroy()
      else response.writeHead(500, { connection: 'close' }).end()
    })
  }
}

async function serve(
  handler: (request: Request) => Promise<Response>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const answer = await handler(toRequest(request))
  // A body that nobody wants is not waited for.
  if (!request.complete && !request.readableEnded) response.shouldKeepAlive = false
  response.writeHead(answer.status, Object.fromEntries(answer.headers))
  response.end(request.method === 'HEAD' ? undefined : Buffer.from(await answer.arrayBuffer()))
}

/** Host and scheme do not matter to a handler of paths, so that no header is believed for them. */
function toRequest(request: IncomingMessage): Request {
  const { method = 'GET', headers, url = '/' } = request
  const target = new URL(url.startsWith('/') ? `http://localhost${url}` : 'http://localhost/')
  const fields = new Headers()
  for (const [name, value] of Object.entries(headers))
    if (typeof value === 'string') fields.set(name, value)
  if (method === 'GET' || method === 'HEAD') return new Request(target, { method, headers: fields })
  const body = Readable.toWeb(request) as ReadableStream<Uint8Array>
  return new Request(target, { method, headers: fields, body, duplex: 'half' })
}
