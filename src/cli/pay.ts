import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { networkName } from '../config/parts.ts'
import { durationOf } from '../config/document.ts'
import type { Event } from '../core/event.ts'
import { isObject } from '../core/json.ts'
import { readPrice } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import { PaymentError } from '../core/problem.ts'
import type { Payment } from '../payer/payment.ts'
import { isByToken, paymentOf } from '../payer/payment.ts'
import type { Question } from '../payer/payer.ts'
import { sayMoney } from '../payer/policy.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { openPayer } from './purse.ts'
import { readRequest, requestHelp, requestOptions, unreachable } from './request.ts'
import type { Typed } from './request.ts'
import { clean, count } from './text.ts'

/** Largest answer that `--json` puts into its line. */
export const JSON_BODY_BYTES_MAX: number = 64 * 1024 * 1024

/** `tolsey pay`. */
export const pay: Command = {
  wordsMax: 1,
  options: {
    ...requestOptions,
    max: { type: 'string' },
    'budget-total': { type: 'string' },
    rail: { type: 'string' },
    network: { type: 'string', multiple: true },
    wait: { type: 'string' },
    yes: { type: 'boolean', short: 'y' },
    json: { type: 'boolean' },
    include: { type: 'boolean', short: 'i' },
    output: { type: 'string', short: 'o' },
    silent: { type: 'boolean', short: 's' },
  },
  help: [
    'Usage: tolsey pay URL [options]',
    '',
    'Makes a request; if the answer is a 402, chooses the cheapest offer within your limits, asks you, pays once and',
    'makes the request again with the payment. The body goes to stdout as it comes, everything else to stderr.',
    'What was bought and is good for more than one request is shown again without asking.',
    '',
    'If the answer gets lost, run the same command again: it sends the payment that is already made, not a second one.',
    'A running sandbox on this machine is paid with its own throw-away money; otherwise the key comes from',
    'TOLSEY_PRIVATE_KEY, TOLSEY_KEYSTORE or "tolsey wallet new".',
    '',
    'Options:',
    ...requestHelp,
    "      --max PRICE        The most to pay for this request, fees included: '0.05 USD', '1000 SAT' (TOLSEY_MAX, or 1 USD).",
    '                         Without a terminal it also is the consent to pay up to that much.',
    '  -y, --yes              Pay without asking, within the limits.',
    "      --budget-total PRICE   The most that may ever be spent, for instance '20 USD' (TOLSEY_MAX_TOTAL).",
    '      --network NAME     Pay on this network only (base, eip155:8453); may be given again.',
    '      --rail NAME        Pay over this rail only (evm, lightning).',
    '      --wait TIME        How long to wait for the result where the seller takes the request and works on it (202):',
    '                         30s, 10m; a minute if absent, 0s for not at all. The same command again goes on waiting.',
    '  -i, --include          Put status and headers before the body.',
    '  -o, --output FILE      Write the body to a file.',
    '  -s, --silent           Say nothing but errors.',
    '      --json             One line of JSON: status, headers, body or bodyBase64, and payment with amount, units,',
    '                         asset, network, payee, reference (the transaction, or the preimage) and verified; over',
    '                         Lightning also fee, feeUnits and invoice.',
    '',
    'Examples:',
    '  tolsey pay http://127.0.0.1:8402/weather',
    "  tolsey pay https://api.example.com/report -d @query.json --max '0.05 USD' -o report.pdf",
    '  tolsey pay https://api.example.com/price --yes --json | jq .payment',
    '',
    'Exit codes:',
    '  0  The answer is there, paid or free.',
    '  1  There is no answer, or it is an error and nothing was paid.',
    '  2  The command was not understood.',
    '  3  Nothing was paid: declined, over a limit, or no acceptable offer.',
    '  4  A payment was sent, and the answer is an error or got lost.',
  ].join('\n'),
  async run(call) {
    const { arguments: args, settings } = call
    const typed = await readRequest(call)
    const policy = policyOf(call)
    const progress = createProgress(call, typed)
    const payer = await openPayer({
      url: typed.url,
      settings,
      cwd: call.cwd,
      terminal: call.terminal,
      policy,
      ...(args.text('rail') !== undefined && { rail: args.text('rail') ?? '' }),
      confirm: (offer, question) => consent(offer, question, call),
      observe: progress.observe,
      ...waitOf(call),
    })
    try {
      progress.start()
      const response = await payer.fetch(typed.url, initOf(typed, call.signal)).catch((error) => {
        throw progress.explain(error, payer.hint)
      })
      const payment = paymentOf(response)
      progress.end(payment, payer.checks)
      if (isByToken(response) && !call.arguments.flag('silent'))
        call.terminal.note('Served for a token that was bought before.')
      await deliver(response, payment, call)
      return exitOf(response, payment, call)
    } finally {
      await payer.close()
    }
  },
}

