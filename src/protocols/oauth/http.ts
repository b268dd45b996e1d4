import { quoted } from '../../core/auth.ts'
import type { Credential, Grant } from '../../core/credential.ts'
import { createKnown } from '../../core/known.ts'
import type { Clock, Fields, Message, Mint, Minted, Protocol, Read } from '../../core/ports.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import { readAuthorization } from './authorization.ts'
import type { Shown } from './authorization.ts'
import { createProofs, PROOF_ALGS } from './dpop.ts'
import type { Proofs, ProofSettings } from './dpop.ts'

/** What OAuth is made of. */
export interface OAuthSettings {
  /** Whose tokens are taken; asked in this order. A payer has none. */
  readonly mints?: readonly Mint[]
  /** Where the protected resource's metadata (RFC 9728) is: a whole address. It is told with every refusal. */
  readonly metadataUrl?: string
  /** The protection space that a refusal names. */
  readonly realm?: string
  /**
   * What becomes of a bearer token that no mint knows: `refuse` it, or `leave` it to whoever else reads the field, where the
   * service has bearer tokens of its own. `refuse` if absent.
   */
  readonly foreign?: 'refuse' | 'leave'
  /** Proofs of possession (RFC 9449), shared with the token endpoint where that binds tokens. */
  readonly proofs?: Proofs
  /** How proofs are checked, where none are given. */
  readonly dpop?: ProofSettings
  readonly clock?: Clock
}

/** The protocol's words for refusals of proofs, in `Problem.reason`. */
const PROOF = 'invalid_dpop_proof'
const WANTED = 'dpop_proof_wanted'

/** RFC 6750, 3.1: which of the three errors a refusal is; undefined where it is none of a token's. */
const words = {
  'payment-required': undefined,
  'credential-malformed': 'invalid_request',
  'credential-unsupported': undefined,
  'offer-foreign': undefined,
  'offer-expired': undefined,
  'proof-invalid': undefined,
  'proof-expired': undefined,
  'amount-mismatch': undefined,
  'payee-mismatch': undefined,
  'funds-insufficient': undefined,
  'payment-spent': undefined,
  'payment-in-flight': undefined,
  'payment-delivered': undefined,
  'payment-unknown': undefined,
  'settlement-failed': undefined,
  'rail-unavailable': undefined,
  'price-unavailable': undefined,
  'request-unpriced': undefined,
  'store-unavailable': undefined,
  'idempotency-conflict': undefined,
  'path-ambiguous': undefined,
  'route-undeclared': undefined,
  'host-unknown': undefined,
  'body-too-large': undefined,
  misconfigured: undefined,
  'work-timed-out': undefined,
  'token-invalid': 'invalid_token',
  'token-insufficient': 'insufficient_scope',
  'token-exhausted': undefined,
  'session-closed': undefined,
  'rate-limited': undefined,
  internal: undefined,
} satisfies Record<Code, string | undefined>

/**
 * OAuth 2.0 at a protected resource: `Authorization: Bearer` (RFC 6750, the header alone) and `DPoP` (RFC 9449). The
 * credential is a grant and nothing else. A token that names keys must be shown with a proof of one, and a proof is worth
 * nothing with a token that names none.
 */
