// An honest payer who is patient: it signs once, and sends the same payment until it is served or refused.
import type { IncomingHttpHeaders } from 'node:http'
import { request } from 'node:http'
import type { Offer } from '../../src/core/offer.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import type { Details } from '../../src/rails/evm/forms.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { wallet as createWallet } from '../../src/rails/evm/wallet.ts'
import { ORIGIN } from './messages.ts'

/** Where the shop listens now; waits while it is being started again. */
export type Door = () => Promise<number>

/** A whole answer. One that broke off is none. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

/** What a payer came away with. */
export interface Bought {
  readonly answer: Answer
  /** Sends the same payment once more, now that it has what it paid for. */
  readonly again: () => Promise<Answer>
}

/** How long one payment is sent again and again. */
const PATIENCE_MS = 120_000
const PAUSE_MS = 50

/** Buys once, with the key. The last answer, served or not; throws when there never is one. */
export async function buy(door: Door, path: string, privateKey: string): Promise<Bought> {
  const wallet = createWallet({ signer: fromPrivateKey(privateKey) })
  const protocol = x402([wallet], { versions: [2] })
  const asked = await patiently(door, path, {}, (status) => status === 402)
  const resource = {
    realm: '',
    method: 'GET',
    authority: new URL(ORIGIN).host,
    path,
    query: '',
    url: ORIGIN + path,
  }
  const fields = new Headers(textOf(asked.headers))
  const said = { status: asked.status, fields, body: JSON.parse(asked.text) as unknown }
  const offer = protocol.readChallenge(said, resource)?.offers[0] as Offer<Details> | undefined
  if (!offer) throw new Error(`There is no offer in ${asked.text}.`)
  const proof = await wallet.pay(offer, 300_000)
  const paid = Object.fromEntries(protocol.writeCredential({ offer, proof }).fields)
  const final = (status: number): boolean => ![409, 502, 503, 504].includes(status)
  const answer = await patiently(door, path, paid, final)
  return { answer, again: () => patiently(door, path, paid, final) }
}

async function patiently(
  door: Door,
  path: string,
  headers: Readonly<Record<string, string>>,
  final: (status: number) => boolean,
): Promise<Answer> {
  let last: unknown
  const untilAt = Date.now() + PATIENCE_MS
  while (Date.now() < untilAt) {
    const port = await door()
    const answer = await send(port, path, headers).catch((error: unknown) => (last = error))
    if (isAnswer(answer) && final(answer.status)) return answer
    if (isAnswer(answer)) last = new Error(`${answer.status} ${answer.text}`)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
  throw new Error('The shop never gave an answer that is one.', { cause: last })
}

function isAnswer(value: unknown): value is Answer {
  return !(value instanceof Error)
}

function send(
  port: number,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const host = new URL(ORIGIN).host
    const asking = request(
      { port, path, agent: false, headers: { host, ...headers } },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (text += chunk))
        response.on('error', reject)
        response.on('close', () => {
          if (!response.complete) return reject(new Error('The answer broke off.'))
          return resolve({ status: response.statusCode ?? 0, headers: response.headers, text })
        })
      },
    )
    asking.on('error', reject).end()
  })
}

function textOf(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, [value].flat().join(', ')]),
  )
}
