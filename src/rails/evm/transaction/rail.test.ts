// Real transactions on a real chain. Every attack stands beside the nearest honest payment, which passes.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { LocalAccount } from 'viem'
import { encodeAbiParameters, encodeFunctionData, parseAbi } from 'viem'
import payerCode from '../../../../contracts/test/TestPayer.json' with { type: 'json' }
import { startAnvil } from '../../../sandbox/anvil.ts'
import { encode, padded, selectors, word } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import { networks } from '../networks.ts'
import {
  WITNESSES,
  challengeHash,
  digestOf,
  separatorOf,
  transferCall as transferOf,
} from '../permit/permit2.ts'
import { PERMIT2 } from '../permit/terms.ts'
import { fromAccount } from '../signer.ts'
import { transferCall } from '../token.ts'
import { wallet } from '../wallet.ts'
import { claimData, claimOf } from './claim.ts'
import type { World } from './fixture.test.ts'
import { CHAIN_ID, NETWORK, PRICE, account, held, openWorld, said, works } from './fixture.test.ts'
import type { Proof } from './proof.ts'
import { PaymentError } from '../../../core/problem.ts'
import { gateOn } from './fixture.test.ts'
import { readProof } from './proof.ts'
import { transactions } from './rail.ts'

const abi = parseAbi([
  'function setOwner(address)',
  'function run((address target, uint256 value, bytes data)[] calls) payable',
  'function tell(address from, address to, uint256 value)',
])

let w: World
before(async () => {
  w = await openWorld()
})
after(() => w?.stop())

interface Paid {
  readonly from: LocalAccount
  readonly offer: Awaited<ReturnType<World['offer']>>
  readonly proof: Proof & { readonly signature: Hex }
}

/** An honest payment by the payer's signature, not shown yet. */
async function paid(world: World = w, amount = PRICE): Promise<Paid> {
  const from = await world.payer()
  const offer = await world.offer()
  const transaction = await world.pay(from, amount)
  return {
    from,
    offer,
    proof: { transaction, signature: await world.sign(from, offer, transaction) },
  }
}

function keyOf(transaction: Hex, at: number | 'value' = 0): string {
  return `${NETWORK}/tx:${transaction}/${at}`
}

function transferData(to: string, amount: bigint): Hex {
  return encode(selectors.transfer, padded(lower(to as Hex)), word(amount))
}

/** A wallet with code, with money, that signs as its owner. */
async function contractPayer(world: World = w): Promise<{ address: Hex; owner: LocalAccount }> {
  const address = (await world.chain.deploy(payerCode.bytecode)) as Hex
  const owner = account()
  const data = encodeFunctionData({ abi, functionName: 'setOwner', args: [owner.address] })
  await world.chain.send({ to: address, data })
  await world.chain.mint(address, 1_000_000n)
  await world.chain.fundEther(address, 10n ** 18n)
  return { address: lower(address), owner }
}

interface Call {
  readonly target: Hex
  readonly value?: bigint
  readonly data: Hex
}

async function signHash({ sign }: LocalAccount, hash: Hex): Promise<Hex> {
  assert(sign)
  return await sign({ hash })
}

/** Has the wallet make calls, sent by whoever it is. */
async function run(
  world: World,
  address: Hex,
  calls: readonly Call[],
  from?: string,
): Promise<Hex> {
  const args = [calls.map((call) => ({ value: 0n, ...call }))] as const
  const data = encodeFunctionData({ abi, functionName: 'run', args })
  const sender = from ?? (await world.payer(0n)).address
  return (await world.chain.send({ from: sender, to: address, data })) as Hex
}

async function signAs(
  signer: LocalAccount,
  payer: Hex,
  { offer }: Pick<Paid, 'offer'>,
  transaction: Hex,
): Promise<Hex> {
  const data = claimData(claimOf(offer, transaction, payer), CHAIN_ID)
  return signer.signTypedData(data)
}

