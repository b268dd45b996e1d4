import type { LocalAccount } from 'viem'
import { assert } from '../../../core/assert.ts'
import { systemClock } from '../../../core/clock.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Ledger, Log, Rail, Verdict } from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import { PaymentError } from '../../../core/problem.ts'
import { selectors } from '../abi.ts'
import { createBudget } from '../budget.ts'
import type { Item } from '../desk.ts'
import { createDesk } from '../desk.ts'
import { FEE_MAX, createFees } from '../fees.ts'
import { createFinal } from '../final.ts'
import { createFlights } from '../flights.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import { createHoldings } from '../holdings.ts'
import type { Lane } from '../lane.ts'
import { BUMP_AFTER_MS, createLane } from '../lane.ts'
import { counted, leased } from '../numbers.ts'
import { checkCase } from '../opening.ts'
import { tooDear } from '../problems.ts'
import { createQueues } from '../queue.ts'
import { CLOSE_WAIT_MS, SETTLE_WAIT_MS, WALLET_GAS_MAX } from '../rail.ts'
import { createRefund } from '../refund.ts'
import { readHex, readNumber } from '../rpc.ts'
import type { Named } from '../settling.ts'
import { createSettling } from '../settling.ts'
import { accountOf } from '../signer.ts'
import type { Outgoing } from '../steps.ts'
import { ahead } from '../steps.ts'
import type { Spend } from '../token.ts'
import { createReader, movesAll } from '../token.ts'
import { check } from './check.ts'
import { createJudge } from './judge.ts'
import { createLook } from './look.ts'
import { methodOf } from './method.ts'
import { permitNonces, separatorOf, transferCall } from './permit2.ts'
import { foreign, unusable } from './problems.ts'
import type { Proof } from './proof.ts'
import type { Signers } from './signers.ts'
import { createSigners } from './signers.ts'
import type { Details, TermSettings } from './terms.ts'
import { PERMIT2, BOOKED, shopOf, transfersOf } from './terms.ts'
import { createTrace } from './trace.ts'
import type { SettleSettings } from '../settings.ts'
import { rpcOf } from '../settings.ts'

/** Gas for each share beyond the first transfer: an account that held nothing before, and a line in the log. */
const SHARE_GAS = 80_000
/** What a share may take beyond an estimate. */
const SHARE_MARGIN_GAS = 20_000
/** What a payment with a plain key's signature takes at most. */
const PERMIT_GAS = 200_000
/** What is taken for an estimate, in quarters of it. */
const ESTIMATE_QUARTERS = 5n

/** What the rail is made of. */
export interface PermitSettings extends TermSettings, SettleSettings {
  /**
   * The key that uses permits and pays the gas: a private key, or an account of viem. Payers sign for its account alone, so that
   * it should not change while offers stand.
   */
  readonly signer: string | LocalAccount
  /** The books in which numbers (nonces) are claimed, when several rails or processes send with the same key. */
  readonly ledger?: Ledger
  /** The key of `payTo`, for refunds, where `signer` is not it. */
  readonly refundSigner?: string | LocalAccount
  /** The reconciler compares what lies at the payee with the books, where no rail `evm` with the same payee does. */
  readonly compare?: boolean
  /** Most gas for one transfer; shares come on top. */
  readonly walletGasMax?: number
}

/** The rail. */
export interface PermitRail extends Rail<Details, Proof> {
  readonly booked: typeof BOOKED
}

