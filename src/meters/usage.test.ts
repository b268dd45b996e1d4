// What the APIs of models say of their use, whole and streamed, cut at every byte. The shapes are those of the APIs' documents;
// names and texts are our own.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import {
  USAGE_ANSWER_CHARS_MAX,
  USAGE_LINE_CHARS_MAX,
  USAGE_TOKENS_MAX,
  createUsageReader,
} from './usage.ts'
import type { Tokens } from './usage.ts'

const SSE = 'text/event-stream; charset=utf-8'
const JSON_TYPE = 'application/json'
const NDJSON = 'application/x-ndjson'

interface Sample {
  readonly type: string
  readonly text: string
  readonly tokens: Tokens | undefined
  /** Characters of the model's text. */
  readonly chars?: number
  readonly events?: number
}

const sse = (...events: readonly (object | string)[]): string =>
  events.map((one) => `data: ${typeof one === 'string' ? one : JSON.stringify(one)}\n\n`).join('')
const lines = (...all: readonly object[]): string =>
  all.map((one) => `${JSON.stringify(one)}\n`).join('')

const samples: Readonly<Record<string, Sample>> = {
  'OpenAI, chat': {
    type: JSON_TYPE,
    text: JSON.stringify({
      choices: [{ message: { role: 'assistant', content: 'Hello.' } }],
      usage: {
        ...{ prompt_tokens: 20, completion_tokens: 3, total_tokens: 23 },
        prompt_tokens_details: { cached_tokens: 8 },
      },
    }),
    tokens: { input: 12, cached: 8, output: 3 },
  },
  'OpenAI, chat as a stream with its use': {
    type: SSE,
    text: sse(
      { choices: [{ delta: { role: 'assistant', content: '' } }], usage: null },
      { choices: [{ delta: { content: 'Hello' } }], usage: null },
      { choices: [{ delta: { content: ' you.' } }] },
      { choices: [], usage: { prompt_tokens: 5, completion_tokens: 4 } },
      '[DONE]',
    ),
    tokens: { input: 5, cached: 0, output: 4 },
    chars: 10,
    events: 5,
  },
  'OpenAI, chat as a stream without': {
    type: SSE,
    text: sse({ choices: [{ delta: { content: 'Twelve chars' } }] }, '[DONE]'),
    tokens: undefined,
    chars: 12,
    events: 2,
  },
  'OpenAI, responses as a stream': {
    type: SSE,
    text:
      'event: response.output_text.delta\n' +
      sse(
        { type: 'response.output_text.delta', delta: 'Hi' },
        {
          type: 'response.completed',
          response: {
            usage: {
              input_tokens: 9,
              output_tokens: 2,
              input_tokens_details: { cached_tokens: 4 },
            },
          },
        },
      ),
    tokens: { input: 5, cached: 4, output: 2 },
    chars: 2,
    events: 2,
  },
  'Anthropic, messages': {
    type: JSON_TYPE,
    text: JSON.stringify({
      content: [{ type: 'text', text: 'Hello.' }],
      usage: {
        ...{ input_tokens: 7, output_tokens: 3 },
        ...{ cache_read_input_tokens: 100, cache_creation_input_tokens: 2 },
      },
    }),
    tokens: { input: 9, cached: 100, output: 3 },
  },
  'Anthropic, messages as a stream': {
    type: SSE,
    text: sse(
      { type: 'message_start', message: { usage: { input_tokens: 11, output_tokens: 1 } } },
      { type: 'content_block_delta', delta: { type: 'text_delta', text: 'Hello' } },
      { type: 'content_block_delta', delta: { type: 'thinking_delta', thinking: 'Hm' } },
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 6 } },
    ),
    tokens: { input: 11, cached: 0, output: 6 },
    chars: 7,
    events: 4,
  },
  'Google, a stream of counts that grow': {
    type: SSE,
    text: sse(
      {
        candidates: [{ content: { parts: [{ text: 'One' }] } }],
        usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 1 },
      },
      {
        candidates: [{ content: { parts: [{ text: ' two' }] } }],
        usageMetadata: {
          ...{ promptTokenCount: 10, candidatesTokenCount: 2, thoughtsTokenCount: 5 },
          cachedContentTokenCount: 4,
        },
      },
    ),
    tokens: { input: 6, cached: 4, output: 7 },
    chars: 7,
    events: 2,
  },
  'Ollama, lines': {
    type: NDJSON,
    text: lines(
      { message: { content: 'Hel' }, done: false },
      { response: 'lo', done: false },
      { done: true, prompt_eval_count: 26, eval_count: 2 },
    ),
    tokens: { input: 26, cached: 0, output: 2 },
    chars: 5,
    events: 3,
  },
  'Cohere, chat as a stream': {
    type: SSE,
    text: sse(
      { type: 'content-delta', delta: { message: { content: { text: 'Hi' } } } },
      {
        type: 'message-end',
        usage: {
          billed_units: { input_tokens: 3, output_tokens: 1 },
          tokens: { input_tokens: 70 },
        },
      },
    ),
    tokens: { input: 3, cached: 0, output: 1 },
    events: 2,
  },
  'an answer that says nothing': { type: JSON_TYPE, text: '{"answer":42}', tokens: undefined },
  'an answer that is no JSON': { type: 'text/html', text: '<p>usage: 5</p>', tokens: undefined },
}

