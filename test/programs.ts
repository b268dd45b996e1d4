// Runs the programs that the documents show as a user would: each in a process of its own, in a directory of theirs.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const PAUSE_MS = 20

/** A page of the documents. */
export async function readPage(name: string): Promise<string> {
  return await readFile(join(root, 'docs', name), 'utf8')
}

/** The programs that a page shows, in their order. */
export function programsIn(page: string): readonly string[] {
  return [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = '']) => code)
}

/** The path of an example. */
export function exampleAt(name: string): string {
  return join(root, 'examples', name)
}

/** Fails where the page does not show all those examples as they are. */
export async function assertShows(page: string, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const example = await readFile(exampleAt(name), 'utf8')
    assert.ok(page.includes(example.trim()), `The page does not show examples/${name} as it is.`)
  }
}

/** A program that runs. */
export interface Program {
  /** All that it has said, errors too. */
  readonly said: () => string
  /** Waits until it answers there as it should, by default at all. */
  answers(url: string, isRight?: (response: Response) => boolean): Promise<void>
  /** Waits until it ends, and gives its exit code. */
  end(): Promise<number | null>
}

/** A place for programs. */
export interface Stage {
  readonly directory: string
  /** Lays down a program of a page, its imports of the package pointed at the sources. Its path. */
  write(code: string): Promise<string>
  start(file: string, env: Readonly<Record<string, string>>, words?: readonly string[]): Program
  /** Ends them all. */
  close(): Promise<void>
}

/** Makes a place. */
export async function openStage(): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-docs-'))
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  const enders: (() => Promise<void>)[] = []
  let count = 0
  return {
    directory,
    async write(code) {
      const file = join(directory, `program-${++count}.mts`)
      await writeFile(file, await pointed(code))
      return file
    },
    start(file, env, words = []) {
      const child = spawn(process.execPath, [file, ...words], {
        cwd: directory,
        env: { PATH: process.env['PATH'] ?? '', ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const closed = once(child, 'close') as Promise<[number | null]>
      let said = ''
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => (said += text))
      enders.push(async () => {
        child.kill('SIGKILL')
        await closed
      })
      return {
        said: () => said,
        async answers(url, isRight = () => true) {
          while (!(await fetch(url).then(isRight, () => false))) {
            assert.equal(child.exitCode, null, said)
            await new Promise((done) => setTimeout(done, PAUSE_MS))
          }
        },
        end: async () => (await closed)[0],
      }
    },
    async close() {
      await Promise.all(enders.map((end) => end()))
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function pointed(code: string): Promise<string> {
  const { exports } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    readonly exports: Readonly<Record<string, { readonly default: string }>>
  }
  return code.replaceAll(/from '(tolsey[^']*)'/g, (_, name: string) => {
    const entry = exports[`.${name.slice('tolsey'.length)}`] ?? assert.fail(`${name} is an entry`)
    const source = entry.default.replace(/^\.\/dist\/(.*)\.js$/, 'src/$1.ts')
    return `from '${pathToFileURL(join(root, source)).href}'`
  })
}
