// What the rail reads, and what becomes of a payment whose maker died or whose time ran out, on the node's own Tempo mode.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { systemClock } from '../../../core/clock.ts'
import type { Json } from '../../../core/json.ts'
import { createMac } from '../../../core/mac.ts'
import { readPrice } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import { createOffers } from '../../../core/offers.ts'
import type { Log, Settlement, Step } from '../../../core/ports.ts'
import type { Resource } from '../../../core/resource.ts'
import type { Anvil } from '../../../sandbox/anvil.ts'
import { startAnvil } from '../../../sandbox/anvil.ts'
import type { Hex } from '../hex.ts'
import type { Proof } from './forms.ts'
import { isMemoOf, memoOf } from './memo.ts'
import type { TempoRail } from './rail.ts'
import { VALID_AFTER_MS, tempo } from './rail.ts'
import type { Details } from './terms.ts'
import { TRANSACTION_BYTES_MAX, readSigned } from './transaction.ts'
import { tempoWallet } from './wallet.ts'

const CHAIN_ID = 1337
const network = `eip155:${CHAIN_ID}`
const RICH = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'
const payTo = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8'
const realm = 'api.example.com'
const resource: Resource = {
  ...{ realm, method: 'GET', authority: realm, path: '/', query: '' },
  url: `https://${realm}/`,
}
const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))

describe('a memo', () => {
  // Found in a transaction of the reference client: shared/reference of the protocol's facts, A9.
  const id = '4ktt59-IhwKr6dyxOzMFTFtT1e-ZIoSa8SspCUqYHr0'
  const found = '0xef1ed712011ece072f76bd8b82350e0000000000000000000094df05b2ea156a'

  test('is the one that the reference client writes', () => {
    assert.equal(memoOf({ id, realm }), found)
  })

  test('names its challenge, whoever the client is, and no other', () => {
    const named = found.replace('0'.repeat(20), 'ab'.repeat(10))
    for (const memo of [found, named, found.toUpperCase().replace('0X', '0x')])
      assert.ok(isMemoOf(memo, id), memo)
    for (const memo of [found.replace('ef1ed71201', 'ef1ed71202'), `${found}00`, '', '0x'])
      assert.ok(!isMemoOf(memo, id), memo)
    assert.ok(!isMemoOf(found, `${id}x`))
  })
})

test('bytes that are no signed transaction are told, and nothing throws', () => {
  for (const said of [undefined, 1, '', '0x', '0x76', '0x02c0', `0x76${'00'.repeat(9_000)}`])
    assert.equal(typeof readSigned(said), 'string', String(said).slice(0, 20))
  assert.equal(
    readSigned(`0x76${'00'.repeat(TRANSACTION_BYTES_MAX)}`),
    'The transaction is too long.',
  )
  const bytes = fc.uint8Array({ maxLength: 300 })
  fc.assert(
    fc.property(bytes, (some) => {
      assert.equal(typeof readSigned(`0x76${Buffer.from(some).toString('hex')}`), 'string')
    }),
  )
})

