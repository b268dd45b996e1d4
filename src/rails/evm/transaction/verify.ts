import type { Offer } from '../../../core/offer.ts'
import { nonceOf } from '../../../core/offers.ts'
import type { Clock } from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import { bytes, encode, word } from '../abi.ts'
import { unwrap } from '../erc6492.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { Rpc } from '../rpc.ts'
import { readHex } from '../rpc.ts'
import type { Reader } from '../token.ts'
import type { Asked } from './assurance.ts'
import type { Claims } from './claim.ts'
import { claimOf } from './claim.ts'
import type { Look, Sighting } from './look.ts'
import {
  attributed,
  authorized,
  coinMissing,
  loose,
  notFinal,
  notMined,
  payerIsPayee,
  payerUnproven,
  permitted,
  sentByAnother,
  tooEarly,
  transactionFailed,
  transactionUnknown,
  transferMissing,
} from './problems.ts'
import type { Proof } from './proof.ts'
import { isUnbound, nameIn } from './proof.ts'
import type { Details } from './terms.ts'
import type { Transfer } from './transfers.ts'
import { isAttributed, isAuthorized, isPermitted, selfTransfers, transfersOf } from './transfers.ts'

/** How far a block's time may be from ours: a slot of the slowest chain, and our own clock. */
export const SKEW_MS = 15_000
/** Most transfers of one transaction whose payers are asked whether they have signed. */
const WALLETS_MAX = 4
/** Most gas that a wallet's own check of a signature gets. It is only simulated. */
const SIGNED_GAS = 1_000_000
/** `isValidSignature(bytes32,bytes)` (ERC-1271), and what it answers. */
const IS_VALID: Hex = '0x1626ba7e'

/** What the check needs. */
export interface CheckParts {
  readonly rpc: Rpc
  readonly reader: Reader
  readonly chainId: number
  readonly claims: Claims
  readonly clock: Clock
  /** How long an offer stands, its grid included: when it was made follows from its end. */
  readonly offerMs: number
  /** How long after the end of its offer a payment still counts as in time. */
  readonly graceMs: number
  /** Accounts whose transactions settle payments of other rails. */
  readonly submitters: ReadonlySet<string>
}

/** A payment that is there, deep enough, and made by whoever shows it. `late` and `short` say what is wrong with it all the same. */
export interface Found {
  readonly seen: Sighting
  readonly transfer: Transfer
  readonly late: boolean
  readonly short: boolean
}

