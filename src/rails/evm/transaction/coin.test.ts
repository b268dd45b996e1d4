// The chain's own coin: through the receiver, which leaves a record, or by the transaction itself.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { encodeFunctionData, keccak256, parseAbi, toEventSelector, toFunctionSelector } from 'viem'
import receiver from '../../../../contracts/TolseyReceiver.json' with { type: 'json' }
import payerCode from '../../../../contracts/test/TestPayer.json' with { type: 'json' }
import { readPrice } from '../../../core/money.ts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import { encode, padded } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { World } from './fixture.test.ts'
import { NETWORK, account, holds, openWorld, said } from './fixture.test.ts'
import { RECEIVER_CODE_HASH, transactions } from './rail.ts'
import { RECEIVER } from './terms.ts'
import { PAID_TOPIC } from './transfers.ts'

const PRICE_WEI = 10n ** 15n
const wish = { prices: ['0.001 ETH'], path: '/coin' }
const abi = parseAbi([
  'function pay(address payee, bytes32 ref) payable',
  'function run((address target, uint256 value, bytes data)[] calls) payable',
])

let chain: Chain
let w: World
const seller = account()
before(async () => {
  chain = await startChain({ slotsInAnEpoch: 2 })
  const { deployer, salt } = receiver.deployment
  await chain.send({ to: deployer, data: `${salt}${receiver.bytecode.slice(2)}` })
  await chain.fundEther(seller.address, 10n ** 18n)
  w = await openWorld(
    () => ({ payTo: seller.address, refundSigner: seller, coin: { code: 'ETH' } }),
    chain,
    seller,
  )
})
after(async () => {
  await w?.stop()
  await chain?.stop()
})

async function etherOf(address: string): Promise<bigint> {
  return BigInt(String(await chain.request('eth_getBalance', [address, 'latest'])))
}

function payData(ref: Hex): Hex {
  return encode('0x46f8f304', padded(lower(seller.address)), padded(ref))
}

/** Pays through the receiver. */
async function through(
  from: string,
  ref: Hex,
  value = PRICE_WEI,
  to: string = RECEIVER,
): Promise<Hex> {
  return (await chain.send({ from, to, data: payData(ref), value })) as Hex
}

test('the constants are those of the contract', async () => {
  assert.equal(receiver.deployment.address, RECEIVER)
  assert.equal(keccak256(receiver.deployedBytecode as Hex), RECEIVER_CODE_HASH)
  assert.equal(toEventSelector('Paid(address,address,bytes32,uint256)'), PAID_TOPIC)
  assert.equal(toFunctionSelector('pay(address,bytes32)'), '0x46f8f304')
})

describe('the receiver', () => {
  test('keeps nothing: what comes is the payee’s in the same call', async () => {
    const from = await w.payer(0n)
    const had = await etherOf(seller.address)
    await through(from.address, `0x${'11'.repeat(32)}`)
    assert.equal(await etherOf(seller.address), had + PRICE_WEI)
    assert.equal(await etherOf(RECEIVER), 0n)
  })

  test('takes no call without coin, and moves nothing when the payee does not take it', async () => {
    const from = await w.payer(0n)
    await assert.rejects(through(from.address, '0x00', 0n))
    // A contract that takes no coin.
    const data = encodeFunctionData({
      abi,
      functionName: 'pay',
      args: [w.token, `0x${'00'.repeat(32)}`],
    })
    await assert.rejects(chain.send({ from: from.address, to: RECEIVER, data, value: 1n }))
    assert.equal(await etherOf(RECEIVER), 0n)
  })

  test('must be the contract that it is said to be', async () => {
    const other = await chain.deploy(payerCode.bytecode)
    const rail = transactions({
      network: NETWORK,
      rpc: chain.rpc,
      payTo: seller.address,
      ledger: w.ledger,
      coin: { code: 'ETH', receiver: other },
    })
    await assert.rejects(rail.open(), /is not TolseyReceiver/)
    await rail.close()
  })
})

