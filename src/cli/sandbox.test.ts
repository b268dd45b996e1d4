// One real sandbox in a process of its own; every test is a user beside it. It keeps its state in a temporary directory.
import assert from 'node:assert/strict'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { command, ending, spawnTolsey, tolsey } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'
import type { Description } from '../sandbox/sandbox.ts'
import type { Report } from './explain.ts'

interface Paid {
  readonly status: number
  readonly body: string
  readonly payment: {
    readonly amount: string
    readonly units: string
    readonly payee: string
    readonly network: string
    readonly reference: string
    readonly verified: boolean
    readonly state: string
  }
}

interface Books {
  readonly file: string
  readonly ok: boolean
  readonly posted: number
  readonly confirmed: number
  readonly problems: readonly string[]
}

let directory = ''
let child: ChildProcessWithoutNullStreams
let end: Promise<End>
let there: Description
let lines: readonly string[] = []
let weather = ''

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tolsey-sandbox-'))
  child = spawnTolsey(['sandbox', '--port', '0', '--json'], { cwd: directory })
  end = ending(child)
  const first = once(createInterface({ input: child.stdout }), 'line')
  const [line] = (await Promise.race([first, end.then(({ stderr }) => assert.fail(stderr))])) as [
    string,
  ]
  lines = [line]
  there = JSON.parse(line) as Description
  weather = `${there.gateway}/weather`
})
after(async () => {
  child.kill('SIGTERM')
  await end
  await rm(directory, { recursive: true, force: true })
})

function run(argv: readonly string[], env: Record<string, string> = {}): Promise<End> {
  return command(argv, { cwd: directory, env })
}

async function pay(...argv: string[]): Promise<Paid> {
  const { code, stdout, stderr } = await run(['pay', ...argv, '--json'])
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout) as Paid
}

async function verify(...argv: string[]): Promise<readonly Books[]> {
  const { stdout } = await run(['verify', ...argv])
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Books)
}

const fileOf = (name: string): string => join(directory, '.tolsey', 'sandbox', name)

