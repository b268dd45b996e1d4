import { once } from 'node:events'
import type { Server, Socket } from 'node:net'
import { connect, createServer } from 'node:net'
import type { PeerManager, SocketDescriptor } from 'lightningdevkit'
import { PaymentError } from '../../core/problem.ts'
import type { Ldk } from './wasm.ts'

/** The wires of a node: BOLT 8 over TCP, on loopback alone. */
export interface Peers {
  /** Listens on a free port, and gives it. */
  listen(): Promise<number>
  /** Connects to whoever has that key there. The handshake comes after. */
  connect(port: number, publicKey: Uint8Array): Promise<void>
  close(): void
}

/**
 * Wires between sockets and LDK. Ours, because whoever writes more than a socket takes must be told when it takes more again.
 * `wake` is called when something came in.
 */
export function createPeers(ldk: Ldk, manager: PeerManager, wake: () => void): Peers {
  const sockets = new Set<Socket>()
  const servers = new Set<Server>()
  let last = 0n

  function wire(socket: Socket): SocketDescriptor {
    const id = ++last
    socket.setNoDelay(true)
    socket.unref()
    sockets.add(socket)
    const descriptor = ldk.SocketDescriptor.new_impl({
      send_data(data, resume) {
        if (resume) socket.resume()
        if (socket.writableNeedDrain || !socket.writable) return 0
        socket.write(data)
        return data.length
      },
      disconnect_socket: () => void socket.destroy(),
      eq: (other) => other.hash() === id,
      hash: () => id,
    })
    socket.on('drain', () => {
      if (!manager.write_buffer_space_avail(descriptor).is_ok()) socket.destroy()
      wake()
    })
    socket.on('data', (data) => {
      const read = manager.read_event(descriptor, data)
      if (!(read instanceof ldk.Result_boolPeerHandleErrorZ_OK)) socket.destroy()
      else if (read.res) socket.pause()
      wake()
    })
    // A socket that breaks is closed after it.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      sockets.delete(socket)
      manager.socket_disconnected(descriptor)
      wake()
    })
    return descriptor
  }

  function accept(socket: Socket): void {
    const descriptor = wire(socket)
    const none = ldk.Option_SocketAddressZ.constructor_none()
    if (!manager.new_inbound_connection(descriptor, none).is_ok()) socket.destroy()
  }

  return {
    async listen() {
      const server = createServer(accept)
      servers.add(server)
      server.unref()
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const address = server.address()
      return typeof address === 'object' && address !== null ? address.port : 0
    },
    async connect(port, publicKey) {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      const descriptor = wire(socket)
      const none = ldk.Option_SocketAddressZ.constructor_none()
      const hello = manager.new_outbound_connection(publicKey, descriptor, none)
      if (!(hello instanceof ldk.Result_CVec_u8ZPeerHandleErrorZ_OK))
        throw new PaymentError('misconfigured', 'The node does not want that peer.')
      socket.write(hello.res)
    },
    close() {
      for (const server of servers) server.close()
      manager.disconnect_all_peers()
      for (const socket of sockets) socket.destroy()
    },
  }
}
