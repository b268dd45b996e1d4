// Sweeps on a real chain: by the rule, once, to the sealed account, whoever dies where.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../core/clock.ts'
import { readPrice } from '../../core/money.ts'
import type { Balance, Clock, Ledger, Transfer } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { memory } from '../../ledger/memory.ts'
import { sqlite } from '../../ledger/sqlite.ts'
import { verifyBooks } from '../../ledger/verify.ts'
import type { Chain } from '../../sandbox/chain.ts'
import { startChain } from '../../sandbox/chain.ts'
import type { EvmRail, EvmSettings } from './rail.ts'
import { evm } from './rail.ts'
import type { SweepRule, Swept } from './sweep.ts'

const DAY_MS = 86_400_000
/** More than the chain keeps open. */
const DEEP_BLOCKS = 100

let chain: Chain

before(async () => {
  chain = await startChain()
})

after(async () => {
  await chain?.stop()
})

function address(): string {
  return privateKeyToAccount(generatePrivateKey()).address
}

interface Shop {
  readonly seller: LocalAccount
  readonly privateKey: string
  readonly treasury: string
  readonly ledger: Ledger
  readonly clock: Clock
  pass(ms: number): void
  earn(amount: bigint): Promise<void>
  /** Sweeps once by a rail of its own, as a process that was just started does. */
  sweep(more?: Partial<SweepRule>, settings?: Partial<EvmSettings>): Promise<readonly Swept[]>
  rail(more?: Partial<SweepRule>, settings?: Partial<EvmSettings>): EvmRail
}

async function shop(ledger?: Ledger): Promise<Shop> {
  const privateKey = generatePrivateKey()
  const seller = privateKeyToAccount(privateKey)
  await chain.fundEther(seller.address, 10n ** 20n)
  const treasury = address()
  let skippedMs = 0
  const clock: Clock = { ...systemClock, now: () => Date.now() + skippedMs }
  const books = ledger ?? memory({ clock })
  const one: Shop = {
    seller,
    privateKey,
    treasury,
    clock,
    ledger: books,
    pass: (ms) => void (skippedMs += ms),
    async earn(amount) {
      await chain.mint(seller.address, amount)
      await chain.mine(DEEP_BLOCKS)
    },
    rail: (more, settings) =>
      evm({
        network: chain.network,
        rpc: chain.rpc,
        payTo: seller.address,
        signer: seller,
        ledger: books,
        clock,
        sweep: { treasury, above: readPrice('5 USD'), keep: readPrice('1 USD'), ...more },
        ...settings,
      }),
    async sweep(more, settings) {
      const rail = one.rail(more, settings)
      try {
        await rail.open()
        return await rail.sweep()
      } finally {
        await rail.close()
      }
    },
  }
  return one
}

async function balance(ledger: Ledger, account: string): Promise<bigint> {
  const all: readonly Balance[] = await ledger.balances(account)
  return all[0]?.posted ?? 0n
}

function stateOf(swept: readonly Swept[]): string | undefined {
  return swept[0]?.state
}

describe('the rule', () => {
  test('what is above the rule leaves, what is to stay stays, and the books say so', async () => {
    const s = await shop()
    await s.earn(5_000_000n)
    assert.equal(stateOf(await s.sweep()), 'below', 'exactly so much is not above')
    await s.earn(1n)
    const [swept] = await s.sweep()
    assert.ok(swept?.state === 'swept')
    assert.equal(swept.amount.amount, 4_000_001n)
    assert.equal(await chain.balanceOf(s.treasury), 4_000_001n)
    assert.equal(await chain.balanceOf(s.seller.address), 1_000_000n)
    const at = `world/evm/${chain.network}`
    assert.equal(await balance(s.ledger, `${at}/${s.treasury.toLowerCase()}`), -4_000_001n)
    assert.equal(await balance(s.ledger, `${at}/${s.seller.address}`), 4_000_001n)
    assert.ok((await balance(s.ledger, `costs/evm/${chain.network}`)) > 0n, 'gas is a cost')
    assert.deepEqual((await verifyBooks(s.ledger)).problems, [])
  })

  test('at most one sweep in the time of the rule', async () => {
    const s = await shop()
    await s.earn(6_000_000n)
    assert.equal(stateOf(await s.sweep()), 'swept')
    await s.earn(6_000_000n)
    assert.equal(stateOf(await s.sweep()), 'early')
    s.pass(DAY_MS)
    assert.equal(stateOf(await s.sweep()), 'swept')
    assert.equal(await chain.balanceOf(s.treasury), 11_000_000n)
  })

  test('money that could still come undone is not moved', async () => {
    const s = await shop()
    await s.earn(1_000_000n)
    await chain.mint(s.seller.address, 9_000_000n)
    assert.equal(stateOf(await s.sweep()), 'below')
    await chain.mine(DEEP_BLOCKS)
    assert.equal(stateOf(await s.sweep()), 'swept')
  })

  test('a rule that cannot be is refused with what to do', async () => {
    const s = await shop()
    const wrong: readonly (readonly [RegExp, Partial<SweepRule>, Partial<EvmSettings>?])[] = [
      [/no account/, { treasury: 'me' }],
      [/no account/, { treasury: `0x${'0'.repeat(40)}` }],
      [/another account/, { treasury: s.seller.address.toLowerCase() }],
      [/another account/, { treasury: chain.usdc }],
      [/"keep" is more/, { keep: readPrice('6 USD') }],
      [/No token stands for EUR/, { above: readPrice('1 EUR'), keep: readPrice('1 EUR') }],
      [/time above zero/, { everyMs: 0 }],
      [/key of "payTo"/, {}, { payTo: address() }],
    ]
    for (const [sentence, rule, settings] of wrong)
      assert.throws(() => s.rail(rule, settings), sentence)
    await s.rail().close()
  })

  test('a rail without a rule sweeps nothing', async () => {
    const s = await shop()
    await s.earn(9_000_000n)
    const { seller, clock } = s
    const { network, rpc } = chain
    const rail = evm({ network, rpc, payTo: seller.address, signer: seller, clock })
    await rail.open()
    assert.deepEqual(await rail.sweep(), [])
    await rail.close()
  })
})

