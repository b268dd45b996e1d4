import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { OpenSeller, SellerSettings } from '../adapters/seller.ts'
import { createSeller } from '../adapters/seller.ts'
import { taxed, taxTable } from '../books/tax.ts'
import { scoped } from '../ledger/shared-memory.ts'
import type { Shared } from '../ledger/shared-memory.ts'
import { BEGIN_PATH } from '../adapters/begin.ts'
import type { PageSettings } from '../page/index.ts'
import type { AccountSettings as PayPalAccount } from '../rails/paypal/index.ts'
import type { AccountSettings as StripeAccount } from '../rails/stripe/index.ts'
import type { PriceKey } from '../adapters/price-service.ts'
import type { PriceOf } from '../adapters/routes.ts'
import { assert } from '../core/assert.ts'
import type { Observe } from '../core/event.ts'
import type {
  Clock,
  Holdings,
  Ledger,
  Mint,
  Pages,
  Protocol,
  Rail,
  Rates,
  Seen,
  Service,
} from '../core/ports.ts'
import { readPrice } from '../core/money.ts'
import { PaymentError } from '../core/problem.ts'
import type { SplitRule } from '../rails/evm/permit/index.ts'
import type { SweepRule } from '../rails/evm/sweep.ts'
import type { LightningNode } from '../rails/lightning/node.ts'
import type { JwtKey } from '../tokens/jwt/key.ts'
import type { FacilitatedOptions } from '../protocols/x402/facilitator.ts'
import type { Details } from '../rails/evm/forms.ts'
import type { Proof } from '../rails/evm/proof.ts'
import { ratesBy } from './document-prices.ts'
import type { PriceServiceEntry } from './document-prices.ts'
import { isShared } from './document-rails.ts'
import { durationOf, plansOf, sizeOf } from './document.ts'
import { newKey } from './parts.ts'
import type {
  Document,
  ChannelsEntry,
  EvmEntry,
  LightningEntry,
  PayPalEntry,
  SecretRef,
  StripeEntry,
  SweepEntry,
  TextRef,
} from './document.ts'
import type { Mistake, Steps, Text } from './document-text.ts'
import { SettingError } from './load.ts'

// Parts by their names in a document, loaded on demand: who takes no Lightning loads none of it.

/** Longest file that holds a secret, in bytes. */
const SECRET_BYTES_MAX = 65_536
/** The books where a document names none. */
const BOOKS = 'tolsey.sqlite'

/** A document whose parts are to be opened, and where it stands. */
export interface Source {
  readonly document: Document
  readonly text: Text
  /** Relative files are beside it. */
  readonly directory: string
  /** The environment. */
  variable(name: string): string | undefined
}

/** What parts are watched and timed by. */
export interface OpenOptions {
  readonly clock?: Clock
  readonly observe?: Observe
  /** Books in the place of those that the document names. */
  readonly ledger?: Ledger
  /** Below which all that it answers is: what it shares with its other processes is told apart by it too. */
  readonly path?: string
}

/** A seller with its books, open. */
export interface OpenParts {
  readonly seller: OpenSeller
  readonly ledger: Ledger
  readonly rails: readonly Rail[]
  /** Ends the seller, and then the books. */
  close(): Promise<void>
}

/** What a document says cannot be done, each with the line where it stands. */
export class DocumentError extends SettingError {
  readonly mistakes: readonly Mistake[]
  constructor(name: string, mistakes: readonly Mistake[]) {
    super(writeMistakes(name, mistakes).join('\n'))
    this.mistakes = mistakes
  }
}

/** A line for each: `tolsey.yaml:12:5: routes › GET /a: A price is written like "0.01 USD".` */
export function writeMistakes(name: string, mistakes: readonly Mistake[]): readonly string[] {
  return mistakes.map(
    ({ line, column, path, sentence }) =>
      `${name}:${line}:${column}: ${path === '' ? '' : `${path}: `}${sentence}`,
  )
}

/** Reads secrets from where a document says they stand. No value is ever part of an error. */
export interface Secrets {
  text(ref: TextRef, at: Steps): Promise<string>
  /** As it stands in its file, which may be binary; a variable as text. */
  bytes(ref: SecretRef, at: Steps): Promise<Buffer>
}

/** Makes the reader of secrets. @throws {DocumentError} from it, where one is not there. */
export function createSecrets(source: Source): Secrets {
  const no = (at: Steps, sentence: string): DocumentError =>
    new DocumentError('', [source.text.mistake(at, sentence)])

  async function bytes(ref: SecretRef, at: Steps): Promise<Buffer> {
    if ('env' in ref) {
      const said = source.variable(ref.env)
      if (said === undefined) throw no(at, `The environment has no variable ${ref.env}.`)
      return Buffer.from(said)
    }
    const read = await readFile(resolve(source.directory, ref.file)).catch(() => undefined)
    if (!read) throw no(at, `The file ${ref.file} cannot be read.`)
    if (read.length === 0 || read.length > SECRET_BYTES_MAX)
      throw no(at, `The file ${ref.file} is empty, or too large for a secret.`)
    return read
  }

  return {
    bytes,
    text: async (ref, at) =>
      typeof ref === 'string' ? ref : (await bytes(ref, at)).toString('utf8').trim(),
  }
}

