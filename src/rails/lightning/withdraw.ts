import { bech32 } from '@scure/base'
import { assert } from '../../core/assert.ts'
import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import { bookCost } from '../../core/cost.ts'
import type { Observe } from '../../core/event.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import { readJson } from '../../core/json.ts'
import type { Offer, Terms } from '../../core/offer.ts'
import type {
  Answered,
  Chance,
  Clock,
  Held,
  Ledger,
  Log,
  Rail,
  Service,
  Settlement,
  Step,
  Transfer,
} from '../../core/ports.ts'
import { WORLD } from '../../core/ports.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import { evidenceOf, givenBack } from '../../core/refund.ts'
import { SECRETS_MAX } from '../../core/mac.ts'
import { createSeal } from '../../core/seal.ts'
import type { Seal } from '../../core/seal.ts'
import type { Invoice } from './bolt11.ts'
import { readInvoice } from './bolt11.ts'
import type { Details, Proof } from './forms.ts'
import { isLoopback } from '../../net/addresses.ts'
import { LNURL_CHARS_MAX } from './lnurl.ts'
import { PAYOUT_LEFT_MS_MIN, PAYOUT_TIMEOUT_MS } from './payout.ts'
import { MEMO_CHARS_MAX } from './rail.ts'

/** Where links lead, unless the settings say otherwise. */
export const WITHDRAW_PATH = '/lnurl/withdraw'
/** How long a wallet waits for its answer: what is not paid by then is paid behind it. */
export const WITHDRAW_ANSWER_MS = 8_000
/** How long a process may be at one invoice: twice what its payment may take. */
export const WITHDRAW_TURN_MS: number = 2 * PAYOUT_TIMEOUT_MS
/** Longest key, and longest name of an account, in characters. */
export const WITHDRAW_NAME_CHARS_MAX = 256

/** What withdrawals are made of. */
export interface WithdrawSettings {
  /** Pays, within its own limit of the routing fee. */
  readonly rail: Pick<Rail<Details, Proof>, 'network' | 'quote' | 'refund'>
  /** Shared by all processes that answer for the same links. */
  readonly ledger: Ledger
  /** Seals links; at least 32 bytes. With several, the first seals and the others are still believed. */
  readonly secret: string | readonly string[]
  /** The public origin of the shop, `https://api.example.com`. */
  readonly origin: string
  /** Where links lead, letter by letter; {@link WITHDRAW_PATH} if absent. */
  readonly path?: string
  /**
   * Asked with the key of a link before an invoice is taken for it, and for each further one: false where nothing must be pulled
   * by it any more. Here is the place to revoke what the payment of that key has bought: a link gives back, and revokes nothing.
   * What it throws makes the wallet come again.
   */
  readonly mayPull?: (key: string) => Promise<boolean>
  /** Told of faults. */
  readonly observe?: Observe
  readonly clock?: Clock
  readonly chance?: Chance
}

/** What a link is good for. */
export interface Withdrawal {
  /** What the money is for: it is paid once per key, whatever links there are. For a refund the key of the payment. */
  readonly key: string
  /** Out of which account, `sales/GET /weather`: the one that earned. One under `world/` may be overdrawn, others never. */
  readonly account: string
  readonly msat: bigint
  /** Milliseconds since 1970. What was begun before is paid after it. */
  readonly expiresAt: number
  /** What the wallet writes into its invoice. */
  readonly memo: string
}

/** One link in three spellings: whoever has it has the money. */
export interface WithdrawLink {
  readonly url: string
  /** Bech32, for codes and `lightning:` links (LUD-01). */
  readonly lnurl: string
  /** `lnurlw://…` (LUD-17). */
  readonly uri: string
}

/** Hands out links by which wallets pull money (LUD-03), and answers them. */
export interface Withdraw {
  /**
   * Needs no store: nothing is kept until the link is used.
   * @throws {RangeError} for what no wallet could withdraw, and for an amount that the node cannot send.
   */
  link(withdrawal: Withdrawal): WithdrawLink
  /** One of the seller's `services`. */
  readonly service: Service
  /** Looks at everything that is open, and pays or closes it. For the start, and for intervals. */
  recover(): Promise<void>
  /** Resolves when nothing is being paid here any more. */
  close(): Promise<void>
}

