// Buyers of every kind, as their packages are, for one 402 that serves them all. It tests nothing itself.
import assert from 'node:assert/strict'
import { fetch402 } from '@getalby/lightning-tools/402'
import { fetchWithL402 } from '@getalby/lightning-tools/402/l402'
import { fetchWithMpp } from '@getalby/lightning-tools/402/mpp'
import { wrapFetchWithPayment } from '@x402/fetch'
import { create as createAxios } from 'axios'
import { MemoryTokenStore, PaymentResult, setupL402Interceptor, Wallet } from 'l402'
import { Credential, Method, z } from 'mppx'
import { evm, Fetch } from 'mppx/client'
import { createSigner, wrapFetchWithPayment as wrapFetchV1 } from 'x402-fetch'
import type { Keys } from './peers.ts'
import { createClient } from './peers.ts'

/** What it gets for its money. */
interface Got {
  readonly status: number
  readonly body: unknown
}

/** A buyer, and by which protocol and rail it is expected to pay. */
export interface Client {
  readonly name: string
  readonly pays: 'usdc' | 'sats'
  readonly get: (url: string) => Promise<Got>
}

/** One way to pay, as a body of the gateway profile tells it. */
export interface Payment {
  readonly gateway: string
  readonly amount: string
  readonly currency: string
  readonly payment_intent: string
  readonly details: Readonly<Record<string, string>>
}

/** What buyers pay with. */
export interface Purse {
  readonly keys: Keys
  readonly legacyKeys: Keys
  readonly payInvoice: (invoice: string) => Promise<string>
}

const USDC = '0x036CbD53842c5426634e7929541eC2318f3dCF7e'

/** Lightning for mppx, which brings none: the whole of what a method is there. */
function lightningMethod(payInvoice: Purse['payInvoice']) {
  const method = Method.from({
    name: 'lightning',
    intent: 'charge',
    schema: { credential: { payload: z.object({ preimage: z.string() }) }, request: z.any() },
  })
  return Method.toClient(method, {
    async createCredential({ challenge }) {
      const { methodDetails } = challenge.request as { methodDetails: { invoice: string } }
      const preimage = await payInvoice(methodDetails.invoice)
      return Credential.serialize({ challenge, payload: { preimage } })
    },
  })
}

/** Clients of npm, unmodified, and one of the gateway profile by hand, of which npm has none. */
export async function createClients(purse: Purse): Promise<readonly Client[]> {
  const { keys, legacyKeys, payInvoice } = purse
  const { account } = keys
  const wallet = {
    payInvoice: async ({ invoice }: { readonly invoice: string }) => ({
      preimage: await payInvoice(invoice),
    }),
  }
  const onLightning = lightningMethod(payInvoice)
  const onChain = evm.charge({
    account,
    currencies: [USDC],
    networks: [84532],
    authorization: { name: 'USDC', version: '2' },
    decimals: 6,
  })
  // Looked up at each call, so that tests can watch what is sent.
  const late: typeof fetch = (input, init) => globalThis.fetch(input, init)
  const mppx = (methods: readonly unknown[]) =>
    Fetch.from({ fetch: late, methods: methods as never }) as unknown as typeof fetch
  const v2 = wrapFetchWithPayment(late, createClient(account)) as typeof fetch
  const v1 = wrapFetchV1(late, await createSigner('base-sepolia', legacyKeys.privateKey))
  const via = (pay: (url: string) => Promise<Response>) => async (url: string) => {
    const answer = await pay(url)
    const text = await answer.text()
    return { status: answer.status, body: text.startsWith('{') ? JSON.parse(text) : text } as Got
  }
  return [
    { name: 'mppx, Lightning', pays: 'sats', get: via(mppx([onLightning])) },
    { name: 'mppx, EVM', pays: 'usdc', get: via(mppx([onChain])) },
    { name: 'mppx, both', pays: 'usdc', get: via(mppx([onChain, onLightning])) },
    { name: '@x402/fetch (v2)', pays: 'usdc', get: via(v2) },
    { name: 'x402-fetch (v1)', pays: 'usdc', get: via((url) => v1(url, {})) },
    {
      name: 'lightning-tools fetch402',
      pays: 'sats',
      get: via((url) => fetch402(url, {}, { wallet })),
    },
    {
      name: 'lightning-tools fetchWithL402',
      pays: 'sats',
      get: via((url) => fetchWithL402(url, {}, { wallet })),
    },
    {
      name: 'l402 (axios)',
      pays: 'sats',
      get: (url) => byAxios(url, payInvoice),
    },
    { name: 'the gateway profile', pays: 'usdc', get: via(byHand(keys)) },
  ]
}

/** The Alby client that speaks MPP alone: it needs a 402 that begins with it. */
export async function getByAlbyMpp(
  url: string,
  payInvoice: Purse['payInvoice'],
): Promise<Response> {
  const wallet = {
    payInvoice: async ({ invoice }: { readonly invoice: string }) => ({
      preimage: await payInvoice(invoice),
    }),
  }
  return await fetchWithMpp(url, {}, { wallet })
}

async function byAxios(url: string, payInvoice: Purse['payInvoice']): Promise<Got> {
  class NpmWallet extends Wallet {
    async payInvoice(invoice: string): Promise<PaymentResult> {
      return new PaymentResult(await payInvoice(invoice), true)
    }
  }
  const axios = createAxios()
  // It was written for an axios of its own, whose types are not ours.
  setupL402Interceptor(axios as never, new NpmWallet(), new MemoryTokenStore())
  const { status, data } = await axios.get(url)
  return { status, body: data }
}

/** A client of the gateway profile, by its description: it reads the body and shows what it has signed. */
export function byHand(
  { account, address }: Keys,
  method = 'GET',
): (url: string) => Promise<Response> {
  return async (url) => {
    const asked = await fetch(url, { method })
    assert.equal(asked.status, 402)
    assert.match(asked.headers.get('www-authenticate') ?? '', /Bearer realm="payment_gateway"/)
    const { payments } = (await asked.json()) as { payments: readonly Payment[] }
    const payment = payments.find(({ gateway }) => gateway === 'blockchain')
    assert.ok(payment)
    const { details, payment_intent: intent } = payment
    const validBefore = Math.floor(Date.now() / 1000) + 120
    const authorization = {
      from: address,
      to: details['payTo'] as `0x${string}`,
      value: details['amount'] ?? '',
      validAfter: '0',
      validBefore: `${validBefore}`,
      nonce: `0x${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')}`,
    } as const
    const signature = await account.signTypedData({
      domain: { name: 'USDC', version: '2', chainId: 84532, verifyingContract: USDC },
      types: {
        TransferWithAuthorization: [
          { name: 'from', type: 'address' },
          { name: 'to', type: 'address' },
          { name: 'value', type: 'uint256' },
          { name: 'validAfter', type: 'uint256' },
          { name: 'validBefore', type: 'uint256' },
          { name: 'nonce', type: 'bytes32' },
        ],
      },
      primaryType: 'TransferWithAuthorization',
      message: {
        ...authorization,
        value: BigInt(authorization.value),
        validAfter: 0n,
        validBefore: BigInt(validBefore),
      },
    })
    const proof = Buffer.from(JSON.stringify({ signature, authorization })).toString('base64')
    return await fetch(url, {
      method,
      headers: {
        'X-Payment-Intent': intent,
        'X-Payment-Proof': proof,
        'X-Payment-Timestamp': `${Math.floor(Date.now() / 1000)}`,
      },
    })
  }
}
