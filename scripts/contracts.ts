/**
 * Compiles `contracts/` and writes what came of it beside each source: ABI, code, and for what is deployed its address.
 * The same source gives the same bytes everywhere.
 *
 *   node scripts/contracts.ts           writes the files
 *   node scripts/contracts.ts --check   fails when the files are not what would be written
 */
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import process from 'node:process'
import type { Abi, Hex } from 'viem'
import { getContractAddress, stringToHex } from 'viem'

/** A contract as the compiler left it. */
export interface Artifact {
  readonly contract: string
  readonly compiler: string
  /** Where anybody can put it, and where it then is. */
  readonly deployment?: Deployment
  readonly abi: Abi
  /** Creation code. */
  readonly bytecode: Hex
  readonly deployedBytecode: Hex
}

/** A deployment by CREATE2 (EIP-1014): the address follows from the salt and the code alone. */
export interface Deployment {
  /** Takes the salt and the creation code behind it as calldata. It is the same on every chain. */
  readonly deployer: Hex
  readonly salt: Hex
  readonly address: Hex
}

// The compiler has no types.
const require = createRequire(import.meta.url)

/** Contracts that are deployed, with the text of their salt. A change of the code is a new address under the same salt. */
const deployed: Readonly<Record<string, string>> = {
  TolseyBatcher: 'tolsey batcher 1',
  TolseyReceiver: 'tolsey receiver 1',
  TolseyChannel: 'tolsey channel 1',
}

const DEPLOYER: Hex = '0x4e59b44847b379578588920cA78FbF26c0B4956C'

const settings = {
  viaIR: true,
  evmVersion: 'cancun',
  optimizer: { enabled: true, runs: 10_000 },
  metadata: { bytecodeHash: 'none', appendCBOR: false },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
}

interface Compiler {
  version(): string
  compile(input: string): string
}

interface Output {
  readonly errors?: readonly { readonly severity: string; readonly formattedMessage: string }[]
  readonly contracts?: Record<string, Record<string, Compiled>>
}

interface Compiled {
  readonly abi: Abi
  readonly evm: Record<'bytecode' | 'deployedBytecode', { readonly object: string }>
}

/** Every artifact of a folder, by its path under it. Takes seconds. */
export async function compile(folder: string): Promise<ReadonlyMap<string, Artifact>> {
  const solc = require('solc') as Compiler
  const paths = await list(folder, '.sol')
  const made = paths.map(async (path) => {
    const content = await readFile(join(folder, path), 'utf8')
    return [
      path.replace(/\.sol$/, '.json'),
      artifact(solc, basename(path, '.sol'), content),
    ] as const
  })
  return new Map(await Promise.all(made))
}

/** A file holds one contract, of its own name. It is compiled alone: what else is there must not change its bytes. */
function artifact(solc: Compiler, contract: string, content: string): Artifact {
  const source = `${contract}.sol`
  const input = { language: 'Solidity', sources: { [source]: { content } }, settings }
  const { errors = [], contracts } = JSON.parse(solc.compile(JSON.stringify(input))) as Output
  const [wrong] = errors.filter(({ severity }) => severity === 'error')
  if (wrong) throw new Error(wrong.formattedMessage)
  const compiled = contracts?.[source]?.[contract]
  if (!compiled) throw new Error(`${source} holds no contract of its name.`)
  const { abi, evm } = compiled
  const bytecode: Hex = `0x${evm.bytecode.object}`
  const salt = deployed[contract]
  return {
    contract,
    compiler: solc.version(),
    ...(salt !== undefined && { deployment: deploymentOf(salt, bytecode) }),
    abi,
    bytecode,
    deployedBytecode: `0x${evm.deployedBytecode.object}`,
  }
}

function deploymentOf(text: string, bytecode: Hex): Deployment {
  const salt = stringToHex(text, { size: 32 })
  const address = getContractAddress({ opcode: 'CREATE2', from: DEPLOYER, salt, bytecode })
  return { deployer: DEPLOYER, salt, address }
}

/** What differs between the folder and what should stand in it, a sentence each. */
export async function differences(
  folder: string,
  wanted: ReadonlyMap<string, Artifact>,
): Promise<readonly string[]> {
  const stale = (await list(folder, '.json'))
    .filter((path) => !wanted.has(path))
    .map((path) => `${path} is made by nothing.`)
  const wrong = await Promise.all(
    [...wanted].map(async ([path, made]) => {
      const found = await readFile(join(folder, path), 'utf8').catch(() => 'null')
      return same(found, made) ? [] : [`${path} is not up to date.`]
    }),
  )
  return [...stale, ...wrong.flat()]
}

/** Compares what is said: the formatter may lay it out as it likes. */
function same(found: string, wanted: Artifact): boolean {
  return JSON.stringify(JSON.parse(found)) === JSON.stringify(wanted)
}

async function list(folder: string, ending: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true })
  return entries
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith(ending))
    .toSorted()
}

async function write(folder: string): Promise<void> {
  for (const [path, made] of await compile(folder))
    await writeFile(join(folder, path), `${JSON.stringify(made, undefined, 2)}\n`)
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..', 'contracts')
  if (process.argv.includes('--check')) {
    const found = await differences(folder, await compile(folder))
    for (const sentence of found) console.error(sentence)
    if (found.length > 0) console.error('Run: node scripts/contracts.ts && oxfmt contracts')
    process.exitCode = found.length > 0 ? 1 : 0
  } else await write(folder)
}
