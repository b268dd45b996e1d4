import * as v from 'valibot'
import {
  Ca,
  Count,
  Duration,
  Flag,
  object,
  Price,
  say,
  SecretSchema,
  several,
  TextSchema,
  Url,
  Words,
} from './document-words.ts'
import type { SecretRef, Several, TextRef } from './document-words.ts'

/** A facilitator that settles. */
export interface FacilitatorEntry {
  url: string
  headers?: Record<string, TextRef> | undefined
}

/** A chain on which stablecoins are taken. */
export interface EvmEntry {
  network: string
  payTo: string
  rpc?: Several<TextRef> | undefined
  signer?: Several<SecretRef> | undefined
  facilitator?: Several<string | FacilitatorEntry> | undefined
  confirmations?: number | undefined
  quorum?: number | undefined
  batcher?: string | undefined
  gasBudgetWei?: string | undefined
  refundSigner?: SecretRef | undefined
  transactions?: boolean | TransactionsEntry | undefined
  permit2?: boolean | PermitsEntry | undefined
  sweep?: SweepEntry | undefined
  channels?: ChannelsEntry | undefined
}

/** Payment channels. */
export interface ChannelsEntry {
  key: SecretRef
  escrow?: string | undefined
  collectFrom?: string | undefined
  idle?: string | undefined
  confirmations?: number | undefined
}

/** Payments that are shown by the hash of a transaction that the payer has sent. */
export interface TransactionsEntry {
  confirmations?: number | undefined
  submitters?: string[] | undefined
  compare?: boolean | undefined
}

/** Payments by permits of Permit2, of which others may get a share. */
export interface PermitsEntry {
  splits?: SplitEntry[] | undefined
}

/** Who gets a share of every payment: a fixed amount, or hundredths of a percent. */
export interface SplitEntry {
  recipient: string
  amount?: string | undefined
  bps?: number | undefined
  memo?: string | undefined
}

/** Cards by Stripe. */
export interface StripeEntry {
  key: SecretRef
  mode: 'test' | 'live'
  account?: string | undefined
  currencies?: string[] | undefined
  profile?: string | undefined
  publishableKey?: TextRef | undefined
  webhook?: Several<SecretRef> | undefined
}

/** PayPal. */
export interface PayPalEntry {
  clientId: TextRef
  clientSecret: SecretRef
  mode: 'sandbox' | 'live'
  currencies?: string[] | undefined
  merchant?: string | undefined
  vaultSecret?: SecretRef | undefined
  webhookId?: TextRef | undefined
  returnUrl?: string | undefined
}

/** By which rule money goes to a cold account. */
export interface SweepEntry {
  treasury: string
  above: string
  keep: string
  every?: string | undefined
  treasuryConfirmed?: string | undefined
}

/** A Lightning node; exactly one of its kinds. */
export interface LightningEntry {
  network?: string | undefined
  hold?: boolean | undefined
  compare?: boolean | undefined
  lnd?: { url: string; macaroon: SecretRef; ca?: string | undefined } | undefined
  cln?: { url: string; rune: SecretRef; ca?: string | undefined } | undefined
  phoenixd?: { url: string; password: SecretRef; ca?: string | undefined } | undefined
  eclair?: { url: string; password: SecretRef; ca?: string | undefined } | undefined
  lnbits?: { url: string; key: SecretRef; ca?: string | undefined } | undefined
  nwc?: { uri: SecretRef } | undefined
  lnurl?: { address: string } | undefined
}

const Facilitator = object({ url: Url, headers: v.optional(v.record(v.string(), TextSchema)) })
const Account = v.pipe(
  v.string('An account is written like "0x…" with 40 digits.'),
  v.regex(/^0x[0-9a-fA-F]{40}$/, 'An account is written like "0x…" with 40 digits.'),
)
const Sweep = object({
  treasury: v.pipe(Account, say('The cold account. Sealed in the books at its first use.')),
  above: v.pipe(Price, say('More than this lies there when a sweep is made.')),
  keep: v.pipe(Price, say('What stays, for refunds.')),
  every: v.optional(v.pipe(Duration, say('At most one sweep in this time (1d).'))),
  treasuryConfirmed: v.optional(
    v.pipe(Words, say('The fingerprint of another treasury than the books know.')),
  ),
})
const Transactions = object({
  confirmations: v.optional(v.pipe(Count, say('Blocks that a payment must be deep (1).'))),
  submitters: v.optional(
    v.pipe(v.array(Account), say('Accounts that send payments of other rails to "payTo".')),
  ),
  compare: v.optional(v.pipe(Flag, say('Nothing else pays into "payTo".'))),
})

