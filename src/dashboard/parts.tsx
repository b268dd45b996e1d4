import type { ComponentChildren, JSX } from 'preact'
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { ask } from './api.ts'
import type { Link } from './shapes.ts'
import { sayFullTime, sayTime, shorten, states } from './words.ts'

/** What a page has of the server. */
export interface Loaded<T> {
  readonly data: T | undefined
  readonly trouble: string | undefined
  readonly isLoading: boolean
  readonly reload: () => void
}

/** Asks for something, again when the path changes or `reload` is called. What was there stays until the next is there. */
export function useLoad<T>(path: string): Loaded<T> {
  const [data, setData] = useState<{ readonly path: string; readonly said: T }>()
  const [trouble, setTrouble] = useState<string>()
  const [turn, setTurn] = useState(0)
  const [isLoading, setLoading] = useState(true)
  useEffect(() => {
    let isOld = false
    setLoading(true)
    ask<T>(path)
      .then(
        (said) => {
          if (isOld) return
          setData({ path, said })
          setTrouble(undefined)
        },
        (error: unknown) => {
          if (!isOld) setTrouble(error instanceof Error ? error.message : 'Something went wrong.')
        },
      )
      .finally(() => {
        if (!isOld) setLoading(false)
      })
    return () => {
      isOld = true
    }
  }, [path, turn])
  const reload = useCallback(() => setTurn((before) => before + 1), [])
  return { data: data?.said, trouble, isLoading, reload }
}

/** Shows what was loaded, or that it is on its way, or why it is not there. */
export function Shown<T>({
  loaded,
  children,
}: {
  readonly loaded: Loaded<T>
  readonly children: (data: T) => ComponentChildren
}): JSX.Element {
  const { data, trouble, reload } = loaded
  return (
    <>
      {trouble !== undefined && (
        <div class="note bad" role="alert">
          <p>{trouble}</p>
          <button type="button" onClick={reload}>
            Try again
          </button>
        </div>
      )}
      {data === undefined && trouble === undefined && (
        <p class="loading" role="status">
          Reading the books…
        </p>
      )}
      {data !== undefined && children(data)}
    </>
  )
}

/** A word for how something stands. */
export function State({ of }: { readonly of: string }): JSX.Element {
  const { tone = 'quiet', means = '' } = states[of] ?? {}
  return (
    <span class={`state ${tone}`} title={means}>
      {of}
    </span>
  )
}

/** A time, with its year and zone on demand. */
export function Time({ of }: { readonly of: string }): JSX.Element {
  if (of === '') return <>never</>
  return (
    <time dateTime={of} title={sayFullTime(of)}>
      {sayTime(of)}
    </time>
  )
}

/** A long name, shortened, whole on demand. */
export function Name({ of, most }: { readonly of: string; readonly most?: number }): JSX.Element {
  if (of === '') return <span class="faint">not known</span>
  return <code title={of}>{shorten(of, most)}</code>
}

/** Nothing to show, and why. */
export function Empty({ children }: { readonly children: ComponentChildren }): JSX.Element {
  return <p class="empty">{children}</p>
}

/** A table that scrolls by itself where it is too wide. */
export function Table({
  caption,
  head,
  children,
}: {
  readonly caption: string
  readonly head: readonly (readonly [title: string, look?: string])[]
  readonly children: ComponentChildren
}): JSX.Element {
  return (
    <div class="scroll" role="region" aria-label={caption} tabIndex={0}>
      <table>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {head.map(([title, look]) => (
              <th key={title} scope="col" class={look}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  )
}

/** Links to where a transaction can be looked at. */
export function Links({ of }: { readonly of: readonly Link[] }): JSX.Element {
  return (
    <>
      {of.map(({ label, url }) => (
        <a key={url} href={url} target="_blank" rel="noreferrer noopener">
          Look at {label} <span aria-hidden="true">↗</span>
        </a>
      ))}
    </>
  )
}

/** A dialog over the page: the keyboard stays in it, and Escape closes it. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  readonly title: string
  readonly onClose: () => void
  readonly children: ComponentChildren
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const { current } = dialog
    current?.showModal()
    return () => current?.close()
  }, [])
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="dialog-title">
      <h2 id="dialog-title">{title}</h2>
      {children}
    </dialog>
  )
}