describe('beside a sandbox', () => {
  test('one line tells a program all that it needs', () => {
    const { gateway, rpc, buyer, seller, routes } = there
    assert.match(gateway, /^http:\/\/127\.0\.0\.1:\d+$/)
    assert.match(rpc, /^http:\/\/127\.0\.0\.1:\d+$/)
    assert.match(buyer.privateKey, /^0x[0-9a-f]{64}$/)
    assert.match(buyer.address, /^0x[0-9a-fA-F]{40}$/)
    assert.match(seller.address, /^0x[0-9a-fA-F]{40}$/)
    assert.ok(routes.length > 0)
    for (const { method, url, price } of routes) {
      assert.match(method, /^[A-Z]+$/)
      assert.ok(url.startsWith(`${gateway}/`))
      assert.match(price, /^[\d.]+ USD$/)
    }
  })

  test('inspect says that its buyer can pay', async () => {
    const { stdout } = await run(['inspect', weather])
    const { kind, offers, warnings } = JSON.parse(stdout) as Report
    assert.equal(kind, 'challenge')
    assert.ok(offers.length > 0 && offers.every(({ payable }) => payable))
    assert.deepEqual(warnings, [])
  })

  test('a newcomer pays without a key, and the body alone is on stdout', async () => {
    const { code, stdout, stderr } = await tolsey(['pay', weather, '--yes'], { cwd: directory })
    assert.equal(code, 0, stderr)
    assert.equal(typeof (JSON.parse(stdout) as { celsius: number }).celsius, 'number')
    assert.match(stderr, /costs 0\.001 USDC\n/)
    assert.match(stderr, /Transaction 0x[0-9a-f]{64}\n/)
  })

  test('two purchases are two payments, each seen on the chain', async () => {
    const first = await pay(weather, '--yes')
    const second = await pay(weather, '--max', '0.05 USD')
    for (const { status, payment } of [first, second]) {
      assert.equal(status, 200)
      assert.equal(payment.amount, '0.001 USDC')
      assert.equal(payment.units, '1000')
      assert.equal(payment.network, 'eip155:84532')
      assert.equal(payment.payee.toLowerCase(), there.seller.address.toLowerCase())
      assert.equal(payment.state, 'posted')
      assert.equal(payment.verified, true)
    }
    assert.notEqual(first.payment.reference, second.payment.reference)
  })

  test('what is shared with somebody else is paid by a permit', async () => {
    const url = `${there.gateway}/shared`
    const { offers } = JSON.parse((await run(['inspect', url])).stdout) as Report
    assert.deepEqual(
      offers.map(({ rail, payable }) => [rail, payable]),
      [['evm-permit2', true]],
    )
    const { payment, body } = await pay(url, '--yes')
    const { stderr } = await run(['pay', url, '--yes', '--json'])
    assert.match(stderr, /Of that 0\.001 USDC to 0x[0-9a-fA-F]{40} \(partner\)\./)
    assert.deepEqual(JSON.parse(body), { shared: 'a tenth' })
    assert.deepEqual([payment.units, payment.verified], ['10000', true])
    assert.match(payment.reference, /^0x[0-9a-f]{64}$/)
  })

  test('method, body and output file work as in curl', async () => {
    const body = JSON.stringify({ greeting: 'Grüße' })
    const { body: said } = await pay(`${there.gateway}/echo`, '-d', body, '--yes')
    assert.equal((JSON.parse(said) as { text: string }).text, body)
    const saved = await run(['pay', weather, '-y', '-s', '-o', 'weather.json'])
    assert.deepEqual([saved.code, saved.stdout], [0, ''])
    assert.match(await readFile(join(directory, 'weather.json'), 'utf8'), /celsius/)
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.endsWith('.part')),
      [],
    )
  })

  test('nothing is paid without consent, over a limit, or on another network', async () => {
    const [before] = await verify('--ledger', fileOf('payer.sqlite'))
    for (const [argv, env, expected] of [
      [[], {}, /nobody is here to be asked\. Add --yes, or --max '0\.001 USD'/],
      [
        ['--max', '0.0009 USD', '--yes'],
        {},
        /your limit for one request \(--max\) allows 0\.0009 USD/,
      ],
      [['--yes', '--network', 'base'], {}, /does not list the network/],
      [['--yes', '--budget-total', '0.0001 USD'], {}, /over your limit for ever/],
      [['--yes'], { TOLSEY_MAX_DAY: '0.0001 USD' }, /over your limit for a day/],
    ] as const) {
      const { code, stdout, stderr } = await run(['pay', weather, ...argv], env)
      assert.equal(code, 3, stderr)
      assert.equal(stdout, '')
      assert.match(stderr, expected)
    }
    const [after] = await verify('--ledger', fileOf('payer.sqlite'))
    assert.ok(before && before.posted > 0)
    assert.equal(after?.posted, before.posted)
  })

  test('a key of one’s own pays out of books of its own, and without money not at all', async () => {
    const env = {
      XDG_DATA_HOME: join(directory, 'own'),
      TOLSEY_PRIVATE_KEY: `0x${'11'.repeat(32)}`,
      TOLSEY_RPC: `base-sepolia=${there.rpc}`,
    }
    const { offers } = JSON.parse((await run(['inspect', weather], env)).stdout) as Report
    assert.match(offers[0]?.why ?? '', /holds 0 USDC there/)
    const shown = JSON.parse((await run(['wallet'], env)).stdout) as { balances: object[] }
    assert.deepEqual(shown.balances, [{ network: 'eip155:84532', balances: ['0 USDC'] }])
    const { code, stderr } = await run(['pay', weather, '--yes'], env)
    assert.equal(code, 4, stderr)
    assert.match(stderr, /The seller did not serve/)
    assert.ok((await readdir(join(directory, 'own', 'tolsey'))).includes('payer.sqlite'))
  })

  test('an answer that is free, or none, costs nothing', async () => {
    const free = await run(['pay', `${there.gateway}/health`])
    assert.deepEqual([free.code, free.stderr], [0, ''])
    const missing = await run(['pay', `${there.gateway}/nowhere`, '--yes'])
    assert.equal(missing.code, 1)
    assert.match(missing.stderr, /status 404\. Nothing was paid\./)
  })

  test('a port in use and a state in use are sentences', async () => {
    const port = new URL(there.gateway).port
    const taken = await run(['sandbox', '--port', port, '--state', 'other'])
    assert.equal(taken.code, 1)
    assert.match(taken.stderr, new RegExp(`Port ${port} is in use`))
    const same = await run(['sandbox', '--port', '0'])
    assert.equal(same.code, 1)
    assert.match(same.stderr, /Another sandbox runs in this directory/)
    assert.equal((await pay(weather, '--yes')).status, 200)
  })

  test('the books of seller and buyer agree with themselves and with the chain', async () => {
    await pay(weather, '--yes')
    const all = await verify('--rpc', there.rpc)
    assert.deepEqual(
      all.map(({ file }) => file.slice(file.lastIndexOf('/') + 1)),
      ['books.sqlite', 'facilitator.sqlite', 'payer.sqlite'],
    )
    for (const { file, ok, problems, posted, confirmed } of all) {
      assert.deepEqual([ok, problems], [true, []])
      // Nobody has asked the facilitator for anything here.
      assert.equal(posted > 0, !file.endsWith('facilitator.sqlite'))
      // What was passed on is seen with its sale: it was bought twice above.
      const passedOn = file.endsWith('books.sqlite') ? 2 : 0
      assert.equal(confirmed, posted - passedOn)
    }
    assert.equal((await run(['verify', '--text', '--rpc', there.rpc])).code, 0)
  })

  test('books that were tampered with are found out', async () => {
    await pay(weather, '--yes')
    const file = join(directory, 'copy.sqlite')
    await copyBooks(fileOf('payer.sqlite'), file)
    assert.equal((await run(['verify', '--ledger', file])).code, 0)
    tamper(file)
    const { code, stdout } = await run(['verify', '--ledger', file, '--text'])
    assert.equal(code, 1)
    assert.match(stdout, /Wrong: .*hash is wrong/)
  })

  for (const [what, code] of [
    ['request', 0],
    // The seller keeps no copies of answers, but what was paid is not charged again.
    ['answer', 4],
  ] as const)
    test(`a payment whose ${what} got lost is sent again by the next run, not made again`, async (t) => {
      const [before] = await verify('--ledger', fileOf('books.sqlite'))
      const middle = await startMiddle(there.gateway, what)
      t.after(() => middle.close())
      const env = { TOLSEY_PRIVATE_KEY: there.buyer.privateKey }
      const argv = ['pay', `${middle.origin}/weather`, '--yes']
      const first = spawnTolsey(argv, { cwd: directory, env })
      const ended = ending(first)
      await middle.lost
      first.kill('SIGINT')
      const broken = await ended
      assert.deepEqual([broken.code, broken.stdout], [4, ''], broken.stderr)
      assert.match(broken.stderr, /Run the same command again: the same payment is sent/)

      middle.heal()
      const second = await run(argv, env)
      assert.equal(second.code, code, second.stderr)
      assert.match(second.stderr, /Paid 0\.001 USDC/)
      assert.ok(middle.payments.length > 1)
      assert.equal(new Set(middle.payments).size, 1)
      const [after] = await verify('--ledger', fileOf('books.sqlite'))
      assert.equal(after?.posted, (before?.posted ?? 0) + 1)
    })

  // The last one: it ends the sandbox.
  test('a signal ends it cleanly and leaves no process', { timeout: 20_000 }, async () => {
    const children = await childrenOf(child.pid ?? 0)
    if (process.platform === 'linux') assert.ok(children.length > 0)
    child.kill('SIGTERM')
    const { code, stdout, stderr } = await end
    assert.equal(code, 0, stderr)
    assert.deepEqual(stdout.trim().split('\n'), lines)
    while ((await Promise.all(children.map(isRunning))).includes(true)) await setTimeout(20)
    await assert.rejects(fetch(there.rpc))
    await assert.rejects(fetch(there.gateway))
    const names = await readdir(join(directory, '.tolsey', 'sandbox'))
    assert.ok(names.includes('books.sqlite') && !names.includes('running.json'))
    const late = await run(['pay', weather, '--yes'])
    assert.equal(late.code, 1)
    assert.match(late.stderr, /nobody listens there\. Is it running\?/)
  })
})

