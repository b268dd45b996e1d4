// A seller whose process is killed, and started again on the same books.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createSeller, sqlite } from '../src/index.ts'
import { toll } from '../src/adapters/node.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import { evm } from '../src/rails/evm/index.ts'

/** What it is started with. */
export interface Start {
  readonly network: string
  readonly rpc: string
  readonly payTo: string
  readonly signer: string
  readonly books: string
  readonly price: string
}

process.on('disconnect', () => process.exit())
process.once('message', ({ books, price, ...chain }: Start) => {
  void open(books, price, chain).then((port) => process.send?.(port))
})

async function open(
  books: string,
  price: string,
  chain: Pick<Start, 'network' | 'rpc' | 'payTo' | 'signer'>,
): Promise<number> {
  const ledger = await sqlite({ file: books })
  const rail = evm({ ...chain, ledger })
  const secret = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
  const seller = await createSeller({
    secret,
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
  })
  const listener = toll(seller, { 'GET /paid': price }, (_, response) => response.end('sold'))
  const server = createServer(listener)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return (server.address() as AddressInfo).port
}
