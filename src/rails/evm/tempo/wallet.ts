import type { LocalAccount } from 'viem'
import { createClient, encodeFunctionData, http, parseAbi } from 'viem'
import { prepareTransactionRequest, signTransaction } from 'viem/actions'
import { tempo as tempoChain } from 'viem/tempo/chains'
import { systemClock } from '../../../core/clock.ts'
import type { Clock, Wallet } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import { assert } from '../../../core/assert.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import { createRpc } from '../rpc.ts'
import { accountOf } from '../signer.ts'
import type { PayerDetails, Proof } from './forms.ts'
import { createForm } from './forms.ts'
import { memoOf } from './memo.ts'
import type { TermSettings } from './terms.ts'
import { RAIL, chainOf } from './terms.ts'
import { readSigned } from './transaction.ts'

/** How long a transaction stays valid at most: the chain takes no longer one without a number (TIP-1009). */
const VALID_MAX_MS = 25_000
/** Gas beyond what is estimated: checking the payer's own signature. */
const GAS_MARGIN = 5_000n

const abi = parseAbi(['function transferWithMemo(address to, uint256 amount, bytes32 memo)'])

/** What the wallet is made of. */
export interface TempoWalletSettings extends Pick<TermSettings, 'network' | 'assets'> {
  /** A private key, or an account of viem that signs transactions. */
  readonly account: string | LocalAccount
  /** The JSON-RPC address that tells what gas costs. Nothing is sent through it. */
  readonly rpc: string
  readonly clock?: Clock
}

/** Pays on Tempo: signs a transfer with the challenge's memo, which the seller sends. */
export function tempoWallet(settings: TempoWalletSettings): Wallet<PayerDetails, Proof> {
  const { clock = systemClock } = settings
  const account = accountOf(settings.account)
  const network = chainOf(settings)
  const rpc = createRpc({ urls: [settings.rpc], chainId: network.chainId, clock })
  const chain = { ...tempoChain, id: network.chainId }
  const client = createClient({ account, chain, transport: http(settings.rpc) })

  return {
    rail: RAIL,
    local: true,
    forms: { mpp: createForm({ network }) },
    refuses({ network: on, details }) {
      if (on !== network.id) return `This wallet pays on ${network.id}.`
      return details.challenge ? undefined : 'The seller names no challenge that a memo could name.'
    },
    async pay({ amount, payee, details, expiresAt }, validForMs) {
      assert(details.challenge, 'what is refused is not paid')
      const args = [payee as Hex, amount.amount, memoOf(details.challenge)] as const
      const data = encodeFunctionData({ abi, args })
      const endsAt = Math.min(clock.now() + Math.min(validForMs, VALID_MAX_MS), expiresAt)
      await rpc.open()
      const prepared = await prepareTransactionRequest(client, {
        account,
        calls: [{ to: details.token, data }],
        nonceKey: 'expiring',
        validBefore: Math.floor(endsAt / 1_000),
      } as never).catch(unprepared)
      const { gas = 0n } = prepared as { readonly gas?: bigint }
      const raw = await signTransaction(client, { ...prepared, gas: gas + GAS_MARGIN } as never)
      const signed = readSigned(raw)
      assert(typeof signed !== 'string', 'what was signed here can be read')
      return { signed }
    },
    expiresAt: (proof) => ('signed' in proof ? proof.signed.untilAt : 0),
    payer: () => lower(account.address),
  }
}

function unprepared(): never {
  throw new PaymentError(
    'rail-unavailable',
    'The chain cannot be asked for what a transaction costs.',
    {
      retryable: true,
    },
  )
}
