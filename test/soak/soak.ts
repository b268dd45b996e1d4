// The real thing for a while, with one in a hundred of everything failing: a chain that makes blocks by the clock, sellers,
// a facilitator and buyers in processes of their own that are killed now and then, and between all of them doors through
// which not everything gets.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../src/core/clock.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { createSwitches } from '../../src/sandbox/faults.ts'
import { startProxy } from '../../src/sandbox/proxy.ts'
import { createDice } from '../../src/testing/faults.ts'
import type { Door } from './door.ts'
import { onTheWeb, onTheWire, openDoor } from './door.ts'
import type { Evidence } from './evidence.ts'
import { examine, tillIn } from './evidence.ts'
import type { Member } from './family.ts'
import { startMember } from './family.ts'
import type { BuyersStart, FacilitatorStart, Memory, SellerStart } from './messages.ts'
import type { Weather } from './weather.ts'
import { createWeather } from './weather.ts'

/** How a soak is run. */
export interface Soak {
  readonly seed: number
  readonly forMs: number
  /** Share of everything that fails. */
  readonly share: number
  /** Time between two blocks. */
  readonly blockMs: number
  /** Time between two kills: at least so long, at most twice as long. */
  readonly killEveryMs: number
  /** How many processes at most are killed. */
  readonly killsMax: number
  /** Buyers in each of two processes. */
  readonly buyers: number
  /**
   * Whether a second seller, which is killed now and then, shares the books of a first that is not. Without it the first is
   * killed, and the clock of who comes after it is ahead: what the dead held is free then. So that nobody need wait for what
   * is held at the end, all who take money die once more.
   */
  readonly pair: boolean
  readonly tell: (progress: Progress) => void
}

/** How far it is. */
export interface Progress {
  readonly phase: 'soak' | 'closing' | 'examining'
  readonly elapsedMs: number
  readonly requests: number
  readonly rpcCalls: number
  readonly mishaps: number
  readonly deaths: number
  readonly memory: Memory | undefined
}

/** What came of it. */
export interface Report extends Evidence {
  readonly seed: number
  readonly minutes: number
  readonly perSecond: number
  readonly deaths: Readonly<Record<string, number>>
  /** What went wrong by design, by its name. */
  readonly mishaps: Readonly<Record<string, number>>
  /** How long each start of each process took until it listened. */
  readonly startsMs: Readonly<Record<string, readonly number[]>>
  /** Why processes ended before they listened. */
  readonly failedStarts: Readonly<Record<string, readonly string[]>>
  /** JSON-RPC calls by method. */
  readonly rpcCalls: Readonly<Record<string, number>>
  readonly rpcCallsPerPurchase: number
  /** Of a seller that was never killed: medians of the second and of the last quarter of the time. */
  readonly memory: { readonly early: Memory; readonly late: Memory } | undefined
  /** What the processes told at their end, by its name. */
  readonly told: Readonly<Record<string, Readonly<Record<string, number>>>>
}

const PURSE = 10n ** 12n
const ETHER = 10n ** 24n
/** After a process is killed, somebody notices and starts it again. */
const PAUSE_MS_MAX = 2_000
const AHEAD_MS = 60_000
const TELL_MS = 1_000

interface Person {
  readonly key: string
  readonly address: string
}

/** Everything that runs. */
interface World {
  readonly chain: Chain
  readonly weather: Weather
  readonly members: readonly Member[]
  readonly mortals: readonly Member[]
  readonly buyers: readonly Member[]
  readonly sellers: readonly Member[]
  /** Sellers and facilitators. */
  readonly takers: readonly Member[]
  readonly wire: Door
  readonly web: readonly Door[]
  readonly examine: () => Promise<Evidence>
  readonly dropped: () => number
}

/** Runs it to its end, and counts. */
export async function soak(options: Soak): Promise<Report> {
  await using ends = new AsyncDisposableStack()
  const world = await build(options, ends)
  const startedAt = Date.now()
  const told: Record<string, Readonly<Record<string, number>>> = {}
  let phase: Progress['phase'] = 'soak'
  const telling = setInterval(() => options.tell(progressOf(world, phase, startedAt)), TELL_MS)
  ends.defer(() => clearInterval(telling))
  await kill(options, world, startedAt + options.forMs)
  phase = 'closing'
  world.weather.calm()
  for (const member of world.members) member.calm()
  if (!options.pair)
    await Promise.all(world.takers.map((one) => one.kill(world.weather.dice.next() * PAUSE_MS_MAX)))
  for (const group of [world.buyers, world.sellers, world.members]) {
    const open = group.filter(({ name }) => told[name] === undefined)
    await Promise.all(open.map(async (one) => void (told[one.name] = await one.stop())))
  }
  phase = 'examining'
  return await reportOf(options, world, startedAt, told)
}

