import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { createTerminal } from './terminal.ts'

function streams(isTTY: boolean) {
  const make = (): PassThrough & { isTTY: boolean } => Object.assign(new PassThrough(), { isTTY })
  const [stdin, stdout, stderr] = [make(), make(), make()]
  return { stdin, stdout, stderr }
}

const said = (stream: PassThrough): string => String(stream.read() ?? '')

describe('on a terminal', () => {
  test('progress is replaced by what comes next', () => {
    const s = streams(true)
    const terminal = createTerminal(s, 'auto')
    terminal.progress('Waiting …')
    terminal.note('Done.')
    const text = said(s.stderr)
    assert.ok(text.includes('Waiting …') && text.endsWith('\r\u001B[KDone.\n'), text)
  })

  test('parts can be coloured, unless that is not wanted', () => {
    assert.equal(createTerminal(streams(true), 'auto').paint('red', 'x'), '\u001B[31mx\u001B[39m')
    assert.equal(createTerminal(streams(true), 'never').paint('red', 'x'), 'x')
    assert.equal(createTerminal(streams(false), 'always').tint('red', 'x'), '\u001B[31mx\u001B[39m')
  })

  test('only yes is yes', async () => {
    for (const [answer, expected] of [
      ['y\n', true],
      ['YES\n', true],
      ['\n', false],
      ['yeah\n', false],
      ['n\n', false],
    ] as const) {
      const s = streams(true)
      const answered = createTerminal(s, 'auto').confirm('Pay?')
      s.stdin.write(answer)
      assert.equal(await answered, expected, answer)
      assert.match(said(s.stderr), /Pay\? \[y\/N\]/)
    }
  })

  test('an end of the input is no, and two questions can be asked', async () => {
    const s = streams(true)
    const terminal = createTerminal(s, 'auto')
    const first = terminal.confirm('One?')
    s.stdin.write('y\n')
    assert.equal(await first, true)
    const second = terminal.confirm('Two?')
    s.stdin.end()
    assert.equal(await second, false)
  })

  test('a secret is not shown while it is typed', async () => {
    const s = streams(true)
    const answered = createTerminal(s, 'auto').secret('Password:')
    s.stdin.write('hunter2\n')
    assert.equal(await answered, 'hunter2')
    assert.doesNotMatch(said(s.stderr) + said(s.stdout), /hunter2|h.*u.*n.*t/)
  })
})

describe('in a pipe', () => {
  test('there are no colours and no progress, and nobody is asked', async () => {
    const s = streams(false)
    const terminal = createTerminal(s, 'auto')
    terminal.progress('Waiting …')
    terminal.out(terminal.paint('red', 'result'))
    assert.equal(await terminal.confirm('Pay?'), false)
    assert.equal(await terminal.secret('Password:'), undefined)
    assert.equal(said(s.stderr), '')
    assert.equal(said(s.stdout), 'result\n')
  })
})
