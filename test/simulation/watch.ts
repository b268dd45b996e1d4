// Who watches a world. What must never be is a violation and ends the run; what the code is known not to hold yet is a
// gap, counted and named.
import { fromBase64 } from '../../src/core/base64.ts'
import { Bug } from '../../src/core/assert.ts'
import type { Event } from '../../src/core/event.ts'
import type { JsonObject } from '../../src/core/json.ts'
import { isObject, readJson } from '../../src/core/json.ts'
import type { Offer } from '../../src/core/offer.ts'
import type { Held, Ledger, SettlePoint } from '../../src/core/ports.ts'
import { isSale, readNote } from '../../src/gate/note.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { readStanding } from '../../src/payer/record.ts'
import { readProof } from '../../src/rails/evm/proof.ts'
import type { Proof } from '../../src/rails/evm/proof.ts'
import type { Process, Scheduler } from '../../src/testing/faults.ts'
import type { Chain } from './chain.ts'
import { idOf } from './chain.ts'
import type { Left, Sent } from './network.ts'

export interface Violation {
  readonly kind: string
  readonly detail: string
  readonly step: number
}

/** What was counted, to see that a world was not an empty one. */
export interface Counts {
  runs: number
  left: number
  received: number
  paid: number
  deaths: number
  unknown: number
  refetched: number
  undone: number
  /** Sales that were booked back. */
  reversed: number
  unserved: number
  faults: number
  /** Paid back. */
  refunded: number
}

export interface Purse {
  readonly signed: (proof: Proof, offer: Offer) => void
  received(run: JsonObject): void
}

interface Wish {
  readonly done: boolean
  readonly url: string
  readonly why: string
}

export interface PurseParts {
  readonly name: string
  readonly account: string
  readonly budget: bigint
  readonly ledger: Ledger
  readonly wishes: readonly Wish[]
  readonly sees: boolean
}

export interface Watch {
  readonly violations: readonly Violation[]
  readonly gaps: ReadonlyMap<string, number>
  readonly counts: Counts
  violation(kind: string, detail: string): void
  payer(parts: PurseParts): Purse
  /** The seller's work begins; what it gives back stands in the goods. */
  ran(request: Request): JsonObject
  /** A request has come to the seller: tells what to do with the answer to it. */
  came(sent: Sent): ((left: Left) => void) | undefined
  /** An answer has left the seller. */
  left(left: Left): void
  told(process: Process, event: Event): void
  died(process: Process): void
  /** After each step. */
  look(): void
  /** At the end, when everything has come to rest. */
  close(): Promise<void>
}

export interface WatchParts {
  readonly chain: Chain
  readonly scheduler: Scheduler
  readonly goods: Readonly<Record<string, { readonly settle: SettlePoint; readonly price: bigint }>>
  /** The seller's books, looked at without faults. */
  readonly shop: Ledger
  /** Whether the answer of that sale lies in a vault. */
  readonly kept: (key: string) => boolean
  /** Whether the seller's rail looks again at what was settled. */
  readonly looksAgain: boolean
  readonly trace?: (line: string) => void
}

interface Run {
  readonly id: number
  readonly spend: string
  readonly nonce: string
  readonly startedAt: number
  /** Whether the books knew at its beginning that this payment's goods were delivered. */
  delivered: boolean
}

/** What stands before payer and nonce in the key of a spend. */
const TOKEN = 'eip155:84532/erc20:0x036cbd53842c5426634e7929541ec2318f3dcf7e'
/** Longest header that is looked at. */
const HEADER_CHARS_MAX = 50_000
/** Time past its end in which an authorization may still be in a block that is on its way. */
const TAKEN_AFTER_MS = 4_000

/**
 * What the code is known not to hold, each with its reason. An entry goes when it is mended; nothing else may be added
 * to make a run pass.
 */
export const gaps: Readonly<Record<string, string>> = {
  'lost-on-the-way':
    'Without a vault an answer that was cut after it had left is gone: the same proof gets 410.',
  'served-again':
    'Without a vault, goods whose "delivered" was lost with the process or the disk are made once more: a choice.',
  'came-late':
    'After the end of a payment its payer sends it no more, though the gate would still serve it.',
  undone:
    'Nobody looks again at what was voided or paid back, at what others sent, or at what was settled through a facilitator.',
}

