import { payingProtocols } from '../config/parts.ts'
import type { Source, TriedRail } from '../config/registry.ts'
import { DocumentError, tryRails } from '../config/registry.ts'
import { PaymentError } from '../core/problem.ts'
import { openHouse } from '../gateway/tenants.ts'
import { probeAround, probeRoutes, probeUpstreams } from '../gateway/probe.ts'
import type { Finding } from '../gateway/probe.ts'
import { memory } from '../ledger/memory.ts'
import { exits } from './command.ts'
import type { Command } from './command.ts'
import { DOCUMENT, fileOf, named, sourceOf } from './gateway.ts'
import { wantsJson } from './inspect.ts'
import type { Terminal } from './terminal.ts'
import { clean, columns } from './text.ts'

/** `tolsey check`. */
export const check: Command = {
  wordsMax: 1,
  options: { json: { type: 'boolean' }, offline: { type: 'boolean' } },
  help: [
    'Usage: tolsey check [FILE] [options]',
    '',
    `Looks whether a gateway's document (${DOCUMENT}) holds, before it is used: every mistake with its line, then every rail,`,
    'upstream and route, as payers will see it, and whether upstreams can be reached around the gateway. Nothing is paid, and no',
    'books are written.',
    '',
    'Options:',
    '      --offline  Reads the document and its secrets, and asks nobody.',
    '      --json     One line of JSON; that is also what a pipe gets.',
    '',
    'Examples:',
    '  tolsey check',
    '  tolsey check /etc/tolsey/tolsey.yaml --offline',
    '',
    'Exit codes: 0 when it holds, also with warnings, 1 when something will not work, 2 when the document is wrong.',
  ].join('\n'),
  async run(call) {
    const { arguments: args, terminal } = call
    const file = fileOf(call)
    const source = await sourceOf(call, file)
    terminal.progress('Asking rails, upstreams and routes …')
    const found = args.flag('offline') ? [] : await named(file, () => look(source))
    const good = found.every(({ state }) => state !== 'bad')
    if (wantsJson(call)) terminal.out(JSON.stringify({ document: file, good, findings: found }))
    else for (const line of tell(file, found, good, terminal)) terminal.out(line)
    return good ? exits.ok : exits.error
  },
}

async function look(source: Source): Promise<readonly Finding[]> {
  const { document } = source
  const [upstreams, inside, around] = await Promise.all([
    probeUpstreams(document),
    lookInside(source),
    probeAround(document),
  ])
  return [...inside.rails, ...upstreams, ...inside.routes, ...around]
}

async function lookInside(
  source: Source,
): Promise<{ readonly rails: readonly Finding[]; readonly routes: readonly Finding[] }> {
  const { document } = source
  const ledger = memory()
  try {
    const tried = await tryRails(source, ledger)
    const rails = tried.flatMap(findingsOf)
    // Nothing can be looked at before that is mended.
    if (tried.every(({ why }) => why !== undefined)) return { rails, routes: [] }
    const open = await openHouse(source, { ledger, isTrial: true })
    try {
      return { rails, routes: await probeRoutes(document, open.house, payingProtocols()) }
    } finally {
      await open.house.close()
      await open.close()
    }
  } catch (error) {
    // What the document says is told with its line.
    if (error instanceof DocumentError || !(error instanceof PaymentError)) throw error
    return { rails: [{ what: 'rails', state: 'bad', sentence: error.message }], routes: [] }
  } finally {
    await ledger.close()
  }
}

function findingsOf({ name, network, why, warnings }: TriedRail): readonly Finding[] {
  const what = `rail ${name}`
  if (why !== undefined) return [{ what, state: 'bad', sentence: `${network}: ${why}` }]
  return [
    { what, state: 'good', sentence: `It is open on ${network}.` },
    ...warnings.map((sentence): Finding => ({ what, state: 'warning', sentence })),
  ]
}

const marks = { good: ['green', 'good'], bad: ['red', 'bad'] } as const
const others = { warning: ['yellow', 'warning'], unknown: ['dim', 'not known'] } as const

function* tell(
  file: string,
  found: readonly Finding[],
  good: boolean,
  { paint }: Terminal,
): Generator<string> {
  const all = { ...marks, ...others }
  const lines = columns(
    found.map(({ what, state, sentence }) => [all[state][1], clean(what), clean(sentence)]),
  )
  for (const [i, line] of lines.entries()) {
    const state = found[i]?.state ?? 'unknown'
    const [style, word] = all[state]
    yield line.replace(word, paint(style, word))
  }
  if (found.length > 0) yield ''
  yield good ? `${file} holds.` : `${file} will not work like this.`
}
