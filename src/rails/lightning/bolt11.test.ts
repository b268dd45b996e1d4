import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { instantiateSecp256k1 } from '@bitauth/libauth/build/lib/crypto/secp256k1.js'
import { bech32 } from '@scure/base'
import * as fc from 'fast-check'
import { FIELDS_MAX, INVOICE_CHARS_MAX, readInvoice } from './bolt11.ts'
import { KEY, numberWords, wordsOf, writeInvoice } from './fixture.test.ts'
import { chains } from './networks.ts'

interface Vector {
  readonly name: string
  readonly invoice: string
  readonly network?: string
  readonly msat?: string
  readonly hash?: string
  readonly madeAtS?: number
  readonly expiryS?: number
  readonly minFinalCltvExpiryDelta?: number
  readonly features?: readonly number[]
  readonly description?: string
  readonly descriptionHash?: string
  readonly why?: string
}

const file = new URL('./vectors/bolt11.json', import.meta.url)
const { valid, invalid } = JSON.parse(readFileSync(file, 'utf8')) as {
  valid: readonly Vector[]
  invalid: readonly Vector[]
}
const NODE = '03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad'
/** The key that the specification's own signature and digest give for the example with a high S; it names none. */
const curve = await instantiateSecp256k1()
const HIGH = Buffer.from(
  curve.recoverPublicKeyCompressed(
    Buffer.from(
      '8d3ce9e28357337f62da0162d9454df827f83cfe499aeb1c1db349d4d8112742a1bcb35d66d6bf93dc445e51753935cc32a3a411efd8a7c7bd85b25815a01b50',
      'hex',
    ),
    1,
    Buffer.from('6daf4d488be41ce7cbb487cab1ef2975e5efcea879b20d421f0ef86b07cbb987', 'hex'),
  ),
).toString('hex')

test('all valid examples of BOLT 11 are read as the specification says', () => {
  assert.equal(valid.length, 17)
  for (const vector of valid) {
    const madeAt = (vector.madeAtS ?? 1_496_314_658) * 1000
    const { description, descriptionHash } = vector
    assert.deepEqual(
      readInvoice(vector.invoice),
      {
        network: chains[vector.network ?? 'bc'],
        ...(vector.msat !== undefined && { msat: BigInt(vector.msat) }),
        hash: vector.hash ?? '0001020304050607080900010203040506070809000102030405060708090102',
        payee: vector.name.startsWith('a high S') ? HIGH : NODE,
        madeAt,
        expiresAt: madeAt + (vector.expiryS ?? 3600) * 1000,
        ...(description !== undefined && { description }),
        ...(descriptionHash !== undefined && { descriptionHash }),
        minFinalCltvExpiryDelta: vector.minFinalCltvExpiryDelta ?? 18,
        paymentSecret: '11'.repeat(32),
        features: vector.features ?? [8, 14],
      },
      vector.name,
    )
  }
})

test('all invalid examples of BOLT 11 are refused, each for its reason', () => {
  assert.equal(invalid.length, 11)
  for (const { name, invoice, why = '' } of invalid) {
    const read = readInvoice(invoice)
    assert(typeof read === 'string' && read.includes(why), `${name}: ${JSON.stringify(read)}`)
  }
})

const secret = ['s', wordsOf(Buffer.alloc(32, 17))] as const
const hash = ['p', wordsOf(Buffer.alloc(32, 1))] as const
const purpose = ['d', wordsOf(Buffer.from('tea'))] as const
const named = ['n', wordsOf(Buffer.from(NODE, 'hex'))] as const
const plain = [secret, hash, purpose]
const on = (prefix: string): string => writeInvoice({ prefix, fields: plain })

test('amounts are exact in every unit, and nothing else is one', () => {
  const read = (prefix: string): unknown => {
    const invoice = readInvoice(on(prefix))
    return typeof invoice === 'string' ? invoice : invoice.msat
  }
  assert.equal(read('lnbc1'), 100_000_000_000n)
  assert.equal(read('lnbc1m'), 100_000_000n)
  assert.equal(read('lnbc1u'), 100_000n)
  assert.equal(read('lnbc1n'), 100n)
  assert.equal(read('lnbc10p'), 1n)
  assert.equal(read('lnbc21000000'), 2_100_000_000_000_000_000n)
  const wrong = [
    '1p',
    '0',
    '01u',
    '10x',
    '-1',
    '1.5u',
    '1um',
    'u',
    '21000001',
    `1${'0'.repeat(25)}p`,
  ]
  for (const amount of wrong) assert.equal(typeof read(`lnbc${amount}`), 'string', amount)
})

test('each network has its own prefix, and a foreign one is refused', () => {
  for (const [prefix, network] of Object.entries(chains)) {
    const read = readInvoice(on(`ln${prefix}10u`))
    assert(typeof read !== 'string')
    assert.deepEqual([read.network, read.msat], [network, 1_000_000n])
  }
  for (const prefix of ['lnltc10u', 'lnbd10u', 'bc10u', 'ln10u', 'lnsb10u'])
    assert.equal(typeof readInvoice(on(prefix)), 'string', prefix)
})

