// CPU time of a whole check of a payment, the look at the chain included, HTTP between seller and facilitator left out.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { x402Facilitator } from '@x402/core/facilitator'
import { decodePaymentRequiredHeader } from '@x402/core/http'
import { toFacilitatorEvmSigner } from '@x402/evm'
import { ExactEvmScheme } from '@x402/evm/exact/facilitator'
import { createWalletClient, http, publicActions } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { baseSepolia } from 'viem/chains'
import type { Offer } from '../src/core/offer.ts'
import { readPrice } from '../src/core/money.ts'
import type { Details } from '../src/rails/evm/index.ts'
import { fromPrivateKey, wallet } from '../src/rails/evm/index.ts'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import type { Keys } from '../test/interop/peers.ts'
import { createBuyer, createClient, createSender } from '../test/interop/peers.ts'
import type { OurSeller } from './parties.ts'
import { PRICE, startOurs, startPeers } from './parties.ts'
import { cpuMicros } from './process.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'

const ROUNDS = 5
const CHECKS = 96
const MANY = 32
const WARM_UP = 2
const FUNDS = 1_000_000n
const GOAL = 25

/** Makes a new payment, and then checks it. */
type Prepare = () => Promise<() => Promise<boolean>>

/** CPU time of a check alone, and of each of many at once. */
export async function verify({ quick, tell }: Run): Promise<readonly Result[]> {
  await using parties = new AsyncDisposableStack()
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  parties.defer(() => rm(directory, { recursive: true }))
  const chain = await startChain()
  parties.defer(() => chain.stop())
  const seller = await startOurs(chain, directory)
  parties.defer(() => seller.close())
  const keys = await createBuyer(chain, FUNDS)
  const ways = [ours(seller, keys), await peers(chain, keys)] as const
  const results: Result[] = []
  for (const [what, many] of [
    ['a check alone', 1],
    [`each of ${MANY} checks at once`, MANY],
  ] as const) {
    const rounds: readonly [number[], number[]] = [[], []]
    for (let round = 1 - WARM_UP; round <= (quick ? 1 : ROUNDS); round++) {
      tell(`${what}, round ${round}`)
      for (const [i, way] of ways.entries()) {
        const ms = await measure(way, quick ? MANY : CHECKS, many)
        if (round > 0) rounds[i]?.push(ms)
      }
    }
    results.push(
      compare({
        bench: 'verify',
        what,
        unit: 'CPU ms',
        better: 'less',
        ours: rounds[0],
        peer: { name: '@x402/evm facilitator', rounds: rounds[1] },
        goal: { ratioLeast: GOAL },
      }),
    )
  }
  return results
}

async function measure(way: Prepare, checks: number, many: number): Promise<number> {
  const prepared = await Promise.all(Array.from({ length: checks }, way))
  const before = cpuMicros()
  for (let i = 0; i < checks; i += many) {
    const good = await Promise.all(prepared.slice(i, i + many).map((check) => check()))
    if (good.includes(false)) throw new Error('A good payment was refused.')
  }
  return (cpuMicros() - before) / 1_000 / checks
}

function ours({ rail }: OurSeller, { privateKey }: Keys): Prepare {
  const purse = wallet({ signer: fromPrivateKey(privateKey) })
  const [terms] = rail.quote(readPrice(PRICE))
  if (!terms) throw new Error('Our rail offers nothing.')
  const url = 'https://api.example.com/paid'
  const where = { realm: '', method: 'GET', authority: 'api.example.com', path: '/paid', query: '' }
  const expiresAt = Date.now() + terms.timeoutMs
  const offer: Offer<Details> = { ...terms, id: 'x', resource: { ...where, url }, expiresAt }
  return async () => {
    const proof = await purse.pay(offer, terms.timeoutMs)
    return async () => (await rail.verify(offer, proof)).ok
  }
}

async function peers(chain: Chain, { account }: Keys): Promise<Prepare> {
  const { privateKey } = await createSender(chain)
  const sender = privateKeyToAccount(privateKey)
  const transport = http(chain.rpc)
  const node = createWalletClient({ account: sender, chain: baseSepolia, transport }).extend(
    publicActions,
  )
  const signer = toFacilitatorEvmSigner({
    address: sender.address,
    getCode: (args) => node.getCode(args),
    readContract: (args) => node.readContract(args),
    verifyTypedData: (args) => node.verifyTypedData(args as never),
    writeContract: (args) => node.writeContract(args),
    sendTransaction: (args) => node.sendTransaction(args as never),
    waitForTransactionReceipt: (args) => node.waitForTransactionReceipt(args),
  })
  const facilitator = new x402Facilitator().register('eip155:84532', new ExactEvmScheme(signer))
  const required = await requirements(chain)
  const [accepted] = required.accepts
  if (!accepted) throw new Error('The peers offer nothing.')
  const client = createClient(account)
  return async () => {
    const payload = await client.createPaymentPayload(required)
    return async () => (await facilitator.verify(payload, accepted)).isValid
  }
}

/** What the peers' seller asks for. */
async function requirements(chain: Chain): Promise<ReturnType<typeof decodePaymentRequiredHeader>> {
  const seller = await startPeers(chain)
  const response = await fetch(`${seller.url}/paid`)
  await response.body?.cancel()
  await seller.close()
  return decodePaymentRequiredHeader(response.headers.get('PAYMENT-REQUIRED') ?? '')
}
