import type { Chain } from '../src/sandbox/chain.ts'

/** As much of a chain that runs elsewhere as a seller or a facilitator needs. */
export function chainAt({ rpc, network }: Pick<Chain, 'rpc' | 'network'>): Chain {
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
