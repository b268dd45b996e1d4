// The commands that ask a running gateway, over a real admin API and books that a gate has written.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { openStage, TOKEN } from '../../test/dashboard/stage.ts'
import type { Stage } from '../../test/dashboard/stage.ts'
import { command } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'
import { readEntries } from '../books/reader.ts'
import { entryJson } from '../books/write.ts'
import { run } from './main.ts'

let stage: Stage
let token: string
let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'office-'))
  stage = await openStage()
  await stage.pay('GET /a', '0.05 USD', 'one')
  await stage.pay('GET /b', '0.07 USD', 'two')
  await stage.pay('GET /=cmd', '0.01 USD', 'three')
  token = await stage.buy('token')
})
after(async () => {
  await stage?.close()
  await rm(directory, { recursive: true, force: true })
})

/** Runs a command that knows the gateway by its environment. */
function ask(...argv: readonly string[]): Promise<End> {
  const env = { TOLSEY_ADMIN: stage.url, TOLSEY_ADMIN_TOKEN: TOKEN }
  return command(argv, { cwd: directory, env })
}

async function json(...argv: readonly string[]): Promise<readonly Record<string, unknown>[]> {
  const { code, stdout, stderr } = await ask(...argv)
  assert.equal(code, 0, stderr)
  const lines = stdout.split('\n').filter((line) => line !== '')
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}

/** The same command over the books themselves, for comparing. */
async function fromBooks(...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await command([...argv, '--books', stage.file], {
    cwd: directory,
    env: { TOLSEY_ADMIN: stage.url, TOLSEY_ADMIN_TOKEN: TOKEN },
  })
  assert.equal(code, 0, stderr)
  return stdout
}

describe('payments, reports and events of a gateway', () => {
  test('are those that its books tell, byte for byte', async () => {
    const seven = ['--from', '7d']
    for (const argv of [
      ['payments'],
      ['payments', '--route', 'GET /b', '--since', '1d'],
      ['payments', '--limit', '2'],
      ['payments', '--state', 'delivered', '--text'],
      ['report', '--by', 'route'],
      ['report', '--by', 'payer', '--csv', ...seven],
      ['report', '--entries', '--csv'],
      ['report', '--entries', '--text', '--to', '2000-01-01'],
      ['report', '--statement', '--route', 'GET /a', ...seven],
      ['events'],
      ['events', '--type', 'tolsey.sale.posted', '--text'],
    ]) {
      const { code, stdout, stderr } = await ask(...argv)
      assert.equal(code, 0, stderr)
      assert.equal(stdout, await fromBooks(...argv), argv.join(' '))
    }
    assert.equal((await json('payments')).length, 4)
  })

  test('are had in pages, whatever there is', async () => {
    const all = await json('report', '--entries')
    const expected: unknown[] = []
    for await (const entry of readEntries(stage.ledger)) expected.push(entryJson(entry))
    assert.deepEqual(
      all.map(({ sequence }) => sequence),
      expected.map((one) => (one as { sequence: number }).sequence),
    )
  })

  test('events go on behind the one that was read last', async () => {
    const all = await json('events')
    const middle = all[2]?.['sequence']
    assert.ok(typeof middle === 'string' && all.length > 4)
    assert.deepEqual(await json('events', '--after', middle), all.slice(3))
    assert.equal((await ask('events', '--after', 'x')).code, 2)
  })

  test('events are followed until the command is stopped', async () => {
    const stop = new AbortController()
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
    const env = { TOLSEY_ADMIN: stage.url, TOLSEY_ADMIN_TOKEN: TOKEN, HOME: directory }
    const ended = run(['events', '--follow'], {
      ...{ streams: { stdin, stdout, stderr }, cwd: directory, signal: stop.signal, env },
    })
    const read = stdout[Symbol.asyncIterator]()
    const first = read.next()
    // Until it has found the end of the books, what is sold may come before it.
    let count = 0
    const paying = setInterval(() => void stage.pay('GET /c', '0.01 USD', `f${++count}`), 300)
    const { value } = (await first) as { value: Buffer }
    clearInterval(paying)
    const [line = ''] = value.toString().split('\n')
    assert.match((JSON.parse(line) as { type: string }).type, /^tolsey\.sale\./)
    stop.abort()
    assert.equal(await ended, 0)
  })
})

