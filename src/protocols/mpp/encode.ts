import { Buffer } from 'node:buffer'
import type { JsonObject } from '../../core/json.ts'
import { canonical, isObject, readJson } from '../../core/json.ts'

/** JSON in canonical form (RFC 8785) as base64url without padding. */
export function writeObject(value: JsonObject): string {
  return Buffer.from(canonical(value)).toString('base64url')
}

/**
 * The object in base64url of UTF-8, with padding or without; undefined for all else. Standard base64 is read as well, as the
 * reference client does.
 */
export function readObject(text: string, charsMax: number): JsonObject | undefined {
  if (text.length > charsMax || !BASE64.test(text)) return undefined
  try {
    const value = readJson(utf8.decode(Buffer.from(text, 'base64url')), charsMax)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

const BASE64 = /^(?:[\w+/-]{4})*(?:[\w+/-]{2}(?:==)?|[\w+/-]{3}=?)?$/
const utf8 = new TextDecoder('utf-8', { fatal: true })

/** A moment, in whole seconds as RFC 3339 writes them. */
export function writeTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** Milliseconds since 1970 of a moment as RFC 3339 writes it; undefined for all else. */
export function readTime(text: string): number | undefined {
  if (text.length > TIME_CHARS_MAX || !TIME.test(text)) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

const TIME_CHARS_MAX = 48
const TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/