describe('a payment', () => {
  let node: Anvil
  const rails: TempoRail[] = []

  before(async () => {
    const now = String(Math.floor(Date.now() / 1_000))
    const rules = ['--network', 'tempo', '--hardfork', 't4', '--chain-id', String(CHAIN_ID)]
    node = await startAnvil([...rules, '--timestamp', now])
    await node.request('anvil_mine', ['0x1'])
  })
  after(async () => {
    await Promise.all(rails.map((rail) => rail.close()))
    await node.stop()
  })

  async function open(more: Partial<Parameters<typeof tempo>[0]> = {}): Promise<TempoRail> {
    const rail = tempo({ network, payTo, rpc: node.rpc, ...more })
    rails.push(rail)
    await rail.open()
    return rail
  }

  function offerOf(rail: TempoRail, nonce: string): Offer<Details> {
    const [terms] = rail.quote(readPrice('0.01 USD'))
    assert.ok(terms)
    return offers.bind(terms, resource, Date.now() + 300_000, nonce)
  }

  async function pay(offer: Offer<Details>, validForMs = 60_000): Promise<Proof> {
    const wallet = tempoWallet({ network, account: RICH, rpc: node.rpc })
    const details = { ...offer.details, challenge: { id: offer.id, realm } }
    return await wallet.pay({ ...offer, details }, validForMs)
  }

  function createLog(): Log & { readonly steps: Step[] } {
    const steps: Step[] = []
    return { steps, read: async () => steps, write: async (step) => void steps.push(step) }
  }

  async function taken(rail: TempoRail, offer: Offer<Details>, proof: Proof): Promise<string> {
    const verdict = await rail.verify(offer, proof)
    assert.ok(verdict.ok, JSON.stringify(verdict))
    return verdict.key
  }

  test('is sent once, though its maker died before or after it was sent', async () => {
    const rail = await open()
    for (const dies of ['before', 'after'] as const) {
      const offer = offerOf(rail, dies)
      const proof = await pay(offer)
      const log = createLog()
      const key = await taken(rail, offer, proof)
      const dying = await open({
        fetch: async (input, init) => {
          const isSent = JSON.stringify(init?.body).includes('eth_sendRaw')
          if (isSent && dies === 'before') throw new Error('died')
          const answer = await fetch(input, init)
          if (isSent) throw new Error('died')
          return answer
        },
        settleTimeoutMs: 0,
      })
      const first = await dying.settle(offer, proof, key, log)
      assert.ok(first.state !== 'failed', JSON.stringify(first))
      assert.equal(log.steps.length, 1)
      const found = await settled(() => rail.find(offer, key, log))
      assert.deepEqual(await rail.find(offer, key, log), found)
      assert.equal(found.reference, 'signed' in proof && proof.signed.hash)
    }
  })

  test('that nobody has sent before its end can never be', async () => {
    const rail = await open()
    const offer = offerOf(rail, 'late')
    const proof = await pay(offer, 8_000)
    const log = createLog()
    const key = await taken(rail, offer, proof)
    assert.ok('signed' in proof)
    const { hash, raw, untilAt } = proof.signed
    await log.write({ type: 'prepared', data: { hash, raw, untilAt } })
    const past = await node.request('evm_snapshot')
    await node.request('anvil_setNextBlockTimestamp', [untilAt / 1_000 + 1])
    await node.request('anvil_mine', ['0x1'])
    const found = await rail.find(offer, key, log)
    assert.equal(found?.state, 'failed')
    assert.equal(found.problem.reason, 'too-late')
    await node.request('evm_revert', [past])
  })

  test('that its payer has sent himself is found where the books know nothing of it', async () => {
    const rail = await open()
    const offer = offerOf(rail, 'pushed')
    const proof = await pay(offer)
    assert.ok('signed' in proof)
    const { raw, hash } = proof.signed
    const pushed: Proof = { hash: hash.toUpperCase().replace('0X', '0x').toLowerCase() as Hex }
    const key = `${network}/tx:${hash}`
    assert.equal(await rail.find(offer, key, createLog()), undefined)
    await node.request('eth_sendRawTransaction', [raw])
    const found = await settled(() => rail.find(offer, key, createLog()))
    assert.equal(found.payer, proof.signed.from)
    // However it is shown, it is the same spend.
    assert.equal(await taken(rail, offer, pushed), key)
    assert.equal(await taken(rail, offer, proof), key)
  })

  test('of an account without the money, or of another amount, is refused before anything is sent', async () => {
    const rail = await open()
    const offer = offerOf(rail, 'poor')
    const [dear] = rail.quote(readPrice('0.02 USD'))
    assert.ok(dear)
    const proof = await pay(offer)
    const other = { ...offer, amount: dear.amount }
    const verdict = await rail.verify(other, proof)
    assert.ok(!verdict.ok && verdict.problem.reason === 'transfer-missing')
    assert.ok('signed' in proof)
    const endless = { ...proof.signed, untilAt: offer.expiresAt + VALID_AFTER_MS + 1_000 }
    const lasting = await rail.verify(offer, { signed: endless })
    assert.ok(!lasting.ok && lasting.problem.reason === 'too-long')
    const elsewhere = offerOf(rail, 'elsewhere')
    const moved = await rail.verify(elsewhere, proof)
    assert.ok(!moved.ok && moved.problem.reason === 'memo-mismatch')
    const rich = { ...offer, amount: { ...offer.amount, amount: 10n ** 30n } }
    const signed = {
      ...proof.signed,
      transfers: proof.signed.transfers.map((one) => ({ ...one, amount: 10n ** 30n })),
    }
    const poor = await rail.verify(rich, { signed })
    assert.ok(!poor.ok && poor.problem.reason === 'funds-insufficient')
    assert.ok((await rail.verify(offer, proof)).ok)
  })
})

