// Pays by hand, for what no paying client can send: upgrades, raw requests, uploads that ask first.
import assert from 'node:assert/strict'
import { isObject } from '../../src/core/json.ts'
import type { Resource } from '../../src/core/resource.ts'
import { x402 } from '../../src/protocols/x402/index.ts'
import { fromPrivateKey, wallet } from '../../src/rails/evm/index.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { createBuyer } from '../interop/peers.ts'

/** Makes somebody who writes the fields of a payment for what an address asks. */
export async function createPurse(
  chain: Chain,
): Promise<(url: string, init?: RequestInit) => Promise<Record<string, string>>> {
  const { privateKey } = await createBuyer(chain, 10_000_000n)
  const purse = wallet({ signer: fromPrivateKey(privateKey) })
  const protocol = x402([purse])
  return async (url, init = {}) => {
    const response = await fetch(url, init)
    assert.equal(response.status, 402)
    const body: unknown = await response.json()
    const { host, pathname, search } = new URL(url)
    const resource: Resource = {
      ...{ realm: '', method: init.method ?? 'GET', authority: host },
      ...{ path: pathname, query: search.slice(1), url },
    }
    const received = { status: 402, fields: response.headers, ...(isObject(body) && { body }) }
    const offer = protocol.readChallenge(received, resource)?.offers[0]
    assert.ok(offer)
    const proof = await purse.pay(offer as Parameters<typeof purse.pay>[0], 300_000)
    return Object.fromEntries(protocol.writeCredential({ offer, proof }).fields)
  }
}
