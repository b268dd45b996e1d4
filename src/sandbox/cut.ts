import type { RequestListener, ServerResponse } from 'node:http'
import type { Protocol } from '../core/ports.ts'
import type { Switches } from './faults.ts'

/** A listener whose paid answers are lost on the way, as often as the faults say. The seller believes they arrived. */
export function cutting(
  protocols: readonly Protocol[],
  faults: Switches,
  listener: RequestListener,
): RequestListener {
  const told = protocols.flatMap(({ fields }) => fields.response)
  // A challenge carries fields of the protocol too, but is no success.
  const paid = (response: ServerResponse): boolean =>
    response.statusCode < 300 && told.some((name) => response.hasHeader(name))
  return (request, response) => {
    if (faults.now().loseAnswers > 0)
      lay(response, () => paid(response) && faults.take('loseAnswers'))
    return listener(request, response)
  }
}

/** Lays itself below whatever else holds the response back, so that it sees what is really to leave. */
function lay(response: ServerResponse, cut: () => boolean): void {
  let asked = false
  for (const verb of ['write', 'end', 'flushHeaders'] as const) {
    const native = response[verb]
    const own = (...args: readonly unknown[]): unknown => {
      if (!asked && cut()) response.destroy()
      asked = true
      return response.destroyed ? response : Reflect.apply(native, response, args)
    }
    Object.assign(response, { [verb]: own })
  }
}
