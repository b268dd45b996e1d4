import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { BookDialog } from '../book.tsx'
import type { Live } from '../live.ts'
import { Empty, Shown, Time, useLoad } from '../parts.tsx'
import type { Attention, Item } from '../shapes.ts'
import { sayAmount } from '../words.ts'

const titles: Readonly<Record<Item['kind'], string>> = {
  unknown: 'Payment whose outcome is not known',
  prepared: 'Payment that takes long',
  refund: 'Refund under way',
  suspense: 'More than the books explain',
  missing: 'Less than the books say',
  loss: 'Loss',
}

/** What is open, and what to do about it. */
export function AttentionPage({ live }: { readonly live: Live | undefined }): JSX.Element {
  const attention = useLoad<Attention>('/api/attention')
  const { reload } = attention
  useEffect(
    () =>
      live?.listen((event) => event?.type !== 'held' && event?.type !== 'delivered' && reload()),
    [live, reload],
  )
  return (
    <>
      <h1>Open items</h1>
      <Shown loaded={attention}>
        {({ items, count, underWay }) => (
          <>
            {items.length === 0 && <Empty>Nothing needs a look. All is accounted for.</Empty>}
            {items.map((item) => (
              <Card
                key={`${item.key ?? item.account ?? ''} ${item.amount.asset ?? ''}`}
                of={item}
                onBooked={reload}
              />
            ))}
            {count > items.length && <p>There are {count - items.length} more.</p>}
            {underWay > 0 && (
              <p class="faint">
                {underWay === 1 ? 'One payment is' : `${underWay} payments are`} being worked on.
              </p>
            )}
            <button type="button" onClick={reload}>
              Look again
            </button>
          </>
        )}
      </Shown>
    </>
  )
}

function Card({ of, onBooked }: { readonly of: Item; readonly onBooked: () => void }): JSX.Element {
  const [isBooking, setBooking] = useState(false)
  const { kind, amount, key, account, since, payer, rail, detail, advice } = of
  return (
    <article class={`card ${kind === 'prepared' || kind === 'refund' ? 'wait' : 'bad'}`}>
      <h2>
        {titles[kind]} · {sayAmount(amount)}
      </h2>
      <p>{advice}</p>
      {detail !== undefined && <p class="faint">{detail}</p>}
      <p class="faint">
        {since !== undefined && (
          <>
            Since <Time of={since} />.{' '}
          </>
        )}
        {rail !== undefined && <>On the rail {rail}. </>}
        {payer !== undefined && (
          <>
            Paid by <code>{payer}</code>.{' '}
          </>
        )}
        {account !== undefined && (
          <>
            Account <code>{account}</code>.
          </>
        )}
      </p>
      {account !== undefined && (
        <button type="button" onClick={() => setBooking(true)}>
          Book it away
        </button>
      )}
      {isBooking && (
        <BookDialog
          item={of}
          onClose={() => {
            setBooking(false)
            onBooked()
          }}
        />
      )}
      {key !== undefined && <a href={`#/payments/${encodeURIComponent(key)}`}>Its whole story</a>}
    </article>
  )
}
