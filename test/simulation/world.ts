// One seed is one world: sellers and payers of the real code, a chain and a net that are not to be trusted, and somebody
// who watches. Everything that happens is planned by one scheduler, so that a seed tells the same story for ever.
import { fromBase64 } from '../../src/core/base64.ts'
import { isObject, readJson } from '../../src/core/json.ts'
import type { Offer } from '../../src/core/offer.ts'
import type {
  Facilitator,
  Gate,
  Ledger,
  Log,
  Protocol,
  Rail,
  SettlePoint,
  Vault,
} from '../../src/core/ports.ts'
import { PaymentError } from '../../src/core/problem.ts'
import { createCallers, openFacilitator } from '../../src/adapters/facilitator.ts'
import { toll } from '../../src/adapters/fetch.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { Routes } from '../../src/adapters/routes.ts'
import { createPayer, paymentOf } from '../../src/payer/payer.ts'
import { facilitated } from '../../src/protocols/x402/facilitator.ts'
import { facilitatorHandler } from '../../src/protocols/x402/facilitator-service.ts'
import { x402 } from '../../src/protocols/x402/index.ts'
import { exact } from '../../src/rails/evm/exact.ts'
import type { Details } from '../../src/rails/evm/forms.ts'
import { readProof } from '../../src/rails/evm/proof.ts'
import type { Proof } from '../../src/rails/evm/proof.ts'
import { calm, createDice, createProcess, createScheduler } from '../../src/testing/faults.ts'
import type { Dice, Process, Scheduler, Weather } from '../../src/testing/faults.ts'
import type { Books } from './books.ts'
import { createBooks, createShelf, faulted, seated } from './books.ts'
import { createChain } from './chain.ts'
import { createClerk } from './clerk.ts'
import type { Clerk } from './clerk.ts'
import type { Host, Net, Sent, Server } from './network.ts'
import { clear, createNetwork } from './network.ts'
import { createRail, createWallet } from './rail.ts'
import type { SimRail } from './rail.ts'
import type { Watch } from './watch.ts'
import { createWatch } from './watch.ts'

/** Wrappers that break a part, to see that the watch sees it. */
export interface Breaks {
  readonly gate?: (gate: Gate) => Gate
  readonly rail?: (rail: SimRail) => SimRail
  readonly sellerLedger?: (ledger: Ledger, process: Process) => Ledger
  readonly payerLedger?: (ledger: Ledger, process: Process) => Ledger
  readonly facilitator?: (facilitator: Facilitator) => Facilitator
  readonly vault?: (vault: Vault) => Vault
  readonly facilitatorLedger?: (ledger: Ledger) => Ledger
}

export interface WorldOptions {
  readonly seed: number
  readonly breaks?: Breaks
  readonly trace?: (line: string) => void
  /** Only a certain kind of weather. */
  readonly climate?: Climate
  /** What each payer may spend, in units of 10^-6. */
  readonly budget?: bigint
  /** The seller settles through facilitators, two replicas of one, instead of by its own rail. */
  readonly facilitated?: boolean
  /** Whether the seller keeps answers; those of even seeds do, if nothing is said. */
  readonly vault?: boolean
  /** Chance by the name of what it befalls: a change of code then leaves other payments alone. */
  readonly byName?: boolean
}

/** What may be bought, and when it is settled. Prices in units of 10^-6. */
export const goods: Readonly<
  Record<string, { readonly settle: SettlePoint; readonly price: bigint }>
> = {
  '/response': { settle: 'before-response', price: 10_000n },
  '/work': { settle: 'before-work', price: 10_000n },
  '/deferred': { settle: 'deferred', price: 10_000n },
  '/post': { settle: 'before-response', price: 20_000n },
}

