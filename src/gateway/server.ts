import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createSecureServer } from 'node:http2'
import type { Http2SecureServer } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { PaymentError } from '../core/problem.ts'

/** How long a request may take to arrive whole: nobody drips bytes at us. */
export const REQUEST_MS = 300_000
/** How long its head may take. */
export const REQUEST_HEAD_MS = 10_000
/** How long a connection is kept on which nothing is asked. */
export const KEEP_ALIVE_MS = 65_000
/** Longest head of a request, in bytes. */
export const REQUEST_HEAD_BYTES_MAX = 32_768
/** Most requests at once on one connection of HTTP/2. */
export const STREAMS_MAX = 128

/** How often connections that have fallen idle are looked for while a server drains. */
const SWEEP_MS = 50

/** Certificate and key, in PEM. */
export interface Tls {
  readonly cert: string
  readonly key: string
}

/** Where a server listens, and for how long it waits. */
export interface ListenSettings {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** With it HTTP/2 is spoken too. */
  readonly tls?: Tls
  readonly requestMs?: number
  readonly requestHeadMs?: number
  readonly keepAliveMs?: number
  readonly requestHeadBytesMax?: number
}

/** Whom a server asks; looked at anew for each request. */
export interface Listeners {
  serve(request: IncomingMessage, response: ServerResponse): void
  checkContinue?(request: IncomingMessage, response: ServerResponse): void
  upgrade?(request: IncomingMessage, socket: Duplex, head: Buffer): void
}

/** A server that listens. */
export interface Listening {
  readonly url: string
  /** Takes another certificate for connections from now on. */
  setTls(tls: Tls): void
  /** Lets nobody new in, and resolves when everybody within is served or that time is over. */
  drain(ms: number): Promise<void>
}

/**
 * Starts a server: HTTP/1.1, and with a certificate HTTP/2 too.
 * @throws {PaymentError} with what to do, when the address cannot be used.
 */
export async function listen(settings: ListenSettings, listeners: Listeners): Promise<Listening> {
  const { tls, host, port } = settings
  const server = tls ? secure(settings, tls) : plain(settings)
  const upgraded = new Set<Duplex>()
  const idle = tls ? countIdle(server) : undefined
  const fresh = tls ? undefined : new Set<Socket>()
  let draining = false

  server.on('connection', (socket: Socket) => {
    fresh?.add(socket)
    socket.once('close', () => fresh?.delete(socket))
  })
  function enter(request: IncomingMessage, response: ServerResponse): void {
    idle?.enter(request, response, () => draining)
    // Whoever asks on a kept connection is served, and told not to ask here again.
    if (draining && request.httpVersionMajor < 2) response.shouldKeepAlive = false
  }
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    enter(request, response)
    listeners.serve(request, response)
  })
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    enter(request, response)
    if (listeners.checkContinue) listeners.checkContinue(request, response)
    else listeners.serve(request, response)
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    idle?.forget(socket)
    fresh?.delete(socket as Socket)
    upgraded.add(socket)
    socket.once('close', () => upgraded.delete(socket))
    if (listeners.upgrade) listeners.upgrade(request, socket, head)
    else socket.destroy()
  })
  // What is no HTTP is answered by the machine's own 400, and not told to anybody.
  server.on('tlsClientError', (_: Error, socket: Duplex) => socket.destroy())
  const sessions = 'setSecureContext' in server ? sessionsOf(server) : undefined
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    const sentence = `${host}:${port} cannot be listened at. Free it, or choose another address.`
    throw new PaymentError('misconfigured', sentence, { cause })
  }

  return {
    url: urlOf(server, tls !== undefined),
    setTls(next) {
      if ('setSecureContext' in server) server.setSecureContext(next)
    },
    async drain(ms) {
      draining = true
      const ended = once(server, 'close')
      server.close()
      sessions?.close()
      idle?.close()
      // Those that fall idle while others are served are not told of, and those that never asked are not idle to the server.
      const sweep = (): void => {
        if ('closeIdleConnections' in server) server.closeIdleConnections()
        for (const socket of fresh ?? []) if (socket.bytesRead === 0) socket.destroy()
      }
      sweep()
      const sweeping = setInterval(sweep, SWEEP_MS)
      const timer = setTimeout(() => {
        for (const socket of [...upgraded, ...(fresh ?? [])]) socket.destroy()
        idle?.destroy()
        sessions?.destroy()
      }, ms)
      await ended
      clearTimeout(timer)
      clearInterval(sweeping)
    },
  }
}

