// What it takes to have us: size and time of an installation, and CPU time of the first import, beside the peers' packages for
// the same job. Ours is packed as it would be published. Needs the package registry.
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'

const INSTALLS = 3
const IMPORTS = 5

/** Names of packages; `tolsey` is the packed one. */
const jobs = [
  {
    who: 'buyer',
    ours: ['tolsey', 'viem'],
    peers: ['@x402/core', '@x402/evm', '@x402/fetch', 'viem'],
  },
  {
    who: 'seller on Express',
    ours: ['tolsey', 'viem', 'express'],
    peers: ['@x402/core', '@x402/evm', '@x402/express', 'viem', 'express'],
  },
] as const

/** What each job imports. The peers' seller leaves checking and settling to a facilitator elsewhere. */
const imports = [
  {
    what: 'the root',
    job: 0,
    ours: ['tolsey'],
    peers: ['@x402/core/client', '@x402/core/server', '@x402/core/facilitator'],
  },
  {
    what: 'the EVM rail',
    job: 0,
    ours: ['tolsey/rails/evm'],
    peers: ['@x402/evm/exact/client', '@x402/evm/exact/facilitator', 'viem/accounts'],
  },
  {
    what: 'all for a buyer',
    job: 0,
    ours: ['tolsey', 'tolsey/protocols/x402', 'tolsey/rails/evm'],
    peers: ['@x402/fetch', '@x402/evm/exact/client', 'viem/accounts'],
  },
  {
    what: 'all for a seller on Express',
    job: 1,
    ours: ['tolsey', 'tolsey/protocols/x402', 'tolsey/rails/evm', 'tolsey/express', 'express'],
    peers: ['@x402/express', '@x402/core/server', '@x402/evm/exact/server', 'express'],
  },
] as const

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

interface Manifest {
  readonly files: readonly string[]
  readonly devDependencies: Readonly<Record<string, string>>
}

interface Installed {
  readonly directory: string
  readonly seconds: number
  readonly megabytes: number
  readonly packages: number
}

