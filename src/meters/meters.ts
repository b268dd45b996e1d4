import { Buffer } from 'node:buffer'
import type { Price } from '../core/money.ts'
import { readPrice, rescale } from '../core/money.ts'
import { CHARS_PER_TOKEN, USAGE_LINE_CHARS_MAX, createUsageReader } from './usage.ts'
import type { Tokens } from './usage.ts'

/** What is paid for. Prices are of one of it, as fine as 18 decimals. */
export type MeterSettings = Counted & {
  /** How long a WebSocket waits for a top-up where the balance ends, until it is closed; not at all if absent. */
  readonly graceMs?: number
}

type Counted =
  /** Tokens of a model, as its answer reports them; estimated from the text while it streams, and where it reports none. */
  | {
      readonly per: 'token'
      readonly input?: string
      readonly cached?: string
      readonly output?: string
    }
  /** Time from the first byte of the answer to its last, each second begun. */
  | { readonly per: 'second'; readonly price: string }
  /** Bytes of the answer's body, as they are sent. */
  | { readonly per: 'byte'; readonly price: string }
  /** Events of a stream: server-sent events, or lines of NDJSON. */
  | { readonly per: 'event'; readonly price: string }

/** What is known of an exchange before its answer streams. */
export interface Exchange {
  readonly contentType: string
  /** Characters of the request's body, from which its tokens are estimated. */
  readonly requestChars: number
}

/** Reads the costs of one answer as it passes. */
export interface Counter {
  /** What the answer costs before its first byte. */
  begin(): Price
  /** What this piece costs; to be taken before it is passed on. */
  chunk(bytes: Uint8Array): Price
  /** What a second costs that has begun; undefined where time costs nothing. */
  readonly second?: Price
  /** What the whole costs, where the answer says so itself; undefined where what was counted is all that is known. */
  total(): Price | undefined
  /** What that is called in the books. */
  readonly what: string
}

/** One frame of a WebSocket, so far as its head tells. */
export interface FrameHead {
  readonly opcode: number
  /** Bytes of its payload. */
  readonly length: number
}

/** Reads the costs of a connection on which frames go both ways. */
export interface SocketCounter {
  /** What a frame costs; to be taken before its first byte is passed on. */
  frame(frame: FrameHead, isUpstream: boolean): Price
  /** What a second costs that has begun; undefined where time costs nothing. */
  readonly second?: Price
  /** Whether whole messages of text from the upstream are read, of at most so many bytes, in the place of their frames. */
  readonly reads: boolean
  readonly readBytesMax: number
  /** What such a message costs, and the whole until now where it says so itself. */
  message(payload: Uint8Array): { readonly price: Price; readonly total?: Price }
  /** How long both sides wait for a top-up where the balance ends; zero: not at all. */
  readonly graceMs: number
  /** What that is called in the books. */
  readonly what: string
}

/** Longest grace of a connection. */
export const GRACE_MS_MAX = 600_000

/** Decimals of what is counted. */
const SCALE = 18

/**
 * Makes counters for the answers of a route.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function createMeters(settings: MeterSettings): (exchange: Exchange) => Counter {
  if (settings.per === 'token') return createTokenMeters(settings)
  const [price, currency] = finePrice(settings.price)
  const of = (amount: bigint): Price => ({ currency, amount, scale: SCALE })
  const nothing = of(0n)
  const base = { begin: () => nothing, total: () => undefined, what: `${settings.per}s` }
  if (settings.per === 'second')
    return () => ({ ...base, begin: () => of(price), second: of(price), chunk: () => nothing })
  if (settings.per === 'byte')
    return () => ({ ...base, chunk: ({ length }) => of(price * BigInt(length)) })
  return ({ contentType }) => {
    const reader = createUsageReader(contentType)
    return { ...base, chunk: (bytes) => of(price * BigInt(reader.read(bytes).events)) }
  }
}

/**
 * Makes counters for the WebSockets of a route: each second, each byte of payload or each message, both ways, or tokens of a
 * model. What the payer sends is read by the model; what the upstream's messages report holds over what was estimated.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function createSocketMeters(settings: MeterSettings): () => SocketCounter {
  const { graceMs = 0 } = settings
  if (!(graceMs >= 0 && graceMs <= GRACE_MS_MAX))
    throw new RangeError(`A grace is at most ${GRACE_MS_MAX / 60_000} minutes.`)
  if (settings.per === 'token') return createTokenSockets(settings, graceMs)
  const { per } = settings
  const [price, currency] = finePrice(settings.price)
  const of = (amount: bigint): Price => ({ currency, amount, scale: SCALE })
  const nothing = of(0n)
  const base = {
    ...{ reads: false, readBytesMax: 0, message: () => ({ price: nothing }) },
    ...{ graceMs, what: `${per}s` },
  }
  if (per === 'second') return () => ({ ...base, second: of(price), frame: () => nothing })
  if (per === 'byte') return () => ({ ...base, frame: ({ length }) => of(price * BigInt(length)) })
  // A message is counted where it begins; fragments and control frames belong to one or to none.
  return () => ({ ...base, frame: ({ opcode }) => (isMessage(opcode) ? of(price) : nothing) })
}

/** Frames that begin a message: of text, of bytes (RFC 6455, 5.6). */
function isMessage(opcode: number): boolean {
  return opcode === 1 || opcode === 2
}

