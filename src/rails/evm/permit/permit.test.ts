// Permits on a real chain with the bytes of Permit2 and of USDC: paying, sharing, and everything that must not pay. The client
// signs with viem alone, so that no mistake of ours is on both sides.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { inspect } from 'node:util'
import {
  concatHex,
  encodeAbiParameters,
  encodeFunctionData,
  erc20Abi,
  hashTypedData,
  keccak256,
  parseAbi,
  stringToBytes,
} from 'viem'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../../core/clock.ts'
import type { JsonObject } from '../../../core/json.ts'
import { createMac } from '../../../core/mac.ts'
import { readPrice } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import { createOffers } from '../../../core/offers.ts'
import type { Clock, Ledger, Log, Settlement, Step, Verdict } from '../../../core/ports.ts'
import type { Resource } from '../../../core/resource.ts'
import { sqlite } from '../../../ledger/sqlite.ts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import { fromPrivateKey } from '../signer.ts'
import { VALID_AFTER_MS } from './check.ts'
import { PERMIT2_SAID as PERMIT2, WITNESSES, challengeHash, digestOf, separatorOf } from './permit2.ts'
import type { Proof } from './proof.ts'
import type { PermitRail, PermitSettings } from './rail.ts'
import { permit } from './rail.ts'
import type { Details } from './terms.ts'
import { transfersOf } from './terms.ts'
import { permitWallet } from './wallet.ts'

const host = 'api.example.com'
const resource: Resource = {
  ...{ realm: host, method: 'GET', authority: `${host}:8080`, path: '/', query: '' },
  url: `https://${host}/`,
}
const elsewhere: Resource = { ...resource, path: '/other', url: `https://${host}/other` }
const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
const PRICE = 10_000n
const GAS = 10n ** 20n

let chain: Chain
let skippedMs = 0
const clock: Clock = {
  now: () => Date.now() + skippedMs,
  sleep: (ms, signal) => systemClock.sleep(ms, signal),
}
const seller = account()
const platform = account()
const agent = account()
const splits = [
  { recipient: platform.address, bps: 500, memo: 'platform fee' },
  { recipient: agent.address, amount: '0.001 USD' },
]

before(async () => {
  chain = await startChain()
})
after(async () => {
  await chain?.stop()
})
beforeEach(async () => {
  await chain.request('evm_setAutomine', [true])
  await chain.mine()
})

function account(): LocalAccount {
  return privateKeyToAccount(generatePrivateKey())
}

async function funded(): Promise<LocalAccount> {
  const one = account()
  await chain.fundEther(one.address, GAS)
  return one
}

/** Has USDC, and has approved Permit2 once, as people do. */
async function payer(amount = 1_000_000n, allowance = 2n ** 256n - 1n): Promise<LocalAccount> {
  const one = await funded()
  await chain.mint(one.address, amount)
  if (allowance > 0n) await approve(one, allowance)
  return one
}

async function approve({ address }: LocalAccount, amount: bigint): Promise<void> {
  const data = encodeFunctionData({
    abi: erc20Abi,
    functionName: 'approve',
    args: [PERMIT2, amount],
  })
  await chain.send({ from: address, to: chain.usdc, data })
}

async function using<T>(
  more: Partial<PermitSettings>,
  work: (rail: PermitRail) => Promise<T>,
): Promise<T> {
  const rail = permit({
    ...{ network: chain.network, rpc: chain.rpc, payTo: seller.address, clock },
    signer: more.signer ?? (await funded()),
    ...more,
  })
  await rail.open()
  try {
    return await work(rail)
  } finally {
    await rail.close()
  }
}

let made = 0
function offerBy(rail: PermitRail, where = resource): Offer<Details> {
  const [terms] = rail.quote(readPrice('0.01 USD'))
  assert.ok(terms)
  return offers.bind(terms, where, clock.now() + 300_000, `n${++made}`)
}

