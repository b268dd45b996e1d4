import type { LocalAccount } from 'viem'
import { createClient, encodeFunctionData, erc20Abi, http } from 'viem'
import {
  prepareTransactionRequest,
  sendRawTransaction,
  waitForTransactionReceipt,
} from 'viem/actions'
import { assert } from '../../../core/assert.ts'
import { systemChance } from '../../../core/chance.ts'
import { systemClock } from '../../../core/clock.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Chance, Clock, Wallet } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import type { Hex } from '../hex.ts'
import { UINT256_MAX, ZERO_ADDRESS, isAddress, lower } from '../hex.ts'
import type { Network, Token } from '../networks.ts'
import { networks as known, tokenAt } from '../networks.ts'
import { SIGNATURE_BYTES_MAX } from '../proof.ts'
import type { Rpc } from '../rpc.ts'
import { createRpc, readHex } from '../rpc.ts'
import { DEAD_AFTER_S } from '../settling.ts'
import type { Signer } from '../signer.ts'
import { accountOf } from '../signer.ts'
import type { Reader } from '../token.ts'
import { MULTICALL3, createReader } from '../token.ts'
import { word } from '../abi.ts'
import type { TypedData } from '../typed-data.ts'
import { VALID_MS_MAX } from '../wallet.ts'
import { createForm } from './forms.ts'
import {
  PERMISSION_FIELDS,
  WITNESS_FIELDS,
  WORD_BITS,
  allowanceCall,
  amountIn,
  challengeHash,
  permitFields,
  permitNonces,
} from './permit2.ts'
import type { Proof } from './proof.ts'
import type { Details, TermSettings } from './terms.ts'
import { PERMIT2, PERMIT2_SAID, CHARGE, RAIL, chainOf, transfersOf } from './terms.ts'

/** Bytes of the number of a word of nonces: 248 bits, of which no two wallets choose the same. */
const WORD_BYTES = 31

/** A chain that is paid on, with its tokens; those of the table if none are named. */
export type PermitChain = Pick<TermSettings, 'network' | 'assets'>

/** What the wallet is made of. */
export interface PermitWalletSettings {
  readonly signer: Signer
  /** The chains and tokens that it pays with; those that are known if absent. */
  readonly chains?: readonly PermitChain[]
  /** JSON-RPC addresses by network (CAIP-2): to see whether Permit2 is approved, and what became of a payment. */
  readonly rpc?: Readonly<Record<string, string | readonly string[]>>
  /**
   * Approves Permit2 where it may move too little of a token: the key of the signer's account, which pays the gas, and how much,
   * in the token's smallest unit. Needs `rpc`. Without it such payments are refused, with what to do.
   */
  readonly approve?: { readonly account: string | LocalAccount; readonly amount: bigint }
  /** The word of nonces to begin with; by chance if absent. Two wallets of one account must not share one. */
  readonly nonceWord?: bigint
  readonly clock?: Clock
  readonly chance?: Chance
  readonly fetch?: typeof globalThis.fetch
}

