import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { command } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'
import { createMacaroons } from '../tokens/macaroon/index.ts'

const macaroons = createMacaroons({ secrets: ['a secret of forty characters, to be safe'] })
const identifier = { paymentHash: Buffer.alloc(32, 1), tokenId: Buffer.alloc(32, 2) }
const whole = macaroons.mint(identifier, ['path=/v1/*'])

const run = (argv: readonly string[], stdin = ''): Promise<End> =>
  command(['token', ...argv], { cwd: import.meta.dirname, stdin })

describe('a token', () => {
  test('is narrowed offline, and says afterwards what it lost', async () => {
    const options = ['--method', 'GET', '--uses', '10', '--expires', '1h', '--budget', '1 USD']
    const { code, stdout, stderr } = await run(['attenuate', whole, ...options])
    assert.equal(code, 0, stderr)
    const checked = macaroons.check(stdout.trim())
    assert(typeof checked === 'object', 'the token is whole')
    const { paths, methods, uses, expiresAt = 0 } = checked.rights
    assert.deepEqual([paths, methods, uses?.[0]?.most], [['/v1/*'], ['GET'], 10])
    assert.ok(Math.abs(expiresAt - Date.now() - 3_600_000) < 60_000)
    const shown = await run(['show', stdout.trim(), '--text'])
    for (const text of ['path=/v1/*', 'method=GET', 'uses=10', 'budget=1 USD', '01'.repeat(32)])
      assert.ok(shown.stdout.includes(text), text)
  })

  test('keeps its preimage, and is read from a pipe', async () => {
    const preimage = 'ab'.repeat(32)
    const { stdout } = await run(['attenuate', '--path', '/v1/a'], `L402 ${whole}:${preimage}\n`)
    const [narrowed = '', rest] = stdout.trim().split(':')
    assert.equal(rest, preimage)
    const checked = macaroons.check(narrowed)
    assert.deepEqual(typeof checked === 'object' && checked.rights.paths, ['/v1/a'])
    const json = JSON.parse((await run(['show'], narrowed)).stdout) as { caveats: unknown }
    assert.deepEqual(json.caveats, [{ says: 'path=/v1/*' }, { says: 'path=/v1/a' }])
  })

  test('is not made worthless by a caveat that nobody knows, and nothing else is taken for one', async () => {
    for (const [argv, code, why] of [
      [['attenuate', whole, '--caveat', 'colour=blue'], 2, /no caveat that is known/],
      [['attenuate', whole, '--expires', 'soon'], 2, /no time/],
      [['attenuate', whole], 2, /what the token is to lose/],
      [['attenuate', 'garbage', '--uses', '1'], 1, /no macaroon/],
      [['atenuate', whole], 2, /Did you mean "attenuate"/],
      [[], 2, /show or attenuate/],
    ] as const) {
      const end = await run(argv)
      assert.equal(end.code, code, end.stderr)
      assert.match(end.stderr, why)
      assert.equal(end.stdout, '')
    }
  })
})
