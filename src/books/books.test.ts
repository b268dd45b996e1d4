// A shop's books, written by the verbs of the ledger as engines write them, and read as an accountant does.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { JsonObject } from '../core/json.ts'
import type { Ledger, Transfer } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { classOf } from './chart.ts'
import type { BookEntry } from './entry.ts'
import { decimalOf, sayQuantity } from './quantity.ts'
import { readEntries, readPayments, rowBefore } from './reader.ts'
import { makeReport, REST } from './report.ts'
import { readStatement } from './statement.ts'
import { readStory } from './story.ts'
import { csvLine, entryCells, entryColumns, entryJson, reportCells } from './write.ts'

const DAY_MS = 86_400_000
const START = Date.parse('2026-03-01T00:00:00Z')
const coin = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }
const gold = { id: 'test:gold', code: 'GOLD', scale: 11 }
const WORLD = 'world/test/net/seller'

function createBooks() {
  let now = START
  const ledger = memory({ clock: { now: () => now, sleep: () => Promise.resolve() } })
  const post = async (
    transfer: Omit<Transfer, 'purpose' | 'leaseUntilAt'>,
    settled?: JsonObject,
  ): Promise<void> => {
    await ledger.transfer({ purpose: 'p', leaseUntilAt: now + 1_000, ...transfer })
    await ledger.post(transfer.key, undefined, settled && { type: 'settled', data: settled })
  }
  const offerOf = (asset: typeof gold, amount: bigint): JsonObject => ({
    rail: 'test',
    network: 'net',
    payee: 'seller',
    amount: { asset, amount: `${amount}` },
  })
  return {
    ledger,
    at(day: number) {
      now = START + day * DAY_MS
    },
    sale: (key: string, units: bigint, more: JsonObject = {}, route = 'GET /a', asset = coin) =>
      post(
        {
          key,
          asset: asset.id,
          amount: units,
          legs: [{ debit: WORLD, credit: `sales/${route}` }],
          note: {
            kind: 'sale',
            offer: offerOf(asset, units),
            payer: 'buyer',
            request: `r-${key}`,
            ...more,
          },
        },
        { reference: `tx-${key}`, settledAt: now, payer: 'buyer', cost: '21' },
      ),
    refund: (of: string, units: bigint, more: JsonObject = {}, route = 'GET /a', asset = coin) =>
      post(
        {
          key: `${of}/refund/one`,
          asset: asset.id,
          amount: units,
          legs: [
            { debit: 'world/refunds', credit: `withdrawn/${of}` },
            { debit: `sales/${route}`, credit: WORLD },
          ],
          note: {
            kind: 'refund',
            of,
            payer: 'buyer',
            to: 'buyer',
            rail: 'test',
            network: 'net',
            money: asset,
            reason: 'broken',
            ...more,
          },
        },
        { reference: `back-${of}`, settledAt: now },
      ),
    post,
  }
}

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const one of list) found.push(one)
  return found
}

const brief = ({ kind, route, payer, amount }: BookEntry): string =>
  `${kind} ${route} ${payer} ${sayQuantity(amount)}`