test('a named key must have signed, in the one form that counts', () => {
  const fields = [...plain, named]
  const good = readInvoice(writeInvoice({ prefix: 'lnbc', fields }))
  assert(typeof good !== 'string')
  assert.equal(good.payee, NODE)
  const high = readInvoice(writeInvoice({ prefix: 'lnbc', fields, highS: true }))
  assert.equal(high, 'The signature of the invoice does not hold.')
  const other = Buffer.alloc(32, 7)
  assert.equal(typeof readInvoice(writeInvoice({ prefix: 'lnbc', fields, key: other })), 'string')
  // Without a name the other form gives the same key.
  const recovered = readInvoice(writeInvoice({ prefix: 'lnbc', fields: plain, highS: true }))
  assert(typeof recovered !== 'string')
  assert.equal(recovered.payee, NODE)
  assert.notDeepEqual(other, KEY)
})

test('fields that are missing, doubled, cut, padded or too many are refused', () => {
  const zero = Array.from({ length: 53 }, () => 0)
  const cases: Record<string, Parameters<typeof writeInvoice>[0]['fields']> = {
    'no hash': [secret, purpose],
    'no secret': [hash, purpose],
    'no purpose': [secret, hash],
    'two purposes': [...plain, ['h', wordsOf(Buffer.alloc(32))]],
    'two hashes': [...plain, hash],
    'two secrets': [...plain, secret],
    'bits in the padding': [secret, purpose, ['p', [...hash[1].slice(0, -1), 31]]],
    'purpose that is no UTF-8': [secret, hash, ['d', wordsOf(Buffer.from([0xff, 0xfe]))]],
    'purpose that is no whole byte': [secret, hash, ['d', [1]]],
    'time with a leading zero': [...plain, ['x', [0, 1]]],
    'time of no length': [...plain, ['x', []]],
    'time without end': [...plain, ['x', numberWords(2 ** 44, 9)]],
    'delay with a leading zero': [...plain, ['c', [0, 18]]],
    'features with a leading zero': [...plain, ['9', [0, 16, 8, 0]]],
    'a feature without what it needs': [...plain, ['9', [16, 0, 0]]],
    'parts without a secret': [...plain, ['9', [2, 0, 8, 0]]],
    'a fallback without a version': [...plain, ['f', []]],
    'a fallback of 31 bytes': [...plain, ['f', [1, ...wordsOf(Buffer.alloc(31))]]],
    'a key that is none': [...plain, ['n', zero]],
    'too many fields': [...plain, ...Array.from({ length: FIELDS_MAX }, () => ['2', [0]] as const)],
  }
  assert.equal(typeof readInvoice(writeInvoice({ prefix: 'lnbc', fields: plain })), 'object')
  for (const [name, fields] of Object.entries(cases))
    assert.equal(typeof readInvoice(writeInvoice({ prefix: 'lnbc', fields })), 'string', name)
})

test('a flipped bit anywhere in the text is refused', () => {
  const texts = [valid[0], valid[11], valid[13]].map((vector) => vector?.invoice ?? '')
  let flips = 0
  for (const text of texts)
    for (let at = 0; at < text.length; at++)
      for (let bit = 0; bit < 7; bit++) {
        const flipped = String.fromCharCode(text.charCodeAt(at) ^ (1 << bit))
        const changed = text.slice(0, at) + flipped + text.slice(at + 1)
        assert.equal(typeof readInvoice(changed), 'string', changed)
        flips++
      }
  assert(flips > 5_000)
})

test('with the checksum made good again, a changed word never keeps both its signer and its meaning', () => {
  const text = writeInvoice({ prefix: 'lnbc10u', fields: [...plain, named] })
  const { prefix, words } = bech32.decode(text, false)
  fc.assert(
    fc.property(fc.nat({ max: words.length - 3 }), fc.integer({ min: 1, max: 31 }), (at, mask) => {
      const changed = words.map((word, i) => (i === at ? word ^ mask : word))
      const read = readInvoice(bech32.encode(prefix, changed, false))
      // A letter that is not read may hide the name; then somebody else has signed.
      assert(typeof read === 'string' || read.payee !== NODE)
    }),
    { numRuns: 300 },
  )
})

test('garbage is refused and never throws', () => {
  const letters = fc.string({
    unit: fc.constantFrom(...'qpzry9x8gf2tvdw0s3jn54khce6mua7l'.split('')),
  })
  const sealed = fc
    .tuple(fc.constantFrom('lnbc', 'lnbcrt10u', 'lntb1', 'x'), fc.array(fc.nat({ max: 31 })))
    .map(([prefix, words]) => bech32.encode(prefix, words, false))
  const texts = fc.oneof(
    fc.string(),
    letters,
    letters.map((text) => `lnbc1${text}`),
    sealed,
  )
  fc.assert(
    fc.property(texts, (text) => assert.equal(typeof readInvoice(text), 'string')),
    { numRuns: 1_000 },
  )
  const long = [...plain, ...Array.from({ length: 4 }, () => ['2', numberWords(0, 1_000)] as const)]
  const text = writeInvoice({ prefix: 'lnbc', fields: long })
  assert(text.length > INVOICE_CHARS_MAX)
  assert.equal(readInvoice(text), 'The invoice is too long.')
})

test('signed invoices of any fields never throw', () => {
  const fields = fc.array(
    fc.tuple(
      fc.constantFrom(...'psdhnxcf9r2m'.split('')),
      fc.array(fc.nat({ max: 31 }), { minLength: 0, maxLength: 54 }),
    ),
    { maxLength: 6 },
  )
  fc.assert(
    fc.property(fields, (more) => {
      const read = readInvoice(writeInvoice({ prefix: 'lnbc', fields: [...plain, ...more] }))
      assert(typeof read === 'string' || Number.isSafeInteger(read.expiresAt))
    }),
    { numRuns: 200 },
  )
})