export function createWatch(parts: WatchParts): Watch {
  const { chain, scheduler, goods, shop } = parts
  const violations: Violation[] = []
  const found = new Map<string, number>()
  const runs = new Map<number, Run>()
  /** Runs whose goods left, by the spend that paid for them. */
  const out = new Map<string, Set<number>>()
  const leftAt = new Map<string, number>()
  const arrived = new Set<string>()
  const payers: (PurseParts & { readonly proofs: Map<string, Proof> })[] = []
  const counts: Counts = {
    runs: 0,
    left: 0,
    received: 0,
    paid: 0,
    deaths: 0,
    unknown: 0,
    refetched: 0,
    undone: 0,
    reversed: 0,
    unserved: 0,
    faults: 0,
    refunded: 0,
  }
  let looks = 0

  function violation(kind: string, detail: string): void {
    if (kind in gaps) {
      parts.trace?.(`gap ${kind}: ${detail}`)
      found.set(kind, (found.get(kind) ?? 0) + 1)
      return
    }
    violations.push({ kind, detail, step: scheduler.steps })
  }

  const keyed = (spend: string): ReturnType<Ledger['find']> => shop.find(`${TOKEN}/${spend}`)

  function proofOf(headers: Headers): Proof | undefined {
    const said = readJson(
      fromBase64(headers.get('payment-signature') ?? '') ?? '',
      HEADER_CHARS_MAX,
    )
    const proof = readProof(isObject(said) ? said['payload'] : undefined)
    return typeof proof === 'string' ? undefined : proof
  }

  async function judge({ request, text }: Left, run: Run): Promise<void> {
    const { pathname } = new URL(request.url)
    const proof = proofOf(request.headers)
    const good = goods[pathname]
    if (!proof || !good) return violation('free', `${pathname} left without a payment.`)
    const spend = idOf(proof.from, proof.nonce)
    if (run.spend !== spend) return violation('foreign', `${text} left for ${spend}.`)
    if (proof.value !== good.price) violation('price', `${pathname} left for ${proof.value}.`)
    const held = await keyed(spend)
    const written = held?.steps.some(({ type }) => type === 'prepared' || type === 'settled')
    const level = good.settle === 'deferred' ? written : chain.everPaid(proof.from, proof.nonce)
    if (!level) violation('level', `${pathname} left before it was ${good.settle}: ${spend}.`)
    const before = out.get(spend) ?? new Set<number>()
    out.set(spend, before.add(run.id))
    if (before.size > 1) repeated(run, spend)
    leftAt.set(spend, leftAt.get(spend) ?? scheduler.now())
  }

  /**
   * Whoever is asked for a new payment must not have paid already. Where it is for a reason that lies outside the books, he must
   * not have paid when he came: the same payment may be taken at another process while this one looks.
   */
  async function asked({ request, text }: Left, wasSent: boolean): Promise<void> {
    const proof = proofOf(request.headers)
    const held = proof && (await keyed(idOf(proof.from, proof.nonce)))
    if (!held || !isSale(held)) return
    const [, method, , path, query] = JSON.parse(held.purpose) as readonly string[]
    const { pathname, search } = new URL(request.url)
    if (method !== request.method || path !== pathname || query !== search.slice(1)) return
    if (!isSent(held)) return
    const code = /"code":"([a-z-]+)"/.exec(text)?.[1]
    const early = ['offer-expired', 'proof-expired', 'funds-insufficient'].includes(code ?? '')
    const detail = `${held.key} is ${held.state} and was asked for a new payment: ${code}.`
    if (!early) violation('asked-anew', detail)
    else if (wasSent) violation('refused-unlooked', detail)
  }

  function isSent({ state, steps }: Held): boolean {
    return state === 'posted' || (state === 'pending' && steps.some((s) => s.type === 'prepared'))
  }

  function repeated(run: Run, spend: string): void {
    const first = leftAt.get(spend) ?? 0
    const detail = `${spend} bought ${[...(out.get(spend) ?? [])].join(', ')}.`
    if (run.delivered) violation('delivered-again', detail)
    else violation(run.startedAt < first ? 'served-at-once' : unless(spend, 'served-again'), detail)
  }

  async function closeShop(): Promise<void> {
    const { problems } = await verifyBooks(shop, {
      onPosted(held) {
        if (!isSale(held)) return
        const { offer } = readNote(held.note)
        const [from = '', nonce = ''] = held.key.split('/').slice(-2)
        const use = chain.look(from, nonce).used
        if (use?.moved && use.proof?.value === offer.amount.amount) {
          if (isUndone(held)) violation('reversed-and-paid', `${held.key} was booked back.`)
          return
        }
        const id = idOf(from, nonce)
        if (isUndone(held)) counts.reversed++
        else if (chain.undone.has(id)) violation(unseen(held), `${id} is posted, and came undone.`)
        else violation('unbacked', `${id} is posted, and no money moved.`)
      },
    })
    for (const problem of problems) violation('books', problem)
    for (const [id, { hash }] of chain.paid()) {
      const held = await keyed(id)
      const sent = held?.steps.some(
        ({ type, data }) => type === 'prepared' && data['hash'] === hash,
      )
      if (held?.state === 'voided' && sent)
        violation(chain.depth > 0 ? 'undone' : 'given-up-and-taken', `${id} was voided.`)
    }
    for (const held of await shop.pending())
      if (isSale(held)) violation('open', `${held.key} is open: ${typesOf(held.steps)}.`)
  }

  const isUndone = ({ steps }: Held): boolean => steps.some(({ type }) => type === 'undone')

  /** A rail that looks again sees what came undone, if it was its own to send. */
  const unseen = ({ steps }: Held): string =>
    parts.looksAgain && steps.some(({ type }) => type === 'prepared') ? 'undone-unseen' : 'undone'

  /** With its bytes in a vault an answer is not lost, and no work is done again. */
  const unless = (key: string, kind: string): string =>
    parts.kept(`${TOKEN}/${key}`) ? `${kind}-though-kept` : kind

  const typesOf = (steps: readonly { readonly type: string }[]): string =>
    steps.map(({ type }) => type).join(', ')

  async function closePayer(payer: (typeof payers)[number]): Promise<void> {
    const { name, ledger } = payer
    const paid = chain.paid()
    const { problems } = await verifyBooks(ledger)
    for (const problem of problems) violation('books', `${name}: ${problem}`)
    for (const held of await ledger.pending())
      if (held.key.startsWith('purchase/'))
        violation('purchase-open', `${name} ${held.key}: ${typesOf(held.steps)}.`)
    const purchases = await purchasesOf(ledger)
    for (const [nonce, held] of purchases)
      if (held.state === 'voided' && paid.has(idOf(payer.account, nonce)))
        violation('voided-and-paid', `${name} gave up ${held.key}, and it was paid.`)
    await closeSpends(payer, paid, purchases)
    for (const { done, why, url } of payer.wishes) {
      // A crook need not be got anything out of.
      if (done || !url.includes('//shop.')) continue
      counts.unserved++
      // He cannot pay, or may not.
      if (/budget-exceeded|funds-insufficient/.test(why)) continue
      const { price = 0n } = goods[new URL(url).pathname] ?? {}
      if (chain.balance(payer.account) < price) continue
      violation('unserved', `${name} asked for ${url} until the end: ${why}.`)
    }
  }

  async function purchasesOf(ledger: Ledger): Promise<ReadonlyMap<string, Held>> {
    const list = new Map<string, Held>()
    for (const { type, key } of await ledger.journal(0, 10_000)) {
      const held = type === 'signed' ? await ledger.find(key) : undefined
      const proof = held && readProof(readStanding(held).signed?.proof)
      if (held && typeof proof === 'object') list.set(proof.nonce, held)
    }
    return list
  }

  /** An honest payer has what he paid for. */
  async function closeSpends(
    { name, proofs, account }: (typeof payers)[number],
    paid: ReturnType<Chain['paid']>,
    purchases: ReadonlyMap<string, Held>,
  ): Promise<void> {
    for (const proof of proofs.values()) {
      const id = idOf(account, proof.nonce)
      if (!paid.has(id) || !proof.to.startsWith('0x51')) continue
      counts.paid++
      if (arrived.has(id)) continue
      const held = await keyed(id)
      const purchase = purchases.get(proof.nonce)
      const detail =
        `${name} paid ${id} and has nothing. Seller: ${held?.state}, ${typesOf(held?.steps ?? [])}. ` +
        `Payer: ${purchase?.state}, ${typesOf(purchase?.steps ?? [])}.`
      if (out.has(id) && !isLate(purchase)) violation(unless(id, 'lost-on-the-way'), detail)
      else violation(out.has(id) ? 'came-late' : causeOf(held, purchase), detail)
    }
  }

  /** Its time was over before anything came of it: it was closed by what the chain said, or by nothing. */
  function isLate(purchase: Held | undefined): boolean {
    return purchase?.steps.some(({ type }) => type === 'paid' || type === 'doubtful') ?? false
  }

  /** The known causes have names of their own. */
  function causeOf(sale: Held | undefined, purchase: Held | undefined): string {
    const sold = sale?.steps.map(({ type }) => type) ?? []
    if (sold.includes('delivered')) return 'failed-and-delivered'
    return isLate(purchase) ? 'came-late' : 'paid-undelivered'
  }

  return {
    violations,
    gaps: found,
    counts,
    violation,
    payer(purse) {
      const proofs = new Map<string, Proof>()
      payers.push({ ...purse, proofs })
      return {
        signed(proof, offer) {
          proofs.set(proof.nonce, proof)
          const now = scheduler.now()
          const paid = chain.paid()
          const mayBeTaken = [...proofs.values()].filter(
            ({ nonce, validBefore }) =>
              paid.has(idOf(purse.account, nonce)) ||
              Number(validBefore) * 1000 + TAKEN_AFTER_MS > now,
          )
          const sum = mayBeTaken.reduce((total, { value }) => total + value, 0n)
          if (sum > purse.budget)
            violation('budget', `${purse.name} has signed ${sum} of ${purse.budget}.`)
          if (offer.amount.amount > 30_000n)
            violation('budget', `${purse.name} signed ${offer.amount.amount} for one request.`)
        },
        received(run) {
          counts.received++
          if (typeof run['spend'] === 'string') arrived.add(run['spend'])
        },
      }
    },
    ran(request) {
      const id = ++counts.runs
      const proof = proofOf(request.headers)
      const spend = proof ? idOf(proof.from, proof.nonce) : ''
      const run: Run = {
        id,
        spend,
        nonce: proof?.nonce ?? '',
        startedAt: scheduler.now(),
        delivered: false,
      }
      runs.set(id, run)
      keyed(spend).then(
        (held) => {
          run.delivered = held?.steps.some(({ type }) => type === 'delivered') ?? false
        },
        (error: unknown) => violation('bug', String(error)),
      )
      return { id, spend }
    },
    came({ headers }) {
      const proof = proofOf(headers)
      if (!proof) return undefined
      const before = keyed(idOf(proof.from, proof.nonce))
      return (left) => {
        if (left.status !== 402) return
        before
          .then((held) => asked(left, held !== undefined && isSent(held)))
          .catch((error: unknown) => violation('bug', String(error)))
      }
    },
    left(left) {
      if (left.status === 503) counts.unknown++
      const said = left.status === 200 ? readJson(left.text, 10_000) : undefined
      if (!isObject(said) || !isObject(said['run'])) return
      counts.left++
      const run = runs.get(Number(said['run']['id']))
      if (!run) return violation('bug', `Nobody made ${left.text}.`)
      judge(left, run).catch((error: unknown) => violation('bug', String(error)))
    },
    told(process, event) {
      if (event.type !== 'fault') return
      counts.faults++
      if (event.error instanceof Bug || event.error instanceof RangeError)
        violation('bug', `${process.name} ${event.where}: ${event.error.stack}`)
    },
    died() {
      counts.deaths++
    },
    look() {
      if (chain.supply() !== chain.total)
        violation('money', `There are ${chain.supply()} of ${chain.total}.`)
      if (++looks % 100 > 0) return
      for (const ledger of [shop, ...payers.map(({ ledger }) => ledger)])
        ledger.balances().then(
          (balances) => {
            const sum = balances.reduce(
              (total, { posted, pending }) => total + posted + pending,
              0n,
            )
            if (sum !== 0n) violation('books', `The balances add up to ${sum}.`)
          },
          (error: unknown) => violation('bug', String(error)),
        )
    },
    async close() {
      counts.undone = chain.undone.size
      await closeShop()
      for (const payer of payers) await closePayer(payer)
    },
  }
}
