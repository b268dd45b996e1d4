// Each attack stands beside the honest delivery that it was made from.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SECRET } from './fixture.test.ts'
import { createReplays, createSigner, TOLERANCE_MS, verifyWebhook } from './signature.ts'
import type { Verified, VerifySettings } from './signature.ts'

const OTHER = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const NOW = 1_800_000_000_000
const clock = { now: () => NOW }
const event = { specversion: '1.0', id: '1-a', source: 's', type: 't', data: { units: '10000' } }
const body = JSON.stringify(event)

function lastFlipped(base64: string): Buffer {
  const bytes = Buffer.from(base64, 'base64')
  bytes[31] = (bytes[31] ?? 0) ^ 1
  return bytes
}

type Delivery = Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>

function honest(secrets: string | readonly string[] = SECRET, at = NOW, text = body): Delivery {
  const timestamp = `${at / 1_000}`
  const signature = createSigner(secrets).sign('1-a', timestamp, text)
  return { 'webhook-id': '1-a', 'webhook-timestamp': timestamp, 'webhook-signature': signature }
}

function verify(
  said: Partial<Delivery>,
  text = body,
  rest: Partial<VerifySettings> = {},
): Verified {
  return verifyWebhook(new Headers(said), text, { secrets: SECRET, clock, ...rest })
}

describe('a signature', () => {
  test('is that of Standard Webhooks 1.0', () => {
    // The vector that libraries of the standard share.
    const signer = createSigner('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')
    assert.equal(
      signer.sign('msg_p5jXN8AQM9LWM0D4loKWxJek', '1614265330', '{"test": 2432232314}'),
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    )
  })

  test('stands under each secret while they are rotated, and either side may be first', () => {
    const both = honest([OTHER, SECRET])
    assert.equal(both['webhook-signature'].split(' ').length, 2)
    assert.ok(verify(both).ok)
    assert.ok(verify(both, body, { secrets: OTHER }).ok)
    assert.ok(verify(honest(OTHER), body, { secrets: [SECRET, OTHER] }).ok)
    assert.equal(verify(honest(OTHER)).ok, false)
  })

  test('wants a secret that is one, and tells none', () => {
    const short = `whsec_${Buffer.alloc(23, 7).toString('base64')}`
    const long = `whsec_${Buffer.alloc(65, 7).toString('base64')}`
    for (const wrong of ['', 'swordfish', SECRET.slice(6), short, long, `${SECRET} `])
      assert.throws(
        () => createSigner(wrong),
        (error: unknown) =>
          error instanceof RangeError && (wrong === '' || !error.message.includes(wrong)),
      )
    assert.throws(() => createSigner([]), RangeError)
    assert.throws(() => createSigner(Array.from({ length: 5 }, () => SECRET)), RangeError)
  })
})

describe('a delivery', () => {
  test('is taken as it was sent, alone and as a batch', () => {
    const verified = verify(honest())
    assert.ok(verified.ok)
    assert.deepEqual(verified.events, [event])
    const text = JSON.stringify([event, { ...event, id: '2-b' }])
    const batch = verify(honest(SECRET, NOW, text), text)
    assert.ok(batch.ok)
    assert.deepEqual(
      batch.events.map(({ id }) => id),
      ['1-a', '2-b'],
    )
  })

  const good = honest()
  const mac = good['webhook-signature']
  const attacks: Readonly<Record<string, readonly [Partial<Delivery>, string?]>> = {
    'another amount': [good, body.replace('10000', '99999')],
    'a space more': [good, `${body} `],
    'another id': [{ ...good, 'webhook-id': '1-b' }],
    'another time': [{ ...good, 'webhook-timestamp': `${NOW / 1_000 + 1}` }],
    'a dot moved from the id into the time': [
      { ...good, 'webhook-id': '1-a.1', 'webhook-timestamp': good['webhook-timestamp'].slice(1) },
    ],
    'no signature': [{ ...good, 'webhook-signature': '' }],
    'no id': [{ 'webhook-timestamp': good['webhook-timestamp'], 'webhook-signature': mac }],
    'no time': [{ 'webhook-id': '1-a', 'webhook-signature': mac }],
    'a time in words': [{ ...good, 'webhook-timestamp': 'now' }],
    'a negative time': [{ ...good, 'webhook-timestamp': '-1' }],
    'another scheme': [{ ...good, 'webhook-signature': mac.replace('v1,', 'v0,') }],
    'the scheme of public keys': [{ ...good, 'webhook-signature': mac.replace('v1,', 'v1a,') }],
    'a last byte that is another': [
      { ...good, 'webhook-signature': `v1,${lastFlipped(mac.slice(3)).toString('base64')}` },
    ],
    'a shorter signature': [{ ...good, 'webhook-signature': mac.slice(0, -4) }],
    'zeros, which an unreadable one becomes': [
      { ...good, 'webhook-signature': `v1,${Buffer.alloc(32).toString('base64')}` },
    ],
    'the signature of another receiver': [honest(OTHER)],
  }
  for (const [name, [said, text]] of Object.entries(attacks))
    test(`is refused with ${name}`, () => {
      assert.ok(verify(good).ok)
      assert.equal(verify(said, text).ok, false)
    })

  test('is refused when its signature stands behind too many others, and taken behind few', () => {
    const noise = (count: number): string => Array.from({ length: count }, () => 'v1,x').join(' ')
    assert.ok(verify({ ...good, 'webhook-signature': `${noise(15)} ${mac}` }).ok)
    assert.equal(verify({ ...good, 'webhook-signature': `${noise(16)} ${mac}` }).ok, false)
  })

  test('is refused when it is old or from the future, and taken at the edge', () => {
    for (const side of [-1, 1]) {
      assert.ok(verify(honest(SECRET, NOW + side * TOLERANCE_MS)).ok)
      const far = verify(honest(SECRET, NOW + side * (TOLERANCE_MS + 1_000)))
      assert.ok(!far.ok && /time/.test(far.why))
    }
  })

  test('that was done is told apart when it comes again, and one that failed is not', () => {
    const replays = createReplays()
    const first = verify(good, body, { replays })
    assert.ok(first.ok && !first.isRepeated)
    // It failed: nobody called it done.
    const second = verify(good, body, { replays })
    assert.ok(second.ok && !second.isRepeated)
    second.done()
    const third = verify(good, body, { replays })
    assert.ok(third.ok && third.isRepeated)
  })

  test('is not remembered for ever, nor without end', () => {
    const replays = createReplays(1_000, 3)
    replays.add('old', NOW)
    assert.equal(replays.has('old', NOW + 999), true)
    assert.equal(replays.has('old', NOW + 1_000), false)
    for (const id of ['a', 'b', 'c', 'd']) replays.add(id, NOW)
    const known = ['a', 'b', 'c', 'd'].filter((id) => replays.has(id, NOW))
    assert.deepEqual(known, ['b', 'c', 'd'])
  })

  test('that holds no event is refused, whoever signed it', () => {
    for (const text of [
      '',
      '1',
      'null',
      '{}',
      '[1]',
      '{"specversion":"0.3","id":"1","source":"s","type":"t"}',
    ])
      assert.equal(verify(honest(SECRET, NOW, text), text).ok, false)
  })
})
