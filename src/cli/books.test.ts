// The commands that read books, over a file that a gate has written.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createCluster, missing, PASSWORD } from '../../test/postgres.ts'
import { command } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'
import { readPrice } from '../core/money.ts'
import { ask, createHandClock, createShop, passed, priced } from '../gate/fixture.test.ts'
import { START } from '../gate/fixture.test.ts'
import { postgres } from '../ledger/postgres.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { momentOf } from './books.ts'

const DAY_MS = 86_400_000
let directory: string
let file: string

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'books-'))
  file = join(directory, 'books.db')
  const clock = createHandClock()
  const ledger = await sqlite({ file, clock })
  const shop = createShop(ledger, clock, {
    async refund(_offer, payer, _amount, key) {
      return {
        state: 'settled',
        reference: `back-${key}`,
        payer,
        settledAt: clock.now(),
        cost: 7n,
      }
    },
  })
  const sell = async (key: string, path: string, price: string, success = true): Promise<void> => {
    const to = ask(priced(price, { account: `sales/GET ${path}` }), undefined, {
      resource: { path, url: `http://api.test${path}` },
    })
    const pass = passed(await shop.gate.admit({ ...to, credential: await shop.pay(key, to) }))
    await pass.finish(success)
    if (success) pass.delivered()
  }
  await sell('one', '/weather', '0.01 USD')
  clock.pass(DAY_MS)
  await sell('two', '/weather', '0.02 USD')
  await sell('three', '/=cmd', '0.5 USD')
  await sell('four', '/weather', '0.02 USD', false)
  clock.pass(DAY_MS)
  const amount = readPrice('0.005 USD')
  await shop.gate.refund({ key: 'two', amount, idempotencyKey: 'a', reason: 'slow' })
  await ledger.close()
})
after(() => rm(directory, { recursive: true, force: true }))

const run = (...argv: readonly string[]): Promise<End> =>
  command([...argv, '--books', file], { cwd: directory })

async function json(...argv: readonly string[]): Promise<readonly Record<string, unknown>[]> {
  const { code, stdout, stderr } = await run(...argv)
  assert.equal(code, 0, stderr)
  const lines = stdout.split('\n').filter((line) => line !== '')
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}

describe('payments', () => {
  test('are one line of JSON each in a pipe', async () => {
    const found = await json('payments')
    assert.deepEqual(
      found.map(({ key, state }) => [key, state]),
      [
        ['one', 'delivered'],
        ['two', 'delivered'],
        ['three', 'delivered'],
        ['four', 'voided'],
        ['two/refund/a', 'settled'],
      ],
    )
    assert.deepEqual(found[0]?.['amount'], {
      amount: '0.01',
      code: 'COIN',
      units: '10000',
      asset: 'test:coin',
    })
  })

  test('are found by state, route, payer and time', async () => {
    const keys = async (...argv: readonly string[]): Promise<unknown> =>
      (await json('payments', ...argv)).map(({ key }) => key)
    const day = (n: number): string => new Date(START + n * DAY_MS).toISOString().slice(0, 16) + 'Z'
    assert.deepEqual(await keys('--state', 'voided'), ['four'])
    assert.deepEqual(await keys('--route', 'GET /=cmd'), ['three'])
    assert.deepEqual(await keys('--payer', 'BUYER', '--limit', '1'), ['two/refund/a'])
    assert.deepEqual(await keys('--payer', 'nobody'), [])
    assert.deepEqual(await keys('--since', day(2)), ['two/refund/a'])
    assert.deepEqual(await keys('--since', day(0.5), '--until', day(1.5)), ['two', 'three', 'four'])
  })

  test('are columns for people, the last ones', async () => {
    const { stdout } = await run('payments', '--text', '--limit', '2')
    assert.match(stdout, /^voided {5}2027-01-16 .* sale {4}0\.02 COIN/)
    assert.match(stdout, /The last 2 of 5 payments\./)
    assert.equal((await run('payments', '--text', '--payer', 'nobody')).stdout, 'No payments.\n')
  })

  test('that are asked for in a way that cannot be are misuse', async () => {
    for (const [argv, why] of [
      [['--state', 'lost'], /no state "lost"/],
      [['--limit', '0'], /whole number/],
      [['--since', 'yesterday'], /--since is a day/],
      [['--since', '2026-02-31'], /--since is a day/],
    ] as const) {
      const { code, stderr } = await run('payments', ...argv)
      assert.equal(code, 2)
      assert.match(stderr, why)
    }
    const gone = await command(['payments', '--books', 'gone.db'], { cwd: directory })
    assert.match(gone.stderr, /There are no books/)
    assert.equal(gone.code, 2)
  })
})

describe('a payment', () => {
  test('has its whole story told, with what went back', async () => {
    const [story] = await json('payment', 'two')
    const events = story?.['events'] as readonly { readonly type: string }[]
    assert.deepEqual(
      events.map(({ type }) => type),
      ['made', 'prepared', 'posted', 'settled', 'delivered'],
    )
    const refunds = story?.['refunds']
    assert.equal(Array.isArray(refunds) && refunds.length, 1)
    const { stdout } = await run('payment', 'two', '--text')
    for (const text of ['sale of 0.02 COIN, delivered', 'tx-two', 'What went back', '-0.005 COIN'])
      assert.ok(stdout.includes(text), `${text} in ${stdout}`)
    assert.match((await run('payment', 'two/refund/a', '--text')).stdout, /of +two/)
  })

  test('that is not there is an error', async () => {
    const { code, stderr } = await run('payment', 'nothing')
    assert.equal(code, 1)
    assert.match(stderr, /no payment with this key/)
    assert.equal((await run('payment')).code, 2)
  })
})

