import type { Buffer } from 'node:buffer'
import { hash, timingSafeEqual } from 'node:crypto'
import type { Grant } from '../../core/credential.ts'
import { writeConditions } from '../../core/conditions.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import { checkSecret } from '../../core/mac.ts'
import type { Answered, Mint } from '../../core/ports.ts'
import type { Rights } from '../../core/rights.ts'
import { readAuthorization } from './authorization.ts'
import { PROOF_ALGS } from './dpop.ts'
import { checkBy } from './http.ts'

/** Longest form that an endpoint reads, in characters. */
export const FORM_CHARS_MAX = 16_384
/** Most members of a form. */
export const FORM_MEMBERS_MAX = 16
/** A token for a payment: the form holds nothing but this, the payment comes in the fields of its own protocol. */
export const GRANT_TYPE_PAYMENT = 'urn:tolsey:params:oauth:grant-type:payment'
/** Where the server's metadata is (RFC 8414, 3), on the issuer's host. */
export const SERVER_METADATA_PATH = '/.well-known/oauth-authorization-server'
/** Where the protected resource's metadata is (RFC 9728, 3), on the resource's host. */
export const RESOURCE_METADATA_PATH = '/.well-known/oauth-protected-resource'

const GRANT_TYPES: readonly string[] = [GRANT_TYPE_PAYMENT, 'client_credentials']

/** Whole addresses of the server's endpoints; what is absent is not there. */
export interface Endpoints {
  /** Who makes the tokens; an https address without query and fragment. */
  readonly issuer: string
  readonly token: string
  readonly jwks?: string
  readonly introspection?: string
  readonly revocation?: string
  /** What may be asked for: the plans that are sold. */
  readonly scopes?: readonly string[]
  /** For people. */
  readonly documentation?: string
}

/** What the metadata of a protected resource says. */
export interface ResourceSettings {
  /** The resource: what tokens name as their audience. */
  readonly resource: string
  /** The issuers whose tokens it takes. */
  readonly issuers: readonly string[]
  readonly name?: string
  readonly documentation?: string
}

/** What the books know of the account that a token draws on. */
export interface Account {
  readonly revoked: boolean
  /** More that introspection tells, for instance what is left. */
  readonly more?: JsonObject
}

/** The books, as far as these endpoints need them. */
export interface Accounts {
  /** Undefined where nothing was ever bought under the grant's id. */
  find(grant: Grant): Promise<Account | undefined>
  /**
   * Ends the tokens of the grant's account; false if whoever holds this token may not. A token that was narrowed and handed on
   * has the same id and fewer rights: it must not end those that it was made from.
   */
  revoke(grant: Grant): Promise<boolean>
}

/** The document of an authorization server (RFC 8414, 2). */
export function serverMetadata(endpoints: Endpoints): JsonObject {
  const { issuer, token, jwks, introspection, revocation, scopes, documentation } = endpoints
  return {
    issuer,
    token_endpoint: token,
    // There is no authorization endpoint, so no type of response.
    response_types_supported: [],
    grant_types_supported: GRANT_TYPES,
    // Whoever pays is the client.
    token_endpoint_auth_methods_supported: ['none'],
    ...(scopes && { scopes_supported: scopes }),
    ...(jwks !== undefined && { jwks_uri: jwks }),
    ...(introspection !== undefined && { introspection_endpoint: introspection }),
    ...(revocation !== undefined && {
      revocation_endpoint: revocation,
      revocation_endpoint_auth_methods_supported: ['none'],
    }),
    dpop_signing_alg_values_supported: PROOF_ALGS,
    ...(documentation !== undefined && { service_documentation: documentation }),
  }
}

/** The document of a protected resource (RFC 9728, 2). */
export function resourceMetadata(settings: ResourceSettings): JsonObject {
  const { resource, issuers, name, documentation } = settings
  return {
    resource,
    authorization_servers: issuers,
    bearer_methods_supported: ['header'],
    dpop_signing_alg_values_supported: PROOF_ALGS,
    ...(name !== undefined && { resource_name: name }),
    ...(documentation !== undefined && { resource_documentation: documentation }),
  }
}

/** The members of a form, each there once. */
export type Form = ReadonlyMap<string, string>

/** Reads a form (RFC 6749, 3.2 and appendix B); a sentence where it is none, or names something twice. */
export function readForm(contentType: string | null | undefined, text: string): Form | string {
  if (!/^application\/x-www-form-urlencoded(?:\s*;|$)/i.test(contentType ?? ''))
    return 'The body must be application/x-www-form-urlencoded.'
  if (text.length > FORM_CHARS_MAX) return `The body is longer than ${FORM_CHARS_MAX} characters.`
  const members = [...new URLSearchParams(text)]
  const form = new Map(members)
  if (form.size < members.length) return 'The body names a parameter twice.'
  if (members.length > FORM_MEMBERS_MAX) return 'The body has too many parameters.'
  return form
}

/** Why a form asks for no token of ours; undefined if it does. The answer is for before the payment. */
export function refuseTokenRequest(form: Form | string): Answered | undefined {
  if (typeof form === 'string') return tokenError('invalid_request', form)
  const type = form.get('grant_type')
  if (type === undefined) return tokenError('invalid_request', 'The body has no grant_type.')
  if (!GRANT_TYPES.includes(type))
    return tokenError(
      'unsupported_grant_type',
      `Use the grant_type ${GRANT_TYPE_PAYMENT}, and pay.`,
    )
  return undefined
}

