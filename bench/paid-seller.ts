// A seller with all that belongs to it in a process of its own: our gate, rail and books, or the peers' seller and facilitator.
import type { Chain } from '../src/sandbox/chain.ts'
import { startOurs, startPeers } from './parties.ts'
import { serveVerbs } from './process.ts'

/** What a seller is started with. */
export interface Start {
  readonly rpc: string
  readonly network: string
  readonly directory: string
}

serveVerbs({
  ours: async (start: Start) => (await startOurs(chainAt(start), start.directory)).url,
  peers: async (start: Start) => (await startPeers(chainAt(start))).url,
})

/** As much of a chain that runs elsewhere as a seller needs. */
function chainAt({ rpc, network }: Start): Chain {
  const here: Pick<Chain, 'rpc' | 'network' | 'fundEther'> = {
    rpc,
    network,
    async fundEther(address, wei) {
      const params = [address, `0x${wei.toString(16)}`]
      const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'anvil_setBalance', params })
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(rpc, { method: 'POST', headers, body })
      await answer.body?.cancel()
    },
  }
  return here as Chain
}
