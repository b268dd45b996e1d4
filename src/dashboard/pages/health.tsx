import type { JSX } from 'preact'
import { Empty, Shown, State, Table, Time, useLoad } from '../parts.tsx'
import type { Limits, Rails } from '../shapes.ts'

/** Whether money can come in, and how far limits are used. */
export function HealthPage(): JSX.Element {
  const rails = useLoad<Rails>('/api/rails')
  const limits = useLoad<Limits>('/api/limits')
  return (
    <>
      <h1>Health</h1>
      <section aria-labelledby="rails">
        <div class="row">
          <h2 id="rails">Rails</h2>
          <button type="button" onClick={rails.reload}>
            Look again
          </button>
        </div>
        <Shown loaded={rails}>
          {(data) => (
            <>
              {data.rails.length === 0 && <Empty>There is no rail.</Empty>}
              <ul class="lines">
                {data.rails.map(
                  ({ name, network, state, trouble, settled, lastSettled, refunds }) => (
                    <li key={`${name} ${network}`}>
                      <strong>{name}</strong> <code>{network}</code> <State of={state} />
                      <span class="grow faint">
                        {trouble ??
                          (lastSettled === undefined ? (
                            'Nothing settled since the start.'
                          ) : (
                            <>
                              {settled} settled since the start, the last <Time of={lastSettled} />.
                            </>
                          ))}{' '}
                        {refunds ? '' : 'It cannot give money back.'}
                      </span>
                    </li>
                  ),
                )}
              </ul>
              <p class="faint">
                This process runs since <Time of={data.since} />: {data.challenged} asked to pay,{' '}
                {data.refused} refused, {data.faults} faults
                {data.lastFault && (
                  <>
                    , the last <Time of={data.lastFault.time} /> at {data.lastFault.where}
                  </>
                )}
                .
              </p>
            </>
          )}
        </Shown>
      </section>
      <section aria-labelledby="limits">
        <h2 id="limits">Limits</h2>
        <Shown loaded={limits}>
          {({ configured, used, count }) => (
            <>
              {Object.keys(configured).length === 0 ? (
                <p class="faint">None are configured for callers.</p>
              ) : (
                <pre tabIndex={0}>{JSON.stringify(configured, undefined, 2)}</pre>
              )}
              {used.length === 0 ? (
                <Empty>No limit in the books has been touched.</Empty>
              ) : (
                <Table
                  caption="Limits in the books"
                  head={[['Limit'], ['Used', 'number'], ['What it counts', 'wide']]}
                >
                  {used.map(({ account, amount, code, means }) => (
                    <tr key={`${account} ${code}`}>
                      <td>
                        <code>{account}</code>
                      </td>
                      <td class="number">
                        {amount} {code}
                      </td>
                      <td class="wide">{means}</td>
                    </tr>
                  ))}
                </Table>
              )}
              {count > used.length && <p>There are {count - used.length} more.</p>}
            </>
          )}
        </Shown>
      </section>
    </>
  )
}