/** What became of an invoice. `open`: written ahead, and paid or closed later. `later`: perhaps nothing is written. */
type Outcome = 'paid' | 'failed' | 'open' | 'later'

/**
 * Makes withdrawals. The claim is a transfer under the invoice's payment hash, into an account of the link's key that holds
 * one amount: so a key is paid once, and an invoice tried once, by whichever process.
 *
 * @example
 * const withdraw = createWithdraw({ rail, ledger, secret, origin: 'https://api.example.com' })
 * const seller = await createSeller({ …, services: [withdraw.service] })
 * const { lnurl } = withdraw.link({ key, account: 'sales/GET /weather', msat: 21_000n, expiresAt, memo: 'Refund' })
 *
 * @throws {RangeError} when the rail cannot pay, the origin or path is none, or the secret must not be used.
 */
export function createWithdraw(settings: WithdrawSettings): Withdraw {
  const { rail, ledger, origin, path = WITHDRAW_PATH, observe, mayPull } = settings
  const { clock = systemClock, chance = systemChance, secret } = settings
  const refund = rail.refund?.bind(rail)
  if (!refund) throw new RangeError('The node of the rail cannot pay. Leave withdrawals out.')
  checkOrigin(origin)
  checkPath(origin, path)
  const secrets = typeof secret === 'string' ? [secret] : secret
  if (secrets.length === 0 || secrets.length > SECRETS_MAX)
    throw new RangeError(`Give between one and ${SECRETS_MAX} secrets for withdrawals.`)
  const seal = createSeal(secrets, 'withdraw', chance)
  const callback = origin + path
  /** Invoices that this process is at. */
  const running = new Map<string, Promise<Outcome>>()

  function link(withdrawal: Withdrawal): WithdrawLink {
    checkWithdrawal(withdrawal)
    termsOf(withdrawal.msat)
    const url = `${callback}?k1=${writeToken(seal, withdrawal)}`
    const lnurl = bech32.encode('lnurl', bech32.toWords(Buffer.from(url)), false)
    if (lnurl.length > LNURL_CHARS_MAX) throw new RangeError('The link would be too long.')
    return { url, lnurl: lnurl.toUpperCase(), uri: url.replace(/^https?/, 'lnurlw') }
  }

  function termsOf(msat: bigint): Terms<Details> {
    const [terms] = rail.quote({ currency: 'MSAT', amount: msat, scale: 0 })
    if (!terms) throw new RangeError(`The node cannot send ${msat} millisatoshis.`)
    return terms
  }

  /** Both questions come to one address; the second brings an invoice. */
  async function answer(query: URLSearchParams): Promise<Answered> {
    const [token = '', ...more] = query.getAll('k1')
    const [text, ...others] = query.getAll('pr')
    const withdrawal = more.length === 0 ? readToken(seal, token) : undefined
    if (!withdrawal) return wrong('This link is not known here.')
    if (text === undefined) return describe(withdrawal, token)
    if (others.length > 0) return wrong('Name one invoice.')
    return take(withdrawal, text.replace(/^lightning:/i, ''))
  }

  async function describe(withdrawal: Withdrawal, k1: string): Promise<Answered> {
    const left = (await isUsed(withdrawal.key)) ? 0 : Number(withdrawal.msat)
    if (left > 0 && clock.now() >= withdrawal.expiresAt) return wrong(EXPIRED)
    return json({
      tag: 'withdrawRequest',
      callback,
      k1,
      defaultDescription: withdrawal.memo,
      minWithdrawable: left,
      maxWithdrawable: left,
    })
  }

  async function isUsed(key: string): Promise<boolean> {
    return (await ledger.balances(accountOf(key))).some(({ posted }) => posted > 0n)
  }

  async function take(withdrawal: Withdrawal, text: string): Promise<Answered> {
    const invoice = readInvoice(text)
    if (typeof invoice === 'string') return wrong(invoice)
    if (invoice.network !== rail.network) return wrong('The invoice is for another network.')
    if (invoice.msat !== withdrawal.msat)
      return wrong(`The invoice must ask for exactly ${withdrawal.msat} millisatoshis.`)
    const why = await claim(withdrawal, text, invoice)
    if (why !== undefined) return wrong(why)
    const outcome = await inTime(work(keyOf(invoice.hash)))
    if (outcome === 'failed') return wrong(NO_WAY)
    return outcome === 'later' ? wrong(LATER) : json({ status: 'OK' })
  }

  /** Claims the amount for the invoice, or finds that it was claimed for it before. A sentence where neither is so. */
  async function claim(
    withdrawal: Withdrawal,
    text: string,
    invoice: Invoice,
  ): Promise<string | undefined> {
    const { key, account, msat, expiresAt } = withdrawal
    const before = await ledger.find(keyOf(invoice.hash))
    if (!before || before.state === 'voided') {
      if (clock.now() >= expiresAt) return EXPIRED
      if (invoice.expiresAt - clock.now() < PAYOUT_LEFT_MS_MIN) return 'The invoice has expired.'
      if (mayPull && !(await isUsed(key)) && !(await mayPull(key))) return CANCELLED
    }
    const make = (): ReturnType<Ledger['transfer']> =>
      ledger.transfer({
        ...transferOf(withdrawal, termsOf(msat), text, invoice.hash),
        leaseUntilAt: clock.now() + WITHDRAW_TURN_MS,
      })
    const first = await make()
    const stopped = first.outcome === 'insufficient' && first.account === accountOf(key)
    // What stands in the way may have ended without anybody being here for it.
    const made = stopped && (await clear(key)) ? await make() : first
    if (made.outcome === 'foreign') return 'This invoice is not for this link. Name a new one.'
    if (made.outcome !== 'insufficient') return undefined
    if (made.account === account) return 'The service cannot pay this now. Come back later.'
    return (await isUsed(key)) ? USED : BUSY
  }

  /** Looks at what is open for the key and not worked on here; whether something was. */
  async function clear(key: string): Promise<boolean> {
    const open = await ledger.pending(PURPOSE)
    const ours = open.filter((held) => isFor(key, held) && !running.has(held.key))
    await Promise.all(ours.map(close))
    return ours.length > 0
  }

  /** Releases a claim of which nothing was written ahead, and goes on with any other. */
  async function close(held: Held): Promise<void> {
    if (held.steps.length === 0) await ledger.expire(held.key, held.claim)
    else await work(held.key)
  }

  /** Sees an invoice through to its end, as far as that is known now. Never throws: nobody may be waiting. */
  async function work(key: string): Promise<Outcome> {
    const at =
      running.get(key) ??
      inTurn(key)
        .catch((error: unknown): Outcome => {
          observe?.({ type: 'fault', at: clock.now(), where: 'withdraw', error })
          return 'later'
        })
        .finally(() => running.delete(key))
    running.set(key, at)
    return at
  }

  /** One process at a time: what one has found out of the node must not be outrun by what another sends. */
  async function inTurn(key: string): Promise<Outcome> {
    const untilAt = clock.now() + WITHDRAW_TURN_MS
    const turn = await ledger.transfer(turnOf(key, untilAt))
    if (turn.outcome !== 'made') return (await claimed(key)).steps.length > 0 ? 'open' : 'later'
    try {
      const held = await claimed(key)
      if (held.state !== 'pending') return held.posted > 0n ? 'paid' : 'failed'
      return await send(held, untilAt - PAYOUT_TIMEOUT_MS)
    } finally {
      await ledger.void(turnKeyOf(key), 'turn-ended', turn.claim)
    }
  }

  async function claimed(key: string): Promise<Held> {
    const held = await ledger.find(key)
    assert(held, 'what is worked on was claimed')
    return held
  }

  /** Sends it, or finds out what became of it. A try that has failed keeps its key for good: its invoice is not tried again. */
  async function send({ key, claim, amount, note }: Held, beginAt: number): Promise<Outcome> {
    assert(refund, 'withdrawals need a rail that pays')
    const invoice = note['invoice']
    assert(typeof invoice === 'string', 'a withdrawal has its invoice')
    const offer = offerOf(termsOf(amount), key, callback)
    const found = await refund(offer, invoice, offer.amount, key, logOf(key, claim, beginAt))
    if (found.state === 'unknown') return 'open'
    const outcome = found.state === 'settled' ? await own(key, offer, found) : found
    const isPaid = outcome.state === 'settled'
    const posted = await ledger.post(key, isPaid ? amount : 0n, stepOf(outcome), claim)
    if (posted === 'posted') return isPaid ? 'paid' : 'failed'
    assert((await claimed(key)).posted > 0n === isPaid, 'the books say what became of the money')
    return isPaid ? 'paid' : 'failed'
  }

  /** One payment is the evidence of one withdrawal or refund: a node tells of it to all that were given its invoice. */
  async function own(key: string, offer: Offer, found: Settled): Promise<Settled | Failed> {
    const evidence = evidenceOf(offer, found.reference)
    const isOwn = await bookCost({ ledger, clock }, evidence, { key }, offer, found.cost ?? 0n)
    return isOwn ? found : paidBefore
  }

  /** Writes ahead what can be paid within the turn. Who comes too late sends nothing: another may be at it. */
  function logOf(key: string, claim: number, beginAt: number): Log {
    return {
      read: async () => (await ledger.find(key))?.steps ?? [],
      async write(step) {
        await ledger.step(key, step, claim)
        if (clock.now() > beginAt)
          throw new PaymentError('payment-in-flight', 'The turn has ended.')
      },
    }
  }

  /** The outcome, or `open` when it takes longer than a wallet waits. */
  async function inTime(outcome: Promise<Outcome>): Promise<Outcome> {
    const ends = new AbortController()
    const late = clock.sleep(WITHDRAW_ANSWER_MS, ends.signal).then((): Outcome => 'open')
    return Promise.race([outcome, late]).finally(() => ends.abort())
  }

  return {
    link,
    service: {
      paths: [path],
      async answer({ method }, { resource }) {
        if (method !== 'GET') return { ...wrong('Ask by GET.'), status: 405 }
        try {
          return await answer(new URLSearchParams(resource.query))
        } catch (error) {
          observe?.({ type: 'fault', at: clock.now(), where: 'withdraw', error })
          return wrong(LATER)
        }
      },
    },
    async recover() {
      for (const held of await ledger.pending(PURPOSE)) await close(held)
    },
    async close() {
      await Promise.all(running.values())
    },
  }
}

