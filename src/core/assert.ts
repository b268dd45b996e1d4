/** A bug: something that cannot be so. The request ends in 500, an event tells, nothing is retried. */
export class Bug extends Error {
  override readonly name = 'Bug'
}

/** Holds what must be so at both ends of a boundary. Never for what a stranger sends: that is a refusal. */
export function assert(holds: unknown, sentence: string): asserts holds {
  if (!holds) throw new Bug(sentence)
}