function policyOf({ arguments: args, settings }: Call): {
  readonly budget: Call['settings']['budget']
  readonly networks: readonly string[]
  readonly given: boolean
} {
  const max = args.text('max')
  const total = args.text('budget-total')
  const { budget } = settings
  return {
    budget: {
      ...budget,
      ...(max !== undefined && { request: priceOf(max, '--max') }),
      ...(total !== undefined && { total: priceOf(total, '--budget-total') }),
    },
    networks: args.texts('network'),
    given: max !== undefined,
  }
}

function waitOf({ arguments: args }: Call): { readonly resultMs?: number } {
  const said = args.text('wait')
  if (said === undefined) return {}
  if (!/^\d{1,6}(?:ms|[smhd])$/.test(said))
    throw misuse('--wait is a time, for instance --wait 10m.')
  return { resultMs: durationOf(said) }
}

function priceOf(text: string, option: string): ReturnType<typeof readPrice> {
  try {
    return readPrice(text)
  } catch {
    throw misuse(`${option} is an amount with a currency, for instance ${option} '0.05 USD'.`)
  }
}

function initOf({ method, headers, body }: Typed, signal: AbortSignal): RequestInit {
  return { method, headers, signal, ...(body && { body }) }
}

/** Shows the offer and asks. Without anybody to ask, only what was typed can be the consent. */
async function consent(offer: Offer, question: Question, call: Call): Promise<boolean> {
  const { arguments: args, terminal } = call
  const price = clean(sayMoney(offer.amount))
  if (!args.flag('silent')) for (const line of offerLines(offer, question)) terminal.note(line)
  if (args.flag('yes') || (!terminal.interactive && args.text('max') !== undefined)) return true
  if (terminal.interactive) return terminal.confirm(`Pay ${terminal.tint('bold', price)}?`)
  throw new Failure(
    `This costs ${price} and nobody is here to be asked. Add --yes, or --max '${question.cost}' to allow up to that much.`,
    exits.refused,
  )
}

function* offerLines(offer: Offer, { method, url, feeMax }: Question): Generator<string> {
  const name = networkName(offer.network)
  const network = name ? `${name} (${clean(offer.network)})` : clean(offer.network)
  const fee = feeMax === undefined ? '' : `, and up to ${feeMax} for the way`
  yield `${method} ${clean(url)} costs ${clean(sayMoney(offer.amount))}${fee}`
  yield `  on ${network}, to ${clean(offer.payee)}.`
  yield* shareLines(offer)
  if (offer.invoice !== undefined) yield `  Invoice ${clean(offer.invoice, INVOICE_CHARS_MAX)}`
}

/** Who gets a part of it beside the payee, where the offer's rail says so. */
function* shareLines({ details, amount: { asset } }: Offer): Generator<string> {
  const splits = isObject(details) && Array.isArray(details['splits']) ? details['splits'] : []
  for (const one of splits) {
    const { recipient, amount, memo } = (isObject(one) ? one : {}) as Share
    if (typeof recipient !== 'string' || typeof amount !== 'string') continue
    const part = clean(sayMoney({ asset, amount: BigInt(amount) }))
    const why = typeof memo === 'string' ? ` (${clean(memo)})` : ''
    yield `  Of that ${part} to ${clean(recipient)}${why}.`
  }
}

interface Share {
  readonly recipient?: unknown
  readonly amount?: unknown
  readonly memo?: unknown
}

/** Longest invoice that is shown whole. */
const INVOICE_CHARS_MAX = 4_096