/** Reads a file of a document that is no secret. @throws {DocumentError} where it is not there. */
export async function readBeside(source: Source, file: string, at: Steps): Promise<string> {
  try {
    return await readFile(resolve(source.directory, file), 'utf8')
  } catch {
    throw new DocumentError('', [source.text.mistake(at, `The file ${file} cannot be read.`)])
  }
}

/**
 * What gateways on one database share beside the books: through Redis where the document names one, else through PostgreSQL where
 * the books are there. A gateway with a file of its own shares nothing.
 */
async function openShared(
  { document }: Source,
  secrets: Secrets,
  { clock, path = '' }: Pick<OpenOptions, 'clock' | 'path'>,
): Promise<Shared | undefined> {
  const { ledger, redis, origin } = document
  const [first = ''] = [origin].flat()
  const scope = first + path
  const timed = clock ? { clock } : {}
  if (redis !== undefined) {
    const { sharedRedis } = await import('../ledger/shared-redis.ts')
    return scoped(await sharedRedis({ url: await secrets.text(redis, ['redis']), ...timed }), scope)
  }
  if (ledger === undefined || typeof ledger === 'string') return undefined
  const { sharedPostgres } = await import('../ledger/shared-postgres.ts')
  const url = await secrets.text(ledger.postgres, ['ledger', 'postgres'])
  const { schema = 'tolsey' } = ledger
  return scoped(await sharedPostgres({ url, schema: `${schema}_shared`, ...timed }), scope)
}

/** Books that write with each sale the taxes that it contains, where the document names any. */
async function taxedBy(source: Source, ledger: Ledger): Promise<Ledger> {
  const { tax } = source.document
  return tax ? await located(source, ['tax'], async () => taxed(ledger, taxTable(tax))) : ledger
}

/**
 * Opens what a document names: rails, which check themselves against their networks, books, protocols, and the seller.
 * @throws {DocumentError} for what the document says and is not so, {PaymentError} for what the world says.
 */
export async function openParts(source: Source, options: OpenOptions = {}): Promise<OpenParts> {
  const secrets = createSecrets(source)
  const ledger = options.ledger ?? (await openLedger(source, secrets, options))
  let rails: readonly Rail[] = []
  let shared: Shared | undefined
  try {
    shared = await openShared(source, secrets, options)
    rails = await openRails(source, secrets, ledger, options)
    // What a processor tells may come as soon as the seller is open.
    let told = (): Promise<void> => Promise.resolve()
    const inboxes = await inboxesOf(source, secrets, ledger, () => told(), options.clock)
    const settings = await settingsOf(
      ...([
        source,
        secrets,
        rails,
        await taxedBy(source, ledger),
        { ...options, shared },
        inboxes,
      ] as const),
    )
    const seller = await located(source, ['rails'], () => createSeller(settings))
    told = () => seller.gate.recover()
    return {
      seller,
      ledger,
      rails,
      async close() {
        await seller.close()
        await shared?.close()
        if (ledger !== options.ledger) await ledger.close()
      },
    }
  } catch (error) {
    await Promise.allSettled([...rails, ...(shared ? [shared] : [])].map((part) => part.close()))
    if (ledger !== options.ledger) await ledger.close()
    throw error
  }
}

/** How a rail stood when it was tried. */
export interface TriedRail {
  readonly name: string
  readonly network: string
  /** Why it does not open; undefined if it does. */
  readonly why: string | undefined
  /** What it said of itself meanwhile. */
  readonly warnings: readonly string[]
}

/**
 * Opens each rail by itself, and ends it again.
 * @throws {DocumentError} for what the document says and is not so.
 */
export async function tryRails(source: Source, ledger: Ledger): Promise<readonly TriedRail[]> {
  const said: { readonly where: string; readonly sentence: string }[] = []
  const observe: Observe = (event) => {
    if (event.type === 'fault' && event.error instanceof PaymentError)
      said.push({ where: event.where, sentence: event.error.message })
  }
  const rails = await openRails(source, createSecrets(source), ledger, { observe })
  return await all(rails, async (rail) => {
    const { name, network } = rail
    const why = await rail.open().then(
      () => undefined,
      (error: unknown) => {
        if (error instanceof RangeError || error instanceof PaymentError) return error.message
        throw error
      },
    )
    await rail.close()
    const warnings = said.filter(({ where }) => where === `rails/${name} ${network}`)
    return { name, network, why, warnings: warnings.map(({ sentence }) => sentence) }
  })
}

