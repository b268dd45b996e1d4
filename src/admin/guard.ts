import { isIP } from 'node:net'
import type { IncomingMessage } from 'node:http'
import { Refused } from './refusal.ts'

/** What every answer says. Nothing is loaded from elsewhere, nothing is framed, nothing is kept. */
export const securityFields: Readonly<Record<string, string>> = {
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; '),
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=(), payment=()',
}

/** Must be there, with any value, wherever a cookie changes something: no page of another origin can send it unasked. */
export const CSRF_FIELD = 'x-tolsey-admin'

/** Methods that change nothing. */
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD'])

/** Looks at where a request comes from, before anything else of it is believed. */
export interface Guard {
  /** @throws {Refused} for a host that is not ours, or a page of another origin. */
  check(request: IncomingMessage): void
}

/**
 * Makes the guard. `hosts` are the names under which the dashboard is reached, beside `localhost` and addresses in numbers: a
 * page that points its own name at this machine is not among them (DNS rebinding).
 * @throws {RangeError} for what is no host name.
 */
export function createGuard(hosts: readonly string[]): Guard {
  const known = new Set(['localhost', ...hosts.map((host) => host.toLowerCase())])
  const wrong = hosts.find((host) => !/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/i.test(host))
  if (wrong !== undefined)
    throw new RangeError(`"${wrong}" is no host name. Write it like "admin.example.com".`)

  return {
    check(request) {
      const authority = authorityOf(request)
      const name = nameOf(authority)
      if (name === undefined || !(known.has(name) || isAddress(name)))
        throw new Refused('host-unknown', 'Name this host in the settings of the dashboard.')
      const { origin } = request.headers
      const site = request.headers['sec-fetch-site']
      const isForeign =
        (origin !== undefined && origin.replace(/^https?:\/\//, '') !== authority) ||
        (!isSafe(request) && site !== undefined && site !== 'same-origin' && site !== 'none')
      if (isForeign) throw new Refused('forbidden', 'Only pages of this very origin may ask here.')
    },
  }
}

/** Whether the request only looks. */
export function isSafe({ method = '' }: IncomingMessage): boolean {
  return SAFE.has(method)
}

function authorityOf({ headers }: IncomingMessage): string {
  const said = headers[':authority'] ?? headers.host ?? ''
  return String(said).toLowerCase()
}

function nameOf(authority: string): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[^:/@\s]+)(?::\d{1,5})?$/.exec(authority)?.[1]
}

function isAddress(name: string): boolean {
  return isIP(name.replaceAll(/^\[|\]$/g, '')) !== 0
}
