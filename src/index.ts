/** Everything that a seller or a buyer needs, but for the rails, protocols and adapters, which have entries of their own. */
export { createSeller } from './adapters/seller.ts'
export type { OpenSeller, SellerSettings } from './adapters/seller.ts'
export { priceService } from './adapters/price-service.ts'
export type { PriceKey, PriceServiceOptions } from './adapters/price-service.ts'
export type {
  Paid,
  Priced,
  PriceLine,
  PriceOf,
  PriceRequest,
  PriceText,
  Routes,
} from './adapters/routes.ts'
export { meterOf } from './adapters/meter.ts'
export type { RequestMeter } from './adapters/meter.ts'
export { startTask } from './adapters/tasks.ts'
export type { Accepted, RunningTask, TaskResult } from './adapters/tasks.ts'
export { createPayer, isByToken, paymentOf } from './payer/payer.ts'
export type { Payer, PayerParts, Payment, Policy, ReadToken, Said } from './payer/payer.ts'
export { createChannelPayer } from './payer/channel.ts'
export type { ChannelPayer, ChannelPayerParts, ChannelStanding } from './payer/channel.ts'
export { sqlite } from './ledger/sqlite.ts'
export type { SqliteOptions } from './ledger/sqlite.ts'
export { verifyBooks } from './ledger/verify.ts'
export { PaymentError, problems } from './core/problem.ts'
export { readPrice, toMoney, writeMoney } from './core/money.ts'
export type { Challenge } from './core/challenge.ts'
export type { Credential, Grant } from './core/credential.ts'
export type { Event, Observe } from './core/event.ts'
export type { Asset, Money, Price, PriceItem } from './core/money.ts'
export type { Offer, Terms } from './core/offer.ts'
export type { Account, Entry, Left, Plan } from './core/plan.ts'
export type { Code, Problem } from './core/problem.ts'
export type { Receipt } from './core/receipt.ts'
export type {
  RefundDenial,
  RefundOpen,
  RefundOrder,
  RefundOutcome,
  Refunded,
  RestOrder,
  RestOutcome,
} from './core/refund.ts'
export type { Resource } from './core/resource.ts'
export type { Task, TaskOrder, TaskRun, Tasks } from './core/task.ts'
export type * from './core/ports.ts'