const Split = v.pipe(
  object({
    recipient: v.pipe(Account, say('Who gets it.')),
    amount: v.optional(v.pipe(Price, say('As much of each payment, such as "0.01 USD".'))),
    bps: v.optional(v.pipe(Count, say('So many hundredths of a percent of it, rounded down.'))),
    memo: v.optional(v.pipe(Words, say('What it is for, as payers read it.'))),
  }),
  v.check(
    ({ amount, bps }) => (amount === undefined) !== (bps === undefined),
    'Say how much: an "amount", or "bps".',
  ),
)
const Permits = object({
  splits: v.optional(
    v.pipe(
      v.array(Split),
      v.minLength(1),
      v.maxLength(10),
      say('Who gets a part of each payment. Then nothing else is offered on this chain.'),
    ),
  ),
})

const Currencies = v.optional(
  v.pipe(
    v.array(v.pipe(v.string(), v.regex(/^[A-Z]{3}$/, 'A currency is written like "USD".'))),
    v.minLength(1),
    say('What is sold in (USD).'),
  ),
)

/** Cards by Stripe. */
export const StripeSchema: v.GenericSchema<StripeEntry> = object({
  key: v.pipe(SecretSchema, say('Its secret key.')),
  mode: v.picklist(['test', 'live'], 'This is "test" or "live".'),
  account: v.optional(v.pipe(Words, say('The connected account in whose name is sold.'))),
  currencies: Currencies,
  profile: v.optional(v.pipe(Words, say('For which agents issue shared payment tokens.'))),
  publishableKey: v.optional(v.pipe(TextSchema, say('For cards on the page.'))),
  webhook: v.optional(
    v.pipe(
      several(
        SecretSchema,
        'A secret is written by where it stands: { env: NAME } or { file: PATH }.',
      ),
      say('What its events are signed with: "whsec_…".'),
    ),
  ),
})

/** PayPal. */
export const PayPalSchema: v.GenericSchema<PayPalEntry> = object({
  clientId: TextSchema,
  clientSecret: SecretSchema,
  mode: v.picklist(['sandbox', 'live'], 'This is "sandbox" or "live".'),
  currencies: Currencies,
  merchant: v.optional(v.pipe(Words, say('Orders that pay anybody else are refused.'))),
  vaultSecret: v.optional(
    v.pipe(SecretSchema, say('Takes payment methods that were kept: 32 bytes and more.')),
  ),
  webhookId: v.optional(v.pipe(TextSchema, say('Of the webhook at PayPal, for its events.'))),
  returnUrl: v.optional(Url),
})

/** Payment channels. */
const Channels: v.GenericSchema<ChannelsEntry> = object({
  key: v.pipe(
    SecretSchema,
    say(
      'The key of the account that earns by channels, in hex. It alone can collect, and pays the gas.',
    ),
  ),
  escrow: v.optional(v.pipe(Account, say('Where TolseyChannel is, if not at its own address.'))),
  collectFrom: v.optional(
    v.pipe(Price, say('So much promised is collected at once, before the channel ends.')),
  ),
  idle: v.optional(v.pipe(Duration, say('After such a time without a voucher; a day if absent.'))),
  confirmations: v.optional(Count),
})

/** What only those need who settle themselves. */
const ours = ['quorum', 'batcher', 'gasBudgetWei', 'refundSigner', 'sweep'] as const

/** Whether others get a part of each payment, so that nothing else than permits is offered. */
export function isShared(permit2: EvmEntry['permit2']): boolean {
  return typeof permit2 === 'object' && (permit2.splits?.length ?? 0) > 0
}

