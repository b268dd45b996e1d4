import { createSeller, sqlite } from 'tolsey'
import type { OpenSeller } from 'tolsey'
import { x402 } from 'tolsey/protocols/x402'
import { evm } from 'tolsey/rails/evm'

const shared = globalThis as { seller?: Promise<OpenSeller> }

/** The one seller of this process. Next may load this file more than once, so it cannot be the file that keeps it. */
export function seller(): Promise<OpenSeller> {
  return (shared.seller ??= open())
}

async function open(): Promise<OpenSeller> {
  const { SECRET = '', ORIGIN = '', RPC = '', PAY_TO = '', SENDER_KEY = '' } = process.env
  const rail = evm({ network: 'base-sepolia', rpc: RPC, payTo: PAY_TO, signer: SENDER_KEY })
  return await createSeller({
    secret: SECRET,
    origin: ORIGIN,
    rails: [rail],
    protocols: [x402([rail])],
    ledger: await sqlite({ file: 'books.db' }),
  })
}
