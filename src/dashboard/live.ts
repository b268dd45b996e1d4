import type { LiveEvent } from './shapes.ts'

/** How the stream of events is. */
export type LiveState = 'connecting' | 'live' | 'off'

/** What happens now. */
export interface Live {
  /** Told of each event; without one when some were missed, and the books must be read again. */
  listen(hear: (event: LiveEvent | undefined) => void): () => void
  close(): void
}

/** How long to wait before a stream that was refused is asked for again. */
const AGAIN_MS = 10_000

/**
 * Opens the stream. It comes back by itself, and goes on behind what was heard last. A page that nobody sees lets go of it:
 * browsers have few connections for one server, and people leave many pages open.
 */
export function openLive(tell: (state: LiveState) => void): Live {
  const listeners = new Set<(event: LiveEvent | undefined) => void>()
  let source: EventSource | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  const hear = (event: LiveEvent | undefined): void => {
    for (const listener of listeners) listener(event)
  }

  function open(): void {
    const opened = new EventSource('/api/events')
    source = opened
    tell('connecting')
    opened.addEventListener('open', () => tell('live'))
    opened.addEventListener('missed', () => hear(undefined))
    opened.addEventListener('message', ({ data }) => {
      const event: unknown = JSON.parse(String(data))
      hear(event as LiveEvent)
    })
    opened.addEventListener('error', () => {
      if (opened.readyState !== EventSource.CLOSED) return tell('connecting')
      tell('off')
      timer = setTimeout(reopen, AGAIN_MS)
    })
  }

  function reopen(): void {
    close()
    open()
    // Nobody was there to hear what happened meanwhile.
    hear(undefined)
  }

  function close(): void {
    clearTimeout(timer)
    source?.close()
    source = undefined
  }

  const look = (): void => {
    if (document.hidden) close()
    else if (!source) reopen()
  }
  document.addEventListener('visibilitychange', look)
  open()
  return {
    listen(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    close() {
      document.removeEventListener('visibilitychange', look)
      close()
    },
  }
}
