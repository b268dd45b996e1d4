import type { Room } from './hunt.ts'

/** What is hunted, and by which tests: the rooms in which a wrong line costs money. */
export const rooms: Readonly<Record<string, Room>> = {
  core: { sources: ['src/core/*.ts'], tests: ['src/core/*.test.ts'] },
  ledger: { sources: ['src/ledger/*.ts'], tests: ['src/ledger/*.test.ts'] },
  gate: { sources: ['src/gate/*.ts'], tests: ['src/gate/*.test.ts'] },
  payer: {
    sources: ['src/payer/{budget,choose,owner,policy,purchases,record}.ts'],
    tests: ['src/payer/*.test.ts'],
  },
}
