import type { Challenge } from './challenge.ts'
import type { Credential, Grant, Unbound } from './credential.ts'
import type { JsonObject } from './json.ts'
import type { Asset, Money, Price, PriceItem } from './money.ts'
import type { Offer, Terms } from './offer.ts'
import type { Account, Entry, Left, Measure, Meter, Plan } from './plan.ts'
import type { Code, Problem } from './problem.ts'
import type { Receipt } from './receipt.ts'
import type { RefundOrder, RefundOutcome, RestOrder, RestOutcome } from './refund.ts'
import type { Resource } from './resource.ts'
import type { Tasks } from './task.ts'
import type {
  ChannelReceipt,
  ChannelTerms,
  ChannelTold,
  Channels,
  Voucher,
  Vouchers,
} from './voucher.ts'

/** Time, as a parameter. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Resolves after that time, or at once when the signal fires. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** Chance, as a parameter. */
export type Chance = (bytes: number) => Uint8Array

/** Header fields by name; a web `Headers` is one. */
export interface Fields {
  get(name: string): string | null | undefined
}

/** What a protocol writes: header fields, and members of the JSON body that the door merges with those of others. */
export interface Message {
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body?: JsonObject
}

/** What a protocol reads. */
export interface Received {
  readonly status: number
  readonly fields: Fields
  /** The parsed body, if it was JSON within limits. */
  readonly body?: unknown
}

/** What a request brought, as its protocol reads it. */
export type Read = Credential | Problem | undefined

/** Makes tokens of one kind, and reads its own again. */
export interface Mint {
  /** `macaroon`, `jwt`, `opaque`. */
  readonly name: string
  mint(grant: Grant): string | Promise<string>
  /** The grant; undefined for a text that is no token of this kind; a sentence why one that is does not hold. */
  check(token: string): Minted | Promise<Minted>
}

/** What a mint finds in a text. */
export type Minted = Grant | string | undefined

/** A protocol: a codec of three messages. Pure; it calls nobody. */
export interface Protocol {
  readonly name: string
  /** Names of the fields that a payer sends and that a seller answers with: for CORS and `Vary`. */
  readonly fields: {
    readonly request: readonly string[]
    readonly response: readonly string[]
    /** By which who asks says what he would rather be offered; they pay nothing. */
    readonly preference?: readonly string[]
  }
  /** Its proofs are named after the offer's id, so that equal offers would be one payment: each offer is one of its kind. */
  readonly distinct?: true
  /** `asker` is what the request says: a protocol may order its own lines by it, or leave some of them out. */
  writeChallenge(challenge: Challenge, asker?: Fields): Message
  readChallenge(message: Received, resource: Resource): Challenge | undefined
  writeCredential(credential: Credential): Message
  /** Undefined when no credential of this protocol is there. A promise only where a signature must be checked for it. */
  readCredential(fields: Fields, resource: Resource): Read | Promise<Read>
  /** `offer` is what was paid, on the head of what it has bought; absent beside a refusal. */
  writeReceipt(receipt: Receipt, offer?: Offer | Unbound): Message
  readReceipt(message: Received, offer: Offer): Receipt | Problem | undefined
  /** A payer's words for channels. */
  readonly channels?: ChannelCodec
  /** What a payer is told who pays by vouchers: on the head of each answer, and its body where there is a place for it. */
  writeChannel?(receipt: ChannelReceipt): Message
  /** What a refusal without offers needs on its head, for instance why a token does not hold. */
  writeRefusal?(problem: Problem): Message
  /**
   * How a line of a challenge of its own stands among those of others; `all` are its own lines in that answer. Between them and
   * needed, if absent.
   */
  stand?(line: string, all?: readonly string[]): Stand
  /** Whether who asks says that he speaks this: then lines of others that have a stand are left out of its fields. */
  isAsked?(asker: Fields): boolean
  /** The status of a refusal of a credential of its own, where that is not the one of the table of problems. */
  readonly statuses?: Readonly<Partial<Record<Code, number>>>
  /** The type of a refusal of a credential of its own (RFC 9457), where the protocol has a name for why; ours if undefined. */
  typeOf?(problem: Problem): string | undefined
}

