// The batcher on the real chain, with Circle's own USDC. What became of the money is read from USDC alone.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Address, Hex } from 'viem'
import { decodeErrorResult, encodeFunctionData, parseAbi } from 'viem'
import type { PrivateKeyAccount } from 'viem/accounts'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import artifact from '../../contracts/TolseyBatcher.json' with { type: 'json' }
import testToken from '../../contracts/test/TestToken.json' with { type: 'json' }
import testWallet from '../../contracts/test/TestWallet.json' with { type: 'json' }
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Authorization, Mined, Said } from './payments.ts'
import {
  AMOUNT,
  GAS_EACH,
  authorize,
  batchCall,
  createPayers,
  deployBatcher,
  gasLimit,
  gasOfData,
  said,
  send,
  sign,
  simulate,
  tokenCall,
  used,
} from './payments.ts'

/** As the contracts number them. */
const wallets = {
  honest: 0,
  deny: 1,
  burnGas: 2,
  longAnswer: 3,
  longRevert: 4,
  callBack: 5,
  workHard: 6,
}
const tokens = {
  sayNothing: 0,
  sayFalse: 1,
  sayTrue: 2,
  burnGas: 3,
  burnAndRevert: 4,
  longAnswer: 5,
  longRevert: 6,
  callBack: 7,
}

/** What 20 payments of 19 plain payers and one that burns its whole share may take. */
const GAS_OF_TWENTY = 21_000n + 20n * 60_000n + GAS_EACH

const errorAbi = parseAbi(['error Error(string)'])
const setAbi = parseAbi(['function set(uint8 mode, address target, bytes data)'])

let chain: Chain
let batcher: Address
let payers: readonly PrivateKeyAccount[]
let wallet: Address
let token: Address

before(async () => {
  chain = await startChain()
  batcher = await deployBatcher(chain)
  payers = await createPayers(chain, 100)
  wallet = (await chain.deploy(testWallet.bytecode)) as Address
  token = (await chain.deploy(testToken.bytecode)) as Address
  await chain.mint(wallet, 1_000_000n)
})
after(() => chain.stop())

function at(index: number): PrivateKeyAccount {
  const payer = payers[index]
  assert.ok(payer)
  return payer
}

/** Payments of as many different payers. */
function signAll(count: number, to: Address): Promise<Authorization[]> {
  return Promise.all(payers.slice(0, count).map((payer) => sign(chain, payer, to)))
}

function newPayee(): Address {
  return privateKeyToAccount(generatePrivateKey()).address
}

/** Tells a test contract what to be, and what to call where it calls back. */
function set(
  of: Address,
  mode: number,
  data: Hex = '0x',
  target: Address = batcher,
): Promise<string> {
  const args = [mode, target, data] as const
  return chain.send({
    to: of,
    data: encodeFunctionData({ abi: setAbi, functionName: 'set', args }),
  })
}

function namesOf(all: readonly Said[]): readonly string[] {
  return all.map(({ name }) => name)
}

function noncesOf(items: readonly Authorization[]): readonly Hex[] {
  return items.map(({ nonce }) => nonce)
}

/** What the token said in the failure of that item; empty when it ran out of gas. */
function why(mined: Mined, { nonce }: Authorization): string {
  const found = said(mined, batcher).find((one) => one.name === 'Failed' && one.nonce === nonce)
  assert.ok(found?.name === 'Failed')
  return found.reason === '0x'
    ? ''
    : decodeErrorResult({ abi: errorAbi, data: found.reason }).args[0]
}

/** Each item has its event, in its order: those named failed, all others settled. Their nonces are used, and no other's. */
function holds(
  mined: Mined,
  items: readonly Authorization[],
  failed: readonly Authorization[] = [],
): void {
  assert.ok(mined.ok)
  const events = said(mined, batcher)
  assert.deepEqual(
    events.map((one) => 'nonce' in one && [one.name, one.nonce]),
    items.map((item) => [failed.includes(item) ? 'Failed' : 'Settled', item.nonce]),
  )
  assert.deepEqual(used(mined, chain), noncesOf(items.filter((item) => !failed.includes(item))))
}

