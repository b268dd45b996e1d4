/** So much of something: an exact decimal, and its unit's name. */
export interface Quantity {
  readonly amount: string
  readonly code: string
  readonly units: string
  readonly asset?: string
}

/** Where a transaction can be looked at. */
export interface Link {
  readonly label: string
  readonly url: string
}

/** A payment as it stands. */
export interface Payment {
  readonly sequence: number
  readonly time: string
  readonly kind: string
  readonly state: string
  /** Where it is in its life, while it is open. */
  readonly life?: string
  readonly key: string
  readonly of?: string
  readonly route: string
  readonly payer: string
  readonly rail: string
  readonly network: string
  readonly amount: Quantity
  readonly cost?: Quantity
  readonly value?: { readonly currency: string; readonly amount: string; readonly rate: string }
  readonly reference: string
  readonly request: string
  readonly remark: string
  readonly links?: readonly Link[]
}

/** A page of payments. */
export interface PaymentPage {
  readonly payments: readonly Payment[]
  readonly next?: number
}

/** One row of the journal. */
export interface Row {
  readonly sequence: number
  readonly time: string
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
}

/** All that is known of a payment. */
export interface Story {
  readonly payment: Payment
  readonly life?: string
  readonly means?: string
  readonly links: readonly Link[]
  readonly rows: readonly Row[]
  readonly refunds: readonly Payment[]
  readonly refundable?: Quantity
  readonly reversed?: string
}

/** What became of a refund. */
export interface Outcome {
  readonly kind: 'refunded' | 'open' | 'denied'
  readonly key?: string
  readonly amount?: string
  readonly to?: string
  readonly reference?: string
  readonly code?: string
  readonly detail?: string
}

/** What was earned over time. */
export interface Revenue {
  readonly by: string
  readonly bucket: 'day' | 'hour'
  readonly unit: string
  readonly units: readonly string[]
  readonly starts: readonly string[]
  readonly groups: readonly {
    readonly group: string
    readonly total: string
    readonly count: number
    readonly values: readonly string[]
  }[]
  readonly total: string
  readonly count: number
  readonly isComplete: boolean
  readonly upTo?: string
}

/** Something that needs a look. */
export interface Item {
  readonly kind: 'unknown' | 'prepared' | 'refund' | 'suspense' | 'missing' | 'loss'
  readonly amount: Quantity
  readonly advice: string
  readonly key?: string
  readonly of?: string
  readonly account?: string
  readonly since?: string
  readonly payer?: string
  readonly rail?: string
  readonly detail?: string
}

/** What is open. */
export interface Attention {
  readonly items: readonly Item[]
  readonly count: number
  readonly underWay: number
}

/** The account of a token. */
export interface Token {
  readonly id: string
  readonly plan: string
  readonly state: 'good' | 'expired' | 'revoked'
  readonly opened: string
  readonly expires: string
  readonly payer?: string
  readonly payment?: string
  readonly uses?: number
  readonly balance?: string
}

/** A page of accounts. */
export interface TokenPage {
  readonly tokens: readonly Token[]
  readonly next?: string
}

/** A page of an account's statement. */
export interface Statement {
  readonly entries: readonly {
    readonly time: string
    readonly type: string
    readonly amount: string
    readonly what: string
  }[]
  readonly next?: string
}

/** What an account holds. */
export interface Balance extends Quantity {
  readonly account: string
  readonly pending: string
}

/** Balances by class. */
export interface Balances {
  readonly classes: readonly {
    readonly name: string
    readonly kind: string
    readonly means: string
    readonly count: number
    readonly sums: readonly (Quantity & { readonly pending: string })[]
    readonly accounts: readonly Balance[]
  }[]
}

/** How the rails are. */
export interface Rails {
  readonly rails: readonly {
    readonly name: string
    readonly network: string
    readonly state: 'good' | 'bad' | 'not looked at'
    readonly trouble?: string
    readonly settled: number
    readonly lastSettled?: string
    readonly refunds: boolean
  }[]
  readonly since: string
  readonly challenged: number
  readonly refused: number
  readonly faults: number
  readonly lastFault?: { readonly time: string; readonly where: string }
}

/** Limits. */
export interface Limits {
  readonly configured: Readonly<Record<string, unknown>>
  readonly count: number
  readonly used: readonly (Balance & { readonly means: string })[]
}

/** Something that happens now. */
export interface LiveEvent {
  readonly number: number
  readonly type: string
  readonly at: number
  readonly key?: string
  readonly of?: string
  readonly payer?: string
  readonly account?: string
  readonly rail?: string
  readonly network?: string
  readonly amount?: string
  readonly where?: string
}

/** What became of a booking. */
export interface Booked {
  readonly kind: 'booked' | 'denied'
  readonly key?: string
  readonly amount?: Quantity
  readonly to?: string
  readonly detail?: string
}
