import type { Credential } from '../../core/credential.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import { REQUEST_CHARS_MAX, checkAsked, offerOf, realmOf } from './challenge.ts'
import type { Asked } from './challenge.ts'
import { readObject, writeObject } from './encode.ts'
import { SESSION } from './part.ts'
import type { Forms, SessionSaid, Sessions } from './part.ts'
import { MALFORMED, PAYLOAD } from './problems.ts'

/** Longest name of a payer that is read, in characters. */
const SOURCE_CHARS_MAX = 256

/**
 * What a credential brings: the challenge that it answers, and how it is paid. Whether the challenge is ours and stands, the gate
 * tells by its id.
 */
export function takeCredential(
  forms: Forms,
  { challenge, payload, source }: JsonObject,
  resource: Resource,
  hasSessions = false,
): Credential | Problem {
  if (!isObject(challenge) || !isObject(payload))
    return malformed('It has no challenge or payload.')
  const asked = checkAsked({ ...challenge, ...plain(challenge) })
  if (typeof asked === 'string') return malformed(asked)
  if (source !== undefined && (typeof source !== 'string' || source.length > SOURCE_CHARS_MAX))
    return malformed('"source" is not the name of a payer.')
  const { id, realm, digest } = asked
  if (hasSessions && asked.intent === SESSION)
    return takeSession(forms, asked, { payload, source }, resource)
  // A challenge without an end is none of ours, and the id binds the body; an echo of another says which went wrong.
  const isHere = realm === realmOf(resource) && asked.expires !== undefined
  if (!isHere || (digest !== undefined && digest !== resource.digest)) return foreign
  const found = offerOf(forms, asked, resource)
  if (typeof found === 'string') return problem('credential-unsupported', found)
  const proof = found.form.readProof({
    id,
    realm,
    payload,
    ...(source !== undefined && { source }),
  })
  if (typeof proof === 'string') return problem('proof-invalid', proof, { reason: PAYLOAD })
  return { offer: found.offer, proof }
}

/** The actions that answer the challenge beside them; others only say to whom they speak, however old it is. */
const paying = new Set<unknown>(['open', 'topUp'])

/** What a credential does with a session. Its proof is looked at here, since what it draws on has no other. */
function takeSession(
  forms: Forms,
  asked: Asked,
  { payload, source }: { readonly payload: JsonObject; readonly source: string | undefined },
  resource: Resource,
): Credential | Problem {
  if (asked.realm !== realmOf(resource)) return foreign
  const isPaying = paying.has(payload['action'])
  if (isPaying && asked.expires === undefined) return foreign
  const request = readObject(asked.request, REQUEST_CHARS_MAX)
  const found = isPaying ? offerOf(forms, asked, resource) : undefined
  if (typeof found === 'string') return problem('credential-unsupported', found)
  const among = found ? [found.form] : forms
  const able = among.flatMap(({ sessions }) =>
    sessions?.method === asked.method ? [sessions] : [],
  )
  if (able.length === 0 || !request) return unsupported
  let why = ''
  for (const one of able) {
    const said = one.read(payload, request, found?.offer, source)
    if (typeof said !== 'string')
      return { ...said, ...named(said, asked, one), ...(found && { offer: found.offer }) }
    // Of several parts of one method the first says why not.
    why ||= said
  }
  return problem('proof-invalid', why, { reason: PAYLOAD })
}

/** With the challenge that its receipts name. */
function named(
  { session }: SessionSaid,
  { id }: Asked,
  { channels }: Sessions,
): Pick<SessionSaid, 'session'> {
  return { session: { ...session, challenge: id, ...(channels && { isChannel: true }) } }
}

/** Older clients and JSON-RPC write as objects what is text over HTTP. */
export function plain({ request, opaque }: JsonObject): Readonly<Record<string, string>> {
  return {
    ...(isObject(request) && { request: writeObject(request) }),
    ...(isObject(opaque) && { opaque: writeObject(opaque) }),
  }
}

/** A credential that cannot be read. The answer asks anew. */
export function malformed(why: string): Problem {
  return problem('proof-invalid', `The credential cannot be read. ${why}`, { reason: MALFORMED })
}

const unsupported = problem('credential-unsupported', 'There are no sessions of this method here.')
const foreign = problem(
  'offer-foreign',
  'The payment answers a challenge that was not made for this request. Nothing was taken; pay one of the offers given here.',
)
