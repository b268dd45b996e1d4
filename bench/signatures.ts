// How many EIP-3009 signatures one core checks in a second of its time, ours beside viem's. Prints JSON, then a table.
import { recoverTypedDataAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Proof } from '../src/rails/evm/proof.ts'
import { readProof, writeProof } from '../src/rails/evm/proof.ts'
import { networks } from '../src/rails/evm/networks.ts'
import { createVerifier } from '../src/rails/evm/signature.ts'
import { typedData } from '../src/rails/evm/typed-data.ts'

const PROOFS = 64
const WARM_MS = 300
const RUN_MS = 1_500
const ROUNDS = 3

const base = networks.find(({ id }) => id === 'eip155:8453')
const usdc = base?.tokens[0]
if (!base || !usdc) throw new Error('Base is in the table.')

const proofs = await Promise.all(Array.from({ length: PROOFS }, signed))
const runs: Record<string, (index: number) => unknown> = {
  'viem recoverTypedDataAddress': (i) => {
    const proof = at(i)
    const { domain, types, primaryType, message } = typedData(usdc, 8453, proof)
    const { signature } = proof
    return recoverTypedDataAddress({ domain, types, primaryType, message, signature })
  },
}
for (const engine of ['wasm', 'native'] as const) {
  const verifier = await createVerifier(engine)
  const domain = verifier.domain(usdc, 8453)
  runs[`ours, ${engine}`] = (i) => {
    if (verifier.look(domain, at(i)) !== 'payer') throw new Error('A good signature was refused.')
  }
  runs[`ours, ${engine}, with reading the payload`] = (i) => {
    const proof = readProof(payloads[i % PROOFS])
    if (typeof proof === 'string' || verifier.look(domain, proof) !== 'payer')
      throw new Error('A good payload was refused.')
  }
}
const payloads = proofs.map(writeProof)

const rates: Record<string, number[]> = {}
for (let round = 0; round < ROUNDS; round++)
  for (const [name, run] of Object.entries(runs)) (rates[name] ??= []).push(await rate(run))
const median = Object.fromEntries(
  Object.entries(rates).map(([name, all]) => [name, all.toSorted((a, b) => a - b)[1] ?? 0]),
)
const slowest = median['viem recoverTypedDataAddress'] ?? 1
const rows = Object.entries(median).map(([name, perSecond]) => ({
  name,
  perSecond: Math.round(perSecond),
  us: Number((1e6 / perSecond).toFixed(1)),
  timesViem: Number((perSecond / slowest).toFixed(1)),
}))
console.log(JSON.stringify({ bench: 'signatures', node: process.version, rows }))
console.table(rows)

/** Runs per second of this process's own CPU time, so that a busy neighbour does not count. */
async function rate(run: (index: number) => unknown): Promise<number> {
  await spend(WARM_MS, run)
  const before = process.cpuUsage()
  const count = await spend(RUN_MS, run)
  const { user, system } = process.cpuUsage(before)
  return count / ((user + system) / 1e6)
}

async function spend(ms: number, run: (index: number) => unknown): Promise<number> {
  const end = performance.now() + ms
  let count = 0
  while (performance.now() < end)
    for (let i = 0; i < 20; i++) {
      const result = run(count++)
      if (result instanceof Promise) await result
    }
  return count
}

function at(index: number): Proof {
  const proof = proofs[index % PROOFS]
  if (!proof) throw new Error('There is one for each index.')
  return proof
}

async function signed(): Promise<Proof> {
  if (!usdc) throw new Error('Base is in the table.')
  const account = privateKeyToAccount(generatePrivateKey())
  const authorization = {
    from: account.address.toLowerCase() as Proof['from'],
    to: '0x209693bc6afc0c5328ba36faf03c514ef312287c',
    value: 10_000n,
    validAfter: 0n,
    validBefore: 1_900_000_000n,
    nonce: generatePrivateKey(),
  } as const
  const { domain, types, primaryType, message } = typedData(usdc, 8453, authorization)
  const signature = await account.signTypedData({ domain, types, primaryType, message })
  return { ...authorization, signature }
}
