import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { withQuery } from '../api.ts'
import type { Live } from '../live.ts'
import { Empty, Name, Shown, State, Table, Time, useLoad } from '../parts.tsx'
import type { Payment, PaymentPage } from '../shapes.ts'
import { sayAmount, stateOf } from '../words.ts'

/** How long after an event the page is read again. */
const SETTLE_MS = 1_000

const choices = ['', 'open', 'settled', 'delivered', 'refunded', 'undone', 'voided', 'failed']
const kinds = ['', 'sale', 'refund', 'withdrawal', 'purchase', 'facilitated']

interface Filter {
  readonly state: string
  readonly kind: string
  readonly route: string
  readonly rail: string
  readonly payer: string
  readonly since: string
}

const everything: Filter = { state: '', kind: '', route: '', rail: '', payer: '', since: '' }

/** All payments, the newest first. */
export function PaymentsPage({ live }: { readonly live: Live | undefined }): JSX.Element {
  const [typed, setTyped] = useState(everything)
  const [filter, setFilter] = useState(everything)
  /** The cursors of the pages before this one. */
  const [trail, setTrail] = useState<readonly number[]>([])
  const page = useLoad<PaymentPage>(
    withQuery('/api/payments', { ...filter, cursor: trail.at(-1), limit: 50 }),
  )
  const { reload } = page
  const isFirst = trail.length === 0
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    // Older pages stand still: nobody wants lines to move under the eye.
    const stop = live?.listen(() => {
      if (!isFirst) return
      timer ??= setTimeout(() => {
        timer = undefined
        reload()
      }, SETTLE_MS)
    })
    return () => {
      clearTimeout(timer)
      stop?.()
    }
  }, [live, isFirst, reload])
  const apply = (next: Filter): void => {
    setTyped(next)
    setFilter(next)
    setTrail([])
  }
  const change = (name: keyof Filter) => (event: { readonly currentTarget: { value: string } }) =>
    setTyped({ ...typed, [name]: event.currentTarget.value })
  return (
    <>
      <h1>Payments</h1>
      <form
        class="filter"
        role="search"
        onSubmit={(event) => {
          event.preventDefault()
          apply(typed)
        }}
      >
        <label>
          State
          <select value={typed.state} onChange={change('state')}>
            {choices.map((word) => (
              <option key={word} value={word}>
                {word === '' ? 'any' : word}
              </option>
            ))}
          </select>
        </label>
        <label>
          Kind
          <select value={typed.kind} onChange={change('kind')}>
            {kinds.map((word) => (
              <option key={word} value={word}>
                {word === '' ? 'any' : word}
              </option>
            ))}
          </select>
        </label>
        <label>
          Route
          <input value={typed.route} placeholder="GET /weather" onInput={change('route')} />
        </label>
        <label>
          Rail
          <input value={typed.rail} onInput={change('rail')} />
        </label>
        <label>
          Payer
          <input value={typed.payer} onInput={change('payer')} />
        </label>
        <label>
          Since
          <input type="date" value={typed.since} onInput={change('since')} />
        </label>
        <div class="buttons">
          <button type="submit" class="main">
            Show
          </button>
          <button type="button" onClick={() => apply(everything)}>
            Clear
          </button>
        </div>
      </form>
      <Shown loaded={page}>
        {({ payments, next }) => (
          <>
            {payments.length === 0 ? (
              <Empty>
                {next === undefined
                  ? 'No payment fits.'
                  : 'None in this stretch of the books. Go on with the next page.'}
              </Empty>
            ) : (
              <PaymentTable of={payments} />
            )}
            <nav class="pages" aria-label="Pages of payments">
              <button type="button" disabled={isFirst} onClick={() => setTrail(trail.slice(0, -1))}>
                Newer
              </button>
              <button
                type="button"
                disabled={next === undefined}
                onClick={() => next !== undefined && setTrail([...trail, next])}
              >
                Older
              </button>
            </nav>
          </>
        )}
      </Shown>
    </>
  )
}

/** Payments in lines. */
export function PaymentTable({ of }: { readonly of: readonly Payment[] }): JSX.Element {
  return (
    <Table
      caption="Payments"
      head={[
        ['Time'],
        ['Amount', 'number'],
        ['State'],
        ['Kind', 'wide'],
        ['Route'],
        ['Payer', 'wide'],
        ['Rail', 'wide'],
      ]}
    >
      {of.map((payment) => (
        <tr key={payment.key}>
          <td>
            <a href={`#/payments/${encodeURIComponent(payment.key)}`}>
              <Time of={payment.time} />
            </a>
          </td>
          <td class="number">{sayAmount(payment.amount)}</td>
          <td>
            <State of={stateOf(payment)} />
          </td>
          <td class="wide">{payment.kind}</td>
          <td>{payment.route}</td>
          <td class="wide">
            <Name of={payment.payer} />
          </td>
          <td class="wide">{payment.rail}</td>
        </tr>
      ))}
    </Table>
  )
}
