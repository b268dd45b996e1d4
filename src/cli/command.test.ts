import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { exits, readArguments } from './command.ts'

const command = {
  wordsMax: 1,
  options: {
    header: { type: 'string', short: 'H', multiple: true },
    max: { type: 'string' },
    yes: { type: 'boolean', short: 'y' },
  },
} as const

function refused(argv: readonly string[], message: RegExp): void {
  assert.throws(() => readArguments(argv, command), { name: 'Failure', exit: exits.usage, message })
}

describe('arguments', () => {
  test('are read wherever they stand', () => {
    const read = readArguments(
      ['-H', 'A: 1', 'http://x', '--max', '0.05 USD', '--header=B: 2', '-y'],
      command,
    )
    assert.deepEqual(read.words, ['http://x'])
    assert.deepEqual(read.texts('header'), ['A: 1', 'B: 2'])
    assert.equal(read.text('max'), '0.05 USD')
    assert.equal(read.flag('yes'), true)
    assert.equal(read.flag('no'), false)
    assert.equal(read.text('no'), undefined)
  })

  test('an unknown option is named with its nearest neighbour', () => {
    refused(['--mx', '1'], /There is no option --mx\. Did you mean --max\?/)
    refused(['--frobnicate'], /^There is no option --frobnicate\.$/)
    refused(['-q'], /There is no option -q\./)
    refused(['--__proto__'], /There is no option/)
    refused(['--constructor'], /There is no option/)
  })

  test('a forgotten value is not taken from the next option', () => {
    refused(['--max', '--yes'], /The option --max needs a value\./)
    refused(['--max'], /The option --max needs a value\./)
    assert.equal(readArguments(['--max=-1'], command).text('max'), '-1')
  })

  test('a flag takes no value, and there are no words too many', () => {
    refused(['--yes=no'], /The option --yes takes no value\./)
    refused(['a', 'b'], /"b" is one word too many\./)
  })
})
