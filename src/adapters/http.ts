import { hash } from 'node:crypto'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import { isBound } from '../core/credential.ts'
import type { Credential } from '../core/credential.ts'
import type { Observe } from '../core/event.ts'
import type { Price, PriceItem } from '../core/money.ts'
import type { Meter, Plan } from '../core/plan.ts'
import type {
  Answered as Said,
  Ask,
  Bought,
  Chance,
  Clock,
  Fields,
  Gate,
  Kept,
  Mint,
  Page,
  Pass,
  Protocol,
  Read,
  Refusal,
  Serve,
  Service,
} from '../core/ports.ts'
import type { Code, Problem } from '../core/problem.ts'
import { PaymentError, problem, problems } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Resource } from '../core/resource.ts'
import { TASK_KEEP_MS } from '../gate/limits.ts'
import { createFreeMeter } from '../gate/metering.ts'
import { createTeller } from './channels.ts'
import type { Teller } from './channels.ts'
import { createWriter, receiptFields, withoutBody } from './answer.ts'
import type { Answer, Cors, Pair } from './answer.ts'
import { exchange } from './exchange.ts'
import { readWhole, writeWhole } from './kept.ts'
import type { Whole } from './kept.ts'
import { createLimits } from './limits.ts'
import type { LimitSettings } from './limits.ts'
import { createLocator } from './origin.ts'
import type { Place } from './origin.ts'
import { createDesk } from './page.ts'
import type { Purse } from './page.ts'
import { limited } from './rates.ts'
import type { Limited } from './rates.ts'
import { isProblem, readPriced, readRoutes } from './routes.ts'
import type { Route, Routes } from './routes.ts'
import { askedOf, createDirectory, openShop } from './services.ts'
import type { Streamed } from './session-news.ts'
import { attend } from './sessions.ts'
import type { SessionAsk } from './session.ts'
import { holderOf, taskService } from './tasks.ts'
import type { Lasting } from './tasks.ts'

/** Largest body that a route binds, in bytes. */
export const BODY_MAX_BYTES = 1_048_576
/** How long a finished 402 is given out again. */
export const RECENT_MS = 1_000
/** Most finished 402 answers that are kept. */
export const RECENT_MAX = 1_024
/** Longest method, address and target of which a 402 is kept, in characters. */
export const RECENT_KEY_CHARS_MAX = 1_024
/** How long work may take before it is given up and the payment released. */
export const WORK_TIMEOUT_MS = 60_000
/** Where the outcome of a payment can be asked; its key in base64url follows. */
export const STATUS_PATH = '/.well-known/tolsey/payments/'
/** Longest key in a status address, in characters of base64url. */
export const STATUS_KEY_CHARS_MAX = 1_024

/** When to come back for a price that cannot be told. */
export const PRICE_RETRY_MS = 5_000

/** Where a token stands that was bought with the answer. */
export const TOKEN_FIELD = 'Tolsey-Token'

/** What the payer calls a request (draft-ietf-httpapi-idempotency-key-header): by a token it is paid once under one name. */
export const IDEMPOTENCY_FIELD = 'Idempotency-Key'
/** Longest name of a request. */
export const IDEMPOTENCY_CHARS_MAX = 255

/** Bytes of a request's id, and how many ids are drawn at once. */
const ID_BYTES = 9
const ID_CHARS = 12
const IDS_AT_ONCE = 256

/** What the adapters need of a seller. */
export interface Seller {
  readonly gate: Gate
  /** Asked in this order; the first that finds a credential has it. */
  readonly protocols: readonly Protocol[]
  /** What is sold as tokens. */
  readonly plans?: ReadonlyMap<string, Plan>
  /** Makers of tokens: the first mints those that are handed out. Without one only L402 sells plans. */
  readonly mints?: readonly Mint[]
  /** What answers beside the routes, for instance the endpoints of OAuth. The exchange is there wherever there are plans. */
  readonly services?: readonly Service[]
  /** How often callers may ask; without them only invoices are counted. */
  readonly limits?: LimitSettings
  /** The seller's protection space; offers are bound to it. */
  readonly realm: string
  /**
   * The public origin, for instance `https://api.example.com`, or several. A paid request for another host is refused.
   * Without one the `Host` field is believed, which is for development only: whoever sends it chooses what he pays for.
   */
  readonly origin?: string | readonly string[]
  /** Which pages of other origins may pay and read; all of them if absent. */
  readonly cors?: Cors
  /** What people are shown, who ask for HTML; they are told as machines are if absent. */
  readonly page?: Page
  readonly clock?: Clock
  readonly chance?: Chance
  readonly observe?: Observe
  readonly statusPath?: string
  readonly workTimeoutMs?: number
  /** Most bytes of the head of a 402: above that, forms are left out that are said twice. `HEAD_BYTES_MAX` if absent. */
  readonly headBytesMax?: number
}

/** A request, as every server can tell it. */
export interface Incoming {
  readonly method: string
  /** Path and query as they were sent. */
  readonly target: string
  readonly scheme: string
  /** The address at the other end, where it is known. */
  readonly address?: string | undefined
  /** What the request names as its host. */
  readonly authority: string | undefined
  readonly fields: Fields
  /** Reads the body and leaves it for the handler; absent when there is none. `gone` when the payer has left. */
  readonly body?: (bytesMax: number) => Promise<Uint8Array | 'too-large' | 'gone'>
}

