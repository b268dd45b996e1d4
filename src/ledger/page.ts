import { assert } from '../core/assert.ts'
import type { Held, Transfer } from '../core/ports.ts'
import { chain, readData, readMade } from './row.ts'
import type { Line, Tail } from './row.ts'

/** An account in one asset, with what is on its way kept by direction. */
export interface Standing {
  readonly account: string
  readonly asset: string
  /** Credits posted less debits posted. */
  posted: bigint
  /** Debits held and not yet posted. */
  debits: bigint
  /** Credits held and not yet posted. */
  credits: bigint
}

/** Where a key stands. The rest of the transfer is in the journal's rows that it points to. */
export interface Position {
  /** Sequence number of the `made` row. */
  readonly made: number
  readonly key: string
  state: Held['state']
  posted: bigint
  /** Sequence numbers of the step rows. */
  steps: readonly number[]
}

/** A position together with what its `made` row says. */
export interface Entry extends Position, Omit<Transfer, 'key'> {
  readonly madeAt: number
}

/** What a page has to write: whole rows, and the new standing of what changed. */
export interface Changes {
  readonly lines: readonly Line[]
  readonly positions: readonly Position[]
  readonly standings: readonly Standing[]
}

/**
 * What an engine must be able to do within one transaction. Its reads must be such that nobody else can write before the
 * transaction ends.
 */
export interface Store {
  /** Where the journal ends; undefined when it is empty. */
  tail(): Tail | undefined
  line(sequence: number): Line | undefined
  position(key: string): Position | undefined
  standing(account: string, asset: string): Standing | undefined
  /** Keys of pending transfers, oldest first. */
  pending(): readonly string[]
  /** Keys that begin so and stand behind `after`, in their order. */
  keys(prefix: string, after: string, limit: number): readonly string[]
  /** All of them, or those of one account. */
  standings(account?: string): readonly Standing[]
  lines(after: number, limit: number): readonly Line[]
  /** Appends the lines, and puts positions (one a key) and standings in the place of those before. */
  write(changes: Changes): void
}

/**
 * The books during one transaction: what was read, and what is to be written. It never outlives its transaction, since
 * another process may write right after it.
 */
export interface Page {
  readonly store: Store
  entry(key: string): Entry | undefined
  put(entry: Entry): void
  standing(account: string, asset: string): Standing
  line(sequence: number): Line
  append(at: number, key: string, type: string, data: string): Line
  /** Hands everything changed so far to the store. */
  flush(): void
}

/** Opens a page on a store whose transaction has begun. */
export function createPage(store: Store, genesis: Tail): Page {
  const entries = new Map<string, Entry | undefined>()
  const standings = new Map<string, Standing>()
  const lines = new Map<number, Line>()
  const changed = new Set<Entry>()
  const written = new Map<Standing, string>()
  let tail: Tail | undefined
  const page: Page = {
    store,
    entry(key) {
      if (!entries.has(key)) entries.set(key, load(page, key))
      return entries.get(key)
    },
    put(entry) {
      const before = entries.get(entry.key)
      if (before) changed.delete(before)
      entries.set(entry.key, entry)
      changed.add(entry)
    },
    standing(account, asset) {
      // Names hold no control characters, so this joins without ambiguity.
      const name = `${account}\n${asset}`
      const known = standings.get(name)
      if (known) return known
      const found = store.standing(account, asset) ?? nothing(account, asset)
      standings.set(name, found)
      written.set(found, sums(found))
      return found
    },
    line(sequence) {
      const found = lines.get(sequence) ?? store.line(sequence)
      assert(found, `row ${sequence} of the journal is missing`)
      return found
    },
    append(at, key, type, data) {
      tail ??= store.tail() ?? genesis
      const line = chain(tail, at, key, type, data)
      lines.set(line.sequence, line)
      tail = line
      return line
    },
    flush() {
      const moved = [...standings.values()].filter((one) => sums(one) !== written.get(one))
      if (lines.size === 0) return assert(moved.length === 0, 'nothing moves without a row')
      store.write({ lines: [...lines.values()], positions: [...changed], standings: moved })
      for (const one of moved) written.set(one, sums(one))
      lines.clear()
      changed.clear()
    },
  }
  return page
}

function load(page: Page, key: string): Entry | undefined {
  const position = page.store.position(key)
  if (!position) return undefined
  const line = page.line(position.made)
  assert(line.key === key && line.type === 'made', `row ${position.made} did not make ${key}`)
  return { ...readMade(key, readData(line.data)), ...position, madeAt: line.at }
}

function nothing(account: string, asset: string): Standing {
  return { account, asset, posted: 0n, debits: 0n, credits: 0n }
}

function sums({ posted, debits, credits }: Standing): string {
  return `${posted} ${debits} ${credits}`
}
