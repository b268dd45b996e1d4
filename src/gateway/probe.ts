import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { isEntry, saleOf } from '../config/document.ts'
import type { Document } from '../config/document.ts'
import { readJson } from '../core/json.ts'
import type { Protocol } from '../core/ports.ts'
import type { House } from './house.ts'
import { listen } from './server.ts'
import { createRewrite } from './target.ts'

/** How long an answer may take that is looked for. */
export const PROBE_MS = 10_000
/** Longest answer that is read for its challenge, in bytes. */
const CHALLENGE_BYTES_MAX = 262_144

/** What was found: `good`, `bad` (it will not work), `warning` (it works, and something should be known), `unknown`. */
export interface Finding {
  readonly what: string
  readonly state: 'good' | 'bad' | 'warning' | 'unknown'
  readonly sentence: string
}

/** Looks for every upstream, whether it answers at all. Nothing is asked of it but `GET` of its root. */
export async function probeUpstreams({ upstreams }: Document): Promise<readonly Finding[]> {
  return await Promise.all(
    Object.entries(upstreams).map(async ([name, said]): Promise<Finding> => {
      const what = `upstream ${name}`
      const status = await statusOf(urlOf(said))
      return status === undefined
        ? { what, state: 'bad', sentence: `Nothing answers at ${urlOf(said)}.` }
        : { what, state: 'good', sentence: `It answers (${status} at its root).` }
    }),
  )
}

/**
 * Asks every route without paying, as payers would: what is sold must be told in a way that one of the readers understands.
 * Free routes are asked only where asking changes nothing.
 */
export async function probeRoutes(
  document: Document,
  house: House,
  readers: readonly Protocol[],
): Promise<readonly Finding[]> {
  const server = await listen({ host: '127.0.0.1', port: 0 }, house)
  const { port } = new URL(server.url)
  const [origin = ''] = [document.origin].flat()
  try {
    const found: Finding[] = []
    for (const [key, said] of Object.entries(document.routes)) {
      const isFree = saleOf(said) === 'free'
      const { path, verbs } = samplesOf(key, said)
      for (const verb of verbs) {
        const what = verbs.length > 1 ? `route ${key}, ${verb}` : `route ${key}`
        if (isFree && verb !== 'GET')
          found.push({ what, state: 'unknown', sentence: 'It is free, and asking it would do it.' })
        else if (isEntry(said) && said.free !== undefined)
          found.push({ what, state: 'unknown', sentence: 'It gives the first requests away.' })
        else {
          const answer = await ask(Number(port), verb, path, origin)
          found.push({ what, ...judge(answer, isFree, readers, { verb, path, origin }) })
        }
      }
    }
    return found
  } finally {
    await server.drain(0)
  }
}

/**
 * Asks the upstreams for what is sold, around the gateway. Whoever can do the same has it for nothing. Only what is asked with
 * `GET` is tried.
 */
export async function probeAround({ upstreams, routes }: Document): Promise<readonly Finding[]> {
  const names = Object.keys(upstreams)
  const found: Finding[] = []
  for (const [key, said] of Object.entries(routes)) {
    const { verb, path: pattern } = patternOf(key)
    if (saleOf(said) === 'free' || (verb !== 'GET' && verb !== '*')) continue
    const path = sampleOf(pattern)
    const entry = isEntry(said) ? said : {}
    const upstream = upstreams[entry.upstream ?? names[0] ?? '']
    if (upstream === undefined) continue
    const there = entry.rewrite === undefined ? path : createRewrite(key, entry.rewrite)(path)
    const url = urlOf(upstream).replace(/\/$/, '') + there
    found.push({ what: `around ${key}`, ...around(url, await statusOf(url)) })
  }
  return found
}

function around(url: string, status: number | undefined): Omit<Finding, 'what'> {
  if (status === undefined) return { state: 'unknown', sentence: 'The upstream does not answer.' }
  if (status === 401 || status === 403)
    return { state: 'good', sentence: `The upstream refuses it without the gateway (${status}).` }
  if (status < 200 || status > 299)
    return { state: 'unknown', sentence: `The upstream says ${status} to a made-up request.` }
  const { hostname } = new URL(url)
  const isHere = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname)
  return {
    state: 'warning',
    sentence: isHere
      ? 'The upstream serves it without the gateway, to whoever is on this machine. Let it check the signature.'
      : 'The upstream serves it without the gateway: whoever reaches it pays nothing. Close it to others, or let it check the signature.',
  }
}

