import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { createLocator } from '../adapters/origin.ts'
import { isBelow, tenantsOf, within } from '../config/document-tenants.ts'
import type { Tenant } from '../config/document-tenants.ts'
import type { Document, SecretRef } from '../config/document.ts'
import { createSecrets, DocumentError, openLedger } from '../config/registry.ts'
import type { Source } from '../config/registry.ts'
import { systemChance, uuid } from '../core/chance.ts'
import type { Observe } from '../core/event.ts'
import type { Ledger } from '../core/ports.ts'
import { tenantLedger } from '../ledger/tenant.ts'
import type { House } from './house.ts'
import { openOffice } from './office.ts'
import type { Office } from './office.ts'
import type { DocumentHouse, OpenHouseOptions } from './open.ts'
import { adminOf, openOne } from './open.ts'
import { refuseFor, sendRefusal } from './problems.ts'
import { listen } from './server.ts'
import type { Listening } from './server.ts'
import { readTarget } from './target.ts'
import { refuseUpgrade } from './upgrade.ts'

/** Most requests of one tenant at once, if the document does not say. */
export const TENANT_REQUESTS_MAX = 1_024

/** The house of several sellers, and what they share. */
interface TenantsHouse extends DocumentHouse {
  readonly books: SharedBooks
  readonly tenants: ReadonlyMap<string, OpenTenant>
}

/** The one ledger that lies under the books of all. */
interface SharedBooks {
  readonly ledger: Ledger
  readonly print: string
  users: number
}

/** A tenant that is open. */
interface OpenTenant {
  readonly open: DocumentHouse
  readonly desk: Desk | undefined
  readonly ear: Ear
}

/**
 * Who hears of a tenant now. Parts that are the same after a reload tell whom they were opened with, though its desk may be
 * another by then.
 */
interface Ear {
  desk: Desk | undefined
}

/** What a tenant's own people see of it, at an address of its own: none of it is seen from another's. */
interface Desk {
  readonly office: Office
  readonly listening: Listening | undefined
  readonly print: string
  users: number
}

/**
 * Opens what a document says: one seller, or several.
 * @throws {DocumentError} for what the document says and is not so, {PaymentError} for what the world says.
 */
export async function openHouse(
  source: Source,
  options: OpenHouseOptions = {},
): Promise<DocumentHouse> {
  return source.document.tenants
    ? await openTenants(source, options)
    : await openOne(source, options)
}

/**
 * Opens a document with several sellers: a house for each, over its own part of one ledger. They share where the gateway
 * listens, the process and the database, and nothing else.
 * @throws {DocumentError} for what the document says and is not so, {PaymentError} for what the world says.
 */
async function openTenants(source: Source, options: OpenHouseOptions): Promise<TenantsHouse> {
  const before = isTenants(options.before) ? options.before : undefined
  await checkSecrets(source)
  const books = await share(source, options, before?.books)
  const opened: (() => Promise<void>)[] = [() => release(books, options.ledger)]
  try {
    const main = await openOne(source, { ...options, ledger: tenantLedger(books.ledger) })
    opened.push(
      () => main.house.close(),
      () => main.close(),
    )
    const tenants = new Map<string, OpenTenant>()
    for (const tenant of tenantsOf(source.document)) {
      const one = await openTenant(source, tenant, books, options, before)
      opened.push(
        () => one.open.house.close(),
        () => one.open.close(),
        () => closeDesk(one.desk),
      )
      tenants.set(tenant.name, one)
    }
    // Not before: where one of them cannot be opened, the desks go on with the parts that serve.
    for (const { open, desk, ear } of tenants.values()) {
      ear.desk = desk
      desk?.office.use(open.parts)
    }
    return {
      ...main,
      ...{ books, tenants },
      house: divide(source.document, main.house, tenants),
      async ready() {
        return await main.ready()
      },
      async close() {
        for (const { open, desk } of tenants.values()) {
          await closeDesk(desk)
          await open.close()
        }
        await main.close()
        await release(books, options.ledger)
      },
    }
  } catch (error) {
    for (const end of opened.toReversed()) await end()
    throw error
  }
}

function isTenants(house: DocumentHouse | undefined): house is TenantsHouse {
  return house !== undefined && 'tenants' in house
}

async function share(
  source: Source,
  { ledger, clock }: OpenHouseOptions,
  before: SharedBooks | undefined,
): Promise<SharedBooks> {
  const print = JSON.stringify(source.document.ledger ?? '')
  if (before && before.print === print) {
    before.users++
    return before
  }
  const own = ledger ?? (await openLedger(source, createSecrets(source), clock ? { clock } : {}))
  return { ledger: own, print, users: 1 }
}

async function release(books: SharedBooks, given: Ledger | undefined): Promise<void> {
  if (--books.users === 0 && books.ledger !== given) await books.ledger.close()
}

async function openTenant(
  source: Source,
  { name, entry, document }: Tenant,
  books: SharedBooks,
  { observe, isTrial, clock }: OpenHouseOptions,
  before: TenantsHouse | undefined,
): Promise<OpenTenant> {
  const own: Source = { ...source, document, text: within(source.text, name) }
  const last = before?.tenants.get(name)
  const desk = isTrial ? undefined : await openDesk(own, last?.desk)
  try {
    const ear = last?.ear ?? { desk }
    const told: Observe = (event) => {
      ear.desk?.office.observe(event)
      observe?.({ ...event, tenant: name })
    }
    const open = await openOne(own, {
      ...(clock && { clock }),
      observe: told,
      ledger: tenantLedger(books.ledger, name),
      ...(last && { before: last.open }),
      ...(entry.path !== undefined && { path: entry.path }),
      ...(isTrial && { isTrial }),
    })
    return { open, desk, ear }
  } catch (error) {
    await closeDesk(desk)
    throw error
  }
}

