// Whether a history of concurrent calls can have happened one call at a time, each at some moment between its beginning
// and its end (Herlihy and Wing). The search is that of Wing and Gong with Lowe's memory of what was tried before.

/** A call as it was recorded. Times are of one clock that all callers share. */
export interface Call<Q, A> {
  /** Calls of different things do not touch each other and are judged apart. */
  readonly of: string
  readonly asked: Q
  /** Undefined when the caller died before it knew: the call may have happened or not. */
  readonly answer: A | undefined
  readonly from: bigint
  /** Absent when there is no answer. */
  readonly to?: bigint
}

/** What a thing does if it is called once at a time. */
export interface Model<S, Q, A> {
  readonly start: S
  /** What it becomes and says. */
  next(state: S, asked: Q): { readonly state: S; readonly answer: A }
  /** Equal states have equal texts. */
  text(state: S): string
  /** Whether two answers are the same. */
  same(one: A, other: A): boolean
}

/** Most calls of one thing that are judged. */
export const CALLS_MAX = 2_000
/** Most situations that are looked at before the search is given up. */
export const SITUATIONS_MAX = 500_000

/** What came of it: for each thing that cannot be explained, a sentence. */
export function check<S, Q, A>(
  calls: readonly Call<Q, A>[],
  model: Model<S, Q, A>,
): readonly string[] {
  const things = Map.groupBy(calls, ({ of }) => of)
  return [...things].flatMap(([of, list]) => {
    if (list.length > CALLS_MAX) return [`${of}: ${list.length} calls are more than ${CALLS_MAX}.`]
    const why = explain(list, model)
    return why === undefined ? [] : [`${of}: ${why}`]
  })
}

/** A beginning or an end of a call, in a list of both in the order of time. */
interface Mark {
  readonly call: number
  readonly at: bigint
  readonly kind: 'from' | 'to'
  before: Mark | undefined
  after: Mark | undefined
}

interface Tried<S> {
  readonly from: Mark
  readonly to: Mark | undefined
  readonly state: S
}

/**
 * Takes a call that could be next, lifts it out of the list with its end, and goes on; at an end whose call was not
 * taken, goes back. A pair of what was taken and the state that it led to is looked at once.
 */
function explain<S, Q, A>(calls: readonly Call<Q, A>[], model: Model<S, Q, A>): string | undefined {
  const { head, ends } = toList(calls)
  const seen = new Set<string>()
  const taken = new Uint8Array(Math.ceil(calls.length / 8))
  const flip = (call: number): void =>
    void (taken[call >> 3] = (taken[call >> 3] ?? 0) ^ (1 << (call & 7)))
  const trail: Tried<S>[] = []
  let open = calls.filter(({ to }) => to !== undefined).length
  let state = model.start
  let mark = head.after
  let deepest = 0

  const back = (): boolean => {
    const last = trail.pop()
    if (!last) return false
    flip(last.from.call)
    state = last.state
    if (last.to) open++
    if (last.to) restore(last.to)
    restore(last.from)
    mark = last.from.after
    return true
  }

  while (open > 0) {
    if (mark?.kind === 'from') {
      const call = calls[mark.call] as Call<Q, A>
      const next = model.next(state, call.asked)
      const fits = call.answer === undefined || model.same(next.answer, call.answer)
      flip(mark.call)
      const situation = fits
        ? `${Buffer.from(taken).toString('latin1')} ${model.text(next.state)}`
        : ''
      if (fits && !seen.has(situation)) {
        seen.add(situation)
        if (seen.size > SITUATIONS_MAX) return 'The search was given up.'
        const to = ends.get(mark.call)
        trail.push({ from: mark, to, state })
        deepest = Math.max(deepest, trail.length)
        state = next.state
        lift(mark)
        if (to) lift(to)
        if (to) open--
        mark = head.after
        continue
      }
      flip(mark.call)
      mark = mark.after
      continue
    }
    // An end whose call was not taken: it should have been. The list's own end says the same.
    if (!back())
      return `no order explains these ${calls.length} calls; the best explains ${deepest}.`
  }
  return undefined
}

function toList<Q, A>(
  calls: readonly Call<Q, A>[],
): {
  readonly head: Mark
  readonly ends: ReadonlyMap<number, Mark>
} {
  const marks = calls.flatMap(({ from, to }, call): Mark[] => {
    const rest = { call, before: undefined, after: undefined }
    const begin: Mark = { ...rest, at: from, kind: 'from' }
    return to === undefined ? [begin] : [begin, { ...rest, at: to, kind: 'to' }]
  })
  // At the same moment beginnings come first: the calls then overlap.
  marks.sort((a, b) => Number(a.at - b.at) || Number(a.kind === 'to') - Number(b.kind === 'to'))
  const head: Mark = { call: -1, at: 0n, kind: 'from', before: undefined, after: undefined }
  let last = head
  for (const mark of marks) {
    last.after = mark
    mark.before = last
    last = mark
  }
  const ends = marks.filter(({ kind }) => kind === 'to').map((mark) => [mark.call, mark] as const)
  return { head, ends: new Map(ends) }
}

