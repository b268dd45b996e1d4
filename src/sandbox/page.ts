import { hash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { priceOf } from './api.ts'
import type { Sample } from './api.ts'

const style = `
:root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif; }
body { max-width: 52rem; margin: 3rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; }
table { border-collapse: collapse; margin: 1.5rem 0; width: 100%; }
td { padding: 0.4rem 1rem 0.4rem 0; border-top: 1px solid #8884; }
td:nth-child(3) { white-space: nowrap; }
code { overflow-wrap: anywhere; }
`

/** Nothing is loaded from anywhere, and only our own style applies. */
const policy = `default-src 'none'; style-src 'sha256-${hash('sha256', style, 'base64')}'`

/** What the front page tells. */
export interface Front {
  readonly gateway: string
  readonly rpc: string
  readonly usdc: string
  readonly seller: { readonly address: string }
  readonly buyer: { readonly address: string }
  /** Where faults are set. */
  readonly faults: string
  readonly samples: readonly Sample[]
}

/** Answers with the front page: HTML for a browser, text for a terminal. */
export function answerFront(
  front: Front,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const browser = request.headers.accept?.includes('text/html') ?? false
  response.writeHead(200, {
    'content-type': `text/${browser ? 'html' : 'plain'}; charset=utf-8`,
    'content-security-policy': policy,
    vary: 'accept',
  })
  response.end(browser ? frontHtml(front) : frontText(front))
}

/** The front page as text, for a terminal. */
function frontText(front: Front): string {
  const { gateway, samples, seller, buyer } = front
  const [first] = samples
  const url = gateway + (first?.path ?? '')
  return [
    'A paid API on a private chain. Nothing here is worth anything.',
    '',
    ...samples.map(
      (sample) =>
        `${sample.method.padEnd(5)}${gateway}${sample.path}  ${priceOf(sample)}  ${sample.about}`,
    ),
    '',
    `See what is asked:  curl -i ${url}`,
    `Pay:                npx tolsey pay ${url}`,
    `Break something:    curl -H 'content-type: application/json' -d '{"drop": 1}' ${front.faults}`,
    '',
    `Chain   ${front.rpc} (84532)`,
    `USDC    ${front.usdc}`,
    `Seller  ${seller.address}`,
    `Buyer   ${buyer.address}`,
    '',
  ].join('\n')
}

/** The front page as HTML, for a browser. */
function frontHtml(front: Front): string {
  const { gateway, samples, seller, buyer } = front
  const rows = samples.map(
    (sample) =>
      html`<tr>
        <td>${sample.method}</td>
        <td><code>${gateway}${sample.path}</code></td>
        <td>${priceOf(sample)}</td>
        <td>${sample.about}</td>
      </tr>`,
  )
  const [first] = samples
  const url = gateway + (first?.path ?? '')
  return [
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Tolsey sandbox</title>',
    '<meta name="viewport" content="width=device-width">',
    `<style>${style}</style>`,
    '<h1>A paid API on a private chain</h1><p>Nothing here is worth anything.</p>',
    `<table>${rows.join('')}</table>`,
    html`<p>See what is asked: <code>curl -i ${url}</code></p>`,
    html`<p>Pay: <code>npx tolsey pay ${url}</code></p>`,
    html`<p>
      Break something:
      <code>curl -H 'content-type: application/json' -d '{"drop": 1}' ${front.faults}</code>
    </p>`,
    html`<p>Chain <code>${front.rpc}</code> (84532), USDC <code>${front.usdc}</code></p>`,
    html`<p>Seller <code>${seller.address}</code>, buyer <code>${buyer.address}</code></p>`,
    '</html>\n',
  ].join('\n')
}

/** HTML whose every value is escaped. */
function html(parts: TemplateStringsArray, ...values: readonly string[]): string {
  return String.raw({ raw: parts }, ...values.map(escape))
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => entities[sign] ?? '')
}
