import { hash } from 'node:crypto'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import { assert } from '../core/assert.ts'
import { isBound } from '../core/credential.ts'
import type { Session } from '../core/credential.ts'
import type { Challenge } from '../core/challenge.ts'
import { canonical, isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { readPrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Plan } from '../core/plan.ts'
import type { Ask, Kept, Pass, Read, Refusal, Serve, SettlePoint } from '../core/ports.ts'
import { problem, problems } from '../core/problem.ts'
import type { Problem } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Resource } from '../core/resource.ts'
import type { ChannelReceipt, Drawn } from '../core/voucher.ts'
import { WORK_TIMEOUT_MS } from './http.ts'
import type { Seller } from './http.ts'
import type { Attended } from './session.ts'
import { attend } from './sessions.ts'

/** Longest arguments of a paid call, in characters of their JSON. */
export const ARGUMENTS_CHARS_MAX = 1_048_576
const ID_BYTES = 9

/** An error of JSON-RPC. */
export interface RpcFault {
  readonly code: number
  readonly message: string
  readonly data?: JsonObject
}

/** How payments are said in messages: `mppRpc` of the protocol MPP is one. */
export interface RpcCodec {
  writeError(problem: Problem, challenge?: Challenge): RpcFault
  readCredential(
    message: JsonObject,
    resource: Resource,
    hasSessions?: boolean,
  ): Read | Promise<Read>
  writeReceipt(receipt: Receipt, offer: Offer): JsonObject
  /** Absent where it knows no vouchers. */
  writeChannel?(receipt: ChannelReceipt): JsonObject
}

/** A tool that is sold. */
export interface PaidTool {
  /** `0.01 USD`, the same in several currencies, or what the arguments cost. */
  readonly price:
    | string
    | readonly string[]
    | ((args: JsonObject) => string | readonly string[] | Promise<string | readonly string[]>)
  /**
   * Sold by sessions of this plan, which has a balance and a refund: they are opened, topped up and closed by calls of the tool, and each
   * call that works costs the price, which is one text then.
   */
  readonly plan?: string
  readonly description?: string
  /** When the money moves; `before-response` if absent. */
  readonly settle?: Exclude<SettlePoint, 'deferred'>
  /** Names of the rails that may be used; all if absent. */
  readonly rails?: readonly string[]
}

/** What is sold, and how it is said. */
export interface ToolSettings {
  readonly codec: RpcCodec
  /** The address of the server, which is in every challenge: `https://mcp.example.com/mcp`. */
  readonly url: string
  /** Prices by the names of tools. A tool that is not here costs nothing. */
  readonly tools: Readonly<Record<string, string | PaidTool>>
  /** Asked before an offer is made that costs us something, such as an invoice, for a call that pays nothing; all may if absent. */
  readonly mayIssue?: (message: JsonObject) => boolean
}

/** What comes of a call. */
export type Reply = { readonly result: JsonObject } | { readonly error: RpcFault }

/** The door before the tools of a server. */
export interface ToolDoor {
  /**
   * Does the work of a `tools/call` when it is paid for, and charges for a result that is no error. What the work throws is
   * thrown, and nothing is charged. Everything that is not a call of a paid tool is done at once.
   */
  call(message: JsonObject, work: () => Promise<JsonObject>): Promise<Reply>
}

/**
 * Sells tools over JSON-RPC, whatever carries it (Model Context Protocol). The payment holds for this tool with these arguments.
 *
 * @example
 * const door = toolDoor(seller, { codec: mppRpc({ parts: rails }), url, tools: { search: '0.01 USD' } })
 * server.setRequestHandler(CallToolRequestSchema, async (request) => {
 *   const reply = await door.call(request, () => search(request.params.arguments))
 *   if ('error' in reply) throw new McpError(reply.error.code, reply.error.message, reply.error.data)
 *   return reply.result
 * })
 *
 * @throws {RangeError} with a sentence, for a price or an address that cannot be meant.
 */
