import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Score, Survivor } from './hunt.ts'
import { hunt, isSame, sourcesOf } from './hunt.ts'
import { applied, mutantsOf } from './mutants.ts'
import { rooms } from './rooms.ts'
import list from './survivors.json' with { type: 'json' }

const root = fileURLToPath(new URL('../..', import.meta.url))
const survivors: readonly Survivor[] = list

describe('a mutant', () => {
  const wrongs: Record<string, readonly string[]> = {
    'f(a < 1n)': ['f(a <= 1n)', 'f(a >= 1n)', 'f(a < 0n)', ';'],
    'x = a && !b': ['x = a', 'x = (!b)', 'x = (a || !b)', 'x = a && b', ';'],
    'x = a ?? 2': ['x = a', 'x = (2)', 'x = a ?? 3', ';'],
    'if (a) return': ['if (true) return', 'if (false) return', 'if (a) ;'],
    'x += a * b': ['x -= a * b', 'x += a / b', ';'],
    'x = `${a}` + "a sentence."': [';'],
    'await f()': ['void f()', ';'],
    "x = { 'a': 'voided' }": ["x = { 'a': '' }", ';'],
    'x = a.filter(f)': ['x = a', ';'],
    'x = a.some(f)': ['x = a.every(f)', ';'],
    'x = /^a$/.test(b)': ['x = /a$/.test(b)', 'x = /^a/.test(b)', ';'],
    'x = a[0] === true': ['x = a[0] !== true', 'x = a[0] === false', ';'],
    // Neither what a type says, nor what an assertion asks: the latter is only taken away.
    "let y: 'made' | 1 = a as 2": [],
    "assert(a < 1, 'small')": [';'],
  }
  for (const [code, expected] of Object.entries(wrongs))
    test(`is each of the usual wrongs of ${code}`, () => {
      const source = `async function g() {\n  ${code}\n}\n`
      const bodies = mutantsOf('g.ts', source).map((one) => applied(source, one).slice(23, -3))
      assert.deepEqual(bodies.toSorted(byText), expected.toSorted(byText))
    })

  test('is named by its file, its line and what was done', () => {
    const [first] = mutantsOf('src/f.ts', '// One.\nexport const f = (a: number) =>\n  a > 1\n')
    assert.deepEqual(first, {
      file: 'src/f.ts',
      line: 3,
      text: 'a > 1',
      mutation: 'boundary: a > 1 → a >= 1',
      start: 42,
      end: 47,
      replacement: 'a >= 1',
    })
  })

  test('is not made of what cannot be read', () => {
    assert.throws(() => mutantsOf('f.ts', 'const ='), SyntaxError)
  })
})

describe('the hunt', () => {
  const source = `/** One off everything above ten. */
export function toll(amount: bigint): bigint {
  return amount > 10n ? amount - 1n : amount
}
`
  // What ten costs is not asked.
  const proof = `import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toll } from './toll.ts'
test('toll', () => {
  assert.equal(toll(20n), 19n)
  assert.equal(toll(9n), 9n)
})
`
  const boundary = {
    file: 'src/toll.ts',
    text: 'return amount > 10n ? amount - 1n : amount',
    mutation: 'boundary: amount > 10n → amount >= 10n',
  }

  test('kills a planted mutant, reports one that no test sees, and knows what was explained', async () => {
    await inTree({ 'src/toll.ts': source, 'src/toll.test.ts': proof }, async (tree) => {
      const fates = new Map<string, string>()
      const score = await huntIn(tree, [{ ...boundary, why: 'Ten is free.' }], fates)
      assert.deepEqual(Object.fromEntries(fates), {
        'condition: amount > 10n → true': 'killed',
        'condition: amount > 10n → false': 'killed',
        'boundary: amount > 10n → amount >= 10n': 'explained',
        'literal: 10n → 11n': 'survived',
        'operator: amount - 1n → amount + 1n': 'killed',
        'literal: 1n → 0n': 'killed',
      })
      const none = { refused: 0, timeout: 0, untried: 0 }
      assert.deepEqual(score, { mutants: 6, killed: 4, explained: 1, open: 1, ...none })
      assert.equal(readFileSync(join(tree, 'src/toll.ts'), 'utf8'), source)
    })
  })

  test('neither counts what does not compile as a test’s work, nor begins over tests that fail', async () => {
    const typed = `export const kind: 'made' = 'made'\n`
    const loaded = `import './toll.ts'\n`
    await inTree({ 'src/toll.ts': typed, 'src/toll.test.ts': loaded }, async (tree) => {
      assert.equal((await huntIn(tree, [])).refused, 1)
      writeFileSync(join(tree, 'src/toll.test.ts'), `${loaded}throw new Error()\n`)
      await assert.rejects(huntIn(tree, []), /fails before anything is changed/)
    })
  })
})

describe('the list of survivors', () => {
  test('holds no entry that no longer is: each is a mutant of the sources as they are', () => {
    const files = new Set(survivors.map(({ file }) => file))
    const mutants = [...files].flatMap((file) =>
      mutantsOf(file, readFileSync(join(root, file), 'utf8')),
    )
    const stale = survivors.filter((one) => !mutants.some((mutant) => isSame(one, mutant)))
    assert.deepEqual(stale, [])
  })

  test('gives a reason for each, once', () => {
    for (const one of survivors) assert.match(one.why, /^[A-Z`].{15,}\.$/, one.mutation)
    const names = survivors.map(({ file, text, mutation }) => `${file} ${text} ${mutation}`)
    assert.deepEqual(names.toSorted(byText), [...new Set(names)].toSorted(byText))
  })

  test('is of the rooms that are hunted, and these are there', () => {
    const hunted = Object.values(rooms).flatMap((room) => sourcesOf({ root, room, survivors }))
    assert.ok(hunted.length > 20, `${hunted.length} sources`)
    for (const { file } of survivors) assert.ok(hunted.includes(file), file)
  })
})

function huntIn(
  tree: string,
  known: readonly Survivor[],
  fates: Map<string, string> = new Map(),
): Promise<Score> {
  return hunt({
    root: tree,
    lent: join(root, 'node_modules'),
    room: { sources: ['src/*.ts'], tests: ['src/*.test.ts'] },
    survivors: known,
    workers: 1,
    tell: ({ mutation }, fate) => void fates.set(mutation, fate),
  })
}

async function inTree(
  files: Readonly<Record<string, string>>,
  proof: (tree: string) => Promise<void>,
): Promise<void> {
  const tree = mkdtempSync(join(tmpdir(), 'tolsey-planted-'))
  try {
    mkdirSync(join(tree, 'src'))
    writeFileSync(join(tree, 'package.json'), '{"type":"module"}')
    writeFileSync(join(tree, 'tsconfig.json'), readFileSync(join(root, 'tsconfig.json')))
    for (const [name, text] of Object.entries(files)) writeFileSync(join(tree, name), text)
    await proof(tree)
  } finally {
    rmSync(tree, { recursive: true })
  }
}

function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
