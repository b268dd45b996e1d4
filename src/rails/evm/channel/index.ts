/** Payment channels on EVM chains, as MPP's sessions pay with them. */
export { channel } from './rail.ts'
export type { ChannelRail, ChannelSettings } from './rail.ts'
export type { CollectRule, Collected } from './closing.ts'
export { ESCROW } from './terms.ts'
export type { ChannelWallet, ChannelWalletSettings } from './wallet.ts'
export { channelWallet } from './wallet.ts'