async function build(options: Soak, ends: AsyncDisposableStack): Promise<World> {
  const { share, seed } = options
  const root = await mkdtemp(join(tmpdir(), 'soak-'))
  let mayGo = false
  // What went wrong must be looked at afterwards.
  ends.defer(async () => void (mayGo && (await rm(root, { recursive: true, force: true }))))
  const chain = await startChain({ blockTimeMs: options.blockMs })
  ends.defer(() => chain.stop())
  const weather = createWeather(createDice(seed), share)
  const failures: string[] = []
  const members: Member[] = []
  ends.defer(async () => void (await Promise.all(members.map((one) => one.end()))))

  const { wire, dropped } = await openWire(chain, weather, ends)
  const [payee, payeeThrough] = [person(), person()]
  const senders = Array.from({ length: 2 }, person)
  const [through, facilitating] = [person(), person()]
  for (const { address } of [...senders, through, facilitating])
    await chain.fundEther(address, ETHER)

  async function member(
    name: string,
    file: 'seller.ts' | 'facilitator.ts' | 'buyers.ts',
    more: object,
    directory: string = name,
  ): Promise<Member> {
    await mkdir(join(root, directory), { recursive: true })
    const base = { directory: join(root, directory), seed: weather.dice.below(2 ** 32), share }
    const start = { ...base, rpc: wire.url, network: chain.network, aheadMs: 0, ...more }
    const aheadMs = options.pair || file === 'buyers.ts' ? 0 : AHEAD_MS
    const onFailure = (sentence: string): void => void failures.push(sentence)
    const made = await startMember({ name, file, start, aheadMs, onFailure })
    members.push(made)
    return made
  }

  const web: Door[] = []
  const doorTo = async (list: () => readonly Member[]): Promise<Door> => {
    const to = (): string | undefined => {
      const there = list().flatMap((one) => one.url() ?? [])
      return there.length === 0 ? undefined : weather.dice.pick(there)
    }
    const door = await openDoor({ to, weather, kinds: onTheWeb, nameOf: pathOf })
    ends.defer(() => door.stop())
    web.push(door)
    return door
  }

  const firsts: Member[] = []
  const seconds: Member[] = []
  const facilitators: Member[] = []
  const [firstDoor, secondDoor] = [await doorTo(() => firsts), await doorTo(() => seconds)]
  const facilitatorDoor = await doorTo(() => facilitators)
  const signers = senders.map(({ key }) => key)
  const selling = { payTo: payee.address, signers, origin: firstDoor.url }
  firsts.push(await member('seller', 'seller.ts', selling satisfies Partial<SellerStart>))
  if (options.pair) firsts.push(await member('second seller', 'seller.ts', selling, 'seller'))
  const signer = facilitating.key
  facilitators.push(
    await member('facilitator', 'facilitator.ts', { signer } satisfies Partial<FacilitatorStart>),
  )
  const passing: Partial<SellerStart> = {
    payTo: payeeThrough.address,
    signers: [through.key],
    origin: secondDoor.url,
    facilitator: facilitatorDoor.url,
  }
  seconds.push(await member('seller through facilitator', 'seller.ts', passing))

  const buyers: Member[] = []
  const purses: { directory: string; addresses: readonly string[] }[] = []
  for (const name of ['buyers-a', 'buyers-b']) {
    const people = Array.from({ length: options.buyers }, person)
    for (const { address } of people) await chain.mint(address, PURSE)
    const origins = [firstDoor.url, secondDoor.url]
    const buying: Partial<BuyersStart> = { origins, keys: people.map(({ key }) => key) }
    buyers.push(await member(name, 'buyers.ts', buying))
    purses.push({ directory: join(root, name), addresses: people.map(({ address }) => address) })
  }
  const sellers = [...firsts, ...seconds]
  const places = {
    chain,
    purse: PURSE,
    lost: () => new Set([firstDoor, secondDoor].flatMap(urlsLost)),
    buyers: purses,
    sellers: [
      tillIn(join(root, 'seller'), payee.address),
      tillIn(join(root, 'seller through facilitator'), payeeThrough.address),
    ],
  }
  return {
    chain,
    weather,
    members,
    mortals: options.pair ? members.slice(1) : members,
    buyers,
    sellers,
    takers: [...sellers, ...facilitators],
    wire,
    web,
    dropped,
    async examine() {
      const found = await examine(places)
      mayGo = isRight({ ...found, wrong: [...found.wrong, ...failures] })
      return mayGo ? found : { ...found, wrong: [...found.wrong, ...failures, `see ${root}`] }
    },
  }
}

/** Whether nothing was found that must not be. */
export function isRight({ counters, wrong }: Pick<Evidence, 'counters' | 'wrong'>): boolean {
  return wrong.length === 0 && Object.values(counters).every((n) => n === 0)
}