/** A payer's words for channels, in one protocol. Pure. */
export interface ChannelCodec {
  /** What the challenge has told beside the deposit; undefined where its offer is none of a channel. */
  terms(offer: Offer): ChannelTerms | undefined
  /** Draws on a channel that was opened for the offer, or ends it. */
  write(offer: Offer, act: 'use' | 'close', channel: string, voucher: Voucher): Message
  /** What the head of an answer tells of the channel; undefined where it tells nothing that can be read. */
  read(fields: Fields): ChannelTold | undefined
  /** The same of an event within a stream: `needed` is there where the work waits for a voucher. */
  readEvent(name: string, data: string): ChannelTold | undefined
  /** Whether the body of a refusal says that the vouchers do not go so far. */
  isShort(body: unknown): boolean
}

/** How a line of a challenge stands among the lines of other protocols in one 402. */
export interface Stand {
  /**
   * Lower stands first in a field that several share, since clients differ in where they look (docs/one-402.md). 0 and below: at
   * the start of all; 1: before those that name no place; 2: behind them.
   */
  readonly place?: number
  /** What may be said in its place where a head is over its budget: something shorter, or nothing. */
  readonly lean?: string
}

/** One rail said in one protocol. Pure. `W` is the shape that the protocol gives to a rail's words. */
export interface Form<D = unknown, P = unknown, W = unknown> {
  readonly rail: string
  /** CAIP-2 networks that it knows: two rails of one name differ by them. */
  readonly networks: readonly string[]
  /** Its proofs are named after the offer, so that a protocol that says it is {@link Protocol.distinct} too. */
  readonly distinct?: true
  writeDetails(terms: Terms<D>): W
  /** The terms, or a sentence why this rail cannot take them for its own. */
  readDetails(said: W): Terms<D> | string
  writeProof(proof: P): JsonObject
  /** The proof, or a sentence what is wrong with it. */
  readProof(said: unknown): P | string
  /** The protocol's word for each of the rail's reasons. */
  readonly reasons: Readonly<Record<string, string>>
}

/** What a look at a proof found. `key` names the spend itself, however the proof is written. */
export type Verdict =
  | { readonly ok: true; readonly key: string; readonly payer: string }
  | {
      readonly ok: false
      readonly problem: Problem
      readonly key?: string
      readonly payer?: string
    }

/**
 * What became of a spend. `cost` is what sending it has cost us, in the smallest unit of the network's own coin: its share of
 * a transaction that carried several. Absent where that cannot be told, and where nothing was sent. `passedOn` is what of the
 * offer's amount went to others than its payee by the same settlement; all went to him if absent.
 */
export type Settlement =
  | {
      readonly state: 'settled'
      readonly reference: string
      readonly payer: string
      readonly settledAt: number
      readonly cost?: bigint
      readonly passedOn?: bigint
    }
  | { readonly state: 'failed'; readonly problem: Problem; readonly cost?: bigint }
  | { readonly state: 'unknown'; readonly detail: string }

/**
 * Whether a payment that was settled still stands. `final`: nothing can undo it. `open`: it stands and may yet come undone,
 * or it is being sent again. `gone`: it is not there, and can never come back. `reference` is there where it is known now.
 */
export type Standing =
  | { readonly state: 'final' | 'open'; readonly reference?: string }
  | { readonly state: 'gone'; readonly problem: Problem }

/** Where a rail writes ahead what it will send to the world, and reads it back after a crash. */
export interface Log {
  read(): Promise<readonly Step[]>
  write(step: Step): Promise<void>
}

/** What a rail can be paid in: whole numbers of `10^-scale` of a currency. */
export interface Unit {
  /** The id of the asset. */
  readonly asset: string
  /** As the rail takes it in a price, for instance `USD` or `BTC`. */
  readonly currency: string
  readonly scale: number
}

/** What one of a currency is worth in another: `numerator / denominator`, exactly; both above zero. */
export interface Rate {
  readonly numerator: bigint
  readonly denominator: bigint
  /** Who said so, for the books: letters, digits, `.`, `_` and `-`, at most {@link RATE_SOURCE_CHARS_MAX}. */
  readonly source: string
  /** When it was so, in milliseconds since 1970. */
  readonly at: number
  /** From then on it is too old to be used. */
  readonly untilAt: number
}

/** Longest name of the source of a rate. */
export const RATE_SOURCE_CHARS_MAX = 16

