import type { Json, JsonObject } from '../core/json.ts'
import { isObject, readJson } from '../core/json.ts'

/** Longest line of a stream, and longest whole answer, that is read for what was used. What is longer is estimated. */
export const USAGE_LINE_CHARS_MAX = 1_048_576
export const USAGE_ANSWER_CHARS_MAX = 4_194_304
/** Most tokens that an answer is believed to have used. */
export const USAGE_TOKENS_MAX = 1_000_000_000
/** Characters of a token, where the answer does not say how many it used: English has about four. */
export const CHARS_PER_TOKEN = 4

/** Tokens of a model. */
export interface Tokens {
  /** Read anew. */
  readonly input: number
  /** Read from the model's own cache. */
  readonly cached: number
  readonly output: number
}

/** Reads an answer as it passes. */
export interface UsageReader {
  /** Whether the answer is one text, which says at its end what it used, and not a stream. */
  readonly isWhole: boolean
  /** What this piece of the answer brought: events of a stream, and characters of the text that the model wrote. */
  read(chunk: Uint8Array): { readonly events: number; readonly chars: number }
  /** What the answer says that it used; undefined if it did not say. To be asked at the end. */
  reported(): Tokens | undefined
}

/** How an answer is cut: events of a stream (HTML, server-sent events), lines (NDJSON), or one text. */
type Shape = 'events' | 'lines' | 'whole'

/**
 * Reads what the usual APIs of models say of their use, in whole answers and in streams: OpenAI (chat completions and
 * responses) and all that speak like it, Anthropic (messages), Google (generateContent), Ollama, Cohere (chat v2).
 */
export function createUsageReader(contentType: string): UsageReader {
  const shape = shapeOf(contentType)
  const utf8 = new TextDecoder()
  let rest = ''
  let isTooLong = false
  let input: number | undefined
  let cached = 0
  let output: number | undefined

  function take(said: Json | undefined): number {
    if (!isObject(said)) return 0
    for (const usage of usagesIn(said)) {
      // A stream repeats its counts as they grow; the last word holds.
      input = usage.input ?? input
      cached = usage.cached ?? cached
      output = usage.output ?? output
    }
    return textIn(said).length
  }

  function readLine(line: string): { readonly events: number; readonly chars: number } {
    const data = shape === 'lines' ? line : dataOf(line)
    if (data === undefined || data === '') return none
    return { events: 1, chars: take(readJson(data, USAGE_LINE_CHARS_MAX)) }
  }

  function readLines(text: string): { readonly events: number; readonly chars: number } {
    const lines = (rest + text).split(/\r?\n|\r/)
    rest = lines.pop() ?? ''
    if (rest.length > USAGE_LINE_CHARS_MAX) rest = ''
    const read = lines.map(readLine)
    return {
      events: read.reduce((sum, { events }) => sum + events, 0),
      chars: read.reduce((sum, { chars }) => sum + chars, 0),
    }
  }

  return {
    isWhole: shape === 'whole',
    read(chunk) {
      const text = utf8.decode(chunk, { stream: true })
      if (shape !== 'whole') return readLines(text)
      isTooLong ||= rest.length + text.length > USAGE_ANSWER_CHARS_MAX
      rest = isTooLong ? '' : rest + text
      // Of one that says nothing else, all is taken for text.
      return { events: 0, chars: text.length }
    },
    reported() {
      if (shape === 'whole') take(readJson(rest, USAGE_ANSWER_CHARS_MAX))
      else if (rest !== '') readLine(rest)
      rest = ''
      return input === undefined && output === undefined
        ? undefined
        : { input: input ?? 0, cached, output: output ?? 0 }
    },
  }
}

const none = { events: 0, chars: 0 }

function shapeOf(contentType: string): Shape {
  const [type = ''] = contentType.toLowerCase().split(';')
  if (type.trim() === 'text/event-stream') return 'events'
  return /ndjson|jsonl|json-seq/.test(type) ? 'lines' : 'whole'
}

/** The data of a line of server-sent events (HTML standard, 9.2.6); undefined for other lines. */
function dataOf(line: string): string | undefined {
  return line.startsWith('data:') ? line.slice(5).trim() : undefined
}

interface Said {
  readonly input: number | undefined
  readonly cached: number | undefined
  readonly output: number | undefined
}

/** What a message says of its use, wherever it says so. */
function usagesIn(said: JsonObject): readonly Said[] {
  const holders = [said, said['response'], said['message']].filter(isObject)
  const found = holders.flatMap((one) => [one['usage'], one['usageMetadata']].filter(isObject))
  return [...found.map(readUsage), ...(isOllama(said) ? [readOllama(said)] : [])]
}

function readUsage(usage: JsonObject): Said {
  const { billed_units: billed, tokens } = usage
  if (isObject(billed)) return readUsage(billed)
  if (isObject(tokens)) return readUsage(tokens)
  const all = first(usage, ['prompt_tokens', 'input_tokens', 'promptTokenCount'])
  // OpenAI and Google count what was cached among the input, Anthropic beside it.
  const within =
    first(detailsOf(usage), ['cached_tokens']) ?? first(usage, ['cachedContentTokenCount'])
  const beside = first(usage, ['cache_read_input_tokens'])
  const made = first(usage, ['cache_creation_input_tokens']) ?? 0
  const thoughts = first(usage, ['thoughtsTokenCount']) ?? 0
  const output = first(usage, ['completion_tokens', 'output_tokens', 'candidatesTokenCount'])
  return {
    input: all === undefined ? undefined : Math.max(all - (within ?? 0), 0) + made,
    cached: within ?? beside,
    output: output === undefined ? undefined : output + thoughts,
  }
}

function detailsOf(usage: JsonObject): JsonObject {
  const { prompt_tokens_details: chat, input_tokens_details: responses } = usage
  if (isObject(chat)) return chat
  return isObject(responses) ? responses : {}
}

function isOllama(said: JsonObject): boolean {
  return said['done'] === true && 'eval_count' in said
}

function readOllama(said: JsonObject): Said {
  return {
    input: first(said, ['prompt_eval_count']),
    cached: undefined,
    output: first(said, ['eval_count']),
  }
}

/** The first that is a number of tokens. */
function first(from: JsonObject, names: readonly string[]): number | undefined {
  const found = names.map((name) => from[name]).find(isCount)
  return isCount(found) ? found : undefined
}

function isCount(said: unknown): said is number {
  return Number.isInteger(said) && Number(said) >= 0 && Number(said) <= USAGE_TOKENS_MAX
}

/** The text that a piece of a stream brings, of whichever API. */
function textIn(said: JsonObject): string {
  const { choices, delta, candidates, message, response, content, text } = said
  const parts = [
    ...list(choices).flatMap((one) => [one['delta'], one['message'], one]),
    delta,
    message,
    ...list(candidates).map((one) => one['content']),
  ]
  const texts = parts.filter(isObject).flatMap(textsOf)
  const whole = [delta, response, content, text].filter((one) => typeof one === 'string')
  return [...texts, ...whole].join('')
}

function textsOf(part: JsonObject): readonly string[] {
  const { content, text, thinking, partial_json: json, reasoning_content: reasoning, parts } = part
  const inner = [...list(parts), ...list(content)].map((one) => one['text'])
  return [content, text, thinking, json, reasoning, ...inner].filter(
    (one) => typeof one === 'string',
  )
}

function list(said: Json | undefined): readonly JsonObject[] {
  return Array.isArray(said) ? (said as readonly Json[]).filter(isObject) : []
}
