// Calls the adapter as the conformance suite does, with what the suite asks for.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { JsonObject } from '../../src/core/json.ts'

const file = fileURLToPath(new URL('mpp-adapter.ts', import.meta.url))

function call(op: string, input: JsonObject): Promise<JsonObject> {
  const called = Promise.withResolvers<JsonObject>()
  const child = execFile(process.execPath, [file], (error, stdout) =>
    error ? called.reject(error) : called.resolve(JSON.parse(stdout) as JsonObject),
  )
  child.stdin?.end(JSON.stringify({ schema: 1, op, input }))
  return called.promise
}

const base = { realm: 'api.example.com', method: 'tempo', intent: 'charge' }
const wire =
  'Payment id="a", realm="api.example.com", method="tempo", intent="charge", request="eyJhbW91bnQiOiIxMDAifQ"'
const challenge = { id: 'a', ...base, request: { amount: '100' } }

describe('the adapter for the conformance suite', () => {
  test('makes the ids of the suite', async () => {
    const input = {
      secretKey: 'test-vector-secret-minimum-32-byte-secret',
      ...base,
      request: { amount: '1000000' },
    }
    const price = { amount: '1500', currency: 'USD', recipient: 'merchant' }
    const ids = [
      [{}, '6QDs0BmhrI_v67iWeCMvGqQJEFQ6ErWKlk7zi5xL6t0'],
      [{ expires: '2025-01-06T12:00:00Z' }, 'ZcHgfEi5_Qyda9NQwUzamsCgCcWXw6N6EH2NLyaSTlg'],
      [
        { digest: 'sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE' },
        'vwnOtW2kwdujK9_uC_taI2e6Jwq86Jwogvq9m--i8eQ',
      ],
      [{ header: 'Payment-Authorization' }, 're8MIMJYpIJ0r_aiizscg6ghtipQM8IpOa_NtpwIU8E'],
      [{ header: 'Authorization' }, '6QDs0BmhrI_v67iWeCMvGqQJEFQ6ErWKlk7zi5xL6t0'],
      [
        { request: { ...price, description: 'Access <premium> & analytics' } },
        'iU2QdYw_u-prmGZWxm58jeBakeYE-ib_u77f9vcW76E',
      ],
    ] as const
    for (const [more, id] of ids)
      assert.deepEqual(await call('challenge.id', { ...input, ...more }), {
        ok: true,
        value: { id },
      })
  })

  test('reads and writes challenges', async () => {
    assert.deepEqual(await call('challenge.parse', { header: wire }), {
      ok: true,
      value: challenge,
    })
    assert.deepEqual(await call('challenge.format', challenge), {
      ok: true,
      value: { header: wire },
    })
    for (const [op, input, type] of [
      ['challenge.parse', { header: `${wire}, id="b"` }, 'parse_error'],
      ['challenge.parse', { header: 'Bearer token123' }, 'parse_error'],
      ['challenge.parse', { header: wire.replace('id="a"', 'id=""') }, 'parse_error'],
      ['challenge.format', { ...challenge, description: 'a\r\nb' }, 'format_error'],
      ['else', {}, 'unsupported_operation'],
    ] as const) {
      const said = await call(op, input)
      assert.equal((said['error'] as JsonObject | undefined)?.['type'], type)
    }
  })

  test('reads and writes credentials and receipts', async () => {
    const credential = { challenge, payload: { type: 'hash' }, source: 'did:pkh:eip155:1:0x1' }
    const receipt = { status: 'success', method: 'tempo', reference: 'r', timestamp: 't' }
    for (const [kind, said] of Object.entries({ credential, receipt })) {
      const { value } = await call(`${kind}.format`, said)
      assert.deepEqual(await call(`${kind}.parse`, value as JsonObject), { ok: true, value: said })
      const broken = await call(`${kind}.parse`, { header: 'Payment !!' })
      assert.equal((broken['error'] as JsonObject | undefined)?.['type'], 'parse_error')
    }
  })
})
