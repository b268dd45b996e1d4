import { encodeEventTopics, encodeFunctionData, keccak256, parseAbi } from 'viem'
import { PaymentError } from '../../../core/problem.ts'
import { padded, selectors, uint } from '../abi.ts'
import type { Call } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { ZERO_ADDRESS, lower, quantity } from '../hex.ts'
import type { Rpc } from '../rpc.ts'
import { readHex, readNumber } from '../rpc.ts'
import { LOG_BLOCKS, LOG_STEPS_MAX, MULTICALL3 } from '../token.ts'
import type { LogLine, Mined, Reader } from '../token.ts'
import { isObject } from '../../../core/json.ts'
import type { Authorized, Opening } from './proof.ts'

/** Keccak-256 of the code of `contracts/TolseyChannel.sol`: only money behind this code counts as deposited. */
export const ESCROW_CODE_HASH: Hex =
  '0x80b79b839d1d88d6ca7dd3416f2aa9568176c6149e7cc7ae3bf6c48f7d3da699'

/** Gas of what is sent here; what is not used is not paid. Measured with USDC, and a third more. */
export const gas = { open: 300_000, topUp: 180_000, settle: 160_000, close: 200_000 } as const

/** Most channels of which is asked at once. */
const STATES_AT_ONCE = 64

const abi = parseAbi([
  'function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner, address[] splitRecipients, uint16[] splitBps) returns (bytes32)',
  'function openWithAuthorization(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner, address from, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s, address[] splitRecipients, uint16[] splitBps) returns (bytes32)',
  'function topUp(bytes32 channelId, uint128 additionalDeposit)',
  'function topUpWithAuthorization(bytes32 channelId, uint128 additionalDeposit, address from, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
  'function settle(bytes32 channelId, uint128 cumulativeAmount, bytes signature)',
  'function close(bytes32 channelId, uint128 cumulativeAmount, bytes signature)',
  'function requestClose(bytes32 channelId)',
  'function withdraw(bytes32 channelId)',
  'function getChannel(bytes32 channelId) view returns ((address payer, uint64 closeRequestedAt, bool finalized, address payee, address token, address authorizedSigner, uint128 deposit, uint128 settled))',
  'event ChannelOpened(bytes32 indexed channelId, address indexed payer, address indexed payee, address token, address authorizedSigner, bytes32 salt, uint128 deposit)',
  'event TopUp(bytes32 indexed channelId, address indexed payer, address indexed payee, uint128 additionalDeposit, uint128 newDeposit)',
  'event ChannelClosed(bytes32 indexed channelId, address indexed payer, address indexed payee, uint128 settled, uint128 refunded)',
])

const [OPENED] = encodeEventTopics({ abi, eventName: 'ChannelOpened' })
const [TOPPED_UP] = encodeEventTopics({ abi, eventName: 'TopUp' })
const [CLOSED] = encodeEventTopics({ abi, eventName: 'ChannelClosed' })

/** A channel as the contract has it. */
export interface State {
  readonly payer: Hex
  /** Whether its payer wants the end. */
  readonly isClosing: boolean
  readonly isFinal: boolean
  readonly payee: Hex
  readonly token: Hex
  /** Who signs its vouchers. */
  readonly signer: Hex
  readonly deposit: bigint
  readonly settled: bigint
}

/** A deposit as the contract has told of it. */
export interface Deposit {
  /** What was deposited in this channel before. */
  readonly before: bigint
  readonly amount: bigint
  readonly payer: Hex
}

/** How a channel has ended. */
export interface Closed {
  readonly settled: bigint
  readonly refunded: bigint
}

/** The contract that keeps the channels. All of it throws `PaymentError` when the chain cannot be asked. */
export interface Escrow {
  readonly address: Hex
  /** @throws {RangeError} when the contract is another one. */
  open(): Promise<void>
  /** Undefined if there is none of this id. */
  state(channel: Hex): Promise<State | undefined>
  states(channels: readonly Hex[]): Promise<readonly (State | undefined)[]>
  /** With the chain's time of the very block that says so, or of one before, in seconds. */
  stateAt(channel: Hex): Promise<{ readonly state: State | undefined; readonly time: bigint }>
  /** The newest transaction of which it is so among those that tell of the channel. */
  find(channel: Hex, topics: Topics, is: (mined: Mined) => boolean): Promise<Mined | undefined>
}

