import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { OpenSeller, SellerSettings } from '../adapters/seller.ts'
import { createSeller } from '../adapters/seller.ts'
import type { Observe } from '../core/event.ts'
import type { Clock, Ledger, Mint, Protocol, Rail, Service } from '../core/ports.ts'
import { readPrice } from '../core/money.ts'
import { PaymentError } from '../core/problem.ts'
import type { SweepRule } from '../rails/evm/sweep.ts'
import type { LightningNode } from '../rails/lightning/node.ts'
import type { JwtKey } from '../tokens/jwt/key.ts'
import { durationOf, plansOf, sizeOf } from './document.ts'
import type {
  Document,
  EvmEntry,
  LightningEntry,
  SecretRef,
  SweepEntry,
  TextRef,
} from './document.ts'
import type { Mistake, Steps, Text } from './document-text.ts'
import { SettingError } from './load.ts'

// Parts by their names in a document, loaded on demand: who takes no Lightning loads none of it.

/** Longest file that holds a secret, in bytes. */
const SECRET_BYTES_MAX = 65_536
/** The books where a document names none. */
const BOOKS = 'tolsey.sqlite'

/** A document whose parts are to be opened, and where it stands. */
export interface Source {
  readonly document: Document
  readonly text: Text
  /** Relative files are beside it. */
  readonly directory: string
  /** The environment. */
  variable(name: string): string | undefined
}

/** What parts are watched and timed by. */
export interface OpenOptions {
  readonly clock?: Clock
  readonly observe?: Observe
  /** Books in the place of those that the document names. */
  readonly ledger?: Ledger
}

/** A seller with its books, open. */
export interface OpenParts {
  readonly seller: OpenSeller
  readonly ledger: Ledger
  readonly rails: readonly Rail[]
  /** Ends the seller, and then the books. */
  close(): Promise<void>
}

/** What a document says cannot be done, each with the line where it stands. */
export class DocumentError extends SettingError {
  readonly mistakes: readonly Mistake[]
  constructor(name: string, mistakes: readonly Mistake[]) {
    super(writeMistakes(name, mistakes).join('\n'))
    this.mistakes = mistakes
  }
}

/** A line for each: `tolsey.yaml:12:5: routes › GET /a: A price is written like "0.01 USD".` */
export function writeMistakes(name: string, mistakes: readonly Mistake[]): readonly string[] {
  return mistakes.map(
    ({ line, column, path, sentence }) =>
      `${name}:${line}:${column}: ${path === '' ? '' : `${path}: `}${sentence}`,
  )
}

/** Reads secrets from where a document says they stand. No value is ever part of an error. */
export interface Secrets {
  text(ref: TextRef, at: Steps): Promise<string>
  /** As it stands in its file, which may be binary; a variable as text. */
  bytes(ref: SecretRef, at: Steps): Promise<Buffer>
}

/** Makes the reader of secrets. @throws {DocumentError} from it, where one is not there. */
export function createSecrets(source: Source): Secrets {
  const no = (at: Steps, sentence: string): DocumentError =>
    new DocumentError('', [source.text.mistake(at, sentence)])

  async function bytes(ref: SecretRef, at: Steps): Promise<Buffer> {
    if ('env' in ref) {
      const said = source.variable(ref.env)
      if (said === undefined) throw no(at, `The environment has no variable ${ref.env}.`)
      return Buffer.from(said)
    }
    const read = await readFile(resolve(source.directory, ref.file)).catch(() => undefined)
    if (!read) throw no(at, `The file ${ref.file} cannot be read.`)
    if (read.length === 0 || read.length > SECRET_BYTES_MAX)
      throw no(at, `The file ${ref.file} is empty, or too large for a secret.`)
    return read
  }

  return {
    bytes,
    text: async (ref, at) =>
      typeof ref === 'string' ? ref : (await bytes(ref, at)).toString('utf8').trim(),
  }
}

/** Reads a file of a document that is no secret. @throws {DocumentError} where it is not there. */
export async function readBeside(source: Source, file: string, at: Steps): Promise<string> {
  try {
    return await readFile(resolve(source.directory, file), 'utf8')
  } catch {
    throw new DocumentError('', [source.text.mistake(at, `The file ${file} cannot be read.`)])
  }
}

/**
 * Opens what a document names: rails, which check themselves against their networks, books, protocols, and the seller.
 * @throws {DocumentError} for what the document says and is not so, {PaymentError} for what the world says.
 */