/** A chain. */
export const Evm: v.GenericSchema<EvmEntry> = v.pipe(
  object({
    network: v.pipe(Words, say('base, base-sepolia, or CAIP-2 such as eip155:8453.')),
    payTo: v.pipe(Account, say('The account that earns.')),
    rpc: v.optional(
      v.pipe(
        several(TextSchema, 'An endpoint belongs here, or a list of them.'),
        say(
          'JSON-RPC endpoints, the preferred one first. With a facilitator: its word is believed when the chain shows it.',
        ),
      ),
    ),
    signer: v.optional(
      v.pipe(
        several(
          SecretSchema,
          'A key is written by where it stands: { env: NAME } or { file: PATH }.',
        ),
        say('The keys that send payments and pay their gas, in hex.'),
      ),
    ),
    facilitator: v.optional(
      v.pipe(
        several(
          v.union([Url, Facilitator], 'A facilitator is an address.'),
          'A facilitator is an address.',
        ),
        say('Who settles, where there is no signer of ours.'),
      ),
    ),
    confirmations: v.optional(Count),
    quorum: v.optional(Count),
    batcher: v.optional(Words),
    gasBudgetWei: v.optional(
      v.pipe(v.string(), v.regex(/^\d{1,30}$/, 'Gas is a whole number of wei, as text.')),
    ),
    refundSigner: v.optional(
      v.pipe(SecretSchema, say('The key that gives money back: that of "payTo", for sweeps too.')),
    ),
    transactions: v.optional(
      v.pipe(
        v.union([Flag, Transactions], 'This is true, or { confirmations, submitters, compare }.'),
        say('Takes transactions that payers have sent, by their hash. Needs an "rpc".'),
      ),
    ),
    permit2: v.optional(
      v.pipe(
        v.union([Flag, Permits], 'This is true, or { splits }.'),
        say('Takes permits of Permit2 (MPP), used by the first "signer".'),
      ),
    ),
    sweep: v.optional(
      v.pipe(Sweep, say('Moves what is above a floor to a cold account. Needs "refundSigner".')),
    ),
    channels: v.optional(
      v.pipe(
        Channels,
        say('Sells balances by payment channels, as sessions of MPP. Needs an "rpc".'),
      ),
    ),
  }),
  v.check(
    ({ signer, facilitator }) => (signer === undefined) !== (facilitator === undefined),
    'Say who settles: a "signer" of yours with an "rpc", or a "facilitator".',
  ),
  v.check(
    ({ transactions = false, rpc }) => transactions === false || rpc !== undefined,
    'To look for "transactions" give an "rpc": an endpoint of the chain.',
  ),
  v.check(
    ({ transactions = false, facilitator }) =>
      facilitator === undefined ||
      transactions === false ||
      (transactions !== true && transactions.submitters !== undefined),
    'Say in "transactions" which "submitters" the facilitator sends with: what they send is no transaction of a payer.',
  ),
  v.check(
    ({ permit2 = false, signer }) => permit2 === false || signer !== undefined,
    'To take "permit2" give a "signer": payers sign for its account.',
  ),
  v.check(
    ({ permit2, transactions = false }) => !isShared(permit2) || transactions === false,
    'What is shared by "splits" can only be paid by permits. Leave out "transactions".',
  ),
  v.check(
    ({ signer, rpc }) => signer === undefined || rpc !== undefined,
    'A "signer" needs an "rpc": the endpoint of its chain.',
  ),
  v.check(
    ({ channels, rpc }) => channels === undefined || rpc !== undefined,
    'To keep "channels" give an "rpc": an endpoint of the chain.',
  ),
  v.check(
    ({ sweep, refundSigner }) => sweep === undefined || refundSigner !== undefined,
    'A "sweep" needs a "refundSigner": the key of "payTo".',
  ),
  v.check(
    ({ facilitator, rpc, confirmations }) =>
      facilitator === undefined || rpc !== undefined || confirmations === undefined,
    'To count "confirmations" behind a "facilitator", give an "rpc" to look at.',
  ),
  v.check(
    ({ facilitator, ...own }) =>
      facilitator === undefined || ours.every((name) => own[name] === undefined),
    `A "facilitator" settles by itself. Leave out what is for a "signer" of yours: ${ours.join(', ')}.`,
  ),
)

/** Kinds of Lightning nodes. */
const kinds = ['lnd', 'cln', 'phoenixd', 'eclair', 'lnbits', 'nwc', 'lnurl'] as const
/** A Lightning node. */
export const Lightning: v.GenericSchema<LightningEntry> = v.pipe(
  object({
    network: v.optional(v.pipe(Words, say('bitcoin if absent; regtest, signet, testnet.'))),
    hold: v.optional(v.pipe(Flag, say('Payments are locked until the work is done.'))),
    compare: v.optional(
      v.pipe(Flag, say('Its node does nothing else, and what it holds is held against the books.')),
    ),
    lnd: v.optional(object({ url: Url, macaroon: SecretSchema, ca: Ca })),
    cln: v.optional(object({ url: Url, rune: SecretSchema, ca: Ca })),
    phoenixd: v.optional(object({ url: Url, password: SecretSchema, ca: Ca })),
    eclair: v.optional(object({ url: Url, password: SecretSchema, ca: Ca })),
    lnbits: v.optional(object({ url: Url, key: SecretSchema, ca: Ca })),
    nwc: v.optional(object({ uri: SecretSchema })),
    lnurl: v.optional(object({ address: Words })),
  }),
  v.check(
    (said) => kinds.filter((kind) => said[kind] !== undefined).length === 1,
    `Name one node: ${kinds.join(', ')}.`,
  ),
)