/** Which events are looked for. */
export type Topics = 'deposits' | 'end'

/** What is read from. */
export interface EscrowParts {
  readonly address: Hex
  readonly network: string
  readonly rpc: Rpc
  readonly reader: Reader
}

/** Makes it. */
export function createEscrow({ address, network, rpc, reader }: EscrowParts): Escrow {
  const stateCall = (channel: Hex): Call => ({
    target: address,
    data: encodeFunctionData({ abi, functionName: 'getChannel', args: [channel] }),
    allowFailure: false,
  })

  async function states(channels: readonly Hex[]): Promise<readonly (State | undefined)[]> {
    const found: (State | undefined)[] = []
    for (let i = 0; i < channels.length; i += STATES_AT_ONCE) {
      const answers = await reader.batch(channels.slice(i, i + STATES_AT_ONCE).map(stateCall))
      if (answers === 'reverted') throw unreadable()
      found.push(...answers.map(({ data }) => readState(data)))
    }
    return found
  }

  async function state(channel: Hex): Promise<State | undefined> {
    const { target: to, data } = stateCall(channel)
    return readState(await rpc.read('eth_call', [{ to, data }, 'latest'], readHex))
  }

  /** The transactions that tell of the channel in these blocks, the newest first. */
  async function told(
    channel: Hex,
    topics: readonly string[],
    from: bigint,
    to: bigint,
  ): Promise<readonly Hex[]> {
    const filter = {
      address,
      topics: [topics, channel],
      fromBlock: quantity(from),
      toBlock: quantity(to),
    }
    return rpc.read('eth_getLogs', [filter], (said) => {
      if (!Array.isArray(said)) throw new Error('not a list')
      const hashes = said.map((line) => {
        if (!isObject(line)) throw new Error('not a log')
        return lower(readHex(line['transactionHash']))
      })
      return [...new Set(hashes)].toReversed()
    })
  }

  return {
    address,
    async open() {
      const code = await rpc.read('eth_getCode', [address, 'latest'], readHex)
      if (code !== '0x' && keccak256(code) === ESCROW_CODE_HASH) return
      throw new RangeError(
        `The contract at ${address} on ${network}, which "escrow" names, is not TolseyChannel.`,
      )
    },
    state,
    states,
    async stateAt(channel) {
      if (!reader.batched) {
        // The time first: what is not there later was not there at that time.
        const time = await rpc.read('eth_getBlockByNumber', ['latest', false], (said) => {
          if (!isObject(said)) throw new Error('not a block')
          return readNumber(said['timestamp'])
        })
        return { state: await state(channel), time }
      }
      const clock = { target: MULTICALL3, data: selectors.getCurrentBlockTimestamp }
      const answers = await reader.batch([stateCall(channel), { ...clock, allowFailure: false }])
      const [said, at] = answers === 'reverted' ? [] : answers
      const time = at && uint(at.data)
      if (!said || time === undefined) throw unreadable()
      return { state: readState(said.data), time }
    },
    async find(channel, topics, is) {
      const wanted = topics === 'end' ? [CLOSED] : [OPENED, TOPPED_UP]
      let to = await reader.height()
      for (let step = 0; step < LOG_STEPS_MAX && to >= 0n; step++) {
        const from = to >= LOG_BLOCKS ? to - BigInt(LOG_BLOCKS) + 1n : 0n
        for (const hash of await told(channel, wanted, from, to)) {
          const mined = await reader.mined(hash)
          if (mined && is(mined)) return mined
        }
        to = from - 1n
      }
      return undefined
    },
  }
}

function readState(said: Hex): State | undefined {
  const words = Array.from({ length: 8 }, (_, i) => uint(said, 32 * i))
  const [payer, closing, final, payee, token, signer, deposit, settled] = words
  if (settled === undefined || deposit === undefined) throw unreadable()
  if (payer === 0n) return undefined
  const own = addressOf(payer)
  const named = addressOf(signer)
  return {
    ...{ payer: own, isClosing: closing !== 0n, isFinal: final === 1n },
    ...{ payee: addressOf(payee), token: addressOf(token) },
    signer: named === ZERO_ADDRESS ? own : named,
    ...{ deposit, settled },
  }
}