const SHOP = 'shop.test'
const CROOK = 'crook.test'
/** One name for both replicas, or a name for each. */
const FACILITATORS = ['one.facilitator.test', 'two.facilitator.test'] as const
/** The key with which the seller asks. */
const CALLER_KEY = '8f3c'.repeat(8)
/** How long a replica runs until another version takes its place. */
const RELEASE_MS = 240_000
const SHOP_PAYEE = `0x${'51'.repeat(20)}`
const CROOK_PAYEE = `0x${'66'.repeat(20)}`
const MALLORY = `0x${'bad0'.repeat(10)}` as const
const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const START_AT = 1_800_000_000_000
/** How long everything may take to come to rest. */
const REST_MS = 40 * 60_000
const REST_STEPS_MAX = 60_000
/** How long after a fault-free beginning honest payers stop asking for what they paid. */
const ASKING_MS = 15 * 60_000

/** How bad a world is. */
export interface Climate {
  readonly ledger: Weather
  readonly node: Weather
  readonly net: Net
  readonly stale: number
  readonly reorganisations: number
  readonly frontRunners: number
  readonly jumps: number
  readonly workFails: number
  /** How probable it is that a block takes a transaction. */
  readonly inclusion: number
}

export interface World {
  readonly seed: number
  readonly scheduler: Scheduler
  readonly watch: Watch
  /** There where sellers settle through facilitators. */
  readonly clerk: Clerk | undefined
  /** Whose books there are, looked at without faults. */
  readonly books: ReadonlyMap<string, Ledger>
  /** Takes steps in bad weather, at most so many; false if nothing is left to do. */
  run(steps: number): Promise<void>
  /** Ends all faults, lets time go on past every deadline, and looks at what is left. */
  rest(): Promise<void>
}

/** One wish of a customer, who keeps asking until he has it. */
interface Wish {
  readonly url: string
  readonly method: string
  readonly body?: string
  attempts: number
  taken: boolean
  done: boolean
  /** Why the last attempt gave nothing. */
  why: string
}

function climateOf(dice: Dice): Climate {
  const some = (most: number): number => (dice.happens(0.5) ? dice.next() * most : 0)
  const weather = (): Weather => ({
    refused: some(0.03),
    lost: some(0.03),
    crashed: some(0.01),
    slow: some(0.05),
    usualMs: dice.pick([5, 50, 400]),
    slowMs: dice.pick([2_000, 20_000, 90_000]),
  })
  return {
    ledger: weather(),
    node: weather(),
    net: {
      lost: some(0.1),
      doubled: some(0.1),
      cut: some(0.05),
      replaced: some(0.05),
      gone: some(0.05),
    },
    stale: some(0.2),
    reorganisations: dice.happens(0.3) ? dice.next() : 0,
    frontRunners: some(0.3),
    jumps: dice.happens(0.3) ? 1 : 0,
    workFails: some(0.2),
    inclusion: dice.pick([0.9, 0.9, 0.9, 0.3, 0.05]),
  }
}

