import { systemClock } from '../core/clock.ts'
import { PaymentError } from '../core/problem.ts'
import type { Observe } from '../core/event.ts'
import type { Clock } from '../core/ports.ts'
import type { House } from './house.ts'
import { listen } from './server.ts'
import type { ListenSettings, Listeners, Listening } from './server.ts'

/** How long answers in progress may take when the gateway stops. */
export const DRAIN_MS = 30_000

/** A house that is open, with what stands behind it. */
export interface OpenHouse {
  readonly house: House
  /** Ends what stands behind it, when nobody is within any more. */
  close(): Promise<void>
  /** Whether it could serve: the books can be read. Resolves with a sentence why not. */
  ready(): Promise<string | undefined>
}

/** What a gateway is started with. */
export interface GatewaySettings {
  readonly listen: ListenSettings
  /** Where health is asked, and nothing is sold. None if absent. */
  readonly admin?: ListenSettings
  readonly open: OpenHouse
  /** Answers what is asked beside health at `admin`; nothing is there if absent. */
  readonly beside?: Listeners['serve']
  /** Awaited when everybody was served, before the books are closed. */
  readonly beforeClose?: () => Promise<void>
  readonly drainMs?: number
  /** How long it says that it is not ready before it lets nobody new in: time for a load balancer to look. None if absent. */
  readonly noticeMs?: number
  readonly clock?: Clock
  readonly observe?: Observe
}

/** A gateway that runs. */
export interface Gateway {
  readonly url: string
  readonly adminUrl: string | undefined
  /** Serves by another configuration from now on. Requests that are within go on by the one before, which then ends. */
  replace(open: OpenHouse, tls?: { readonly cert: string; readonly key: string }): void
  /** Lets nobody new in, serves everybody within, and ends. Safe to call twice. */
  stop(): Promise<void>
}

/** A house, and how many are within. */
interface Tenancy {
  readonly open: OpenHouse
  within: number
  /** Resolves when nobody is within any more, once it was left. */
  readonly empty: PromiseWithResolvers<void>
  left: boolean
}

/**
 * Starts a gateway.
 * @throws {PaymentError} with what to do, when an address cannot be listened at.
 */
export async function startGateway(settings: GatewaySettings): Promise<Gateway> {
  const { clock = systemClock, observe, drainMs = DRAIN_MS, noticeMs = 0 } = settings
  let current = tenancyOf(settings.open)
  const ending = new Set<Promise<void>>()
  /** Those that are open, with the ones that were left and have not ended. */
  const houses = new Set([current.open.house])
  let stopping = false
  let stopped: Promise<void> | undefined

  function enter(leaves: { on(event: 'close', listener: () => void): unknown }): House {
    const mine = current
    mine.within++
    leaves.on('close', () => {
      mine.within--
      if (mine.left && mine.within === 0) mine.empty.resolve()
    })
    return mine.open.house
  }

  /** Ends a house when nobody is within. */
  function leave(old: Tenancy): Promise<void> {
    old.left = true
    if (old.within === 0) old.empty.resolve()
    const end = old.empty.promise
      .then(async () => {
        await old.open.house.close()
        houses.delete(old.open.house)
        await old.open.close()
      })
      .catch((error: unknown) =>
        observe?.({ type: 'fault', at: clock.now(), where: 'gateway', error }),
      )
      .finally(() => ending.delete(end))
    ending.add(end)
    return end
  }

  const door: Listeners = {
    serve: (request, response) => enter(response).serve(request, response),
    checkContinue: (request, response) => enter(response).checkContinue(request, response),
    upgrade: (request, socket, head) => enter(socket).upgrade(request, socket, head),
  }
  let over = false
  const health: Listeners = {
    serve(request, response) {
      const path = (request.url ?? '').replace(/\?.*$/, '')
      const say = (status: number, text: string): void => {
        const length = Buffer.byteLength(text)
        const head = { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': length }
        response.writeHead(status, { ...head, 'Cache-Control': 'no-store' }).end(text)
      }
      if (path === '/healthz') {
        void current.open.ready().catch((error: unknown) => void (over ||= isOver(error)))
        // Nobody waits for the books here: whoever asks again hears what was found.
        return over ? say(503, 'The books stopped for good.\n') : say(200, 'ok\n')
      }
      if (path !== '/readyz' && settings.beside) return settings.beside(request, response)
      if (path !== '/readyz') return say(404, 'There are /healthz and /readyz.\n')
      if (stopping) return say(503, 'stopping\n')
      void current.open.ready().then(
        (why) => (why === undefined ? say(200, 'ready\n') : say(503, `${why}\n`)),
        () => say(503, 'The books cannot be read.\n'),
      )
    },
  }

  const outer = await listen(settings.listen, door)
  const inner = settings.admin ? await beside(outer, settings.admin, health) : undefined

  async function stop(): Promise<void> {
    stopping = true
    if (noticeMs > 0) await clock.sleep(noticeMs)
    await outer.drain(drainMs)
    await Promise.all([...houses].map((house) => house.interrupt()))
    await settings.beforeClose?.()
    void leave(current)
    await Promise.all(ending)
    await inner?.drain(0)
  }

  return {
    url: outer.url,
    adminUrl: inner?.url,
    replace(open, tls) {
      if (tls) outer.setTls(tls)
      const old = current
      current = tenancyOf(open)
      houses.add(open.house)
      void leave(old)
    },
    stop: () => (stopped ??= stop()),
  }
}

/** The second server; without it the first must not stay. */
async function beside(
  first: Listening,
  settings: ListenSettings,
  listeners: Listeners,
): Promise<Listening> {
  try {
    return await listen(settings, listeners)
  } catch (error) {
    await first.drain(0)
    throw error
  }
}

function tenancyOf(open: OpenHouse): Tenancy {
  return { open, within: 0, empty: Promise.withResolvers<void>(), left: false }
}

/** After an error of their disk books stay closed until another process opens them. */
function isOver(error: unknown): boolean {
  return error instanceof PaymentError && error.code === 'store-unavailable' && !error.retryable
}
