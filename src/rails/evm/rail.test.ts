// One real chain for all of these, with Circle's own contract. Every attack stands beside the honest payment.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { concat, encodeAbiParameters, getContractAddress, numberToHex, pad } from 'viem'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Event } from '../../core/event.ts'
import type { Money } from '../../core/money.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Settlement, Step, Verdict } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { systemClock } from '../../core/clock.ts'
import type { Chain } from '../../sandbox/chain.ts'
import { startChain } from '../../sandbox/chain.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'
import type { Proof } from './proof.ts'
import type { EvmRail, EvmSettings } from './rail.ts'
import { evm } from './rail.ts'
import type { RpcEvent } from './rpc.ts'
import { fromAccount } from './signer.ts'
import { encodeBatch } from './abi.ts'
import { MULTICALL3, transferCall } from './token.ts'
import { typedData } from './typed-data.ts'
import { networks } from './networks.ts'
import { wallet } from './wallet.ts'

const NETWORK = 'eip155:84532'
const [, , sepolia] = networks
const usdc = sepolia?.tokens[0]
assert(usdc)
const token = lower(usdc.address)
const DEPLOYER: Hex = '0x4e59b44847b379578588920ca78fbf26c0b4956c'

let chain: Chain
let rail: EvmRail
let skippedMs = 0
const clock: Clock = {
  now: () => Date.now() + skippedMs,
  sleep: (ms, signal) => systemClock.sleep(ms, signal),
}
const seller = account()
const sending = account()
const calls: RpcEvent[] = []

before(async () => {
  chain = await startChain()
  await chain.fundEther(sending.address, 10n ** 20n)
  await chain.fundEther(seller.address, 10n ** 20n)
  await chain.mint(seller.address, 1_000_000n)
  rail = await opened()
})

after(async () => {
  await rail?.close()
  await chain?.stop()
})

function account(): LocalAccount {
  return privateKeyToAccount(generatePrivateKey())
}

function settings(more: Partial<EvmSettings> = {}): EvmSettings {
  const { rpc } = chain
  return {
    network: NETWORK,
    rpc,
    payTo: seller.address,
    signer: sending,
    refundSigner: seller,
    factories: [DEPLOYER],
    clock,
    onCall: (event) => calls.push(event),
    ...more,
  }
}

async function opened(more: Partial<EvmSettings> = {}): Promise<EvmRail> {
  const made = evm(settings(more))
  await made.open()
  return made
}

/** One rail for one test, closed behind it. */
async function using<T>(
  more: Partial<EvmSettings>,
  work: (rail: EvmRail) => Promise<T>,
): Promise<T> {
  const made = await opened(more)
  try {
    return await work(made)
  } finally {
    await made.close()
  }
}

function offerOf(price = '0.01 USD'): Offer<Details> {
  const [terms] = rail.quote(readPrice(price))
  assert(terms)
  const url = 'https://shop.example/a'
  const where = { realm: 'shop', method: 'GET', authority: 'shop.example', path: '/a', query: '' }
  return { ...terms, id: 'x', resource: { ...where, url }, expiresAt: clock.now() + 300_000 }
}

/** A payer with money. */
async function payer(amount = 1_000_000n): Promise<LocalAccount> {
  const one = account()
  await chain.mint(one.address, amount)
  return one
}

function pay(from: LocalAccount, offer: Offer<Details>, validForMs = 300_000): Promise<Proof> {
  return wallet({ signer: fromAccount(from), clock }).pay(offer, validForMs)
}

/** Signs whatever is asked for, honest or not. */
async function signed(from: LocalAccount, changes: Partial<Proof> = {}): Promise<Proof> {
  const { signature: _, ...honest } = await pay(from, offerOf())
  const authorization = { ...honest, ...changes }
  assert(usdc)
  const { domain, types, primaryType, message } = typedData(usdc, 84532, authorization)
  const signature = await from.signTypedData({ domain, types, primaryType, message })
  return { ...authorization, signature }
}

interface Memory extends Log {
  readonly steps: Step[]
}

