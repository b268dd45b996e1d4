import type { LocalAccount } from 'viem'
import { assert } from '../../../core/assert.ts'
import { systemClock } from '../../../core/clock.ts'
import type { Offer } from '../../../core/offer.ts'
import { nonceOf } from '../../../core/offers.ts'
import type { Ledger, Rail, Verdict } from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import { createFinal } from '../final.ts'
import type { Hex } from '../hex.ts'
import { isAddress, lower } from '../hex.ts'
import { createHoldings } from '../holdings.ts'
import { createQueues } from '../queue.ts'
import { SETTLE_WAIT_MS } from '../rail.ts'
import { readHex } from '../rpc.ts'
import { accountOf } from '../signer.ts'
import { createReader } from '../token.ts'
import type { Assurance } from './assurance.ts'
import { ASSURANCE, createAssurance } from './assurance.ts'
import { createBooks } from './books.ts'
import type { Claims } from './claim.ts'
import { createClaims } from './claim.ts'
import type { Evidence } from './evidence.ts'
import { evidenceOf, keyOf } from './evidence.ts'
import { createFates } from './fates.ts'
import type { Forms } from './forms.ts'
import { createLooks } from './look.ts'
import { methodOf } from './method.ts'
import {
  assetUnknown,
  offChain,
  offerPaid,
  payerUnproven,
  shortUnbound,
  stray,
  transferTaken,
} from './problems.ts'
import type { Proof } from './proof.ts'
import { isUnbound } from './proof.ts'
import type { Sender } from './sender.ts'
import { createSender } from './sender.ts'
import type { Verified } from './settling.ts'
import { createSettling } from './settling.ts'
import type { Finding } from './strays.ts'
import type { Submits } from './submit.ts'
import { createSubmits } from './submit.ts'
import type { Details, TermSettings } from './terms.ts'
import { CHARGE, contractOf, payableBy, shopOf } from './terms.ts'
import type { Found } from './verify.ts'
import { createCheck } from './verify.ts'
import type { ChainSettings } from '../settings.ts'
import { rpcOf } from '../settings.ts'

/** How long the gate's offers stand, unless the settings say otherwise, and the grid on which they end. */
export const OFFER_MS = 300_000
const OFFER_GRID_MS = 5_000
/** How long after the end of its offer a payment still counts as in time: its block may have been late. */
export const GRACE_MS = 60_000
/** The hash of the code of `contracts/TolseyReceiver.sol`. */
export const RECEIVER_CODE_HASH: Hex =
  '0x6d4a2042ea54363cec2aaa8fcc48aaa1a30b288de407422cffc782d1ad746e19'

/** What the rail is made of. */
export interface TransactionSettings extends TermSettings, ChainSettings {
  /** The seller's books: what comes late, short or in excess stands there, and each offer is paid once. */
  readonly ledger: Ledger
  /** How sure payments must be, by their size; one block for all if absent. */
  readonly assurance?: readonly Assurance[]
  /** How long the gate's offers stand: as its `offerValidMs`. */
  readonly offerValidMs?: number
  readonly graceMs?: number
  /**
   * Accounts that submit payments of other rails to the same payee: keys of the rail `evm`, facilitators. What they send is
   * never taken here.
   */
  readonly submitters?: readonly string[]
  /** Takes transactions that are signed and not sent (MPP), and sends them when the work is done. */
  readonly submit?: boolean
  /** The reconciler compares what lies at the payee with the books: for an account that nothing else pays into. */
  readonly compare?: boolean
  /** The key of `payTo`, for refunds; none are made without it. */
  readonly refundSigner?: string | LocalAccount
}

/** The rail. */
export interface TransactionRail extends Rail<Details, Proof> {
  readonly forms: Forms
}

