import type { Challenge } from '../core/challenge.ts'
import type { JsonObject } from '../core/json.ts'
import type { Fields, Protocol } from '../core/ports.ts'

/**
 * Most bytes of the head of a 402, status line and end included: 4 KiB, which is what proxies take whose buffer for an answer's
 * head is one page of memory, less {@link SERVER_BYTES}.
 */
export const HEAD_BYTES_MAX = 3_840
/** What is left for fields that servers and frameworks add: `Date`, `Connection`, `Keep-Alive`, `X-Powered-By`. */
export const SERVER_BYTES = 256

/** What stands on the head of every 402 beside fields: its status line and the empty line at the end. */
const FRAME_BYTES = 'HTTP/1.1 402 Payment Required\r\n\r\n'.length
/** Between the name and the value of a field, and behind it. */
const FIELD_BYTES = ': \r\n'.length

/** Where lines stand that name no place: behind those that are looked for at the start, before those at the end. */
const BETWEEN = 1.5

/** One 402 for all protocols: their fields in the order that all their clients read, and their bodies. */
export interface Layout {
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly bodies: readonly (JsonObject | undefined)[]
}

interface Line {
  readonly name: string
  readonly value: string
  readonly place: number
  readonly lean?: string
}

/**
 * Puts the challenges of all protocols into one head. `otherBytes` is what else stands on it. Where that makes more than
 * `bytesMax`, lines that can be are said shorter or left out, one by one in the order in which they stand, until it fits; what
 * is needed stays, also above the budget.
 */
export function layOut(
  challenge: Challenge,
  protocols: readonly Protocol[],
  asker: Fields | undefined,
  otherBytes = 0,
  bytesMax: number = HEAD_BYTES_MAX,
): Layout {
  const written = protocols.map((protocol) => ({
    protocol,
    message: protocol.writeChallenge(challenge, asker),
    isAsked: asker !== undefined && protocol.isAsked?.(asker) === true,
  }))
  const asked = written.filter(({ isAsked, message }) => isAsked && message.fields.length > 0)
  const theirs = new Set(asked.flatMap(({ message }) => message.fields.map(([name]) => name)))
  const lines = written.flatMap(({ protocol, message, isAsked }) => {
    const own = message.fields.map(([, value]) => value)
    return message.fields.flatMap(([name, value]): readonly Line[] => {
      const stand = protocol.stand?.(value, own)
      // Its own order is that of the asker's preference.
      if (isAsked) return [{ name, value, ...stand, place: -Infinity }]
      return stand && theirs.has(name) ? [] : [{ name, value, place: BETWEEN, ...stand }]
    })
  })
  const ordered = lines.toSorted((a, b) => a.place - b.place)
  const kept = fit(ordered, bytesMax - FRAME_BYTES - otherBytes)
  return {
    fields: kept.map(({ name, value }) => [name, value] as const),
    bodies: written.map(({ message }) => message.body),
  }
}

/** Bytes of fields on a head, given as names and values in turn. */
export function bytesOf(head: readonly string[]): number {
  const chars = head.reduce((sum, text) => sum + text.length, 0)
  return chars + (head.length / 2) * FIELD_BYTES
}

function fit(lines: readonly Line[], bytesMax: number): readonly Line[] {
  let over = lines.reduce((sum, line) => sum + sizeOf(line), 0) - bytesMax
  if (over <= 0) return lines
  return lines.flatMap((line): readonly Line[] => {
    const { value, lean } = line
    if (over <= 0 || lean === undefined || lean.length >= value.length) return [line]
    over -= lean === '' ? sizeOf(line) : value.length - lean.length
    return lean === '' ? [] : [{ ...line, value: lean }]
  })
}

function sizeOf({ name, value }: Line): number {
  return name.length + value.length + FIELD_BYTES
}
