import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { ask, onLoggedOut } from './api.ts'
import { openLive } from './live.ts'
import type { Live, LiveState } from './live.ts'
import { Login } from './login.tsx'
import { AttentionPage } from './pages/attention.tsx'
import { BalancesPage } from './pages/balances.tsx'
import { ExportPage } from './pages/export.tsx'
import { HealthPage } from './pages/health.tsx'
import { OverviewPage } from './pages/overview.tsx'
import { PaymentsPage } from './pages/payments.tsx'
import { StoryPage } from './pages/story.tsx'
import { TokensPage } from './pages/tokens.tsx'

const pages: readonly (readonly [path: string, title: string])[] = [
  ['', 'Overview'],
  ['payments', 'Payments'],
  ['attention', 'Open items'],
  ['tokens', 'Tokens'],
  ['balances', 'Balances'],
  ['health', 'Health'],
  ['export', 'Export'],
]

/** The dashboard: the login, and then its pages. */
export function App(): JSX.Element {
  const [login, setLogin] = useState<'asking' | 'in' | 'out' | 'away'>('asking')
  const look = (): void => {
    setLogin('asking')
    ask<{ readonly isLoggedIn: boolean }>('/api/session').then(
      ({ isLoggedIn }) => setLogin(isLoggedIn ? 'in' : 'out'),
      () => setLogin('away'),
    )
  }
  useEffect(() => {
    const leave = (): void => setLogin('out')
    onLoggedOut.add(leave)
    look()
    return () => void onLoggedOut.delete(leave)
  }, [])
  if (login === 'in') return <House onLeave={() => setLogin('out')} />
  if (login === 'out') return <Login onEnter={() => setLogin('in')} />
  return (
    <main class="alone">
      <h1>Tolsey</h1>
      {login === 'asking' && <p role="status">Looking for the gateway…</p>}
      {login === 'away' && (
        <div class="note bad" role="alert">
          <p>The gateway cannot be reached.</p>
          <button type="button" onClick={look}>
            Try again
          </button>
        </div>
      )}
    </main>
  )
}

function House({ onLeave }: { readonly onLeave: () => void }): JSX.Element {
  const [live, setLive] = useState<Live>()
  const [state, setState] = useState<LiveState>('connecting')
  const path = usePath()
  const heading = useRef<HTMLElement>(null)
  const isFirst = useRef(true)
  useEffect(() => {
    const opened = openLive(setState)
    setLive(opened)
    return () => opened.close()
  }, [])
  useEffect(() => {
    // Whoever reads by ear is told that the page is another; the first one is read anyway.
    if (!isFirst.current) heading.current?.focus()
    isFirst.current = false
    scrollTo(0, 0)
    document.querySelector('header [aria-current]')?.scrollIntoView({ block: 'nearest' })
  }, [path])
  useEffect(() => {
    if (state !== 'off') return
    // A stream that was refused does not say why: perhaps the login has ended.
    ask<{ readonly isLoggedIn: boolean }>('/api/session').then(
      ({ isLoggedIn }) => {
        if (!isLoggedIn) onLeave()
      },
      () => undefined,
    )
  }, [state])
  const leave = (): void => {
    ask('/api/session', { method: 'DELETE' }).then(onLeave, onLeave)
  }
  const [first = ''] = path.split('/')
  const words = { live: 'Live', connecting: 'Connecting…', off: 'Not live' }[state]
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event, heading.current)}>
        To the content
      </a>
      <header>
        <a class="brand" href="#/">
          Tolsey
        </a>
        <nav aria-label="Pages">
          {pages.map(([name, title]) => (
            <a key={name} href={`#/${name}`} aria-current={first === name ? 'page' : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <span class={`live ${state}`} role="status">
          {words}
        </span>
        <button type="button" class="plain" onClick={leave}>
          Log out
        </button>
      </header>
      <main id="main" ref={heading} tabIndex={-1}>
        <Page path={path} live={live} />
      </main>
    </>
  )
}

function skip(event: Event, main: HTMLElement | null): void {
  event.preventDefault()
  main?.focus()
}

function Page({
  path,
  live,
}: {
  readonly path: string
  readonly live: Live | undefined
}): ComponentChildren {
  const [first, ...rest] = path.split('/')
  const key = decodeURIComponent(rest.join('/'))
  if (first === 'payments' && key !== '') return <StoryPage key={key} of={key} live={live} />
  if (first === 'payments') return <PaymentsPage live={live} />
  if (first === 'attention') return <AttentionPage live={live} />
  if (first === 'tokens') return <TokensPage />
  if (first === 'balances') return <BalancesPage />
  if (first === 'health') return <HealthPage />
  if (first === 'export') return <ExportPage />
  return <OverviewPage live={live} />
}

/** Where the dashboard is: what stands behind `#/`. */
function usePath(): string {
  const read = (): string => location.hash.replace(/^#\/?/, '').replace(/\?.*$/, '')
  const [path, setPath] = useState(read)
  useEffect(() => {
    const change = (): void => setPath(read())
    addEventListener('hashchange', change)
    return () => removeEventListener('hashchange', change)
  }, [])
  return path
}
