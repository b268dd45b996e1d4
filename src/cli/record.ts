import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Settings } from '../config/load.ts'
import type { LightningAccess } from '../config/parts.ts'
import { Secret } from '../config/secret.ts'
import { isObject, readJson } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { isLoopback } from './request.ts'

/** The file in the sandbox's directory by which other commands find it while it runs. */
const FILE = 'running.json'
const CHARS_MAX = 64 * 1024

/** What is on record of a running sandbox. */
export interface SandboxRecord {
  /** Where it was found. */
  readonly directory: string
  readonly gateway: string
  readonly rpc: string
  readonly buyer: { readonly address: string; readonly privateKey: string }
  /** The buyer's Lightning node, if it has one. */
  readonly lightning?: LightningAccess
}

/** Puts a sandbox on record; a reader sees the whole of it or nothing. */
export async function writeRecord(directory: string, description: object): Promise<void> {
  const file = join(directory, FILE)
  await writeFile(`${file}.new`, JSON.stringify(description), { mode: 0o600 })
  await rename(`${file}.new`, file)
}

/** Takes it off the record. */
export async function removeRecord(directory: string): Promise<void> {
  await rm(join(directory, FILE), { force: true })
}

/**
 * The running sandbox whose gateway the URL leads to. Unless its directory is named it is looked for here and upwards, so
 * that a newcomer can pay from anywhere in a clone. Never for another machine: its key is public to whoever runs it.
 */
export async function findSandbox(
  url: URL,
  settings: Settings,
  cwd: string,
): Promise<SandboxRecord | undefined> {
  if (!isLoopback(url)) return undefined
  for (const directory of sandboxDirectories(settings, cwd)) {
    const record = await readRecord(directory)
    if (record && isSame(new URL(record.gateway), url)) return record
  }
  return undefined
}

/** Where a sandbox may keep its state, the nearest first. */
export function sandboxDirectories(settings: Settings, cwd: string): readonly string[] {
  return settings.sandboxNamed ? [settings.sandbox] : upwards(cwd)
}

/** The same port of this machine, whichever of its names is used. */
function isSame(gateway: URL, url: URL): boolean {
  return isLoopback(gateway) && gateway.port === url.port && gateway.protocol === url.protocol
}

function upwards(cwd: string): string[] {
  const found: string[] = []
  for (let at = cwd; ; at = dirname(at)) {
    found.push(join(at, '.tolsey', 'sandbox'))
    if (at === dirname(at)) return found
  }
}

async function readRecord(directory: string): Promise<SandboxRecord | undefined> {
  const file = join(directory, FILE)
  if (!(await isOurs(file))) return undefined
  const text = await readFile(file, 'utf8').catch(() => '')
  const said = readJson(text, CHARS_MAX)
  if (!isObject(said)) return undefined
  const [gateway, rpc] = [textOf(said, 'gateway'), textOf(said, 'rpc')]
  const buyer = isObject(said['buyer']) ? said['buyer'] : {}
  const [address, privateKey] = [textOf(buyer, 'address'), textOf(buyer, 'privateKey')]
  if (!URL.canParse(gateway) || !rpc || !address || !privateKey) return undefined
  const lightning = lightningIn(said)
  return {
    directory,
    gateway,
    rpc,
    buyer: { address, privateKey },
    ...(lightning && { lightning }),
  }
}

function lightningIn({ lightning }: JsonObject): LightningAccess | undefined {
  if (!isObject(lightning)) return undefined
  const [url, macaroon] = [textOf(lightning, 'url'), textOf(lightning, 'macaroon')]
  return URL.canParse(url) && macaroon ? { url, macaroon: new Secret(macaroon) } : undefined
}

/** What another user put into a directory above ours has no say about our books. */
async function isOurs(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined)
  return found !== undefined && (process.getuid === undefined || found.uid === process.getuid())
}

function textOf(value: JsonObject, name: string): string {
  const said = value[name]
  return typeof said === 'string' ? said : ''
}
