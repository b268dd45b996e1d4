import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { clean, columns, count, list, nearest, SHOWN_CHARS_MAX, span } from './text.ts'

describe('text for people', () => {
  test('a stranger cannot move the cursor, colour, reverse or lengthen what is shown', () => {
    assert.equal(clean('pay\u001B[2J\u001B[1;1H 0.01\r\nUSDC'), 'pay [2J [1;1H 0.01 USDC')
    assert.equal(clean('\u202Egnp.exe\u2066\u200Bx\u009Bm\u0000'), 'gnp.exe x m')
    assert.equal(clean('x'.repeat(SHOWN_CHARS_MAX + 1)).length, SHOWN_CHARS_MAX)
    assert.equal(clean('x'.repeat(SHOWN_CHARS_MAX)), 'x'.repeat(SHOWN_CHARS_MAX))
    assert.equal(clean('Grüße, 天気 ☀'), 'Grüße, 天気 ☀')
  })

  test('spans are in the largest unit that fits', () => {
    assert.deepEqual(
      [0, 999, 1000, 59_999, 60_000, 300_000, 3_600_000, 86_400_000 * 365].map(span),
      [
        '0 seconds',
        '0 seconds',
        '1 second',
        '59 seconds',
        '1 minute',
        '5 minutes',
        '1 hour',
        '1 year',
      ],
    )
  })

  test('words are counted and listed', () => {
    assert.deepEqual([count(1, 'offer'), count(2, 'offer')], ['1 offer', '2 offers'])
    assert.deepEqual(
      [list([]), list(['a']), list(['a', 'b']), list(['a', 'b', 'c'])],
      ['', 'a', 'a and b', 'a, b and c'],
    )
  })

  test('columns are as wide as their widest cell', () => {
    assert.deepEqual(
      columns([
        ['a', 'b', ''],
        ['long', 'c', 'd'],
      ]),
      ['  a     b', '  long  c  d'],
    )
  })

  test('a mistyped word finds its neighbour, a foreign one none', () => {
    const known = ['sandbox', 'pay', 'inspect', 'wallet', 'verify']
    assert.equal(nearest('sanbox', known), 'sandbox')
    assert.equal(nearest('pya', known), 'pay')
    assert.equal(nearest('Verfiy', known), 'verify')
    assert.equal(nearest('insp', known), 'inspect')
    assert.equal(nearest('frobnicate', known), undefined)
  })
})