export function oauth(settings: OAuthSettings = {}): Protocol {
  const { mints = [], metadataUrl, realm, foreign = 'refuse' } = settings
  const { clock } = settings
  const proofs = settings.proofs ?? createProofs({ ...(clock && { clock }), ...settings.dpop })
  const place: readonly Param[] =
    metadataUrl === undefined ? [] : [['resource_metadata', metadataUrl]]

  /** What fields show whose token held: the same field again is not read again, only its token asked for. */
  const shownIn = createKnown<Shown>()

  function read(shown: Shown, minted: Minted, fields: Fields, resource: Resource): Awaitable<Read> {
    if (minted === undefined)
      return foreign === 'leave' && shown.scheme === 'Bearer' ? undefined : unknown
    if (typeof minted === 'string') return problem('token-invalid', minted)
    if (shown.scheme === 'Bearer') return minted.rights.payerKeys ? unbound : { grant: minted }
    return prove(shown, minted, fields, resource)
  }

  async function prove(
    { token }: Shown,
    grant: Grant,
    fields: Fields,
    resource: Resource,
  ): Promise<Credential | Problem> {
    const keys = grant.rights.payerKeys
    if (!keys) return keyless
    const fits = (jkt: string): boolean => keys.includes(keyOf(jkt))
    const proven = await proofs.check(fields.get('DPoP'), resource, token, fits)
    if (proven.kind === 'proven') return { grant: { ...grant, payerKey: keyOf(proven.jkt) } }
    if (proven.kind === 'unproven') return problem('token-invalid', proven.why, { reason: PROOF })
    const { retryAfterMs } = proven
    return problem('rate-limited', 'Too many proofs at once. Come back.', { retryAfterMs })
  }

  return {
    name: 'oauth',
    fields: { request: ['Authorization', 'DPoP'], response: ['WWW-Authenticate'] },

    writeChallenge({ resource }) {
      if (mints.length === 0) return { fields: [] }
      return write('Bearer', [['realm', realm ?? resource.realm], ...place])
    },

    writeRefusal({ code, detail, reason }) {
      const error = words[code]
      if (mints.length === 0 || error === undefined) return { fields: [] }
      const named: readonly Param[] = realm === undefined ? [] : [['realm', realm]]
      const said = [...named, ['error_description', plain(detail)] as const, ...place]
      if (reason !== PROOF && reason !== WANTED) return write('Bearer', [['error', error], ...said])
      const why = reason === PROOF ? PROOF : error
      return write('DPoP', [['algs', PROOF_ALGS.join(' ')], ['error', why], ...said])
    },

    readCredential(fields, resource) {
      if (mints.length === 0) return undefined
      const field = fields.get('Authorization') ?? ''
      const seen = shownIn.get(field)
      const shown = seen ?? readAuthorization(field)
      if (shown === undefined) return undefined
      if (typeof shown === 'string') return problem('credential-malformed', shown)
      const minted = checkBy(mints, shown.token)
      if (!seen && typeof minted === 'object' && 'id' in minted) shownIn.add(field, shown)
      return minted instanceof Promise
        ? minted.then((found) => read(shown, found, fields, resource))
        : read(shown, minted, fields, resource)
    },

    // A payer shows a token by writing the field itself: what it paid for by a proof says so in its own protocol.
    writeCredential: () => ({ fields: [] }),
    readChallenge: () => undefined,
    writeReceipt: () => ({ fields: [] }),
    readReceipt: () => undefined,
  }
}

type Awaitable<T> = T | Promise<T>
type Param = readonly [name: string, value: string]

/** The first mint that knows the token says what it is. */
export function checkBy([mint, ...others]: readonly Mint[], token: string): Awaitable<Minted> {
  if (!mint) return undefined
  const found = mint.check(token)
  if (found instanceof Promise) return found.then((one) => one ?? checkBy(others, token))
  return found ?? checkBy(others, token)
}

/** How a proven key is named in rights. */
function keyOf(jkt: string): string {
  return `jkt:${jkt}`
}

/** RFC 6750, 3: a description has neither quotes nor backslashes. */
function plain(detail: string): string {
  return detail.replaceAll(/["\\]/g, "'")
}

function write(scheme: string, params: readonly Param[]): Message {
  const said = params.map(([name, value]) => `${name}=${quoted(value)}`)
  return { fields: [['WWW-Authenticate', `${scheme} ${said.join(', ')}`]] }
}

const unknown = problem('token-invalid', 'The token is not one of ours, or was made too long ago.')
const unbound = problem(
  'token-invalid',
  'The token belongs to a key. Send it as "DPoP <token>", with a proof of that key in the DPoP field.',
  { reason: WANTED },
)
const keyless = problem(
  'token-invalid',
  'The token belongs to no key, so that a proof adds nothing. Send it as "Bearer <token>".',
)
