import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { withQuery } from '../api.ts'

/** The books as a file. */
export function ExportPage(): JSX.Element {
  const [asked, setAsked] = useState({ format: 'csv', only: 'all', since: '', until: '' })
  const change =
    (name: keyof typeof asked) =>
    (event: { readonly currentTarget: { readonly value: string } }): void =>
      setAsked({ ...asked, [name]: event.currentTarget.value })
  return (
    <>
      <h1>Export</h1>
      <p>
        Every entry of the books as a line, for a spreadsheet or a program: amounts as exact
        decimals and in the smallest unit, what they were worth when they were sold, taxes, costs,
        and where the network has them.
      </p>
      <div class="filter">
        <label>
          Format
          <select value={asked.format} onChange={change('format')}>
            <option value="csv">CSV</option>
            <option value="ndjson">JSON lines</option>
          </select>
        </label>
        <label>
          Entries
          <select value={asked.only} onChange={change('only')}>
            <option value="all">All</option>
            <option value="cash">Only sales and refunds</option>
          </select>
        </label>
        <label>
          From
          <input type="date" value={asked.since} onInput={change('since')} />
        </label>
        <label>
          Up to, and without
          <input type="date" value={asked.until} onInput={change('until')} />
        </label>
      </div>
      <p>
        <a class="button main" href={withQuery('/api/export', asked)} download>
          Download
        </a>
      </p>
      <p class="faint">Days begin and end at midnight UTC.</p>
    </>
  )
}
