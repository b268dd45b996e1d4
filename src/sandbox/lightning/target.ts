import type { Bolt11Invoice, RecipientOnionFields, RouteParameters } from 'lightningdevkit'
import { bech32 } from '@scure/base'
import { someU64 } from './engine.ts'
import type { Ldk } from './wasm.ts'

/** Longest invoice, in characters. */
const INVOICE_CHARS_MAX = 7_089
/** What invoices of BOLT12 begin with. They are bech32 without its checksum. */
const BOLT12 = 'lni1'
const ALPHABET = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'

/** What is to be paid, ready to be sent. */
export interface Target {
  readonly hash: Uint8Array
  readonly msat: bigint
  /** Milliseconds since 1970. */
  readonly expiresAt: number
  readonly onion: RecipientOnionFields
  route(feeMaxMsat: bigint): RouteParameters
}

/**
 * Reads a BOLT11 or BOLT12 invoice of regtest, signature included, or says why it cannot be paid. `msat` is for one that leaves the
 * amount open.
 */
export function readTarget(ldk: Ldk, text: string, msat?: bigint): Target | string {
  if (text.length > INVOICE_CHARS_MAX) return 'The invoice is too long.'
  return text.startsWith(BOLT12) ? readBolt12(ldk, text) : readBolt11(ldk, text, msat)
}

function readBolt11(ldk: Ldk, text: string, msat: bigint | undefined): Target | string {
  const read = ldk.Bolt11Invoice.constructor_from_str(text)
  if (!(read instanceof ldk.Result_Bolt11InvoiceParseOrSemanticErrorZ_OK))
    return 'The invoice cannot be read.'
  const invoice = read.res
  if (invoice.currency() !== ldk.Currency.LDKCurrency_Regtest)
    return 'The invoice is for another network.'
  const isOpen = msat !== undefined && readAmount(ldk, invoice) === undefined
  const parts = isOpen
    ? ldk.UtilMethods.constructor_payment_parameters_from_variable_amount_invoice(invoice, msat)
    : ldk.UtilMethods.constructor_payment_parameters_from_invoice(invoice)
  if (
    !(
      parts instanceof ldk.Result_C3Tuple_ThirtyTwoBytesRecipientOnionFieldsRouteParametersZNoneZ_OK
    )
  )
    return 'The invoice names no amount.'
  const { res } = parts
  const route = res.get_c()
  return {
    hash: res.get_a(),
    msat: route.get_final_value_msat(),
    expiresAt: 1000 * Number(invoice.duration_since_epoch() + invoice.expiry_time()),
    onion: res.get_b(),
    route(feeMaxMsat) {
      route.set_max_total_routing_fee_msat(someU64(ldk, feeMaxMsat))
      return route
    },
  }
}

function readAmount(ldk: Ldk, invoice: Bolt11Invoice): bigint | undefined {
  const amount = invoice.amount_milli_satoshis()
  return amount instanceof ldk.Option_u64Z_Some ? amount.some : undefined
}

function readBolt12(ldk: Ldk, text: string): Target | string {
  const read = ldk.Bolt12Invoice.constructor_read(fromText(text))
  if (!(read instanceof ldk.Result_Bolt12InvoiceDecodeErrorZ_OK))
    return 'The invoice cannot be read.'
  const invoice = read.res
  const msat = invoice.amount_msats()
  const payment = ldk.PaymentParameters.constructor_from_bolt12_invoice(invoice)
  return {
    hash: invoice.payment_hash(),
    msat,
    expiresAt: 1000 * Number(invoice.created_at() + invoice.relative_expiry()),
    // The way to the payee is blinded and carries the secret itself.
    onion: ldk.RecipientOnionFields.constructor_spontaneous_empty(),
    route: (feeMaxMsat) =>
      ldk.RouteParameters.constructor_new(payment, msat, someU64(ldk, feeMaxMsat)),
  }
}

function fromText(text: string): Uint8Array {
  const letters = Array.from(text.slice(BOLT12.length))
  const words = letters.map((letter) => ALPHABET.indexOf(letter))
  const bytes = words.includes(-1) ? undefined : bech32.fromWordsUnsafe(words)
  return bytes instanceof Uint8Array ? bytes : new Uint8Array()
}

/** A BOLT12 invoice as text, as nodes show it. */
export function writeBolt12(invoice: Uint8Array): string {
  return (
    BOLT12 +
    bech32
      .toWords(invoice)
      .map((word) => ALPHABET[word])
      .join('')
  )
}
