import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { after, before, suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ExactEvmScheme } from '@x402/evm'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import { privateKeyToAccount } from 'viem/accounts'
import { createLnd } from '../rails/lightning/adapters/index.ts'
import { FAULTS_PATH } from './admin.ts'
import type { Sandbox, SandboxOptions } from './sandbox.ts'
import { startSandbox } from './sandbox.ts'

async function directoryFor(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sandbox-test-'))
  t.after(() => rm(directory, { recursive: true }))
  return directory
}

async function sandboxFor(t: TestContext, options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
  const stateDir = options.stateDir ?? (await directoryFor(t))
  const sandbox = await startSandbox({ port: 0, lightning: false, ...options, stateDir })
  t.after(() => sandbox.stop())
  return sandbox
}

/** One for a whole suite, whose tests run one after the other and look at what they change. */
function shared(): () => Sandbox {
  let stateDir = ''
  let sandbox: Sandbox | undefined
  before(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'sandbox-test-'))
    sandbox = await startSandbox({ port: 0, stateDir })
  })
  after(async () => {
    await sandbox?.stop()
    await rm(stateDir, { recursive: true })
  })
  return () => {
    assert.ok(sandbox)
    return sandbox
  }
}

/** The stock buyer. */
function buyerOf(sandbox: Sandbox): typeof fetch {
  const account = privateKeyToAccount(sandbox.describe().buyer.privateKey as `0x${string}`)
  const client = new x402Client().register('eip155:*', new ExactEvmScheme(account))
  return wrapFetchWithPayment(fetch, client)
}

async function earned(sandbox: Sandbox): Promise<bigint> {
  return sandbox.chain.balanceOf(sandbox.describe().seller.address)
}

/** What the books say was sold. */
async function booked(sandbox: Sandbox): Promise<bigint> {
  const balances = await sandbox.ledger.balances()
  const sales = balances.filter(({ account }) => account.startsWith('sales/'))
  return sales.reduce((sum, { posted }) => sum + posted, 0n)
}

/** What the seller has gained since then, on which chain and books agree. */
async function meter(sandbox: Sandbox): Promise<() => Promise<bigint>> {
  const [chain, books] = [await earned(sandbox), await booked(sandbox)]
  return async () => {
    const gained = (await earned(sandbox)) - chain
    assert.equal((await booked(sandbox)) - books, gained)
    return gained
  }
}

async function setFaults(sandbox: Sandbox, faults: object): Promise<Response> {
  return fetch(sandbox.describe().gateway + FAULTS_PATH, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(faults),
  })
}

