import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { durationOf } from '../config/document.ts'
import { DocumentError } from '../config/registry.ts'
import type { Source } from '../config/registry.ts'
import type { Event } from '../core/event.ts'
import { writeMoney } from '../core/money.ts'
import { PaymentError } from '../core/problem.ts'
import { startGateway } from '../gateway/gateway.ts'
import type { Gateway } from '../gateway/gateway.ts'
import { openOffice } from '../gateway/office.ts'
import type { Office } from '../gateway/office.ts'
import { adminOf, listenOf, readSource, tlsOf } from '../gateway/open.ts'
import type { DocumentHouse } from '../gateway/open.ts'
import { openHouse } from '../gateway/tenants.ts'
import { observers } from '../watch/index.ts'
import { exits, Failure } from './command.ts'
import type { Call, Command } from './command.ts'
import type { Terminal } from './terminal.ts'
import { clean, columns, count } from './text.ts'

/** The document where none is named. */
export const DOCUMENT = 'tolsey.yaml'

/** `tolsey gateway`. */
export const gateway: Command = {
  wordsMax: 1,
  options: { json: { type: 'boolean' } },
  help: [
    'Usage: tolsey gateway [FILE] [options]',
    '',
    `Sells an API that is there: a reverse proxy that takes payments, as ${DOCUMENT} says (YAML, JSON or JSONC). Write one with`,
    '"tolsey init", and see with "tolsey check" whether it holds. SIGTERM serves those within and ends; SIGHUP reads the',
    'document anew without dropping a request, and keeps the one before if the new one is wrong.',
    '',
    'Options:',
    '      --json   Lines of JSON: one when it is ready, then one for each event. That is also what a pipe gets.',
    '',
    'Examples:',
    '  tolsey gateway',
    '  tolsey gateway /etc/tolsey/tolsey.yaml --json',
    '',
    'Exit codes: 0 when it was stopped, 1 when it could not start, 2 when the document is wrong.',
  ].join('\n'),
  async run(call) {
    const { arguments: args, terminal } = call
    const json = args.flag('json') || !terminal.readable
    const file = fileOf(call)
    terminal.progress('Opening the books and the rails …')
    const source = await sourceOf(call, file)
    const office = await named(file, () => openOffice(source))
    const observe = observers(json ? createLog(terminal) : createLive(terminal), office.observe)
    const open = await named(file, () => openHouse(source, { observe }))
    office.use(open.parts)
    const running = await named(file, () => start(source, open, office, observe))
    await serve(running, { call, file, open, source, office, observe, json })
    return exits.ok
  },
}

/** The document that a command is about, as it was typed. */
export function fileOf({ arguments: args }: Call): string {
  return args.words[0] ?? DOCUMENT
}

/**
 * Reads a document.
 * @throws {Failure} when there is none, {DocumentError} when it is wrong.
 */
export async function sourceOf({ cwd, settings }: Call, file: string): Promise<Source> {
  const path = resolve(cwd, file)
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Failure(`There is no ${file}. Write one with: tolsey init`, exits.error, { cause })
  })
  const variable = (name: string): string | undefined => settings.variable(name)
  return readSource(text, file, { directory: dirname(path), variable })
}

/** Names the document in what is wrong with it. */
export async function named<T>(file: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    throw error instanceof DocumentError ? new DocumentError(file, error.mistakes) : error
  }
}

async function start(
  source: Source,
  open: DocumentHouse,
  office: Office,
  observe: (event: Event) => void,
): Promise<Gateway> {
  const { drain, notice } = source.document.timeouts ?? {}
  const admin = adminOf(source)
  try {
    return await startGateway({
      ...{ listen: await listenOf(source), open, observe },
      ...(admin && { admin }),
      beside: (request, response) => office.serve(request, response),
      beforeClose: () => office.close(),
      ...(drain !== undefined && { drainMs: durationOf(drain) }),
      ...(notice !== undefined && { noticeMs: durationOf(notice) }),
    })
  } catch (error) {
    await office.close()
    await open.house.close()
    await open.close()
    throw error
  }
}

/** A gateway that runs, and what it was started from. */
interface Running {
  readonly call: Call
  readonly file: string
  readonly open: DocumentHouse
  readonly source: Source
  readonly office: Office
  readonly observe: (event: Event) => void
  readonly json: boolean
}