describe('entries', () => {
  test('tell sales, refunds, reversals, costs, draws and purchases, each once', async () => {
    const b = createBooks()
    await b.sale('s1', 10_000n)
    await b.refund('s1', 4_000n)
    await b.sale('s2', 5n, {}, 'POST /b')
    const undone = [{ debit: 'sales/POST /b', credit: WORLD }]
    const note = { kind: 'reversal', of: 's2' }
    await b.post({ key: 's2/undone', asset: coin.id, amount: 5n, legs: undone, note })
    const gas = [{ debit: 'world/gas', credit: 'costs/test/net' }]
    const cost = { kind: 'cost', of: 's1/refund/one', rail: 'test', network: 'net' }
    await b.post({ key: 'c', asset: 'gas:net', amount: 7n, legs: gas, note: cost })
    const opened = { kind: 'account', plan: 'basic', payer: 'buyer', payment: 's1' }
    await b.post({
      key: 'account/t1',
      asset: 'uses',
      amount: 2n,
      legs: [{ debit: 'world/plans/basic', credit: 'tokens/t1' }],
      note: opened,
    })
    await b.post({
      key: 'draw/t1/1',
      asset: 'uses',
      amount: 1n,
      legs: [{ debit: 'tokens/t1', credit: 'drawn/basic' }],
      note: { kind: 'draw', what: 'GET api.test/a', request: 'r9' },
    })
    const limits = [{ debit: 'world/limits', credit: 'limits/x' }]
    const counted = { kind: 'draw', what: 'GET api.test/a', request: 'r9' }
    await b.post({ key: 'draw/t1/2', asset: 'uses', amount: 1n, legs: limits, note: counted })
    await b.ledger.transfer({
      key: 'bought',
      purpose: 'p',
      asset: 'USD',
      amount: 10n ** 16n,
      legs: [{ debit: 'world/budget', credit: 'spent/total/USD' }],
      leaseUntilAt: START,
      note: { url: 'http://x.test/', method: 'GET', payee: 'them', rail: 'test', network: 'net' },
    })
    const offer = { rail: 'test', network: 'net', amount: { asset: coin, amount: '10000' } }
    await b.ledger.step('bought', { type: 'signed', data: { offer } })
    await b.ledger.post('bought')
    const open = [{ debit: WORLD, credit: 'sales/GET /a' }]
    const rest = { purpose: 'p', leaseUntilAt: START + 1, note: {} }
    await b.ledger.transfer({ key: 'held', asset: coin.id, amount: 1n, legs: open, ...rest })
    assert.deepEqual((await all(readEntries(b.ledger))).map(brief), [
      'sale GET /a buyer 0.01 COIN',
      'refund GET /a buyer -0.004 COIN',
      'sale POST /b buyer 0.000005 COIN',
      'reversal POST /b buyer -0.000005 COIN',
      'cost GET /a buyer -7 gas:net',
      'deposit basic buyer 2 uses',
      'draw GET api.test/a buyer 1 uses',
      'purchase GET http://x.test/  -0.01 COIN',
    ])
  })

  test('are read on behind any of them, and in pages, as if at once', async () => {
    const b = createBooks()
    for (let i = 0; i < 700; i++) await b.sale(`s${i}`, BigInt(i + 1))
    const entries = await all(readEntries(b.ledger))
    assert.equal(entries.length, 700)
    for (const at of [0, 1, 333, 698]) {
      const after = entries[at]?.sequence ?? 0
      const rest = await all(readEntries(b.ledger, { after }))
      assert.deepEqual(
        rest.map(({ key }) => key),
        entries.slice(at + 1).map(({ key }) => key),
      )
    }
  })

  test('of a time are those within it, its end left out', async () => {
    const b = createBooks()
    for (let day = 0; day < 20; day++) {
      b.at(day)
      await b.sale(`s${day}`, 1n)
    }
    const [from, to] = [START + 5 * DAY_MS, START + 8 * DAY_MS]
    const found = await all(readEntries(b.ledger, { from, to }))
    assert.deepEqual(
      found.map(({ key }) => key),
      ['s5', 's6', 's7'],
    )
  })

  test('carry the value by the rate that was written, exactly; at par without one; none where nobody knows', async () => {
    const b = createBooks()
    const rate = { currency: 'EUR', price: '64000.123', source: 'desk', at: START }
    await b.sale('a', 12_345n, { rate }, 'GET /a', gold as typeof coin)
    await b.sale('b', 12_345n)
    await b.sale('c', 12_345n, {}, 'GET /a', gold as typeof coin)
    await b.sale('d', 1n, { rate: { currency: 'EUR', price: '-1' } }, 'GET /a', gold as typeof coin)
    const cells = (await all(readEntries(b.ledger))).map(entryCells)
    assert.deepEqual(
      cells.map(({ value, currency, rate, rate_source }) => [value, currency, rate, rate_source]),
      [
        // 12,345 × 10^-11 × 64,000.123.
        ['0.00790081518435', 'EUR', '64000.123', 'desk'],
        ['0.012345', 'USD', '1', 'par'],
        ['', '', '', ''],
        ['', '', '', ''],
      ],
    )
  })

  test('carry the tax of a sale, and its part of what went back', async () => {
    const b = createBooks()
    const tax = { name: 'VAT', percent: '19', amount: '1597' }
    await b.sale('a', 10_000n, { tax })
    await b.refund('a', 5_000n, { tax, charged: '10000' })
    const cells = (await all(readEntries(b.ledger))).map(entryCells)
    assert.deepEqual(
      cells.map(({ tax, tax_name, tax_percent }) => [tax, tax_name, tax_percent]),
      [
        ['0.001597', 'VAT', '19'],
        ['-0.000798', 'VAT', '19'],
      ],
    )
  })

  test('are JSON without a number that could be rounded', async () => {
    const b = createBooks()
    await b.sale('a', 2n ** 70n)
    const [entry] = await all(readEntries(b.ledger))
    assert.ok(entry)
    const json = JSON.stringify(entryJson(entry))
    assert.ok(json.includes(`"units":"${2n ** 70n}"`), json)
  })
})

