import { encodeQR } from 'qr'
import type { Words } from '../words.ts'
import { amountOf, fill } from '../words.ts'
import { el, squares } from './dom.ts'
import type { Outcome, Payment } from './pay.ts'
import { here, send, sleep, stored } from './pay.ts'
import type { Offer, Said } from './said.ts'
import { valuesOf } from './said.ts'

/** A wallet that pays invoices in the browser (WebLN). */
interface WebLn {
  enable(): Promise<unknown>
  sendPayment(invoice: string): Promise<{ readonly preimage: string }>
}

/** By which the page asks whether the invoice was paid. */
export const TICKET_FIELD = 'Tolsey-Ticket'
/** Time between two questions; longer while nobody looks at the page. */
const LOOK_FIRST_MS = 500
const LOOK_MS = 2_000
const LOOK_HIDDEN_MS = 15_000

/** A preimage. */
export const PREIMAGE: RegExp = /^[0-9a-f]{64}$/i

/** Offers with an invoice that a wallet can read. */
export function invoicesOf({
  offers = [],
}: Said): readonly (Offer & { readonly invoice: string })[] {
  return offers.flatMap((offer) => {
    const { invoice } = offer
    return invoice !== undefined && /^ln[a-z0-9]+$/i.test(invoice) ? [{ ...offer, invoice }] : []
  })
}

/** The invoice as a picture; a scanner gets by with fewer dots when it is in capitals. */
export function qrOf(invoice: string, amount: string, say: Words): HTMLElement {
  const rows = encodeQR(`LIGHTNING:${invoice.toUpperCase()}`, 'raw', { ecc: 'low', border: 2 })
  return el('div', { class: 'qr' }, squares(rows, fill(say.qr, amountOf(amount))))
}

/** The wallet of this browser, if it has one. */
export function webLn(): WebLn | undefined {
  return (globalThis as { readonly webln?: WebLn }).webln
}

/** The token that came with the invoice, with its preimage: L402. Undefined where the challenge has none. */
export function withPreimage(said: Said, invoice: string, preimage: string): Payment | undefined {
  for (const line of valuesOf(said, 'WWW-Authenticate')) {
    const found = /L402 macaroon="([^"]+)", invoice="([^"]+)"/g
    for (const [, token, asked] of line.matchAll(found))
      if (asked === invoice && token !== undefined)
        return { name: 'Authorization', value: `L402 ${token}:${preimage.toLowerCase()}` }
  }
  return undefined
}

/** By the page's own ticket: the seller's node says whether the invoice was paid. */
export function byTicket({ ticket }: Offer): Payment | undefined {
  return ticket === undefined ? undefined : { name: TICKET_FIELD, value: ticket }
}

/** An invoice that was shown in this tab. */
interface Shown {
  readonly ticket: string
  readonly expiresAt: number
}

/** Most invoices of this tab that are looked at. */
const SHOWN_MAX = 3

/**
 * These invoices, and those that were shown before: who pays on this very phone comes back to a page that was loaded anew, with
 * another invoice than the one he has paid.
 */
export function shown(offers: readonly Offer[]): readonly Shown[] {
  const now = offers.flatMap(({ ticket, expiresAt }) =>
    ticket === undefined ? [] : [{ ticket, expiresAt }],
  )
  const key = SHOWN + here()
  const before = stored(() => JSON.parse(sessionStorage.getItem(key) ?? '[]') as readonly Shown[])
  const old = (before ?? []).filter(
    ({ ticket, expiresAt }) =>
      expiresAt + LATE_MS > Date.now() && now.every((one) => one.ticket !== ticket),
  )
  const all = [...now, ...old].slice(0, SHOWN_MAX)
  stored(() => sessionStorage.setItem(key, JSON.stringify(all)))
  return all
}

const SHOWN = 'tolsey-shown:'

/** Remembers what is about to be paid elsewhere, or forgets it: a page that is loaded anew asks what became of it. */
export function note(ticket: string, expiresAt: number, isOn: boolean): void {
  const key = SHOWN + here()
  stored(() => {
    const before = JSON.parse(sessionStorage.getItem(key) ?? '[]') as readonly Shown[]
    const others = before.filter((one) => one.ticket !== ticket)
    const all = isOn ? [{ ticket, expiresAt }, ...others] : others
    sessionStorage.setItem(key, JSON.stringify(all.slice(0, SHOWN_MAX)))
  })
}

/** Asks again and again until the invoice is paid or has ended. Undefined when it was told to stop. */
export async function watch(
  payment: Payment,
  expiresAt: number,
  signal: AbortSignal,
): Promise<Outcome | 'expired' | undefined> {
  await sleep(LOOK_FIRST_MS)
  for (;;) {
    if (signal.aborted) return undefined
    const outcome = await send(payment, signal)
    if (signal.aborted && outcome.kind === 'unreachable') return undefined
    if (outcome.kind === 'later' || outcome.kind === 'unreachable') {
      await sleep(document.hidden ? LOOK_HIDDEN_MS : LOOK_MS)
      continue
    }
    const isOver = outcome.kind === 'refused' && outcome.problem.code === 'offer-expired'
    return isOver || Date.now() > expiresAt + LATE_MS ? 'expired' : outcome
  }
}

/** A payment may be on its way when its offer ends. */
const LATE_MS = 600_000
