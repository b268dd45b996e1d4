import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { ask, post } from './api.ts'

/** Asks for the operator's token. */
export function Login({ onEnter }: { readonly onEnter: () => void }): JSX.Element {
  const [token, setToken] = useState('')
  const [trouble, setTrouble] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const enter = (event: Event): void => {
    event.preventDefault()
    setBusy(true)
    ask('/api/session', post({ token }))
      .then(onEnter, (error: unknown) =>
        setTrouble(error instanceof Error ? error.message : 'That did not work.'),
      )
      .finally(() => setBusy(false))
  }
  return (
    <main class="alone">
      <h1>Tolsey</h1>
      <form onSubmit={enter}>
        {/* So that password managers know whose it is. */}
        <input type="text" autocomplete="username" value="operator" hidden readOnly />
        <label for="token">Token of the dashboard</label>
        <input
          id="token"
          type="password"
          autocomplete="current-password"
          required
          value={token}
          aria-invalid={trouble !== undefined}
          aria-describedby={trouble === undefined ? 'token-hint' : 'token-trouble'}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        {trouble !== undefined && (
          <p id="token-trouble" class="wrong" role="alert">
            {trouble}
          </p>
        )}
        <button type="submit" class="main" disabled={isBusy}>
          Log in
        </button>
        <p id="token-hint" class="faint">
          It is the one that the gateway was started with.
        </p>
      </form>
    </main>
  )
}