export function createWorld(options: WorldOptions): World {
  const { seed, breaks = {}, trace } = options
  const dice = createDice(seed)
  const climate = options.climate ?? climateOf(dice.fork())
  const ledgerWeather = { ...climate.ledger }
  const nodeWeather = { ...climate.node }
  const net = { ...climate.net }
  const scheduler = createScheduler({
    dice: dice.fork(),
    startAt: START_AT,
    ...(trace && { trace }),
  })
  let inclusion = climate.inclusion
  const chain = createChain(scheduler, dice.fork(), () => inclusion)
  const shopBooks = createBooks(dice.happens(0.5) ? 'verbs' : 'model')
  const worldClock = { now: () => scheduler.now(), sleep: () => Promise.resolve() }
  const protocol = x402([createRail(outsideOf(createBystander()), SHOP_PAYEE)])
  const keeps = options.vault ?? seed % 2 === 0
  const shelf = createShelf()
  const allBooks = new Map([['shop', shopBooks.at(worldClock)]])
  const watch = createWatch({
    chain,
    scheduler,
    goods,
    shop: shopBooks.at(worldClock),
    kept: (key) => shelf.has(key),
    looksAgain: options.facilitated !== true,
    ...(trace && { trace }),
  })
  const hosts = new Map<string, Host>()
  const sniffed: Sent[] = []
  /** What facilitators were asked, for whoever asks it again. */
  const ordered: Sent[] = []
  const network = createNetwork({
    scheduler,
    dice: dice.fork(),
    net,
    weather: { ...nodeWeather, usualMs: 50 },
    hosts,
    onLeft: (left) => left.by.name.startsWith('shop') && watch.left(left),
    onCame: (sent) => {
      if (new URL(sent.url).host.startsWith('shop')) return watch.came(sent)
      if (!facilitators || !sent.url.includes('facilitator')) return undefined
      return facilitators.clerk.came(sent, Buffer.from(sent.body ?? []).toString())
    },
    onSent: (sent) => {
      if (sent.url.includes('.facilitator.')) ordered.push(sent)
      if (ordered.length > 64) ordered.splice(dice.below(ordered.length), 1)
      if (!sent.headers.get('payment-signature')) return
      sniffed.push(sent)
      if (sniffed.length > 16) sniffed.shift()
    },
  })
  const jumped = new WeakSet<Process>()
  let resting = false
  let restAt = 0
  let live: Process[] = []

  function outsideOf(process: Process): Parameters<typeof createRail>[0] {
    return {
      process,
      chain,
      dice: dice.fork(),
      weather: nodeWeather,
      get stale() {
        return resting ? 0 : climate.stale
      },
    }
  }

  function createFacilitators(): { readonly books: Books; readonly clerk: Clerk } {
    const books = createBooks(dice.happens(0.5) ? 'verbs' : 'model')
    const shop = shopBooks.at(worldClock)
    const ledger = books.at(worldClock)
    allBooks.set('facilitator', ledger)
    const clerk = createClerk({
      chain,
      ledger,
      shop,
      violation: (...told) => watch.violation(...told),
    })
    return { books, clerk }
  }

  function createBystander(): Process {
    return createProcess({ name: 'bystander', scheduler, dice: dice.fork(), onDeath: () => {} })
  }

  /** Runs something that is started again whenever it dies. */
  function supervise(name: string, start: (process: Process) => Promise<void>): void {
    let number = 0
    const launch = (): void => {
      const process = createProcess({
        name: `${name}.${++number}`,
        scheduler,
        dice: dice.fork(),
        aheadMs: resting ? 0 : Math.round((dice.next() - 0.5) * 4_000),
        ...(options.byName && { byName: true }),
        onDeath() {
          live = live.filter((one) => one !== process)
          watch.died(process)
          network.broken(process)
          scheduler.plan(dice.next() * (resting ? 1_000 : 30_000), `${name} starts`, launch)
        },
      })
      live.push(process)
      start(process).catch((error: unknown) => {
        if (!(error instanceof PaymentError)) watch.violation('bug', `${name}: ${trouble(error)}`)
        process.die()
      })
    }
    launch()
  }

  function openShop(): void {
    const open: Server[] = []
    hosts.set(SHOP, {
      pick: () => {
        const there = open.filter(({ process }) => process.alive)
        return there.length > 0 ? dice.pick(there) : undefined
      },
    })
    const places = facilitators ? openFacilitators(facilitators) : undefined
    for (let i = 0; i < 1 + dice.below(2); i++)
      supervise(`shop${i}`, async (process) => {
        const rail = railOf(process, places)
        const slow = faulted(shopBooks.at(process.clock), process, ledgerWeather)
        const near = shelf.at(process, ledgerWeather)
        const seller = await createSeller({
          secret: SECRET,
          rails: [rail],
          protocols: [protocol],
          ledger: breaks.sellerLedger?.(slow, process) ?? slow,
          origin: `http://${SHOP}`,
          clock: process.clock,
          chance: dice.fork().bytes,
          observe: (event) => watch.told(process, event),
          ...(keeps && { vault: breaks.vault?.(near) ?? near }),
        })
        const gate = breaks.gate?.(seller.gate) ?? seller.gate
        const handle = toll({ ...seller, gate }, routesOf(keeps), (request) =>
          work(process, request),
        )
        open.push({ process, handle })
      })
  }

  /** The seller's own rail, or one with a wire in its middle. */
  function railOf(process: Process, places: readonly string[] | undefined): Rail {
    const plain = createRail(outsideOf(process), SHOP_PAYEE)
    if (!places) return breaks.rail?.(plain) ?? plain
    return facilitated(exact({ network: plain.network, payTo: SHOP_PAYEE }), {
      url: places,
      headers: () => ({ 'x-api-key': CALLER_KEY }),
      timeoutMs: 20_000,
      repeatable: seed % 4 < 2,
      trust: seed % 3 === 0 ? 'word' : 'receipt',
      // A look is a look: what it must not do is send.
      find: (offer, key) => plain.find(offer, key, nothingWritten),
      expiresAt: ({ validBefore }) => Number(validBefore) * 1000,
      fetch: network.fetchOf(process),
      clock: process.clock,
    })
  }

  /** Two replicas on one ledger. Gives their addresses. */
  function openFacilitators({ books }: { readonly books: Books }): readonly string[] {
    const names = seed % 5 < 2 ? FACILITATORS.slice(0, 1) : FACILITATORS
    const open: (Server & { readonly at: string })[] = []
    for (const name of names)
      hosts.set(name, {
        pick: () => {
          const there = open.filter(({ process, at }) => process.alive && at === name)
          return there.length > 0 ? dice.pick(there) : undefined
        },
      })
    for (let i = 0; i < FACILITATORS.length; i++)
      supervise(`facilitator${i}`, async (process) => {
        const plain = createRail(outsideOf(process), SHOP_PAYEE)
        const rail = breaks.rail?.(plain) ?? plain
        const slow = faulted(books.at(process.clock), process, ledgerWeather)
        const callers = createCallers([{ name: 'shop', keys: [CALLER_KEY] }], dice.fork().bytes)
        const opened = await openFacilitator({
          rails: [rail],
          ledger: breaks.facilitatorLedger?.(slow) ?? slow,
          callers,
          clock: process.clock,
          observe: (event) => watch.told(process, event),
        })
        const facilitator = breaks.facilitator?.(opened) ?? opened
        const handle = facilitatorHandler(facilitator, { rails: [rail] })
        open.push({ process, handle, at: names[i] ?? names[0] ?? '' })
        await process.clock.sleep(RELEASE_MS * (0.5 + dice.next()))
        if (resting) return
        // Without downtime: the next one comes up, and this one goes when it has answered.
        await opened.close()
        process.die()
      })
    const places = names.map((name) => `http://${name}`)
    openForgetful(places)
    return places
  }

  /** A caller that asks what was asked before, of any replica, also long after. */
  function openForgetful(places: readonly string[]): void {
    const process = createBystander()
    const fetch = network.fetchOf(process)
    const again = (): void => {
      scheduler.plan(500 + dice.next() * 10_000, 'forgetful', () => {
        if (resting && scheduler.now() > restAt + ASKING_MS) return
        again()
        if (ordered.length === 0) return
        const { headers, body } = dice.pick(ordered)
        // To collect what its server has given up would be his own fault.
        const old = facilitators?.clerk.hasSettled(Buffer.from(body ?? []).toString()) === true
        const url = `${dice.pick(places)}/${old ? dice.pick(['settle', 'verify']) : 'verify'}`
        if (body) fetch(url, { method: 'POST', headers, body: body.slice() }).catch(() => undefined)
      })
    }
    again()
  }

  async function work(process: Process, request: Request): Promise<Response> {
    const run = watch.ran(request)
    const fails = !resting && dice.happens(climate.workFails)
    await process.clock.sleep(dice.next() * dice.pick([5, 500, 5_000, 50_000]))
    if (fails && dice.happens(0.5)) throw new Error('The work failed.')
    if (fails) return new Response('The work failed.', { status: 500 })
    return Response.json({ goods: new URL(request.url).pathname, run })
  }

  /** Takes the money, or does not, and says what it likes. */
  function openCrook(): void {
    const process = createBystander()
    const rail = createRail(outsideOf(process), CROOK_PAYEE)
    const says = x402([rail])
    hosts.set(CROOK, {
      pick: () => ({
        process,
        async handle(request) {
          const resource = {
            realm: 'crook',
            method: request.method,
            authority: CROOK,
            path: '/',
            query: '',
            url: request.url,
          }
          const amount = BigInt(10_000 * (1 + dice.below(4)))
          const offers = rail.quote({ currency: 'USD', amount, scale: 6 }).map((terms): Offer => ({
            ...terms,
            id: 'x',
            resource,
            expiresAt: scheduler.now() + 60_000,
          }))
          const said = says.readCredential(request.headers, resource)
          const proof = said && 'proof' in said ? (said.proof as Proof) : undefined
          if (proof && dice.happens(0.5)) submit(proof)
          if (proof && dice.happens(0.4))
            return Response.json({ goods: 'none' }, { status: dice.pick([200, 500, 503, 410]) })
          const { fields, body } = says.writeChallenge({
            resource,
            offers,
            problem: { code: 'payment-required', detail: 'Pay again.' },
          })
          return Response.json(body ?? {}, { status: 402, headers: fields.map(([a, b]) => [a, b]) })
        },
      }),
    })
  }

  const submit = (proof: Proof): void =>
    chain.submit({ hash: `0x${Buffer.from(dice.bytes(32)).toString('hex')}`, kind: 'pay', proof })

  /** An account with a budget, spent by several processes. */
  function openPayer(name: string, index: number): void {
    const account = `0x${`a${index}`.repeat(20)}` as const
    const books: Books = createBooks(dice.happens(0.5) ? 'verbs' : 'model')
    const some = BigInt(10_000 * (10 + dice.below(60)))
    const budget = options.budget ?? some
    chain.fund(account, dice.happens(0.8) ? 100_000_000n : BigInt(10_000 * dice.below(20)))
    const runs = new Set<string>()
    const sees = dice.happens(0.7)
    const checkReceipts = dice.happens(0.5)
    const wishes: Wish[] = Array.from({ length: 4 + dice.below(8) }, () => wishOf(dice))
    allBooks.set(name, books.at(worldClock))
    const purse = watch.payer({ name, account, budget, ledger: books.at(worldClock), wishes, sees })
    for (let i = 0; i < 1 + dice.below(2); i++)
      supervise(`${name}${i}`, async (process) => {
        runs.add(process.name)
        const wallet = createWallet(outsideOf(process), account, { sees, onSigned: purse.signed })
        const slow = faulted(books.at(process.clock), process, ledgerWeather)
        const broken = breaks.payerLedger?.(slow, process) ?? slow
        const payer = createPayer({
          wallets: [wallet],
          protocols: [x402([wallet])],
          ledger: seated(broken, {
            run: process.name,
            machine: `machine${i}`,
            lives: (run) => live.some(({ name }) => name === run),
          }),
          policy: {
            perRequest: '0.03 USD',
            total: `${Number(budget) / 1e6} USD`,
            checkReceipts,
          },
          fetch: network.fetchOf(process),
          clock: process.clock,
          chance: dice.fork().bytes,
          observe: (event) => watch.told(process, event),
        })
        for (const wish of wishes) wish.taken &&= wish.done
        const shopping = Array.from({ length: 3 }, () => shop(process, payer, wishes, purse))
        const looking = look(process, payer)
        await Promise.all([...shopping, looking])
      })
  }

  async function look(process: Process, payer: ReturnType<typeof createPayer>): Promise<void> {
    for (;;) {
      await process.clock.sleep(120_000)
      await payer.recover().catch((error: unknown) => worldly(process, error))
      if (resting && scheduler.now() > restAt + REST_MS - 120_000) return
    }
  }

  async function shop(
    process: Process,
    payer: ReturnType<typeof createPayer>,
    wishes: readonly Wish[],
    purse: ReturnType<Watch['payer']>,
  ): Promise<void> {
    for (;;) {
      const wish = wishes.find(({ taken, done }) => !taken && !done)
      if (!wish) return
      wish.taken = true
      while (!wish.done) {
        wish.attempts++
        await attempt(payer, wish, purse).catch((error: unknown) => {
          wish.why = error instanceof PaymentError ? error.code : String(error)
          worldly(process, error)
        })
        if (resting && scheduler.now() > restAt + ASKING_MS) break
        await process.clock.sleep(1_000 + dice.next() * dice.pick([2_000, 20_000, 400_000]))
      }
    }
  }

  async function attempt(
    payer: ReturnType<typeof createPayer>,
    wish: Wish,
    purse: ReturnType<Watch['payer']>,
  ): Promise<void> {
    const { url, method, body } = wish
    const response = await payer.fetch(url, { method, ...(body !== undefined && { body }) })
    const text = await response.text()
    const said = readJson(text, 10_000)
    if (!url.includes(SHOP)) {
      wish.done = response.ok || wish.attempts > 3
      return
    }
    const code = isObject(said) ? JSON.stringify(said['code']) : 'unreadable'
    wish.why = `${response.status} ${code} ${paymentOf(response)?.problem?.code}`
    if (!response.ok || !isObject(said) || !isObject(said['run'])) return
    wish.done = true
    purse.received(said['run'])
  }

  /** What fetch may throw. Anything else is a bug. */
  function worldly(process: Process, error: unknown): void {
    if (error instanceof PaymentError || error instanceof TypeError) return
    if (error instanceof Error && error.message === 'The signer is gone.') return
    watch.violation('bug', `${process.name}: ${trouble(error)}`)
  }

  function wishOf(from: Dice): Wish {
    const path = from.pick([...Object.keys(goods), '/crook'])
    const state = { attempts: 0, taken: false, done: false, why: 'never tried' }
    if (path === '/crook') return { url: `http://${CROOK}/`, method: 'GET', ...state }
    const url = `http://${SHOP}${path}?n=${from.below(4)}`
    if (path !== '/post') return { url, method: 'GET', ...state }
    return { url, method: 'POST', body: `order ${from.below(3)}`, ...state }
  }

  /** Somebody who sends what others signed, elsewhere and again. */
  function openReplayer(): void {
    const process = createBystander()
    const fetch = network.fetchOf(process)
    const again = (): void => {
      scheduler.plan(500 + dice.next() * 8_000, 'replayer', () => {
        if (resting) return
        again()
        if (sniffed.length === 0) return
        const { url, headers, method, body } = dice.pick(sniffed)
        const elsewhere = dice.happens(0.5)
        const target = elsewhere ? `http://${SHOP}${dice.pick(Object.keys(goods))}?n=9` : url
        const verb = elsewhere ? 'GET' : method
        for (let i = 0; i < 1 + dice.below(3); i++)
          fetch(target, {
            method: verb,
            headers,
            ...(verb === 'POST' && body && { body: body.slice() }),
          }).catch(() => undefined)
      })
    }
    again()
  }

  /** A payer without scruples: pays several requests with one signature, and takes the money away before it is taken. */
  function openMallory(): void {
    chain.fund(MALLORY, 40_000n)
    const process = createBystander()
    const fetch = network.fetchOf(process)
    const wallet = createWallet(outsideOf(process), MALLORY, { sees: false, onSigned: () => {} })
    const says: Protocol = x402([wallet])
    const once = async (): Promise<void> => {
      const url = `http://${SHOP}${dice.pick(['/response', '/work', '/deferred'])}?n=${dice.below(9)}`
      const asked = await fetch(url)
      const { origin: _, host: authority, pathname: path, search } = new URL(url)
      const resource = { realm: SHOP, method: 'GET', authority, path, query: search.slice(1), url }
      const challenge = says.readChallenge(
        { status: asked.status, fields: asked.headers },
        resource,
      )
      const [offer] = (challenge?.offers ?? []) as readonly Offer<Details>[]
      if (!offer) return
      const proof = await wallet.pay(offer, 60_000)
      const headers = says
        .writeCredential({ offer, proof })
        .fields.map(([name, value]): [string, string] => [name, value])
      const hash = `0x${Buffer.from(dice.bytes(32)).toString('hex')}`
      const { nonce } = proof
      const trick = dice.below(4)
      const soonMs = dice.next() * 3_000
      scheduler.plan(soonMs, 'mallory’s trick', () => {
        const amount = chain.balance(MALLORY)
        if (trick === 0) chain.submit({ hash, kind: 'cancel', from: MALLORY, nonce })
        if (trick === 1) chain.submit({ hash, kind: 'move', from: MALLORY, to: '0xcave', amount })
        if (trick === 2)
          chain.submit({ hash, kind: 'move', from: '0xcave', to: MALLORY, amount: 20_000n })
      })
      const urls = [url, url, `http://${SHOP}/response?n=8`, `http://${SHOP}/work?n=8`]
      await Promise.allSettled(urls.map((target) => fetch(target, { headers })))
    }
    const again = (): void => {
      scheduler.plan(1_000 + dice.next() * 15_000, 'mallory', () => {
        if (resting) return
        again()
        once().catch(() => undefined)
      })
    }
    again()
  }

  /** What nobody asked for. */
  function openSky(): void {
    const again = (): void => {
      scheduler.plan(1_000 + dice.next() * 10_000, 'sky', () => {
        if (resting) return
        again()
        if (dice.happens(climate.reorganisations)) chain.reorganise()
        if (dice.happens(climate.reorganisations)) chain.forget()
        if (dice.happens(climate.frontRunners)) frontRun()
        if (dice.happens(climate.jumps * 0.2) && live.length > 0) jump(dice.pick(live))
        if (dice.happens(climate.ledger.crashed * 20) && live.length > 0) dice.pick(live).die()
      })
    }
    again()
  }

  /** Once in the life of a process. */
  function jump(process: Process): void {
    if (jumped.has(process)) return
    jumped.add(process)
    process.jump(dice.pick([500, 5_000, 200_000]))
  }

  function frontRun(): void {
    if (sniffed.length === 0) return
    const text = fromBase64(dice.pick(sniffed).headers.get('payment-signature') ?? '')
    const said = text === undefined ? undefined : readJson(text, 50_000)
    const proof = readProof(isObject(said) ? said['payload'] : undefined)
    if (typeof proof !== 'string') submit(proof)
  }

  async function step(): Promise<boolean> {
    const any = await scheduler.step()
    watch.look()
    return any
  }

  const facilitators = options.facilitated ? createFacilitators() : undefined
  openShop()
  openCrook()
  for (let i = 0; i < 1 + dice.below(3); i++) openPayer(['alice', 'bob', 'carol'][i] ?? '', i)
  if (dice.happens(0.5)) openReplayer()
  if (dice.happens(0.5)) openMallory()
  openSky()

  return {
    seed,
    scheduler,
    watch,
    clerk: facilitators?.clerk,
    books: allBooks,
    async run(steps) {
      for (let i = 0; i < steps; i++) if (watch.violations.length > 0 || !(await step())) return
    },
    async rest() {
      resting = true
      restAt = scheduler.now()
      Object.assign(ledgerWeather, calm)
      Object.assign(nodeWeather, calm)
      Object.assign(net, clear)
      inclusion = 0.9
      for (let steps = 0; scheduler.now() < restAt + REST_MS; steps++) {
        if (watch.violations.length > 0 || !(await step())) break
        if (steps > REST_STEPS_MAX)
          return watch.violation('rest', 'The world does not come to rest.')
      }
      if (watch.violations.length === 0) await watch.close()
      if (watch.violations.length === 0) await facilitators?.clerk.close()
    },
  }
}

/** A log in which nothing stands. */
const nothingWritten: Log = { read: () => Promise.resolve([]), write: () => Promise.resolve() }

function routesOf(keep: boolean): Routes {
  return {
    'GET /response': { price: '0.01 USD', settle: 'before-response', keep },
    'GET /work': { price: '0.01 USD', settle: 'before-work', keep },
    'GET /deferred': { price: '0.01 USD', settle: 'deferred', keep },
    'POST /post': { price: '0.02 USD', settle: 'before-response', keep },
  }
}

function trouble(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