async function serve(running: Gateway, parts: Running): Promise<void> {
  const { terminal, signal } = parts.call
  const reload = createReload(running, parts)
  const onHangUp = (): void => void reload()
  process.on('SIGHUP', onHangUp)
  try {
    for (const line of tell(running, parts)) terminal.out(line)
    if (!signal.aborted) await once(signal, 'abort')
    terminal.progress('Serving those within …')
  } finally {
    process.off('SIGHUP', onHangUp)
    await running.stop()
  }
}

/** One at a time: the next begins when the one before has ended. */
function createReload(running: Gateway, parts: Running): () => Promise<void> {
  const { call, file, observe, office } = parts
  let { open, source } = parts
  let busy = Promise.resolve()
  async function again(): Promise<void> {
    try {
      const next = await sourceOf(call, file)
      const moved = movedBetween(source, next)
      if (moved) throw new DocumentError(file, [moved])
      const tls = await named(file, () => tlsOf(next))
      const house = await named(file, () => openHouse(next, { observe, before: open }))
      office.use(house.parts)
      running.replace(house, tls)
      ;[open, source] = [house, next]
      call.terminal.note(`${file} was read anew.`)
    } catch (error) {
      call.terminal.note(`${file} stays as it was. ${sentenceOf(error)}`)
    }
  }
  return () => (busy = busy.then(again))
}

/** What cannot be changed while it runs. */
function movedBetween(
  { document: old }: Source,
  { document, text }: Source,
): ReturnType<Source['text']['mistake']> | undefined {
  const place = ({ listen }: typeof old): unknown =>
    typeof listen === 'object' ? [listen.address, listen.tls !== undefined] : [listen, false]
  if (JSON.stringify(place(old)) !== JSON.stringify(place(document)))
    return text.mistake(['listen'], 'Where it listens cannot be changed while it runs. Restart it.')
  if (old.admin !== document.admin)
    return text.mistake(['admin'], 'Where it listens cannot be changed while it runs. Restart it.')
  return undefined
}

function tell(running: Gateway, parts: Running): Iterable<string> {
  const { url, adminUrl } = running
  const origin = [parts.source.document.origin].flat()
  if (!parts.json) return tellPeople(running, parts, origin)
  return [JSON.stringify({ gateway: url, ...(adminUrl && { admin: adminUrl }), origin })]
}

function* tellPeople(
  { url, adminUrl }: Gateway,
  { call, file, source }: Running,
  origins: readonly string[],
): Generator<string> {
  const { upstreams, routes } = source.document
  yield call.terminal.paint('bold', 'The gateway is ready.')
  yield* columns([
    ['listens at', url],
    ['payers ask', origins.join(', ')],
    ...(adminUrl === undefined ? [] : [['health', `${adminUrl}/readyz`]]),
    ['behind it', Object.keys(upstreams).join(', ')],
    ['sells', count(Object.keys(routes).length, 'route')],
    ['document', file],
  ])
  yield ''
}

/** One line of JSON for each event. */
function createLog(terminal: Terminal): (event: Event) => void {
  return (event) => terminal.out(JSON.stringify(toLine(event)))
}

function toLine(event: Event): object {
  const at = new Date(event.at).toISOString()
  if (event.type === 'fault') {
    const { where, request } = event
    return { at, type: 'fault', where, request, message: sentenceOf(event.error) }
  }
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
        `${terminal.paint('green', `settled ${writeMoney(event.amount)}`)}, ${clean(event.reference)}`,
      )
    if (event.type === 'refused')
      say(event, `${terminal.paint('yellow', 'refused')}: ${clean(event.detail)}`)
    if (event.type === 'unknown')
      say(event, terminal.paint('yellow', 'a settlement whose outcome is not known yet'))
    if (event.type === 'rail')
      say(
        event,
        terminal.paint(
          event.state === 'up' ? 'green' : 'yellow',
          `the rail ${clean(event.rail)} on ${clean(event.network)} is ${event.state}`,
        ),
      )
    if (event.type === 'undone')
      say(
        event,
        terminal.paint('red', `undone ${writeMoney(event.amount)}, ${clean(event.reference)}`),
      )
    if (event.type === 'fault')
      say(
        event,
        `${terminal.paint('red', 'fault')} in ${clean(event.where)}: ${sentenceOf(event.error)}`,
      )
  }
}

/** Logs are read by more people than keys are for: of an address only its origin is told. */
function sentenceOf(error: unknown): string {
  if (error instanceof DocumentError) return error.message
  const known = error instanceof PaymentError || error instanceof RangeError
  const text = known || error instanceof Failure ? error.message : nameOf(error)
  return clean(text.replaceAll(/(\bhttps?:\/\/[^\s/?#@]*)[^\s]*/g, '$1'))
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return 'Error'
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}