suite('the sample API', () => {
  const get = shared()

  test('every sample is asked for with a 402, and what is free is free', async () => {
    const sandbox = get()
    const { gateway, routes } = sandbox.describe()
    assert.equal(routes.length, 6)
    for (const { method, url } of routes) {
      const response = await fetch(url, method === 'POST' ? { method, body: 'x' } : { method })
      assert.equal(response.status, 402, url)
      assert.ok(response.headers.get('payment-required'), url)
      assert.match(response.headers.get('www-authenticate') ?? '', /^L402 macaroon=/, url)
      await response.body?.cancel()
    }
    assert.deepEqual(await (await fetch(`${gateway}/health`)).json(), { ok: true })
    const front = await fetch(gateway, { headers: { accept: 'text/html' } })
    assert.match(await front.text(), /^<!doctype html>/)
    assert.match(await (await fetch(gateway)).text(), /tolsey pay http/)
    assert.equal((await fetch(`${gateway}/nothing`)).status, 404)
  })

  test('the reference’s own checker finds nothing wrong with it', async (t) => {
    const home = await directoryFor(t)
    const file = fileURLToPath(new URL('bin.js', import.meta.resolve('mppx')))
    const args = [file, 'validate', get().describe().gateway, '--outputJson']
    const env = { PATH: process.env['PATH'] ?? '', HOME: home, CI: '1' }
    const { stdout } = await promisify(execFile)(process.execPath, args, { env, cwd: home })
    const { endpoints, summary } = JSON.parse(stdout) as {
      readonly endpoints: readonly { readonly errorHandling: readonly unknown[] }[]
      readonly summary: { readonly failed: number; readonly passed: number }
    }
    assert.equal(summary.failed, 0, stdout)
    assert.ok(summary.passed >= 25, stdout)
    assert.ok(
      endpoints.some(({ errorHandling }) => errorHandling.length > 0),
      'one speaks MPP',
    )
  })

  test('a stock buyer pays for each sample what was said, and the books show it', async () => {
    const sandbox = get()
    const gained = await meter(sandbox)
    const pay = buyerOf(sandbox)
    const [weather, report, echo, stream, quote] = sandbox.describe().routes
    const sent = { method: 'POST', body: 'hello' }
    const sunny = await pay(weather?.url ?? '')
    assert.equal(sunny.status, 200)
    assert.equal(((await sunny.json()) as { place: string }).place, 'Tolsey')
    assert.equal(await gained(), 1_000n)
    assert.match(await (await pay(report?.url ?? '')).text(), /Page 3 of 3/)
    assert.equal(await gained(), 31_000n)
    assert.deepEqual(await (await pay(echo?.url ?? '', sent)).json(), { bytes: 5, text: 'hello' })
    assert.equal(await gained(), 33_000n)
    const events = await pay(stream?.url ?? '')
    assert.match(events.headers.get('content-type') ?? '', /event-stream/)
    // Paid before the first event; the rest need not be waited for.
    await events.body?.cancel()
    assert.equal(await gained(), 38_000n)
    const first = await pay(quote?.url ?? '')
    assert.equal(first.status, 200)
    assert.equal(await gained(), 88_000n)
    // Ninety-nine more come with the token.
    assert.ok(first.headers.get('tolsey-token'))
  })

  test('a Lightning wallet pays for each sample in another process, as LND is asked', async () => {
    const { lightning, routes } = get().describe()
    assert(lightning)
    const node = createLnd({ ...lightning, network: 'regtest' })
    for (const { method, url } of routes) {
      const init = method === 'POST' ? { method, body: 'x' } : { method }
      const asked = await fetch(url, init)
      await asked.body?.cancel()
      const field = asked.headers.get('www-authenticate') ?? ''
      const [, token, invoice = ''] = /macaroon="([^"]+)", invoice="([^"]+)"/.exec(field) ?? []
      const paid = await node.pay?.({ invoice, feeMaxMsat: 5_000n, timeoutMs: 20_000 })
      assert.equal(paid?.state, 'succeeded', url)
      const authorization = `L402 ${token}:${paid.preimage}`
      const served = await fetch(url, { ...init, headers: { authorization } })
      assert.equal(served.status, 200, url)
      await served.body?.cancel()
    }
    await node.close()
  })

  test('what cannot be served is not charged', async () => {
    const sandbox = get()
    const gained = await meter(sandbox)
    const { gateway } = sandbox.describe()
    assert.equal((await buyerOf(sandbox)(`${gateway}/report/7?pages=99`)).status, 400)
    assert.equal(await gained(), 0n)
    assert.equal((await buyerOf(sandbox)(`${gateway}/report/7?pages=1`)).status, 200)
    assert.equal(await gained(), 10_000n)
  })
})

