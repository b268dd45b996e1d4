import type { LocalAccount } from 'viem'
import { assert } from '../../core/assert.ts'
import { systemClock } from '../../core/clock.ts'
import type { Observe } from '../../core/event.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Money } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Rail, Settlement, Verdict } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import type { Call } from './abi.ts'
import { decodeText, encode, encodeBatch, padded, selectors, uint, word } from './abi.ts'
import { check, diagnose, refusal } from './check.ts'
import { unwrap } from './erc6492.ts'
import type { Wrapped } from './erc6492.ts'
import type { ExactSettings } from './exact.ts'
import { exact, keyOf } from './exact.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { isAddress, lower } from './hex.ts'
import type { Token } from './networks.ts'
import { resolveNetwork } from './networks.ts'
import type { Proof } from './proof.ts'
import type { Refused, RpcEvent } from './rpc.ts'
import { createRpc, readHex, readNumber } from './rpc.ts'
import type { Outgoing, Prepared, Sender, WriteAhead } from './sender.ts'
import { FEE_MAX, createQueue, createSender, readPrepared, writePrepared } from './sender.ts'
import type { Engine, Signed, Verifier } from './signature.ts'
import { createVerifier } from './signature.ts'
import { accountOf } from './signer.ts'
import type { Mined, Spend } from './token.ts'
import {
  MULTICALL3,
  balanceCall,
  createReader,
  moved,
  pays,
  readState,
  stateCall,
  transferCall,
} from './token.ts'

/** Gas for a payer whose own signature was checked. A first payment takes 103,000; what is not used is not paid. */
export const PLAIN_GAS = 200_000
/** Most gas for a payer whose wallet decides, unless the settings say otherwise. Making a wallet takes about 350,000. */
export const WALLET_GAS_MAX = 800_000
/** Gas that a look takes beside the transfer. */
const LOOK_GAS = 300_000
/** Gas of a plain transfer back. */
const REFUND_GAS = 120_000
/** What is added to an estimate, in quarters. */
const ESTIMATE_QUARTERS = 5n
/** How long a settlement waits for its block. */
export const SETTLE_WAIT_MS = 30_000
/** How far behind the end of an authorization the chain's clock must be before it is called dead. */
export const DEAD_AFTER_S = 30n
/** Most transactions that one payment is signed into. */
const PREPARED_MAX = 8

/** What the rail is made of. */
export interface EvmSettings extends ExactSettings {
  /** JSON-RPC addresses, the preferred one first. */
  readonly rpc: string | readonly string[]
  /** The key that sends and pays the gas: a private key, or an account of viem. */
  readonly signer: string | LocalAccount
  /** The key of `payTo`, for refunds, where `signer` is not it. */
  readonly refundSigner?: string | LocalAccount
  /** Factories that may make a payer's wallet (ERC-6492); none if absent. They are called with our gas. */
  readonly factories?: readonly string[]
  readonly settleTimeoutMs?: number
  readonly rpcTimeoutMs?: number
  /** Blocks that a payment must be deep, its own counted. */
  readonly confirmations?: number
  /** Most wei per gas. */
  readonly feePerGasMax?: bigint
  readonly walletGasMax?: number
  /** The signature code to use; the fastest that is there if absent. */
  readonly engine?: Engine
  readonly clock?: Clock
  readonly fetch?: typeof globalThis.fetch
  readonly observe?: Observe
  /** Told of each JSON-RPC call. */
  readonly onCall?: (event: RpcEvent) => void
}

/** What the rail knows of itself. */
export interface EvmHealth {
  readonly engine: Engine
  /** Whether a look takes one call (Multicall3) or several. */
  readonly batched: boolean
  readonly senders: readonly { readonly address: string; readonly balance: bigint }[]
}

/** The rail, with a look at its own state. */
export interface EvmRail extends Rail<Details, Proof> {
  /** @throws {PaymentError} when the chain cannot be asked. */
  health(): Promise<EvmHealth>
}

