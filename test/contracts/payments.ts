// Signed payments and the two ways to send many at once, for the tests and the bench of the contracts.
import type { Address, Hex, Log } from 'viem'
import { encodeFunctionData, parseAbi, parseEventLogs, parseSignature } from 'viem'
import type { PrivateKeyAccount } from 'viem/accounts'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import batcher from '../../contracts/TolseyBatcher.json' with { type: 'json' }
import type { Chain } from '../../src/sandbox/chain.ts'
import contracts from '../../src/sandbox/contracts.json' with { type: 'json' }

/** An item of a batch, as the contract has it. */
export interface Authorization {
  readonly token: Address
  readonly from: Address
  readonly to: Address
  readonly value: bigint
  readonly validAfter: bigint
  readonly validBefore: bigint
  readonly nonce: Hex
  readonly signature: Hex
}

/** What a transaction did. */
export interface Mined {
  readonly ok: boolean
  readonly gas: bigint
  readonly logs: readonly Log[]
}

/** One word of the batcher for one item, or that it stopped. */
export type Said =
  | { readonly name: 'Settled'; readonly nonce: Hex }
  | { readonly name: 'Failed'; readonly nonce: Hex; readonly reason: Hex }
  | { readonly name: 'Stopped'; readonly next: bigint }

/** The batcher's functions, events and errors. */
const batcherAbi = parseAbi([
  'struct Authorization { address token; address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce; bytes signature; }',
  'function settle(Authorization[] authorizations, uint256 gasEach) returns (uint256 settled)',
  'event Settled(address indexed authorizer, bytes32 indexed nonce)',
  'event Failed(address indexed authorizer, bytes32 indexed nonce, bytes reason)',
  'event Stopped(uint256 next)',
  'error GasEachOutOfBounds(uint256 least, uint256 most)',
  'error TooManyItems(uint256 most)',
])

const multicallAbi = parseAbi([
  'struct Call3 { address target; bool allowFailure; bytes callData; }',
  'function aggregate3(Call3[] calls) payable',
])

const tokenAbi = parseAbi([
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
  'event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)',
])

const types = {
  TransferWithAuthorization: [
    { name: 'from', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'value', type: 'uint256' },
    { name: 'validAfter', type: 'uint256' },
    { name: 'validBefore', type: 'uint256' },
    { name: 'nonce', type: 'bytes32' },
  ],
} as const

/** Gas of one item in a test: twice what a first payment takes. */
export const GAS_EACH = 150_000n

/** An amount that every payer can pay. */
export const AMOUNT = 1_000n

/** Many payers who hold USDC and no ether. */
export async function createPayers(chain: Chain, count: number): Promise<PrivateKeyAccount[]> {
  const payers = Array.from({ length: count }, () => privateKeyToAccount(generatePrivateKey()))
  await Promise.all(payers.map(({ address }) => chain.mint(address, 1_000_000n)))
  return payers
}

/** An unsigned authorization, payable for the next hours by this machine's clock. */
export function authorize(
  chain: Chain,
  from: Address,
  to: Address,
  said: Partial<Authorization> = {},
): Authorization {
  return {
    token: chain.usdc as Address,
    from,
    to,
    value: AMOUNT,
    validAfter: 0n,
    validBefore: BigInt(Math.floor(Date.now() / 1000)) + 10_000n,
    nonce: generatePrivateKey(),
    signature: '0x',
    ...said,
  }
}

/** The payer's authorization, signed. */
export async function sign(
  chain: Chain,
  payer: PrivateKeyAccount,
  to: Address,
  said: Partial<Authorization> = {},
): Promise<Authorization> {
  const item = authorize(chain, payer.address, to, said)
  const domain = {
    name: 'USDC',
    version: '2',
    chainId: chain.chainId,
    verifyingContract: chain.usdc as Address,
  }
  const signature = await payer.signTypedData({
    domain,
    types,
    primaryType: 'TransferWithAuthorization',
    message: item,
  })
  return { ...item, signature }
}

/** Puts the batcher on the chain. */
export async function deployBatcher(chain: Chain): Promise<Address> {
  return (await chain.deploy(batcher.bytecode)) as Address
}

