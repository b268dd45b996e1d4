// A shop for the tests of this room: a real chain with Circle's own contract, on which a block is final after four more, and a
// gate whose offers are one of their kind.
import assert from 'node:assert/strict'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../../core/clock.ts'
import type { Event } from '../../../core/event.ts'
import { createMac } from '../../../core/mac.ts'
import { readPrice } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import { createOffers } from '../../../core/offers.ts'
import type {
  Ask,
  Clock,
  Gate,
  Held,
  Kept,
  Ledger,
  Pass,
  Rail,
  Refusal,
  Sale,
} from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import type { Receipt } from '../../../core/receipt.ts'
import type { Resource } from '../../../core/resource.ts'
import { createGate } from '../../../gate/gate.ts'
import { memory } from '../../../ledger/memory.ts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import { encode, padded, selectors, word } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { Claims } from './claim.ts'
import { claimData, claimOf, createClaims } from './claim.ts'
import type { Proof } from './proof.ts'
import type { TransactionSettings } from './rail.ts'
import { transactions } from './rail.ts'
import type { Details } from './terms.ts'

export const NETWORK = 'eip155:84532'
export const CHAIN_ID = 84532
/** Of `0.01 USD`. */
export const PRICE = 10_000n
const SECRET = 'tRk3p0Zx8Vb1Nw6Qy4Lm7Hc2Js5Fd9Ga'

/** What a request may be other than `GET /a` for a cent. */
export interface Wish {
  readonly path?: string
  readonly authority?: string
  readonly prices?: readonly string[]
  readonly sale?: Partial<Sale>
}

/** A shop, its chain, and its books. */
export interface World {
  readonly chain: Chain
  readonly claims: Claims
  readonly seller: LocalAccount
  readonly ledger: Ledger
  readonly rail: Rail<Details, Proof>
  readonly gate: Gate
  readonly events: Event[]
  readonly clock: Clock
  /** As the token writes it. */
  readonly token: Hex
  /** Moves our clock, not the chain's. */
  skip(ms: number): void
  /** Our clock is the chain's again: its blocks may run ahead. */
  align(): Promise<void>
  payer(amount?: bigint): Promise<LocalAccount>
  offer(wish?: Wish): Promise<Offer<Details>>
  /** Pays by a plain transfer, behind which the tag may stand. The hash. */
  pay(from: LocalAccount, amount?: bigint, more?: Partial<Sent>): Promise<Hex>
  sign(from: LocalAccount, offer: Offer<Details>, transaction: Hex): Promise<Hex>
  show(offer: Offer<Details> | undefined, proof: Proof, wish?: Wish): Promise<Shown>
  ask(wish?: Wish): Ask
  stop(): Promise<void>
}

/** What a transfer may be other than to the seller. */
export interface Sent {
  readonly to: string
  readonly token: string
  readonly tag: Hex
}

/** What came of a proof. */
export interface Shown {
  readonly receipt?: Receipt
  readonly problem?: Problem
  readonly challenged: boolean
}

/** How many times the work was done. */
export interface Works {
  count: number
}

export const works: Works = { count: 0 }

export function account(): LocalAccount {
  return privateKeyToAccount(generatePrivateKey())
}

/** A gate of the shop; another process has another one over the same books. */
export function gateOn({
  rail,
  ledger,
  clock,
  events,
}: Pick<World, 'rail' | 'ledger' | 'clock' | 'events'>): Gate {
  return createGate({
    rails: [rail],
    ledger,
    offers: createOffers(createMac([SECRET], 'offers')),
    clock,
    distinct: true,
    observe: (event) => events.push(event),
  })
}

