// Books as a version of this program left them, with a payment in every state that a crash can leave behind. They are made
// by driving the engines to each state and no further; later versions must read them and bring each payment to its end.
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isObject } from '../../src/core/json.ts'
import { createMac } from '../../src/core/mac.ts'
import { readPrice } from '../../src/core/money.ts'
import type { Offer } from '../../src/core/offer.ts'
import { createOffers } from '../../src/core/offers.ts'
import type {
  Ask,
  Caller,
  Clock,
  Facilitator,
  Gate,
  Held,
  Ledger,
  Pass,
  Rail,
  Settlement,
  SettlePoint,
} from '../../src/core/ports.ts'
import { PaymentError, problem } from '../../src/core/problem.ts'
import { createFacilitator } from '../../src/facilitator/facilitator.ts'
import { createGate } from '../../src/gate/gate.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { asking, counting, toy } from '../../src/payer/fakes.test.ts'
import { CHALLENGE_MS_MAX } from '../../src/payer/limits.ts'
import { createPayer } from '../../src/payer/payer.ts'
import packageJson from '../../package.json' with { type: 'json' }

/** A SQLite file as text: what its schema says, and all rows. */
export interface Dump {
  readonly version: string
  readonly writtenAt: number
  readonly pragmas: Readonly<Record<string, number>>
  readonly schema: readonly string[]
  readonly tables: Readonly<Record<string, readonly Readonly<Record<string, string | number>>[]>>
}

const DIRECTORY = new URL('journals/', import.meta.url)
const START_AT = Date.UTC(2026, 10, 20, 12)
const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const PRAGMAS = ['application_id', 'user_version'] as const
const coin = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }

/** A clock that stands still until it is moved. */
export interface Moved extends Clock {
  move(ms: number): void
}

/** Makes the clock. Whoever sleeps wakes at once, but for the wait for the body of a 402, which is there in time. */
export function standing(startAt: number = START_AT): Moved {
  let now = startAt
  const never = new Promise<never>(() => undefined)
  return {
    now: () => now,
    sleep: (ms) => (ms === CHALLENGE_MS_MAX ? never : new Promise((done) => setImmediate(done))),
    move: (ms) => void (now += ms),
  }
}

/**
 * A rail whose keys say what the outside world knows of them: `…paid` is settled, `…dead` has failed for good, of anything else
 * it is not known. With `hang` it dies once it has written ahead.
 */
export function createToyRail(
  clock: Clock,
  hang: () => boolean = () => false,
): Rail<unknown, string> {
  const never = new Promise<never>(() => undefined)
  const known = (key: string): Settlement => {
    if (key.endsWith('paid'))
      return { state: 'settled', reference: `tx ${key}`, payer: 'buyer', settledAt: clock.now() }
    const dead = problem('settlement-failed', 'The chain refused it.')
    if (key.endsWith('dead')) return { state: 'failed', problem: dead }
    return { state: 'unknown', detail: 'It is in no block yet.' }
  }
  return {
    name: 'test',
    network: 'net',
    forms: {},
    open: () => Promise.resolve(),
    close: () => Promise.resolve(),
    quote: ({ amount }) => [
      {
        rail: 'test',
        network: 'net',
        intent: 'charge',
        payee: 'seller',
        timeoutMs: 60_000,
        details: {},
        amount: { asset: coin, amount },
      },
    ],
    identify: (_, key) => ({ key, payer: 'buyer' }),
    verify: async (_, key) => ({ ok: true, key, payer: 'buyer' }),
    async settle(_, key, __, log) {
      await log.write({ type: 'prepared', data: { hash: `tx ${key}` } })
      return hang() ? await never : known(key)
    },
    find: async (_, key) => known(key),
  }
}

/** A gate over those books. */
export function createToyGate(ledger: Ledger, clock: Clock, hang?: () => boolean): Gate {
  const offers = createOffers(createMac([SECRET], 'offers'))
  return createGate({ rails: [createToyRail(clock, hang)], ledger, offers, clock })
}

/** The paid request for that key. */
export function askFor(gate: Gate, key: string, settle: SettlePoint = 'before-response'): Ask {
  const bare: Ask = {
    resource: {
      realm: 'shop',
      method: 'GET',
      authority: 'api.test',
      path: '/a',
      query: '',
      url: 'http://api.test/a',
    },
    sale: { prices: [readPrice('0.000005 USD')], settle, account: 'sales/a' },
    request: 'r',
  }
  const said = gate.challenge(bare)
  const [offer] = 'kind' in said ? (said.challenge?.offers ?? []) : []
  if (!offer) throw new Error('The gate offers something.')
  return { ...bare, credential: { offer, proof: key } }
}

/** Who has the facilitator settle. */
export const caller: Caller = { name: 'shop', settlementsPerDay: 100 }

