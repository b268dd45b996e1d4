import { inspect } from 'node:util'

const PLACEHOLDER = '[secret]'

/** A text that must not be seen: printing, joining or serialising it gives a placeholder. */
export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
    // Node's own printing would otherwise show the class, which is harmless, but not the same placeholder.
    Object.defineProperty(this, inspect.custom, { value: () => PLACEHOLDER })
  }
  /** The text itself, for the one place that needs it. */
  reveal(): string {
    return this.#value
  }
  toString(): string {
    return PLACEHOLDER
  }
  toJSON(): string {
    return PLACEHOLDER
  }
}
