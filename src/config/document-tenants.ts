import type { Mistake, Steps, Text } from './document-text.ts'
import type { Document, TenantEntry } from './document-entries.ts'
import { isQueue } from './document-words.ts'

/** A tenant, and the document that it would have alone. */
export interface Tenant {
  readonly name: string
  readonly entry: TenantEntry
  readonly document: Document
}

/** The tenants of a document. Where it listens, its books, its Redis, its proxies and limits of size and time are the gateway's. */
export function tenantsOf(document: Document): readonly Tenant[] {
  const { listen, origin, ledger, redis, proxies, timeouts, sizes, tenants = {} } = document
  const shared = { listen, origin, ledger, redis, proxies, timeouts, sizes }
  return Object.entries(tenants).map(([name, entry]) => {
    const { path, origin: own = origin, ...rest } = entry
    const realm = rest.realm ?? (path === undefined ? undefined : realmOf(own) + path)
    return { name, entry, document: { ...shared, ...rest, origin: own, realm } }
  })
}

/** Sellers below paths of one host have no more than their paths to be told apart by. */
function realmOf(origin: Document['origin']): string {
  const [first = ''] = [origin].flat()
  return URL.canParse(first) ? new URL(first).host : first
}

/** A document's text, as if a tenant's part of it were all of it. */
export function within(text: Text, name: string): Text {
  const mistake = (steps: Steps, sentence: string): Mistake =>
    text.mistake(['tenants', name, ...steps], sentence)
  return { ...text, mistake }
}

/** What is wrong between sellers, of whom each is well by itself. */
export function examineTenants(document: Document, text: Text): readonly Mistake[] {
  const tenants = tenantsOf(document)
  return [
    ...tenants.flatMap(({ name, entry }) => examinePlace(document, entry, within(text, name))),
    ...twice(document, text, 'origin', (one, entry) =>
      entry?.path === undefined ? [one.origin].flat().map(hostOf) : [],
    ),
    ...twice(document, text, 'path', (_, entry) => (entry?.path === undefined ? [] : [entry.path])),
    ...twice(document, text, 'rails', ({ rails }) =>
      [rails.evm ?? []].flat().map(({ network, payTo }) => `${network} ${payTo.toLowerCase()}`),
    ),
    ...twice(document, text, 'vault', ({ vault }) =>
      vault === undefined ? [] : [typeof vault === 'string' ? vault : vault.directory],
    ),
    ...twice(document, text, 'events', ({ events }) =>
      events?.file === undefined ? [] : [events.file],
    ),
    ...twice(document, text, 'admin', ({ admin }) => (admin === undefined ? [] : [`${admin}`])),
  ]
}

function hostOf(origin: string): string {
  return URL.canParse(origin) ? new URL(origin).host : origin
}

/** A tenant below a path shares hosts with others, and so all that stands at one path of a host. */
function examinePlace(
  document: Document,
  { origin, path, default: rest = 'closed', routes, ...entry }: TenantEntry,
  text: Text,
): readonly Mistake[] {
  if (path === undefined)
    return origin === undefined
      ? [text.mistake([], 'Say where this seller is: an "origin" of its own, or a "path".')]
      : []
  const found: Mistake[] = []
  const no = (steps: Steps, sentence: string): void =>
    void found.push(text.mistake(steps, sentence))
  if (origin !== undefined) no(['path'], 'A seller has an "origin" of its own, or a "path".')
  for (const steps of ofHosts(entry)) no(steps, 'What stands here needs an "origin" of its own.')
  if (rest !== 'closed') no(['default'], 'Below a "path" what is not named is closed.')
  for (const [key, said] of Object.entries(routes)) {
    if (typeof said !== 'object' || Array.isArray(said)) continue
    const member = said.task ? 'task' : 'fallback'
    if (said.task || isQueue(said.fallback))
      no(['routes', key, member], 'Tasks are fetched at a host: this needs an "origin" of its own.')
  }
  for (const key of Object.keys(routes))
    if (!isBelow(path, key.slice(key.indexOf('/'))))
      no(['routes', key], `This is not below "${path}".`)
  for (const { entry } of tenantsOf(document))
    if (entry.path !== undefined && entry.path !== path && isBelow(entry.path, path))
      no(['path'], `This is below "${entry.path}", which is another seller's.`)
  for (const key of Object.keys(document.routes))
    if (isBelow(path, key.slice(key.indexOf('/'))))
      no(['path'], `The document itself sells "${key}" below it.`)
  return found
}

/** What is answered at one path of a host, beside the routes. */
function* ofHosts({
  plans,
  tokens,
  page,
  rails: { stripe, paypal },
}: Omit<TenantEntry, 'origin' | 'path' | 'default' | 'routes'>): Generator<Steps> {
  if (plans) yield ['plans']
  if (tokens) yield ['tokens']
  if (page) yield ['page']
  if (stripe?.webhook) yield ['rails', 'stripe', 'webhook']
  if (paypal?.webhookId !== undefined) yield ['rails', 'paypal', 'webhookId']
}

/** Whether a path, or a pattern, is the other one or below it. */
export function isBelow(path: string, said: string): boolean {
  return said === path || said.startsWith(`${path}/`)
}

/** What must be said by one seller only. */
function* twice(
  document: Document,
  text: Text,
  member: string,
  pick: (document: Document, entry: TenantEntry | undefined) => readonly string[],
): Generator<Mistake> {
  const seen = new Map(pick(document, undefined).map((value) => [value, 'the document itself']))
  for (const { name, entry, document: one } of tenantsOf(document))
    for (const value of new Set(pick(one, entry))) {
      const other = seen.get(value)
      seen.set(value, `"${name}"`)
      if (other !== undefined)
        yield text.mistake(
          ['tenants', name, member],
          `What stands here is ${other}'s too. Sellers share nothing of it.`,
        )
    }
}
