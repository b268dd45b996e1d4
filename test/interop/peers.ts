// The peers' own packages, unmodified, on the chain that we give them.
import type { AddressInfo } from 'node:net'
import type { Server } from 'node:http'
import express from 'express'
import { Hono } from 'hono'
import { serve } from '@hono/node-server'
import { x402Client } from '@x402/core/client'
import { x402Facilitator } from '@x402/core/facilitator'
import { HTTPFacilitatorClient, x402ResourceServer } from '@x402/core/server'
import { toFacilitatorEvmSigner } from '@x402/evm'
import { ExactEvmScheme as ExactClient } from '@x402/evm/exact/client'
import { ExactEvmScheme as ExactFacilitator } from '@x402/evm/exact/facilitator'
import { ExactEvmScheme as ExactServer } from '@x402/evm/exact/server'
import { paymentMiddleware as expressMiddleware } from '@x402/express'
import { paymentMiddleware as honoMiddleware } from '@x402/hono'
import { createWalletClient, http, publicActions } from 'viem'
import { baseSepolia } from 'viem/chains'
import type { PrivateKeyAccount } from 'viem/accounts'
import { generatePrivateKey, nonceManager, privateKeyToAccount } from 'viem/accounts'
import type { Chain } from '../../src/sandbox/chain.ts'

export interface Peer {
  readonly url: string
  close(): Promise<void>
}

/** A throw-away key. */
export interface Keys {
  readonly privateKey: `0x${string}`
  readonly account: PrivateKeyAccount
  readonly address: `0x${string}`
}

/** A key with so many units of USDC and no ether. */
export async function createBuyer(chain: Chain, usdc: bigint): Promise<Keys> {
  const privateKey = generatePrivateKey()
  const account = privateKeyToAccount(privateKey)
  await chain.mint(account.address, usdc)
  return { privateKey, account, address: account.address }
}

/** A key with ether, to send transactions with. */
export async function createSender(chain: Chain): Promise<Keys> {
  const privateKey = generatePrivateKey()
  const account = privateKeyToAccount(privateKey)
  await chain.fundEther(account.address, 10n ** 18n)
  return { privateKey, account, address: account.address }
}

/** The peers' v2 client. */
export function createClient(account: PrivateKeyAccount): x402Client {
  return new x402Client().register('eip155:*', new ExactClient(account))
}

/** The peers' facilitator behind Express, as their examples build it, with a nonce manager. */
export async function startFacilitator(chain: Chain): Promise<Peer> {
  const { privateKey } = await createSender(chain)
  const account = privateKeyToAccount(privateKey, { nonceManager })
  const client = createWalletClient({
    account,
    chain: baseSepolia,
    transport: http(chain.rpc),
    pollingInterval: 20,
  }).extend(publicActions)
  const signer = toFacilitatorEvmSigner({
    address: account.address,
    getCode: (args) => client.getCode(args),
    readContract: (args) => client.readContract(args),
    verifyTypedData: (args) => client.verifyTypedData(args as never),
    writeContract: (args) => client.writeContract(args),
    sendTransaction: (args) => client.sendTransaction(args as never),
    waitForTransactionReceipt: (args) => client.waitForTransactionReceipt(args),
  })
  const facilitator = new x402Facilitator().register('eip155:84532', new ExactFacilitator(signer))
  const app = express().use(express.json())
  app.get('/supported', (_, res) => void res.json(facilitator.getSupported()))
  app.post('/verify', async (req, res) => {
    const { paymentPayload, paymentRequirements } = req.body
    res.json(await facilitator.verify(paymentPayload, paymentRequirements))
  })
  app.post('/settle', async (req, res) => {
    const { paymentPayload, paymentRequirements } = req.body
    res.json(await facilitator.settle(paymentPayload, paymentRequirements))
  })
  return await listen(app.listen(0, '127.0.0.1'))
}

function resourceServer(facilitator: string): x402ResourceServer {
  return new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator })).register(
    'eip155:*',
    new ExactServer(),
  )
}

const accepts = (payTo: string) =>
  ({ scheme: 'exact', network: 'eip155:84532', payTo, price: '$0.001' }) as const

/** The peers' Express seller: `GET /paid` and `POST /paid` for 0.001 USD. */
export async function startExpressSeller(facilitator: string, payTo: string): Promise<Peer> {
  const app = express()
  app.use(
    expressMiddleware(
      { 'GET /paid': { accepts: accepts(payTo) }, 'POST /paid': { accepts: accepts(payTo) } },
      resourceServer(facilitator),
    ),
  )
  app.get('/paid', (_, res) => void res.json({ from: 'express' }))
  app.post('/paid', express.text(), (req, res) => void res.json({ said: req.body }))
  return await listen(app.listen(0, '127.0.0.1'))
}

/** The peers' Hono seller: `GET /paid` for 0.001 USD. */
export async function startHonoSeller(facilitator: string, payTo: string): Promise<Peer> {
  const app = new Hono()
  app.use(honoMiddleware({ 'GET /paid': { accepts: accepts(payTo) } }, resourceServer(facilitator)))
  app.get('/paid', (c) => c.json({ from: 'hono' }))
  return await listen(serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server)
}

/** Waits until the server listens, and says where. */
export async function listen(server: Server): Promise<Peer> {
  if (!server.listening) await new Promise((done) => server.once('listening', done))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}
