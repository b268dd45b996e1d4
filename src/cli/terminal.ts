import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import type { Readable } from 'node:stream'
import { styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

/** A stream that may be a terminal. */
type Out = Writable & { readonly isTTY?: boolean; readonly columns?: number }
type In = Readable & { readonly isTTY?: boolean }

/** The streams of a process; a test hands in its own. */
export interface Streams {
  readonly stdin: In
  readonly stdout: Out
  readonly stderr: Out
}

/** What a command says and asks: results on stdout, everything about them on stderr. */
export interface Terminal extends Streams {
  /** Whether results are read by a person rather than by a program. */
  readonly readable: boolean
  /** Whether somebody is there to be asked. */
  readonly interactive: boolean
  /** A line of the result. */
  out(line: string): void
  /** A line about it. */
  note(line: string): void
  /** Says what is being waited for, on a terminal only; the next line takes its place. */
  progress(text: string): void
  /** Colours a part of a result. */
  readonly paint: (style: Style, text: string) => string
  /** Colours a part of a note. */
  readonly tint: (style: Style, text: string) => string
  /** Asks a yes or no; anything but yes is no. Without anybody to ask it is no. */
  confirm(question: string): Promise<boolean>
  /** Asks for a secret without showing what is typed; undefined if nobody answers. */
  secret(question: string): Promise<string | undefined>
}

/** Width of a terminal that does not tell. */
const COLUMNS = 80

/** Makes the terminal of a process. */
export function createTerminal(streams: Streams, colour: 'always' | 'never' | 'auto'): Terminal {
  const { stdin, stdout, stderr } = streams
  let waiting = false

  function colours(stream: Out): boolean {
    return colour === 'always' || (colour === 'auto' && stream.isTTY === true)
  }
  function painter(stream: Out): (style: Style, text: string) => string {
    // Our own setting has decided already; Node's look at the environment would be a second opinion.
    if (!colours(stream)) return (_, text) => text
    return (style, text) => styleText(style, text, { validateStream: false })
  }
  function clear(): void {
    if (waiting) stderr.write('\r\u001B[K')
    waiting = false
  }
  function ask(question: string, hidden: boolean): Promise<string | undefined> {
    clear()
    stderr.write(question)
    return readLine(stdin, hidden ? hole() : stderr).then((line) => {
      // Neither a hidden answer nor none ends the line on the screen.
      if (hidden || line === undefined) stderr.write('\n')
      return line
    })
  }

  const interactive = stdin.isTTY === true && stderr.isTTY === true
  return {
    ...streams,
    readable: stdout.isTTY === true,
    interactive,
    out(line) {
      clear()
      stdout.write(`${line}\n`)
    },
    note(line) {
      clear()
      stderr.write(`${line}\n`)
    },
    progress(text) {
      if (stderr.isTTY !== true) return
      clear()
      stderr.write(painter(stderr)('dim', text.slice(0, (stderr.columns || COLUMNS) - 1)))
      waiting = true
    },
    paint: painter(stdout),
    tint: painter(stderr),
    async confirm(question) {
      if (!interactive) return false
      const answer = await ask(`${question} [y/N] `, false)
      return /^y(?:es)?$/i.test(answer?.trim() ?? '')
    },
    secret: (question) => (interactive ? ask(`${question} `, true) : Promise.resolve(undefined)),
  }
}

/** One line; undefined if the input ends or is interrupted before there is one. */
function readLine(input: In, output: Writable): Promise<string | undefined> {
  return new Promise((resolve) => {
    const reader = createInterface({ input, output, terminal: true, historySize: 0 })
    reader.once('line', (line) => {
      resolve(line)
      reader.close()
    })
    reader.once('SIGINT', () => reader.close())
    reader.once('close', () => resolve(undefined))
  })
}

/** Where the echo of a secret goes. */
function hole(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() })
}
