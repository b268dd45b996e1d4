/** Longest `Accept-Payment` that is looked at, in characters. */
export const ACCEPT_CHARS_MAX = 4_096
/** Most ranges of it. */
export const RANGES_MAX = 64

/** The field by which a client tells how it would pay. */
export const ACCEPT_FIELD = 'Accept-Payment'

/** How much a client likes one kind of payment. */
interface Range {
  readonly method: string
  readonly intent: string
  /** In thousandths; none of it at zero. */
  readonly q: number
}

const RANGE = /^(\*|[a-z0-9:_-]+)[ \t]*\/[ \t]*(\*|[A-Za-z0-9-]+)((?:[ \t]*;[^;]*)*)$/
const Q = /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/

/** What a client would rather pay by. */
export interface Preferences {
  /** Zero where it cannot pay so, 1000 where it likes nothing better. */
  readonly q: (method: string, intent: string) => number
}

/** Reads `Accept-Payment`; undefined where there is none, or none that can be read: then nothing is left out. */
export function readAccept(field: string | null | undefined): Preferences | undefined {
  if (field === null || field === undefined || field.length > ACCEPT_CHARS_MAX) return undefined
  const parts = field.split(',').map((part) => part.trim())
  const ranges = parts.filter((part) => part !== '').map(readRange)
  const read = ranges.filter((range) => range !== undefined)
  if (read.length === 0 || read.length < ranges.length || read.length > RANGES_MAX) return undefined
  return { q: (method, intent) => best(read, method, intent)?.q ?? 0 }
}

function readRange(part: string): Range | undefined {
  const [, method, intent, params = ''] = RANGE.exec(part) ?? []
  if (method === undefined || intent === undefined) return undefined
  const weights = params.split(';').flatMap((param) => {
    const [name = '', value = ''] = param.split('=').map((word) => word.trim())
    return name.toLowerCase() === 'q' ? [value] : []
  })
  const [weight = '1'] = weights
  return Q.test(weight) ? { method, intent, q: Math.round(Number(weight) * 1000) } : undefined
}

/** The most specific range decides, and of equal ones the kindest. */
function best(ranges: readonly Range[], method: string, intent: string): Range | undefined {
  const fits = ranges.filter((range) => isIn(range.method, method) && isIn(range.intent, intent))
  const [first] = fits.toSorted((a, b) => width(a) - width(b) || b.q - a.q)
  return first
}

function isIn(wanted: string, said: string): boolean {
  return wanted === '*' || wanted === said
}

/** How much it leaves open. */
function width({ method, intent }: Range): number {
  return Number(method === '*') + Number(intent === '*')
}

/**
 * What the client can pay by, the best liked first; what is liked the same keeps its order. All of it where the client takes
 * nothing, since it may have more to it than it says.
 */
export function prefer<T>(
  all: readonly T[],
  { q }: Preferences,
  wordsOf: (one: T) => { readonly method: string; readonly intent: string },
): readonly T[] {
  const weighed = all.map((one) => ({ one, q: q(wordsOf(one).method, wordsOf(one).intent) }))
  const liked = weighed.filter((each) => each.q > 0).toSorted((a, b) => b.q - a.q)
  return liked.length > 0 ? liked.map(({ one }) => one) : all
}