interface Signing {
  readonly nonce?: bigint
  readonly deadline?: bigint
  readonly spender?: Hex
  readonly hash?: Hex
  readonly chainId?: number
  /** Signs the witness of draft-evm-charge-00. */
  readonly named?: boolean
}

/** As a client of this method does it, with viem: from what the challenge says to the payload. */
async function credential(
  offer: Offer<Details>,
  from: LocalAccount,
  signing: Signing = {},
): Promise<JsonObject & { payload: Payload; source: string }> {
  const { details } = offer
  const nonce = signing.nonce ?? BigInt(generatePrivateKey())
  const deadline = signing.deadline ?? BigInt(Math.floor(offer.expiresAt / 1000))
  const hash = signing.hash ?? keccak256(stringToBytes(offer.id + host))
  const transfers = transfersOf(offer)
  const permitted = transfers.map(({ amount }) => ({ token: details.asset, amount }))
  const isBatch = transfers.length > 1
  const primaryType = isBatch ? 'PermitBatchWitnessTransferFrom' : 'PermitWitnessTransferFrom'
  const chainId = signing.chainId ?? chain.chainId
  const text = { name: 'externalId', type: 'string' }
  const signature = await from.signTypedData({
    domain: { name: 'Permit2', chainId, verifyingContract: PERMIT2 },
    types: {
      [primaryType]: [
        { name: 'permitted', type: isBatch ? 'TokenPermissions[]' : 'TokenPermissions' },
        { name: 'spender', type: 'address' },
        { name: 'nonce', type: 'uint256' },
        { name: 'deadline', type: 'uint256' },
        { name: 'witness', type: 'PaymentWitness' },
      ],
      TokenPermissions: [
        { name: 'token', type: 'address' },
        { name: 'amount', type: 'uint256' },
      ],
      PaymentWitness: [
        { name: 'challengeHash', type: 'bytes32' },
        ...(signing.named ? [text] : []),
      ],
    },
    primaryType,
    message: {
      ...{ permitted: isBatch ? permitted : permitted[0], nonce, deadline },
      spender: signing.spender ?? details.spender,
      witness: { challengeHash: hash, ...(signing.named && { externalId: '' }) },
    },
  })
  return {
    source: `did:pkh:eip155:${chain.chainId}:${from.address}`,
    payload: {
      type: 'permit2',
      permit: {
        permitted: permitted.map((one) => ({ ...one, amount: `${one.amount}` })),
        ...{ nonce: `${nonce}`, deadline: `${deadline}` },
      },
      transferDetails: transfers.map(({ to, amount }) => ({ to, requestedAmount: `${amount}` })),
      witness: { challengeHash: hash, ...(signing.named && { externalId: '' }) },
      signature,
    },
  }
}

interface Payload extends JsonObject {
  type: string
  permit: JsonObject & { permitted: { token: string; amount: string }[]; nonce: string }
  transferDetails: { to: string; requestedAmount: string }[]
  witness: JsonObject
  signature: string
}

/** Reads what a client sent, as the protocol would. */
function read(rail: PermitRail, offer: Offer<Details>, said: JsonObject): Proof {
  const proof = rail.forms.mpp.readProof({ id: offer.id, realm: host, ...said })
  assert.ok(typeof proof !== 'string', String(proof))
  return proof
}

async function paying(
  rail: PermitRail,
  from?: LocalAccount,
  signing?: Signing,
): Promise<{ readonly offer: Offer<Details>; readonly proof: Proof; readonly log: Memory }> {
  const offer = offerBy(rail)
  const proof = read(rail, offer, await credential(offer, from ?? (await payer()), signing))
  return { offer, proof, log: memory() }
}

interface Memory extends Log {
  readonly steps: Step[]
}

function memory(): Memory {
  const steps: Step[] = []
  return {
    steps,
    read: async () => [...steps],
    write: async (step) => void steps.push(JSON.parse(JSON.stringify(step)) as Step),
  }
}

