// Mutation testing by hand: `node test/mutation/run.ts --room core`. Progress on a terminal; in a pipe a line of JSON for
// each survivor and one for each room. It ends with 1 when a mutant survives that `survivors.json` does not explain.
import { setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { hunt } from './hunt.ts'
import type { Score } from './hunt.ts'
import { rooms } from './rooms.ts'
import survivors from './survivors.json' with { type: 'json' }

const USAGE = `npm run mutate -- [options]
  --all           every room
  --room NAME     ${Object.keys(rooms).join(', ')}; may be given more than once
  --file TEXT     only sources whose path holds this; may be given more than once
  --sample N      only that many mutants of each room, drawn by --seed
  --seed S        1 if absent
  --minutes M     nothing new is begun after that
  --workers W     1 or 2 (2 if absent)
  --known         only what survivors.json holds; tells what is killed by now and should leave it
  --told          list the explained survivors too
`

/** The least urgent work there is: it shares its machine. */
const PRIORITY = 15

const root = fileURLToPath(new URL('../..', import.meta.url))
const terminal = process.stdout.isTTY
const say = (text: string): void => void process.stdout.write(text)

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    room: { type: 'string', multiple: true, default: [] },
    file: { type: 'string', multiple: true, default: [] },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string' },
    workers: { type: 'string', default: '2' },
    known: { type: 'boolean', default: false },
    told: { type: 'boolean', default: false },
  },
})

const untilAt = Date.now() + Number(values.minutes ?? Infinity) * 60_000

async function tryRoom(name: string): Promise<Score> {
  const room = rooms[name]
  if (!room) throw new RangeError(`There is no room "${name}".\n${USAGE}`)
  const startedAt = Date.now()
  const score = await hunt({
    root,
    room,
    survivors,
    untilAt,
    files: values.file,
    known: values.known,
    seed: Number(values.seed),
    workers: Number(values.workers) === 1 ? 1 : 2,
    ...(values.sample !== undefined && { sample: Number(values.sample) }),
    tell: ({ file, line, text, mutation }, fate, sofar) => {
      if (
        fate === 'survived' ||
        (values.known ? fate !== 'explained' : values.told && fate === 'explained')
      )
        say(
          terminal
            ? `\r\u001B[K${file}:${line} ${fate}\n  ${mutation}\n`
            : `${JSON.stringify({ type: fate, file, line, text, mutation })}\n`,
        )
      if (terminal) say(`\r\u001B[K${name}: ${progress(sofar)}`)
    },
  })
  const seconds = Math.round((Date.now() - startedAt) / 1000)
  if (terminal) say(`\r\u001B[K${name}: ${progress(score)}, ${seconds} s.\n`)
  else say(`${JSON.stringify({ type: 'room', room: name, ...score, seconds })}\n`)
  return score
}

function progress({ mutants, refused, killed, timeout, explained, open }: Readonly<Score>): string {
  const done = refused + killed + timeout + explained + open
  return `${done} of ${mutants}; ${refused} do not compile, ${killed} killed, ${timeout} timed out, ${explained} explained, ${open} open`
}

// Test runners start every file below test/: without a wish nothing is tried.
const asked = values.all ? Object.keys(rooms) : values.room
if (asked.length > 0) setPriority(PRIORITY)
// Whoever is stopped leaves by the door, where the benches are cleared away.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
if (asked.length === 0 && terminal) say(USAGE)
for (const name of asked) if ((await tryRoom(name)).open > 0) process.exitCode = 1