describe('a batch', () => {
  for (const count of [1, 10, 50, 100])
    test(`of ${count} moves exactly what each has signed`, async () => {
      const to = newPayee()
      const first = await chain.balanceOf(at(0).address)
      const items = await signAll(count, to)
      holds(await send(chain, batcher, batchCall(items)), items)
      assert.equal(await chain.balanceOf(to), AMOUNT * BigInt(count))
      assert.equal(await chain.balanceOf(at(0).address), first - AMOUNT)
      assert.equal(await chain.balanceOf(batcher), 0n)
    })

  test('of none does nothing', async () => {
    const mined = await send(chain, batcher, batchCall([]))
    assert.deepEqual([mined.ok, mined.logs.length], [true, 0])
  })

  test('is simulated by one call that tells of each item', async () => {
    const items = await signAll(3, newPayee())
    const [, second] = items
    assert.ok(second)
    const broken = { ...second, value: second.value + 1n }
    assert.equal(await simulate(chain, batcher, items), 0b111n)
    assert.equal(await simulate(chain, batcher, items.with(1, broken)), 0b101n)
  })

  test('may pay many payees, and be sent by anybody, who can change nothing of it', async () => {
    const [one, other, thief] = [newPayee(), newPayee(), newPayee()]
    const items = [await sign(chain, at(0), one), await sign(chain, at(1), other)]
    const stolen = items.map((item) => ({ ...item, to: thief }))
    await chain.fundEther(thief, 10n ** 18n)
    await chain.send({ from: thief, to: batcher, data: batchCall(stolen) })
    assert.deepEqual([await chain.balanceOf(thief), await chain.balanceOf(one)], [0n, 0n])
    await chain.send({ from: thief, to: batcher, data: batchCall(items) })
    assert.deepEqual([await chain.balanceOf(one), await chain.balanceOf(other)], [AMOUNT, AMOUNT])
  })

  test('of more than 256 is refused whole, of 256 is not', async () => {
    const item = authorize(chain, at(0).address, newPayee(), { token })
    await set(token, tokens.sayNothing)
    const many = Array.from({ length: 257 }, () => item)
    assert.equal((await send(chain, batcher, batchCall(many))).ok, false)
    const mined = await send(chain, batcher, batchCall(many.slice(1)))
    assert.equal(said(mined, batcher).length, 256)
    assert.equal(await simulate(chain, batcher, many.slice(1)), 2n ** 256n - 1n)
  })
})

describe('an item that does not hold fails alone', () => {
  /** Puts the bad one between two good ones. */
  async function besides(bad: Authorization, reason: RegExp): Promise<void> {
    const to = newPayee()
    const items = [await sign(chain, at(1), to), bad, await sign(chain, at(2), to)]
    const mined = await send(chain, batcher, batchCall(items))
    holds(mined, items, [bad])
    assert.match(why(mined, bad), reason)
    assert.equal(await chain.balanceOf(to), 2n * AMOUNT)
  }

  test('paid before', async () => {
    const item = await sign(chain, at(0), newPayee())
    assert.ok((await send(chain, chain.usdc, tokenCall(item))).ok)
    await besides(item, /used or canceled/)
  })

  test('expired', async () => {
    await besides(await sign(chain, at(0), newPayee(), { validBefore: 1n }), /expired/)
  })

  test('not yet valid', async () => {
    const later = { validAfter: 10n ** 11n, validBefore: 10n ** 12n }
    await besides(await sign(chain, at(0), newPayee(), later), /not yet valid/)
  })

  test('signed by somebody else', async () => {
    const item = await sign(chain, at(3), newPayee())
    await besides({ ...item, from: at(0).address }, /invalid signature/)
  })

  test('signed for a smaller amount', async () => {
    const item = await sign(chain, at(0), newPayee())
    await besides({ ...item, value: item.value + 1n }, /invalid signature/)
  })

  test('over the balance', async () => {
    const value = 1_000_001n
    await besides(await sign(chain, at(0), newPayee(), { value }), /exceeds balance/)
  })

  test('with a signature of no bytes, or of many', async () => {
    const item = await sign(chain, at(0), newPayee())
    await besides({ ...item, signature: '0x' }, /invalid signature length/)
    await besides({ ...item, signature: `0x${'11'.repeat(8_192)}` }, /invalid signature length/)
  })

  test('standing in the batch twice: the first is paid, the second fails', async () => {
    const to = newPayee()
    const item = await sign(chain, at(0), to)
    const mined = await send(chain, batcher, batchCall([item, item]))
    assert.deepEqual(namesOf(said(mined, batcher)), ['Settled', 'Failed'])
    assert.deepEqual(used(mined, chain), [item.nonce])
    assert.match(why(mined, item), /used or canceled/)
    assert.equal(await chain.balanceOf(to), AMOUNT)
  })
})