/** What decides whether two documents have the same parts, with the secrets in it, so that it must be seen by nobody. */
export async function fingerprint(source: Source): Promise<string> {
  const { origin, realm, secret, ledger, vault, rails, protocols, tokens, plans, tax, redis } =
    source.document
  const { limits, proxies, cors, restoredAt, rates, most } = source.document
  const { page } = source.document
  const said = {
    origin,
    realm,
    secret,
    ledger,
    vault,
    rails,
    protocols,
    tokens,
    plans,
    page,
    tax,
    redis,
  }
  const all = { ...said, limits, proxies, cors, restoredAt, rates, most: most?.invoices }
  const secrets = createSecrets(source)
  const parts: string[] = [JSON.stringify([all, source.document.tenants !== undefined])]
  for (const [ref, at] of refsIn(all, []))
    parts.push((await secrets.bytes(ref, at)).toString('base64'))
  return hash('sha256', parts.join('\n'))
}

function* refsIn(value: unknown, at: Steps): Generator<readonly [SecretRef, Steps]> {
  if (typeof value !== 'object' || value === null) return
  const names = Object.keys(value)
  const [only = ''] = names
  if (names.length === 1 && (only === 'env' || only === 'file')) yield [value as SecretRef, at]
  else for (const [name, inner] of Object.entries(value)) yield* refsIn(inner, [...at, name])
}

/** The books that a document names. */
export async function openLedger(
  { document, directory }: Source,
  secrets: Secrets,
  { clock }: Pick<OpenOptions, 'clock'> = {},
): Promise<Ledger> {
  const { ledger = BOOKS } = document
  if (typeof ledger === 'string') {
    const { sqlite } = await import('../ledger/sqlite.ts')
    return await sqlite({ file: resolve(directory, ledger), ...(clock && { clock }) })
  }
  const { postgres } = await wanted('pg', () => import('../ledger/postgres.ts'))
  const url = await secrets.text(ledger.postgres, ['ledger', 'postgres'])
  const { schema } = ledger
  return await postgres({
    url,
    ...(schema !== undefined && { schema }),
    ...(clock && { clock }),
  })
}

async function openRails(
  source: Source,
  secrets: Secrets,
  ledger: Ledger,
  options: OpenOptions,
): Promise<readonly Rail[]> {
  const { evm = [], lightning, stripe, paypal } = source.document.rails
  const rails: Rail[] = []
  const add = async (at: Steps, open: () => Promise<Rail>): Promise<void> =>
    void rails.push(await located(source, at, open))
  const isList = Array.isArray(evm)
  for (const [i, entry] of [evm].flat().entries()) {
    const at = ['rails', 'evm', ...(isList ? [i] : [])]
    await add(at, () => openEvm(entry, at, secrets, ledger, options))
    if (entry.transactions)
      await add(at, () => openTransactions(entry, at, secrets, ledger, options))
    if (entry.permit2) await add(at, () => openPermits(entry, at, secrets, ledger, options))
    const { channels } = entry
    if (channels) await add(at, () => openChannels(entry, channels, at, secrets, ledger, options))
  }
  const at = (name: string): Steps => ['rails', name]
  if (lightning)
    await add(at('lightning'), () =>
      openLightning(lightning, at('lightning'), source, secrets, options),
    )
  if (stripe) await add(at('stripe'), () => openStripe(stripe, source, secrets, options))
  if (paypal) await add(at('paypal'), () => openPayPal(paypal, source, secrets, options))
  return rails
}

/** What payers have sent by themselves. What keys of ours send to the same account is none of that. */
async function openTransactions(
  { network, payTo, rpc = [], signer = [], refundSigner, transactions: said }: EvmEntry,
  at: Steps,
  secrets: Secrets,
  ledger: Ledger,
  { clock, observe }: OpenOptions,
): Promise<Rail> {
  const { transactions } = await wanted('viem', () => import('../rails/evm/transaction/index.ts'))
  const { accountOf } = await import('../rails/evm/signer.ts')
  const { confirmations, submitters = [], compare } = typeof said === 'object' ? said : {}
  const keys = await all([signer].flat(), (ref) => secrets.text(ref, [...at, 'signer']))
  const own = keys.map((key) => accountOf(keyOf(key)).address)
  return transactions({
    ...{ network, payTo, ledger, submitters: [...own, ...submitters] },
    rpc: await all([rpc].flat(), (ref) => secrets.text(ref, [...at, 'rpc'])),
    ...(refundSigner && {
      refundSigner: keyOf(await secrets.text(refundSigner, [...at, 'refundSigner'])),
    }),
    ...(confirmations !== undefined && { assurance: [{ confirmations }] }),
    ...(compare !== undefined && { compare }),
    ...(clock && { clock }),
    ...(observe && { observe }),
  })
}

