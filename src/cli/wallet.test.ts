// Each test has a home of its own.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { command } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tolsey-wallet-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const privateKey = `0x${'11'.repeat(32)}`
const address = '0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A'
const password = { TOLSEY_PASSWORD: 'correct horse' }

function run(argv: readonly string[], env: Record<string, string> = {}, stdin = ''): Promise<End> {
  return command(['wallet', ...argv], { cwd: directory, env, stdin })
}

const file = (): string => join(directory, 'data', 'tolsey', 'wallet.json')

describe('a wallet', () => {
  test('is made once, readable by its owner only, and can be opened again', async () => {
    const made = await run(['new', '--text'], password)
    assert.equal(made.code, 0, made.stderr)
    const shown = made.stdout.trim()
    assert.match(shown, /^0x[0-9a-fA-F]{40}$/)
    assert.equal((await stat(file())).mode & 0o777, 0o600)
    assert.equal((await run(['address'])).stdout.trim().toLowerCase(), shown.toLowerCase())

    const { stdout: key } = await run(['export', '--reveal'], password)
    assert.match(key, /^0x[0-9a-f]{64}\n$/)
    const again = await run(['address'], { TOLSEY_PRIVATE_KEY: key.trim() })
    assert.equal(again.stdout.trim(), shown)

    const kept = await readFile(file(), 'utf8')
    const second = await run(['new'], password)
    assert.equal(second.code, 1)
    assert.match(second.stderr, /There is a wallet at .* already; it stays\./)
    assert.equal(await readFile(file(), 'utf8'), kept)
    assert.deepEqual(await readdir(join(directory, 'data', 'tolsey')), ['wallet.json'])
  })

  test('can be imported from stdin, and opens with its own password only', async () => {
    const { code, stdout } = await run(['import'], password, `${privateKey.slice(2)}\n`)
    assert.equal(code, 0)
    assert.equal((JSON.parse(stdout) as { address: string }).address, address)
    const { stdout: key } = await run(['export', '--reveal'], password)
    assert.equal(key.trim(), privateKey)
    const wrong = await run(['export', '--reveal'], { TOLSEY_PASSWORD: 'wrong horse' })
    assert.deepEqual([wrong.code, wrong.stdout], [1, ''])
    assert.match(wrong.stderr, /password does not open the keystore/)
    assert.match((await run(['export', '--reveal'])).stderr, /set TOLSEY_PASSWORD/)
  })

  test('never shows its key without --reveal, nor a mistyped one at all', async () => {
    const env = { ...password, TOLSEY_PRIVATE_KEY: privateKey }
    for (const argv of [[], ['show', '--text'], ['export'], ['address'], ['import']]) {
      const { stdout, stderr } = await run(argv, env)
      assert.doesNotMatch(stdout + stderr, /1{64}/, argv.join(' '))
    }
    assert.equal((await run(['export'], env)).code, 2)
    for (const text of [
      privateKey.slice(0, -1),
      `${privateKey}00`,
      '0xzz',
      privateKey.replace('0x', '0y'),
    ]) {
      const { code, stdout, stderr } = await run(['import'], password, text)
      assert.equal(code, 2)
      assert.match(stderr, /This is not a private key/)
      assert.doesNotMatch(stdout + stderr, /1{20}/)
    }
  })

  test('is asked for in a sentence when there is none', async () => {
    const { code, stderr } = await run(['show'])
    assert.equal(code, 1)
    assert.match(stderr, /There is no wallet at .*wallet\.json\. Make one with "tolsey wallet new"/)
    assert.match((await run(['shwo'])).stderr, /Did you mean "show"\?/)
    assert.match((await run(['new'], { TOLSEY_PASSWORD: 'short' })).stderr, /at least 8 characters/)
  })
})
