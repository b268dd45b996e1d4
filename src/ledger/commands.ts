import { assert } from '../core/assert.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import {
  balances,
  expire,
  find,
  journal,
  pending,
  post,
  step,
  transfer,
  under,
  voidTransfer,
} from './ledger.ts'
import type { Mark } from './ledger.ts'
import type { Page } from './page.ts'
import { checkName, toDraft, toEntry } from './row.ts'
import type { Draft } from './row.ts'

/** Most rows that one reading of the journal gives. */
const JOURNAL_LIMIT_MAX = 10_000

/** Most transfers that one reading by their keys gives. */
const UNDER_LIMIT_MAX = 1_000

/** A call of a verb as a plain value, so that it can wait in a batch and cross a thread. */
export type Command =
  | { readonly verb: 'transfer'; readonly at: number; readonly draft: Draft }
  | {
      readonly verb: 'step'
      readonly at: number
      readonly key: string
      readonly mark: Mark
      readonly claim: number | undefined
    }
  | {
      readonly verb: 'post'
      readonly at: number
      readonly key: string
      readonly amount: bigint | undefined
      readonly mark: Mark | undefined
      readonly claim: number | undefined
    }
  | {
      readonly verb: 'void'
      readonly at: number
      readonly key: string
      readonly reason: string
      readonly claim: number | undefined
    }
  | { readonly verb: 'expire'; readonly at: number; readonly key: string; readonly claim: number }
  | { readonly verb: 'find'; readonly key: string }
  | { readonly verb: 'pending'; readonly purpose: string | undefined }
  | {
      readonly verb: 'under'
      readonly prefix: string
      readonly after: string
      readonly limit: number
    }
  | { readonly verb: 'balances'; readonly account: string | undefined }
  | { readonly verb: 'journal'; readonly after: number; readonly limit: number }

/** Runs a command. The answer is that of the ledger's verb of the same name. */
export function perform(page: Page, command: Command): Awaited<ReturnType<Ledger[Verb]>> {
  switch (command.verb) {
    case 'transfer':
      return transfer(page, command.draft, command.at)
    case 'step':
      return step(page, command.key, command.mark, command.at, command.claim)
    case 'post':
      return post(page, command)
    case 'void':
      return voidTransfer(page, command.key, command.reason, command.at, command.claim)
    case 'expire':
      return expire(page, command.key, command.claim, command.at)
    case 'find':
      return find(page, command.key)
    case 'pending':
      return pending(page, command.purpose)
    case 'under':
      return under(page, command.prefix, command.after, command.limit)
    case 'balances':
      return balances(page, command.account)
    case 'journal':
      return journal(page, command.after, command.limit)
  }
}

type Verb = Exclude<keyof Ledger, 'close'>

/** Whether the command may write, so that its transaction must lock out other writers from the start. */
export function writes(command: Command): boolean {
  return 'at' in command
}

/** What a ledger needs below it: something that runs commands durably, in the order they were sent. */
export interface Runner {
  /** Resolves to the answer of {@link perform}, once it is durable. */
  readonly send: (command: Command) => Promise<unknown>
  readonly close: () => Promise<void>
}

/** The port over a runner. What callers give is checked and copied here, before it can harm a batch. */
export function createLedger({ send, close }: Runner, clock: Clock): Ledger {
  // The answers are those of `perform`, verb by verb; a thread in between has taken their types away.
  const ask = async <T>(command: Command): Promise<T> => (await send(command)) as T
  const at = (): number => {
    const now = clock.now()
    assert(Number.isSafeInteger(now), 'the clock gives whole milliseconds')
    return now
  }
  return {
    transfer: async (given) => ask({ verb: 'transfer', at: at(), draft: toDraft(given) }),
    step: async (key, given, claim) =>
      ask({ verb: 'step', at: at(), key, mark: toEntry(given), claim }),
    post: async (key, amount, given, claim) =>
      ask({ verb: 'post', at: at(), key, amount, mark: given && toEntry(given), claim }),
    async void(key, reason, claim) {
      checkName(reason)
      return ask({ verb: 'void', at: at(), key, reason, claim })
    },
    expire: async (key, claim) => ask({ verb: 'expire', at: at(), key, claim }),
    find: async (key) => ask({ verb: 'find', key }),
    pending: async (purpose) => ask({ verb: 'pending', purpose }),
    async under(prefix, after, limit) {
      assert(prefix !== '', 'a prefix is not empty')
      assert(Number.isSafeInteger(limit) && limit > 0, 'a limit is a whole number above zero')
      return ask({ verb: 'under', prefix, after, limit: Math.min(limit, UNDER_LIMIT_MAX) })
    },
    balances: async (account) => ask({ verb: 'balances', account }),
    async journal(after, limit) {
      assert(Number.isSafeInteger(after) && after >= 0, 'a sequence number is whole')
      assert(Number.isSafeInteger(limit) && limit > 0, 'a limit is a whole number above zero')
      return ask({ verb: 'journal', after, limit: Math.min(limit, JOURNAL_LIMIT_MAX) })
    },
    close,
  }
}
