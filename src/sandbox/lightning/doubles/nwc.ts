import { once } from 'node:events'
import type { NWCWalletService, NWCWalletServiceKeyPair } from '@getalby/sdk/nwc'
import type { WebSocket } from 'ws'
import { systemChance } from '../../../core/chance.ts'
import { systemClock } from '../../../core/clock.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject, readJson } from '../../../core/json.ts'
import { PaymentError } from '../../../core/problem.ts'
import { readInvoice } from '../../../rails/lightning/bolt11.ts'
import type { Chance, Clock } from '../../../core/ports.ts'
import { createFaults, suffer } from '../faults.ts'
import type { LdkNode, Made, Sent } from '../ldk.ts'
import type { Double } from './server.ts'
import { PAY_MS_MAX, secondsOf, textOf, wholeOf } from './server.ts'

/** Largest message to the relay, in bytes. */
const MESSAGE_BYTES_MAX = 65_536
/** Most subscriptions of one connection. */
const SUBSCRIPTIONS_MAX = 100
/** How long an invoice lives where nothing is said, in seconds. */
const EXPIRY_S = 3_600
/** What the wallet pays for a route at most: the protocol knows no limit, the wallet has its own. */
const FEE_PARTS = 100n
const FEE_MSAT_LEAST = 5_000n
/** Kinds of NIP-47: what a wallet can do, what it is asked, what it answers. */
const INFO = 13_194
const REQUEST = 23_194
const RESPONSE = 23_195

const methods = [
  'get_info',
  'get_balance',
  'make_invoice',
  'lookup_invoice',
  'pay_invoice',
  'make_hold_invoice',
  'settle_hold_invoice',
  'cancel_hold_invoice',
] as const

/** A connection to a wallet, and what goes wrong with it. */
export interface NwcDouble extends Double {
  /** The address with the secret in it, as wallets give it to applications. */
  readonly uri: string
  /** Sends the answers that were lost, as a relay does that was away. */
  deliver(): void
}

/** What is done, or why not (NIP-47). */
type Answer =
  | { readonly result: JsonObject }
  | { readonly error: { readonly code: string; readonly message: string } }

type Event = Awaited<ReturnType<NWCWalletService['signEvent']>>

/**
 * A relay of Nostr on loopback with the wallet of that node behind it (NIP-01, as far as NIP-47 needs it). The relay checks no
 * signatures: clients must. Encryption and signatures are those of `@getalby/sdk`.
 * @throws {PaymentError} when `@getalby/sdk` or `ws` is not installed.
 */
