/** Bytes as text, `0x` and two digits each. Inside this folder always in lower case. */
export type Hex = `0x${string}`

/** The address that nobody has. */
export const ZERO_ADDRESS: Hex = `0x${'0'.repeat(40)}`

/** Largest uint256. */
export const UINT256_MAX: bigint = 2n ** 256n - 1n

/** Whether the text is 20 bytes in hex, in any case. */
export function isAddress(text: string): text is Hex {
  return /^0x[0-9a-fA-F]{40}$/.test(text)
}

/** The same bytes in lower case. */
export function lower(text: Hex): Hex {
  return text.toLowerCase() as Hex
}

/** A JSON-RPC quantity, for instance `0x10`. */
export function quantity(value: bigint | number): Hex {
  return `0x${value.toString(16)}`
}