/** Permits are used by the first key, whose numbers the books give to this rail and to its neighbour. */
async function openPermits(
  { network, payTo, rpc = [], signer = [], refundSigner, permit2, ...rest }: EvmEntry,
  at: Steps,
  secrets: Secrets,
  ledger: Ledger,
  { clock, observe }: OpenOptions,
): Promise<Rail> {
  const { permit } = await wanted('viem', () => import('../rails/evm/permit/index.ts'))
  const { splits = [] } = typeof permit2 === 'object' ? permit2 : {}
  const { confirmations, quorum, gasBudgetWei } = rest
  const [key = ''] = await all([signer].flat(), (ref) => secrets.text(ref, [...at, 'signer']))
  return permit({
    ...{ network, payTo, ledger, signer: keyOf(key), splits: splits.map(present) as SplitRule[] },
    rpc: await all([rpc].flat(), (ref) => secrets.text(ref, [...at, 'rpc'])),
    ...(refundSigner && {
      refundSigner: keyOf(await secrets.text(refundSigner, [...at, 'refundSigner'])),
    }),
    ...(confirmations !== undefined && { confirmations }),
    ...(quorum !== undefined && { quorum }),
    ...(gasBudgetWei !== undefined && { gasBudgetWei: BigInt(gasBudgetWei) }),
    ...(clock && { clock }),
    ...(observe && { observe }),
  })
}

/** Its account is its own: what is collected comes from the contract, and is nobody's single payment. */
async function openChannels(
  { network, rpc = [] }: EvmEntry,
  { key, escrow, collectFrom, idle, confirmations }: ChannelsEntry,
  at: Steps,
  secrets: Secrets,
  ledger: Ledger,
  { clock, observe }: OpenOptions,
): Promise<Rail> {
  const { channel } = await wanted('viem', () => import('../rails/evm/channel/index.ts'))
  const { accountOf } = await import('../rails/evm/signer.ts')
  const account = accountOf(keyOf(await secrets.text(key, [...at, 'channels', 'key'])))
  return channel({
    ...{ network, payTo: account.address, signer: account, ledger },
    rpc: await all([rpc].flat(), (ref) => secrets.text(ref, [...at, 'rpc'])),
    collect: {
      ...(collectFrom !== undefined && { from: readPrice(collectFrom) }),
      ...(idle !== undefined && { idleMs: durationOf(idle) }),
    },
    ...(escrow !== undefined && { escrow }),
    ...(confirmations !== undefined && { confirmations }),
    ...(clock && { clock }),
    ...(observe && { observe }),
  })
}

async function stripeAccount(
  { key, mode, account }: StripeEntry,
  secrets: Secrets,
): Promise<StripeAccount> {
  const { default: Stripe } = await wanted('stripe', () => import('stripe'))
  const client = new Stripe(await secrets.text(key, ['rails', 'stripe', 'key']))
  return { client, mode, ...(account !== undefined && { account }) }
}

async function openStripe(
  entry: StripeEntry,
  { document }: Source,
  secrets: Secrets,
  { clock }: OpenOptions,
): Promise<Rail> {
  const { stripe } = await import('../rails/stripe/index.ts')
  const { currencies, profile, publishableKey: ref } = entry
  const at = ['rails', 'stripe', 'publishableKey']
  const publishableKey = ref === undefined ? undefined : await secrets.text(ref, at)
  return stripe({
    ...(await stripeAccount(entry, secrets)),
    ...(currencies && { currencies }),
    ...(profile !== undefined && { profile }),
    ...(publishableKey !== undefined && { publishableKey }),
    ...(document.page && { beginPath: BEGIN_PATH }),
    ...(clock && { clock }),
  })
}

async function paypalAccount(
  { clientId, clientSecret, mode }: PayPalEntry,
  secrets: Secrets,
  clock: Clock | undefined,
): Promise<PayPalAccount> {
  return {
    clientId: await secrets.text(clientId, ['rails', 'paypal', 'clientId']),
    clientSecret: await secrets.text(clientSecret, ['rails', 'paypal', 'clientSecret']),
    mode,
    ...(clock && { clock }),
  }
}

async function openPayPal(
  entry: PayPalEntry,
  { document }: Source,
  secrets: Secrets,
  { clock }: OpenOptions,
): Promise<Rail> {
  const { paypal } = await import('../rails/paypal/index.ts')
  const { currencies, merchant, vaultSecret: ref, returnUrl } = entry
  const at = ['rails', 'paypal', 'vaultSecret']
  const vaultSecret = ref && (await secrets.text(ref, at))
  return paypal({
    ...(await paypalAccount(entry, secrets, clock)),
    ...(currencies && { currencies }),
    ...(merchant !== undefined && { merchant }),
    ...(vaultSecret !== undefined && { vaultSecret }),
    ...(returnUrl !== undefined && { returnUrl }),
    ...(document.page && { beginPath: BEGIN_PATH }),
  })
}

