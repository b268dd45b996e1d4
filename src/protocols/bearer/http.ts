import { assert } from '../../core/assert.ts'
import { systemClock } from '../../core/clock.ts'
import type { Grant } from '../../core/credential.ts'
import { isBound } from '../../core/credential.ts'
import type { Fields, Minted, Protocol, Read } from '../../core/ports.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import type { Echo } from './buyer.ts'
import { readOffered } from './buyer.ts'
import { INTENT_CHARS_MAX, isIntent, readIntent } from './intent.ts'
import type { BearerSettings, Said, Shown } from './part.ts'
import { PROOF_CHARS_MAX, formsOf } from './part.ts'
import { writeAsked } from './seller.ts'
import { TIMESTAMP_WINDOW_MS, isFresh, readTimestamp } from './timestamp.ts'

/** The fields of a paid request. */
const INTENT = 'X-Payment-Intent'
const PROOF = 'X-Payment-Proof'
const TIMESTAMP = 'X-Payment-Timestamp'

/** The profile knows 403 for a payment that is invalid or expired; the offers to pay anew stand in it all the same. */
const statuses: Readonly<Partial<Record<Code, number>>> = {
  'offer-foreign': 403,
  'offer-expired': 403,
  'proof-invalid': 403,
  'proof-expired': 403,
  'amount-mismatch': 403,
  'payee-mismatch': 403,
  'payment-spent': 403,
  'token-invalid': 403,
}

/**
 * The gateway profile over HTTP, for sellers and buyers: `WWW-Authenticate: Bearer realm="payment_gateway"`, a body that says
 * the same and more, and a retry with three fields of its own. It never looks at `Authorization`, which stays the
 * application's. Pure; see the README beside it.
 */
export function bearer(settings: BearerSettings): Protocol {
  const forms = formsOf(settings.parts)
  const { mints = [], clock = systemClock } = settings

  function read(said: Shown, resource: Resource): Read | Promise<Read> {
    const { intent } = said
    if (intent !== undefined && isIntent(intent)) return readBound(intent, said, resource)
    const taken = forms.flatMap((form) => {
      const proof = form.readProof(said)
      return typeof proof === 'string' ? [] : [{ form, proof }]
    })
    const [first, ...others] = taken
    if (!first) return readToken(said)
    const [network = '', ...networks] = first.form.networks
    // Who pays over one of several networks must say over which: his proof would be looked for on another.
    if (others.length > 0 || networks.length > 0) return ambiguous
    return { offer: { rail: first.form.rail, network }, proof: first.proof }
  }

  function readBound(intent: string, shown: Shown, resource: Resource): Read {
    const found = readIntent(intent, forms)
    if (typeof found === 'string') return malformed(INTENT, found)
    const { form, offer } = found
    const proof = form.readProof(shown)
    if (typeof proof === 'string') return malformed(PROOF, proof)
    return { offer: { ...offer, resource }, proof }
  }

  /** A token stands alone, or with whatever the client calls its payment. */
  function readToken({ proof }: Shown): Read | Promise<Read> {
    if (proof === undefined) return unproved
    return checkBy(proof)

    function checkBy(token: string, from = 0): Read | Promise<Read> {
      const mint = mints[from]
      if (!mint) return unknown
      const minted = mint.check(token)
      const found = (one: Minted): Read | Promise<Read> =>
        one === undefined ? checkBy(token, from + 1) : readGrant(one)
      return minted instanceof Promise ? minted.then(found) : found(minted)
    }
  }

  return {
    name: 'bearer',
    fields: { request: [INTENT, PROOF, TIMESTAMP], response: ['WWW-Authenticate'] },
    statuses,
    ...(forms.some(({ distinct }) => distinct === true) && { distinct: true }),

    writeChallenge: (challenge) => writeAsked(forms, challenge, clock.now()),

    // The body says all of it again.
    stand: () => ({ lean: '' }),

    readChallenge: (message, resource) => readOffered(forms, message, resource, clock.now()),

    writeCredential({ offer, proof }) {
      if (proof === undefined || !offer) return { fields: [] }
      assert(isBound(offer), 'a payer pays a whole offer')
      const { intent } = offer.echo as Echo
      const form = forms.find(
        ({ rail, networks }) => rail === offer.rail && networks.includes(offer.network),
      )
      const said: Said = form?.writeProof(proof) ?? {}
      const named = intent ?? said.intent
      const shown = said.proof ?? (intent === undefined ? undefined : said.intent)
      return {
        fields: [
          ...(named === undefined ? [] : [[INTENT, named] as const]),
          ...(shown === undefined ? [] : [[PROOF, shown] as const]),
          [TIMESTAMP, new Date(clock.now()).toISOString()],
        ],
      }
    },

    readCredential(fields, resource) {
      if (forms.length === 0 && mints.length === 0) return undefined
      const said = readFields(fields, clock.now())
      return !said || 'code' in said ? said : read(said, resource)
    },

    // The profile has no receipt: the answer is one.
    writeReceipt: () => ({ fields: [] }),
    readReceipt: () => undefined,
  }
}