const PURPOSE = 'withdrawal'
const TURN = 'withdrawal-turn'

const EXPIRED = 'This link has expired.'
const CANCELLED = 'This link is not good any more.'
const USED = 'This link has been used.'
const BUSY = 'Another invoice is being paid for this link. Come back later.'
const NO_WAY = 'The payment found no way to the wallet. Nothing was sent. Name a new invoice.'
const LATER = 'This cannot be done now. Send the same invoice again, and no other.'

/** What was withdrawn for a key. It holds one amount, and never gives it back. */
function accountOf(key: string): string {
  return givenBack(key)
}

/** What names a try, however the invoice is written and whichever link it comes with. */
function keyOf(hash: string): string {
  return `withdrawal/${hash}`
}

function turnKeyOf(key: string): string {
  return `${key}/turn`
}

function isFor(key: string, { legs }: Held): boolean {
  return legs.some(({ credit }) => credit === accountOf(key))
}

function transferOf(
  { key, account, msat, expiresAt }: Withdrawal,
  { network, amount }: Terms<Details>,
  invoice: string,
  hash: string,
): Omit<Transfer, 'leaseUntilAt'> {
  return {
    key: keyOf(hash),
    purpose: PURPOSE,
    asset: amount.asset.id,
    amount: msat,
    legs: [
      { debit: `${WORLD}withdrawals`, credit: accountOf(key), ceiling: msat },
      { debit: account, credit: `${WORLD}lightning/${network}/withdrawn` },
    ],
    note: { kind: PURPOSE, of: key, invoice, expiresAt },
  }
}

