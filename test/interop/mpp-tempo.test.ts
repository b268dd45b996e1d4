// Tempo by MPP, on the node's own Tempo mode: the reference client pays our gate in both of its ways, our payer pays the
// reference server, and what is no payment for the challenge is refused.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { Receipt, Store } from 'mppx'
import { Fetch, tempo as tempoClient } from 'mppx/client'
import { Mppx, tempo as tempoServer } from 'mppx/server'
import type { Client } from 'viem'
import { createClient, http } from 'viem'
import { sendTransactionSync } from 'viem/actions'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { tempoLocalnet } from 'viem/chains'
import { Actions } from 'viem/tempo'
import { toll } from '../../src/adapters/node.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { memory } from '../../src/ledger/memory.ts'
import { createPayer } from '../../src/payer/payer.ts'
import { mpp } from '../../src/protocols/mpp/index.ts'
import { memoOf } from '../../src/rails/evm/tempo/memo.ts'
import { tempo, tempoWallet } from '../../src/rails/evm/tempo/index.ts'
import type { Anvil } from '../../src/sandbox/anvil.ts'
import { startAnvil } from '../../src/sandbox/anvil.ts'
import { challengesOf } from './mpp-peers.ts'
import type { Asked } from './mpp-peers.ts'
import type { Peer } from './peers.ts'
import { listen } from './peers.ts'

/** The number by which viem knows a Tempo that runs here. */
const CHAIN_ID = 1337
const NETWORK = `eip155:${CHAIN_ID}`
const PATH_USD = '0x20c0000000000000000000000000000000000000'
/** The node's first account, which has of everything. */
const RICH = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'
const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const CENT = 10_000n

