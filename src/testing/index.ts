/** Suites that every part of a kind passes, for parts of your own. They use node:test. */
export { adapterSuite } from './adapter-suite.ts'
export type { Shop, Stage } from './adapter-suite.ts'
export { createHandClock, ledgerSuite } from './ledger-suite.ts'
export type { HandClock, Subject } from './ledger-suite.ts'
export { calm, createDice, createProcess, createScheduler } from './faults.ts'
export type {
  Dice,
  Effect,
  Planned,
  Process,
  ProcessParts,
  Scheduler,
  SchedulerParts,
  Weather,
} from './faults.ts'
