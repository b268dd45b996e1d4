import { readFileSync } from 'node:fs'
import { load, SettingError } from '../config/load.ts'
import type { Settings } from '../config/load.ts'
import { PaymentError } from '../core/problem.ts'
import { exits, Failure, misuse, readArguments } from './command.ts'
import type { Call, Command } from './command.ts'
import { createTerminal } from './terminal.ts'
import type { Streams, Terminal } from './terminal.ts'
import { columns, nearest } from './text.ts'

interface Entry {
  readonly summary: string
  /** Loaded on demand: asking for help must not read a chain library. */
  load(): Promise<Command>
}

const commands: Readonly<Record<string, Entry>> = {
  sandbox: {
    summary: 'Runs a private chain and a paid API on this machine, to try things on.',
    load: async () => (await import('./sandbox.ts')).sandbox,
  },
  gateway: {
    summary: 'Sells an API that is there: a reverse proxy that takes payments.',
    load: async () => (await import('./gateway.ts')).gateway,
  },
  check: {
    summary: 'Looks whether a gateway’s document holds: rails, upstreams and every route.',
    load: async () => (await import('./check.ts')).check,
  },
  init: {
    summary: 'Writes a first document for a gateway.',
    load: async () => (await import('./init.ts')).init,
  },
  pay: {
    summary: 'Makes a request and pays for it if asked to.',
    load: async () => (await import('./pay.ts')).pay,
  },
  inspect: {
    summary: 'Explains what a URL asks for, without paying.',
    load: async () => (await import('./inspect.ts')).inspect,
  },
  wallet: {
    summary: 'Makes, shows and moves the key that pays.',
    load: async () => (await import('./wallet.ts')).wallet,
  },
  token: {
    summary: 'Shows what a token says, and narrows it to be handed on.',
    load: async () => (await import('./token.ts')).token,
  },
  facilitator: {
    summary: 'Settles payments for sellers that have neither a node nor a key.',
    load: async () => (await import('./facilitator.ts')).facilitator,
  },
  payments: {
    summary: 'Lists what was paid, and how it stands.',
    load: async () => (await import('./payments.ts')).payments,
  },
  payment: {
    summary: 'Tells the whole story of one payment.',
    load: async () => (await import('./payment.ts')).payment,
  },
  refund: {
    summary: 'Gives a payment back, whole or in part.',
    load: async () => (await import('./refund.ts')).refund,
  },
  tokens: {
    summary: 'Lists tokens that were sold, shows what they drew, and revokes them.',
    load: async () => (await import('./tokens.ts')).tokens,
  },
  events: {
    summary: 'Tells what happened, in its order, and goes on telling.',
    load: async () => (await import('./events.ts')).events,
  },
  suspense: {
    summary: 'Shows differences between books and world, and books them away.',
    load: async () => (await import('./suspense.ts')).suspense,
  },
  report: {
    summary: 'Adds up what was sold, makes statements, exports the books.',
    load: async () => (await import('./report.ts')).report,
  },
  verify: {
    summary: 'Checks the books: balances, the chain of hashes, and the world outside.',
    load: async () => (await import('./verify.ts')).verify,
  },
}

