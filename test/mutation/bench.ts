// Where mutants are tried: a copy of the sources in a temporary directory, never the tree itself. Which tests a mutant
// meets is told by the coverage of the sources as they are, so that most meet only a few.
import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Mutant } from './mutants.ts'
import { applied } from './mutants.ts'

/** What became of a mutant. `refused`: the types do not let it be written. */
export type Fate = 'killed' | 'timeout' | 'survived' | 'refused'

/** One test file, as it runs over the sources as they are. */
export interface Proof {
  readonly file: string
  readonly tookMs: number
  /** Whether it runs the code at the offset. */
  covers(source: string, offset: number): boolean
  /** Whether it loads the source at all. */
  loads(source: string): boolean
}

/** One copy of the tree, in which one mutant at a time is tried. */
export interface Bench {
  /** Runs a test file once, to learn how long it takes and what it covers. Throws when it fails. */
  learn(test: string): Promise<Proof>
  /** Those mutants that do not pass the compiler. */
  refused(mutants: readonly Mutant[]): Promise<ReadonlySet<Mutant>>
  tryOut(mutant: Mutant, proofs: readonly Proof[]): Promise<Fate>
  close(): void
}

/** A mutant may slow a test down this much, beside {@link GRACE_MS}, before it is called endless. */
const SLOWER = 3
const GRACE_MS = 15_000

/** How long a test file may take over the sources as they are. */
const LEARN_MS = 300_000

/** What a test, or the compiler, needs to find. */
const COPIED = ['src', 'test', 'bench', 'schemas', 'package.json', 'tsconfig.json']

/** Lines of a report in which a test failed. */
const FAILED = /^\s*not ok /m

/**
 * Copies the tree below `root`.
 * @param lent - where packages lie, if not below `root`.
 */
export function createBench(root: string, lent: string = join(root, 'node_modules')): Bench {
  const home = mkdtempSync(join(tmpdir(), 'tolsey-mutation-'))
  const tree = join(home, 'tree')
  const scratch = join(home, 'scratch')
  mkdirSync(tree)
  mkdirSync(scratch)
  for (const name of COPIED.filter((one) => existsSync(join(root, one))))
    cpSync(join(root, name), join(tree, name), {
      recursive: true,
      force: true,
      filter: (path) => !/node_modules|next-app/.test(path),
    })
  symlinkSync(lent, join(tree, 'node_modules'))
  const environment = { TMPDIR: scratch }
  const close = (): void => {
    process.removeListener('exit', close)
    for (const pid of running) endGroup(pid)
    rmSync(home, { recursive: true, force: true })
  }
  process.once('exit', close)

  return {
    async learn(test) {
      const to = mkdtempSync(join(home, 'coverage-'))
      const startedAt = Date.now()
      const env = { ...environment, NODE_V8_COVERAGE: to }
      const { state, said } = await run(tree, [test], env, LEARN_MS)
      if (state !== 'passed') throw new Error(`${test} fails before anything is changed:\n${said}`)
      const coverage = readCoverage(to, tree)
      return { file: test, tookMs: Date.now() - startedAt, ...coverage }
    },
    async refused(mutants) {
      const paths = new Map<string, Mutant>()
      for (const [i, mutant] of mutants.entries()) {
        const path = join(dirname(mutant.file), `mutant-${i}.ts`)
        paths.set(path, mutant)
        writeFileSync(
          join(tree, path),
          applied(readFileSync(join(tree, mutant.file), 'utf8'), mutant),
        )
      }
      const said = await compile(tree, [...paths.keys()])
      for (const path of paths.keys()) rmSync(join(tree, path))
      const wrong = [...said.matchAll(/^(\S+?)\(\d+,\d+\): error/gm)].map(([, path = '']) => path)
      return new Set(wrong.map((path) => paths.get(path)).filter((one) => one !== undefined))
    },
    async tryOut(mutant, proofs) {
      const path = join(tree, mutant.file)
      const source = readFileSync(path, 'utf8')
      writeFileSync(path, applied(source, mutant))
      try {
        for (const { file, tookMs } of chosen(mutant, proofs)) {
          const { state } = await run(tree, [file], environment, GRACE_MS + SLOWER * tookMs)
          if (state !== 'passed') return state === 'late' ? 'timeout' : 'killed'
        }
        return 'survived'
      } finally {
        writeFileSync(path, source)
        rmSync(scratch, { recursive: true, force: true })
        mkdirSync(scratch)
      }
    },
    close,
  }
}

