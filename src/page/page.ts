import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Offer } from '../core/offer.ts'
import { writeMoney } from '../core/money.ts'
import type { Page, Pages, View } from '../core/ports.ts'
import { writeConditions } from '../core/conditions.ts'
import { problems } from '../core/problem.ts'
import { escape, html, island, joined } from './html.ts'
import type { Html } from './html.ts'
import { readTheme } from './theme.ts'
import type { Theme } from './theme.ts'
import { createTickets } from './ticket.ts'
import type { Tickets } from './ticket.ts'
import { amountOf, fill, isLanguage, languages, words } from './words.ts'
import type { Language, Words } from './words.ts'

/** What a page is made of. */
export interface PageSettings extends Theme {
  /** Cards, by a processor whose script runs on the page: the only origin besides the seller's own. */
  readonly card?: CardSettings
  /**
   * Payment apps for the Payment Request API, by the name of a rail: https addresses of payment methods, whose manifests the
   * browser fetches. Each is given the challenge and answers with header fields.
   */
  readonly apps?: Readonly<Record<string, string>>
  /** The built page; the one that comes with the package if absent. */
  readonly file?: string
}

/** How cards are taken on the page. */
export interface CardSettings {
  /** The processor's script. Its origin may be asked from the page, and frames of it shown. */
  readonly script: string
  readonly publishableKey: string
  /** Further origins that the script needs, for instance its API's and its frames'. */
  readonly origins?: readonly string[]
  /** Where the payment of an offer is begun (`POST { offer }`): the seller's own service if absent. */
  readonly beginPath?: string
}

/** Cards by Stripe's Payment Element, with the origins that Stripe names for it. */
export function stripeCard(publishableKey: string): CardSettings {
  return {
    script: 'https://js.stripe.com/basil/stripe.js',
    publishableKey,
    origins: ['https://*.js.stripe.com', 'https://api.stripe.com', 'https://hooks.stripe.com'],
  }
}

/** Where payments are begun by the seller. */
const BEGIN_PATH = '/.well-known/tolsey/begin'

/** Longest description that is shown, in characters. */
export const DESCRIPTION_CHARS_MAX = 500
/** Most lines of a breakdown that are shown. */
export const LINES_MAX = 100
/** Longest `Accept-Language` that is read, in characters. */
export const LANGUAGES_CHARS_MAX = 256

/** Where the built page is, for the sources and for what is built of them. */
const builtFile = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../../dist/page/index.html' : './index.html',
    import.meta.url,
  ),
)

/**
 * The page for people: what it costs and why, ways to pay, and then what was bought.
 * @example
 * const seller = await createSeller({ secret, rails, protocols, ledger, page: page({ name: 'Weather' }) })
 * @throws {RangeError} with a sentence, for a theme that cannot be meant, and where the page was not built.
 */
export function page(settings: PageSettings = {}): Pages {
  const theme = readTheme(settings)
  const shell = readShell(settings.file ?? builtFile, theme)
  const head = headOf(policyOf(settings, shell))
  return (parts) => {
    const tickets = createTickets(parts)
    return {
      protocol: tickets.protocol,
      language: chooseLanguage,
      write: (view) => ({ fields: head, html: write(view, settings, shell, tickets) }),
    } satisfies Page
  }
}

/** The built file, cut where something is put in. */
interface Shell {
  readonly parts: readonly [string, string, string, string, string, string]
  readonly style: string
  readonly hashes: { readonly script: readonly string[]; readonly style: readonly string[] }
}

/** Where the language, the title, the seller's style, the plain page and the data stand. */
const MARKS = ['%lang%', '%title%', '<!--theme-->', '<!--main-->', '%said%'] as const