/** A facilitator over those books. */
export function createToyFacilitator(
  ledger: Ledger,
  clock: Clock,
  hang?: () => boolean,
): Facilitator {
  const rails = [createToyRail(clock, hang)]
  return createFacilitator({ rails, ledger, clock, callers: { find: () => caller } })
}

/** The offer that facilitators are brought. */
export function facilitatedOffer(clock: Clock): Offer {
  const [terms] = createToyRail(clock).quote(readPrice('0.000005 USD'))
  if (!terms) throw new Error('The rail quotes.')
  const resource = { realm: '', method: '', authority: '', path: '', query: '', url: '' }
  return { ...terms, id: '', resource, expiresAt: Number.MAX_SAFE_INTEGER }
}

/** A payer over those books; whom it pays says what became of the payment. */
export function createToyPayer(
  ledger: Ledger,
  clock: Clock,
  fetch: typeof globalThis.fetch,
  pay?: () => Promise<never>,
): ReturnType<typeof createPayer> {
  const outcome = async (offer: Offer): Promise<'paid' | 'dead' | 'open'> => {
    if (offer.payee.endsWith('paid')) return 'paid'
    return offer.payee.endsWith('dead') ? 'dead' : 'open'
  }
  return createPayer({
    wallets: [counting(clock, { outcome, ...(pay && { pay }) })],
    protocols: [toy],
    ledger,
    policy: { perRequest: '1 USD', total: '100 USD' },
    clock,
    fetch,
  })
}