describe('payments', () => {
  test('are listed once, as they stand', async () => {
    const b = createBooks()
    await b.sale('paid', 1n)
    await b.sale('given', 1n)
    await b.ledger.step('given', { type: 'delivered', data: {} })
    const make = (key: string): Promise<unknown> =>
      b.ledger.transfer({
        key,
        purpose: 'p',
        asset: coin.id,
        amount: 1n,
        legs: [{ debit: WORLD, credit: 'sales/GET /a' }],
        leaseUntilAt: START + 1,
        note: {
          kind: 'sale',
          payer: 'x',
          request: 'r',
          offer: { amount: { asset: coin, amount: '1' } },
        },
      })
    await make('twice')
    await b.ledger.void('twice', 'work-failed')
    await make('twice')
    await make('void')
    await b.ledger.void('void', 'work-failed')
    await b.sale('back', 1n)
    await b.ledger.step('back', { type: 'refunded', data: {} })
    await b.refund('back', 1n)
    assert.deepEqual(
      (await all(readPayments(b.ledger))).map(({ key, state }) => [key, state]),
      [
        ['paid', 'settled'],
        ['given', 'delivered'],
        ['twice', 'open'],
        ['void', 'voided'],
        ['back', 'refunded'],
        ['back/refund/one', 'settled'],
      ],
    )
  })

  test('have a story with times, refunds and what took them back', async () => {
    const b = createBooks()
    await b.sale('a', 10n)
    b.at(1)
    await b.sale('other', 10n)
    await b.ledger.step('a', { type: 'delivered', data: {} })
    b.at(2)
    await b.refund('a', 4n)
    const story = await readStory(b.ledger, 'a')
    assert.ok(story)
    assert.deepEqual(
      story.rows.map(({ type, at }) => [type, (at - START) / DAY_MS]),
      [
        ['made', 0],
        ['posted', 0],
        ['settled', 0],
        ['delivered', 1],
      ],
    )
    assert.deepEqual(story.refunds.map(brief), ['refund GET /a buyer -0.000004 COIN'])
    assert.equal(story.payment.state, 'delivered')
    assert.equal(await readStory(b.ledger, 'nothing'), undefined)
    const back = await readStory(b.ledger, 'a/refund/one')
    assert.equal(back?.payment.kind, 'refund')
  })
})

