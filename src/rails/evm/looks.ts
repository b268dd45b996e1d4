import type { Call, CallAnswer } from './abi.ts'
import type { Hex } from './hex.ts'
import type { Reader } from './token.ts'

/** Most looks on their way at once. Those that come meanwhile wait, and then go together. */
const OPEN_MAX = 2
/** Most looks in one call: what nodes give a call suffices for far more. */
const TOGETHER_MAX = 32

/** What a look answered. `shared`: others were in the same call, so that only a yes is beyond doubt. */
export interface Looked {
  readonly answers: readonly CallAnswer[] | 'reverted'
  readonly shared: boolean
}

/** Calls for one payment, and their gas. */
export interface Look {
  readonly calls: readonly Call[]
  readonly gas: number
}

/** Looks at payments, many in one call while many come. */
export interface Looks {
  /** Together with others, if there are any. */
  ask(look: Look): Promise<Looked>
  /** By itself. */
  alone(look: Look): Promise<Looked>
}

interface Waiting extends Look {
  readonly resolve: (looked: Looked) => void
  readonly reject: (error: unknown) => void
}

/** Makes the looks. `from` is who would send. */
export function createLooks(reader: Reader, from: Hex): Looks {
  const waiting: Waiting[] = []
  let open = 0

  const alone = async ({ calls, gas }: Look): Promise<Looked> => ({
    answers: await reader.batch(calls, { from, gas }),
    shared: false,
  })

  const together = async (looks: readonly Waiting[]): Promise<void> => {
    const calls = looks.flatMap((look) => look.calls)
    const gas = looks.reduce((sum, look) => sum + look.gas, 0)
    try {
      const answers = await reader.batch(calls, { from, gas })
      const shared = looks.length > 1
      let at = 0
      for (const { calls: own, resolve } of looks) {
        const end = at + own.length
        resolve({ answers: answers === 'reverted' ? answers : answers.slice(at, end), shared })
        at = end
      }
    } catch (error) {
      for (const { reject } of looks) reject(error)
    }
  }

  const work = (): void => {
    while (open < OPEN_MAX && waiting.length > 0) {
      open++
      const most = reader.batched ? TOGETHER_MAX : 1
      void together(waiting.splice(0, most)).finally(() => {
        open--
        work()
      })
    }
  }

  return {
    alone,
    ask(look) {
      const { promise, resolve, reject } = Promise.withResolvers<Looked>()
      waiting.push({ ...look, resolve, reject })
      work()
      return promise
    },
  }
}
