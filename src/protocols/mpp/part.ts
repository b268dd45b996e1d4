import type { Challenge } from '../../core/challenge.ts'
import type { Session } from '../../core/credential.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Offer, Terms } from '../../core/offer.ts'
import type { Form, Protocol } from '../../core/ports.ts'

/** A rail in the words of MPP. */
export interface Words {
  /** The id of the challenge, and whose it is. Absent where terms are said: they are the protocol's. */
  readonly id?: string
  readonly realm?: string
  /** How it is paid, `[a-z]+`: `evm`, `lightning`. */
  readonly method: string
  /** What kind of promise is asked for: `charge`, `session`. */
  readonly intent: string
  /** What is asked for, by the rules of method and intent; absent where MPP has no words for the terms. */
  readonly request?: JsonObject
}

/** What a rail's form is given of a credential, and what it writes of one. */
export interface Shown {
  /** The challenge that is answered; absent where a payer reads back what it wrote itself. */
  readonly id?: string
  readonly realm?: string
  readonly payload?: unknown
  /** Who pays, as a DID. */
  readonly source?: string
}

/** A rail, a wallet, or anything else that knows how one rail is said in MPP, in {@link Words} and {@link Shown}. */
export interface Part<D = unknown, P = unknown> {
  readonly forms: { readonly mpp?: Form<D, P> }
}

/** The one field beside `Authorization` that may carry a credential. */
export const OWN_FIELD = 'Payment-Authorization'

/** Where a challenge wants its answer. */
export function fieldOf(header: Json | undefined): string {
  const isOwn = typeof header === 'string' && header.toLowerCase() === OWN_FIELD.toLowerCase()
  return isOwn ? OWN_FIELD : 'Authorization'
}

/** What MPP is made of. */
export interface MppSettings {
  /** Rails of a seller or wallets of a payer. */
  readonly parts: readonly Part[]
  /**
   * Has credentials go in `Payment-Authorization`, for applications that need `Authorization` themselves. A seller cannot speak L402
   * beside that, and clients older than draft 02 do not know it. A payer pays nobody then who wants them in `Authorization`.
   */
  readonly header?: typeof OWN_FIELD
  /**
   * A payer's: where what is left of sessions goes back to, for instance a Lightning address. With it a session is preferred to
   * the same payment for a token; without it none is opened.
   */
  readonly returnTo?: string
}

/** The protocol, as `mpp` makes it. */
export type Mpp = Protocol

/** A balance that is paid in by one payment and drawn on a unit at a time, as a method says it (intent `session`). */
export interface Sessions {
  /** What the method is called. */
  readonly method: string
  /** The words that offer one for what a challenge asks for; undefined where it cannot be had for these terms. */
  write(terms: Terms, use: SessionUse): Words | undefined
  /**
   * What a payload does, its proof checked; a sentence what is wrong with it, also where the challenge is for another part of the same
   * method. `terms` are what its challenge asked for, `source` is who pays, as a DID.
   */
  read(
    payload: JsonObject,
    request: JsonObject,
    terms?: Terms,
    source?: string,
  ): SessionSaid | string
  /** The payload that opens one. */
  open(proof: unknown, returnTo: string): JsonObject
  /** The payload that tops one up, where that says more than a payment. */
  topUp?(proof: unknown, channel: string): JsonObject
  /** Its deposits lie in channels and are drawn on by vouchers: nobody must be told where what is left goes back to. */
  readonly channels?: true
}

/** What is bought for the payment, and what is drawn of it at a time. */
export type SessionUse = NonNullable<NonNullable<Challenge['plan']>['session']>

/** What a payload for a session says. */
export interface SessionSaid {
  readonly session: Session
  /** Of the payment that it brings. */
  readonly proof?: unknown
}

/** A form that MPP can speak. */
export interface MppForm extends Form<unknown, unknown, Words> {
  /** Absent where the method has no sessions. */
  readonly sessions?: Sessions
  /**
   * Fewer clients can answer it than others of its method, of which those in use take the first that they see: it stands behind
   * them, and may be left out beside one that asks for the same.
   */
  readonly later?: true
  /** Resolves when proofs can be read, where something must be loaded for that. */
  ready?(): Promise<void>
}

/** The forms that MPP can speak. */
export type Forms = readonly MppForm[]

/** Does something as soon as all forms can read proofs: at once, but in the first moments of a process. */
export function createTurn(forms: Forms): <T>(act: () => T) => T | Promise<T> {
  const loading = forms.flatMap((form) => form.ready?.() ?? [])
  let waiting = loading.length === 0 ? undefined : Promise.all(loading)
  waiting?.then(
    () => (waiting = undefined),
    () => undefined,
  )
  return (act) => (waiting ? waiting.then(act) : act())
}

/** Collects the forms; a part without one is not offered here. */
export function formsOf(parts: readonly Part[]): Forms {
  // What stands under our name speaks the shape that we publish: the ports do not carry its type.
  return parts.flatMap((part) => (part.forms.mpp ? [part.forms.mpp as Forms[number]] : []))
}

/** Words that say what is asked for. */
export type Asking = Words & { readonly request: JsonObject }

/** What its rail says of an offer; undefined if MPP has no words for it. */
export function sayTerms(forms: Forms, terms: Terms): Asking | undefined {
  const { rail, network } = terms
  const form = forms.find((one) => one.rail === rail && one.networks.includes(network))
  const said = form?.writeDetails(terms)
  const { request } = said ?? {}
  return said && request && { ...said, request }
}

/** Terms with the form that took the words for its own. */
export interface Taken {
  readonly form: Forms[number]
  readonly terms: Terms
}

/** The first form that takes the words, or a sentence why none does. */
export function take(forms: Forms, words: Words): Taken | string {
  let why = `Nothing here pays or takes ${words.method}/${words.intent}.`
  for (const form of forms) {
    const terms = form.readDetails(words)
    if (typeof terms !== 'string') return { form, terms }
    // Of several rails of one method the first says why not.
    if (forms.length === 1) why = terms
  }
  return why
}

/** Offers on Lightning come last: buyers that know nothing else take the last challenge that they see. */
export const LAST = 'lightning'

/** An offer with what its rail says of it. */
export interface Said {
  readonly offer: Offer
  readonly words: Asking
}

/** What a method calls a balance that is drawn on. */
export const SESSION = 'session'

/** The offers that can be said, in the order in which they are. A session comes before the same payment for a token. */
export function sayOffers(
  forms: Forms,
  offers: readonly Offer[],
  use?: SessionUse,
): readonly Said[] {
  const said = offers.flatMap((offer) => {
    const words = sayTerms(forms, offer)
    const session = use && sessionOf(forms, offer, use)
    return [...(session ? [{ offer, words: session }] : []), ...(words ? [{ offer, words }] : [])]
  })
  const later = forms.filter((form) => form.later)
  const isLater = ({ offer }: Said): boolean =>
    later.some((one) => one.rail === offer.rail && one.networks.includes(offer.network))
  const place = (one: Said): number => (one.words.method === LAST ? 2 : Number(isLater(one)))
  return said.toSorted((a, b) => place(a) - place(b))
}

function sessionOf(forms: Forms, offer: Offer, use: SessionUse): Asking | undefined {
  const { rail, network } = offer
  const form = forms.find((one) => one.rail === rail && one.networks.includes(network))
  const said = form?.sessions?.write(offer, use)
  const { request } = said ?? {}
  return said && request && { ...said, request }
}