/**
 * Any token by Permit2: the payer signs a permit for a key of ours, whose witness names the challenge; we use it and pay the gas
 * (MPP, draft-evm-charge-00 and 01, credential type `permit2`). With `splits` others get their shares by the same transaction.
 *
 * What a payer signs says how much and for whom to use, and not to whom it goes: that this is the offer's payee is the word of the
 * spender. So the spender is an account with a key, and what is sent from it goes alone.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function permit(settings: PermitSettings): PermitRail {
  const account = accountOf(settings.signer)
  const shop = shopOf(settings, lower(account.address))
  const { network, payee, spender } = shop
  const { clock = systemClock, observe, ledger } = settings
  const { walletGasMax = WALLET_GAS_MAX, confirmations = 1, quorum = 1 } = settings
  const waitMs = settings.settleTimeoutMs ?? SETTLE_WAIT_MS
  const stopping = new AbortController()
  const closing = new AbortController()
  const rpc = rpcOf(settings, network.chainId, clock, quorum)
  const reader = createReader(rpc, permitNonces)
  const queues = createQueues()
  const { signal } = closing
  const fees = createFees(rpc, clock, settings.feePerGasMax ?? FEE_MAX)
  const flights = createFlights({ reader, clock, signal, confirmations, quorum })
  const budget = createBudget(clock, settings.gasBudgetWei, () =>
    warn('The gas budget of this hour is spent: no permits are taken until it is over.'),
  )
  const lane = laneOf(account)
  const till = tillOf()
  const final = createFinal({ rpc, reader, clock })
  const desk = createDesk({
    ...{ lanes: [lane], reader, clock, signal },
    ...{ batcher: undefined, waitMs: waitMs / 2 },
  })
  const separator = separatorOf(network.chainId)
  let signers: Signers | undefined
  const judge = createJudge({ spender, separator, signers: () => signers })
  const look = createLook({ rpc, reader, spender, judge, gasMax: gasMaxOf })

  function laneOf(of: LocalAccount): Lane {
    const address = lower(of.address)
    const count = async (tag: 'latest' | 'pending'): Promise<number> =>
      Number(await rpc.read('eth_getTransactionCount', [address, tag], readNumber))
    const { bumpAfterMs = BUMP_AFTER_MS } = settings
    const numbers = ledger
      ? leased(ledger, `nonce/${network.id}/${address}`, count, clock)
      : counted(count)
    return createLane({
      ...{ account: of, chainId: network.chainId, rpc, fees, numbers, flights, clock, bumpAfterMs },
      landed(mined) {
        if (mined) budget.spent(mined.cost)
        desk.wake()
      },
      idle: () => desk.wake(),
    })
  }

  /** One key has one lane: two would give the same numbers. */
  function tillOf(): Lane | undefined {
    const { refundSigner } = settings
    const key = refundSigner === undefined ? undefined : accountOf(refundSigner)
    if (lower((key ?? { address: payee }).address) === lane.address) return lane
    return key && laneOf(key)
  }

  function warn(sentence: string): void {
    const error = new PaymentError('misconfigured', sentence)
    observe?.({ type: 'fault', at: clock.now(), where: `rails/evm/permit ${network.id}`, error })
  }

  async function open(): Promise<void> {
    await rpc.open()
    await reader.open()
    signers = await createSigners(settings.engine)
    checkCase(payee, signers)
    for (const { recipient } of shop.rules) checkCase(recipient, signers, 'recipient')
    await openContracts()
    const code = await rpc.read('eth_getCode', [spender, 'latest'], readHex)
    if (code !== '0x')
      warn(`${spender} has code: whoever can make it call Permit2 can use its payers' permits.`)
    for (const one of new Set(till ? [lane, till] : [lane])) {
      await one.open()
      if ((await one.balance()) === 0n) warn(`${one.address} has nothing to pay gas with.`)
    }
  }

  /** Permit2 must take signatures for this chain, and the tokens must be there. */
  async function openContracts(): Promise<void> {
    const call = { to: PERMIT2, data: selectors.domainSeparator }
    const found = await rpc.ask('eth_call', [call, 'latest'], readHex)
    if (!('result' in found) || found.result !== separator)
      throw new RangeError(`Permit2 is not at ${PERMIT2} on ${network.id}, or another contract is.`)
    for (const { address, code } of network.tokens)
      if ((await rpc.read('eth_getCode', [lower(address), 'latest'], readHex)) === '0x')
        throw new RangeError(`There is no contract at ${address} on ${network.id} (${code}).`)
  }

  const spendOf = (offer: Offer<Details>, { from, nonce }: Named): Spend => {
    const [first, ...shares] = transfersOf(offer)
    assert(first, 'something goes to the payee')
    const moved = { payee: first.to, amount: first.amount }
    return {
      ...{ token: lower(offer.details.asset), from, nonce, ...moved },
      ...(shares.length > 0 && { shares: shares.map(({ to, amount }) => ({ payee: to, amount })) }),
    }
  }

  const keyOf = ({ from, nonce }: Named): string => `${network.id}/permit2/${from}/${nonce}`

  async function verify(offer: Offer<Details>, proof: Proof, payableForMs = 0): Promise<Verdict> {
    const refused = checked(offer, proof, payableForMs)
    if (refused) return { ok: false, problem: refused }
    const key = keyOf(proof)
    const payer = proof.from
    const barred = budget.refuses(payer)
    if (barred) return { ok: false, problem: barred, key, payer }
    const seen = await look(offer, proof)
    return 'problem' in seen
      ? { ok: false, problem: seen.problem, key, payer }
      : { ok: true, key, payer }
  }

  function checked(offer: Offer<Details>, proof: Proof, payableForMs: number): Problem | undefined {
    const isElsewhere = proof.chainId !== undefined && proof.chainId !== network.chainId
    if (isElsewhere || lower(offer.payee as Hex) !== lower(payee)) return foreign
    return check(offer, proof, shop, clock.now(), payableForMs)
  }

  async function itemOf(offer: Offer<Details>, proof: Proof, log: Log): Promise<Item | Problem> {
    const seen = judge.known(proof) ?? (await look(offer, proof))
    if ('problem' in seen) return seen.problem
    const call = await estimated(PERMIT2, transferCall(proof, seen.witness))
    if ('code' in call) return call
    // Good in all of its last second, in which a chain may make many blocks.
    return { call, write: ahead(log, 'charge', proof.deadline + 1n) }
  }

  /** From the spender: nobody else may use it, so that nothing says more. */
  async function estimated(to: Hex, data: Hex): Promise<Outgoing | Problem> {
    const answer = await rpc.ask('eth_estimateGas', [{ from: spender, to, data }], readNumber)
    if ('reverted' in answer) return unusable
    const most = gasMaxOf(shop.rules.length)
    if (answer.result > BigInt(most)) return tooDear
    const gas = Number((answer.result * ESTIMATE_QUARTERS) / 4n)
    // Those who share may have nothing left by then, and a first unit is dear.
    return { to, data, gas: Math.min(gas + shop.rules.length * SHARE_MARGIN_GAS, most) }
  }

  function gasMaxOf(shares: number): number {
    return walletGasMax + shares * SHARE_GAS
  }

  const parts = { rpc, reader, flights, clock, queues, final, confirmations, quorum, waitMs }
  const settling = createSettling<Details, Proof>(
    { ...parts, desk, lanes: [lane], budget, stopping: stopping.signal },
    {
      spendOf,
      nameOf: ({ from, nonce }) => ({ from, nonce }),
      keyOf,
      check: (offer, proof) => checked(offer, proof, 0),
      itemOf,
      estimated,
      pays: movesAll,
      shareOf: ({ cost }) => cost,
      trace: createTrace({ rpc, quorum, final }),
    },
  )
  const holdings = createHoldings({ ...parts, network, payee, senders: () => [spender] })
  return {
    ...methodOf(shop, (proof) => judge.signerOf(proof), keyOf),
    booked: BOOKED,
    open,
    verify,
    ...settling,
    async costMax({ details: { splits = [] } }) {
      return BigInt(PERMIT_GAS + splits.length * SHARE_GAS) * (await fees.price()).fee
    },
    ...(till && { refund: createRefund({ ...parts, sender: till }) }),
    ...(settings.compare && { holdings }),
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
  }
}