describe('what one node says of a transaction that another may have taken', () => {
  const ADDRESS = payTo.toLowerCase()
  const payer = `0x${'11'.repeat(20)}`
  const hash: Hex = `0x${'ab'.repeat(32)}`
  const raw: Hex = '0x7600'
  const refusal = { error: { code: -32000, message: 'nonce too low' } }
  const NOW = 1_800_000_000_000
  type Answer = { readonly result: Json } | { readonly error: { code: number; message: string } }

  interface Told {
    /** What this node answers; undefined where it breaks down. */
    (method: string, url: string): Answer | undefined
  }

  function railOn(told: Told, urls: readonly string[] = ['http://one.test/']): TempoRail {
    const startAt = Date.now()
    return tempo({
      ...{ network: 'tempo', payTo, rpc: urls },
      clock: { now: () => NOW + Date.now() - startAt, sleep: (...of) => systemClock.sleep(...of) },
      async fetch(input, init) {
        const { id, method } = JSON.parse(textOf(init?.body)) as { id: number; method: string }
        const chain = { result: '0x1079' }
        const said = method === 'eth_chainId' ? chain : told(method, textOf(input))
        if (!said) throw new Error('broken')
        return Response.json({ jsonrpc: '2.0', id, ...said })
      },
    })
  }

  function offerOf(rail: TempoRail): Offer<Details> {
    const [terms] = rail.quote(readPrice('0.01 USD'))
    assert.ok(terms)
    return offers.bind(terms, resource, NOW + 300_000, 'once')
  }

  const word = (said: string): string => `0x${said.replace('0x', '').padStart(64, '0')}`

  function receiptFor(offer: Offer<Details>): Answer {
    const topics = [
      '0x57bc7354aa85aed339e000bccffabbc529466af35f0772c8f8ee1145927de7f0',
      word(payer),
      word(ADDRESS),
      memoOf({ id: offer.id, realm }),
    ]
    const data = word(offer.amount.amount.toString(16))
    const logs = [{ address: offer.details.token, topics, data }]
    const block = { blockNumber: '0x5', blockHash: word('0x5') }
    return { result: { transactionHash: hash, status: '0x1', ...block, logs } }
  }

  const time = (ms: number): Answer => ({ result: { timestamp: `0x${(ms / 1000).toString(16)}` } })
  const signedUntil = (untilAt: number): Proof => ({
    signed: { raw, hash, chainId: 4217, from: payer as Hex, untilAt, transfers: [] },
  })
  const log = (steps: Step[] = []): Log => ({
    read: async () => steps,
    write: async (step) => void steps.push(step),
  })
  const ahead = (untilAt: number): Step => ({ type: 'prepared', data: { hash, raw, untilAt } })

  test('a refusal of what was taken before says nothing, and one of what nobody has is the end', async () => {
    for (const isTaken of [true, false]) {
      let sent = 0
      let looks = 0
      let receipt: Answer = { result: null }
      const rail = railOn((method) => {
        if (method === 'eth_getBlockByNumber') return time(NOW)
        if (method === 'eth_getTransactionReceipt') return ++looks > 5 ? receipt : { result: null }
        if (!isTaken) return { error: { code: -32000, message: 'insufficient funds' } }
        return sent++ === 0 ? { result: hash } : refusal
      })
      const offer = offerOf(rail)
      receipt = receiptFor(offer)
      const found = await rail.settle(offer, signedUntil(NOW + 25_000), '', log())
      assert.equal(found.state, isTaken ? 'settled' : 'failed', JSON.stringify(found))
    }
  })

  test('a refusal says nothing where whoever died may have sent it', async () => {
    let now = NOW
    const rail = railOn((method) => {
      if (method === 'eth_getBlockByNumber') return time(now)
      if (method === 'eth_getTransactionReceipt') return { result: null }
      return refusal
    })
    const offer = offerOf(rail)
    const steps = log([ahead(NOW + 25_000)])
    assert.equal((await rail.find(offer, `x/tx:${hash}`, steps))?.state, 'unknown')
    now = NOW + 25_000
    assert.equal((await rail.find(offer, `x/tx:${hash}`, steps))?.state, 'failed')
  })

  test('a node that lags behind does not say that it came too late, in the name of one that has seen the end', async () => {
    const untilAt = NOW + 25_000
    for (const isBehind of [true, false]) {
      const rail = railOn(
        (method, url) => {
          const isFirst = url.includes('one')
          if (method === 'eth_getBlockByNumber') return time(isFirst ? untilAt : NOW)
          if (method !== 'eth_getTransactionReceipt') return { result: hash }
          return isFirst && isBehind ? undefined : { result: null }
        },
        ['http://one.test/', 'http://two.test/'],
      )
      const found = await rail.find(offerOf(rail), `x/tx:${hash}`, log([ahead(untilAt)]))
      assert.equal(found?.state, isBehind ? 'unknown' : 'failed', JSON.stringify(found))
    }
  })
})

/** Looks until the money has moved. */
async function settled(look: () => ReturnType<TempoRail['find']>): Promise<Found> {
  for (let tries = 0; ; tries++) {
    const found = await look()
    if (found?.state === 'settled') return found
    assert.ok(found?.state !== 'failed' && tries < 50, JSON.stringify(found))
    await systemClock.sleep(100)
  }
}

/** What is asked of a node, and where. */
function textOf(said: unknown): string {
  return typeof said === 'string' ? said : ''
}

type Found = Settlement & { readonly state: 'settled' }