/** What currencies are worth. */
export interface Rates {
  /** How much of `to` one of `from` is worth; undefined where nobody knows, or what is known is too old. */
  rate(from: string, to: string): Rate | undefined
  /** Asks for the first time, and goes on behind. That nobody answers is no error: there are no rates then. */
  open?(): Promise<void>
  /** Asks nobody any more. */
  close?(): Promise<void>
}

/** The pure half of a rail: what it would ask, how it is said, and what names a spend. */
export interface Method<D = unknown, P = unknown> {
  readonly name: string
  /** CAIP-2 where there is one. Rails of one name differ by it. */
  readonly network: string
  /** The rail under whose name the books keep what it takes, where both are paid at the same account; its own if absent. */
  readonly booked?: string
  /** This rail said in each protocol that can carry it, by the protocol's name. */
  readonly forms: Readonly<Record<string, Form<D, P>>>
  /** How this rail would take the price; empty if it cannot. */
  quote(price: Price): readonly Terms<D>[]
  /** What it can be paid in, so that prices in other currencies can be turned into that. Nothing is, if absent. */
  readonly units?: readonly Unit[]
  /**
   * Whether the payer pays before the proof is shown. Such a payment is taken after the end of its offer too, since the money
   * has moved: the rail itself lets nobody pay too late.
   */
  readonly prepaid?: boolean
  /**
   * The proof of a person at a page, who has none to show, where the rail sees by itself that an offer was paid. `name` is what the
   * world calls the payment, if the page was told. Good only in the hand of whom the offer was made for, so no form reads it.
   * Undefined where that name is needed and is none.
   */
  seen?(name?: string): P | undefined
  /** The natural key of the spend, however the proof is written, and who pays. Nothing is checked. */
  identify(offer: Offer<D>, proof: P): { readonly key: string; readonly payer: string }
}

/** How money moves. */
export interface Rail<D = unknown, P = unknown> extends Method<D, P> {
  /**
   * Checks its own configuration against the world: chain, token, account. Throws with what to do; `rail-unavailable` where the
   * world cannot be asked. It is called again to see whether the world is back, also while payments are under way.
   */
  open(): Promise<void>
  /**
   * Looks and touches nothing. The proof must stay payable for `payableForMs` from now, the time that the work may take.
   * Throws `PaymentError` when the world cannot be asked.
   */
  verify(offer: Offer<D>, proof: P, payableForMs?: number): Promise<Verdict>
  /** Moves the money once per key. Never throws for an outcome: what is not known is `unknown`. */
  settle(offer: Offer<D>, proof: P, key: string, log: Log): Promise<Settlement>
  /**
   * The most that settling it is likely to cost, in the smallest unit of the network's own coin. Absent where the rail pays
   * for nothing. Throws `PaymentError` when the world cannot be asked.
   */
  costMax?(offer: Offer<D>, proof: P): Promise<bigint>
  /**
   * What became of it, after a crash or a time-out; sends again what was written ahead. Undefined when there is no trace
   * of it: nothing was sent, and nothing is on record outside.
   */
  find(offer: Offer<D>, key: string, log: Log): Promise<Settlement | undefined>
  /**
   * Completes terms that need the world for each offer, for instance with an invoice. Absent where quoting is all. Throws
   * `rail-unavailable`, and the offer is left out.
   */
  issue?(terms: Terms<D>, memo: string, expiresAt: number): Promise<Terms<D>>
  /**
   * Begins the payment of an offer of ours by a person at a page: what the page needs for it, as JSON that goes there as it is.
   * Nothing moves by it. Absent where nothing must be begun. Throws `PaymentError` when the world cannot be asked.
   */
  begin?(offer: Offer<D>): Promise<JsonObject>
  /** Lets go of money that the payer has locked, when the work has failed. Safe to call twice. After a crash there is no proof. */
  release?(offer: Offer<D>, proof: P | undefined, key: string): Promise<void>
  /**
   * Looks again at what was settled, and sends again what was written ahead if it has vanished. Absent where what is settled
   * is final. Throws `PaymentError` when the world cannot be asked.
   */
  stands?(offer: Offer<D>, key: string, reference: string, log: Log): Promise<Standing>
  /**
   * What lies at accounts of ours, in a state of the network that nothing can undo. Absent where nobody can tell. Throws
   * `PaymentError` when it cannot be asked, or when no state is final yet.
   */
  holdings?(): Promise<Holdings>
  /**
   * There where a payment of this rail is a deposit into a channel, drawn on as far as vouchers go. `refund` closes the channel:
   * what vouchers promise is collected, and the amount goes back to its payer.
   */
  readonly vouchers?: Vouchers
  /** Sends the amount back to the payer, once per key. `reference`: where the outside world keeps what was paid. */
  refund?(
    offer: Offer<D>,
    payer: string,
    amount: Money,
    key: string,
    log: Log,
    reference?: string,
  ): Promise<Settlement>
  /** Ends watchers and connections. */
  close(): Promise<void>
}

