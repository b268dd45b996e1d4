import { Buffer } from 'node:buffer'
import { readToken } from './codec.ts'

/** What can be told of anybody's macaroon. Nothing is verified, and nothing is to be decided by it but where to show it. */
export interface Said {
  /** Names of the services that it is for, without their tiers. */
  readonly services?: readonly string[]
  /** Milliseconds since 1970. */
  readonly expiresAt?: number
  /** It was sold with one request, and pays for no other: ours, without a service. */
  readonly single?: boolean
}

/** Times that servers write: ours, and `<service>_valid_until` of others, in Unix seconds. */
const EXPIRY = /^(?:expires|(?:.+_)?valid_until)=([1-9]\d{0,11})$/
const SERVICES = /^services=(.+)$/

/** What the caveats of a macaroon tell its holder; undefined for a text that is none. */
export function saidIn(token: string): Said | undefined {
  const read = readToken(token)
  if (typeof read === 'string') return undefined
  const texts = read[0]?.caveats.map(({ id }) => Buffer.from(id).toString('latin1')) ?? []
  const services = texts.flatMap((text) => namesIn(SERVICES.exec(text)?.[1]))
  const ends = texts.flatMap((text) => EXPIRY.exec(text)?.[1] ?? []).map(Number)
  const isSold = texts[0]?.startsWith('offer=') ?? false
  return {
    ...(services.length > 0 && { services }),
    ...(ends.length > 0 && { expiresAt: Math.min(...ends) * 1000 }),
    ...(isSold && services.length === 0 && { single: true }),
  }
}

/** `name:tier,name:tier` */
function namesIn(list: string | undefined): readonly string[] {
  return list?.split(',').map((one) => one.replace(/:\d+$/, '')) ?? []
}
