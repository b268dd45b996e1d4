import { once } from 'node:events'
import { access, mkdir, rename } from 'node:fs/promises'
import type { RequestListener, Server } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { discovery } from '../adapters/discovery.ts'
import { everybody } from '../adapters/facilitator.ts'
import { toll } from '../adapters/node.ts'
import { startFacilitator } from '../config/facilitator.ts'
import type { RunningFacilitator } from '../config/facilitator.ts'
import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Clock, Ledger, Pages } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { page } from '../page/index.ts'
import { bearer } from '../protocols/bearer/index.ts'
import { l402 } from '../protocols/l402/http.ts'
import { advertise, mpp } from '../protocols/mpp/index.ts'
import { x402 } from '../protocols/x402/http.ts'
import { PERMIT2_SAID, permit } from '../rails/evm/permit/index.ts'
import { evm } from '../rails/evm/rail.ts'
import { accountOf } from '../rails/evm/signer.ts'
import { transactions } from '../rails/evm/transaction/index.ts'
import { lightning } from '../rails/lightning/rail.ts'
import { paypal } from '../rails/paypal/index.ts'
import { stripe } from '../rails/stripe/index.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { createSeller } from '../adapters/seller.ts'
import type { OpenSeller } from '../adapters/seller.ts'
import { files } from '../vault/files.ts'
import { FAULTS_PATH, createAdmin } from './admin.ts'
import { createApi, plans, routes, samplesFor } from './api.ts'
import type { Chain } from './chain.ts'
import { startChain } from './chain.ts'
import { cutting } from './cut.ts'
import type { Switches } from './faults.ts'
import { createSwitches } from './faults.ts'
import type { Keys } from './keys.ts'
import { facilitatorKey, keepKeys, partnerKey, spenderKey } from './keys.ts'
import { lock } from './lock.ts'
import { startSandboxLightning } from './node.ts'
import type { LightningAccess, SandboxLightning } from './node.ts'
import type { Front } from './page.ts'
import { answerFront } from './page.ts'
import type { CardScript, PayPalStandIn, StripeStandIn } from './processors/index.ts'
import { clientOf, startCardScript, startPayPal, startStripe } from './processors/index.ts'
import type { Proxy } from './proxy.ts'
import { startProxy } from './proxy.ts'
import { createSaver } from './saver.ts'

/** What each buyer begins with: 100 USDC. */
const BUYER_USDC = 100_000_000n

/** What settler and seller begin with for gas, the seller for refunds: 10 ether. */
const GAS_WEI = 10n ** 19n

/** How long answers in progress may take once the sandbox is to stop. */
const DRAIN_MS = 500

const BOOKS = 'books.sqlite'
const FACILITATOR_BOOKS = 'facilitator.sqlite'

/** What a sandbox is started with. */
export interface SandboxOptions {
  /** Port of the gateway on loopback; 0 takes a free one. */
  readonly port: number
  /** Where keys, chain and books are kept between two runs. One sandbox at a time. */
  readonly stateDir: string
  readonly clock?: Clock
  readonly observe?: Observe
  /** Whether the API is sold over Lightning too; true if absent. */
  readonly lightning?: boolean
  /** Told, in a sentence, what a person should know: for instance that a kept chain could not be read. */
  readonly notice?: (sentence: string) => void
}

/** What is there to try. */
export interface Description {
  readonly gateway: string
  /** An x402 facilitator on the same chain, open to everybody on this machine. */
  readonly facilitator: string
  readonly rpc: string
  readonly buyer: { readonly privateKey: string; readonly address: string }
  readonly seller: { readonly address: string }
  /** The buyer's Lightning node, as LND over REST; absent where there is no Lightning. */
  readonly lightning?: LightningAccess
  readonly routes: readonly {
    readonly method: string
    readonly url: string
    readonly price: string
    /** Over Lightning, if that runs. */
    readonly sats?: string
  }[]
}

/** A seller with a paid API, on a chain of its own. */
export interface Sandbox {
  readonly chain: Chain
  readonly ledger: Ledger
  readonly faults: Switches
  /** Other buyers who hold the same, for tests with several. */
  readonly buyers: readonly Description['buyer'][]
  describe(): Description
  /** Ends what is in progress, saves, and leaves no process and no listener. Safe to call twice. */
  stop(): Promise<void>
}

