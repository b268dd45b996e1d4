import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import { emit } from './books.ts'
import { exits, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { officeHelp, officeOptions, openOffice } from './office.ts'
import type { Office } from './office.ts'
import type { Terminal } from './terminal.ts'
import { clean, columns, list, nearest, textIn } from './text.ts'

/** Tokens and lines of statements that are asked for at once. */
const AT_ONCE = 100
/** How many are shown to people, unless they say. */
const SHOWN = 50
/** Most that may be asked for. */
const SHOWN_MAX = 1_000_000

/** `tolsey tokens`. */
export const tokens: Command = {
  wordsMax: 2,
  options: {
    ...officeOptions,
    payer: { type: 'string' },
    plan: { type: 'string' },
    limit: { type: 'string' },
    yes: { type: 'boolean', short: 'y' },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey tokens [list|show|statement|revoke] [ID] [options]',
    '',
    'Accounts that tokens draw on, of a running gateway. What one token says, "tolsey token show" tells.',
    '',
    '  list             All of them (default); with ID those whose ids begin so.',
    '  show ID          One of them.',
    '  statement ID     What went into it and out of it.',
    '  revoke ID        Revokes all its tokens, for good, within a second everywhere.',
    '',
    'Options:',
    ...officeHelp,
    '      --payer PAYER      Of that payer, as the books name it.',
    '      --plan PLAN        Of that plan.',
    `      --limit N          At most so many; ${SHOWN} for people, all for programs.`,
    '  -y, --yes              Revokes without asking.',
    '      --json             One line of JSON for each; that is also what a pipe gets.',
    '      --text             Columns, in a pipe too.',
    '',
    'Examples:',
    '  tolsey tokens --plan hundred',
    '  tolsey tokens revoke "$ID" --yes',
  ].join('\n'),
  async run(call) {
    const [verb = 'list', id] = call.arguments.words
    const act = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (!act) {
      const near = nearest(verb, Object.keys(verbs))
      throw misuse(`Tokens cannot "${clean(verb)}".${near ? ` Did you mean "${near}"?` : ''}`)
    }
    if (id === undefined && act !== listAll) throw misuse('Name the id of an account.')
    const office = openOffice(call)
    try {
      return await act(call, office, id ?? '')
    } finally {
      office.close()
    }
  },
}

type Verb = (call: Call, office: Office, id: string) => Promise<number>

const verbs: Readonly<Record<string, Verb>> = { list: listAll, show, statement, revoke }

async function listAll(call: Call, office: Office, id: string): Promise<number> {
  const { arguments: args } = call
  const [payer, plan] = [args.text('payer'), args.text('plan')]
  const query = { id: id === '' ? undefined : id, payer, plan }
  const rows = pages(office, 'tokens', query, 'tokens')
  return await tell(call, rows, tokenRow, 'No tokens.')
}

async function statement(call: Call, office: Office, id: string): Promise<number> {
  const rows = pages(office, `tokens/${encodeURIComponent(id)}/statement`, {}, 'entries')
  return await tell(call, rows, lineRow, 'Nothing went into it or out of it.')
}

async function show(call: Call, office: Office, id: string): Promise<number> {
  return say(call, await office.get(`tokens/${encodeURIComponent(id)}`))
}

async function revoke(call: Call, office: Office, id: string): Promise<number> {
  const { arguments: args, terminal } = call
  const path = `tokens/${encodeURIComponent(id)}`
  const token = await office.get(path)
  const question = `Revoke ${terminal.tint('bold', textIn(token, 'id'))} of ${textIn(token, 'payer') || 'nobody known'}, for good?`
  if (!args.flag('yes') && !terminal.interactive)
    throw misuse('Nobody is here to be asked. Add --yes to revoke it.')
  if (!args.flag('yes') && !(await terminal.confirm(question))) return exits.refused
  const { json } = await office.post(`${path}/revoke`, {})
  return say(call, json)
}

function say(call: Call, token: JsonObject): number {
  const { terminal } = call
  if (wantsJson(call)) terminal.out(JSON.stringify(token))
  else
    for (const line of columns(Object.keys(token).map((name) => [name, textIn(token, name)])))
      terminal.out(line)
  return exits.ok
}

/** All pages, each asked for when the one before is read. */
async function* pages(
  office: Office,
  path: string,
  query: Readonly<Record<string, string | undefined>>,
  name: string,
): AsyncGenerator<JsonObject> {
  for (let cursor: string | undefined = ''; cursor !== undefined;) {
    const asked = { ...query, limit: AT_ONCE, cursor: cursor === '' ? undefined : cursor }
    const page = await office.get(path, asked)
    const rows = page[name]
    if (Array.isArray(rows)) yield* (rows as readonly Json[]).filter(isObject)
    const { next } = page
    cursor = typeof next === 'string' && next !== cursor ? next : undefined
  }
}

async function tell(
  call: Call,
  rows: AsyncIterable<JsonObject>,
  cells: (row: JsonObject, paint: Terminal['paint']) => readonly string[],
  nothing: string,
): Promise<number> {
  const json = wantsJson(call)
  const most = limitOf(call) ?? (json ? SHOWN_MAX : SHOWN)
  const shown: JsonObject[] = []
  let isMore = false
  for await (const row of rows) {
    if (shown.length === most) {
      isMore = true
      break
    }
    if (json) await emit(call, JSON.stringify(row))
    shown.push(json ? {} : row)
  }
  if (json) return exits.ok
  const { terminal } = call
  const lines = columns(
    shown.map((row) => cells(row, terminal.paint)),
    '',
  )
  for (const line of lines) await emit(call, line)
  if (lines.length === 0) terminal.out(nothing)
  if (isMore) terminal.out(terminal.paint('dim', `The first ${most}. --limit shows more.`))
  return exits.ok
}

function limitOf({ arguments: args }: Call): number | undefined {
  const typed = args.text('limit')
  if (typed === undefined) return undefined
  if (/^[1-9]\d{0,5}$/.test(typed)) return Number(typed)
  throw misuse(`--limit is a whole number up to ${SHOWN_MAX - 1}.`)
}

/** The colour stands last, where it widens no column. */
function tokenRow(row: JsonObject, paint: Terminal['paint']): readonly string[] {
  const state = textIn(row, 'state')
  const left = [textIn(row, 'uses') && `${textIn(row, 'uses')} uses`, textIn(row, 'balance')]
  return [
    textIn(row, 'id').slice(0, ID_CHARS),
    textIn(row, 'plan'),
    list(left.filter((text) => text !== '')),
    textIn(row, 'expires').slice(0, 16).replace('T', ' '),
    clean(textIn(row, 'payer'), 44),
    paint(colours[state] ?? 'dim', state),
  ]
}

/** So much of an id tells it from all others that anybody has. */
const ID_CHARS = 16

const colours: Readonly<Record<string, Parameters<Terminal['paint']>[0]>> = {
  good: 'green',
  expired: 'dim',
  revoked: 'red',
}

function lineRow(row: JsonObject): readonly string[] {
  const time = textIn(row, 'time').slice(0, 19).replace('T', ' ')
  return [time, textIn(row, 'type'), textIn(row, 'amount'), clean(textIn(row, 'what'), 80)]
}