/** What becomes of a request: not sold, answered here, or let in. */
export type Entered = { readonly kind: 'free' } | Answered | Open | Admitted

/** The answer is ours; the handler does not run. */
export interface Answered {
  readonly kind: 'answer'
  readonly answer: Answer
}

/** The work's own answer may go out, with more fields on its head. */
export interface Go {
  readonly kind: 'go'
  /** The fields to be set, given those that the work has set. */
  fields(said: Fields): readonly Pair[]
}

/** A request that is let in with nothing to settle: its work writes as it goes, and only the head is added to. */
export interface Open extends Go {
  /** What `fields` gives for a head on which nothing stands: names and values in turn. */
  readonly plain: readonly string[]
  /** On a route that is priced by measure: one that counts nothing. */
  readonly meter?: Meter
  /** On a route with `task`. */
  readonly lasting?: Lasting
  /** The first byte has left. */
  delivered(): void
}

/** A paid request that is let in. Ends by `finish`, by `abort`, or by its deadline; what comes first holds. */
export interface Admitted {
  readonly kind: 'pass'
  /** Resolves only when the work has taken too long: with what to say instead. The payment has then been released. */
  readonly expired: Promise<Answer>
  /** Whether the whole answer is wanted before the money moves, to be kept. */
  readonly keeps: boolean
  /** On a route that is priced by measure. */
  readonly meter?: Meter
  /** Where it is a session that pays: told of within a stream of events. */
  readonly streamed?: Streamed
  /** The work has decided on this status. Settles, and tells what may go out. Never rejects. */
  finish(status: number, whole?: Whole): Promise<Go | Answered>
  /** The first byte has left. */
  delivered(): void
  /** Nobody was there for it. */
  lost(): void
  /** The work failed, or nobody is there any more. Nothing is charged. Never rejects. */
  abort(): Promise<void>
  /** The last byte has left, or none will any more. There where somebody wants to know. */
  readonly ended?: () => void
  /** On a route with `task`. */
  readonly lasting?: Lasting
}

/** The one door that all adapters use. */
export interface Door {
  /** Synchronous unless there is something to wait for: a credential, a body, a price. Never throws or rejects. */
  enter(incoming: Incoming): Entered | Promise<Entered>
  /** What a handler's exception becomes where the adapter has to answer it. */
  fault(where: string, error: unknown): Answer
}

/** The field by which the self-probe of this very process is known. */
export const PROBE_FIELD = 'tolsey-probe'

/** Nobody outside this process can ask as a probe or answer one. */
export const probe: { readonly question: string; readonly answer: string } = {
  question: Buffer.from(systemChance(32)).toString('base64url'),
  answer: Buffer.from(systemChance(32)).toString('base64url'),
}

/** A finished 402 and the address that it was made for. */
interface Recent {
  readonly entered: Answered
  readonly url: string
}

/** Who asks. */
interface Asking {
  readonly incoming: Incoming
  readonly request: string
  /** What limits tell on the answer's head. */
  told?: readonly Pair[]
  /** Why no invoice was made. */
  unissued?: Limited
  /** What the request pays, as it says itself. */
  paid?: Credential['offer']
  /** The session by which it comes. */
  session?: Credential['session']
}

/** One request on its way through the door. */
interface Visit extends Asking {
  readonly route: Route
  readonly resource: Resource
  readonly prices: readonly Price[]
  readonly breakdown?: readonly PriceItem[]
  readonly body?: Uint8Array
  /** What it pays with was tried in place of something else: it is let in, or nobody hears of it. */
  readonly isSpare?: true
}

/**
 * Makes the door.
 *
 * Equal requests without a payment get equal answers for {@link RECENT_MS}, the `request` member included: it names the
 * challenge, of which nothing but an event is kept.
 * @throws {RangeError} with a sentence, when the routes or the origin cannot be meant.
 */
