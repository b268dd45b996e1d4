import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { ask, newOrder, post } from './api.ts'
import { Dialog } from './parts.tsx'
import type { Booked, Item } from './shapes.ts'
import { sayAmount } from './words.ts'

/** Where each kind of difference may go, and what that means. */
const goals: Readonly<Partial<Record<Item['kind'], readonly (readonly [string, string])[]>>> = {
  suspense: [
    ['income/', 'It was earned'],
    ['equity/', 'The owner put it in'],
    ['sales/', 'A route earned it'],
  ],
  missing: [['world/written-off/', 'It is gone for good']],
  loss: [['world/written-off/', 'It is gone for good']],
}

/** Books a difference away, where somebody knows what it was. One dialog is one order: sending it again is the same order. */
export function BookDialog({
  item,
  onClose,
}: {
  readonly item: Item
  readonly onClose: () => void
}): JSX.Element {
  const ways = goals[item.kind] ?? []
  const [order, setOrder] = useState(newOrder)
  const [goal, setGoal] = useState(ways[0]?.[0] ?? '')
  const [name, setName] = useState('')
  const [reason, setReason] = useState('')
  const [by, setBy] = useState('')
  const [done, setDone] = useState<Booked>()
  const [trouble, setTrouble] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const isBooked = done?.kind === 'booked'

  const send = (event: Event): void => {
    event.preventDefault()
    setBusy(true)
    setTrouble(undefined)
    const { account, amount } = item
    const asset = amount.asset === undefined ? {} : { asset: amount.asset }
    const body = { account, to: goal + name.trim(), reason, by, ...asset }
    ask<Booked>('/api/bookings', post(body, { 'idempotency-key': order }))
      .then(
        (answer) => {
          setDone(answer)
          if (answer.kind === 'denied') setOrder(newOrder())
        },
        (error: unknown) =>
          setTrouble(error instanceof Error ? error.message : 'Something went wrong.'),
      )
      .finally(() => setBusy(false))
  }

  return (
    <Dialog title="Book it away" onClose={onClose}>
      <form onSubmit={send}>
        <fieldset disabled={isBusy || isBooked}>
          <legend>What was {sayAmount(item.amount)}?</legend>
          {ways.map(([prefix, means]) => (
            <label class="choice" key={prefix}>
              <input
                type="radio"
                name="goal"
                checked={goal === prefix}
                onChange={() => setGoal(prefix)}
              />
              {means} ({prefix}…)
            </label>
          ))}
          <label>
            Account, behind {goal}
            <input
              required
              value={name}
              maxLength={200}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          </label>
          <label>
            Why, for the books
            <input
              required
              value={reason}
              maxLength={1000}
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          </label>
          <label>
            Who says so
            <input
              required
              value={by}
              maxLength={200}
              onInput={(event) => setBy(event.currentTarget.value)}
            />
          </label>
        </fieldset>
        <div role="status">
          {done?.amount && isBooked && (
            <p class="note good">
              {sayAmount(done.amount)} stands in {done.to} now.
            </p>
          )}
          {done?.kind === 'denied' && <p class="note bad">{done.detail}</p>}
          {trouble !== undefined && (
            <p class="note bad">{trouble} Sending it again is safe: it is the same order.</p>
          )}
        </div>
        <div class="buttons">
          {!isBooked && (
            <button type="submit" class="main" disabled={isBusy}>
              Book all of it
            </button>
          )}
          <button type="button" onClick={onClose} disabled={isBusy}>
            {isBooked ? 'Close' : 'Cancel'}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