/** It also compares the tenant's books with the world, and sweeps. It stays as it was opened as long as it is the same. */
async function openDesk(source: Source, before: Desk | undefined): Promise<Desk> {
  const { admin, dashboard, events } = source.document
  const print = JSON.stringify([admin, dashboard, events])
  if (before && before.print === print) {
    before.users++
    return before
  }
  const office = await openOffice(source)
  try {
    const place = adminOf(source)
    const serve = (request: IncomingMessage, response: ServerResponse): void =>
      office.serve(request, response)
    const listening = place && (await listen(place, { serve }))
    return { office, listening, print, users: 1 }
  } catch (error) {
    await office.close()
    throw error
  }
}

async function closeDesk(desk: Desk | undefined): Promise<void> {
  if (!desk || --desk.users > 0) return
  await desk.listening?.drain(0)
  await desk.office.close()
}

/** Where tokens and offers of two sellers are signed by one secret, those of the one are good at the other. */
async function checkSecrets(source: Source): Promise<void> {
  const seen = new Map<string, string>()
  const read = async (one: Source, name: string): Promise<void> => {
    const secrets = createSecrets(one)
    const mine = new Map<string, readonly (string | number)[]>()
    for (const [ref, at] of secretsOf(one.document)) mine.set(await secrets.text(ref, at), at)
    for (const [text, at] of mine) {
      if (seen.has(text))
        throw new DocumentError('', [
          one.text.mistake(at, `This is the secret of ${seen.get(text)} too. Make another.`),
        ])
      seen.set(text, name)
    }
  }
  await read(source, 'the document itself')
  for (const { name, document } of tenantsOf(source.document))
    await read({ ...source, document, text: within(source.text, name) }, `"${name}"`)
}

/** Those that let in, and those that send: two that send with one key give the same numbers. */
function* secretsOf(
  document: Document,
): Generator<readonly [ref: SecretRef, at: readonly (string | number)[]]> {
  for (const ref of [document.secret].flat()) yield [ref, ['secret']]
  for (const ref of [document.tokens?.jwt ?? []].flat()) yield [ref, ['tokens', 'jwt']]
  if (document.dashboard) yield [document.dashboard.token, ['dashboard', 'token']]
  for (const { signer = [], refundSigner } of [document.rails.evm ?? []].flat()) {
    for (const ref of [signer].flat()) yield [ref, ['rails', 'evm']]
    if (refundSigner) yield [refundSigner, ['rails', 'evm']]
  }
}

/** A house that lets each request into the one of its seller: by the host, and then by the path. */
function divide(document: Document, main: House, tenants: ReadonlyMap<string, OpenTenant>): House {
  const places = tenantsOf(document).map(({ name, entry, document: own }) => {
    const open = tenants.get(name)
    return {
      isThere: createLocator(own.origin),
      path: entry.path,
      most: entry.most?.requests ?? TENANT_REQUESTS_MAX,
      house: open?.open.house ?? main,
      within: 0,
    }
  })
  const own = { house: main, most: document.most?.requests ?? Infinity, within: 0 }
  const newId = (): string => uuid(systemChance)

  function seek({ headers, url = '' }: IncomingMessage): typeof own {
    const said = headers[':authority'] ?? headers.host
    const authority = typeof said === 'string' ? said : undefined
    // What two servers could read differently is below nobody's path.
    const path = readTarget(url)?.path ?? ''
    const found = places.find(
      (place) =>
        place.isThere({ scheme: '', authority }) &&
        (place.path === undefined || isBelow(place.path, path)),
    )
    return found ?? own
  }

  /** Undefined where the seller has as many within as it may. */
  function enter(
    request: IncomingMessage,
    leaves: { once(event: 'close', listener: () => void): unknown },
  ): House | undefined {
    const place = seek(request)
    if (place.within >= place.most) return undefined
    place.within++
    leaves.once('close', () => place.within--)
    return place.house
  }

  const busy = (): ReturnType<typeof refuseFor> => refuseFor('upstream-busy', newId())

  return {
    serve(request, response) {
      const house = enter(request, response)
      if (house) house.serve(request, response)
      else sendRefusal(response, busy())
    },
    checkContinue(request, response) {
      const house = enter(request, response)
      if (house) return house.checkContinue(request, response)
      response.shouldKeepAlive = false
      sendRefusal(response, busy())
    },
    upgrade(request: IncomingMessage, socket: Duplex, head: Buffer) {
      const house = enter(request, socket)
      if (house) house.upgrade(request, socket, head)
      else refuseUpgrade(socket, busy())
    },
    async interrupt() {
      await Promise.all([
        main.interrupt(),
        ...[...tenants.values()].map(({ open }) => open.house.interrupt()),
      ])
    },
    async close() {
      await Promise.all([
        main.close(),
        ...[...tenants.values()].map(({ open }) => open.house.close()),
      ])
    },
  }
}
