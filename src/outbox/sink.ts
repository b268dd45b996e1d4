import type { Told } from './feed.ts'

/** Where events go. */
export interface Sink extends Wants {
  /**
   * Delivers them in their order, one after the other is taken, and tells how many from the first on were taken for sure. It
   * begins with none after `deadlineAt` or when the signal fires, and ends what it is at. Never throws for a receiver.
   */
  deliver(told: readonly Told[], until: Until): Promise<Delivery>
  close(): Promise<void>
}

/** What the machine calls a fault, `ECONNREFUSED` for instance: it names no address and no file. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  const { code } = error
  return typeof code === 'string' && /^[A-Z0-9_]{3,60}$/.test(code) ? code : undefined
}

/** What a sink wants to hear of. */
export interface Wants {
  /** Its cursor stands in the books under this: small letters, digits and hyphens, at most {@link NAME_CHARS_MAX}. */
  readonly name: string
  /** Only events of these types; all if absent. */
  readonly types?: readonly string[]
  /** Where it begins when it is new: behind that row of the journal, or at the first if absent. */
  readonly after?: number
}

/** What of a sink's settings is about what it wants. */
export function wantsOf({ name, types, after }: Wants): Wants {
  return { name, ...(types && { types }), ...(after !== undefined && { after }) }
}

/** Most characters of a sink's name. */
export const NAME_CHARS_MAX = 64

/** How long a sink may go on. */
export interface Until {
  /** Milliseconds since 1970. */
  readonly deadlineAt: number
  readonly signal: AbortSignal
}

/** How far it came. */
export interface Delivery {
  readonly taken: number
  /** Why it did not come further; undefined if it only ran out of time. */
  readonly trouble?: Trouble
}

/**
 * What is wrong. `down`: the receiver cannot be reached, or takes nothing just now. `refused`: it will not take the first that
 * was not taken. `gone`: it wants nothing more, ever.
 */
export interface Trouble {
  readonly kind: 'down' | 'refused' | 'gone'
  /** A sentence's end for people: no address, no answer of the receiver's. */
  readonly why: string
  /** When it asked to be tried again. */
  readonly retryAfterMs?: number
}
