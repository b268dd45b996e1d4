import { once } from 'node:events'
import { resolve } from 'node:path'
import { readPort } from '../config/load.ts'
import type { Event } from '../core/event.ts'
import { writeMoney } from '../core/money.ts'
import { PaymentError } from '../core/problem.ts'
import { priceOf } from '../sandbox/api.ts'
import { startSandbox } from '../sandbox/sandbox.ts'
import type { Description, Sandbox } from '../sandbox/sandbox.ts'
import { exits, Failure } from './command.ts'
import type { Call, Command } from './command.ts'
import { removeRecord, writeRecord } from './record.ts'
import type { Terminal } from './terminal.ts'
import { clean, columns } from './text.ts'

/** `tolsey sandbox`. */
export const sandbox: Command = {
  wordsMax: 0,
  options: {
    port: { type: 'string' },
    state: { type: 'string' },
    json: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey sandbox [options]',
    '',
    'Runs everything that a paid request needs on this machine: an Ethereum node with real USDC contracts and play money,',
    'a seller with a paid API, and a buyer. "tolsey pay" finds the buyer by itself. Ctrl-C stops it.',
    '',
    'Options:',
    '      --port PORT   Where the API listens (TOLSEY_PORT, or 8402); 0 takes a free port.',
    '      --state DIR   Where chain, books and keys are kept (TOLSEY_STATE, or .tolsey here). Delete it to begin anew.',
    '      --json        One line of JSON when it is ready: gateway, facilitator, rpc, buyer, seller and',
    '                    routes. Nothing after that.',
    '',
    'Examples:',
    '  tolsey sandbox',
    '  tolsey sandbox --port 0 --state /tmp/tolsey --json',
    '',
    'Exit codes: 0 when it was stopped, 1 when it could not start.',
  ].join('\n'),
  async run(call) {
    const { arguments: args, settings, terminal, cwd } = call
    const stateDir = args.text('state') === undefined ? settings.sandbox : stateOf(call)
    const port = readPort(args.text('port') ?? String(settings.port), '--port')
    terminal.progress('Starting a chain, a seller and a buyer …')
    const running = await start(port, stateDir, call)
    try {
      if (call.signal.aborted) return exits.ok
      const description = running.describe()
      await writeRecord(stateDir, description)
      if (args.flag('json')) terminal.out(JSON.stringify(description))
      else for (const line of tell(description, terminal, stateDir, cwd)) terminal.out(line)
      if (!call.signal.aborted) await once(call.signal, 'abort')
      if (!args.flag('json')) terminal.progress('Stopping …')
    } finally {
      await removeRecord(stateDir)
      await running.stop()
    }
    return exits.ok
  },
}

/** The same place that TOLSEY_STATE would mean, so that other commands find it by either. */
function stateOf({ arguments: args, cwd }: Call): string {
  return resolve(cwd, args.text('state') ?? '', 'sandbox')
}

async function start(port: number, stateDir: string, call: Call): Promise<Sandbox> {
  const { terminal } = call
  const live = call.arguments.flag('json') ? () => undefined : createLive(terminal)
  const notice = (sentence: string): void => terminal.note(sentence)
  try {
    return await startSandbox({ port, stateDir, observe: live, notice })
  } catch (error) {
    throw isInUse(error) ? inUse(port, error) : error
  }
}

function isInUse(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if ('code' in error && error.code === 'EADDRINUSE') return true
  return error instanceof PaymentError && isInUse(error.cause)
}

function inUse(port: number, cause: unknown): Failure {
  return new Failure(
    `Port ${port} is in use, perhaps by another sandbox. Stop that, or choose a port: --port 0 takes a free one.`,
    exits.error,
    { cause },
  )
}