function memory(steps: Step[] = []): Memory {
  return {
    steps,
    read: async () => [...steps],
    write: async (step) => void steps.push(JSON.parse(JSON.stringify(step)) as Step),
  }
}

async function settle(
  offer: Offer<Details>,
  proof: Proof,
  log: Log = memory(),
  by: EvmRail = rail,
): Promise<Settlement> {
  return by.settle(offer, proof, by.identify(offer, proof).key, log)
}

async function submit(proof: Proof): Promise<string> {
  return chain.send({ to: token, data: transferCall(token, proof, proof.signature).data })
}

function why(verdict: Verdict): string {
  return verdict.ok ? 'ok' : `${verdict.problem.code} ${verdict.problem.reason}`
}

function whyNot(settlement: Settlement | undefined): string {
  if (settlement?.state !== 'failed') return String(settlement?.state)
  return `${settlement.problem.code} ${settlement.problem.reason}`
}

async function earned<T>(work: () => Promise<T>): Promise<[bigint, T]> {
  const had = await chain.balanceOf(seller.address)
  const result = await work()
  return [(await chain.balanceOf(seller.address)) - had, result]
}

describe('an honest payment', () => {
  test('is verified with one call, settled with two, and the payee has the money', async () => {
    const from = await payer()
    const offer = offerOf()
    const warm = await pay(from, offer)
    await rail.verify(offer, warm)
    await settle(offer, warm)
    const proof = await pay(from, offer)
    calls.length = 0
    const verdict = await rail.verify(offer, proof)
    assert.deepEqual(methods(), ['eth_call'])
    assert(verdict.ok)
    assert.equal(verdict.payer, lower(from.address))
    assert.equal(verdict.key, `${NETWORK}/erc20:${token}/${proof.from}/${proof.nonce}`)
    const log = memory()
    const [gain, settlement] = await earned(() => settle(offer, proof, log))
    assert.equal(gain, 10_000n)
    assert(settlement.state === 'settled')
    assert.match(settlement.reference, /^0x[0-9a-f]{64}$/)
    assert.deepEqual(
      log.steps.map(({ type }) => type),
      ['prepared', 'broadcast'],
    )
    assert.deepEqual(methods(), ['eth_call', 'eth_sendRawTransaction', 'eth_getTransactionReceipt'])
  })

  test('is one of twenty at once through one sending key, and all succeed', async () => {
    const payers = await Promise.all(Array.from({ length: 20 }, () => payer()))
    const offer = offerOf()
    const [gain, settlements] = await earned(() =>
      Promise.all(
        payers.map(async (from) => {
          const proof = await pay(from, offer)
          assert.equal(why(await rail.verify(offer, proof)), 'ok')
          return settle(offer, proof)
        }),
      ),
    )
    assert.deepEqual(new Set(settlements.map(({ state }) => state)), new Set(['settled']))
    assert.equal(gain, 200_000n)
  })

  test('settled twice at the same time moves the money once and names the same transaction', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    const log = memory()
    const [gain, both] = await earned(() =>
      Promise.all([settle(offer, proof, log), settle(offer, proof, log)]),
    )
    assert.equal(gain, 10_000n)
    const [one, two] = both
    assert(one.state === 'settled' && two.state === 'settled')
    assert.equal(one.reference, two.reference)
  })
})

function methods(): string[] {
  return calls.map(({ method }) => method)
}

