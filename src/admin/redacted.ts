import type { Json, JsonObject } from '../core/json.ts'

/** Names of members whose values are as good as money: what a rail writes ahead may be sent by whoever reads it. */
const SECRET =
  /raw|sign|signature|preimage|secret|token|proof|authorization|transaction|payload|macaroon|key$/i
/** Longest text that is shown. */
const TEXT_CHARS_MAX = 400
/** Most members or items of one value. */
const MEMBERS_MAX = 50
/** How deep a value is shown. */
const DEPTH_MAX = 6

/** What a row says, fit for a screen: secrets left out, long texts cut. */
export function redacted(value: JsonObject): JsonObject {
  return shown(value, 0) as JsonObject
}

function shown(value: Json, depth: number): Json {
  if (typeof value === 'string')
    return value.length > TEXT_CHARS_MAX ? `${value.slice(0, TEXT_CHARS_MAX)}…` : value
  if (typeof value !== 'object' || value === null) return value
  if (depth >= DEPTH_MAX) return '…'
  if (isList(value)) return value.slice(0, MEMBERS_MAX).map((one) => shown(one, depth + 1))
  const members = Object.entries(value).slice(0, MEMBERS_MAX)
  return Object.fromEntries(
    members.map(([name, one]) => [name, SECRET.test(name) ? '(not shown)' : shown(one, depth + 1)]),
  )
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value)
}
