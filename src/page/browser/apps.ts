import type { Words } from '../words.ts'
import type { Payment } from './pay.ts'
import type { Offer, Said } from './said.ts'
import { Unpaid } from './wallet.ts'

/** What a payment app answers with: the header field of the retry. */
interface Details {
  readonly field?: unknown
  readonly value?: unknown
}

/** A payment app that this browser can ask. */
export interface App {
  readonly host: string
  readonly offer: Offer
  readonly request: () => PaymentRequest
}

/** Those that the browser has or can fetch. None where it has no Payment Request API. */
export async function findApps(said: Said): Promise<readonly App[]> {
  if (typeof PaymentRequest !== 'function') return []
  const candidates = (said.offers ?? []).flatMap((offer): readonly App[] => {
    const method = said.apps?.[offer.rail]
    if (method === undefined) return []
    return [{ host: new URL(method).host, offer, request: () => requestOf(said, offer, method) }]
  })
  const can = await Promise.all(
    candidates.map((app) =>
      Promise.resolve()
        .then(() => app.request().canMakePayment())
        .catch(() => false),
    ),
  )
  return candidates.filter((_, at) => can[at])
}

/** The code of ISO 4217 where no currency is meant: browsers take three letters and no others. */
const NO_CURRENCY = 'XXX'

/**
 * The app is given the whole challenge, as it stands on the head of the 402, and says with which field the request is to be
 * sent again. The total is for the browser's own window: three letters, and the exact amount stands in the challenge.
 */
function requestOf(said: Said, offer: Offer, method: string): PaymentRequest {
  const [value = '0', code = ''] = offer.amount.split(' ')
  const currency = [offer.currency, code].find((name) => /^[A-Z]{3}$/.test(name)) ?? NO_CURRENCY
  return new PaymentRequest(
    [
      {
        supportedMethods: method,
        data: {
          url: location.href,
          rail: offer.rail,
          network: offer.network,
          offer: offer.id,
          fields: said.fields,
          ...(offer.invoice !== undefined && { invoice: offer.invoice }),
        },
      },
    ],
    { total: { label: said.description ?? said.path, amount: { currency, value } } },
  )
}

/** Asks the app. `done` closes its window with what the seller said. */
export async function payByApp(
  { request }: App,
  said: Said,
  say: Words,
): Promise<{ readonly payment: Payment; done(isPaid: boolean): Promise<void> }> {
  let response: PaymentResponse
  try {
    response = await request().show()
  } catch {
    throw new Unpaid(say.handlerFailed)
  }
  const { field, value } = (response.details ?? {}) as Details
  const isOurs = typeof field === 'string' && typeof value === 'string' && allowed(said, field)
  if (!isOurs) {
    await response.complete('fail')
    throw new Unpaid(say.handlerFailed)
  }
  return {
    payment: { name: field, value },
    done: (isPaid) => response.complete(isPaid ? 'success' : 'fail').catch(() => undefined),
  }
}

/** Fields by which payments are brought; an app has no business with others. */
function allowed(_: Said, field: string): boolean {
  return /^(?:payment-signature|authorization|payment-authorization|x-payment)$/i.test(field)
}
