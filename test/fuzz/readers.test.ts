// Whatever bytes stand in a request's head or in a seller's answer: they are read without a fault, to an end, and into nobody
// else's payment. Times are not measured: what grows with the square of its length does not end before the test does.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { createDoor } from '../../src/adapters/http.ts'
import { readAuth } from '../../src/core/auth.ts'
import { isBound } from '../../src/core/credential.ts'
import type { Gate, Read } from '../../src/core/ports.ts'
import { problem } from '../../src/core/problem.ts'
import { corpus, repeated, schemes } from './corpus.ts'
import type { Honest, Reader, Sent } from './readers.ts'
import { createReaders, fieldsOf, isOurs, raw, read } from './readers.ts'

/** As long as a whole head may be at Node, and far longer. */
const LENGTHS = [16_384, 262_144]
const RUNS = 400

let readers: readonly Reader[] = []
let honest: readonly Honest[] = []
/** Every field that any of them reads. */
let names: readonly string[] = []
/** How often something was taken for a payment of ours, lest the rest prove nothing. */
let taken = 0

before(async () => {
  readers = await createReaders()
  honest = readers.flatMap((reader) => reader.honest)
  const { fields } = { fields: readers.flatMap(({ seller }) => seller.fields) }
  names = [...new Set(fields.flatMap((f) => [...f.request, ...(f.preference ?? [])]))]
})

/** Undefined, a refusal with a sentence, or a credential: and then no other than one that is honest. */
function isFit(reader: Reader, found: Read, why: string): void {
  if (found === undefined) return
  if ('code' in found) return assert.match(found.detail, /[.…]$/, why)
  if (!isOurs(reader, found)) return
  taken++
  const same = reader.honest.some(({ brings }) => {
    const { offer, grant, proof } = brings
    if (grant && found.grant) return grant.id === found.grant.id
    if (!offer || !isBound(offer) || !found.offer) return false
    const { echo: _, ...said } = { echo: undefined, ...found.offer }
    return (
      isDeepStrictEqual(said, { ...offer }) && (proof === undefined) === (found.proof === undefined)
    )
  })
  assert.ok(same, `${reader.name} takes what nobody has signed: ${why}`)
}

async function readAll(sent: Sent): Promise<void> {
  for (const reader of readers)
    isFit(reader, await read(reader, sent), JSON.stringify(sent).slice(0, 500))
}

/** The buyers' and sellers' other readers. */
function hear(text: string, body: unknown): void {
  for (const { buyer, seller, resource, offer, asked } of readers) {
    const told = Object.fromEntries(
      [...seller.fields.response, 'WWW-Authenticate'].map((name) => [name, text]),
    )
    const challenge = buyer.readChallenge({ status: 402, fields: raw(told), body }, resource)
    assert.ok(challenge === undefined || challenge.offers.length <= 64)
    buyer.readReceipt({ status: 200, fields: raw(told), body }, offer)
    const asker = raw(Object.fromEntries(names.map((name) => [name, text])))
    seller.isAsked?.(asker)
    seller.writeChallenge({ resource, offers: [offer], problem: required }, asker)
    for (const [, line] of asked.fields) seller.stand?.(line)
    seller.stand?.(text)
  }
}

const required = problem('payment-required', 'Pay.')

/** Text made of honest and of nasty pieces. */
function texts(): fc.Arbitrary<string> {
  const pieces = [...honest.flatMap(({ fields }) => Object.values(fields)), ...corpus, ...repeated]
  const mixed = fc
    .array(fc.constantFrom(...pieces, ...schemes, ' ', ',', ', ', '=', '"', ':', '.'), {
      maxLength: 6,
    })
    .map((list) => list.join(''))
  return fc.oneof(mixed, fc.string({ unit: 'binary', maxLength: 200 }), spoilt())
}