/** What processors tell by themselves. It is looked at again what they speak of, and that is all. */
async function inboxesOf(
  { document: { rails } }: Source,
  secrets: Secrets,
  ledger: Ledger,
  told: () => Promise<void>,
  clock: Clock | undefined,
): Promise<readonly Service[]> {
  const { stripe, paypal } = rails
  const found: Service[] = []
  const timed = clock ? { clock } : {}
  if (stripe?.webhook) {
    const { stripeWebhook } = await import('../rails/stripe/index.ts')
    const at = ['rails', 'stripe', 'webhook']
    const shared = await all([stripe.webhook].flat(), (ref) => secrets.text(ref, at))
    const account = await stripeAccount(stripe, secrets)
    found.push(stripeWebhook({ ...account, ...timed, secrets: shared, ledger, told }))
  }
  if (paypal?.webhookId !== undefined) {
    const { paypalWebhook } = await import('../rails/paypal/index.ts')
    const webhookId = await secrets.text(paypal.webhookId, ['rails', 'paypal', 'webhookId'])
    const account = await paypalAccount(paypal, secrets, clock)
    found.push(paypalWebhook({ ...account, ...timed, webhookId, ledger, told }))
  }
  return found
}

async function openPage(
  { document: { page: said, rails } }: Source,
  secrets: Secrets,
): Promise<Pages | undefined> {
  if (!said) return undefined
  const { page, stripeCard } = await import('../page/index.ts')
  const ref = rails.stripe?.publishableKey
  const key =
    ref === undefined ? undefined : await secrets.text(ref, ['rails', 'stripe', 'publishableKey'])
  const theme = said === true ? {} : (present(said) as PageSettings)
  return page({ ...theme, ...(key !== undefined && { card: stripeCard(key) }) })
}

/** Without the members that are not there. */
function present<T extends object>(said: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(said).filter(([, value]) => value !== undefined),
  ) as Partial<T>
}

async function openEvm(
  entry: EvmEntry,
  at: Steps,
  secrets: Secrets,
  ledger: Ledger,
  { clock, observe }: OpenOptions,
): Promise<Rail> {
  const { network, payTo, rpc = [], signer = [], gasBudgetWei } = entry
  const { confirmations, quorum, batcher, refundSigner, sweep } = entry
  if (entry.facilitator) return await openFacilitated(entry, at, secrets, clock)
  const { evm } = await wanted('viem', () => import('../rails/evm/rail.ts'))
  const keys = await all([signer].flat(), (ref) => secrets.text(ref, [...at, 'signer']))
  const rail = evm({
    ...{ network, payTo, ledger },
    rpc: await all([rpc].flat(), (ref) => secrets.text(ref, [...at, 'rpc'])),
    signer: keys.map(keyOf),
    ...(refundSigner && {
      refundSigner: keyOf(await secrets.text(refundSigner, [...at, 'refundSigner'])),
    }),
    ...(sweep && { sweep: sweepOf(sweep) }),
    ...(confirmations !== undefined && { confirmations }),
    ...(quorum !== undefined && { quorum }),
    ...(batcher !== undefined && { batcher }),
    ...(gasBudgetWei !== undefined && { gasBudgetWei: BigInt(gasBudgetWei) }),
    ...(clock && { clock }),
    ...(observe && { observe }),
  })
  // What it was paid before is looked after, given back and swept as ever.
  return isShared(entry.permit2) ? { ...rail, quote: () => [] } : rail
}

function keyOf(key: string): string {
  return /^[0-9a-fA-F]{64}$/.test(key) ? `0x${key}` : key
}

function sweepOf({ treasury, above, keep, every, treasuryConfirmed }: SweepEntry): SweepRule {
  return {
    ...{ treasury, above: readPrice(above), keep: readPrice(keep) },
    ...(every !== undefined && { everyMs: durationOf(every) }),
    ...(treasuryConfirmed !== undefined && { treasuryConfirmed }),
  }
}

