import { once } from 'node:events'
import type { Server } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { listener, openFacilitator } from '../adapters/facilitator.ts'
import type { Callers, Registered } from '../adapters/facilitator.ts'
import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import { readPrice } from '../core/money.ts'
import type { Caller, Clock, Ledger, Rail } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { facilitatorService } from '../protocols/x402/facilitator-service.ts'
import { evm } from '../rails/evm/rail.ts'
import { accountOf } from '../rails/evm/signer.ts'
import { SettingError } from './load.ts'

/** How long a request may take to arrive: nobody drips bytes at us. */
const REQUEST_MS = 30_000
const HEADERS_MS = 10_000
/** Most entries of one of a caller's lists. */
const LIST_MAX = 10_000

/** A chain that a facilitator settles on. */
export interface Settling {
  /** CAIP-2, or `base`. */
  readonly network: string
  readonly rpc: string | readonly string[]
  /** Private key that submits payments and pays their gas, in hex; each of several is a lane of its own. */
  readonly signer: string | readonly string[]
  /** Where `contracts/TolseyBatcher.sol` is: then payers with code too go with others in one transaction. */
  readonly batcher?: string
}

/** What a facilitator's server is started with. */
export interface FacilitatorSettings {
  readonly chains: readonly Settling[]
  readonly ledger: Ledger
  readonly callers: Callers
  /** Items for `/discovery`. */
  readonly catalogue?: readonly unknown[]
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** How long answers in progress may take when it stops. */
  readonly drainMs?: number
  readonly clock?: Clock
  readonly observe?: Observe
}

/** A facilitator that is served. */
export interface RunningFacilitator {
  readonly url: string
  /** CAIP-2. */
  readonly networks: readonly string[]
  /** Addresses that need gas. */
  readonly signers: readonly string[]
  /** Lets nobody new in, answers everybody within, and ends. The ledger stays open: it belongs to the caller. */
  stop(): Promise<void>
}

/**
 * Starts a facilitator's server.
 * @throws {PaymentError} with what to do, when the port is taken or a chain is not what the settings say.
 */
export async function startFacilitator(settings: FacilitatorSettings): Promise<RunningFacilitator> {
  const { ledger, callers, catalogue, clock = systemClock, observe } = settings
  const watched = { clock, ...(observe && { observe }) }
  const rails = settings.chains.map((chain) => railOf(chain, { ledger, ...watched }))
  const keys = settings.chains.flatMap(({ signer }) => signer)
  const signers = [...new Set(keys.map((key) => accountOf(key).address))]
  const facilitator = await openFacilitator({ rails, ledger, callers, ...watched })
  try {
    const service = facilitatorService(facilitator, {
      rails,
      signers: { 'eip155:*': signers },
      ...(catalogue && { catalogue }),
    })
    const server = createServer(
      { requestTimeout: REQUEST_MS, headersTimeout: HEADERS_MS },
      listener(service, (error) =>
        observe?.({ type: 'fault', at: clock.now(), where: 'facilitator', error }),
      ),
    )
    await listen(server, settings)
    let ended: Promise<void> | undefined
    return {
      url: urlOf(server),
      networks: rails.map(({ network }) => network),
      signers,
      stop: () => (ended ??= stop(server, () => facilitator.close(settings.drainMs), clock)),
    }
  } catch (error) {
    await facilitator.close()
    throw error
  }
}

/** It settles for every payee, so that its own account only stands where a rail must have one. */
function railOf(
  chain: Settling,
  parts: { readonly ledger: Ledger; readonly clock: Clock; readonly observe?: Observe },
): Rail {
  const [first = ''] = [chain.signer].flat()
  return evm({ ...chain, payTo: accountOf(first).address, ...parts })
}

async function listen(server: Server, { host, port }: FacilitatorSettings): Promise<void> {
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    const sentence = `Port ${port} cannot be used. Free it, or choose another with --port.`
    throw new PaymentError('misconfigured', sentence, { cause })
  }
}

function urlOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

/** What is being settled gets its answer; whoever comes meanwhile is told to come back. */
async function stop(server: Server, close: () => Promise<void>, clock: Clock): Promise<void> {
  await close()
  const closed = once(server, 'close')
  const waiting = new AbortController()
  server.close()
  server.closeIdleConnections()
  await Promise.race([closed, clock.sleep(ANSWERS_MS, waiting.signal)])
  waiting.abort()
  server.closeAllConnections()
  await closed
}

/** How long the last answers may take to leave. */
const ANSWERS_MS = 1_000