/**
 * Starts a sandbox: chain, rail, books, gate and a sample API. It ends with this process at the latest.
 * @throws {PaymentError} with what to do, when the directory or the port is taken or the node is not installed.
 */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const ends: End[] = []
  try {
    return await build(options, ends)
  } catch (error) {
    await unwind(ends)
    throw error
  }
}

/** Undoes one step of the start. */
type End = () => unknown

/** Undoes all of it in reverse, also when a step cannot be undone: that is told at the end. */
async function unwind(ends: End[]): Promise<void> {
  const faults: unknown[] = []
  for (let end = ends.pop(); end; end = ends.pop())
    try {
      await end()
    } catch (error) {
      faults.push(error)
    }
  if (faults.length > 0) throw faults[0]
}

async function build(options: SandboxOptions, ends: End[]): Promise<Sandbox> {
  const { stateDir, clock = systemClock } = options
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  ends.push(lock(join(stateDir, 'lock')))
  const keys = await keepKeys(join(stateDir, 'keys.json'))
  const server = await listen(options.port)
  ends.push(() => server.close())
  const gateway = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const { notice = () => undefined } = options
  const [chain, lightning] = await startBoth(options, clock, notice, ends)
  if (await isNew(chain, keys)) {
    await setBooksAside(options)
    await fund(chain, keys)
  }
  await permitAll(chain, keys)
  const saver = createSaver(() => chain.save(), clock)
  ends.push(() => saver.stop())
  const faults = createSwitches((now) => lightning?.apply(now))
  const proxy = await startProxy({
    rpc: chain.rpc,
    faults,
    clock,
    onTransaction: (raw) => chain.record(raw),
    onChange: () => saver.changed(),
  })
  ends.push(() => proxy.stop())

  const ledger = await sqlite({ file: join(stateDir, BOOKS), clock })
  ends.push(() => ledger.close())
  const processors = await startProcessors(clock, ends)
  const world: World = { keys, chain, proxy, lightning, processors }
  const seller = await open(options, world, ledger, gateway)
  ends.push(() => seller.close())
  const facilitator = await facilitate(options, keys, chain, proxy, ends)
  const description = describe(gateway, facilitator.url, proxy, keys, lightning)
  const front: Front = {
    ...description,
    usdc: chain.usdc,
    faults: gateway + FAULTS_PATH,
    samples: samplesFor(lightning !== undefined),
  }
  const api = createApi(clock)
  const admin = createAdmin(faults, chain)
  const sold = toll(seller, routes, (request, response) =>
    request.url === '/' ? answerFront(front, request, response) : api(request, response),
  )
  const cut = cutting(seller.protocols, faults, sold)
  server.on('checkContinue', cutting(seller.protocols, faults, sold.checkContinue))
  server.off('request', notYet)
  server.on('request', (request, response) =>
    request.url === FAULTS_PATH ? void admin(request, response) : cut(request, response),
  )

  // First of all ends: requests in progress still need all the rest.
  ends.push(() => drain(server, clock))
  let ended: Promise<void> | undefined
  return {
    chain,
    ledger,
    faults,
    buyers: keys.buyers.map(identity),
    describe: () => description,
    stop: () => (ended ??= unwind(ends)),
  }
}

/** Chain and Lightning at once; if one cannot start, the other is stopped too. */
async function startBoth(
  { stateDir, lightning = true }: SandboxOptions,
  clock: Clock,
  notice: (sentence: string) => void,
  ends: End[],
): Promise<readonly [Chain, SandboxLightning | undefined]> {
  const stateFile = join(stateDir, 'chain.json')
  const started = await Promise.allSettled([
    startChain({ stateFile, clock, notice }),
    lightning ? startSandboxLightning(clock, notice) : undefined,
  ])
  const [chain, nodes] = started
  if (nodes.status === 'fulfilled') ends.push(() => nodes.value?.stop())
  if (chain.status === 'fulfilled') ends.push(() => chain.value.stop())
  if (chain.status === 'rejected') throw chain.reason
  if (nodes.status === 'rejected') throw nodes.reason
  return [chain.value, nodes.value]
}

