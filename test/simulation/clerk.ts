// Who watches a facilitator: what its answers say and what the chain and its books say must be one story, whichever of
// its replicas was asked, and however often.
import type { Json } from '../../src/core/json.ts'
import { isObject, readJson } from '../../src/core/json.ts'
import type { Held, Ledger } from '../../src/core/ports.ts'
import { isFacilitated, readNote } from '../../src/facilitator/note.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { readProof } from '../../src/rails/evm/proof.ts'
import type { Proof } from '../../src/rails/evm/proof.ts'
import type { Chain } from './chain.ts'
import { idOf } from './chain.ts'
import type { Left, Sent } from './network.ts'

/** What was counted, to see that facilitators were asked at all. */
export interface Asked {
  settled: number
  again: number
  pending: number
  refused: number
  verified: number
}

export interface Clerk {
  readonly counts: Asked
  /** A request has come to a replica. Gives what is to be told when its answer leaves. */
  came(sent: Pick<Sent, 'url'>, body: string): (left: Pick<Left, 'status' | 'text'>) => void
  /** Whether a caller has been told that the payment of this request is settled. */
  hasSettled(body: string): boolean
  /** At the end, when everything has come to rest. */
  close(): Promise<void>
}

export interface ClerkParts {
  readonly chain: Chain
  /** The facilitator's books, looked at without faults. */
  readonly ledger: Ledger
  /** The books of the seller who asks it. */
  readonly shop: Ledger
  readonly violation: (kind: string, detail: string) => void
}

/** What stands before payer and nonce in the key of a spend. */
const TOKEN = 'eip155:84532/erc20:0x036cbd53842c5426634e7929541ec2318f3dcf7e'
const BODY_CHARS_MAX = 70_000
/** Refusals after which a server may be sure that this settlement was not made. */
const MAYBE = /pending|in_flight|unexpected|duplicate|already|unavailable/

export function createClerk({ chain, ledger, shop, violation }: ClerkParts): Clerk {
  const counts: Asked = { settled: 0, again: 0, pending: 0, refused: 0, verified: 0 }
  /** What was said of a spend for its terms: a transaction, for ever. */
  const said = new Map<string, string>()

  function judgeSettle(proof: Proof, terms: string, before: string | undefined, answer: Json) {
    if (!isObject(answer) || typeof answer['success'] !== 'boolean') return
    const id = idOf(proof.from, proof.nonce)
    const { transaction, errorReason } = answer
    if (answer['success'] && typeof transaction === 'string') {
      counts.settled++
      if (before !== undefined) counts.again++
      const first = said.get(terms)
      if (first !== undefined && first !== transaction)
        violation('facilitator-two-answers', `${id}: ${first} and then ${transaction}.`)
      said.set(terms, transaction)
      if (!chain.everPaid(proof.from, proof.nonce))
        violation('facilitator-unbacked', `${id} is called settled, and nothing moved.`)
      return
    }
    const why = typeof errorReason === 'string' ? errorReason : ''
    if (MAYBE.test(why) || (typeof transaction === 'string' && transaction !== '')) {
      counts.pending++
      // What was told once is not open again.
      if (before !== undefined)
        violation('facilitator-two-answers', `${id}: ${before}, and then "${why}".`)
      return
    }
    counts.refused++
    if (before !== undefined)
      violation('facilitator-two-answers', `${id}: ${before}, and then refused: "${why}".`)
    else refusedThough(id, terms, why)
  }

  /** Whoever is refused for good makes a new payment: this one must not be under way. */
  function refusedThough(id: string, terms: string, why: string): void {
    ledger.find(`${TOKEN}/${id}`).then(
      (held) => {
        if (!held || !isSame(held, terms)) return
        const sent = held.state === 'pending' && held.steps.some(({ type }) => type === 'prepared')
        if (held.state === 'posted' || sent)
          violation('facilitator-denied', `${id} is ${held.state} and was refused: "${why}".`)
      },
      (error: unknown) => violation('bug', String(error)),
    )
  }

  async function closeBooks(): Promise<void> {
    const { problems } = await verifyBooks(ledger, {
      onPosted(held) {
        if (!isFacilitated(held)) return
        const [from = '', nonce = ''] = held.key.split('/').slice(-2)
        const use = chain.look(from, nonce).used
        const { offer } = readNote(held.note)
        if (use?.moved && use.proof?.value === offer.amount.amount) return
        const id = idOf(from, nonce)
        if (chain.undone.has(id)) violation('undone', `${id} is posted, and came undone.`)
        else violation('unbacked', `${id} is posted by the facilitator, and no money moved.`)
      },
    })
    for (const problem of problems) violation('books', `facilitator: ${problem}`)
    for (const held of await ledger.pending())
      if (isFacilitated(held)) violation('open', `${held.key} is open at the facilitator.`)
  }

  /** A seller must not have given up what its facilitator has collected for it. */
  async function closePaid(): Promise<void> {
    for (const [id, { hash }] of chain.paid()) {
      const held = await ledger.find(`${TOKEN}/${id}`)
      const sent = held?.steps.some(
        ({ type, data }) => type === 'prepared' && data['hash'] === hash,
      )
      const lost = chain.depth > 0 ? 'undone' : 'given-up-and-taken'
      if (sent && held?.state === 'voided') violation(lost, `${id} was voided by the facilitator.`)
      const sale = await shop.find(`${TOKEN}/${id}`)
      if (sent && sale?.state === 'voided')
        violation(lost, `${id} was collected, and its seller has given it up.`)
    }
  }

  return {
    counts,
    came({ url }, body) {
      const asked = orderOf(body)
      if (!asked) return () => undefined
      const { proof, terms } = asked
      const { pathname } = new URL(url)
      const before = said.get(terms)
      return ({ status, text }) => {
        const answer = readJson(text, BODY_CHARS_MAX)
        if (status !== 200 || answer === undefined) return
        if (pathname === '/settle') return judgeSettle(proof, terms, before, answer)
        if (pathname !== '/verify' || !isObject(answer) || answer['isValid'] !== true) return
        counts.verified++
        if (before !== undefined)
          violation('facilitator-told', `${terms} was settled and told, and is good once more.`)
      }
    },
    hasSettled(body) {
      const asked = orderOf(body)
      return asked !== undefined && said.has(asked.terms)
    },
    async close() {
      await closeBooks()
      await closePaid()
    },
  }
}

function isSame(held: Held, terms: string): boolean {
  if (!isFacilitated(held)) return false
  const { amount, payee } = readNote(held.note).offer
  return terms.endsWith(` ${amount.amount} ${payee.toLowerCase()}`)
}

/** The proof, and the spend with its terms as one text. */
function orderOf(body: string): { readonly proof: Proof; readonly terms: string } | undefined {
  const said = readJson(body, BODY_CHARS_MAX)
  if (!isObject(said) || !isObject(said['paymentPayload'])) return undefined
  const wanted = said['paymentRequirements']
  const proof = readProof(said['paymentPayload']['payload'])
  if (typeof proof === 'string' || !isObject(wanted)) return undefined
  const { amount, payTo } = wanted
  if (typeof amount !== 'string' || typeof payTo !== 'string') return undefined
  const id = idOf(proof.from, proof.nonce)
  return { proof, terms: `${id} ${proof.signature} ${amount} ${payTo.toLowerCase()}` }
}
