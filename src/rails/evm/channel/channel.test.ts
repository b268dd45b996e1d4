// The rail on a real chain with Circle's own token: deposits, vouchers, ends, and what strangers try.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { after, before, describe, test } from 'node:test'
import { readPrice } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Settlement, Verdict } from '../../../core/ports.ts'
import type { Allowance, Voucher } from '../../../core/voucher.ts'
import type { Problem } from '../../../core/problem.ts'
import type { World } from './fixture.test.ts'
import { createWorld } from './fixture.test.ts'
import type { Authorized, Proof } from './proof.ts'
import type { ChannelRail } from './rail.ts'
import type { Details } from './terms.ts'

const DOLLAR = 1_000_000n

describe('a channel', () => {
  let world: World
  before(async () => {
    world = await createWorld()
  })
  after(() => world.stop())

  const sign = (offer: Offer<Details>, id: string, sum: bigint): Promise<Voucher> =>
    world.wallet.channels.sign(offer, id, sum)
  const earned = (): Promise<bigint> => world.chain.balanceOf(world.payee)

  async function take(
    offer: Offer<Details>,
    proof: Proof,
    rail: ChannelRail = world.rail,
  ): Promise<{ readonly key: string; readonly settled: Settlement }> {
    const verdict = await rail.verify(offer, proof)
    assert.ok(verdict.ok, inspect(verdict))
    return { key: verdict.key, settled: await rail.settle(offer, proof, verdict.key, world.log()) }
  }

  async function topUp(
    id: string,
    deposited: bigint,
  ): Promise<{ offer: Offer<Details>; key: string }> {
    const offer = world.offer()
    const { key, settled } = await take(
      offer,
      await world.wallet.channels.topUp(offer, id, deposited),
    )
    assert.equal(settled.state, 'settled', inspect(settled))
    return { offer, key }
  }

  async function refund(
    offer: Offer<Details>,
    key: string,
    amount: bigint,
    by: ChannelRail = world.rail,
    order = 'a',
  ): Promise<Settlement> {
    const to = world.wallet.payer?.({} as Proof) ?? ''
    const money = { ...offer.amount, amount }
    const done = await by.refund?.(offer, to, money, `${key}/refund/${order}`, world.log())
    assert.ok(done)
    return done
  }

  test('is opened by an authorization, drawn on by vouchers, and closed with what was promised', async () => {
    const { rail, chain, wallet } = world
    const { offer, proof, key, settled } = await world.deposit()
    const payer = wallet.payer?.(proof) ?? ''
    assert.equal(settled.payer, payer)
    assert.ok(settled.cost !== undefined && settled.cost > 0n)
    const id = wallet.channels.idOf(proof)
    assert.deepEqual(await rail.vouchers.allowance(id), { accepted: 0n, deposit: DOLLAR })
    const one = await sign(offer, id, 250_000n)
    const accepted = { accepted: 250_000n, deposit: DOLLAR, proves: true }
    assert.deepEqual(await rail.vouchers.accept(id, one), accepted)
    assert.deepEqual(await rail.vouchers.accept(id, one), accepted)
    const last = await sign(offer, id, 200_000n)
    assert.deepEqual(await rail.vouchers.accept(id, last, true), accepted)
    const before = await earned()
    const had = await chain.balanceOf(payer)
    const back = await refund(offer, key, 800_000n)
    assert.equal(back.state, 'settled', inspect(back))
    assert.equal((await earned()) - before, 200_000n)
    assert.equal((await chain.balanceOf(payer)) - had, 800_000n)
    assert.deepEqual(
      { ...(await refund(offer, key, 800_000n)), settledAt: 0 },
      { ...back, settledAt: 0 },
    )
    assert.equal((await chain.balanceOf(payer)) - had, 800_000n)
    // Its payer may ask for the same end again, and a stranger may, who has seen it: nothing more comes of it.
    assert.deepEqual(await rail.vouchers.accept(id, last, true), {
      ...{ accepted: 200_000n, deposit: DOLLAR, proves: true },
    })
    const closed = await rail.vouchers.close(id)
    assert.ok(closed && back.state === 'settled' && back.reference.startsWith(closed.reference))
    assert.equal(
      why(await rail.vouchers.accept(id, await sign(offer, id, 900_000n))),
      'channel-finalized',
    )
  })

  test('of several deposits is closed once, and each has its share back', async () => {
    const { rail, chain, wallet } = world
    const first = await world.deposit()
    const id = wallet.channels.idOf(first.proof)
    const second = await topUp(id, DOLLAR)
    const third = await topUp(id, 2n * DOLLAR)
    assert.equal((await rail.vouchers.allowance(id))?.deposit, 3n * DOLLAR)
    const { offer } = first
    await accepted(rail, id, await sign(offer, id, 600_000n))
    await accepted(rail, id, await sign(offer, id, 500_000n), true)
    const before = await earned()
    const had = await chain.balanceOf(wallet.payer?.(first.proof) ?? '')
    // Which sum it is closed with is not to be told from one part of what goes back.
    assert.equal((await refund(third.offer, third.key, DOLLAR)).state, 'failed')
    assert.ok(await rail.vouchers.close(id, 500_000n))
    const parts = [
      await refund(third.offer, third.key, DOLLAR),
      await refund(second.offer, second.key, DOLLAR),
      await refund(offer, first.key, 500_000n),
    ]
    const references = parts.map((one) => (one.state === 'settled' ? one.reference : inspect(one)))
    assert.equal(new Set(references).size, 3)
    assert.equal(new Set(references.map((one) => one.split('/')[0])).size, 1)
    assert.equal((await earned()) - before, 500_000n)
    assert.equal((await chain.balanceOf(wallet.payer?.(first.proof) ?? '')) - had, 2_500_000n)
    // More than was left over goes to nobody.
    const more = await rail.refund?.(
      offer,
      wallet.payer?.(first.proof) ?? '',
      { ...offer.amount, amount: 1n },
      `${first.key}/refund/b`,
      world.log(),
    )
    assert.equal(more?.state, 'failed')
  })

  test('is not closed with another sum than was drawn', async () => {
    const { rail, wallet } = world
    const { offer, proof, key } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    await accepted(rail, id, await sign(offer, id, 300_000n))
    // Nothing was said of 200,000: the payer would have promised more than he has drawn, or less.
    const inexact = await refund(offer, key, 800_000n)
    assert.equal(inexact.state, 'failed', inspect(inexact))
    const stranger = `0x${'11'.repeat(20)}`
    const elsewhere = await rail.refund?.(
      offer,
      stranger,
      { ...offer.amount, amount: 700_000n },
      `${key}/refund/b`,
      world.log(),
    )
    assert.equal(elsewhere?.state, 'failed')
    const exact = await refund(offer, key, 700_000n)
    assert.equal(exact.state, 'settled', inspect(exact))
  })

  test('is not closed with less than was drawn, whatever its payer says last', async () => {
    const { rail, wallet } = world
    const { offer, proof, key } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    await accepted(rail, id, await sign(offer, id, 600_000n))
    for (const sum of [0n, 5_000n]) await accepted(rail, id, await sign(offer, id, sum), true)
    const before = await earned()
    // Whoever keeps the books did not charge that, and closes with what was promised.
    assert.ok(await rail.vouchers.close(id))
    assert.equal((await earned()) - before, 600_000n)
    assert.equal((await refund(offer, key, DOLLAR)).state, 'failed')
    assert.equal((await refund(offer, key, 400_000n, rail, 'b')).state, 'settled')
  })

  test('whose payer the token has blocked is collected, and closed when he can be paid again', async () => {
    const { rail, wallet, chain } = world
    const { offer, proof, key } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    const payer = wallet.payer?.(proof) ?? ''
    await accepted(rail, id, await sign(offer, id, 300_000n), true)
    const [before, had] = [await earned(), await chain.balanceOf(payer)]
    const word = payer.slice(2).padStart(64, '0')
    await chain.send({ to: chain.usdc, data: `0xf9f92be4${word}` })
    assert.equal((await refund(offer, key, 700_000n)).state, 'unknown')
    assert.equal((await earned()) - before, 300_000n)
    await chain.send({ to: chain.usdc, data: `0x1a895266${word}` })
    assert.equal((await refund(offer, key, 700_000n)).state, 'settled')
    assert.equal((await earned()) - before, 300_000n)
    assert.equal((await chain.balanceOf(payer)) - had, 700_000n)
  })

  test('goes back whole by its first voucher when nothing was drawn', async () => {
    const { chain, wallet } = world
    const { offer, proof, key } = await world.deposit()
    const had = await chain.balanceOf(wallet.payer?.(proof) ?? '')
    const back = await refund(offer, key, DOLLAR)
    assert.equal(back.state, 'settled', inspect(back))
    assert.equal((await chain.balanceOf(wallet.payer?.(proof) ?? '')) - had, DOLLAR)
  })

  test('takes vouchers of its payer alone, each for enough more and for no more than is there', async () => {
    const { rail, wallet } = world
    const stranger = await world.buyer()
    const { offer, proof } = await world.deposit()
    const other = await world.deposit()
    const id = wallet.channels.idOf(proof)
    const good = await sign(offer, id, 1_000n)
    const cases: readonly [Voucher, string][] = [
      [await stranger.channels.sign(offer, id, 1_000n), 'signer-mismatch'],
      [await sign(offer, wallet.channels.idOf(other.proof), 1_000n), 'signer-mismatch'],
      [{ ...good, cumulative: 2_000n }, 'signer-mismatch'],
      [{ ...good, signature: `${good.signature}00` }, 'invalid-signature'],
      [{ ...good, cumulative: 2n ** 128n }, 'invalid-signature'],
      [await sign(offer, id, DOLLAR + 1n), 'amount-exceeds-deposit'],
      [await sign(offer, id, 99n), 'delta-too-small'],
    ]
    for (const [voucher, reason] of cases)
      assert.equal(why(await rail.vouchers.accept(id, voucher)), reason)
    assert.equal(why(await rail.vouchers.accept('77'.repeat(32), good)), 'channel-not-found')
    assert.equal(why(await rail.vouchers.accept('../../x', good)), 'channel-not-found')
    assert.equal(await rail.vouchers.allowance('77'.repeat(32)), undefined)
    assert.deepEqual(await rail.vouchers.allowance(id), { accepted: 0n, deposit: DOLLAR })
    await accepted(rail, id, good)
    // An old one that somebody else has signed is no proof either.
    const old = await stranger.channels.sign(offer, id, 500n)
    assert.equal(why(await rail.vouchers.accept(id, old)), 'signer-mismatch')
    assert.equal(
      why(await rail.vouchers.accept(id, await sign(offer, id, 1_099n))),
      'delta-too-small',
    )
    await accepted(rail, id, await sign(offer, id, DOLLAR - 1n))
    // What is left may be less than the least step.
    const all = await accepted(rail, id, await sign(offer, id, DOLLAR))
    assert.deepEqual(all, { accepted: DOLLAR, deposit: DOLLAR, proves: true })
  })

  test('counts the highest of vouchers that several processes take at once', async () => {
    const { rail, wallet } = world
    const other = await world.another()
    const { offer, proof } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    const sums = Array.from({ length: 12 }, (_, i) => BigInt(i + 1) * 10_000n)
    const signed = await Promise.all(sums.map((sum) => sign(offer, id, sum)))
    const said = await Promise.all(
      signed.toReversed().map((one, i) => (i % 2 === 0 ? rail : other).vouchers.accept(id, one)),
    )
    for (const one of said) assert.ok('accepted' in one && one.proves, inspect(one))
    for (const one of [rail, other])
      assert.deepEqual(await one.vouchers.allowance(id), { accepted: 120_000n, deposit: DOLLAR })
    const third = await world.another()
    assert.deepEqual(await third.vouchers.allowance(id), { accepted: 120_000n, deposit: DOLLAR })
  })

  test('is collected when its payer wants the end, and what was public proves nobody', async () => {
    const { rail, wallet, chain } = world
    const other = await world.another()
    const { offer, proof } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    const seen = await sign(offer, id, 400_000n)
    await accepted(rail, id, seen)
    await wallet.requestClose(id)
    world.skip(10_000)
    assert.equal(
      why(await rail.vouchers.accept(id, await sign(offer, id, 500_000n))),
      'close-requested',
    )
    const before = await earned()
    const found = await Promise.all([rail.collect(), other.collect(), rail.collect()])
    const own = found.flat().filter(({ channel }) => channel === id)
    assert.deepEqual(
      own.map(({ amount }) => amount),
      [400_000n],
    )
    assert.equal((await earned()) - before, 400_000n)
    assert.deepEqual(
      (await other.collect()).filter(({ channel }) => channel === id),
      [],
    )
    // It stands on the chain for everybody to see.
    const replayed = await other.vouchers.accept(id, seen)
    assert.deepEqual(replayed, { accepted: 400_000n, deposit: DOLLAR, proves: false })
    assert.equal(
      why(await rail.vouchers.accept(id, await sign(offer, id, 300_000n), true)),
      'delta-too-small',
    )
    await chain.increaseTime(901)
    world.skip(901_000)
    assert.equal(await wallet.withdraw(id), 600_000n)
    world.skip(10_000)
    assert.deepEqual(await rail.vouchers.allowance(id), { accepted: 400_000n, deposit: DOLLAR })
    assert.equal(
      why(await rail.vouchers.accept(id, await sign(offer, id, 500_000n))),
      'channel-finalized',
    )
  })

  test('is collected when it is idle or enough is owed, and not before', async () => {
    const { wallet } = world
    const rail = await world.another({
      collect: { from: readPrice('0.5 USD'), least: readPrice('0.001 USD'), idleMs: 60_000 },
    })
    const { offer, proof } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    const collected = async (): Promise<readonly bigint[]> =>
      (await rail.collect()).filter(({ channel }) => channel === id).map(({ amount }) => amount)
    await accepted(rail, id, await sign(offer, id, 400_000n))
    assert.deepEqual(await collected(), [])
    await accepted(rail, id, await sign(offer, id, 600_000n))
    assert.deepEqual(await collected(), [600_000n])
    await accepted(rail, id, await sign(offer, id, 600_900n))
    world.skip(120_000)
    assert.deepEqual(await collected(), [])
    await accepted(rail, id, await sign(offer, id, 700_000n))
    assert.deepEqual(await collected(), [])
    world.skip(120_000)
    assert.deepEqual(await collected(), [100_000n])
    // A new voucher proves its payer again.
    const fresh = await accepted(rail, id, await sign(offer, id, 710_000n))
    assert.equal(fresh.proves, true)
  })

  test('that a stranger has opened first, with our own call, is paid all the same and counts once', async () => {
    const { rail, wallet } = world
    const offer = world.offer()
    const proof = await wallet.pay(offer, 60_000)
    const verdict = await rail.verify(offer, proof)
    assert.ok(verdict.ok)
    assert.ok('authorization' in proof)
    const other = await world.another({ ledger: world.ledger })
    const front = await other.settle(offer, proof, verdict.key, world.log())
    assert.equal(front.state, 'settled')
    const late: Verdict = await rail.verify(offer, proof)
    assert.ok(!late.ok && late.problem.code === 'payment-spent' && late.key === verdict.key)
    const found = await rail.find(offer, verdict.key, world.log())
    assert.ok(found?.state === 'settled' && front.state === 'settled')
    assert.equal(found.reference, front.reference)
    // Its own try is refused by the contract, and it is paid by the other’s.
    const tried = await rail.settle(offer, proof, verdict.key, world.log())
    assert.ok(tried.state === 'settled', inspect(tried))
    assert.equal(tried.reference, front.reference)
  })

  test('is refused that names another payee, signer, nonce, amount or time', async () => {
    const { rail, wallet } = world
    const offer = world.offer()
    const proof = (await wallet.pay(offer, 60_000)) as Authorized
    const { opening, authorization } = proof
    assert.ok(opening)
    const stranger = await world.buyer()
    const theirs = (await stranger.pay(offer, 60_000)) as Authorized
    const other = (await wallet.pay(offer, 60_000)) as Authorized
    const dear = (await wallet.pay(world.offer('2 USD'), 60_000)) as Authorized
    const brief = (await wallet.pay(offer, 1_000)) as Authorized
    const late: Authorized = { ...proof, authorization: { ...authorization, validBefore: 10n } }
    const cases: readonly [Authorized, string][] = [
      [{ ...proof, channel: other.channel }, 'deposit-mismatch'],
      [{ ...proof, opening: { ...opening, salt: other.channel } }, 'deposit-mismatch'],
      [
        { ...proof, opening: { ...opening, authorizedSigner: authorization.from } },
        'deposit-mismatch',
      ],
      [{ ...proof, authorization: other.authorization }, 'deposit-mismatch'],
      [
        { ...proof, opening: { ...opening, voucher: { ...opening.voucher, cumulative: 1n } } },
        'signer-mismatch',
      ],
      [
        { ...proof, authorization: { ...authorization, from: theirs.authorization.from } },
        'deposit-mismatch',
      ],
      [
        { ...proof, authorization: { ...authorization, signature: other.authorization.signature } },
        'simulation-failed',
      ],
      [dear, 'amount-mismatch'],
      [brief, 'too-late'],
      [late, 'too-late'],
    ]
    for (const [bad, reason] of cases) {
      const verdict = await rail.verify(offer, bad)
      assert.ok(!verdict.ok && verdict.problem.reason === reason, `${reason}: ${inspect(verdict)}`)
    }
    assert.ok((await rail.verify(offer, proof)).ok)
    const poor = await world.buyer()
    const first = (await poor.pay(world.offer('100 USD'), 60_000)) as Authorized
    assert.ok((await rail.verify(world.offer('100 USD'), first)).ok)
    const rich = (await poor.pay(world.offer('200 USD'), 60_000)) as Authorized
    const short = await rail.verify(world.offer('200 USD'), rich)
    assert.ok(!short.ok && short.problem.code === 'funds-insufficient', inspect(short))
  })

  test('that its payer has opened himself is taken by the hash, once, and no other one’s is', async () => {
    const { rail, wallet } = world
    const offer = world.offer()
    const proof = await wallet.open(offer)
    const { key, settled } = await take(offer, proof)
    assert.equal(settled.state, 'settled', inspect(settled))
    const stranger = await world.buyer()
    const claimed = await rail.verify(offer, {
      ...proof,
      payer: (await stranger.open(world.offer())).payer,
    })
    assert.ok(!claimed.ok && claimed.problem.reason === 'deposit-mismatch')
    const dear = await rail.verify(world.offer('2 USD'), proof)
    assert.ok(!dear.ok && dear.problem.code === 'amount-mismatch')
    const wrong = await rail.verify(offer, { ...proof, hash: `0x${'12'.repeat(32)}` })
    assert.ok(!wrong.ok && wrong.problem.code === 'payment-unknown')
    const id = wallet.channels.idOf(proof)
    await accepted(rail, id, await sign(offer, id, 5_000n))
    const back = await refund(offer, key, DOLLAR - 5_000n)
    assert.equal(back.state, 'settled', inspect(back))
  })

  test('topped up by an authorization is not topped up once more by the hash of the same', async () => {
    const { rail, wallet } = world
    const { proof } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    const offer = world.offer()
    const more = await wallet.channels.topUp(offer, id, DOLLAR)
    const { settled } = await take(offer, more)
    assert.ok(settled.state === 'settled')
    const sent: Proof = {
      channel: proof.channel,
      hash: settled.reference as `0x${string}`,
      payer: more.authorization.from,
    }
    const again = await rail.verify(offer, sent)
    assert.ok(again.ok)
    const second = await rail.settle(offer, sent, again.key, world.log())
    assert.ok(
      second.state === 'failed' && second.problem.reason === 'deposit-used',
      inspect(second),
    )
    // The same sum once more needs another authorization.
    const stale = await rail.verify(world.offer(), more)
    assert.ok(!stale.ok && stale.problem.code === 'payment-spent')
    const wrong = await rail.verify(offer, await wallet.channels.topUp(offer, id, DOLLAR))
    assert.ok(!wrong.ok && wrong.problem.code === 'payment-spent')
    const nowhere = await rail.verify(
      offer,
      await wallet.channels.topUp(offer, '77'.repeat(32), 0n),
    )
    assert.ok(!nowhere.ok && nowhere.problem.reason === 'channel-not-found')
    const fresh = await rail.verify(offer, await wallet.channels.topUp(offer, id, 2n * DOLLAR))
    assert.ok(fresh.ok, inspect(fresh))
  })
})

function why(said: Allowance | Problem): string | undefined {
  return 'code' in said ? said.reason : inspect(said)
}

async function accepted(
  rail: ChannelRail,
  id: string,
  voucher: Voucher,
  isLast?: boolean,
): Promise<Allowance> {
  const said = await rail.vouchers.accept(id, voucher, isLast)
  assert.ok('accepted' in said, inspect(said))
  return said
}
