import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createCallers, everybody } from '../adapters/facilitator.ts'
import type { Callers, KnownCallers } from '../adapters/facilitator.ts'
import { OPEN_PER_MINUTE, readCallers, readOpen, startFacilitator } from '../config/facilitator.ts'
import type { RunningFacilitator, Settling } from '../config/facilitator.ts'
import { readPort } from '../config/load.ts'
import { endpointsOf, hexOf, networkId, networkName, openBooks } from '../config/parts.ts'
import { Secret } from '../config/secret.ts'
import type { Event } from '../core/event.ts'
import { readJson } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import { PaymentError } from '../core/problem.ts'
import { itemsOf } from '../protocols/x402/facilitator-catalogue.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import type { Terminal } from './terminal.ts'
import { clean, columns, list } from './text.ts'

/** Longest callers or catalogue file that is read, in characters. */
const FILE_CHARS_MAX = 16_777_216

const PORT_DEFAULT = '8403'

/** `tolsey facilitator`. */
export const facilitator: Command = {
  wordsMax: 0,
  options: {
    network: { type: 'string', multiple: true },
    rpc: { type: 'string', multiple: true },
    'key-file': { type: 'string', multiple: true },
    batcher: { type: 'string' },
    ledger: { type: 'string' },
    port: { type: 'string' },
    host: { type: 'string' },
    callers: { type: 'string' },
    open: { type: 'boolean' },
    'per-minute': { type: 'string' },
    'gas-per-day': { type: 'string' },
    repeats: { type: 'string' },
    catalogue: { type: 'string' },
    json: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey facilitator --network NAME (--callers FILE | --open) [options]',
    '',
    'Verifies and settles x402 payments for sellers that have neither a node nor a key: /verify, /settle, /supported,',
    '/discovery/resources and /health. A payment is settled once, and has the same answer for ever. The key needs ether',
    'for gas and no tokens. SIGTERM answers what is in progress and ends; SIGHUP reads the callers anew.',
    '',
    'Options:',
    '      --network NAME    Where to settle: base, base-sepolia, eip155:8453; may be given again.',
    '      --rpc URL         The chain’s endpoint, or NAME=URL with several networks; otherwise those of TOLSEY_RPC.',
    '      --key-file FILE   The private key that sends, in hex (TOLSEY_FACILITATOR_KEY); may be given again: more keys send',
    '                        more at the same time.',
    '      --batcher ADDRESS Where TolseyBatcher is, with one network: then smart wallets too go with others in one transaction.',
    '      --callers FILE    Who may ask, as JSON: {"callers": [{"name": "shop", "keys": ["sha256:…"]}]}. A key comes as',
    '                        "Authorization: Bearer KEY"; in the file stands its SHA-256: printf %s KEY | sha256sum.',
    '                        Each may be limited by payees, assets, requestsPerMinute, addressPerMinute, amountPerDay',
    '                        ("100 USD"), settlementsPerDay, gasPerDayWei ("2000000000000000"), and repeats ("answer", or',
    '                        "refuse" for servers without a memory).',
    '      --open            Everybody may ask; whoever does spends your gas. With it:',
    `      --per-minute N    Requests of one address within a minute (${OPEN_PER_MINUTE}).`,
    '      --gas-per-day WEI Most that all settlements of a day may cost.',
    '      --repeats WHAT    What a settled payment says when it comes again: "answer" (the same) or "refuse".',
    '      --ledger FILE     The books; processes that share them share their answers (facilitator.sqlite in TOLSEY_STATE).',
    '      --catalogue FILE  Items for /discovery, as a JSON list.',
    `      --port PORT       Where to listen (${PORT_DEFAULT}); 0 takes a free port.`,
    '      --host ADDRESS    The address to listen at (127.0.0.1).',
    '      --json            Lines of JSON: one when it is ready, then one for each event. That is also what a pipe gets.',
    '',
    'Examples:',
    '  TOLSEY_FACILITATOR_KEY=0x… tolsey facilitator --network base-sepolia --rpc https://sepolia.base.org --open',
    '  tolsey facilitator --network base --key-file /run/secrets/key --callers callers.json',
    '',
    'Exit codes: 0 when it was stopped, 1 when it could not start, 2 when the command was not understood.',
  ].join('\n'),
  async run(call) {
    const { arguments: args, terminal, settings, cwd } = call
    const chains = await chainsOf(call)
    const callers = await callersOf(call)
    const catalogue = await catalogueOf(call)
    const file = resolve(cwd, args.text('ledger') ?? join(settings.home, 'facilitator.sqlite'))
    const json = args.flag('json') || !terminal.readable
    terminal.progress('Opening the books and the chains …')
    const ledger = await openBooks(file)
    try {
      const running = await startFacilitator({
        ...{ chains, ledger, callers: callers.known },
        ...(catalogue && { catalogue }),
        host: args.text('host') ?? '127.0.0.1',
        port: readPort(args.text('port') ?? PORT_DEFAULT, '--port'),
        observe: json ? createLog(terminal) : createLive(terminal),
      })
      await serve(running, callers, call, { file, json })
    } finally {
      await ledger.close()
    }
    return exits.ok
  },
}

