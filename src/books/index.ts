/** The books as an accountant reads them: entries, payments, statements, reports and exports over any ledger. */
export { clear, WORDS_CHARS_MAX } from './clear.ts'
export type { Cleared, Clearing } from './clear.ts'
export { chart, classOf } from './chart.ts'
export type { AccountClass, AccountKind } from './chart.ts'
export { kinds } from './entry.ts'
export type { BookEntry, Kind } from './entry.ts'
export { decimalOf, sayQuantity, sayValue } from './quantity.ts'
export type { NameAsset, Quantity, Tax, Value } from './quantity.ts'
export { TAX_LINES_MAX, taxed, taxTable } from './tax.ts'
export type { TaxedSale, Taxes, TaxLine, TaxRate, TaxTable } from './tax.ts'
export { readEntryJson, readPaymentJson } from './read.ts'
export { paymentStates, readEntries, readPayments, rowBefore } from './reader.ts'
export type { Payment, PaymentState, ReadOptions } from './reader.ts'
export { GROUPS_MAX, makeReport } from './report.ts'
export type { By, ReportLine, Sum } from './report.ts'
export { fits, readStatement, statementOf } from './statement.ts'
export type { StatementLine, StatementOptions } from './statement.ts'
export { readStory } from './story.ts'
export type { Story } from './story.ts'
export {
  csvLine,
  entryCells,
  entryColumns,
  entryJson,
  quantityJson,
  reportCells,
  reportColumns,
  reportJson,
} from './write.ts'
