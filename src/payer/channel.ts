import { hash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import { readJson } from '../core/json.ts'
import { readPrice, toMoney, writeMoney } from '../core/money.ts'
import { readOffer, writeOffer } from '../core/offer.ts'
import type { Offer } from '../core/offer.ts'
import type { ChannelCodec, ChannelSigner, Held, Protocol, Wallet } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { ChannelTerms, ChannelTold, Voucher } from '../core/voucher.ts'
import { paymentOf } from './payment.ts'
import { createPayer } from './payer.ts'
import type { PayerParts } from './payer.ts'
import { readStanding } from './record.ts'
import type { Answer, Outgoing } from './request.ts'
import { isRepeatable, readRequest, send } from './request.ts'
import { watchEvents } from './events.ts'

/** How many units beyond a voucher are written down with it, so that not each must be. */
const AHEAD_UNITS = 16n
/** How often one request is sent with a better voucher, and how often a channel is asked to be closed. */
const TRIES_MAX = 12
/** How long to wait before it is asked again. */
const CLOSE_PAUSE_MS = 1_000
/** How long a channel that is not closed is remembered. */
const REMEMBERED_MS = 10 * 365 * 86_400_000
/** Most channels with one seller that are looked through. */
const CHANNELS_MAX = 1_000
/** Longest refusal that is read, in characters. */
const REFUSAL_CHARS_MAX = 65_536

/** What a payer by channels is made of. */
export interface ChannelPayerParts extends Omit<
  PayerParts,
  'wallets' | 'protocols' | 'readToken' | 'intent'
> {
  /** One that opens channels. */
  readonly wallet: Wallet
  /** One that has words for them. */
  readonly protocol: Protocol
  /** Most that is ever signed away in one channel: `2 USD`. The policy limits what is deposited. */
  readonly most: string
  /** Most that one request may make it sign away; as `most` if absent. */
  readonly perRequest?: string
}

/** How a channel stands, as far as its payer knows. In the smallest unit of the asset. */
export interface ChannelStanding {
  /** 64 hex digits. */
  readonly channel: string
  readonly deposit: bigint
  /** The most that vouchers may have promised: no more can be taken, whatever the seller says. */
  readonly promised: bigint
  /** What was charged, by the seller's last receipt. */
  readonly spent: bigint
  /** What has ended it, where it has. */
  readonly reference?: string
}

/** Pays for requests out of channels: one with each seller, which is opened by the first request. */
export interface ChannelPayer {
  /**
   * Does what fetch does, and pays by vouchers. One unit is signed ahead; more where a request costs more, also within a stream of
   * events, as long as no limit is reached. What is signed is in the books before it leaves.
   * @throws {PaymentError} `budget-exceeded` where a voucher or a deposit would go over a limit; what `Payer.fetch` throws of a deposit.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>
  /**
   * Ends the channel with the seller at that address, at what was spent; the rest goes back. Undefined where there is none. To be called
   * when no request is under way.
   * @throws {PaymentError} `payment-in-flight`: it is not closed yet; call again. `settlement-failed`: the seller will not.
   */
  close(url: string | URL): Promise<ChannelStanding | undefined>
  /** How the channel with the seller at that address stands. */
  standing(url: string | URL): Promise<ChannelStanding | undefined>
}

/** A channel that is open. */
interface Open {
  readonly key: string
  readonly origin: string
  readonly offer: Offer
  readonly channel: string
  readonly terms: ChannelTerms
  readonly most: bigint
  readonly perRequest: bigint
  deposit: bigint
  /** What the books say that may have been signed. */
  written: bigint
  best: Voucher | undefined
  accepted: bigint
  spent: bigint
  /** What requests to a path have cost. */
  readonly costs: Map<string, bigint>
  /** Requests under way, each of which may want a unit. */
  under: number
  /** Signing and paying in, one after the other. */
  turn: Promise<unknown>
}

/**
 * Makes a payer by channels. Its deposits are purchases of an ordinary payer over the same books: the policy counts them whole, and what
 * comes back at the end is not given back to its limits.
 *
 * @example
 * const payer = createChannelPayer({
 *   wallet: channelWallet({ signer }),
 *   protocol: mpp({ parts: [wallet] }),
 *   ledger: await sqlite({ file: 'payer.db' }),
 *   policy: { perRequest: '5 USD', total: '20 USD' },
 *   most: '2 USD',
 * })
 * const answer = await payer.fetch('https://api.example/words')
 * await payer.close('https://api.example')
 *
 * @throws {RangeError} with a sentence, when the wallet or the protocol know no channels, or the policy is not complete.
 */
export function createChannelPayer(parts: ChannelPayerParts): ChannelPayer {
  const { wallet, protocol, ledger, clock = systemClock, fetch = globalThis.fetch } = parts
  const { channels: signer } = wallet
  const { channels: codec } = protocol
  const form = wallet.forms[protocol.name]
  if (!signer || !codec || !form)
    throw new RangeError('The wallet opens no channels, or the protocol has no words for them.')
  const able: Able = { signer, codec }
  const most = readPrice(parts.most)
  const perRequest = readPrice(parts.perRequest ?? parts.most)
  /** Where the next deposit goes, if not into a new channel. */
  let into: Open | undefined
  let paying: Promise<unknown> = Promise.resolve()
  const payer = createPayer({
    ...parts,
    intent: 'session',
    protocols: [protocol],
    wallets: [
      {
        ...wallet,
        refuses: (offer) => (codec.terms(offer) ? wallet.refuses(offer) : 'It is no channel.'),
        pay: (offer, validForMs, signal) =>
          into
            ? signer.topUp(offer, into.channel, into.deposit)
            : wallet.pay(offer, validForMs, signal),
      },
    ],
  })
  const opening = new Map<string, Promise<Open | undefined>>()

  /** Undefined where nothing is asked for. */
  function openAt(url: URL): Promise<Open | undefined> {
    const before = opening.get(url.origin)
    if (before) return before
    const made = (async () => (await recall(url.origin)) ?? (await open(url)))()
    opening.set(url.origin, made)
    const drop = (): boolean => opening.delete(url.origin)
    made.then((found) => found ?? drop(), drop)
    return made
  }

  /** One deposit at a time. */
  function deposit(url: URL, where: Open | undefined): Promise<Response> {
    const made = paying.then(async () => {
      into = where
      try {
        return await payer.fetch(url, { method: 'HEAD' })
      } finally {
        into = undefined
      }
    })
    paying = made.catch(() => undefined)
    return made
  }

  async function open(url: URL): Promise<Open | undefined> {
    const response = await deposit(url, undefined)
    const payment = paymentOf(response)
    if (!payment) return undefined
    if (payment.state !== 'posted')
      throw new PaymentError('settlement-failed', `No channel was opened: ${response.status}.`)
    const channel = await depositedInto(payment.key)
    const { offer } = payment
    const key = `${prefixOf(url.origin)}${channel}`
    await ledger.transfer({
      ...{ key, purpose: 'channel', asset: 'channel', amount: 0n },
      legs: [{ debit: 'world/channel', credit: 'world/payer' }],
      leaseUntilAt: clock.now() + REMEMBERED_MS,
      note: { offer: writeOffer(offer), channel, origin: url.origin },
    })
    await ledger.step(key, { type: 'deposited', data: { payment: payment.key } })
    const made = openOf(key, offer, channel, offer.amount.amount, 0n)
    note(made, able.codec.read(response.headers))
    return made
  }

  /** Our own record says which channel it is, and not the seller. */
  async function depositedInto(payment: string): Promise<string> {
    const held = await ledger.find(payment)
    const signed = held && readStanding(held).signed
    const proof = signed && form?.readProof(signed.proof)
    assert(proof !== undefined && typeof proof !== 'string', 'what was paid stands in the books')
    return able.signer.idOf(proof)
  }

  async function find(origin: string): Promise<Held | undefined> {
    const all = await ledger.under(prefixOf(origin), '', CHANNELS_MAX)
    return all.find(({ state }) => state === 'pending')
  }

  /** A channel that was opened before, as the seller says that it stands: told by a voucher over nothing, which buys nothing. */
  async function recall(origin: string): Promise<Open | undefined> {
    const held = await find(origin)
    if (!held) return undefined
    const open = readOpen(held)
    return (await sync(open)) ? open : undefined
  }

  function readOpen({ key, note, steps }: Held): Open {
    const offer = readOffer(note['offer'])
    const { channel } = note
    assert(typeof channel === 'string', 'a channel has its name')
    const deposits = steps.filter(({ type }) => type === 'deposited').length
    const written = steps.findLast(({ type }) => type === 'signed')?.data['cumulative']
    const deposit = offer.amount.amount * BigInt(deposits > 0 ? deposits : 1)
    return openOf(key, offer, channel, deposit, typeof written === 'string' ? BigInt(written) : 0n)
  }

  function openOf(
    key: string,
    offer: Offer,
    channel: string,
    deposit: bigint,
    written: bigint,
  ): Open {
    const terms = able.codec.terms(offer)
    assert(terms, 'a channel was opened by an offer of one')
    const { asset } = offer.amount
    const limits = {
      most: toMoney(most, asset).amount,
      perRequest: toMoney(perRequest, asset).amount,
    }
    const known = { best: undefined, accepted: 0n, spent: 0n, under: 0, costs: new Map() }
    const { origin } = new URL(offer.resource.url)
    return { key, origin, offer, channel, terms, ...limits, deposit, written, ...known, turn: now }
  }

  /** Asks how it stands; false where it is over. */
  async function sync(open: Open): Promise<boolean> {
    const nothing = await able.signer.sign(open.offer, open.channel, 0n)
    const { response } = await say(open, 'use', nothing, await headAt(open))
    await response.body?.cancel()
    if (response.status === 410) await forget(open)
    return response.status !== 410
  }

  const headAt = ({ offer }: Open): Promise<Outgoing> =>
    readRequest(offer.resource.url, { method: 'HEAD' })

  async function forget({ key, origin }: Open): Promise<void> {
    await ledger.void(key, 'session-closed')
    opening.delete(origin)
  }

  async function say(
    open: Open,
    act: 'use' | 'close',
    voucher: Voucher,
    request: Outgoing,
  ): Promise<Answer & { readonly told: ChannelTold | undefined }> {
    const { fields } = able.codec.write(open.offer, act, open.channel, voucher)
    const answer = await send(fetch, request, fields, protocol.fields.request)
    const told = answer.crossed ? undefined : able.codec.read(answer.response.headers)
    // Another process of ours may have signed more.
    if (told && told.accepted > open.written) await refresh(open)
    note(open, told)
    return { ...answer, told }
  }

  async function refresh(open: Open): Promise<void> {
    const held = await ledger.find(open.key)
    const now = held && readOpen(held)
    if (now && now.written > open.written) open.written = now.written
    if (now && now.deposit > open.deposit) open.deposit = now.deposit
  }

  /** What is told of another channel, or of more than was signed, is not believed. */
  function note(open: Open, told: ChannelTold | undefined): void {
    if (told?.channel !== open.channel || told.accepted > open.written) return
    if (told.accepted > open.accepted) open.accepted = told.accepted
    if (told.spent !== undefined && told.spent > open.spent && told.spent <= open.written)
      open.spent = told.spent
  }

  function inTurn<T>(open: Open, work: () => Promise<T>): Promise<T> {
    const next = open.turn.then(work)
    open.turn = next.catch(() => undefined)
    return next
  }

  /**
   * A voucher over that, or over what was promised before if that is more. Never over more than `limit` where it promises anew: how
   * large its steps are says the seller.
   */
  async function promise(open: Open, wanted: bigint, limit: bigint): Promise<Voucher> {
    if (wanted > limit) throw exceeded(open, wanted, limit)
    return await inTurn(open, async () => {
      const { best, accepted, terms } = open
      const least = best && best.cumulative > accepted ? best.cumulative : accepted
      if (best && best.cumulative >= wanted && best.cumulative >= accepted) return best
      const cumulative = wanted > least ? larger(wanted, least + terms.step) : least
      if (cumulative > open.most) throw exceeded(open, cumulative)
      if (cumulative > least && cumulative > limit) throw exceeded(open, cumulative, limit)
      if (cumulative > open.deposit) await topUp(open)
      if (cumulative > open.deposit) throw exceeded(open, cumulative)
      await write(open, cumulative)
      open.best = await able.signer.sign(open.offer, open.channel, cumulative)
      return open.best
    })
  }

  /** Before it leaves: from then on as much counts as signed. */
  async function write(open: Open, cumulative: bigint): Promise<void> {
    if (cumulative <= open.written) return
    const { key, most: limit, deposit: whole, terms } = open
    const ahead = cumulative + AHEAD_UNITS * terms.unit
    const written = [limit, whole].reduce((least, one) => (one < least ? one : least), ahead)
    assert(written >= cumulative, 'what is signed is within its limits')
    await ledger.step(key, { type: 'signed', data: { cumulative: written.toString() } })
    open.written = written
  }

  /** Where it was opened: what is sold elsewhere may be no balance. */
  async function topUp(open: Open): Promise<void> {
    const payment = paymentOf(await deposit(new URL(open.offer.resource.url), open))
    if (payment?.state !== 'posted')
      throw new PaymentError('settlement-failed', 'The channel could not be topped up.')
    assert((await depositedInto(payment.key)) === open.channel, 'it was paid into this channel')
    await ledger.step(open.key, { type: 'deposited', data: { payment: payment.key } })
    open.deposit += payment.offer.amount.amount
  }

  async function ask(open: Open, request: Outgoing): Promise<Response> {
    const { spent: from, terms, costs } = open
    const { pathname } = request.url
    let ahead = larger(costs.get(pathname) ?? 0n, terms.unit)
    let wanted = from + ahead * BigInt(open.under)
    for (let i = 0; i < TRIES_MAX; i++) {
      const limit = from + open.perRequest * BigInt(open.under)
      const voucher = await promise(open, wanted, limit)
      const answer = await say(open, 'use', voucher, request)
      const { response, told, crossed } = answer
      if (response.status === 410 && !crossed) await forget(open)
      const isAgain =
        response.status === 402 ? await isShort(response) : response.ok && told?.isServed === false
      if (crossed || !isAgain || !isRepeatable(request)) {
        const { spent = from } = told ?? {}
        // Of several at once nobody can tell which has cost what.
        if (response.ok && spent > from && open.under === 1) costs.set(pathname, spent - from)
        return watched(open, answer, from)
      }
      await response.body?.cancel()
      if (response.status === 402) {
        wanted = larger(voucher.cumulative, open.spent) + ahead
        ahead *= 2n
      } else wanted = open.spent + terms.unit
    }
    throw new PaymentError('payment-in-flight', 'Others draw on the channel all the time.')
  }

  async function isShort(response: Response): Promise<boolean> {
    const text = await response.clone().text()
    return able.codec.isShort(readJson(text, REFUSAL_CHARS_MAX))
  }

  /** Within a stream of events vouchers are signed as it goes. */
  function watched(open: Open, { response, request }: Answer, from: bigint): Response {
    const type = response.headers.get('content-type') ?? ''
    if (!response.body || !/^text\/event-stream\b/i.test(type)) return response
    return watchEvents(response, async (name, data) => {
      const told = able.codec.readEvent(name, data)
      if (told?.channel !== open.channel) return
      note(open, told)
      const { needed } = told
      if (needed === undefined) return
      const voucher = await promise(open, needed, from + open.perRequest)
      const { url } = request
      const said = await say(open, 'use', voucher, await readRequest(url, { method: 'HEAD' }))
      if (!said.response.ok)
        throw new PaymentError(
          'settlement-failed',
          `A voucher was refused: ${said.response.status}.`,
        )
    })
  }

  function standingOf({ channel, deposit: whole, written, spent }: Open): ChannelStanding {
    return { channel, deposit: whole, promised: written, spent }
  }

  async function end(open: Open): Promise<ChannelStanding> {
    let more = 0n
    // What was spent says the seller: he must not lead on from voucher to voucher.
    const limit = open.written + 1n
    for (let i = 0; i < TRIES_MAX; i++) {
      const { spent } = open
      const cumulative = spent + more
      if (cumulative > limit) break
      const request = await headAt(open)
      await inTurn(open, () => write(open, cumulative))
      const voucher = await able.signer.sign(open.offer, open.channel, cumulative)
      const { response, told } = await say(open, 'close', voucher, request)
      await response.body?.cancel()
      if (response.ok || response.status === 410) {
        await forget(open)
        const { reference } = told ?? {}
        return { ...standingOf(open), ...(reference !== undefined && { reference }) }
      }
      if (response.status === 402) {
        await sync(open)
        // What was said of another voucher may be known to everybody, and then it takes one that is new.
        if (open.spent === spent && more === 0n && cumulative < open.deposit) more = 1n
        else if (open.spent === spent) break
      } else await clock.sleep(CLOSE_PAUSE_MS)
    }
    throw new PaymentError('settlement-failed', 'The seller does not close the channel.')
  }

  return {
    async fetch(input, init) {
      const request = await readRequest(input, init)
      const open = await openAt(request.url)
      if (!open) return (await send(fetch, request, [], [])).response
      open.under++
      try {
        return await ask(open, request)
      } finally {
        open.under--
      }
    },
    async close(url) {
      const { origin } = new URL(url)
      const open = (await opening.get(origin)) ?? (await recall(origin))
      if (!open) return undefined
      return (await sync(open)) ? await end(open) : standingOf(open)
    },
    async standing(url) {
      const { origin } = new URL(url)
      const held = await find(origin)
      const open = (await opening.get(origin)) ?? (held && readOpen(held))
      return open && standingOf(open)
    },
  }
}

const now: Promise<unknown> = Promise.resolve()

/** What a wallet and a protocol have of channels. */
interface Able {
  readonly signer: ChannelSigner
  readonly codec: ChannelCodec
}

function prefixOf(origin: string): string {
  return `channel/${hash('sha256', origin).slice(0, 32)}/`
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

function exceeded({ offer, most }: Open, wanted: bigint, limit: bigint = most): PaymentError {
  const { asset } = offer.amount
  const least = limit < most ? limit : most
  return new PaymentError(
    'budget-exceeded',
    `A voucher over ${writeMoney({ asset, amount: wanted })} is wanted, and at most ${writeMoney({ asset, amount: least })} is signed in this channel now. Nothing was signed.`,
  )
}
