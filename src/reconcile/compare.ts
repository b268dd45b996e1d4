import type { Clock, Held, Holding, Holdings, Ledger, Rail } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { Realm } from './flows.ts'
import { movesOf, placeOf, readFlows, realmOf } from './flows.ts'
import type { Judgement } from './judge.ts'
import { judge, placeIn } from './judge.ts'
import type { Looked, Position } from './round.ts'
import { missingOf, suspenseOf } from './round.ts'
import type { Tally } from './tally.ts'
import { createTally } from './tally.ts'

/** How often, and how many times, a round looks whether payments that were open when it began are closed. */
const WAIT_MS = 500
const WAITS_MAX = 20

/** A rail that can look. */
export type Asked = Pick<Rail, 'name' | 'network'> & { readonly holdings: () => Promise<Holdings> }

/** What comparing needs. */
export interface CompareParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly patienceMs: number
}

/** What was found, before anything of it is booked. */
export interface Compared {
  readonly looked: Looked
  /** What lies at the keys that pay for sending. */
  readonly senders: readonly Holding[]
}

/** What the books tell at the time of a look. */
interface Told {
  readonly books: Tally
  /** What may or may not have moved, by its key. */
  readonly open: ReadonlyMap<string, Held>
  readonly includes: ReadonlySet<string>
  /** The last row that was read. */
  readonly end: number
}

/**
 * Compares one rail with the books. The network is looked at first, then what is held, then what was posted: whatever moved
 * before the look is among the one or the other.
 * @throws {PaymentError} in doubt.
 */
export async function compare(
  parts: CompareParts,
  rail: Asked,
  before: Looked | undefined,
): Promise<Compared> {
  const { ledger, clock, patienceMs } = parts
  const now = clock.now()
  const holdings = await rail.holdings()
  if (before && holdings.height < before.height)
    throw unclear('The network is behind the last look at it.')
  const realm = realmOf(rail.name, rail.network)
  const payees = holdings.list.filter(isPayee)
  const homeOf = costsAt(rail, payees, realm)
  const told = await read()

  async function read(): Promise<Told> {
    const open = await stillOpen(parts, realm)
    const books = createTally(before?.positions ?? [], `${WORLD}${rail.name}/${rail.network}`)
    const tails = payees.map((one) => books.tailOf(placeIn(whereOf(rail, one), one)))
    const from = Math.min(Number.MAX_SAFE_INTEGER, ...tails)
    const end = await readFlows(ledger, realm, from, now, (flow) => {
      open.delete(flow.key)
      books.add({ ...flow, place: homeOf(flow.place) })
    })
    return { books, open, end, includes: await holdings.includes(books.references()) }
  }

  async function judged(holding: Holding): Promise<Judgement | undefined> {
    const where = whereOf(rail, holding)
    const place = placeIn(where, holding)
    const { books, open, includes, end } = told
    const moves = [...open.values()].flatMap((held) => movesOf(held, realm))
    return judge({
      ...{ holding, where, includes, end, now, patienceMs },
      ...books.at(place),
      open: moves.filter((one) => homeOf(one.place) === place).map(({ amount }) => amount),
      suspense: await standing(ledger, suspenseOf(where), holding),
      missing: -(await standing(ledger, missingOf(where), holding)),
    })
  }

  const found = (await Promise.all(payees.map(judged))).filter((one) => one !== undefined)
  const fresh = found.map(({ position }) => position)
  // Of what cannot be told now, the next round goes on from what was told last.
  const old = (before?.positions ?? []).filter((one) => !fresh.some((two) => isSame(one, two)))
  return {
    looked: {
      height: holdings.height,
      positions: [...fresh, ...old],
      bookings: found.flatMap(({ bookings }) => bookings),
    },
    senders: holdings.list.filter((one) => !isPayee(one)),
  }
}

/** What is held, and was so a while ago: most of it is closed within a moment. */
async function stillOpen(
  { ledger, clock }: CompareParts,
  realm: Realm,
): Promise<Map<string, Held>> {
  const pending = await ledger.pending()
  const open = new Map(
    pending.filter((held) => movesOf(held, realm).length > 0).map((held) => [held.key, held]),
  )
  for (let waits = 0; open.size > 0 && waits < WAITS_MAX; waits++) {
    await clock.sleep(WAIT_MS)
    const found = await Promise.all([...open.keys()].map((key) => ledger.find(key)))
    for (const held of found) if (held && held.state !== 'pending') open.delete(held.key)
  }
  return open
}

async function standing(ledger: Ledger, account: string, { asset }: Holding): Promise<bigint> {
  const all = await ledger.balances(account)
  return all.find((one) => one.asset === asset.id)?.posted ?? 0n
}

/** Where a movement belongs: costs may be paid from where the money lies. */
function costsAt(rail: Asked, payees: readonly Holding[], realm: Realm): (place: string) => string {
  const homes = new Map(
    payees.flatMap((one) =>
      one.costs === undefined
        ? []
        : [[placeOf(realm.costs, one.costs), placeIn(whereOf(rail, one), one)] as const],
    ),
  )
  return (place) => homes.get(place) ?? place
}

function isPayee({ use }: Holding): boolean {
  return use === 'payee'
}

function whereOf({ name, network }: Asked, { account }: Holding): string {
  return `${name}/${network}/${account}`
}

function isSame(one: Position, other: Position): boolean {
  return placeOf(one.account, one.asset.id) === placeOf(other.account, other.asset.id)
}

function unclear(sentence: string): PaymentError {
  return new PaymentError('rail-unavailable', sentence, { retryable: true })
}
