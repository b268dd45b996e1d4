// Each attack stands beside the honest token, which must be read.
import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { narrow, readToken, writeToken } from '../../tokens/macaroon/index.ts'
import type { Macaroon } from '../../tokens/macaroon/index.ts'
import { writeMacaroon } from '../../tokens/macaroon/codec.ts'
import {
  buyer,
  credential,
  fieldsOf,
  foreigners,
  otherPreimage,
  preimage,
  refusal,
  resource,
  shown,
  tokenOf,
} from './fixture.test.ts'
import { CREDENTIAL_CHARS_MAX } from './http.ts'

const plan = { name: 'ten', rights: { services: [{ name: 'ten', tier: 0 }] } }
const token = tokenOf({}, plan)
const other = tokenOf({ preimage: otherPreimage, msat: 1n }, plan)

beforeEach(() => {
  credential(shown(`L402 ${token}:${preimage}`))
  credential(shown(`L402 ${other}:${otherPreimage}`))
})

function macaroonOf(text: string): Macaroon {
  const read = readToken(text)
  assert.ok(typeof read !== 'string' && read.length === 1)
  return read[0]!
}

/** The same macaroon with other parts, under the signature that it had. */
function changed(parts: Partial<Macaroon>, from = token): string {
  const made = writeMacaroon({ ...macaroonOf(from), ...parts })
  assert.ok(made)
  return writeToken([made])
}

function refused(field: string, code: string, why?: string): void {
  assert.equal(refusal(shown(field)).code, code, why ?? field)
}

describe('a token', () => {
  test('shown before payment is refused: without a preimage, with that of another, with any', () => {
    refused(`L402 ${token}:`, 'proof-invalid')
    refused(`L402 ${token}:${otherPreimage}`, 'proof-invalid')
    refused(`L402 ${token}:${'00'.repeat(32)}`, 'proof-invalid')
    const hash = Buffer.from(macaroonOf(token).id.subarray(2, 34)).toString('hex')
    refused(`L402 ${token}:${hash}`, 'proof-invalid')
    const made = narrow(macaroonOf(token), [`preimage=${otherPreimage}`])
    assert.ok(typeof made !== 'string')
    refused(`L402 ${writeToken([made])}:`, 'proof-invalid')
  })

  test('with any single bit flipped is refused, the unsigned location aside', () => {
    const bytes = Buffer.from(token, 'base64')
    const place = bytes.indexOf('tolsey')
    assert.ok(place > 0)
    const { length } = 'tolsey'
    let flips = 0
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const at = bit >> 3
      if (at >= place && at < place + length) continue
      const flipped = Buffer.from(bytes)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit & 7))
      refused(`L402 ${flipped.toString('base64')}:${preimage}`, 'proof-invalid', `bit ${bit}`)
      flips++
    }
    assert.ok(flips > 1500)
  })

  test('with any single bit of its preimage flipped is refused', () => {
    for (let bit = 0; bit < 256; bit++) {
      const bytes = Buffer.from(preimage, 'hex')
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      refused(`L402 ${token}:${bytes.toString('hex')}`, 'proof-invalid', `bit ${bit}`)
    }
  })

  test('widened, stripped, reordered or spliced is refused', () => {
    const mine = macaroonOf(token)
    const theirs = macaroonOf(other)
    const [offer, services] = mine.caveats
    assert.ok(offer && services && mine.caveats.length === 2)
    const wide = { id: Buffer.from('services=ten:0,eleven:0') }
    for (const parts of [
      { caveats: [] },
      { caveats: [offer] },
      { caveats: [services] },
      { caveats: [services, offer] },
      { caveats: [offer, services, services] },
      { caveats: [offer, wide] },
      { caveats: [offer, services], id: theirs.id },
      { caveats: theirs.caveats },
      { caveats: [theirs.caveats[0]!, services] },
      { signature: theirs.signature },
    ])
      refused(`L402 ${changed(parts)}:${preimage}`, 'proof-invalid')
    credential(shown(`L402 ${changed({ location: 'elsewhere' })}:${preimage}`))
    credential(shown(`L402 ${changed({ version: 1 })}:${preimage}`))
  })

  test('that its holder put an offer into is refused', () => {
    const offer = Buffer.from(macaroonOf(other).caveats[0]!.id).toString()
    for (const added of [[offer], ['offer=a;1;b'], [offer, 'services=ten:0']]) {
      const made = narrow(macaroonOf(token), added)
      assert.ok(typeof made !== 'string')
      refused(`L402 ${writeToken([made])}:${preimage}`, 'proof-invalid')
    }
  })

  test('with a condition that is not known, or none that can be, is refused', () => {
    for (const added of ['paht=/a', 'path=/a/../b', 'expires=never', 'uses=0', 'services', 'x=']) {
      const made = narrow(macaroonOf(token), [added])
      assert.ok(typeof made !== 'string')
      refused(`L402 ${writeToken([made])}:${preimage}`, 'proof-invalid', added)
    }
  })

  test('of somebody else is refused', () => {
    const { id } = macaroonOf(token)
    const identifier = { paymentHash: id.subarray(2, 34), tokenId: id.subarray(34) }
    const offer = Buffer.from(macaroonOf(token).caveats[0]!.id).toString()
    const theirs = foreigners.mint(identifier, [offer, 'services=ten:0'])
    refused(`L402 ${theirs}:${preimage}`, 'proof-invalid')
  })

  test('of which an honest copy was seen before is refused all the same', () => {
    const cut = `${token.slice(0, -4)}AAA=`
    refused(`L402 ${cut}:${preimage}`, 'proof-invalid')
    refused(`L402 ${token}:${otherPreimage}`, 'proof-invalid')
    refused(`L402 ${token}:`, 'proof-invalid')
  })
})

