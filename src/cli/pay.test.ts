// Against plain servers, without a chain: what is not a payment. Payments are in sandbox.test.ts.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { command, tolsey } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'

const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 31) & 0xff))
const terms = {
  scheme: 'exact',
  network: 'eip155:84532',
  amount: '1000',
  asset: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
  payTo: '0xe8B1ff302A740fD2C6e76B620d45508dAEc2DDFf',
  maxTimeoutSeconds: 300,
  extra: { name: 'USDC', version: '2' },
}
const challenge = Buffer.from(JSON.stringify({ x402Version: 2, accepts: [terms] })).toString(
  'base64',
)

let server: Server
let origin = ''
let directory = ''
let asked = 0
/** What a seller says one after the other who is away, and at the address of a task. */
let away: readonly number[] = []
let states: readonly string[] = []
const TASK = '/.well-known/tolsey/tasks/film'

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tolsey-pay-'))
  server = createServer((request, response) => {
    asked++
    const headers = { 'content-type': 'application/octet-stream', 'x-said': 'yes' }
    if (request.url === '/binary') response.writeHead(200, headers).end(bytes)
    else if (request.url === '/text') response.end('Grüße')
    else if (request.url === '/bill') response.writeHead(402).end('Your account is suspended.')
    else if (request.url === '/priced')
      response.writeHead(402, { 'payment-required': challenge }).end('{}')
    else if (request.url === '/away' && away.length > 0) {
      away = away.slice(1)
      const json = { 'content-type': 'application/problem+json' }
      response.writeHead(503, json).end('{"code":"rail-unavailable"}')
    } else if (request.url === '/away') response.end('back')
    else if (request.url === '/film' && request.headers['payment-signature'])
      response.writeHead(202, { location: TASK }).end('{"state":"accepted"}')
    else if (request.url === '/film')
      response.writeHead(402, { 'payment-required': challenge }).end('{}')
    else if (request.url === TASK && states[0] !== undefined) {
      response.writeHead(200, { 'content-type': 'application/json', 'tolsey-task': states[0] })
      response.end('{"waits":"The service behind was away.","progress":0.5,"why":"late"}')
      states = states.slice(1)
    } else if (request.url === TASK) response.end('a film of four scenes')
    else if (request.url === '/cut') {
      response.writeHead(200, { 'content-length': 100 }).write('half', () => response.destroy())
    } else if (request.url === '/echo') request.pipe(response)
    else response.writeHead(500).end('broken')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(async () => {
  server.closeAllConnections()
  server.close()
  await rm(directory, { recursive: true, force: true })
})

function pay(path: string, ...argv: string[]): Promise<End> {
  return command(['pay', origin + path, ...argv], { cwd: directory })
}

describe('an answer without a payment', () => {
  test('reaches stdout byte for byte, from the real program too', async () => {
    const { code, bytes: said, stderr } = await pay('/binary')
    assert.deepEqual([code, stderr], [0, ''])
    assert.ok(said.equals(bytes))
    const spawned = await tolsey(['pay', `${origin}/binary`], { cwd: directory })
    assert.ok(spawned.bytes.equals(bytes))
  })

  test('is text or base64 in JSON', async () => {
    const text = JSON.parse((await pay('/text', '--json')).stdout) as Record<string, unknown>
    assert.deepEqual([text['status'], text['body'], text['payment']], [200, 'Grüße', undefined])
    const binary = JSON.parse((await pay('/binary', '--json')).stdout) as { bodyBase64: string }
    assert.ok(Buffer.from(binary.bodyBase64, 'base64').equals(bytes))
  })

  test('is preceded by its head with -i, and goes into a file with -o', async () => {
    const { stdout } = await pay('/text', '-i')
    assert.match(stdout, /^HTTP 200 OK\r\n(?:[\w-]+: .*\r\n)+\r\nGrüße$/)
    assert.equal((await pay('/binary', '-o', 'out.bin')).code, 0)
    assert.ok((await readFile(join(directory, 'out.bin'))).equals(bytes))
    const nowhere = await pay('/text', '-o', 'missing/out.txt')
    assert.equal(nowhere.code, 1)
    assert.match(nowhere.stderr, /The file .*missing\/out\.txt cannot be written\./)
  })

  test('that breaks off is an error, and leaves no half file', async () => {
    const { code, stderr } = await pay('/cut', '-o', 'cut.txt')
    assert.equal(code, 1)
    assert.match(stderr, /broke off in the middle/)
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.startsWith('cut')),
      [],
    )
    assert.equal((await pay('/cut')).code, 1)
  })

  test('is an error when its status is one, with the body all the same', async () => {
    const { code, stdout, stderr } = await pay('/broken')
    assert.deepEqual([code, stdout], [1, 'broken'])
    assert.match(stderr, /status 500\. Nothing was paid\./)
  })

  test('takes a body from stdin', async () => {
    const argv = ['pay', `${origin}/echo`, '-d', '@-']
    const { bytes: said } = await command(argv, { cwd: directory, stdin: bytes })
    assert.ok(said.equals(bytes))
  })
})