/** All that a reader finds in a text that comes in those pieces. */
function readAll(type: string, pieces: readonly Uint8Array[]): Omit<Sample, 'type' | 'text'> {
  const reader = createUsageReader(type)
  const found = pieces.map((piece) => reader.read(piece))
  const tokens = reader.reported()
  const sum = (of: 'chars' | 'events'): number => found.reduce((all, one) => all + one[of], 0)
  return { tokens, chars: sum('chars'), events: sum('events') }
}

describe('what an answer used is read from', () => {
  for (const [name, { type, text, tokens, chars, events }] of Object.entries(samples))
    test(`${name}, however it is cut`, () => {
      const bytes = Buffer.from(text)
      const whole = readAll(type, [bytes])
      assert.deepEqual(whole.tokens, tokens)
      if (chars !== undefined) assert.equal(whole.chars, chars)
      if (events !== undefined) assert.equal(whole.events, events)
      assert.deepEqual(
        readAll(
          type,
          [...bytes].map((byte) => Uint8Array.of(byte)),
        ),
        whole,
      )
      for (let at = 1; at < bytes.length; at++)
        assert.deepEqual(readAll(type, [bytes.subarray(0, at), bytes.subarray(at)]), whole)
    })
})

describe('a reader of strangers’ answers', () => {
  test('believes no number that is none', () => {
    const wrong = [-1, 1.5, '7', null, USAGE_TOKENS_MAX + 1, [3], { n: 1 }]
    for (const said of wrong) {
      const text = JSON.stringify({ usage: { prompt_tokens: said, completion_tokens: said } })
      assert.equal(readAll(JSON_TYPE, [Buffer.from(text)]).tokens, undefined, text)
    }
    const odd = JSON.stringify({
      usage: {
        prompt_tokens: 1,
        completion_tokens: 1,
        prompt_tokens_details: { cached_tokens: 5 },
      },
    })
    assert.deepEqual(readAll(JSON_TYPE, [Buffer.from(odd)]).tokens, {
      input: 0,
      cached: 5,
      output: 1,
    })
  })

  test('keeps no more than its limits, and goes on behind what is too long', () => {
    const reader = createUsageReader(SSE)
    const piece = Buffer.from('x'.repeat(USAGE_LINE_CHARS_MAX / 4))
    reader.read(Buffer.from('data: "'))
    for (let i = 0; i < 12; i++) reader.read(piece)
    reader.read(Buffer.from(`"\n\n${sse({ usage: { input_tokens: 1, output_tokens: 2 } })}`))
    assert.deepEqual(reader.reported(), { input: 1, cached: 0, output: 2 })
    const whole = createUsageReader(JSON_TYPE)
    for (let i = 0; i <= USAGE_ANSWER_CHARS_MAX / piece.length; i++) whole.read(piece)
    whole.read(Buffer.from('{"usage":{"input_tokens":1}}'))
    assert.equal(whole.reported(), undefined)
  })

  test('never throws, whatever comes', () => {
    const type = fc.constantFrom(SSE, JSON_TYPE, NDJSON, '', ';', 'text/event-stream')
    fc.assert(
      fc.property(
        type,
        fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 8 }),
        (said, pieces) => {
          readAll(said, pieces)
        },
      ),
    )
    fc.assert(
      fc.property(type, fc.jsonValue(), (said, value) => {
        const text = JSON.stringify({ usage: value, message: value, choices: value, delta: value })
        readAll(said, [Buffer.from(`data: ${text}\n\n${text}\n`)])
        readAll(JSON_TYPE, [Buffer.from(text)])
      }),
    )
  })
})