/** One honest value with a few changes. */
function spoilt(): fc.Arbitrary<string> {
  const values = honest.flatMap(({ fields }) => Object.values(fields))
  const change = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    less: fc.nat(8),
    more: fc.oneof(fc.constantFrom(...corpus, ...repeated, ''), fc.string({ maxLength: 4 })),
  })
  return fc
    .tuple(fc.constantFrom(...values), fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([value, changes]) =>
      changes.reduce((text, { at, less, more }) => {
        const from = Math.floor(at * text.length)
        return text.slice(0, from) + more + text.slice(from + less)
      }, value),
    )
}

describe('a reader of what payers send', () => {
  test('takes what is honest, and leaves what is another’s alone', async () => {
    assert.deepEqual(
      readers.map(({ name }) => name),
      ['x402', 'l402', 'mpp', 'bearer', 'oauth', 'page'],
    )
    assert.equal(honest.length, 15)
    for (const whose of readers)
      for (const { name, fields } of whose.honest)
        for (const reader of readers) {
          const found = await read(reader, fields)
          if (reader === whose) assert.ok(found && !('code' in found), `${reader.name}: ${name}`)
          else assert.equal(found, undefined, `${reader.name} reads ${name}`)
        }
  })

  test('takes its own all the same with every other’s beside it in fields of their own', async () => {
    for (const whose of readers)
      for (const one of whose.honest.filter(({ fields }) => !('DPoP' in fields)))
        for (const other of honest.filter(({ fields }) => !('DPoP' in fields))) {
          if (Object.keys(other.fields).some((name) => name in one.fields)) continue
          const found = await read(whose, { ...other.fields, ...one.fields })
          assert.ok(found && !('code' in found), `${one.name} beside ${other.name}`)
        }
  })

  test('takes its own all the same where Authorization holds another’s as well', async () => {
    const inAuthorization = readers.flatMap((reader) =>
      reader.honest
        .filter(({ fields }) => 'Authorization' in fields && !('DPoP' in fields))
        .map((one) => ({ reader, ...one })),
    )
    let pairs = 0
    for (const one of inAuthorization)
      for (const other of inAuthorization) {
        if (one.reader === other.reader) continue
        const [mine = '', theirs = ''] = [one, other].map(({ fields }) => fields['Authorization'])
        for (const both of [`${mine}, ${theirs}`, `${theirs}, ${mine}`]) {
          const found = await read(one.reader, { Authorization: both })
          assert.ok(found && !('code' in found), `${one.name} beside ${other.name}`)
          pairs++
        }
      }
    assert.ok(pairs >= 20, `${pairs} pairs`)
  })

  test('stands every entry of the corpus, in every field, alone and beside what is honest', async () => {
    let reads = 0
    for (const entry of corpus)
      for (const scheme of schemes) {
        await readAll(Object.fromEntries(names.map((name) => [name, scheme + entry])))
        reads++
      }
    for (const entry of corpus)
      for (const { fields } of honest) {
        const joined = Object.entries(fields).map(([name, value]) => [name, `${entry}, ${value}`])
        const behind = Object.entries(fields).map(([name, value]) => [name, `${value}, ${entry}`])
        for (const sent of [joined, behind]) await readAll(Object.fromEntries(sent) as Sent)
        reads += 2
      }
    assert.ok(reads > 2_000, `${reads} reads`)
    assert.ok(taken > 100, `${taken} of them with a payment`)
  })

  test('comes to an end with what is repeated without one', { timeout: 110_000 }, async () => {
    for (const length of LENGTHS)
      for (const unit of repeated)
        for (const scheme of schemes) {
          const text = scheme + unit.repeat(Math.ceil(length / unit.length))
          const sent = Object.fromEntries(names.map((name) => [name, text]))
          for (const reader of readers) {
            const found = await read(reader, sent)
            assert.ok(found === undefined || 'code' in found, reader.name)
          }
        }
  })

  test('stands any text, and takes nothing that nobody has signed', async () => {
    const sent = fc.dictionary(fc.constantFrom(...names), texts(), { minKeys: 1, maxKeys: 4 })
    await fc.assert(
      fc.asyncProperty(sent, (fields) => readAll({ ...fields })),
      { numRuns: RUNS },
    )
  })

  test('takes no honest credential with a change in it for another offer', async () => {
    const one = fc.tuple(fc.constantFrom(...honest), spoilt(), fc.nat(2))
    await fc.assert(
      fc.asyncProperty(one, async ([{ fields }, text, at]) => {
        const entries = Object.entries(fields)
        const changed = entries.map(([name, value], i) => [
          name,
          i === at % entries.length ? text : value,
        ])
        await readAll(Object.fromEntries(changed) as Sent)
      }),
      { numRuns: RUNS },
    )
  })
})

