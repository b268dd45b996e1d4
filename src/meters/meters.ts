import type { Price } from '../core/money.ts'
import { readPrice, rescale } from '../core/money.ts'
import { CHARS_PER_TOKEN, createUsageReader } from './usage.ts'
import type { Tokens } from './usage.ts'

/** What is paid for. Prices are of one of it, as fine as 18 decimals. */
export type MeterSettings =
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

function createTokenMeters({
  input = '0 USD',
  output = input,
  cached = input,
}: Extract<MeterSettings, { per: 'token' }>): (exchange: Exchange) => Counter {
  const [[ofInput, currency], [ofOutput, second], [ofCached, third]] = [
    finePrice(input),
    finePrice(output),
    finePrice(cached),
  ] as const
  if (ofInput === 0n && ofOutput === 0n) throw new RangeError('A meter of tokens costs nothing.')
  if ([second, third].some((other) => other !== currency))
    throw new RangeError('A meter of tokens has its prices in one currency.')
  const of = (amount: bigint): Price => ({ currency, amount, scale: SCALE })
  const cost = (tokens: Tokens): bigint =>
    BigInt(tokens.input) * ofInput +
    BigInt(tokens.cached) * ofCached +
    BigInt(tokens.output) * ofOutput
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