export async function startNwc(
  node: LdkNode,
  { chance = systemChance, clock = systemClock }: { chance?: Chance; clock?: Clock } = {},
): Promise<NwcDouble> {
  const { sdk, ws } = await load()
  const faults = createFaults()
  const calls = new Map<string, number>()
  const [walletSecret, clientSecret] = [secret(chance), secret(chance)]
  const client = new sdk.NWCWalletServiceKeyPair(clientSecret, '00').walletPubkey
  const pair = new sdk.NWCWalletServiceKeyPair(walletSecret, client)
  const server = new ws.WebSocketServer({
    host: '127.0.0.1',
    port: 0,
    maxPayload: MESSAGE_BYTES_MAX,
  })
  await once(server, 'listening')
  const address = server.address()
  const url = `ws://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  const service = new sdk.NWCWalletService({ relayUrls: [url] })
  const lost: Event[] = []
  const subscriptions = new Map<WebSocket, Map<string, readonly JsonObject[]>>()
  const info = await sign(INFO, methods.join(' '), [['encryption', 'nip44_v2 nip04']])

  async function sign(kind: number, content: string, tags: string[][]): Promise<Event> {
    const template = { kind, created_at: secondsOf(clock.now()), tags, content }
    return service.signEvent(template, pair.walletSecret)
  }

  function hear(socket: WebSocket, raw: string): void {
    const said = readJson(raw, MESSAGE_BYTES_MAX)
    const [type, first, ...rest] = Array.isArray(said) ? (said as readonly Json[]) : []
    const mine = subscriptions.get(socket)
    if (type === 'REQ' && typeof first === 'string' && mine) {
      if (mine.size >= SUBSCRIPTIONS_MAX) return socket.close()
      const filters = rest.filter(isObject)
      mine.set(first, filters)
      if (filters.some((filter) => fits(filter, info))) tell(socket, ['EVENT', first, info])
      tell(socket, ['EOSE', first])
    } else if (type === 'CLOSE' && typeof first === 'string') mine?.delete(first)
    else if (type === 'EVENT' && isObject(first)) {
      tell(socket, ['OK', first['id'] ?? '', true, ''])
      if (first['kind'] === REQUEST) serve(first).catch(() => undefined)
    }
  }

  /** What cannot be read is not answered. */
  async function serve(request: JsonObject): Promise<void> {
    const from = new sdk.NWCWalletServiceKeyPair(walletSecret, textOf(request, 'pubkey'))
    const way = tagOf(request, 'encryption') === 'nip44_v2' ? 'nip44_v2' : 'nip04'
    const text: unknown = await service.decrypt(from, textOf(request, 'content'), way)
    const said = readJson(String(text), MESSAGE_BYTES_MAX)
    const asked = isObject(said) ? said : {}
    const method = textOf(asked, 'method')
    const { params } = asked
    calls.set(method, (calls.get(method) ?? 0) + 1)
    const known = from.clientPubkey === pair.clientPubkey
    const answer = known
      ? await answerTo(node, method, isObject(params) ? params : {}).catch(failure)
      : wrong('UNAUTHORIZED', 'No wallet is connected to this key.')
    const withheld = await suffer(faults, method, clock)
    const reply = JSON.stringify({ result_type: method, ...answer })
    const content: unknown = await service.encrypt(from, reply, way)
    const tags = [
      ['e', textOf(request, 'id')],
      ['p', from.clientPubkey],
    ]
    const event = await sign(RESPONSE, String(content), tags)
    if (withheld) lost.push(event)
    else publish(event)
  }

  function publish(event: Event): void {
    for (const [socket, mine] of subscriptions)
      for (const [id, filters] of mine)
        if (filters.some((filter) => fits(filter, event))) tell(socket, ['EVENT', id, event])
  }

  server.on('connection', (socket: WebSocket) => {
    subscriptions.set(socket, new Map())
    socket.on('close', () => subscriptions.delete(socket))
    socket.on('error', () => socket.terminate())
    socket.on('message', (data) => hear(socket, Buffer.from(data as Buffer).toString('utf8')))
  })

  return {
    url,
    uri: `nostr+walletconnect://${pair.walletPubkey}?relay=${encodeURIComponent(url)}&secret=${clientSecret}`,
    faults,
    calls,
    deliver() {
      for (const event of lost.splice(0)) publish(event)
    },
    async close() {
      for (const socket of server.clients) socket.terminate()
      server.close()
    },
  }
}

interface Parts {
  readonly sdk: {
    readonly NWCWalletService: typeof NWCWalletService
    readonly NWCWalletServiceKeyPair: typeof NWCWalletServiceKeyPair
  }
  readonly ws: typeof import('ws')
}

async function load(): Promise<Parts> {
  try {
    const [sdk, ws] = await Promise.all([import('@getalby/sdk/nwc'), import('ws')])
    return { sdk, ws }
  } catch (cause) {
    const message = 'A wallet of NWC in the sandbox needs @getalby/sdk and ws. Install them.'
    throw new PaymentError('misconfigured', message, { cause })
  }
}

function secret(chance: Chance): string {
  return Buffer.from(chance(32)).toString('hex')
}

async function answerTo(node: LdkNode, method: string, params: JsonObject): Promise<Answer> {
  const hash = textOf(params, 'payment_hash')
  switch (method) {
    case 'get_info': {
      const { publicKey } = node
      return done({ alias: 'double', pubkey: publicKey, network: 'regtest', methods: [...methods] })
    }
    case 'get_balance':
      return done({ balance: Number(node.balanceMsat()) })
    case 'make_invoice':
      return make(node, params)
    case 'make_hold_invoice':
      return node.made(hash)
        ? wrong('OTHER', 'The hash was used before.')
        : make(node, params, hash)
    case 'lookup_invoice':
      return look(node, hash)
    case 'pay_invoice':
      return pay(node, textOf(params, 'invoice'))
    case 'settle_hold_invoice':
      await node.settle(textOf(params, 'preimage'))
      return done({})
    case 'cancel_hold_invoice':
      await node.cancel(hash)
      return done({})
    default:
      return wrong('NOT_IMPLEMENTED', 'The wallet does not know this method.')
  }
}

