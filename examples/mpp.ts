import { createServer } from 'node:http'
import { createSeller, sqlite } from 'tolsey'
import { discovery } from 'tolsey/discovery'
import { toll } from 'tolsey/node'
import { advertise, mpp } from 'tolsey/protocols/mpp'
import { evm } from 'tolsey/rails/evm'

const { SECRET = '', RPC = '', PAY_TO = '', SENDER_KEY = '', NETWORK = 'base', PORT } = process.env
const rail = evm({ network: NETWORK, rpc: RPC, payTo: PAY_TO, signer: SENDER_KEY })
const routes = { 'GET /weather': { price: '0.01 USD', description: 'The weather' } }
const seller = await createSeller({
  secret: SECRET,
  rails: [rail],
  protocols: [mpp({ parts: [rail] })],
  ledger: await sqlite({ file: 'books.db' }),
  services: [discovery({ title: 'Weather', routes, offers: advertise([rail]) })],
})

const work = toll(seller, routes, (_, response) => response.end('{"sky":"clear"}'))
createServer(work).listen(Number(PORT), '127.0.0.1')
