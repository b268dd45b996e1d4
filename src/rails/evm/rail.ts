import type { LocalAccount } from 'viem'
import { assert } from '../../core/assert.ts'
import { systemClock } from '../../core/clock.ts'
import type { Offer } from '../../core/offer.ts'
import type { Ledger, Rail, Verdict } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError } from '../../core/problem.ts'
import { uint } from './abi.ts'
import { createBudget } from './budget.ts'
import { check, diagnose } from './check.ts'
import { createDesk } from './desk.ts'
import type { Wrapped } from './erc6492.ts'
import { factoryCall, unwrap } from './erc6492.ts'
import type { ExactSettings } from './exact.ts'
import { exact } from './exact.ts'
import { FEE_MAX, createFees } from './fees.ts'
import { createFinal } from './final.ts'
import { createFlights } from './flights.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { isAddress, lower } from './hex.ts'
import { createHoldings } from './holdings.ts'
import type { Lane } from './lane.ts'
import { BUMP_AFTER_MS, createLane } from './lane.ts'
import type { Looked } from './looks.ts'
import { createLooks } from './looks.ts'
import { resolveNetwork } from './networks.ts'
import { counted, leased } from './numbers.ts'
import { checkCase, openToken } from './opening.ts'
import { refusal, spent, tooDear } from './problems.ts'
import type { Proof } from './proof.ts'
import { createQueues } from './queue.ts'
import { createRefund } from './refund.ts'
import { readHex, readNumber } from './rpc.ts'
import { PLAIN_GAS, createSettle, spendOf } from './settle.ts'
import type { Engine, Signed, Verifier } from './signature.ts'
import { createVerifier } from './signature.ts'
import { accountOf } from './signer.ts'
import type { Sweep, SweepRule, Swept } from './sweep.ts'
import { createSweep } from './sweep.ts'
import { balanceCall, createReader, readState, stateCall, transferCall } from './token.ts'
import type { SettleSettings } from './settings.ts'
import { rpcOf } from './settings.ts'

/** Most gas for a payer whose wallet decides, unless the settings say otherwise. Making a wallet takes about 350,000. */
export const WALLET_GAS_MAX = 800_000
/** Gas that a look takes beside the transfer. */
const LOOK_GAS = 300_000
/** How long a settlement waits for its block. */
export const SETTLE_WAIT_MS = 30_000
/** How long closing waits for settlements that are on their way. The others are left to `find`. */
export const CLOSE_WAIT_MS = 10_000
/** Most sending keys. */
const LANES_MAX = 64

/** What the rail is made of. */
export interface EvmSettings extends ExactSettings, SettleSettings {
  /** The keys that send and pay the gas, each a lane of its own: private keys, or accounts of viem. */
  readonly signer: string | LocalAccount | readonly (string | LocalAccount)[]
  /** The books in which numbers (nonces) are claimed, when several processes send with the same keys. */
  readonly ledger?: Ledger
  /** Where `contracts/TolseyBatcher.sol` is. Without it payers with code are settled one by one. */
  readonly batcher?: string
  /** The key of `payTo`, for refunds, where `signer` is not it. */
  readonly refundSigner?: string | LocalAccount
  /** Moves money to a cold account by a rule. Needs `ledger`, and the key of `payTo`. */
  readonly sweep?: SweepRule
  /** Factories that may make a payer's wallet (ERC-6492); none if absent. They are called with our gas. */
  readonly factories?: readonly string[]
  readonly walletGasMax?: number
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
  /**
   * One look whether the rule wants money moved; to be called at intervals. Nothing where there is no rule.
   * @throws {PaymentError} when chain or books cannot be asked, or the treasury is not the one that was sealed.
   */
  sweep(): Promise<readonly Swept[]>
}

