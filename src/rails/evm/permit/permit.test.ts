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
  keccak256,
  parseAbi,
  recoverAddress,
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
import type { MppForm } from './forms.ts'
import { WITNESSES, challengeHash, digestOf, separatorOf } from './permit2.ts'
import type { Proof } from './proof.ts'
import type { PermitRail, PermitSettings } from './rail.ts'
import { permit } from './rail.ts'
import type { Details } from './terms.ts'
import { PERMIT2_SAID as PERMIT2, transfersOf } from './terms.ts'
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
  await chain.fundEther(address, GAS)
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
  witness: Record<string, string>
  signature: string
}

function formOf(rail: PermitRail): MppForm {
  const form = rail.forms['mpp']
  assert.ok(form)
  return form as MppForm
}

/** Reads what a client sent, as the protocol would. */
function read(rail: PermitRail, offer: Offer<Details>, said: JsonObject): Proof {
  const proof = formOf(rail).readProof({ id: offer.id, realm: host, ...said })
  assert.ok(typeof proof !== 'string', inspect(proof))
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

interface Asked {
  readonly id: number
  readonly method: string
}

interface Said {
  readonly id: number
  readonly result?: unknown
}

function textOf(said: unknown): string {
  return typeof said === 'string' ? said : ''
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
            digestOf(
              proof,
              lower(offer.details.spender),
              separatorOf(chain.chainId),
              witness ?? '',
            ),
          )
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
      assert.deepEqual(await find(rail, kept), {
        ...found,
        settledAt: timeOf(await find(rail, kept)),
      })
      assert.equal(reasonOf(await rail.verify(offer, proof)), 'nonce-used')
    })
  })

  test('is shared by one transaction, in the order of the offer', async () => {
    await using({ splits }, async (rail) => {
      const kept = await paying(rail)
      assert.deepEqual(
        kept.offer.details.splits?.map(({ amount, memo }) => [amount, memo]),
        [
          ['500', 'platform fee'],
          ['1000', undefined],
        ],
      )
      assert.equal(reasonOf(await rail.verify(kept.offer, kept.proof)), 'ok')
      const [got, found] = await earned([seller, platform, agent], () => settle(rail, kept))
      assert.ok(found.state === 'settled', inspect(found))
      assert.deepEqual(got, [8_500n, 500n, 1_000n])
      assert.equal(found.passedOn, 1_500n)
    })
  })

  test('that is shared among ten, two of them alike, moves each share', async () => {
    const ten = [...Array.from({ length: 9 }, account), seller].map(({ address }) => address)
    ten[8] = first(ten)
    const shares = ten.map((recipient) => ({ recipient, amount: '0.000001 USD', memo: 'x' }))
    await using({ splits: shares }, async (rail) => {
      const kept = await paying(rail)
      const [got, found] = await earned([seller], () => settle(rail, kept))
      assert.ok(found.state === 'settled', inspect(found))
      assert.deepEqual([got[0], found.passedOn], [PRICE - 9n, 10n])
    })
  })

  test('is taken whichever way its payer has written the witness', async () => {
    await using({}, async (rail) => {
      const from = await funded().then(() => payer())
      for (const witness of WITNESSES) {
        const offer = offerBy(rail)
        const said = await credential(offer, from, { named: witness !== WITNESSES[0] })
        const proof = read(rail, offer, said)
        const hash = digestOf(proof, lower(offer.details.spender), separator(), witness)
        assert.ok(from.sign)
        const signed = { ...proof, signature: await from.sign({ hash }) }
        const kept = { offer, proof: signed, log: memory() }
        assert.equal(reasonOf(await rail.verify(offer, signed)), 'ok', witness)
        const [[got], found] = await earned([seller], () => settle(rail, kept))
        assert.deepEqual([found.state, got], ['settled', PRICE], witness)
      }
    })
  })

  test('is taken by who signed it where its payer is not named, and in the shorter forms of a signature', async () => {
    await using({}, async (rail) => {
      const from = await payer()
      for (const shape of ['plain', 'short', 'low v'] as const) {
        const offer = offerBy(rail)
        const { payload, source } = await credential(offer, from)
        const { signature } = payload
        const tail = signature.endsWith('1c') ? 0x80n << 248n : 0n
        const s = BigInt(`0x${signature.slice(66, 130)}`) | tail
        const short = `${signature.slice(0, 66)}${s.toString(16).padStart(64, '0')}`
        const low = signature.slice(0, 130) + (signature.endsWith('1c') ? '01' : '00')
        const shapes = { plain: signature, short, 'low v': low }
        const said = { ...payload, signature: shapes[shape] }
        const proof = read(rail, offer, { payload: said, ...(shape !== 'plain' && { source }) })
        assert.equal(proof.from, lower(from.address))
        const found = await settle(rail, { offer, proof, log: memory() })
        assert.equal(found.state, 'settled', shape)
      }
    })
  })

  test('of a wallet with code is what the wallet says, whichever way it has signed', async () => {
    await using({}, async (rail) => {
      const key = account()
      const wallet = await ownedWallet(key)
      await chain.mint(wallet, 1_000_000n)
      await approve({ address: wallet } as LocalAccount, 10n ** 30n)
      for (const named of [false, true]) {
        const offer = offerBy(rail)
        const said = await credential(offer, key, { named })
        const source = `did:pkh:eip155:${chain.chainId}:${wallet}`
        const kept = { offer, proof: read(rail, offer, { ...said, source }), log: memory() }
        const other = await credential(offer, account())
        const wrong = read(rail, offer, { ...other, source })
        assert.equal(reasonOf(await rail.verify(offer, wrong)), 'signature-invalid')
        assert.equal(reasonOf(await rail.verify(offer, kept.proof)), 'ok')
        const [[got], found] = await earned([seller], () => settle(rail, kept))
        assert.deepEqual([found.state, got], ['settled', PRICE], inspect(found))
      }
    })
  })
})

