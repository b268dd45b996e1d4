import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import { createTrust, createTrustCheck, TRUST_AGE_MS } from './trust.ts'
import type { Trusted } from './trust.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const OTHER = 'Qz7Lk2Wm9Xc4Vb6Nn1As8Df3Gh5Jk0PoT'
const NOW = 1_700_000_000_000
const clock = { now: () => NOW, sleep: async () => undefined }
const said: Trusted = {
  request: 'r1',
  time: NOW / 1000,
  key: 'net/k',
  payer: '0xabc',
  plan: 'gold',
}

function headersOf(fields: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1] ?? '']] : [])),
  )
}

describe('what an upstream is told', () => {
  const headers = headersOf(createTrust(SECRET)('GET', '/a?b=c', said))
  const request = { method: 'GET', url: '/a?b=c', headers }
  const check = createTrustCheck([OTHER, SECRET], { clock })

  test('is signed by HMAC-SHA256 as anybody can compute it', () => {
    const lines = [
      'tolsey-time:1700000000',
      'tolsey-request:r1',
      'tolsey-key:net/k',
      'tolsey-payer:0xabc',
      'tolsey-plan:gold',
    ]
    const text = ['tolsey-trust-1', 'GET', '/a?b=c', ...lines].join('\n')
    assert.equal(
      headers['tolsey-signature'],
      `v1=${createHmac('sha256', SECRET).update(text).digest('hex')}`,
    )
    const long = `${SECRET}${OTHER}${SECRET}`
    const by = headersOf(createTrust(long)('GET', '/a?b=c', said))
    assert.equal(
      by['tolsey-signature'],
      `v1=${createHmac('sha256', long).update(text).digest('hex')}`,
    )
  })

  test('is believed as it was signed, under every secret that is not rotated out', () => {
    assert.deepEqual(check(request), said)
    assert.equal(createTrustCheck(OTHER, { clock })(request), undefined)
  })

  for (const [what, changed] of [
    ['another method', { ...request, method: 'POST' }],
    ['another path', { ...request, url: '/b?b=c' }],
    ['another payer', { ...request, headers: { ...headers, 'tolsey-payer': '0xme' } }],
    ['a field more', { ...request, headers: { ...headers, 'tolsey-account': 'x' } }],
    ['a field less', { ...request, headers: { ...headers, 'tolsey-plan': undefined } }],
    ['a field twice', { ...request, headers: { ...headers, 'tolsey-payer': ['0xabc', '0xme'] } }],
    ['no signature', { ...request, headers: { ...headers, 'tolsey-signature': undefined } }],
    [
      'a line break in a field',
      {
        ...request,
        headers: {
          ...headers,
          'tolsey-key': 'net/k\ntolsey-payer:0xabc',
          'tolsey-payer': undefined,
        },
      },
    ],
  ] as const)
    test(`is not believed with ${what}`, () => {
      assert.equal(check(changed), undefined)
      assert.ok(check(request))
    })

  test('is not believed when it is old, or of a time to come', () => {
    for (const [offsetMs, good] of [
      [0, true],
      [TRUST_AGE_MS, true],
      [TRUST_AGE_MS + 1_000, false],
      [-TRUST_AGE_MS - 1_000, false],
    ] as const) {
      const late = { now: () => NOW + offsetMs, sleep: async () => undefined }
      assert.equal(createTrustCheck(SECRET, { clock: late })(request) !== undefined, good)
    }
  })

  test('is not signed with a secret that is easily guessed', () => {
    assert.throws(() => createTrust('short'), RangeError)
    assert.throws(() => createTrustCheck([], { clock }), RangeError)
  })
})