export async function openParts(source: Source, options: OpenOptions = {}): Promise<OpenParts> {
  const secrets = createSecrets(source)
  const ledger = options.ledger ?? (await openLedger(source, secrets, options))
  let rails: readonly Rail[] = []
  try {
    rails = await openRails(source, secrets, ledger, options)
    const settings = await settingsOf(source, secrets, rails, ledger, options)
    const seller = await located(source, ['rails'], () => createSeller(settings))
    return {
      seller,
      ledger,
      rails,
      async close() {
        await seller.close()
        if (ledger !== options.ledger) await ledger.close()
      },
    }
  } catch (error) {
    await Promise.allSettled(rails.map((rail) => rail.close()))
    if (ledger !== options.ledger) await ledger.close()
    throw error
  }
}

/** What decides whether two documents have the same parts, with the secrets in it, so that it must be seen by nobody. */
export async function fingerprint(source: Source): Promise<string> {
  const { origin, realm, secret, ledger, vault, rails, protocols, tokens, plans } = source.document
  const { limits, proxies, cors, restoredAt } = source.document
  const said = { origin, realm, secret, ledger, vault, rails, protocols, tokens, plans }
  const all = { ...said, limits, proxies, cors, restoredAt }
  const secrets = createSecrets(source)
  const parts: string[] = [JSON.stringify(all)]
  for (const [ref, at] of refsIn(all, []))
    parts.push((await secrets.bytes(ref, at)).toString('base64'))
  return hash('sha256', parts.join('\n'))
}

function* refsIn(value: unknown, at: Steps): Generator<readonly [SecretRef, Steps]> {
  if (typeof value !== 'object' || value === null) return
  const names = Object.keys(value)
  const [only = ''] = names
  if (names.length === 1 && (only === 'env' || only === 'file')) yield [value as SecretRef, at]
  else for (const [name, inner] of Object.entries(value)) yield* refsIn(inner, [...at, name])
}

async function openLedger(
  { document, directory }: Source,
  secrets: Secrets,
  { clock }: OpenOptions,
): Promise<Ledger> {
  const { ledger = BOOKS } = document
  if (typeof ledger === 'string') {
    const { sqlite } = await import('../ledger/sqlite.ts')
    return await sqlite({ file: resolve(directory, ledger), ...(clock && { clock }) })
  }
  const { postgres } = await wanted('pg', () => import('../ledger/postgres.ts'))
  const url = await secrets.text(ledger.postgres, ['ledger', 'postgres'])
  const { schema } = ledger
  return await postgres({
    url,
    ...(schema !== undefined && { schema }),
    ...(clock && { clock }),
  })
}

async function openRails(
  source: Source,
  secrets: Secrets,
  ledger: Ledger,
  options: OpenOptions,
): Promise<readonly Rail[]> {
  const { evm = [], lightning } = source.document.rails
  const rails: Rail[] = []
  const isList = Array.isArray(evm)
  for (const [i, entry] of [evm].flat().entries()) {
    const at = ['rails', 'evm', ...(isList ? [i] : [])]
    rails.push(await located(source, at, () => openEvm(entry, at, secrets, ledger, options)))
  }
  if (lightning) {
    const at = ['rails', 'lightning']
    rails.push(
      await located(source, at, () => openLightning(lightning, at, source, secrets, options)),
    )
  }
  return rails
}

async function openEvm(
  entry: EvmEntry,
  at: Steps,
  secrets: Secrets,
  ledger: Ledger,
  { clock, observe }: OpenOptions,
): Promise<Rail> {
  const { network, payTo, rpc = [], signer = [], facilitator, gasBudgetWei } = entry
  const { confirmations, quorum, batcher, refundSigner, sweep } = entry
  if (facilitator) return await openFacilitated(entry, [facilitator].flat(), at, secrets, clock)
  const { evm } = await wanted('viem', () => import('../rails/evm/rail.ts'))
  const keys = await all([signer].flat(), (ref) => secrets.text(ref, [...at, 'signer']))
  return evm({
    ...{ network, payTo, ledger },
    rpc: await all([rpc].flat(), (ref) => secrets.text(ref, [...at, 'rpc'])),
    signer: keys.map(keyOf),
    ...(refundSigner && {
      refundSigner: keyOf(await secrets.text(refundSigner, [...at, 'refundSigner'])),
    }),
    ...(sweep && { sweep: sweepOf(sweep) }),
    ...(confirmations !== undefined && { confirmations }),
    ...(quorum !== undefined && { quorum }),
    ...(batcher !== undefined && { batcher }),
    ...(gasBudgetWei !== undefined && { gasBudgetWei: BigInt(gasBudgetWei) }),
    ...(clock && { clock }),
    ...(observe && { observe }),
  })
}

function keyOf(key: string): string {
  return /^[0-9a-fA-F]{64}$/.test(key) ? `0x${key}` : key
}

function sweepOf({ treasury, above, keep, every, treasuryConfirmed }: SweepEntry): SweepRule {
  return {
    ...{ treasury, above: readPrice(above), keep: readPrice(keep) },
    ...(every !== undefined && { everyMs: durationOf(every) }),
    ...(treasuryConfirmed !== undefined && { treasuryConfirmed }),
  }
}