describe('a payer with code', () => {
  for (const bytes of [0, 64, 65, 66, 96, 1_000, 8_192])
    test(`pays by a signature of ${bytes} bytes`, async () => {
      await set(wallet, wallets.honest)
      const to = newPayee()
      const item = authorize(chain, wallet, to, { signature: `0x${'ab'.repeat(bytes)}` })
      const items = [item, await sign(chain, at(0), to)]
      holds(await send(chain, batcher, batchCall(items)), items)
      assert.equal(await chain.balanceOf(to), 2n * AMOUNT)
    })

  test('whose wallet refuses fails alone', async () => {
    await set(wallet, wallets.deny)
    const to = newPayee()
    const items = [authorize(chain, wallet, to), await sign(chain, at(0), to)]
    holds(await send(chain, batcher, batchCall(items)), items, items.slice(0, 1))
  })
})

describe('a payer who is honest when simulated and hostile when mined cannot stop the other nineteen', () => {
  for (const mode of ['burnGas', 'longAnswer', 'longRevert'] as const)
    for (const place of [0, 10, 19])
      test(`${mode}, as item ${place}`, async () => {
        const to = newPayee()
        await set(wallet, wallets.honest)
        const evil = authorize(chain, wallet, to)
        const items = (await signAll(19, to)).toSpliced(place, 0, evil)
        const gas = gasLimit(items)
        assert.equal(await simulate(chain, batcher, items, GAS_EACH, gas), 2n ** 20n - 1n)
        await set(wallet, wallets[mode])
        const mined = await send(chain, batcher, batchCall(items), gas)
        holds(mined, items, [evil])
        assert.equal(await chain.balanceOf(to), 19n * AMOUNT)
        assert.ok(mined.gas < GAS_OF_TWENTY, `${mined.gas}`)
        // By its reason nobody could tell: the token takes a wallet without an answer for one that says no.
        if (mode === 'burnGas') assert.match(why(mined, evil), /invalid signature/)
      })

  test('by calling the batcher back: nothing can be done from there, and all twenty are paid', async () => {
    const to = newPayee()
    const others = await signAll(19, to)
    await set(wallet, wallets.callBack, batchCall(others.slice(0, 1), 40_000n))
    const items = [authorize(chain, wallet, to), ...others]
    holds(await send(chain, batcher, batchCall(items, 300_000n)), items)
    assert.equal(await chain.balanceOf(to), 20n * AMOUNT)
  })
})