describe('the treasury', () => {
  test('another one stops everything, until it is confirmed; then the old one stops', async () => {
    const s = await shop()
    await s.earn(6_000_000n)
    const old = s.rail()
    await old.open()
    const other = address()
    const why = await s.sweep({ treasury: other }).catch((error: unknown) => error)
    assert.ok(why instanceof PaymentError && why.code === 'misconfigured')
    const [, print] = /set "treasuryConfirmed" to ([0-9a-f]{64})\./.exec(why.message) ?? []
    assert.ok(print, why.message)
    await assert.rejects(s.sweep({ treasury: other, treasuryConfirmed: '0'.repeat(64) }), why)
    assert.equal(await chain.balanceOf(other), 0n)
    await assert.rejects(
      s.sweep({ treasury: address(), treasuryConfirmed: print }),
      PaymentError,
      'a confirmation is for one address',
    )
    assert.equal(stateOf(await s.sweep({ treasury: other, treasuryConfirmed: print })), 'swept')
    assert.equal(await chain.balanceOf(other), 5_000_000n)
    await assert.rejects(old.sweep(), /Nothing is swept/)
    await old.close()
    assert.equal(stateOf(await s.sweep({ treasury: other })), 'early', 'it needs no second time')
  })

  test('an order to the treasury before is not carried out', async () => {
    const s = await shop()
    await s.earn(6_000_000n)
    const dying = mortal(
      s.ledger,
      (verb, key) => verb === 'step' && key.startsWith('sweep/'),
      false,
    )
    await assert.rejects(s.sweep({}, { ledger: dying }), /dies/)
    const other = address()
    const why = await s.sweep({ treasury: other }).catch((error: Error) => error)
    assert.ok(why instanceof Error)
    const [, treasuryConfirmed = ''] = /to ([0-9a-f]{64})\./.exec(why.message) ?? []
    s.pass(DAY_MS)
    assert.equal(stateOf(await s.sweep({ treasury: other, treasuryConfirmed })), 'failed')
    assert.equal(stateOf(await s.sweep({ treasury: other })), 'swept')
    assert.equal(await chain.balanceOf(s.treasury), 0n)
    assert.equal(await chain.balanceOf(other), 5_000_000n)
  })

  test('a slip of the pen in its checksum is found', async () => {
    const s = await shop()
    const wrong = s.treasury.replace(/[a-f]/i, (digit) =>
      digit === digit.toLowerCase() ? digit.toUpperCase() : digit.toLowerCase(),
    )
    await assert.rejects(s.sweep({ treasury: wrong }), /"treasury" is .* checksum/)
  })
})

