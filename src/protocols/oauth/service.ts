import { systemClock } from '../../core/clock.ts'
import type { Grant } from '../../core/credential.ts'
import { assert } from '../../core/assert.ts'
import type { JsonObject } from '../../core/json.ts'
import { checkSecret } from '../../core/mac.ts'
import { writePrice } from '../../core/money.ts'
import type { Account, Plan } from '../../core/plan.ts'
import type { Answered, Asked, Clock, Mint, Refusal, Service, Shop } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import { meet } from '../../core/rights.ts'
import { createProofs } from './dpop.ts'
import type { Proofs } from './dpop.ts'
import type { Accounts, Form } from './endpoints.ts'
import {
  documentAnswer,
  FORM_CHARS_MAX,
  introspect,
  readForm,
  refuseCaller,
  refuseTokenRequest,
  RESOURCE_METADATA_PATH,
  resourceMetadata,
  revoke,
  SERVER_METADATA_PATH,
  serverMetadata,
  tokenAnswer,
  tokenError,
} from './endpoints.ts'

/** Where the endpoints are, on the issuer's host. */
export const PATHS = {
  token: '/oauth/token',
  keys: '/oauth/keys',
  introspection: '/oauth/introspect',
  revocation: '/oauth/revoke',
} as const

/** What the endpoints are made of. */
export interface ServiceSettings {
  /** The public origin of the shop, `https://api.example.com`: who makes the tokens, and where the endpoints are. */
  readonly issuer: string
  /** What the tokens are for, as their audience says it; the issuer if absent. */
  readonly resource?: string
  /**
   * Makes the access tokens, which their holders must not be able to narrow: JWTs or opaque ones. Also one of the seller's
   * `mints`, so that routes take them.
   */
  readonly mint: Mint & { jwks?(): object }
  /** Secrets of resource servers, 32 bytes or more each, that may ask what a token is good for; nobody may if absent. */
  readonly secrets?: readonly string[]
  /** The same as those of the protocol `oauth`, so that no proof is good at both. */
  readonly proofs?: Proofs
  /** The name of the resource, and an address to read about it, for people. */
  readonly name?: string
  readonly documentation?: string
  readonly clock?: Clock
}

type Said = Answered | Refusal
type Endpoint = (asked: Asked, shop: Shop) => Said | Promise<Said>

/**
 * OAuth 2.0 beside the routes: metadata of the server (RFC 8414) and of the resource (RFC 9728), the public keys, a token
 * endpoint at which plans are paid for, introspection (RFC 7662) and revocation (RFC 7009).
 *
 * @example
 * const seller = await createSeller({ …, plans, mints: [jwts], protocols: [x402([rail]), oauth({ mints: [jwts], proofs })],
 *   services: [oauthService({ issuer: 'https://api.example.com', mint: jwts, proofs })] })
 *
 * @throws {RangeError} for an issuer that is no origin, and for a secret that must not be used.
 */
