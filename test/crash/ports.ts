// Counts the calls of a process's ports, and kills the process at one of them.
import { appendFileSync } from 'node:fs'

/** `before`: the call is not made. `after`: it was made, and its answer is lost. */
export type Mode = 'before' | 'after'

/** A call by its name and number, such as `ledger.post #1`, and on which side of it the process dies. */
export interface Point {
  readonly call: string
  readonly mode: Mode
}

/** What stands between a process and its ports. */
export interface Watch {
  /** Makes a call, unless it is the one before which the process dies. */
  call<T>(name: string, work: () => T): T
  /** The same port, each verb counted. The pure ones, which nothing can lose, are left alone. */
  port<T extends object>(
    port: T,
    pure: readonly string[],
    nameOf: (verb: string, args: readonly unknown[]) => string,
  ): T
  /** JSON-RPC and HTTP. */
  readonly fetch: typeof globalThis.fetch
}

/** Makes a watch that writes the name of each call to a file before it is made. */
export function watch(file: string, point: Point | undefined): Watch {
  const counts = new Map<string, number>()

  function call<T>(name: string, work: () => T): T {
    const count = (counts.get(name) ?? 0) + 1
    counts.set(name, count)
    const full = `${name} #${count}`
    appendFileSync(file, `${full}\n`)
    const mode = point?.call === full ? point.mode : undefined
    if (mode === 'before') die()
    const made = work()
    if (mode !== 'after') return made
    return (made instanceof Promise ? made.finally(die) : die()) as T
  }

  return {
    call,
    port: (port, pure, nameOf) =>
      new Proxy(port, {
        get(target, verb) {
          const value: unknown = Reflect.get(target, verb)
          if (typeof value !== 'function' || typeof verb !== 'string' || pure.includes(verb))
            return value
          return (...args: readonly unknown[]) =>
            call(nameOf(verb, args), () => Reflect.apply(value, target, args) as unknown)
        },
      }),
    fetch: (input, init) => call(fetchCall(init), () => globalThis.fetch(input, init)),
  }
}

/** No handler runs, nothing is flushed: the process is gone when this returns to the kernel. */
function die(): never {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('A killed process goes on.')
}

/** Names a call of the books by what it is about. */
export function ledgerCall(verb: string, [first, second]: readonly unknown[]): string {
  if (verb === 'transfer') return `ledger.transfer ${kindOf((first as { key: string }).key)}`
  if (verb === 'step') {
    const { type } = second as { type: string }
    return `ledger.step ${kindOf(String(first))} ${type}`
  }
  return typeof first === 'string' ? `ledger.${verb} ${kindOf(first)}` : `ledger.${verb}`
}

function kindOf(key: string): string {
  if (key.endsWith('/delivery')) return 'delivery'
  return /^(nonce|refund|purchase|fetch)\//.exec(key)?.[1] ?? 'sale'
}

/** Names a JSON-RPC call by its methods, and any other by whether it brings a payment. */
function fetchCall(init: RequestInit | undefined): string {
  const body = typeof init?.body === 'string' ? init.body : ''
  const methods = Array.from(body.matchAll(/"method":"(\w+)"/g), ([, method]) => method)
  if (methods.length > 0) return `rpc ${methods.join(' ')}`
  return new Headers(init?.headers).has('payment-signature') ? 'fetch paid' : 'fetch'
}