describe('a report', () => {
  test('adds up to what the ledger says, whatever happened', async () => {
    const sale = fc.record({
      units: fc.bigInt({ min: 1n, max: 10n ** 12n }),
      route: fc.constantFrom('GET /a', 'GET /b'),
      asset: fc.constantFrom(coin, gold as typeof coin),
      back: fc.nat(100),
      day: fc.nat(5),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(sale, { maxLength: 12 }), async (sales) => {
        const b = createBooks()
        for (const [i, { units, route, asset, back, day }] of sales.entries()) {
          b.at(day)
          await b.sale(`s${i}`, units, {}, route, asset)
          const part = (units * BigInt(back)) / 100n
          if (part > 0n) await b.refund(`s${i}`, part, {}, route, asset)
        }
        const balances = await b.ledger.balances()
        for (const by of ['day', 'rail', 'payer', 'route'] as const) {
          const lines = await makeReport(readEntries(b.ledger), by)
          for (const { id } of [coin, gold]) {
            const told = balances
              .filter(({ account, asset }) => account.startsWith('sales/') && asset === id)
              .reduce((sum, { posted }) => sum + posted, 0n)
            const net = lines.filter(({ asset }) => asset === id).reduce((s, l) => s + l.net, 0n)
            assert.equal(net, told, by)
          }
          const sold = lines.reduce((sum, { sums }) => sum + (sums.sale?.count ?? 0), 0)
          assert.equal(sold, sales.length)
        }
        const routes = await makeReport(readEntries(b.ledger), 'route')
        for (const { group, asset, net } of routes) {
          const [found] = balances.filter(
            (one) => one.account === `sales/${group}` && one.asset === asset,
          )
          assert.equal(net, found?.posted ?? 0n)
        }
      }),
      { numRuns: 50 },
    )
  })

  test('tells gross, what went back, value, tax and costs', async () => {
    const b = createBooks()
    const tax = { name: 'VAT', percent: '19', amount: '1597' }
    await b.sale('a', 10_000n, { tax })
    await b.sale('b', 20_000n)
    await b.refund('a', 10_000n, { tax, charged: '10000' })
    const lines = (await makeReport(readEntries(b.ledger), 'route')).map(reportCells)
    const { sales, gross, back, net, value, currency, tax: taxed } = lines[0] ?? {}
    assert.deepEqual(
      [sales, gross, back, net, value, currency, taxed],
      ['2', '0.03', '0.01', '0.02', '0.02', 'USD', '0'],
    )
    assert.deepEqual([lines[1]?.code, lines[1]?.costs], ['gas:net', '42'])
  })

  test('has as many groups as it may, and one for the rest', async () => {
    const b = createBooks()
    for (let i = 0; i < 10; i++) await b.sale(`s${i}`, 1n, {}, `GET /${i}`)
    const lines = (await makeReport(readEntries(b.ledger), 'route', 3)).filter(
      ({ asset }) => asset === coin.id,
    )
    assert.deepEqual(
      lines.map(({ group, net }) => [group, net]),
      [
        [REST, 7n],
        ['GET /0', 1n],
        ['GET /1', 1n],
        ['GET /2', 1n],
      ],
    )
  })
})

describe('a statement', () => {
  test('opens with what stood before, runs on, and closes with what the ledger says', async () => {
    const b = createBooks()
    await b.sale('a', 100n, { payer: '0xAB' })
    b.at(1)
    await b.sale('b', 10n, { payer: '0xab' })
    await b.sale('c', 5n, { payer: 'another' })
    b.at(2)
    await b.refund('b', 4n, { payer: '0xab' })
    b.at(3)
    await b.sale('d', 1_000n, { payer: '0xab' })
    const range = { from: START + DAY_MS, to: START + 3 * DAY_MS }
    const lines = await all(readStatement(b.ledger, { payer: '0xab', ...range }))
    assert.deepEqual(
      lines.map((line) =>
        line.type === 'entry'
          ? [line.entry.key, line.entry.amount.units, line.balance.units]
          : [line.type, ...line.balances.map(({ units }) => units)],
      ),
      [
        ['opening', 100n],
        ['b', 10n, 110n],
        ['b/refund/one', -4n, 106n],
        ['closing', 106n],
      ],
    )
    const route = await all(readStatement(b.ledger, { route: 'GET /a' }))
    const last = route.at(-1)
    const [account] = await b.ledger.balances('sales/GET /a')
    assert.equal(last?.type === 'closing' && last.balances[0]?.units, account?.posted)
    const nobody = await all(readStatement(b.ledger, { payer: 'nobody' }))
    assert.deepEqual(
      nobody.map(({ type }) => type),
      ['opening', 'closing'],
    )
  })
})