function addressOf(word: bigint | undefined): Hex {
  return `0x${(word ?? 0n).toString(16).padStart(40, '0')}`
}

function unreadable(): PaymentError {
  return new PaymentError('rail-unavailable', 'The contract answers something unreadable.', {
    retryable: true,
  })
}

/** The deposits into a channel that a transaction has made. */
export function depositsIn(mined: Mined, escrow: Hex, channel: Hex): readonly Deposit[] {
  if (!mined.ok) return []
  return mined.logs.flatMap((line) => {
    const [topic, id, payer = ''] = line.topics
    if (lower(line.address as Hex) !== escrow || id !== channel) return []
    const from: Hex = `0x${payer.slice(-40)}`
    if (topic === OPENED) return [{ before: 0n, amount: wordAt(line, 3), payer: from }]
    if (topic !== TOPPED_UP) return []
    const amount = wordAt(line, 0)
    return [{ before: wordAt(line, 1) - amount, amount, payer: from }]
  })
}

/** How a transaction has ended a channel; undefined if it has not. */
export function endIn(mined: Mined, escrow: Hex, channel: Hex): Closed | undefined {
  const line = mined.logs.find(
    ({ address, topics: [topic, id] }) =>
      lower(address as Hex) === escrow && topic === CLOSED && id === channel,
  )
  return mined.ok && line ? { settled: wordAt(line, 0), refunded: wordAt(line, 1) } : undefined
}

function wordAt({ data }: LogLine, index: number): bigint {
  const value = uint(data as Hex, 32 * index)
  if (value === undefined) throw unreadable()
  return value
}

/** The call that submits a deposit which its payer has signed. */
export function depositCall(
  { channel, opening, authorization }: Authorized,
  { payee, token }: { readonly payee: Hex; readonly token: Hex },
): Hex {
  const { from, value, validAfter, validBefore, nonce, signature } = authorization
  const v = Number.parseInt(signature.slice(130), 16)
  const r: Hex = `0x${signature.slice(2, 66)}`
  const s: Hex = `0x${signature.slice(66, 130)}`
  const signed = [from, validAfter, validBefore, nonce, v, r, s] as const
  if (!opening)
    return encodeFunctionData({
      abi,
      functionName: 'topUpWithAuthorization',
      args: [channel, value, ...signed],
    })
  const { salt, authorizedSigner } = opening
  return encodeFunctionData({
    abi,
    functionName: 'openWithAuthorization',
    args: [payee, token, value, salt, authorizedSigner, ...signed, [], []],
  })
}

/** The call that collects by a voucher, or closes with it. */
export function collectCall(
  functionName: 'settle' | 'close',
  channel: Hex,
  { cumulative, signature }: Opening['voucher'],
): Hex {
  return encodeFunctionData({ abi, functionName, args: [channel, cumulative, signature as Hex] })
}

/** The calls of a payer who pays his own gas. */
export const ownCalls: {
  approve(escrow: Hex, amount: bigint): Hex
  open(to: {
    readonly payee: Hex
    readonly token: Hex
    readonly deposit: bigint
    readonly salt: Hex
    readonly authorizedSigner: Hex
  }): Hex
  topUp(channel: Hex, amount: bigint): Hex
  requestClose(channel: Hex): Hex
  withdraw(channel: Hex): Hex
} = {
  approve: (escrow, amount) =>
    `0x095ea7b3${padded(escrow)}${amount.toString(16).padStart(64, '0')}`,
  open: ({ payee, token, deposit, salt, authorizedSigner }) =>
    encodeFunctionData({
      abi,
      functionName: 'open',
      args: [payee, token, deposit, salt, authorizedSigner, [], []],
    }),
  topUp: (channel, amount) =>
    encodeFunctionData({ abi, functionName: 'topUp', args: [channel, amount] }),
  requestClose: (channel) =>
    encodeFunctionData({ abi, functionName: 'requestClose', args: [channel] }),
  withdraw: (channel) => encodeFunctionData({ abi, functionName: 'withdraw', args: [channel] }),
}