/** What lies at one account of ours, by the word of its network. */
export interface Holding {
  /** As offers name their payee; for `sender` as the network does. */
  readonly account: string
  readonly asset: Asset
  readonly amount: bigint
  /** `payee`: money that was paid to us. `sender`: the network's own coin, from which costs are paid. */
  readonly use: 'payee' | 'sender'
  /** The asset by which the books know costs that are paid from here as well; absent where they are paid from elsewhere. */
  readonly costs?: string
}

/** All that lies at accounts of ours, in one state of the network. */
export interface Holdings {
  /** Which state: the number of a block, or a time. A later one is never below an earlier one. */
  readonly height: number
  readonly list: readonly Holding[]
  /** Those of the references of settlements that are part of this state. Throws `PaymentError` when it cannot be asked. */
  includes(references: readonly string[]): Promise<ReadonlySet<string>>
}

/** How a payer pays on one rail. */
export interface Wallet<D = unknown, P = unknown> {
  readonly rail: string
  /** What it signs is known to nobody until `pay` returns: a payer that dies before has paid nothing. */
  readonly local?: true
  readonly forms: Readonly<Record<string, Form<D, P>>>
  /** Undefined if this wallet can pay the offer, otherwise a sentence why not. */
  refuses(offer: Offer<D>): string | undefined
  /** Makes the proof. Called once per purchase; `validForMs` bounds how long it may stay payable. */
  pay(offer: Offer<D>, validForMs: number, signal?: AbortSignal): Promise<P>
  /**
   * Whether paying moves the money. Then what is to be paid is written down before, and `pay` is called again after a crash:
   * it looks first, and pays once.
   */
  readonly moves?: boolean
  /** The most that paying may cost beside the amount, in the offer's asset: reserved with it. */
  feeMax?(offer: Offer<D>): bigint
  /** What it has cost beside the amount. */
  fee?(proof: P): bigint
  /** When a proof stops being payable: only then can a missing payment be called dead. */
  expiresAt(proof: P): number
  /** Who pays with this proof, as an honest receipt names the payer. */
  payer?(proof: P): string
  /** There where what it pays are deposits into a channel. */
  readonly channels?: ChannelSigner<D, P>
  /** Looks whether the proof was used: `paid`, `dead` (it never can be any more), or `open`. */
  outcome?(offer: Offer<D>, proof: P): Promise<'paid' | 'dead' | 'open'>
}

/** A payer's half of channels. A channel is named as by the seller: 64 hex digits. */
export interface ChannelSigner<D = unknown, P = unknown> {
  /** The channel that the deposit goes into. */
  idOf(proof: P): string
  /** Signs away so much of all that was paid in, over all time. */
  sign(offer: Offer<D>, channel: string, cumulative: bigint): Promise<Voucher>
  /** Makes the proof of a further deposit; `deposited` is what was paid in before. */
  topUp(offer: Offer<D>, channel: string, deposited: bigint): Promise<P>
}

/** One leg of a transfer: out of one account into another. */
export interface Leg {
  readonly debit: string
  readonly credit: string
  /** The most that `credit` may hold afterwards, pending amounts counted. */
  readonly ceiling?: bigint
}

/** Money held under a key until it is posted or voided. All legs move the same amount, all or none. */
export interface Transfer {
  /** The natural key of the spend: claimed once. */
  readonly key: string
  /** What the spend is for. The same key with another purpose is foreign. */
  readonly purpose: string
  readonly asset: string
  readonly amount: bigint
  readonly legs: readonly Leg[]
  /** Until when the maker works on it. A claim with nothing written ahead is free again after that. */
  readonly leaseUntilAt: number
  /** What recovery and people will want to know. */
  readonly note: JsonObject
}

/** One thing that happened to a transfer, as data: `prepared`, `broadcast`, `settled`, `unknown`, `delivered`, … */
export interface Step {
  readonly type: string
  readonly data: JsonObject
}

