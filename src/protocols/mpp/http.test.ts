import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import { canonical } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import { readOffer, writeOffer } from '../../core/offer.ts'
import type { Offer } from '../../core/offer.ts'
import { readAsked, writeAsked } from './challenge.ts'
import { readObject, writeObject } from './encode.ts'
import { readChallenges } from './fields.ts'
import {
  EXPIRES_AT,
  NOW,
  asked,
  challengeOf,
  credential,
  decoded,
  encoded,
  evmOffer,
  fieldsOf,
  found,
  lightningOffer,
  offers,
  parts,
  paymentHash,
  payTo,
  preimage,
  purse,
  receiptOf,
  recorded,
  refusal,
  resource,
  seller,
  buyer,
  shown,
  situations,
} from './fixture.test.ts'
import { mpp } from './http.ts'
import { PROBLEMS, codeOf, typeOf } from './problems.ts'

const BIG = 100_000

describe('what npm mppx has recorded', () => {
  for (const [name, one] of Object.entries(recorded.cases)) {
    const [params] = readChallenges(one.wwwAuthenticate)
    const read = params === undefined ? '' : readAsked(params)

    test(`${name}: the challenge is read, and written again to the letter`, () => {
      assert.ok(typeof read === 'object')
      const ascii = one.wwwAuthenticate.replaceAll(/[^ -~]/g, '?')
      assert.equal(writeAsked(read), ascii)
    })

    test(`${name}: its request is canonical, and its id is the HMAC over what we read`, () => {
      assert.ok(typeof read === 'object')
      const request = readObject(read.request, BIG)
      assert.ok(request)
      assert.equal(writeObject(request), read.request)
      const { realm, method, intent, expires = '', digest = '', opaque = '', header } = read
      const slots = [realm, method, intent, read.request, expires, digest]
      const input = [...slots, ...(header === undefined ? [] : [header]), opaque].join('|')
      assert.equal(input, one.hmacInput)
      const made = createHmac('sha256', recorded.secretKey).update(input).digest('base64url')
      assert.equal(read.id, made)
    })

    test(`${name}: credential and receipt are read, and written again to the letter`, () => {
      if (!one.authorization || !one.credential || !one.receipt) return
      const said = readObject(one.authorization.slice('Payment '.length), BIG)
      assert.deepEqual(said, one.credential)
      assert.equal(`Payment ${writeObject(said)}`, one.authorization)
      assert.deepEqual(readObject(one.paymentReceipt ?? '', BIG), one.receipt)
    })
  }

  test('an offer on a chain is read by our wallet, which names its payment as mppx does', async () => {
    const one = recorded.cases['evm-charge-authorization']
    assert.ok(one?.credential && one.authorization)
    const challenge = found([one.wwwAuthenticate])
    const [offer] = challenge?.offers ?? []
    assert.ok(offer)
    assert.equal(offer.amount.amount, 10_000n)
    assert.equal(offer.expiresAt, Date.parse('2099-01-01T00:00:00Z'))
    const proof = await purse.pay(offer as Parameters<typeof purse.pay>[0], 60_000)
    const { payload } = purse.forms['mpp']!.writeProof(proof) as { payload: { nonce: string } }
    assert.equal(payload.nonce, (one.credential['payload'] as { nonce: string }).nonce)
    const written = buyer.writeCredential({ offer, proof }).fields
    const again = decoded(written[0]![1].slice('Payment '.length))
    assert.deepEqual(again['challenge'], one.credential.challenge)
  })

  test('a payment on a chain is read by our seller, its nonce checked', () => {
    const one = recorded.cases['evm-charge-authorization']
    assert.ok(one?.authorization)
    const { offer, proof } = credential(shown(one.authorization))
    assert.equal(offer.id, one.credential?.challenge['id'])
    assert.equal(offer.payee, payTo)
    assert.equal((proof as { validBefore: bigint }).validBefore, 4_070_908_800n)
    assert.equal(offers.check(offer, resource, NOW)?.code, 'offer-foreign')
  })

  test('what we answer in each situation has the type that mppx gives it', () => {
    const type = (label: string): string =>
      situations.find((one) => one.label === label)?.body.type ?? ''
    const good = lightningCredential()
    const { challenge } = good
    const answers: Readonly<Record<string, string>> = {
      'no credential': typeOf({ code: 'payment-required' }),
      'not base64url': typeOf(refusal(shown('Payment !!!'))),
      'json without challenge': typeOf(refusal(shown(encoded({})))),
      'bad payload shape': typeOf(
        refusal(shown(encoded({ ...good, payload: { preimage: 'zz' } }))),
      ),
      'dropped expires': typeOf(
        refusal(shown(encoded({ ...good, challenge: { ...challenge, expires: undefined } }))),
      ),
      // These are for the rail and the gate to say.
      'wrong preimage': typeOf({ code: 'proof-invalid' }),
      'tampered amount': typeOf({ code: 'offer-foreign' }),
      'cross-route replay': typeOf({ code: 'offer-foreign' }),
      expired: typeOf({ code: 'offer-expired' }),
    }
    for (const [label, said] of Object.entries(answers)) assert.equal(said, type(label), label)
    for (const kind of ['lowercase scheme', 'padded base64url'])
      assert.equal(type(kind), '', 'these are served')
  })
})