async function openFacilitated(
  entry: EvmEntry,
  at: Steps,
  secrets: Secrets,
  clock: Clock | undefined,
): Promise<Rail> {
  const { network, payTo, facilitator = [], rpc } = entry
  const { exact } = await import('../rails/evm/exact.ts')
  const { facilitated } = await import('../protocols/x402/facilitator.ts')
  const timed = clock ? { clock } : {}
  const url = await all([facilitator].flat(), async (said) => {
    if (typeof said === 'string') return said
    const named = Object.entries(said.headers ?? {})
    const own = await all(named, async ([name, ref]) => [
      name,
      await secrets.text(ref, [...at, 'facilitator', 'headers', name]),
    ])
    const fields = Object.fromEntries(own) as Record<string, string>
    return { url: said.url, headers: () => fields }
  })
  const method = exact({ network, payTo })
  if (rpc === undefined) return facilitated(method, { url, ...timed })
  const look = await openLook(entry, at, secrets, clock)
  const rail = facilitated(method, {
    url,
    ...timed,
    ...look.options,
    expiresAt: ({ validBefore }) => Number(validBefore) * 1_000,
  })
  return {
    ...rail,
    holdings: look.holdings,
    async open() {
      await Promise.all([rail.open(), look.open()])
    },
    async close() {
      await Promise.all([rail.close(), look.close()])
    },
  }
}

/** An own look at the chain on which a facilitator settles: what it says is believed when it can be seen. */
interface Look {
  readonly options: Pick<FacilitatedOptions<Details, Proof>, 'trust' | 'find' | 'depth'>
  readonly holdings: () => Promise<Holdings>
  open(): Promise<void>
  close(): Promise<void>
}

async function openLook(
  { network, payTo, rpc = [], confirmations }: EvmEntry,
  at: Steps,
  secrets: Secrets,
  clock: Clock | undefined,
): Promise<Look> {
  const { evm } = await wanted('viem', () => import('../rails/evm/rail.ts'))
  const { depths } = await import('../rails/evm/depth.ts')
  const urls = await all([rpc].flat(), (ref) => secrets.text(ref, [...at, 'rpc']))
  const timed = clock ? { clock } : {}
  // A rail looks with the key that it sends with. This one is nobody's, and sends nothing.
  const signer = newKey().reveal()
  const chain = evm({ network, payTo, rpc: urls, signer, ...timed })
  const deep = depths({ network, rpc: urls, ...timed })
  return {
    options: {
      find: (offer, key, log) => chain.find(offer, key, log),
      trust: confirmations === undefined ? 'receipt' : { confirmations },
      depth: (transaction) => deep.depth(transaction),
    },
    async holdings() {
      const found = await chain.holdings?.()
      assert(found, 'an EVM rail tells what lies there')
      return { ...found, list: found.list.filter(({ use }) => use === 'payee') }
    },
    async open() {
      await Promise.all([chain.open(), deep.open()])
    },
    async close() {
      await chain.close()
      deep.close()
    },
  }
}

async function openLightning(
  entry: LightningEntry,
  at: Steps,
  source: Source,
  secrets: Secrets,
  { clock }: OpenOptions,
): Promise<Rail> {
  const { lightning } = await import('../rails/lightning/rail.ts')
  const node = await openNode(entry, at, source, secrets)
  const { network, hold, compare } = entry
  const secret = hold === true && (await secretsOf(source.document, secrets))
  return lightning({
    node,
    ...(network !== undefined && { network }),
    ...(secret && { hold: { secret } }),
    ...(compare !== undefined && { compare }),
    ...(clock && { clock }),
  })
}

/** One line a back end. */
async function openNode(
  entry: LightningEntry,
  at: Steps,
  source: Source,
  secrets: Secrets,
): Promise<LightningNode> {
  const { network, lnd, cln, phoenixd, eclair, lnbits, nwc, lnurl, hold } = entry
  const net = network === undefined ? {} : { network }
  const holds = hold === true ? { hold } : {}
  const key = (kind: string, name: string, ref: SecretRef): Promise<string> =>
    secrets.text(ref, [...at, kind, name])
  const reach = async (
    kind: string,
    { url, ca }: { readonly url: string; readonly ca?: string | undefined },
  ): Promise<{ readonly url: string; readonly ca?: string }> =>
    ca === undefined ? { url } : { url, ca: await readBeside(source, ca, [...at, kind, 'ca']) }
  if (lnd) {
    const macaroon = hexOf(await secrets.bytes(lnd.macaroon, [...at, 'lnd', 'macaroon']))
    const { createLnd } = await import('../rails/lightning/adapters/lnd.ts')
    return createLnd({ ...(await reach('lnd', lnd)), macaroon, ...net })
  }
  if (cln) {
    const { createCln } = await import('../rails/lightning/adapters/cln.ts')
    const rune = await key('cln', 'rune', cln.rune)
    return createCln({ ...(await reach('cln', cln)), rune, ...holds })
  }
  if (phoenixd) {
    const { createPhoenixd } = await import('../rails/lightning/adapters/phoenixd.ts')
    const password = await key('phoenixd', 'password', phoenixd.password)
    return createPhoenixd({ ...(await reach('phoenixd', phoenixd)), password })
  }
  if (eclair) {
    const { createEclair } = await import('../rails/lightning/adapters/eclair.ts')
    const password = await key('eclair', 'password', eclair.password)
    return createEclair({ ...(await reach('eclair', eclair)), password })
  }
  if (lnbits) {
    const { createLnbits } = await import('../rails/lightning/adapters/lnbits.ts')
    const said = await key('lnbits', 'key', lnbits.key)
    return createLnbits({ ...(await reach('lnbits', lnbits)), key: said, ...net })
  }
  if (nwc) {
    const { createNwc } = await wanted(
      '@getalby/sdk',
      () => import('../rails/lightning/adapters/nwc.ts'),
    )
    return createNwc({ uri: await key('nwc', 'uri', nwc.uri), ...net, ...holds })
  }
  const { createLnurl } = await import('../rails/lightning/adapters/lnurl.ts')
  return createLnurl({ address: lnurl?.address ?? '', ...net })
}

