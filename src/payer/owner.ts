import { hostname } from 'node:os'
import { systemChance } from '../core/chance.ts'
import type { JsonObject } from '../core/json.ts'

/** The process that works on a purchase, and until when that is believed if nothing better is known. */
export interface Owner extends JsonObject {
  readonly host: string
  readonly pid: number
  /** A process number is used again some day; this is not. */
  readonly run: string
  readonly leaseUntilAt: number
}

const run = Buffer.from(systemChance(16)).toString('hex')

/** Purchases that this process works on right now, in whichever payer. */
const working = new Set<string>()

/** This process as an owner. */
export function ownerUntil(leaseUntilAt: number): Owner {
  return { host: hostname(), pid: process.pid, run, leaseUntilAt }
}

/** Takes a purchase for a caller in this process; false if another caller has it. */
export function take(key: string): boolean {
  if (working.has(key)) return false
  working.add(key)
  return true
}

/** Gives it back. */
export function give(key: string): void {
  working.delete(key)
}

/**
 * Whether somebody is still working on the purchase. A wrong yes costs a second purchase, a wrong no sends one payment
 * twice, which charges once: so a process that is surely gone is believed before its lease is over.
 */
export function isWorking(key: string, owner: Owner, now: number): boolean {
  if (owner.run === run) return working.has(key)
  if (now >= owner.leaseUntilAt) return false
  return owner.host !== hostname() || exists(owner.pid)
}

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
