import { createServer } from 'node:http'
import { createSeller, sqlite } from 'tolsey'
import { toll } from 'tolsey/node'
import { createProofs, oauth, oauthService } from 'tolsey/protocols/oauth'
import { x402 } from 'tolsey/protocols/x402'
import { evm } from 'tolsey/rails/evm'
import { createJwts } from 'tolsey/tokens/jwt'
import { createMacaroonMint, createMacaroons } from 'tolsey/tokens/macaroon'

const { SECRET = '', JWT_KEY = '{}', RPC = '', PAY_TO = '', SENDER_KEY = '' } = process.env
const { ORIGIN = '', PORT } = process.env
const rail = evm({ network: 'base-sepolia', rpc: RPC, payTo: PAY_TO, signer: SENDER_KEY })
const macaroons = createMacaroonMint(createMacaroons({ secrets: [SECRET] }))
const jwts = createJwts({ keys: [JSON.parse(JWT_KEY)], issuer: ORIGIN, audience: ORIGIN })
const mints = [macaroons, jwts]
const proofs = createProofs()

const seller = await createSeller({
  secret: SECRET,
  origin: ORIGIN,
  rails: [rail],
  ledger: await sqlite({ file: 'books.db' }),
  mints,
  protocols: [x402([rail]), oauth({ mints, proofs })],
  services: [oauthService({ issuer: ORIGIN, mint: jwts, proofs })],
  plans: {
    hundred: { price: '0.10 USD', uses: 100 },
    purse: { price: '1 USD', balance: '1 USD' },
    maps: { price: '5 USD', rights: ['path=/maps/*', 'rate=100/m'], tier: 'premium' },
  },
  limits: { tiers: { unpaid: '100/h', paid: '10000/h', premium: 'unlimited' } },
})

const routes = {
  'GET /weather': { price: '0.01 USD', takes: ['hundred'], free: '2/d' },
  'GET /maps/*': { plan: 'maps' },
}
createServer(toll(seller, routes, (_, response) => void response.end('{"sky":"clear"}'))).listen(
  Number(PORT),
  '127.0.0.1',
)
