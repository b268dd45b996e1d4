import type { Asset, Price } from '../../core/money.ts'
import { rescale } from '../../core/money.ts'

/** CAIP-2 of each Bitcoin network by the prefix of its BOLT11 invoices (BIP-122: the first half of the first block's hash). */
export const chains: Readonly<Record<string, string>> = {
  bc: 'bip122:000000000019d6689c085ae165831e93',
  tb: 'bip122:000000000933ea01ad0ee984209779ba',
  tbs: 'bip122:00000008819873e925422c1ff0f99f7c',
  bcrt: 'bip122:0f9188f13cb7b2c71f2a335e3a4fc328',
}

const names: Readonly<Record<string, string>> = {
  bitcoin: 'bc',
  testnet: 'tb',
  signet: 'tbs',
  regtest: 'bcrt',
}

/**
 * The CAIP-2 id of a network by its name or itself.
 * @throws {RangeError} when it is not known.
 */
export function resolveChain(name: string): string {
  const id = chains[names[name] ?? ''] ?? Object.values(chains).find((chain) => chain === name)
  if (id === undefined)
    throw new RangeError(
      `"${name}" is no network of Lightning. Give bitcoin, testnet, signet or regtest.`,
    )
  return id
}

/** Digits behind the point of a bitcoin on Lightning: its smallest unit is the millisatoshi. */
export const MSAT_SCALE = 11
/** The same of nodes that count in whole satoshis. */
export const SAT_SCALE = 8
/** All bitcoin that there will ever be, in millisatoshis. */
export const MSAT_MAX = 2_100_000_000_000_000_000n

/** What a price may be counted in, and how many digits of it make a millisatoshi. */
const units: Readonly<Record<string, number>> = { BTC: MSAT_SCALE, SAT: 3, MSAT: 0 }

/** Bitcoin on that network, counted in millisatoshis. */
export function bitcoinOn(network: string): Asset {
  return { id: `${network}/slip44:0`, code: 'BTC', scale: MSAT_SCALE }
}

/** A price in `BTC`, `SAT` or `MSAT` as millisatoshis; undefined where it is in another currency, or finer. */
export function toMsat({ currency, amount, scale }: Price): bigint | undefined {
  const digits = units[currency]
  if (digits === undefined) return undefined
  try {
    return rescale(amount, scale, digits, currency)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