interface Sent {
  readonly challenge: Readonly<Record<string, string>>
  readonly payload: Readonly<Record<string, unknown>>
}

/** The credential for an offer on Lightning, as a buyer makes it. */
function lightningCredential(offer = lightningOffer()): Sent {
  const [read] = found(asked([offer]))?.offers ?? []
  assert.ok(read)
  const { fields } = buyer.writeCredential({ offer: read, proof: { preimage } })
  return decoded(fields[0]![1].slice('Payment '.length)) as unknown as Sent
}

/** The same for an offer on a chain. */
async function evmCredential(offer: Offer = evmOffer()): Promise<Sent> {
  const [read] = found(asked([offer]))?.offers ?? []
  assert.ok(read)
  const proof = await purse.pay(read as Parameters<typeof purse.pay>[0], 60_000)
  const { fields } = buyer.writeCredential({ offer: read, proof })
  return decoded(fields[0]![1].slice('Payment '.length)) as unknown as Sent
}

describe('a challenge', () => {
  test('is one line for each offer, Lightning last and without what its buyers do not echo', () => {
    const bound = { ...resource, method: 'POST', digest: 'sha-256=:AAAA:' }
    const onLightning = { ...lightningOffer(), resource: bound }
    const lines = asked([onLightning, evmOffer(bound)])
    assert.equal(lines.length, 2)
    assert.match(lines[0] ?? '', /method="evm", intent="charge".*, digest="sha-256=:AAAA:"/)
    assert.match(lines[1] ?? '', /method="lightning", intent="charge"/)
    assert.doesNotMatch(lines[1] ?? '', /opaque|digest|description/)
    for (const line of lines) {
      assert.match(line, /^Payment id="abc\.[\w-]{32}", realm="api\.example\.com", /)
      assert.match(line, /, expires="2027-01-15T08:01:00Z"$/)
    }
  })

  test('is short enough for what stands before servers', () => {
    for (const line of asked([lightningOffer(), evmOffer()])) assert.ok(line.length < 1_100, line)
  })

  test('is not made of what MPP has no words for: held payments, parts of a satoshi, other rails', () => {
    assert.equal(asked([lightningOffer(5_000n)]).length, 1)
    for (const odd of [
      lightningOffer(5_000n, { salt: 'c2FsdA' }),
      lightningOffer(5_001n),
      { ...evmOffer(), rail: 'other' },
      { ...evmOffer(), network: 'eip155:5' },
    ])
      assert.deepEqual(asked([odd]), [])
  })

  test('names the field for its answer where the application has its own Authorization', async () => {
    const beside = mpp({ parts, header: 'Payment-Authorization' })
    const [line = ''] = asked([evmOffer()], undefined, beside)
    assert.match(line, /, header="Payment-Authorization"$/)
    const [offer] = found([line])?.offers ?? []
    assert.ok(offer)
    const proof = await purse.pay(offer as Parameters<typeof purse.pay>[0], 60_000)
    const [[name, value] = ['', '']] = buyer.writeCredential({ offer, proof }).fields
    assert.equal(name, 'Payment-Authorization')
    const both = fieldsOf({ Authorization: 'Bearer theirs', 'Payment-Authorization': value })
    assert.equal(credential(await beside.readCredential(both, resource)).offer.id, offer.id)
    // There `Authorization` is the application's alone.
    assert.equal(shown(value, resource, beside), undefined)
    const careful = mpp({ parts: [purse], header: 'Payment-Authorization' })
    const read = (said: string): unknown =>
      careful.readChallenge(
        { status: 402, fields: fieldsOf({ 'WWW-Authenticate': said }) },
        resource,
      )?.offers.length
    assert.equal(read(line), 1)
    assert.equal(read(asked([evmOffer()])[0] ?? ''), 0)
  })

  test('goes by what the client says it can pay by', () => {
    const list = [lightningOffer(), evmOffer()]
    const methods = (accept: string): readonly string[] =>
      asked(list, accept).map((line) => /method="(\w+)"/.exec(line)?.[1] ?? '')
    assert.deepEqual(methods('evm/charge, lightning/charge'), ['evm', 'lightning'])
    assert.deepEqual(methods('evm/charge;q=0.5, lightning/charge'), ['lightning', 'evm'])
    assert.deepEqual(methods('lightning/charge'), ['lightning'])
    assert.deepEqual(methods('*/charge, lightning/charge;q=0'), ['evm'])
    assert.deepEqual(methods('*/*;q=0.1, evm/charge;q=0.05'), ['lightning', 'evm'])
    // What cannot be read, and what nothing fits, leaves nothing out.
    for (const odd of ['stripe/charge', 'evm', 'evm/charge;q=2', '', 'a/b/c', 'evm/charge;q=0'])
      assert.deepEqual(methods(odd), ['evm', 'lightning'], odd)
  })

  test('of ours is read by a buyer, who sees what is asked for and until when', () => {
    const challenge = found(asked([lightningOffer(), evmOffer()]))
    assert.equal(challenge?.unreadable, undefined)
    const [first, second] = challenge?.offers ?? []
    assert.deepEqual([first?.amount.amount, first?.payee], [10_000n, payTo])
    assert.deepEqual([second?.amount.amount, second?.network], [5_000n, lightningOffer().network])
    assert.deepEqual([first?.expiresAt, second?.expiresAt], [EXPIRES_AT, EXPIRES_AT])
  })

  test('that is spoilt does not take those beside it along', () => {
    const [good = ''] = asked([evmOffer()])
    const [other = ''] = asked([lightningOffer()])
    for (const bad of [
      'Payment id="a"',
      'Payment',
      good.replace('id=', 'id="x", id='),
      good.replace(/request="[^"]+"/, 'request="!!"'),
      good.replace(/request="[^"]+"/, 'request="e30"'),
      good.replace(/expires="[^"]+"/, 'expires="soon"'),
      good.replace('method="evm"', 'method="EVM"'),
      good.replace('intent="charge"', 'intent="give me"'),
      `${good}, header="X-Secret"`,
      good.replace(/request="[^"]+"/, `request="${'A'.repeat(20_000)}"`),
      good.replace('realm=', 'realm'),
      `${good}, intent="charge"`,
      `${good}, later=1, LATER=2`,
      good.replace('"charge"', ''),
    ])
      for (const lines of [
        [bad, other],
        [other, bad],
        ['Basic realm="x"', bad, 'Bearer realm="Payment id=1"', other],
      ]) {
        const challenge = found(lines)
        assert.equal(challenge?.offers.length, 1, bad)
        assert.equal(challenge.unreadable?.length, 1, bad)
      }
    assert.equal(found([good, other])?.offers.length, 2)
  })

  test('is found in whatever way it is written', () => {
    const [good = ''] = asked([evmOffer()])
    for (const field of [
      good,
      good.replace('Payment', 'payment'),
      good.replaceAll('", ', '",\t'),
      good.replaceAll('", ', '"  ,  '),
      good.replaceAll('="', ' = "'),
      good.replace('realm="api.example.com"', 'realm=api.example.com'),
      good.replace('realm=', 'REALM='),
      `${good}, later="1", other=2`,
      `Negotiate, ${good}`,
      `L402 macaroon="a==", invoice="lnbc1", ${good}`,
      `Bearer abc==, ${good}, Basic realm="Payment id=\\"x\\", "`,
      good.replace('"charge"', String.raw`"c\harge"`),
      `${good}, description="Pay "much" now!"`,
      `${good}, description="Pay \\"much\\", now \\\\"`,
      `${good}, later="${'\\'.repeat(12_000)}`,
      `${good}, later=, */*`,
      `Digest realm="x", intent="bogus", ${good}, Digest intent="bogus", id="y"`,
    ])
      assert.equal(found([field])?.offers.length, 1, field)
    for (const other of ['', 'Bearer realm="x"', 'Basic realm="Payment id=1"', 'Payments id="1"'])
      assert.equal(found([other]), undefined, other)
  })

  test('tells why it asks, where the seller says so in the words of MPP', () => {
    const lines = asked([evmOffer()])
    const code = (type: string): string | undefined => found(lines, { type })?.problem.code
    assert.equal(code(`${PROBLEMS}verification-failed`), 'proof-invalid')
    assert.equal(code(`${PROBLEMS}payment-expired`), 'offer-expired')
    for (const odd of ['about:blank', `${PROBLEMS}toString`, '']) {
      assert.equal(code(odd), 'payment-required')
      assert.equal(codeOf(odd), undefined)
    }
  })
})

