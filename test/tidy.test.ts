// Reads the sources and holds the law of imports (docs/architecture.md). It runs nothing of ours.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const src = join(root, 'src')

/** All that applications stand on, through `config`. */
const belowConfig: readonly string[] = [
  'core',
  'gate',
  'facilitator',
  'payer',
  'adapters',
  'books',
  'meters',
  'rates',
  'outbox',
  'watch',
  'admin',
  'page',
  'net',
  'reconcile',
  'ledger',
  'vault',
  'protocols/*',
  'rails/*',
  'tokens/*',
]

/** What each room may import, besides itself. `*` is everything of ours. */
const law: Record<string, readonly string[]> = {
  core: [],
  net: ['core'],
  'protocols/*': ['core'],
  'rails/*': ['core', 'net'],
  'tokens/*': ['core'],
  ledger: ['core'],
  vault: ['core'],
  gate: ['core'],
  facilitator: ['core'],
  payer: ['core'],
  books: ['core'],
  reconcile: ['core'],
  meters: ['core'],
  rates: ['core', 'net'],
  outbox: ['core', 'net'],
  watch: ['core'],
  adapters: ['core', 'net', 'gate', 'facilitator', 'payer'],
  admin: ['core', 'gate', 'adapters', 'books', 'outbox'],
  // What runs in a browser knows what is answered, and nothing that answers.
  dashboard: [],
  // Its half on the server knows the floor; `page/browser` has a test of its own.
  page: ['core'],
  testing: ['core'],
  config: belowConfig,
  sandbox: [...belowConfig, 'config'],
  gateway: [...belowConfig, 'config'],
  cli: [...belowConfig, 'config', 'sandbox', 'gateway'],
}

/** Libraries that a single room may know. */
const libraries: Record<string, readonly string[]> = {
  viem: ['rails/evm', 'sandbox'],
  secp256k1: ['rails/evm'],
  '@bitauth/libauth': ['rails/evm', 'rails/lightning'],
  'hash-wasm': ['rails/evm'],
  '@noble/ciphers': ['tokens/macaroon'],
  jose: ['tokens/jwt', 'protocols/oauth'],
  '@scure/base': ['rails/lightning', 'sandbox'],
  lightningdevkit: ['sandbox'],
  ws: ['sandbox'],
  '@getalby/sdk': ['rails/lightning', 'sandbox'],
  '@foundry-rs/anvil': ['sandbox'],
  express: ['adapters'],
  fastify: ['adapters'],
  hono: ['adapters'],
  stripe: ['rails/stripe', 'config'],
  pg: ['ledger'],
  undici: ['gateway'],
  '@redis/client': ['ledger'],
  '@nats-io/transport-node': ['outbox'],
  '@nats-io/jetstream': ['outbox'],
  yaml: ['config'],
  preact: ['dashboard'],
  qr: ['page'],
  uplot: ['dashboard'],
  vite: ['dashboard', 'page'],
}

/** Comments, and quoted text so that what looks like a comment in it is none. */
const COMMENTS = /('(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm

interface Source {
  readonly path: string
  readonly room: string
  readonly text: string
  /** The text without comments. */
  readonly code: string
  readonly imports: readonly string[]
}

const sources: readonly Source[] = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((path) => /\.tsx?$/.test(path) && !path.endsWith('.test.ts'))
  .map((path) => {
    const text = readFileSync(join(src, path), 'utf8')
    const code = text.replaceAll(COMMENTS, (_, quoted: string | undefined) => quoted ?? '')
    const imports = [...code.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
      (match) => match[1] ?? '',
    )
    return { path, room: roomOf(path), text, code, imports }
  })

function roomOf(path: string): string {
  const [first = '', second = ''] = path.split('/')
  if (!path.includes('/')) return 'index'
  return ['protocols', 'rails', 'tokens'].includes(first) ? `${first}/${second}` : first
}

/** Rooms of one kind share a row of the law. */
function kindOf(room: string): string {
  return room.includes('/') ? `${room.split('/')[0]}/*` : room
}

function targetOf(source: Source, specifier: string): string {
  return relative(src, resolve(src, dirname(source.path), specifier))
}

describe('the law of imports', () => {
  test('reads a tree that is there', () => {
    assert.ok(sources.length > 20, `${sources.length} sources`)
    assert.ok(sources.some(({ imports }) => imports.length > 3))
  })

  test('imports point downwards, and never at a neighbour', () => {
    const broken = sources.flatMap((source) =>
      source.imports
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => roomOf(targetOf(source, specifier)))
        .filter(
          (room) =>
            room !== source.room &&
            source.room !== 'index' &&
            !(law[kindOf(source.room)] ?? []).includes(kindOf(room)),
        )
        .map((room) => `${source.path} may not import ${room}`),
    )
    assert.deepEqual(broken, [])
  })

  test('what of the page runs in a browser knows its words alone', () => {
    const inside = sources.filter(({ path }) => path.startsWith('page/browser/'))
    assert.ok(inside.length > 3)
    const broken = inside.flatMap((source) =>
      source.imports
        .filter((specifier) => specifier.startsWith('../') && specifier !== '../words.ts')
        .map((specifier) => `${source.path} may not import ${specifier}`),
    )
    assert.deepEqual(broken, [])
  })

  test('every room has its row', () => {
    const unknown = new Set(
      sources.map(({ room }) => kindOf(room)).filter((room) => room !== 'index' && !(room in law)),
    )
    assert.deepEqual([...unknown], [])
  })

  test('nothing imports itself round a corner, types included', () => {
    const edges = new Map(
      sources.map((s) => [
        s.path,
        s.imports.filter((i) => i.startsWith('.')).map((i) => targetOf(s, i)),
      ]),
    )
    const done = new Set<string>()
    const cycles: string[] = []
    const walk = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
      else if (!done.has(path)) {
        for (const next of edges.get(path) ?? []) walk(next, [...trail, path])
        done.add(path)
      }
    }
    for (const path of edges.keys()) walk(path, [])
    assert.deepEqual(cycles, [])
  })

  test('a rail’s, chain’s or framework’s library is known to its own room only', () => {
    const broken = sources.flatMap(({ path, room, imports }) =>
      imports
        .map((specifier) =>
          specifier
            .split('/')
            .slice(0, specifier.startsWith('@') ? 2 : 1)
            .join('/'),
        )
        .filter((library) => library in libraries && !libraries[library]?.includes(room))
        .map((library) => `${path} may not know ${library}`),
    )
    assert.deepEqual(broken, [])
  })
})

