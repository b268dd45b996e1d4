// What a load pays with where each request must bring something that was never seen: made before it is measured.
import { request } from 'node:http'
import { isObject } from '../src/core/json.ts'
import type { Resource } from '../src/core/resource.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import { fromPrivateKey, wallet } from '../src/rails/evm/index.ts'
import { narrow, readToken, writeToken } from '../src/tokens/macaroon/index.ts'

/** A throw-away key: nothing is on its account. */
const KEY = '0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318'
const HOUR_MS = 3_600_000

/** Narrows a token so many times, each time in another way. Lines of a request's head. */
export function narrowed(token: string, count: number): readonly string[] {
  const read = readToken(token)
  if (typeof read === 'string' || !read[0]) throw new Error('The token cannot be read.')
  const [whole] = read
  const untilS = Math.floor((Date.now() + HOUR_MS) / 1_000)
  return Array.from({ length: count }, (_, i) => {
    const one = narrow(whole, [`expires=${untilS + i}`])
    if (typeof one === 'string') throw new Error(one)
    return `Authorization: Bearer ${writeToken([one])}\r\n`
  })
}

/** Signs so many payments for what the server asks at that path. Lines of a request's head. */
export async function signed(
  { port, host, path }: { readonly port: number; readonly host: string; readonly path: string },
  count: number,
): Promise<readonly string[]> {
  const purse = wallet({ signer: fromPrivateKey(KEY) })
  const protocol = x402([purse])
  const resource: Resource = {
    ...{ realm: '', method: 'GET', authority: host },
    ...{ path, query: '', url: `http://${host}${path}` },
  }
  const received = await ask(port, host, path)
  const offer = protocol.readChallenge(received, resource)?.offers[0]
  if (!offer) throw new Error('Nothing is offered.')
  const lines: string[] = []
  for (let i = 0; i < count; i++) {
    const proof = await purse.pay(offer as Parameters<typeof purse.pay>[0], HOUR_MS)
    const { fields } = protocol.writeCredential({ offer, proof })
    lines.push(fields.map(([name, value]) => `${name}: ${value}\r\n`).join(''))
  }
  return lines
}

/** By hand, since the host is not where it listens. */
async function ask(
  port: number,
  host: string,
  path: string,
): Promise<{ status: number; fields: Headers; body: unknown }> {
  return await new Promise((resolve, reject) => {
    const asking = request({ port, host: '127.0.0.1', path, headers: { host } }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => {
        const fields = new Headers()
        for (const [name, value] of Object.entries(answer.headers))
          if (typeof value === 'string') fields.set(name, value)
        const body: unknown = JSON.parse(Buffer.concat(chunks).toString())
        resolve({ status: answer.statusCode ?? 0, fields, body: isObject(body) ? body : undefined })
      })
    })
    asking.once('error', reject)
    asking.end()
  })
}
