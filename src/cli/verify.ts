import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createAudit } from '../config/audit.ts'
import type { Audit } from '../config/audit.ts'
import { assetOf, endpointsOf, isShared, openBooks } from '../config/parts.ts'
import { writeMoney, writePrice } from '../core/money.ts'
import type { Balance, Ledger } from '../core/ports.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { BUDGET_SCALE } from '../payer/policy.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { booksFile } from './purse.ts'
import { sandboxDirectories } from './record.ts'
import type { Terminal } from './terminal.ts'
import { clean, columns, count } from './text.ts'

/** `tolsey verify`. */
export const verify: Command = {
  wordsMax: 0,
  options: {
    ledger: { type: 'string', multiple: true },
    schema: { type: 'string' },
    rpc: { type: 'string', multiple: true },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey verify [options]',
    '',
    'Reads books from the first row to the last, recomputes the chain of hashes, every transfer and every balance, and',
    'says what does not fit. With an endpoint it also looks up each posted payment on its chain.',
    '',
    'Options:',
    '      --ledger BOOKS  The books: a file, or postgres://user@host/database; may be given again. Without it: those of the',
    '                      sandbox here, and your own as a payer. A password for PostgreSQL is best given in PGPASSWORD.',
    '      --schema NAME   Where the books are in that database (tolsey).',
    '      --rpc URL       An endpoint of the chain to compare with; may be given again. Without it those of TOLSEY_RPC.',
    '      --json          One line of JSON for each of them; that is also what a pipe gets.',
    '      --text          Sentences, in a pipe too.',
    '',
    'Examples:',
    '  tolsey verify',
    '  tolsey verify --ledger books.sqlite --rpc https://mainnet.base.org',
    '  tolsey verify --ledger postgres://tolsey@db.internal/shop --json',
    '',
    'Exit codes: 0 when everything fits, 1 when something does not, or cannot be read.',
  ].join('\n'),
  async run(call) {
    const files = await filesOf(call)
    const reports = []
    for (const file of files) {
      const report = await check(file, call)
      if (wantsJson(call)) call.terminal.out(JSON.stringify(report))
      else for (const line of tell(report, call.terminal)) call.terminal.out(line)
      reports.push(report)
    }
    return reports.every(({ ok }) => ok) ? exits.ok : exits.error
  },
}

interface BalanceSaid {
  readonly account: string
  readonly asset: string
  /** In the smallest unit. */
  readonly posted: string
  readonly pending: string
  /** For people: what is posted, and what is held. */
  readonly amount: string
  readonly held: string
}

interface Report {
  readonly file: string
  readonly ok: boolean
  readonly rows: number
  readonly posted: number
  readonly pending: number
  readonly voided: number
  readonly hash: string
  readonly balances: readonly BalanceSaid[]
  /** Posted payments that the chain confirms. */
  readonly confirmed: number
  /** Posted payments that nobody could be asked about. */
  readonly unchecked: number
  readonly problems: readonly string[]
}

async function filesOf({ arguments: args, settings, cwd }: Call): Promise<readonly string[]> {
  const named = args.texts('ledger').map((one) => (isShared(one) ? one : resolve(cwd, one)))
  if (args.text('schema') !== undefined && !named.some(isShared))
    throw misuse('--schema belongs to books in PostgreSQL.')
  const missing = named.find((one) => !isShared(one) && !existsSync(one))
  if (missing !== undefined) throw misuse(`There are no books at ${missing}.`)
  if (named.length > 0) return named
  const own = booksFile(settings.home)
  const nearest = sandboxDirectories(settings, cwd).find((directory) => existsSync(directory))
  const found = [
    ...(nearest === undefined ? [] : await booksIn(nearest)),
    ...(existsSync(own) ? [own] : []),
  ]
  if (found.length > 0) return [...new Set(found)]
  throw new Failure('There are no books here. Name a file with --ledger.')
}

async function booksIn(directory: string): Promise<string[]> {
  const names = await readdir(directory)
  return names.filter((name) => name.endsWith('.sqlite')).map((name) => join(directory, name))
}

async function check(books: string, call: Call): Promise<Report> {
  const { terminal, arguments: args } = call
  const name = nameOf(books)
  terminal.progress(`Reading ${name} …`)
  const ledger = await openBooks(books, args.text('schema'))
  const audit = createAudit(endpoints(call))
  try {
    return await walk(name, ledger, audit, call)
  } finally {
    audit.close()
    await ledger.close()
  }
}

/** The address of a database without its password, which must not stand in a report. */
function nameOf(books: string): string {
  if (!isShared(books) || !URL.canParse(books)) return isShared(books) ? 'PostgreSQL' : books
  const url = new URL(books)
  return `${url.protocol}//${url.host}${url.pathname}`
}

async function walk(
  file: string,
  ledger: Ledger,
  audit: Audit,
  { terminal, signal }: Call,
): Promise<Report> {
  let seen = 0
  const { problems: wrong, ...counts } = await verifyBooks(ledger, {
    async onPosted(held) {
      if (signal.aborted) throw new Failure('Stopped before everything was read.')
      terminal.progress(`Comparing with the chain: ${count(++seen, 'payment')} …`)
      await audit.compare(held)
    },
  })
  const { confirmed, unchecked } = audit.counts()
  const problems = [...wrong, ...audit.problems()]
  const balances = (await ledger.balances()).map(say)
  return { file, ok: problems.length === 0, ...counts, confirmed, unchecked, balances, problems }
}

/** Those that were typed serve whichever chain they turn out to be of. */
function endpoints({ arguments: args, settings }: Call): Parameters<typeof createAudit>[0] {
  const typed = args.texts('rpc')
  if (typed.some((url) => !/^https?:\/\//.test(url) || !URL.canParse(url)))
    throw misuse('--rpc is the address of an endpoint, for instance https://mainnet.base.org.')
  return typed.length > 0 ? typed : endpointsOf(settings)
}

function say({ account, asset, posted, pending }: Balance): BalanceSaid {
  return {
    account,
    asset,
    posted: posted.toString(),
    pending: pending.toString(),
    amount: amountOf(posted, asset),
    held: amountOf(pending, asset),
  }
}

/** An asset that is known by its id, or the unit of a payer's budget. */
function amountOf(amount: bigint, id: string): string {
  const asset = assetOf(id)
  if (asset) return writeMoney({ asset, amount })
  if (!/^[A-Z][A-Z0-9]{1,15}$/.test(id)) return `${amount} of ${id}`
  return writePrice({ currency: id, amount, scale: BUDGET_SCALE })
}

function* tell(report: Report, { paint }: Terminal): Generator<string> {
  const { posted, pending, voided, confirmed, unchecked, problems } = report
  yield paint('bold', report.file)
  yield `  ${count(report.rows, 'row')}: ${posted} posted, ${pending} pending, ${voided} voided.`
  if (report.rows > 0) yield `  The last row has the hash ${report.hash}.`
  yield* columns([
    ['account', 'posted', 'pending'],
    ...report.balances.map(({ account, amount, held }) => [clean(account), amount, held]),
  ])
  if (confirmed > 0) yield `  The chain confirms ${count(confirmed, 'payment')}.`
  if (unchecked > 0)
    yield `  ${count(unchecked, 'payment')} could not be compared with a chain; name its endpoint with --rpc.`
  for (const problem of problems) yield `  ${paint('red', 'Wrong:')} ${clean(problem)}`
  yield report.ok
    ? `  ${paint('green', 'Everything fits.')}`
    : `  ${paint('red', count(problems.length, 'thing'))} wrong.`
}
