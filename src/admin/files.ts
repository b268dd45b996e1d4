import { readFile, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { extname, join } from 'node:path'

/** A file of the dashboard. */
export interface Served {
  readonly bytes: Buffer
  readonly type: string
  /** Its name tells what is in it, so that it never changes. */
  readonly isFixed: boolean
}

/** The files by their paths on the server. What is not in here is not served, whatever a path says. */
export type Files = ReadonlyMap<string, Served>

/** Largest file, in bytes, and most of them: what is built by us is far below. */
export const FILE_BYTES_MAX = 4_194_304
/** Most files. */
export const FILES_MAX = 100

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Where the built dashboard is, for the sources and for what is built of them. */
export const builtFiles: string = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../../dist/dashboard' : '../dashboard',
    import.meta.url,
  ),
)

/** Reads all files once, into memory. There are none where the dashboard was not built. */
export async function readFiles(directory: string): Promise<Files> {
  const names = await readdir(directory, { recursive: true }).catch(() => [])
  const wanted = names.filter((name) => extname(name) in types).slice(0, FILES_MAX)
  const read = wanted.map(async (name): Promise<readonly [string, Served]> => {
    const bytes = await readFile(join(directory, name))
    const path = `/${name.replaceAll('\\', '/')}`
    const type = types[extname(name)] ?? ''
    return [path, { bytes, type, isFixed: path.startsWith('/assets/') }]
  })
  const files = new Map((await Promise.all(read)).filter(([, { bytes }]) => fits(bytes)))
  const front = files.get('/index.html')
  if (front) files.set('/', front)
  return files
}

function fits({ length }: Buffer): boolean {
  return length <= FILE_BYTES_MAX
}
