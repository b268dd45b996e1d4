import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { readPrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import { Secret } from './secret.ts'

/** The port of the sandbox's gateway where none is given. */
const PORT_DEFAULT = 8402

/** What a payer may spend where the operator says nothing. */
const BUDGET_DEFAULT = { request: '1 USD', day: '10 USD' } as const

/** Limits on what a payer spends. */
export interface Budget {
  readonly request: Price
  readonly day: Price
  readonly total?: Price
}

/** What the environment says. */
export interface Settings {
  /** Where the sandbox's gateway listens. */
  readonly port: number
  /** Where the sandbox keeps its chain, its books and its throw-away keys: it may be deleted at any time. */
  readonly sandbox: string
  /** Whether the operator named that directory; otherwise it is looked for upwards, like a repository. */
  readonly sandboxNamed: boolean
  /** Where keys and a payer's books live: losing it can lose money. */
  readonly home: string
  readonly privateKey?: Secret
  readonly keystore?: string
  readonly password?: Secret
  readonly passwordFile?: string
  /** LND's REST address, and the files that open it. */
  readonly lnd?: { readonly url: string; readonly macaroonFile: string; readonly caFile?: string }
  /** A wallet's address by Nostr Wallet Connect, which holds a secret. */
  readonly nwc?: Secret
  /** The key that a facilitator sends with. */
  readonly facilitatorKey?: Secret
  /** Endpoints in the order in which they are tried, by what the operator called the network. */
  readonly rpc: Readonly<Record<string, readonly string[]>>
  readonly budget: Budget
  /** `auto`: on a terminal only. */
  readonly colour: 'always' | 'never' | 'auto'
  /** Whether errors show where they came from. */
  readonly debug: boolean
  /** A variable that a document names for a secret; an empty one is none. */
  variable(name: string): string | undefined
}

/** A setting that cannot be used; its message names the variable and says what to write. */
export class SettingError extends Error {
  override readonly name = 'SettingError'
}

type Env = Readonly<Record<string, string | undefined>>

/**
 * Reads the environment; the only place that does. No value of a secret is ever part of an error.
 * @throws {SettingError} when a variable cannot be used.
 */
export function load(
  env: Env = process.env,
  directory: string = process.cwd(),
  platform: string = process.platform,
): Settings {
  const state = given(env, 'TOLSEY_STATE')
  const privateKey = given(env, 'TOLSEY_PRIVATE_KEY')
  const facilitatorKey = given(env, 'TOLSEY_FACILITATOR_KEY')
  const keystore = given(env, 'TOLSEY_KEYSTORE')
  const password = given(env, 'TOLSEY_PASSWORD')
  const passwordFile = given(env, 'TOLSEY_PASSWORD_FILE')
  const total = given(env, 'TOLSEY_MAX_TOTAL')
  const lnd = readLnd(env, directory)
  const nwc = given(env, 'TOLSEY_NWC')
  return {
    port: readPort(given(env, 'TOLSEY_PORT') ?? String(PORT_DEFAULT), 'TOLSEY_PORT'),
    sandbox: resolve(directory, state ?? '.tolsey', 'sandbox'),
    sandboxNamed: state !== undefined,
    home: state === undefined ? homeOf(env, platform) : resolve(directory, state),
    ...(privateKey !== undefined && { privateKey: new Secret(privateKey) }),
    ...(lnd && { lnd }),
    ...(nwc !== undefined && { nwc: new Secret(nwc) }),
    ...(facilitatorKey !== undefined && { facilitatorKey: new Secret(facilitatorKey) }),
    ...(keystore !== undefined && { keystore: resolve(directory, keystore) }),
    ...(password !== undefined && { password: new Secret(password) }),
    ...(passwordFile !== undefined && { passwordFile: resolve(directory, passwordFile) }),
    rpc: readRpc(given(env, 'TOLSEY_RPC') ?? ''),
    budget: {
      request: readLimit(env, 'TOLSEY_MAX', BUDGET_DEFAULT.request),
      day: readLimit(env, 'TOLSEY_MAX_DAY', BUDGET_DEFAULT.day),
      ...(total !== undefined && { total: readLimit(env, 'TOLSEY_MAX_TOTAL', total) }),
    },
    colour: readColour(env),
    debug: given(env, 'TOLSEY_DEBUG') !== undefined,
    variable: (name) => given(env, name),
  }
}

/** @throws {SettingError} when the text is not a TCP port; 0 lets the system choose one. */
export function readPort(text: string, name: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (port <= 65_535) return port
  throw new SettingError(
    `${name} must be a port between 0 and 65535, for instance ${PORT_DEFAULT}.`,
  )
}

/** An empty variable is as good as none: that is how a shell takes one away for a single command. */
function given(env: Env, name: string): string | undefined {
  return env[name] === '' ? undefined : env[name]
}

/** Not the state directory of XDG: what is in there may get lost, and these are keys and proofs of payment. */
function homeOf(env: Env, platform: string): string {
  const windows = platform === 'win32' ? given(env, 'LOCALAPPDATA') : undefined
  const data = windows ?? given(env, 'XDG_DATA_HOME')
  return data ? join(data, 'tolsey') : join(homedir(), '.local', 'share', 'tolsey')
}

/** An address of an endpoint often holds a key, so no error repeats it. */
function readRpc(text: string): Record<string, readonly string[]> {
  const found: Record<string, string[]> = Object.create(null)
  for (const entry of text.split(/[\s,]+/).filter(Boolean)) {
    const [, network, url] = /^([a-z0-9:-]{1,72})=(.+)$/i.exec(entry) ?? []
    if (!network || !url || !/^https?:\/\//.test(url) || !URL.canParse(url))
      throw new SettingError(
        'TOLSEY_RPC must list endpoints as network=address, for instance "base=https://mainnet.base.org".',
      )
    ;(found[network] ??= []).push(url)
  }
  return found
}

function readLnd(env: Env, directory: string): Settings['lnd'] {
  const url = given(env, 'TOLSEY_LND')
  if (url === undefined) return undefined
  const macaroon = given(env, 'TOLSEY_LND_MACAROON')
  if (!/^https?:\/\//.test(url) || !URL.canParse(url) || macaroon === undefined)
    throw new SettingError(
      'TOLSEY_LND must be the address of LND’s REST API, for instance "https://127.0.0.1:8080", and TOLSEY_LND_MACAROON the file of its macaroon.',
    )
  const ca = given(env, 'TOLSEY_LND_CA')
  const macaroonFile = resolve(directory, macaroon)
  return { url, macaroonFile, ...(ca !== undefined && { caFile: resolve(directory, ca) }) }
}

function readLimit(env: Env, name: string, otherwise: string): Price {
  try {
    return readPrice(given(env, name) ?? otherwise)
  } catch {
    throw new SettingError(`${name} must be an amount with a currency, for instance "1 USD".`)
  }
}

/** NO_COLOR wins (no-color.org); FORCE_COLOR=0 also means no. */
function readColour(env: Env): 'always' | 'never' | 'auto' {
  if (given(env, 'NO_COLOR') !== undefined) return 'never'
  const force = given(env, 'FORCE_COLOR')
  if (force !== undefined) return force === '0' || force === 'false' ? 'never' : 'always'
  return env['TERM'] === 'dumb' ? 'never' : 'auto'
}
