import { existsSync } from 'node:fs'
import { chmod, link, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { openChain } from '../config/chain.ts'
import {
  addressOf,
  endpointsOf,
  hexOf,
  networkName,
  newKey,
  writeKeystore,
} from '../config/parts.ts'
import { Secret } from '../config/secret.ts'
import { writeMoney } from '../core/money.ts'
import { PaymentError } from '../core/problem.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import type { Holding } from './purse.ts'
import { findHolding, keystoreFile, readPassword } from './purse.ts'
import { readAll } from './request.ts'
import { columns, nearest } from './text.ts'

/** Fewest characters of a new keystore's password. */
export const PASSWORD_CHARS_MIN = 8

/** `tolsey wallet`. */
export const wallet: Command = {
  wordsMax: 1,
  options: {
    reveal: { type: 'boolean' },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey wallet [show|address|new|import|export] [options]',
    '',
    'The key that pays. It is kept in a keystore file that only you can read and that is encrypted with a password; a',
    'key in TOLSEY_PRIVATE_KEY goes before it.',
    '',
    '  show       The address, where the key comes from, and what it holds on each network with an endpoint in TOLSEY_RPC.',
    '  address    The address alone.',
    '  new        Makes a key and its keystore. Never over an old one.',
    '  import     Makes the keystore of a private key: from TOLSEY_PRIVATE_KEY, stdin, or the answer on the terminal.',
    '  export     The private key in hex; only with --reveal.',
    '',
    'Options:',
    '      --reveal   Allow "export" to show the private key.',
    '      --json     One line of JSON; that is also what a pipe gets.',
    '      --text     Sentences, in a pipe too.',
    '',
    'Examples:',
    '  tolsey wallet new',
    '  TOLSEY_RPC="base=https://mainnet.base.org" tolsey wallet show',
    '  tolsey wallet export --reveal > key.txt',
    '',
    'The file is wallet.json in ~/.local/share/tolsey ($XDG_DATA_HOME), in TOLSEY_STATE, or what TOLSEY_KEYSTORE names.',
    'The password comes from TOLSEY_PASSWORD, TOLSEY_PASSWORD_FILE, or the terminal.',
  ].join('\n'),
  async run(call) {
    const [verb = 'show'] = call.arguments.words
    const act = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (act) return act(call).catch(plain)
    const near = nearest(verb, Object.keys(verbs))
    throw misuse(`A wallet cannot "${verb}".${near ? ` Did you mean "${near}"?` : ''}`)
  },
}

/** Outside a payment a password that does not fit is an error, and nobody declined anything. */
function plain(error: unknown): never {
  if (error instanceof PaymentError) throw new Failure(error.message, exits.error, { cause: error })
  throw error
}

const verbs: Readonly<Record<string, (call: Call) => Promise<number>>> = {
  show,
  address,
  new: create,
  import: bring,
  export: reveal,
}

async function show(call: Call): Promise<number> {
  const { settings, terminal } = call
  const { key, source } = await holdingOf(call)
  const balances: Standing[] = []
  for (const [network, urls] of endpointsOf(settings)) {
    terminal.progress(`Asking ${networkName(network) ?? network} …`)
    balances.push(await standing(network, urls, key.address))
  }
  if (wantsJson(call))
    terminal.out(JSON.stringify({ address: key.address, source, balances: balances.flat() }))
  else for (const line of tell(key.address, source, balances)) terminal.out(line)
  return exits.ok
}

interface Standing {
  readonly network: string
  readonly balances?: readonly string[]
  readonly problem?: string
}

/** One chain that cannot be asked must not hide the others. */
async function standing(
  network: string,
  urls: readonly string[],
  address: string,
): Promise<Standing> {
  const chain = openChain(network, urls)
  try {
    return { network, balances: (await chain.balances(address)).map(writeMoney) }
  } catch (error) {
    const known = error instanceof PaymentError || error instanceof RangeError
    return { network, problem: known ? error.message : 'The chain cannot be asked.' }
  } finally {
    chain.close()
  }
}

function* tell(address: string, source: string, balances: readonly Standing[]): Generator<string> {
  yield `${address} (from ${source})`
  yield* columns(
    balances.map(({ network, balances = [], problem }) => [
      networkName(network) ?? network,
      problem ?? balances.join(', '),
    ]),
  )
  if (balances.length === 0)
    yield 'To see what it holds, name an endpoint: TOLSEY_RPC="base=https://mainnet.base.org".'
}

async function address(call: Call): Promise<number> {
  const { key } = await holdingOf(call)
  call.terminal.out(key.address)
  return exits.ok
}

async function holdingOf({ settings, terminal }: Call): Promise<Holding> {
  const holding = await findHolding(settings, terminal)
  if (holding) return holding
  throw new Failure(
    `There is no wallet at ${keystoreFile(settings)}. Make one with "tolsey wallet new", or set TOLSEY_PRIVATE_KEY.`,
  )
}

async function create(call: Call): Promise<number> {
  return keep(newKey(), call)
}

async function bring(call: Call): Promise<number> {
  const { settings, terminal } = call
  const key = settings.privateKey ?? (await readKey(call))
  try {
    await addressOf(key)
  } catch (error) {
    // The text itself must not be shown: it may be a key with a typing mistake in it.
    if (error instanceof RangeError)
      throw misuse('This is not a private key: 64 hex digits, 0x in front or not.')
    throw error
  }
  if (terminal.interactive) terminal.note('Remember to take the key away from where it was.')
  return keep(key, call)
}

async function readKey({ terminal }: Call): Promise<Secret> {
  const typed = terminal.interactive
    ? await terminal.secret('Private key:')
    : (await readAll(terminal.stdin)).toString()
  if (typed) return new Secret(typed)
  throw misuse('A private key is missing: set TOLSEY_PRIVATE_KEY, or give it on stdin.')
}

async function keep(key: Secret, call: Call): Promise<number> {
  const { settings, terminal } = call
  const file = keystoreFile(settings)
  // Asked here for the user's sake only: the writing below never replaces.
  if (existsSync(file)) throw taken(file)
  const password = await newPassword(call)
  terminal.progress('Encrypting …')
  await writeOnce(file, await writeKeystore(key, password))
  const made = await addressOf(key)
  if (wantsJson(call)) terminal.out(JSON.stringify({ address: made, keystore: file }))
  else {
    terminal.out(made)
    terminal.note(
      `The key is in ${file}. Keep a copy of it and of the password: nobody can bring them back.`,
    )
    terminal.note(
      'To pay with it, send it some USDC on the network of the seller. It needs no ether.',
    )
  }
  return exits.ok
}

async function newPassword({ settings, terminal }: Call): Promise<Secret> {
  const password = await readPassword(settings, terminal, 'New password:')
  if (password.reveal().length < PASSWORD_CHARS_MIN)
    throw misuse(`The password must have at least ${PASSWORD_CHARS_MIN} characters.`)
  if (settings.password || settings.passwordFile !== undefined) return password
  if ((await terminal.secret('Once more:')) === password.reveal()) return password
  throw misuse('The two passwords differ; nothing was written.')
}

/** A link never replaces, so an old key cannot be lost, whoever else writes at this moment. */
async function writeOnce(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const part = `${file}.${process.pid}`
  try {
    await writeFile(part, `${text}\n`, { mode: 0o600, flag: 'wx', flush: true })
    await chmod(part, 0o600)
    await link(part, file)
  } catch (error) {
    throw error instanceof Error && 'code' in error && error.code === 'EEXIST' ? taken(file) : error
  } finally {
    await rm(part, { force: true })
  }
}

function taken(file: string): Failure {
  return new Failure(
    `There is a wallet at ${file} already; it stays. Name another file in TOLSEY_KEYSTORE.`,
  )
}

async function reveal(call: Call): Promise<number> {
  if (!call.arguments.flag('reveal'))
    throw misuse('Whoever sees the private key has the money. If you want to see it, add --reveal.')
  const { key } = await holdingOf(call)
  const hex = await key.reveal()
  call.terminal.out(hexOf(new Secret(hex)))
  return exits.ok
}