describe('a hostile token', () => {
  const item = (to: Address): Authorization => authorize(chain, wallet, to, { token })

  for (const mode of ['sayFalse', 'burnGas', 'burnAndRevert', 'longAnswer', 'longRevert'] as const)
    test(`that answers by ${mode} harms nobody`, async () => {
      await set(token, tokens[mode])
      const to = newPayee()
      const items = [await sign(chain, at(0), to), item(to), item(to), await sign(chain, at(1), to)]
      const mined = await send(chain, batcher, batchCall(items), gasLimit(items))
      const answer = mode === 'longAnswer' ? 'Settled' : 'Failed'
      assert.deepEqual(namesOf(said(mined, batcher)), ['Settled', answer, answer, 'Settled'])
      assert.equal(await chain.balanceOf(to), 2n * AMOUNT)
      for (const one of said(mined, batcher))
        if (one.name === 'Failed') assert.ok(one.reason.length <= 2 + 2 * 132)
    })

  test('where there is no code fails', async () => {
    const to = newPayee()
    const items = [{ ...item(to), token: newPayee() }, await sign(chain, at(0), to)]
    holds(await send(chain, batcher, batchCall(items)), items, items.slice(0, 1))
  })

  for (const mode of ['sayNothing', 'sayTrue'] as const)
    test(`that does nothing and answers by ${mode} is believed by the event, not by the evidence`, async () => {
      await set(token, tokens[mode])
      const lie = item(newPayee())
      const mined = await send(chain, batcher, batchCall([lie]))
      assert.deepEqual(said(mined, batcher), [{ name: 'Settled', nonce: lie.nonce }])
      assert.deepEqual(used(mined, chain), [])
    })

  test('that calls back with others’ payments only pays them: the event says failed, the evidence paid', async () => {
    const to = newPayee()
    const others = await signAll(2, to)
    await set(token, tokens.callBack, batchCall(others, 100_000n))
    const mined = await send(chain, batcher, batchCall([item(to), ...others], 400_000n))
    const names = ['Settled', 'Settled', 'Settled', 'Failed', 'Failed']
    assert.deepEqual(namesOf(said(mined, batcher)), names)
    assert.deepEqual(used(mined, chain), noncesOf(others))
    assert.equal(await chain.balanceOf(to), 2n * AMOUNT)
  })

  test('that calls back without end has its own share to do it with', async () => {
    const to = newPayee()
    const honest = await sign(chain, at(0), to)
    await set(token, tokens.callBack, batchCall([item(to)], 40_000n))
    const mined = await send(
      chain,
      batcher,
      batchCall([item(to), honest]),
      gasLimit([item(to), honest]),
    )
    assert.ok(mined.ok)
    assert.deepEqual(used(mined, chain), [honest.nonce])
  })
})

