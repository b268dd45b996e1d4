import type { LocalAccount } from 'viem'
import { assert } from '../../core/assert.ts'
import { systemClock } from '../../core/clock.ts'
import type { Observe } from '../../core/event.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Rail, Verdict } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError } from '../../core/problem.ts'
import { uint } from './abi.ts'
import { check, diagnose } from './check.ts'
import type { Wrapped } from './erc6492.ts'
import { factoryCall, unwrap } from './erc6492.ts'
import type { ExactSettings } from './exact.ts'
import { exact } from './exact.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { isAddress, lower } from './hex.ts'
import { resolveNetwork } from './networks.ts'
import { checkCase, openToken } from './opening.ts'
import { refusal, spent, tooDear } from './problems.ts'
import type { Proof } from './proof.ts'
import { createQueues } from './queue.ts'
import { createRefund } from './refund.ts'
import type { RpcEvent } from './rpc.ts'
import { createRpc } from './rpc.ts'
import type { Sender } from './sender.ts'
import { FEE_MAX, createSender } from './sender.ts'
import { PLAIN_GAS, createSettle, spendOf } from './settle.ts'
import type { Engine, Signed, Verifier } from './signature.ts'
import { createVerifier } from './signature.ts'
import { accountOf } from './signer.ts'
import { balanceCall, createReader, readState, stateCall, transferCall } from './token.ts'

/** Most gas for a payer whose wallet decides, unless the settings say otherwise. Making a wallet takes about 350,000. */
export const WALLET_GAS_MAX = 800_000
/** Gas that a look takes beside the transfer. */
const LOOK_GAS = 300_000
/** How long a settlement waits for its block. */
export const SETTLE_WAIT_MS = 30_000

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
  const factories = new Set(settings.factories?.map(readFactory))
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
  const queues = createQueues()
  const sender = senderOf(accountOf(settings.signer))
  const treasury = treasuryOf()
  const domains = new Map<string, Uint8Array>()
  /** What was seen of a proof when it was verified, so that settling does not look again. */
  const seen = new WeakMap<Proof, { readonly domain: Uint8Array; readonly signed: Signed }>()
  let verifier: Verifier | undefined

  function senderOf(account: LocalAccount): Sender {
    return createSender({
      account,
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
    const { refundSigner, payTo } = settings
    if (refundSigner === undefined)
      return sender.address === payTo.toLowerCase() ? sender : undefined
    const account = accountOf(refundSigner)
    return lower(account.address) === sender.address ? sender : senderOf(account)
  }

  const senders = (): ReadonlySet<Sender> => new Set(treasury ? [sender, treasury] : [sender])

  async function open(): Promise<void> {
    await rpc.open()
    await reader.open()
    verifier = await createVerifier(settings.engine)
    checkCase(settings.payTo, verifier)
    for (const token of network.tokens)
      domains.set(lower(token.address), await openToken(token, network, { rpc, reader, verifier }))
    for (const one of senders()) {
      await one.open()
      if ((await one.balance()) === 0n) warn(one.address)
    }
  }

  function warn(address: string): void {
    const error = new PaymentError('misconfigured', `${address} has nothing to pay gas with.`)
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
    const gas = LOOK_GAS + (signed(offer, proof) === 'payer' ? PLAIN_GAS : walletGasMax)
    const making = wrapped ? [factoryCall(wrapped)] : []
    const transfer = transferCall(spend.token, proof, wrapped?.signature ?? proof.signature)
    const calls = [stateCall(spend), balanceCall(spend.token, spend.from), ...making, transfer]
    const answers = await reader.batch(calls, { from: sender.address, gas })
    if (answers === 'reverted') return tooDear
    if (readState(answers[0])) return spent
    const tried = answers.at(-1)
    assert(tried, 'a batch has as many answers as calls')
    const balance = answers[1]?.ok ? uint(answers[1].data) : undefined
    const factory = wrapped ? answers[2] : undefined
    return diagnose({ balance, transfer: tried, factory }, proof.value)
  }

  const parts = { network, rpc, reader, sender, clock, queues, confirmations, walletGasMax }
  return {
    ...method,
    open,
    verify,
    ...createSettle({ ...parts, signed, unwrapped }),
    ...(treasury && { refund: createRefund({ sender: treasury, rpc, reader, clock, queues }) }),
    async close() {
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

function readFactory(address: string): Hex {
  if (!isAddress(address)) throw new RangeError(`"${address}" in "factories" is not an address.`)
  return lower(address)
}
