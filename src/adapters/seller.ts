import { beginnings } from './begin.ts'
import type { Seller } from './http.ts'
import { readPlans } from './plans.ts'
import type { PlansSettings } from './plans.ts'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import { createMac } from '../core/mac.ts'
import { createOffers } from '../core/offers.ts'
import type { Offers } from '../core/offers.ts'
import type { Clock, Ledger, Page, Pages, Rail, Rates, Vault } from '../core/ports.ts'
import { createSeal } from '../core/seal.ts'
import type { Seal } from '../core/seal.ts'
import { createGate } from '../gate/gate.ts'

/** How often open payments are looked at. */
export const RECOVER_MS = 15_000

/** What a seller is made of. */
export interface SellerSettings extends Omit<Seller, 'gate' | 'realm' | 'plans' | 'page'> {
  /** What is sold as tokens, by name; routes and the exchange refer to it. */
  readonly plans?: PlansSettings
  /** Signs offers; at least 32 bytes. With several, the first signs and the others are still believed. */
  readonly secret: string | readonly string[]
  readonly rails: readonly Rail[]
  /** Shared by all processes that take money for the same payee. */
  readonly ledger: Ledger
  /** The protection space; the host of `origin` if absent. */
  readonly realm?: string
  /** Where answers of routes with `keep` lie, sealed under the secret. */
  readonly vault?: Vault
  /** What people are shown who ask for HTML, for instance `page({ name: 'Weather' })`. */
  readonly page?: Pages
  readonly offerValidMs?: number
  readonly deferredMax?: number
  /** Most offers that rails complete in a minute, for instance invoices, for all callers together. */
  readonly issuesPerMinuteMax?: number
  /**
   * When the books were restored from a backup, in milliseconds since 1970: what was offered or paid before that and is not in
   * them may have been served already, and buys nothing more.
   */
  readonly restoredAt?: number
  /** Turn prices into what the rails are paid in. They are opened and closed with the seller. */
  readonly rates?: Rates
}

/** A seller that is open for business. */
export interface OpenSeller extends Seller {
  /** Ends the watching of open payments and the rails. The ledger stays open: it belongs to the caller. */
  close(): Promise<void>
}

/**
 * Puts the parts together: opens the rails, which check themselves against their networks, and looks at open payments, at
 * once at those that a crash left and then again and again until it is closed. Nobody waits for that: whoever brings the
 * proof of a payment that is being looked at is answered by what the books say of it.
 *
 * @example
 * const rail = evm({ network: 'base', rpc, payTo, signer })
 * const seller = await createSeller({ secret, rails: [rail], protocols: [x402([rail])], ledger: await sqlite({ file }) })
 * createServer(toll(seller, { 'GET /weather': '0.01 USD' }, listener)).listen(8080)
 *
 * @throws {RangeError} when the secret must not be used, {PaymentError} when a rail and its network do not agree.
 */
export async function createSeller(settings: SellerSettings): Promise<OpenSeller> {
  const {
    secret,
    rails,
    ledger,
    offerValidMs,
    deferredMax,
    issuesPerMinuteMax,
    restoredAt,
    rates,
    page,
    plans = {},
    clock = systemClock,
    ...rest
  } = settings
  const secrets = typeof secret === 'string' ? [secret] : secret
  const { vault, chance = systemChance } = settings
  const offers = createOffers(createMac(secrets, 'offers'))
  const { observe } = settings
  const gate = createGate({
    rails,
    ledger,
    offers,
    clock,
    chance,
    distinct: settings.protocols.some(({ distinct }) => distinct === true),
    ...(vault && { vault, seal: createSeal(secrets, 'vault', chance) }),
    ...(observe && { observe }),
    ...(offerValidMs !== undefined && { offerValidMs }),
    ...(deferredMax !== undefined && { deferredMax }),
    ...(issuesPerMinuteMax !== undefined && { issuesPerMinuteMax }),
    ...(restoredAt !== undefined && { restoredAt }),
    ...(rates && { rates }),
  })
  try {
    await Promise.all([gate.open?.(), rates?.open?.()])
  } catch (error) {
    // What goes on asking would keep a process alive that sells nothing.
    await rates?.close?.()
    throw error
  }
  const closing = new AbortController()
  const watching = watch(
    () => gate.recover(),
    clock,
    closing.signal,
    (error) => observe?.({ type: 'fault', at: clock.now(), where: 'recover', error }),
  )
  return {
    ...rest,
    ...services(settings, offers),
    gate,
    clock,
    realm: settings.realm ?? realmOf(settings.origin),
    plans: readPlans(plans),
    ...(page && { page: pageOf(page, rails, createSeal(secrets, 'page', chance)) }),
    async close() {
      closing.abort()
      await Promise.all([gate.close(), watching])
      await Promise.all([...rails.map((rail) => rail.close()), rates?.close?.()])
    },
  }
}

/** Where a person's payment is begun at a processor, the page asks for that. */
function services(
  { rails, services = [], page, clock = systemClock }: SellerSettings,
  offers: Offers,
): Pick<Seller, 'services'> {
  const isBegun = page !== undefined && rails.some((rail) => 'begin' in rail)
  return { services: isBegun ? [...services, beginnings({ rails, offers, clock })] : services }
}

/** What it seals is its own alone. */
function pageOf(page: Pages, rails: readonly Rail[], seal: Seal): Page {
  return page({
    rails,
    seal: (bytes) => seal.seal(PAGE, bytes),
    open: (sealed) => seal.open(PAGE, sealed),
  })
}

const PAGE = 'page'

/** Looks at once, and then at intervals. */
async function watch(
  look: () => Promise<void>,
  clock: Clock,
  signal: AbortSignal,
  fault: (error: unknown) => void,
): Promise<void> {
  while (!signal.aborted) {
    await look().catch(fault)
    await clock.sleep(RECOVER_MS, signal)
  }
}

function realmOf(origin: Seller['origin']): string {
  const [first] = typeof origin === 'string' ? [origin] : (origin ?? [])
  return first === undefined ? 'tolsey' : new URL(first).host
}