async function openFacilitated(
  { network, payTo }: EvmEntry,
  facilitators: readonly (
    | string
    | { url: string; headers?: Record<string, TextRef> | undefined }
  )[],
  at: Steps,
  secrets: Secrets,
  clock: Clock | undefined,
): Promise<Rail> {
  const { exact } = await import('../rails/evm/exact.ts')
  const { facilitated } = await import('../protocols/x402/facilitator.ts')
  const url = await all(facilitators, async (said) => {
    if (typeof said === 'string') return said
    const named = Object.entries(said.headers ?? {})
    const fields = await all(named, async ([name, ref]) => [
      name,
      await secrets.text(ref, [...at, 'facilitator', 'headers', name]),
    ])
    return { url: said.url, fields: Object.fromEntries(fields) as Record<string, string> }
  })
  return facilitated(exact({ network, payTo }), { url, ...(clock && { clock }) })
}

async function openLightning(
  entry: LightningEntry,
  at: Steps,
  source: Source,
  secrets: Secrets,
  { clock }: OpenOptions,
): Promise<Rail> {
  const { lightning } = await import('../rails/lightning/rail.ts')
  const node = await openNode(entry, at, source, secrets)
  const { network, hold } = entry
  const secret = hold === true && (await secretsOf(source.document, secrets))
  return lightning({
    node,
    ...(network !== undefined && { network }),
    ...(secret && { hold: { secret } }),
    ...(clock && { clock }),
  })
}

/** One line a back end. */
async function openNode(
  entry: LightningEntry,
  at: Steps,
  source: Source,
  secrets: Secrets,
): Promise<LightningNode> {
  const { network, lnd, cln, phoenixd, eclair, lnbits, nwc, lnurl, hold } = entry
  const net = network === undefined ? {} : { network }
  const holds = hold === true ? { hold } : {}
  const key = (kind: string, name: string, ref: SecretRef): Promise<string> =>
    secrets.text(ref, [...at, kind, name])
  const reach = async (
    kind: string,
    { url, ca }: { readonly url: string; readonly ca?: string | undefined },
  ): Promise<{ readonly url: string; readonly ca?: string }> =>
    ca === undefined ? { url } : { url, ca: await readBeside(source, ca, [...at, kind, 'ca']) }
  if (lnd) {
    const macaroon = hexOf(await secrets.bytes(lnd.macaroon, [...at, 'lnd', 'macaroon']))
    const { createLnd } = await import('../rails/lightning/adapters/lnd.ts')
    return createLnd({ ...(await reach('lnd', lnd)), macaroon, ...net })
  }
  if (cln) {
    const { createCln } = await import('../rails/lightning/adapters/cln.ts')
    const rune = await key('cln', 'rune', cln.rune)
    return createCln({ ...(await reach('cln', cln)), rune, ...holds })
  }
  if (phoenixd) {
    const { createPhoenixd } = await import('../rails/lightning/adapters/phoenixd.ts')
    const password = await key('phoenixd', 'password', phoenixd.password)
    return createPhoenixd({ ...(await reach('phoenixd', phoenixd)), password })
  }
  if (eclair) {
    const { createEclair } = await import('../rails/lightning/adapters/eclair.ts')
    const password = await key('eclair', 'password', eclair.password)
    return createEclair({ ...(await reach('eclair', eclair)), password })
  }
  if (lnbits) {
    const { createLnbits } = await import('../rails/lightning/adapters/lnbits.ts')
    const said = await key('lnbits', 'key', lnbits.key)
    return createLnbits({ ...(await reach('lnbits', lnbits)), key: said, ...net })
  }
  if (nwc) {
    const { createNwc } = await wanted(
      '@getalby/sdk',
      () => import('../rails/lightning/adapters/nwc.ts'),
    )
    return createNwc({ uri: await key('nwc', 'uri', nwc.uri), ...net, ...holds })
  }
  const { createLnurl } = await import('../rails/lightning/adapters/lnurl.ts')
  return createLnurl({ address: lnurl?.address ?? '', ...net })
}

/** A macaroon is a binary file where LND writes it, and hex where people copy it. */
function hexOf(bytes: Buffer): string {
  const text = bytes.toString('latin1').trim()
  return /^[0-9a-fA-F]+$/.test(text) ? text : bytes.toString('hex')
}

async function secretsOf({ secret }: Document, secrets: Secrets): Promise<readonly string[]> {
  return await all([secret].flat(), (ref) => secrets.text(ref, ['secret']))
}

