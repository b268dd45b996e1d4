import { BlockList, isIPv4, isIPv6 } from 'node:net'
import type { Fields } from '../core/ports.ts'

/** Of a longer list of hops only so many characters at its right end are read, in which the nearest hops stand. */
export const FORWARDED_CHARS_MAX = 4_096
/** Most hops of our own that are walked through. */
export const HOPS_MAX = 16
/** Most entries in the list of trusted proxies. */
export const TRUSTED_MAX = 1_024
/** One IPv6 customer has at least so long a prefix to himself (RFC 6177), so all of it is one caller. */
export const IPV6_BITS = 64
/** A shorter prefix would throw whole providers together. */
export const IPV6_BITS_MIN = 32

/** Most commas that may stand in the quoted texts of one element of `Forwarded`. */
const COMMAS_MAX = 4

/** Whom to believe about who is asking. */
export interface CallerSettings {
  /**
   * Proxies of our own: addresses and prefixes (`10.0.0.0/8`, `fd00::/8`), and `unix` for peers without an address. Nobody
   * if absent.
   */
  readonly trusted?: readonly string[]
  /**
   * The field in which they add the address that they were called from; `x-forwarded-for` if absent. Only the one is read: a
   * proxy that adds to one lets the other through as a stranger wrote it.
   */
  readonly field?: 'forwarded' | 'x-forwarded-for'
  /** Length of the IPv6 prefix that counts as one caller, 32 to 64; {@link IPV6_BITS} if absent. */
  readonly ipv6Bits?: number
}

/** A request, as far as it tells who asks. */
export interface Calling {
  /** The address at the other end of the socket, where there is one. */
  readonly address?: string | undefined
  readonly fields: Fields
}

/**
 * Names who is asking: `token:` and the id of a token, if one is given, otherwise `ip:` and the address that asks: IPv4
 * whole, of IPv6 the prefix. All who cannot be told apart have the same name. The token must have been verified before: an
 * id that anybody can make up is a new caller for nothing.
 */
export type CallerOf = (calling: Calling, token?: string) => string

/** An address in parts; IPv4 that is written as IPv6 is IPv4. */
type Address =
  | { readonly family: 'ipv4'; readonly text: string }
  | { readonly family: 'ipv6'; readonly text: string; readonly groups: readonly number[] }

/**
 * Makes the namer.
 *
 * What a proxy says is believed only from a trusted peer, and read from the right: each trusted hop is passed, and the first
 * other address is who asks. A hop that hides its caller, or says what is no address, is itself the caller.
 * @throws {RangeError} with a sentence, when the settings cannot be meant.
 */
export function createCallers(settings: CallerSettings = {}): CallerOf {
  const { trusted = [], field = 'x-forwarded-for', ipv6Bits = IPV6_BITS } = settings
  if (field !== 'forwarded' && field !== 'x-forwarded-for')
    throw new RangeError('Callers are read from "forwarded" or "x-forwarded-for".')
  if (!Number.isInteger(ipv6Bits) || ipv6Bits < IPV6_BITS_MIN || ipv6Bits > 64)
    throw new RangeError(`An IPv6 prefix of a caller has ${IPV6_BITS_MIN} to 64 bits.`)
  const isOurs = readTrusted(trusted)
  const hopsOf = field === 'forwarded' ? forwardedHops : plainHops

  function origin({ address, fields }: Calling): Address | undefined {
    let caller = address === undefined ? undefined : readAddress(address)
    // A peer with an address that cannot be read is nobody's proxy.
    if ((address !== undefined && !caller) || !isOurs(caller)) return caller
    const said = fields.get(field) ?? ''
    let left = HOPS_MAX
    for (const hop of hopsOf(said)) {
      const next = readHop(hop)
      if (!next || left-- === 0) return caller
      caller = next
      if (!isOurs(caller)) return caller
    }
    return caller
  }

  return (calling, token) =>
    token === undefined ? `ip:${nameOf(origin(calling), ipv6Bits)}` : `token:${token}`
}

function nameOf(address: Address | undefined, ipv6Bits: number): string {
  if (!address) return 'unknown'
  if (address.family === 'ipv4') return address.text
  const masked = address.groups.slice(0, 4).map((group, i) => {
    const hidden = Math.min(16, Math.max(0, 16 * (i + 1) - ipv6Bits))
    return (group >>> hidden) << hidden
  })
  return `${masked.map((group) => group.toString(16)).join(':')}::/${ipv6Bits}`
}

