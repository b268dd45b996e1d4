import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { command, tolsey } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'

let directory = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tolsey-cli-'))
})
after(() => rm(directory, { recursive: true, force: true }))

const run = (...argv: string[]): Promise<End> => command(argv, { cwd: directory })

describe('the program', () => {
  test('tells its version', async () => {
    const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
    const { code, stdout } = await run('--version')
    assert.deepEqual({ code, stdout }, { code: 0, stdout: `${JSON.parse(text).version}\n` })
  })

  test('helps, without colours or warnings in a pipe', async () => {
    const { code, stdout, stderr } = await tolsey(['--help'], { cwd: directory })
    assert.equal(code, 0)
    assert.equal(stderr, '')
    for (const name of ['sandbox', 'pay', 'inspect', 'wallet', 'verify'])
      assert.match(stdout, new RegExp(`^  ${name} {2,}[A-Z]`, 'm'))
    assert.ok(!stdout.includes('\u001B'))
    assert.equal((await run()).stdout, stdout)
  })

  test('helps with each command, with an example', async () => {
    for (const name of ['sandbox', 'pay', 'inspect', 'wallet', 'verify']) {
      const { code, stdout } = await run(name, '--help')
      assert.equal(code, 0)
      assert.match(stdout, new RegExp(`^Usage: tolsey ${name}`))
      assert.match(stdout, new RegExp(`^Examples?:\\n  (?:\\w+=\\S+ )?tolsey ${name}`, 'm'))
    }
  })

  test('answers a wrong command or option with a sentence and the nearest right one', async () => {
    for (const [argv, expected] of [
      [['inspct', 'http://x'], /There is no command "inspct"\. Did you mean "inspect"\?/],
      [['--versoin'], /There is no option "--versoin"\./],
      [['frobnicate'], /There is no command "frobnicate"\.\n/],
      [['pay', 'http://127.0.0.1:1', '--mxa', '1'], /no option --mxa\. Did you mean --max\?/],
      [['pay'], /A URL is missing\.\n.*tolsey pay --help/],
      [['inspect', 'ftp://x'], /"ftp:\/\/x" is not a URL of a web server\./],
      [['inspect', 'http://u:hunter2@x'], /may not carry a password/],
      [['inspect', 'http://x', '-H', 'nonsense'], /A header is written like/],
      [['inspect', 'http://x', '-d', '@missing'], /The file missing cannot be read/],
    ] as const) {
      const { code, stdout, stderr } = await run(...argv)
      assert.equal(code, 2, `${argv.join(' ')}: ${stderr}`)
      assert.equal(stdout, '')
      assert.match(stderr, expected)
      assert.doesNotMatch(stderr, /^\s+at |hunter2/m)
    }
  })

  test('tells a program that asked for JSON what went wrong', async () => {
    const { code, stdout } = await run('pay', 'http://127.0.0.1:9/', '--json', '--max', 'much')
    assert.equal(code, 2)
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } }
    assert.equal(error.code, 'usage')
    assert.match(error.message, /--max is an amount/)
  })

  test('a wrong setting is a sentence too', async () => {
    const { code, stderr } = await command(['--help'], {
      cwd: directory,
      env: { TOLSEY_PORT: 'x' },
    })
    assert.equal(code, 2)
    assert.match(stderr, /TOLSEY_PORT must be a port/)
  })

  test('shows where an error came from only when debugging', async () => {
    const argv = ['inspect', 'http://127.0.0.1:1/']
    const plain = await command(argv, { cwd: directory })
    assert.equal(plain.code, 1)
    assert.match(plain.stderr, /127\.0\.0\.1:1 cannot be asked: .*\./)
    assert.doesNotMatch(plain.stderr, /^\s+at /m)
    const debug = await command(argv, { cwd: directory, env: { TOLSEY_DEBUG: '1' } })
    assert.match(debug.stderr, /^\s+at /m)
  })
})