async function serve(
  running: RunningFacilitator,
  called: Called,
  { terminal, signal }: Call,
  { file, json }: { readonly file: string; readonly json: boolean },
): Promise<void> {
  const { url, networks, signers } = running
  const { about } = called
  const onHangUp = (): void => void called.reload()
  process.on('SIGHUP', onHangUp)
  try {
    if (json)
      terminal.out(
        JSON.stringify({ facilitator: url, networks, signers, callers: about, ledger: file }),
      )
    else for (const line of tell(running, about, file, terminal)) terminal.out(line)
    if (!signal.aborted) await once(signal, 'abort')
    terminal.progress('Answering what is in progress …')
  } finally {
    process.off('SIGHUP', onHangUp)
    await running.stop()
  }
}

function* tell(
  { url, networks, signers }: RunningFacilitator,
  about: string,
  file: string,
  { paint }: Terminal,
): Generator<string> {
  yield paint('bold', 'The facilitator is ready.')
  yield* columns([
    ['address', url],
    ['settles on', list(networks.map((id) => networkName(id) ?? id))],
    ['sends from', list(signers)],
    ['callers', about],
    ['books', file],
  ])
  yield ''
}

async function chainsOf(call: Call): Promise<readonly Settling[]> {
  const { arguments: args, settings } = call
  const networks = [...new Set(args.texts('network').map(networkId))]
  if (networks.length === 0) throw misuse('Name a network, for instance --network base-sepolia.')
  const typed = args.texts('rpc').map(readEndpoint)
  const known = endpointsOf(settings)
  const signer = await signersOf(call)
  const batcher = args.text('batcher')
  if (batcher !== undefined && networks.length > 1)
    throw misuse('--batcher is an address on one network: start a facilitator for each.')
  return networks.map((network) => {
    const mine = typed.filter((one) => (one.network ?? network) === network).map(({ url }) => url)
    const rpc = mine.length > 0 ? mine : (known.get(network) ?? [])
    if (rpc.length === 0) throw misuse(`There is no endpoint of ${network}: give --rpc.`)
    if (networks.length > 1 && typed.some((one) => one.network === undefined))
      throw misuse('With several networks say whose endpoint it is: --rpc base=https://….')
    return { network, rpc, signer, ...(batcher !== undefined && { batcher }) }
  })
}

