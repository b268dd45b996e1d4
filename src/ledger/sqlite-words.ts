import type { Code, PayerCode } from '../core/problem.ts'

/** What the writer's thread is started with. */
export interface Start {
  readonly file: string
}

/** An error, in a form that crosses threads. */
export type Failure =
  | { readonly kind: 'bug'; readonly message: string }
  | {
      readonly kind: 'fault'
      readonly code: Code | PayerCode
      readonly message: string
      readonly retryable: boolean
      /** The writer must not be used again. */
      readonly fatal: boolean
    }

/** What became of one command. */
export type Result = { readonly value: unknown } | { readonly failure: Failure }

/** One result for each command of the batch. The first reply has one, for the opening. */
export type Reply = readonly Result[]