interface Progress {
  readonly observe: (event: Event) => void
  start(): void
  end(payment: Payment | undefined, checks: boolean): void
  explain(error: unknown, hint: string | undefined): Error
}

/** Tells the steps as they happen, and remembers whether something was signed. */
function createProgress(
  { arguments: args, terminal, signal, settings }: Call,
  { url }: Typed,
): Progress {
  const silent = args.flag('silent')
  let signed = false
  const say = (text: string): void => {
    if (!silent) terminal.progress(text)
  }
  const note = (text: string): void => {
    if (!silent) terminal.note(text)
  }
  return {
    observe(event) {
      if (event.type === 'reserved') {
        signed = true
        say('Signing and paying …')
      }
      if (event.type === 'voided') signed = false
      if (event.type === 'waiting') note(waitingLine(event))
      if (event.type === 'fault' && settings.debug) note(`${event.where}: ${String(event.error)}`)
    },
    start: () => say(`Asking ${url.host} …`),
    end(payment, checks) {
      if (payment) for (const line of paymentLines(payment, checks)) note(line)
    },
    explain(error, hint) {
      if (error instanceof Failure) return error
      if (error instanceof PaymentError) return withAdvice(error, hint)
      if (signed) return interrupted(signal.aborted, error)
      return unreachable(error, url)
    },
  }
}

function waitingLine({ detail, waitMs }: Event & { readonly type: 'waiting' }): string {
  return `${clean(detail)} Asking again in ${(waitMs / 1_000).toFixed(1)} s.`
}

/** The payer's limits by the names that they have here. */
const limits = [
  ['perRequest', 'your limit for one request (--max)'],
  ['perDay', 'your limit for a day (TOLSEY_MAX_DAY)'],
  ['total', 'your limit for ever (--budget-total)'],
] as const

function withAdvice(error: PaymentError, hint: string | undefined): Error {
  if (error.code !== 'offers-unacceptable' && error.code !== 'budget-exceeded') return error
  if (hint !== undefined)
    return new Failure(`The seller asks for money. ${hint}`, exits.refused, { cause: error })
  const message = limits.reduce(
    (text, [name, words]) => text.replace(new RegExp(`\\b${name}\\b`), words),
    error.message,
  )
  return new Failure(message, exits.refused, { cause: error })
}

function interrupted(wanted: boolean, cause: unknown): Failure {
  return new Failure(
    `${wanted ? 'Stopped' : 'The connection broke'} after the payment was signed, so it may have been taken. ` +
      'Run the same command again: the same payment is sent, not a second one.',
    exits.unserved,
    { cause },
  )
}

function* paymentLines(payment: Payment, checks: boolean): Generator<string> {
  const { state, offer, receipt, verified, why, problem, evidence } = payment
  const price = clean(sayMoney(offer.amount))
  if (state === 'voided') {
    yield `The seller did not serve, and gave the payment of ${price} back. Nothing was paid.`
    if (problem) yield `  The seller says: ${clean(problem.detail)}`
    return
  }
  if (state === 'held') {
    yield `The seller did not serve. The payment of ${price} is signed and may still be taken until it expires.`
    if (problem) yield `  The seller says: ${clean(problem.detail)}`
    return
  }
  yield `Paid ${price}${feeOf(payment)} to ${clean(offer.payee)} on ${networkName(offer.network) ?? clean(offer.network)}.`
  if (receipt?.reference) yield `  Transaction ${clean(receipt.reference)}`
  if (evidence) yield* evidenceLines(payment)
  else if (verified) yield '  The receipt was checked on the chain.'
  else if (checks) yield `  Not confirmed: ${clean(why ?? '')}`
  else yield '  Not checked on the chain: TOLSEY_RPC names no endpoint.'
}

function feeOf({ fee }: Payment): string {
  return fee ? `, and ${clean(sayMoney(fee))} for the way,` : ''
}

/** The preimage proves the payment, so that nobody needs to be asked. */
function* evidenceLines({ evidence, why, problem }: Payment): Generator<string> {
  const { preimage } = evidence ?? {}
  if (typeof preimage === 'string') yield `  Preimage ${preimage}`
  if (why !== undefined) yield `  ${clean(why)}`
  if (problem) yield `  The seller says: ${clean(problem.detail)}`
}

