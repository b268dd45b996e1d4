import type { Hex } from './hex.ts'

/** A contract call within a batch. */
export interface Call {
  readonly target: Hex
  readonly data: Hex
  /** Whether the batch goes on when this call fails. */
  readonly allowFailure: boolean
}

/** What one call of a batch answered: its data, or what it reverted with. */
export interface CallAnswer {
  readonly ok: boolean
  readonly data: Hex
}

/** The functions that are called here, by the first four bytes of their hashed signature. */
export const selectors: {
  readonly authorizationState: Hex
  readonly balanceOf: Hex
  readonly transfer: Hex
  readonly transferWithAuthorization: Hex
  readonly transferWithAuthorizationBytes: Hex
  readonly name: Hex
  readonly version: Hex
  readonly domainSeparator: Hex
  readonly aggregate3: Hex
  readonly getCurrentBlockTimestamp: Hex
  readonly settle: Hex
} = {
  authorizationState: '0xe94a0102',
  balanceOf: '0x70a08231',
  transfer: '0xa9059cbb',
  transferWithAuthorization: '0xe3ee160e',
  transferWithAuthorizationBytes: '0xcf092995',
  name: '0x06fdde03',
  version: '0x54fd4d50',
  domainSeparator: '0x3644e515',
  aggregate3: '0x82ad56cb',
  getCurrentBlockTimestamp: '0x0f28c97d',
  settle: '0x8d6ee4ff',
}

/** `Transfer(address indexed,address indexed,uint256)` (ERC-20). */
export const TRANSFER_TOPIC: Hex =
  '0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef'

/** `AuthorizationUsed(address indexed,bytes32 indexed)` (EIP-3009). */
export const USED_TOPIC: Hex = '0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5'

/** `AuthorizationCanceled(address indexed,bytes32 indexed)` (EIP-3009). */
export const CANCELED_TOPIC: Hex =
  '0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81'

/** Characters of a 32-byte word. */
const WORD = 64

/** Most answers in one batch: more is not ours. */
const ANSWERS_MAX = 128

/** A number as a word, without the prefix. */
export function word(value: bigint | number): string {
  return value.toString(16).padStart(WORD, '0')
}

/** An address or other short bytes as a word, without the prefix. */
export function padded(value: Hex): string {
  return value.slice(2).padStart(WORD, '0')
}

/** Bytes as the ABI has them: their length, then themselves up to whole words. */
export function bytes(value: Hex): string {
  const digits = value.slice(2)
  const size = Math.ceil(digits.length / WORD) * WORD
  return word(digits.length / 2) + digits.padEnd(size, '0')
}

/** A call of a function with words as arguments. */
export function encode(selector: Hex, ...words: readonly string[]): Hex {
  return `${selector}${words.join('')}`
}

/** `aggregate3((address,bool,bytes)[])` of Multicall3. */
export function encodeBatch(calls: readonly Call[]): Hex {
  const items = calls.map(
    ({ target, data, allowFailure }) =>
      padded(target) + word(allowFailure ? 1 : 0) + word(0x60) + bytes(data),
  )
  return encode(selectors.aggregate3, word(0x20), list(items))
}

/** A list whose items are of different lengths: how many, where each begins, and they themselves. */
export function list(items: readonly string[]): string {
  let at = items.length * 32
  const offsets = items.map((item) => {
    const offset = word(at)
    at += item.length / 2
    return offset
  })
  return [word(items.length), ...offsets, ...items].join('')
}

/** The answers of `aggregate3`; undefined if these bytes are not that. */
export function decodeBatch(said: Hex): readonly CallAnswer[] | undefined {
  const count = size(said, 32)
  if (size(said, 0) !== 32 || count === undefined || count > ANSWERS_MAX) return undefined
  const answers: CallAnswer[] = []
  for (let i = 0; i < count; i++) {
    const offset = size(said, 64 + 32 * i)
    if (offset === undefined) return undefined
    const at = 64 + offset
    const ok = size(said, at)
    const data = decodeBytes(said, at, at + 32)
    if (ok === undefined || data === undefined) return undefined
    answers.push({ ok: ok === 1, data })
  }
  return answers
}

/** The bytes that an offset at `at`, counted from `base`, points to; undefined if they are not there. */
export function decodeBytes(said: Hex, base: number, at: number): Hex | undefined {
  const offset = size(said, at)
  if (offset === undefined) return undefined
  const length = size(said, base + offset)
  if (length === undefined) return undefined
  const start = 2 + 2 * (base + offset + 32)
  const digits = said.slice(start, start + 2 * length)
  return digits.length === 2 * length ? `0x${digits}` : undefined
}

/** A word as a number; undefined if it is not there. */
export function uint(said: Hex, at = 0): bigint | undefined {
  const digits = said.slice(2 + 2 * at, 2 + 2 * at + WORD)
  return digits.length === WORD ? BigInt(`0x${digits}`) : undefined
}

/** A text that a function returned or an error carried (`Error(string)`); undefined if there is none. */
export function decodeText(said: Hex): string | undefined {
  const value = decodeBytes(said, 0, 0)
  return value && Buffer.from(value.slice(2), 'hex').toString('utf8')
}

/** A word that counts bytes, so that it must be small. */
function size(said: Hex, at: number): number | undefined {
  const value = uint(said, at)
  return value !== undefined && value < BigInt(said.length) ? Number(value) : undefined
}