/** Pays by signing permits of Permit2, which the seller uses. It needs no gas, once Permit2 is approved for the token. */
export function permitWallet(settings: PermitWalletSettings): Wallet<Details, Proof> {
  const { signer, clock = systemClock, approve } = settings
  const networks = settings.chains?.map(chainOf) ?? known
  const nonces = createNonces(settings)
  const chains = createChains(settings, networks)
  const owner = lower(signer.address)
  const approver = approve && accountOf(approve.account)
  if (approver && lower(approver.address) !== owner)
    throw new RangeError('"approve" is not the key of the account that signs.')
  /** By token, what Permit2 could not move when it was last looked at. */
  const unapproved = new Map<string, string>()

  function refuses(offer: Offer<Details>): string | undefined {
    return (
      refusalOf(offer, networks, owner) ?? (approve ? undefined : unapproved.get(tokenOf(offer)))
    )
  }

  /** @throws {PaymentError} where Permit2 may not move enough, or where that cannot be asked. */
  async function allow(offer: Offer<Details>, signal: AbortSignal | undefined): Promise<void> {
    const chain = await chains(offer.network)
    if (!chain) return
    const { amount } = offer.amount
    const { target, data } = allowanceCall(lower(offer.details.asset), owner)
    const said = await chain.rpc.read('eth_call', [{ to: target, data }, 'latest'], readHex)
    unapproved.delete(tokenOf(offer))
    if ((amountIn({ ok: true, data: said }) ?? 0n) >= amount) return
    if (!approver || !approve) {
      const sentence = `Permit2 may not move so much of ${offer.amount.asset.code}. Approve it once: approve(${PERMIT2_SAID}, amount) at ${offer.details.asset}.`
      unapproved.set(tokenOf(offer), sentence)
      throw new PaymentError('offers-unacceptable', sentence)
    }
    signal?.throwIfAborted()
    const most = approve.amount > amount ? approve.amount : amount
    await approveBy(approver, chain.url, offer.details.asset, most)
  }

  return {
    rail: RAIL,
    ...(signer.local && { local: true }),
    forms: { mpp: createForm({ networks }) },
    refuses,
    async pay(offer, validForMs, signal) {
      const sentence = refuses(offer)
      if (sentence !== undefined) throw new PaymentError('offers-unacceptable', sentence)
      const network = networks.find(({ id }) => id === offer.network)
      assert(network, 'an unknown network is refused')
      await allow(offer, signal)
      signal?.throwIfAborted()
      const now = clock.now()
      const endsAt = Math.min(now + Math.min(validForMs, VALID_MS_MAX), offer.expiresAt)
      return await sign(offer, network, signer, {
        nonce: `0x${word(nonces(network.id))}`,
        deadline: BigInt(Math.floor(endsAt / 1_000)),
      })
    },
    // It is good in the whole of its last second.
    expiresAt: ({ deadline }) => Number(deadline + 1n) * 1_000,
    payer: ({ from }) => from,
    ...(settings.rpc && {
      async outcome({ network }: Offer<Details>, proof: Proof) {
        const chain = await chains(network)
        if (!chain)
          throw new PaymentError('rail-unavailable', `There is no RPC address for ${network}.`)
        // No token: a nonce of Permit2 is one for all.
        const { used, time } = await chain.reader.state({ token: PERMIT2, ...proof })
        // Only the spender can have used it, and then the money has moved.
        if (used) return 'paid'
        return time > proof.deadline + DEAD_AFTER_S ? 'dead' : 'open'
      },
    }),
  }
}

/** Why this wallet cannot pay the offer. */
function refusalOf(
  offer: Offer<Details>,
  networks: readonly Network[],
  owner: Hex,
): string | undefined {
  const { amount, details, payee } = offer
  if (offer.rail !== RAIL) return `This wallet pays on the rail "${RAIL}" only.`
  if (offer.intent !== CHARGE) return `The intent "${offer.intent}" is not known.`
  const network = networks.find(({ id }) => id === offer.network)
  if (!network) return `The network ${offer.network} is not known.`
  const token = tokenAt(network, details.asset)
  if (!token) return `The token ${details.asset} on ${network.id} is not known.`
  const { asset } = amount
  if (asset.id !== `${network.id}/erc20:${token.address}` || asset.scale !== token.scale)
    return 'The amount is counted in another asset than the token.'
  if (amount.amount <= 0n || amount.amount > UINT256_MAX) return 'There is nothing to pay.'
  if (details.challenge === undefined) return 'The seller names no challenge that a witness could.'
  return refusalOfParties([payee, ...(details.splits ?? []).map((one) => one.recipient)], {
    ...{ owner, token },
    spender: lower(details.spender),
  })
}

function refusalOfParties(
  payees: readonly string[],
  { owner, token, spender }: { readonly owner: Hex; readonly token: Token; readonly spender: Hex },
): string | undefined {
  for (const one of payees) {
    if (!isAddress(one) || lower(one) === ZERO_ADDRESS) return 'A payee is nobody.'
    if (lower(one) === owner) return 'A payee is this wallet itself.'
    if (lower(one) === lower(token.address)) return 'A payee is the token itself.'
  }
  // Whoever can make the spender call Permit2 decides where the money goes.
  if ([MULTICALL3, PERMIT2, lower(token.address), ZERO_ADDRESS].includes(spender))
    return 'The spender is a contract that anybody can call.'
  return spender === owner ? 'The spender is this wallet itself.' : undefined
}

async function sign(
  offer: Offer<Details>,
  network: Network,
  signer: Signer,
  { nonce, deadline }: Pick<Proof, 'nonce' | 'deadline'>,
): Promise<Proof> {
  const { details } = offer
  assert(details.challenge !== undefined, 'what is refused is not paid')
  const transfers = transfersOf(offer)
  const token = lower(details.asset)
  const permitted = transfers.map(({ amount }) => ({ token, amount }))
  const witness = { challengeHash: challengeHash(details.challenge) }
  const { chainId } = network
  const unsigned = { nonce, deadline, permitted, transfers, witness, chainId }
  const said = await signer.signTypedData(typedPermit(unsigned, details.spender, chainId))
  if (said.length > 2 + 2 * SIGNATURE_BYTES_MAX)
    throw new PaymentError('declined', 'The signature is longer than sellers take.')
  return { signature: lower(said), from: lower(signer.address), ...unsigned }
}