async function make(node: LdkNode, params: JsonObject, hash?: string): Promise<Answer> {
  const made = await node.createInvoice({
    msat: wholeOf(params, 'amount'),
    memo: textOf(params, 'description'),
    expiresInS: Number(wholeOf(params, 'expiry')) || EXPIRY_S,
    ...(hash !== undefined && { hash }),
  })
  return look(node, made.hash)
}

function look(node: LdkNode, hash: string): Answer {
  const made = node.made(hash)
  if (made) return done(incomingOf(made))
  const sent = node.sent(hash)
  return sent ? done(outgoingOf(sent)) : wrong('NOT_FOUND', 'There is no such invoice.')
}

async function pay(node: LdkNode, text: string): Promise<Answer> {
  const invoice = readInvoice(text)
  if (typeof invoice === 'string') return wrong('OTHER', 'The invoice cannot be read.')
  const part = (invoice.msat ?? 0n) / FEE_PARTS
  const feeMaxMsat = part > FEE_MSAT_LEAST ? part : FEE_MSAT_LEAST
  const state = await node.pay({ invoice: text, feeMaxMsat, timeoutMs: PAY_MS_MAX })
  if (state.state === 'succeeded')
    return done({ preimage: state.preimage, fees_paid: Number(state.feeMsat) })
  return wrong('PAYMENT_FAILED', state.state === 'failed' ? state.reason : 'It is on its way.')
}

function incomingOf(made: Made): JsonObject {
  const { state, invoice, hash, memo, msat, madeAt, expiresAt, settledAt } = made
  const word = { open: 'pending', held: 'accepted', settled: 'settled', cancelled: 'failed' }[state]
  return {
    type: 'incoming',
    state: word,
    invoice,
    description: memo,
    payment_hash: hash,
    amount: Number(msat),
    fees_paid: 0,
    created_at: secondsOf(madeAt),
    expires_at: secondsOf(expiresAt),
    ...(state === 'settled' && made.preimage !== undefined && { preimage: made.preimage }),
    ...(settledAt !== undefined && { settled_at: secondsOf(settledAt) }),
  }
}

function outgoingOf({ state, invoice, hash, msat, madeAt, endedAt }: Sent): JsonObject {
  const word = { succeeded: 'settled', failed: 'failed', inFlight: 'pending' }[state.state]
  return {
    type: 'outgoing',
    state: word,
    invoice,
    payment_hash: hash,
    amount: Number(msat),
    created_at: secondsOf(madeAt),
    ...(state.state === 'succeeded' && {
      preimage: state.preimage,
      fees_paid: Number(state.feeMsat),
      settled_at: secondsOf(endedAt ?? madeAt),
    }),
  }
}

function done(result: JsonObject): Answer {
  return { result }
}

function wrong(code: string, message: string): Answer {
  return { error: { code, message } }
}

function failure(): Answer {
  return wrong('OTHER', 'That cannot be done now.')
}

/** Whether an event passes a filter, by the members that NIP-47 uses. */
function fits(filter: JsonObject, event: Event): boolean {
  const tagged = (name: string): readonly string[] =>
    event.tags.filter(([key]) => key === name).map(([, value]) => value ?? '')
  return (
    includes(filter['kinds'], [event.kind]) &&
    includes(filter['authors'], [event.pubkey]) &&
    includes(filter['ids'], [event.id]) &&
    includes(filter['#e'], tagged('e')) &&
    includes(filter['#p'], tagged('p'))
  )
}

function includes(wanted: Json | undefined, found: readonly Json[]): boolean {
  if (wanted === undefined) return true
  return Array.isArray(wanted) && found.some((one) => (wanted as readonly Json[]).includes(one))
}

function tagOf(event: JsonObject, name: string): string | undefined {
  const { tags } = event
  if (!Array.isArray(tags)) return undefined
  const found = (tags as readonly Json[]).find((tag) => Array.isArray(tag) && tag[0] === name)
  return Array.isArray(found) ? String(found[1]) : undefined
}

function tell(socket: WebSocket, message: readonly unknown[]): void {
  socket.send(JSON.stringify(message))
}