describe('what comes in as a parameter', () => {
  const only = (what: RegExp, allowed: (source: Source) => boolean): string[] =>
    sources.filter((source) => what.test(source.code) && !allowed(source)).map(({ path }) => path)

  test('the environment is read in config/load.ts alone', () => {
    assert.deepEqual(
      only(/process\.env/, ({ path }) => path === 'config/load.ts'),
      [],
    )
  })

  test('only the command line writes to the console', () => {
    assert.deepEqual(
      only(/\bconsole\.|process\.(?:stdout|stderr)/, ({ room }) => room === 'cli'),
      [],
    )
  })

  test('time and chance have one source each', () => {
    assert.deepEqual(
      only(
        /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(/,
        ({ path }) => path === 'core/clock.ts' || path.startsWith('page/browser/'),
      ),
      [],
    )
    assert.deepEqual(
      only(
        /\brandomBytes\b|\bgetRandomValues\b|\brandomUUID\b/,
        // A browser's page has its own.
        ({ path, room }) =>
          path === 'core/chance.ts' || room === 'dashboard' || path.startsWith('page/browser/'),
      ),
      [],
    )
  })
})

describe('words', () => {
  test('the floor, the engines and the books know no protocol, chain or processor', () => {
    const words =
      /x402|l402|\bmpp\b|\bevm\b|eip-?\d|eip155|erc-?20|usdc|ethereum|solana|lightning|stripe|paypal/i
    const rooms = [
      'core',
      'net',
      'gate',
      'facilitator',
      'payer',
      'ledger',
      'books',
      'reconcile',
      'adapters',
    ]
    const leaks = sources
      .filter(({ room, code }) => rooms.includes(room) && words.test(code))
      .map(({ path, code }) => `${path}: ${words.exec(code)?.[0]}`)
    assert.deepEqual(leaks, [])
  })

  test('files are named in kebab-case and import each other with .ts', () => {
    assert.deepEqual(
      sources
        .filter(
          ({ path }) => !/^(?:[a-z0-9-]+\/)*(?:[a-z0-9-]+\.tsx?|vite\.config\.ts)$/.test(path),
        )
        .map(({ path }) => path),
      [],
    )
    const bare = sources.flatMap(({ path, imports }) =>
      imports
        .filter((i) => i.startsWith('.') && !/\.(?:tsx?|json|css)$/.test(i))
        .map((i) => `${path}: ${i}`),
    )
    assert.deepEqual(bare, [])
  })

  test('every export says what it is for', () => {
    const mute = sources.flatMap(({ path, text }) =>
      [
        ...text.matchAll(
          /(^|\n)([^\n]*)\nexport (?:declare )?(?:abstract )?(?:async )?(?:function|const|class|interface|type) (\w+)/g,
        ),
      ]
        .filter(([, , before = '']) => !/\*\/\s*$/.test(before))
        .map(([, , , name]) => `${path}: ${name}`),
    )
    assert.deepEqual(mute, [])
  })
})
