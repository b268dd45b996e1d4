// No tests, but what tests of paying over Lightning stand on: a shop that speaks L402 with macaroons, over a stand-in for Lightning.
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Event } from '../core/event.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { l402 } from '../protocols/l402/index.ts'
import type { FakeNode } from '../rails/lightning/fixture.test.ts'
import { createNode } from '../rails/lightning/fixture.test.ts'
import type { LightningNode } from '../rails/lightning/index.ts'
import { lightningWallet } from '../rails/lightning/index.ts'
import { createMacaroons, hashIn, saidIn } from '../tokens/macaroon/index.ts'
import type { Leaping, Seller } from './fakes.test.ts'
import { leaping, selling, toy } from './fakes.test.ts'
import type { Payer, PayerParts } from './payer.ts'
import { createPayer } from './payer.ts'

/** What is sold at a path. */
export interface Good {
  readonly msat?: bigint
  /** Caveats of its tokens; that they are sold with one request if absent. */
  readonly conditions?: readonly string[]
  /** Makes the token stand for another payment than the invoice. */
  readonly forged?: boolean
  readonly hold?: boolean
}

/** A shop with a node of its own. */
export interface Shop extends Seller {
  readonly node: FakeNode
  /** `Authorization` of each request, in order; empty where there was none. */
  readonly shown: () => readonly string[]
  /** How it takes a credential that holds; serves if absent. */
  takes: (req: IncomingMessage, res: ServerResponse, preimage: string) => void
  /** Tokens that are good for nothing any more. */
  readonly revoked: Set<string>
  /** Other fields of its 402. */
  extra: Record<string, string>
}

const macaroons = createMacaroons({ secrets: ['a secret of the shop, long enough to be one'] })

/** Opens it; goods by path, five satoshis each unless they say otherwise. */
export async function openShop(
  node: FakeNode,
  goods: Readonly<Record<string, Good>>,
): Promise<Shop> {
  const spent = new Set<string>()
  const pathOf = (req: IncomingMessage): string => (req.url ?? '/').split('?')[0] ?? '/'

  async function ask(req: IncomingMessage, res: ServerResponse, why = ''): Promise<void> {
    const good = goods[pathOf(req)] ?? {}
    const hash = good.hold ? { hash: holdHash } : {}
    const made = await node.createInvoice({
      msat: good.msat ?? 5_000n,
      memo: '',
      expiresInS: 600,
      ...hash,
    })
    const paymentHash = Buffer.from(good.forged ? '00'.repeat(32) : made.hash, 'hex')
    const tokenId = createHash('sha256').update(made.invoice).digest()
    const conditions = good.conditions ?? [`offer=${made.hash}`]
    const token = macaroons.mint({ paymentHash, tokenId }, conditions)
    const rest = good.hold ? ', hold="1"' : ''
    const field = `L402 macaroon="${token}", invoice="${made.invoice}"${rest}`
    res.writeHead(402, { 'www-authenticate': field, ...shop.extra }).end(why)
  }

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const field = req.headers.authorization ?? ''
    const [, token = '', preimage = ''] = /^L402 ([^:]+):([0-9a-f]*)$/.exec(field) ?? []
    const checked = token === '' ? 'no token' : macaroons.check(token)
    if (typeof checked === 'string') return ask(req, res, checked)
    const hash = Buffer.from(checked.identifier.paymentHash).toString('hex')
    const service = saidIn(token)?.services ?? []
    const here = saidIn(
      macaroons.mint(checked.identifier, goods[pathOf(req)]?.conditions ?? ['offer=x']),
    )
    if (service.join() !== (here?.services ?? []).join()) return ask(req, res, 'another service')
    if (shop.revoked.has(token)) return ask(req, res, 'revoked')
    if (preimage !== '' && sha256(preimage) !== hash) return ask(req, res, 'another preimage')
    if (preimage === '' && goods[pathOf(req)]?.hold !== true) return ask(req, res, 'no preimage')
    if (saidIn(token)?.single === true && spent.has(token)) return void res.writeHead(410).end()
    spent.add(token)
    shop.takes(req, res, preimage)
    return undefined
  }

  const seller = await selling(({ req }, res) => void serve(req, res))
  const shop: Shop = {
    ...seller,
    node,
    revoked: new Set(),
    extra: {},
    shown: () => seller.seen.map(({ req }) => req.headers.authorization ?? ''),
    takes: (req, res) => void res.end(`served ${req.method} ${req.url}`),
  }
  return shop
}

/** What opens the payments of this shop that are held. */
export const holdPreimage: string = '0a'.repeat(32)
const holdHash = sha256(holdPreimage)

function sha256(hex: string): string {
  return createHash('sha256').update(Buffer.from(hex, 'hex')).digest('hex')
}

/** The same time, in which every sleep ends. */
function patient(clock: Leaping): Clock {
  return {
    now: () => clock.now(),
    async sleep(ms) {
      await new Promise((resolve) => setImmediate(resolve))
      clock.leap(ms)
    },
  }
}

/** A buyer, his node, his books, and the shop's node. */
export interface Stage {
  readonly clock: Leaping
  readonly buyer: FakeNode
  readonly node: FakeNode
  readonly ledger: Ledger
  readonly events: Event[]
  /** A payer over those books: as many as are wanted. */
  readonly paying: (rest?: Partial<PayerParts>, node?: LightningNode) => Payer
  /** What stands against the total, in satoshis. */
  readonly total: () => Promise<{ readonly posted: string; readonly held: string }>
  /** Open purchases. */
  readonly open: () => Promise<number>
}

/** Sets it, with a thousand satoshis to spend and a hundred for each request. */
export function stage(ledger?: Ledger): Stage {
  const clock = leaping()
  const table = new Map()
  const buyer = createNode(table, clock)
  const books = ledger ?? memory({ clock })
  const events: Event[] = []
  const policy = { perRequest: '100 SAT', total: '1000 SAT' }
  const paying = (rest: Partial<PayerParts> = {}, node: LightningNode = buyer): Payer => {
    const wallet = lightningWallet({ node, clock: patient(clock) })
    const protocol = l402({ parts: [wallet], hashIn })
    return createPayer({
      wallets: [wallet],
      protocols: [protocol, toy],
      ledger: books,
      policy,
      clock,
      readToken: saidIn,
      observe: (event) => void events.push(event),
      ...rest,
    })
  }
  return {
    clock,
    buyer,
    node: createNode(table, clock),
    ledger: books,
    events,
    paying,
    async total() {
      const spent = await paying().spent()
      const { posted = '', held = '' } = spent.find(({ limit }) => limit === 'total') ?? {}
      return { posted, held }
    },
    async open() {
      const held = await books.pending()
      return held.filter(({ key }) => key.startsWith('purchase/')).length
    },
  }
}
