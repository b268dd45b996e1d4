import assert from 'node:assert/strict'
import { test } from 'node:test'
import { writePrice } from '../core/money.ts'
import type { MeterSettings } from './meters.ts'
import { createMeters } from './meters.ts'

const SSE = 'text/event-stream'
const delta = (content: string): Buffer =>
  Buffer.from(`data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`)
const used = (usage: object): Buffer => Buffer.from(`data: ${JSON.stringify({ usage })}\n\n`)

test('tokens are estimated while they stream, and are then what the model says', () => {
  const meters = createMeters({
    per: 'token',
    input: '0.000001 USD',
    cached: '0.0000001 USD',
    output: '0.000004 USD',
  })
  const counter = meters({ contentType: SSE, requestChars: 41 })
  assert.equal(writePrice(counter.begin()), '0.000011 USD')
  assert.equal(writePrice(counter.chunk(delta('12345678'))), '0.000008 USD')
  assert.equal(writePrice(counter.chunk(delta('9'))), '0.000004 USD')
  assert.equal(writePrice(counter.chunk(delta('0'))), '0 USD')
  assert.equal(counter.total(), undefined)

  const told = meters({ contentType: SSE, requestChars: 41 })
  told.chunk(delta('12345678'))
  const usage = {
    prompt_tokens: 30,
    completion_tokens: 5,
    prompt_tokens_details: { cached_tokens: 20 },
  }
  assert.equal(writePrice(told.chunk(used(usage))), '0 USD')
  const total = told.total()
  // 10 read, 20 cached, 5 written.
  assert.equal(total && writePrice(total), '0.000032 USD')
})

test('seconds, bytes and events cost what they are', () => {
  const seconds = createMeters({ per: 'second', price: '0.0002 USD' })({
    contentType: '',
    requestChars: 0,
  })
  assert.equal(writePrice(seconds.begin()), '0.0002 USD')
  assert.equal(seconds.second && writePrice(seconds.second), '0.0002 USD')
  assert.equal(writePrice(seconds.chunk(Buffer.alloc(9))), '0 USD')
  const bytes = createMeters({ per: 'byte', price: '0.000000001 USD' })({
    contentType: '',
    requestChars: 9,
  })
  assert.equal(writePrice(bytes.begin()), '0 USD')
  assert.equal(writePrice(bytes.chunk(Buffer.alloc(1_024))), '0.000001024 USD')
  const events = createMeters({ per: 'event', price: '0.01 USD' })({
    contentType: SSE,
    requestChars: 0,
  })
  const three = Buffer.concat([delta('a'), delta('b'), delta('c').subarray(0, 5)])
  assert.equal(writePrice(events.chunk(three)), '0.02 USD')
  assert.equal(writePrice(events.chunk(delta('c').subarray(5))), '0.01 USD')
  assert.equal(events.total(), undefined)
})

test('what cannot be meant is refused with a sentence', () => {
  const wrong: readonly MeterSettings[] = [
    { per: 'token' },
    { per: 'token', input: '0 USD', output: '0 USD' },
    { per: 'token', input: '1 USD', output: '1 EUR' },
    { per: 'byte', price: 'much' },
    { per: 'second', price: '0.0000000000000000001 USD' },
  ]
  for (const settings of wrong) assert.throws(() => createMeters(settings), RangeError)
})