describe('a payment that is not right is refused, and nothing is sent', () => {
  const cases: Record<string, [Partial<Proof> | (() => Partial<Proof>), string]> = {
    'another amount': [{ value: 9_999n }, 'amount-mismatch amount-mismatch'],
    'more than the amount': [{ value: 10_001n }, 'amount-mismatch amount-mismatch'],
    'another payee': [
      { to: '0x00000000000000000000000000000000deadbeef' },
      'payee-mismatch payee-mismatch',
    ],
    'an end that has passed': [{ validBefore: 1_000_000n }, 'proof-expired too-late'],
    'an end within the margin': [
      () => ({ validBefore: BigInt(Math.floor(clock.now() / 1000) + 4) }),
      'proof-expired too-late',
    ],
    'a begin in the future': [
      () => ({ validAfter: BigInt(Math.floor(clock.now() / 1000) + 60) }),
      'proof-expired too-early',
    ],
  }
  for (const [name, [changes, expected]] of Object.entries(cases))
    test(name, async () => {
      const from = await payer()
      const changed = await signed(from, typeof changes === 'function' ? changes() : changes)
      calls.length = 0
      assert.equal(why(await rail.verify(offerOf(), changed)), expected)
      assert.equal(whyNot(await settle(offerOf(), changed)), expected)
      assert.deepEqual(methods(), [], 'it did not need the chain')
      assert.equal(why(await rail.verify(offerOf(), await signed(from))), 'ok')
    })

  test('less life than the work needs', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer, 60_000)
    assert.equal(why(await rail.verify(offer, proof, 30_000)), 'ok')
    assert.equal(why(await rail.verify(offer, proof, 60_000)), 'proof-expired too-late')
  })

  test('no funds', async () => {
    const from = await payer(9_999n)
    const proof = await signed(from)
    assert.equal(why(await rail.verify(offerOf(), proof)), 'funds-insufficient funds-insufficient')
    await chain.mint(from.address, 1n)
    assert.equal(why(await rail.verify(offerOf(), proof)), 'ok')
  })

  test('a signature by another key, garbled, its high-s twin, and v of 0 or 1', async () => {
    const proof = await signed(await payer())
    const body = proof.signature.slice(0, 130) as Hex
    const v = Number.parseInt(proof.signature.slice(130), 16)
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
    const s = order - BigInt(`0x${body.slice(66)}`)
    const twin = concat([
      body.slice(0, 66) as Hex,
      numberToHex(s, { size: 32 }),
      numberToHex(55 - v),
    ])
    const others = {
      another: (await signed(account(), { nonce: proof.nonce })).signature,
      garbled: `0x${'ab'.repeat(64)}1b`,
      twin,
      zero: concat([body, numberToHex(v - 27, { size: 1 })]),
      short: '0xabcd',
      long: `0x${'cd'.repeat(200)}`,
    } as const
    for (const [name, signature] of Object.entries(others)) {
      const verdict = await rail.verify(offerOf(), { ...proof, signature })
      assert.match(why(verdict), /^proof-invalid (signature-invalid|simulation-failed)$/, name)
      const settlement = await settle(offerOf(), { ...proof, signature })
      assert.equal(whyNot(settlement), 'settlement-failed simulation-failed', name)
    }
    assert.equal(why(await rail.verify(offerOf(), { ...proof })), 'ok')
  })

  test('a signature for another domain', async () => {
    const from = await payer()
    assert(usdc)
    const { signature: _, ...authorization } = await signed(from)
    const foreign = typedData({ ...usdc, name: 'USD Coin' }, 84532, authorization)
    const { domain, types, primaryType, message } = foreign
    const signature = await from.signTypedData({ domain, types, primaryType, message })
    assert.match(
      why(await rail.verify(offerOf(), { ...authorization, signature })),
      /^proof-invalid/,
    )
  })

  test('an offer on another network or in another token', async () => {
    const proof = await signed(await payer())
    const offer = offerOf()
    const elsewhere = { ...offer, network: 'eip155:8453' }
    assert.match(why(await rail.verify(elsewhere, proof)), /^credential-unsupported/)
    const details = { ...offer.details, asset: seller.address }
    assert.match(why(await rail.verify({ ...offer, details }, proof)), /^credential-unsupported/)
  })

  test('a replay of a settled payment, under its own key', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    assert.equal((await settle(offer, proof)).state, 'settled')
    const verdict = await rail.verify(offer, proof)
    assert.equal(why(verdict), 'payment-spent nonce-used')
    assert.equal(verdict.key, rail.identify(offer, proof).key)
  })
})

