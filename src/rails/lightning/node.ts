/** What a node can do; a rail offers only what its node can. */
export interface Capabilities {
  /** Locks a payment until it is settled or cancelled. */
  readonly hold: boolean
  /** Amounts finer than a satoshi. */
  readonly msat: boolean
  /** Keeps to a limit of the routing fee. Without it, a payout checks what it was told before and after. */
  readonly feeLimit: boolean
  /** Pays. A node that only receives cannot refund. */
  readonly pay: boolean
  /** Tells what became of an invoice. Without it, the preimage alone is the evidence. */
  readonly lookup: boolean
  /** Pays BOLT12 offers. */
  readonly offers: boolean
  /** Pays invoices that leave the amount open. */
  readonly amountless?: boolean
}

/** Who a node is. */
export interface NodeInfo {
  /** CAIP-2 of the chain that it is on. */
  readonly network: string
  /** Public key in hex; empty where the back end does not tell. */
  readonly publicKey: string
}

/** What an invoice is asked for. */
export interface InvoiceRequest {
  readonly msat: bigint
  readonly memo: string
  /** Whole seconds. */
  readonly expiresInS: number
  /** The payment hash, hex, of a hold invoice whose preimage is ours. Only where the node can hold. */
  readonly hash?: string
}

/** What became of an invoice of ours. A preimage of one that is not paid never passes this border. */
export interface InvoiceState {
  readonly state: 'open' | 'held' | 'settled' | 'cancelled'
  readonly receivedMsat: bigint
  /** Absent unless it is settled and the node tells. */
  readonly settledAt?: number
}

/** What is to be paid. */
export interface PaymentRequest {
  readonly invoice: string
  /** How much, where the invoice leaves it open: only for a node that can. */
  readonly msat?: bigint
  readonly feeMaxMsat: bigint
  readonly timeoutMs: number
}

/** What became of a payment. `inFlight` is an answer, never an error: it may still succeed. */
export type PaymentState =
  | { readonly state: 'succeeded'; readonly preimage: string; readonly feeMsat: bigint }
  | { readonly state: 'failed'; readonly reason: string }
  | { readonly state: 'inFlight' }

/**
 * A Lightning node or wallet, behind whatever it speaks. Hashes and preimages are 64 hex digits in lower case, amounts are
 * millisatoshis. Throws `PaymentError` (`rail-unavailable`) when it cannot be asked, and `misconfigured` when it will not
 * answer us; the outcome of a call that was sent is then unknown, never failed.
 */
export interface LightningNode {
  readonly name: string
  readonly can: Capabilities
  /** Checks address and rights, and tells who it is. */
  open(): Promise<NodeInfo>
  createInvoice(
    request: InvoiceRequest,
  ): Promise<{ readonly invoice: string; readonly hash: string }>
  /** Undefined where the node has never heard of it. */
  invoice(hash: string): Promise<InvoiceState | undefined>
  /** Takes what is held. Settling what is settled is no error. */
  settle?(preimage: string): Promise<void>
  /** Gives back what is held, and closes what is open. Cancelling what is cancelled is no error. */
  cancel?(hash: string): Promise<void>
  /** Pays once per payment hash, whatever is asked twice. A time-out asks the node before it answers. */
  pay?(request: PaymentRequest, signal?: AbortSignal): Promise<PaymentState>
  /** Undefined where nothing was ever sent. */
  payment?(hash: string): Promise<PaymentState | undefined>
  /**
   * All that is ours in it, in millisatoshis, what is locked in payments that it sends included. Absent where the back end does
   * not tell.
   */
  balance?(): Promise<bigint>
  /** An invoice (BOLT11 or BOLT12) for that amount from a BOLT12 offer, if it can pay those. */
  fetchInvoice?(offer: string, msat: bigint): Promise<string>
  close(): Promise<void>
}
