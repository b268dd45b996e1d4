// What happened, from three sides that do not know each other: the chain's events and balances, the books of sellers and
// buyers, and the answers that buyers wrote down.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toEventSelector } from 'viem'
import { isObject } from '../../src/core/json.ts'
import type { Held, Ledger } from '../../src/core/ports.ts'
import { isSale } from '../../src/gate/note.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import type { Line } from './messages.ts'
import { PRICE, files } from './messages.ts'

/** What must be zero. */
export interface Counters {
  readonly freeDeliveries: number
  readonly doubleCharges: number
  readonly paidUndelivered: number
  readonly honestRefused: number
}

/** What was found. */
export interface Evidence {
  readonly counters: Counters
  readonly asked: number
  readonly served: number
  /** Charges that the chain shows. */
  readonly charges: number
  /**
   * Purchases whose answer left the seller and was seen to be lost, by a door or by a buyer's death, and could not be had
   * again: because it was not kept, or because the buyer had its head and did not ask again.
   */
  readonly lostOnTheWay: number
  /** Purchases that buyers' books still hold open: there is no evidence yet that they can never be taken. */
  readonly stillReserved: number
  /** Everything else that must not be, in sentences. */
  readonly wrong: readonly string[]
}

/** A seller's books and account. */
export interface Till {
  readonly name: string
  readonly payee: string
  readonly books: () => Promise<Ledger>
  /** Names of answers that its vault did not take. */
  readonly unkept: () => Promise<readonly string[]>
}

/** The till of a seller that keeps everything in one directory. */
export function tillIn(directory: string, payee: string): Till {
  return {
    ...{ name: directory, payee },
    books: () => sqlite({ file: join(directory, files.books) }),
    unkept: async () =>
      (await textOf(join(directory, files.unkept))).split('\n').filter((line) => line !== ''),
  }
}

/** Where to look. */
export interface Places {
  readonly chain: Chain
  readonly sellers: readonly Till[]
  readonly buyers: readonly { readonly directory: string; readonly addresses: readonly string[] }[]
  /** What each buyer had at first. */
  readonly purse: bigint
  /** Addresses of which a good answer was lost between seller and buyer. */
  readonly lost: () => ReadonlySet<string>
}

/** Most sentences that are told. */
const WRONG_MAX = 40
/** The budget's smallest unit is 10^-18 USD, that of the token 10^-6. */
const TOKEN_UNIT = 10n ** 12n
const USED = toEventSelector('AuthorizationUsed(address,bytes32)')
const BLOCKS_AT_ONCE = 1_000

/** Compares everything with everything. */
export async function examine(places: Places): Promise<Evidence> {
  const wrong: string[] = []
  const spends = await spendsOf(places.chain)
  const sold = await Promise.all(places.sellers.map((place) => soldBy(places.chain, place, wrong)))
  const paths = new Map(sold.flatMap((one) => [...one.paths]))
  const unkept = new Set(sold.flatMap((one) => one.unkept))
  const chargesOf = new Map<string, string[]>()
  for (const spend of spends) {
    const url = paths.get(spend)
    if (url === undefined) wrong.push(`the spend ${spend} stands in no seller's books`)
    else chargesOf.set(url, [...(chargesOf.get(url) ?? []), spend])
  }
  const stories = (await Promise.all(places.buyers.map(storiesOf))).flat()
  let stillReserved = 0
  for (const place of places.buyers) stillReserved += await compareBuyer(places, place, wrong)
  const lost = places.lost()
  const counted = stories.map((story) => judge(story, chargesOf, unkept, lost))
  const sum = (name: keyof Counters): number => counted.reduce((all, one) => all + one[name], 0)
  wrong.push(...counted.flatMap((one) => one.sentences))
  return {
    counters: {
      freeDeliveries: sum('freeDeliveries'),
      doubleCharges: sum('doubleCharges'),
      paidUndelivered: sum('paidUndelivered'),
      honestRefused: sum('honestRefused'),
    },
    asked: stories.length,
    served: stories.filter(({ end }) => end?.what === 'served').length,
    charges: spends.length,
    stillReserved,
    lostOnTheWay: counted.filter(({ lost }) => lost).length,
    wrong: wrong.slice(0, WRONG_MAX),
  }
}

/** One thing that a buyer asked for. */
export interface Story {
  readonly url: string
  readonly lines: readonly Line[]
  readonly end: Line | undefined
}

async function storiesOf({ directory }: { readonly directory: string }): Promise<readonly Story[]> {
  const stories = new Map<string, Line[]>()
  for (const text of (await textOf(join(directory, files.diary))).split('\n').filter(Boolean)) {
    const line = JSON.parse(text) as Line
    stories.set(line.url, [...(stories.get(line.url) ?? []), line])
  }
  return [...stories].map(([url, lines]) => {
    const last = lines.at(-1)
    const isOver = last !== undefined && !['asked', 'head', 'died'].includes(last.what)
    return { url, lines, end: isOver ? last : undefined }
  })
}

/** What a story counts as. */
export interface Judged extends Counters {
  readonly lost: boolean
  readonly sentences: readonly string[]
}