describe('a credential', () => {
  test('brings back the offer that it was made for, and the gate knows it again', async () => {
    const made = evmOffer()
    const { offer, proof } = credential(shown(encoded(await evmCredential(made))))
    assert.deepEqual(offer, made)
    assert.equal((proof as { value: bigint }).value, 10_000n)
    assert.equal(offers.check(offer, resource, NOW), undefined)
    const held = lightningOffer()
    const paid = credential(shown(encoded(lightningCredential(held))))
    assert.deepEqual([paid.offer, paid.proof], [held, { preimage }])
    assert.equal(offers.check(paid.offer, resource, NOW), undefined)
  })

  test('is bound to the request that it was asked for: path, query, method, body and host', async () => {
    const sent = encoded(await evmCredential())
    const at = (more: object): string | undefined => {
      const elsewhere = { ...resource, ...more }
      const read = shown(sent, elsewhere)
      return read && 'code' in read
        ? read.code
        : offers.check(credential(read).offer, elsewhere, NOW)?.code
    }
    assert.equal(at({}), undefined)
    for (const other of [
      { path: '/b' },
      { query: 'a=1' },
      { method: 'POST' },
      { digest: 'sha-256=:BBBB:' },
      { authority: 'other.example.com' },
      { authority: 'api.example.com:8443' },
    ])
      assert.equal(at(other), 'offer-foreign', JSON.stringify(other))
  })

  test('with anything in its challenge changed is foreign, or cannot be read', async () => {
    const sent = await evmCredential()
    const request = decoded(sent.challenge['request'] ?? '') as Record<string, unknown>
    const requested = (more: object): string =>
      Buffer.from(canonical({ ...request, ...more } as never)).toString('base64url')
    const check = (more: object): string | undefined => {
      const read = shown(encoded({ ...sent, challenge: { ...sent.challenge, ...more } }))
      return read && 'code' in read
        ? read.code
        : offers.check(credential(read).offer, resource, NOW)?.code
    }
    assert.equal(check({}), undefined)
    const changes = [
      { realm: 'other.example.com' },
      { expires: '2099-01-01T00:00:00Z' },
      { expires: undefined },
      { digest: 'sha-256=:AAAA:' },
      { request: requested({ amount: '1' }) },
      { request: requested({ recipient: `0x${'11'.repeat(20)}` }) },
    ]
    for (const more of changes) assert.equal(check(more), 'offer-foreign', JSON.stringify(more))
    // The nonce is named after the id.
    assert.equal(check({ id: 'abc.AAAA' }), 'proof-invalid')
    assert.equal(check({ method: 'tempo' }), 'credential-unsupported')
    assert.equal(check({ intent: 'session' }), 'credential-unsupported')
    assert.equal(check({ request: requested({ currency: payTo }) }), 'credential-unsupported')
  })

  test('for another challenge than its nonce says is refused, as is one for another payer', async () => {
    const first = await evmCredential(evmOffer(resource, 'first'))
    const second = await evmCredential(evmOffer(resource, 'second'))
    credential(shown(encoded(first)))
    const swapped = { challenge: first.challenge, payload: second.payload }
    assert.match(refusal(shown(encoded(swapped))).detail, /nonce/)
    const account = purse.payer?.(credential(shown(encoded(first))).proof as never) ?? ''
    credential(shown(encoded({ ...first, source: `did:pkh:eip155:84532:${account}` })))
    const other = { ...first, source: `did:pkh:eip155:84532:0x${'11'.repeat(20)}` }
    assert.match(refusal(shown(encoded(other))).detail, /payer/)
  })

  test('is read in every form that clients write', async () => {
    const sent = await evmCredential()
    const field = encoded(sent)
    const body = field.slice('Payment '.length)
    const padded = Buffer.from(JSON.stringify(sent)).toString('base64')
    const native = { ...sent.challenge, request: decoded(sent.challenge['request'] ?? '') }
    for (const said of [
      `payment ${body}`,
      `PAYMENT   ${body}  `,
      `Bearer abc, ${field}`,
      `${field}, Bearer abc`,
      `Payment ${padded}`,
      encoded({ ...sent, challenge: { ...sent.challenge, opaque: { a: 'b' }, later: 1 } }),
      encoded({ ...sent, challenge: native }),
      encoded({ ...sent, source: undefined, more: [] }),
    ])
      assert.equal(credential(shown(said)).offer.id, sent.challenge['id'], said)
  })

  test('that is none is malformed with a sentence, and several are a bad request', async () => {
    const sent = await evmCredential()
    for (const said of [
      'Payment',
      'Payment ',
      'Payment !!!',
      'Payment e30',
      'Payment dGhpcyBpcyBnYXJiYWdl',
      encoded([]),
      encoded('text'),
      encoded({ challenge: sent.challenge }),
      encoded({ ...sent, payload: 'x' }),
      encoded({ ...sent, challenge: { ...sent.challenge, id: '' } }),
      encoded({ ...sent, challenge: { ...sent.challenge, id: 5 } }),
      encoded({ ...sent, challenge: { ...sent.challenge, request: undefined } }),
      encoded({ ...sent, source: { did: 1 } }),
      `Payment ${'A'.repeat(40_000)}`,
    ]) {
      const { code, reason } = refusal(shown(said))
      assert.deepEqual([code, reason], ['proof-invalid', 'malformed-credential'], said.slice(0, 80))
    }
    const field = encoded(sent)
    assert.equal(refusal(shown(`${field}, ${field}`)).code, 'credential-malformed')
    credential(shown(field))
  })

  test('is written again from a payer’s books, the same to the letter', async () => {
    const [offer] = found(asked([evmOffer()]))?.offers ?? []
    assert.ok(offer)
    const proof = await purse.pay(offer as Parameters<typeof purse.pay>[0], 60_000)
    const form = purse.forms['mpp']
    assert.ok(form)
    const kept = JSON.stringify([writeOffer(offer), form.writeProof(proof)])
    const [said, shownBefore] = JSON.parse(kept) as [JsonObject, unknown]
    const again = { offer: readOffer(said), proof: form.readProof(shownBefore) }
    assert.deepEqual(buyer.writeCredential(again), buyer.writeCredential({ offer, proof }))
  })

  test('of others is none of ours', () => {
    for (const other of ['Bearer abc', 'Basic dTpw', 'L402 a:b', 'Payments abc', 'XPayment abc'])
      assert.equal(shown(other), undefined, other)
    assert.equal(seller.readCredential(fieldsOf({}), resource), undefined)
    assert.equal(shown(`Bearer ${'A'.repeat(40_000)}`), undefined)
  })
})