/** The test files of these patterns, from the root. */
export function testsOf(root: string, patterns: readonly string[]): readonly string[] {
  return globSync([...patterns], { cwd: root }).toSorted()
}

/** Those that run the mutant's code, quick ones first; where none does, those that at least load it. */
function chosen({ file, start }: Mutant, proofs: readonly Proof[]): readonly Proof[] {
  const covering = proofs.filter((proof) => proof.covers(file, start))
  const found = covering.length > 0 ? covering : proofs.filter((proof) => proof.loads(file))
  return found.toSorted((a, b) => a.tookMs - b.tookMs)
}

interface Ran {
  readonly state: 'passed' | 'failed' | 'late'
  readonly said: string
}

/** Leaders of the groups that run, of all benches. */
const running = new Set<number>()

/** Runs node in a group of its own, so that children go with it, and ends it at the first failed test. */
function run(
  cwd: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  limitMs: number,
): Promise<Ran> {
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env
  const child = spawn(process.execPath, ['--test-reporter=tap', ...args], {
    cwd,
    env: { ...inherited, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (child.pid !== undefined) running.add(child.pid)
  let said = ''
  let state: Ran['state'] | undefined
  const end = (why: 'failed' | 'late'): void => {
    state ??= why
    endGroup(child.pid)
  }
  const timer = setTimeout(() => end('late'), limitMs)
  const hear = (text: string): void => {
    said += text
    if (state === undefined && FAILED.test(said)) end('failed')
  }
  child.stdout.setEncoding('utf8').on('data', hear)
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  return new Promise((resolve) => {
    child.once('close', (status) => {
      clearTimeout(timer)
      // Children that were left behind would go on in files that are gone.
      endGroup(child.pid)
      if (child.pid !== undefined) running.delete(child.pid)
      resolve({ state: state ?? (status === 0 ? 'passed' : 'failed'), said })
    })
  })
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // All of them are gone already.
  }
}

async function compile(tree: string, files: readonly string[]): Promise<string> {
  const lax = { noUnusedLocals: false, noUnusedParameters: false, noImplicitReturns: false }
  const compilerOptions = { ...lax, noFallthroughCasesInSwitch: false, allowUnreachableCode: true }
  const settings = { extends: './tsconfig.json', compilerOptions, files, include: [] }
  writeFileSync(join(tree, 'tsconfig.mutants.json'), JSON.stringify(settings))
  const tsc = join('node_modules', 'typescript', 'bin', 'tsc')
  const args = [tsc, '-p', 'tsconfig.mutants.json', '--pretty', 'false']
  return (await run(tree, args, {}, LEARN_MS)).said
}

interface Range {
  readonly startOffset: number
  readonly endOffset: number
  readonly count: number
}

interface Coverage {
  readonly result: readonly {
    readonly url: string
    readonly functions: readonly { readonly ranges: readonly Range[] }[]
  }[]
}

/** What V8 wrote: a file for each process and thread. Types are stripped in place, so offsets are those of the source. */
function readCoverage(directory: string, tree: string): Pick<Proof, 'covers' | 'loads'> {
  const base = `${pathToFileURL(tree).href}/`
  const runs = new Map<string, (readonly Range[])[]>()
  for (const name of readdirSync(directory)) {
    const { result } = JSON.parse(readFileSync(join(directory, name), 'utf8')) as Coverage
    for (const { url, functions } of result) {
      if (!url.startsWith(base)) continue
      const path = decodeURI(url.slice(base.length))
      runs.set(path, [...(runs.get(path) ?? []), functions.flatMap(({ ranges }) => ranges)])
    }
  }
  rmSync(directory, { recursive: true })
  return {
    loads: (source) => runs.has(source),
    covers: (source, offset) => (runs.get(source) ?? []).some((ranges) => ran(ranges, offset)),
  }
}

/** The smallest range around an offset says whether it ran. */
function ran(ranges: readonly Range[], offset: number): boolean {
  let found: Range | undefined
  for (const one of ranges) {
    if (one.startOffset > offset || one.endOffset <= offset) continue
    const size = one.endOffset - one.startOffset
    if (!found || size <= found.endOffset - found.startOffset) found = one
  }
  return (found?.count ?? 0) > 0
}