describe('a report', () => {
  test('adds up by route, and says the same in every form', async () => {
    const found = await json('report', '--by', 'route')
    const weather = found.find(({ group, value }) => group === 'GET /weather' && value)
    assert.deepEqual(weather?.['net'], {
      amount: '0.025',
      code: 'COIN',
      units: '25000',
      asset: 'test:coin',
    })
    const { stdout } = await run('report', '--text')
    assert.match(stdout, /GET \/weather +2 +0\.03 +0\.005 +0\.025 +COIN +0\.025 USD/)
    const csv = await run('report', '--csv')
    assert.match(csv.stdout, /\r\nGET \/weather,COIN,2,0\.03,0\.005,0\.025,25000,/)
  })

  test('by day has a line for each', async () => {
    const days = (await json('report', '--by', 'day')).filter(({ value }) => value)
    assert.deepEqual(
      days.map(({ net }) => (net as { readonly amount: string }).amount),
      ['0.01', '0.52', '-0.005'],
    )
  })

  test('exports every entry as CSV and as JSON', async () => {
    const { stdout } = await run('report', '--entries', '--csv')
    const lines = stdout.split('\r\n')
    assert.match(lines[0] ?? '', /^sequence,time,kind,route/)
    assert.equal(lines.length, 1 + 5 + 1)
    const kinds = (await json('report', '--entries')).map(({ kind }) => kind)
    assert.deepEqual(kinds, ['sale', 'sale', 'sale', 'cost', 'refund'])
  })

  test('makes the statement of a payer, in every form', async () => {
    const lines = await json('report', '--statement', '--payer', 'buyer')
    assert.deepEqual(lines.at(-1), {
      type: 'closing',
      balances: [{ amount: '0.525', code: 'COIN', units: '525000', asset: 'test:coin' }],
    })
    const argv = ['report', '--statement', '--route', 'GET /weather']
    assert.match((await run(...argv, '--text')).stdout, /closing: 0\.025 COIN\n$/)
    assert.match((await run(...argv, '--csv')).stdout, /,closing,.*,0\.025\r\n$/)
  })

  test('that cannot be made is misuse', async () => {
    for (const argv of [
      ['--by', 'moon'],
      ['--statement'],
      ['--csv', '--json'],
      ['--entries', '--statement', '--payer', 'x'],
      ['--schema', 'x'],
    ])
      assert.equal((await run('report', ...argv)).code, 2, argv.join(' '))
  })
})

test('books in PostgreSQL are read by their address', { skip: missing }, async () => {
  const cluster = await createCluster()
  try {
    const ledger = await postgres({ url: cluster.url, schema: 'shop' })
    const legs = [{ debit: 'world/test/net/seller', credit: 'sales/GET /a' }]
    const note = { kind: 'sale', payer: 'buyer', request: 'r', offer: { rail: 'test' } }
    const rest = { purpose: 'p', asset: 'test:coin', leaseUntilAt: 0 }
    await ledger.transfer({ key: 'one', amount: 5n, legs, note, ...rest })
    await ledger.post('one')
    await ledger.close()
    const argv = ['payments', '--books', cluster.url, '--schema', 'shop']
    const { code, stdout, stderr } = await command(argv, { cwd: directory })
    assert.equal(code, 0, stderr)
    assert.match(stdout, /"key":"one".*"state":"settled"/)
    assert.ok(!`${stdout}${stderr}`.includes(PASSWORD))
    const checked = await command(['verify', '--ledger', cluster.url, '--schema', 'shop'], {
      cwd: directory,
    })
    assert.equal(checked.code, 0, checked.stderr)
    const report = JSON.parse(checked.stdout) as Record<string, unknown>
    assert.deepEqual([report['ok'], report['posted']], [true, 1])
    assert.ok(!`${checked.stdout}${checked.stderr}`.includes(PASSWORD))
    const stray = await command(['verify', '--ledger', file, '--schema', 'shop'], {
      cwd: directory,
    })
    assert.equal(stray.code, 2, 'a file has no schema')
  } finally {
    await cluster.stop()
  }
})

test('a moment is a day, a time or so long ago, in UTC unless it says otherwise', () => {
  const now = Date.parse('2026-03-10T00:00:00Z')
  for (const [typed, said] of [
    ['2026-03-01', '2026-03-01T00:00:00.000Z'],
    ['2026-03-01T12:30', '2026-03-01T12:30:00.000Z'],
    ['2026-03-01T12:30:15Z', '2026-03-01T12:30:15.000Z'],
    ['2026-03-01T12:30+02:00', '2026-03-01T10:30:00.000Z'],
    ['7d', '2026-03-03T00:00:00.000Z'],
    ['90m', '2026-03-09T22:30:00.000Z'],
  ] as const)
    assert.equal(new Date(momentOf('since', typed, now)).toISOString(), said)
})
