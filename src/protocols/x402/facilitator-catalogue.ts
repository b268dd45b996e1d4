import { isObject } from '../../core/json.ts'
import type { Json } from '../../core/json.ts'
import { DiscoveryItem, read } from './wire.ts'
import type { DiscoveryResources, DiscoverySearch } from './wire.ts'

/** Most items of a catalogue. */
export const CATALOGUE_MAX = 10_000
/** Items on a page, where nothing is said and at most. */
const PAGE = 20
const PAGE_MAX = 100
/** Longest text that is searched for. */
const QUERY_CHARS_MAX = 256

/** Paid resources that the operator lists. What payers send is never put in: they choose neither names nor schemas here. */
export interface Catalogue {
  resources(query: URLSearchParams): DiscoveryResources
  search(query: URLSearchParams): DiscoverySearch
}

/**
 * Makes the catalogue.
 * @throws {RangeError} with the place, when an item is not as x402 wants it.
 */
export function createCatalogue(items: readonly unknown[] = []): Catalogue {
  if (items.length > CATALOGUE_MAX)
    throw new RangeError(`The catalogue has more than ${CATALOGUE_MAX} items.`)
  const all = items.map(readItem)
  return {
    resources(query) {
      const found = all.filter((item) => fits(item, query))
      const limit = Math.max(1, count(query, 'limit', PAGE, PAGE_MAX))
      const offset = count(query, 'offset', 0, CATALOGUE_MAX)
      const pagination = { limit, offset, total: found.length }
      return { x402Version: 2, items: found.slice(offset, offset + limit), pagination }
    },
    search(query) {
      const words = (query.get('query') ?? '').slice(0, QUERY_CHARS_MAX).toLowerCase()
      const wanted = words.split(/\s+/).filter(Boolean)
      const found = all.filter((item) => fits(item, query) && holds(item, wanted))
      const limit = Math.max(1, count(query, 'limit', PAGE, PAGE_MAX))
      const from = count(query, 'cursor', 0, CATALOGUE_MAX)
      const next = from + limit < found.length ? String(from + limit) : null
      const resources = found.slice(from, from + limit)
      const pagination = { limit, cursor: next }
      return { x402Version: 2, resources, partialResults: false, pagination }
    },
  }
}

function readItem(said: unknown, at: number): DiscoveryItem {
  const item = read(DiscoveryItem, said)
  if (!item.ok) throw new RangeError(`Item ${at} of the catalogue: ${item.why}`)
  return item.value
}

function fits(item: DiscoveryItem, query: URLSearchParams): boolean {
  const type = query.get('type')
  if (type !== null && item.type !== type) return false
  const extension = query.get('extensions')
  if (extension !== null && !Object.hasOwn(item.extensions ?? {}, extension)) return false
  const wanted = ['payTo', 'scheme', 'network'].filter((name) => query.has(name))
  return wanted.length === 0 || item.accepts.some((entry) => agrees(entry, wanted, query))
}

function agrees(
  entry: Readonly<Record<string, unknown>>,
  names: readonly string[],
  query: URLSearchParams,
): boolean {
  return names.every((name) => textOf(entry[name]).toLowerCase() === query.get(name)?.toLowerCase())
}

function holds(item: DiscoveryItem, words: readonly string[]): boolean {
  const { resource, description, serviceName, tags } = item
  const text = [resource, description, serviceName, ...(tags ?? [])].join('\n').toLowerCase()
  return words.every((word) => text.includes(word))
}

function count(query: URLSearchParams, name: string, otherwise: number, most: number): number {
  const said = query.get(name) ?? ''
  return /^\d{1,9}$/.test(said) ? Math.min(Number(said), most) : otherwise
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** The items of a catalogue file: a list, or an object with `items`. Undefined for anything else. */
export function itemsOf(said: Json | undefined): readonly unknown[] | undefined {
  const list = isObject(said) ? said['items'] : said
  return Array.isArray(list) ? (list as unknown[]) : undefined
}
