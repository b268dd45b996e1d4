import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Challenge } from '../core/challenge.ts'
import type { Gate, Protocol, Stand } from '../core/ports.ts'
import type { Code } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { Resource } from '../core/resource.ts'
import { createWriter } from './answer.ts'
import type { Incoming, Seller } from './http.ts'
import { createDoor } from './http.ts'
import { HEAD_BYTES_MAX, SERVER_BYTES, bytesOf, layOut } from './layout.ts'

const resource: Resource = {
  realm: 'api',
  method: 'GET',
  authority: 'api.test',
  path: '/a',
  query: '',
  url: 'https://api.test/a',
}
const challenge: Challenge = { resource, offers: [], problem: problem('payment-required', 'Pay.') }

/** A protocol that says these lines. */
function speaks(
  name: string,
  lines: readonly string[],
  more: Partial<Protocol> & { readonly stands?: Readonly<Record<string, Stand>> } = {},
): Protocol {
  const { stands, ...rest } = more
  return {
    name,
    fields: { request: [name], response: ['WWW-Authenticate'] },
    writeChallenge: () => ({ fields: lines.map((line) => ['WWW-Authenticate', line] as const) }),
    readChallenge: () => undefined,
    writeCredential: () => ({ fields: [] }),
    readCredential: (fields) =>
      fields.get(name) === undefined || fields.get(name) === null
        ? undefined
        : problem((fields.get(name) ?? 'internal') as Code, 'No.'),
    writeReceipt: () => ({ fields: [] }),
    readReceipt: () => undefined,
    ...(stands && { stand: (line: string) => stands[line] ?? {} }),
    ...rest,
  }
}

const own = speaks('own', ['Own'])
const first = speaks('first', ['Old', 'First plus more'], {
  stands: { Old: { place: -1, lean: '' }, 'First plus more': { place: 0, lean: 'First' } },
})
const payment = speaks('payment', ['Payment lightning', 'Payment evm'], {
  stands: { 'Payment lightning': { place: 2 }, 'Payment evm': { place: 1 } },
  isAsked: (asker) => asker.get('accept') === 'payment',
})
const spare = speaks('spare', ['Spare'], { stands: { Spare: { lean: '' } } })
const all = [spare, own, payment, first]
const ordered = ['Old', 'First plus more', 'Payment evm', 'Spare', 'Own', 'Payment lightning']

const linesOf = (
  protocols: readonly Protocol[],
  asked?: Readonly<Record<string, string>>,
  bytesMax?: number,
): readonly string[] => {
  const asker = asked && { get: (name: string) => asked[name] }
  return layOut(challenge, protocols, asker, 0, bytesMax).fields.map(([, value]) => value)
}

describe('the lines of one 402', () => {
  test('stand where their protocols want them, in whatever order those are named', () => {
    assert.deepEqual(linesOf(all), ordered)
    const turned = linesOf(all.toReversed())
    assert.deepEqual(turned.toSorted(), ordered.toSorted())
    for (const place of [0, 1, 2, 5]) assert.equal(turned[place], ordered[place])
  })

  test('are those of the protocol that is asked for, in its own order, and those without a stand', () => {
    const asked = { accept: 'payment' }
    assert.deepEqual(linesOf(all, asked), ['Payment lightning', 'Payment evm', 'Own'])
    assert.deepEqual(linesOf(all, { accept: 'other' }), ordered)
    const silent = { ...payment, writeChallenge: () => ({ fields: [] }) }
    assert.deepEqual(
      linesOf([silent, first, own], asked),
      ['Old', 'First plus more', 'Own'],
      'what is asked for is not there',
    )
  })

  test('are said shorter or left out one by one, and only while there are too many bytes', () => {
    const whole = bytesOf(ordered.flatMap((line) => ['WWW-Authenticate', line])) + 33
    const sayings = new Set<string>()
    for (let bytes = whole; bytes >= 0; bytes--) {
      const lines = linesOf(all, undefined, bytes)
      const said = bytesOf(lines.flatMap((line) => ['WWW-Authenticate', line])) + 33
      const isLeanest = lines.length === 4 && lines[0] === 'First'
      assert.ok(said <= bytes || isLeanest, `${said} bytes in ${bytes}`)
      sayings.add(lines.join(', '))
    }
    assert.deepEqual(
      [...sayings],
      [
        ordered.join(', '),
        'First plus more, Payment evm, Spare, Own, Payment lightning',
        'First, Payment evm, Spare, Own, Payment lightning',
        'First, Payment evm, Own, Payment lightning',
      ],
    )
  })

  test('are counted as they go over the wire', () => {
    assert.equal(bytesOf(['A', 'b', 'Cd', 'e']), 'A: b\r\nCd: e\r\n'.length)
  })
})

