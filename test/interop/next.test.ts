// Builds a real Next app without keys, starts it, and lets the peers' unmodified buyer pay it on a real chain.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { decodePaymentResponseHeader, wrapFetchWithPayment } from '@x402/fetch'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { freePort } from '../ports.ts'
import type { Keys } from './peers.ts'
import { createBuyer, createClient, createSender } from './peers.ts'

/** Where Next is installed; it is too large to be a dependency of ours. `.ci/run` has it. */
const next = process.env['TOLSEY_NEXT']
const skip =
  !next &&
  'NOT TESTED ON NEXT, because TOLSEY_NEXT names no directory with Next in it. To test it: export TOLSEY_NEXT="$(mktemp -d)" && npm install --prefix "$TOLSEY_NEXT" next@16.4.6 react@18.3.1 react-dom@18.3.1 @types/react@18.3.31 && npm test'

/** Most time for the build, and for the start after it. */
const BUILD_MS = 120_000
const START_MS = 30_000
/** Most time for one test. */
const TEST_MS = 20_000
const PRICE = 10_000n
const root = fileURLToPath(new URL('../..', import.meta.url))

describe('our gate in a Next app', { skip }, () => {
  let chain: Chain | undefined
  let app = ''
  let server: Running | undefined
  let origin = ''
  let payee: Keys
  let buyer: Keys
  let charged = 0n

  before(async () => {
    app = await copyApp(next ?? '')
    await end(runNext(app, ['build']), BUILD_MS)
    chain = await startChain()
    payee = await createSender(chain)
    const sender = await createSender(chain)
    const port = await freePort()
    // Next writes `localhost` into every address, whatever name the payer has used.
    origin = `http://127.0.0.1:${port}`
    server = runNext(app, ['start', '-H', '127.0.0.1', '-p', String(port)], {
      SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
      ORIGIN: origin,
      RPC: chain.rpc,
      PAY_TO: payee.address,
      SENDER_KEY: sender.privateKey,
    })
    await answering(server, `${origin}/free`)
  })
  beforeEach(async () => {
    buyer = await createBuyer(world(), 2n * PRICE)
  })
  after(async () => {
    await stop(server)
    await chain?.stop()
    await rm(app, { recursive: true, force: true })
  })

  const world = (): Chain => chain ?? assert.fail('no chain')
  const spent = async (): Promise<bigint> => 2n * PRICE - (await world().balanceOf(buyer.address))

  /** Pays, and gives the answer with the fields that paid. */
  async function pay(path: string, init: RequestInit = {}): Promise<[Response, Headers]> {
    let sent = new Headers()
    const sending: typeof fetch = (input, more) => {
      const request = new Request(input, more)
      sent = request.headers
      return fetch(request)
    }
    const paying = wrapFetchWithPayment(sending, createClient(buyer.account))
    return [await paying(origin + path, init), sent]
  }

  /** Pays for one thing, and looks whether that moved its price and nothing else. */
  async function buy(path: string, init?: RequestInit): Promise<[Response, Headers]> {
    const before = await spent()
    const [response, sent] = await pay(path, init)
    assert.equal(response.status, 200)
    assert.equal((await spent()) - before, PRICE)
    charged += PRICE
    return [response, sent]
  }

  const limit = { timeout: TEST_MS }

  test('asks for money where it is due, and only there', limit, async () => {
    const [paid, free] = await Promise.all([fetch(`${origin}/paid`), fetch(`${origin}/free`)])
    assert.deepEqual([paid.status, free.status], [402, 200])
    assert.equal(((await paid.json()) as { code: string }).code, 'payment-required')
    assert.deepEqual(await free.json(), { price: 'nothing' })
  })

  test('is paid by npm @x402/fetch, and says so', limit, async () => {
    const [response] = await buy('/paid')
    assert.deepEqual(await response.json(), { sky: 'clear' })
    const receipt = decodePaymentResponseHeader(response.headers.get('PAYMENT-RESPONSE') ?? '')
    assert.equal(receipt.success, true)
    assert.match(receipt.transaction, /^0x[0-9a-f]{64}$/)
  })

  test('is paid by npm @x402/fetch for a POST, whose body arrives whole', limit, async () => {
    const body = 'x'.repeat(100_000)
    const [response] = await buy('/paid', { method: 'POST', body })
    assert.deepEqual(await response.json(), { said: body })
  })

  test('a payment that has bought is gone, and a new one buys again', limit, async () => {
    const [, headers] = await buy('/paid')
    const again = await fetch(`${origin}/paid`, { headers })
    assert.deepEqual(
      [again.status, ((await again.json()) as { code: string }).code],
      [410, 'payment-delivered'],
    )
    assert.equal(await spent(), PRICE)
    await buy('/paid')
  })

  test('a payment for one file is foreign to another', limit, async () => {
    const [, headers] = await pay('/broken')
    const elsewhere = await fetch(`${origin}/paid`, { headers })
    assert.deepEqual(
      [elsewhere.status, ((await elsewhere.json()) as { code: string }).code],
      [402, 'offer-foreign'],
    )
    assert.equal(await spent(), 0n)
    await buy('/paid')
  })

  test('HEAD, which Next gives to GET, tells the price and is never sold', limit, async () => {
    const [, headers] = await pay('/broken')
    for (const init of [{}, { headers }]) {
      const response = await fetch(`${origin}/broken`, { method: 'HEAD', ...init })
      assert.equal(response.status, 402)
      assert.ok(response.headers.get('PAYMENT-REQUIRED'))
    }
    assert.equal(await spent(), 0n)
  })

  test('OPTIONS tells a page of another origin that it may pay', limit, async () => {
    const response = await fetch(`${origin}/paid`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://page.test',
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'payment-signature',
      },
    })
    assert.equal(response.status, 204)
    assert.match(response.headers.get('access-control-allow-headers') ?? '', /payment-signature/i)
  })

  test('whoever pays for a handler that throws keeps the money', limit, async () => {
    const [response, headers] = await pay('/broken')
    assert.equal(response.status, 500)
    assert.ok(headers.has('PAYMENT-SIGNATURE'))
    assert.equal(await spent(), 0n)
    assert.match(server?.said() ?? '', /Nothing works today/)
  })

  // The stream has no end: if anybody on the way waited for one, nothing would arrive.
  test('a stream arrives while it is made, and its payment was settled before', limit, async () => {
    const [{ body }] = await buy('/stream/tick')
    let said = ''
    for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      said += chunk
      if (said.length >= 100) break
    }
    assert.match(said, /^(data: tick\n\n){3}/)
  })

  test('nothing is sold under a name that is not the shop’s', limit, async () => {
    const response = await fetch(`${origin.replace('127.0.0.1', 'localhost')}/paid`)
    assert.deepEqual(
      [response.status, ((await response.json()) as { code: string }).code],
      [421, 'host-unknown'],
    )
  })

  test('the books hold what was paid when the server is killed, and no more', limit, async () => {
    await stop(server)
    const ledger = await sqlite({ file: join(app, 'books.db') })
    const balances = await ledger.balances()
    const { problems } = await verifyBooks(ledger)
    await ledger.close()
    const sales = balances.filter(({ account }) => account.startsWith('sales/'))
    assert.deepEqual(problems, [])
    assert.equal(
      sales.reduce((sum, { posted }) => sum + posted, 0n),
      charged,
    )
    assert.equal(await world().balanceOf(payee.address), charged)
    assert.ok(charged >= 6n * PRICE)
  })
})

