import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { ask, post, withQuery } from '../api.ts'
import { Dialog, Empty, Name, Shown, State, Table, Time, useLoad } from '../parts.tsx'
import type { Statement, Token, TokenPage } from '../shapes.ts'
import { shorten } from '../words.ts'

/** Tokens that were sold: found, read, revoked. */
export function TokensPage(): JSX.Element {
  const [typed, setTyped] = useState({ id: '', payer: '', plan: '' })
  const [filter, setFilter] = useState(typed)
  const [trail, setTrail] = useState<readonly string[]>([])
  const [open, setOpen] = useState<{ readonly what: 'revoke' | 'statement'; readonly of: Token }>()
  const page = useLoad<TokenPage>(
    withQuery('/api/tokens', { ...filter, cursor: trail.at(-1), limit: 50 }),
  )
  const close = (): void => setOpen(undefined)
  const field = (name: 'id' | 'payer' | 'plan', label: string): JSX.Element => (
    <label>
      {label}
      <input
        value={typed[name]}
        onInput={(event) => setTyped({ ...typed, [name]: event.currentTarget.value })}
      />
    </label>
  )
  return (
    <>
      <h1>Tokens</h1>
      <form
        class="filter"
        role="search"
        onSubmit={(event) => {
          event.preventDefault()
          setFilter(typed)
          setTrail([])
        }}
      >
        {field('id', 'Id begins with')}
        {field('payer', 'Payer')}
        {field('plan', 'Plan')}
        <div class="buttons">
          <button type="submit" class="main">
            Find
          </button>
        </div>
      </form>
      <Shown loaded={page}>
        {({ tokens, next }) => (
          <>
            {tokens.length === 0 ? (
              <Empty>No token fits. Tokens appear here when a plan is bought.</Empty>
            ) : (
              <Table
                caption="Tokens"
                head={[
                  ['Id'],
                  ['Plan', 'wide'],
                  ['State'],
                  ['Left', 'number wide'],
                  ['Payer', 'wide'],
                  ['Ends', 'wide'],
                  ['What to do'],
                ]}
              >
                {tokens.map((token) => (
                  <tr key={token.id}>
                    <td>
                      <Name of={token.id} most={14} />
                    </td>
                    <td class="wide">{token.plan}</td>
                    <td>
                      <State of={token.state} />
                    </td>
                    <td class="number wide">{leftOf(token)}</td>
                    <td class="wide">
                      <Name of={token.payer ?? ''} />
                    </td>
                    <td class="wide">
                      <Time of={token.expires} />
                    </td>
                    <td class="buttons">
                      <button
                        type="button"
                        aria-label={`Statement of ${token.id}`}
                        onClick={() => setOpen({ what: 'statement', of: token })}
                      >
                        Statement
                      </button>
                      {token.state !== 'revoked' && (
                        <button
                          type="button"
                          class="danger"
                          aria-label={`Revoke ${token.id}`}
                          onClick={() => setOpen({ what: 'revoke', of: token })}
                        >
                          Revoke
                        </button>
                      )}
                    </td>
                  </tr>
                ))}
              </Table>
            )}
            <nav class="pages" aria-label="Pages of tokens">
              <button
                type="button"
                disabled={trail.length === 0}
                onClick={() => setTrail(trail.slice(0, -1))}
              >
                Back
              </button>
              <button
                type="button"
                disabled={next === undefined}
                onClick={() => next !== undefined && setTrail([...trail, next])}
              >
                More
              </button>
            </nav>
          </>
        )}
      </Shown>
      {open?.what === 'statement' && <StatementDialog of={open.of} onClose={close} />}
      {open?.what === 'revoke' && (
        <RevokeDialog
          of={open.of}
          onClose={() => {
            close()
            page.reload()
          }}
        />
      )}
    </>
  )
}

function leftOf({ uses, balance }: Token): string {
  if (uses !== undefined) return uses === 1 ? '1 use' : `${uses} uses`
  return balance ?? 'not counted'
}

function StatementDialog({
  of,
  onClose,
}: {
  readonly of: Token
  readonly onClose: () => void
}): JSX.Element {
  const [cursor, setCursor] = useState('')
  const statement = useLoad<Statement>(
    withQuery(`/api/tokens/${encodeURIComponent(of.id)}/statement`, { cursor, limit: 50 }),
  )
  return (
    <Dialog title={`Statement of ${shorten(of.id, 16)}`} onClose={onClose}>
      <Shown loaded={statement}>
        {({ entries, next }) => (
          <>
            {entries.length === 0 && <Empty>Nothing was drawn.</Empty>}
            {entries.length > 0 && (
              <Table caption="Statement" head={[['Time'], ['What'], ['For'], ['Amount', 'number']]}>
                {entries.map(({ time, type, what, amount }, i) => (
                  <tr key={i}>
                    <td>
                      <Time of={time} />
                    </td>
                    <td>{type}</td>
                    <td>{what}</td>
                    <td class="number">{amount}</td>
                  </tr>
                ))}
              </Table>
            )}
            <div class="buttons">
              {next !== undefined && (
                <button type="button" onClick={() => setCursor(next)}>
                  More
                </button>
              )}
              <button type="button" onClick={onClose}>
                Close
              </button>
            </div>
          </>
        )}
      </Shown>
    </Dialog>
  )
}

function RevokeDialog({
  of,
  onClose,
}: {
  readonly of: Token
  readonly onClose: () => void
}): JSX.Element {
  const [trouble, setTrouble] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const revoke = (): void => {
    setBusy(true)
    ask(`/api/tokens/${encodeURIComponent(of.id)}/revoke`, post({}))
      .then(onClose, (error: unknown) =>
        setTrouble(error instanceof Error ? error.message : 'That did not work.'),
      )
      .finally(() => setBusy(false))
  }
  return (
    <Dialog title="Revoke for good?" onClose={onClose}>
      <p>
        All tokens of the account <code>{of.id}</code> ({of.plan}) stop working within a second, in
        every process. This cannot be undone. What is left in it, {leftOf(of)}, stays in the books:
        refund its payment if the money should go back.
      </p>
      {of.payment !== undefined && (
        <p>
          <a href={`#/payments/${encodeURIComponent(of.payment)}`}>Its payment</a>
        </p>
      )}
      {trouble !== undefined && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
      <div class="buttons">
        <button type="button" class="danger" disabled={isBusy} onClick={revoke}>
          Revoke
        </button>
        <button type="button" onClick={onClose}>
          Cancel
        </button>
      </div>
    </Dialog>
  )
}
