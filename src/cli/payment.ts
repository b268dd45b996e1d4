import { decimalOf, sayQuantity, sayValue } from '../books/quantity.ts'
import { readStory } from '../books/story.ts'
import type { Story } from '../books/story.ts'
import { entryJson } from '../books/write.ts'
import { isObject } from '../core/json.ts'
import type { Row } from '../core/ports.ts'
import { bookHelp, bookOptions, nameAsset, sayTime, withBooks } from './books.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { states } from './payments.ts'
import { clean, columns } from './text.ts'

/** `tolsey payment`. */
export const payment: Command = {
  wordsMax: 1,
  options: { ...bookOptions, json: { type: 'boolean' }, text: { type: 'boolean' } },
  help: [
    'Usage: tolsey payment KEY [options]',
    '',
    'Tells the whole story of a payment: what it was for, each thing that happened to it and when, what went back of it.',
    'KEY is what "tolsey payments" shows last, what the status URL of a payment ends with, and what events and logs call key.',
    '',
    'Options:',
    ...bookHelp,
    '      --json             One line of JSON; that is also what a pipe gets.',
    '      --text             Sentences, in a pipe too.',
    '',
    'Exit codes: 0 when it is there, 1 when not.',
  ].join('\n'),
  async run(call) {
    const [key] = call.arguments.words
    if (key === undefined) throw misuse('Name the key of a payment.')
    const story = await withBooks(call, (ledger) => readStory(ledger, key, nameAsset))
    if (!story) throw new Failure('There is no payment with this key in these books.')
    const { terminal } = call
    if (wantsJson(call)) terminal.out(JSON.stringify(toJson(story)))
    else for (const line of tell(story, call)) terminal.out(line)
    return exits.ok
  },
}

function toJson({ payment: one, held, rows, refunds, reversal }: Story): object {
  const json = (each: Story['payment']): object => ({ ...entryJson(each), state: each.state })
  return {
    ...json(one),
    purpose: held.purpose,
    note: held.note,
    legs: held.legs.map(({ debit, credit }) => ({ debit, credit })),
    events: rows.map(({ sequence, at, type, data }) => ({
      sequence,
      time: new Date(at).toISOString(),
      type,
      ...(type !== 'made' && { data }),
    })),
    refunds: refunds.map(json),
    ...(reversal && { reversed: reversal.state }),
  }
}

function* tell(
  { payment: one, held, rows, refunds, reversal }: Story,
  { terminal }: Call,
): Generator<string> {
  const { paint } = terminal
  yield `${paint('bold', `${one.kind} of ${sayQuantity(one.amount)}`)}, ${paint(states[one.state], one.state)}`
  const { value, tax, cost } = one
  yield* columns(
    [
      ['key', one.key],
      ['of', one.of ?? ''],
      ['route', one.route],
      ['payer', one.payer],
      ['rail', `${one.rail} ${one.network}`.trim()],
      ['reference', one.reference],
      ['request', one.request],
      ['worth', value ? `${sayValue(value)} at ${value.rate} (${value.source})` : ''],
      [
        'tax',
        tax ? `${decimalOf(tax.amount)} ${one.amount.code} ${tax.name} ${tax.percent} %` : '',
      ],
      ['cost', cost ? sayQuantity(cost) : ''],
      ['remark', one.remark],
      ...held.legs.map(({ debit, credit }) => ['booked', `from ${debit} to ${credit}`]),
    ]
      .filter(([, said]) => said !== '')
      .map(([name = '', said = '']) => [name, clean(said)]),
  )
  yield ''
  yield* columns(rows.map((row) => [sayTime(row.at), row.type, sayData(row)]))
  if (refunds.length > 0) yield* ['', paint('bold', 'What went back')]
  yield* columns(
    refunds.map(({ at, state, amount, reference, key, remark }) => [
      sayTime(at),
      state,
      sayQuantity(amount),
      clean(reference),
      clean(remark),
      clean(key),
    ]),
  )
  if (reversal) yield paint('red', 'Its network took this payment back; it is booked back.')
}

/** What a step says, in short: the making has been told above. */
function sayData({ type, data }: Row): string {
  if (type === 'made') return ''
  const said = Object.entries(data).flatMap(([name, value]) =>
    isObject(value) || Array.isArray(value)
      ? []
      : [`${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`],
  )
  return clean(said.join(', '), DATA_CHARS_MAX)
}

/** Most that is shown of what a step says. */
const DATA_CHARS_MAX = 120