describe('when somebody else submits the authorization', () => {
  test('before it is verified, it is told as spent, and found as paid with the time of its block', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    const [gain, hash] = await earned(() => submit(proof))
    assert.equal(gain, 10_000n)
    const verdict = await rail.verify(offer, proof)
    assert.equal(why(verdict), 'payment-spent nonce-used')
    const found = await rail.find(offer, rail.identify(offer, proof).key, memory())
    assert(found?.state === 'settled')
    assert.equal(found.reference, hash)
    assert(Math.abs(found.settledAt - clock.now()) < 60_000)
  })

  test('between verify and settle, their transaction counts as the payment', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    assert.equal(why(await rail.verify(offer, proof)), 'ok')
    const hash = await submit(proof)
    const [gain, settlement] = await earned(() => settle(offer, proof))
    assert.equal(gain, 0n)
    assert(settlement.state === 'settled')
    assert.equal(settlement.reference, hash)
  })

  test('a nonce that was cancelled pays nothing', async () => {
    const offer = offerOf()
    const from = await payer()
    const proof = await pay(from, offer)
    assert.equal(why(await rail.verify(offer, proof)), 'ok')
    await cancel(from, proof.nonce)
    assert.equal(whyNot(await settle(offer, proof)), 'payment-spent nonce-used')
    const key = rail.identify(offer, proof).key
    assert.equal(whyNot(await rail.find(offer, key, memory())), 'payment-spent nonce-used')
  })

  test('one transaction with two nonces and one transfer to us pays one of them only', async () => {
    const offer = offerOf()
    const from = await payer()
    const to = lower(account().address)
    const first = await signed(from)
    const elsewhere = await signed(from, { to })
    const ours = await signed(from, { nonce: elsewhere.nonce })
    const batch = [elsewhere, first].map((proof) => transferCall(token, proof, proof.signature))
    await chain.send({ to: MULTICALL3, data: encodeBatch(batch) })
    const paid = await rail.find(offer, rail.identify(offer, first).key, memory())
    assert.equal(paid?.state, 'settled')
    const not = await rail.find(offer, rail.identify(offer, ours).key, memory())
    assert.equal(whyNot(not), 'payment-spent nonce-used')
  })
})

async function cancel(from: LocalAccount, nonce: Hex): Promise<void> {
  assert(usdc)
  const fields = [
    { name: 'authorizer', type: 'address' },
    { name: 'nonce', type: 'bytes32' },
  ]
  const { name, version, address: verifyingContract } = usdc
  const signature = await from.signTypedData({
    domain: { name, version, chainId: 84532, verifyingContract },
    types: { CancelAuthorization: fields },
    primaryType: 'CancelAuthorization',
    message: { authorizer: from.address, nonce },
  })
  const body = encodeAbiParameters(
    [{ type: 'address' }, { type: 'bytes32' }, { type: 'bytes' }],
    [from.address, nonce, signature],
  )
  // cancelAuthorization(address,bytes32,bytes)
  await chain.send({ to: token, data: concat(['0xb7b72899', body]) })
}

/**
 * A wallet that believes one key (ERC-1271): it recovers the signer of the hash by the precompile at address 1 and
 * compares. The key is `owner`, or, with the opcode ADDRESS in its place, the account that the code is delegated to.
 */
function walletCode(owner: Hex | 'self'): Hex {
  const key = owner === 'self' ? '30' : `73${owner.slice(2).toLowerCase()}`
  const load = '60043560005260a43560001a602052606435604052608435606052'
  const recover = '602060806080600060015afa50'
  const answer = `608051${key}14631626ba7e60e01b0260005260206000f3`
  return creation(`${load}${recover}${answer}`)
}

/** Creation code that leaves the given code on the chain. */
function creation(runtime: string): Hex {
  const size = (runtime.length / 2).toString(16).padStart(2, '0')
  return `0x60${size}600c60003960${size}6000f3${runtime}`
}

