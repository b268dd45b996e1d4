import { fromBase64, toBase64 } from '../../core/base64.ts'
import type { JsonObject } from '../../core/json.ts'
import { readJson } from '../../core/json.ts'
import type { Clock, Form, Mint } from '../../core/ports.ts'

/** Who takes the money, in the profile's words. Several ways for one price are said as `hybrid`, which no rail is alone. */
export type Gateway = 'stripe' | 'blockchain' | 'stripe-crypto' | 'paypal'

/** A rail in the profile's words. */
export interface Words {
  readonly gateway: Gateway
  /** Whether nobody can pay it without a wallet of his own. */
  readonly wallet_required: boolean
  /** Where a person pays; the address of what is sold if absent. Not sealed: the terms must be read without it. */
  readonly payment_url?: string
  /** What helps to pay, and all that the terms are read from again. */
  readonly details: JsonObject
}

/** What a request brings, as a form is given it; what a form gives to be shown. */
export interface Said {
  /** An offer of ours, whose terms are known then, or a processor's own id. */
  readonly intent?: string
  readonly proof?: string
}

/** {@link Said} with the moment that the request names, in milliseconds since 1970. */
export interface Shown extends Said {
  readonly timestampMs: number
}

/** A rail or a wallet. One that is said in x402 and not here is said here in the same words. */
export interface Part<D = unknown, P = unknown> {
  readonly forms: { readonly bearer?: Form<D, P>; readonly x402?: Form<D, P> }
}

/** What the gateway profile is made of. */
export interface BearerSettings {
  /** Rails of a seller, or wallets of a payer. */
  readonly parts: readonly Part[]
  /** Whose tokens are taken as proofs; asked in this order. A payer has none. */
  readonly mints?: readonly Mint[]
  readonly clock?: Clock
}

/** The forms that can be said here. */
export type Forms = readonly Form<unknown, unknown, Words>[]

/** Longest proof that is read, in characters. */
export const PROOF_CHARS_MAX = 8_192

/** Collects the forms; a part that has none is not offered here. */
export function formsOf(parts: readonly Part[]): Forms {
  return parts.flatMap((part) => formOf(part) ?? [])
}

function formOf<D, P>({ forms }: Part<D, P>): Form<D, P, Words> | undefined {
  // What stands under a name speaks the shape that is published for it: the ports do not carry its type.
  if (forms.bearer) return forms.bearer as Form<D, P, Words>
  return forms.x402 && overJson(forms.x402 as Form<D, P, JsonObject>)
}

/**
 * The part with a form for the gateway profile, made of the one that it has for x402. A payer's wallet needs it, since payers
 * look there for what they can pay by.
 *
 * @example
 * const payer = createPayer({ wallets: [withBearer(wallet)], protocols: [bearer({ parts: [wallet] })], … })
 */
export function withBearer<D, P, T extends Part<D, P>>(
  part: T & Part<D, P>,
): T & { readonly forms: { readonly bearer: Form<D, P, Words> } } {
  const bearer = formOf(part)
  if (!bearer) throw new RangeError('Nothing of this part can be said in the gateway profile.')
  return { ...part, forms: { ...part.forms, bearer } }
}

/** A form whose words and proofs are JSON: the proof is shown in base64, as x402 shows it. */
function overJson<D, P>(form: Form<D, P, JsonObject>): Form<D, P, Words> {
  return {
    rail: form.rail,
    networks: form.networks,
    reasons: form.reasons,
    writeDetails: (terms) => ({
      gateway: 'blockchain',
      wallet_required: true,
      details: form.writeDetails(terms),
    }),
    readDetails: ({ gateway, details }) =>
      gateway === 'blockchain' ? form.readDetails(details) : `A wallet does not pay by ${gateway}.`,
    writeProof: (proof) => ({ proof: toBase64(JSON.stringify(form.writeProof(proof))) }),
    readProof(said) {
      const { proof = '' } = said as Shown
      const text = fromBase64(proof)
      const json = text === undefined ? undefined : readJson(text, PROOF_CHARS_MAX)
      return json === undefined ? 'The proof is not base64 of JSON.' : form.readProof(json)
    },
  }
}