/** A transfer as the books have it. */
export interface Held extends Transfer {
  readonly state: 'pending' | 'posted' | 'voided'
  /** What was posted; zero before. */
  readonly posted: bigint
  readonly steps: readonly Step[]
  readonly madeAt: number
  /** Which making of the key this is: whoever made an earlier one has lost it. */
  readonly claim: number
}

/** What came back of a claim. */
export type Claim =
  | { readonly outcome: 'made'; readonly claim: number }
  | { readonly outcome: 'replayed' | 'foreign'; readonly held: Held }
  | { readonly outcome: 'insufficient'; readonly account: string }

/** One line of the journal, chained to the one before by its hash. */
export interface Row {
  readonly sequence: number
  readonly at: number
  readonly key: string
  /** `made`, `posted`, `voided`, or the type of a step. */
  readonly type: string
  readonly data: JsonObject
  /** SHA-256 over the hash before and the canonical text of this row, in hex. */
  readonly hash: string
}

/** An account's standing in one asset: credits less debits. */
export interface Balance {
  readonly account: string
  readonly asset: string
  readonly posted: bigint
  /** Held and not yet posted. */
  readonly pending: bigint
}

/**
 * The books: double entry, durable once a promise resolves. Accounts whose name begins with `world/` stand for what is
 * outside and may be overdrawn; all others never.
 *
 * Who names its claim in `step`, `post` or `void` is told when another has made the key since: a fence against makers that
 * were thought dead.
 */
export interface Ledger {
  /** Holds the amount in one step. A voided key may be made again, as may a pending one whose lease ran out unprepared. */
  transfer(transfer: Transfer): Promise<Claim>
  /** Appends a step to a pending or posted transfer. Throws `payment-in-flight` when the claim is lost. */
  step(key: string, step: Step, claim?: number): Promise<void>
  /** Posts what was held, or less of it; the rest is released. A step may go into the same commit. */
  post(
    key: string,
    amount?: bigint,
    step?: Step,
    claim?: number,
  ): Promise<'posted' | 'replayed' | 'voided' | 'absent' | 'lost'>
  /** Releases what was held. `reason` is a problem's code. */
  void(
    key: string,
    reason: string,
    claim?: number,
  ): Promise<'voided' | 'replayed' | 'posted' | 'absent' | 'lost'>
  /** Voids a claim whose lease ran out with nothing written ahead; false, in the same step, if that is not so. */
  expire(key: string, claim: number): Promise<boolean>
  find(key: string): Promise<Held | undefined>
  /** Pending transfers, oldest first: what a restart must look at. With a purpose only those for it. */
  pending(purpose?: string): Promise<readonly Held[]>
  /** Transfers whose keys begin so, in the order of their keys, from behind `after` on; at most `limit`. */
  under(prefix: string, after: string, limit: number): Promise<readonly Held[]>
  /** What stands elsewhere than at zero, in all accounts or in one. */
  balances(account?: string): Promise<readonly Balance[]>
  /** Rows after that sequence number, in order, at most `limit`. */
  journal(after: number, limit: number): Promise<readonly Row[]>
  close(): Promise<void>
}

/** Answers that were paid for, kept for whoever lost one: bounded, and for a time. What it is given is sealed. */
export interface Vault {
  /** Keeps it until then. Throws `store-unavailable` when it cannot, for want of room too. */
  put(key: string, sealed: Uint8Array, untilAt: number): Promise<void>
  get(key: string): Promise<Uint8Array | undefined>
  /** Lets go of it before its time, where the vault can. */
  drop?(key: string): Promise<void>
}

/** What was shown once and must not be taken again, over all processes that share it. */
export interface Seen {
  /**
   * Takes a name until that time; false if it was taken before. Throws `PaymentError` where nobody can tell, and then it must
   * not be taken for new.
   */
  claim(name: string, untilAt: number): Promise<boolean>
}

/** What one process has counted under a name since it said so last. */
export interface Counted {
  readonly name: string
  /** Units that were taken; below zero what was given back. */
  readonly by: number
  /** Units that come back in a millisecond; above zero. */
  readonly perMs: number
  /** Most units that may be missing: what is more is forgotten. */
  readonly most: number
}

