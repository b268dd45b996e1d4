import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import type { Asset, Money } from '../core/money.ts'
import type { Held } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { uint } from '../rails/evm/abi.ts'
import type { Hex } from '../rails/evm/hex.ts'
import { isAddress, lower } from '../rails/evm/hex.ts'
import { assetOf, resolveNetwork } from '../rails/evm/networks.ts'
import { createRpc } from '../rails/evm/rpc.ts'
import type { Share, Spend } from '../rails/evm/token.ts'
import { balanceCall, createReader, movesAll, pays } from '../rails/evm/token.ts'

/** Reads one chain, to compare it with the books. */
export interface Chain {
  readonly network: string
  /** What the address holds of each known token. */
  balances(address: string): Promise<readonly Money[]>
  /** Undefined if the transaction made the payment, otherwise a sentence what is wrong. */
  disproves(entry: Entry): Promise<string | undefined>
  close(): void
}

/** A payment that the books call made, as the chain should know it. */
export interface Entry {
  readonly network: string
  readonly reference: string
  readonly spend: Spend
  /** By Permit2, which leaves no record of its own: only the transfers tell. */
  readonly byPermit?: true
}

/**
 * Opens a chain.
 * @throws {RangeError} when the endpoints cannot be used.
 */
export function openChain(network: string, urls: readonly string[]): Chain {
  const { chainId, id, tokens } = resolveNetwork({ network })
  const rpc = createRpc({ urls, chainId })
  const reader = createReader(rpc)
  return {
    network: id,
    async balances(address) {
      if (!isAddress(address)) throw new RangeError(`"${address}" is not an address.`)
      await reader.open()
      const calls = tokens.map((token) => balanceCall(lower(token.address), lower(address)))
      const answers = await reader.batch(calls)
      return tokens.map((token, i) => {
        const answer = answers === 'reverted' ? undefined : answers[i]
        const amount = answer?.ok ? uint(answer.data) : undefined
        if (amount === undefined) throw unreadable()
        return { asset: assetOf({ id, chainId, tokens }, token), amount }
      })
    },
    async disproves({ reference, spend, byPermit }) {
      if (!/^0x[0-9a-f]{64}$/i.test(reference)) return 'The books name no transaction for it.'
      const mined = await reader.mined(lower(reference as Hex))
      if (!mined) return `The chain does not know the transaction ${reference}.`
      const isPaid = byPermit ? movesAll(mined, spend) : pays(mined, spend)
      return isPaid ? undefined : `The transaction ${reference} did not make it.`
    },
    close: () => rpc.close(),
  }
}

/** What the books say of a posted payment on an EVM chain, a seller's or a payer's; undefined if it is none. */
export function entryOf(held: Held): Entry | undefined {
  if (held.state !== 'posted') return undefined
  return saleOf(held) ?? purchaseOf(held)
}

/** A seller's books: the key is the spend itself, the note holds the offer. */
function saleOf({ key, note, steps }: Held): Entry | undefined {
  // Booked back: its transfer has vanished, and the books say so.
  if (steps.some(({ type }) => type === 'undone')) return undefined
  const [, network, kind, from, nonce] =
    /^(eip155:\d+)\/(erc20:0x[0-9a-f]{40}|permit2)\/(0x[0-9a-f]{40})\/(0x[0-9a-f]{64})$/.exec(
      key,
    ) ?? []
  const byPermit = kind === 'permit2'
  const spend = spendOf(note['offer'], from, nonce)
  if (network === undefined || !spend) return undefined
  const reference = textOf(last(steps, 'settled')['reference'])
  return { network, spend, reference, ...(byPermit && { byPermit }) }
}

/** A payer's books: the offer and the proof are in the step that was written ahead. */
function purchaseOf({ steps }: Held): Entry | undefined {
  const { offer, proof } = last(steps, 'signed')
  if (!isObject(offer) || !isObject(proof)) return undefined
  const byPermit = offer['rail'] === PERMIT
  const { from, nonce } = byPermit ? permitIn(proof) : authorizationIn(proof)
  const spend = (byPermit || offer['rail'] === 'evm') && spendOf(offer, from, nonce)
  const reference = textOf(last(steps, 'receipt')['reference'])
  // A purchase whose outcome was only seen on the chain names no transaction, and needs none.
  if (!spend || reference === '') return undefined
  return {
    ...{ network: textOf(offer['network']), spend, reference },
    ...(byPermit && { byPermit }),
  }
}

/** The rail of permits. */
const PERMIT = 'evm-permit2'

/** Who pays with it, and by which nonce. */
interface Payer {
  readonly from?: unknown
  readonly nonce?: unknown
}

function authorizationIn({ authorization }: JsonObject): Payer {
  return isObject(authorization) ? authorization : {}
}

/** A nonce of Permit2 stands in no record of the chain. */
function permitIn({ source }: JsonObject): Payer {
  return { from: textOf(source).split(':').at(-1), nonce: '' }
}

function spendOf(offer: unknown, from: unknown, nonce: unknown): Spend | undefined {
  if (!isObject(offer) || !isObject(offer['amount']) || !isObject(offer['details']))
    return undefined
  const amount = textOf(offer['amount']['amount'])
  const [token, payer, payee] = [offer['details']['asset'], from, offer['payee']].map(textOf)
  if (!token || !payer || !payee || !/^\d+$/.test(amount)) return undefined
  const shares = sharesIn(offer['details'])
  const passedOn = shares.reduce((sum, share) => sum + share.amount, 0n)
  return {
    token: lower(token as Hex),
    from: lower(payer as Hex),
    nonce: lower(textOf(nonce) as Hex),
    payee: lower(payee as Hex),
    amount: BigInt(amount) - passedOn,
    ...(shares.length > 0 && { shares }),
  }
}

/** What others get of it, where the offer says so. */
function sharesIn({ splits }: JsonObject): readonly Share[] {
  return (Array.isArray(splits) ? splits : []).flatMap((one: unknown) => {
    if (!isObject(one) || !/^\d+$/.test(textOf(one['amount']))) return []
    const payee = lower(textOf(one['recipient']) as Hex)
    return [{ payee, amount: BigInt(textOf(one['amount'])) }]
  })
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function last(steps: Held['steps'], type: string): JsonObject {
  return steps.findLast((step) => step.type === type)?.data ?? {}
}

function unreadable(): PaymentError {
  return new PaymentError('rail-unavailable', 'The chain did not tell a balance.', {
    retryable: true,
  })
}

/** Whether the asset is this one, whichever case its address is written in. */
export function isSameAsset(a: Asset, b: Asset): boolean {
  return a.id.toLowerCase() === b.id.toLowerCase()
}