/** Out of the list; it remembers where it was. */
function lift(mark: Mark): void {
  if (mark.before) mark.before.after = mark.after
  if (mark.after) mark.after.before = mark.before
}

/** Back into the list, in the opposite order of lifting. */
function restore(mark: Mark): void {
  if (mark.before) mark.before.after = mark
  if (mark.after) mark.after.before = mark
}

/** One key of the ledger. */
export type KeyState = {
  readonly state: 'absent' | 'pending' | 'posted' | 'voided'
  readonly purpose: string
}
export type KeyQuestion =
  | { readonly verb: 'transfer'; readonly purpose: string }
  | { readonly verb: 'post' }
  | { readonly verb: 'void' }
  | { readonly verb: 'find' }

/** A claim is made once, is a replay for the same purpose and foreign for another, and is free again when voided. */
export const claims: Model<KeyState, KeyQuestion, string> = {
  start: { state: 'absent', purpose: '' },
  next(before, asked) {
    const { state, purpose } = before
    switch (asked.verb) {
      case 'transfer':
        if (state === 'pending' || state === 'posted')
          return { state: before, answer: purpose === asked.purpose ? 'replayed' : 'foreign' }
        return { state: { state: 'pending', purpose: asked.purpose }, answer: 'made' }
      case 'post':
        if (state !== 'pending')
          return { state: before, answer: state === 'posted' ? 'replayed' : state }
        return { state: { state: 'posted', purpose }, answer: 'posted' }
      case 'void':
        if (state !== 'pending')
          return { state: before, answer: state === 'voided' ? 'replayed' : state }
        return { state: { state: 'voided', purpose }, answer: 'voided' }
      case 'find':
        break
    }
    return { state: before, answer: `${state} ${purpose}` }
  },
  text: ({ state, purpose }) => `${state} ${purpose}`,
  same: (one, other) => one === other,
}

export type BudgetQuestion =
  | { readonly verb: 'take' | 'give'; readonly amount: bigint }
  | { readonly verb: 'read' }

/** A budget gives while it has, and never says no as long as there is enough. */
export function budget(ceiling: bigint): Model<bigint, BudgetQuestion, string> {
  return {
    start: 0n,
    next(sum, asked) {
      if (asked.verb === 'read') return { state: sum, answer: `${sum}` }
      if (asked.verb === 'give') return { state: sum - asked.amount, answer: 'given' }
      if (sum + asked.amount > ceiling) return { state: sum, answer: 'insufficient' }
      return { state: sum + asked.amount, answer: 'made' }
    },
    text: String,
    same: (one, other) => one === other,
  }
}

/** One number (nonce) of a sending key: who has it, since when, and whether bytes were written for it. */
export type NumberState = {
  readonly holder: string
  /** The lease began no earlier and no later than that, in milliseconds. */
  readonly fromAt: number
  readonly toAt: number
  readonly written: boolean
}

/** `fromAt` and `toAt` are those of the call; `ticket` names the right that it asks for or uses. */
export type NumberQuestion = {
  readonly verb: 'take' | 'write' | 'drop' | 'gap'
  readonly ticket: string
  readonly fromAt: number
  readonly toAt: number
  /** What was answered: at its very end a lease may be over for one clock and not for another. */
  readonly said: string
}

/**
 * A number is given to one: to another when it was given back, or when its lease ran out with nothing written. Whoever had it
 * before writes nothing more.
 */
export function numbers(leaseMs: number): Model<NumberState, NumberQuestion, string> {
  const free: NumberState = { holder: '', fromAt: 0, toAt: 0, written: false }
  return {
    start: free,
    next(before, { verb, ticket, fromAt, toAt, said }) {
      const mine = before.holder === ticket
      const taken: NumberState = { holder: ticket, fromAt, toAt, written: false }
      const over = before.toAt + leaseMs <= fromAt
      const perhaps = before.fromAt + leaseMs <= toAt
      switch (verb) {
        case 'write':
          if (!mine) return { state: before, answer: 'lost' }
          return { state: { ...before, written: true }, answer: 'written' }
        case 'drop':
          return { state: mine ? free : before, answer: 'dropped' }
        case 'take':
        case 'gap':
          break
      }
      if (before.holder === '') return { state: taken, answer: 'given' }
      if (before.written) return { state: before, answer: 'bytes' }
      if (over || (perhaps && said === 'given')) return { state: taken, answer: 'given' }
      return { state: before, answer: 'none' }
    },
    text: ({ holder, fromAt, written }) => `${holder} ${fromAt} ${written}`,
    same: (one, other) => one === other,
  }
}