export function toolDoor(seller: Seller, settings: ToolSettings): ToolDoor {
  const { gate, realm, plans = new Map<string, Plan>() } = seller
  const { clock = systemClock, chance = systemChance, workTimeoutMs = WORK_TIMEOUT_MS } = seller
  const { codec, mayIssue } = settings
  const { host, pathname, origin } = new URL(settings.url)
  const tools = new Map(
    Object.entries(settings.tools).map(([name, said]) => [name, toolOf(said, plans)]),
  )

  function resourceOf(name: string, args: JsonObject): Resource {
    const path = `${pathname.replace(/\/$/, '')}/${encodeURIComponent(name)}`
    const digest = hash('sha256', canonical(args), 'base64')
    const rest = { authority: host, path, query: '', url: origin + path }
    return { realm, method: 'tools/call', digest: `sha-256=:${digest}:`, ...rest }
  }

  async function sell(tool: PaidTool, call: Call, work: Work): Promise<Reply> {
    const { price, description, settle = 'before-response', rails, plan } = tool
    const { name, args, message } = call
    const resource = resourceOf(name, args)
    const credential = await codec.readCredential(message, resource, plan !== undefined)
    const paid = credential && 'offer' in credential ? credential.offer : undefined
    const ask: Ask = {
      resource,
      request: Buffer.from(chance(ID_BYTES)).toString('base64url'),
      sale: {
        prices: pricesOf(typeof price === 'function' ? await price(args) : price),
        settle,
        account: `sales/tool ${name}`,
        workMs: workTimeoutMs,
        ...(description !== undefined && { description }),
        ...(rails && { rails }),
      },
      ...(credential && { credential }),
      ...(mayIssue && { mayIssue: () => mayIssue(message) }),
    }
    if (plan !== undefined) return await draw(sessionAsk(ask, plan, price), work)
    const entry = await gate.admit(ask)
    if (entry.kind !== 'pass') return refused(entry)
    return await serve(entry, work, paid && isBound(paid) ? paid : undefined)
  }

  /** The plan is what is offered, and a call costs a unit of it. */
  function sessionAsk(ask: Ask, name: string, price: PaidTool['price']): Ask {
    const plan = plans.get(name)
    assert(plan && typeof price === 'string', 'a tool that is sold by sessions has a plan')
    const unit = readPrice(price)
    const { sale } = ask
    return { ...ask, sale: { ...sale, prices: plan.prices, plan, measure: { unit, most: unit } } }
  }

  /** By a session, or not at all: what else is paid for a plan buys a token, for which there is no place here. */
  async function draw(ask: Ask, work: Work): Promise<Reply> {
    const { credential, ...bare } = ask
    if (!credential) return refused(await gate.challenge(bare))
    if ('code' in credential) return refused(await refusalOf(bare, credential))
    const { session } = credential
    if (!session) return refused(await refusalOf(bare, sessionsOnly))
    const attended = await attend(
      { ...bare, credential: { ...credential, session } },
      { gate, plans },
    )
    if ('code' in attended) return refused(await refusalOf(bare, attended))
    if (attended.kind === 'refused') return refused(attended)
    if (attended.kind === 'said') return { result: saidOf(attended, session) }
    const entry = await gate.admit({ ...bare, credential: attended.credential })
    if (entry.kind !== 'pass') return refused(entry)
    const reply = await worked(entry, bare, work).finally(() => entry.ended?.())
    return await withStanding(reply, session)
  }

  async function worked(pass: Pass, ask: Ask, work: Work): Promise<Reply> {
    const { unit } = ask.sale.measure ?? {}
    if (!unit || !pass.meter || (await pass.meter.take(unit)))
      return await serve(pass, work, undefined)
    await pass.finish(false)
    return refused(await refusalOf(ask, usedUp))
  }

  /** With offers where a new payment may help. */
  async function refusalOf(ask: Ask, why: Problem): Promise<Refusal> {
    const isOffered = problems[why.code].status === 402
    return isOffered ? await gate.challenge(ask, why) : { kind: 'refused', problem: why }
  }

  function saidOf({ body, stood }: Said, session: Session): JsonObject {
    const content = [{ type: 'text', text: JSON.stringify(body) }]
    const meta = stood && told(stood.drawn, session, { units: 0n, ...stood })
    return { content, structuredContent: body, ...(meta && { _meta: meta }) }
  }

  function told(
    drawn: Drawn,
    { id, challenge: said = '' }: Session,
    { units, reference }: Pick<ChannelReceipt, 'units' | 'reference'>,
  ): JsonObject | undefined {
    return codec.writeChannel?.({
      ...{ ...drawn, channel: id, challenge: said, at: clock.now() },
      ...(units !== undefined && { units }),
      ...(reference !== undefined && { reference }),
    })
  }

  /** A call that was charged tells how its channel stands. */
  async function withStanding(reply: Reply, session: Session): Promise<Reply> {
    if ('error' in reply || !session.isChannel || reply.result['isError'] === true) return reply
    const drawn = await gate.channels.look(session.id).catch(() => undefined)
    const ours = drawn && told(drawn, session, { units: 1n })
    const meta = isObject(reply.result['_meta']) ? reply.result['_meta'] : {}
    return ours ? { result: { ...reply.result, _meta: { ...meta, ...ours } } } : reply
  }

  /** An answer that took too long is not charged, and nobody gets it. */
  async function serve(pass: Pass, work: Work, offer: Offer | undefined): Promise<Reply> {
    const done = new AbortController()
    const late = clock.sleep(workTimeoutMs, done.signal).then(() => undefined)
    const working = Promise.resolve().then(work)
    const result = await Promise.race([working, late])
      .catch(async (error: unknown) => {
        await pass.finish(false)
        throw error
      })
      .finally(() => done.abort('done'))
    if (result === undefined) {
      await pass.finish(false)
      return { error: codec.writeError(tooLate) }
    }
    const outcome = await pass.finish(result['isError'] !== true)
    if (outcome.kind === 'refused') return refused(outcome)
    pass.delivered()
    return { result: withReceipt(result, outcome, offer) }
  }

  function withReceipt(result: JsonObject, { receipt }: Serve, offer?: Offer): JsonObject {
    if (!receipt || !offer || result['isError'] === true) return result
    const meta = isObject(result['_meta']) ? result['_meta'] : {}
    return { ...result, _meta: { ...meta, ...codec.writeReceipt(receipt, offer) } }
  }

  function refused(entry: Refusal | Kept): Reply {
    const [why, challenge] = entry.kind === 'kept' ? [unkept] : [entry.problem, entry.challenge]
    return { error: codec.writeError(why, challenge) }
  }

  return {
    async call(message, work) {
      const call = callOf(message)
      const tool = call && tools.get(call.name)
      if (!call || !tool) return { result: await work() }
      const { args } = call
      if (!args) return { error: codec.writeError(noArguments) }
      if (canonical(args).length > ARGUMENTS_CHARS_MAX) return { error: codec.writeError(tooLong) }
      return await sell(tool, { ...call, args }, work)
    },
  }
}

