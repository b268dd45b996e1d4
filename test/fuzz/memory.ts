// Runs by itself with little memory: every request is another's, and what is kept of them has a limit. It ends with 0 if there was
// enough of it.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { systemChance } from '../../src/core/chance.ts'
import { narrow, readToken, writeToken } from '../../src/tokens/macaroon/index.ts'
import { createReaders, read } from './readers.ts'

/** Together they are many times what this process may have. */
const STRANGERS = 16_000
const NARROWED = 5_000
const CHARS = 3_000

const readers = await createReaders()
const honest = readers.flatMap((reader) => reader.honest)
const own = (): string => Buffer.from(systemChance(24)).toString('base64url')

for (let i = 0; i < STRANGERS; i++) {
  const one = honest[i % honest.length]
  const reader = readers[i % readers.length]
  assert.ok(one && reader)
  const name = own()
  // Spoilt within, and with more behind it.
  const fields = Object.entries(one.fields).map(([field, value]) => {
    const spoilt = value.slice(0, 40) + name + value.slice(60)
    return [field, spoilt + name.repeat(Math.ceil((CHARS - spoilt.length) / name.length))] as const
  })
  await read(reader, Object.fromEntries(fields))
}

// Whoever has one token makes as many of it as he likes, and all of them hold.
const oauth = readers.find(({ name }) => name === 'oauth')
const token = oauth?.honest.find(({ name }) => /macaroon/.test(name))?.fields['Authorization']
const [macaroon] = [readToken(token?.slice('Bearer '.length) ?? '')].flat()
assert.ok(oauth && macaroon && typeof macaroon !== 'string')
for (let i = 0; i < NARROWED; i++) {
  const path = `path=/${own().repeat(15)}`
  const made = narrow(macaroon, [path, path, path, path, path, path, path])
  assert.ok(typeof made !== 'string', inspect(made))
  const found = await read(oauth, { Authorization: `Bearer ${writeToken([made])}` })
  assert.ok(found && !('code' in found), inspect(found))
}
