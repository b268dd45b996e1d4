import { payingProtocols, networkName } from '../config/parts.ts'
import { exits } from './command.ts'
import type { Call, Command } from './command.ts'
import { explain } from './explain.ts'
import type { OfferSaid, Report } from './explain.ts'
import { findPurse } from './purse.ts'
import { readRequest, requestHelp, requestOptions, resourceOf, unreachable } from './request.ts'
import type { Typed } from './request.ts'
import { CHALLENGE_BYTES_MAX } from './signs.ts'
import type { Answer } from './signs.ts'
import type { Terminal } from './terminal.ts'
import { columns, span } from './text.ts'

/** How long an answer is waited for. */
export const ANSWER_TIMEOUT_MS = 30_000

/** `tolsey inspect`. */
export const inspect: Command = {
  wordsMax: 1,
  options: { ...requestOptions, json: { type: 'boolean' }, text: { type: 'boolean' } },
  help: [
    'Usage: tolsey inspect URL [options]',
    '',
    'Makes the request once, without paying, and explains the answer: which payment protocols it speaks, what each',
    'offer costs, whether your wallet could pay it, and what looks wrong. A 402 that makes no offer is told apart.',
    '',
    'Options:',
    ...requestHelp,
    '      --json             One line of JSON; that is also what a pipe gets.',
    '      --text             Sentences, in a pipe too.',
    '',
    'Examples:',
    '  tolsey inspect http://127.0.0.1:8402/weather',
    '  tolsey inspect https://api.example.com/report -X POST -d @query.json --json | jq .offers',
    '',
    'Exit codes: 0 when there was an answer, whatever it says; 1 when there was none.',
  ].join('\n'),
  async run(call) {
    const typed = await readRequest(call)
    const { terminal, settings } = call
    terminal.progress(`Asking ${typed.url.host} …`)
    const answer = await ask(typed, call)
    const report = await explain(answer, resourceOf(typed), {
      protocols: payingProtocols(),
      purse: await findPurse(typed.url, settings, call.cwd),
      networkName,
    })
    if (wantsJson(call)) terminal.out(JSON.stringify(report))
    else for (const line of tell(report, terminal)) terminal.out(line)
    return exits.ok
  },
}

/** Whether the result goes to a program: asked for, or read by a pipe. */
export function wantsJson({
  arguments: args,
  terminal,
}: Pick<Call, 'arguments' | 'terminal'>): boolean {
  return args.flag('json') || (!terminal.readable && !args.flag('text'))
}

async function ask(typed: Typed, { signal }: Call): Promise<Answer> {
  const { url, method, headers, body } = typed
  try {
    const response = await fetch(url, {
      method,
      headers,
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]),
      ...(body && { body }),
    })
    return { status: response.status, headers: response.headers, ...(await beginning(response)) }
  } catch (error) {
    throw unreachable(error, url)
  }
}

/** As much of the body as a challenge may have; a download or an endless stream is cut off. */
async function beginning(response: Response): Promise<{ text: string; cut: boolean }> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    size += chunk.byteLength
    if (size > CHALLENGE_BYTES_MAX || response.ok) break
  }
  const text = Buffer.concat(chunks).subarray(0, CHALLENGE_BYTES_MAX).toString()
  return { text, cut: size > CHALLENGE_BYTES_MAX }
}

function* tell(report: Report, terminal: Terminal): Generator<string> {
  const { paint } = terminal
  yield `${paint('bold', `${report.method} ${report.url}`)} answers ${report.status}.`
  yield report.summary
  if (report.protocols.length > 0) yield* ['', paint('bold', 'Protocols'), ...signLines(report)]
  if (report.offers.length > 0) yield* ['', paint('bold', 'Offers')]
  for (const [i, offer] of report.offers.entries()) yield* offerLines(offer, i + 1, terminal)
  for (const why of report.unreadable) yield `  An offer that cannot be read: ${why}`
  if (report.warnings.length > 0) yield* ['', paint('yellow', 'Warnings')]
  for (const warning of report.warnings) yield `  ${warning}`
  const payable = report.offers.find((offer) => offer.payable)
  if (payable) yield* ['', `To pay: tolsey pay ${report.url}`]
}

function signLines({ protocols }: Report): readonly string[] {
  return columns(
    protocols.map(({ protocol, where, spoken, note = '' }) => [
      protocol,
      `in the ${where}`,
      spoken ? 'spoken by Tolsey.' : 'not spoken by Tolsey yet.',
      note,
    ]),
  )
}

function* offerLines(offer: OfferSaid, number: number, { paint }: Terminal): Generator<string> {
  const network = offer.networkName ? `${offer.networkName} (${offer.network})` : offer.network
  yield `  ${number}. ${paint('bold', offer.amount)} on ${network}`
  yield `     to ${offer.payee}`
  yield `     asset ${offer.asset}, payable for ${span(offer.timeoutMs)}`
  if (offer.invoice !== undefined) yield `     invoice ${offer.invoice}`
  yield offer.payable
    ? `     ${paint('green', 'Your wallet can pay this.')}`
    : `     ${paint('yellow', 'Your wallet cannot pay this:')} ${offer.why ?? ''}`
}