describe('Tempo', () => {
  const payer = privateKeyToAccount(RICH)
  const payee = privateKeyToAccount(generatePrivateKey()).address
  let node: Anvil
  let client: Client
  let seller: OpenSeller
  let ours: Peer

  before(async () => {
    const now = String(Math.floor(Date.now() / 1_000))
    // The first rules of Tempo take numbers of transactions for granted that later ones do without.
    const rules = ['--network', 'tempo', '--hardfork', 't4', '--chain-id', String(CHAIN_ID)]
    node = await startAnvil([...rules, '--timestamp', now])
    // Until the first block the node's calls see no time.
    await node.request('anvil_mine', ['0x1'])
    const chain = { ...tempoLocalnet, id: CHAIN_ID, feeToken: PATH_USD } as const
    client = createClient({ account: payer, chain, transport: http(node.rpc) })
    const rail = tempo({ network: NETWORK, payTo: payee, rpc: node.rpc })
    const parts = { rails: [rail], protocols: [mpp({ parts: [rail] })], ledger: memory() }
    seller = await createSeller({ secret: SECRET, realm: 'test', ...parts })
    const routes = { 'GET /a': '0.01 USD', 'GET /b': '0.01 USD' }
    const listener = toll(seller, routes, (request, response) =>
      response.end(`here is ${request.url}`),
    )
    ours = await listen(createServer(listener).listen(0, '127.0.0.1'))
  })
  after(async () => {
    await ours.close()
    await seller.close()
    await node.stop()
  })

  const paying = (mode: 'pull' | 'push'): typeof fetch =>
    Fetch.from({
      methods: [tempoClient.charge({ account: payer, getClient: () => client, mode })],
    }) as typeof fetch

  const earned = async (): Promise<bigint> => {
    const said = await Actions.token.getBalance(client, { account: payee, token: PATH_USD })
    return typeof said === 'bigint' ? said : (said as { readonly amount: bigint }).amount
  }

  /** A credential of the reference client for the challenge. */
  async function credentialFor(challenge: Asked, mode: 'pull' | 'push'): Promise<string> {
    const method = tempoClient.charge({ account: payer, getClient: () => client, mode })
    return await (method.createCredential as unknown as (of: object) => Promise<string>)({
      challenge,
      context: {},
    })
  }

  const show = (path: string, credential: string): Promise<Response> =>
    fetch(ours.url + path, { headers: { Authorization: credential } })

  for (const mode of ['pull', 'push'] as const)
    test(`the reference client pays by ${mode}, once`, async () => {
      const before = await earned()
      const [challenge] = await challengesOf(`${ours.url}/a`)
      assert.ok(challenge)
      const credential = await credentialFor(challenge, mode)
      const other = await show('/b', credential)
      assert.equal(other.status, 402, 'another route')
      const answer = await show('/a', credential)
      assert.equal(answer.status, 200, await answer.clone().text())
      assert.equal(await answer.text(), 'here is /a')
      const { reference, method } = Receipt.fromResponse(answer)
      assert.equal(method, 'tempo')
      assert.match(reference, /^0x[0-9a-f]{64}$/)
      const again = await Promise.all([show('/a', credential), show('/a', credential)])
      assert.deepEqual(
        again.map(({ status }) => status),
        [410, 410],
      )
      assert.equal((await earned()) - before, CENT)
    })

  test('the reference client finds and pays the offer by itself', async () => {
    const answer = await paying('pull')(`${ours.url}/a`)
    assert.equal(await answer.text(), 'here is /a')
  })

  test('a transfer for another challenge, of less, or of nobody pays nothing', async () => {
    const [challenge, second] = await Promise.all(
      [1, 2].map(async () => (await challengesOf(`${ours.url}/a`))[0]),
    )
    assert.ok(challenge && second && challenge.id !== second.id)
    const { id, realm } = challenge
    const sent = async (amount: bigint, memo: `0x${string}`): Promise<string> => {
      const call = Actions.token.transfer.call(client, { amount, memo, to: payee, token: PATH_USD })
      const receipt = await sendTransactionSync(client, { calls: [call] } as never)
      return (receipt as { readonly transactionHash: string }).transactionHash
    }
    const shown = async (hash: string, of: Asked = challenge): Promise<number> => {
      const text = JSON.stringify({ challenge: rawOf(of), payload: { type: 'hash', hash } })
      return (await show('/a', `Payment ${Buffer.from(text).toString('base64url')}`)).status
    }
    const before = await earned()
    const memo = memoOf({ id, realm })
    assert.equal(await shown(`0x${'ab'.repeat(32)}`), 503, 'in no block')
    assert.equal(await shown(await sent(CENT - 1n, memo)), 402, 'one unit less')
    const honest = await sent(CENT, memo)
    assert.equal(await shown(honest, second), 402, 'another challenge')
    assert.equal(await shown(honest), 200)
    assert.equal(await shown(honest), 410)
    assert.equal(await shown(honest.toUpperCase().replace('0X', '0x')), 410, 'in another case')
    assert.equal((await earned()) - before, 2n * CENT - 1n)
  })

  test('our payer pays the reference server, which sends what was signed', async () => {
    const mppx = Mppx.create({
      realm: '127.0.0.1',
      secretKey: SECRET,
      methods: [
        tempoServer.charge({
          currency: PATH_USD,
          recipient: payee,
          chainId: CHAIN_ID,
          getClient: () => client,
          store: Store.memory(),
        } as never),
      ],
    })
    const handler = mppx.tempo.charge({ amount: '0.01', chainId: CHAIN_ID })
    const theirs = await listen(
      createServer((request, response) => {
        void Mppx.toNodeListener(handler as never)(request, response).then(({ status }) => {
          if (status !== 402) response.end('theirs')
        })
      }).listen(0, '127.0.0.1'),
    )
    try {
      const wallet = tempoWallet({ network: NETWORK, account: RICH, rpc: node.rpc })
      const buyer = createPayer({
        wallets: [wallet],
        protocols: [mpp({ parts: [wallet] })],
        ledger: memory(),
        policy: { perRequest: '1 USD', perDay: '10 USD' },
      })
      const before = await earned()
      const answer = await buyer.fetch(`${theirs.url}/x`)
      assert.equal(await answer.text(), 'theirs')
      assert.equal((await earned()) - before, CENT)
      // And ours, of course.
      assert.equal(await (await buyer.fetch(`${ours.url}/a`)).text(), 'here is /a')
    } finally {
      await theirs.close()
    }
  })
})

/** A challenge as it goes over the wire. */
function rawOf(challenge: Asked): object {
  const request = Buffer.from(JSON.stringify(sorted(challenge.request))).toString('base64url')
  return { ...challenge, request }
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const pairs = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(pairs.map(([name, one]) => [name, sorted(one)]))
}