/** Counts over all processes that share it. */
export interface Counter {
  /** Adds what was counted, and tells in the same order how many units are missing of each by now, by all processes. */
  add(counted: readonly Counted[]): Promise<readonly number[]>
}

/** The account prefix of the outside world. */
export const WORLD = 'world/'

/** When the money moves: before the work, between the work and the first byte, or after the answer on bounded credit. */
export type SettlePoint = 'before-work' | 'before-response' | 'deferred'

/** What is asked for a resource, decided anew for each request. */
export interface Sale {
  /** The same in one currency or another; those of the plan where a plan is sold. */
  readonly prices: readonly Price[]
  /** What one of the prices is made of; it adds up to that. */
  readonly breakdown?: readonly PriceItem[]
  /** Paid for by tokens of this plan alone, and the plan is what is offered. */
  readonly plan?: Plan
  /** Names of plans whose tokens pay for it too. */
  readonly takes?: readonly string[]
  /** The price is known at the end, and what is sold is a plan with a balance. */
  readonly measure?: Measure
  readonly settle: SettlePoint
  /** The account that earns, for instance `sales/GET /weather`. */
  readonly account: string
  readonly description?: string
  readonly mimeType?: string
  /** Names of the rails that may be used; all if absent. */
  readonly rails?: readonly string[]
  /** How long the work may take. */
  readonly workMs?: number
  /** Whether the answer is kept for whoever lost it. Offers are then secrets: each is made for one payer. */
  readonly keep?: boolean
  /** The money goes back by itself where it has moved and the work fails. Else the payment stays good for another try. */
  readonly refund?: 'automatic'
}

/** A request at the gate. */
export interface Ask {
  readonly resource: Resource
  readonly sale: Sale
  /** What the request brought, read by a protocol; a problem if it could not be read. */
  readonly credential?: Credential | Problem
  /** The request's id. */
  readonly request: string
  /** What the payer calls the request: by a token it is paid once, however often it is sent under the same name. */
  readonly idempotencyKey?: string
  /** The id of the account into which a plan is bought, where it exists already. */
  readonly into?: string
  /** Asked before an offer is made that costs us something; all may be made if absent. */
  mayIssue?(): boolean
  /** Where the outcome of the payment with that key can be asked. */
  statusUrl?(key: string): string
}

/** No entry. The challenge is there exactly when a new payment may help. */
export interface Refusal {
  readonly kind: 'refused'
  readonly problem: Problem
  readonly challenge?: Challenge
}

/** The response may go out. */
export interface Serve {
  readonly kind: 'serve'
  readonly receipt?: Receipt
  /** A token was bought with it, which the payer does not have yet. */
  readonly bought?: Bought
}

/** A token was paid for. */
export interface Bought {
  readonly kind: 'bought'
  /** What the token is to say. */
  readonly grant: Grant
  readonly account: Account
  readonly receipt: Receipt
}

/** Accounts that tokens draw on, for their holders and for the operator. */
export interface Accounts {
  find(id: string): Promise<Account | undefined>
  left(id: string): Promise<Left>
  /** From behind `after` on, at most `limit`; the cursor of the last one is where to go on. */
  statement(
    id: string,
    after: string,
    limit: number,
  ): Promise<{ readonly entries: readonly Entry[]; readonly next?: string }>
  /** For good, and seen by every process that shares the books within {@link ACCOUNT_FRESH_MS}; false if there is none. */
  revoke(id: string): Promise<boolean>
}

/** How long what is known of an account is used: in that time every process has seen that a token is revoked. */
export const ACCOUNT_FRESH_MS = 1_000

/** The way in: the payment is checked and held, and in `before-work` settled. */
export interface Pass {
  readonly kind: 'pass'
  readonly key: string
  /**
   * False where nothing is taken for the answer, whatever becomes of the work: `finish` only says that it may go out, and need
   * not be waited for or called. True if absent.
   */
  readonly settles?: boolean
  /** Where the price is by measure. It counts until `ended`. */
  readonly meter?: Meter
  /**
   * Ends the work, exactly once. A success is settled and charged; anything else is released. The answer says whether the
   * response may go out, with which receipt, or what must be said in its place. The whole `answer` may be given where the
   * sale keeps it, for an hour or for `keepMs`.
   */
  finish(success: boolean, answer?: Uint8Array, keepMs?: number): Promise<Serve | Refusal>
  /** The first byte has left. After that the same proof buys nothing more. */
  delivered(): void
  /** Nobody was there for the first byte: the same proof may fetch it at once. */
  lost(): void
  /** The last byte has left, or none will any more: what was measured is charged, and the rest is free. Where there is a meter. */
  ended?(): Promise<void>
}