function turnOf(key: string, leaseUntilAt: number): Transfer {
  const legs = [{ debit: `${WORLD}withdrawals`, credit: `${WORLD}turns` }]
  const note = { kind: TURN }
  return {
    key: turnKeyOf(key),
    purpose: TURN,
    asset: TURN,
    amount: 0n,
    legs,
    leaseUntilAt,
    note,
  }
}

/** The rail pays back for an offer. This one was made to nobody. */
function offerOf(terms: Terms<Details>, id: string, url: string): Offer<Details> {
  const { host: authority, pathname: path } = new URL(url)
  const resource = { realm: '', method: 'GET', authority, path, query: '', url }
  return { ...terms, id, resource, expiresAt: Number.MAX_SAFE_INTEGER }
}

type Settled = Extract<Settlement, { state: 'settled' }>
type Failed = Extract<Settlement, { state: 'failed' }>

const paidBefore: Failed = {
  state: 'failed',
  problem: problem('idempotency-conflict', 'This invoice was paid for something else.'),
}

function stepOf(found: Settled | Failed): Step {
  if (found.state === 'failed') return { type: 'failed', data: { code: found.problem.code } }
  const { reference, settledAt, cost } = found
  const data = { reference, settledAt, ...(cost !== undefined && { cost: cost.toString() }) }
  return { type: 'settled', data }
}