describe('CSV', () => {
  test('is read back as it was by whoever keeps to RFC 4180, and holds no formula', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .tuple(
          fc.constantFrom('=', '+', '-', '@', '\t', '\r', '\n', ' =', '＝'),
          fc.string({ unit: 'binary' }),
        )
        .map((parts) => parts.join('')),
      fc.constantFrom('=cmd|"/c calc"!A1', '-1', '-0.5', '1e5', '-1+2', '"', ',', "'", ''),
    )
    fc.assert(
      fc.property(fc.array(hostile, { minLength: 1, maxLength: 6 }), (cells) => {
        const line = csvLine(cells)
        const read = parseCsv(line)
        assert.deepEqual(
          read.map((cell, i) => (cell === cells[i] ? cell : cell.slice(1))),
          cells,
        )
        for (const cell of read)
          if (!/^-?\d+(?:\.\d+)?$/.test(cell)) assert.doesNotMatch(cell, /^[=+\-@\t\r]/)
      }),
    )
  })

  test('leaves numbers alone, and puts an apostrophe before what is none', () => {
    assert.equal(csvLine(['-0.5', '-12', '7']), '-0.5,-12,7\r\n')
    assert.equal(csvLine(['=1+1', '-1+2', '@x']), `"'=1+1","'-1+2","'@x"\r\n`)
    assert.equal(csvLine(['a,b', 'say "hi"', 'x\ny']), '"a,b","say ""hi""","x\ny"\r\n')
  })

  test('of an entry with a hostile payer and route is tame', async () => {
    const b = createBooks()
    await b.sale('a', 1n, { payer: '=HYPERLINK("http://evil")', request: '@r' }, '+GET /x')
    const [entry] = await all(readEntries(b.ledger))
    assert.ok(entry)
    const cells = entryCells(entry)
    const line = csvLine(entryColumns.map((name) => cells[name]))
    assert.ok(line.includes(`"'=HYPERLINK(""http://evil"")"`), line)
    assert.ok(line.includes(`"'@r"`) && line.includes(`"'+GET /x"`), line)
  })
})

/** RFC 4180 by the letter. */
function parseCsv(line: string): string[] {
  assert.ok(line.endsWith('\r\n'))
  const text = line.slice(0, -2)
  const cells: string[] = []
  let at = 0
  for (;;) {
    let cell = ''
    if (text[at] === '"') {
      for (at++; !(text[at] === '"' && text[at + 1] !== '"'); at++) {
        assert.ok(at < text.length)
        cell += text[at]
        if (text[at] === '"') at++
      }
      at++
    } else {
      const end = text.indexOf(',', at)
      cell = text.slice(at, end === -1 ? text.length : end)
      assert.doesNotMatch(cell, /["\r\n]/)
      at = end === -1 ? text.length : end
    }
    cells.push(cell)
    if (at === text.length) return cells
    assert.equal(text[at++], ',')
  }
}

describe('the chart', () => {
  test('knows every account, and the books by whom they may be overdrawn', () => {
    for (const [account, kind] of [
      ['sales/GET /a', 'income'],
      ['world/test/net/seller', 'outside'],
      ['world/losses/sales/GET /a', 'outside'],
      ['tokens/1', 'owed'],
      ['costs/test/net', 'cost'],
      ['withdrawn/x', 'count'],
      ['something', 'count'],
    ] as const)
      assert.equal(classOf(account).kind, kind, account)
  })
})

test('the row before a time is found wherever it is', async () => {
  for (const days of [0, 1, 2, 3, 7, 8, 20]) {
    const b = createBooks()
    for (let day = 0; day < days; day++) {
      b.at(day)
      await b.sale(`s${day}`, 1n)
    }
    const rows = await (b.ledger satisfies Ledger).journal(0, 1_000)
    for (let day = -1; day <= days; day++) {
      const at = START + day * DAY_MS
      const before = rows.filter((row) => row.at < at).length
      assert.equal(await rowBefore(b.ledger, at), before, `${days} ${day}`)
    }
  }
})

test('decimals are exact on both sides of zero', () => {
  for (const [units, scale, text] of [
    [-1n, 6, '-0.000001'],
    [0n, 6, '0'],
    [10n, 1, '1'],
    [5n, 0, '5'],
  ] as const)
    assert.equal(decimalOf({ units, scale }), text)
})