/** The way to the node: answers are lost, and transactions are taken and forgotten. */
async function openWire(
  chain: Chain,
  weather: Weather,
  ends: AsyncDisposableStack,
): Promise<{ readonly wire: Door; readonly dropped: () => number }> {
  const faults = createSwitches()
  const proxy = await startProxy({
    rpc: chain.rpc,
    faults,
    clock: systemClock,
    onTransaction: () => Promise.resolve(),
    onChange: () => undefined,
  })
  ends.defer(() => proxy.stop())
  let dropped = 0
  const wire = await openDoor({
    to: () => proxy.rpc,
    weather,
    kinds: onTheWire,
    nameOf: (_, body) => methodsOf(body),
    onRequest(body) {
      if (!methodsOf(body).some((name) => name.startsWith('eth_sendRaw')) || !weather.strikes())
        return
      dropped++
      faults.set({ drop: faults.now().drop + 1 })
    },
    path: new URL(proxy.faulty).pathname,
  })
  ends.defer(() => wire.stop())
  return { wire, dropped: () => dropped }
}

function urlsLost({ url, lost }: Door): readonly string[] {
  return [...lost].map((target) => url + target)
}

function methodsOf(body: Buffer): readonly string[] {
  return Array.from(body.toString().matchAll(/"method":"(\w+)"/g), ([, name = '']) => name)
}

function pathOf(request: IncomingMessage): readonly string[] {
  return [(request.url ?? '').split('?')[0] ?? '']
}

function person(): Person {
  const key = generatePrivateKey()
  return { key, address: privateKeyToAccount(key).address }
}

/** Kills one after the other until the time is over, and waits until all are there again. */
async function kill(options: Soak, { mortals, weather }: World, untilAt: number): Promise<void> {
  const { dice } = weather
  const { killEveryMs, killsMax } = options
  let left: readonly Member[] = mortals
  for (let kills = 0; Date.now() < untilAt; kills++) {
    const waitMs = killEveryMs * (1 + dice.next())
    await systemClock.sleep(Math.min(waitMs, Math.max(0, untilAt - Date.now())))
    if (Date.now() >= untilAt || kills >= killsMax) continue
    const victim = dice.pick(left)
    // Everyone's turn comes before anyone's second.
    left = left.length > 1 ? left.filter((one) => one !== victim) : mortals
    await victim.kill(dice.next() * PAUSE_MS_MAX)
  }
}

function progressOf(world: World, phase: Progress['phase'], startedAt: number): Progress {
  const { web, wire, weather, members } = world
  return {
    phase,
    elapsedMs: Date.now() - startedAt,
    requests: web.reduce((sum, { counts }) => sum + total(counts), 0),
    rpcCalls: total(wire.counts),
    mishaps: total(weather.counts) + world.dropped(),
    deaths: members.reduce((sum, { deaths }) => sum + deaths, 0),
    memory: members[0]?.memory.at(-1),
  }
}

async function reportOf(
  { seed }: Soak,
  world: World,
  startedAt: number,
  told: Report['told'],
): Promise<Report> {
  const { members, weather, wire } = world
  const seconds = (Date.now() - startedAt) / 1_000
  const found = await world.examine()
  const [first] = members
  return {
    seed,
    ...found,
    minutes: Math.round(seconds / 6) / 10,
    perSecond: Math.round((found.served / seconds) * 10) / 10,
    deaths: Object.fromEntries(members.map(({ name, deaths }) => [name, deaths])),
    mishaps: {
      ...weather.counts,
      'transaction forgotten': world.dropped(),
    },
    startsMs: byName(members, ({ startsMs }) => startsMs),
    failedStarts: byName(members, ({ failedStarts }) => failedStarts),
    rpcCalls: wire.counts,
    rpcCallsPerPurchase: Math.round((total(wire.counts) / found.charges) * 10) / 10,
    memory: first?.deaths === 0 ? quarters(first.memory) : undefined,
    told,
  }
}

function byName<T>(
  members: readonly Member[],
  of: (member: Member) => readonly T[],
): Readonly<Record<string, readonly T[]>> {
  return Object.fromEntries(members.map((one) => [one.name, of(one)]))
}

/** Medians of the second and the last quarter: in the first everything is still being filled. */
function quarters(list: readonly Memory[]): Report['memory'] {
  const quarter = Math.floor(list.length / 4)
  if (quarter === 0) return undefined
  return {
    early: medianOf(list.slice(quarter, 2 * quarter)),
    late: medianOf(list.slice(-quarter)),
  }
}

function medianOf(list: readonly Memory[]): Memory {
  const middle = (of: (one: Memory) => number): number =>
    list.map(of).toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
  return { rssBytes: middle((one) => one.rssBytes), heapBytes: middle((one) => one.heapBytes) }
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, n) => sum + n, 0)
}