/** A program that runs, and what it has said so far. */
interface Running {
  readonly child: ChildProcess
  readonly said: () => string
}

/**
 * The app with all that it needs, in a new directory. It lies beside Next's packages, which are then found as if they
 * were its own; Next follows no link that leads out of there. Ours are copied, as installing them would do.
 */
async function copyApp(next: string): Promise<string> {
  const app = await mkdtemp(join(next, 'app-'))
  const modules = join(app, 'node_modules')
  await cp(join(root, 'test/interop/next-app'), app, { recursive: true })
  for (const part of ['package.json', 'dist'])
    await cp(join(root, part), join(modules, 'tolsey', part), { recursive: true })
  const links = {
    'tolsey/node_modules': '',
    typescript: 'typescript',
    '@types/node': '@types/node',
  }
  for (const [to, from] of Object.entries(links)) {
    await mkdir(dirname(join(modules, to)), { recursive: true })
    await symlink(join(root, 'node_modules', from), join(modules, to))
  }
  return app
}

/** Runs Next, with nothing of this process's environment. With `CI` it never installs anything itself. */
function runNext(app: string, args: readonly string[], env: Record<string, string> = {}): Running {
  const program = join(app, '../node_modules/next/dist/bin/next')
  const plain = {
    PATH: process.env['PATH'] ?? '',
    XDG_CONFIG_HOME: app,
    CI: '1',
    NEXT_TELEMETRY_DISABLED: '1',
  }
  const child = spawn(process.execPath, [program, ...args], { cwd: app, env: { ...plain, ...env } })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return { child, said: () => said }
}

/** Waits for its good end. */
async function end({ child, said }: Running, timeoutMs: number): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs)
  const [code] = await once(child, 'close', { signal }).catch(() => [])
  child.kill('SIGKILL')
  assert.equal(code, 0, `Next did not end well within ${timeoutMs} ms. It said:\n${said()}`)
}

/** Waits until the address answers with success. */
async function answering({ child, said }: Running, url: string): Promise<void> {
  const late = AbortSignal.timeout(START_MS)
  const good = (): Promise<boolean> =>
    fetch(url, { signal: late }).then(
      ({ ok }) => ok,
      () => false,
    )
  while (!(await good())) {
    const over = late.aborted || child.exitCode !== null
    assert.ok(!over, `Next did not answer within ${START_MS} ms. It said:\n${said()}`)
    await new Promise((done) => setTimeout(done, 50))
  }
}

/** Ends it, and resolves when it is gone. */
async function stop(running: Running | undefined): Promise<void> {
  const { child } = running ?? {}
  if (!child || child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
