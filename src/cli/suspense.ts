import { createHash } from 'node:crypto'
import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import { readPrice } from '../core/money.ts'
import { exits, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { officeHelp, officeOptions, openOffice } from './office.ts'
import type { Office } from './office.ts'
import { clean, columns, textIn } from './text.ts'

/** `tolsey suspense`. */
export const suspense: Command = {
  wordsMax: 2,
  options: {
    ...officeOptions,
    to: { type: 'string' },
    amount: { type: 'string' },
    asset: { type: 'string' },
    reason: { type: 'string' },
    by: { type: 'string' },
    order: { type: 'string' },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey suspense [list|book ACCOUNT] [options]',
    '',
    'Differences between the books of a running gateway and the world: what lies there and nobody explained, what is missing,',
    'what was lost. Once you know what it was, book it where it belongs; the books keep who said so, and why.',
    '',
    'Options:',
    ...officeHelp,
    '      --to ACCOUNT       From suspense/…: sales/…, income/… or equity/…; from world/missing/… and world/losses/…:',
    '                         world/written-off/….',
    '      --amount PRICE     How much: "0.01 USDC"; all of it if absent.',
    '      --asset ID         Which, where several stand there.',
    '      --reason TEXT      Why.',
    '      --by NAME          Who says so; USER of the environment if absent.',
    '      --order NAME       Names the order, to book the same once more. The same command again is the same order.',
    '      --json             One line of JSON for each; that is also what a pipe gets.',
    '      --text             Columns, in a pipe too.',
    '',
    'Example:',
    '  tolsey suspense book suspense/… --to income/gifts --reason "a gift, by mail of 3 March"',
    '',
    'Exit codes: 0 when it is booked, 3 when nothing was.',
  ].join('\n'),
  async run(call) {
    const [verb = 'list', account] = call.arguments.words
    if (verb !== 'list' && verb !== 'book')
      throw misuse(`Suspense cannot "${clean(verb)}". There are list and book.`)
    if (verb === 'book' && account === undefined) throw misuse('Name the account: suspense/….')
    const order = verb === 'book' && readOrder(call, account ?? '')
    const office = openOffice(call)
    try {
      return await (order ? book(call, office, order) : listAll(call, office))
    } finally {
      office.close()
    }
  },
}

const KINDS: ReadonlySet<string> = new Set(['suspense', 'missing', 'loss'])

async function listAll(call: Call, office: Office): Promise<number> {
  const { items } = await office.get('attention')
  const all = Array.isArray(items) ? (items as readonly Json[]).filter(isObject) : []
  const found = all.filter((item) => KINDS.has(textIn(item, 'kind')))
  const { terminal } = call
  if (wantsJson(call)) for (const item of found) terminal.out(JSON.stringify(item))
  else for (const line of columns(found.map(cellsOf), '')) terminal.out(line)
  if (found.length === 0 && !wantsJson(call)) terminal.out('The books and the world agree.')
  return exits.ok
}

function cellsOf(item: JsonObject): readonly string[] {
  const amount = isObject(item['amount']) ? item['amount'] : {}
  const money = `${textIn(amount, 'amount')} ${textIn(amount, 'code')}`
  return [textIn(item, 'kind'), money, textIn(item, 'account')]
}

function readOrder({ arguments: args, settings }: Call, account: string): JsonObject {
  const [to, reason] = [args.text('to'), args.text('reason')]
  if (to === undefined || reason === undefined)
    throw misuse('Say --to which account, and --reason.')
  const by = args.text('by') ?? settings.variable('USER')
  if (by === undefined) throw misuse('Say --by whom.')
  const [amount, asset] = [args.text('amount'), args.text('asset')]
  if (amount !== undefined) checkAmount(amount)
  return {
    ...{ account, to, reason, by },
    ...(amount !== undefined && { amount }),
    ...(asset !== undefined && { asset }),
  }
}

function checkAmount(amount: string): void {
  try {
    readPrice(amount)
  } catch {
    throw misuse('--amount is an amount with its code, for instance "0.01 USDC".')
  }
}

async function book(call: Call, office: Office, order: JsonObject): Promise<number> {
  const { account, to, amount = '', asset = '' } = order
  const words = JSON.stringify([account, to, amount, asset])
  const digest = createHash('sha256').update(words).digest('hex')
  const name = call.arguments.text('order') ?? `cli-${digest.slice(0, 24)}`
  const { json } = await office.post('bookings', order, { 'idempotency-key': name })
  const { terminal } = call
  const isBooked = json['kind'] === 'booked'
  if (wantsJson(call)) terminal.out(JSON.stringify(json))
  else if (isBooked) {
    const [said] = [isObject(json['amount']) ? json['amount'] : {}]
    const money = `${textIn(said, 'amount')} ${textIn(said, 'code')}`
    terminal.out(
      `${terminal.paint('green', 'booked')}  ${money} from ${textIn(json, 'from')} to ${textIn(json, 'to')}  ${textIn(json, 'key')}`,
    )
  } else terminal.note(`${terminal.tint('red', 'tolsey:')} ${textIn(json, 'detail')}`)
  return isBooked ? exits.ok : exits.refused
}