describe('a refusal', () => {
  const write = createWriter([spare, own, payment, first], false)
  const lines = (head: readonly string[]): readonly string[] =>
    head.filter((_, i) => head[i - 1] === 'WWW-Authenticate')

  test('with offers is laid out, and counts what else is on its head', () => {
    const why = challenge.problem
    assert.deepEqual(lines(write.refusal(why, 'r', { challenge }).head), ordered)
    const much = [['More', 'x'.repeat(HEAD_BYTES_MAX)]] as const
    const lean = write.refusal(why, 'r', { challenge, fields: much })
    assert.deepEqual(lines(lean.head), ['First', 'Payment evm', 'Own', 'Payment lightning'])
    assert.ok(HEAD_BYTES_MAX + SERVER_BYTES <= 4_096, 'one page of memory')
  })

  test('of a credential has the status that its protocol has for it, in head and body', () => {
    const profile = speaks('profile', [], { statuses: { 'proof-invalid': 403 } })
    const by = (code: Code, protocol?: Protocol) => {
      const { status, body } = createWriter([profile], false).refusal(problem(code, 'No.'), 'r', {
        by: protocol,
      })
      return [status, (JSON.parse(String(body)) as { status: number }).status]
    }
    assert.deepEqual(by('proof-invalid', profile), [403, 403])
    assert.deepEqual(by('proof-invalid', own), [402, 402])
    assert.deepEqual(by('proof-invalid'), [402, 402])
    assert.deepEqual(by('payment-required', profile), [402, 402])
  })
})

describe('a door', () => {
  /** Counts how often it is asked for a challenge. */
  function doorOf(protocols: readonly Protocol[]) {
    let asked = 0
    const gate: Pick<Gate, 'challenge' | 'admit' | 'keeps'> = {
      keeps: false,
      challenge: () => {
        asked++
        return { kind: 'refused', problem: challenge.problem, challenge }
      },
      admit: async ({ credential }) => ({
        kind: 'refused',
        problem: credential && 'code' in credential ? credential : challenge.problem,
        challenge,
      }),
    }
    const seller: Seller = { gate: gate as Gate, protocols, realm: 'api' }
    const door = createDoor(seller, { 'GET /a': '1 USD' })
    return {
      asked: () => asked,
      async ask(fields: Readonly<Record<string, string>>) {
        const incoming: Incoming = {
          method: 'GET',
          target: '/a',
          scheme: 'https',
          authority: 'api.test',
          fields: new Headers(fields),
        }
        const entered = await door.enter(incoming)
        assert.equal(entered.kind, 'answer')
        assert.ok(entered.kind === 'answer')
        const { head, status } = entered.answer
        return { status, lines: head.filter((_, i) => head[i - 1] === 'WWW-Authenticate'), head }
      },
    }
  }

  const choosy: Protocol = {
    ...payment,
    fields: { ...payment.fields, preference: ['Accept'] },
    isAsked: (asker) => asker.get('accept') !== null,
  }

  test('keeps a finished 402 for those without a preference alone', async () => {
    const door = doorOf([choosy, first])
    const plain = await door.ask({})
    assert.deepEqual((await door.ask({})).lines, plain.lines)
    assert.equal(door.asked(), 1, 'the second was kept')
    const liked = await door.ask({ Accept: 'payment' })
    assert.deepEqual(liked.lines, ['Payment lightning', 'Payment evm'])
    assert.deepEqual((await door.ask({})).lines, plain.lines)
    assert.equal(door.asked(), 2)
    assert.match(plain.head[plain.head.indexOf('Vary') + 1] ?? '', /Accept/)
  })

  test('answers a credential with the status of the protocol that has read it', async () => {
    const strict = speaks('strict', [], { statuses: { 'proof-invalid': 403 } })
    const door = doorOf([strict, own])
    assert.equal((await door.ask({ strict: 'proof-invalid' })).status, 403)
    assert.equal((await door.ask({ own: 'proof-invalid' })).status, 402)
  })
})
