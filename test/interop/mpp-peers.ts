// The reference client and server of MPP, npm mppx, as its users set them up. It tests nothing itself.
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { createServer } from 'node:http'
import { Challenge, Credential, Errors, Method, Receipt, z } from 'mppx'
import { Fetch, evm as evmClient } from 'mppx/client'
import { Mppx, evm as evmServer } from 'mppx/server'
import { encodeFunctionData, parseAbi } from 'viem'
import type { Chain } from '../../src/sandbox/chain.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { payInvoice } from './l402-shop.ts'
import type { Keys, Peer } from './peers.ts'
import { listen } from './peers.ts'

const SECRET = 'fixture-secret-fixture-secret-32b!'
const domain = { name: 'USDC', version: '2' }
const network = 84532

/** Lightning, of which mppx brings none: the whole of what a method is there. */
const lightning = Method.from({
  name: 'lightning',
  intent: 'charge',
  schema: {
    credential: { payload: z.object({ preimage: z.string() }) },
    request: z.object({
      amount: z.string(),
      currency: z.literal('sat'),
      methodDetails: z.object({
        invoice: z.string(),
        paymentHash: z.string(),
        network: z.optional(z.string()),
      }),
    }),
  },
})

type ClientMethods = Parameters<typeof Fetch.from>[0]['methods']

/** Pays on the chain. */
export function evmMethod({ account }: Keys, chain: Pick<Chain, 'usdc'>): ClientMethods[number] {
  return evmClient.charge({
    account,
    currencies: [chain.usdc as `0x${string}`],
    networks: [network],
    authorization: domain,
    decimals: 6,
  })
}

/** Pays invoices. */
export function lightningMethod(net: LightningNetwork): ClientMethods[number] {
  return Method.toClient(lightning, {
    async createCredential({ challenge }) {
      const preimage = await payInvoice(net, challenge.request.methodDetails.invoice)
      return Credential.serialize({ challenge, payload: { preimage } })
    },
  })
}

/** The reference client. Nothing global is touched. */
export function clientOf(...methods: readonly ClientMethods[number][]): typeof fetch {
  return Fetch.from({ methods: [...methods] }) as typeof fetch
}

/** What a 402 asks for, in words of the reference. */
export async function challengesOf(url: string, init: RequestInit = {}): Promise<readonly Asked[]> {
  const answer = await fetch(url, init)
  assert.equal(answer.status, 402, await answer.text())
  return Challenge.fromResponseList(answer) as readonly Asked[]
}

export type Asked = Challenge.Challenge

/** The credential of the reference client for a challenge. */
export async function credentialFor(
  challenge: Asked,
  method: ClientMethods[number],
): Promise<string> {
  return await (
    method as unknown as { createCredential(p: { challenge: Asked }): Promise<string> }
  ).createCredential({ challenge })
}

const abi = parseAbi([
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)',
])

/** The reference server: takes USDC on the chain and invoices of a node, `/evm` and `/lightning`. */
export async function startServer(
  chain: Chain,
  net: LightningNetwork,
  recipient: `0x${string}`,
): Promise<Peer & { readonly seen: readonly string[] }> {
  const seen: string[] = []
  const onLightning = Method.toServer(lightning, {
    stableBinding: ({ amount, currency }: { amount: string; currency: string }) => ({
      amount,
      currency,
    }),
    async request({ credential, request }) {
      if (credential) return credential.challenge.request as never
      const { invoice, hash: paymentHash } = await net.seller.createInvoice({
        msat: BigInt(request.amount) * 1000n,
        memo: 'work',
        expiresInS: 600,
      })
      return { ...request, methodDetails: { invoice, paymentHash, network: 'regtest' } }
    },
    async verify({ credential }) {
      const { challenge, payload } = credential
      const found = hash('sha256', Buffer.from(payload.preimage, 'hex'), 'hex')
      if (found !== challenge.request.methodDetails.paymentHash)
        throw new Errors.VerificationFailedError({ reason: 'preimage does not match' })
      const rest = { reference: found, timestamp: new Date().toISOString() }
      return Receipt.from({ method: 'lightning', status: 'success', ...rest })
    },
  })
  const mppx = Mppx.create({
    realm: '127.0.0.1',
    secretKey: SECRET,
    methods: [
      evmServer.charge({
        currency: chain.usdc as `0x${string}`,
        chainId: network,
        decimals: 6,
        authorization: domain,
        recipient,
        async settle({ payload }) {
          const { from, to, value, validAfter, validBefore, nonce, signature } = payload
          const args = [from, to, value, validAfter, validBefore].map((one, i) =>
            i < 2 ? one : BigInt(one),
          )
          const data = encodeFunctionData({ abi, args: [...args, nonce, signature] as never })
          return { reference: await chain.send({ from: recipient, to: chain.usdc, data }) }
        },
      }),
      onLightning,
    ],
  })
  const details = { invoice: 'x', paymentHash: 'x' }
  const routes: Readonly<Record<string, unknown>> = {
    '/evm': mppx.evm.charge({ amount: '0.01' }),
    '/lightning': mppx.lightning.charge({ amount: '5', currency: 'sat', methodDetails: details }),
  }
  const server = createServer((request, response) => {
    const handler = routes[request.url ?? '']
    const said = request.headers['authorization']
    if (said !== undefined) seen.push(said)
    void Mppx.toNodeListener(handler as never)(request, response).then(({ status }) => {
      if (status !== 402) response.end('{"ok":true}')
    })
  })
  return { ...(await listen(server.listen(0, '127.0.0.1'))), seen }
}