/** Paid for before, and kept: the same answer once more. */
export interface Kept {
  readonly kind: 'kept'
  /** Of a payment; a token has its statement. */
  readonly receipt?: Receipt
  readonly answer: Uint8Array
}

/** Admits paid work, and sees that it is charged once. */
export interface Gate {
  /** Whether there is a vault, so that a sale may ask for its answer to be kept. */
  readonly keeps: boolean
  /**
   * Opens the rails. One whose world cannot be asked is left out of what is offered until it can be, where there is another.
   * Throws `PaymentError` when one does not agree with its network, or none can be asked.
   */
  open?(): Promise<void>
  admit(ask: Ask): Promise<Pass | Kept | Refusal>
  /**
   * As `admit`, at once, for a token of which is known that it pays and from which nothing is taken: the hot path of the paid.
   * Undefined for all else, of which nothing was counted then.
   */
  admitNow?(ask: Ask): Pass | undefined
  /** The challenge for a request without a payment. Synchronous where no rail must be asked: the hot path of the unpaid. */
  challenge(ask: Ask, why?: Problem): Refusal | Promise<Refusal>
  /** Sells the plan of the sale alone, without work: a new account, or more for one. */
  sell(ask: Ask): Promise<Bought | Refusal>
  readonly accounts: Accounts
  /** Those of the accounts that are channels. */
  readonly channels: Channels
  /** Work that goes on after its request was answered. Where there is a vault. */
  readonly tasks?: Tasks
  /**
   * Gives back what a sale was paid, whole or in part: never twice for one order, and never more than was charged.
   * Throws `PaymentError` when the books cannot be asked; the same order is then safe to be sent again.
   */
  refund(order: RefundOrder): Promise<RefundOutcome>
  /**
   * Gives back what is left in a token's account to whoever paid for it. It is taken out of the account in one step, so that
   * nothing is drawn any more, and when it has gone back the token is revoked. The same order again tells how it stands; what
   * draws that failed have put back meanwhile goes back by it too. Throws as `refund`.
   */
  refundRest(order: RestOrder): Promise<RestOutcome>
  /** What is known of a payment, by the key in its status URL. */
  status(key: string): Promise<{ readonly state: string } | undefined>
  /** Looks at everything that is open: closes what there is evidence for. Runs at start and at intervals. */
  recover(): Promise<void>
  close(): Promise<void>
}

/** Who has a facilitator work for them, and how much of it they may have. What is absent is not limited. */
export interface Caller {
  /** Also the name of its account in the books, below `facilitated/`. */
  readonly name: string
  /** Accounts that may be paid, in any case. */
  readonly payees?: readonly string[]
  /** Ids or codes of the assets that may be moved, in any case. */
  readonly assets?: readonly string[]
  /** Requests of any kind, counted by each process for itself. */
  readonly requestsPerMinute?: number
  /** Most that is moved between two midnights (UTC), of each asset that stands for the currency; other assets are refused. */
  readonly amountPerDay?: Price
  /** Requests of any kind from one address, counted likewise. */
  readonly addressPerMinute?: number
  /** Most settlements that are sent between two midnights (UTC), failed ones included. */
  readonly settlementsPerDay?: number
  /**
   * Most that sending may cost between two midnights (UTC), failed settlements included, in the smallest unit of each
   * network's own coin. What a settlement may cost at most is reserved until it is known what it did cost.
   */
  readonly gasPerDayWei?: bigint
  /**
   * What a settled payment says when it is brought again: the same answer, or that it was used. A server that keeps no
   * record of its own needs `refuse`: it would take the same answer for another payment.
   */
  readonly repeats?: 'answer' | 'refuse'
}

/** What a person is shown in place of a bare refusal, for a request that prefers HTML. */
export interface Page {
  /** Reads what the page itself brings as a payment. The last of the seller's protocols. */
  readonly protocol?: Protocol
  /** The language that is spoken to who accepts those of an `Accept-Language` field: one of a few. */
  language(accepted: string): string
  write(view: View): { readonly fields: Message['fields']; readonly html: string }
}

