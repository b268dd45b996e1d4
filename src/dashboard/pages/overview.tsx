import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { withQuery } from '../api.ts'
import { bucketName, Chart } from '../chart.tsx'
import type { Live } from '../live.ts'
import { Empty, Name, Shown, State, Table, Time, useLoad } from '../parts.tsx'
import type { Attention, LiveEvent, PaymentPage, Revenue } from '../shapes.ts'
import { sayAmount, stateOf } from '../words.ts'

/** Payments that are shown as they come. */
const SHOWN = 12
/** How long after an event the sums are read again. */
const SETTLE_MS = 1_500

/** What came in, what comes in now, and whether something needs a look. */
export function OverviewPage({ live }: { readonly live: Live | undefined }): JSX.Element {
  const [by, setBy] = useState('route')
  const [bucket, setBucket] = useState('day')
  const [unit, setUnit] = useState('')
  const revenue = useLoad<Revenue>(withQuery('/api/revenue', { by, bucket, unit }))
  const attention = useLoad<Attention>('/api/attention')
  const { reload } = revenue
  const { reload: lookAgain } = attention
  useLive(live, () => {
    reload()
    lookAgain()
  })
  const isReading = revenue.data?.isComplete === false
  useEffect(() => {
    if (!isReading) return undefined
    const timer = setTimeout(reload, SETTLE_MS)
    return () => clearTimeout(timer)
  })
  const { count = 0 } = attention.data ?? {}
  return (
    <>
      <h1>Overview</h1>
      {count > 0 && (
        <p class="note wait">
          <a href="#/attention">{count === 1 ? 'One item needs' : `${count} items need`} a look</a>
        </p>
      )}
      <section aria-labelledby="revenue">
        <div class="row">
          <h2 id="revenue">Revenue</h2>
          <Pick label="By" value={by} onPick={setBy} of={['route', 'rail', 'payer']} />
          <Pick label="Per" value={bucket} onPick={setBucket} of={['day', 'hour']} />
          {(revenue.data?.units.length ?? 0) > 1 && (
            <Pick
              label="In"
              value={revenue.data?.unit ?? ''}
              onPick={setUnit}
              of={revenue.data?.units ?? []}
            />
          )}
        </div>
        <Shown loaded={revenue}>{(data) => <Sums of={data} />}</Shown>
      </section>
      <LivePayments live={live} />
    </>
  )
}

function Pick({
  label,
  value,
  of,
  onPick,
}: {
  readonly label: string
  readonly value: string
  readonly of: readonly string[]
  readonly onPick: (value: string) => void
}): JSX.Element {
  return (
    <label class="pick">
      {label}
      <select value={value} onChange={(event) => onPick(event.currentTarget.value)}>
        {of.map((word) => (
          <option key={word} value={word}>
            {word}
          </option>
        ))}
      </select>
    </label>
  )
}

function Sums({ of }: { readonly of: Revenue }): JSX.Element {
  const span = of.bucket === 'day' ? '30 days' : '30 hours'
  if (of.groups.length === 0)
    return <Empty>Nothing was sold in the last {span}. The first payment appears here.</Empty>
  return (
    <>
      <p class="sum">
        <strong>
          {of.total} {of.unit}
        </strong>{' '}
        from {of.count} {of.count === 1 ? 'sale' : 'sales'} in the last {span}
        {!of.isComplete && ', and the books are still being read'}
      </p>
      <Chart of={of} />
      <ul class="legend">
        {of.groups.map(({ group, total, count }, i) => (
          <li key={group}>
            <span class={`swatch swatch-${i % 9}`} aria-hidden="true" />
            <span class="grow">{group === '' ? 'not known' : group}</span>
            <span class="faint">{count}×</span>
            <span class="number">
              {total} {of.unit}
            </span>
          </li>
        ))}
      </ul>
      <details>
        <summary>The same as a table</summary>
        <Table
          caption="Revenue"
          head={[['Time (UTC)'], ...of.groups.map(({ group }) => [group, 'number'] as const)]}
        >
          {of.starts.map((start, at) => (
            <tr key={start}>
              <th scope="row">{bucketName(of, start)}</th>
              {of.groups.map(({ group, values }) => (
                <td key={group} class="number">
                  {values[at]}
                </td>
              ))}
            </tr>
          ))}
        </Table>
      </details>
    </>
  )
}

