// A facilitator in a process of its own, so that its CPU time is its own: ours with its books, or the peers'.
import { everybody } from '../src/adapters/facilitator.ts'
import { startFacilitator as startOurs } from '../src/config/facilitator.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import { startFacilitator as startPeers } from '../test/interop/peers.ts'
import { chainAt } from './chain.ts'
import { serveVerbs } from './process.ts'

/** What a facilitator is started with. */
export interface Start {
  readonly rpc: string
  readonly network: string
  /** The books of ours. */
  readonly file: string
  /** The key of ours that sends. */
  readonly signer: string
  /** The contract by which ours settles many payments in one transaction. */
  readonly batcher: string
}

serveVerbs({
  async ours({ network, rpc, signer, batcher, file }: Start) {
    const ledger = await sqlite({ file })
    const chains = [{ network, rpc, signer, batcher }]
    const { url } = await startOurs({
      ...{ chains, ledger, callers: everybody() },
      ...{ host: '127.0.0.1', port: 0 },
    })
    return url
  },
  peers: async (start: Start) => (await startPeers(chainAt(start))).url,
})
