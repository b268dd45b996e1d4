// Whole checks of an EIP-3009 payment, digest, recovery and comparison, beside what viem offers for the same.
import { recoverTypedDataAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Engine, Network, Proof, Token } from '../src/rails/evm/index.ts'
import { createVerifier, networks, typedData } from '../src/rails/evm/index.ts'
import { readProof, writeProof } from '../src/rails/evm/proof.ts'
import { cpuMicros } from './process.ts'
import type { Bench, Result } from './result.ts'
import { compare } from './result.ts'

const ROUNDS = 7
const ROUND_MICROS = 300_000
/** Different payments, so that nothing can be remembered. */
const PAYMENTS = 64
/** How many checks there are between two looks at the clock. */
const CHUNK = 16

const engines = [
  { engine: 'wasm', name: 'WebAssembly', goal: 12 },
  { engine: 'native', name: 'native addon', goal: 28 },
] as const

/** A payment as it is signed, and as it is sent. */
interface Payment {
  readonly proof: Proof
  readonly payload: unknown
}

type Check = (payment: Payment) => boolean | Promise<boolean>

/** Checks per CPU-second with either engine, of a payment that was read before, and of one as it is sent. */
export const signatures: Bench = async ({ quick, tell }) => {
  const { network, token } = base()
  const payments = await Promise.all(Array.from({ length: PAYMENTS }, () => sign(network, token)))
  const viem = entry(async ({ proof }) => {
    const { signature } = proof
    const data = typedData(token, network.chainId, proof)
    return (await recoverTypedDataAddress({ ...data, signature })).toLowerCase() === proof.from
  })
  const ours = await Promise.all(
    engines.map(async ({ engine }) => createChecks(engine, network, token)),
  )
  const entries = [viem, ...ours.flatMap(({ check, readAndCheck }) => [check, readAndCheck])]
  const micros = quick ? ROUND_MICROS / 10 : ROUND_MICROS
  for (const { check } of entries) await rate(check, payments, micros)
  for (let round = 1; round <= (quick ? 3 : ROUNDS); round++) {
    tell(`round ${round}`)
    for (const { check, rates } of entries) rates.push(await rate(check, payments, micros))
  }
  return engines.flatMap(({ name, goal }, i): readonly Result[] => {
    const peer = { name: 'viem recoverTypedDataAddress', rounds: viem.rates }
    const line = { bench: 'signatures', unit: 'per CPU-s', better: 'more', peer } as const
    const { check, readAndCheck } = ours[i] ?? {}
    return [
      compare({
        ...line,
        what: `payment checks, ${name}`,
        ours: check?.rates ?? [],
        goal: { ratioLeast: goal },
      }),
      compare({
        ...line,
        what: `payloads read and checked, ${name}`,
        ours: readAndCheck?.rates ?? [],
      }),
    ]
  })
}

/** A check and what its rounds gave. */
interface Entry {
  readonly check: Check
  readonly rates: number[]
}

function entry(check: Check): Entry {
  return { check, rates: [] }
}

async function createChecks(
  engine: Engine,
  network: Network,
  token: Token,
): Promise<{ readonly check: Entry; readonly readAndCheck: Entry }> {
  const verifier = await createVerifier(engine)
  const domain = verifier.domain(token, network.chainId)
  return {
    check: entry(({ proof }) => verifier.look(domain, proof) === 'payer'),
    readAndCheck: entry(({ payload }) => {
      const proof = readProof(payload)
      return typeof proof !== 'string' && verifier.look(domain, proof) === 'payer'
    }),
  }
}

function base(): { readonly network: Network; readonly token: Token } {
  const network = networks.find(({ legacyName }) => legacyName === 'base')
  const token = network?.tokens[0]
  if (!token) throw new Error('Base is not in the table of networks.')
  return { network, token }
}

async function sign(network: Network, token: Token): Promise<Payment> {
  const account = privateKeyToAccount(generatePrivateKey())
  const unsigned = {
    from: account.address.toLowerCase() as Proof['from'],
    to: `0x${'5e'.repeat(20)}`,
    value: 10_000n,
    validAfter: 0n,
    validBefore: 1_900_000_000n,
    nonce: generatePrivateKey(),
  } as const
  const signature = await account.signTypedData(typedData(token, network.chainId, unsigned))
  const proof = { ...unsigned, signature }
  return { proof, payload: writeProof(proof) }
}

async function rate(check: Check, payments: readonly Payment[], micros: number): Promise<number> {
  const startedAt = cpuMicros()
  let count = 0
  let used = 0
  for (; used < micros; used = cpuMicros() - startedAt) {
    for (let n = 0; n < CHUNK; n++, count++) {
      const payment = payments[count % payments.length]
      if (!payment || !(await check(payment))) throw new Error('A good payment was refused.')
    }
  }
  return (count * 1e6) / used
}