/**
 * `exact` by EIP-3009: the payer signs an authorization, we submit it and pay the gas.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function evm(settings: EvmSettings): EvmRail {
  const method = exact(settings)
  const network = resolveNetwork(settings)
  const { clock = systemClock, observe, fetch, onCall, rpcTimeoutMs } = settings
  const { walletGasMax = WALLET_GAS_MAX, confirmations = 1 } = settings
  const factories = new Set(settings.factories?.map(factory))
  const closing = new AbortController()
  const rpc = createRpc({
    urls: typeof settings.rpc === 'string' ? [settings.rpc] : settings.rpc,
    chainId: network.chainId,
    clock,
    ...(rpcTimeoutMs !== undefined && { timeoutMs: rpcTimeoutMs }),
    ...(fetch && { fetch }),
    ...(onCall && { onCall }),
  })
  const reader = createReader(rpc)
  const sender = senderOf(settings.signer)
  const treasury = treasuryOf()
  const turns = new Map<string, Turn>()
  const domains = new Map<string, Uint8Array>()
  /** What was seen of a proof when it was verified, so that settling does not look again. */
  const seen = new WeakMap<Proof, Signed>()
  let verifier: Verifier | undefined

  function senderOf(signer: string | LocalAccount): Sender {
    return createSender({
      account: accountOf(signer),
      chainId: network.chainId,
      rpc,
      reader,
      clock,
      signal: closing.signal,
      waitMs: settings.settleTimeoutMs ?? SETTLE_WAIT_MS,
      confirmations,
      feeMax: settings.feePerGasMax ?? FEE_MAX,
    })
  }

  /** One key has one sender: two would give the same numbers. */
  function treasuryOf(): Sender | undefined {
    const { refundSigner } = settings
    const own = sender.address === settings.payTo.toLowerCase() ? sender : undefined
    if (refundSigner === undefined) return own
    const { address } = accountOf(refundSigner)
    return lower(address) === sender.address ? sender : senderOf(refundSigner)
  }

  async function open(): Promise<void> {
    await rpc.open()
    await reader.open()
    const loaded = await createVerifier(settings.engine)
    checkCase(settings.payTo, loaded)
    for (const token of network.tokens) await openToken(token, loaded)
    verifier = loaded
    for (const one of senders()) {
      await one.open()
      if ((await one.balance()) === 0n) warn(one.address)
    }
  }

  async function openToken(token: Token, loaded: Verifier): Promise<void> {
    const target = lower(token.address)
    const where = `The token ${token.address} on ${network.id}`
    if ((await rpc.read('eth_getCode', [target, 'latest'], readHex)) === '0x')
      throw new RangeError(`${where} does not exist: there is no contract at this address.`)
    const domain = loaded.domain(token, network.chainId)
    const { domainSeparator, name, version } = selectors
    const views = [domainSeparator, name, version].map((data): Call => ({
      target,
      data,
      allowFailure: true,
    }))
    const probe = { token: target, from: target, nonce: `0x${word(0)}` } as const
    const answers = await reader.batch([...views, stateCall(probe)])
    assert(answers !== 'reverted', 'a batch whose calls may fail does not')
    const [separator, named, versioned, state] = answers
    if (!state?.ok || state.data === '0x')
      throw new RangeError(`${where} does not know EIP-3009: nobody can pay with it here.`)
    const found = [named, versioned].map((a) => a?.ok === true && decodeText(a.data))
    const [foundName, foundVersion] = found
    const agrees = separator?.ok
      ? separator.data === `0x${Buffer.from(domain).toString('hex')}`
      : foundName === token.name && foundVersion === token.version
    if (!agrees)
      throw new RangeError(
        `${where} takes signatures for the domain "${foundName}" version "${foundVersion}"; the settings say "${token.name}" version "${token.version}".`,
      )
    domains.set(target, domain)
  }

  const senders = (): readonly Sender[] =>
    treasury && treasury !== sender ? [sender, treasury] : [sender]

  function warn(address: string): void {
    const error = new PaymentError('misconfigured', `${address} has nothing to pay gas with.`)
    observe?.({ type: 'fault', at: clock.now(), where: `rails/evm ${network.id}`, error })
  }

  function opened(): Verifier {
    assert(verifier, 'the rail is open')
    return verifier
  }

  function sign(offer: Offer<Details>, proof: Proof): Signed {
    const domain = domains.get(lower(offer.details.asset))
    assert(domain, 'the token was looked at when the rail was opened')
    const signed = seen.get(proof) ?? opened().look(domain, proof)
    seen.set(proof, signed)
    return signed
  }

  async function verify(offer: Offer<Details>, proof: Proof, payableForMs = 0): Promise<Verdict> {
    const refused = check(offer, proof, network, clock.now(), payableForMs)
    if (refused) return { ok: false, problem: refused }
    const wrapped = unwrap(proof.signature)
    const kept = wrapped && checkFactory(wrapped)
    if (kept) return { ok: false, problem: kept }
    return look(offer, proof, wrapped === 'garbled' ? undefined : wrapped)
  }

  function checkFactory(wrapped: Wrapped | 'garbled'): Problem | undefined {
    if (wrapped === 'garbled')
      return refusal(
        'proof-invalid',
        'signature-invalid',
        'The signature says that it is wrapped (ERC-6492), and is not.',
      )
    // Whoever names the factory chooses a call that we pay for.
    if (factories.has(wrapped.factory) && reader.batched) return undefined
    return refusal(
      'credential-unsupported',
      'factory-refused',
      'Wallets of this factory that do not exist yet cannot pay here. Make the wallet first.',
    )
  }

  /** One round trip that decides and explains. */
  async function look(offer: Offer<Details>, proof: Proof, wrapped?: Wrapped): Promise<Verdict> {
    const spend = spendOf(offer, proof)
    const { token, from } = spend
    const { key, payer } = method.identify(offer, proof)
    const gas = LOOK_GAS + (sign(offer, proof) === 'payer' ? PLAIN_GAS : walletGasMax)
    const transfer = transferCall(token, proof, wrapped?.signature ?? proof.signature)
    const making = wrapped ? [factoryCall(wrapped)] : []
    const calls = [stateCall(spend), balanceCall(token, from), ...making, transfer]
    const answers = await reader.batch(calls, { from: sender.address, gas })
    if (answers === 'reverted') return { ok: false, problem: tooDear(), key, payer }
    if (readState(answers[0])) return { ok: false, problem: spent(), key, payer }
    const tried = answers.at(-1)
    assert(tried, 'a batch has as many answers as calls')
    const balance = answers[1]?.ok ? uint(answers[1].data) : undefined
    const factory = wrapped ? answers[2] : undefined
    const why = diagnose({ balance, transfer: tried, factory }, proof.value)
    return why ? { ok: false, problem: why, key, payer } : { ok: true, key, payer }
  }

  function spendOf(offer: Offer<Details>, proof: Pick<Proof, 'from' | 'nonce'>): Spend {
    return {
      token: lower(offer.details.asset),
      from: proof.from,
      nonce: proof.nonce,
      payee: lower(offer.payee as Hex),
      amount: offer.amount.amount,
    }
  }

  /** One after the other for each key: the second sees in the log what the first has done. */
  async function inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const turn = turns.get(key) ?? { queue: createQueue(), waiting: 0 }
    turns.set(key, turn)
    turn.waiting++
    try {
      return await turn.queue(work)
    } finally {
      if (--turn.waiting === 0) turns.delete(key)
    }
  }

  async function settle(
    offer: Offer<Details>,
    proof: Proof,
    key: string,
    log: Log,
  ): Promise<Settlement> {
    assert(method.identify(offer, proof).key === key, 'a payment is settled under its own key')
    return inTurn(key, async () => {
      const before = readSteps(await log.read(), 'charge')
      if (before.length === 0) return collect(offer, proof, log)
      return (await search(offer, key, log)) ?? unknown('It was prepared and cannot be found yet.')
    })
  }

  async function collect(offer: Offer<Details>, proof: Proof, log: Log): Promise<Settlement> {
    const refused = check(offer, proof, network, clock.now(), 0)
    if (refused) return failed(refused)
    const sent = await send(offer, proof, log).catch(excuse)
    return 'prepared' in sent ? conclude(spendOf(offer, proof), sent.prepared, log) : sent
  }

  async function send(
    offer: Offer<Details>,
    proof: Proof,
    log: Log,
  ): Promise<Settlement | { readonly prepared: Prepared }> {
    const call = await outgoing(offer, proof)
    if ('code' in call) return failed(call)
    const write = ahead(log, 'charge', { validBefore: proof.validBefore.toString() })
    const sent = await sender.send(call, write)
    assert(sent.state !== 'displaced', 'a new transaction has a free number')
    return sent.state === 'refused' ? failed(unsent(sent.why)) : sent
  }

  /** The call that moves the money. Plain payers cost what is known; for wallets the chain is asked. */
  async function outgoing(offer: Offer<Details>, proof: Proof): Promise<Outgoing | Problem> {
    const wrapped = unwrap(proof.signature)
    const kept = wrapped && checkFactory(wrapped)
    if (kept) return kept
    const { token } = spendOf(offer, proof)
    if (wrapped && wrapped !== 'garbled') {
      const transfer = { ...transferCall(token, proof, wrapped.signature), allowFailure: false }
      return estimate(MULTICALL3, encodeBatch([factoryCall(wrapped), transfer]))
    }
    const { data } = transferCall(token, proof, proof.signature)
    return sign(offer, proof) === 'payer'
      ? { to: token, data, gas: PLAIN_GAS }
      : estimate(token, data)
  }

  async function estimate(to: Hex, data: Hex): Promise<Outgoing | Problem> {
    const answer = await rpc.ask(
      'eth_estimateGas',
      [{ from: sender.address, to, data }],
      readNumber,
    )
    if ('reverted' in answer)
      return refusal(
        'settlement-failed',
        'simulation-failed',
        'The token refuses this transfer now.',
      )
    const needed = answer.result
    if (needed > BigInt(walletGasMax)) return tooDear()
    const gas = Math.min(Number((needed * ESTIMATE_QUARTERS) / 4n), walletGasMax)
    return { to, data, gas }
  }

  async function conclude(spend: Spend, prepared: Prepared, log: Log): Promise<Settlement> {
    const [mined] = await Promise.all([
      sender.wait(prepared),
      // It only tells; what matters was written ahead.
      log.write({ type: 'broadcast', data: { hash: prepared.hash } }).catch(() => undefined),
    ])
    if (!mined) return unknown('It was sent and is in no block yet.')
    return judge(spend, mined).catch(unknownFor)
  }

  /** The token's own log decides, never a transaction's status. */
  async function judge(spend: Spend, mined: Mined): Promise<Settlement> {
    if (pays(mined, spend)) return settled(spend, mined.hash, clock.now())
    const { used } = await reader.state(spend)
    if (used) return traced(spend)
    return failed(
      refusal(
        'settlement-failed',
        'transaction-failed',
        'The chain refused the transfer. Nothing was taken; make a new payment.',
      ),
    )
  }

  /** The nonce is used: by a payment to us, whoever submitted it, or for something else. */
  async function traced(spend: Spend): Promise<Settlement> {
    const trace = await reader.trace(spend)
    if (trace.kind === 'unseen') return unknown('It is used, and where cannot be seen yet.')
    if (trace.kind === 'elsewhere') return failed(spent())
    if (confirmations > 1 && (await reader.height()) - trace.block + 1n < BigInt(confirmations))
      return unknown('It is in a block that is not deep enough yet.')
    return settled(spend, trace.hash, trace.at)
  }

  async function find(
    offer: Offer<Details>,
    key: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    return inTurn(key, () => search(offer, key, log))
  }

  async function search(
    offer: Offer<Details>,
    key: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    const spend = spendOf(offer, readKey(key))
    assert(keyOf(network, spend.token, spend) === key, 'a payment is looked for under its own key')
    const steps = readSteps(await log.read(), 'charge')
    const last = steps.at(-1)
    try {
      const { used, time } = await reader.state(spend)
      if (used) return await traced(spend)
      if (!last) return undefined
      if (time >= last.validBefore + DEAD_AFTER_S) return failed(dead())
      const mined = await firstMined(steps)
      if (mined) return await judge(spend, mined)
      return await resume(spend, steps, log)
    } catch (error) {
      return unknownFor(error)
    }
  }

  async function firstMined(steps: readonly Prepared[]): Promise<Mined | undefined> {
    for (const { hash } of steps.toReversed()) {
      const mined = await reader.mined(hash)
      if (mined) return mined
    }
    return undefined
  }

  /** Sends again what was written ahead. The authorization can be used once, so that this is safe under any number. */
  async function resume(
    spend: Spend,
    steps: readonly (Prepared & { validBefore: bigint })[],
    log: Log,
  ): Promise<Settlement> {
    const last = steps.at(-1)
    assert(last, 'there is something to resume')
    const write = ahead(log, 'charge', { validBefore: last.validBefore.toString() })
    let sent = await sender.again(last, write)
    if (sent.state === 'displaced') {
      if (steps.length >= PREPARED_MAX) return unknown('It was sent too often already.')
      sent = await sender.send(last, write)
    }
    return sent.state === 'sent'
      ? conclude(spend, sent.prepared, log)
      : unknown('It could not be sent again yet.')
  }

  async function refund(
    from: Sender,
    offer: Offer<Details>,
    payer: string,
    amount: Money,
    key: string,
    log: Log,
  ): Promise<Settlement> {
    assert(isAddress(payer), 'a refund goes to an address')
    assert(amount.asset.id === offer.amount.asset.id, 'a refund is in the asset that was paid')
    assert(amount.amount > 0n && amount.amount <= offer.amount.amount, 'no more than was paid')
    const token = lower(offer.details.asset)
    const back: Back = { from, token, payer: lower(payer), amount: amount.amount }
    return inTurn(`refund/${key}`, async () => {
      const steps = readSteps(await log.read(), 'refund')
      try {
        return await (steps.length === 0 ? giveBack(back, log) : resumeBack(back, steps, log))
      } catch (error) {
        return steps.length === 0 ? excuse(error) : unknownFor(error)
      }
    })
  }

  async function giveBack(back: Back, log: Log): Promise<Settlement> {
    const { from, token, payer, amount } = back
    const data = encode(selectors.transfer, padded(payer), word(amount))
    const tried = await rpc.ask(
      'eth_call',
      [{ from: from.address, to: token, data }, 'latest'],
      readHex,
    )
    if ('reverted' in tried)
      return failed(
        refusal('settlement-failed', 'funds-insufficient', 'The account cannot pay this back now.'),
      )
    const sent = await from.send({ to: token, data, gas: REFUND_GAS }, ahead(log, 'refund', {}))
    if (sent.state === 'refused') return failed(unsent(sent.why))
    assert(sent.state === 'sent', 'a new transaction has a free number')
    return concludeBack(back, await from.wait(sent.prepared))
  }

  /** A plain transfer can be made twice, so that it keeps its number: another is never signed for it. */
  async function resumeBack(back: Back, steps: readonly Prepared[], log: Log): Promise<Settlement> {
    const last = steps.at(-1)
    assert(last, 'there is something to resume')
    const mined = await firstMined(steps)
    if (mined) return concludeBack(back, mined)
    const sent = await back.from.again(last, ahead(log, 'refund', {}))
    if (sent.state === 'sent') return concludeBack(back, await back.from.wait(sent.prepared))
    return buried(back, steps)
  }

  /** The number went to another transaction. Once that is final and ours is nowhere, ours is dead. */
  async function buried(back: Back, steps: readonly Prepared[]): Promise<Settlement> {
    const params = [back.from.address, 'finalized'] as const
    const final = Number(await rpc.read('eth_getTransactionCount', params, readNumber))
    const mined = await firstMined(steps)
    if (mined) return concludeBack(back, mined)
    const nonces = steps.map(({ nonce }) => nonce)
    return final > Math.max(...nonces)
      ? failed(refusal('settlement-failed', 'transaction-failed', 'The refund was not sent.'))
      : unknown('The refund is in no block yet.')
  }

  function concludeBack(back: Back, mined: Mined | undefined): Settlement {
    const { from, token, payer, amount } = back
    if (!mined) return unknown('The refund is in no block yet.')
    if (!moved(mined, token, from.address, payer, amount))
      return failed(
        refusal('settlement-failed', 'transaction-failed', 'The chain refused the refund.'),
      )
    return { state: 'settled', reference: mined.hash, payer, settledAt: clock.now() }
  }

  /** Nothing has been sent when one of these is thrown. */
  function excuse(error: unknown): Settlement {
    if (!(error instanceof PaymentError) || error.code !== 'rail-unavailable') throw error
    return failed(
      problem('rail-unavailable', 'The chain cannot be reached now. Send the same payment again.'),
    )
  }

  return {
    ...method,
    open,
    verify,
    settle,
    find,
    ...(treasury && {
      refund: (offer, payer, amount, key, log) => refund(treasury, offer, payer, amount, key, log),
    }),
    async close() {
      closing.abort()
      rpc.close()
      await Promise.allSettled([...turns.values()].map(({ queue }) => queue(async () => undefined)))
    },
    async health() {
      const { engine } = opened()
      const found = senders().map(async (one) => ({
        address: one.address,
        balance: await one.balance(),
      }))
      return { engine, batched: reader.batched, senders: await Promise.all(found) }
    },
  }
}