interface Kept {
  readonly offer: Offer<Details>
  readonly proof: Proof
  readonly log: Memory
}

const keyOf = (rail: PermitRail, { offer, proof }: Kept): string => rail.identify(offer, proof).key

async function settle(rail: PermitRail, kept: Kept): Promise<Settlement> {
  return await rail.settle(kept.offer, kept.proof, keyOf(rail, kept), kept.log)
}

async function find(rail: PermitRail, kept: Kept): Promise<Settlement | undefined> {
  return await rail.find(kept.offer, keyOf(rail, kept), kept.log)
}

function reasonOf(verdict: Verdict): unknown {
  return verdict.ok ? 'ok' : verdict.problem.reason
}

/** What each of these has got meanwhile. */
async function earned<T>(
  accounts: readonly LocalAccount[],
  work: () => Promise<T>,
): Promise<readonly [readonly bigint[], T]> {
  const had = await Promise.all(accounts.map(({ address }) => chain.balanceOf(address)))
  const result = await work()
  const has = await Promise.all(accounts.map(({ address }) => chain.balanceOf(address)))
  return [has.map((amount, i) => amount - (had[i] ?? 0n)), result]
}

const permit2 = parseAbi([
  'function invalidateUnorderedNonces(uint256 wordPos, uint256 mask)',
  'function nonceBitmap(address owner, uint256 word) view returns (uint256)',
])

async function invalidate({ address }: LocalAccount, nonce: bigint): Promise<void> {
  const args = [nonce >> 8n, 1n << (nonce & 255n)] as const
  const data = encodeFunctionData({ abi: permit2, functionName: 'invalidateUnorderedNonces', args })
  await chain.send({ from: address, to: PERMIT2, data })
}

test('what is hashed here is what viem hashes, in both drafts, alone and in a batch', async () => {
  await using({ splits }, async (sharing) => {
    await using({}, async (alone) => {
      for (const rail of [alone, sharing])
        for (const named of [false, true]) {
          const from = account()
          const { offer, proof } = await paying(rail, from, { named })
          const signed = [WITNESSES[0], WITNESSES[1]].map((witness) =>
            digestOf(proof, lower(offer.details.spender), separatorOf(chain.chainId), witness ?? ''),
          )
          const { recoverAddress } = await import('viem')
          const found = await Promise.all(
            signed.map((hash) => recoverAddress({ hash, signature: proof.signature })),
          )
          assert.equal(found[named ? 1 : 0], from.address)
          assert.notEqual(found[named ? 0 : 1], from.address)
        }
    })
  })
})

describe('a payment', () => {
  test('moves the price from who signed to the payee, and pays the gas itself', async () => {
    await using({}, async (rail) => {
      const from = await payer()
      const kept = await paying(rail, from)
      const { offer, proof } = kept
      const verdict = await rail.verify(offer, proof, 1_000)
      assert.deepEqual(verdict, {
        ...{ ok: true, key: keyOf(rail, kept), payer: lower(from.address) },
      })
      const gas = await chain.request('eth_getBalance', [from.address, 'latest'])
      const [[got], found] = await earned([seller], () => settle(rail, kept))
      assert.ok(found.state === 'settled', inspect(found))
      assert.equal(got, PRICE)
      assert.equal(found.passedOn, undefined)
      assert.equal(found.payer, lower(from.address))
      assert.ok(found.cost && found.cost > 0n)
      assert.equal(await chain.request('eth_getBalance', [from.address, 'latest']), gas)
      assert.deepEqual(await find(rail, kept), { ...found, settledAt: timeOf(await find(rail, kept)) })
      assert.equal(reasonOf(await rail.verify(offer, proof)), 'nonce-used')
    })
  })
})

function timeOf(found: Settlement | undefined): number {
  assert.ok(found?.state === 'settled', inspect(found))
  return found.settledAt
}
