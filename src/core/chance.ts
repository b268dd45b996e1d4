import { randomBytes } from 'node:crypto'
import type { Chance } from './ports.ts'

/** The machine's own chance, fit for keys and nonces. */
export const systemChance: Chance = (bytes) => randomBytes(bytes)
