// The two programs of docs/permit2.md run as they stand there, each in a process of its own, against a real chain; and a client
// made of viem and fetch alone pays the seller, and tries what must not work.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { encodeFunctionData, erc20Abi, keccak256, stringToBytes } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import { freePort } from '../../../../test/ports.ts'
import { openStage, programsIn, readPage } from '../../../../test/programs.ts'
import type { Stage } from '../../../../test/programs.ts'
import type { Hex } from '../hex.ts'
import { WITNESSES } from './permit2.ts'
import { PERMIT2_SAID, SPLITS_MAX } from './terms.ts'

const payee = privateKeyToAccount(generatePrivateKey()).address
const partner = privateKeyToAccount(generatePrivateKey()).address
const key = generatePrivateKey()
const payer = privateKeyToAccount(key)
const secret = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'

let chain: Chain
let stage: Stage
let url = ''

before(async () => {
  chain = await startChain()
  stage = await openStage()
  const sender = generatePrivateKey()
  for (const one of [payer.address, privateKeyToAccount(sender).address])
    await chain.fundEther(one, 10n ** 18n)
  await chain.mint(payer.address, 100_000n)
  const port = await freePort()
  const [seller = ''] = programsIn(await readPage('permit2.md'))
  const shop = stage.start(await stage.write(seller), {
    ...{ SECRET: secret, RPC: chain.rpc, PAY_TO: payee, PARTNER: partner, SENDER_KEY: sender },
    PORT: `${port}`,
  })
  url = `http://127.0.0.1:${port}/weather`
  await shop.answers(url, ({ status }) => status === 402)
})
after(async () => {
  await stage?.close()
  await chain?.stop()
})

test('the seller of the page sells to its buyer, who approves Permit2 first, and the partner has his share', async () => {
  const [, buyer = ''] = programsIn(await readPage('permit2.md'))
  const bought = stage.start(await stage.write(buyer), {
    ...{ PRIVATE_KEY: key, RPC: chain.rpc, URL: url },
  })
  assert.equal(await bought.end(), 0, bought.said())
  assert.match(bought.said(), /\{ sky: 'clear' \} 0x[0-9a-f]{64}/)
  assert.equal(await chain.balanceOf(payee), 9_500n)
  assert.equal(await chain.balanceOf(partner), 500n)
})

interface Challenge {
  readonly id: string
  readonly realm: string
  readonly request: string
  readonly expires: string
}

interface Request {
  readonly amount: string
  readonly currency: Hex
  readonly recipient: Hex
  readonly methodDetails: {
    readonly chainId: number
    readonly permit2Address: Hex
    readonly spender: Hex
    readonly splits: readonly { readonly recipient: Hex; readonly amount: string }[]
  }
}

async function challengeAt(where: string): Promise<Challenge> {
  const answer = await fetch(where)
  await answer.text()
  const line = answer.headers.get('www-authenticate') ?? ''
  assert.match(line, /^Payment /)
  const params = [...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value])
  return Object.fromEntries(params) as Challenge
}

/** Only viem, and what the challenge says. */
async function answerTo(challenge: Challenge): Promise<string> {
  const request = JSON.parse(Buffer.from(challenge.request, 'base64url').toString()) as Request
  const { chainId, permit2Address, spender, splits } = request.methodDetails
  const rest = splits.reduce((sum, { amount }) => sum + BigInt(amount), 0n)
  const moves = [
    { to: request.recipient, amount: BigInt(request.amount) - rest },
    ...splits.map(({ recipient, amount }) => ({ to: recipient, amount: BigInt(amount) })),
  ]
  const permitted = moves.map(({ amount }) => ({ token: request.currency, amount }))
  const nonce = BigInt(generatePrivateKey())
  const deadline = BigInt(Math.floor(Date.parse(challenge.expires) / 1000))
  const challengeHash = keccak256(stringToBytes(challenge.id + challenge.realm))
  const signature = await payer.signTypedData({
    domain: { name: 'Permit2', chainId, verifyingContract: permit2Address },
    types: {
      PermitBatchWitnessTransferFrom: [
        { name: 'permitted', type: 'TokenPermissions[]' },
        { name: 'spender', type: 'address' },
        { name: 'nonce', type: 'uint256' },
        { name: 'deadline', type: 'uint256' },
        { name: 'witness', type: 'PaymentWitness' },
      ],
      TokenPermissions: [
        { name: 'token', type: 'address' },
        { name: 'amount', type: 'uint256' },
      ],
      PaymentWitness: [{ name: 'challengeHash', type: 'bytes32' }],
    },
    primaryType: 'PermitBatchWitnessTransferFrom',
    message: { permitted, spender, nonce, deadline, witness: { challengeHash } },
  })
  const payload = {
    type: 'permit2',
    permit: {
      permitted: permitted.map(({ token, amount }) => ({ token, amount: `${amount}` })),
      ...{ nonce: `${nonce}`, deadline: `${deadline}` },
    },
    transferDetails: moves.map(({ to, amount }) => ({ to, requestedAmount: `${amount}` })),
    ...{ witness: { challengeHash }, signature },
  }
  const source = `did:pkh:eip155:${chainId}:${payer.address}`
  const credential = JSON.stringify({ challenge, payload, source })
  return `Payment ${Buffer.from(credential).toString('base64url')}`
}

async function show(authorization: string, where = url) {
  const answer = await fetch(where, { headers: { authorization } })
  return { answer, body: (await answer.json()) as Record<string, unknown> }
}

test('a client of viem alone pays once, and nothing at another route, by another method or a second time', async () => {
  const args = [PERMIT2_SAID, 100_000n] as const
  const data = encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args })
  await chain.send({ from: payer.address, to: chain.usdc, data })
  const had = await chain.balanceOf(payee)
  const authorization = await answerTo(await challengeAt(url))
  const elsewhere = await show(authorization, `${url}?more=1`)
  assert.equal(elsewhere.answer.status, 402)
  assert.equal(elsewhere.body['code'], 'offer-foreign')
  assert.equal(await chain.balanceOf(payee), had)
  const [first, ...others] = await Promise.all(Array.from({ length: 4 }, () => show(authorization)))
  const served = [first, ...others].filter((one) => one?.answer.status === 200)
  assert.equal(served.length, 1)
  const receipt = served[0]?.answer.headers.get('payment-receipt') ?? ''
  const said = JSON.parse(Buffer.from(receipt, 'base64url').toString()) as Record<string, unknown>
  assert.deepEqual(
    [said['method'], said['chainId'], said['status']],
    ['evm', chain.chainId, 'success'],
  )
  assert.equal((await show(authorization)).answer.status, 410)
  assert.equal(await chain.balanceOf(payee), had + 9_500n)
  // An allowance that is used up is a refusal with its own words.
  const zero = encodeFunctionData({
    abi: erc20Abi,
    functionName: 'approve',
    args: [PERMIT2_SAID, 0n],
  })
  await chain.send({ from: payer.address, to: chain.usdc, data: zero })
  const refused = await show(await answerTo(await challengeAt(url)))
  assert.equal(refused.answer.status, 402)
  assert.match(String(refused.body['detail']), /Approve it once.*approve\(0x0000/)
})

test('the page names the limits and the words that are meant', async () => {
  const page = await readPage('permit2.md')
  assert.ok(page.includes(WITNESSES[0] ?? '-') && page.includes(WITNESSES[1] ?? '-'))
  assert.equal(SPLITS_MAX, 10)
})