describe('an honest payment', () => {
  test('is paid, shown with the payer’s signature, and served once', async () => {
    const { from, offer, proof } = await paid()
    const shown = await w.show(offer, proof)
    assert.equal(said(shown), 'served')
    assert.equal(shown.receipt?.reference, proof.transaction)
    assert.equal(shown.receipt?.payer, lower(from.address))
    const sale = await held(w, keyOf(proof.transaction))
    assert.equal(sale.posted, PRICE)
    assert.equal(said(await w.show(offer, { ...proof })), 'payment-delivered')
  })

  test('is served once of twenty that come together', async () => {
    const { offer, proof } = await paid()
    const had = works.count
    const all = await Promise.all(Array.from({ length: 20 }, () => w.show(offer, { ...proof })))
    assert.equal(all.filter((one) => said(one) === 'served').length, 1)
    assert.equal(works.count, had + 1)
  })

  test('is the same in upper case, and spent', async () => {
    const { offer, proof } = await paid()
    const loud = readProof({
      transaction: `0x${proof.transaction.slice(2).toUpperCase()}`,
      signature: `0x${proof.signature.slice(2).toUpperCase()}`,
    })
    assert(typeof loud === 'object')
    assert.equal(said(await w.show(offer, loud)), 'served')
    assert.equal(said(await w.show(offer, proof)), 'payment-delivered')
  })

  test('buys nothing at another route, and what it bought stays good', async () => {
    const { offer, proof } = await paid()
    const other = await w.show(offer, proof, { path: '/b' })
    assert.equal(said(other), 'offer-foreign')
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('by the tag of the offer behind the calldata needs no signature', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const transaction = await w.pay(from, PRICE, { tag: w.claims.tag(offer) })
    const shown = await w.show(offer, { transaction })
    assert.equal(said(shown), 'served')
    assert.equal(shown.receipt?.payer, lower(from.address))
  })

  test('by a wallet with code is signed by its owner (ERC-1271), wrapped or not (ERC-6492)', async () => {
    const { address, owner } = await contractPayer()
    for (const wrapped of [false, true]) {
      const offer = await w.offer()
      const call = { target: w.token, data: transferData(w.seller.address, PRICE) }
      const transaction = await run(w, address, [call])
      const plain = await signAs(owner, address, { offer }, transaction)
      const thief = await signAs(account(), address, { offer }, transaction)
      const refused = await w.show(offer, { transaction, signature: thief })
      assert.equal(said(refused), 'proof-invalid payer-unproven')
      const magic = '6492'.repeat(16)
      const types = [{ type: 'address' }, { type: 'bytes' }, { type: 'bytes' }] as const
      const wrap = encodeAbiParameters(types, [w.seller.address, '0x', plain])
      const signature: Hex = wrapped ? `${wrap}${magic}` : plain
      const shown = await w.show(offer, { transaction, signature })
      assert.equal(said(shown), 'served')
      assert.equal(shown.receipt?.payer, address)
    }
  })

  test('takes five questions in two round trips', async () => {
    const methods: string[] = []
    let trips = 0
    const mine = await openWorld(
      () => ({
        onCall: ({ method }) => methods.push(method),
        fetch: (...asked) => {
          trips++
          return globalThis.fetch(...asked)
        },
      }),
      w.chain,
    )
    try {
      const warm = await paid(mine)
      await mine.show(warm.offer, warm.proof)
      const { offer, proof } = await paid(mine)
      ;[methods.length, trips] = [0, 0]
      const shown = await mine.show(offer, proof)
      assert.equal(said(shown), 'served')
      assert.deepEqual(methods, [
        'eth_chainId',
        'eth_getTransactionReceipt',
        'eth_getTransactionByHash',
        'eth_getBlockByNumber',
        'eth_blockNumber',
      ])
      assert.equal(trips, 2)
    } finally {
      await mine.stop()
    }
  })
})

describe('who asks must have paid', () => {
  test('somebody else’s hash buys nothing, with or without a signature of one’s own', async () => {
    const { offer, proof } = await paid()
    const { transaction } = proof
    const thief = await w.payer()
    const own = await w.offer()
    assert.equal(said(await w.show(own, { transaction })), 'proof-invalid payer-unproven')
    const signature = await w.sign(thief, own, transaction)
    assert.equal(
      said(await w.show(own, { transaction, signature })),
      'proof-invalid payer-unproven',
    )
    const stolen = await w.show(own, { transaction, signature: proof.signature })
    assert.equal(said(stolen), 'proof-invalid payer-unproven')
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('the tag is worth nothing without the offer that it was made of', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const tag = w.claims.tag(offer)
    const transaction = await w.pay(from, PRICE, { tag })
    // All of that can be read on the chain.
    const other = await w.offer()
    assert.equal(said(await w.show(other, { transaction })), 'proof-invalid payer-unproven')
    // Somebody else’s payment with the same tag.
    const copied = await w.pay(await w.payer(), PRICE, { tag })
    assert.equal(said(await w.show(offer, { transaction })), 'served')
    assert.equal(said(await w.show(offer, { transaction: copied })), 'payment-spent offer-paid')
  })

  test('a tag that is not the payer’s own calldata says nothing', async () => {
    const offer = await w.offer()
    const tag = w.claims.tag(offer)
    const { address } = await contractPayer()
    const args = [
      [{ target: w.token, value: 0n, data: transferData(w.seller.address, PRICE) }],
    ] as const
    const data = encodeFunctionData({ abi, functionName: 'run', args })
    const from = await w.payer(0n)
    const through = await w.chain.send({
      from: from.address,
      to: address,
      data: data + tag.slice(2),
    })
    const refused = await w.show(offer, { transaction: through as Hex })
    assert.equal(said(refused), 'proof-invalid payer-unproven')
    const honest = await w.pay(await w.payer(), PRICE, { tag })
    assert.equal(said(await w.show(offer, { transaction: honest })), 'served')
  })

  test('what was paid and not fetched yet goes to nobody who only knows the hash', async () => {
    const { offer, proof } = await paid()
    const entry = await w.gate.admit({ ...w.ask(), credential: { offer, proof } })
    assert(entry.kind === 'pass')
    await entry.finish(true)
    entry.lost()
    const thief = await w.offer()
    const { transaction } = proof
    for (const one of [{ transaction }, { transaction, log: 0 }]) {
      assert.equal(said(await w.show(thief, one)), 'proof-invalid payer-unproven')
      assert.equal(said(await w.show(offer, one)), 'proof-invalid payer-unproven')
    }
    assert.equal(said(await w.show(offer, { ...proof })), 'served')
  })

  test('a claim says nothing at another server of the same payee', async () => {
    const { offer, proof, from } = await paid()
    const there = { authority: 'other.example' }
    assert.equal(said(await w.show(offer, proof, there)), 'offer-foreign')
    // Nor where the id of the offer could not be told, and the claim is all there is.
    const bare = { ...proof, offer: offer.id }
    assert.equal(said(await w.show(undefined, bare, there)), 'proof-invalid payer-unproven')
    assert.equal(said(await w.show(offer, proof)), 'served')
    assert.equal(await w.chain.balanceOf(from.address), 10n ** 9n - PRICE)
  })

  test('a payment by authorization (EIP-3009) is another rail’s spend, and not taken for a transfer', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const [, , sepolia] = networks
    assert(sepolia?.tokens[0])
    const { name, version, address } = sepolia.tokens[0]
    const details = { asset: address, name, version }
    const exact = { ...offer, rail: 'evm', details }
    const signed = await wallet({ signer: fromAccount(from) }).pay(exact, 300_000)
    const { data } = transferCall(w.token, signed, signed.signature)
    // By the payee, and by the payer himself with the tag behind it.
    const tagged = `${data}${w.claims.tag(offer).slice(2)}`
    const transaction = (await w.chain.send({
      from: from.address,
      to: w.token,
      data: tagged,
    })) as Hex
    const signature = await w.sign(from, offer, transaction)
    assert.equal(said(await w.show(offer, { transaction })), 'proof-invalid authorized')
    assert.equal(said(await w.show(offer, { transaction, signature })), 'proof-invalid authorized')
    const plain = await w.pay(from)
    const honest = await w.show(offer, {
      transaction: plain,
      signature: await w.sign(from, offer, plain),
    })
    assert.equal(said(honest), 'served')
  })

  test('what another has sent with the payer’s leave is not shown as a transfer of his', async () => {
    const from = await w.payer()
    const spender = await w.payer(0n)
    const offer = await w.offer()
    const approve: Hex = `0x095ea7b3${padded(lower(spender.address))}${word(PRICE)}`
    await w.chain.send({ from: from.address, to: w.token, data: approve })
    const pull: Hex = `0x23b872dd${padded(lower(from.address))}${padded(lower(w.seller.address))}${word(PRICE)}`
    const transaction = (await w.chain.send({
      from: spender.address,
      to: w.token,
      data: pull,
    })) as Hex
    const signature = await w.sign(from, offer, transaction)
    const refused = await w.show(offer, { transaction, signature })
    assert.equal(said(refused), 'proof-invalid sent-by-another')
    const plain = await w.pay(from)
    const proof = { transaction: plain, signature: await w.sign(from, offer, plain) }
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('a payment by a permit of Permit2 is another rail’s spend too, whoever used it and whatever the payer is by now', async () => {
    const from = await w.payer()
    const spender = await w.payer(0n)
    const offer = await w.offer()
    const approve: Hex = `0x095ea7b3${padded(PERMIT2)}${word(PRICE)}`
    await w.chain.send({ from: from.address, to: w.token, data: approve })
    const [witness = ''] = WITNESSES
    const unsigned = {
      ...({ from: lower(from.address), nonce: `0x${word(5n)}`, deadline: 2n ** 40n } as const),
      permitted: [{ token: lower(w.token), amount: PRICE }],
      transfers: [{ to: lower(w.seller.address), amount: PRICE }],
      witness: { challengeHash: challengeHash('another shop’s') },
    }
    const permit = { ...unsigned, signature: '0x' as Hex }
    const hash = digestOf(permit, lower(spender.address), separatorOf(CHAIN_ID), witness)
    const data = transferOf({ ...permit, signature: await signHash(from, hash) }, witness)
    const sent = { from: spender.address, to: PERMIT2, data }
    const transaction = (await w.chain.send(sent)) as Hex
    const plain = await w.pay(from)
    // A key that lets code act for it may have its transactions sent by others (EIP-7702).
    await w.chain.request('anvil_setCode', [from.address, `0xef0100${padded(w.token).slice(-40)}`])
    const signature = await w.sign(from, offer, transaction)
    const refused = await w.show(offer, { transaction, signature })
    assert.equal(said(refused), 'proof-invalid authorized')
    const honest = { transaction: plain, signature: await w.sign(from, offer, plain) }
    assert.equal(said(await w.show(offer, honest)), 'served')
  })

  test('what our own keys submit is never taken, whoever signs for it', async () => {
    const { address, owner } = await contractPayer()
    const submitter = await w.payer(0n)
    const mine = await openWorld(() => ({ submitters: [submitter.address] }), w.chain)
    try {
      const offer = await mine.offer()
      const call = { target: w.token, data: transferData(mine.seller.address, PRICE) }
      const ours = await run(mine, address, [call], submitter.address)
      const signature = await signAs(owner, address, { offer }, ours)
      const refused = await mine.show(offer, { transaction: ours, signature })
      assert.equal(said(refused), 'proof-invalid sent-by-another')
      const theirs = await run(mine, address, [call])
      const honest = await signAs(owner, address, { offer }, theirs)
      assert.equal(
        said(await mine.show(offer, { transaction: theirs, signature: honest })),
        'served',
      )
    } finally {
      await mine.stop()
    }
  })
})

describe('where a protocol has no room for the offer', () => {
  test('a payment of the last minutes is taken by its payer’s signature, once', async () => {
    const from = await w.payer()
    const quote = await w.offer()
    const transaction = await w.pay(from)
    const named = { ...quote, id: 'order 7' }
    const proof = {
      transaction,
      signature: await w.sign(from, named, transaction),
      offer: 'order 7',
    }
    assert.equal(
      said(await w.show(undefined, { ...proof, offer: 'order 8' })),
      'proof-invalid payer-unproven',
    )
    const { signature: _, ...bare } = proof
    assert.equal(said(await w.show(undefined, bare)), 'proof-invalid payer-unproven')
    assert.equal(said(await w.show(undefined, { ...proof })), 'served')
    assert.equal(said(await w.show(undefined, { ...proof })), 'payment-delivered')
    assert.equal(said(await w.show(undefined, proof, { path: '/b' })), 'payment-spent')
  })

  test('an older one is not', async () => {
    const from = await w.payer()
    const named = { ...(await w.offer()), id: '' }
    const transaction = await w.pay(from)
    const signature = await w.sign(from, named, transaction)
    w.skip(400_000)
    const old = await w.show(undefined, { transaction, signature, offer: '' })
    await w.align()
    assert.equal(said(old), 'proof-expired too-early')
    assert.equal(said(await w.show(undefined, { transaction, signature, offer: '' })), 'served')
  })
})

describe('a crash', () => {
  test('between the evidence and the posting loses nothing: recovery posts it, and the payer is served', async () => {
    const { offer, proof } = await paid()
    const key = keyOf(proof.transaction)
    const entry = await w.gate.admit({ ...w.ask(), credential: { offer, proof } })
    assert(entry.kind === 'pass')
    const post = w.ledger.post.bind(w.ledger)
    let failures = 0
    w.ledger.post = async (...posted) => {
      if (posted[0] !== key) return post(...posted)
      failures++
      throw new PaymentError('store-unavailable', 'The disk is full.')
    }
    const outcome = await entry.finish(true)
    w.ledger.post = post
    assert.equal(failures, 1)
    assert(outcome.kind === 'refused')
    assert.equal(outcome.problem.code, 'store-unavailable')
    const open = await held(w, key)
    assert.deepEqual([open.state, open.steps.map(({ type }) => type)], ['pending', ['prepared']])
    w.skip(200_000)
    await w.gate.recover()
    assert.equal((await held(w, key)).posted, PRICE)
    assert.equal(said(await w.show(offer, { ...proof })), 'served')
    assert.equal(said(await w.show(offer, { ...proof })), 'payment-delivered')
    await w.align()
  })

  test('before anything was written leaves the payment as it was', async () => {
    const { offer, proof } = await paid()
    await w.gate.admit({ ...w.ask(), credential: { offer, proof } })
    assert.equal(said(await w.show(offer, { ...proof })), 'payment-in-flight')
    const again = gateOn(w)
    try {
      w.skip(200_000)
      await again.recover()
      const entry = await again.admit({ ...w.ask(), credential: { offer, proof: { ...proof } } })
      assert(entry.kind === 'pass')
      assert.equal((await entry.finish(true)).kind, 'serve')
    } finally {
      await again.close()
      await w.align()
    }
  })
})

describe('what was paid must be what was asked', () => {
  test('a reverted transaction has moved nothing', async () => {
    const from = await w.payer(PRICE - 1n)
    const offer = await w.offer()
    await w.chain.request('anvil_impersonateAccount', [from.address])
    const data = transferData(w.seller.address, PRICE)
    const sent = { from: from.address, to: w.token, data, gas: '0x30000' }
    const mined = await w.chain.request('eth_sendTransactionSync', [sent])
    const { transactionHash: transaction } = mined as { transactionHash: Hex }
    const signature = await w.sign(from, offer, transaction)
    const refused = await w.show(offer, { transaction, signature })
    assert.equal(said(refused), 'proof-invalid transaction-failed')
    assert.equal(refused.challenged, true)
    await w.chain.mint(from.address, 1n)
    const again = await w.pay(from)
    const proof = { transaction: again, signature: await w.sign(from, offer, again) }
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('a look-alike of the token, with a perfect log, pays nothing', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const fake = (await w.chain.deploy(payerCode.bytecode)) as Hex
    const args = [from.address, w.seller.address, PRICE] as const
    const data = encodeFunctionData({ abi, functionName: 'tell', args })
    const transaction = (await w.chain.send({ from: from.address, to: fake, data })) as Hex
    const signature = await w.sign(from, offer, transaction)
    const refused = await w.show(offer, { transaction, signature })
    assert.equal(said(refused), 'payee-mismatch transfer-missing')
    const real = await w.pay(from)
    const proof = { transaction: real, signature: await w.sign(from, offer, real) }
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('the right amount to somebody else pays nothing', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const transaction = await w.pay(from, PRICE, { to: account().address })
    const signature = await w.sign(from, offer, transaction)
    const refused = await w.show(offer, { transaction, signature })
    assert.equal(said(refused), 'payee-mismatch transfer-missing')
    const right = await w.pay(from)
    const proof = { transaction: right, signature: await w.sign(from, offer, right) }
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('the payee pays nobody by paying himself, and nothing is paid by zero', async () => {
    await w.chain.fundEther(w.seller.address, 10n ** 18n)
    await w.chain.mint(w.seller.address, PRICE)
    const offer = await w.offer()
    const self = await w.pay(w.seller)
    const signature = await w.sign(w.seller, offer, self)
    const refused = await w.show(offer, { transaction: self, signature })
    assert.equal(said(refused), 'proof-invalid payer-is-payee')
    const from = await w.payer()
    const zero = await w.pay(from, 0n)
    const nothing = await w.sign(from, offer, zero)
    const empty = await w.show(offer, { transaction: zero, signature: nothing })
    assert.equal(said(empty), 'payee-mismatch transfer-missing')
    const real = await w.pay(from)
    const proof = { transaction: real, signature: await w.sign(from, offer, real) }
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('a payment that is older than the offer was made for something else', async () => {
    const from = await w.payer()
    const transaction = await w.pay(from)
    w.skip(600_000)
    const offer = await w.offer()
    const signature = await w.sign(from, offer, transaction)
    const refused = await w.show(offer, { transaction, signature })
    await w.align()
    assert.equal(said(refused), 'proof-expired too-early')
    const fresh = await w.offer()
    const now = await w.pay(from)
    const proof = { transaction: now, signature: await w.sign(from, fresh, now) }
    assert.equal(said(await w.show(fresh, proof)), 'served')
  })

  test('the second matching log of one transaction does not pay the same offer again', async () => {
    const { address, owner } = await contractPayer()
    const offer = await w.offer()
    const other = await w.offer()
    const call = { target: w.token, data: transferData(w.seller.address, PRICE) }
    const transaction = await run(w, address, [call, call])
    const signature = await signAs(owner, address, { offer }, transaction)
    assert.equal(said(await w.show(offer, { transaction, signature })), 'served')
    const second = await w.show(offer, { transaction, signature, log: 1 })
    assert.equal(said(second), 'payment-spent offer-paid')
    // It was paid for, and pays for another.
    const proof = {
      transaction,
      signature: await signAs(owner, address, { offer: other }, transaction),
    }
    assert.equal(said(await w.show(other, proof)), 'payment-delivered')
    assert.equal(said(await w.show(other, { ...proof, log: 1 })), 'served')
    assert.equal((await held(w, keyOf(transaction, 1))).posted, PRICE)
    // A log that is no payment, and one that is not there.
    for (const log of [2, 65_000])
      assert.equal(
        said(await w.show(await w.offer(), { transaction, signature, log })),
        'payee-mismatch transfer-missing',
      )
  })
})

describe('what is not sure yet is waited for', () => {
  test('a transaction in no block is no refusal, and is served when it is mined', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    await w.chain.request('evm_setAutomine', [false])
    try {
      await w.chain.request('anvil_impersonateAccount', [from.address])
      const data = transferData(w.seller.address, PRICE)
      const sent = { from: from.address, to: w.token, data, gas: '0x30000' }
      const transaction = (await w.chain.request('eth_sendTransaction', [sent])) as Hex
      const proof = { transaction, signature: await w.sign(from, offer, transaction) }
      const early = await w.show(offer, { ...proof })
      assert.equal(said(early), 'payment-unknown not-mined')
      assert.equal(early.challenged, false)
      assert.ok((early.problem?.retryAfterMs ?? 0) > 0)
      await w.chain.mine()
      assert.equal(said(await w.show(offer, { ...proof })), 'served')
    } finally {
      await w.chain.request('evm_setAutomine', [true])
    }
  })

  test('a hash that nobody knows is waited for as long as the offer stands, and no longer', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const transaction: Hex = `0x${'ab'.repeat(32)}`
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    assert.equal(said(await w.show(offer, proof)), 'payment-unknown not-mined')
    w.skip(400_000)
    const over = await w.show(offer, proof)
    await w.align()
    assert.equal(said(over), 'proof-invalid transaction-unknown')
    assert.equal(over.challenged, true)
  })

  test('as deep as the amount asks for: by blocks, and by what the chain calls final', async () => {
    const assurance = [
      { confirmations: 1 },
      { from: '0.02 USD', confirmations: 3 },
      { from: '0.03 USD', tag: 'finalized' as const },
    ]
    const mine = await openWorld(() => ({ assurance }), w.chain)
    try {
      const from = await mine.payer()
      const pay = async (price: string, amount: bigint) => {
        await mine.align()
        const wish = { prices: [price], path: `/${amount}` }
        const offer = await mine.offer(wish)
        const transaction = await mine.pay(from, amount)
        const proof = { transaction, signature: await mine.sign(from, offer, transaction) }
        return async () => said(await mine.show(offer, { ...proof }, wish))
      }
      const small = await pay('0.01 USD', PRICE)
      assert.equal(await small(), 'served')
      const middle = await pay('0.02 USD', 2n * PRICE)
      assert.equal(await middle(), 'payment-unknown not-final')
      await w.chain.mine()
      assert.equal(await middle(), 'payment-unknown not-final')
      await w.chain.mine()
      assert.equal(await middle(), 'served')
      const large = await pay('0.03 USD', 3n * PRICE)
      let waits = 0
      while ((await large()) === 'payment-unknown not-final' && waits < 20) {
        waits++
        await w.chain.mine()
      }
      assert.ok(waits > 2 && waits < 20, `${waits} blocks until it was final`)
      assert.equal(await large(), 'payment-delivered')
    } finally {
      await mine.stop()
    }
  })
})

describe('another chain', () => {
  test('is told by its number at the start, and by its offers', async () => {
    const other = await startAnvil(['--chain-id', '31337', '--accounts', '0'])
    try {
      const rail = transactions({
        network: NETWORK,
        rpc: other.rpc,
        payTo: w.seller.address,
        ledger: w.ledger,
      })
      await assert.rejects(rail.open(), /serves chain 31337/)
      await rail.close()
    } finally {
      await other.stop()
    }
    const { offer, proof } = await paid()
    const elsewhere = await w.rail.verify({ ...offer, network: 'eip155:1' }, proof)
    assert(!elsewhere.ok)
    assert.equal(elsewhere.problem.reason, 'network-mismatch')
    assert.equal((await w.rail.verify(offer, proof)).ok, true)
  })
})
