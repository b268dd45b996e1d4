// The programs of docs/events.md and docs/watching.md run here as they stand there, but for the names of the packages,
// and that a receiver on this machine is allowed.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { freePort } from '../../test/ports.ts'
import { openStage, programsIn, readPage } from '../../test/programs.ts'
import type { Program, Stage } from '../../test/programs.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { tellings } from './feed.ts'
import { SECRET, sell, until } from './fixture.test.ts'

let stage: Stage
before(async () => {
  stage = await openStage()
})
after(() => stage?.close())

async function run(code: string, env: Record<string, string>): Promise<Program> {
  return stage.start(await stage.write(code), env)
}

describe('docs/events.md', () => {
  test('has a sender and a receiver that understand each other', async () => {
    const [sender = '', receiver = '', ...more] = programsIn(await readPage('events.md'))
    assert.deepEqual(more, [])
    const [port, books] = [await freePort(), join(stage.directory, 'books.db')]
    const ledger = await sqlite({ file: books })
    await sell(ledger, 'first')
    const heard = await run(receiver, { PORT: `${port}`, HOOK_SECRET: SECRET })
    const local = sender.replace('HOOK_SECRET })', 'HOOK_SECRET, isPrivateAllowed: true })')
    const sent = await run(local, {
      BOOKS: books,
      HOOK: `http://127.0.0.1:${port}/`,
      HOOK_SECRET: SECRET,
    })
    await sell(ledger, 'second')
    const all = (): string => heard.said()
    await until(() => all().split("value: '0.01'").length === 5, 'four events are heard')
    const types = [...all().matchAll(/tolsey\.sale\.(\w+)/g)].map(([, type]) => type)
    assert.deepEqual(types, ['posted', 'delivered', 'posted', 'delivered'])
    const lines = async (): Promise<number> =>
      (await readFile(`${books}.ndjson`, 'utf8').catch(() => '')).split('\n').length - 1
    await until(async () => (await lines()) === 2, 'two events are in the file')
    // A receiver that started a moment later was tried again; nothing else went wrong.
    assert.ok(
      sent
        .said()
        .split('\n')
        .every((line) => line === '' || line.includes('ECONNREFUSED')),
      sent.said(),
    )
    await ledger.close()
  })

  test('names every type that there is, and no other', async () => {
    const text = await readPage('events.md')
    const told = [...text.matchAll(/^\| `(tolsey\.[a-z.-]+)` /gm)].map(([, type = '']) => type)
    const there = Object.values(tellings).flatMap((rows) => Object.values(rows))
    assert.deepEqual(told.toSorted(), there.toSorted())
  })
})

describe('docs/watching.md', () => {
  test('has a subscriber that logs and is scraped', async () => {
    const [program = '', ...more] = programsIn(await readPage('watching.md'))
    assert.deepEqual(more, [])
    const port = await freePort()
    const scraped = await run(program, { METRICS_PORT: `${port}` })
    const scrape = async (): Promise<string> =>
      await fetch(`http://127.0.0.1:${port}/metrics`)
        .then((response) => response.text())
        .catch(() => '')
    await until(async () => (await scrape()) !== '', 'it listens')
    assert.match(await scrape(), /^tolsey_faults_total\{where="start"\} 1$/m)
    assert.match(
      scraped.said(),
      /^\{.*"event":"fault","where":"start","error":"Error: Only a trial\."\}\n$/,
    )
  })

  test('names every metric that there is', async () => {
    const text = await readPage('watching.md')
    const said = await Promise.all(
      ['metrics.ts', join('..', 'outbox', 'gauges.ts')].map((name) =>
        readFile(join(import.meta.dirname, '..', 'watch', name), 'utf8'),
      ),
    )
    const names = [...said.join('').matchAll(/'(tolsey_\w+)'/g)].map(([, name = '']) => name)
    assert.ok(names.length > 15)
    const short = text.replaceAll('`…', '`tolsey_purchases')
    assert.deepEqual(
      names.filter((name) => !short.includes(name)),
      [],
    )
  })
})