async function settingsOf(
  source: Source,
  secrets: Secrets,
  rails: readonly Rail[],
  ledger: Ledger,
  { clock, observe }: OpenOptions,
): Promise<SellerSettings> {
  const { document, directory } = source
  const { origin, realm, limits, proxies, cors, vault, plans, restoredAt } = document
  const secret = await secretsOf(document, secrets)
  const spoken = await speak(source, secrets, rails, secret)
  return {
    ...{ secret, rails, ledger, origin, ...spoken },
    ...(realm !== undefined && { realm }),
    ...(plans && { plans: plansOf(document) }),
    ...((limits ?? proxies) && { limits: { ...(limits && { tiers: limits }), ...whom(document) } }),
    ...(cors !== undefined && { cors }),
    ...(restoredAt !== undefined && { restoredAt: Date.parse(restoredAt) }),
    ...(vault !== undefined && { vault: await openVault(vault, directory, clock) }),
    ...(clock && { clock }),
    ...(observe && { observe }),
  }
}

/** Whose word on callers is believed. */
export function whom({ proxies }: Document): {
  readonly trusted?: readonly string[]
  readonly field?: 'forwarded' | 'x-forwarded-for'
} {
  if (!proxies) return {}
  const { trusted, field } = proxies
  return { trusted, ...(field && { field }) }
}

async function openVault(
  vault: NonNullable<Document['vault']>,
  directory: string,
  clock: Clock | undefined,
): Promise<NonNullable<SellerSettings['vault']>> {
  const { files } = await import('../vault/files.ts')
  const said = typeof vault === 'string' ? { directory: vault } : vault
  return files({
    directory: resolve(directory, said.directory),
    ...('size' in said && said.size !== undefined && { bytesMax: sizeOf(said.size) }),
    ...(clock && { clock }),
  })
}

interface Spoken {
  readonly protocols: readonly Protocol[]
  readonly mints: readonly Mint[]
  readonly services: readonly Service[]
}

/** Protocols, one line each. L402 first: some of its clients read no further. */
async function speak(
  source: Source,
  secrets: Secrets,
  rails: readonly Rail[],
  secret: readonly string[],
): Promise<Spoken> {
  const { document } = source
  const { rails: named, plans, tokens } = document
  const fitting = [
    ...(named.lightning ? ['l402'] : []),
    ...(named.evm ? ['x402'] : []),
    ...(plans ? ['oauth'] : []),
  ]
  const wantedNames: readonly string[] = document.protocols ?? fitting
  const { createMacaroonMint, createMacaroons } = await import('../tokens/macaroon/index.ts')
  const macaroons = await located(source, ['secret'], () =>
    Promise.resolve(createMacaroons({ secrets: secret })),
  )
  const protocols: Protocol[] = []
  const services: Service[] = []
  const mints: Mint[] = plans ? [createMacaroonMint(macaroons)] : []
  if (wantedNames.includes('l402')) {
    const { l402 } = await import('../protocols/l402/http.ts')
    protocols.push(l402({ parts: rails, mint: macaroons }))
  }
  if (wantedNames.includes('x402')) {
    const { x402 } = await import('../protocols/x402/http.ts')
    protocols.push(x402(rails))
  }
  if (wantedNames.includes('oauth')) {
    const { createProofs, oauth, oauthService } = await import('../protocols/oauth/index.ts')
    const proofs = createProofs()
    if (tokens?.jwt) {
      const [issuer = ''] = [document.origin].flat()
      const keys = await all([tokens.jwt].flat(), async (ref) =>
        readKey(source, await secrets.text(ref, ['tokens', 'jwt'])),
      )
      const { createJwts } = await import('../tokens/jwt/jwts.ts')
      const jwts = createJwts({ keys, issuer, audience: issuer })
      mints.push(jwts)
      services.push(oauthService({ issuer, mint: jwts, proofs }))
    }
    // The upstream may have bearer tokens of its own.
    protocols.push(oauth({ mints, proofs, foreign: 'leave' }))
  }
  return { protocols, mints, services }
}

function readKey({ text }: Source, said: string): JwtKey {
  try {
    return JSON.parse(said) as JwtKey
  } catch {
    throw new DocumentError('', [text.mistake(['tokens', 'jwt'], 'The key is no JWK.')])
  }
}

/** What a part says of its settings belongs to the line where they stand. */
async function located<T>(source: Source, at: Steps, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new DocumentError('', [source.text.mistake(at, error.message)])
  }
}

/** Libraries that not everybody who installs the package wants. */
async function wanted<T>(library: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ERR_MODULE_NOT_FOUND'))
      throw cause
    const sentence = `This needs the library ${library}. Install it beside Tolsey: npm install ${library}.`
    throw new PaymentError('misconfigured', sentence, { cause })
  }
}

async function all<T, U>(items: readonly T[], act: (item: T) => Promise<U>): Promise<U[]> {
  return await Promise.all(items.map(act))
}
