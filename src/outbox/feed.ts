import { isObject } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import type { Asset } from '../core/money.ts'
import type { Held, Ledger, Row } from '../core/ports.ts'
import { writeSequence } from './cloud-event.ts'
import type { CloudEvent } from './cloud-event.ts'

/** Digits behind the point of a token's balance in the books. */
export const BALANCE_SCALE = 18

/** Characters of a row's hash in the id of its event. */
const HASH_CHARS = 16

/** What the keys of our own rows begin with. */
export const OUTBOX = 'outbox/'

/**
 * Which rows are told, and as what: by the `kind` in a transfer's note, and then by the row's type. A row's own data is never
 * told as it is: rails write there what they are going to send.
 */
export type Tellings = Readonly<Record<string, Readonly<Record<string, string>>>>

/** What the gate writes. */
export const tellings: Tellings = {
  sale: {
    posted: 'tolsey.sale.posted',
    voided: 'tolsey.sale.voided',
    unknown: 'tolsey.sale.unknown',
    delivered: 'tolsey.sale.delivered',
    undone: 'tolsey.sale.undone',
  },
  draw: { posted: 'tolsey.draw.posted', voided: 'tolsey.draw.voided' },
  account: { posted: 'tolsey.account.opened', revoked: 'tolsey.account.revoked' },
  topup: { posted: 'tolsey.account.topped-up' },
  refund: { posted: 'tolsey.refund.posted', voided: 'tolsey.refund.voided' },
}

/** A row of the journal that is told. */
export interface Told {
  readonly sequence: number
  /** When it was written, in milliseconds since 1970. */
  readonly at: number
  readonly event: CloudEvent
}

/** A stretch of the journal. */
export interface Stretch {
  readonly told: readonly Told[]
  /** The last row that was read: where to go on. */
  readonly next: number
  /** Whether there may be more. */
  readonly more: boolean
}

/** The books as events. */
export interface Feed {
  /** What is told of the rows after that one, in their order; at most `rowsMax` rows are read. */
  read(after: number, rowsMax: number): Promise<Stretch>
}

type Find = Ledger['find']

/** What a feed is made of. */
export interface FeedSettings {
  readonly ledger: Pick<Ledger, 'journal' | 'find'>
  /** Whose books they are: a URI or a reference (RFC 3986), for instance the seller's origin or realm. */
  readonly source: string
  /** Beside {@link tellings}. */
  readonly tellings?: Tellings
}

/**
 * Makes a feed. The journal is all it has: the same row is the same event, whoever reads it and whenever, but for two
 * things that later rows change: a making that another has followed is told by `key` and `reason` alone, and `reference` is
 * the one that is known last.
 * @throws {RangeError} when the source is no URI reference.
 */
export function createFeed(settings: FeedSettings): Feed {
  const { ledger, source } = settings
  if (!isReference(source))
    throw new RangeError('The source of events is a URI or a reference, like https://api.example.')
  const table = { ...tellings, ...settings.tellings }
  const types = new Set(Object.values(table).flatMap((rows) => Object.keys(rows)))

  async function tell(row: Row, find: Find): Promise<Told | undefined> {
    if (!types.has(row.type) || row.key.startsWith(OUTBOX)) return undefined
    const held = await find(row.key)
    const kind = held?.note['kind']
    const type = typeof kind === 'string' ? table[kind]?.[row.type] : undefined
    if (!held || type === undefined) return undefined
    // A key that was voided may have been made anew: then the books tell of another request.
    const about = held.claim < row.sequence ? factsOf(held, row, await saleOf(held, find)) : {}
    const data: JsonObject = { key: row.key, ...reasonOf(row), ...about }
    const subject = data['account'] ?? data['payer']
    const event: CloudEvent = {
      specversion: '1.0',
      id: `${row.sequence}-${row.hash.slice(0, HASH_CHARS)}`,
      source,
      type,
      ...(typeof subject === 'string' && subject !== '' && { subject }),
      time: new Date(row.at).toISOString(),
      datacontenttype: 'application/json',
      sequence: writeSequence(row.sequence),
      data,
    }
    return { sequence: row.sequence, at: row.at, event }
  }

  /** What is done to a sale names it, and the sale has its offer. */
  async function saleOf({ note }: Held, find: Find): Promise<Held | undefined> {
    const { of } = note
    return typeof of === 'string' ? await find(of) : undefined
  }

  /** Looks once for each key: most that are told are told more than once. */
  function createFind(): Find {
    const found = new Map<string, ReturnType<Find>>()
    return (key) => {
      const one = found.get(key) ?? ledger.find(key)
      found.set(key, one)
      return one
    }
  }

  return {
    async read(after, rowsMax) {
      const rows = await ledger.journal(after, rowsMax)
      const find = createFind()
      // All at once: a store that batches answers them together.
      const told = await Promise.all(rows.map((row) => tell(row, find)))
      return {
        told: told.filter((one) => one !== undefined),
        next: rows.at(-1)?.sequence ?? after,
        more: rows.length === rowsMax,
      }
    },
  }
}

