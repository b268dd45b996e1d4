import type { Problem, Receipt } from './said.ts'

/** The field by which the door knows that a page pays: it hands the receipt over first, and what was bought afterwards. */
export const PAGE_FIELD = 'Tolsey-Page'
/** How often the same payment is sent again before the person is asked. */
const TRIES_MAX = 8
/** Longest time between two tries. */
const WAIT_MAX_MS = 30_000

/** From here on it may be said by what stands before the seller and hears nothing of him, who may have taken the payment. */
const GIVEN_UP_FROM = 502

/** A payment as the seller reads it: one header field. */
export interface Payment {
  readonly name: string
  readonly value: string
}

/** What became of it. */
export type Outcome =
  | { readonly kind: 'paid'; readonly receipt?: Receipt }
  /** It could not be handed over in two steps: here it is. */
  | { readonly kind: 'content'; readonly blob: Blob; readonly fileName: string }
  | { readonly kind: 'refused'; readonly problem: Problem }
  /** Nobody said what became of it: it stays good, and is kept. */
  | { readonly kind: 'open'; readonly problem?: Problem }
  /** The work failed: the payment was not used for it, or has moved and is good for another try. */
  | { readonly kind: 'failed'; readonly status: number }
  | { readonly kind: 'unreachable' }

/** What is told while it goes on. */
export type Tell = (what: 'sending' | 'again' | 'offline', seconds: number) => void

/** The address of this page, as it was asked for. With its origin: a path that begins with two slashes would name another. */
export function here(): string {
  return location.origin + location.pathname + location.search
}

/** One try. Undefined where nobody was reached. */
export async function send(
  payment: Payment,
  signal?: AbortSignal,
): Promise<Outcome | { readonly kind: 'later'; readonly ms: number; readonly problem: Problem }> {
  let answer: Response
  try {
    answer = await fetch(here(), {
      headers: { Accept: 'application/json', [PAGE_FIELD]: '1', [payment.name]: payment.value },
      cache: 'no-store',
      ...(signal && { signal }),
    })
    if (answer.headers.get(PAGE_FIELD) === 'receipt') {
      const { receipt } = (await answer.json()) as { readonly receipt?: Receipt }
      return { kind: 'paid', ...(receipt && { receipt }) }
    }
    if (/^application\/problem\+json/.test(answer.headers.get('content-type') ?? '')) {
      const problem = (await answer.json()) as Problem
      if (problem.retry !== 'same') return { kind: 'refused', problem }
      const seconds = Number(answer.headers.get('retry-after') ?? 2)
      return { kind: 'later', ms: Math.min(WAIT_MAX_MS, Math.max(1, seconds) * 1000), problem }
    }
    if (answer.status >= GIVEN_UP_FROM) return { kind: 'unreachable' }
    if (!answer.ok) return { kind: 'failed', status: answer.status }
    return { kind: 'content', blob: await answer.blob(), fileName: fileNameOf(answer) }
  } catch {
    return { kind: 'unreachable' }
  }
}

/** Sends it until there is an answer. What was signed is kept until then: a reload goes on with it, and signs nothing new. */
export async function present(payment: Payment, tell: Tell): Promise<Outcome> {
  keep(payment)
  let waitMs = 1_000
  for (let tries = 0; ; tries++) {
    tell('sending', 0)
    const outcome = await send(payment)
    const isOpen = outcome.kind === 'later' || outcome.kind === 'unreachable'
    if (!isOpen) {
      if (outcome.kind !== 'failed') forget()
      return outcome
    }
    if (tries >= TRIES_MAX)
      return { kind: 'open', ...(outcome.kind === 'later' && { problem: outcome.problem }) }
    waitMs = outcome.kind === 'later' ? outcome.ms : Math.min(WAIT_MAX_MS, waitMs * 2)
    tell(outcome.kind === 'later' ? 'again' : 'offline', Math.ceil(waitMs / 1000))
    await sleep(waitMs)
  }
}

/** Resolves after that time. */
export function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}

const PENDING = 'tolsey-pending:'
const PAID = 'tolsey-paid:'
const LOOKED = 'tolsey-looked:'

function keep(payment: Payment): void {
  stored(() => sessionStorage.setItem(PENDING + here(), JSON.stringify(payment)))
}

function forget(): void {
  stored(() => sessionStorage.removeItem(PENDING + here()))
}

/** A payment that was made here and has no answer yet. */
export function pending(): Payment | undefined {
  return stored(() => {
    const said = sessionStorage.getItem(PENDING + here())
    return said === null ? undefined : (JSON.parse(said) as Payment)
  })
}

/** Remembers that this address was paid for. The payment itself is where no script can read it. */
export function markPaid(): void {
  stored(() => {
    sessionStorage.removeItem(`tolsey-shown:${here()}`)
    localStorage.setItem(PAID + here(), '1')
    sessionStorage.removeItem(LOOKED + here())
  })
}

/**
 * Whether it was paid for here, and not looked yet: who comes by a link from elsewhere comes without the cookie, and has it on
 * the second way, from here. Once.
 */
export function mayHavePaid(): boolean {
  return (
    stored(() => {
      if (localStorage.getItem(PAID + here()) === null) return false
      if (sessionStorage.getItem(LOOKED + here()) !== null) return false
      sessionStorage.setItem(LOOKED + here(), '1')
      return true
    }) ?? false
  )
}

/** A browser may forbid to keep anything. */
export function stored<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch {
    return undefined
  }
}

function fileNameOf({ headers }: Response): string {
  const said = /filename="?([^";]+)/.exec(headers.get('content-disposition') ?? '')?.[1]
  const last = location.pathname.split('/').pop()
  return said ?? (last === undefined || last === '' ? 'download' : last)
}
