import { parseArgs } from 'node:util'
import type { Settings } from '../config/load.ts'
import type { Terminal } from './terminal.ts'
import { nearest } from './text.ts'

/** How a command ends. */
export const exits = {
  ok: 0,
  /** Something went wrong; no money is involved. */
  error: 1,
  /** The command was not understood. */
  usage: 2,
  /** Nothing was paid: declined, over a limit, or no offer that may be accepted. */
  refused: 3,
  /** Money has moved or may have, and the answer is not what was bought. */
  unserved: 4,
} as const

/** One option: a flag, or a value that may be given several times. */
export interface Option {
  readonly type: 'boolean' | 'string'
  readonly short?: string
  readonly multiple?: boolean
}

/** What was typed, by the options' long names. */
export interface Arguments {
  readonly words: readonly string[]
  flag(name: string): boolean
  text(name: string): string | undefined
  texts(name: string): readonly string[]
}

/** All that a command is given. */
export interface Call {
  readonly arguments: Arguments
  readonly settings: Settings
  readonly terminal: Terminal
  readonly cwd: string
  /** Fires when the user wants to stop. */
  readonly signal: AbortSignal
}

/** One command of the program. */
export interface Command {
  readonly help: string
  readonly options: Readonly<Record<string, Option>>
  /** How many words may follow the command's name. */
  readonly wordsMax: number
  /** Resolves with the exit code. */
  run(call: Call): Promise<number>
}

/** A sentence for the user, with the exit code that goes with it. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly exit: number
  constructor(message: string, exit: number = exits.error, options: { cause?: unknown } = {}) {
    super(message, options)
    this.exit = exit
  }
}

/** A command that was not understood. */
export function misuse(message: string): Failure {
  return new Failure(message, exits.usage)
}

/**
 * Reads what follows a command's name.
 * @throws {Failure} with a sentence and the nearest known option.
 */
export function readArguments(
  argv: readonly string[],
  command: Pick<Command, 'options' | 'wordsMax'>,
): Arguments {
  const options = { help: { type: 'boolean', short: 'h' } as const, ...command.options }
  // Not strict: its errors speak to programmers. Each token is checked here instead.
  const { values, positionals, tokens } = parseArgs({
    args: [...argv],
    options,
    strict: false,
    tokens: true,
  })
  for (const token of tokens) if (token.kind === 'option') check(token, options)
  const extra = positionals[command.wordsMax]
  if (extra !== undefined) throw misuse(`"${extra}" is one word too many.`)
  return {
    words: positionals,
    flag: (name) => values[name] === true,
    text: (name) => (typeof values[name] === 'string' ? values[name] : undefined),
    texts(name) {
      const said = values[name]
      return Array.isArray(said) ? said.filter((value) => typeof value === 'string') : []
    },
  }
}

interface Token {
  readonly name: string
  readonly rawName: string
  readonly value: string | undefined
  readonly inlineValue: boolean | undefined
}

function check(token: Token, options: Readonly<Record<string, Option>>): void {
  const { name, rawName, value, inlineValue } = token
  const option = Object.hasOwn(options, name) ? options[name] : undefined
  if (!option) {
    const near = nearest(name, Object.keys(options))
    throw misuse(`There is no option ${rawName}.${near ? ` Did you mean --${near}?` : ''}`)
  }
  if (option.type === 'boolean' && value !== undefined)
    throw misuse(`The option ${rawName} takes no value.`)
  if (option.type === 'boolean') return
  // A value that looks like an option was most likely meant as one; with "=" it is taken as it is.
  if (value === undefined || (!inlineValue && /^-./.test(value)))
    throw misuse(`The option ${rawName} needs a value.`)
}