/** The permit as typed data (EIP-712) of Permit2's domain. */
function typedPermit(
  permit: Pick<Proof, 'nonce' | 'deadline' | 'permitted' | 'witness'>,
  spender: Hex,
  chainId: number,
): TypedData {
  const { nonce, deadline, permitted, witness } = permit
  const isBatch = permitted.length > 1
  const [single] = permitted
  assert(single, 'a permit is for one transfer at least')
  const primaryType = isBatch ? 'PermitBatchWitnessTransferFrom' : 'PermitWitnessTransferFrom'
  return {
    domain: { name: 'Permit2', chainId, verifyingContract: PERMIT2_SAID },
    types: {
      [primaryType]: permitFields(isBatch),
      TokenPermissions: PERMISSION_FIELDS,
      PaymentWitness: WITNESS_FIELDS,
    },
    primaryType,
    message: {
      ...{ permitted: isBatch ? permitted : single, spender, nonce: BigInt(nonce), deadline },
      witness: { challengeHash: witness.challengeHash },
    },
  }
}

/**
 * Gives out nonces, each once: one after the other within a word of 256, which the chain keeps in one place, so that only the
 * first of them is dear for the seller. A new process begins a word of its own.
 */
function createNonces({
  chance = systemChance,
  nonceWord,
}: PermitWalletSettings): (network: string) => bigint {
  const next = new Map<string, bigint>()
  const begin = (): bigint =>
    BigInt(`0x${Buffer.from(chance(WORD_BYTES)).toString('hex')}`) * WORD_BITS
  return (network) => {
    const nonce = next.get(network) ?? (nonceWord === undefined ? begin() : nonceWord * WORD_BITS)
    const isLast = nonce % WORD_BITS === WORD_BITS - 1n
    next.set(network, isLast ? begin() : nonce + 1n)
    return nonce
  }
}

interface Chain {
  readonly rpc: Rpc
  readonly reader: Reader
  readonly url: string
}

/** The chains that there is an address for, each opened once. */
function createChains(
  { rpc = {}, clock, fetch }: PermitWalletSettings,
  networks: readonly Network[],
): (network: string) => Promise<Chain | undefined> {
  const chains = new Map<string, Promise<Chain>>()
  const open = async (urls: readonly string[], chainId: number): Promise<Chain> => {
    const made = createRpc({ urls, chainId, ...(clock && { clock }), ...(fetch && { fetch }) })
    const reader = createReader(made, permitNonces)
    await made.open()
    await reader.open()
    return { rpc: made, reader, url: urls[0] ?? '' }
  }
  return async (network) => {
    const found = chains.get(network)
    if (found) return await found
    const chainId = networks.find(({ id }) => id === network)?.chainId
    const urls = rpc[network]
    if (chainId === undefined || urls === undefined) return undefined
    const opening = open(typeof urls === 'string' ? [urls] : urls, chainId)
    chains.set(network, opening)
    opening.catch(() => chains.delete(network))
    return await opening
  }
}

/** Sends the approval and waits for its block. @throws {PaymentError} when it does not come about. */
async function approveBy(
  account: LocalAccount,
  url: string,
  token: Hex,
  amount: bigint,
): Promise<void> {
  const client = createClient({ account, transport: http(url) })
  const data = encodeFunctionData({
    abi: erc20Abi,
    functionName: 'approve',
    args: [PERMIT2_SAID, amount],
  })
  try {
    const prepared = await prepareTransactionRequest(client, {
      ...{ account, to: token, data },
      ...{ chain: null, type: 'eip1559' },
    })
    const raw = await account.signTransaction(prepared as never)
    const hash = await sendRawTransaction(client, { serializedTransaction: raw })
    const { status } = await waitForTransactionReceipt(client, { hash })
    if (status === 'success') return
  } catch (cause) {
    throw new PaymentError('rail-unavailable', 'Permit2 could not be approved now.', {
      ...{ cause, retryable: true },
    })
  }
  throw new PaymentError('offers-unacceptable', 'The token does not let Permit2 be approved.')
}

function tokenOf({ network, details }: Offer<Details>): string {
  return `${network} ${lower(details.asset)}`
}
