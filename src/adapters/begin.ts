import { createCap } from '../core/cap.ts'
import { systemClock } from '../core/clock.ts'
import type { JsonObject } from '../core/json.ts'
import { isObject, readJson } from '../core/json.ts'
import type { Offers } from '../core/offers.ts'
import type { Answered, Asked, Clock, Rail, Refusal, Service } from '../core/ports.ts'
import type { Code } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import { readSaidOffer } from '../core/said-offer.ts'

/** Where a page begins a payment. */
export const BEGIN_PATH = '/.well-known/tolsey/begin'
/** Longest request, in bytes. */
export const BEGIN_BYTES_MAX = 16_384
/** Most payments that one address begins in a minute, in each process. */
export const BEGIN_EACH_MAX = 30
/** Most that all begin. */
export const BEGIN_ALL_MAX = 600

/** What the service is made of. */
export interface BeginSettings {
  /** Those of them whose payments are begun. */
  readonly rails: readonly Pick<Rail, 'name' | 'network' | 'begin'>[]
  /** The seller's own, by which it knows its offers again. */
  readonly offers: Offers
  readonly eachMax?: number
  readonly allMax?: number
  readonly clock?: Clock
}

/**
 * Begins payments that persons make at a processor: `POST` with `{ "offer": … }` as `writeOffer` writes it, and the answer is what
 * the rail says that a page needs. Only offers of ours that stand are taken: nobody has payments begun over other amounts, or for
 * something else.
 */
export function beginnings(settings: BeginSettings): Service {
  const { rails, offers, clock = systemClock } = settings
  const mayBegin = createCap(
    clock,
    settings.eachMax ?? BEGIN_EACH_MAX,
    settings.allMax ?? BEGIN_ALL_MAX,
  )

  async function answer(asked: Asked): Promise<Answered | Refusal> {
    if (asked.method !== 'POST') return said(405, { error: 'method_not_allowed' })
    const text = await asked.text(BEGIN_BYTES_MAX)
    if (text === undefined) return refused('body-too-large', 'An offer is shorter than that.')
    const json = readJson(text, BEGIN_BYTES_MAX)
    const offer = readSaidOffer(isObject(json) ? json['offer'] : undefined)
    const rail = rails.find((one) => one.name === offer?.rail && one.network === offer.network)
    if (!offer || !rail?.begin)
      return refused('credential-malformed', 'The body has no offer that is paid like this.')
    const why = offers.check(offer, offer.resource, clock.now())
    if (why) return { kind: 'refused', problem: why }
    if (!mayBegin(asked.address))
      return refused('rate-limited', 'Too many payments are begun. Come back in a minute.')
    return said(200, await rail.begin(offer))
  }

  return { paths: [BEGIN_PATH], answer }
}

function refused(code: Code, detail: string): Refusal {
  return { kind: 'refused', problem: problem(code, detail) }
}

function said(status: number, body: JsonObject): Answered {
  const fields = { 'content-type': 'application/json', 'cache-control': 'no-store' }
  return { status, fields, body: JSON.stringify(body) }
}