/** Opens the shop. */
export async function openWorld(
  more: (chain: Chain) => Partial<TransactionSettings> = () => ({}),
  before?: Chain,
  seller: LocalAccount = account(),
): Promise<World> {
  const chain = before ?? (await startChain({ slotsInAnEpoch: 2 }))
  let skippedMs = 0
  const clock: Clock = {
    now: () => Date.now() + skippedMs,
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
  }
  const token = chain.usdc as Hex
  const ledger = memory({ clock })
  const events: Event[] = []
  const claims = await createClaims()
  const settings = { network: NETWORK, rpc: chain.rpc, payTo: seller.address, ledger, clock }
  const rail = transactions({ ...settings, ...more(chain) })
  await rail.open()
  const gate = gateOn({ rail, ledger, clock, events })

  function ask({
    path = '/a',
    authority = 'shop.example',
    prices = ['0.01 USD'],
    sale = {},
  }: Wish = {}): Ask {
    const url = `https://${authority}${path}`
    const resource: Resource = { realm: 'shop', method: 'GET', authority, path, query: '', url }
    const settle = 'before-response'
    const account = `sales/GET ${path}`
    return {
      resource,
      sale: { prices: prices.map(readPrice), settle, account, ...sale },
      request: 'r',
    }
  }

  return {
    chain,
    claims,
    seller,
    ledger,
    rail,
    gate,
    events,
    clock,
    token,
    skip: (ms) => void (skippedMs += ms),
    async align() {
      const block = (await chain.request('eth_getBlockByNumber', ['latest', false])) as {
        timestamp: string
      }
      skippedMs = Math.max(0, Number(block.timestamp) * 1000 - Date.now())
    },
    async payer(amount = 10n ** 9n) {
      const made = account()
      await chain.fundEther(made.address, 10n ** 19n)
      if (amount > 0n) await chain.mint(made.address, amount)
      return made
    },
    async offer(wish) {
      const { challenge } = await gate.challenge(ask(wish))
      const [offer] = challenge?.offers ?? []
      assert(offer)
      return offer as Offer<Details>
    },
    async pay(from, amount = PRICE, { to = seller.address, token: on = token, tag = '0x' } = {}) {
      const plain = encode(selectors.transfer, padded(lower(to as Hex)), word(amount))
      const data = `${plain}${tag.slice(2)}`
      return (await chain.send({ from: from.address, to: on, data })) as Hex
    },
    sign: (from, offer, transaction) =>
      from.signTypedData(claimData(claimOf(offer, transaction, lower(from.address)), CHAIN_ID)),
    async show(offer, proof, wish) {
      const credential = { offer: offer ?? { rail: rail.name, network: NETWORK }, proof }
      return serve(await gate.admit({ ...ask(wish), credential }))
    },
    ask,
    async stop() {
      await gate.close()
      await rail.close()
      await ledger.close()
      if (!before) await chain.stop()
    },
  }
}

async function serve(entry: Pass | Kept | Refusal): Promise<Shown> {
  if (entry.kind === 'refused')
    return { problem: entry.problem, challenged: entry.challenge !== undefined }
  assert(entry.kind === 'pass')
  works.count++
  const outcome = await entry.finish(true)
  if (outcome.kind === 'refused')
    return { problem: outcome.problem, challenged: outcome.challenge !== undefined }
  entry.delivered()
  return { challenged: false, ...(outcome.receipt && { receipt: outcome.receipt }) }
}

/** What became of it, in two words. */
export function said({ receipt, problem }: Shown): string {
  return receipt ? 'served' : `${problem?.code} ${problem?.reason ?? ''}`.trim()
}

/** What the books have under a key. */
export async function held({ ledger }: World, key: string): Promise<Held> {
  const found = await ledger.find(key)
  assert(found, `${key} stands in the books`)
  return found
}

/** What an account holds. */
export async function holds({ ledger }: World, name: string): Promise<bigint> {
  const balances = await ledger.balances(name)
  return balances.reduce((sum, { posted }) => sum + posted, 0n)
}

/** What is asked of a node, and where. */
export function textOf(said: unknown): string {
  return typeof said === 'string' ? said : ''
}
