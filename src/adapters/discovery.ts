import type { JsonObject } from '../core/json.ts'
import type { Price } from '../core/money.ts'
import { writePrice } from '../core/money.ts'
import type { Answered, Service, Shop } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { readRoutes } from './routes.ts'
import type { Route, Routes } from './routes.ts'

/** Where the document for programs stands. */
export const OPENAPI_PATH = '/openapi.json'
/** Where the text for models stands. */
export const LLMS_PATH = '/llms.txt'
/** How long both may be kept by whoever reads them. */
export const DISCOVERY_MAX_AGE_S = 300

/** One way to pay, as it is told beforehand. */
export interface AdvertisedOffer {
  readonly method: string
  readonly intent: string
  /** In the smallest unit of the currency. */
  readonly amount: string
  readonly currency?: string
}

/** What is told of a service. */
export interface DiscoverySettings {
  readonly title: string
  /** The version of your service; `1.0.0` if absent. */
  readonly version?: string
  /** What it is for, in a sentence or more. */
  readonly description?: string
  /** What is sold: the table that the adapter is given too. */
  readonly routes: Routes
  /** What a price is on each rail, for instance `advertise(rails)` of the protocol MPP. */
  readonly offers: (prices: readonly Price[]) => readonly AdvertisedOffer[]
  /** What else is known of an operation, by the key of its route: `summary`, `requestBody`, `responses`, `parameters`. */
  readonly operations?: Readonly<Record<string, JsonObject>>
  readonly categories?: readonly string[]
  /** Where people and programs read on: `{ homepage, apiReference }`. */
  readonly docs?: Readonly<Record<string, string>>
}

/** The verbs that stand for all in a document, which has no word for it. */
const VERBS = ['get', 'post', 'put', 'patch', 'delete']

/**
 * Tells what is sold, and for how much, before anybody asks: an OpenAPI document with `x-payment-info`
 * (draft-payment-discovery-01), and a text for models. Both only advertise: what is paid is what the challenge asks for.
 * @throws {RangeError} where an operation is described that is no paid route.
 */
export function discovery(settings: DiscoverySettings): Service {
  const keys = new Set(Object.keys(settings.routes))
  const odd = Object.keys(settings.operations ?? {}).find((key) => !keys.has(key))
  if (odd !== undefined)
    throw new RangeError(`"operations" describes "${odd}", which is not in the route table.`)
  let told: { readonly openapi: string; readonly llms: string } | undefined
  return {
    paths: [OPENAPI_PATH, LLMS_PATH],
    async answer({ method }, shop) {
      if (method !== 'GET' && method !== 'HEAD') return { kind: 'refused', problem: onlyRead }
      told ??= tell(settings, shop)
      return shop.resource.path === LLMS_PATH
        ? said('text/plain; charset=utf-8', told.llms)
        : said('application/json', told.openapi)
    },
  }
}

function tell(settings: DiscoverySettings, { plans }: Pick<Shop, 'plans'>) {
  const { paid } = readRoutes(settings.routes, plans)
  return { openapi: JSON.stringify(documentOf(settings, paid)), llms: textOf(settings, paid) }
}

function said(type: string, body: string): Answered {
  const fields = { 'Content-Type': type, 'Cache-Control': `public, max-age=${DISCOVERY_MAX_AGE_S}` }
  return { status: 200, fields, body }
}

function documentOf(settings: DiscoverySettings, paid: readonly Route[]): JsonObject {
  const { title, version = '1.0.0', description, categories, docs } = settings
  const paths: Record<string, Record<string, JsonObject>> = {}
  for (const route of paid) {
    const { path, parameters } = templateOf(route)
    const operation = operationOf(settings, route, parameters)
    const verbs = route.verb === '*' ? VERBS : [route.verb.toLowerCase()]
    for (const verb of verbs)
      (paths[path] ??= {})[verb] ??= verb === 'get' ? operation : withBody(operation)
  }
  return {
    openapi: '3.1.0',
    info: { title, version, ...(description !== undefined && { description }) },
    'x-service-info': {
      ...(categories && { categories: [...categories] }),
      docs: { llms: LLMS_PATH, ...docs },
    },
    paths,
  }
}

/** What is not known of a body must not be made up. */
function withBody(operation: JsonObject): JsonObject {
  return { requestBody: { required: false, content: { '*/*': {} } }, ...operation }
}

function operationOf(
  { offers, operations = {} }: DiscoverySettings,
  route: Route,
  parameters: readonly JsonObject[],
): JsonObject {
  const { description, mimeType = '*/*' } = route.sale
  const { responses, ...known } = operations[route.key] ?? {}
  return {
    ...(description !== undefined && { summary: description }),
    ...(parameters.length > 0 && { parameters }),
    ...known,
    'x-payment-info': { offers: paymentsOf(route, offers) },
    responses: {
      '200': { description: 'What was paid for', content: { [mimeType]: {} } },
      '402': { description: 'Payment required' },
      ...(responses as JsonObject | undefined),
    },
  }
}

/** A price that depends on the request has no amount that could be told. */
function paymentsOf(
  { prices, sale: { description } }: Route,
  offers: DiscoverySettings['offers'],
): readonly JsonObject[] {
  const rest = description === undefined ? {} : { description }
  if (typeof prices === 'function') return [{ intent: 'charge', amount: null, ...rest }]
  const known = offers(prices).map((offer) => ({ ...offer, ...rest }))
  return known.length > 0 ? known : [{ intent: 'charge', amount: null, ...rest }]
}

/** The path as OpenAPI writes it: `{name}` for `:name`, and one name for any rest. */
function templateOf({ key, sample }: Route): {
  readonly path: string
  readonly parameters: readonly JsonObject[]
} {
  const pattern = key.slice(key.indexOf('/'))
  const examples = sample.split('/')
  const parameters: JsonObject[] = []
  const parts = pattern.split('/').map((part, i) => {
    const name = part === '*' ? 'rest' : /^:(\w+)$/.exec(part)?.[1]
    if (name === undefined) return part
    const example = examples[i] ?? ''
    const schema = { type: 'string' }
    parameters.push({ name, in: 'path', required: true, schema, example: example || name })
    return `{${name}}`
  })
  return { path: parts.join('/'), parameters }
}

function textOf({ title, description }: DiscoverySettings, paid: readonly Route[]): string {
  const lines = paid.map(({ key, prices, sale }) => {
    const price = typeof prices === 'function' ? 'depends on the request' : costOf(prices)
    const about = sale.description === undefined ? '' : `: ${oneLine(sale.description)}`
    return `- \`${key}\` — ${price}${about}`
  })
  return [
    `# ${oneLine(title)}`,
    ...(description === undefined ? [] : [`> ${oneLine(description)}`]),
    'Requests are paid for over HTTP: the answer 402 says what is to be paid, and how. Send the same request again with the proof.',
    '## What is sold',
    lines.join('\n'),
    '## Machine-readable',
    `- [OpenAPI](${OPENAPI_PATH}) with the prices of each operation in \`x-payment-info\``,
    '',
  ].join('\n\n')
}

function costOf(prices: readonly Price[]): string {
  return prices.map(writePrice).join(' or ')
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim()
}

const onlyRead = problem('route-undeclared', 'What is sold here is read by GET.')