/** Judges a story by the charges of its address, the spends whose answers the vault did not take, and what doors saw. */
export function judge(
  { url, lines, end }: Story,
  chargesOf: ReadonlyMap<string, readonly string[]>,
  unkept: ReadonlySet<string>,
  lostWays: ReadonlySet<string>,
): Judged {
  const spends = chargesOf.get(url) ?? []
  const served = end?.what === 'served'
  // Nobody's word is enough: a door saw the answer go astray, or the buyer died over it.
  const astray = lostWays.has(url) || lines.some(({ what }) => what === 'died')
  const unread = end?.what === 'cut' && (astray || end.text !== undefined)
  // Without a vault, and where the vault failed, an answer that left is gone.
  const isUnkept = url.includes('/plain?') || spends.some((spend) => unkept.has(spend))
  const lost = spends.length > 0 && (unread || (end?.what === 'gone' && isUnkept && astray))
  const freeDeliveries = served && spends.length === 0 ? 1 : 0
  const doubleCharges = Math.max(0, spends.length - 1)
  const paidUndelivered = spends.length > 0 && !served && !lost ? 1 : 0
  const honestRefused = served || lost ? 0 : 1
  const foreign = served && !end.text?.includes(new URL(url).search)
  const bad = freeDeliveries + doubleCharges + paidUndelivered + honestRefused > 0
  return {
    freeDeliveries,
    doubleCharges,
    paidUndelivered,
    honestRefused,
    lost,
    sentences: [
      ...(foreign ? [`${url} was served what belongs to another: ${end.text}`] : []),
      ...(bad ? [`${url}: ${spends.length} charges ${spends.join(' ')}; ${tellLines(lines)}`] : []),
    ],
  }
}

function tellLines(lines: readonly Line[]): string {
  return lines.map(({ what, text }) => `${what}${text ? ` (${text})` : ''}`).join(', ')
}

/** Each spend that the token has on record, as `payer/nonce`. */
async function spendsOf(chain: Chain): Promise<readonly string[]> {
  const last = Number(await chain.request('eth_blockNumber'))
  const spends: string[] = []
  for (let from = 0; from <= last; from += BLOCKS_AT_ONCE) {
    const range = { fromBlock: hex(from), toBlock: hex(from + BLOCKS_AT_ONCE - 1) }
    const filter = { address: chain.usdc, topics: [USED], ...range }
    const logs = (await chain.request('eth_getLogs', [filter])) as readonly { topics: string[] }[]
    for (const { topics } of logs) spends.push(`0x${topics[1]?.slice(26)}/${topics[2]}`)
  }
  return spends
}

function hex(value: number): string {
  return `0x${value.toString(16)}`
}

/** What a seller's books say: which spend paid for what, and whether they agree with the chain. */
async function soldBy(
  chain: Chain,
  { name, payee, books, unkept }: Till,
  wrong: string[],
): Promise<{ paths: ReadonlyMap<string, string>; unkept: readonly string[] }> {
  const ledger = await books()
  const paths = new Map<string, string>()
  let earned = 0n
  try {
    const onPosted = (held: Held): void => {
      if (!isSale(held)) return
      earned += held.posted
      paths.set(spendOf(held.key), urlOf(held))
    }
    const { problems } = await verifyBooks(ledger, { onPosted })
    wrong.push(...problems.map((sentence) => `${name}: ${sentence}`))
    const open = (await ledger.pending()).filter(isSale)
    wrong.push(...open.map(({ key, steps }) => `${key} is open after ${steps.at(-1)?.type}`))
  } finally {
    await ledger.close()
  }
  const held = await chain.balanceOf(payee)
  if (held !== earned) wrong.push(`a seller's books say ${earned}, the chain says ${held}`)
  const names = await unkept()
  return { paths, unkept: names.map((one) => spendOf(one.split('/').slice(0, -1).join('/'))) }
}

/** The payer and the nonce in the natural key of a spend. */
function spendOf(key: string): string {
  return key.split('/').slice(-2).join('/').toLowerCase()
}

function urlOf({ note }: Held): string {
  const { offer } = note
  const resource = isObject(offer) ? offer['resource'] : undefined
  return isObject(resource) && typeof resource['url'] === 'string' ? resource['url'] : ''
}

/** A payer's books count what the chain has taken from its buyers. How many purchases are reserved beside. */
async function compareBuyer(
  { chain, purse }: Places,
  { directory, addresses }: Places['buyers'][number],
  wrong: string[],
): Promise<number> {
  const ledger = await sqlite({ file: join(directory, files.books) })
  try {
    const { problems } = await verifyBooks(ledger)
    wrong.push(...problems.map((sentence) => `${directory}: ${sentence}`))
    const total = (await ledger.balances()).find(({ account }) => account === 'spent/total/USD')
    const posted = (total?.posted ?? 0n) / TOKEN_UNIT
    const pending = (total?.pending ?? 0n) / TOKEN_UNIT
    const balances = await Promise.all(addresses.map((address) => chain.balanceOf(address)))
    const spent = balances.reduce((sum, balance) => sum + purse - balance, 0n)
    // What is paid and has not come stays open, so that the next call finds it; it counts all the same.
    if (posted > spent || posted + pending < spent)
      wrong.push(`buyers' books say ${posted} and ${pending} reserved, the chain says ${spent}`)
    if (spent % PRICE !== 0n) wrong.push(`${spent} is no number of prices`)
    return Number(pending / PRICE)
  } finally {
    await ledger.close()
  }
}

async function textOf(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch(() => '')
}
