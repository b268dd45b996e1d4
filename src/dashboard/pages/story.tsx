import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { Live } from '../live.ts'
import { Links, Shown, State, Time, useLoad } from '../parts.tsx'
import { RefundDialog } from '../refund.tsx'
import type { Row, Story } from '../shapes.ts'
import { sayAmount, stateOf, states } from '../words.ts'

/** The whole story of one payment. */
export function StoryPage({
  of,
  live,
}: {
  readonly of: string
  readonly live: Live | undefined
}): JSX.Element {
  const story = useLoad<Story>(`/api/payments/${encodeURIComponent(of)}`)
  const { reload } = story
  useEffect(
    () => live?.listen((event) => (!event || event.key === of || event.of === of) && reload()),
    [live, of, reload],
  )
  return (
    <>
      <p>
        <a href="#/payments">← All payments</a>
      </p>
      <Shown loaded={story}>{(data) => <Told of={data} onChange={reload} />}</Shown>
    </>
  )
}

function Told({
  of,
  onChange,
}: {
  readonly of: Story
  readonly onChange: () => void
}): JSX.Element {
  const [isRefunding, setRefunding] = useState(false)
  const { payment, refundable, refunds, rows, means, life, links, reversed } = of
  const { kind, amount, state, value, cost } = payment
  const isOpen = refundable !== undefined && refundable.units !== '0'
  return (
    <>
      <div class="row">
        <h1>
          {sayAmount(amount)} <span class="faint">{kind}</span>
        </h1>
        <State of={stateOf({ state, life: life ?? '' })} />
        {isOpen && (
          <button type="button" class="main" onClick={() => setRefunding(true)}>
            Refund
          </button>
        )}
      </div>
      <p class="faint">
        {state === 'refunded' || means === undefined ? states[state]?.means : sentence(means)}
      </p>
      {reversed !== undefined && (
        <p class="note bad">
          The network took the transfer back. It was booked back on <Time of={reversed} />.
        </p>
      )}
      <dl class="facts">
        <Fact name="Route">{payment.route}</Fact>
        <Fact name="Paid by">
          <code>{payment.payer === '' ? 'not known' : payment.payer}</code>
        </Fact>
        <Fact name="When">
          <Time of={payment.time} />
        </Fact>
        <Fact name="Rail">
          {payment.rail} {payment.network}
        </Fact>
        {payment.reference !== '' && (
          <Fact name="Transaction">
            <code>{payment.reference}</code> <Links of={links} />
          </Fact>
        )}
        {value && (
          <Fact name="Worth">
            {value.amount} {value.currency} at {value.rate}
          </Fact>
        )}
        {cost && <Fact name="Cost of settling">{sayAmount(cost)}</Fact>}
        {payment.of !== undefined && (
          <Fact name="Belongs to">
            <a href={`#/payments/${encodeURIComponent(payment.of)}`}>
              <code>{payment.of}</code>
            </a>
          </Fact>
        )}
        {payment.remark !== '' && <Fact name="Remark">{payment.remark}</Fact>}
        {payment.request !== '' && (
          <Fact name="Request">
            <code>{payment.request}</code>
          </Fact>
        )}
        <Fact name="Key in the books">
          <code>{payment.key}</code>
        </Fact>
      </dl>
      {refunds.length > 0 && (
        <section aria-labelledby="refunds">
          <h2 id="refunds">Refunds</h2>
          <ul class="lines">
            {refunds.map((refund) => (
              <li key={refund.key}>
                <a href={`#/payments/${encodeURIComponent(refund.key)}`}>
                  <Time of={refund.time} />
                </a>
                <State of={refund.state} />
                <span class="grow">{refund.remark}</span>
                <span class="number">{sayAmount(refund.amount)}</span>
                <Links of={refund.links ?? []} />
              </li>
            ))}
          </ul>
        </section>
      )}
      <section aria-labelledby="rows">
        <h2 id="rows">What happened</h2>
        <ol class="story">
          {rows.map((row) => (
            <Happened key={row.sequence} row={row} />
          ))}
        </ol>
      </section>
      {isRefunding && refundable && (
        <RefundDialog
          payment={payment}
          refundable={refundable}
          onClose={() => {
            setRefunding(false)
            onChange()
          }}
        />
      )}
    </>
  )
}

function Fact({
  name,
  children,
}: {
  readonly name: string
  readonly children: ComponentChildren
}): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`
}

/** What rows of the gate mean; a rail has words of its own. */
const words: Readonly<Record<string, string>> = {
  made: 'The payment was claimed and its amount held',
  prepared: 'What will be sent was written down',
  broadcast: 'It was sent to its network',
  posted: 'The money was booked',
  settled: 'The money has moved',
  delivered: 'The first byte of the answer left',
  voided: 'The claim was given up; nothing was taken',
  unknown: 'Nobody knew whether it was sent',
  released: 'It waits for whoever brings the proof again',
  refunded: 'All of it goes back',
  'refund-failed': 'A refund did not work',
  undone: 'The network took the transfer back',
  failed: 'It did not work',
}

function Happened({ row }: { readonly row: Row }): JSX.Element {
  const { sequence, time, type, data } = row
  return (
    <li>
      <Time of={time} /> <strong>{words[type] ?? type}</strong>
      {Object.keys(data).length > 0 && (
        <details>
          <summary>Row {sequence}</summary>
          <pre tabIndex={0}>{JSON.stringify(data, undefined, 2)}</pre>
        </details>
      )}
    </li>
  )
}