/** What a page tells. Descriptions and names in it are strangers' text. */
export interface View {
  readonly resource: Resource
  readonly problem: Problem
  readonly challenge?: Challenge
  /** The request's id. */
  readonly request: string
  /** As {@link Page.language} gave it. */
  readonly language: string
  /** What the answer's head says to payers. */
  readonly fields: Message['fields']
}

/** Makes the page of a seller. */
export type Pages = (parts: {
  readonly rails: readonly Rail[]
  /** Seals for ourselves, under the seller's secrets. */
  readonly seal: (bytes: Uint8Array) => Uint8Array
  /** Undefined if it was not sealed by us, or is not whole. */
  readonly open: (sealed: Uint8Array) => Uint8Array | undefined
}) => Page

/** A request over HTTP, so far as it is looked at. */
export interface Asked {
  readonly method: string
  /** Path and query. */
  readonly target: string
  readonly fields: Fields
  /** Where it comes from, if that is known. */
  readonly address?: string
  /** The body; undefined when it is longer than that, of which not a byte more is kept. */
  text(bytesMax: number): Promise<string | undefined>
}

/** The answer to a request over HTTP. */
export interface Answered {
  readonly status: number
  readonly fields: Readonly<Record<string, string>>
  readonly body: string
  /** In the place of the text, where it is none. */
  readonly bytes?: Uint8Array
}

/** Answers beside the routes: sells tokens, tells about them, describes the shop. It is asked before the route table. */
export interface Service {
  /** Where it answers, as it is sent, letter by letter; a last segment `*` stands for all that lies below. */
  readonly paths: readonly string[]
  /** A refusal is said as everywhere else, with the challenges of all protocols. What it throws is a fault. */
  answer(asked: Asked, shop: Shop): Promise<Answered | Refusal>
}

/** What a service has of the shop, for one request. */
export interface Shop {
  readonly resource: Resource
  readonly plans: ReadonlyMap<string, Plan>
  /** The first mints what is handed out, all read what comes back. */
  readonly mints: readonly Mint[]
  readonly accounts: Accounts
  /** What the request brought. */
  credential(): Promise<Credential | Problem | undefined>
  /** The grant of a token, as it was handed out or with its scheme as in an `Authorization` field. */
  read(token: string): Promise<Grant | undefined>
  /**
   * Sells a plan for what the request brought, into a new account or into one that stands; without a payment the refusal is
   * its challenge. The plan may be narrower than the one that it is named after.
   */
  buy(plan: Plan, into?: string): Promise<Bought | Refusal>
  /** The account of a grant, for whoever holds all of it: a token that was narrowed and handed on says less. */
  whole(grant: Grant): Promise<Account | Problem>
  /** Gives back what is left in the account, on the terms of its plan; undefined where the plan has none. */
  giveBack(account: Account, to?: string): Promise<RestOutcome | undefined>
}

/** The caller may not, or not now. It says nothing about the payment, of which nothing was touched. */
export interface Denial {
  readonly kind: 'denied'
  readonly code: 'unauthorized' | 'forbidden' | 'limited' | 'closing'
  readonly detail: string
  readonly retryAfterMs?: number
}

/** What a facilitator tells of a settlement. A pending one has its reference as soon as there is one. */
export type Facilitated =
  | { readonly kind: 'settled'; readonly receipt: Receipt }
  | { readonly kind: 'failed'; readonly problem: Problem; readonly payer?: string }
  | { readonly kind: 'pending'; readonly payer: string; readonly reference?: string }

/** Verifies and settles on behalf of others. Never throws for a payment: a fault of the world is a problem in the answer. */
export interface Facilitator {
  /** Who asks, by the key that was brought, and from which address; counted against the rates. */
  admit(key: string | undefined, address?: string): Caller | Denial
  /** Looks, and touches nothing. */
  verify(caller: Caller, offer: Offer, proof: unknown): Promise<Verdict | Denial>
  /** Moves the money once. The same payment gets the same answer, for ever, from every process that shares the books. */
  settle(caller: Caller, offer: Offer, proof: unknown): Promise<Facilitated | Denial>
  /** Whether it takes work, and its books can be read. */
  ready(): Promise<boolean>
  /** Closes what is open and has evidence. Runs at start and at intervals. */
  recover(): Promise<void>
  /** Takes nothing new, and resolves when everything that was taken has its answer. */
  drain(): Promise<void>
}
