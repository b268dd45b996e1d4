import { sayQuantity, sayValue } from '../books/quantity.ts'
import { makeReport } from '../books/report.ts'
import type { By, ReportLine } from '../books/report.ts'
import { fits, statementOf } from '../books/statement.ts'
import type { StatementLine } from '../books/statement.ts'
import {
  csvLine,
  entryCells,
  entryColumns,
  entryJson,
  quantityJson,
  reportCells,
  reportColumns,
  reportJson,
} from '../books/write.ts'
import type { BookEntry } from '../books/entry.ts'
import {
  bookHelp,
  emit,
  readingOf,
  sayAmounts,
  sayTime,
  sourceOptions,
  withSource,
} from './books.ts'
import type { Source } from './books.ts'
import { exits, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { officeHelp } from './office.ts'
import { fitOf } from './payments.ts'
import { clean, columns, list } from './text.ts'

const groupings: readonly By[] = ['route', 'rail', 'payer', 'day']

/** `tolsey report`. */
export const report: Command = {
  wordsMax: 0,
  options: {
    ...sourceOptions,
    by: { type: 'string' },
    from: { type: 'string' },
    to: { type: 'string' },
    route: { type: 'string' },
    payer: { type: 'string' },
    entries: { type: 'boolean' },
    statement: { type: 'boolean' },
    csv: { type: 'boolean' },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey report [options]',
    '',
    'Adds up what was sold, what went back, what it was worth and what it has cost; or exports every entry; or makes the',
    'statement of a payer or a route. Amounts are exact.',
    '',
    'Options:',
    ...bookHelp,
    ...officeHelp,
    '      --by WHAT          One line for each route (default), rail, payer or day (UTC).',
    '      --from WHEN        From then on: 2026-03-01, 2026-03-01T12:00Z, or 7d, 12h, 30m ago.',
    '      --to WHEN          Until then, that moment left out: --from 2026-03-01 --to 2026-04-01 is March.',
    '      --route ROUTE      Of that route only: "GET /weather".',
    '      --payer PAYER      Of that payer only, as the books name it.',
    '      --entries          Every entry instead of sums.',
    '      --statement        What stood before, each entry with the balance after it, and what stands then. With --payer or',
    '                         --route.',
    '      --csv              For spreadsheets (RFC 4180); what could be a formula has an apostrophe before it.',
    '      --json             One line of JSON for each; that is also what a pipe gets.',
    '      --text             Columns, in a pipe too.',
    '',
    'Examples:',
    '  tolsey report --by day --from 30d',
    '  tolsey report --books books.db --entries --from 2026-03-01 --to 2026-04-01 --csv > march.csv',
  ].join('\n'),
  async run(call) {
    const { arguments: args } = call
    if (args.flag('csv') && (args.flag('json') || args.flag('text')))
      throw misuse('Give one of --csv, --json and --text.')
    if (args.flag('entries') && args.flag('statement'))
      throw misuse('Give --entries or --statement.')
    const make = args.flag('statement') ? statement : args.flag('entries') ? entries : sums
    await withSource(call, (source) => make(call, source))
    return exits.ok
  },
}

async function* wanted(call: Call, source: Source): AsyncGenerator<BookEntry> {
  const fit = fitOf(call)
  for await (const entry of source.entries(readingOf(call, 'from', 'to')))
    if (fits(entry, fit)) yield entry
}

async function sums(call: Call, source: Source): Promise<void> {
  const { arguments: args } = call
  const by = groupings.find((one) => one === (args.text('by') ?? 'route'))
  if (!by) throw misuse(`--by is one of ${list(groupings)}.`)
  const lines = await makeReport(wanted(call, source), by)
  if (args.flag('csv')) {
    await emit(call, csvOf(reportColumns))
    for (const line of lines) {
      const cells = reportCells(line)
      await emit(call, csvOf(reportColumns.map((name) => cells[name])))
    }
  } else if (wantsJson(call)) {
    for (const line of lines) await emit(call, JSON.stringify(reportJson(line)))
  } else for (const line of tell(lines, by, call)) await emit(call, line)
}

/** The terminal ends the line. */
function csvOf(cells: readonly string[]): string {
  return csvLine(cells).slice(0, -1)
}

function* tell(lines: readonly ReportLine[], by: By, { terminal }: Call): Generator<string> {
  if (lines.length === 0) {
    yield 'Nothing was booked.'
    return
  }
  const head = [by, 'sales', 'gross', 'back', 'net', '', 'worth', 'tax', 'costs', 'drawn', 'bought']
  const [titles = '', ...rows] = columns(
    [
      head,
      ...lines.map((line) => {
        const cells = reportCells(line)
        const { value } = line
        return [
          clean(cells.group, 60) || '-',
          cells.sales,
          ...[cells.gross, cells.back, cells.net].map(unlessZero),
          cells.code,
          value ? sayValue(value) : '',
          ...[cells.tax, cells.costs, cells.drawn, cells.bought].map(unlessZero),
        ]
      }),
    ],
    '',
  )
  yield terminal.paint('bold', titles)
  yield* rows
}

function unlessZero(text: string): string {
  return text === '0' ? '' : text
}

async function entries(call: Call, source: Source): Promise<void> {
  const { arguments: args } = call
  if (args.flag('csv')) await emit(call, csvOf(entryColumns))
  for await (const entry of wanted(call, source)) {
    if (args.flag('csv')) {
      const cells = entryCells(entry)
      await emit(call, csvOf(entryColumns.map((name) => cells[name])))
    } else if (wantsJson(call)) await emit(call, JSON.stringify(entryJson(entry)))
    else await emit(call, sayEntry(entry))
  }
}

function sayEntry({ at, kind, amount, route, payer, key }: BookEntry): string {
  const amounts = sayQuantity(amount).padStart(24)
  return `${sayTime(at)}  ${kind.padEnd(11)} ${amounts}  ${clean(route, 40)}  ${clean(payer, 44)}  ${clean(key)}`
}

async function statement(call: Call, source: Source): Promise<void> {
  const { arguments: args } = call
  const fit = fitOf(call)
  if (fit.payer === undefined && fit.route === undefined)
    throw misuse('Say whose statement it is: --payer or --route.')
  const say = args.flag('csv') ? statementCsv : wantsJson(call) ? statementJson : statementText
  if (args.flag('csv')) await emit(call, csvOf([...entryColumns, 'balance']))
  // What stood before is told too, so that it is read from the beginning.
  const { from, ...all } = readingOf(call, 'from', 'to')
  const lines = statementOf(source.entries(all), { ...fit, ...(from !== undefined && { from }) })
  for await (const line of lines) for (const text of say(line)) await emit(call, text)
}

function statementCsv(line: StatementLine): readonly string[] {
  if (line.type === 'entry') {
    const cells = entryCells(line.entry)
    const balance = sayQuantity(line.balance).split(' ')[0] ?? ''
    return [csvOf([...entryColumns.map((name) => cells[name]), balance])]
  }
  return line.balances.map((balance) => {
    const [amount = '', code = ''] = sayQuantity(balance).split(' ')
    const cells: Readonly<Record<string, string>> = {
      kind: line.type,
      code,
      asset: balance.asset,
    }
    return csvOf([...entryColumns.map((name) => cells[name] ?? ''), amount])
  })
}

function statementJson(line: StatementLine): readonly string[] {
  if (line.type === 'entry') {
    const { type, entry, balance } = line
    return [JSON.stringify({ type, ...entryJson(entry), balance: quantityJson(balance) })]
  }
  const { type, balances } = line
  return [JSON.stringify({ type, balances: balances.map(quantityJson) })]
}

function statementText(line: StatementLine): readonly string[] {
  if (line.type !== 'entry') return [`${line.type}: ${sayAmounts(line.balances)}`]
  return [`${sayEntry(line.entry)}  = ${sayQuantity(line.balance)}`]
}
