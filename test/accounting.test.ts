// The page on accounting: its programs and its commands run here as they stand, on books that a gate wrote over a real chain.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { chart } from '../src/books/chart.ts'
import { kinds } from '../src/books/entry.ts'
import { entryColumns } from '../src/books/write.ts'
import { createMac } from '../src/core/mac.ts'
import { readPrice } from '../src/core/money.ts'
import { createOffers } from '../src/core/offers.ts'
import type { Ask } from '../src/core/ports.ts'
import { createGate } from '../src/gate/gate.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import { evm } from '../src/rails/evm/rail.ts'
import { fromPrivateKey } from '../src/rails/evm/signer.ts'
import { wallet } from '../src/rails/evm/wallet.ts'
import { startChain } from '../src/sandbox/chain.ts'
import type { Chain } from '../src/sandbox/chain.ts'
import type { Keys } from './interop/peers.ts'
import { createBuyer, createSender } from './interop/peers.ts'
import { openStage, programsIn, readPage } from './programs.ts'
import type { Stage } from './programs.ts'
import { command } from './tolsey.ts'
import type { End } from './tolsey.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
let page: string
let stage: Stage
let chain: Chain
let seller: Keys
let sender: Keys
let buyer: Keys
let key: string

before(async () => {
  page = await readPage('accounting.md')
  stage = await openStage()
  chain = await startChain()
  seller = await createSender(chain)
  sender = await createSender(chain)
  buyer = await createBuyer(chain, 1_000_000n)
  key = await sell()
})
after(async () => {
  await stage?.close()
  await chain?.stop()
})

/** One sale in `books.db`. */
async function sell(): Promise<string> {
  const { network, rpc } = chain
  const rail = evm({ network, rpc, payTo: seller.address, signer: sender.privateKey })
  await rail.open()
  const ledger = await sqlite({ file: join(stage.directory, 'books.db') })
  const offers = createOffers(createMac([SECRET], 'offers'))
  const gate = createGate({ rails: [rail], ledger, offers })
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path: '/a', query: '' }
  const ask: Ask = {
    resource: { ...where, url: 'http://api.test/a' },
    sale: {
      prices: [readPrice('0.01 USD')],
      settle: 'before-response',
      workMs: 5_000,
      account: 'sales/GET /a',
    },
    request: 'r',
  }
  const [offer] = (await gate.challenge(ask)).challenge?.offers ?? []
  assert.ok(offer)
  const proof = await wallet({ signer: fromPrivateKey(buyer.privateKey) }).pay(
    offer as never,
    60_000,
  )
  const entry = await gate.admit({ ...ask, credential: { offer, proof } })
  assert.ok(entry.kind === 'pass')
  await entry.finish(true)
  entry.delivered()
  await gate.close()
  await rail.close()
  await ledger.close()
  return entry.key
}

/** The program under that heading. */
async function program(heading: string): Promise<string> {
  const [, section = ''] = new RegExp(`^## ${heading}\n([\\s\\S]*)`, 'm').exec(page) ?? []
  const [code] = programsIn(section)
  return await stage.write(code ?? assert.fail(heading))
}

async function node(file: string, argv: readonly string[] = []): Promise<string> {
  const env = {
    SECRET,
    RPC: chain.rpc,
    NETWORK: chain.network,
    PAY_TO: seller.address,
    SENDER_KEY: sender.privateKey,
    PAY_TO_KEY: seller.privateKey,
    TREASURY: sender.address,
  }
  const ended = stage.start(file, env, argv)
  assert.equal(await ended.end(), 0, ended.said())
  return ended.said()
}

test('the program that gives back gives back, once, and never too much', async () => {
  const file = await program('Give back')
  const had = await chain.balanceOf(buyer.address)
  const part = [key, 'ticket-4711', '0.004 USD', 'half of it was missing']
  assert.match(await node(file, part), /^refunded /)
  assert.match(await node(file, part), /^refunded /)
  assert.match(await node(file, [key, 'two', '0.007 USD']), /^denied No more is given back/)
  assert.equal(await chain.balanceOf(buyer.address), had + 4_000n)
})

test('the program that reads the books reads them', async () => {
  const said = await node(await program('From a program'))
  assert.match(said, /^sale GET \/a 10000n USDC\n/)
  assert.match(said, /\nrefund GET \/a -4000n USDC\n/)
  assert.match(said, /\nGET \/a 6000n\n$/)
})

test('the program that reconciles and sweeps does so', async () => {
  await chain.mine(100)
  const said = await node(await program('Reconcile and sweep'))
  const found = await chain.balanceOf(seller.address)
  assert.equal(said, `evm looked ${found}n ${found}n\nUSDC below\n`)
})

test('every command of the page does what it says', async () => {
  const commands = page.split('\n').filter((line) => /^tolsey .*--books/.test(line))
  assert.ok(commands.length >= 7)
  for (const line of commands) {
    const words = [...line.matchAll(/"\$(\w+)"|(\S+)/g)].map(
      ([, name, word]) => (name === 'KEY' ? key : name === 'PAYER' ? buyer.address : word) ?? '',
    )
    const end: End = await command(words.slice(1), { cwd: stage.directory })
    assert.equal(end.code, 0, `${line}: ${end.stderr}`)
    const isEmpty = line.includes('--state ')
    assert.equal(end.stdout === '', isEmpty, line)
  }
})

test('the page names every account, kind and column', () => {
  for (const { name, kind, means } of chart)
    assert.match(page, new RegExp(`\\| \`${name}\` +\\| ${kind} +\\| ${means}`), name)
  for (const [kind, { means }] of Object.entries(kinds))
    assert.ok(page.includes(`| \`${kind}\``), `${kind}: ${means}`)
  for (const column of entryColumns) assert.ok(page.includes(`\`${column}\``), column)
})