/** A macaroon is a binary file where LND writes it, and hex where people copy it. */
function hexOf(bytes: Buffer): string {
  const text = bytes.toString('latin1').trim()
  return /^[0-9a-fA-F]+$/.test(text) ? text : bytes.toString('hex')
}

async function secretsOf({ secret }: Document, secrets: Secrets): Promise<readonly string[]> {
  return await all([secret].flat(), (ref) => secrets.text(ref, ['secret']))
}

async function settingsOf(
  source: Source,
  secrets: Secrets,
  rails: readonly Rail[],
  ledger: Ledger,
  { clock, observe, shared }: OpenOptions & { readonly shared?: Shared | undefined },
  inboxes: readonly Service[],
): Promise<SellerSettings> {
  const { document, directory } = source
  const { origin, realm, limits, proxies, cors, vault, plans, restoredAt, most } = document
  const { invoices } = most ?? {}
  const secret = await secretsOf(document, secrets)
  const rates = await openRates(source, secrets, { clock, observe })
  const spoken = await speak(source, secrets, rails, secret, clock, shared?.seen)
  const page = await located(source, ['page'], () => openPage(source, secrets))
  return {
    ...{ secret, rails, ledger, origin, ...spoken },
    services: [...spoken.services, ...inboxes],
    ...(page && { page }),
    ...(realm !== undefined && { realm }),
    ...(plans && { plans: plansOf(document) }),
    ...((limits ?? proxies) && {
      limits: {
        ...(limits && { tiers: limits }),
        ...(shared && { counter: shared.counter }),
        ...whom(document),
      },
    }),
    ...(cors !== undefined && { cors }),
    ...(rates && { rates }),
    ...(invoices !== undefined && { issuesPerMinuteMax: invoices }),
    ...(restoredAt !== undefined && { restoredAt: Date.parse(restoredAt) }),
    ...(vault !== undefined && { vault: await openVault(vault, directory, clock) }),
    ...(clock && { clock }),
    ...(observe && { observe }),
  }
}

async function openRates(
  source: Source,
  secrets: Secrets,
  {
    clock,
    observe,
  }: { readonly clock?: Clock | undefined; readonly observe?: Observe | undefined },
): Promise<Rates | undefined> {
  const { rates } = source.document
  if (!rates) return undefined
  const known = new Map<string, Readonly<Record<string, string>>>()
  for (const [pair, { sources }] of Object.entries(rates.http ?? {}))
    for (const [i, { headers = {} }] of sources.entries()) {
      const at = ['rates', 'http', pair, 'sources', i, 'headers']
      const read = Object.entries(headers).map(
        async ([name, ref]) => [name, await secrets.text(ref, [...at, name])] as const,
      )
      known.set(`${pair} ${i}`, Object.fromEntries(await Promise.all(read)))
    }
  return await located(source, ['rates'], () =>
    Promise.resolve(
      ratesBy(rates, {
        headers: (pair, place) => known.get(`${pair} ${place}`),
        ...(clock && { clock }),
        ...(observe && { observe }),
      }),
    ),
  )
}

/** The service that tells the price of a route. @throws {DocumentError} for what cannot be meant. */
export async function openPrice(
  source: Source,
  entry: PriceServiceEntry,
  at: Steps,
  clock: Clock | undefined,
): Promise<PriceOf> {
  const secrets = createSecrets(source)
  const { url, headers, cache, timeout, plainHttp } = entry
  const secret = await all([entry.secret].flat(), (ref) => secrets.text(ref, [...at, 'secret']))
  const { priceService } = await import('../adapters/price-service.ts')
  return await located(source, at, () =>
    Promise.resolve(
      priceService(url, {
        secret,
        ...(headers && { headers }),
        ...(cache && { cache: { by: cache.by as PriceKey[], forMs: durationOf(cache.for) } }),
        ...(timeout !== undefined && { timeoutMs: durationOf(timeout) }),
        ...(plainHttp !== undefined && { plainHttp }),
        ...(clock && { clock }),
      }),
    ),
  )
}