describe('a permit is refused', () => {
  type Change = (said: Payload, offer: Offer<Details>) => unknown
  const swaps: readonly (readonly [string, string, Change])[] = [
    ['another payee', 'payee-mismatch', (said) => (first(said.transferDetails).to = agent.address)],
    [
      'shares in another order',
      'payee-mismatch',
      (said) => said.transferDetails.splice(1, 2, ...said.transferDetails.slice(1).reverse()),
    ],
    [
      'less than the price',
      'amount-mismatch',
      (said) => (first(said.transferDetails).requestedAmount = '8499'),
    ],
    [
      'more than the price',
      'amount-mismatch',
      (said) => (first(said.transferDetails).requestedAmount = '8501'),
    ],
    ['no shares', 'permitted-mismatch', (said) => said.transferDetails.splice(1, 2)],
    [
      'one share too many',
      'permitted-mismatch',
      (said) => {
        said.transferDetails.push(first(said.transferDetails))
        said.permit.permitted.push(first(said.permit.permitted))
      },
    ],
    [
      'a permit for less',
      'permitted-mismatch',
      (said) => (first(said.permit.permitted).amount = '8499'),
    ],
    [
      'another token',
      'permitted-mismatch',
      (said) => (first(said.permit.permitted).token = agent.address),
    ],
    [
      'another nonce than was signed',
      'signature-invalid',
      (said) => (said.permit.nonce = `${BigInt(said.permit.nonce) ^ 1n}`),
    ],
    [
      'a larger permit than was signed',
      'signature-invalid',
      (said) => (first(said.permit.permitted).amount = '999999'),
    ],
    [
      'another witness',
      'witness-mismatch',
      (said) => (said.witness['challengeHash'] = challengeHash('another')),
    ],
    ['a reference of nobody', 'witness-mismatch', (said) => (said.witness['externalId'] = 'mine')],
  ]

  test('with anything in it that the offer does not say, and is good as it was', async () => {
    await using({ splits }, async (rail) => {
      const from = await payer()
      for (const [what, reason, change] of swaps) {
        const offer = offerBy(rail)
        const said = await credential(offer, from)
        const changed = structuredClone(said)
        change(changed.payload, offer)
        const [wrong, right] = [changed, said].map((one) => read(rail, offer, one))
        assert.ok(wrong && right)
        assert.equal(reasonOf(await rail.verify(offer, wrong)), reason, what)
        const [[got], found] = await earned([seller], () =>
          settle(rail, { offer, proof: wrong, log: memory() }),
        )
        assert.deepEqual([found.state, got], ['failed', 0n], what)
        assert.equal(reasonOf(await rail.verify(offer, right)), 'ok', what)
      }
    })
  })

  test('where it was signed for another spender, chain, challenge or time', async () => {
    await using({}, async (rail) => {
      const from = await payer()
      const now = Math.floor(clock.now() / 1000)
      const signings: readonly (readonly [string, Signing])[] = [
        ['signature-invalid', { spender: agent.address }],
        ['signature-invalid', { chainId: 1 }],
        ['witness-mismatch', { hash: challengeHash(`another${host}`) }],
        ['too-late', { deadline: BigInt(now - 1) }],
        ['too-late', { deadline: BigInt(now + 5) }],
        ['too-long', { deadline: BigInt(now) + BigInt(VALID_AFTER_MS / 1000 + 302) }],
        ['too-long', { deadline: 2n ** 256n - 1n }],
        ['ok', { deadline: BigInt(now + 60) }],
      ]
      for (const [reason, signing] of signings) {
        const { offer, proof } = await paying(rail, from, signing)
        assert.equal(reasonOf(await rail.verify(offer, proof)), reason, inspect(signing))
      }
      const { offer, proof } = await paying(rail, from, { deadline: BigInt(now + 60) })
      assert.equal(reasonOf(await rail.verify(offer, proof, 90_000)), 'too-late')
    })
  })

  test('at another offer than it was signed for', async () => {
    await using({}, async (rail) => {
      const { proof } = await paying(rail)
      const other = offerBy(rail, elsewhere)
      assert.equal(reasonOf(await rail.verify(other, proof)), 'witness-mismatch')
    })
  })

  test('in the name of another payer, who has more', async () => {
    await using({}, async (rail) => {
      const [rich, thief] = [await payer(), account()]
      const offer = offerBy(rail)
      const source = `did:pkh:eip155:${chain.chainId}:${rich.address}`
      const proof = read(rail, offer, { ...(await credential(offer, thief)), source })
      assert.equal(reasonOf(await rail.verify(offer, proof)), 'signature-invalid')
    })
  })

  test('until Permit2 is approved and there is enough, and says what to do', async () => {
    await using({}, async (rail) => {
      const from = await payer(PRICE - 1n, 0n)
      const { offer, proof } = await paying(rail, from)
      assert.equal(reasonOf(await rail.verify(offer, proof)), 'funds-insufficient')
      await chain.mint(from.address, 1n)
      await approve(from, PRICE - 1n)
      const verdict = await rail.verify(offer, proof)
      assert.equal(reasonOf(verdict), 'allowance-missing')
      assert.ok(!verdict.ok)
      assert.match(verdict.problem.detail, /approve\(0x000000000022D473030F116dDEE9F6B43aC78BA3/)
      await approve(from, PRICE)
      assert.equal(reasonOf(await rail.verify(offer, proof)), 'ok')
    })
  })

  test('by what cannot be read, in a sentence', async () => {
    await using({}, async (rail) => {
      const offer = offerBy(rail)
      const { payload, source } = await credential(offer, account())
      const form = formOf(rail)
      const wrong: readonly JsonObject[] = [
        {},
        { payload: 'x' },
        { payload: { ...payload, type: 'authorization' } },
        { payload: { ...payload, signature: '0x' } },
        { payload: { ...payload, permit: { ...payload.permit, nonce: `${2n ** 256n}` } } },
        { payload: { ...payload, permit: { ...payload.permit, nonce: '-1' } } },
        { payload: { ...payload, permit: { ...payload.permit, permitted: [] } } },
        { payload: { ...payload, transferDetails: Array(12).fill(payload.transferDetails[0]) } },
        { payload, source: 'did:key:z6Mk' },
        { payload, source: source.replace(`${chain.chainId}`, '1') },
      ]
      for (const said of wrong)
        assert.equal(typeof form.readProof({ id: offer.id, realm: host, ...said }), 'string')
      assert.equal(typeof form.readProof({ payload, source }), 'object')
    })
  })

  test('by a token that refuses the account, though all is signed', async () => {
    await using({}, async (rail) => {
      const from = await payer()
      const { offer, proof } = await paying(rail, from)
      const snapshot = await chain.request('evm_snapshot')
      await chain.send({
        to: chain.usdc,
        data: `0xf9f92be4${from.address.slice(2).padStart(64, '0')}`,
      })
      assert.equal(reasonOf(await rail.verify(offer, proof)), 'simulation-failed')
      await chain.request('evm_revert', [snapshot])
      assert.equal(reasonOf(await rail.verify(offer, proof)), 'ok')
    })
  })
})

describe('a nonce', () => {
  test('that its payer has used elsewhere or taken back pays nothing, and the next in its word does', async () => {
    await using({}, async (rail) => {
      const from = await payer()
      const word = 77n << 8n
      const first = await paying(rail, from, { nonce: word })
      assert.equal((await settle(rail, first)).state, 'settled')
      const again = await paying(rail, from, { nonce: word })
      assert.equal(keyOf(rail, again), keyOf(rail, first))
      assert.equal(reasonOf(await rail.verify(again.offer, again.proof)), 'nonce-used')
      const back = await paying(rail, from, { nonce: word + 255n })
      assert.equal(reasonOf(await rail.verify(back.offer, back.proof)), 'ok')
      await invalidate(from, word + 255n)
      assert.equal(reasonOf(await rail.verify(back.offer, back.proof)), 'nonce-used')
      assert.equal((await settle(rail, back)).state, 'failed')
      const next = await paying(rail, from, { nonce: word + 1n })
      assert.equal((await settle(rail, next)).state, 'settled')
    })
  })

  test('that is taken back while its payment is on its way ends it at once, and it stays so', async () => {
    await using({ settleTimeoutMs: 200 }, async (rail) => {
      const kept = await paying(rail, undefined, { nonce: 5n })
      const from = { address: kept.proof.from } as LocalAccount
      await chain.request('evm_setAutomine', [false])
      assert.equal((await settle(rail, kept)).state, 'unknown')
      // The payer is quicker than our transaction, which waits.
      await chain.request('anvil_dropAllTransactions')
      await chain.request('evm_setAutomine', [true])
      await invalidate(from, 5n)
      const found = await find(rail, kept)
      assert.ok(found?.state === 'failed', inspect(found))
      assert.equal(found.problem.reason, 'nonce-used')
    })
  })

  test('that is taken back just before, in the same block, costs gas and is told', async () => {
    await using({ settleTimeoutMs: 10_000 }, async (rail) => {
      const kept = await paying(rail, undefined, { nonce: 6n })
      await chain.request('evm_setAutomine', [false])
      const settling = settle(rail, kept)
      await until(() => kept.log.steps.some(({ type }) => type === 'broadcast'))
      await chain.request('anvil_setStorageAt', [
        PERMIT2,
        bitmapSlot(kept.proof.from, 0n),
        word(64n),
      ])
      await chain.mine()
      const found = await settling
      assert.ok(found.state === 'failed', inspect(found))
      assert.equal(found.problem.reason, 'nonce-used')
      assert.ok(found.cost && found.cost > 0n)
    })
  })
})

describe('a maker that dies', () => {
  test('before or after it has sent is followed by one that finds it, or sends the same once', async () => {
    const signer = await funded()
    for (const dies of ['before', 'after'] as const) {
      const kept = await using({ signer }, (rail) => paying(rail))
      let sent = 0
      const dying: typeof globalThis.fetch = async (input, init) => {
        const isSent = JSON.stringify(init?.body).includes('eth_sendRaw')
        if (isSent && dies === 'before') throw new Error('died')
        const answer = await fetch(input, init)
        if (isSent) throw new Error(`died ${++sent}`)
        return answer
      }
      const [[got]] = await earned([seller], async () => {
        const first = await using({ signer, fetch: dying, settleTimeoutMs: 100 }, (rail) =>
          settle(rail, kept),
        )
        assert.notEqual(first.state, 'failed', inspect(first))
        assert.equal(kept.log.steps.filter(({ type }) => type === 'prepared').length, 1)
        await using({ signer }, async (rail) => {
          const found = await settled(() => find(rail, kept))
          const again = await find(rail, kept)
          assert.deepEqual(again, { ...found, settledAt: timeOf(again) })
        })
      })
      assert.equal(got, PRICE, dies)
    }
  })

  test('has written down the first second in which the permit is dead: Permit2 takes it in all of its last', async () => {
    await using({}, async (rail) => {
      const kept = await paying(rail)
      assert.equal((await settle(rail, kept)).state, 'settled')
      const prepared = kept.log.steps.find(({ type }) => type === 'prepared')
      assert.equal(prepared?.data['validBefore'], `${kept.proof.deadline + 1n}`)
    })
  })

  test('before it wrote anything leaves nothing, and the permit is good', async () => {
    await using({}, async (rail) => {
      const kept = await paying(rail)
      assert.equal(await find(rail, kept), undefined)
      assert.equal((await settle(rail, kept)).state, 'settled')
    })
  })

  test('and whose permit expires meanwhile is told that nothing was taken, by the clock of the chain', async () => {
    const snapshot = await chain.request('evm_snapshot')
    await using({ settleTimeoutMs: 100 }, async (rail) => {
      const deadline = BigInt(Math.floor(clock.now() / 1000) + 60)
      const kept = await paying(rail, undefined, { deadline })
      await chain.request('evm_setAutomine', [false])
      assert.equal((await settle(rail, kept)).state, 'unknown')
      await chain.request('anvil_dropAllTransactions')
      await chain.increaseTime(120)
      const found = await find(rail, kept)
      assert.ok(found?.state === 'failed', inspect(found))
      assert.equal(found.problem.reason, 'too-late')
    })
    await chain.request('evm_revert', [snapshot])
  })

  test('is not told that nothing was taken by a node that knows the nonce and not the receipt', async () => {
    const signer = await funded()
    const kept = await using({ signer }, async (rail) => {
      const one = await paying(rail)
      assert.equal((await settle(rail, one)).state, 'settled')
      return one
    })
    const blind: typeof globalThis.fetch = async (input, init) => {
      const answer = await fetch(input, init)
      const asked = JSON.parse(textOf(init?.body)) as Asked | readonly Asked[]
      const said = (await answer.json()) as Said | Said[]
      const hide = (one: Said, { method }: Asked): Said =>
        method === 'eth_getTransactionReceipt' ? { ...one, result: null } : one
      if (!Array.isArray(asked)) return Response.json(hide(said as Said, asked as Asked))
      const methods = new Map(asked.map((one) => [one.id, one]))
      return Response.json(
        (said as Said[]).map((one) => hide(one, methods.get(one.id) ?? first(asked))),
      )
    }
    await using({ signer, fetch: blind }, async (rail) => {
      assert.equal((await find(rail, kept))?.state, 'unknown')
    })
    await using({ signer }, async (rail) => {
      assert.equal((await find(rail, kept))?.state, 'settled')
    })
  })

  test('is followed where the block vanishes: the same is sent again, and taken once', async () => {
    await using({ splits }, async (rail) => {
      const kept = await paying(rail)
      const [got] = await earned([seller, platform], async () => {
        const found = await settle(rail, kept)
        assert.ok(found.state === 'settled', inspect(found))
        await chain.request('anvil_reorg', [1, []])
        await chain.request('anvil_dropAllTransactions')
        assert.equal(await chain.request('eth_getTransactionReceipt', [found.reference]), null)
        const { offer, log } = kept
        const stands = await rail.stands?.(offer, keyOf(rail, kept), found.reference, log)
        assert.equal(stands?.state, 'open', inspect(stands))
      })
      assert.deepEqual(got, [8_500n, 500n])
    })
  })

  test('under another key of ours leaves permits that nobody else can use: they end with their deadline', async () => {
    const kept = await using({}, (rail) => paying(rail))
    await using({}, async (rail) => {
      assert.equal(reasonOf(await rail.verify(kept.offer, kept.proof)), 'spender-unknown')
    })
  })
})

test('two processes with one key and one ledger collect many permits, each once', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'permit-'))
  const ledger: Ledger = await sqlite({ file: join(directory, 'books.db'), clock })
  try {
    const signer = await funded()
    await using({ signer, ledger }, async (one) => {
      await using({ signer, ledger }, async (other) => {
        const all = await Promise.all(Array.from({ length: 10 }, () => paying(one)))
        const [[got], found] = await earned([seller], () =>
          Promise.all(all.map((kept, i) => settle(i % 2 === 0 ? one : other, kept))),
        )
        assert.deepEqual(new Set(found.map(({ state }) => state)), new Set(['settled']))
        assert.equal(got, 10n * PRICE)
      })
    })
  } finally {
    await ledger.close()
    await rm(directory, { recursive: true, force: true })
  }
})