describe('wallets that are contracts', () => {
  test('a deployed one (ERC-1271) pays with its owner’s signature, and not with another’s', async () => {
    const owner = account()
    const from = lower((await chain.deploy(walletCode(owner.address))) as Hex)
    await chain.mint(from, 1_000_000n)
    const offer = offerOf()
    const bad = await signed(account(), { from })
    assert.equal(why(await rail.verify(offer, bad)), 'proof-invalid signature-invalid')
    const good = await signed(owner, { from })
    assert.equal(why(await rail.verify(offer, good)), 'ok')
    const [gain, settlement] = await earned(() => settle(offer, good))
    assert.equal(settlement.state, 'settled')
    assert.equal(gain, 10_000n)
  })

  test('one that takes longer signatures is paid through the overload of bytes', async () => {
    const owner = account()
    const from = lower((await chain.deploy(walletCode(owner.address))) as Hex)
    await chain.mint(from, 1_000_000n)
    const short = await signed(owner, { from })
    const long = { ...short, signature: concat([short.signature, '0xfeedbeef']) }
    assert.equal(why(await rail.verify(offerOf(), long)), 'ok')
    const [gain, settlement] = await earned(() => settle(offerOf(), long))
    assert.equal(settlement.state, 'settled')
    assert.equal(gain, 10_000n)
  })

  test('one that does not exist yet (ERC-6492) is made and pays in one transaction, by a factory on the list only', async () => {
    const owner = account()
    const bytecode = walletCode(owner.address)
    const salt = pad('0x01')
    const made = getContractAddress({ opcode: 'CREATE2', from: DEPLOYER, salt, bytecode })
    const from = lower(made)
    await chain.mint(from, 1_000_000n)
    const inner = await signed(owner, { from })
    const wrapped = { ...inner, signature: wrap(DEPLOYER, concat([salt, bytecode]), inner) }
    assert.match(why(await rail.verify(offerOf(), inner)), /^proof-invalid/)
    assert.equal(why(await rail.verify(offerOf(), wrapped)), 'ok')
    await using({ factories: [] }, async (strict) => {
      const verdict = await strict.verify(offerOf(), wrapped)
      assert.equal(why(verdict), 'credential-unsupported factory-refused')
      const settlement = await settle(offerOf(), wrapped, memory(), strict)
      assert.equal(whyNot(settlement), 'credential-unsupported factory-refused')
    })
    const broken = { ...inner, signature: wrap(DEPLOYER, concat([salt, '0xfe']), inner) }
    assert.match(why(await rail.verify(offerOf(), broken)), /^proof-invalid/)
    const [gain, settlement] = await earned(() => settle(offerOf(), wrapped))
    assert.equal(settlement.state, 'settled')
    assert.equal(gain, 10_000n)
    assert.notEqual(await chain.request('eth_getCode', [from, 'latest']), '0x')
  })

  test('an account with delegated code (EIP-7702) pays if the code knows ERC-1271, and is refused if not', async () => {
    const good = await delegated(walletCode('self'))
    const bad = await delegated(creation('00'))
    assert.match(why(await rail.verify(offerOf(), await signed(bad))), /^proof-invalid/)
    const proof = await signed(good)
    assert.equal(why(await rail.verify(offerOf(), proof)), 'ok')
    const [gain, settlement] = await earned(() => settle(offerOf(), proof))
    assert.equal(settlement.state, 'settled')
    assert.equal(gain, 10_000n)
  })
})

async function delegated(code: Hex): Promise<LocalAccount> {
  const from = await payer()
  const address = await chain.deploy(code)
  // What a delegation leaves at the account (EIP-7702).
  await chain.request('anvil_setCode', [from.address, concat(['0xef0100', address as Hex])])
  return from
}

function wrap(factory: Hex, data: Hex, { signature }: Proof): Hex {
  const body = encodeAbiParameters(
    [{ type: 'address' }, { type: 'bytes' }, { type: 'bytes' }],
    [factory, data, signature],
  )
  return concat([body, `0x${'6492'.repeat(16)}`])
}