describe('coin', () => {
  test('is quoted in its own currency alone', () => {
    const [terms, ...others] = w.rail.quote(readPrice('0.001 ETH'))
    assert.deepEqual(others, [])
    assert.equal(terms?.amount.amount, PRICE_WEI)
    assert.equal(terms?.amount.asset.id, `${NETWORK}/slip44:60`)
    assert.deepEqual(terms?.details, { receiver: RECEIVER })
  })

  test('through the receiver with the tag, or with a signature, is served once', async () => {
    const from = await w.payer(0n)
    const tagged = await w.offer(wish)
    const first = await through(from.address, w.claims.tag(tagged))
    assert.equal(said(await w.show(tagged, { transaction: first }, wish)), 'served')
    const other = await w.offer(wish)
    assert.equal(
      said(await w.show(other, { transaction: first }, wish)),
      'proof-invalid payer-unproven',
    )
    const second = await through(from.address, '0x00')
    const signature = await w.sign(from, other, second)
    assert.equal(
      said(await w.show(other, { transaction: second }, wish)),
      'proof-invalid payer-unproven',
    )
    const shown = await w.show(other, { transaction: second, signature }, wish)
    assert.equal(said(shown), 'served')
    assert.equal(shown.receipt?.payer, lower(from.address))
  })

  test('sent to the payee by the transaction itself is served too, and goes back on order', async () => {
    const from = await w.payer(0n)
    const offer = await w.offer(wish)
    const transaction = (await chain.send({
      from: from.address,
      to: seller.address,
      value: PRICE_WEI + 5n,
    })) as Hex
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    const shown = await w.show(offer, proof, wish)
    assert.equal(said(shown), 'served')
    const key = `${NETWORK}/tx:${transaction}/value`
    const had = await etherOf(from.address)
    assert.equal((await w.gate.refund({ key, idempotencyKey: 'a' })).kind, 'refunded')
    const excess = { key: `${key}/excess`, idempotencyKey: 'a' }
    assert.equal((await w.gate.refund(excess)).kind, 'refunded')
    assert.equal(await etherOf(from.address), had + PRICE_WEI + 5n)
    assert.equal(await holds(w, `suspense/evm-transaction/${NETWORK}/${seller.address}/excess`), 0n)
  })

  test('sent on by a contract leaves no record, and the refusal says so', async () => {
    const from = await w.payer(0n)
    const wallet = (await chain.deploy(payerCode.bytecode)) as Hex
    const offer = await w.offer(wish)
    const call = (target: string, data: Hex) =>
      encodeFunctionData({
        abi,
        functionName: 'run',
        args: [[{ target: target as Hex, value: PRICE_WEI, data }]],
      })
    const had = await etherOf(seller.address)
    const inner = (await chain.send({
      from: from.address,
      to: wallet,
      data: call(seller.address, '0x'),
      value: PRICE_WEI,
    })) as Hex
    assert.equal(await etherOf(seller.address), had + PRICE_WEI)
    const signature = await w.sign(from, offer, inner)
    const refused = await w.show(offer, { transaction: inner, signature }, wish)
    assert.equal(said(refused), 'payee-mismatch transfer-missing')
    assert.match(refused.problem?.detail ?? '', /another contract sends on leaves no record/)
    // By the same contract through the receiver it is the contract that has paid, with the tag of who knows the offer.
    const told = (await chain.send({
      from: from.address,
      to: wallet,
      data: call(RECEIVER, payData(w.claims.tag(offer))),
      value: PRICE_WEI,
    })) as Hex
    const shown = await w.show(offer, { transaction: told }, wish)
    assert.equal(said(shown), 'served')
    assert.equal(shown.receipt?.payer, lower(wallet))
  })

  test('through a receiver of one’s own, which tells the same, pays nothing', async () => {
    const from = await w.payer(0n)
    const offer = await w.offer(wish)
    // The same code elsewhere: its word is another contract's.
    const twin = await chain.deploy(receiver.bytecode)
    const transaction = await through(from.address, w.claims.tag(offer), PRICE_WEI, twin)
    const refused = await w.show(offer, { transaction }, wish)
    assert.equal(said(refused), 'payee-mismatch transfer-missing')
    const honest = await through(from.address, w.claims.tag(offer))
    assert.equal(said(await w.show(offer, { transaction: honest }, wish)), 'served')
  })

  test('one wei less is booked and goes back; a token is no coin', async () => {
    const from = await w.payer()
    const offer = await w.offer(wish)
    const transaction = await through(from.address, w.claims.tag(offer), PRICE_WEI - 1n)
    assert.equal(said(await w.show(offer, { transaction }, wish)), 'amount-mismatch amount-short')
    const had = await etherOf(from.address)
    const key = `${NETWORK}/tx:${transaction}/0`
    assert.equal((await w.gate.refund({ key, idempotencyKey: 'a' })).kind, 'refunded')
    assert.equal(await etherOf(from.address), had + PRICE_WEI - 1n)
    const token = await w.pay(from, PRICE_WEI / 10n ** 9n)
    const signature = await w.sign(from, offer, token)
    const refused = await w.show(offer, { transaction: token, signature }, wish)
    assert.equal(said(refused), 'payee-mismatch transfer-missing')
  })
})
