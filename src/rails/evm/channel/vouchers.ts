import type { Clock } from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import type { Allowance, Voucher, Vouchers } from '../../../core/voucher.ts'
import type { Hex } from '../hex.ts'
import type { Books, Known } from './books.ts'
import { remembered } from './books.ts'
import type { Escrow, State } from './escrow.ts'
import {
  closing,
  collected,
  finalized,
  garbled,
  notFound,
  stranger,
  tooManyWords,
  tooMuch,
  tooSmall,
} from './problems.ts'
import type { Channels, Place } from './voucher.ts'
import { EVM_SCHEME } from './voucher.ts'

/** How long what is known of a channel on the chain is used. Its payer cannot take anything back for a hundred times as long. */
export const STATE_FRESH_MS = 5_000

/** What taking vouchers needs. */
export interface VoucherParts {
  readonly place: Place
  readonly escrow: Escrow
  readonly books: Books
  readonly clock: Clock
  /** The arithmetic, once the rail is open. */
  readonly channels: () => Channels
}

/** Makes the verbs that take vouchers. */
export function createVouchers(parts: VoucherParts): Omit<Vouchers, 'close'> {
  const { place, escrow, books, clock } = parts
  const states = new Map<Hex, { readonly at: number; readonly state: Promise<State | undefined> }>()
  const knowns = new Map<Hex, Known>()

  async function knownOf(channel: Hex): Promise<Known | undefined> {
    const before = knowns.get(channel)
    if (before) return before
    const known = await books.known(channel)
    if (known) remembered(knowns, channel, known)
    return known
  }

  function stateOf(channel: Hex, freshMs: number = STATE_FRESH_MS): Promise<State | undefined> {
    const now = clock.now()
    const before = states.get(channel)
    if (before && now >= before.at && now < before.at + freshMs) return before.state
    const state = escrow.state(channel)
    remembered(states, channel, { at: now, state })
    // What could not be asked is asked again by the next one.
    state.catch(() => states.delete(channel))
    return state
  }

  async function accept(
    id: string,
    voucher: Voucher,
    isLast = false,
  ): Promise<Allowance | Problem> {
    const channel: Hex = `0x${id}`
    const known = isId(id) ? await knownOf(channel) : undefined
    if (!known) return notFound
    const signer = parts.channels().signerOf(EVM_SCHEME, place, channel, voucher)
    if (signer === undefined) return garbled
    if (signer !== known.signer) return stranger
    const best = await books.best(channel)
    const isMore = best === undefined || voucher.cumulative > best.cumulative
    if (isMore) return await acceptMore(known, voucher, best, isLast)
    const published = await books.published(channel)
    const proves = voucher.cumulative > published
    if (!isLast) return await told(channel, proves)
    const end = await books.end(channel)
    // Said twice it is the same, though by then anybody may have seen it: it is what the channel is being closed with.
    if (end?.cumulative === voucher.cumulative) return await told(channel, true)
    if (!end && voucher.cumulative < published) return collected(published)
    // What everybody knows says nothing of what its payer wants.
    if (!proves) return await told(channel, false)
    if (!end && !(await books.keepLast(channel, voucher))) return tooManyWords
    if (!end) await books.keep(channel, voucher)
    return await told(channel, proves)
  }

  /** It promises more than any before: whether it may, and then it is kept. */
  async function acceptMore(
    { channel, minVoucherDelta }: Known,
    voucher: Voucher,
    best: Voucher | undefined,
    isLast: boolean,
  ): Promise<Allowance | Problem> {
    let state = await stateOf(channel)
    // It may have been topped up just now.
    if (state && voucher.cumulative > state.deposit) state = await stateOf(channel, 0)
    if (!state) return notFound
    if (state.isFinal || (await books.end(channel))) return finalized
    if (state.isClosing) return closing
    if (voucher.cumulative > state.deposit) return tooMuch
    const least = (best?.cumulative ?? 0n) + minVoucherDelta
    // The first may promise nothing, the last what it likes, and all of the deposit is never too little.
    const isFree = best === undefined || isLast || voucher.cumulative === state.deposit
    if (!isFree && voucher.cumulative < least) return tooSmall(least)
    if (isLast && !(await books.keepLast(channel, voucher))) return tooManyWords
    await books.keep(channel, voucher)
    // Whoever has fixed the end meanwhile did so without it.
    const end = await books.end(channel)
    if (end && end.cumulative < voucher.cumulative) return finalized
    return { accepted: voucher.cumulative, deposit: state.deposit, proves: true }
  }

  async function told(channel: Hex, proves: boolean): Promise<Allowance | Problem> {
    const standing = await allowanceOf(channel)
    return standing ? { ...standing, proves } : notFound
  }

  async function allowanceOf(channel: Hex): Promise<Allowance | undefined> {
    const state = await stateOf(channel)
    if (!state) return undefined
    const { deposit, settled, isFinal } = state
    // What was not collected of a channel that has ended never will be.
    if (isFinal) return { accepted: settled, deposit }
    const sum = ((await books.end(channel)) ?? (await books.best(channel)))?.cumulative ?? 0n
    return { accepted: sum < deposit ? sum : deposit, deposit }
  }

  return {
    accept,
    allowance: async (id) =>
      isId(id) && (await knownOf(`0x${id}`)) ? await allowanceOf(`0x${id}`) : undefined,
  }
}

function isId(id: string): boolean {
  return /^[0-9a-f]{64}$/.test(id)
}
