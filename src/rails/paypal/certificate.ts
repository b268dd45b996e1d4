import { X509Certificate } from 'node:crypto'
import { rootCertificates } from 'node:tls'
import type { Clock } from '../../core/ports.ts'
import type { HttpClient } from '../../net/http.ts'
import { HttpFault } from '../../net/http.ts'

/** Most certificates in one chain. */
const CHAIN_MAX = 6
/** Most addresses whose certificate is kept. */
const KEPT_MAX = 16
/** How long one is kept. */
export const KEEP_MS = 86_400_000
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,16000}-----END CERTIFICATE-----/g

/** What finding certificates needs. */
export interface CertificateParts {
  readonly http: HttpClient
  readonly clock: Clock
  /** The one origin that certificates are fetched from. */
  readonly origin: string
  /** What a certificate must be made out to. */
  readonly name: string
  /** Whose signature is taken, in PEM; the public authorities' if absent. */
  readonly ca?: string
}

/** Finds the certificate that an event names: from the one host, chained to an authority, made out to PayPal, in its time. */
export interface Certificates {
  /** `foreign`: nobody is asked for it, or it does not hold. `silent`: it cannot be fetched now. */
  find(address: string): Promise<X509Certificate | 'foreign' | 'silent'>
}

/** Makes the finder. What was found is kept for a day. */
export function createCertificates(parts: CertificateParts): Certificates {
  const { http, clock, origin, name } = parts
  const kept = new Map<
    string,
    { readonly chain: readonly X509Certificate[]; readonly untilAt: number }
  >()
  let roots: readonly X509Certificate[] | undefined

  /** Reading all of the machine's takes a while, so that it is done when the first is needed. */
  function authorities(): readonly X509Certificate[] {
    const { ca } = parts
    roots ??= ca === undefined ? rootCertificates.map(readOne) : chainOf(ca)
    return roots
  }

  function holds(chain: readonly X509Certificate[]): boolean {
    const [leaf] = chain
    if (!leaf || leaf.checkHost(name, { subject: 'always', wildcards: false }) === undefined)
      return false
    if (!chain.every((one) => isInTime(one, clock.now()))) return false
    return isChained(chain, authorities(), clock.now())
  }

  async function fetched(address: string): Promise<readonly X509Certificate[] | undefined> {
    const before = kept.get(address)
    if (before && before.untilAt > clock.now()) return before.chain
    const answer = await http
      .ask({ method: 'GET', url: address, headers: { accept: '*/*' } })
      .catch((error: unknown) => {
        if (error instanceof HttpFault) return undefined
        throw error
      })
    if (answer?.status !== 200) return undefined
    const chain = chainOf(answer.text)
    const [oldest] = kept.size < KEPT_MAX ? [] : kept.keys()
    if (oldest !== undefined) kept.delete(oldest)
    // What does not hold is not kept: whoever names addresses must not fill this.
    if (holds(chain)) kept.set(address, { chain, untilAt: clock.now() + KEEP_MS })
    return chain
  }

  return {
    async find(address) {
      if (!isOurs(address, origin)) return 'foreign'
      const chain = await fetched(address)
      if (!chain) return 'silent'
      return holds(chain) ? (chain[0] ?? 'foreign') : 'foreign'
    },
  }
}

/** The very origin and the very folder: a host that only contains the name is somebody else's. */
function isOurs(address: string, origin: string): boolean {
  const url = URL.parse(address)
  if (!url || url.origin !== origin || url.username !== '' || url.password !== '') return false
  return /^\/v1\/notifications\/certs\/[\w-]{1,128}$/.test(url.pathname) && url.search === ''
}

function isChained(
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  now: number,
): boolean {
  for (const [i, one] of chain.entries()) {
    // The server may leave the authority out, or send it along.
    if (roots.some((root) => isInTime(root, now) && (isSame(one, root) || isIssued(one, root))))
      return true
    const next = chain[i + 1]
    if (!next || !isIssued(one, next)) return false
  }
  return false
}

function isIssued(one: X509Certificate, by: X509Certificate): boolean {
  return by.ca && one.checkIssued(by) && one.verify(by.publicKey)
}

function isSame(one: X509Certificate, other: X509Certificate): boolean {
  return one.fingerprint256 === other.fingerprint256
}

function isInTime({ validFrom, validTo }: X509Certificate, now: number): boolean {
  return Date.parse(validFrom) <= now && now <= Date.parse(validTo)
}

/** The certificates in a text; none where one of them cannot be read, or there are too many. */
function chainOf(pem: string): readonly X509Certificate[] {
  const texts = pem.match(CERTIFICATE) ?? []
  if (texts.length > CHAIN_MAX) return []
  try {
    return texts.map(readOne)
  } catch {
    return []
  }
}

function readOne(pem: string): X509Certificate {
  return new X509Certificate(pem)
}