/** What the fields bring, bounded and of now; undefined where they bring no payment. */
function readFields(fields: Fields, now: number): Shown | Problem | undefined {
  const intent = fields.get(INTENT) ?? undefined
  const proof = fields.get(PROOF) ?? undefined
  if (intent === undefined && proof === undefined) return undefined
  if (intent !== undefined && !isPlain(intent, INTENT_CHARS_MAX)) return unreadable(INTENT)
  if (proof !== undefined && !isPlain(proof, PROOF_CHARS_MAX)) return unreadable(PROOF)
  const stamp = fields.get(TIMESTAMP) ?? undefined
  const timestampMs = stamp === undefined ? undefined : readTimestamp(stamp)
  if (timestampMs === undefined) return stamp === undefined ? unstamped : misstamped
  if (!isFresh(timestampMs, now)) return stale
  return {
    timestampMs,
    ...(intent !== undefined && { intent }),
    ...(proof !== undefined && { proof }),
  }
}

/** One piece of visible text: two fields of one name arrive joined by a comma and a space (RFC 9110, 5.3). */
function isPlain(text: string, charsMax: number): boolean {
  return text.length <= charsMax && /^[!-~]+$/.test(text)
}

function readGrant(minted: Grant | string): Read {
  if (typeof minted === 'string') return problem('token-invalid', minted)
  return minted.rights.payerKeys ? keyed : { grant: minted }
}

function malformed(field: string, why: string): Problem {
  return problem('credential-malformed', `${field} cannot be read. ${why}`)
}

function unreadable(field: string): Problem {
  return malformed(
    field,
    'Send it once, in visible ASCII without spaces, and not longer than a head allows.',
  )
}

const ambiguous = problem(
  'credential-unsupported',
  'The payment could have been made in more than one way. Send the payment_intent of the offer that it was made for in X-Payment-Intent.',
)
const unproved = problem(
  'credential-malformed',
  'X-Payment-Intent is neither an offer of this service nor a payment that is taken here. Send the proof in X-Payment-Proof.',
)
const unknown = problem(
  'credential-malformed',
  'X-Payment-Proof is no proof of a payment that is taken here.',
)
const keyed = problem(
  'token-invalid',
  'The token belongs to a key. Send it as "Authorization: DPoP <token>", with a proof of that key.',
)
const unstamped = problem(
  'credential-malformed',
  'X-Payment-Timestamp is missing. Send the present moment, in Unix seconds or ISO 8601.',
)
const misstamped = malformed(TIMESTAMP, 'Write Unix seconds, or ISO 8601 with a zone.')
const stale = problem(
  'proof-expired',
  `X-Payment-Timestamp lies more than ${TIMESTAMP_WINDOW_MS / 60_000} minutes from now. Nothing was taken; send the same payment with the present moment.`,
)