describe('a refund', () => {
  test('goes back once, however often it is ordered, and never beyond what was paid', async () => {
    const argv = ['refund', 'one', '--amount', '0.02 USD', '--reason', 'late', '--yes']
    const [first] = await json(...argv)
    assert.equal(first?.['kind'], 'refunded')
    assert.deepEqual(await json(...argv), [first])
    assert.equal(stage.returned.get(String(first?.['key'])), 20_000n)
    const [again] = await json(...argv, '--order', 'second')
    assert.notEqual(again?.['key'], first?.['key'])
    const over = await ask(...argv, '--order', 'third')
    assert.equal(over.code, 3)
    assert.equal((JSON.parse(over.stdout) as { code: string }).code, 'amount-exceeded')
    const [rest] = await json('refund', 'one', '--yes')
    assert.equal(rest?.['amount'], '0.01 COIN')
  })

  test('is told in sentences', async () => {
    const good = await ask('refund', 'two', '--amount', '0.03 USD', '--yes', '--text')
    assert.deepEqual([good.code, good.stderr], [0, ''])
    assert.match(good.stdout, /^refunded {2}0\.03 COIN to 0xbuyert/)
    const bad = await ask('refund', 'nothing', '--yes', '--text')
    assert.deepEqual([bad.code, bad.stdout], [3, ''])
    assert.match(bad.stderr, /There is no sale with this key/)
  })

  test('is not given by whoever was not asked', async () => {
    const { code, stderr } = await ask('refund', 'three')
    assert.equal(code, 3)
    assert.match(stderr, /Add --yes/)
    assert.equal((await ask('refund')).code, 2)
    assert.equal((await ask('refund', 'three', '--amount', 'much', '--yes')).code, 2)
    assert.equal([...stage.returned.keys()].filter((key) => key.startsWith('three')).length, 0)
  })

  test('asks on a terminal how much goes back to whom, and no is no', async () => {
    const make = (): PassThrough & { isTTY: boolean } =>
      Object.assign(new PassThrough(), { isTTY: true })
    const [stdin, stdout, stderr] = [make(), make(), make()]
    stdin.write('n\n')
    const env = { TOLSEY_ADMIN: stage.url, TOLSEY_ADMIN_TOKEN: TOKEN, HOME: directory, TERM: 'x' }
    const code = await run(['refund', 'three'], {
      ...{ streams: { stdin, stdout, stderr }, cwd: directory, env },
      signal: new AbortController().signal,
    })
    assert.equal(code, 3)
    const said = String(stderr.read())
    assert.match(said, /Give back .*0\.01 COIN.* of 0\.01 COIN to 0xbuyert/)
    assert.ok(said.includes('\u001B[1m'), 'it is coloured on a terminal')
  })
})

describe('tokens', () => {
  test('are listed, shown, told and revoked', async () => {
    const [listed] = await json('tokens')
    assert.deepEqual([listed?.['id'], listed?.['state']], [token, 'good'])
    assert.deepEqual(await json('tokens', 'show', token), [listed])
    assert.deepEqual(await json('tokens', 'list', '--plan', 'other'), [])
    const [line] = await json('tokens', 'statement', token)
    assert.equal(line?.['type'], 'bought')
    const text = await ask('tokens', '--text')
    assert.match(text.stdout, new RegExp(`^${token.slice(0, 16)} +hundred +100 uses .*good\n$`))
    const unasked = await ask('tokens', 'revoke', token)
    assert.equal(unasked.code, 2)
    const [revoked] = await json('tokens', 'revoke', token, '--yes')
    assert.equal(revoked?.['state'], 'revoked')
  })

  test('that are not there are a sentence', async () => {
    const { code, stdout, stderr } = await ask('tokens', 'show', 'none', '--json')
    assert.equal(code, 1)
    assert.match(stderr, /There is no such account\./)
    assert.match(stdout, /There is no such account/)
    assert.match((await ask('tokens', 'revok', 'x')).stderr, /Did you mean "revoke"\?/)
  })
})