describe('a 402 that cannot be paid', () => {
  test('because it makes no offer is handed through', async () => {
    const { code, stdout, stderr } = await pay('/bill', '--yes')
    assert.deepEqual([code, stdout], [3, 'Your account is suspended.'])
    assert.match(stderr, /without an offer.*tolsey inspect.*Nothing was paid/)
  })

  test('for want of a wallet says how to get one, asks once, and leaves nothing behind', async () => {
    asked = 0
    const { code, stdout, stderr } = await pay('/priced', '--yes')
    assert.deepEqual([code, stdout, asked], [3, '', 1])
    assert.match(stderr, /There is no wallet: make one with "tolsey wallet new"/)
    assert.ok(!(await readdir(directory)).includes('data'))
  })

  test('for want of consent is not signed', async () => {
    const env = { TOLSEY_PRIVATE_KEY: `0x${'11'.repeat(32)}` }
    asked = 0
    const { code, stdout, stderr } = await command(['pay', `${origin}/priced`], {
      cwd: directory,
      env,
    })
    assert.deepEqual([code, stdout, asked], [3, '', 1])
    assert.match(stderr, /nobody is here to be asked/)
  })

  test('a key that is none is refused without being shown', async () => {
    const env = { TOLSEY_PRIVATE_KEY: 'hunter2' }
    const { code, stderr } = await command(['pay', `${origin}/text`], { cwd: directory, env })
    assert.notEqual(code, 0)
    assert.doesNotMatch(stderr, /hunter2/)
  })
})

describe('what is waited for', () => {
  const key = { TOLSEY_PRIVATE_KEY: `0x${'11'.repeat(32)}` }
  const film = (...argv: string[]): Promise<End> =>
    command(['pay', `${origin}/film`, '--yes', ...argv], { cwd: directory, env: key })

  test('is said in a line each time, unless nothing is to be said', async () => {
    away = [503, 503]
    const { code, stdout, stderr } = await pay('/away')
    assert.deepEqual([code, stdout], [0, 'back'])
    assert.equal(
      stderr.match(/cannot answer just now \(503\)\. Asking again in \d+\.\d s\./g)?.length,
      2,
    )
    away = [503]
    assert.equal((await pay('/away', '-s')).stderr, '')
  })

  test('is also the result of what the seller has taken, which is the answer when it is there', async () => {
    states = ['accepted', 'running']
    const { code, stdout, stderr } = await film()
    assert.deepEqual([code, stdout], [0, 'a film of four scenes'], stderr)
    assert.match(stderr, /The request waits at the seller’s: The service behind was away\. Asking/)
    assert.match(stderr, /The seller works on it \(50 %\)\. Asking again in/)
  })

  test('is told when it has failed, and is not waited for longer than was typed', async () => {
    states = ['failed']
    const failed = await film()
    assert.deepEqual([failed.code, failed.stdout], [4, ''])
    assert.match(failed.stderr, /could not do it \(why: late/)
    const { code, stdout } = await film('--wait', '0s')
    assert.deepEqual([code, stdout], [0, '{"state":"accepted"}'])
    assert.equal((await film('--wait', 'long')).code, 2)
  })
})