function readTrusted(entries: readonly string[]): (address: Address | undefined) => boolean {
  if (entries.length > TRUSTED_MAX)
    throw new RangeError(`There are more than ${TRUSTED_MAX} trusted proxies.`)
  // One list for each family: in a common one a prefix like ::/1 would trust all of IPv4.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  const unix = entries.includes('unix')
  for (const entry of entries) if (entry !== 'unix') addTrusted(lists, entry)
  return (address) => (address ? lists[address.family].check(address.text, address.family) : unix)
}

function addTrusted(lists: Readonly<Record<Address['family'], BlockList>>, entry: string): void {
  const [, host = '', said] = /^([^/]*)(?:\/(0|[1-9]\d{0,2}))?$/.exec(entry) ?? []
  const address = readAddress(host)
  const wide = isIPv4(host) ? 32 : 128
  // An IPv4 prefix in the clothes of IPv6 is 96 bits longer.
  const bits = Number(said ?? wide) - (address?.family === 'ipv4' && wide === 128 ? 96 : 0)
  if (!address || Number(said ?? 0) > wide || bits < 0)
    throw new RangeError(
      `"${entry}" is no address or prefix. Write it like 10.0.0.0/8 or fd00::/8.`,
    )
  if (bits === 0)
    throw new RangeError(`"${entry}" trusts everybody, and then all may call themselves anything.`)
  lists[address.family].addSubnet(address.text, bits, address.family)
}

/** The elements of a plain list, from the right, without the empty ones (RFC 9110, 5.6.1). */
function* plainHops(said: string): Generator<string> {
  const kept = said.slice(-FORWARDED_CHARS_MAX)
  const cut = kept.length < said.length
  for (let end = kept.length; end >= 0;) {
    const comma = end === 0 ? -1 : kept.lastIndexOf(',', end - 1)
    // The first element of what was kept may have lost its beginning.
    if (comma < 0 && cut) return
    const hop = kept.slice(comma + 1, end).trim()
    if (hop !== '') yield hop
    end = comma
  }
}

const PAIR = `[!#$%&'*+.^\`|~\\w-]+=(?:"(?:[^"\\\\]|\\\\.)*"|[^\\s",;\\\\]+)`
const ELEMENT = new RegExp(`^${PAIR}(?:[ \\t]*;[ \\t]*${PAIR})*$`)
const FOR = new RegExp(`(?:^|;)[ \\t]*for=(?:"([^"]*)"|([^\\s",;]+))`, 'gi')

/**
 * What stands as `for` in each element, from the right (RFC 7239, 4). The shortest end of the list that is an element was
 * written by the nearest hop: a quote that a stranger left open to its left swallows nothing. What is no element ends the
 * walk as a hop without a name.
 */
function* forwardedHops(said: string): Generator<string> {
  let tail: string[] = []
  for (const part of plainHops(said)) {
    tail = [part, ...tail]
    const element = tail.join(',')
    const whole = ELEMENT.test(element)
    if (whole || tail.length > COMMAS_MAX) yield whole ? forOf(element) : ''
    if (whole) tail = []
  }
  if (tail.length > 0) yield ''
}

/** The one node that an element names; empty if it names none or several. */
function forOf(element: string): string {
  const bare = element.replaceAll(/"(?:[^"\\]|\\.)*"/g, (text) =>
    /[;\\]/.test(text) ? '""' : text,
  )
  const found = [...bare.matchAll(FOR)]
  const [first] = found
  return found.length === 1 ? (first?.[1] ?? first?.[2] ?? '') : ''
}

/** An address as a proxy writes it: with brackets, with a port, or plain. */
function readHop(hop: string): Address | undefined {
  const [, v6, v4] = /^(?:\[([^\]]*)\](?::\w+)?|([\d.]+)(?::\w+)?)$/.exec(hop) ?? []
  return readAddress(v6 ?? v4 ?? hop)
}

function readAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 'ipv4', text }
  const [bare = ''] = text.split('%')
  if (!isIPv6(bare)) return undefined
  const groups = groupsOf(bare)
  const [a = 0, b = 0] = groups.slice(6)
  // RFC 4291, 2.5.5.2: how a socket for both families shows IPv4.
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff)
    return { family: 'ipv4', text: [a >>> 8, a & 255, b >>> 8, b & 255].join('.') }
  return { family: 'ipv6', text: bare, groups }
}

/** The eight groups of an IPv6 address that is known to be one. */
function groupsOf(text: string): readonly number[] {
  const dotted = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = bytes.slice(0, 4).map(Number)
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  })
  const read = (half: string): number[] =>
    half === '' ? [] : half.split(':').map((group) => Number.parseInt(group, 16))
  const [left = '', right] = dotted.split('::')
  if (right === undefined) return read(left)
  const [head, rest] = [read(left), read(right)]
  return [...head, ...Array<number>(8 - head.length - rest.length).fill(0), ...rest]
}
