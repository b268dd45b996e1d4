import type { Language } from '../words.ts'

/** One way to pay, as the page was told. */
export interface Offer {
  readonly id: string
  readonly rail: string
  /** CAIP-2. */
  readonly network: string
  /** For people: `0.01 USDC`. */
  readonly amount: string
  /** What the asset stands for: `USD`. */
  readonly currency: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
  readonly invoice?: string
  /** Asks the seller whether the invoice was paid. */
  readonly ticket?: string
  /** What a payment by card is begun with. */
  readonly begin?: object
}

/** What was paid. */
export interface Receipt {
  readonly amount: string
  readonly reference: string
  readonly payer: string
  readonly payee: string
  readonly network: string
  readonly settledAt: number
}

/** Why there is no answer yet. */
export interface Problem {
  readonly code: string
  readonly status: number
  readonly title: string
  readonly detail: string
  readonly retry: 'new' | 'same' | 'none'
  readonly reason?: string
}

/** The processor of cards. */
export interface Card {
  readonly script: string
  readonly publishableKey: string
  readonly beginPath: string
}

/** All that the server tells the page. Names and descriptions are strangers' text. */
export interface Said {
  readonly language: Language
  readonly languages: Readonly<Record<Language, string>>
  readonly name: string
  readonly logo?: string
  readonly request: string
  readonly path: string
  readonly description?: string
  readonly breakdown?: readonly {
    readonly what: string
    readonly quantity: string
    readonly unit: string
    readonly amount: string
  }[]
  readonly plan?: { readonly name: string; readonly rights: readonly string[] }
  readonly problem: Problem
  readonly retryAfterMs?: number
  readonly receipt?: Receipt
  readonly offers?: readonly Offer[]
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly card?: Card
  readonly apps?: Readonly<Record<string, string>>
}

/** What stands in the page, or in a page that was fetched. The server has left no `<` in it. */
export function readSaid(html: string): Said | undefined {
  const found = /id="said">([^<]*)<\/script>/.exec(html)?.[1]
  return found === undefined ? undefined : (JSON.parse(found) as Said)
}

/** The values of a header field of the challenge. */
export function valuesOf({ fields }: Said, name: string): readonly string[] {
  const wanted = name.toLowerCase()
  return fields.filter(([one]) => one.toLowerCase() === wanted).map(([, value]) => value)
}