/** Waits until the journal says so; the machine's own time is all that passes. */
async function until(ledger: Ledger, key: string, type: string): Promise<void> {
  for (let tries = 0; tries < 2_000; tries++) {
    const held = await ledger.find(key)
    if (type === 'made' ? held : held?.steps.some((step) => step.type === type)) return
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  throw new Error(`${key} was never ${type}.`)
}

function passOf(entry: Awaited<ReturnType<Gate['admit']>>): Pass {
  if (entry.kind !== 'pass') throw new Error('The gate lets it pass.')
  return entry
}

async function makeSales(ledger: Ledger, clock: Moved): Promise<void> {
  let hangs = false
  const gate = createToyGate(ledger, clock, () => hangs)
  const admit = async (key: string, settle?: SettlePoint): Promise<Pass> =>
    passOf(await gate.admit(askFor(gate, key, settle)))
  const sold = async (key: string): Promise<Pass> => {
    const pass = await admit(key)
    await pass.finish(true)
    return pass
  }
  await admit('sale claimed')
  await (await admit('sale failed work')).finish(false)
  await sold('sale posted paid')
  await (await admit('sale before-work failed, paid', 'before-work')).finish(false)
  await admit('sale before-work worked on, paid', 'before-work')
  const delivered = await sold('sale delivered paid')
  delivered.delivered()
  await until(ledger, delivered.key, 'delivered')
  await sold('sale unknown')
  await sold('sale refused dead')
  hangs = true
  for (const key of ['sale prepared paid', 'sale prepared dead', 'sale prepared, not known']) {
    void (await admit(key)).finish(true)
    await until(ledger, key, 'prepared')
  }
  hangs = false
  await sold('sale being delivered paid')
  clock.move(600_000)
  // Somebody has fetched it again and died with the turn in his hands.
  await admit('sale being delivered paid')
}

async function makeSettlements(ledger: Ledger, clock: Moved): Promise<void> {
  let hangs = false
  const facilitator = createToyFacilitator(ledger, clock, () => hangs)
  const offer = facilitatedOffer(clock)
  const settle = (key: string): ReturnType<Facilitator['settle']> =>
    facilitator.settle(caller, offer, key)
  await settle('settlement told, paid')
  await settle('settlement refused dead')
  await settle('settlement unknown')
  hangs = true
  for (const key of ['settlement prepared paid', 'settlement prepared dead']) {
    void settle(key)
    await until(ledger, key, 'prepared')
  }
  // A process that died between its claim and the first byte.
  const stuck = createToyFacilitator({ ...ledger, step: () => new Promise(() => undefined) }, clock)
  void stuck.settle(caller, offer, 'settlement claimed')
  await until(ledger, 'settlement claimed', 'made')
}

async function makePurchases(ledger: Ledger, clock: Moved): Promise<void> {
  const never = new Promise<never>(() => undefined)
  const shop =
    (then: () => Promise<Response>): typeof globalThis.fetch =>
    async (input, init) => {
      const { pathname } = new URL(String(input instanceof Request ? input.url : input))
      if (new Headers(init?.headers).get('toy-payment') !== null) return await then()
      const payTo = pathname.slice(1)
      return new Response('pay', { status: 402, headers: asking({ amount: '1000', payTo }) })
    }
  const said = (): Promise<Response> => Promise.resolve(new Response('goods'))
  const buy = (
    name: string,
    then: () => Promise<Response>,
    pay?: () => Promise<never>,
  ): Promise<unknown> =>
    createToyPayer(ledger, clock, shop(then), pay)
      .fetch(`http://shop.test/${name}`)
      .catch((error: unknown) => error)
  await buy('purchase-received-paid', said)
  const lost = (): Promise<Response> => Promise.reject(new TypeError('fetch failed'))
  for (const end of ['paid', 'dead', 'open']) await buy(`purchase-lost-${end}`, lost)
  const declined = new PaymentError('declined', 'The owner says no.')
  await buy('purchase-declined', said, () => Promise.reject(declined))
  for (const end of ['paid', 'dead', 'open']) {
    void buy(`purchase-sent-${end}`, () => never)
    await untilBought(ledger, `purchase-sent-${end}`, 'signed')
  }
  void buy('purchase-reserved', said, () => never)
  await untilBought(ledger, 'purchase-reserved', 'made')
}

/** Who made the books is nobody's business: another machine, whose processes are gone. */
function nameless(ledger: Ledger): Ledger {
  const owner = { host: 'shop.test', pid: 1, run: '00' }
  return {
    ...ledger,
    transfer: (given) =>
      ledger.transfer(
        isObject(given.note['owner'])
          ? { ...given, note: { ...given.note, owner: { ...given.note['owner'], ...owner } } }
          : given,
      ),
  }
}

/** The name of a purchase here: the path that it was made for. */
export function boughtAt({ note: { url } }: Held): string {
  return typeof url === 'string' ? new URL(url).pathname.slice(1) : ''
}

async function untilBought(ledger: Ledger, name: string, type: string): Promise<void> {
  for (let tries = 0; tries < 2_000; tries++) {
    const found = (await ledger.pending()).find((held) => boughtAt(held) === name)
    if (found) return await until(ledger, found.key, type)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  throw new Error(`${name} was never reserved.`)
}

/** Makes the books of the present version and keeps them. Gives a sentence for people. */
export async function recordJournal(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-journal-'))
  try {
    const clock = standing()
    const file = join(directory, 'books.db')
    const ledger = await sqlite({ file, clock })
    await makeSales(ledger, clock)
    await makeSettlements(ledger, clock)
    await makePurchases(nameless(ledger), clock)
    await ledger.close()
    const dump = dumpOf(file, clock.now())
    await mkdir(DIRECTORY, { recursive: true })
    await writeFile(
      new URL(`${dump.version}.json`, DIRECTORY),
      `${JSON.stringify(dump, undefined, 1)}\n`,
    )
    return `The books of version ${dump.version} are kept, ${dump.tables['journal']?.length} rows.`
  } finally {
    await rm(directory, { recursive: true })
  }
}

function dumpOf(file: string, writtenAt: number): Dump {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    const made = db
      .prepare('SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid')
      .all() as { readonly name: string; readonly type: string; readonly sql: string }[]
    const names = made.filter(({ type }) => type === 'table').map(({ name }) => name)
    const rowsOf = (name: string): Dump['tables'][string] =>
      db.prepare(`SELECT * FROM "${name}"`).all() as Dump['tables'][string]
    const pragma = (name: string): number =>
      Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0])
    return {
      version: packageJson.version,
      writtenAt,
      pragmas: Object.fromEntries(PRAGMAS.map((name) => [name, pragma(name)])),
      schema: made.map(({ sql }) => sql),
      tables: Object.fromEntries(names.map((name) => [name, rowsOf(name)])),
    }
  } finally {
    db.close()
  }
}

/** Every journal that is kept. */
export async function readJournals(): Promise<readonly Dump[]> {
  const names = (await readdir(DIRECTORY)).filter((name) => name.endsWith('.json'))
  const texts = await Promise.all(names.map((name) => readFile(new URL(name, DIRECTORY), 'utf8')))
  return texts.map((text) => JSON.parse(text) as Dump)
}

/** Makes the file again, as its version left it. */
export function restore(dump: Dump, file: string): void {
  const db = new DatabaseSync(file)
  try {
    db.exec('PRAGMA synchronous = OFF; BEGIN')
    for (const sql of dump.schema) db.exec(sql)
    for (const [table, rows] of Object.entries(dump.tables))
      for (const row of rows) {
        const names = Object.keys(row)
        const marks = names.map(() => '?').join(', ')
        const insert = db.prepare(`INSERT INTO "${table}" (${names.join(', ')}) VALUES (${marks})`)
        insert.run(...Object.values(row))
      }
    db.exec('COMMIT')
    for (const name of PRAGMAS) db.exec(`PRAGMA ${name} = ${dump.pragmas[name]}`)
  } finally {
    db.close()
  }
}