describe('when the node is in trouble', () => {
  test('the next endpoint answers if the first is dead, hangs, or answers nonsense', async () => {
    const nonsense = ['<html>', '{}', '{"jsonrpc":"2.0","id":1,"result":null}', 'null', '[]']
    for (const body of [...nonsense, undefined])
      await withServer(body, (first) =>
        using({ rpc: [first, chain.rpc], rpcTimeoutMs: 1_000 }, async (two) => {
          const offer = offerOf()
          const proof = await pay(await payer(), offer)
          assert.equal(why(await two.verify(offer, proof)), 'ok', body)
          assert.equal((await settle(offer, proof, memory(), two)).state, 'settled', body)
        }),
      )
    await using({ rpc: ['http://127.0.0.1:1', chain.rpc] }, async (two) => {
      const offer = offerOf()
      assert.equal(why(await two.verify(offer, await pay(await payer(), offer))), 'ok')
    })
  })

  test('an outage is a fault, never an invalid signature, and gives nothing away', async () => {
    let down = false
    const fetch: typeof globalThis.fetch = (...args) =>
      down
        ? Promise.reject(new TypeError(`connect ${chain.rpc} refused`))
        : globalThis.fetch(...args)
    await using({ fetch }, async (one) => {
      const offer = offerOf()
      const proof = await pay(await payer(), offer)
      down = true
      await assert.rejects(one.verify(offer, proof), (error) => {
        assert(error instanceof PaymentError)
        assert.equal(error.code, 'rail-unavailable')
        assert.doesNotMatch(error.message, /http|127|connect/)
        return true
      })
      const settlement = await settle(offer, proof, memory(), one)
      assert(settlement.state !== 'settled')
      down = false
      assert.equal(why(await one.verify(offer, proof)), 'ok')
    })
  })
})

async function withServer<T>(
  body: string | undefined,
  work: (url: string) => Promise<T>,
): Promise<T> {
  const server = createServer((_request, response) => {
    // Without a body it never answers.
    if (body !== undefined) response.end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

describe('after a crash', () => {
  test('what was written ahead and never sent is sent', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    const key = rail.identify(offer, proof).key
    const log = memory()
    await crashed(offer, proof, log, 'before')
    assert.equal(log.steps.length, 1)
    const [gain, found] = await earned(() => using({}, (again) => again.find(offer, key, log)))
    assert.equal(found?.state, 'settled')
    assert.equal(gain, 10_000n)
  })

  test('what was sent and not recorded is found, and not sent again', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    const key = rail.identify(offer, proof).key
    const log = memory()
    const [gain, found] = await earned(async () => {
      await crashed(offer, proof, log, 'after')
      return using({}, (again) => again.find(offer, key, log))
    })
    assert(found?.state === 'settled')
    assert.equal(found.reference, log.steps[0]?.data['hash'])
    assert.equal(gain, 10_000n)
  })

  test('what was written ahead under a number that another payment took is signed anew', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    const key = rail.identify(offer, proof).key
    const log = memory()
    await crashed(offer, proof, log, 'before')
    await using({}, async (again) => {
      assert.equal(
        (await settle(offer, await pay(await payer(), offer), memory(), again)).state,
        'settled',
      )
      const [gain, found] = await earned(() => again.find(offer, key, log))
      assert.equal(found?.state, 'settled')
      assert.equal(gain, 10_000n)
    })
    assert.equal(log.steps.filter(({ type }) => type === 'prepared').length, 2)
    rail = await reopened()
  })

  test('what expired unspent is dead; what was never prepared leaves no trace', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer, 60_000)
    const key = rail.identify(offer, proof).key
    const log = memory()
    assert.equal(await rail.find(offer, key, log), undefined)
    await crashed(offer, proof, log, 'before')
    await chain.increaseTime(120)
    skippedMs += 120_000
    const found = await rail.find(offer, key, log)
    assert.equal(whyNot(found), 'settlement-failed too-late')
    const fresh = await pay(await payer(), offer)
    assert.equal(why(await rail.verify(offer, fresh)), 'ok')
  })
})

async function reopened(): Promise<EvmRail> {
  await rail.close()
  return opened()
}

/** Settles with a process that dies before or after the bytes have left. */
async function crashed(
  offer: Offer<Details>,
  proof: Proof,
  log: Log,
  when: 'before' | 'after',
): Promise<void> {
  const fetch: typeof globalThis.fetch = async (url, init) => {
    const sends = typeof init?.body === 'string' && init.body.includes('eth_sendRawTransaction')
    if (sends && when === 'after') await globalThis.fetch(url, init)
    if (sends) throw new TypeError('the process is dead')
    return globalThis.fetch(url, init)
  }
  const mute: Log = {
    read: () => log.read(),
    write: async (step) => (step.type === 'prepared' ? log.write(step) : undefined),
  }
  await using({ fetch, settleTimeoutMs: 0 }, (dying) => settle(offer, proof, mute, dying))
}

