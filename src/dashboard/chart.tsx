import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { Revenue } from './shapes.ts'

/** How high the chart is, in CSS pixels. */
const HEIGHT = 240

const dayName = new Intl.DateTimeFormat(undefined, {
  day: 'numeric',
  month: 'short',
  timeZone: 'UTC',
})
const hourName = new Intl.DateTimeFormat(undefined, {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  timeZone: 'UTC',
})

/** The name of a bucket. */
export function bucketName({ bucket }: Revenue, start: string): string {
  return (bucket === 'day' ? dayName : hourName).format(new Date(start))
}

/** Revenue over time as bars on top of each other. The same numbers stand in a table beside, for whoever cannot see it. */
export function Chart({ of }: { readonly of: Revenue }): JSX.Element {
  const place = useRef<HTMLDivElement>(null)
  const [at, setAt] = useState<number>()
  const [scheme, setScheme] = useState(0)
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)')
    const change = (): void => setScheme((before) => before + 1)
    dark.addEventListener('change', change)
    return () => dark.removeEventListener('change', change)
  }, [])
  useEffect(() => {
    const { current } = place
    if (!current) return undefined
    const plot = new uPlot(optionsOf(of, current, setAt), stackOf(of), current)
    const resize = new ResizeObserver(() =>
      plot.setSize({ width: current.clientWidth, height: HEIGHT }),
    )
    resize.observe(current)
    return () => {
      resize.disconnect()
      plot.destroy()
    }
  }, [of, scheme])
  return (
    <figure>
      <div ref={place} class="chart" aria-hidden="true" />
      <figcaption class="faint">{saying(of, at)}</figcaption>
    </figure>
  )
}

function saying(of: Revenue, at: number | undefined): string {
  const start = at === undefined ? undefined : of.starts[at]
  if (at === undefined || start === undefined) return 'Point at a bar to read it. Times are UTC.'
  const said = of.groups
    .filter(({ values }) => values[at] !== undefined && values[at] !== '0')
    .map(({ group, values }) => `${group} ${values[at] ?? ''}`)
  const what = said.length === 0 ? 'nothing' : said.join(', ')
  return `${bucketName(of, start)}: ${what} ${said.length === 0 ? '' : of.unit}`
}

/** Cumulated, the highest first, so that each is drawn before those that stand in front of it. Only pixels come of this. */
function stackOf({ starts, groups }: Revenue): uPlot.AlignedData {
  const sums = starts.map(() => 0)
  const stacked = groups.map(({ values }) =>
    values.map((value, i) => (sums[i] = (sums[i] ?? 0) + Number(value))),
  )
  return [starts.map((start) => Date.parse(start) / 1_000), ...stacked.toReversed()]
}

function optionsOf(
  of: Revenue,
  place: HTMLElement,
  tell: (at: number | undefined) => void,
): uPlot.Options {
  const style = getComputedStyle(place)
  const ink = style.getPropertyValue('--faint').trim()
  const grid = style.getPropertyValue('--line').trim()
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } }
  const half = (of.bucket === 'day' ? 86_400 : 3_600) / 2
  const bars = uPlot.paths.bars?.({ size: [0.8, 60] })
  const series = of.groups.map((_, i): uPlot.Series => {
    const colour = style.getPropertyValue(`--series-${i % 9}`).trim()
    const points = { show: false }
    return { fill: colour, stroke: colour, width: 0, points, ...(bars && { paths: bars }) }
  })
  return {
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), 'UTC'),
    scales: {
      x: { range: (_, low, high) => [low - half, high + half] },
      y: { range: (_, low, high) => [Math.min(0, low), Math.max(high, 0) * 1.08 || 1] },
    },
    axes: [axis, { ...axis, size: 64 }],
    series: [{}, ...series.toReversed()],
    hooks: { setCursor: [({ cursor }) => tell(cursor.idx ?? undefined)] },
  }
}