function plain(settings: ListenSettings): Server {
  return createServer(limitsOf(settings))
}

function secure(settings: ListenSettings, tls: Tls): Http2SecureServer {
  return createSecureServer({
    ...limitsOf(settings),
    ...tls,
    allowHTTP1: true,
    settings: { maxConcurrentStreams: STREAMS_MAX, maxHeaderListSize: headBytesOf(settings) },
  })
}

function headBytesOf({ requestHeadBytesMax = REQUEST_HEAD_BYTES_MAX }: ListenSettings): number {
  return requestHeadBytesMax
}

function limitsOf(settings: ListenSettings): {
  readonly requestTimeout: number
  readonly headersTimeout: number
  readonly keepAliveTimeout: number
  readonly maxHeaderSize: number
  readonly noDelay: true
  readonly shouldUpgradeCallback: (request: IncomingMessage) => boolean
} {
  const { requestMs = REQUEST_MS, requestHeadMs = REQUEST_HEAD_MS } = settings
  return {
    requestTimeout: requestMs,
    headersTimeout: Math.min(requestHeadMs, requestMs),
    keepAliveTimeout: settings.keepAliveMs ?? KEEP_ALIVE_MS,
    maxHeaderSize: headBytesOf(settings),
    noDelay: true,
    // Whoever offers something else is answered as if he had not (RFC 9110, 7.8), where the machine knows of this.
    shouldUpgradeCallback: isForSocket,
  }
}

/** Connections of HTTP/1.1 by TLS, of which the server of HTTP/2 does not tell who is idle. */
function countIdle(server: Server | Http2SecureServer): {
  enter(request: IncomingMessage, response: ServerResponse, draining: () => boolean): void
  forget(socket: Duplex): void
  close(): void
  destroy(): void
} {
  const busy = new Map<Duplex, number>()
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol === 'h2') return
    busy.set(socket, 0)
    socket.once('close', () => busy.delete(socket))
  })
  return {
    enter({ socket, httpVersionMajor }, response, draining) {
      if (httpVersionMajor > 1) return
      busy.set(socket, (busy.get(socket) ?? 0) + 1)
      response.once('close', () => {
        const left = busy.get(socket)
        if (left === undefined) return
        busy.set(socket, left - 1)
        if (draining() && left === 1) socket.destroySoon()
      })
    },
    forget: (socket) => void busy.delete(socket),
    close() {
      for (const [socket, count] of busy) if (count === 0) socket.destroy()
    },
    destroy() {
      for (const socket of busy.keys()) socket.destroy()
    },
  }
}

/** The connections of HTTP/2, of which the server does not keep count. */
function sessionsOf(server: Http2SecureServer): { close(): void; destroy(): void } {
  const open = new Set<{ close(): void; destroy(): void }>()
  server.on('session', (session) => {
    open.add(session)
    session.once('close', () => open.delete(session))
  })
  return {
    close() {
      for (const session of open) session.close()
    },
    destroy() {
      for (const session of open) session.destroy()
    },
  }
}

/** Whether a request asks for a WebSocket (RFC 6455, 4.2.1). */
export function isForSocket({ headers }: IncomingMessage): boolean {
  return /^websocket$/i.test(headers.upgrade ?? '')
}

function urlOf(server: Server | Http2SecureServer, isSecure: boolean): string {
  const { address, family, port } = server.address() as AddressInfo
  const host = family === 'IPv6' ? `[${address}]` : address
  return `${isSecure ? 'https' : 'http'}://${host}:${port}`
}