/**
 * What the token endpoint says once it was paid (RFC 6749, 5.1; RFC 9449, 5). The grant is what its mint reads in the token,
 * the scope names what was bought.
 */
export function tokenAnswer(
  token: string,
  { rights }: Grant,
  now: number,
  scope?: string,
): Answered {
  const { expiresAt } = rights
  const left =
    expiresAt === undefined ? undefined : Math.max(0, Math.floor((expiresAt - now) / 1000))
  return json(200, {
    access_token: token,
    token_type: typeOf(rights.payerKeys),
    ...(left !== undefined && { expires_in: left }),
    ...(scope !== undefined && { scope }),
  })
}

/** The errors of a token endpoint (RFC 6749, 5.2). */
export type TokenError =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'invalid_scope'
  | 'invalid_dpop_proof'
  | 'unsupported_token_type'

/** What an endpoint says when it refuses (RFC 6749, 5.2). */
export function tokenError(error: TokenError, description: string): Answered {
  // A description has neither quotes nor backslashes, nor what is not ASCII.
  const plain = description.replaceAll(/["\\]/g, "'").replaceAll(/[^ -~]/g, '?')
  return json(error === 'invalid_client' ? 401 : 400, { error, error_description: plain })
}

/**
 * What a token is good for (RFC 7662, 2.2). Of one that is not good, whatever the reason, it tells nothing. Only a caller that
 * was authenticated may be answered: else the endpoint tells strangers which tokens exist.
 */
export async function introspect(
  form: Form | string,
  mints: readonly Mint[],
  accounts: Accounts,
): Promise<Answered> {
  if (typeof form === 'string') return tokenError('invalid_request', form)
  const token = form.get('token')
  if (token === undefined) return tokenError('invalid_request', 'The body has no token.')
  const grant = await checkBy(mints, token)
  const account = typeof grant === 'object' ? await accounts.find(grant) : undefined
  const claims = typeof grant === 'object' && account?.revoked === false && claimsOf(grant)
  return json(200, claims ? { ...account?.more, active: true, ...claims } : { active: false })
}

/**
 * Whether a caller may ask for introspection (RFC 7662, 2.1): `Authorization: Bearer` with one of the secrets, all of which
 * are compared in constant time. What to say if not.
 */
export function refuseCaller(
  authorization: string | null | undefined,
  secrets: readonly string[],
): Answered | undefined {
  const shown = readAuthorization(authorization)
  const said = digestOf(typeof shown === 'object' && shown.scheme === 'Bearer' ? shown.token : '')
  let known = false
  for (const secret of secrets.map(checkSecret))
    known = timingSafeEqual(digestOf(secret), said) || known
  if (known) return undefined
  const refusal = tokenError('invalid_client', 'Who asks here must say who it is.')
  return { ...refusal, fields: { ...refusal.fields, 'WWW-Authenticate': 'Bearer' } }
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

/**
 * Ends a token (RFC 7009, 2.2): a token that is not good is ended already. Whoever has the token may end it, where the books
 * allow it.
 */
export async function revoke(
  form: Form | string,
  mints: readonly Mint[],
  accounts: Accounts,
): Promise<Answered> {
  if (typeof form === 'string') return tokenError('invalid_request', form)
  const token = form.get('token')
  if (token === undefined) return tokenError('invalid_request', 'The body has no token.')
  const grant = await checkBy(mints, token)
  if (typeof grant === 'object' && !(await accounts.revoke(grant)))
    return tokenError(
      'unauthorized_client',
      'This token may not end the one that it was made from.',
    )
  return { status: 200, fields: NO_STORE, body: '' }
}

/** A document that anybody may read and keep for a while: metadata, or public keys. */
export function documentAnswer(document: object): Answered {
  const fields = { 'Content-Type': 'application/json', 'Cache-Control': 'public, max-age=300' }
  return { status: 200, fields, body: JSON.stringify(document) }
}

/** Undefined for what no conditions say: rights of which narrowing has left nothing. */
function claimsOf({ id, rights }: Grant): JsonObject | undefined {
  const { expiresAt, payerKeys, ...rest } = rights
  const jkt = payerKeys?.length === 1 ? /^jkt:(.*)$/.exec(payerKeys[0] ?? '')?.[1] : undefined
  const keys = jkt === undefined && payerKeys ? { payerKeys } : {}
  const conditions = conditionsOf({ ...rest, ...keys })
  return (
    conditions && {
      token_type: typeOf(payerKeys),
      sub: id,
      client_id: id,
      ...(expiresAt !== undefined && { exp: Math.floor(expiresAt / 1000) }),
      ...(jkt !== undefined && { cnf: { jkt } }),
      conditions,
    }
  )
}

function conditionsOf(rights: Rights): readonly string[] | undefined {
  try {
    return writeConditions(rights)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function typeOf(payerKeys: readonly string[] | undefined): 'Bearer' | 'DPoP' {
  return payerKeys?.some((key) => key.startsWith('jkt:')) === true ? 'DPoP' : 'Bearer'
}

const NO_STORE = { 'Cache-Control': 'no-store', Pragma: 'no-cache' }

function json(status: number, body: Json): Answered {
  return {
    status,
    fields: { ...NO_STORE, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  }
}
