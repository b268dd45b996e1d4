import assert from 'node:assert/strict'
import { appendFile, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { memory } from '../ledger/memory.ts'
import { createFeed } from './feed.ts'
import type { Told } from './feed.ts'
import { file } from './file.ts'
import { sell } from './fixture.test.ts'

const until = { deadlineAt: Infinity, signal: new AbortController().signal }
let directory: string
let told: readonly Told[]
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tolsey-file-'))
  const ledger = memory()
  for (let i = 0; i < 10; i++) await sell(ledger, `k${i}`)
  told = (await createFeed({ ledger, source: 's' }).read(0, 1_000)).told
})
after(() => rm(directory, { recursive: true }))

async function idsOf(path: string): Promise<readonly string[]> {
  const lines = (await readFile(path, 'utf8')).split('\n')
  assert.equal(lines.pop(), '')
  return lines.map((line) => JSON.parse(line).id)
}

const ids = (some: readonly Told[]): readonly string[] => some.map(({ event }) => event.id)

describe('a file of events', () => {
  test('is made for its owner alone, and gets one event a line', async () => {
    const path = join(directory, 'new', 'events.ndjson')
    const sink = file({ name: 'file', path })
    assert.deepEqual(await sink.deliver(told.slice(0, 5), until), { taken: 5 })
    assert.deepEqual(await sink.deliver(told.slice(5), until), { taken: told.length - 5 })
    assert.deepEqual(await idsOf(path), ids(told))
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    await sink.close()
  })

  test('that was left in the middle of a line goes on without a gap and without a double', async () => {
    const path = join(directory, 'torn.ndjson')
    for (const cut of [1, 40, 200]) {
      const before = file({ name: 'file', path })
      await before.deliver(told.slice(0, 4), until)
      await before.close()
      await appendFile(path, JSON.stringify(told[4]?.event).slice(0, cut))
      const sink = file({ name: 'file', path })
      // The cursor was not moved: the same turn comes again, and more with it.
      assert.deepEqual(await sink.deliver(told, until), { taken: told.length })
      assert.deepEqual(await idsOf(path), ids(told))
      await sink.close()
      await rm(path)
    }
  })

  test('is looked at anew when another process wrote to it', async () => {
    const path = join(directory, 'two.ndjson')
    const [one, other] = [file({ name: 'file', path }), file({ name: 'file', path })]
    await one.deliver(told.slice(0, 3), until)
    await other.deliver(told.slice(0, 8), until)
    await one.deliver(told.slice(3), until)
    assert.deepEqual(await idsOf(path), ids(told))
    await Promise.all([one.close(), other.close()])
  })

  test('is begun anew when it was moved away', async () => {
    const path = join(directory, 'moved.ndjson')
    const sink = file({ name: 'file', path })
    await sink.deliver(told.slice(0, 6), until)
    await rename(path, `${path}.1`)
    await sink.deliver(told.slice(6), until)
    assert.deepEqual([...(await idsOf(`${path}.1`)), ...(await idsOf(path))], ids(told))
    await sink.close()
  })

  test('does not pass over events of other books that have the same numbers', async () => {
    const path = join(directory, 'restored.ndjson')
    const sink = file({ name: 'file', path })
    await sink.deliver(told, until)
    const ledger = memory()
    for (let i = 0; i < 10; i++) await sell(ledger, `other${i}`)
    const others = (await createFeed({ ledger, source: 's' }).read(0, 1_000)).told
    await sink.deliver(others, until)
    assert.deepEqual(await idsOf(path), [...ids(told), ...ids(others)])
    await sink.close()
  })

  test('that cannot be written says why, without its name', async () => {
    const path = join(directory, 'events.ndjson', 'below-a-file')
    await appendFile(join(directory, 'events.ndjson'), '')
    const { taken, trouble } = await file({ name: 'file', path }).deliver(told, until)
    assert.equal(taken, 0)
    assert.ok(trouble?.kind === 'down' && /^the file cannot be written \(E\w+\)$/.test(trouble.why))
  })
})