suite('beginning and end', () => {
  test('a restart keeps balances, books and keys', async (t) => {
    const stateDir = await directoryFor(t)
    const first = await startSandbox({ port: 0, stateDir })
    t.after(() => first.stop())
    const before = first.describe()
    assert.equal((await buyerOf(first)(before.routes[0]?.url ?? '')).status, 200)
    await first.stop()

    const notices: string[] = []
    const notice = (said: string): void => void notices.push(said)
    const second = await sandboxFor(t, { stateDir, notice })
    const then = second.describe()
    assert.deepEqual([then.buyer, then.seller], [before.buyer, before.seller])
    assert.equal(await earned(second), 1_000n)
    assert.equal(await booked(second), 1_000n)
    assert.equal(await second.chain.balanceOf(then.buyer.address), 99_999_000n)
    assert.equal((await buyerOf(second)(then.routes[0]?.url ?? '')).status, 200)
    assert.equal(await booked(second), 2_000n)
    assert.deepEqual(notices, [])
  })

  test('a kill right after a payment loses neither the money nor the books', async (t) => {
    const stateDir = await directoryFor(t)
    const module = JSON.stringify(new URL('./sandbox.ts', import.meta.url).href)
    const code = `import { startSandbox } from ${module}
      const sandbox = await startSandbox({ port: 0, stateDir: ${JSON.stringify(stateDir)} })
      console.log(JSON.stringify(sandbox.describe()))`
    const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    const [said] = (await once(child.stdout, 'data')) as [Buffer]
    const description = JSON.parse(said.toString()) as ReturnType<Sandbox['describe']>
    const pay = buyerOf({ describe: () => description } as Sandbox)
    assert.equal((await pay(description.routes[0]?.url ?? '')).status, 200)
    child.kill('SIGKILL')
    await once(child, 'exit')

    const second = await sandboxFor(t, { stateDir })
    assert.equal(await earned(second), 1_000n)
    assert.equal(await booked(second), 1_000n)
  })

  test('a chain that cannot be read takes its books with it, and says so', async (t) => {
    const stateDir = await directoryFor(t)
    const first = await startSandbox({ port: 0, stateDir })
    t.after(() => first.stop())
    assert.equal((await buyerOf(first)(first.describe().routes[0]?.url ?? '')).status, 200)
    await first.stop()
    await writeFile(join(stateDir, 'chain.json'), '{"half":')
    const notices: string[] = []
    const notice = (said: string): void => void notices.push(said)
    const second = await sandboxFor(t, { stateDir, notice })
    assert.equal(notices.length, 2)
    assert.equal(await earned(second), 0n)
    assert.equal(await booked(second), 0n)
    assert.equal((await buyerOf(second)(second.describe().routes[0]?.url ?? '')).status, 200)
  })

  test('keys are made by chance, for this directory, for its owner alone', async (t) => {
    const stateDir = await directoryFor(t)
    const one = await sandboxFor(t, { stateDir })
    const other = await sandboxFor(t)
    assert.notEqual(one.describe().buyer.privateKey, other.describe().buyer.privateKey)
    assert.notEqual(one.describe().seller.address, other.describe().seller.address)
    const file = join(stateDir, 'keys.json')
    if (process.platform !== 'win32') assert.equal((await stat(file)).mode & 0o777, 0o600)
    assert.ok((await readFile(file, 'utf8')).includes(one.describe().buyer.privateKey))
  })

  test('stop leaves neither listener nor node, with a stream under way, and may be called twice', async (t) => {
    const sandbox = await sandboxFor(t)
    const { gateway, rpc, routes } = sandbox.describe()
    const events = await buyerOf(sandbox)(routes[3]?.url ?? '')
    assert.equal(events.status, 200)
    await Promise.all([sandbox.stop(), sandbox.stop()])
    await assert.rejects(events.text())
    for (const url of [gateway, rpc, sandbox.chain.rpc]) await assert.rejects(fetch(url), TypeError)
    assert.throws(() => process.kill(sandbox.chain.pid, 0), { code: 'ESRCH' })
  })

  test('a directory or a port in use is refused with a sentence and nothing is left', async (t) => {
    const stateDir = await directoryFor(t)
    const first = await sandboxFor(t, { stateDir })
    await assert.rejects(startSandbox({ port: 0, stateDir }), /Another sandbox runs/)
    const port = Number(new URL(first.describe().gateway).port)
    const elsewhere = await directoryFor(t)
    await assert.rejects(startSandbox({ port, stateDir: elsewhere }), /TOLSEY_PORT/)
    // What was taken before the fault was given back.
    await sandboxFor(t, { stateDir: elsewhere })
  })
})

