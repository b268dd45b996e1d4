import { sign } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Chance, Clock } from '../../core/ports.ts'
import type { Certified } from './certificate.ts'
import { certify } from './certificate.ts'
import type { PayPalState } from './paypal-state.ts'
import { Refused, createPayPalState } from './paypal-state.ts'
import type { Asked, Listening, Reply } from './server.ts'
import { BODY_BYTES_MAX, listen } from './server.ts'

/** How long an answer is kept under its id. */
export const REQUEST_MS = 21_600_000
/** Most ids that are remembered. */
const REQUESTS_MAX = 10_000
/** Most events that wait to be delivered. */
const EVENTS_MAX = 10_000
/** How long an access token is good. */
const TOKEN_S = 32_400
/** How long a certificate of the stand-in is good, before and after it is made. */
const CERTIFICATE_MS = 86_400_000_000
/** What its certificate is made out to. */
const CERTIFICATE_NAME = 'messageverificationcerts.sandbox.paypal.com'

/** What the stand-in is made of. */
export interface PayPalStandInSettings {
  /** 0 is a free one. */
  readonly port?: number
  readonly clock?: Clock
  readonly chance?: Chance
  readonly clientId?: string
  readonly clientSecret?: string
  readonly webhookId?: string
}

/** An event that the stand-in has to tell. */
export interface StandInEvent {
  readonly id: string
  readonly type: string
  /** The bytes as they are sent. */
  readonly body: string
}

/** What may be otherwise about how an event is signed, for tests. */
export interface SignChange {
  readonly at?: number
  readonly webhookId?: string
  readonly by?: Certified
  readonly address?: string
  readonly algorithm?: string
}

/** A stand-in for PayPal. It behaves as the documents say; it is not PayPal, and nothing here was tried against it. */
export interface PayPalStandIn extends Listening {
  readonly clientId: string
  readonly clientSecret: string
  readonly webhookId: string
  /** The certificate of the authority that signs its own, in PEM. */
  readonly ca: string
  readonly state: PayPalState
  readonly events: readonly StandInEvent[]
  /** Puts a certificate where events may name it; answers its address. */
  publish(path: string, pem: string): string
  /** The header fields of an event. */
  sign(body: string, change?: SignChange): Record<string, string>
  /** Posts events to an address, in the order given; all that there are if none are. Answers the statuses. */
  deliver(url: string, events?: readonly StandInEvent[]): Promise<readonly number[]>
}

interface Kept {
  readonly path: string
  readonly at: number
  reply?: Reply
}