/** Runs the program and sets the exit code; the process ends when nothing is left to do. */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<void> {
  const stop = new AbortController()
  // The first signal asks to stop, the second does not ask.
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(130)
    stop.abort()
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  // Whoever reads our output may stop reading: `tolsey … | head`.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) =>
    process.exit(code === 'EPIPE' ? exits.ok : exits.error),
  )
  try {
    const { stdin, stdout, stderr } = process
    const streams = { stdin, stdout, stderr }
    process.exitCode = await run(argv, { streams, cwd: process.cwd(), signal: stop.signal })
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

/** Where a command runs. */
export interface Place {
  readonly streams: Streams
  readonly cwd: string
  /** Fires when the user wants to stop. */
  readonly signal: AbortSignal
  /** The variables; those of the process if absent. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** Runs one command and answers with its exit code. Never throws: what is wrong is said on stderr. */
export async function run(argv: readonly string[], place: Place): Promise<number> {
  let terminal = createTerminal(place.streams, 'never')
  let settings: Settings | undefined
  try {
    settings = load(place.env, place.cwd)
    terminal = createTerminal(place.streams, settings.colour)
    return await dispatch(argv, { settings, terminal, cwd: place.cwd, signal: place.signal })
  } catch (error) {
    return tell(error, argv, terminal, settings?.debug ?? false)
  }
}

async function dispatch(argv: readonly string[], call: Omit<Call, 'arguments'>): Promise<number> {
  const [name = '--help', ...rest] = argv
  const { terminal } = call
  if (name === '--version' || name === '-v') return say(terminal, version())
  if (name === '--help' || name === '-h') return say(terminal, overview())
  if (name === 'help') return dispatch([...rest.slice(0, 1), '--help'], call)
  const command = await entry(name).load()
  const read = readArguments(rest, command)
  if (read.flag('help')) return say(terminal, command.help)
  return command.run({ ...call, arguments: read })
}

function entry(name: string): Entry {
  const found = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (found) return found
  const near = nearest(name, Object.keys(commands))
  const kind = name.startsWith('-') ? 'option' : 'command'
  throw misuse(`There is no ${kind} "${name}".${near ? ` Did you mean "${near}"?` : ''}`)
}

function say(terminal: Terminal, text: string): number {
  terminal.out(text)
  return exits.ok
}

/** One sentence on stderr; where it came from only when debugging, for it may hold what others should not read. */
function tell(error: unknown, argv: readonly string[], terminal: Terminal, debug: boolean): number {
  const exit = exitOf(error)
  const known = error instanceof Error && !bugs.has(error.name)
  const sentence = known ? error.message : 'Something went wrong inside.'
  terminal.note(`${terminal.tint('red', 'tolsey:')} ${sentence}`)
  if (argv.includes('--json'))
    terminal.out(JSON.stringify({ error: { code: codeOf(error, exit), message: sentence } }))
  if (exit === exits.usage)
    terminal.note(`Run "tolsey ${helpful(argv)}--help" to see what there is.`)
  if (debug) terminal.note(error instanceof Error ? (error.stack ?? '') : String(error))
  else if (!known) terminal.note('Set TOLSEY_DEBUG=1 to see where it came from.')
  return exit
}

function helpful([name = '']: readonly string[]): string {
  return Object.hasOwn(commands, name) ? `${name} ` : ''
}

/** Errors that speak to programmers. */
const bugs: ReadonlySet<string> = new Set(['Bug', 'TypeError', 'ReferenceError', 'SyntaxError'])

const refusals: ReadonlySet<string> = new Set([
  'budget-exceeded',
  'offers-unacceptable',
  'body-unrepeatable',
  'declined',
])

const unserved: ReadonlySet<string> = new Set(['payment-unknown', 'task-failed'])

function exitOf(error: unknown): number {
  if (error instanceof Failure) return error.exit
  if (error instanceof SettingError) return exits.usage
  if (!(error instanceof PaymentError)) return exits.error
  if (refusals.has(error.code)) return exits.refused
  return unserved.has(error.code) ? exits.unserved : exits.error
}

/** For programs: the payment's own code where there is one. */
function codeOf(error: unknown, exit: number): string {
  const inner = error instanceof Failure ? error.cause : error
  if (inner instanceof PaymentError) return inner.code
  return Object.entries(exits).find(([, code]) => code === exit)?.[0] ?? 'error'
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

function overview(): string {
  return [
    'Tolsey: sell and buy over HTTP with 402 Payment Required.',
    '',
    'Usage: tolsey <command> [options]',
    '',
    ...columns(Object.entries(commands).map(([name, { summary }]) => [name, summary])),
    '',
    'Try it:',
    '  tolsey sandbox                              in one terminal',
    '  tolsey pay http://127.0.0.1:8402/weather    in another',
    '',
    'Options:',
    '  --help      This text; after a command, more about that command.',
    '  --version   The version.',
    '',
    'Exit codes:',
    '  0  All is well.',
    '  1  Something went wrong; nothing was paid.',
    '  2  The command or a setting was not understood.',
    '  3  Nothing was paid: declined, over a limit, or no acceptable offer.',
    '  4  Money has moved or may have, and the answer is not what was bought.',
    '',
    'Environment:',
    '  TOLSEY_PORT           Port of the sandbox (8402).',
    '  TOLSEY_STATE          Directory for everything: keys, books and the sandbox. Without it the sandbox uses',
    '                        .tolsey here, and keys and books are in ~/.local/share/tolsey ($XDG_DATA_HOME).',
    '  TOLSEY_PRIVATE_KEY    The key that pays, in hex; or',
    '  TOLSEY_KEYSTORE       a keystore file, opened with',
    '  TOLSEY_PASSWORD       its password, or TOLSEY_PASSWORD_FILE, or the answer on the terminal.',
    '  TOLSEY_LND            A Lightning node that pays: the REST address of LND, with TOLSEY_LND_MACAROON (a file) and,',
    '                        where it has signed its certificate itself, TOLSEY_LND_CA (a file); or',
    '  TOLSEY_NWC            a wallet by Nostr Wallet Connect, nostr+walletconnect://…',
    '  TOLSEY_FACILITATOR_KEY  The key that a facilitator sends with, in hex.',
    '  TOLSEY_RPC            Endpoints of chains: "base=https://… base-sepolia=https://…".',
    '  TOLSEY_MAX            Most for one request ("1 USD"); TOLSEY_MAX_DAY for a day ("10 USD");',
    '  TOLSEY_MAX_TOTAL      for ever (no limit).',
    '  TOLSEY_ADMIN          The admin address of a running gateway, with TOLSEY_ADMIN_TOKEN, the token of its dashboard.',
    '  NO_COLOR, FORCE_COLOR, TOLSEY_DEBUG',
  ].join('\n')
}