describe('a reader of what sellers say', () => {
  test('understands what is honest', () => {
    for (const { name, buyer, resource, asked } of readers) {
      const body: unknown = asked.body && JSON.parse(JSON.stringify(asked.body))
      const fields = raw(fieldsOf(asked))
      const found = buyer.readChallenge({ status: 402, fields, body }, resource)
      if (name === 'oauth' || name === 'page') assert.equal(found, undefined)
      else assert.ok(found && found.offers.length > 0, name)
    }
  })

  test('stands the corpus', () => {
    for (const entry of corpus) for (const scheme of schemes) hear(scheme + entry, parsed(entry))
  })

  test('comes to an end with what is repeated without one', { timeout: 110_000 }, () => {
    for (const length of LENGTHS)
      for (const unit of repeated)
        for (const scheme of schemes) {
          const text = scheme + unit.repeat(Math.ceil(length / unit.length))
          hear(text, {
            token: text,
            invoice: text,
            gateway: text,
            payments: [text],
            accepts: [text],
          })
          assert.ok(readAuth(text).length <= 32)
        }
  })

  test('stands any text with any body', () => {
    fc.assert(
      fc.property(texts(), fc.jsonValue(), (text, body) => hear(text, body)),
      { numRuns: RUNS },
    )
  })
})

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}

describe('a door with all of them', () => {
  test('answers everything that can be sent with a refusal, and no fault', async () => {
    const faults: unknown[] = []
    const gate: Pick<Gate, 'challenge' | 'admit' | 'keeps'> = {
      keeps: false,
      challenge: ({ resource }) => refused(required, resource),
      admit: async ({ credential, resource }) =>
        refused(credential && 'code' in credential ? credential : unsigned, resource),
    }
    const refused = (why: typeof required, resource: Reader['resource']) =>
      ({
        kind: 'refused',
        problem: why,
        challenge: { resource, offers: [], problem: why },
      }) as const
    const door = createDoor(
      {
        gate: gate as Gate,
        protocols: readers.map(({ seller }) => seller),
        realm: 'api',
        observe: (event) => void (event.type === 'fault' && faults.push(event)),
      },
      { 'GET /a': '1 USD' },
    )
    const statuses = new Set<number>()
    for (const entry of corpus)
      for (const scheme of schemes)
        for (const name of names) {
          const entered = await door.enter({
            ...{ method: 'GET', target: '/a', scheme: 'https', authority: 'api.test' },
            fields: raw({ [name]: scheme + entry, 'X-Payment-Timestamp': '1800000000' }),
          })
          assert.ok(entered.kind === 'answer', `${name}: ${scheme}${entry}`)
          statuses.add(entered.answer.status)
        }
    assert.deepEqual(faults, [])
    assert.deepEqual(
      [...statuses].filter((status) => status < 400 || status >= 500),
      [],
    )
    assert.ok(statuses.has(400) && statuses.has(402))
  })
})

const unsigned = problem('proof-invalid', 'Nobody has signed it.')

test('twenty thousand strangers cost no more memory than one', { timeout: 110_000 }, async (t) => {
  const script = fileURLToPath(new URL('memory.ts', import.meta.url))
  const child = spawn(process.execPath, ['--max-old-space-size=52', script], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  const [code] = (await once(child, 'exit')) as [number | null]
  assert.equal(code, 0)
})