interface Middle {
  readonly origin: string
  /** Resolves when something was lost. */
  readonly lost: Promise<void>
  /** The signature of every payment that came by. */
  readonly payments: readonly string[]
  heal(): void
  close(): void
}

/** Stands between buyer and seller and loses payments on the way there, or the answers to them. */
async function startMiddle(gateway: string, what: 'request' | 'answer'): Promise<Middle> {
  const { host } = new URL(gateway)
  const payments: string[] = []
  const { promise: lost, resolve: lose } = Promise.withResolvers<void>()
  let losing = true
  const server: Server = createServer((incoming, outgoing) => {
    const payment = incoming.headers['payment-signature']
    if (typeof payment === 'string') payments.push(signatureIn(payment))
    const hit = payment !== undefined && losing
    const drop = (): void => {
      outgoing.destroy()
      lose()
    }
    if (hit && what === 'request') return drop()
    const headers = { ...incoming.headers, host }
    const onward = request(
      gateway + incoming.url,
      { method: incoming.method, headers },
      (answer) => {
        if (!hit) return answer.pipe(outgoing.writeHead(answer.statusCode ?? 502, answer.headers))
        answer.resume()
        return drop()
      },
    )
    incoming.pipe(onward)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lost,
    payments,
    heal: () => {
      losing = false
    },
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

function signatureIn(header: string): string {
  const said = JSON.parse(Buffer.from(header, 'base64').toString()) as {
    payload: { signature: string }
  }
  return said.payload.signature
}

/** A copy with what is still in the write-ahead log. */
async function copyBooks(from: string, to: string): Promise<void> {
  for (const suffix of ['', '-wal'])
    await copyFile(from + suffix, to + suffix).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
}

/** Makes one row tell something else, whatever the tables are called. */
function tamper(file: string): void {
  const database = new DatabaseSync(file)
  const tables = database
    .prepare("select name from sqlite_master where type = 'table' and sql like '%hash%'")
    .all()
  assert.equal(tables.length, 1)
  const table = String(tables[0]?.['name'])
  const triggers = database.prepare("select name from sqlite_master where type = 'trigger'").all()
  for (const { name } of triggers) database.exec(`drop trigger "${String(name)}"`)
  const { changes } = database.prepare(`update "${table}" set at = at + 1 where sequence = 2`).run()
  assert.equal(changes, 1)
  database.close()
}

/** A process that ended and that nobody has asked about yet is still listed. */
async function isRunning(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return text !== '' && !/\) [ZX] /.test(text)
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  return text.trim().split(' ').filter(Boolean).map(Number)
}
