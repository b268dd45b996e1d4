import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { kinds } from '../books/entry.ts'
import { readEntries } from '../books/reader.ts'
import type { ReadOptions } from '../books/reader.ts'
import { csvLine, entryCells, entryColumns, entryJson } from '../books/write.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import { eventJson } from './hub.ts'
import type { Hub, Told } from './hub.ts'
import type { Session } from './login.ts'
import { Refused } from './refusal.ts'

/** How often a stream says that it is there, and looks whether its login still holds. */
export const BEAT_MS = 15_000
/** Bytes that may wait for a slow reader; what comes then is dropped, and he is told. */
export const WAITING_BYTES_MAX = 262_144

/**
 * Tells what happens as it happens, until the reader goes, the login ends, or the signal fires (WHATWG HTML, 9.2). Whoever
 * missed something gets `missed` with how much, and reads the books instead.
 */
export async function streamEvents(
  response: ServerResponse,
  hub: Hub,
  clock: Clock,
  session: Session,
  lastId: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  let missed = 0
  const say = (text: string): void => {
    // It is dropped whole: half an event would be a wrong one.
    if (response.writableLength > WAITING_BYTES_MAX) missed++
    else response.write(text)
  }
  const confess = (): void => {
    if (missed === 0 || response.writableLength > WAITING_BYTES_MAX / 2) return
    response.write(`event: missed\ndata: {"missed":${missed}}\n\n`)
    missed = 0
  }
  const gone = new AbortController()
  const tell = (told: Told): void => {
    // Whoever has logged out meanwhile hears nothing more.
    if (!session.holds()) return gone.abort('logged out')
    confess()
    say(`id: ${hub.epoch}-${told.number}\ndata: ${JSON.stringify(eventJson(told))}\n\n`)
  }
  const back = backlogOf(hub, lastId)
  const deafen = hub.listen(tell)
  if (!deafen) throw new Refused('limited', 'Too many pages listen already. Close some.', BEAT_MS)
  response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' })
  missed = back.missed
  response.write('retry: 2000\n\n')
  confess()
  for (const told of back.told) tell(told)
  response.on('drain', confess)
  response.once('close', () => gone.abort('gone'))
  const ended = AbortSignal.any([gone.signal, signal])
  while (!ended.aborted && session.holds()) {
    await clock.sleep(BEAT_MS, ended)
    confess()
    if (!ended.aborted && response.writableLength === 0) response.write(': here\n\n')
  }
  deafen()
  response.end()
}

function backlogOf(hub: Hub, lastId: string | undefined): ReturnType<Hub['since']> {
  const [, epoch = '', number = ''] = /^(\d{1,16})-(\d{1,16})$/.exec(lastId ?? '') ?? []
  if (epoch === '') return { told: [], missed: 0 }
  const last = Number(number)
  // It was another process, or this one before a restart: nobody knows what it told since.
  if (Number(epoch) !== hub.epoch || last > hub.last()) return { told: [], missed: 1 }
  return hub.since(last)
}

/** Most rows of the journal that one look at the feed reads. */
export const FEED_ROWS_MAX = 1_000
/** Most entries of an export that asks for a number of them. */
export const EXPORT_LINES_MAX = 10_000

/** How entries can be had. */
export const exportFormats = ['csv', 'ndjson'] as const

/** Writes all entries of a time, a line each, as fast as the reader takes them. What it costs in memory does not grow. */
export async function streamExport(
  response: ServerResponse,
  ledger: Ledger,
  format: (typeof exportFormats)[number],
  options: ReadOptions & { readonly cashOnly: boolean; readonly linesMax?: number },
): Promise<void> {
  const isCsv = format === 'csv'
  const type = isCsv ? 'text/csv; charset=utf-8; header=present' : 'application/x-ndjson'
  response.writeHead(200, {
    'Content-Type': type,
    'Content-Disposition': `attachment; filename="tolsey-entries.${format}"`,
  })
  const gone = new AbortController()
  response.once('close', () => gone.abort('gone'))
  const signals = [gone.signal, ...(options.signal ? [options.signal] : [])]
  const signal = AbortSignal.any(signals)
  let left = options.linesMax ?? Infinity
  try {
    if (isCsv) response.write(csvLine(entryColumns))
    for await (const entry of readEntries(ledger, { ...options, signal })) {
      if (options.cashOnly && !kinds[entry.kind].isCash) continue
      const cells = entryCells(entry)
      const line = isCsv
        ? csvLine(entryColumns.map((column) => cells[column]))
        : `${JSON.stringify(entryJson(entry))}\n`
      if (!response.write(line)) await once(response, 'drain', { signal })
      if (--left === 0) break
    }
    response.end()
  } catch {
    // Half a file must not look like a whole one.
    response.destroy()
  }
}
