export type { Invoice } from './bolt11.ts'
export { INVOICE_CHARS_MAX, readInvoice } from './bolt11.ts'
export type { Details, Proof, Reason, Words } from './forms.ts'
export { createForms } from './forms.ts'
export { resolveChain } from './networks.ts'
export type {
  Capabilities,
  InvoiceRequest,
  InvoiceState,
  LightningNode,
  NodeInfo,
  PaymentRequest,
  PaymentState,
} from './node.ts'
export type { LightningSettings } from './rail.ts'
export { lightning } from './rail.ts'
export type { LightningWalletSettings } from './wallet.ts'
export { lightningWallet } from './wallet.ts'
export type { Withdraw, Withdrawal, WithdrawLink, WithdrawSettings } from './withdraw.ts'
export { createWithdraw } from './withdraw.ts'