/** Size, number of packages and time of an installation, and CPU time of imports. */
export async function install({ quick, tell }: Run): Promise<readonly Result[]> {
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  try {
    tell('packing')
    const versions = await pack(directory)
    const results: Result[] = []
    const homes: (readonly [ours: string, peers: string])[] = []
    for (const [i, { who, ours, peers }] of jobs.entries()) {
      tell(who)
      const add = (names: readonly string[]): Promise<Installed> =>
        installInto(directory, names, versions)
      const first = [await add(ours), await add(peers)] as const
      homes.push([first[0].directory, first[1].directory])
      results.push(...sizeLines(who, peers.join(', '), first))
      // The first filled the cache, so that no network is measured. One job is enough for that.
      if (i > 0) continue
      const rounds: Pair[] = []
      for (let round = 1; round <= (quick ? 1 : INSTALLS); round++) {
        tell(`${who}, round ${round}`)
        rounds.push([await add(ours), await add(peers)])
      }
      results.push(timeLine(who, peers.join(', '), rounds))
    }
    for (const one of imports) {
      tell(one.what)
      const [ours, peers] = homes[one.job] ?? []
      if (ours === undefined || peers === undefined) throw new Error('There is no such job.')
      results.push(await importLine(one, ours, peers, quick ? 2 : IMPORTS))
    }
    return results
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** Builds and packs us outside the tree, and tells which version of each package is wanted. */
async function pack(directory: string): Promise<Readonly<Record<string, string>>> {
  const stage = join(directory, 'stage')
  const text = await readFile(join(root, 'package.json'), 'utf8')
  const { files, devDependencies } = JSON.parse(text) as Manifest
  await mkdir(stage)
  await writeFile(join(stage, 'package.json'), text)
  for (const file of files) {
    const from = join(root, file)
    if (file !== 'dist' && (await exists(from)))
      await cp(from, join(stage, file), { recursive: true })
  }
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const to = ['-p', join(root, 'tsconfig.build.json'), '--outDir', join(stage, 'dist')]
  await run(process.execPath, [tsc, ...to, '--noCheck'])
  const { stdout } = await npm(stage, ['pack', '--json', '--ignore-scripts'])
  const [packed] = JSON.parse(stdout) as readonly { readonly filename: string }[]
  return { ...devDependencies, tolsey: `file:${join(stage, packed?.filename ?? '')}` }
}

let homes = 0

async function installInto(
  parent: string,
  names: readonly string[],
  versions: Readonly<Record<string, string>>,
): Promise<Installed> {
  const directory = join(parent, `home-${++homes}`)
  await mkdir(directory)
  const dependencies = Object.fromEntries(names.map((name) => [name, versions[name]]))
  // Newer ones of viem do not install.
  const manifest = { private: true, dependencies, overrides: { viem: versions['viem'] } }
  await writeFile(join(directory, 'package.json'), JSON.stringify(manifest))
  const startAt = performance.now()
  const cache = join(parent, 'cache')
  const flags = ['--no-audit', '--no-fund', '--omit=dev', '--prefer-offline', '--cache', cache]
  await npm(directory, ['install', ...flags])
  const seconds = (performance.now() - startAt) / 1_000
  return { directory, seconds, ...(await measure(join(directory, 'node_modules'))) }
}

async function measure(modules: string): Promise<Pick<Installed, 'megabytes' | 'packages'>> {
  const lock = '.package-lock.json'
  const { packages } = JSON.parse(await readFile(join(modules, lock), 'utf8')) as {
    readonly packages: object
  }
  const entries = await readdir(modules, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && entry.name !== lock)
  const sizes = await Promise.all(
    files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size),
  )
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  return { megabytes: bytes / 1e6, packages: Object.keys(packages).length }
}

type Pair = readonly [ours: Installed, peers: Installed]

function sizeLines(who: string, name: string, pair: Pair): readonly Result[] {
  return [
    installLine(`${who}, size`, 'MB', name, [pair], (one) => one.megabytes),
    installLine(`${who}, packages`, '', name, [pair], (one) => one.packages),
  ]
}

function timeLine(who: string, name: string, rounds: readonly Pair[]): Result {
  return installLine(`${who}, time, cache filled`, 's', name, rounds, (one) => one.seconds)
}

function installLine(
  what: string,
  unit: string,
  name: string,
  rounds: readonly Pair[],
  of: (one: Installed) => number,
): Result {
  return compare({
    bench: 'install',
    what,
    unit,
    better: 'less',
    ours: rounds.map(([ours]) => of(ours)),
    peer: { name, rounds: rounds.map(([, peers]) => of(peers)) },
  })
}

async function importLine(
  { what, ours, peers }: (typeof imports)[number],
  ourHome: string,
  peerHome: string,
  times: number,
): Promise<Result> {
  const rounds = { ours: [] as number[], peers: [] as number[] }
  for (let round = 0; round < times; round++) {
    rounds.ours.push(await importMs(ourHome, ours))
    rounds.peers.push(await importMs(peerHome, peers))
  }
  return compare({
    bench: 'install',
    what: `import of ${what}`,
    unit: 'CPU ms',
    better: 'less',
    ours: rounds.ours,
    peer: { name: peers.join(', '), rounds: rounds.peers },
  })
}

/** CPU time of importing these in a new process, without what the process itself took to start. */
async function importMs(directory: string, names: readonly string[]): Promise<number> {
  const loads = names.map((name) => `await import('${name}')`).join(';')
  const code = `const a=process.cpuUsage();${loads};const b=process.cpuUsage(a);console.log(b.user+b.system);process.exit()`
  const options = { cwd: directory }
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], options)
  return Number(stdout) / 1_000
}

/** The npm that started us, or the one on the path; either on our own Node. */
async function npm(cwd: string, args: readonly string[]): Promise<{ readonly stdout: string }> {
  const { npm_execpath: script, PATH = '' } = process.env
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${PATH}` }
  const shell = script === undefined && process.platform === 'win32'
  return script === undefined
    ? run('npm', [...args], { cwd, env, shell })
    : run(process.execPath, [script, ...args], { cwd, env })
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  )
}