/** Starts the stand-in. */
export async function startPayPal(settings: PayPalStandInSettings = {}): Promise<PayPalStandIn> {
  const { clock = systemClock, chance = systemChance } = settings
  const {
    clientId = 'client-standin',
    clientSecret = 'secret-standin',
    webhookId = 'WEBHOOKSTANDIN1',
  } = settings
  const kept = new Map<string, Kept>()
  const tokens = new Map<string, number>()
  const certificates = new Map<string, string>()
  const events: StandInEvent[] = []
  const state = createPayPalState({ clock, chance, tell, here: () => listening.url })
  const time = { fromAt: clock.now() - CERTIFICATE_MS, untilAt: clock.now() + CERTIFICATE_MS }
  const authority = certify({ name: 'Authority of a stand-in', isAuthority: true, ...time })
  const own = certify({ name: CERTIFICATE_NAME, by: authority, ...time })

  function tell(type: string, resource: unknown): void {
    const id = `WH-${state.id()}`
    const create_time = new Date(clock.now()).toISOString()
    const said = { id, event_version: '1.0', create_time, event_type: type, resource }
    if (events.length < EVENTS_MAX) events.push({ id, type, body: JSON.stringify(said) })
  }

  function signed(body: string, change: SignChange = {}): Record<string, string> {
    const id = state.id()
    const at = new Date(change.at ?? clock.now()).toISOString()
    const message = `${id}|${at}|${change.webhookId ?? webhookId}|${crc32(body)}`
    return {
      'content-type': 'application/json',
      'paypal-transmission-id': id,
      'paypal-transmission-time': at,
      'paypal-auth-algo': change.algorithm ?? 'SHA256withRSA',
      'paypal-cert-url': change.address ?? `${listening.url}/v1/notifications/certs/CERT-own`,
      'paypal-transmission-sig': sign(
        'sha256',
        Buffer.from(message),
        (change.by ?? own).key,
      ).toString('base64'),
    }
  }

  async function deliver(
    url: string,
    list: readonly StandInEvent[] = events,
  ): Promise<readonly number[]> {
    const statuses: number[] = []
    for (const { body } of list) {
      const { status } = await fetch(url, { method: 'POST', headers: signed(body), body })
      statuses.push(status)
    }
    return statuses
  }

  function handle(asked: Asked, broken: boolean): Reply {
    const { method, path } = asked
    try {
      if (method === 'GET' && path.startsWith('/v1/notifications/certs/'))
        return certificateAt(path)
      if (method === 'POST' && path === '/v1/oauth2/token') return grant(asked)
      // The page on which a person approves: PayPal's own, so that no key of ours is asked for.
      if (path === '/checkoutnow') return approve(asked)
      const end = tokens.get((asked.fields.authorization ?? '').replace(/^Bearer /, '')) ?? 0
      if (end <= clock.now()) throw new Refused(401, 'INVALID_TOKEN')
      return method === 'POST'
        ? once(asked, broken)
        : { status: 200, body: state.answer(method, path, {}) }
    } catch (error) {
      if (error instanceof Refused) return error.reply
      throw error
    }
  }

  function certificateAt(path: string): Reply {
    const pem = certificates.get(path)
    return pem === undefined
      ? { status: 404, body: '' }
      : { status: 200, body: pem, fields: { 'content-type': 'application/x-pem-file' } }
  }

  function grant({ fields, body }: Asked): Reply {
    const wanted = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`
    if (fields.authorization !== wanted || body !== 'grant_type=client_credentials')
      throw new Refused(401, 'invalid_client')
    const access_token = `A21AA${Buffer.from(chance(24)).toString('base64url')}`
    tokens.clear()
    tokens.set(access_token, clock.now() + TOKEN_S * 1000)
    return { status: 200, body: { access_token, token_type: 'Bearer', expires_in: TOKEN_S } }
  }

  function approve({ method, query }: Asked): Reply {
    const id = query.get('token') ?? ''
    const fields = {
      'content-type': 'text/html; charset=utf-8',
      'access-control-allow-origin': '*',
    }
    if (method !== 'POST' && method !== 'GET') throw new Refused(405, 'METHOD_NOT_SUPPORTED')
    const back = method === 'POST' ? state.approve(id) : undefined
    if (method === 'POST')
      return back === undefined
        ? { status: 200, body: 'Approved.', fields }
        : { status: 303, body: '', fields: { ...fields, location: back } }
    const form = '<form method="post"><button>Pay at the stand-in for PayPal</button></form>'
    return { status: 200, body: `<!doctype html><title>Stand-in</title>${form}`, fields }
  }

  /** The same id: what became of it by now. */
  function once({ method, path, body, fields }: Asked, broken: boolean): Reply {
    const json = readJson(body || '{}', BODY_BYTES_MAX)
    if (!isObject(json)) throw new Refused(400, 'MALFORMED_REQUEST_JSON')
    const key = fields['paypal-request-id']
    const work = (): Reply => ({ status: 201, body: state.answer(method, path, json) })
    if (typeof key !== 'string') return work()
    const before = kept.get(key)
    if (before && before.at + REQUEST_MS > clock.now()) return again(before, path, json)
    const [oldest] = kept.size < REQUESTS_MAX ? [] : kept.keys()
    if (oldest !== undefined) kept.delete(oldest)
    const entry: Kept = { path, at: clock.now() }
    // What was refused may be tried again.
    entry.reply = work()
    kept.set(key, entry)
    return broken ? { status: 500, body: { name: 'INTERNAL_SERVER_ERROR' } } : entry.reply
  }

  function again({ path, reply }: Kept, now: string, _json: JsonObject): Reply {
    if (path !== now) throw new Refused(422, 'PAYPAL_REQUEST_ID_PREVIOUSLY_USED')
    if (!reply) throw new Refused(409, 'RESOURCE_CONFLICT')
    return { status: 200, body: state.latest(reply.body) }
  }

  const listening = await listen(handle, settings.port)
  const publish = (path: string, pem: string): string => {
    certificates.set(`/v1/notifications/certs/${path}`, pem)
    return `${listening.url}/v1/notifications/certs/${path}`
  }
  publish('CERT-own', own.pem)
  return {
    ...listening,
    clientId,
    clientSecret,
    webhookId,
    ca: authority.pem,
    state,
    events,
    publish,
    sign: signed,
    deliver,
  }
}