describe('an Authorization field', () => {
  test('that is not one of L402 is refused with a sentence', () => {
    for (const field of [
      'L402',
      'L402 ',
      'LSAT token',
      `L402 ${token}`,
      `L402 ${token} ${preimage}`,
      `L402 ${token}:${preimage.slice(1)}`,
      `L402 ${token}:${preimage}0`,
      `L402 ${token}:${preimage}:${preimage}`,
      `L402 ${token}:${preimage.slice(1)}g`,
      `L402 :${preimage}`,
      `L402 "${token}:${preimage}"`,
      `L402 token="${token}", preimage="${preimage}"`,
    ])
      refused(field, 'credential-malformed')
  })

  test('that is too long is refused, if it is ours', () => {
    refused(`L402 ${'A'.repeat(CREDENTIAL_CHARS_MAX)}:${preimage}`, 'credential-malformed')
    assert.equal(shown(`Bearer ${'A'.repeat(CREDENTIAL_CHARS_MAX)}`), undefined)
  })

  test('with tokens without end is not read to it', () => {
    const many = `L402 ${'QUFB,'.repeat(2000)}${token}:${preimage}`
    refused(many, 'proof-invalid')
    refused(`${'L402 QUFB:, '.repeat(200)}L402 ${token}:${preimage}`, 'proof-invalid')
  })

  test('of any text is read without a fault', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 200 }),
      fc
        .array(
          fc.constantFrom('L402', 'LSAT', ' ', ',', ':', '"', '=', token, preimage, 'QQ==', '\t'),
        )
        .map((words) => words.join('')),
    )
    fc.assert(
      fc.property(text, (field) => {
        const fields = { get: () => field }
        buyer.readChallenge(
          { status: 402, fields, body: { token: field, invoice: field } },
          resource,
        )
        const read = shownRaw(field)
        assert.ok(read === undefined || typeof read === 'object')
      }),
      { numRuns: 500 },
    )
  })
})

function shownRaw(field: string): unknown {
  return /^[\t -~]*$/.test(field) ? shown(field) : undefined
}

test('a field with another name is not looked at', () => {
  assert.equal(fieldsOf({ 'X-Authorization': token }).get('Authorization'), null)
})