/** No error repeats an endpoint: it often holds a key. */
function readEndpoint(text: string): { readonly network?: string; readonly url: string } {
  const [, name, url = text] = /^([a-z0-9:-]{1,72})=(.+)$/i.exec(text) ?? []
  if (!/^https?:\/\//.test(url) || !URL.canParse(url))
    throw misuse('--rpc is the address of an endpoint, for instance https://mainnet.base.org.')
  return { url, ...(name !== undefined && { network: networkId(name) }) }
}

async function signersOf({ arguments: args, settings, cwd }: Call): Promise<readonly string[]> {
  const files = args.texts('key-file')
  const typed = files.map(
    async (file) => new Secret(await textOf(resolve(cwd, file), '--key-file')),
  )
  const { facilitatorKey } = settings
  const keys = files.length > 0 ? await Promise.all(typed) : [facilitatorKey]
  return keys.map((key) => {
    if (!key)
      throw misuse('There is no key to send with: give --key-file, or set TOLSEY_FACILITATOR_KEY.')
    const hex = hexOf(key)
    if (/^0x[0-9a-fA-F]{64}$/.test(hex)) return hex
    throw misuse('A key to send with is not 32 bytes in hex.')
  })
}

interface Called {
  readonly known: Callers
  /** For people. */
  readonly about: string
  reload(): Promise<void>
}

/** The limits of everybody, in the words of the callers' file. */
function openLimits({ arguments: args }: Call): JsonObject {
  const [perMinute, gasPerDayWei] = [args.text('per-minute'), args.text('gas-per-day')]
  const repeats = args.text('repeats')
  return {
    ...(perMinute !== undefined && { addressPerMinute: Number(perMinute) }),
    ...(gasPerDayWei !== undefined && { gasPerDayWei }),
    ...(repeats !== undefined && { repeats }),
  }
}

async function callersOf(call: Call): Promise<Called> {
  const { arguments: args, terminal, cwd } = call
  const file = args.text('callers')
  const open = args.flag('open')
  if (open === (file !== undefined))
    throw misuse('Say who may ask: --callers FILE for those with a key, or --open for everybody.')
  const limits = openLimits(call)
  if (file === undefined)
    return {
      known: everybody(readOpen(limits)),
      about: 'everybody',
      reload: () => Promise.resolve(),
    }
  if (Object.keys(limits).length > 0)
    throw misuse(
      '--per-minute, --gas-per-day and --repeats go with --open: in the file of --callers each has its own.',
    )
  const path = resolve(cwd, file)
  const known = await readKnown(path)
  return {
    known,
    about: file,
    // A list that cannot be read must not lock anybody out: the one before stays.
    reload: async () => {
      try {
        known.replace(readCallers(await jsonOf(path, '--callers')))
        terminal.note('The callers were read anew.')
      } catch (error) {
        terminal.note(`The callers stay as they were. ${sentenceOf(error)}`)
      }
    },
  }
}

async function readKnown(path: string): Promise<KnownCallers> {
  const said = readCallers(await jsonOf(path, '--callers'))
  const plain = said.some(({ keys }) => keys.some((key) => !key.startsWith('sha256:')))
  if (plain && ((await stat(path)).mode & 0o077) !== 0 && process.platform !== 'win32')
    throw new Failure(
      `The callers in ${path} have keys in plain text and others may read them: write sha256:… instead, or chmod 600.`,
    )
  try {
    return createCallers(said)
  } catch (error) {
    throw error instanceof RangeError ? misuse(error.message) : error
  }
}

async function catalogueOf({
  arguments: args,
  cwd,
}: Call): Promise<readonly unknown[] | undefined> {
  const file = args.text('catalogue')
  if (file === undefined) return undefined
  const items = itemsOf(await jsonOf(resolve(cwd, file), '--catalogue'))
  if (!items) throw misuse('The file of --catalogue is not a JSON list of items.')
  return items
}

async function jsonOf(path: string, option: string): Promise<Json> {
  const said = readJson(await textOf(path, option), FILE_CHARS_MAX)
  if (said === undefined) throw misuse(`The file of ${option} is not JSON.`)
  return said
}

async function textOf(path: string, option: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Failure(`The file ${path} of ${option} cannot be read.`, exits.error, { cause })
  })
}

/** One line of JSON for each event. */
function createLog(terminal: Terminal): (event: Event) => void {
  return (event) => terminal.out(JSON.stringify(toLine(event)))
}

function toLine(event: Event): object {
  const at = new Date(event.at).toISOString()
  if (event.type === 'fault')
    return { at, type: 'fault', where: event.where, message: sentenceOf(event.error) }
  const amount = 'amount' in event ? { amount: writeMoney(event.amount) } : {}
  return { ...event, at, ...amount }
}

/** One line for each thing that an operator wants to see. */
function createLive(terminal: Terminal): (event: Event) => void {
  const say = ({ at }: Event, text: string): void =>
    terminal.out(`${terminal.paint('dim', new Date(at).toLocaleTimeString('en-GB'))}  ${text}`)
  return (event) => {
    if (event.type === 'settled')
      say(
        event,
        `${terminal.paint('green', `settled ${writeMoney(event.amount)}`)}, transaction ${clean(event.reference)}`,
      )
    if (event.type === 'refused')
      say(event, `${terminal.paint('yellow', 'refused')}: ${clean(event.detail)}`)
    if (event.type === 'voided') say(event, `failed (${event.code})`)
    if (event.type === 'unknown')
      say(event, terminal.paint('yellow', 'a settlement whose outcome is not known yet'))
    if (event.type === 'fault')
      say(event, `${terminal.paint('red', 'fault')} in ${event.where}: ${sentenceOf(event.error)}`)
  }
}

/** Logs are read by more people than keys are for: of an address only its origin is told. */
function sentenceOf(error: unknown): string {
  const known = error instanceof PaymentError || error instanceof RangeError
  const text = known || error instanceof Failure ? error.message : nameOf(error)
  return clean(text.replaceAll(/(\bhttps?:\/\/[^\s/?#@]*)[^\s]*/g, '$1'))
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'Error'
}
