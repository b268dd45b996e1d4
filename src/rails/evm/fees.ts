import type { Json } from '../../core/json.ts'
import { isObject } from '../../core/json.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { quantity } from './hex.ts'
import type { Rpc } from './rpc.ts'
import { readNumber } from './rpc.ts'

/** How long fees that were asked for are used. We offer twice the base fee, which takes six full blocks to double. */
const FEES_FRESH_MS = 8_000
/** Blocks whose tips are looked at. */
const FEE_BLOCKS = 5
/** Least tip, in wei per gas: 0.001 gwei, which Base takes. */
const TIP_MIN = 1_000_000n
/** Most that is paid per gas, in wei, unless the settings say otherwise: 200 gwei. */
export const FEE_MAX: bigint = 200n * 10n ** 9n
/** How much a replacement must pay more, in eighths: nodes ask for a tenth, some for an eighth. */
const BUMP_EIGHTHS = 10n

/** What a transaction pays per gas, in wei: at most, and of that to the block's maker. */
export interface Price {
  readonly fee: bigint
  readonly tip: bigint
}

/** What gas costs, asked once for all who need it at once. */
export interface Fees {
  /** @throws {PaymentError} when the chain cannot be asked, or asks more than the settings allow. */
  price(before?: Price): Promise<Price>
  /** Whether no block takes this price now. */
  outgrown(price: Price): Promise<boolean>
}

/** Makes the fees of one chain. */
export function createFees(rpc: Rpc, clock: Clock, feeMax: bigint): Fees {
  let asked: Promise<Now> | undefined
  let askedAt = 0

  /** One question for all; a failed one is not kept. */
  const now = async (): Promise<Now> => {
    if (!asked || clock.now() - askedAt > FEES_FRESH_MS) {
      askedAt = clock.now()
      const params = [quantity(FEE_BLOCKS), 'latest', [50]]
      asked = rpc.read('eth_feeHistory', params, readFees)
      asked.catch(() => void (asked = undefined))
    }
    return asked
  }

  return {
    /** A replacement must raise both the fee and the tip. */
    async price(before) {
      const { base, tip: usual } = await now()
      const tip = larger(usual, bumped(before?.tip))
      const least = larger(base + tip, bumped(before?.fee))
      if (least > feeMax)
        throw new PaymentError('rail-unavailable', 'Gas costs more now than the settings allow.', {
          retryable: true,
        })
      const fee = larger(2n * base + tip, bumped(before?.fee))
      return { fee: fee > feeMax ? feeMax : fee, tip }
    },
    outgrown: async ({ fee }) => (await now()).base > fee,
  }
}

interface Now {
  readonly base: bigint
  readonly tip: bigint
}

function readFees(said: Json): Now {
  if (!isObject(said)) throw new Error('not an object')
  const bases = list(said['baseFeePerGas'])
  const tips = list(said['reward'] ?? [])
    .flatMap((block) => list(block).map(readNumber))
    .toSorted((a, b) => Number(a - b))
  const base = readNumber(bases.at(-1))
  return { base, tip: larger(tips[Math.floor(tips.length / 2)] ?? 0n, TIP_MIN) }
}

function list(said: Json | undefined): readonly Json[] {
  if (!Array.isArray(said)) throw new Error('not a list')
  return said
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

function bumped(before = 0n): bigint {
  return before === 0n ? 0n : (before * BUMP_EIGHTHS) / 8n + 1n
}
