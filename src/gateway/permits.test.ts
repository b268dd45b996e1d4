// A document that shares what it earns, on a real chain: what is offered, what is paid to whom, and what cannot be meant.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { encodeFunctionData, erc20Abi } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Resource } from '../core/resource.ts'
import { mpp } from '../protocols/mpp/index.ts'
import { fromPrivateKey } from '../rails/evm/index.ts'
import { PERMIT2_SAID, permitWallet } from '../rails/evm/permit/index.ts'
import type { Chain } from '../sandbox/chain.ts'
import { startChain } from '../sandbox/chain.ts'
import { upstream } from './fixture.test.ts'
import { ask, openDocument } from './market.test.ts'
import type { Opened } from './market.test.ts'

const HOST = 'api.example.com'
const payee = privateKeyToAccount(generatePrivateKey()).address
const partner = privateKeyToAccount(generatePrivateKey()).address
const buyer = generatePrivateKey()
let chain: Chain
let sender = ''

before(async () => {
  chain = await startChain()
  const key = generatePrivateKey()
  sender = key.slice(2)
  const { address } = privateKeyToAccount(buyer)
  for (const one of [privateKeyToAccount(key).address, address])
    await chain.fundEther(one, 10n ** 20n)
  await chain.mint(address, 1_000_000n)
  const args = [PERMIT2_SAID, 10n ** 9n] as const
  const data = encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args })
  await chain.send({ from: address, to: chain.usdc, data })
})
after(() => chain?.stop())

async function text(t: Parameters<typeof upstream>[0], permit2: string): Promise<string> {
  const api = await upstream(t, (_, response) => response.end('served'))
  return `listen: 0
origin: http://${HOST}
secret: { env: SECRET }
rails:
  evm: { network: base-sepolia, payTo: "${payee}", rpc: "${chain.rpc}", signer: { env: KEY }, permit2: ${permit2} }
upstreams: { api: "${api}" }
routes: { GET /a: 0.01 USD }
`
}

async function open(t: Parameters<typeof upstream>[0], permit2: string): Promise<Opened> {
  return await openDocument(t, await text(t, permit2), { environment: { KEY: sender } })
}

const wallet = permitWallet({ signer: fromPrivateKey(buyer) })
const protocol = mpp({ parts: [wallet] })
const resource: Resource = {
  ...{ realm: HOST, method: 'GET', authority: HOST, path: '/a', query: '' },
  url: `http://${HOST}/a`,
}

/** Pays by the first offer that the wallet takes, and how many rails were offered in all. */
async function buy(opened: Opened): Promise<{ readonly body: string; readonly kinds: number }> {
  const bill = await ask(opened, '/a', { headers: { host: HOST } })
  const lines = [bill.response.headers['www-authenticate'] ?? []].flat()
  const fields = new Headers({ 'www-authenticate': lines.join(', ') })
  const challenge = protocol.readChallenge({ status: 402, fields }, resource)
  const [offer] = challenge?.offers ?? []
  assert.ok(offer, lines.join())
  const proof = await wallet.pay(offer as never, 300_000)
  const fieldsOf = Object.fromEntries(protocol.writeCredential({ offer, proof }).fields)
  const { body } = await ask(opened, '/a', { headers: { host: HOST, ...fieldsOf } })
  const x402 = bill.response.headers['payment-required'] === undefined ? 0 : 1
  return { body, kinds: [...lines.join(', ').matchAll(/Payment id=/g)].length + x402 }
}

test('permits stand beside the others, and with shares alone', async (t) => {
  const plain = await open(t, 'true')
  assert.deepEqual(await buy(plain), { body: 'served', kinds: 3 })
  assert.equal(await chain.balanceOf(payee), 10_000n)
  const splits = `{ splits: [{ recipient: "${partner}", bps: 2500, memo: a quarter }] }`
  const shared = await open(t, splits)
  assert.deepEqual(await buy(shared), { body: 'served', kinds: 1 })
  assert.equal(await chain.balanceOf(payee), 17_500n)
  assert.equal(await chain.balanceOf(partner), 2_500n)
})

test('what cannot be meant is told where it stands', async (t) => {
  const split = (rest: string): string => `{ splits: [{ recipient: "${partner}"${rest} }] }`
  for (const [permit2, why] of [
    [split(''), /an "amount", or "bps"/],
    [split(', bps: 1, amount: 0.1 USD'), /an "amount", or "bps"/],
    [split(', bps: 10000'), /leave nothing/],
    ['{ splits: [] }', /splits/],
    [`${split(', bps: 1')}, transactions: true`, /Leave out "transactions"/],
  ] as const)
    await assert.rejects(open(t, permit2), why, permit2)
  const behind = (await text(t, 'true')).replace('signer: { env: KEY }', 'facilitator: "http://f"')
  await assert.rejects(openDocument(t, behind, { environment: {} }), /give a "signer"/)
})
