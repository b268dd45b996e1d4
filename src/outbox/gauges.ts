import type { Outbox } from './outbox.ts'

/** Numbers that are read when somebody asks for metrics. */
export interface OutboxGauge {
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter'
  read(): readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[]
}

/** How an outbox stands, as metrics. */
export function gaugesOf(outbox: Pick<Outbox, 'status'>): readonly OutboxGauge[] {
  const all = (value: (one: ReturnType<Outbox['status']>[number]) => number) => () =>
    outbox.status().map((one) => ({ labels: { sink: one.name }, value: value(one) }))
  return [
    {
      name: 'tolsey_outbox_failing',
      help: 'Whether the last attempt of a sink failed, 1 or 0.',
      type: 'gauge',
      read: all(({ state }) => Number(state !== 'following')),
    },
    {
      name: 'tolsey_outbox_behind_seconds',
      help: 'Age of the oldest event that waits for a sink.',
      type: 'gauge',
      read: all(({ behindMs }) => behindMs / 1_000),
    },
    {
      name: 'tolsey_outbox_taken_total',
      help: 'Events that a sink took from this process.',
      type: 'counter',
      read: all(({ taken }) => taken),
    },
    {
      name: 'tolsey_outbox_dead_total',
      help: 'Events that this process put down because a receiver refused them for good.',
      type: 'counter',
      read: all(({ dead }) => dead),
    },
  ]
}
