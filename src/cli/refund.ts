import { createHash } from 'node:crypto'
import { readPaymentJson } from '../books/read.ts'
import { sayQuantity } from '../books/quantity.ts'
import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { readPrice } from '../core/money.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { officeHelp, officeOptions, openOffice } from './office.ts'
import type { Office } from './office.ts'
import { clean, textIn } from './text.ts'

/** `tolsey refund`. */
export const refund: Command = {
  wordsMax: 1,
  options: {
    ...officeOptions,
    amount: { type: 'string' },
    reason: { type: 'string' },
    to: { type: 'string' },
    order: { type: 'string' },
    yes: { type: 'boolean', short: 'y' },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey refund KEY [options]',
    '',
    'Gives a payment back, whole or in part, through a running gateway. KEY is what "tolsey payments" shows last. It never',
    'gives back more than was paid. The same command again is the same order: it moves nothing twice, and tells how it stands.',
    '',
    'Options:',
    ...officeHelp,
    '      --amount PRICE     How much: "0.01 USD"; all that is left if absent.',
    '      --reason TEXT      For the books.',
    '      --to DESTINATION   Whom to pay, where the rail does not know who paid.',
    '      --order NAME       Names the order, to give the same amount back once more: letters, digits and ._:-',
    '  -y, --yes              Without asking.',
    '      --json             One line of JSON; that is also what a pipe gets.',
    '      --text             Sentences, in a pipe too.',
    '',
    'Examples:',
    '  tolsey refund "$KEY" --amount "0.01 USD" --reason "half of it was missing"',
    '  tolsey refund "$KEY" --yes --json',
    '',
    'Exit codes: 0 when the money has gone back, 3 when nothing was given back, 4 when it is under way.',
  ].join('\n'),
  async run(call) {
    const order = readOrder(call)
    const office = openOffice(call)
    try {
      if (!(await agreed(office, order, call))) return exits.refused
      const { name, ...body } = order
      const { json } = await office.post('refunds', body, { 'idempotency-key': name })
      return tell(json, call)
    } finally {
      office.close()
    }
  },
}

/** An order as it was typed. */
interface Order {
  readonly key: string
  readonly name: string
  readonly amount?: string
  readonly reason?: string
  readonly to?: string
}

function readOrder({ arguments: args }: Call): Order {
  const [key] = args.words
  if (key === undefined) throw misuse('Name the key of a payment.')
  const [amount, reason, to] = [args.text('amount'), args.text('reason'), args.text('to')]
  if (amount !== undefined) checkAmount(amount)
  const name = args.text('order') ?? nameOf(key, amount, to)
  if (!/^[\w.:-]{1,128}$/.test(name))
    throw misuse('--order has up to 128 letters, digits and ._:- in it.')
  return {
    ...{ key, name },
    ...(amount !== undefined && { amount }),
    ...(reason !== undefined && { reason }),
    ...(to !== undefined && { to }),
  }
}

function checkAmount(amount: string): void {
  try {
    readPrice(amount)
  } catch {
    throw misuse('--amount is an amount with a currency, for instance "0.01 USD".')
  }
}

/** The same words are the same order: whoever has lost an answer may ask again. */
function nameOf(...words: readonly (string | undefined)[]): string {
  const digest = createHash('sha256').update(JSON.stringify(words)).digest('hex')
  return `cli-${digest.slice(0, NAME_CHARS)}`
}

const NAME_CHARS = 24

/** Whether a person says yes; a program has to say so beforehand. */
async function agreed(office: Office, order: Order, call: Call): Promise<boolean> {
  const { arguments: args, terminal } = call
  if (args.flag('yes')) return true
  if (!terminal.interactive)
    throw new Failure(
      'Nobody is here to be asked. Add --yes to give the money back.',
      exits.refused,
    )
  const story = await office.get(`payments/${encodeURIComponent(order.key)}`)
  const payment = readPaymentJson(story['payment'])
  const left = isObject(story['refundable']) ? story['refundable'] : {}
  const what = order.amount ?? `${textIn(left, 'amount')} ${textIn(left, 'code')}`
  const of = payment ? ` of ${sayQuantity(payment.amount)}` : ''
  const to = clean(order.to ?? payment?.payer ?? '', 80)
  return await terminal.confirm(`Give back ${terminal.tint('bold', what)}${of} to ${to}?`)
}

function tell(said: JsonObject, call: Call): number {
  const { terminal } = call
  const text = (name: string): string => textIn(said, name)
  const kind = text('kind')
  const exit = endings[kind] ?? exits.error
  if (wantsJson(call)) {
    terminal.out(JSON.stringify(said))
    return exit
  }
  if (kind === 'denied') terminal.note(`${terminal.tint('red', 'tolsey:')} ${text('detail')}`)
  else if (kind === 'open')
    terminal.out(
      `${terminal.paint('yellow', 'open')}  ${text('amount')} is on its way, or nobody knows whether it is. The same command tells how it stands.`,
    )
  else
    terminal.out(
      `${terminal.paint('green', 'refunded')}  ${text('amount')} to ${text('to')}  ${text('reference')}`,
    )
  return exit
}

const endings: Readonly<Record<string, number>> = {
  refunded: exits.ok,
  open: exits.unserved,
  denied: exits.refused,
}
