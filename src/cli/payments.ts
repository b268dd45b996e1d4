import { fits } from '../books/statement.ts'
import { sayQuantity, sayValue } from '../books/quantity.ts'
import type { Payment, PaymentState } from '../books/reader.ts'
import { entryJson } from '../books/write.ts'
import { bookHelp, emit, readingOf, sayTime, sourceOptions, withSource } from './books.ts'
import type { Fit } from './books.ts'
import { exits, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { officeHelp } from './office.ts'
import type { Terminal } from './terminal.ts'
import { clean, columns, count, list } from './text.ts'

/** How many payments are shown to people, unless they say. */
const SHOWN = 50
/** Most that they may ask for: these are held at once. */
const SHOWN_MAX = 10_000

/** What each state looks like. */
export const states: Readonly<Record<PaymentState, Parameters<Terminal['paint']>[0]>> = {
  open: 'yellow',
  settled: 'green',
  delivered: 'green',
  refunded: 'cyan',
  undone: 'red',
  voided: 'dim',
  failed: 'red',
}

/** `tolsey payments`. */
export const payments: Command = {
  wordsMax: 0,
  options: {
    ...sourceOptions,
    since: { type: 'string' },
    until: { type: 'string' },
    route: { type: 'string' },
    payer: { type: 'string' },
    state: { type: 'string', multiple: true },
    limit: { type: 'string' },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey payments [options]',
    '',
    'Lists what was paid, as it stands now: sales, refunds and purchases, the newest last.',
    '',
    'Options:',
    ...bookHelp,
    ...officeHelp,
    '      --since WHEN       From then on: 2026-03-01, 2026-03-01T12:00Z, or 7d, 12h, 30m ago.',
    '      --until WHEN       Until then.',
    '      --route ROUTE      Of that route: "GET /weather".',
    '      --payer PAYER      Of that payer, as the books name it.',
    `      --state STATE      In that state: ${list(Object.keys(states))}; may be given again.`,
    `      --limit N          The last N of them; ${SHOWN} for people, all for programs.`,
    '      --json             One line of JSON for each; that is also what a pipe gets.',
    '      --text             Columns, in a pipe too.',
    '',
    'Examples:',
    '  tolsey payments --since 7d --state open',
    '  tolsey payments --books books.db --route "GET /weather" --json | jq .amount',
  ].join('\n'),
  async run(call) {
    const { json, limit } = { json: wantsJson(call), limit: limitOf(call) }
    const fit = fitOf(call)
    const wanted = wantedIn(call, fit)
    const options = readingOf(call, 'since', 'until')
    await withSource(call, async (source) => {
      const shown: Payment[] = []
      let seen = 0
      const most = limit ?? (json ? undefined : SHOWN)
      // How many fit is known beforehand only where states are not looked at.
      const last = call.arguments.texts('state').length > 0 ? undefined : most
      for await (const payment of source.payments(options, fit, last)) {
        if (!wanted(payment)) continue
        seen++
        if (most === undefined) await emit(call, jsonOf(payment))
        else if (shown.push(payment) > most) shown.shift()
      }
      if (json) for (const payment of shown) await emit(call, jsonOf(payment))
      else for (const line of tell(shown, seen, call)) await emit(call, line)
    })
    return exits.ok
  },
}

function limitOf({ arguments: args }: Call): number | undefined {
  const typed = args.text('limit')
  if (typed === undefined) return undefined
  const limit = /^[1-9]\d{0,5}$/.test(typed) ? Number(typed) : NaN
  if (!(limit <= SHOWN_MAX)) throw misuse(`--limit is a whole number up to ${SHOWN_MAX}.`)
  return limit
}

/** Whose payments are wanted. */
export function fitOf({ arguments: args }: Call): Fit {
  const [payer, route] = [args.text('payer'), args.text('route')]
  return { ...(payer !== undefined && { payer }), ...(route !== undefined && { route }) }
}

function wantedIn({ arguments: args }: Call, fit: Fit): (payment: Payment) => boolean {
  const named = new Set<string>(args.texts('state'))
  const wrong = [...named].find((name) => !Object.hasOwn(states, name))
  if (wrong !== undefined)
    throw misuse(`There is no state "${clean(wrong)}". There are ${list(Object.keys(states))}.`)
  return (payment) => (named.size === 0 || named.has(payment.state)) && fits(payment, fit)
}

function jsonOf(payment: Payment): string {
  return JSON.stringify({ ...entryJson(payment), state: payment.state })
}

function* tell(shown: readonly Payment[], seen: number, { terminal }: Call): Generator<string> {
  const { paint } = terminal
  if (shown.length === 0) {
    yield 'No payments.'
    return
  }
  const lines = columns(
    shown.map(({ at, kind, amount, value, route, payer, key }) => [
      sayTime(at),
      kind,
      sayQuantity(amount),
      value && value.source !== 'par' ? sayValue(value) : '',
      clean(route, 40),
      clean(payer, 44),
      clean(key),
    ]),
    '',
  )
  for (const [i, { state }] of shown.entries())
    yield `${paint(states[state], state.padEnd(9))}  ${lines[i]}`
  if (seen > shown.length)
    yield paint('dim', `The last ${shown.length} of ${count(seen, 'payment')}.`)
}
