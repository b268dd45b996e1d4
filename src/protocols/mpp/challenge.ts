import { quoted } from '../../core/auth.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Resource } from '../../core/resource.ts'
import { readObject, readTime, writeObject, writeTime } from './encode.ts'
import { PARAMS } from './fields.ts'
import type { Params } from './fields.ts'
import { LAST, OWN_FIELD, take } from './part.ts'
import type { Forms, MppSettings, Said } from './part.ts'

/** Longest `request` that is read, in characters of base64url. */
export const REQUEST_CHARS_MAX = 16_384
/** Longest other parameter of a challenge, in characters. */
export const PARAM_CHARS_MAX = 2_048

/** A challenge as it is written; `request` and `opaque` are base64url, so that an echo is the same to the letter. */
export interface Asked {
  readonly id: string
  readonly realm: string
  readonly method: string
  readonly intent: string
  readonly request: string
  readonly expires?: string
  readonly digest?: string
  readonly description?: string
  readonly opaque?: string
  readonly header?: string
}

/** What must stand in a challenge. */
const required = ['id', 'realm', 'method', 'intent', 'request'] as const

/** The host as the payer names it, without a port: the realm of what is sold there. */
export function realmOf({ authority }: Resource): string {
  return authority.replace(/:\d*$/, '')
}

/** The challenge that asks for an offer. */
export function askFor({ offer, words }: Said, { header }: Pick<MppSettings, 'header'>): Asked {
  const { resource, id, expiresAt } = offer
  const { method, intent, request } = words
  // Buyers in use do not echo it on Lightning; the id binds the body all the same.
  const digest = method === LAST ? undefined : resource.digest
  return {
    id,
    realm: realmOf(resource),
    method,
    intent,
    request: writeObject(request),
    expires: writeTime(expiresAt),
    ...(digest !== undefined && { digest }),
    ...(header !== undefined && { header }),
  }
}

/** The challenge as a `WWW-Authenticate` line. */
export function writeAsked(asked: Asked): string {
  const params = PARAMS.flatMap((name) => {
    const value = asked[name]
    return value === undefined ? [] : [`${name}=${quoted(value)}`]
  })
  return `Payment ${params.join(', ')}`
}

/** The challenge of a `WWW-Authenticate` line, or a sentence why it cannot be answered. */
export function readAsked(params: Params): Asked | string {
  if (typeof params === 'string') return params
  return checkAsked(Object.fromEntries(params))
}

/** A challenge out of strangers' hands, or a sentence why it cannot be answered. Members that we do not know are left out. */
export function checkAsked(said: Readonly<Record<string, unknown>>): Asked | string {
  const asked: Record<string, string> = {}
  for (const name of PARAMS) {
    const value = Object.hasOwn(said, name) ? said[name] : undefined
    if (value === undefined) continue
    const most = name === 'request' ? REQUEST_CHARS_MAX : PARAM_CHARS_MAX
    if (typeof value !== 'string' || value.length > most)
      return `"${name}" of the challenge is no text, or too long.`
    asked[name] = value
  }
  const missing = required.find((name) => !asked[name])
  if (missing !== undefined) return `The challenge has no "${missing}".`
  const { method = '', intent = '', header } = asked
  if (!/^[a-z][a-z0-9:_-]*$/.test(method)) return '"method" of the challenge is not a name.'
  if (!/^[A-Za-z0-9-]+$/.test(intent)) return '"intent" of the challenge is not a name.'
  if (header !== undefined && !/^(?:payment-)?authorization$/i.test(header))
    return `The credential is wanted in another field than Authorization or ${OWN_FIELD}.`
  // What is required was just seen to be there.
  return asked as unknown as Asked
}

/** The offer that a challenge makes, or a sentence why it is none that can be paid or taken here. */
export function offerOf(forms: Forms, asked: Asked, resource: Resource): Found | string {
  const request = readObject(asked.request, REQUEST_CHARS_MAX)
  if (!request) return 'The request of the challenge is not JSON in base64url.'
  const { id, realm, method, intent, expires } = asked
  const expiresAt = expires === undefined ? Number.MAX_SAFE_INTEGER : readTime(expires)
  if (expiresAt === undefined) return '"expires" of the challenge is not a time.'
  const taken = take(forms, { id, realm, method, intent, request })
  if (typeof taken === 'string') return taken
  return { offer: { ...taken.terms, id, resource, expiresAt }, form: taken.form }
}

/** An offer and the form that has read it. */
export interface Found {
  readonly offer: Offer
  readonly form: Forms[number]
}

/** The challenge as an echo, which may be stored. */
export function echoOf(asked: Asked): JsonObject {
  return { ...asked }
}