function* tell(
  { gateway, facilitator, rpc, buyer, seller, lightning, routes }: Description,
  { paint }: Terminal,
  stateDir: string,
  cwd: string,
): Generator<string> {
  const [first] = routes
  const url = first?.url ?? gateway
  // Another directory than the one where the next command looks has to be named to it.
  const isHere = stateDir === resolve(cwd, '.tolsey', 'sandbox')
  const state = isHere ? '' : `TOLSEY_STATE=${quote(resolve(stateDir, '..'))} `
  const tolsey = `${state}npx tolsey`
  yield paint('bold', 'The sandbox is ready.')
  yield 'A paid API and a chain of its own on this machine; the money is play money.'
  yield ''
  yield* columns([
    ['API', gateway],
    ['facilitator', facilitator],
    ['chain', rpc],
    ['seller', seller.address],
    ['buyer', buyer.address],
    ...(lightning ? ([['buyer’s LND', lightning.url]] as const) : []),
  ])
  yield ''
  yield paint('bold', 'What is sold')
  yield* columns(routes.map((route) => [priceOf(route), route.method, route.url]))
  yield ''
  yield paint('bold', 'Try it in another terminal')
  yield* columns([
    [paint('cyan', `${tolsey} pay ${url}`), 'asks, pays, and shows the answer'],
    ...(lightning
      ? ([
          [paint('cyan', `${tolsey} pay ${url} --rail lightning`), 'the same over Lightning'],
        ] as const)
      : []),
    [paint('cyan', `${tolsey} inspect ${url}`), 'explains the price without paying'],
    [paint('cyan', `${tolsey} verify --rpc ${rpc}`), 'checks the books against the chain'],
    [paint('cyan', `curl -i ${url}`), 'shows the 402 itself'],
  ])
  yield ''
  yield 'Any other x402 client can pay with the buyer’s key:'
  yield `  export PRIVATE_KEY=${buyer.privateKey}`
  yield ''
  yield 'Payments will appear here. Ctrl-C stops the sandbox; what it keeps is in'
  yield `  ${stateDir}`
  yield ''
}

function quote(path: string): string {
  return /^[\w./@+-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`
}

/** One line for each thing that a seller wants to see. */
function createLive(terminal: Terminal): (event: Event) => void {
  const payers = new Map<string, string>()
  const say = ({ at }: Event, text: string): void =>
    terminal.out(`${terminal.paint('dim', new Date(at).toLocaleTimeString('en-GB'))}  ${text}`)
  return (event) => {
    switch (event.type) {
      case 'challenged':
        return say(event, `402 ${clean(event.url)}`)
      case 'refused':
        return say(
          event,
          `${terminal.paint('yellow', 'refused')} ${clean(event.url)}: ${clean(event.detail)}`,
        )
      case 'held':
        payers.set(event.key, event.payer)
        return
      case 'settled':
        say(event, paid(event, payers.get(event.key), terminal))
        payers.delete(event.key)
        return
      case 'voided':
        payers.delete(event.key)
        return say(event, `released, nothing charged (${event.code})`)
      case 'unknown':
        return say(event, terminal.paint('yellow', 'a payment whose outcome is not known yet'))
      case 'undone':
        return say(
          event,
          `${terminal.paint('red', 'undone')} ${writeMoney(event.amount)}: transaction ${clean(event.reference)} has vanished from the chain`,
        )
      case 'refunded':
        return say(event, `refunded ${writeMoney(event.amount)} in ${clean(event.reference)}`)
      case 'fault':
        return say(
          event,
          `${terminal.paint('red', 'fault')} in ${event.where}: ${sentenceOf(event.error)}`,
        )
      case 'mismatch':
        return say(event, `${terminal.paint('red', 'mismatch')} ${writeMoney(event.amount)}`)
      case 'rail':
        return say(
          event,
          `the rail ${clean(event.rail)} on ${clean(event.network)} is ${event.state}`,
        )
      case 'delivered':
      case 'reserved':
      case 'waiting':
      case 'paid':
      case 'lost':
    }
  }
}

/** It is the user's own chain and seller, so nothing has to be kept from the user. */
function sentenceOf(error: unknown): string {
  return clean(error instanceof Error ? error.message : String(error))
}

function paid(
  { amount, reference }: Event & { type: 'settled' },
  payer: string | undefined,
  { paint }: Terminal,
): string {
  const by = payer === undefined ? '' : ` by ${clean(payer)}`
  return `${paint('green', `paid ${writeMoney(amount)}`)}${by}, transaction ${clean(reference)}`
}
