import { randomBytes } from 'node:crypto'
import type { Chance } from './ports.ts'

/** The machine's own chance, fit for keys and nonces. */
export const systemChance: Chance = (bytes) => randomBytes(bytes)

/** A random UUID (RFC 9562, version 4). */
export function uuid(chance: Chance): string {
  const bytes = Buffer.from(chance(16))
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
