import type { Observe } from '../core/event.ts'

/** Several subscribers as one. What one throws, the others and the payment never hear of. */
export function observers(...all: readonly Observe[]): Observe {
  return (event) => {
    for (const observe of all) {
      try {
        observe(event)
      } catch {
        // Nobody is there to be told: this is what tells.
      }
    }
  }
}