/** Takes the port before anything else is begun. */
async function listen(port: number): Promise<Server> {
  const server = createServer(notYet)
  server.listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new PaymentError(
      'misconfigured',
      `Port ${port} cannot be used. Free it, or choose another with TOLSEY_PORT.`,
      { cause },
    )
  }
  return server
}

const notYet: RequestListener = (_request, response) => {
  response.writeHead(503, { 'retry-after': '1' }).end()
}

/** Nobody new is let in, those within may end, the rest is cut off. */
async function drain(server: Server, clock: Clock): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeIdleConnections()
  const waiting = new AbortController()
  await Promise.race([closed, clock.sleep(DRAIN_MS, waiting.signal)])
  waiting.abort()
  server.closeAllConnections()
  await closed
}

/** The settler has ether from the first moment on. */
async function isNew(chain: Chain, { settler }: Keys): Promise<boolean> {
  const held = await chain.request('eth_getBalance', [identity(settler).address, 'latest'])
  return BigInt(String(held)) === 0n
}

async function fund(chain: Chain, { settler, seller, buyers }: Keys): Promise<void> {
  for (const buyer of buyers) await chain.mint(identity(buyer).address, BUYER_USDC)
  // The settler last: whoever finds ether there finds the rest.
  for (const key of [seller, settler]) await chain.fundEther(identity(key).address, GAS_WEI)
  await chain.save()
}

/** Has Permit2 approved by all buyers, and ether for who uses it. A chain that was kept by an older version has neither. */
async function permitAll(chain: Chain, keys: Keys): Promise<void> {
  const etherOf = async (address: string): Promise<bigint> =>
    BigInt(String(await chain.request('eth_getBalance', [address, 'latest'])))
  const spender = identity(spenderKey(keys)).address
  if ((await etherOf(spender)) > 0n) return
  const data = `0x095ea7b3${PERMIT2_SAID.slice(2).padStart(64, '0')}${'f'.repeat(64)}`
  for (const key of keys.buyers) {
    const { address } = identity(key)
    const had = await etherOf(address)
    await chain.fundEther(address, GAS_WEI)
    await chain.send({ from: address, to: chain.usdc, data })
    // Buyers pay for no gas here.
    await chain.fundEther(address, had)
  }
  await chain.fundEther(spender, GAS_WEI)
  await chain.save()
}

/** Books of a chain that is gone would only contradict the new one. */
async function setBooksAside({ stateDir, notice }: SandboxOptions): Promise<void> {
  const moved = [
    await moveAside(join(stateDir, BOOKS)),
    await moveAside(join(stateDir, FACILITATOR_BOOKS)),
  ]
  const [first] = moved.filter((file) => file !== undefined)
  if (first === undefined) return
  notice?.(`The books of the chain before lie in ${first} now. New ones have begun.`)
}

/** Where the books are now; undefined if there were none. */
async function moveAside(books: string): Promise<string | undefined> {
  const there = await access(books).then(
    () => true,
    () => false,
  )
  if (!there) return undefined
  for (const suffix of ['', '-wal', '-shm'])
    await rename(books + suffix, `${books}.old${suffix}`).catch(() => undefined)
  return `${books}.old`
}

/** What stands in for card processors. They are not Stripe and not PayPal, and take no money. */
interface Processors {
  readonly stripe: StripeStandIn
  readonly card: CardScript
  readonly paypal: PayPalStandIn
}

async function startProcessors(clock: Clock, ends: End[]): Promise<Processors> {
  const stripe = await startStripe({ clock })
  ends.push(() => stripe.close())
  const card = await startCardScript(stripe)
  ends.push(() => card.close())
  const paypal = await startPayPal({ clock })
  ends.push(() => paypal.close())
  return { stripe, card, paypal }
}

/** The page for people; undefined in a clone in which it was not built. */
function pageFor(
  { notice }: SandboxOptions,
  { processors: { card, stripe } }: World,
): Pages | undefined {
  const { script, origins } = card
  const { publishableKey } = stripe
  try {
    return page({ name: 'Tolsey sandbox', card: { script, origins, publishableKey } })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    notice?.('Browsers see no page for people: "npm run build" makes it.')
    return undefined
  }
}

/** What the seller stands on. */
interface World {
  readonly processors: Processors
  readonly keys: Keys
  readonly chain: Chain
  readonly proxy: Proxy
  readonly lightning: SandboxLightning | undefined
}

