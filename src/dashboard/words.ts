import type { Payment, Quantity } from './shapes.ts'

const day = new Intl.DateTimeFormat(undefined, {
  day: '2-digit',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'long', timeStyle: 'long' })

/** A time for a table. */
export function sayTime(time: string): string {
  return time === '' ? 'never' : day.format(new Date(time))
}

/** A time with its year and zone. */
export function sayFullTime(time: string): string {
  return full.format(new Date(time))
}

/** An amount with its unit: never rounded. */
export function sayAmount({ amount, code }: Quantity): string {
  return `${amount} ${code}`
}

/** The beginning and the end of a long name. */
export function shorten(text: string, most = 22): string {
  if (text.length <= most) return text
  const half = Math.floor((most - 1) / 2)
  return `${text.slice(0, half)}…${text.slice(-half)}`
}

/** The state to show: of what is open, whether anybody knows what became of it. */
export function stateOf({ state, life }: Pick<Payment, 'state' | 'life'>): string {
  return life === 'unknown' && state === 'open' ? life : state
}

/** What each state is called, what it means, and how it looks. */
export const states: Readonly<
  Record<string, { readonly tone: 'good' | 'wait' | 'bad' | 'quiet'; readonly means: string }>
> = {
  open: { tone: 'wait', means: 'It is being worked on.' },
  held: { tone: 'wait', means: 'The payment holds and the work is being done.' },
  unknown: { tone: 'bad', means: 'Nobody knows yet whether the money moved.' },
  settled: { tone: 'good', means: 'The money has moved.' },
  delivered: { tone: 'good', means: 'The money has moved, and the answer has left.' },
  refunded: { tone: 'quiet', means: 'All of it went back.' },
  undone: { tone: 'bad', means: 'The network took the transfer back.' },
  voided: { tone: 'quiet', means: 'Nothing was taken.' },
  failed: { tone: 'bad', means: 'It did not work.' },
  good: { tone: 'good', means: 'It can be used.' },
  bad: { tone: 'bad', means: 'It cannot be used now.' },
  expired: { tone: 'quiet', means: 'Its time is over.' },
  revoked: { tone: 'bad', means: 'It was revoked.' },
  'not looked at': { tone: 'quiet', means: 'Nobody looks at it from here.' },
}