/** The call of the batcher. */
export function batchCall(items: readonly Authorization[], gasEach: bigint = GAS_EACH): Hex {
  return encodeFunctionData({ abi: batcherAbi, functionName: 'settle', args: [items, gasEach] })
}

/** The token's own call for one payment by `v, r, s`. */
export function tokenCall(item: Authorization): Hex {
  const { from, to, value, validAfter, validBefore, nonce, signature } = item
  const { r, s, v } = parseSignature(signature)
  return encodeFunctionData({
    abi: tokenAbi,
    functionName: 'transferWithAuthorization',
    args: [from, to, value, validAfter, validBefore, nonce, Number(v), r, s],
  })
}

/** The same payments by Multicall3. */
export function multicallCall(items: readonly Authorization[]): Hex {
  const calls = items.map((item) => ({
    target: item.token,
    allowFailure: true,
    callData: tokenCall(item),
  }))
  return encodeFunctionData({ abi: multicallAbi, functionName: 'aggregate3', args: [calls] })
}

/** Sends, whatever comes of it. Without `gas` it gets as much as one transaction may have. */
export async function send(
  chain: Chain,
  to: string,
  data: Hex,
  gas: bigint = 15_000_000n,
): Promise<Mined> {
  const transaction = { from: contracts.operator, to, data, gas: `0x${gas.toString(16)}` }
  const receipt = (await chain.request('eth_sendTransactionSync', [transaction])) as {
    readonly status: Hex
    readonly gasUsed: Hex
    readonly logs: readonly Log[]
  }
  return { ok: receipt.status === '0x1', gas: BigInt(receipt.gasUsed), logs: receipt.logs }
}

/** The bits that `settle` would answer with. */
export async function simulate(
  chain: Chain,
  to: string,
  items: readonly Authorization[],
  gasEach: bigint = GAS_EACH,
  gas: bigint = 15_000_000n,
): Promise<bigint> {
  const data = batchCall(items, gasEach)
  const call = { from: contracts.operator, to, data, gas: `0x${gas.toString(16)}` }
  return BigInt((await chain.request('eth_call', [call, 'latest'])) as Hex)
}

/** What the batcher said, in its order. */
export function said(mined: Mined, batcherAddress: Address): readonly Said[] {
  const own = mined.logs.filter(({ address }) => address === batcherAddress.toLowerCase())
  return parseEventLogs({ abi: batcherAbi, logs: [...own] }).map(({ eventName, args }) => {
    if (eventName === 'Stopped') return { name: eventName, next: args.next }
    if (eventName === 'Failed') return { name: eventName, nonce: args.nonce, reason: args.reason }
    return { name: eventName, nonce: args.nonce }
  })
}

/** The nonces that USDC itself says were used: the only evidence that money moved. */
export function used(mined: Mined, chain: Chain): readonly Hex[] {
  const own = mined.logs.filter(({ address }) => address === chain.usdc.toLowerCase())
  const found = parseEventLogs({ abi: tokenAbi, eventName: 'AuthorizationUsed', logs: [...own] })
  return found.map(({ args }) => args.nonce)
}

/** Gas beside an item's call, at most: its place in the loop, the first touch of its token, its event with a reason. */
const GAS_BESIDE = 8_000n

/** `GAS_RESERVED` of the contract. */
const GAS_RESERVED = 16_000n

/** Gas that is enough for every item, whatever each of them does with its share. */
export function gasLimit(items: readonly Authorization[], gasEach: bigint = GAS_EACH): bigint {
  const signatures = items.reduce((sum, { signature }) => sum + signature.length / 2 - 1, 0)
  const each = BigInt(items.length) * (gasEach + GAS_BESIDE)
  return gasOfData(items, gasEach, each + gasEach / 63n + GAS_RESERVED + BigInt(signatures))
}

/** Gas of a transaction that does so much work, with what its calldata costs, or costs at least (EIP-7623). */
export function gasOfData(items: readonly Authorization[], gasEach: bigint, work: bigint): bigint {
  const data = Buffer.from(batchCall(items, gasEach).slice(2), 'hex')
  const zeros = data.filter((byte) => byte === 0).length
  const tokens = BigInt(4 * data.length - 3 * zeros)
  const [sum, floor] = [4n * tokens + work, 10n * tokens]
  return 21_000n + (sum > floor ? sum : floor)
}
