import type { JSX } from 'preact'
import { Empty, Shown, Table, useLoad } from '../parts.tsx'
import type { Balances } from '../shapes.ts'

const titles: Readonly<Record<string, string>> = {
  income: 'Earned',
  outside: 'Outside',
  owed: 'Owed to payers',
  cost: 'Spent',
  count: 'Counts, no money',
}

/** What stands in the books. */
export function BalancesPage(): JSX.Element {
  const balances = useLoad<Balances>('/api/balances')
  return (
    <>
      <h1>Balances</h1>
      <p class="faint">
        What is outside stands below zero: it mirrors what payers have paid to you. Pending is what
        is held and not booked yet.
      </p>
      <Shown loaded={balances}>
        {({ classes }) =>
          classes.length === 0 ? (
            <Empty>The books are empty.</Empty>
          ) : (
            <>
              {classes.map(({ name, kind, means, count, sums, accounts }) => (
                <section key={name}>
                  <h2>
                    {titles[kind] ?? kind} <code class="faint">{name}</code>
                  </h2>
                  <p class="faint">
                    {means.slice(0, 1).toUpperCase()}
                    {means.slice(1)}.
                  </p>
                  <ul class="sums">
                    {sums.map(({ amount, code, asset, pending }) => (
                      <li key={asset}>
                        <strong>
                          {amount} {code}
                        </strong>
                        {pending !== '0' && <span class="faint"> and {pending} pending</span>}
                      </li>
                    ))}
                  </ul>
                  <details>
                    <summary>{count === 1 ? 'One account' : `${count} accounts`}</summary>
                    <Table
                      caption={`Accounts ${name}`}
                      head={[['Account'], ['Amount', 'number'], ['Pending', 'number']]}
                    >
                      {accounts.map(({ account, asset, amount, code, pending }) => (
                        <tr key={`${account} ${asset ?? ''}`}>
                          <td>
                            <code>{account}</code>
                          </td>
                          <td class="number">
                            {amount} {code}
                          </td>
                          <td class="number">{pending}</td>
                        </tr>
                      ))}
                    </Table>
                    {count > accounts.length && <p>There are {count - accounts.length} more.</p>}
                  </details>
                </section>
              ))}
            </>
          )
        }
      </Shown>
    </>
  )
}