describe('gas', () => {
  test('for each item is bounded on both sides', async () => {
    const items = await signAll(1, newPayee())
    for (const gasEach of [0n, 39_999n, 1_000_001n, 2n ** 256n - 1n])
      assert.equal((await send(chain, batcher, batchCall(items, gasEach))).ok, false)
    // The same is paid with the most.
    holds(await send(chain, batcher, batchCall(items, 1_000_000n)), items)
  })

  test('that is too little for a payment fails it without a reason, and it can be paid later', async () => {
    const items = await signAll(2, newPayee())
    const mined = await send(chain, batcher, batchCall(items, 40_000n))
    holds(mined, items, items)
    for (const item of items) assert.equal(why(mined, item), '')
    holds(await send(chain, batcher, batchCall(items)), items)
  })

  test('of the transaction, whatever it is, never fails an honest item: the batch stops before it', async () => {
    await set(wallet, wallets.burnGas)
    const to = newPayee()
    const make = async (): Promise<readonly Authorization[]> =>
      (await signAll(6, to)).toSpliced(2, 0, authorize(chain, wallet, to))
    const first = await make()
    const most = gasLimit(first)
    const seen = new Set<number>()
    // A node takes no transaction with less than its calldata costs, which differs a little from batch to batch.
    for (let gas = gasOfData(first, GAS_EACH, 3_000n) + 3_000n; gas <= most; gas += 24_989n) {
      const items = await make()
      const mined = await send(chain, batcher, batchCall(items), gas)
      const events = said(mined, batcher)
      const touched = events.filter(({ name }) => name !== 'Stopped').length
      const expected = items.slice(0, touched).map((_, i) => (i === 2 ? 'Failed' : 'Settled'))
      const end = touched === items.length ? [] : ['Stopped']
      assert.ok(mined.ok)
      assert.deepEqual(namesOf(events), [...expected, ...end], `${gas}`)
      const stopped = events.at(-1)
      if (stopped?.name === 'Stopped') assert.equal(stopped.next, BigInt(touched))
      seen.add(touched)
    }
    assert.deepEqual(
      [...seen].toSorted((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7],
    )
  })

  test('that an item must have is there in full when it is called, or it is not called', async () => {
    await set(wallet, wallets.workHard)
    const make = (): readonly Authorization[] => [authorize(chain, wallet, newPayee())]
    const gasEach = await leastShare(make())
    const seen = new Set<string>()
    // A call is given at most 63 of 64 parts of what is left: that bites around the share, plus what is held back.
    const least = gasOfData(make(), gasEach, gasEach)
    for (let gas = least; gas < least + 40_000n; gas += 997n) {
      const mined = await send(chain, batcher, batchCall(make(), gasEach), gas)
      seen.add(namesOf(said(mined, batcher)).join())
    }
    assert.deepEqual([...seen], ['Stopped', 'Settled'])
    assert.equal(await simulate(chain, batcher, make(), gasEach - 1n), 0n)
  })

  test('by the formula is enough when every item burns its share and tells a long reason', async () => {
    for (const [mode, gasEach] of [
      [tokens.burnGas, GAS_EACH],
      [tokens.burnAndRevert, GAS_EACH],
      [tokens.burnAndRevert, 40_000n],
      [tokens.burnAndRevert, 1_000_000n],
    ] as const) {
      await set(token, mode)
      for (const bytes of [65, 8_192]) {
        const signature: Hex = `0x${'ff'.repeat(bytes)}`
        const items = Array.from({ length: 10 }, () =>
          authorize(chain, wallet, newPayee(), { token, signature }),
        )
        const mined = await send(
          chain,
          batcher,
          batchCall(items, gasEach),
          gasLimit(items, gasEach),
        )
        assert.ok(mined.ok)
        assert.deepEqual(
          namesOf(said(mined, batcher)),
          items.map(() => 'Failed'),
        )
      }
    }
  })
})

/** The least share with which these are settled. */
async function leastShare(items: readonly Authorization[]): Promise<bigint> {
  let [low, high] = [40_000n, 1_000_000n]
  while (low < high) {
    const middle = (low + high) / 2n
    if ((await simulate(chain, batcher, items, middle)) === 1n) high = middle
    else low = middle + 1n
  }
  return high
}

describe('the contract', () => {
  test('holds nothing: no ether, and no way to write, to lend its name or to end', async () => {
    await assert.rejects(chain.send({ to: batcher, value: 1n }))
    await assert.rejects(chain.send({ to: batcher, value: 1n, data: batchCall([]) }))
    const forbidden = new Map([
      [0x54, 'SLOAD'],
      [0x55, 'SSTORE'],
      [0x5d, 'TSTORE'],
      [0xf0, 'CREATE'],
      [0xf2, 'CALLCODE'],
      [0xf4, 'DELEGATECALL'],
      [0xf5, 'CREATE2'],
      [0xff, 'SELFDESTRUCT'],
    ])
    const code = opcodes(artifact.deployedBytecode)
    assert.deepEqual(
      code.map((opcode) => forbidden.get(opcode)).filter((name) => name !== undefined),
      [],
    )
    // The one thing that it does.
    assert.equal(code.filter((opcode) => opcode === 0xf1).length, 1)
  })

  test('comes to its own address, whoever puts it there', async () => {
    const { deployer, salt, address } = artifact.deployment
    // This chain begins with it; here it is one that has none.
    await chain.request('anvil_setCode', [address, '0x'])
    const anybody = newPayee()
    await chain.fundEther(anybody, 10n ** 18n)
    await chain.send({ from: anybody, to: deployer, data: salt + artifact.bytecode.slice(2) })
    const code = await chain.request('eth_getCode', [address, 'latest'])
    assert.equal(code, artifact.deployedBytecode)
    const items = await signAll(2, newPayee())
    assert.deepEqual(used(await send(chain, address, batchCall(items)), chain), noncesOf(items))
  })
})

/** Without what is pushed, which is data. */
function opcodes(code: string): readonly number[] {
  const bytes = Buffer.from(code.slice(2), 'hex')
  const found: number[] = []
  for (let i = 0; i < bytes.length; i++) {
    const opcode = bytes[i] ?? 0
    found.push(opcode)
    if (opcode >= 0x60 && opcode <= 0x7f) i += opcode - 0x5f
  }
  return found
}