suite('faults', () => {
  const get = shared()

  test('are seen, set and ended on the gateway, by programs of this machine alone', async () => {
    const sandbox = get()
    const url = sandbox.describe().gateway + FAULTS_PATH
    const shown = async (): Promise<{ drop: number }> =>
      (await (await fetch(url)).json()) as { drop: number }
    assert.equal((await shown()).drop, 0)
    assert.equal((await setFaults(sandbox, { drop: 2 })).status, 200)
    assert.equal((await shown()).drop, 2)
    assert.equal((await setFaults(sandbox, { nonsense: 1 })).status, 400)
    assert.equal((await setFaults(sandbox, { reorg: 0 })).status, 400)
    const json = { 'content-type': 'application/json' }
    const page = {
      method: 'POST',
      body: '{"drop": 9}',
      headers: { ...json, origin: 'http://evil' },
    }
    assert.equal((await fetch(url, page)).status, 403)
    assert.equal((await fetch(url, { method: 'POST', body: '{"drop": 9}' })).status, 403)
    assert.equal((await shown()).drop, 2)
    const ended = await fetch(url, { method: 'DELETE' })
    assert.equal(ended.status, 200)
    assert.equal((await shown()).drop, 0)
  })

  test('a lost answer has been paid, once', async () => {
    const sandbox = get()
    const gained = await meter(sandbox)
    const url = sandbox.describe().routes[0]?.url ?? ''
    await setFaults(sandbox, { loseAnswers: 1 })
    await assert.rejects(buyerOf(sandbox)(url))
    assert.equal(await gained(), 1_000n)
    assert.equal((await buyerOf(sandbox)(url)).status, 200)
    assert.equal(await gained(), 2_000n)
  })

  test('with the answer of the node lost, the buyer is served and charged once', async () => {
    const sandbox = get()
    const gained = await meter(sandbox)
    await setFaults(sandbox, { loseSends: 1 })
    const response = await buyerOf(sandbox)(sandbox.describe().routes[0]?.url ?? '')
    assert.equal(response.status, 200)
    assert.equal(await gained(), 1_000n)
  })

  test('a dead node sells nothing and takes nothing; alive again, it sells', async () => {
    const sandbox = get()
    const gained = await meter(sandbox)
    const url = sandbox.describe().routes[0]?.url ?? ''
    await setFaults(sandbox, { deadRpc: true })
    assert.equal((await buyerOf(sandbox)(url)).status, 503)
    assert.equal(await gained(), 0n)
    await setFaults(sandbox, { deadRpc: false })
    assert.equal((await buyerOf(sandbox)(url)).status, 200)
    assert.equal(await gained(), 1_000n)
  })

  test('a delayed transaction is waited for', async () => {
    const sandbox = get()
    const gained = await meter(sandbox)
    await setFaults(sandbox, { delayMs: 200 })
    const response = await buyerOf(sandbox)(sandbox.describe().routes[0]?.url ?? '')
    await setFaults(sandbox, { delayMs: 0 })
    assert.equal(response.status, 200)
    assert.equal(await gained(), 1_000n)
  })

  test('a reorganisation takes the payment back from the chain', async () => {
    const sandbox = get()
    const gained = await meter(sandbox)
    const url = sandbox.describe().routes[0]?.url ?? ''
    // Whoever asks the chain seldom makes a block with each call, so that one may come to lie above the payment at any time: all
    // go back that came since then, and as many of these empty ones as there is room for.
    const spare = 10
    await sandbox.chain.mine(spare)
    const height = async (): Promise<number> =>
      Number(await sandbox.chain.request('eth_blockNumber'))
    const from = await height()
    assert.equal((await buyerOf(sandbox)(url)).status, 200)
    assert.equal(await gained(), 1_000n)
    const before = await earned(sandbox)
    const reorg = (await height()) - from + spare
    assert.equal((await setFaults(sandbox, { reorg })).status, 200)
    assert.equal(before - (await earned(sandbox)), 1_000n)
  })
})