describe('a receipt', () => {
  const offer = evmOffer()

  test('names the payment and the challenge, and is read by a buyer', () => {
    const [[name, value] = ['', '']] = seller.writeReceipt(receiptOf(offer), offer).fields
    assert.equal(name, 'Payment-Receipt')
    assert.deepEqual(decoded(value), {
      challengeId: offer.id,
      chainId: 84532,
      method: 'evm',
      reference: '0xab',
      status: 'success',
      timestamp: '2027-01-15T08:00:00Z',
    })
    const fields = fieldsOf({ 'Payment-Receipt': value })
    const read = buyer.readReceipt({ status: 200, fields }, offer)
    assert.deepEqual(read, { ...receiptOf(offer), payer: '' })
  })

  test('on Lightning is the payment hash and never the preimage', () => {
    const paid = lightningOffer()
    const { fields } = seller.writeReceipt(receiptOf(paid, { reference: paymentHash }), paid)
    const said = decoded(fields[0]?.[1] ?? '')
    assert.deepEqual([said['method'], said['reference']], ['lightning', paymentHash])
    assert.doesNotMatch(JSON.stringify(said), new RegExp(preimage))
  })

  test('is not beside a refusal, and not for what is on its way', () => {
    assert.deepEqual(seller.writeReceipt(receiptOf(offer)).fields, [])
    assert.deepEqual(seller.writeReceipt(receiptOf(offer, { settled: false }), offer).fields, [])
    const unbound = { rail: 'evm', network: offer.network }
    assert.deepEqual(seller.writeReceipt(receiptOf(offer), unbound).fields, [])
  })

  test('that cannot be believed is no reason to pay again', () => {
    const read = (said: unknown): unknown => {
      const value =
        typeof said === 'string' ? said : Buffer.from(JSON.stringify(said)).toString('base64url')
      const fields = fieldsOf({ 'Payment-Receipt': value })
      const receipt = buyer.readReceipt({ status: 200, fields }, offer)
      return receipt && 'code' in receipt ? receipt.code : 'read'
    }
    const good = {
      status: 'success',
      method: 'evm',
      timestamp: '2027-01-15T08:00:00Z',
      reference: 'a',
    }
    assert.equal(read(good), 'read')
    assert.equal(read({ ...good, challengeId: offer.id, more: 1 }), 'read')
    for (const bad of [
      '!!',
      [],
      {},
      { ...good, status: 'failed' },
      { ...good, reference: 5 },
      { ...good, timestamp: 5 },
      { ...good, challengeId: 'another' },
    ])
      assert.equal(read(bad), 'payment-unknown', JSON.stringify(bad))
    assert.equal(buyer.readReceipt({ status: 200, fields: fieldsOf({}) }, offer), undefined)
  })
})

test('nobody signs without a proof, and nothing is asked for nothing', () => {
  assert.deepEqual(buyer.writeCredential({ offer: evmOffer() }), { fields: [] })
  assert.deepEqual(seller.writeChallenge(challengeOf([])), { fields: [] })
})
