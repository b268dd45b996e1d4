import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSeller, sqlite, startTask } from 'tolsey'
import { toll } from 'tolsey/node'
import { x402 } from 'tolsey/protocols/x402'
import { evm } from 'tolsey/rails/evm'
import { files } from 'tolsey/vault'

const { SECRET = '', RPC = '', PAY_TO = '', SENDER_KEY = '', PORT } = process.env
const rail = evm({ network: 'base-sepolia', rpc: RPC, payTo: PAY_TO, signer: SENDER_KEY })
const seller = await createSeller({
  secret: SECRET,
  rails: [rail],
  protocols: [x402([rail])],
  ledger: await sqlite({ file: 'books.db' }),
  vault: files({ directory: 'kept' }),
})

const routes = { 'POST /films': { price: '0.10 USD', task: { withinMs: 600_000 } } }
const listener = toll(seller, routes, async (request, response) => {
  const { status, headers, body } = await startTask(request, async (task) => {
    for (let scene = 0; scene < 4; scene++) {
      await sleep(100, undefined, { signal: task.signal })
      task.progress(scene + 1, 4)
    }
    return { headers: { 'Content-Type': 'text/plain' }, body: 'a film of four scenes' }
  })
  response.writeHead(status, headers).end(body)
})
createServer(listener).listen(Number(PORT), '127.0.0.1')
