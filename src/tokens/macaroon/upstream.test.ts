// Both directions against npm's `macaroon` (binary version 2) and Python's `pymacaroons`, where they are installed. The
// former reserves gigabytes when it writes three caveats, so it writes at most one here; it may read as many as it likes.
import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { describe, test } from 'node:test'
import { systemChance } from '../../core/chance.ts'
import { writeToken } from './codec.ts'
import { ok, one, rootKey } from './fixture.test.ts'
import { addThirdParty, bind, mint, narrow, verify } from './macaroon.ts'

interface Theirs {
  readonly signature: Uint8Array
  addFirstPartyCaveat(id: Uint8Array): void
  addThirdPartyCaveat(rootKey: Uint8Array, id: Uint8Array, location: string): void
  bindToRoot(signature: Uint8Array): void
  verify(
    key: Uint8Array,
    check: (said: string) => string | null,
    discharges: readonly Theirs[],
  ): void
  exportBinary(): Uint8Array
}

interface Library {
  importMacaroon(bytes: Uint8Array): Theirs
  newMacaroon(made: {
    version: number
    rootKey: Uint8Array
    identifier: Uint8Array
    location: string
  }): Theirs
}

function load(): Library | undefined {
  try {
    return createRequire(import.meta.url)('macaroon') as Library
  } catch {
    return undefined
  }
}

const library = load()
const id = Buffer.from('token')
const party = { location: 'there', id: Buffer.from('who'), rootKey: Buffer.from('shared') }
const textOf = (macaroon: Theirs): string => Buffer.from(macaroon.exportBinary()).toString('base64')

describe('npm macaroon', { skip: library ? false : 'It is not installed.' }, () => {
  assert.ok(library)
  const theirs = (): Theirs =>
    library.newMacaroon({ version: 2, rootKey, identifier: id, location: 'here' })

  function saidTo(macaroon: Theirs, discharges: readonly Theirs[] = []): readonly string[] {
    const said: string[] = []
    macaroon.verify(rootKey, (text) => (said.push(text), null), discharges)
    return said
  }

  test('verifies what we mint and narrow', () => {
    const conditions = ['a=1', 'b=2', 'c=3', 'd=4', 'e=é', `f=${'x'.repeat(300)}`]
    const ours = ok(narrow(mint({ rootKey, id, location: 'here' }), conditions))
    assert.deepEqual(saidTo(library.importMacaroon(ours.bytes)), conditions)
    const cut = library.importMacaroon(mint({ rootKey: party.rootKey, id }).bytes)
    assert.throws(() => saidTo(cut))
  })

  test('mints what we verify and narrow', () => {
    const made = theirs()
    assert.deepEqual(one(textOf(made)), one(writeToken([mint({ rootKey, id, location: 'here' })])))
    made.addFirstPartyCaveat(Buffer.from('a=1'))
    const received = ok(narrow(one(textOf(made)), ['b=2']))
    const { conditions } = ok(verify(received, rootKey))
    assert.deepEqual(
      conditions.map(({ bytes }) => Buffer.from(bytes).toString()),
      ['a=1', 'b=2'],
    )
    assert.deepEqual(saidTo(library.importMacaroon(received.bytes)), ['a=1', 'b=2'])
  })

  test('takes our third party and our discharge', () => {
    const root = ok(addThirdParty(mint({ rootKey, id }), party, systemChance))
    const discharge = ok(narrow(mint(party), ['user=bob']))
    const toTheirs = (bytes: Uint8Array): Theirs => library.importMacaroon(bytes)
    const bound = toTheirs(bind(root, discharge).bytes)
    assert.deepEqual(saidTo(toTheirs(root.bytes), [bound]), ['user=bob'])
    assert.throws(() => saidTo(toTheirs(root.bytes), [toTheirs(discharge.bytes)]))
  })

  test('gives a third party and a discharge that we take', () => {
    const made = theirs()
    made.addThirdPartyCaveat(party.rootKey, party.id, party.location)
    const discharge = library.newMacaroon({
      version: 2,
      rootKey: party.rootKey,
      identifier: party.id,
      location: '',
    })
    discharge.bindToRoot(made.signature)
    const [root, bound] = [one(textOf(made)), one(textOf(discharge))]
    ok(verify(root, rootKey, [bound]))
    assert.deepEqual(bind(root, mint({ ...party, location: '' })), bound)
    assert.equal(typeof verify(root, rootKey), 'string')
  })
})

const PYTHON = `
import sys, base64
from pymacaroons import Macaroon, Verifier, MACAROON_V1, MACAROON_V2
from pymacaroons.serializers import BinarySerializer
key = bytes(range(255, 223, -1))
for line in sys.stdin.read().split():
    m = Macaroon.deserialize(line)
    v = Verifier()
    v.satisfy_general(lambda said: True)
    assert v.verify(m, key)
for version in (MACAROON_V1, MACAROON_V2):
    m = Macaroon(location='', identifier='token', key=key, version=version)
    m.add_first_party_caveat('a=1')
    print(m.serialize())
`

const python = spawnSync('python3', ['-c', 'import pymacaroons']).status === 0

describe('pymacaroons', { skip: python ? false : 'It is not installed.' }, () => {
  test('verifies ours, and mints what we verify', () => {
    const ours = ([1, 2] as const).map((version) =>
      writeToken([ok(narrow(mint({ rootKey, id, version }), ['a=1', 'b=2']))]),
    )
    const run = spawnSync('python3', ['-c', PYTHON], { input: ours.join('\n'), encoding: 'utf8' })
    assert.equal(run.status, 0, run.stderr)
    const tokens = run.stdout.trim().split('\n')
    assert.equal(tokens.length, 2)
    for (const token of tokens) ok(verify(one(token), rootKey))
  })
})