/** Whose word on callers is believed. */
export function whom({ proxies }: Document): {
  readonly trusted?: readonly string[]
  readonly field?: 'forwarded' | 'x-forwarded-for'
} {
  if (!proxies) return {}
  const { trusted, field } = proxies
  return { trusted, ...(field && { field }) }
}

async function openVault(
  vault: NonNullable<Document['vault']>,
  directory: string,
  clock: Clock | undefined,
): Promise<NonNullable<SellerSettings['vault']>> {
  const { files } = await import('../vault/files.ts')
  const said = typeof vault === 'string' ? { directory: vault } : vault
  return files({
    directory: resolve(directory, said.directory),
    ...('size' in said && said.size !== undefined && { bytesMax: sizeOf(said.size) }),
    ...(clock && { clock }),
  })
}

interface Spoken {
  readonly protocols: readonly Protocol[]
  readonly mints: readonly Mint[]
  readonly services: readonly Service[]
}

/** Protocols, one line each. L402 first: some of its clients read no further. */
async function speak(
  source: Source,
  secrets: Secrets,
  rails: readonly Rail[],
  secret: readonly string[],
  clock: Clock | undefined,
  seen: Seen | undefined,
): Promise<Spoken> {
  const { document } = source
  const { rails: named, plans, tokens } = document
  const chains = [named.evm ?? []].flat()
  const isSent = chains.some(({ transactions }) => transactions)
  const isPermitted = chains.some(({ permit2 }) => permit2)
  const isKept = chains.some(({ channels }) => channels)
  const fitting = [
    ...(named.lightning ? ['l402'] : []),
    ...(named.evm ? ['x402'] : []),
    ...(named.stripe || isSent || isPermitted || isKept ? ['mpp'] : []),
    ...(named.stripe || named.paypal || isSent ? ['bearer'] : []),
    ...(plans ? ['oauth'] : []),
  ]
  const wantedNames: readonly string[] = document.protocols ?? fitting
  const { createMacaroonMint, createMacaroons } = await import('../tokens/macaroon/index.ts')
  const macaroons = await located(source, ['secret'], () =>
    Promise.resolve(createMacaroons({ secrets: secret })),
  )
  const protocols: Protocol[] = []
  const services: Service[] = []
  const mints: Mint[] = plans ? [createMacaroonMint(macaroons)] : []
  if (wantedNames.includes('l402')) {
    const { l402 } = await import('../protocols/l402/http.ts')
    protocols.push(l402({ parts: rails, mint: macaroons }))
  }
  if (wantedNames.includes('x402')) {
    const { x402 } = await import('../protocols/x402/http.ts')
    protocols.push(x402(rails))
  }
  if (wantedNames.includes('mpp')) {
    const { mpp } = await import('../protocols/mpp/index.ts')
    protocols.push(mpp({ parts: rails }))
  }
  if (wantedNames.includes('oauth')) {
    const { createProofs, oauth, oauthService } = await import('../protocols/oauth/index.ts')
    const proofs = createProofs({ ...(seen && { seen }) })
    if (tokens?.jwt) {
      const [issuer = ''] = [document.origin].flat()
      const keys = await all([tokens.jwt].flat(), async (ref) =>
        readKey(source, await secrets.text(ref, ['tokens', 'jwt'])),
      )
      const { createJwts } = await import('../tokens/jwt/jwts.ts')
      const jwts = createJwts({ keys, issuer, audience: issuer })
      mints.push(jwts)
      services.push(oauthService({ issuer, mint: jwts, proofs }))
    }
    // The upstream may have bearer tokens of its own.
    protocols.push(oauth({ mints, proofs, foreign: 'leave' }))
  }
  if (wantedNames.includes('bearer')) {
    const { bearer } = await import('../protocols/bearer/index.ts')
    protocols.push(bearer({ parts: rails, mints, ...(clock && { clock }) }))
  }
  return { protocols, mints, services }
}

function readKey({ text }: Source, said: string): JwtKey {
  try {
    return JSON.parse(said) as JwtKey
  } catch {
    throw new DocumentError('', [text.mistake(['tokens', 'jwt'], 'The key is no JWK.')])
  }
}

/** What a part says of its settings belongs to the line where they stand. */
async function located<T>(source: Source, at: Steps, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new DocumentError('', [source.text.mistake(at, error.message)])
  }
}

/** Libraries that not everybody who installs the package wants. */
async function wanted<T>(library: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ERR_MODULE_NOT_FOUND'))
      throw cause
    const sentence = `This needs the library ${library}. Install it beside Tolsey: npm install ${library}.`
    throw new PaymentError('misconfigured', sentence, { cause })
  }
}

async function all<T, U>(items: readonly T[], act: (item: T) => Promise<U>): Promise<U[]> {
  return await Promise.all(items.map(act))
}
