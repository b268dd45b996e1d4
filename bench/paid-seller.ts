// A seller with all that belongs to it in a process of its own: our gate, rail and books, or the peers' seller and facilitator.
import { chainAt } from './chain.ts'
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
