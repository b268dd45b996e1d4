import { fromBase64, toBase64 } from '../../core/base64.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import { HEADER_CHARS_MAX } from './wire.ts'
import type { Read } from './wire.ts'

/** A header's value: base64 of JSON. */
export function writeHeader(message: object): string {
  return toBase64(JSON.stringify(message))
}

/** The object in a header's value, or a sentence why there is none. Bounded in length and depth. */
export function readHeader(value: string): Read<JsonObject> {
  if (value.length > HEADER_CHARS_MAX)
    return no(`The field is longer than ${HEADER_CHARS_MAX} characters.`)
  // Two fields of one name arrive joined by a comma, which base64 does not have (RFC 9110, 5.3).
  if (value.includes(',')) return no('The field is there more than once. Send exactly one payment.')
  const text = fromBase64(value)
  if (text === undefined) return no('The field is not padded standard base64 of UTF-8 text.')
  const json = readJson(text, HEADER_CHARS_MAX)
  return isObject(json) ? { ok: true, value: json } : no('The field does not hold a JSON object.')
}

function no(why: string): { readonly ok: false; readonly why: string } {
  return { ok: false, why }
}