/** Makes the check of what a look has found, in the order in which things can be wrong. */
export function createCheck(
  parts: CheckParts,
): (offer: Offer<Details>, proof: Proof, look: Look, asked: Asked) => Promise<Found | Problem> {
  const { rpc, reader, chainId, claims, clock, offerMs, graceMs, submitters } = parts

  /** From when to when a payment for the offer is made. Where nobody can say which was meant: lately. */
  function windowOf(offer: Offer<Details>, proof: Proof): { from: number; to: number } {
    const end = isUnbound(offer, proof) ? clock.now() : offer.expiresAt
    return { from: end - offerMs - SKEW_MS, to: end + graceMs + SKEW_MS }
  }

  function missing(offer: Offer<Details>, proof: Proof, state: 'absent' | 'waiting' | 'loose') {
    if (state === 'loose') return loose
    // What is on its way to a block may come in any time; what nobody knows is given up with the offer.
    const over = clock.now() > windowOf(offer, proof).to
    return state === 'absent' && over ? transactionUnknown : notMined
  }

  /** The payments that could be meant, or why there is none. */
  function candidates(
    offer: Offer<Details>,
    proof: Proof,
    seen: Sighting,
  ): readonly Transfer[] | Problem {
    const payee = lower(offer.payee as Hex)
    const all = transfersOf(seen, offer.details, payee)
    const named = proof.log === undefined ? all : all.filter(({ at }) => at === proof.log)
    if (named.length === 0) {
      if (selfTransfers(seen, offer.details, payee)) return payerIsPayee
      return 'token' in offer.details ? transferMissing : coinMissing
    }
    const claimed = proof.payer ? named.filter(({ from }) => from === proof.payer) : named
    const own = claimed.filter(({ from }) => !isAuthorized(seen, offer.details, from))
    if (own.length === 0) return claimed.length > 0 ? authorized : payerUnproven
    const sent = own.filter(({ from }) => !isPermitted(seen, from))
    if (sent.length === 0) return permitted
    const free = sent.filter(({ from }) => !isAttributed(seen, offer.details, from))
    if (free.length === 0) return attributed
    return submitters.has(seen.sender) ? sentByAnother : free
  }

  /** Those that whoever asks has made. */
  async function bound(
    offer: Offer<Details>,
    proof: Proof,
    seen: Sighting,
    list: readonly Transfer[],
  ): Promise<readonly Transfer[] | Problem> {
    if (proof.signature !== undefined) return signed(offer, proof, proof.signature, seen, list)
    if (nonceOf(offer) === undefined || isUnbound(offer, proof)) return payerUnproven
    const tag = claims.tag({ ...offer, id: nameIn(offer, proof) })
    const tagged = list.filter((one) => isTagged(offer, seen, one, tag))
    return tagged.length > 0 ? tagged : payerUnproven
  }

  /** Only where the payer himself has written the calldata: others can write what they like behind theirs. */
  function isTagged({ details }: Offer<Details>, seen: Sighting, one: Transfer, tag: Hex): boolean {
    if (one.reference !== undefined) return one.reference === tag
    const own = seen.sender === one.from
    const direct = one.at === 'value' || ('token' in details && seen.to === lower(details.token))
    return own && direct && seen.input.endsWith(tag.slice(2))
  }

  async function signed(
    offer: Offer<Details>,
    proof: Proof,
    signature: Hex,
    seen: Sighting,
    list: readonly Transfer[],
  ): Promise<readonly Transfer[] | Problem> {
    const meant = { ...offer, id: nameIn(offer, proof) }
    const digestFor = (from: Hex): Hex => claims.digest(claimOf(meant, seen.hash, from), chainId)
    const byKey = list.filter(({ from }) => claims.signer(digestFor(from), signature) === from)
    const [first] = byKey
    if (first) {
      // A key that signs for itself sends for itself, unless it has let a wallet's code act for it (EIP-7702).
      const own = seen.sender === first.from || (await hasCode(first.from))
      return own ? byKey : sentByAnother
    }
    const payers = [...new Set(list.map(({ from }) => from))].slice(0, WALLETS_MAX)
    for (const from of payers)
      if (await isSignedByWallet(from, digestFor(from), signature))
        return list.filter((one) => one.from === from)
    return payerUnproven
  }

  async function hasCode(account: Hex): Promise<boolean> {
    return (await rpc.read('eth_getCode', [account, 'latest'], readHex)) !== '0x'
  }

  /** By the wallet's own code (ERC-1271). It has paid, so that it exists: what says how to make it is passed over (ERC-6492). */
  async function isSignedByWallet(wallet: Hex, digest: Hex, signature: Hex): Promise<boolean> {
    const wrapped = unwrap(signature)
    if (wrapped === 'garbled') return false
    const inner = wrapped?.signature ?? signature
    const data = encode(IS_VALID, digest.slice(2), word(0x40), bytes(inner))
    // In a batch, so that whatever the wallet does is an answer and no fault of the node.
    const call = { target: wallet, data, allowFailure: true }
    const answers = await reader.batch([call], { gas: SIGNED_GAS })
    if (answers === 'reverted') return false
    return answers[0]?.ok === true && answers[0].data === `${IS_VALID}${'0'.repeat(56)}`
  }

  return async (offer, proof, look, asked) => {
    if (look.state !== 'there') return missing(offer, proof, look.state)
    if (!look.ok) return transactionFailed
    if (look.depth < asked.confirmations) return notFinal
    const list = candidates(offer, proof, look)
    if ('code' in list) return list
    const mine = await bound(offer, proof, look, list)
    if ('code' in mine) return mine
    const { from, to } = windowOf(offer, proof)
    const at = Number(look.time) * 1000
    if (at < from) return tooEarly
    const enough = mine.find(({ amount }) => amount >= offer.amount.amount)
    const transfer = enough ?? mine[0]
    if (!transfer) return payerUnproven
    return { seen: look, transfer, late: at > to, short: enough === undefined }
  }
}
