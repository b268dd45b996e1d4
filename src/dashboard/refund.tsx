import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { ask, newOrder, post } from './api.ts'
import { Dialog } from './parts.tsx'
import type { Outcome, Payment, Quantity } from './shapes.ts'
import { sayAmount, shorten } from './words.ts'

/** Gives money back, whole or in part. One dialog is one order: sending it again is the same order. */
export function RefundDialog({
  payment,
  refundable,
  onClose,
}: {
  readonly payment: Payment
  readonly refundable: Quantity
  readonly onClose: () => void
}): JSX.Element {
  const [order, setOrder] = useState(newOrder)
  const [isPart, setPart] = useState(false)
  const [part, setPartText] = useState('')
  const [reason, setReason] = useState('')
  const [to, setTo] = useState('')
  const [outcome, setOutcome] = useState<Outcome>()
  const [trouble, setTrouble] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const { code } = refundable
  const said = isPart ? `${part.trim()} ${code}` : sayAmount(refundable)
  const isSure = outcome !== undefined && outcome.kind !== 'denied'

  const send = (event: Event): void => {
    event.preventDefault()
    setBusy(true)
    setTrouble(undefined)
    const body = {
      key: payment.key,
      // Said also for the whole: what was shown is what goes back, whatever has happened since.
      amount: said,
      ...(reason !== '' && { reason }),
      ...(to !== '' && { to }),
    }
    ask<Outcome>('/api/refunds', post(body, { 'idempotency-key': order }))
      .then(
        (answer) => {
          setOutcome(answer)
          // Nothing was sent under this name, so that the next try may say something else.
          if (answer.kind === 'denied') setOrder(newOrder())
        },
        (error: unknown) =>
          setTrouble(error instanceof Error ? error.message : 'Something went wrong.'),
      )
      .finally(() => setBusy(false))
  }

  return (
    <Dialog title="Refund" onClose={onClose}>
      <form onSubmit={send}>
        <fieldset disabled={isBusy || isSure}>
          <legend>How much of {sayAmount(payment.amount)}?</legend>
          <label class="choice">
            <input type="radio" name="how-much" checked={!isPart} onChange={() => setPart(false)} />
            All that is left, {sayAmount(refundable)}
          </label>
          <label class="choice">
            <input type="radio" name="how-much" checked={isPart} onChange={() => setPart(true)} />A
            part
          </label>
          {isPart && (
            <label>
              Amount in {code}
              <input
                inputMode="decimal"
                pattern="\d+(\.\d+)?"
                required
                value={part}
                onInput={(event) => setPartText(event.currentTarget.value)}
              />
            </label>
          )}
          <label>
            Reason, for the books
            <input
              value={reason}
              maxLength={1000}
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          </label>
          <details>
            <summary>Pay to somewhere else</summary>
            <label>
              Address or invoice
              <input value={to} onInput={(event) => setTo(event.currentTarget.value)} />
            </label>
            <p class="faint">Only where the rail does not know who paid.</p>
          </details>
        </fieldset>
        <div role="status">
          {isBusy && <p>It is being sent. This may take as long as the network does.</p>}
          {outcome?.kind === 'refunded' && (
            <p class="note good">
              {outcome.amount} went back to {shorten(outcome.to ?? '')}.
            </p>
          )}
          {outcome?.kind === 'open' && (
            <p class="note wait">
              It is under way: {outcome.amount}. It is looked at until there is evidence; nothing
              more needs to be done.
            </p>
          )}
          {outcome?.kind === 'denied' && <p class="note bad">{outcome.detail}</p>}
          {trouble !== undefined && (
            <p class="note bad">
              {trouble} Nobody knows whether it was heard. Sending it again is safe: it is the same
              order.
            </p>
          )}
        </div>
        <div class="buttons">
          {!isSure && (
            <button type="submit" class="main" disabled={isBusy}>
              {trouble === undefined ? `Give back ${said}` : 'Send the same order again'}
            </button>
          )}
          <button type="button" onClick={onClose} disabled={isBusy}>
            {isSure ? 'Close' : 'Cancel'}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