function checkOrigin(origin: string): void {
  const url = URL.parse(origin)
  const isPlain =
    url?.protocol === 'http:' && (isLoopback(url.hostname) || url.hostname.endsWith('.onion'))
  if (url?.origin !== origin || !(url.protocol === 'https:' || isPlain))
    throw new RangeError(`The origin "${origin}" is not one like https://api.example.com.`)
}

function checkPath(origin: string, path: string): void {
  const url = URL.parse(origin + path)
  if (!path.startsWith('/') || path.endsWith('/*') || url?.pathname !== path)
    throw new RangeError(`The path "${path}" is not one like ${WITHDRAW_PATH}.`)
}

function checkWithdrawal({ key, account, msat, expiresAt, memo }: Withdrawal): void {
  for (const name of [key, account])
    if (!isText(name, WITHDRAW_NAME_CHARS_MAX) || name === '' || /\p{Cc}/u.test(name))
      throw new RangeError('The key and the account of a link are names within their limit.')
  if (msat <= 0n || msat > BigInt(Number.MAX_SAFE_INTEGER))
    throw new RangeError(
      'A link is good for at least one millisatoshi, and no more than JSON says.',
    )
  if (!Number.isSafeInteger(expiresAt)) throw new RangeError('A link ends at a whole millisecond.')
  if (!isText(memo, MEMO_CHARS_MAX))
    throw new RangeError(`The memo of a link has at most ${MEMO_CHARS_MAX} characters.`)
}

function isText(text: string, charsMax: number): boolean {
  return text.length <= charsMax && text.isWellFormed()
}

const NAME = 'link'

/** Sealed, so that a link tells its holder nothing of our books. */
function writeToken(seal: Seal, { key, account, msat, expiresAt, memo }: Withdrawal): string {
  const text = JSON.stringify([key, account, msat.toString(), expiresAt, memo])
  return Buffer.from(seal.seal(NAME, Buffer.from(text))).toString('base64url')
}

/** What {@link writeToken} wrote, letter by letter; undefined for all else. */
function readToken(seal: Seal, token: string): Withdrawal | undefined {
  if (token.length > LNURL_CHARS_MAX) return undefined
  const sealed = Buffer.from(token, 'base64url')
  const opened = sealed.toString('base64url') === token ? seal.open(NAME, sealed) : undefined
  if (!opened) return undefined
  const said = readJson(Buffer.from(opened).toString(), LNURL_CHARS_MAX)
  assert(Array.isArray(said), 'a link of ours is a list')
  const [key, account, msat, expiresAt, memo] = said as readonly Json[]
  assert(typeof key === 'string' && typeof account === 'string', 'a link has its names')
  assert(typeof msat === 'string' && typeof memo === 'string', 'a link has its amount')
  assert(typeof expiresAt === 'number', 'a link has its end')
  return { key, account, msat: BigInt(msat), expiresAt, memo }
}

/** Errors come with status 200 in LNURL. */
function wrong(reason: string): Answered {
  return json({ status: 'ERROR', reason })
}

function json(said: JsonObject): Answered {
  const fields = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
  return { status: 200, fields, body: JSON.stringify(said) }
}
