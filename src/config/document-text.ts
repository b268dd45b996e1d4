import { isMap, isNode, isPair, isScalar, LineCounter, parseDocument } from 'yaml'
import type { Document as YamlDocument, Pair } from 'yaml'

/** Longest document that is read, in characters. */
export const DOCUMENT_CHARS_MAX = 1_048_576
/** Most aliases that stand for something else: a few lines must not become millions. */
const ALIASES_MAX = 100

/** Where something stands in a document, from 1. */
export interface Spot {
  readonly line: number
  readonly column: number
}

/** Something in a document that cannot be meant. */
export interface Mistake extends Spot {
  /** Where it stands by names: `routes › GET /weather › price`. Empty for the document as a whole. */
  readonly path: string
  readonly sentence: string
}

/** The steps to a place in a document. */
export type Steps = readonly (string | number)[]

/** A document as plain values, with the places of all of them. */
export interface Text {
  readonly value: unknown
  /** What is wrong with the text itself. */
  readonly mistakes: readonly Mistake[]
  /** The mistake at a place: at the name where there is one, else at what is around it. */
  mistake(steps: Steps, sentence: string): Mistake
}

/** Reads YAML 1.2, JSON, or JSON with comments and trailing commas. */
export function readText(text: string, name: string): Text {
  const lines = new LineCounter()
  const source = /\.jsonc?$/i.test(name) ? plain(text) : text
  const document = parseDocument(source, {
    lineCounter: lines,
    version: '1.2',
    prettyErrors: false,
  })
  const spotAt = (offset: number): Spot => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const long = text.length > DOCUMENT_CHARS_MAX
  const mistakes: Mistake[] = [...document.errors, ...document.warnings].map((error) => ({
    ...spotAt(error.pos[0]),
    path: '',
    sentence: sentenceOf(error.message),
  }))
  if (long) mistakes.push({ line: 1, column: 1, path: '', sentence: 'The document is too long.' })
  const { value, why } = mistakes.length > 0 ? nothing : valueOf(document)
  if (why !== undefined) mistakes.push({ line: 1, column: 1, path: '', sentence: why })
  return {
    value,
    mistakes,
    mistake: (steps, sentence) => ({
      ...spotAt(offsetOf(document, steps)),
      path: steps.join(' › '),
      sentence,
    }),
  }
}

const nothing = { value: undefined, why: undefined }

function valueOf(document: YamlDocument): { readonly value: unknown; readonly why?: string } {
  try {
    return { value: document.toJS({ maxAliasCount: ALIASES_MAX }) as unknown }
  } catch {
    return { value: undefined, why: 'Its aliases stand for more than a document can hold.' }
  }
}

/** Of the nearest thing around that is there. */
function offsetOf(document: YamlDocument, steps: Steps): number {
  for (let length = steps.length; length > 0; length--) {
    const pair = pairAt(document, steps.slice(0, length))
    if (pair && isNode(pair.key) && pair.key.range) return pair.key.range[0]
    const node = document.getIn(steps.slice(0, length), true)
    if (isNode(node) && node.range) return node.range[0]
  }
  return document.contents?.range?.[0] ?? 0
}

function pairAt(document: YamlDocument, steps: Steps): Pair | undefined {
  const around = steps.length === 1 ? document.contents : document.getIn(steps.slice(0, -1), true)
  if (!isMap(around)) return undefined
  const name = String(steps.at(-1))
  return around.items.find(
    (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === name,
  )
}

/** One sentence of the reader's, with a full stop. */
function sentenceOf(message: string): string {
  const [first = ''] = message.split('\n')
  return /[.!?]$/.test(first) ? first : `${first}.`
}

/** JSON with comments as a text of the same lines and columns without: YAML knows neither of them, nor tabs before a line. */
function plain(text: string): string {
  return text.replaceAll(/"(?:[^"\\\n]|\\.)*"|\/\/[^\n]*|\/\*[\s\S]*?\*\/|\t/g, (piece) =>
    piece.startsWith('"') ? piece : piece.replaceAll(/[^\n]/g, ' '),
  )
}