/** One payment on its way. */
interface Passing {
  readonly key: string
  readonly time: string
  readonly state: string
  readonly route: string
  readonly payer: string
  readonly amount: string
}

function LivePayments({ live }: { readonly live: Live | undefined }): JSX.Element {
  const page = useLoad<PaymentPage>(withQuery('/api/payments', { limit: SHOWN, kind: 'sale' }))
  const [passing, setPassing] = useState<ReadonlyMap<string, Passing>>(new Map())
  const { reload, data } = page
  useEffect(() => {
    if (!data) return
    const known = data.payments.map(
      ({ key, time, state, life = '', route, payer, amount }) =>
        [
          key,
          { key, time, state: stateOf({ state, life }), route, payer, amount: sayAmount(amount) },
        ] as const,
    )
    setPassing((before) => {
      // What was heard meanwhile is newer than what was read.
      const heard = [...before].filter(
        ([key]) => !known.some(([same, { state }]) => same === key && state !== 'open'),
      )
      return new Map([...known, ...heard])
    })
  }, [data])
  useEffect(
    () =>
      live?.listen((event) => {
        if (event) setPassing((before) => moved(before, event))
        else reload()
      }),
    [live, reload],
  )
  const newest = [...passing.values()]
    .toSorted((a, b) => (a.time < b.time ? 1 : -1))
    .slice(0, SHOWN)
  return (
    <section aria-labelledby="passing">
      <h2 id="passing">Latest payments</h2>
      <Shown loaded={page}>
        {() =>
          newest.length === 0 ? (
            <Empty>No payment yet. It appears here the moment one arrives.</Empty>
          ) : (
            <Table
              caption="Latest payments"
              head={[['Time'], ['Amount', 'number'], ['State'], ['Route'], ['Payer', 'wide']]}
            >
              {newest.map(({ key, time, state, route, payer, amount }) => (
                <tr key={key}>
                  <td>
                    <a href={`#/payments/${encodeURIComponent(key)}`}>
                      <Time of={time} />
                    </a>
                  </td>
                  <td class="number">{amount}</td>
                  <td>
                    <State of={state} />
                  </td>
                  <td>{route}</td>
                  <td class="wide">
                    <Name of={payer} />
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Shown>
    </section>
  )
}

/** Which state each event leads to. */
const leads: Readonly<Record<string, string>> = {
  held: 'held',
  settled: 'settled',
  delivered: 'delivered',
  voided: 'voided',
  unknown: 'unknown',
  undone: 'undone',
}

function moved(
  before: ReadonlyMap<string, Passing>,
  event: LiveEvent,
): ReadonlyMap<string, Passing> {
  const { key, type, at, account = '', payer = '', amount = '' } = event
  const state = leads[type]
  const known = key === undefined ? undefined : before.get(key)
  if (key === undefined || state === undefined || (!known && amount === '')) return before
  const made = {
    key,
    time: new Date(at).toISOString(),
    route: account.replace(/^sales\//, ''),
    payer,
    amount,
  }
  return new Map(before).set(key, { ...made, ...known, state })
}

/** Does something a little after events that change sums, at most once in a while. */
function useLive(live: Live | undefined, act: () => void): void {
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const stop = live?.listen((event) => {
      if (event && event.type === 'delivered') return
      timer ??= setTimeout(() => {
        timer = undefined
        act()
      }, SETTLE_MS)
    })
    return () => {
      clearTimeout(timer)
      stop?.()
    }
  }, [live])
}
