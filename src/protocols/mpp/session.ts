import { isObject } from '../../core/json.ts'
import type { Json } from '../../core/json.ts'
import { readObject, writeObject } from './encode.ts'
import { CREDENTIAL_CHARS_MAX } from './fields.ts'
import { SESSION } from './part.ts'

/** What a payer says with a session that he has opened. */
export interface OwnSession {
  /** `Authorization` for a further request. */
  readonly use: string
  /** `Authorization` of the request that ends it: what is left goes back. */
  readonly close: string
}

/**
 * What can be said with a session, by the credential that opened it or that used it, as it stands behind `Payment`. Undefined for any
 * other credential: one that pays once is no token. For a payer's `readToken`: `(token) => keepSession(token) ?? saidIn(token)`.
 */
export function ownSession(credential: string): OwnSession | undefined {
  const said = readObject(credential, CREDENTIAL_CHARS_MAX)
  const { challenge, payload } = said ?? {}
  if (!isObject(challenge) || !isObject(payload) || challenge['intent'] !== SESSION)
    return undefined
  const { action, preimage, sessionId } = payload
  const request = typeof challenge['request'] === 'string' ? challenge['request'] : ''
  const asked = readObject(request, CREDENTIAL_CHARS_MAX) ?? {}
  const id = action === 'open' ? asked['paymentHash'] : sessionId
  if (typeof id !== 'string' || typeof preimage !== 'string') return undefined
  const write = (act: string): string => {
    const payload: Json = { action: act, sessionId: id, preimage }
    return `Payment ${writeObject({ challenge, payload })}`
  }
  return { use: write('bearer'), close: write('close') }
}

/** What a payer keeps of a credential of this scheme: a session is shown again, and nothing else is. */
export function keepSession(
  credential: string,
): { readonly shown: string } | { readonly single: true } | undefined {
  const session = ownSession(credential)
  if (session) return { shown: session.use }
  return isObject(readObject(credential, CREDENTIAL_CHARS_MAX)?.['challenge'])
    ? { single: true }
    : undefined
}