interface Said {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

function judge(
  said: Said | undefined,
  isFree: boolean,
  readers: readonly Protocol[],
  { verb, path, origin }: { readonly verb: string; readonly path: string; readonly origin: string },
): Omit<Finding, 'what'> {
  if (!said) return { state: 'bad', sentence: 'The gateway itself did not answer.' }
  const { status, headers, text } = said
  if (isFree)
    return status >= 500
      ? { state: 'bad', sentence: `It is free and answers ${status}.` }
      : { state: 'good', sentence: `It is free (${status}).` }
  if (status !== 402)
    return { state: 'bad', sentence: `It answers ${status} instead of a price. ${whyOf(text)}` }
  const { host } = new URL(origin)
  const resource = {
    realm: host,
    method: verb,
    authority: host,
    path,
    query: '',
    url: origin + path,
  }
  const fields = { get: (name: string) => headers[name.toLowerCase()]?.toString() }
  const body = readJson(text, CHALLENGE_BYTES_MAX)
  const spoken = readers.flatMap((reader) => {
    const challenge = reader.readChallenge(
      { status, fields, ...(body !== undefined && { body }) },
      resource,
    )
    return challenge && challenge.offers.length > 0
      ? [`${reader.name} (${challenge.offers.length})`]
      : []
  })
  return spoken.length > 0
    ? { state: 'good', sentence: `It tells its price: ${spoken.join(', ')}.` }
    : { state: 'bad', sentence: `It asks for a payment that nobody can make. ${whyOf(text)}` }
}

/** The sentence of a problem, which is ours. */
function whyOf(text: string): string {
  const body = readJson(text, CHALLENGE_BYTES_MAX)
  const detail = typeof body === 'object' && body && 'detail' in body ? body['detail'] : ''
  return typeof detail === 'string' ? detail : ''
}

/** Requests that match: one with each verb that has a price of its own. */
function samplesOf(
  key: string,
  said: Document['routes'][string],
): { readonly verbs: readonly string[]; readonly path: string } {
  const { verb, path } = patternOf(key)
  const { price } = isEntry(said) ? said : {}
  const rule = typeof price === 'object' && !Array.isArray(price) ? price : {}
  const counted = [rule.each ?? []].flat().flatMap(({ param }) => param ?? [])
  const named = (rule.when ?? []).flatMap(({ method }) => method ?? [])
  return {
    verbs: verb === '*' ? [...new Set(['GET', 'POST', ...named])] : [verb],
    path: sampleOf(path, counted),
  }
}

function patternOf(key: string): { readonly verb: string; readonly path: string } {
  const [, verb = '*', path = '/'] = /^(?:(\S+) )?(\S+)$/.exec(key) ?? []
  return { verb, path }
}

/** What is counted is a number. */
function sampleOf(pattern: string, counted: readonly string[] = []): string {
  return pattern.replaceAll(/(?<=\/)(?::(\w+)|\*$)/g, (_, name: string | undefined) =>
    name !== undefined && counted.includes(name) ? '1' : 'probe',
  )
}

function urlOf(said: Document['upstreams'][string]): string {
  return typeof said === 'string' ? said : said.url
}

async function statusOf(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(PROBE_MS) })
    await response.body?.cancel()
    return response.status
  } catch {
    return undefined
  }
}

/** Asks the gateway under its public name. */
function ask(
  port: number,
  method: string,
  path: string,
  origin: string,
): Promise<Said | undefined> {
  const { promise, resolve } = Promise.withResolvers<Said | undefined>()
  const headers = { host: new URL(origin).host }
  const signal = AbortSignal.timeout(PROBE_MS)
  const asked = request({ host: '127.0.0.1', port, method, path, headers, signal, agent: false })
  asked.on('error', () => resolve(undefined))
  asked.on('response', (response) => {
    let text = ''
    response.setEncoding('utf8')
    response.on('data', (piece: string) => {
      if (text.length < CHALLENGE_BYTES_MAX) text += piece
    })
    response.on('error', () => resolve(undefined))
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
    )
  })
  asked.end()
  return promise
}
