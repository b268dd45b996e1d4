import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemChance } from './chance.ts'
import { createSeal } from './seal.ts'

const old = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const young = 'Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'
const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Buffer.from(bytes).toString()

test('what is sealed opens under its own name only, and not when a bit was changed', () => {
  const seal = createSeal([old], 'vault', systemChance)
  const sealed = seal.seal('a', Buffer.from('secret'))
  assert.equal(text(seal.open('a', sealed)), 'secret')
  assert.equal(seal.open('b', sealed), undefined)
  for (let i = 0; i < sealed.length; i++) {
    const changed = Uint8Array.from(sealed)
    changed[i] = (changed[i] ?? 0) ^ 1
    assert.equal(seal.open('a', changed), undefined, `byte ${i}`)
  }
  assert.equal(seal.open('a', sealed.subarray(0, 20)), undefined)
  assert.equal(createSeal([old], 'other', systemChance).open('a', sealed), undefined)
})

test('an old secret opens while it is listed, and seals nothing new', () => {
  const before = createSeal([old], 'vault', systemChance).seal('a', Buffer.from('x'))
  const both = createSeal([young, old], 'vault', systemChance)
  assert.equal(text(both.open('a', before)), 'x')
  const after = both.seal('a', Buffer.from('y'))
  assert.equal(createSeal([old], 'vault', systemChance).open('a', after), undefined)
  assert.equal(text(createSeal([young], 'vault', systemChance).open('a', after)), 'y')
  assert.throws(() => createSeal(['short'], 'vault', systemChance), /shorter/)
})

test('nothing opens that is too short to be sealed, and even nothing can be sealed', () => {
  const seal = createSeal([old], 'vault', systemChance)
  const sealed = seal.seal('a', new Uint8Array())
  // A nonce of 12 bytes and a tag of 16 (NIST SP 800-38D, 5.2.1.1 and 5.2.1.2).
  assert.equal(sealed.length, 28)
  assert.deepEqual(seal.open('a', sealed), Buffer.alloc(0))
  for (let length = 0; length < 28; length++)
    assert.equal(seal.open('a', sealed.subarray(0, length)), undefined, `${length} bytes`)
})
