// The programs of docs/events.md and docs/watching.md run here as they stand there, but for the names of the packages,
// and that a receiver on this machine is allowed.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { freePort } from '../../test/ports.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { tellings } from './feed.ts'
import { SECRET, sell, until } from './fixture.test.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const sources: Readonly<Record<string, string>> = {
  tolsey: 'src/index.ts',
  'tolsey/outbox': 'src/outbox/index.ts',
  'tolsey/watch': 'src/watch/index.ts',
}
const children: ChildProcess[] = []
let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tolsey-docs-'))
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await rm(directory, { recursive: true })
})

/** The programs of a page, in their order. */
async function programs(page: string): Promise<readonly string[]> {
  const text = await readFile(join(root, 'docs', page), 'utf8')
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = '']) => code)
}

/** Runs a program; what it says comes in the list. */
async function run(code: string, env: Record<string, string>): Promise<readonly string[]> {
  const own = code.replaceAll(/from '(tolsey[^']*)'/g, (_, name: string) => {
    const source = sources[name] ?? assert.fail(name)
    return `from '${pathToFileURL(join(root, source)).href}'`
  })
  const file = join(directory, `${children.length}.mts`)
  await writeFile(file, own)
  const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  const said: string[] = []
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => said.push(text))
  return said
}

describe('docs/events.md', () => {
  test('has a sender and a receiver that understand each other', async () => {
    const [sender = '', receiver = '', ...more] = await programs('events.md')
    assert.deepEqual(more, [])
    const [port, books] = [await freePort(), join(directory, 'books.db')]
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
    const all = (): string => heard.join('')
    await until(() => all().split("value: '0.01'").length === 5, 'four events are heard')
    const types = [...all().matchAll(/tolsey\.sale\.(\w+)/g)].map(([, type]) => type)
    assert.deepEqual(types, ['posted', 'delivered', 'posted', 'delivered'])
    const lines = async (): Promise<number> =>
      (await readFile(`${books}.ndjson`, 'utf8').catch(() => '')).split('\n').length - 1
    await until(async () => (await lines()) === 2, 'two events are in the file')
    // A receiver that started a moment later was tried again; nothing else went wrong.
    assert.ok(
      sent.every((text) => text.includes('ECONNREFUSED')),
      sent.join(''),
    )
    await ledger.close()
  })

  test('names every type that there is, and no other', async () => {
    const text = await readFile(join(root, 'docs', 'events.md'), 'utf8')
    const told = [...text.matchAll(/^\| `(tolsey\.[a-z.-]+)` /gm)].map(([, type = '']) => type)
    const there = Object.values(tellings).flatMap((rows) => Object.values(rows))
    assert.deepEqual(told.toSorted(), there.toSorted())
  })
})

describe('docs/watching.md', () => {
  test('has a subscriber that logs and is scraped', async () => {
    const [program = '', ...more] = await programs('watching.md')
    assert.deepEqual(more, [])
    const port = await freePort()
    const said = await run(program, { METRICS_PORT: `${port}` })
    const scrape = async (): Promise<string> =>
      await fetch(`http://127.0.0.1:${port}/metrics`)
        .then((response) => response.text())
        .catch(() => '')
    await until(async () => (await scrape()) !== '', 'it listens')
    assert.match(await scrape(), /^tolsey_faults_total\{where="start"\} 1$/m)
    assert.match(
      said.join(''),
      /^\{.*"event":"fault","where":"start","error":"Error: Only a trial\."\}\n$/,
    )
  })

  test('names every metric that there is', async () => {
    const text = await readFile(join(root, 'docs', 'watching.md'), 'utf8')
    const said = await Promise.all(
      ['metrics.ts', join('..', 'outbox', 'gauges.ts')].map((name) =>
        readFile(join(root, 'src', 'watch', name), 'utf8'),
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
