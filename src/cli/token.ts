import { systemClock } from '../core/clock.ts'
import { isCondition } from '../core/conditions.ts'
import { hashIn, narrow, readToken, writeToken } from '../tokens/macaroon/index.ts'
import type { Macaroon } from '../tokens/macaroon/index.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { wantsJson } from './inspect.ts'
import { readAll } from './request.ts'
import { clean, columns, nearest } from './text.ts'

/** Options that each add one caveat, by the condition that they write. */
const narrowing = {
  path: 'path',
  method: 'method',
  origin: 'origin',
  service: 'services',
  capability: 'capability',
  uses: 'uses',
  budget: 'budget',
  rate: 'rate',
  payer: 'payer',
  tenant: 'tenant',
} as const

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }

/** `tolsey token`. */
export const token: Command = {
  wordsMax: 2,
  options: {
    ...Object.fromEntries(Object.keys(narrowing).map((name) => [name, { type: 'string' }])),
    expires: { type: 'string' },
    caveat: { type: 'string', multiple: true },
    json: { type: 'boolean' },
    text: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey token show|attenuate [TOKEN] [options]',
    '',
    'What a macaroon says, and how to hand on less than all of it. Both work offline and need no key. TOKEN may be',
    '"macaroon" or "macaroon:preimage" as L402 shows it; without one it is read from stdin.',
    '',
    '  show        Lists the caveats of the token.',
    '  attenuate   Prints a token that can do less. What was added nobody can take away.',
    '',
    'Options of attenuate:',
    '      --path LIST        Paths, with commas; /v1/* is all that lies below /v1.',
    '      --method LIST      Methods: GET,POST.',
    '      --origin LIST      Where it may be used: https://api.example.com.',
    '      --expires WHEN     Until when: 30s, 15m, 12h, 7d from now, or Unix seconds.',
    '      --uses N           How many requests.',
    '      --budget PRICE     What it may spend: "1 USD".',
    '      --rate RATE        How often: 100/m, 5/10s.',
    '      --service LIST     Services, each with its tier: api:0.',
    '      --capability LIST  Operations, where the service tells them apart.',
    '      --payer LIST       Keys, one of which the user of the token must prove.',
    '      --tenant LIST      Tenants.',
    '      --caveat TEXT      Any other caveat, name=value; may be repeated.',
    '      --json             One line of JSON; that is also what a pipe gets from show.',
    '      --text             Sentences, in a pipe too.',
    '',
    'Examples:',
    '  tolsey token attenuate "$TOKEN" --path "/v1/*" --method GET --expires 1h --uses 10',
    '  tolsey token show "$TOKEN"',
  ].join('\n'),
  async run(call) {
    const [verb = ''] = call.arguments.words
    const act = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (act) return act(call, await readShown(call))
    const near = nearest(verb, Object.keys(verbs))
    throw misuse(
      verb === ''
        ? 'Say what to do with the token: show or attenuate.'
        : `A token cannot "${clean(verb)}".${near ? ` Did you mean "${near}"?` : ''}`,
    )
  },
}

const verbs: Readonly<Record<string, (call: Call, shown: Shown) => number>> = { show, attenuate }

/** A token as it was typed. */
interface Shown {
  readonly root: Macaroon
  readonly discharges: readonly Macaroon[]
  /** What stands behind the token, colon included. */
  readonly rest: string
}

async function readShown({ arguments: args, terminal }: Call): Promise<Shown> {
  const said = args.words[1] ?? (await readAll(terminal.stdin)).toString().trim()
  const text = said.replace(/^(?:L402|LSAT|Bearer)\s+/i, '')
  const [, macaroon = text, rest = ''] = /^([^:]+)(:.*)$/s.exec(text) ?? []
  const read = readToken(macaroon)
  if (typeof read === 'string') throw new Failure(`This is no macaroon. ${read}`)
  const [root, ...discharges] = read
  if (!root) throw new Failure('This is no macaroon.')
  return { root, discharges, rest }
}

function show(call: Call, { root, discharges }: Shown): number {
  const caveats = root.caveats.map(({ id, vid }) => ({
    says: Buffer.from(id).toString(),
    ...(vid && { thirdParty: true }),
  }))
  const { terminal } = call
  const account = hashIn(writeToken([root]))
  if (wantsJson(call)) {
    const { location } = root
    terminal.out(
      JSON.stringify({
        location,
        ...(account !== undefined && { account }),
        caveats,
        discharges: discharges.length,
      }),
    )
    return exits.ok
  }
  const head: [string, string][] = [
    ['made by', clean(root.location) || 'somebody who gives no name'],
  ]
  if (account !== undefined) head.push(['account', account])
  for (const line of columns(head)) terminal.out(line)
  terminal.out('')
  terminal.out(
    caveats.length > 0
      ? 'It is good only under all of these:'
      : 'It can do all that it was made for.',
  )
  for (const { says, thirdParty } of caveats)
    terminal.out(`  ${thirdParty ? 'a third party must agree' : clean(says)}`)
  return exits.ok
}

function attenuate(call: Call, { root, discharges, rest }: Shown): number {
  const added = caveatsOf(call)
  if (added.length === 0)
    throw misuse('Say what the token is to lose: --path, --expires, --uses, …')
  const wrong = added.find((text) => !isCondition(text))
  if (wrong !== undefined)
    throw misuse(
      `"${clean(wrong)}" is no caveat that is known here, so the token would be good for nothing.`,
    )
  if (discharges.length > 0)
    throw new Failure(
      'The token has discharges, which belong to it as it is. Narrow it before they are fetched.',
    )
  const made = narrow(root, added)
  if (typeof made === 'string') throw new Failure(made)
  const narrowed = writeToken([made]) + rest
  call.terminal.out(
    call.arguments.flag('json') ? JSON.stringify({ token: narrowed, added }) : narrowed,
  )
  return exits.ok
}

function caveatsOf({ arguments: args }: Call): readonly string[] {
  const said = Object.entries(narrowing).flatMap(([option, condition]) => {
    const value = args.text(option)
    return value === undefined ? [] : [`${condition}=${value}`]
  })
  const expires = args.text('expires')
  const end = expires === undefined ? [] : [`expires=${readEnd(expires)}`]
  return [...said, ...end, ...args.texts('caveat')]
}

/** Unix seconds, or a time from now on. */
function readEnd(text: string): string {
  if (/^\d{9,12}$/.test(text)) return text
  const [, count = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const seconds = units[unit]
  if (seconds === undefined)
    throw misuse(`"${clean(text)}" is no time. Write it like 15m, 12h or 7d, or as Unix seconds.`)
  return String(Math.floor(systemClock.now() / 1000) + Number(count) * seconds)
}
