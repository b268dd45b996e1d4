import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { systemClock } from '../core/clock.ts'
import { bookHelp, emit, sourceOptions, withSource } from './books.ts'
import type { Source } from './books.ts'
import { exits, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { officeHelp } from './office.ts'
import { textIn } from './text.ts'

/** How often it is asked whether something has happened. */
const FOLLOW_MS = 1_000

/** `tolsey events`. */
export const events: Command = {
  wordsMax: 0,
  options: {
    ...sourceOptions,
    after: { type: 'string' },
    follow: { type: 'boolean', short: 'f' },
    type: { type: 'string', multiple: true },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey events [options]',
    '',
    'Tells what happened in the books, as CloudEvents in their order. Nothing is missed: each event has a sequence, and whoever',
    'goes on behind the last that he has read gets all that came after it.',
    '',
    'Options:',
    ...bookHelp,
    ...officeHelp,
    '      --after SEQUENCE   Behind that event; without it from the beginning, and with --follow from now on.',
    '  -f, --follow           Goes on until it is stopped.',
    '      --type TYPE        Only events of that type: tolsey.sale.posted; may be given again.',
    '      --json             One line of JSON for each; that is also what a pipe gets.',
    '      --text             Columns, in a pipe too.',
    '',
    'Examples:',
    '  tolsey events --follow --type tolsey.sale.posted',
    '  tolsey events --after 0000000000004711 --json | jq .data',
  ].join('\n'),
  async run(call) {
    const after = afterOf(call)
    const types = new Set(call.arguments.texts('type'))
    const isFollowing = call.arguments.flag('follow')
    await withSource(call, async (source) => {
      const start = after ?? (isFollowing ? (await source.events(undefined)).next : 0)
      for await (const event of read(source, start, isFollowing, call.signal))
        if (types.size === 0 || types.has(textIn(event, 'type')))
          await emit(call, wantsJson(call) ? JSON.stringify(event) : lineOf(event))
    })
    return exits.ok
  },
}

async function* read(
  source: Source,
  start: number,
  isFollowing: boolean,
  signal: AbortSignal,
): AsyncGenerator<JsonObject> {
  for (let after = start; !signal.aborted;) {
    const stretch = await source.events(after)
    yield* stretch.events
    after = stretch.next
    if (stretch.more) continue
    if (!isFollowing) return
    await systemClock.sleep(FOLLOW_MS, signal)
  }
}

function afterOf({ arguments: args }: Call): number | undefined {
  const typed = args.text('after')
  if (typed === undefined) return undefined
  if (/^\d{1,16}$/.test(typed) && Number.isSafeInteger(Number(typed))) return Number(typed)
  throw misuse('--after is the sequence of an event, for instance 0000000000004711.')
}

function lineOf(event: JsonObject): string {
  const data = isObject(event['data']) ? event['data'] : {}
  const amount = isObject(data['amount']) ? data['amount'] : {}
  return [
    textIn(event, 'time').slice(0, 19).replace('T', ' '),
    textIn(event, 'type').padEnd(24),
    `${textIn(amount, 'value')} ${textIn(amount, 'code')}`.trim().padStart(16),
    textIn(event, 'subject'),
    textIn(data, 'key'),
  ].join('  ')
}
