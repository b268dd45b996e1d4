import { createHash, createHmac } from 'node:crypto'
import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import type { Chance, Clock } from '../../core/ports.ts'
import type { Form } from './form.ts'
import { readForm } from './form.ts'
import type { Asked, Listening, Reply } from './server.ts'
import { listen } from './server.ts'
import type { StripeState } from './stripe-state.ts'
import { Refused, createStripeState } from './stripe-state.ts'

/** How long an answer is kept under its idempotency key. */
export const KEY_MS = 86_400_000
/** Most keys that are remembered. */
const KEYS_MAX = 10_000
/** Most events that wait to be delivered. */
const EVENTS_MAX = 10_000

/** What the stand-in is made of. */
export interface StripeStandInSettings {
  /** 0 is a free one. */
  readonly port?: number
  readonly clock?: Clock
  readonly chance?: Chance
  readonly secretKey?: string
  readonly publishableKey?: string
  readonly webhookSecret?: string
  /** How long a call with a key is being worked on: another with the same is refused in that time. */
  readonly workMs?: number
}

/** An event that the stand-in has to tell. */
export interface StandInEvent {
  readonly id: string
  readonly type: string
  /** The bytes as they are sent. */
  readonly body: string
}

/** A stand-in for Stripe. It behaves as the documents say; it is not Stripe, and nothing here was tried against it. */
export interface StripeStandIn extends Listening {
  readonly secretKey: string
  readonly publishableKey: string
  readonly webhookSecret: string
  /** What stands at it. */
  readonly state: StripeState
  readonly events: readonly StandInEvent[]
  /** The value of `Stripe-Signature`. */
  sign(body: string, change?: { readonly at?: number; readonly secret?: string }): string
  /** Posts events to an address, in the order given; all that there are if none are. Answers the statuses. */
  deliver(url: string, events?: readonly StandInEvent[]): Promise<readonly number[]>
}

interface Kept {
  readonly said: string
  readonly at: number
  /** Absent while it is worked on. */
  reply?: Reply
}

/** Starts the stand-in. */
export async function startStripe(settings: StripeStandInSettings = {}): Promise<StripeStandIn> {
  const { clock = systemClock, chance = systemChance, workMs = 0 } = settings
  const {
    secretKey = 'sk_test_standin',
    publishableKey = 'pk_test_standin',
    webhookSecret = 'whsec_standin',
  } = settings
  const kept = new Map<string, Kept>()
  const events: StandInEvent[] = []
  const state = createStripeState({ clock, chance, tell })

  function tell(type: string, object: unknown): void {
    const id = state.id('evt')
    const said = {
      id,
      object: 'event',
      api_version: '2026-10-28',
      created: Math.floor(clock.now() / 1000),
      livemode: false,
      type,
      data: { object },
    }
    if (events.length < EVENTS_MAX) events.push({ id, type, body: JSON.stringify(said) })
  }

  function sign(
    body: string,
    {
      at = clock.now(),
      secret = webhookSecret,
    }: { readonly at?: number; readonly secret?: string } = {},
  ): string {
    const t = Math.floor(at / 1000)
    return `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`
  }

  async function deliver(
    url: string,
    list: readonly StandInEvent[] = events,
  ): Promise<readonly number[]> {
    const statuses: number[] = []
    for (const { body } of list) {
      const headers = { 'content-type': 'application/json', 'stripe-signature': sign(body) }
      const { status } = await fetch(url, { method: 'POST', headers, body })
      statuses.push(status)
    }
    return statuses
  }

  async function handle(asked: Asked, broken: boolean): Promise<Reply> {
    const { method } = asked
    if (method === 'OPTIONS') return { status: 204, body: '', fields: CORS }
    try {
      const who = whoAsks(asked)
      const form = method === 'POST' ? readForm(asked.body) : readForm(asked.query.toString())
      if (!form) throw new Refused(400, 'invalid_request_error', 'parameter_invalid')
      const reply =
        method === 'POST' && who === 'secret'
          ? await once(asked, form, broken)
          : { status: 200, body: state.answer(requestOf(asked, form, who)) }
      return { ...reply, fields: { ...CORS, ...reply.fields } }
    } catch (error) {
      if (error instanceof Refused) return { ...error.reply, fields: CORS }
      throw error
    }
  }

  /** The secret key may do all; the one for browsers what it has a client secret for. */
  function whoAsks({ fields, query, body }: Asked): 'secret' | 'browser' {
    const { authorization = '' } = fields
    const named = authorization.replace(/^Bearer /, '')
    const given = named || (query.get('key') ?? new URLSearchParams(body).get('key') ?? '')
    if (given === secretKey && named !== '') return 'secret'
    if (given === publishableKey) return 'browser'
    throw new Refused(401, 'invalid_request_error', 'api_key_invalid')
  }

  function requestOf({ method, path, fields }: Asked, form: Form, who: 'secret' | 'browser') {
    const version = fields['stripe-version']
    const isPreview = typeof version === 'string' && version.endsWith('.preview')
    return { method, path, form, isPreview, isBrowser: who === 'browser' }
  }

  /** The same key: the same answer, whatever has happened since. */
  async function once(asked: Asked, form: Form, broken: boolean): Promise<Reply> {
    const key = asked.fields['idempotency-key']
    const work = (): Reply => ({
      status: 200,
      body: state.answer(requestOf(asked, form, 'secret')),
    })
    if (typeof key !== 'string') return work()
    const said = createHash('sha256').update(`${asked.path} ${asked.body}`).digest('hex')
    const before = kept.get(key)
    if (before && before.at + KEY_MS > clock.now()) return again(before, said)
    const [oldest] = kept.size < KEYS_MAX ? [] : kept.keys()
    if (oldest !== undefined) kept.delete(oldest)
    const entry: Kept = { said, at: clock.now() }
    kept.set(key, entry)
    if (workMs > 0) await clock.sleep(workMs)
    const reply = attempt(work)
    // What was never begun is not kept: the same key may be used for it again.
    if (reply.status === 400 || reply.status === 401 || reply.status === 404) kept.delete(key)
    entry.reply = broken ? { status: 500, body: { error: { type: 'api_error' } } } : reply
    return entry.reply
  }

  function again({ said, reply }: Kept, now: string): Reply {
    if (said !== now) throw new Refused(400, 'idempotency_error', '')
    if (!reply) throw new Refused(409, 'idempotency_error', 'idempotency_key_in_use')
    return { ...reply, fields: { 'idempotent-replayed': 'true' } }
  }

  const listening = await listen(handle, settings.port)
  return { ...listening, secretKey, publishableKey, webhookSecret, state, events, sign, deliver }
}

function attempt(work: () => Reply): Reply {
  try {
    return work()
  } catch (error) {
    if (error instanceof Refused) return error.reply
    throw error
  }
}

/** A page at another origin may ask, as with the real one. */
const CORS: Readonly<Record<string, string>> = {
  'access-control-allow-origin': '*',
  'access-control-allow-headers': 'authorization, content-type, stripe-version, idempotency-key',
  'access-control-allow-methods': 'GET, POST, OPTIONS',
}