async function deliver(
  response: Response,
  payment: Payment | undefined,
  call: Call,
): Promise<void> {
  const { arguments: args, terminal, cwd } = call
  const output = args.text('output')
  if (args.flag('json')) return terminal.out(JSON.stringify(await lineOf(response, payment)))
  if (args.flag('include')) terminal.stdout.write(headOf(response))
  if (output !== undefined && output !== '-') return save(response, resolve(cwd, output), call)
  if (!response.body) return
  await pipeline(Readable.fromWeb(response.body), terminal.stdout, { end: false }).catch(
    (error) => {
      throw cut(payment, error)
    },
  )
}

/** Under another name until it is whole, so that half a body is never taken for what was bought. */
async function save(response: Response, file: string, { terminal }: Call): Promise<void> {
  const part = `${file}.part`
  try {
    await pipeline(response.body ? Readable.fromWeb(response.body) : [], createWriteStream(part))
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    throw isWriteFault(error)
      ? new Failure(`The file ${file} cannot be written.`, exits.error, { cause: error })
      : cut(paymentOf(response), error)
  }
  terminal.note(`Saved to ${file}.`)
}

function isWriteFault(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall !== 'read'
}

function cut(payment: Payment | undefined, cause: unknown): Failure {
  return new Failure(
    payment
      ? 'The answer broke off in the middle. Run the same command again if the seller keeps what was paid for; otherwise ask the seller, with the transaction above.'
      : 'The answer broke off in the middle.',
    payment ? exits.unserved : exits.error,
    { cause },
  )
}

function headOf({ status, statusText, headers }: Response): string {
  const lines = [...headers].map(([name, value]) => `${name}: ${value}`)
  return [`HTTP ${status}${statusText && ` ${statusText}`}`, ...lines, '', ''].join('\r\n')
}

async function lineOf(response: Response, payment: Payment | undefined): Promise<object> {
  const { status, headers } = response
  const bytes = await readBytes(response).catch((error) => {
    throw cut(payment, error)
  })
  return {
    status,
    headers: Object.fromEntries(headers),
    ...bodyOf(bytes),
    ...(payment && { payment: describe(payment) }),
  }
}

async function readBytes(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    size += chunk.byteLength
    if (size > JSON_BODY_BYTES_MAX)
      throw new RangeError(`The answer is larger than ${count(JSON_BODY_BYTES_MAX, 'byte')}.`)
  }
  return Buffer.concat(chunks)
}

function bodyOf(bytes: Buffer): { readonly body: string } | { readonly bodyBase64: string } {
  try {
    return { body: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) }
  } catch {
    return { bodyBase64: bytes.toString('base64') }
  }
}

function describe(payment: Payment): object {
  const { offer, receipt, state, verified, why, protocol, problem, fee, evidence } = payment
  const preimage = typeof evidence?.['preimage'] === 'string' ? evidence['preimage'] : ''
  return {
    protocol,
    rail: offer.rail,
    state,
    amount: sayMoney(offer.amount),
    units: offer.amount.amount.toString(),
    ...(fee && { fee: sayMoney(fee), feeUnits: fee.amount.toString() }),
    asset: offer.amount.asset.id,
    network: offer.network,
    payee: offer.payee,
    ...(offer.invoice !== undefined && { invoice: offer.invoice }),
    reference: receipt?.reference ?? preimage,
    verified,
    ...(why !== undefined && { why }),
    ...(problem && { problem: { code: problem.code, detail: problem.detail } }),
  }
}

/** A 402 that was handed through made no offer that anybody could read. */
function exitOf(response: Response, payment: Payment | undefined, { terminal }: Call): number {
  if (response.ok) return exits.ok
  if (payment) return payment.state === 'voided' ? exits.error : exits.unserved
  terminal.note(
    response.status === 402
      ? 'The answer is a 402 without an offer that can be paid; "tolsey inspect" explains it. Nothing was paid.'
      : `The answer has the status ${response.status}. Nothing was paid.`,
  )
  return response.status === 402 ? exits.refused : exits.error
}
