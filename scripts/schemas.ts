import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { toJsonSchema } from '@valibot/to-json-schema'
import type { GenericSchema } from 'valibot'
import { writeOpenApi } from '../src/admin/openapi.ts'
import { DocumentSchema } from '../src/config/document.ts'
import { BASE64_PATTERN, HEADER_CHARS_MAX, headers, messages } from '../src/protocols/x402/wire.ts'
import { PayloadSchema } from '../src/rails/evm/proof.ts'
import { CaveatsSchema } from '../src/tokens/macaroon/index.ts'

// Writes the JSON Schemas in `schemas/` from the definitions that the code reads with. With `--check` it writes nothing
// and fails when they are not what it would write.

const DRAFT = 'https://json-schema.org/draft/2020-12/schema'

/** Every published schema as text, by its path under `schemas/`. */
export function writeSchemas(): ReadonlyMap<string, string> {
  return new Map([
    ...Object.entries(messages).map(([name, schema]) => message(`x402/${name}`, schema)),
    ...Object.entries(headers).map(([field, carried]) => header(field, carried)),
    message('x402/evm/exact-payload', PayloadSchema),
    message('tokens/caveats', CaveatsSchema),
    message('tolsey.schema', DocumentSchema, share),
    file('admin.openapi', writeOpenApi()),
  ])
}

function message(
  name: string,
  schema: GenericSchema,
  finish: (made: Schema) => Schema = (made) => made,
): readonly [string, string] {
  // Nothing is transformed by reading, so the last schema of a pipe says the most.
  const made = toJsonSchema(schema, {
    target: 'draft-2020-12',
    typeMode: 'output',
    ignoreActions: ['check'],
  })
  return file(name, {
    ...{ $schema: DRAFT, $id: idOf(name), title: titleOf(name) },
    ...finish(made as Schema),
  })
}

type Schema = Readonly<Record<string, unknown>>

/** Shorter ones are repeated where they stand. */
const SHARED_CHARS_MIN = 400

/** The same schema with what it says of several members said once, under the first one's name. */
function share(schema: Schema): Schema {
  const counts = new Map<string, number>()
  walk(schema, (_, text) => counts.set(text, (counts.get(text) ?? 0) + 1))
  const names = new Map<string, string>()
  const $defs: Record<string, unknown> = {}
  const shared = walk(schema, (name, text, inner) => {
    if ((counts.get(text) ?? 0) < 2) return inner
    let own = names.get(text)
    if (own === undefined) {
      const taken = Object.keys($defs).filter((one) => one.replace(/\d+$/, '') === name).length
      own = taken === 0 ? name : `${name}${taken + 1}`
      names.set(text, own)
      $defs[own] = inner
    }
    return { $ref: `#/$defs/${own}` }
  }) as Schema
  return { ...shared, $defs }
}

/** Visits each long member of `properties`, from the inside out, and puts in its place what the visit gives. */
function walk(
  value: unknown,
  visit: (name: string, text: string, inner: unknown) => unknown,
  name?: string,
): unknown {
  if (Array.isArray(value)) return value.map((one) => walk(one, visit))
  if (typeof value !== 'object' || value === null) return value
  const inner = Object.fromEntries(
    Object.entries(value).map(([key, one]) => {
      if (key !== 'properties') return [key, walk(one, visit)]
      const members = Object.entries(one as Schema).map(([own, said]) => [
        own,
        walk(said, visit, own),
      ])
      return [key, Object.fromEntries(members)]
    }),
  )
  const text = JSON.stringify(value)
  return name !== undefined && text.length >= SHARED_CHARS_MIN ? visit(name, text, inner) : inner
}

/** A header's value: the pattern of the text, and the schema of what it holds. */
function header(field: string, carried: string): readonly [string, string] {
  const name = `x402/headers/${field.toLowerCase()}`
  return file(name, {
    $schema: DRAFT,
    $id: idOf(name),
    title: field,
    type: 'string',
    pattern: BASE64_PATTERN,
    minLength: 4,
    maxLength: HEADER_CHARS_MAX,
    contentEncoding: 'base64',
    contentMediaType: 'application/json',
    contentSchema: { $ref: idOf(`x402/${carried}`) },
  })
}

function file(name: string, schema: object): readonly [string, string] {
  return [`${name}.json`, `${JSON.stringify(schema, undefined, 2)}\n`]
}

function idOf(name: string): string {
  return `urn:tolsey:schema:${name.replaceAll('/', ':')}`
}

function titleOf(name: string): string {
  return name.replaceAll('/', ' ')
}

/** What differs between the folder and what would be written, a sentence each. */
export async function differences(folder: string): Promise<readonly string[]> {
  const wanted = writeSchemas()
  const present = await list(folder)
  const stale = present
    .filter((path) => !wanted.has(path))
    .map((path) => `${path} is made by nothing.`)
  const wrong = await Promise.all(
    [...wanted].map(async ([path, text]) => {
      const found = await readFile(join(folder, path), 'utf8').catch(() => undefined)
      return found !== undefined && same(found, text) ? [] : [`${path} is not up to date.`]
    }),
  )
  return [...stale, ...wrong.flat()]
}

/** Compares what is said: the formatter may lay it out as it likes. */
function same(found: string, wanted: string): boolean {
  return JSON.stringify(JSON.parse(found)) === JSON.stringify(JSON.parse(wanted))
}

async function list(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true }).catch(() => [])
  return entries.map((path) => path.replaceAll('\\', '/')).filter((path) => path.endsWith('.json'))
}

async function write(folder: string): Promise<void> {
  const wanted = writeSchemas()
  for (const path of await list(folder)) if (!wanted.has(path)) await rm(join(folder, path))
  for (const [path, text] of wanted) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), text)
  }
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..', 'schemas')
  if (process.argv.includes('--check')) {
    const found = await differences(folder)
    for (const sentence of found) console.error(sentence)
    if (found.length > 0) console.error('Run: node scripts/schemas.ts && oxfmt schemas')
    process.exitCode = found.length > 0 ? 1 : 0
  } else await write(folder)
}