/** The seller, made of the same parts as any other. */
async function open(
  options: SandboxOptions,
  world: World,
  ledger: Ledger,
  gateway: string,
): Promise<OpenSeller> {
  const { stateDir, clock = systemClock, observe } = options
  const { keys, chain, proxy, lightning: nodes, processors } = world
  const payTo = identity(keys.seller).address
  const watched = { clock, ...(observe && { observe }) }
  const rail = evm({
    network: 'base-sepolia',
    rpc: proxy.faulty,
    payTo,
    signer: keys.settler,
    refundSigner: keys.seller,
    batcher: chain.batcher,
    ...watched,
  })
  const ln = nodes && lightning({ node: nodes.seller, network: 'regtest', clock })
  const shown = transactions({
    ...{ network: 'base-sepolia', rpc: proxy.faulty, payTo, ledger, clock },
    submitters: [keys.settler, keys.seller, facilitatorKey(keys), spenderKey(keys)].map(
      (key) => identity(key).address,
    ),
  })
  const shared = permit({
    ...{ network: 'base-sepolia', rpc: proxy.faulty, payTo, signer: spenderKey(keys), ...watched },
    splits: [{ recipient: identity(partnerKey(keys)).address, bps: 1_000, memo: 'partner' }],
  })
  const cards = stripe({ client: clientOf(processors.stripe), mode: 'test', clock })
  const { url, clientId, clientSecret } = processors.paypal
  const accounts = paypal({ mode: 'sandbox', url, clientId, clientSecret, clock })
  const parts = [rail, shared, ...(ln ? [ln] : []), shown, cards, accounts]
  const macaroons = createMacaroons({ secrets: [keys.secret] })
  const mint = createMacaroonMint(macaroons)
  const forPeople = pageFor(options, world)
  return createSeller({
    secret: keys.secret,
    rails: parts,
    protocols: [
      x402([rail]),
      ...(ln ? [l402({ parts: [ln], mint: macaroons })] : []),
      mpp({ parts }),
      bearer({ parts, mints: [mint] }),
    ],
    mints: [mint],
    services: [discovery({ title: 'Tolsey sandbox', routes, offers: advertise(parts) })],
    ...(forPeople && { page: forPeople }),
    plans,
    ledger,
    vault: files({ directory: join(stateDir, 'kept'), clock }),
    // Not the host: the port may be another next time.
    realm: 'sandbox',
    origin: [gateway, gateway.replace('127.0.0.1', 'localhost')],
    ...watched,
  })
}

/** A facilitator beside the seller, with a key and books of its own. */
async function facilitate(
  { stateDir, clock = systemClock }: SandboxOptions,
  keys: Keys,
  chain: Chain,
  { faulty }: Proxy,
  ends: End[],
): Promise<RunningFacilitator> {
  const signer = facilitatorKey(keys)
  // A chain that was kept by an older version has none for it yet.
  await chain.fundEther(identity(signer).address, GAS_WEI)
  const ledger = await sqlite({ file: join(stateDir, FACILITATOR_BOOKS), clock })
  ends.push(() => ledger.close())
  const running = await startFacilitator({
    chains: [{ network: 'base-sepolia', rpc: faulty, signer, batcher: chain.batcher }],
    ledger,
    callers: everybody(),
    host: '127.0.0.1',
    port: 0,
    drainMs: DRAIN_MS,
    clock,
  })
  ends.push(() => running.stop())
  return running
}

function describe(
  gateway: string,
  facilitator: string,
  { rpc }: Proxy,
  keys: Keys,
  lightning: SandboxLightning | undefined,
): Description {
  const [buyer = ''] = keys.buyers
  return {
    gateway,
    facilitator,
    rpc,
    buyer: identity(buyer),
    seller: { address: identity(keys.seller).address },
    ...(lightning && { lightning: lightning.buyer }),
    routes: samplesFor(lightning !== undefined).map(({ method, path, price, sats }) => ({
      ...{ method, url: gateway + path, price },
      ...(sats !== undefined && { sats }),
    })),
  }
}

function identity(privateKey: string): Description['buyer'] {
  return { privateKey, address: accountOf(privateKey).address }
}
