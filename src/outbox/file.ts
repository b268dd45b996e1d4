import { Buffer } from 'node:buffer'
import { constants } from 'node:fs'
import { mkdir, open, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { isObject, readJson } from '../core/json.ts'
import type { Told } from './feed.ts'
import { codeOf, wantsOf } from './sink.ts'
import type { Delivery, Sink, Wants } from './sink.ts'

/** How much of the end of the file is looked at: far more than one turn can write. */
export const TAIL_BYTES = 4_194_304

/** What a file is made of. */
export interface FileSettings extends Wants {
  /** It and the directories above it are made when missing, for the owner only. */
  readonly path: string
}

/** A file that is open, as it was left. */
interface Opened {
  readonly handle: FileHandle
  readonly inode: number
  size: number
  /** Events at its end. */
  readonly ids: Set<string>
}

/**
 * A sink that appends to a file, one event a line (NDJSON), on the disk before the cursor moves. What a crash left of a line
 * is cut off; what the file has already is not written again, so that it holds each event once. It may be moved away while it
 * is written: then a new one is begun.
 */
export function file(settings: FileSettings): Sink {
  const path = resolve(settings.path)
  let opened: Opened | undefined

  /** The file at that path as we left it; looked at anew where it is another one, or somebody else wrote to it. */
  async function current(): Promise<Opened> {
    const found = await stat(path).catch(() => undefined)
    if (opened && found?.ino === opened.inode && found.size === opened.size) return opened
    await shut()
    opened = await openFile(path)
    return opened
  }

  async function shut(): Promise<void> {
    const { handle } = opened ?? {}
    opened = undefined
    await handle?.close()
  }

  async function append(told: readonly Told[]): Promise<void> {
    const to = await current()
    const fresh = told.filter(({ event }) => !to.ids.has(event.id))
    if (fresh.length === 0) return
    const bytes = Buffer.from(fresh.map(({ event }) => `${JSON.stringify(event)}\n`).join(''))
    await to.handle.appendFile(bytes)
    await to.handle.datasync()
    to.size += bytes.length
    // Only what one turn can bring again is asked for.
    to.ids.clear()
    for (const { event } of told) to.ids.add(event.id)
  }

  return {
    ...wantsOf(settings),
    async deliver(told): Promise<Delivery> {
      try {
        await append(told)
        return { taken: told.length }
      } catch (error) {
        // How much of it is on the disk is not known: it is looked at anew.
        await shut().catch(() => undefined)
        const why = `the file cannot be written (${codeOf(error) ?? 'no reason'})`
        return { taken: 0, trouble: { kind: 'down', why } }
      }
    },
    close: shut,
  }
}

async function openFile(path: string): Promise<Opened> {
  const directory = dirname(path)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const { O_RDWR, O_APPEND, O_CREAT } = constants
  const handle = await open(path, O_RDWR | O_APPEND | O_CREAT, 0o600)
  try {
    const { ino: inode, size: before } = await handle.stat()
    if (before === 0) await syncDirectory(directory)
    const from = Math.max(before - TAIL_BYTES, 0)
    const tail = Buffer.alloc(before - from)
    const { bytesRead } = await handle.read(tail, 0, tail.length, from)
    const whole = tail.lastIndexOf(NEWLINE, bytesRead - 1) + 1
    const size = from + whole
    if (size < before) await handle.truncate(size)
    return { handle, inode, size, ids: readIds(tail.toString('utf8', 0, whole)) }
  } catch (error) {
    await handle.close()
    throw error
  }
}

const NEWLINE = 0x0a

/** So that the name of a new file survives a crash too. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync().finally(() => handle.close())
}

function readIds(text: string): Set<string> {
  const events = text.split('\n').map((line) => readJson(line, TAIL_BYTES))
  const ids = events.map((event) => (isObject(event) ? event['id'] : undefined))
  return new Set(ids.filter((id) => typeof id === 'string'))
}