export function createDoor(seller: Seller, routes: Routes): Door {
  const { gate, realm, observe, page } = seller
  const protocols = [...seller.protocols, ...(page?.protocol ? [page.protocol] : [])]
  const clock = seller.clock ?? systemClock
  const workMs = seller.workTimeoutMs ?? WORK_TIMEOUT_MS
  const statusPath = seller.statusPath ?? STATUS_PATH
  const { plans = new Map<string, Plan>(), mints = [], services = [] } = seller
  const { tasks } = gate
  const serviceAt = createDirectory([
    ...services,
    ...(plans.size > 0 ? [exchange] : []),
    ...(tasks ? [taskService(tasks, protocols)] : []),
  ])
  const table = readRoutes(routes, plans)
  const chance = seller.chance ?? systemChance
  const limits = createLimits(seller.limits, table.paid, plans, clock, chance)
  const unkept = gate.keeps ? undefined : table.paid.find(({ sale, task }) => sale.keep || task)
  if (unkept)
    throw new RangeError(`The route "${unkept.key}" keeps its answers. Give the seller a vault.`)
  const locate = createLocator(seller.origin)
  const cors = seller.cors ?? { origins: '*' }
  const listed = cors !== false && cors.origins !== '*'
  const own = [
    ...(mints.length > 0 ? [TOKEN_FIELD] : []),
    ...(limits.counts ? ['RateLimit', 'RateLimit-Policy'] : []),
  ]
  const write = createWriter(protocols, cors, own, seller.headBytesMax)
  const brought = protocols.flatMap((p) => p.fields.request.map((name) => name.toLowerCase()))
  const preferences = protocols.flatMap((p) => p.fields.preference ?? [])
  const desk = page && createDesk(page, protocols, clock, realm)
  const recent = createRecent(clock, (incoming) => desk?.variant(incoming) ?? '')
  const distinct = protocols.some((protocol) => protocol.distinct)

  /** The sales that are the same for every request. */
  const sales = new Map(
    table.paid.flatMap((route) => {
      const { prices, sale } = route
      return typeof prices === 'function' ? [] : [[route, { ...sale, prices, workMs }] as const]
    }),
  )

  const newId = createIds(chance)

  const pays = ({ fields }: Incoming): boolean => brought.some((name) => fields.get(name) != null)

  /** What is offered is for whoever says what he would rather be offered, and for nobody else. */
  const prefers = ({ fields }: Incoming): boolean =>
    preferences.some((name) => fields.get(name) != null)

  /** Ends the visit with our answer, in the shape that the method allows. */
  function answered(incoming: Incoming, answer: Answer): Answered {
    return { kind: 'answer', answer: forOrigin(incoming, shaped(incoming, answer)) }
  }

  const forOrigin = ({ fields }: Incoming, answer: Answer): Answer =>
    listed ? write.forOrigin(answer, fields.get('origin')) : answer

  const refuse = (incoming: Incoming, why: Problem, request = newId()): Answered =>
    answered(incoming, write.refusal(why, request))

  /** A fault of the world or a bug: told to the operator in full, to the payer by its code. */
  function trouble(where: string, error: unknown, request: string): Problem {
    // A price function's own sentence for who asks: nothing is wrong here.
    if (error instanceof PaymentError && error.code === 'request-unpriced')
      return problem(error.code, error.message)
    observe?.({ type: 'fault', at: clock.now(), request, where, error })
    const known = error instanceof PaymentError && error.code in problems
    if (known && error.code === 'price-unavailable') return priceUnknown
    return problem(
      known ? (error.code as Code) : 'internal',
      'Something went wrong here. A payment that was sent may be sent again; do not make a new one.',
    )
  }

  function fault(where: string, error: unknown): Answer {
    const request = newId()
    return write.refusal(trouble(where, error, request), request)
  }

  function faulty(incoming: Incoming, error: unknown): Answered {
    const request = newId()
    const problem = trouble('door', error, request)
    const said = write.refusal(problem, request)
    return answered(incoming, shown({ incoming, request }, { problem }, said))
  }

  function enter(asking: Incoming): Entered | Promise<Entered> {
    try {
      const incoming = desk ? desk.receive(asking) : asking
      if (incoming.fields.get(PROBE_FIELD) === probe.question) return probed(incoming)
      const waiting = desk?.waiting(incoming)
      if (waiting) return answered(incoming, waiting)
      const isPlain = !pays(incoming) && !prefers(incoming)
      return (isPlain && remembered(incoming)) || route(incoming)
    } catch (error) {
      return faulty(asking, error)
    }
  }

  function remembered(incoming: Incoming): Answered | undefined {
    const known = incoming.body ? undefined : recent.get(incoming)
    if (!known) return undefined
    observe?.({ type: 'challenged', at: clock.now(), url: known.url, code: 'payment-required' })
    return listed
      ? { kind: 'answer', answer: forOrigin(incoming, known.entered.answer) }
      : known.entered
  }

  function probed(incoming: Incoming): Entered {
    const found = table.find(incoming.method, pathOf(incoming.target))
    if (found === 'free') return free
    if (isProblem(found)) return refuse(incoming, found)
    const head = [PROBE_FIELD, probe.answer, 'Cache-Control', 'no-store']
    return answered(incoming, { status: 402, head, body: undefined })
  }

  function route(incoming: Incoming): Entered | Promise<Entered> {
    const path = pathOf(incoming.target)
    if (path.startsWith(statusPath) && incoming.method === 'GET')
      return caught(incoming, tell(incoming, path.slice(statusPath.length)))
    const service = serviceAt(path)
    if (service) return caught(incoming, serve(incoming, service))
    const found = table.find(incoming.method, path)
    if (found === 'free') return free
    if (isProblem(found)) return refuse(incoming, found)
    if (incoming.method === 'OPTIONS') return answered(incoming, write.preflight(incoming.fields))
    const place = locate(incoming)
    if (!place) return refuse(incoming, hostUnknown)
    const { body } = incoming
    if (found.body === 'bind' && body)
      return caught(
        incoming,
        readBody(incoming, body).then((b) =>
          typeof b === 'string' ? refuse(incoming, unread[b]) : quote(incoming, found, place, b),
        ),
      )
    return quote(incoming, found, place)
  }

  /** What is known of a payment. */
  async function tell(incoming: Incoming, said: string): Promise<Answered> {
    const plain = said.length <= STATUS_KEY_CHARS_MAX && /^[\w-]+$/.test(said)
    const known = plain && (await gate.status(Buffer.from(said, 'base64url').toString()))
    if (!known) return refuse(incoming, paymentUnheard)
    return answered(incoming, write.json(200, known))
  }

  /** A service answers, and sells what it sells through the gate. */
  async function serve(incoming: Incoming, service: Service): Promise<Answered> {
    if (incoming.method === 'OPTIONS') return answered(incoming, write.preflight(incoming.fields))
    const place = locate(incoming)
    if (!place) return refuse(incoming, hostUnknown)
    const visit: Asking = { incoming, request: newId() }
    const stopped = limits.failing(incoming)
    if (stopped) return tooMany(visit, stopped)
    const resource = resourceOf(incoming, place)
    const idempotencyKey = incoming.fields.get(IDEMPOTENCY_FIELD) ?? undefined
    if (idempotencyKey !== undefined && !isName(idempotencyKey)) return refuse(incoming, unnamed)
    const shop = openShop(
      { gate, protocols, plans, mints },
      {
        ...orderOf(visit, resource),
        ...(idempotencyKey !== undefined && { idempotencyKey }),
        ...{ fields: incoming.fields, workMs, unpaid: () => over(visit) },
      },
    )
    const said = await service.answer(askedOf(incoming), shop)
    if ('kind' in said) return failed(visit, said, shop.by)
    if (said.status === 401) limits.failed(incoming, 'token-invalid')
    if (shop.sold) limits.issuedWell(incoming)
    const brought = shop.sold && (await shop.credential())
    const paid = brought && 'offer' in brought ? brought.offer : undefined
    const receipt = receiptFields(shop.by, shop.sold?.receipt, paid)
    return { kind: 'answer', answer: shaped(incoming, answerOf(said, incoming, receipt)) }
  }

  /** What a service says, with what an answer from here has on its head. */
  function answerOf(said: Said, { fields }: Incoming, receipt: readonly Pair[]): Answer {
    const own = new Headers(said.fields)
    const ours = write.paid(own, fields.get('origin'), false, [])
    for (const [name, value] of [...receipt, ...ours]) own.set(name, value)
    const body = said.bytes ?? said.body
    own.set('Content-Length', String(Buffer.byteLength(body)))
    return { status: said.status, head: [...own].flat(), body }
  }

  /** Why no challenge is made for a request beside the routes. */
  function over(visit: Asking): Refusal | undefined {
    const taken = limits.unpaid(visit.incoming)
    if (taken.ok) return undefined
    visit.unissued = taken
    return { kind: 'refused', problem: limited(taken) }
  }

  function quote(
    incoming: Incoming,
    route: Route,
    place: Place,
    body?: Uint8Array,
  ): Entered | Promise<Entered> {
    const { prices } = route
    const resource = resourceOf(incoming, place, body)
    const visit = { incoming, route, resource, request: newId(), ...(body && { body }) }
    if (typeof prices !== 'function') return ask({ ...visit, prices })
    const { method, url, path, query } = resource
    const params = table.params(route, path)
    const { fields } = incoming
    const asked = { method, url, path, query, params, fields, ...(body && { body }) }
    return caught(
      incoming,
      Promise.resolve()
        .then(() => prices(asked))
        .then((said) => ask({ ...visit, ...readPriced(said) })),
    )
  }

  function resourceOf({ method, target }: Incoming, place: Place, body?: Uint8Array): Resource {
    const path = pathOf(target)
    return {
      realm,
      // What HEAD tells is what GET will cost.
      method: method === 'HEAD' ? 'GET' : method,
      authority: place.authority,
      path,
      query: target.slice(path.length + 1),
      url: `${place.scheme}://${place.authority}${target}`,
      ...(body && body.length > 0 && { digest: digestOf(body) }),
    }
  }

  function ask(visit: Visit): Entered | Promise<Entered> {
    const { incoming, route, resource, prices, breakdown } = visit
    const sale = sales.get(route) ?? {
      ...route.sale,
      prices,
      workMs,
      ...(breakdown && { breakdown }),
    }
    const asked = { ...orderOf(visit, resource), sale }
    if (!pays(incoming)) return unpaid(visit, asked)
    return admitBy(visit, asked)
  }

  /** What the gate is told of every request. */
  function orderOf(visit: Asking, resource: Resource): Omit<Ask, 'sale'> {
    const statusUrl = (key: string): string =>
      new URL(statusPath + Buffer.from(key).toString('base64url'), resource.url).href
    return { resource, request: visit.request, statusUrl, mayIssue: () => mayIssue(visit) }
  }

  /** Within the limits a challenge, or for nothing. */
  function unpaid(visit: Visit, asked: Ask): Entered | Promise<Entered> {
    if (!limits.counts) return challenge(visit, asked)
    const gift = limits.free(visit.incoming, visit.route)
    if (gift) return given(visit, gift)
    const taken = limits.unpaid(visit.incoming, visit.route)
    if (!taken.ok) return tooMany(visit, taken)
    visit.told = taken.fields
    return challenge(visit, asked)
  }

  /** Let in for nothing. What is sold otherwise must not be kept for others on the way. */
  function given(visit: Visit, told: readonly Pair[]): Open {
    const { measure } = visit.route.sale
    const pass = open(visit.incoming, nobody, told)
    const lasting = lastingOf(visit, `free/${visit.request}`, '', Promise.resolve(true))
    return {
      ...pass,
      ...(measure && { meter: createFreeMeter(measure) }),
      ...(lasting && { lasting }),
    }
  }

  /** Let in with nothing to settle. Whatever the work answers, it is for those who may have it. */
  function open(
    { fields }: Incoming,
    pass: Pick<Pass, 'delivered'>,
    told: readonly Pair[] = [],
  ): Open {
    const origin = cors === false ? undefined : fields.get('origin')
    const plain = write.plain(origin)
    return {
      kind: 'go',
      plain: told.length === 0 ? plain : [...plain, ...told.flat()],
      fields: (said) => [...write.paid(said, origin, true, []), ...told],
      delivered: () => pass.delivered(),
    }
  }

  function tooMany({ incoming, request }: Asking, taken: Limited): Answered {
    const problem = limited(taken)
    const said = write.refusal(problem, request, { fields: taken.fields })
    return answered(incoming, shown({ incoming, request }, { problem }, said))
  }

  /** An invoice costs us something, so each caller has only so many. */
  function mayIssue(visit: Asking): boolean {
    const taken = limits.mayIssue(visit.incoming)
    if (!taken.ok) visit.unissued = taken
    return taken.ok
  }

  /** The first protocol that finds something of its own decides. */
  function admitBy(visit: Visit, asked: Ask, by = 0): Entered | Promise<Entered> {
    const { incoming, resource } = visit
    const protocol = protocols[by]
    if (!protocol) return unpaid(visit, asked)
    const found = (credential: Read): Entered | Promise<Entered> => {
      if (!credential) return admitBy(visit, asked, by + 1)
      // A payment that comes with HEAD would buy a body that HEAD cannot have. What is said with it of a session needs none.
      if (incoming.method === 'HEAD' && !hasSession(credential)) return unpaid(visit, asked)
      const idempotencyKey = incoming.fields.get(IDEMPOTENCY_FIELD) ?? undefined
      if (idempotencyKey !== undefined && !isName(idempotencyKey)) return refuse(incoming, unnamed)
      const paying = {
        ...asked,
        credential,
        ...(idempotencyKey !== undefined && { idempotencyKey }),
      }
      // Callers are not told apart, so that nothing has to be counted first.
      const isSlow = limits.counts || visit.route.task !== undefined
      const pass = isSlow ? undefined : gate.admitNow?.(paying)
      if (pass) return open(incoming, pass)
      return caught(
        incoming,
        isSession(paying) ? inSession(visit, paying, protocol) : admit(visit, paying, protocol),
      )
    }
    const read = protocol.readCredential(incoming.fields, resource)
    return read instanceof Promise ? caught(incoming, read.then(found)) : found(read)
  }

  function challenge(visit: Visit, asked: Ask): Entered | Promise<Entered> {
    const refusal = gate.challenge(asked)
    return refusal instanceof Promise
      ? caught(
          visit.incoming,
          refusal.then((made) => challenged(visit, asked, made)),
        )
      : challenged(visit, asked, refusal)
  }

  function challenged(visit: Visit, asked: Ask, refusal: Refusal): Entered {
    const { problem, challenge } = refusal
    const { incoming, route, told, unissued } = visit
    if (!challenge && unissued) return tooMany(visit, unissued)
    const asker = incoming.fields
    const said = write.refusal(problem, asked.request, { challenge, fields: told, asker })
    const answer = shaped(incoming, shown(visit, refusal, said))
    const single = challenge?.offers.some(({ invoice }) => invoice !== undefined) ?? true
    const equal = typeof route.prices !== 'function' && isShared(route.sale) && !single
    const isPlain = !incoming.body && !pays(incoming) && !prefers(incoming)
    if (equal && !distinct && !limits.counts && isPlain)
      recent.set(incoming, { entered: { kind: 'answer', answer }, url: asked.resource.url })
    return answered(incoming, answer)
  }

  /** Topping up and closing are answered here; whoever opens or uses a session is let in like others. */
  async function inSession(visit: Visit, asked: SessionAsk, by: Protocol): Promise<Entered> {
    const { incoming } = visit
    const { credential, ...bare } = asked
    const stopped = limits.failing(incoming)
    if (stopped) return tooMany(visit, stopped)
    const attended = await attend(asked, { gate, plans }, incoming.method === 'HEAD')
    if ('code' in attended) return failed(visit, await refusalOf(bare, attended), by)
    if (attended.kind === 'refused') return failed(visit, attended, by)
    if (attended.kind === 'enter')
      return await admit(visit, { ...bare, credential: attended.credential }, by)
    const head = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
    const said = { status: 200, fields: head, body: JSON.stringify(attended.body) }
    const { receipt, stood } = attended
    const { drawn, ...rest } = stood ?? {}
    const told =
      drawn &&
      createTeller(credential.session, by, gate.channels, clock)?.write(drawn, {
        units: 0n,
        ...rest,
      })
    const fields = told?.fields ?? receiptFields(by, receipt, credential.offer)
    return { kind: 'answer', answer: shaped(incoming, answerOf(said, incoming, fields)) }
  }

  /** With offers where a new payment may help. */
  async function refusalOf(asked: Ask, why: Problem): Promise<Refusal> {
    const isOffered = problems[why.code].status === 402
    return isOffered ? await gate.challenge(asked, why) : { kind: 'refused', problem: why }
  }

  async function admit(
    visit: Visit,
    asked: Ask & { readonly credential: Credential | Problem },
    by: Protocol,
  ): Promise<Entered> {
    const { incoming, route } = visit
    const { credential } = asked
    const came = { ...visit }
    if ('offer' in credential) visit.paid = credential.offer
    if ('session' in credential) visit.session = credential.session
    const stopped = limits.failing(incoming)
    if (stopped) return tooMany(visit, stopped)
    if (limits.counts && !('code' in credential)) {
      const { grant, offer } = credential
      const account = grant && (await gate.accounts.find(grant.id))
      const endsAt = !account && offer && isBound(offer) ? offer.expiresAt : undefined
      const taken = limits.paid(incoming, route, account, endsAt)
      if (!taken.ok) return tooMany(visit, taken)
      visit.told = taken.fields
    }
    const pass = await gate.admit(asked)
    if (pass.kind === 'refused') {
      const { credential: _, ...bare } = asked
      const instead = await byOther(came, pass.problem)
      if (instead) return instead
      if (visit.isSpare) return failed(visit, pass, by)
      // A token in a cookie comes along to where it is good for nothing: whoever has it may pay there like others.
      return desk?.carries(incoming) && pass.problem.code === 'token-insufficient'
        ? await challenge(visit, bare)
        : failed(visit, sessionEnd(pass, visit.session), by)
    }
    if (pass.kind === 'kept') return again(visit, pass, by)
    if ('offer' in credential) limits.issuedWell(incoming)
    return pass.settles === false && route.task === undefined
      ? open(incoming, pass, visit.told)
      : admitted(visit, pass, by)
  }

  /** What else a person has brought, where a cookie pays no more: who holds a pass must not be asked to pay beside it. */
  async function byOther(visit: Visit, why: Problem): Promise<Entered | undefined> {
    const incoming = problems[why.code].retry === 'same' ? undefined : desk?.other(visit.incoming)
    const entered = incoming && (await ask({ ...visit, incoming, isSpare: true }))
    const isRefused = entered?.kind === 'answer' && entered.answer.status >= 400
    return isRefused ? undefined : entered
  }

  function failed(visit: Asking, refusal: Refusal, by: Protocol | undefined): Answered {
    limits.failed(visit.incoming, refusal.problem.code)
    return !refusal.challenge && visit.unissued
      ? tooMany(visit, visit.unissued)
      : refused(visit, refusal, by)
  }

  /** The answer that was kept, with the receipt on its head as the first time. */
  function again(visit: Visit, kept: Kept, by: Protocol): Answered {
    const said = go(visit, true, by, kept.receipt)
    return answered(visit.incoming, wholeAnswer(readWhole(kept.answer), said))
  }

  function refused(
    visit: Asking | Visit,
    refusal: Omit<Refusal, 'kind'>,
    by: Protocol | undefined,
  ): Answered {
    const { incoming, request, told } = visit
    const { problem, challenge } = refusal
    const more = { challenge, by, fields: told, asker: incoming.fields }
    return answered(incoming, shown(visit, refusal, write.refusal(problem, request, more)))
  }

  /** A person gets a page instead. */
  function shown(
    visit: Asking | Visit,
    { problem, challenge }: Omit<Refusal, 'kind'>,
    answer: Answer,
  ): Answer {
    if (!desk) return answer
    const { incoming, request } = visit
    const resource = 'resource' in visit ? visit.resource : placeless(incoming)
    return desk.show(incoming, answer, { problem, challenge, resource, request })
  }

  /** What went wrong before it was known where: for the eyes of who asked. */
  function placeless({ scheme, authority = '', method, target }: Incoming): Resource {
    const path = pathOf(target)
    return { realm, method, authority, path, query: '', url: `${scheme}://${authority}${target}` }
  }

  /** The receipt goes out; what was bought waits for who comes with the cookie. */
  function handed(
    visit: Visit,
    purse: Purse,
    whole: Whole,
    { receipt, bought }: Serve,
    by: Protocol,
    token: readonly Pair[],
    pass: Pass,
  ): Answered {
    const { incoming, resource, paid } = visit
    // Without the fields of this one connection, as the vault would give it.
    const kept = readWhole(writeWhole(whole))
    const answer = wholeAnswer(kept, go(visit, true, by, receipt, token, visit.told))
    const [[, text] = []] = token
    const sold = {
      ...{ answer, receipt, resource, fields: receiptFields(by, receipt, paid) },
      ...(text !== undefined && {
        token: text,
        tokenPlan: bought?.account.plan,
        tokenUntilAt: bought?.account.expiresAt,
      }),
      delivered: () => pass.delivered(),
    }
    return answered(incoming, desk?.hand(purse, sold) ?? answer)
  }

  /** What a task needs to know of the request that it is for. */
  function lastingOf(
    { route, request, resource }: Visit,
    payment: string,
    holder: string,
    charged: Promise<boolean>,
    until: Lasting['until'] = () => undefined,
  ): Lasting | undefined {
    if (!tasks || route.task === undefined) return undefined
    const what = `${resource.method} ${resource.authority}${resource.path}`
    const isMetered = route.sale.measure !== undefined
    const { task: withinMs, success } = route
    return { tasks, payment, request, what, holder, isMetered, withinMs, success, charged, until }
  }

  function admitted(visit: Visit, pass: Pass, by: Protocol): Admitted {
    const { incoming, route, request } = visit
    const charge = Promise.withResolvers<boolean>()
    let work: Promise<unknown> | undefined
    const until = (later: Promise<unknown>): void => void (work = later)
    const holder = route.task === undefined ? '' : holderOf(by, incoming.fields)
    const lasting = lastingOf(visit, pass.key, holder, charge.promise, until)
    const purse = pass.meter ? undefined : desk?.purse(incoming, by)
    const teller = tellerOf(visit, by)
    const late = new AbortController()
    let ended = false
    /** True for the first who ends the work. */
    const end = (): boolean => {
      if (ended) return false
      ended = true
      // With a reason: without one the machine makes an error, and its stack, for each request.
      late.abort('ended')
      return true
    }
    async function release(): Promise<void> {
      charge.resolve(false)
      try {
        await pass.finish(false)
      } catch (error) {
        trouble('release', error, request)
      }
    }
    const expired = Promise.withResolvers<Answer>()
    async function watch(): Promise<void> {
      await clock.sleep(workMs, late.signal)
      if (!end()) return
      await release()
      expired.resolve(answered(incoming, write.refusal(tooLate, request)).answer)
    }
    watch().catch((error: unknown) => trouble('deadline', error, request))
    return {
      kind: 'pass',
      keeps: route.sale.keep === true || purse !== undefined,
      expired: expired.promise,
      async finish(status, whole) {
        if (!end()) return answered(incoming, write.refusal(tooLate, request))
        const charged = route.success(status)
        try {
          const kept = charged && whole && route.sale.keep ? writeWhole(whole) : undefined
          // The address of a task must not be lost while anything can be fetched there.
          const keepMs = status === 202 && route.task ? route.task + TASK_KEEP_MS : undefined
          const outcome = await pass.finish(charged, kept, keepMs)
          charge.resolve(charged && outcome.kind === 'serve')
          if (outcome.kind === 'refused') return refused(visit, outcome, by)
          const { receipt, bought } = outcome
          const stood = teller && charged ? await stoodNow(visit, teller) : []
          const said = [...stood, ...(await tokenOf(bought))]
          if (charged && whole && purse && !teller)
            return handed(visit, purse, whole, outcome, by, said, pass)
          return go(visit, charged || bought !== undefined, by, receipt, said, visit.told)
        } catch (error) {
          charge.resolve(false)
          return refuse(incoming, trouble('finish', error, request), request)
        }
      },
      delivered: () => pass.delivered(),
      lost: () => pass.lost(),
      ...(pass.meter && { meter: pass.meter }),
      ...(pass.meter && streamedOf(visit, teller, async () => await pass.ended?.())),
      ...(pass.ended && { ended: () => void (work ?? now).then(() => pass.ended?.()) }),
      ...(lasting && { lasting }),
      async abort() {
        if (end()) await release()
      },
    }
  }

  function streamedOf(
    { session, route }: Visit,
    teller: Teller | undefined,
    settle: () => Promise<void>,
  ): Pick<Admitted, 'streamed'> {
    const { measure } = route.sale
    if (!session || !measure) return {}
    const channel = teller && { teller, settle }
    return { streamed: { session, measure, clock, ...(channel && { channel }) } }
  }

  /** What the payer of a channel is told on the head of what he gets for it. */
  async function stoodNow({ request }: Visit, teller: Teller): Promise<readonly Pair[]> {
    try {
      const drawn = await teller.look()
      return drawn ? teller.write(drawn).fields : []
    } catch (error) {
      // It was served and charged: the next answer tells.
      trouble('receipt', error, request)
      return []
    }
  }

  function tellerOf({ session }: Visit, by: Protocol): Teller | undefined {
    return session?.isChannel ? createTeller(session, by, gate.channels, clock) : undefined
  }

  function go(
    { incoming: { fields }, paid }: Asking,
    charged: boolean,
    by: Protocol,
    receipt: Receipt | undefined,
    token: readonly Pair[] = [],
    rest: readonly Pair[] = [],
  ): Go {
    const told = charged ? [...receiptFields(by, receipt, paid), ...token] : []
    return {
      kind: 'go',
      fields: (said) => [...write.paid(said, fields.get('origin'), charged, told), ...rest],
    }
  }

  /** The token that was bought with the request. */
  async function tokenOf(bought: Bought | undefined): Promise<readonly Pair[]> {
    const [mint] = mints
    return bought && mint ? [[TOKEN_FIELD, await mint.mint(bought.grant)]] : []
  }

  /** Whatever goes wrong on the way is answered, and nothing is served. */
  async function caught(incoming: Incoming, way: Promise<Entered>): Promise<Entered> {
    try {
      return await way
    } catch (error) {
      return faulty(incoming, error)
    }
  }

  return { enter, fault }
}