interface Turn {
  readonly queue: ReturnType<typeof createQueue>
  waiting: number
}

/** Money on its way back. */
interface Back {
  readonly from: Sender
  readonly token: Hex
  readonly payer: Hex
  readonly amount: bigint
}

type Kind = 'charge' | 'refund'

function ahead(log: Log, kind: Kind, rest: JsonObject): WriteAhead {
  return (prepared) =>
    log.write({ type: 'prepared', data: { ...writePrepared(prepared), ...rest, kind } })
}

function readSteps(
  steps: Awaited<ReturnType<Log['read']>>,
  kind: Kind,
): readonly (Prepared & { validBefore: bigint })[] {
  return steps.flatMap(({ type, data }) => {
    const prepared = type === 'prepared' && data['kind'] === kind ? readPrepared(data) : undefined
    const { validBefore } = data
    const until = typeof validBefore === 'string' ? BigInt(validBefore) : 0n
    return prepared ? [{ ...prepared, validBefore: until }] : []
  })
}

function readKey(key: string): Pick<Proof, 'from' | 'nonce'> {
  const [from, nonce] = key.split('/').slice(-2)
  // The caller holds the whole key against the one that these two give.
  return { from: from as Hex, nonce: nonce as Hex }
}

function factoryCall({ factory, data }: Wrapped): Call {
  return { target: factory, data, allowFailure: true }
}