function isReference(text: string): boolean {
  return /^[\w\-.~:/?#[\]@!$&'()*+,;=%]+$/.test(text)
}

/** What the books say of the transfer, by the names that our notes have. What is not there is left out. */
function factsOf(held: Held, row: Row, sale: Held = held): JsonObject {
  const { note, key } = held
  const offer = isObject(sale.note['offer']) ? sale.note['offer'] : {}
  const [, account] = /^(?:account|draw|topup)\/([^/]+)/.exec(key) ?? []
  return {
    ...texts(sale.note, 'payer'),
    ...texts(note, 'request', 'payer', 'plan', 'payment', 'of', 'to'),
    ...texts(offer, 'rail', 'network', 'payee'),
    ...routeOf(sale),
    ...(account !== undefined && { account }),
    ...settledOf(held),
    amount: amountOf(held, row, offer),
  }
}

/** What the accounts that earn begin with. */
const SALES = 'sales/'

function routeOf({ legs, note }: Held): JsonObject {
  const credit = legs[0]?.credit ?? ''
  if (credit.startsWith(SALES)) return { route: credit.slice(SALES.length) }
  return typeof note['what'] === 'string' ? { route: note['what'] } : {}
}

function texts(said: JsonObject, ...names: readonly string[]): JsonObject {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = said[name]
      return typeof value === 'string' ? [[name, value] as const] : []
    }),
  )
}

function settledOf({ steps }: Held): JsonObject {
  const { reference, settledAt } = steps.findLast(({ type }) => type === 'settled')?.data ?? {}
  if (typeof reference !== 'string' || typeof settledAt !== 'number') return {}
  return { reference, settledAt: new Date(settledAt).toISOString() }
}

/** What was posted, or is held; what was taken may be less than what was asked. Where the scale is not known, units alone. */
function amountOf(held: Held, row: Row, offer: JsonObject): JsonObject {
  const amount = row.type === 'posted' || held.state === 'posted' ? held.posted : held.amount
  const asset = assetOf(held, offer['amount'])
  if (!asset) return { units: `${amount}`, asset: held.asset }
  const [value = ''] = writeMoney({ asset, amount }).split(' ', 1)
  return { value, units: `${amount}`, code: asset.code, scale: asset.scale, asset: asset.id }
}

function assetOf({ asset: id, note }: Held, said: Json | undefined): Asset | undefined {
  const asset = isObject(said) && isObject(said['asset']) ? said['asset'] : {}
  const { code, scale } = asset
  if (typeof code === 'string' && typeof scale === 'number') return { id, code, scale }
  const { kind } = note
  if (typeof kind !== 'string' || !TOKENS.has(kind)) return undefined
  // Accounts of tokens are counted in uses, in time, or in a currency.
  return { id, code: id, scale: id === 'uses' || id === 'time' ? 0 : BALANCE_SCALE }
}

/** What moves in accounts of tokens. */
const TOKENS: ReadonlySet<string> = new Set(['draw', 'account', 'topup'])

function reasonOf({ type, data }: Row): JsonObject {
  const reason = data['reason']
  return type === 'voided' && typeof reason === 'string' ? { reason } : {}
}