describe('what lies in suspense', () => {
  test('is listed, and booked away once, by whom and why', async () => {
    const account = 'suspense/test/net/seller'
    await stage.find(account, 50_000n)
    assert.match(
      (await ask('suspense', '--text')).stdout,
      /^suspense {2}0\.05 COIN {2}suspense\/test\/net\/seller\n$/,
    )
    const part = ['suspense', 'book', account, '--to', 'income/gifts', '--amount', '0.02 COIN']
    const argv = [...part, '--reason', 'a gift', '--by', 'ann']
    const [booked] = await json(...argv)
    assert.deepEqual(await json(...argv), [booked])
    const held = await stage.ledger.find(String(booked?.['key']))
    assert.deepEqual([held?.note['by'], held?.posted], ['ann', 20_000n])
    const over = await ask(...argv.with(6, '0.04 COIN'), '--text')
    assert.equal(over.code, 3)
    assert.match(over.stderr, /So much does not stand there/)
    assert.equal((await ask('suspense', 'book', account)).code, 2)
    assert.equal((await json('suspense')).length, 1)
  })
})

describe('the address and the token', () => {
  test('that are missing or wrong are sentences, and no token is said', async () => {
    const to = (env: Readonly<Record<string, string>>, ...argv: readonly string[]): Promise<End> =>
      command(argv, { cwd: directory, env })
    const wrong = 'another-token-0123456789-xyz'
    for (const [end, code, expected] of [
      [await to({}, 'refund', 'k', '--yes'), 2, /Name the admin address/],
      [await to({ TOLSEY_ADMIN: stage.url }, 'payments'), 2, /TOLSEY_ADMIN_TOKEN is missing/],
      [
        await to({ TOLSEY_ADMIN_TOKEN: wrong }, 'tokens', '--admin', stage.url),
        1,
        /does not take the token/,
      ],
      [
        await to({ TOLSEY_ADMIN_TOKEN: wrong }, 'events', '--admin', 'http://127.0.0.1:1'),
        1,
        /127\.0\.0\.1:1 cannot be asked: nobody listens there/,
      ],
      [
        await to({ TOLSEY_ADMIN_TOKEN: wrong }, 'events', '--admin', 'http://shop.example'),
        2,
        /begins with https/,
      ],
      [
        await to({ TOLSEY_ADMIN_TOKEN: wrong }, 'events', '--admin', 'a', '--books', 'b'),
        2,
        /one of --admin and --books/,
      ],
    ] as const) {
      assert.equal(end.code, code, end.stderr)
      assert.match(end.stderr, expected)
      assert.ok(!`${end.stdout}${end.stderr}`.includes(wrong))
    }
  })

  test('that lead elsewhere get no token twice, and what is no gateway is said to be none', async () => {
    const seen: string[] = []
    const server = createServer((request, response) => {
      seen.push(request.url ?? '')
      if (request.url?.includes('tokens')) response.writeHead(307, { location: '/elsewhere' }).end()
      else response.end('<html>')
    }).listen(0, '127.0.0.1')
    try {
      await new Promise((done) => server.once('listening', done))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const env = { TOLSEY_ADMIN: url, TOLSEY_ADMIN_TOKEN: TOKEN }
      const led = await command(['tokens'], { cwd: directory, env })
      assert.match(led.stderr, /the answer leads elsewhere/)
      const other = await command(['payments'], { cwd: directory, env })
      assert.match(other.stderr, /not as the admin address of a gateway does/)
      assert.ok(seen.length === 2 && !seen.includes('/elsewhere'))
    } finally {
      server.close()
    }
  })
})
