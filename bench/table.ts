import type { Figure, Goal, Result } from './result.ts'

const head = ['bench', 'what', 'unit', 'ours', 'peer', 'ratio', 'goal', 'met'] as const

/** The results as a Markdown table whose columns also stand straight on a terminal. */
export function writeTable(results: readonly Result[]): string {
  const rows = [[...head], ...results.map(rowOf)]
  const widths = head.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const rule = widths.map((width) => '-'.repeat(width))
  const [first, ...rest] = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)))
  return [first, rule, ...rest].map((row) => `| ${row?.join(' | ')} |\n`).join('')
}

/** What is going on, on a terminal, in one line that the next replaces. */
export function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text}`)
}

function rowOf({ bench, what, unit, ours, peer, ratio, goal, met }: Result): string[] {
  return [
    bench,
    what,
    unit,
    writeFigure(ours),
    peer ? `${writeFigure(peer.figure)} ${peer.name}` : '',
    ratio ? writeFigure(ratio) : '',
    goal ? writeGoal(goal) : '',
    met === undefined ? '' : met ? 'yes' : 'no',
  ]
}

function writeGoal(goal: Goal): string {
  return 'most' in goal ? `≤ ${goal.most}` : `≥ ${goal.ratioLeast} ×`
}

function writeFigure({ median, least, most }: Figure): string {
  if (least === most) return short(median)
  return `${short(median)} (${short(least)}–${short(most)})`
}

/** Three digits say all that such a figure knows. */
function short(value: number): string {
  if (Number.isInteger(value) && value < 1_000) return String(value)
  return Number(value.toPrecision(3)).toLocaleString('en')
}