describe('the sending key', () => {
  test('may be used by two processes at once: taken numbers are asked for anew', async () => {
    await using({}, async (other) => {
      const offer = offerOf()
      const payers = await Promise.all(Array.from({ length: 6 }, () => payer()))
      const [gain, settlements] = await earned(() =>
        Promise.all(
          payers.map(async (from, i) =>
            settle(offer, await pay(from, offer), memory(), i % 2 ? rail : other),
          ),
        ),
      )
      assert.deepEqual(new Set(settlements.map(({ state }) => state)), new Set(['settled']))
      assert.equal(gain, 60_000n)
    })
  })

  test('sends nothing while gas costs more than the settings allow', async () => {
    await using({ feePerGasMax: 1n }, async (thrifty) => {
      const offer = offerOf()
      const proof = await pay(await payer(), offer)
      const log = memory()
      assert.match(whyNot(await settle(offer, proof, log, thrifty)), /^rail-unavailable/)
      assert.deepEqual(log.steps, [])
      assert.equal((await settle(offer, proof, log)).state, 'settled')
    })
  })

  test('without ether takes nothing, says so when it opens, and leaves no gap in its numbers', async () => {
    const poor = account()
    const told: Event[] = []
    const more = { signer: poor, observe: (event: Event) => void told.push(event) }
    await using(more, async (broke) => {
      assert.deepEqual(
        told.map(({ type }) => type),
        ['fault'],
      )
      const offer = offerOf()
      const first = await pay(await payer(), offer)
      assert.match(whyNot(await settle(offer, first, memory(), broke)), /^settlement-failed/)
      await chain.fundEther(poor.address, 10n ** 18n)
      assert.equal((await settle(offer, first, memory(), broke)).state, 'settled')
      const second = await pay(await payer(), offer)
      assert.equal((await settle(offer, second, memory(), broke)).state, 'settled')
    })
  })

  test('a payment that no block takes is unknown, and is found once one does', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    const key = rail.identify(offer, proof).key
    const log = memory()
    await chain.request('evm_setAutomine', [false])
    try {
      await using({ settleTimeoutMs: 60 }, async (hasty) => {
        assert.equal((await settle(offer, proof, log, hasty)).state, 'unknown')
        assert.equal((await hasty.find(offer, key, log))?.state, 'unknown')
        await chain.mine()
        assert.equal((await hasty.find(offer, key, log))?.state, 'settled')
      })
    } finally {
      await chain.request('evm_setAutomine', [true])
    }
    assert.equal(log.steps.filter(({ type }) => type === 'prepared').length, 1)
  })

  test('a payment whose fee the chain has outgrown is replaced under its own number', async () => {
    const offer = offerOf()
    const proof = await pay(await payer(), offer)
    const key = rail.identify(offer, proof).key
    const log = memory()
    await crashed(offer, proof, log, 'before')
    await chain.request('anvil_setNextBlockBaseFeePerGas', ['0x2540be400'])
    await chain.mine()
    const [gain, found] = await earned(() => using({}, (again) => again.find(offer, key, log)))
    assert.equal(found?.state, 'settled')
    assert.equal(gain, 10_000n)
    const prepared = log.steps.filter(({ type }) => type === 'prepared')
    const [cheap, dear] = prepared.map(({ data }) => data)
    assert.equal(cheap?.['nonce'], dear?.['nonce'])
    assert.notEqual(cheap?.['fee'], dear?.['fee'])
    rail = await reopened()
  })
})

