import type { Words } from '../words.ts'
import { fill } from '../words.ts'
import { TICKET_FIELD, note } from './lightning.ts'
import type { Payment } from './pay.ts'
import type { Card, Offer } from './said.ts'
import { Unpaid } from './wallet.ts'

/** As much of the processor's script as is used. */
interface Processor {
  elements(options: { readonly clientSecret: string; readonly appearance: object }): Elements
  confirmPayment(options: object): Promise<{
    readonly error?: { readonly type?: string; readonly message?: string }
    readonly paymentIntent?: { readonly id: string }
  }>
}

interface Elements {
  create(kind: 'payment'): { mount(place: HTMLElement): void }
}

/** What the seller says of a payment that he has begun. */
interface Begun {
  readonly client_secret: string
  readonly payment_intent: string
}

/** Errors after which nothing was charged. With any other the charge may have gone through, and its answer not. */
const UNCHARGED = ['card_error', 'validation_error']

/** A form of the processor's, ready to be filled in. */
export interface CardForm {
  /** Charges, and gives what the seller is to look at. */
  pay(): Promise<Payment>
}

/** Begins the payment, loads the processor's script, and puts its form into the place. */
export async function openCard(
  card: Card,
  offer: Offer,
  place: HTMLElement,
  say: Words,
): Promise<CardForm> {
  const [make, begun] = await Promise.all([load(card.script), begin(card, offer)]).catch(() => {
    throw new Unpaid(say.cardUnreachable)
  })
  const processor = make(card.publishableKey)
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches
  const appearance = { theme: isDark ? 'night' : 'stripe' }
  const elements = processor.elements({ clientSecret: begun.client_secret, appearance })
  elements.create('payment').mount(place)
  return {
    async pay() {
      const value = `${offer.ticket}.${begun.payment_intent}`
      note(value, offer.expiresAt, true)
      const { error, paymentIntent } = await processor
        .confirmPayment({
          elements,
          redirect: 'if_required',
          confirmParams: { return_url: location.href },
        })
        .catch(() => ({ error: {}, paymentIntent: undefined }) as const)
      if (error || !paymentIntent) {
        const { type = '', message = '' }: { type?: string; message?: string } = error ?? {}
        // It stays noted, so that the seller is asked what became of it.
        if (!UNCHARGED.includes(type)) throw new Unpaid(say.stuck)
        note(value, offer.expiresAt, false)
        throw new Unpaid(fill(say.cardFailed, message))
      }
      return { name: TICKET_FIELD, value }
    },
  }
}

async function begin({ beginPath }: Card, offer: Offer): Promise<Begun> {
  const answer = await fetch(beginPath, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
    body: JSON.stringify({ offer: offer.begin }),
  })
  if (!answer.ok) throw new Error(`status ${answer.status}`)
  return (await answer.json()) as Begun
}

type Make = (publishableKey: string) => Processor

function load(script: string): Promise<Make> {
  const made = (): Make | undefined => (globalThis as { readonly Stripe?: Make }).Stripe
  const there = made()
  if (there) return Promise.resolve(there)
  return new Promise((done, fail) => {
    const element = document.createElement('script')
    element.src = script
    element.addEventListener('load', () => {
      const found = made()
      if (found) done(found)
      else fail(new Error('The script has not come.'))
    })
    element.addEventListener('error', () => fail(new Error('The script cannot be loaded.')))
    document.head.append(element)
  })
}