const free: Entered = { kind: 'free' }

function isSession(ask: Ask): ask is SessionAsk {
  return hasSession(ask.credential)
}

function hasSession(credential: Read): credential is SessionAsk['credential'] {
  return credential !== undefined && 'session' in credential && credential.session !== undefined
}

/** Whose balance is used up who pays by a session: there is another word for it than for a token. */
function sessionEnd(refusal: Refusal, session: Credential['session']): Refusal {
  const { problem: why } = refusal
  if (!session || why.code !== 'token-exhausted' || why.reason !== undefined) return refusal
  return { ...refusal, problem: { ...why, reason: 'session-exhausted' } }
}

/** A string of structured fields, as its draft wants it, or the bare word that clients send. */
function isName(said: string): boolean {
  return said.length <= IDEMPOTENCY_CHARS_MAX && /^("[ -~]+"|[!#-~]+)$/.test(said)
}
/** What is over already. */
const now: Promise<unknown> = Promise.resolve()
const nobody = { delivered: (): void => undefined }

const hostUnknown = problem(
  'host-unknown',
  'Nothing is sold under this host name. Use the public address of the service.',
)
const unnamed = problem(
  'credential-malformed',
  `The Idempotency-Key is not one: write up to ${IDEMPOTENCY_CHARS_MAX} visible characters, in quotes or without.`,
)
const paymentUnheard = problem('route-undeclared', 'No payment is known by this address.')
const priceUnknown = problem(
  'price-unavailable',
  'What this costs cannot be told just now. Send the same request again later, with the payment that you have made, if any; do not make a new one.',
  { retryAfterMs: PRICE_RETRY_MS },
)
const tooLate = problem(
  'work-timed-out',
  'The work was not done in time, so the payment was not used for it. Send the same payment again; do not make a new one.',
)
const unread = {
  'too-large': problem(
    'body-too-large',
    `The body of a paid request may have at most ${BODY_MAX_BYTES} bytes here. Nothing was taken.`,
  ),
  gone: problem('internal', 'The request ended before its body did.'),
} as const satisfies Record<string, Problem>

async function readBody(
  { fields }: Incoming,
  body: NonNullable<Incoming['body']>,
): Promise<Uint8Array | keyof typeof unread> {
  const declared = Number(fields.get('content-length') ?? 0)
  return declared > BODY_MAX_BYTES ? 'too-large' : await body(BODY_MAX_BYTES)
}

/** RFC 9530, 2. */
function digestOf(body: Uint8Array): string {
  return `sha-256=:${hash('sha256', body, 'base64')}:`
}

/** An answer that lies there whole, with what is told of it now. */
function wholeAnswer({ status, head, body }: Whole, go: Go): Answer {
  const fields = new Headers(head.map(([name, value]) => [name, value]))
  for (const [name, value] of go.fields(fields)) fields.set(name, value)
  const length = ['content-length', String(body.length)]
  return { status, head: [...[...fields].flat(), ...length], body }
}

/** What `HEAD` gets is what `GET` would, without the body. */
function shaped({ method }: Incoming, answer: Answer): Answer {
  return method === 'HEAD' ? withoutBody(answer) : answer
}

/** Offers that are made for one payer must not be told to another. */
function isShared({ keep, plan }: Route['sale']): boolean {
  return keep !== true && !plan
}

function pathOf(target: string): string {
  const end = target.indexOf('?')
  return end < 0 ? target : target.slice(0, end)
}

/** Request ids. Chance is asked for many at once: one at a time costs more than a 402. */
function createIds(chance: Chance): () => string {
  let pool = ''
  let at = 0
  return () => {
    if (at >= pool.length) {
      pool = Buffer.from(chance(ID_BYTES * IDS_AT_ONCE)).toString('base64url')
      at = 0
    }
    at += ID_CHARS
    return pool.slice(at - ID_CHARS, at)
  }
}

/** The finished 402 answers of this moment. All are forgotten together, by time or number. */
function createRecent(
  clock: Clock,
  variant: (incoming: Incoming) => string,
): {
  get(incoming: Incoming): Recent | undefined
  set(incoming: Incoming, recent: Recent): void
} {
  const known = new Map<string, Recent>()
  let forgetAt = 0
  const keyOf = (incoming: Incoming): string => {
    const { method, scheme, authority, target } = incoming
    return `${method} ${scheme} ${authority ?? ''} ${target} ${variant(incoming)}`
  }
  return {
    get(incoming) {
      if (clock.now() < forgetAt) return known.get(keyOf(incoming))
      if (known.size > 0) known.clear()
      return undefined
    },
    set(incoming, recent) {
      const key = keyOf(incoming)
      if (key.length > RECENT_KEY_CHARS_MAX) return
      if (known.size >= RECENT_MAX) known.clear()
      if (known.size === 0) forgetAt = clock.now() + RECENT_MS
      known.set(key, recent)
    },
  }
}