test('a settings that cannot be is told before anything is sold', async () => {
  const shares = (bps: number, count = 1): Partial<PermitSettings> => ({
    splits: Array.from({ length: count }, () => ({ recipient: agent.address, bps })),
  })
  const good = { network: chain.network, rpc: chain.rpc, payTo: seller.address, signer: account() }
  const wrong: readonly (readonly [RegExp, Partial<PermitSettings>])[] = [
    [/leave nothing/, shares(10_000)],
    [/leave nothing/, shares(2_500, 4)],
    [/at most 10/, shares(1, 11)],
    [/hundredths/, shares(0.5)],
    [/either its "amount" or its "bps"/, { splits: [{ recipient: agent.address }] }],
    [/nobody's address/, { splits: [{ recipient: `0x${'0'.repeat(40)}`, bps: 1 }] }],
    [/the token itself/, { splits: [{ recipient: chain.usdc, bps: 1 }] }],
    [/nobody's address/, { payTo: '0x1' }],
    [/whole seconds/, { timeoutMs: 1_500 }],
    [/memo/, { splits: [{ recipient: agent.address, bps: 1, memo: 'x'.repeat(257) }] }],
  ]
  for (const [why, more] of wrong) assert.throws(() => permit({ ...good, ...more }), why)
  // What is left of a small price must be more than nothing.
  const rail = permit({ ...good, splits: [{ recipient: agent.address, amount: '0.01 USD' }] })
  assert.deepEqual(rail.quote(readPrice('0.01 USD')), [])
  assert.equal(rail.quote(readPrice('0.02 USD')).length, 1)
  await rail.close()
  const nowhere = permit({ ...good, assets: [{ address: agent.address, code: 'ABC', scale: 6 }] })
  await assert.rejects(nowhere.open(), /no contract/)
  await nowhere.close()
})

describe('the wallet', () => {
  const readings = (rail: PermitRail, offer: Offer<Details>): Offer<Details> => {
    const words = formOf(rail).writeDetails(offer)
    const form = permitWallet({ signer: fromPrivateKey(generatePrivateKey()), chains }).forms['mpp']
    const terms = form?.readDetails({ id: offer.id, realm: host, ...words })
    assert.ok(typeof terms === 'object', inspect(terms))
    return { ...offer, ...terms }
  }
  const chains = [{ network: 'base-sepolia' }]
  const rpcs = (): Record<string, string> => ({ [chain.network]: chain.rpc })

  test('pays alone and in shares what it reads of a challenge, with nonces one after the other', async () => {
    const key = generatePrivateKey()
    const from = privateKeyToAccount(key)
    await chain.mint(from.address, 1_000_000n)
    await approve(from, 10n ** 12n)
    const wallet = permitWallet({ signer: fromPrivateKey(key), chains, rpc: rpcs(), clock })
    const nonces: bigint[] = []
    for (const shared of [false, true])
      await using(shared ? { splits } : {}, async (rail) => {
        const offer = offerBy(rail)
        const seen = readings(rail, offer)
        assert.equal(wallet.refuses(seen), undefined)
        const paid = await wallet.pay(seen, 60_000)
        const said = wallet.forms['mpp']?.writeProof(paid)
        assert.ok(said)
        const proof = read(rail, offer, said)
        nonces.push(BigInt(proof.nonce))
        assert.equal(await wallet.outcome?.(seen, paid), 'open')
        const found = await settle(rail, { offer, proof, log: memory() })
        assert.equal(found.state, 'settled', inspect(found))
        assert.equal(await wallet.outcome?.(seen, paid), 'paid')
      })
    const [one = 0n, two = 0n] = nonces
    assert.equal(two, one + 1n)
    assert.equal(one & 255n, 0n)
  })

  test('refuses where Permit2 is not approved, says how, and approves it where it may', async () => {
    const key = generatePrivateKey()
    const from = privateKeyToAccount(key)
    await chain.fundEther(from.address, GAS)
    await chain.mint(from.address, 1_000_000n)
    const signer = fromPrivateKey(key)
    await using({}, async (rail) => {
      const seen = readings(rail, offerBy(rail))
      const wallet = permitWallet({ signer, chains, rpc: rpcs(), clock })
      assert.equal(wallet.refuses(seen), undefined)
      await assert.rejects(wallet.pay(seen, 60_000), /approve\(0x0000/)
      assert.match(wallet.refuses(seen) ?? '', /approve\(0x0000/)
      const approve = { account: key, amount: 50_000n }
      const able = permitWallet({ signer, chains, rpc: rpcs(), clock, approve })
      const proof = await able.pay(seen, 60_000)
      assert.equal(reasonOf(await rail.verify(offerBy(rail), proof)), 'witness-mismatch')
      await able.pay(seen, 60_000)
      assert.equal(await chain.request('eth_getTransactionCount', [from.address, 'latest']), '0x1')
    })
  })

  test('signs for no contract that anybody can call, and for nobody who leaves out what it needs', async () => {
    await using({ splits }, async (rail) => {
      const wallet = permitWallet({ signer: fromPrivateKey(generatePrivateKey()), chains })
      const offer = readings(rail, offerBy(rail))
      assert.equal(wallet.refuses(offer), undefined)
      const { details } = offer
      const multicall = '0xca11bde05977b3631167028862be2a173976ca11'
      const { challenge: _, ...nameless } = details
      for (const wrong of [
        { ...offer, details: { ...details, spender: multicall as Hex } },
        { ...offer, details: { ...details, spender: PERMIT2 as Hex } },
        { ...offer, details: { ...details, spender: offer.details.asset } },
        { ...offer, payee: `0x${'0'.repeat(40)}` },
        { ...offer, payee: chain.usdc },
        { ...offer, details: nameless },
        { ...offer, network: 'eip155:1' },
      ])
        assert.equal(typeof wallet.refuses(wrong), 'string', inspect(wrong.details))
      const words = formOf(rail).writeDetails(offer)
      const form = wallet.forms['mpp']
      type Change = (said: Record<string, unknown>, inner: Record<string, unknown>) => unknown
      const changes: readonly Change[] = [
        (_said, inner) => delete inner['spender'],
        (_said, inner) => (inner['permit2Address'] = agent.address),
        (_said, inner) => (inner['credentialTypes'] = ['authorization']),
        (_said, inner) => (inner['chainId'] = 999),
        (said) => (said['amount'] = '1500'),
        (said) => (said['externalId'] = 'order 7'),
        (_said, inner) =>
          (inner['splits'] = Array(11).fill({ recipient: agent.address, amount: '1' })),
        (_said, inner) => (inner['splits'] = [{ recipient: agent.address, amount: '0' }]),
      ]
      assert.equal(typeof form?.readDetails({ id: 'x', realm: host, ...words }), 'object')
      for (const change of changes) {
        const request = structuredClone(words.request ?? {}) as Record<string, unknown>
        change(request, request['methodDetails'] as Record<string, unknown>)
        const said = { id: 'x', realm: host, ...words, request }
        assert.equal(typeof form?.readDetails(said), 'string', inspect(request))
      }
    })
  })
})

/** A wallet (ERC-1271) whose owner's key signs for it: it recovers, and answers with the magic value where it is the owner. */
async function ownedWallet(owner: LocalAccount): Promise<Hex> {
  const code = concatHex([
    // hash at 4; the signature begins at 0x64: r, s, and v in its first byte.
    '0x600435600052', // mstore(0, hash)
    '0x60a43560f81c602052', // mstore(0x20, v)
    '0x606435604052', // mstore(0x40, r)
    '0x608435606052', // mstore(0x60, s)
    '0x602060806080600060015afa50', // staticcall(gas, 1, 0, 0x80, 0x80, 0x20)
    '0x60805173',
    lower(owner.address),
    '0x14', // is it the owner?
    '0x631626ba7e60e01b02', // times the magic value
    '0x60005260206000f3',
  ])
  const size = (code.length - 2) / 2
  const at = 15
  const creation = concatHex([
    `0x61${size.toString(16).padStart(4, '0')}`,
    `0x61${at.toString(16).padStart(4, '0')}`,
    `0x600039`,
    `0x61${size.toString(16).padStart(4, '0')}`,
    `0x6000f3`,
    code,
  ])
  return lower((await chain.deploy(creation)) as Hex)
}

function bitmapSlot(owner: Hex, place: bigint): Hex {
  const outer = keccak256(
    encodeAbiParameters([{ type: 'address' }, { type: 'uint256' }], [owner, 0n]),
  )
  return keccak256(encodeAbiParameters([{ type: 'uint256' }, { type: 'bytes32' }], [place, outer]))
}

function word(value: bigint): Hex {
  return `0x${value.toString(16).padStart(64, '0')}`
}

function separator(): Hex {
  return separatorOf(chain.chainId)
}

function first<T>(list: readonly T[]): T {
  const [one] = list
  assert.ok(one !== undefined)
  return one
}

async function until(what: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !what(); tries++) await systemClock.sleep(10)
  assert.ok(what(), 'it never came to be')
}

/** Looks until the money has moved. */
async function settled(look: () => Promise<Settlement | undefined>): Promise<Settlement> {
  for (let tries = 0; ; tries++) {
    const found = await look()
    if (found?.state === 'settled') return found
    assert.ok(found?.state !== 'failed' && tries < 50, inspect(found))
    await systemClock.sleep(100)
  }
}

function timeOf(found: Settlement | undefined): number {
  assert.ok(found?.state === 'settled', inspect(found))
  return found.settledAt
}