function readShell(file: string, theme: string): Shell {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    throw new RangeError(`The page was not built: there is no ${file}. Run "npm run build".`)
  }
  const parts: string[] = []
  for (const mark of MARKS) {
    const at = text.indexOf(mark)
    if (at < 0) throw new RangeError(`${file} is not the page: it has no ${mark}.`)
    parts.push(text.slice(0, at))
    text = text.slice(at + mark.length)
  }
  const whole = [...parts, text] as unknown as Shell['parts']
  const inside = whole.join('')
  const find = (tag: RegExp): readonly string[] =>
    [...inside.matchAll(tag)].map(([, body = '']) => hashOf(body))
  return {
    parts: whole,
    style: theme === '' ? '' : `<style>${theme}</style>`,
    hashes: {
      script: find(/<script type="module">([\s\S]*?)<\/script>/g),
      style: [...find(/<style>([\s\S]*?)<\/style>/g), ...(theme === '' ? [] : [hashOf(theme)])],
    },
  }
}

function hashOf(text: string): string {
  return `'sha256-${hash('sha256', text, 'base64')}'`
}

/** Nothing runs, applies or is asked for but what came with the page, and the processor's. */
function policyOf({ card, apps = {} }: PageSettings, { hashes }: Shell): string {
  const processor = card ? [...new Set([card.script, ...(card.origins ?? [])].map(originOf))] : []
  const methods = Object.values(apps).map(originOf)
  const directives: readonly (readonly [string, readonly string[]])[] = [
    ['default-src', ["'none'"]],
    ['script-src', [...hashes.script, ...processor.slice(0, 1)]],
    ['style-src', hashes.style],
    // The browser shows an app's own picture in its window.
    ['img-src', ['data:', 'blob:', ...new Set(methods)]],
    ['media-src', ['blob:']],
    ['connect-src', ["'self'", ...new Set([...processor, ...methods])]],
    ['frame-src', processor.length > 0 ? processor : ["'none'"]],
    ['form-action', ["'none'"]],
    ['base-uri', ["'none'"]],
    ['frame-ancestors', ["'none'"]],
    // A processor's script is not ours to hold to this.
    ...(card ? [] : [['require-trusted-types-for', ["'script'"]] as const]),
  ]
  return directives.map(([name, sources]) => `${name} ${sources.join(' ')}`).join('; ')
}

/** @throws {RangeError} for what is no https address; on a loopback it may be http. */
function originOf(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : undefined
  const isLocal = url?.protocol === 'http:' && /^(?:localhost|127\.0\.0\.1)$/.test(url.hostname)
  // What a parser takes for a host might end a directive.
  const isPlain = url !== undefined && /^[*a-z0-9.-]+(?::\d+)?$/.test(url.host)
  if (!isPlain || (url.protocol !== 'https:' && !isLocal))
    throw new RangeError(`"${address}" is not an https address.`)
  return url.origin
}

function headOf(policy: string): View['fields'] {
  return [
    ['Content-Security-Policy', policy],
    ['X-Frame-Options', 'DENY'],
    ['X-Content-Type-Options', 'nosniff'],
    ['Referrer-Policy', 'same-origin'],
    ['Cross-Origin-Opener-Policy', 'same-origin-allow-popups'],
    ['Permissions-Policy', 'payment=(self), camera=(), microphone=(), geolocation=()'],
  ]
}

/** The first of the accepted languages that is spoken, by weight and then by order (RFC 9110, 12.5.4). */
function chooseLanguage(accepted: string): Language {
  const wanted = accepted
    .slice(0, LANGUAGES_CHARS_MAX)
    .split(',')
    .map((range) => {
      const [tag = '', ...params] = range
        .trim()
        .toLowerCase()
        .split(/\s*;\s*/)
      const weight = params.find((param) => param.startsWith('q='))?.slice(2)
      return { tag: tag.split('-')[0] ?? '', weight: weight === undefined ? 1 : Number(weight) }
    })
    .filter(({ weight }) => weight > 0)
    .toSorted((a, b) => b.weight - a.weight)
  const found = wanted.map(({ tag }) => tag).find(isLanguage)
  return found ?? 'en'
}

