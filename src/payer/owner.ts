import { hostname } from 'node:os'
import { systemChance } from '../core/chance.ts'
import type { JsonObject } from '../core/json.ts'

/** The process that works on a purchase, and until when that is believed if nothing better is known. */
export interface Owner extends JsonObject {
  readonly host: string
  readonly pid: number
  /** A process number is used again some day; this is not. */
  readonly run: string
  /** When the process was started: behind the number of one that is gone there may be another, ours for instance. */
  readonly bornAt: number
  readonly leaseUntilAt: number
}

const run = Buffer.from(systemChance(16)).toString('hex')

/** All threads of a process have the same. */
const bornAt = Math.round(performance.timeOrigin)

/** Purchases that this process works on right now, in whichever payer, and until when that is believed. */
const working = new Map<string, number>()

/** This process as an owner. */
export function ownerUntil(leaseUntilAt: number): Owner {
  return { host: hostname(), pid: process.pid, run, bornAt, leaseUntilAt }
}

/** Takes a purchase for a caller in this process; false if another caller has it. */
export function take(key: string): boolean {
  if (working.has(key)) return false
  working.set(key, Infinity)
  return true
}

/** What was taken goes on without its caller, who may have forgotten it: until then. */
export function lend(key: string, untilAt: number): void {
  if (working.has(key)) working.set(key, untilAt)
}

/** Whether it goes on without its caller. */
export function isLent(key: string): boolean {
  return (working.get(key) ?? Infinity) < Infinity
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
  if (isOurs(owner)) return (working.get(key) ?? -Infinity) > now
  if (now >= owner.leaseUntilAt) return false
  return !isNear(owner) || exists(owner)
}

/** Whether it runs on this machine, where one can see if it is there. Of any other nobody knows. */
export function isNear(owner: Owner): boolean {
  return owner.host === hostname()
}

/** Whether this very process is the owner. */
export function isOurs(owner: Owner): boolean {
  return owner.run === run
}

function exists({ pid, bornAt: wasBornAt }: Owner): boolean {
  if (pid === process.pid) return wasBornAt === bornAt
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
