// The soak by hand: `node test/soak/run.ts --minutes 10`. It tells how far it is on a terminal, and says what came of it in
// JSON into a pipe.
import { parseArgs } from 'node:util'
import type { Progress, Report } from './soak.ts'
import { isRight, soak } from './soak.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seed: { type: 'string' },
    share: { type: 'string', default: '0.01' },
    buyers: { type: 'string', default: '4' },
    kill: { type: 'string', default: '15' },
  },
})

const USAGE = `npm run soak -- --minutes N [options]
  --seed N      chance; the time of day if absent
  --share S     share of everything that fails, 0.01 if absent
  --buyers B    buyers in each of two processes, 4 if absent
  --kill S      seconds between two kills at least, 15 if absent
`

const { stdout, stderr } = process

function tell(progress: Progress): void {
  const { phase, elapsedMs, requests, rpcCalls, mishaps, deaths, memory } = progress
  const heap = memory ? `, seller's heap ${megabytes(memory.heapBytes)}` : ''
  const line = `${phase} ${Math.round(elapsedMs / 1_000)} s: ${requests} requests, ${rpcCalls} calls, ${mishaps} mishaps, ${deaths} deaths${heap}`
  stdout.write(`\r${line.slice(0, stdout.columns - 1)}\u001B[K`)
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`
}

function write(report: Report): void {
  if (!stdout.isTTY) return void stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  const { counters, wrong, memory } = report
  const lines = [
    '',
    `${report.served} served of ${report.asked}, ${report.charges} charged, ${report.lostOnTheWay} lost on the way`,
    ...Object.entries(counters).map(([name, n]) => `${name}: ${n}`),
    ...(memory
      ? [`heap ${megabytes(memory.early.heapBytes)}, later ${megabytes(memory.late.heapBytes)}`]
      : []),
    `${report.rpcCallsPerPurchase} JSON-RPC calls a purchase`,
    ...wrong.map((sentence) => `wrong: ${sentence}`),
  ]
  stdout.write(`${lines.join('\n')}\n`)
}

async function run(minutes: number): Promise<void> {
  const seed = Number(values.seed ?? Math.floor(Date.now() / 1_000))
  stderr.write(`seed ${seed}\n`)
  const report = await soak({
    seed,
    forMs: minutes * 60_000,
    share: Number(values.share),
    blockMs: 1_000,
    killEveryMs: Number(values.kill) * 1_000,
    killsMax: Infinity,
    buyers: Number(values.buyers),
    pair: true,
    tell: stdout.isTTY ? tell : () => undefined,
  })
  write(report)
  process.exitCode = isRight(report) ? 0 : 1
}

// Test runners start every file below test/: without a time nothing is soaked.
if (values.minutes === undefined) stdout.write(USAGE)
else await run(Number(values.minutes))