function write(view: View, settings: PageSettings, shell: Shell, tickets: Tickets): string {
  const language = isLanguage(view.language) ? view.language : 'en'
  const say = words[language]
  const name = settings.name ?? view.resource.authority
  const [first, second, third, fourth, fifth, last] = shell.parts
  return [
    first,
    language,
    second,
    escape(`${titleOf(view, say)} · ${name}`),
    third,
    shell.style,
    fourth,
    plain(view, settings, say, name).text,
    fifth,
    island(tell(view, settings, tickets, language, name)),
    last,
  ].join('')
}

/** The page for who runs no script: the price, why, and an invoice to open. */
function plain(view: View, { logo }: PageSettings, say: Words, name: string): Html {
  const { challenge, problem, resource, request } = view
  const offers = challenge?.offers ?? []
  const lines = challenge?.breakdown?.slice(0, LINES_MAX) ?? []
  return html`<header>
      ${logo === undefined ? html`` : html`<img class="logo" src="${logo}" alt="" />`}
      <p class="name">${name}</p>
    </header>
    <h1>${titleOf(view, say)}</h1>
    <p class="what">${shorten(challenge?.description ?? resource.path)}</p>
    ${problem.code === 'payment-required' ? html`` : html`<p class="notice">${problem.detail}</p>`}
    <p class="price">
      ${joined(
        offers.map((offer) => html`<strong>${amountOf(writeMoney(offer.amount))}</strong>`),
        ` ${say.or} `,
      )}
    </p>
    ${
      lines.length === 0
        ? html``
        : html`<ul>
            ${joined(lines.map((line) => html`<li>${line.quantity} ${line.unit} ${line.what}: ${line.amount}</li>`))}
          </ul>`
    }
    ${joined(offers.map((offer) => invoiceOf(offer, say)))}
    <noscript><p>${say.noScript}</p></noscript>
    <footer>${fill(say.number, request)}</footer>`
}

/** Something is asked for, or something is wrong. */
function titleOf({ challenge }: View, say: Words): string {
  return challenge ? say.title : say.unavailable
}

function invoiceOf({ invoice }: Offer, say: Words): Html {
  if (invoice === undefined || !/^[a-z0-9]+$/i.test(invoice)) return html``
  return html`<p><a class="button" href="lightning:${invoice}">${say.openWallet}</a></p>`
}

/** What the script is told, as data. */
function tell(
  view: View,
  { card, apps, logo }: PageSettings,
  tickets: Tickets,
  language: Language,
  name: string,
): object {
  const { resource, problem, challenge, request, fields } = view
  const { status, title, retry } = problems[problem.code]
  const { receipt } = problem
  return {
    language,
    languages,
    name,
    logo,
    request,
    path: resource.path,
    description: challenge?.description && shorten(challenge.description),
    breakdown: challenge?.breakdown?.slice(0, LINES_MAX),
    plan: challenge?.plan && {
      name: challenge.plan.name,
      rights: writeConditions(challenge.plan.rights),
    },
    problem: { code: problem.code, status, title, retry, detail: problem.detail },
    retryAfterMs: problem.retryAfterMs,
    receipt: receipt && {
      amount: writeMoney(receipt.amount),
      reference: receipt.reference,
      payer: receipt.payer,
      payee: receipt.payee,
      network: receipt.network,
      settledAt: receipt.settledAt,
    },
    offers: challenge?.offers.map((offer) => ({
      id: offer.id,
      rail: offer.rail,
      network: offer.network,
      amount: writeMoney(offer.amount),
      currency: offer.amount.asset.currency ?? offer.amount.asset.code,
      expiresAt: offer.expiresAt,
      invoice: offer.invoice,
      ticket: tickets.write(offer),
      begin: card && tickets.begin(offer),
    })),
    fields,
    card: card && {
      script: card.script,
      publishableKey: card.publishableKey,
      beginPath: card.beginPath ?? BEGIN_PATH,
    },
    apps,
  }
}

function shorten(text: string): string {
  return text.length <= DESCRIPTION_CHARS_MAX ? text : `${text.slice(0, DESCRIPTION_CHARS_MAX)}…`
}
