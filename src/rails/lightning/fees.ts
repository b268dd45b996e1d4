/** Most that a route may cost, in millionths of the amount. */
export const FEE_MAX_PPM = 10_000n
/** And at least, since every hop has a base fee. */
export const FEE_MAX_MSAT_LEAST = 5_000n

/** The most that routing may cost for an amount, unless the settings say otherwise. */
export function feeMaxMsat(msat: bigint): bigint {
  const part = (msat * FEE_MAX_PPM) / 1_000_000n
  return part > FEE_MAX_MSAT_LEAST ? part : FEE_MAX_MSAT_LEAST
}