/**
 * `exact` by EIP-3009: the payer signs an authorization, we submit it and pay the gas.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function evm(settings: EvmSettings): EvmRail {
  const method = exact(settings)
  const network = resolveNetwork(settings)
  const { clock = systemClock, observe } = settings
  const { walletGasMax = WALLET_GAS_MAX, confirmations = 1, quorum = 1 } = settings
  const waitMs = settings.settleTimeoutMs ?? SETTLE_WAIT_MS
  const factories = new Set(settings.factories?.map(readFactory))
  const stopping = new AbortController()
  const closing = new AbortController()
  const batcher = settings.batcher === undefined ? undefined : readBatcher(settings.batcher)
  const rpc = rpcOf(settings, network.chainId, clock, quorum)
  const reader = createReader(rpc)
  const queues = createQueues()
  const { signal } = closing
  const fees = createFees(rpc, clock, settings.feePerGasMax ?? FEE_MAX)
  const flights = createFlights({ reader, clock, signal, confirmations, quorum })
  const budget = createBudget(clock, settings.gasBudgetWei, () =>
    warn('The gas budget of this hour is spent: no payments are taken until it is over.'),
  )
  const accounts = accountsOf(settings.signer)
  const lanes = accounts.map(laneOf)
  const till = tillOf()
  const final = createFinal({ rpc, reader, clock })
  const looks = createLooks(reader, lower(accounts[0].address))
  const desk = createDesk({ lanes, reader, clock, signal, batcher, waitMs: waitMs / 2 })
  const domains = new Map<string, Uint8Array>()
  /** What was seen of a proof when it was verified, so that settling does not look again. */
  const seen = new WeakMap<Proof, { readonly domain: Uint8Array; readonly signed: Signed }>()
  let verifier: Verifier | undefined

  function laneOf(account: LocalAccount): Lane {
    const address = lower(account.address)
    const count = async (tag: 'latest' | 'pending'): Promise<number> =>
      Number(await rpc.read('eth_getTransactionCount', [address, tag], readNumber))
    const { ledger, bumpAfterMs = BUMP_AFTER_MS } = settings
    const numbers = ledger
      ? leased(ledger, `nonce/${network.id}/${address}`, count, clock)
      : counted(count)
    return createLane({
      account,
      chainId: network.chainId,
      rpc,
      fees,
      numbers,
      flights,
      clock,
      bumpAfterMs,
      landed(mined) {
        if (mined) budget.spent(mined.cost)
        desk.wake()
      },
      idle: () => desk.wake(),
    })
  }

  /** One key has one lane: two would give the same numbers. */
  function tillOf(): Lane | undefined {
    const { refundSigner, payTo } = settings
    const address = refundSigner === undefined ? payTo : accountOf(refundSigner).address
    const own = lanes.find((lane) => lane.address === address.toLowerCase())
    return own ?? (refundSigner === undefined ? undefined : laneOf(accountOf(refundSigner)))
  }

  const senders = (): ReadonlySet<Lane> => new Set(till ? [...lanes, till] : lanes)

  async function open(): Promise<void> {
    await rpc.open()
    await reader.open()
    verifier = await createVerifier(settings.engine)
    checkCase(settings.payTo, verifier)
    if (settings.sweep) checkCase(settings.sweep.treasury, verifier, 'treasury')
    for (const token of network.tokens)
      domains.set(lower(token.address), await openToken(token, network, { rpc, reader, verifier }))
    if (batcher && (await rpc.read('eth_getCode', [batcher, 'latest'], readHex)) === '0x')
      throw new RangeError(`There is no contract at ${batcher}, which "batcher" names.`)
    for (const one of senders()) {
      await one.open()
      if ((await one.balance()) === 0n) warn(`${one.address} has nothing to pay gas with.`)
    }
    await sweep?.open()
  }

  function warn(sentence: string): void {
    const error = new PaymentError('misconfigured', sentence)
    observe?.({ type: 'fault', at: clock.now(), where: `rails/evm ${network.id}`, error })
  }

  function signed(offer: Offer<Details>, proof: Proof): Signed {
    const domain = domains.get(lower(offer.details.asset))
    assert(verifier && domain, 'the rail is open')
    const before = seen.get(proof)
    // The same proof may be tried for several tokens.
    if (before?.domain === domain) return before.signed
    const now = { domain, signed: verifier.look(domain, proof) }
    seen.set(proof, now)
    return now.signed
  }

  function unwrapped(proof: Proof): Wrapped | Problem | undefined {
    const wrapped = unwrap(proof.signature)
    if (wrapped === 'garbled')
      return refusal(
        'proof-invalid',
        'signature-invalid',
        'The signature says that it is wrapped (ERC-6492), and is not.',
      )
    // Whoever names the factory chooses a call that we pay for.
    if (!wrapped || (factories.has(wrapped.factory) && reader.batched)) return wrapped
    return refusal(
      'credential-unsupported',
      'factory-refused',
      'Wallets of this factory that do not exist yet cannot pay here. Make the wallet first.',
    )
  }

  async function verify(offer: Offer<Details>, proof: Proof, payableForMs = 0): Promise<Verdict> {
    const refused = check(offer, proof, network, clock.now(), payableForMs)
    if (refused) return { ok: false, problem: refused }
    const wrapped = unwrapped(proof)
    if (wrapped && 'code' in wrapped) return { ok: false, problem: wrapped }
    const { key, payer } = method.identify(offer, proof)
    const barred = budget.refuses(proof.from)
    if (barred) return { ok: false, problem: barred, key, payer }
    const why = await look(offer, proof, wrapped)
    return why ? { ok: false, problem: why, key, payer } : { ok: true, key, payer }
  }

  /** One round trip that decides and explains. */
  async function look(
    offer: Offer<Details>,
    proof: Proof,
    wrapped: Wrapped | undefined,
  ): Promise<Problem | undefined> {
    const spend = spendOf(offer, proof)
    const plain = signed(offer, proof) === 'payer'
    const gas = LOOK_GAS + (plain ? PLAIN_GAS : walletGasMax)
    const making = wrapped ? [factoryCall(wrapped)] : []
    const transfer = transferCall(spend.token, proof, wrapped?.signature ?? proof.signature)
    const calls = [stateCall(spend), balanceCall(spend.token, spend.from), ...making, transfer]
    const looked = await (plain ? looks.ask({ calls, gas }) : looks.alone({ calls, gas }))
    const why = explain(looked, proof.value, wrapped)
    // Another payer in the same call may have used up its gas.
    if (!why || !looked.shared) return why
    return explain(await looks.alone({ calls, gas }), proof.value, wrapped)
  }

  function explain(
    { answers, shared }: Looked,
    value: bigint,
    wrapped: Wrapped | undefined,
  ): Problem | undefined {
    if (answers === 'reverted') return tooDear
    // Without gas the token says nothing at all, and then that is no answer.
    if (shared && !answers[0]?.ok) return tooDear
    if (readState(answers[0])) return spent
    const tried = answers.at(-1)
    assert(tried, 'a batch has as many answers as calls')
    const balance = answers[1]?.ok ? uint(answers[1].data) : undefined
    return diagnose({ balance, transfer: tried, factory: wrapped ? answers[2] : undefined }, value)
  }

  function sweepOf(rule: SweepRule): Sweep {
    const { ledger, payTo } = settings
    if (!ledger || !till)
      throw new RangeError('"sweep" needs "ledger", and the key of "payTo" as "refundSigner".')
    return createSweep({ ...parts, rule, ledger, payee: payTo, sender: till })
  }

  const shared = { network, rpc, reader, flights, clock, queues, final }
  const parts = { ...shared, confirmations, quorum, waitMs }
  const settling = {
    desk,
    lanes,
    budget,
    stopping: stopping.signal,
    walletGasMax,
    batcher: batcher !== undefined,
  }
  const sweep = settings.sweep && sweepOf(settings.sweep)
  const held = { payee: settings.payTo as Hex, senders: () => [...senders()].map(addressOf) }
  return {
    ...method,
    open,
    verify,
    ...createSettle({ ...parts, ...settling, signed, unwrapped }),
    async costMax(offer, proof) {
      const gas = signed(offer, proof) === 'payer' ? PLAIN_GAS : walletGasMax
      return BigInt(gas) * (await fees.price()).fee
    },
    ...(till && { refund: createRefund({ ...parts, sender: till }) }),
    holdings: createHoldings({ ...parts, ...held }),
    sweep: async () => (await sweep?.sweep()) ?? [],
    async close() {
      stopping.abort()
      const done = new AbortController()
      const waited = clock.sleep(settings.closeTimeoutMs ?? CLOSE_WAIT_MS, done.signal)
      await Promise.race([queues.idle(), waited])
      done.abort()
      closing.abort()
      rpc.close()
      await queues.idle()
    },
    async health() {
      assert(verifier, 'the rail is open')
      const found = [...senders()].map(async (one) => ({
        address: one.address,
        balance: await one.balance(),
      }))
      const { engine } = verifier
      return { engine, batched: reader.batched, senders: await Promise.all(found) }
    },
  }
}

function addressOf({ address }: Lane): Hex {
  return address
}

/** Each key once: two lanes of one key would give the same numbers. */
function accountsOf(signer: EvmSettings['signer']): readonly [LocalAccount, ...LocalAccount[]] {
  const given = isList(signer) ? signer : [signer]
  const accounts = given.map(accountOf)
  const addresses = new Set(accounts.map(({ address }) => lower(address)))
  const [first, ...others] = accounts
  if (!first || addresses.size !== accounts.length || addresses.size > LANES_MAX)
    throw new RangeError(`Give between one and ${LANES_MAX} different keys in "signer".`)
  return [first, ...others]
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value)
}

function readBatcher(address: string): Hex {
  if (!isAddress(address))
    throw new RangeError(`"batcher" is "${address}", which is not an address.`)
  return lower(address)
}

function readFactory(address: string): Hex {
  if (!isAddress(address)) throw new RangeError(`"${address}" in "factories" is not an address.`)
  return lower(address)
}
