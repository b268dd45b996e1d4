import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readPrice } from '../core/money.ts'
import { ask, createHandClock, createShop, passed, priced } from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { decimalOf } from './quantity.ts'
import { readEntryJson } from './read.ts'
import { readEntries } from './reader.ts'
import { makeReport } from './report.ts'
import { readStatement } from './statement.ts'
import { taxed, taxTable } from './tax.ts'
import type { TaxedSale, Taxes } from './tax.ts'
import { entryCells, entryJson } from './write.ts'

const rates = {
  DE: [{ name: 'VAT', percent: '19' }],
  CA: [{ name: 'GST', percent: '5' }],
  'CA-QC': [
    { name: 'GST', percent: '5' },
    { name: 'QST', percent: '9.975' },
  ],
}

function saleOf(amount: bigint): TaxedSale {
  return {
    key: 'k',
    amount: { amount, asset: { id: 'a', code: 'A', scale: 6 } },
    account: 'sales/GET /a',
    payer: 'p',
    rail: 'r',
    network: 'n',
    authority: 'api.test',
    path: '/a',
  }
}

describe('a table of rates', () => {
  test('finds the tax that a price contains, to the nearest smallest unit', () => {
    const at = (place: string, amount: bigint): readonly string[] =>
      taxTable({ rates, place })(saleOf(amount)).map(({ name, amount }) => `${name} ${amount}`)
    assert.deepEqual(at('DE', 1_190_000n), ['VAT 190000'])
    assert.deepEqual(at('DE', 1n), ['VAT 0'])
    assert.deepEqual(at('DE', 10_000n), ['VAT 1597'])
    assert.deepEqual(at('CA-QC', 1_149_750n), ['GST 50000', 'QST 99750'])
    assert.deepEqual(at('CA-ON', 1_050_000n), ['GST 50000'], 'a region has the row of its country')
    assert.deepEqual(at('FR', 1_000_000n), [])
  })

  test('asks where a sale is taxed', () => {
    const taxes = taxTable({
      rates,
      place: ({ authority }) => (authority === 'api.test' ? 'DE' : undefined),
    })
    assert.equal(taxes(saleOf(100n)).length, 1)
    assert.equal(taxes({ ...saleOf(100n), authority: 'other' }).length, 0)
  })

  test('refuses what cannot be meant', () => {
    for (const [at, percent] of [
      ['Germany', '19'],
      ['DE', '19%'],
      ['DE', '-1'],
      ['DE', '1.1234567'],
    ] as const)
      assert.throws(
        () => taxTable({ place: 'DE', rates: { [at]: [{ name: 'VAT', percent }] } }),
        RangeError,
      )
    assert.throws(() => taxTable({ place: 'x', rates }), /no place/)
  })
})

describe('a sale in books with a tax', () => {
  async function sold(taxes: Taxes) {
    const clock = createHandClock()
    const ledger = memory({ clock })
    const shop = createShop(taxed(ledger, taxes), clock, {
      refund: async (_, payer, __, key) => ({
        ...{ state: 'settled', reference: `back-${key}`, payer, settledAt: clock.now() },
      }),
    })
    const to = ask(priced('1.14975 USD', { account: 'sales/GET /a' }))
    const pass = passed(await shop.gate.admit({ ...to, credential: await shop.pay('one', to) }))
    await pass.finish(true)
    pass.delivered()
    const amount = readPrice('0.57 USD')
    await shop.gate.refund({ key: 'one', amount, idempotencyKey: 'half' })
    await shop.gate.refund({ key: 'one', idempotencyKey: 'rest' })
    const entries = []
    for await (const entry of readEntries(ledger)) entries.push(entry)
    return { ledger, entries: entries.filter(({ kind }) => kind === 'sale' || kind === 'refund') }
  }

  test('has it in entries, exports and reports, and each refund has its part of it', async () => {
    const { ledger, entries } = await sold(taxTable({ rates, place: 'CA-QC' }))
    assert.deepEqual(
      entries.map(({ kind, tax }) => [kind, tax?.name, tax && decimalOf(tax.amount)]),
      [
        ['sale', 'GST + QST', '0.14975'],
        ['refund', 'GST + QST', '-0.074239'],
        ['refund', 'GST + QST', '-0.075509'],
      ],
    )
    const [sale] = entries
    assert.ok(sale)
    const cells = entryCells(sale)
    assert.deepEqual(
      [cells.tax, cells.tax_name, cells.tax_percent],
      ['0.14975', 'GST + QST', '5 + 9.975'],
    )
    const said = entryJson(sale)
    assert.deepEqual(
      (said['tax'] as { lines: { name: string }[] }).lines.map(({ name }) => name),
      ['GST', 'QST'],
    )
    const back = readEntryJson(JSON.parse(JSON.stringify(said)))
    assert.ok(back)
    assert.deepEqual([entryJson(back), entryCells(back)], [said, cells])
    const [line] = await makeReport(readEntries(ledger), 'route')
    assert.deepEqual([line?.net, line?.tax], [0n, 2n], 'parts are rounded towards zero')
    const taxes: (string | undefined)[] = []
    for await (const line of readStatement(ledger, { route: 'GET /a' }))
      if (line.type === 'entry') taxes.push(line.entry.tax?.name)
    assert.deepEqual(taxes, ['GST + QST', 'GST + QST', 'GST + QST'])
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })

  test('without one has none', async () => {
    const { entries } = await sold(() => [])
    assert.deepEqual(
      entries.map(({ tax }) => tax),
      [undefined, undefined, undefined],
    )
  })
})