/**
 * Reads a list of callers: `{ "callers": [{ "name": "shop", "keys": ["sha256:…"], … }] }`, where a key is its SHA-256 or
 * the key itself. `payees`, `assets`, `requestsPerMinute`, `addressPerMinute`, `amountPerDay` ("100 USD"), `settlementsPerDay`,
 * `gasPerDayWei` ("2000000000000000") and `repeats` ("answer" or "refuse") may limit each.
 * @throws {SettingError} with the place. No key is ever part of it.
 */
export function readCallers(said: Json | undefined): readonly Registered[] {
  const list = isObject(said) ? said['callers'] : undefined
  if (!Array.isArray(list))
    throw new SettingError('The callers are not an object with a list "callers".')
  return (list as readonly Json[]).map((one, i) => readCaller(one, `Caller ${i}`))
}

/** How many requests an address may make in a minute where everybody may ask, if nothing else is said. */
export const OPEN_PER_MINUTE = 600

/**
 * Reads the limits of everybody, for an open facilitator: those of one caller, of whom an address may ask
 * {@link OPEN_PER_MINUTE} times in a minute if nothing else is said.
 * @throws {SettingError} with the place.
 */
export function readOpen(said: JsonObject = {}): Caller {
  const limits = { addressPerMinute: OPEN_PER_MINUTE, ...said, name: 'everybody', keys: [] }
  const { keys: _, ...caller } = readCaller(limits, 'Everybody')
  return caller
}

const members: ReadonlySet<string> = new Set([
  'name',
  'keys',
  'payees',
  'assets',
  'requestsPerMinute',
  'amountPerDay',
  'addressPerMinute',
  'settlementsPerDay',
  'gasPerDayWei',
  'repeats',
])

function readCaller(said: Json, where: string): Registered {
  if (!isObject(said)) throw new SettingError(`${where} is not an object.`)
  // A limit whose name is mistyped would be no limit.
  const stranger = Object.keys(said).find((name) => !members.has(name))
  if (stranger !== undefined) throw new SettingError(`${where} has no member "${stranger}".`)
  const { name, repeats } = said
  if (typeof name !== 'string') throw new SettingError(`${where} has no "name".`)
  if (repeats !== undefined && repeats !== 'answer' && repeats !== 'refuse')
    throw new SettingError(`${where}: "repeats" is "answer" or "refuse".`)
  const [payees, assets] = [textsOf(said, 'payees', where), textsOf(said, 'assets', where)]
  const requestsPerMinute = countOf(said, 'requestsPerMinute', where)
  const addressPerMinute = countOf(said, 'addressPerMinute', where)
  const settlementsPerDay = countOf(said, 'settlementsPerDay', where)
  const gasPerDayWei = weiOf(said, where)
  const amountPerDay = priceOf(said, where)
  return {
    name,
    keys: textsOf(said, 'keys', where) ?? [],
    ...(payees && { payees }),
    ...(assets && { assets }),
    ...(requestsPerMinute !== undefined && { requestsPerMinute }),
    ...(addressPerMinute !== undefined && { addressPerMinute }),
    ...(settlementsPerDay !== undefined && { settlementsPerDay }),
    ...(gasPerDayWei !== undefined && { gasPerDayWei }),
    ...(amountPerDay && { amountPerDay }),
    ...(repeats !== undefined && { repeats }),
  }
}

function textsOf(said: JsonObject, name: string, where: string): readonly string[] | undefined {
  const list = said[name]
  if (list === undefined) return undefined
  if (
    Array.isArray(list) &&
    list.length <= LIST_MAX &&
    list.every((one) => typeof one === 'string')
  )
    return list
  throw new SettingError(`${where}: "${name}" is not a list of texts.`)
}

function countOf(said: JsonObject, name: string, where: string): number | undefined {
  const value = said[name]
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new SettingError(`${where}: "${name}" is not a whole number.`)
}

/** As text: a day's gas is more than a JSON number can tell. */
function weiOf({ gasPerDayWei }: JsonObject, where: string): bigint | undefined {
  if (gasPerDayWei === undefined) return undefined
  if (typeof gasPerDayWei === 'string' && /^\d{1,30}$/.test(gasPerDayWei))
    return BigInt(gasPerDayWei)
  throw new SettingError(`${where}: "gasPerDayWei" is a whole number of wei, as text.`)
}

function priceOf(said: JsonObject, where: string): Registered['amountPerDay'] {
  const { amountPerDay } = said
  if (amountPerDay === undefined) return undefined
  try {
    if (typeof amountPerDay === 'string') return readPrice(amountPerDay)
  } catch {
    // Said below.
  }
  throw new SettingError(`${where}: "amountPerDay" is an amount with a currency, like "100 USD".`)
}