type Work = () => Promise<JsonObject>
type Said = Attended & { readonly kind: 'said' }

/** A call of a tool. */
interface Call {
  readonly name: string
  readonly args: JsonObject
  readonly message: JsonObject
}

/** Undefined for every other message. A tool does not become free by arguments that are none: they are left out here. */
function callOf(
  message: JsonObject,
): (Omit<Call, 'args'> & { readonly args?: JsonObject }) | undefined {
  const { method, params } = message
  if (method !== 'tools/call' || !isObject(params)) return undefined
  const { name, arguments: args = {} } = params
  if (typeof name !== 'string') return undefined
  return { name, message, ...(isObject(args) && { args }) }
}

function toolOf(said: string | PaidTool, plans: ReadonlyMap<string, Plan>): PaidTool {
  const tool = typeof said === 'string' ? { price: said } : said
  // What cannot be meant stops the start.
  if (typeof tool.price !== 'function') pricesOf(tool.price)
  if (tool.plan === undefined) return tool
  const plan = plans.get(tool.plan)
  if (!plan?.balance || !plan.refund || typeof tool.price !== 'string')
    throw new RangeError(
      `A tool is sold by the plan "${tool.plan}", which must have a balance and a refund, at one price.`,
    )
  return tool
}

function pricesOf(said: string | readonly string[]): readonly Price[] {
  return (typeof said === 'string' ? [said] : said).map(readPrice)
}

const sessionsOnly = problem(
  'credential-unsupported',
  'This tool is paid by sessions. Nothing was taken; open one of those offered here.',
)
const usedUp = problem('token-exhausted', 'The session cannot pay for this call. Top it up.', {
  reason: 'session-exhausted',
})
const noArguments = problem(
  'credential-malformed',
  'The arguments of a paid call are an object. Nothing was taken.',
)
const tooLong = problem('body-too-large', 'The arguments are longer than a paid call may have.')
const tooLate = problem(
  'work-timed-out',
  'The work was not done in time, so the payment was not used for it. Send the same payment again; do not make a new one.',
)
const unkept = problem('payment-delivered', 'What this payment bought has been delivered.')