function createTokenSockets(settings: TokenSettings, graceMs: number): () => SocketCounter {
  const { of, cost, ofInput, ofOutput } = readTokenPrices(settings)
  return () => {
    /** What the messages have said so far. */
    let said = 0n
    return {
      ...{ what: 'tokens', reads: true, readBytesMax: USAGE_LINE_CHARS_MAX, graceMs },
      frame: ({ opcode, length }, isUpstream) =>
        of(opcode > 2 ? 0n : BigInt(tokensOf(length)) * (isUpstream ? ofOutput : ofInput)),
      message(payload) {
        const reader = createUsageReader('application/x-ndjson')
        const { chars } = reader.read(Buffer.concat([payload, LINE]))
        const usage = reader.reported()
        if (!usage) return { price: of(BigInt(tokensOf(chars)) * ofOutput) }
        said += cost(usage)
        return { price: of(0n), total: of(said) }
      },
    }
  }
}

const LINE = Buffer.from('\n')

type TokenSettings = Extract<MeterSettings, { per: 'token' }>

interface TokenPrices {
  readonly of: (amount: bigint) => Price
  readonly cost: (tokens: Tokens) => bigint
  readonly ofInput: bigint
  readonly ofOutput: bigint
}

function readTokenPrices({
  input = '0 USD',
  output = input,
  cached = input,
}: TokenSettings): TokenPrices {
  const [[ofInput, currency], [ofOutput, second], [ofCached, third]] = [
    finePrice(input),
    finePrice(output),
    finePrice(cached),
  ] as const
  if (ofInput === 0n && ofOutput === 0n) throw new RangeError('A meter of tokens costs nothing.')
  if ([second, third].some((other) => other !== currency))
    throw new RangeError('A meter of tokens has its prices in one currency.')
  return {
    of: (amount) => ({ currency, amount, scale: SCALE }),
    cost: ({ input: read, cached: again, output: written }) =>
      BigInt(read) * ofInput + BigInt(again) * ofCached + BigInt(written) * ofOutput,
    ...{ ofInput, ofOutput },
  }
}

function createTokenMeters(settings: TokenSettings): (exchange: Exchange) => Counter {
  const { of, cost, ofInput, ofOutput } = readTokenPrices(settings)
  return ({ contentType, requestChars }) => {
    const reader = createUsageReader(contentType)
    const read = BigInt(tokensOf(requestChars)) * ofInput
    let chars = 0
    let counted = 0
    return {
      what: 'tokens',
      begin: () => of(read),
      chunk(bytes) {
        chars += reader.read(bytes).chars
        // It tells in a moment, and what was charged for an estimate does not come back.
        if (reader.isWhole) return of(0n)
        const fresh = tokensOf(chars) - counted
        counted += fresh
        return of(BigInt(fresh) * ofOutput)
      },
      total() {
        const said = reader.reported()
        if (said) return of(cost(said))
        return reader.isWhole ? of(read + BigInt(tokensOf(chars)) * ofOutput) : undefined
      },
    }
  }
}

function tokensOf(chars: number): number {
  return Math.ceil(chars / CHARS_PER_TOKEN)
}

function finePrice(text: string): readonly [amount: bigint, currency: string] {
  const { amount, scale, currency } = readPrice(text)
  return [rescale(amount, scale, SCALE, currency), currency]
}