test('the payer’s wallet sees what became of its payment', async () => {
  const from = await payer()
  const purse = wallet({ signer: fromAccount(from), clock, rpc: { [NETWORK]: chain.rpc } })
  const offer = offerOf()
  const proof = await purse.pay(offer, 60_000)
  assert.equal(await purse.outcome?.(offer, proof), 'open')
  assert.equal((await settle(offer, proof)).state, 'settled')
  assert.equal(await purse.outcome?.(offer, proof), 'paid')
  const cancelled = await purse.pay(offer, 60_000)
  await cancel(from, cancelled.nonce)
  assert.equal(await purse.outcome?.(offer, cancelled), 'dead')
  const late = await purse.pay(offer, 60_000)
  await chain.increaseTime(120)
  skippedMs += 120_000
  assert.equal(await purse.outcome?.(offer, late), 'dead')
})

async function refunded(
  offer: Offer<Details>,
  to: string,
  amount: Money,
  key: string,
  log: Log,
): Promise<Settlement> {
  assert('refund' in rail)
  const settlement = await rail.refund?.(offer, to, amount, key, log)
  assert(settlement)
  return settlement
}

describe('a refund', () => {
  test('goes back once, however often it is asked for', async () => {
    const offer = offerOf()
    const from = await payer()
    const proof = await pay(from, offer)
    assert.equal((await settle(offer, proof)).state, 'settled')
    const had = await chain.balanceOf(from.address)
    const log = memory()
    const once = (): Promise<Settlement> =>
      refunded(offer, from.address, offer.amount, 'refund-1', log)
    const [one, two] = await Promise.all([once(), once()])
    const three = await once()
    assert(one.state === 'settled' && two.state === 'settled' && three.state === 'settled')
    assert.equal(one.reference, two.reference)
    assert.equal(one.reference, three.reference)
    assert.equal(await chain.balanceOf(from.address), had + 10_000n)
  })

  test('is not there without the key of the account that earned', async () => {
    const { refundSigner: _, ...rest } = settings()
    assert.equal('refund' in evm(rest), false)
    assert.equal('refund' in evm({ ...rest, payTo: sending.address }), true)
  })
})

describe('opening', () => {
  test('refuses another chain, another domain, and a token that is not there', async () => {
    const asset = { ...usdc, code: 'USDC' } as NonNullable<typeof usdc>
    await assert.rejects(
      using({ network: 'base' }, async () => undefined),
      /serves chain 84532, not 8453/,
    )
    await assert.rejects(
      using({ assets: [{ ...asset, name: 'USD Coin' }] }, async () => undefined),
      /takes signatures for the domain "USDC" version "2"; the settings say "USD Coin"/,
    )
    await assert.rejects(
      using({ assets: [{ ...asset, address: sending.address }] }, async () => undefined),
      /no contract/,
    )
    await assert.rejects(
      using({ assets: [{ ...asset, address: MULTICALL3 }] }, async () => undefined),
      /does not know EIP-3009/,
    )
    const flipped = seller.address.replace(/[a-f]/i, (c) =>
      c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase(),
    )
    await assert.rejects(
      using({ payTo: flipped }, async () => undefined),
      /checksum is wrong/,
    )
  })

  test('tells which code checks signatures and what the sending key holds', async () => {
    const health = await rail.health()
    assert.match(health.engine, /^(native|wasm)$/)
    assert.equal(health.batched, true)
    assert(health.senders.every(({ balance }) => balance > 0n))
  })

  test('works on a chain without Multicall3, with three calls for a look', async () => {
    const code = await chain.request('eth_getCode', [MULTICALL3, 'latest'])
    await chain.request('anvil_setCode', [MULTICALL3, '0x'])
    try {
      await using({}, async (bare) => {
        const offer = offerOf()
        const proof = await pay(await payer(), offer)
        calls.length = 0
        assert.equal(why(await bare.verify(offer, proof)), 'ok')
        assert.deepEqual(methods(), ['eth_call', 'eth_call', 'eth_call'])
        assert.equal((await settle(offer, proof, memory(), bare)).state, 'settled')
        assert.equal(why(await bare.verify(offer, proof)), 'payment-spent nonce-used')
        const poor = await signed(await payer(1n))
        assert.match(why(await bare.verify(offer, poor)), /^funds-insufficient/)
      })
    } finally {
      await chain.request('anvil_setCode', [MULTICALL3, code])
    }
  })
})
