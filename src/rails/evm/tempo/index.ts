/** Stablecoins on Tempo, as MPP pays with them. */
export { tempo } from './rail.ts'
export type { TempoRail, TempoSettings } from './rail.ts'
export { tempoWallet } from './wallet.ts'
export type { TempoWalletSettings } from './wallet.ts'
export type { TempoToken } from './terms.ts'