export function oauthService(settings: ServiceSettings): Service {
  const { issuer, resource = issuer, mint, name, documentation, clock = systemClock } = settings
  const proofs = settings.proofs ?? createProofs({ clock })
  const secrets = (settings.secrets ?? []).map(checkSecret)
  if (URL.parse(issuer)?.origin !== issuer)
    throw new RangeError(`The issuer "${issuer}" is not an origin like https://api.example.com.`)
  const about = documentation === undefined ? {} : { documentation }

  const server: Endpoint = (_, { plans }) =>
    documentAnswer(
      serverMetadata({
        issuer,
        token: issuer + PATHS.token,
        revocation: issuer + PATHS.revocation,
        scopes: [...plans.keys()],
        ...(mint.jwks && { jwks: issuer + PATHS.keys }),
        ...(secrets.length > 0 && { introspection: issuer + PATHS.introspection }),
        ...about,
      }),
    )

  const protectedResource: Endpoint = () =>
    documentAnswer(
      resourceMetadata({
        resource,
        issuers: [issuer],
        ...(name !== undefined && { name }),
        ...about,
      }),
    )

  /** Everything that can be refused is, before money moves. */
  async function sellToken(asked: Asked, shop: Shop): Promise<Said> {
    const form = await formOf(asked)
    const plan = refuseTokenRequest(form) ?? planOf(form, shop.plans)
    if ('status' in plan) return plan
    // A proof is good once: one that comes without a payment is left for the request that pays.
    const isPaid = (await shop.credential()) !== undefined
    const jkt = isPaid ? await boundTo(asked, shop) : undefined
    if (typeof jkt === 'object') return jkt
    const bound = jkt === undefined ? {} : { payerKeys: [`jkt:${jkt}`] }
    const bought = await shop.buy({ ...plan, rights: meet(plan.rights, bound) })
    if (bought.kind === 'refused') return bought
    const token = await mint.mint(bought.grant)
    const grant = await mint.check(token)
    assert(typeof grant === 'object', 'a mint reads what it has made')
    return tokenAnswer(token, grant, clock.now(), plan.name)
  }

  /** The thumbprint of the key that the token is to be bound to, if the request proves one. */
  async function boundTo(
    { fields }: Asked,
    { resource }: Shop,
  ): Promise<string | Said | undefined> {
    const proof = fields.get('DPoP')
    if (proof === null || proof === undefined) return undefined
    const proven = await proofs.check(proof, resource)
    if (proven.kind === 'proven') return proven.jkt
    if (proven.kind === 'unproven') return tokenError('invalid_dpop_proof', proven.why)
    const { retryAfterMs } = proven
    return refused(problem('rate-limited', 'Too many proofs at once. Come back.', { retryAfterMs }))
  }

  async function tell(asked: Asked, shop: Shop): Promise<Said> {
    const stranger = refuseCaller(asked.fields.get('Authorization'), secrets)
    return stranger ?? (await introspect(await formOf(asked), readers(shop), accountsOf(shop)))
  }

  async function end(asked: Asked, shop: Shop): Promise<Said> {
    const form = await formOf(asked)
    const token = typeof form === 'string' ? undefined : form.get('token')
    const isOurs = token !== undefined && typeof (await mint.check(token)) === 'object'
    return await revoke(form, readers(shop), accountsOf(shop, isOurs))
  }

  function readers({ mints }: Shop): readonly Mint[] {
    return mints.includes(mint) ? mints : [mint, ...mints]
  }

  function accountsOf(shop: Shop, isOurs = false): Accounts {
    return {
      async find({ id }) {
        const account = await shop.accounts.find(id)
        if (!account) return undefined
        const revoked = account.revoked || clock.now() >= account.expiresAt
        return { revoked, more: { scope: account.plan, ...(await leftOf(shop, id)) } }
      },
      async revoke(grant) {
        const account = await shop.accounts.find(grant.id)
        // Of what was never bought there is nothing to end.
        if (!account) return true
        const whole = await shop.whole(isOurs ? unbound(grant, account) : grant)
        return !('code' in whole) && (await shop.accounts.revoke(whole.id))
      },
    }
  }

  const endpoints = new Map<string, Readonly<Record<string, Endpoint>>>([
    [SERVER_METADATA_PATH, { GET: server }],
    [RESOURCE_METADATA_PATH, { GET: protectedResource }],
    [PATHS.token, { POST: sellToken }],
    [PATHS.revocation, { POST: end }],
  ])
  if (mint.jwks) endpoints.set(PATHS.keys, { GET: () => documentAnswer(mint.jwks?.() ?? {}) })
  if (secrets.length > 0) endpoints.set(PATHS.introspection, { POST: tell })

  return {
    paths: [...endpoints.keys()],
    async answer(asked, shop) {
      const { method, path } = shop.resource
      const verbs = endpoints.get(path) ?? {}
      const endpoint = Object.hasOwn(verbs, method) ? verbs[method] : undefined
      return endpoint ? await endpoint(asked, shop) : notAllowed(Object.keys(verbs))
    },
  }
}

async function formOf(asked: Asked): Promise<Form | string> {
  const text = await asked.text(FORM_CHARS_MAX)
  if (text === undefined) return `The body is longer than ${FORM_CHARS_MAX} characters.`
  return readForm(asked.fields.get('Content-Type'), text)
}

/** The plan that the form's scope names; without a scope the only one there is. */
function planOf(form: Form | string, plans: ReadonlyMap<string, Plan>): Plan | Answered {
  const scope = typeof form === 'string' ? undefined : form.get('scope')
  const [only, ...others] = plans.values()
  const plan = scope === undefined && others.length === 0 ? only : plans.get(scope ?? '')
  return plan ?? tokenError('invalid_scope', `The scope is one of ${[...plans.keys()].join(', ')}.`)
}

async function leftOf(shop: Shop, id: string): Promise<JsonObject> {
  const { uses, balance } = await shop.accounts.left(id)
  return {
    ...(uses !== undefined && { uses }),
    ...(balance && { balance: writePrice(balance) }),
  }
}

/**
 * Nobody can narrow such a token, so that a key or an end which the plan does not name was put there by us: it says all that
 * was bought.
 */
function unbound({ id, rights }: Grant, { payerKeys }: Account): Grant {
  const { payerKeys: _, expiresAt: __, ...rest } = rights
  return { id, rights: payerKeys ? { ...rest, payerKeys } : rest }
}

function notAllowed(verbs: readonly string[]): Answered {
  const answer = tokenError('invalid_request', `Use ${verbs.join(' or ')} here.`)
  return { ...answer, status: 405, fields: { ...answer.fields, Allow: verbs.join(', ') } }
}

function refused(why: Problem): Refusal {
  return { kind: 'refused', problem: why }
}
