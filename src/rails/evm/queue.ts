/** Runs what it is given one after the other. */
export type Queue = <T>(work: () => Promise<T>) => Promise<T>

/** Makes a queue; what failed does not hold up the next. */
export function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const turn = last.then(work)
    last = turn.catch(() => undefined)
    return turn
  }
}

/** One queue for each key that has work. */
export interface Queues {
  run<T>(key: string, work: () => Promise<T>): Promise<T>
  /** Resolves when everything that was given so far is done. */
  idle(): Promise<void>
}

/** Makes the queues. A key without work takes no room. */
export function createQueues(): Queues {
  const queues = new Map<string, { readonly run: Queue; waiting: number }>()
  return {
    async run(key, work) {
      const queue = queues.get(key) ?? { run: createQueue(), waiting: 0 }
      queues.set(key, queue)
      queue.waiting++
      try {
        return await queue.run(work)
      } finally {
        if (--queue.waiting === 0) queues.delete(key)
      }
    },
    async idle() {
      await Promise.all([...queues.values()].map(({ run }) => run(async () => undefined)))
    },
  }
}