describe('once', () => {
  test('many processes at once send one transfer', async () => {
    const s = await shop()
    await s.earn(6_000_000n)
    const rails = [s.rail(), s.rail(), s.rail()]
    for (const rail of rails) await rail.open()
    const states = (await Promise.all(rails.map((rail) => rail.sweep()))).map(stateOf)
    for (const rail of rails) await rail.close()
    assert.equal(states.filter((state) => state === 'swept').length, 1, states.join())
    assert.equal(await chain.balanceOf(s.treasury), 5_000_000n)
    assert.equal(await chain.balanceOf(s.seller.address), 1_000_000n)
  })

  for (const late of [true, false])
    test(`whoever dies ${late ? 'after' : 'before'} any write is followed by one who ends it, and the money moves once`, async () => {
      let reached = 0
      for (let dies = 1; ; dies++) {
        const s = await shop()
        await s.earn(6_000_000n)
        let writes = 0
        const isTime = (_: string, key: string): boolean =>
          !key.startsWith('nonce') && ++writes >= dies
        const ledger = mortal(s.ledger, isTime, late)
        await s.sweep({}, { ledger, closeTimeoutMs: 1 }).catch(() => undefined)
        if (writes < dies) break
        reached = dies
        s.pass(DAY_MS / 2)
        await s.sweep({}, { closeTimeoutMs: 1 })
        assert.equal(await chain.balanceOf(s.treasury), 5_000_000n, `died at write ${dies}`)
        assert.equal(await chain.balanceOf(s.seller.address), 1_000_000n, `died at write ${dies}`)
        const at = `world/evm/${chain.network}/${s.treasury.toLowerCase()}`
        assert.equal(await balance(s.ledger, at), -5_000_000n, `died at write ${dies}`)
        assert.deepEqual((await verifyBooks(s.ledger)).problems, [])
      }
      assert.ok(reached >= 8, `${reached} writes`)
    })

  test('a process that is killed between the transfer and its note has swept once', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'sweep-'))
    const file = join(directory, 'books.db')
    const s = await shop()
    await s.earn(6_000_000n)
    const script = `
      import { sqlite } from ${from('../../ledger/sqlite.ts')}
      import { readPrice } from ${from('../../core/money.ts')}
      import { evm } from ${from('./rail.ts')}
      const { file, rpc, network, key, payTo, treasury } = JSON.parse(process.argv[1])
      const books = await sqlite({ file })
      // The chain has it, and that is never written down.
      const ledger = { ...books, post: (name, ...rest) =>
        name.startsWith('sweep/') ? new Promise(() => process.stdout.write('sent')) : books.post(name, ...rest) }
      const rail = evm({ network, rpc, payTo, signer: key, ledger, sweep: {
        treasury, above: readPrice('5 USD'), keep: readPrice('1 USD') } })
      await rail.open()
      setInterval(() => undefined, 1000)
      await rail.sweep()`
    const { network, rpc } = chain
    const { treasury, privateKey: key } = s
    const told = JSON.stringify({ file, rpc, network, key, payTo: s.seller.address, treasury })
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, told], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      await Promise.race([
        once(child.stdout, 'data'),
        once(child, 'exit').then(() => assert.fail('it ended by itself')),
      ])
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
      assert.equal(await chain.balanceOf(treasury), 5_000_000n)
      const ledger = await sqlite({ file, clock: s.clock })
      try {
        assert.equal(stateOf(await s.sweep({}, { ledger })), 'open', 'its turn is not over')
        s.pass(DAY_MS / 2)
        assert.equal(stateOf(await s.sweep({}, { ledger })), 'swept')
        assert.equal(await chain.balanceOf(treasury), 5_000_000n)
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
      } finally {
        await ledger.close()
      }
    } finally {
      child.kill('SIGKILL')
      await rm(directory, { recursive: true, force: true })
    }
  })
})

function from(path: string): string {
  return JSON.stringify(new URL(path, import.meta.url).href)
}

/** Books of a process that dies at a write, after it was done or before. Nothing is written after that. */
function mortal(
  ledger: Ledger,
  isTime: (verb: string, key: string) => boolean,
  late = true,
): Ledger {
  let dead = false
  const write =
    <F, A extends readonly unknown[], R>(
      name: string,
      verb: (first: F, ...rest: A) => Promise<R>,
      keyOf: (first: F) => string,
    ) =>
    async (first: F, ...rest: A): Promise<R> => {
      if (dead) throw new Error('dead')
      dead = isTime(name, keyOf(first))
      if (!dead) return await verb(first, ...rest)
      if (late) await verb(first, ...rest)
      throw new Error('dies')
    }
  const itself = (key: string): string => key
  type Of<V extends 'step' | 'post' | 'void'> = Parameters<Ledger[V]>
  return {
    ...ledger,
    transfer: write(
      'transfer',
      (transfer: Transfer) => ledger.transfer(transfer),
      ({ key }) => key,
    ),
    step: write('step', (...given: Of<'step'>) => ledger.step(...given), itself),
    post: write('post', (...given: Of<'post'>) => ledger.post(...given), itself),
    void: write('void', (...given: Of<'void'>) => ledger.void(...given), itself),
  }
}