/**
 * The buyer pays first, by any transaction of his own, and shows its hash. Nothing is sent from here.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function transactions(settings: TransactionSettings): TransactionRail {
  const shop = shopOf(settings)
  const { network, payee } = shop
  const { ledger, clock = systemClock } = settings
  const rpc = rpcOf(settings, network.chainId, clock)
  const reader = createReader(rpc)
  const final = createFinal({ rpc, reader, clock })
  const looks = createLooks(rpc, network.chainId)
  const assurance = createAssurance(
    settings.assurance ?? ASSURANCE,
    new Set([settings.rpc].flat()).size,
  )
  const fateOf = createFates({ rpc, looks, final, assurance })
  const submitters = new Set(settings.submitters?.map(readSubmitter))
  /** What was found of a proof when it was verified. */
  const known = new WeakMap<Proof, Verified>()
  const method = methodOf(shop, (proof) => known.get(proof), settings.submit === true)
  const { settleTimeoutMs: waitMs = SETTLE_WAIT_MS } = settings
  const books = createBooks(ledger, clock)
  const queues = createQueues()
  const till = tillOf()
  const settling = createSettling({
    ...{ network: network.id, rpc, clock, books, fateOf, final, waitMs },
    isClosed: () => isClosed,
  })
  let check: ReturnType<typeof createCheck> | undefined
  let submits: Submits | undefined
  let isClosed = false

  function tillOf(): Sender | undefined {
    if (settings.refundSigner === undefined) return undefined
    const account = accountOf(settings.refundSigner)
    if (lower(account.address) !== lower(payee))
      throw new RangeError('"refundSigner" is not the key of "payTo": refunds go out from there.')
    return createSender({ account, network, rpc, reader, clock, ledger, waitMs }, 'refund')
  }

  async function open(): Promise<void> {
    await rpc.open()
    await reader.open()
    await till?.open()
    const claims = await createClaims(settings.engine)
    for (const { details } of shop.payables) await openAsset(details, claims)
    const offerMs = (settings.offerValidMs ?? OFFER_MS) + OFFER_GRID_MS
    const { graceMs = GRACE_MS } = settings
    const { chainId } = network
    submits = createSubmits({ rpc, chainId, claims, clock })
    check = createCheck({ rpc, reader, chainId, claims, clock, offerMs, graceMs, submitters })
  }

  async function openAsset(details: Details, { keccak }: Claims): Promise<void> {
    const contract = contractOf(details)
    const code = await rpc.read('eth_getCode', [lower(contract), 'latest'], readHex)
    if (code === '0x') throw new RangeError(`There is no contract at ${contract} on ${network.id}.`)
    if ('token' in details) return
    const hash = Buffer.from(keccak(Buffer.from(code.slice(2), 'hex'))).toString('hex')
    if (`0x${hash}` !== RECEIVER_CODE_HASH)
      throw new RangeError(
        `The contract at ${contract} on ${network.id}, which "coin.receiver" names, is not TolseyReceiver.`,
      )
  }

  async function verify(offer: Offer<Details>, proof: Proof): Promise<Verdict> {
    const refused = checkOffer(offer)
    if (refused) return no(refused)
    return proof.raw === undefined
      ? verifySent(offer, proof)
      : verifyUnsent(offer, proof, proof.raw)
  }

  /** Nobody has sent it: who has the bytes, and the offer that it is for, has signed it. */
  async function verifyUnsent(offer: Offer<Details>, proof: Proof, raw: Hex): Promise<Verdict> {
    if (!settings.submit) return no(payerUnproven)
    assert(submits, 'the rail is open')
    const unsent = await submits.read(offer, proof, raw)
    if ('code' in unsent) return no(unsent)
    const { transaction } = proof
    const { sender } = unsent
    const evidence: Evidence = {
      ...{ transaction, raw, sender, payer: sender, at: 0, settledAt: 0 },
      paid: offer.amount.amount,
      nonce: BigInt(unsent.nonce),
    }
    const key = keyOf(network.id, evidence)
    const before = await books.spendFor(offer)
    if (before !== undefined && before !== key) return no(offerPaid)
    const held = before === undefined ? undefined : await ledger.find(key)
    // What was taken for this offer before is asked for by itself.
    if (!held || held.state === 'voided') {
      const look = await looks.at(transaction)
      // Others can read it by now, so that it must be bound as what is there.
      if (look.state !== 'absent') return verifySent(offer, proof)
      const why = await submits.try(offer, unsent)
      if (why) return no(why)
    }
    known.set(proof, { key, payer: sender, evidence, at: clock.now(), once: true })
    return { ok: true, key, payer: sender }
  }

  async function verifySent(offer: Offer<Details>, proof: Proof): Promise<Verdict> {
    assert(check, 'the rail is open')
    const asked = assurance(offer.amount)
    const look = await looks.at(proof.transaction, asked.tag, asked.quorum)
    const found = await check(offer, proof, look, asked)
    if ('code' in found) return no(found)
    const { seen, transfer } = found
    const key = keyOf(network.id, { transaction: seen.hash, at: transfer.at })
    const payer = transfer.from
    if (found.late || found.short) return no(await putAside(offer, proof, found, key))
    if (await isPaidOtherwise(offer, proof, key)) return no(offerPaid)
    const evidence = evidenceOf(seen, transfer)
    known.set(proof, { key, payer, found, evidence, at: clock.now(), once: isOnce(offer, proof) })
    return { ok: true, key, payer }
  }

  async function isPaidOtherwise(
    offer: Offer<Details>,
    proof: Proof,
    key: string,
  ): Promise<boolean> {
    const before = isOnce(offer, proof) ? await books.spendFor(offer) : undefined
    return before !== undefined && before !== key
  }

  function checkOffer({ network: on, intent, details, payee: to }: Offer<Details>) {
    if (on !== network.id || intent !== CHARGE) return offChain(network.id)
    return payableBy(shop, details) && lower(to as Hex) === lower(payee) ? undefined : assetUnknown
  }

  /** What came and buys nothing, by the hand of its payer. Where nobody can say what was meant, it is left alone. */
  async function putAside(
    offer: Offer<Details>,
    proof: Proof,
    { seen, transfer, late }: Found,
    key: string,
  ): Promise<Problem> {
    if (isUnbound(offer, proof)) return shortUnbound
    const evidence = evidenceOf(seen, transfer)
    const finding: Finding = late ? 'late' : 'short'
    const { amount } = transfer
    const booked = await books.putAside({ key, offer, finding, amount, evidence })
    return booked ? stray(finding, key) : transferTaken
  }

  function refundBy({ transfer }: Sender): NonNullable<TransactionRail['refund']> {
    return async (offer, payer, amount, key, log) => {
      assert(isAddress(payer), 'a refund goes to an address')
      assert(amount.asset.id === offer.amount.asset.id, 'a refund is in the asset that was paid')
      assert(amount.amount > 0n && amount.amount <= offer.amount.amount, 'no more than was paid')
      const { details } = offer
      const token = 'token' in details ? { token: lower(details.token) } : {}
      const back = { ...token, to: lower(payer), amount: amount.amount }
      return queues.run(`refund/${key}`, () => transfer(back, log))
    }
  }

  return {
    ...method,
    open,
    verify,
    async settle(offer, proof, key, log) {
      const verified = known.get(proof)
      assert(verified?.key === key, 'a payment is verified before it is settled')
      return settling.settle(offer, verified, log)
    },
    find: settling.find,
    stands: (offer, _key, _reference, log) => settling.stands(offer, log),
    ...(settings.compare && {
      holdings: createHoldings({
        ...{ network, rpc, reader, final, payee },
        senders: () => [],
        quorum: 1,
      }),
    }),
    ...(till && { refund: refundBy(till) }),
    async close() {
      isClosed = true
      till?.close()
      rpc.close()
      await queues.idle()
    },
  }
}

/** Whether the offer was made for one payer, and is paid once. Others are paid by whoever asks the same. */
function isOnce(offer: Offer<Details>, proof: Proof): boolean {
  return nonceOf(offer) !== undefined && !isUnbound(offer, proof)
}

function no(problem: Problem): Verdict {
  return { ok: false, problem }
}

function readSubmitter(address: string): Hex {
  if (!isAddress(address)) throw new RangeError(`"${address}" in "submitters" is not an address.`)
  return lower(address)
}