function factory(address: string): Hex {
  if (!isAddress(address)) throw new RangeError(`"${address}" in "factories" is not an address.`)
  return lower(address)
}

/** A mixed case carries a checksum (EIP-55): the one thing that finds a slip of the pen in an address. */
function checkCase(address: string, { keccak }: Verifier): void {
  const digits = address.slice(2)
  const plain = digits.toLowerCase()
  if (digits === plain || digits === digits.toUpperCase()) return
  const hash = Buffer.from(keccak(Buffer.from(plain))).toString('hex')
  const right = plain.replace(/[a-f]/g, (digit, at: number) =>
    Number(`0x${hash[at]}`) >= 8 ? digit.toUpperCase() : digit,
  )
  if (digits !== right)
    throw new RangeError(
      `"payTo" is ${address}, whose checksum is wrong: a digit or a letter’s case is not right.`,
    )
}

function settled({ from }: Spend, reference: string, settledAt: number): Settlement {
  return { state: 'settled', reference, payer: from, settledAt }
}

function failed(why: Problem): Settlement {
  return { state: 'failed', problem: why }
}

function unknown(detail: string): Settlement {
  return { state: 'unknown', detail }
}

function unknownFor(error: unknown): Settlement {
  if (!(error instanceof PaymentError) || error.code !== 'rail-unavailable') throw error
  return unknown('The chain cannot be asked now.')
}

function spent(): Problem {
  return refusal(
    'payment-spent',
    'nonce-used',
    'This authorization has been used or cancelled. Sign a new one.',
  )
}

function dead(): Problem {
  return refusal(
    'settlement-failed',
    'too-late',
    'The authorization expired before it could be collected. Nothing was taken.',
  )
}

function tooDear(): Problem {
  return refusal(
    'proof-invalid',
    'simulation-failed',
    'The wallet that signed needs more gas than is paid for here.',
  )
}

function unsent(why: Refused): Problem {
  return refusal('settlement-failed', 'transaction-failed', sentences[why])
}

const sentences: Readonly<Record<Refused, string>> = {
  nonce: 'The payment could not be submitted in time. Nothing was taken.',
  funds: 'The service cannot submit payments now. Nothing was taken.',
  fee: 'The chain’s fees rose too fast. Nothing was taken.',
  gas: 'The chain does not take transactions of this size. Nothing was taken.',
  invalid: 'The chain does not take this transaction. Nothing was taken.',
}
