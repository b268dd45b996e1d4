import { assert } from '../../core/assert.ts'
import { systemClock } from '../../core/clock.ts'
import { createHttpClient } from '../../net/http.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'

/** How long one endpoint may take for one answer. */
export const RPC_TIMEOUT_MS = 4_000
/** Longest answer, in bytes. A receipt of a large batch has some hundred thousand. */
export const ANSWER_BYTES_MAX: number = 8 * 2 ** 20
/** How long an endpoint that failed is asked last. */
export const REST_MS = 10_000
/** Most endpoints that one question is put to, and how often it is put in any case. */
const ATTEMPTS_MAX = 4
const ATTEMPTS_MIN = 2
/** Pause before the same endpoint is asked again, and how much longer each is than the one before. */
const PAUSE_MS = 50
const PAUSE_GROWTH = 4
/** How long an endpoint that said that it does not take several questions at once is asked one by one. */
const SINGLE_MS = 600_000
/** Most endpoints of one chain. */
const ENDPOINTS_MAX = 16
/** Most questions in one round trip. */
const MANY_MAX = 32

/** One call as it was made: for counting and for measuring. */
export interface RpcEvent {
  readonly method: string
  /** Which of the configured endpoints, from 0. Never its address. */
  readonly endpoint: number
  readonly tookMs: number
  readonly ok: boolean
}

/** What the client is made of. */
export interface RpcSettings {
  readonly urls: readonly string[]
  readonly chainId: number
  readonly timeoutMs?: number
  readonly clock?: Clock
  /** Asks in place of our own client: for proxies and tests. */
  readonly fetch?: typeof globalThis.fetch
  readonly onCall?: (event: RpcEvent) => void
}

/** What a node answered: a result, or that the execution it was asked for reverts. */
export type Answer<T> = { readonly result: T } | { readonly reverted: string }

/** Reads a node's result, or throws: then another node is asked. */
export type Parse<T> = (said: Json) => T

/** A question with its answer read. @throws {PaymentError} when it is not answered. */
export type Read = <T>(method: string, params: readonly Json[], parse: Parse<T>) => Promise<T>

/** A question: a method and its parameters. */
export type Question = readonly [method: string, params: readonly Json[]]

/** Different questions in one round trip, with all answers read at once. @throws {PaymentError} when one is not answered. */
export type Batch = <T>(
  questions: readonly Question[],
  parse: (said: readonly Json[]) => T,
) => Promise<T>

/** Why nodes would not take a transaction, when it is certain that none did. */
export type Refused = 'nonce' | 'funds' | 'fee' | 'gas' | 'invalid'

/** What became of a transaction that was handed to nodes. `unclear`: one may have it. */
export type Broadcast = 'accepted' | 'unclear' | { readonly refused: Refused }

/** JSON-RPC over several endpoints of one chain: the first healthy one answers. */
export interface Rpc {
  /**
   * Asks every endpoint for its chain.
   * @throws {RangeError} when one serves another chain. {PaymentError} when none answers.
   */
  open(): Promise<void>
  /** @throws {PaymentError} when no endpoint answers. */
  ask<T>(method: string, params: readonly Json[], parse: Parse<T>): Promise<Answer<T>>
  /** As {@link Rpc.ask}, where a revert is no answer. */
  read: Read
  /** The same method for several things in one round trip, or, where a node does not take that, in as many. */
  many<T>(
    method: string,
    list: readonly (readonly Json[])[],
    parse: (said: Json, index: number) => T,
  ): Promise<readonly T[]>
  /** Different questions to one endpoint, which answers all of them, or another one is asked. */
  batch: Batch
  /**
   * Does the same with each of so many endpoints by itself, so that no node's word is taken alone.
   * @throws {PaymentError} when fewer answer.
   */
  each<T>(count: number, work: (read: Read, batch: Batch) => Promise<T>): Promise<readonly T[]>
  /** Hands over the same bytes until a node has them. */
  broadcast(raw: Hex, hash: Hex): Promise<Broadcast>
  close(): void
}

interface Endpoint {
  readonly index: number
  readonly url: string
  restsUntilAt: number
  /** Whether it has shown to be of our chain. */
  proven: boolean
  /** Until when it is asked one by one: it does not take several questions at once. */
  singleUntilAt: number
}

type Said = { readonly result: Json } | { readonly error: NodeError }

interface NodeError {
  readonly code: number
  readonly message: string
}

class WrongChain extends RangeError {}

const headers = { 'content-type': 'application/json' }

/** Makes the client. @throws {RangeError} for addresses that cannot be endpoints. */
export function createRpc(settings: RpcSettings): Rpc {
  const { chainId, timeoutMs = RPC_TIMEOUT_MS, clock = systemClock, onCall } = settings
  const { fetch } = settings
  const client = createHttpClient({
    ...{ timeoutMs, bytesMax: ANSWER_BYTES_MAX, clock },
    ...(fetch && { fetch }),
  })
  const endpoints = settings.urls.map(endpoint)
  if (endpoints.length === 0 || endpoints.length > ENDPOINTS_MAX)
    throw new RangeError(`Give between one and ${ENDPOINTS_MAX} RPC addresses in "rpc".`)
  let closed = false
  let id = 0

  /** One question to one endpoint. Rejects with whatever went wrong. */
  async function post(to: Endpoint, method: string, params: readonly Json[]): Promise<Said> {
    const [said] = await timed(to, [[method, params]], async () => {
      const asked = ++id
      return [readSaid(await exchange(to, { ...frame(method, params), id: asked }), asked)]
    })
    assert(said, 'one question has one answer')
    return said
  }

  /** Several questions to one endpoint at once. */
  async function postMany(to: Endpoint, list: readonly Question[]): Promise<readonly Said[]> {
    if (list.length > 1 && to.singleUntilAt <= clock.now()) {
      const said = await timed(to, list, () => exchangeMany(to, list))
      if (said.length > 0) return said
      to.singleUntilAt = clock.now() + SINGLE_MS
    }
    return Promise.all(list.map(([method, params]) => postTwice(to, method, params)))
  }

  /** One of many that count together: the more there are, the likelier one of them fails by chance. */
  async function postTwice(to: Endpoint, method: string, params: readonly Json[]): Promise<Said> {
    try {
      return await post(to, method, params)
    } catch {
      await clock.sleep(PAUSE_MS)
      return await post(to, method, params)
    }
  }

  /** Nothing, if the endpoint does not take several questions at once. */
  async function exchangeMany(to: Endpoint, list: readonly Question[]): Promise<readonly Said[]> {
    const first = id + 1
    id += list.length
    const frames = list.map(([method, params], i) => ({ ...frame(method, params), id: first + i }))
    const answer = await exchange(to, frames)
    if (isTurnedAway(answer)) return []
    if (!Array.isArray(answer)) throw new Error('not the answers to the questions')
    const answers: readonly Json[] = answer
    // Their order is free (JSON-RPC 2.0, section 6).
    return frames.map(({ id: asked }) =>
      readSaid(answers.find((one) => isObject(one) && one['id'] === asked) ?? null, asked),
    )
  }

  /** Makes an exchange, and tells of each question in it. */
  async function timed(
    to: Endpoint,
    list: readonly Question[],
    work: () => Promise<readonly Said[]>,
  ): Promise<readonly Said[]> {
    if (closed) throw new Error('closed')
    const startAt = clock.now()
    let said: readonly Said[] = []
    try {
      said = await work()
      return said
    } finally {
      const tookMs = clock.now() - startAt
      list.forEach(([method], i) => {
        const ok = 'result' in (said[i] ?? {})
        onCall?.({ method, endpoint: to.index, tookMs, ok })
      })
    }
  }

  async function exchange({ url }: Endpoint, said: Json): Promise<Json> {
    const { text } = await client.ask({
      method: 'POST',
      url,
      headers,
      body: JSON.stringify(said),
      // All is reading, but for a transaction, and the same bytes move the same money once.
      repeatable: true,
    })
    return readJson(text, ANSWER_BYTES_MAX) ?? null
  }

  async function prove(to: Endpoint): Promise<void> {
    if (to.proven) return
    const said = await post(to, 'eth_chainId', [])
    if (!('result' in said)) throw new Error(said.error.message)
    const found = readNumber(said.result)
    if (found !== BigInt(chainId))
      throw new WrongChain(
        `RPC address ${to.index + 1} of "rpc" serves chain ${found}, not ${chainId}.`,
      )
    to.proven = true
  }

  /** Asks for the chain, and once more if there is no answer: nothing runs yet that would come again. */
  async function introduce(to: Endpoint): Promise<void> {
    try {
      await prove(to)
    } catch (fault) {
      if (fault instanceof WrongChain) throw fault
      await clock.sleep(PAUSE_MS)
      await prove(to)
    }
  }

  /** Healthy ones first, in the order of the settings; then those that rest, the one whose rest ends soonest first. */
  function order(): readonly Endpoint[] {
    const now = clock.now()
    const rest = ({ restsUntilAt }: Endpoint): number => Math.max(restsUntilAt, now)
    return endpoints.toSorted((a, b) => rest(a) - rest(b))
  }

  /**
   * Puts the question to one endpoint after the other until `take` is content with an answer. Where all fail, and fail
   * quickly, some are tried again: one moment in which nobody is there is no reason to give up.
   */
  async function rounds<S, T>(
    put: (to: Endpoint) => Promise<S>,
    take: (said: S) => T | undefined,
    missed: (cause: unknown) => void,
  ): Promise<T | undefined> {
    const ordered = order()
    const least = Math.max(ATTEMPTS_MIN, Math.min(ordered.length, ATTEMPTS_MAX))
    const untilAt = clock.now() + timeoutMs
    let failed = false
    for (let tries = 0; tries < ATTEMPTS_MAX; tries++) {
      if (closed || (tries >= least && (!failed || clock.now() >= untilAt))) return undefined
      const to = ordered[tries % ordered.length]
      assert(to, 'there is an endpoint')
      const again = Math.floor(tries / ordered.length)
      if (again > 0) await clock.sleep(PAUSE_MS * PAUSE_GROWTH ** (again - 1))
      failed = false
      try {
        await prove(to)
        const said = await put(to)
        const taken = take(said)
        if (taken !== undefined) return taken
        missed(said)
      } catch (cause) {
        failed = true
        to.restsUntilAt = clock.now() + REST_MS
        missed(cause)
      }
    }
    return undefined
  }

  async function ask<T>(
    method: string,
    params: readonly Json[],
    parse: Parse<T>,
  ): Promise<Answer<T>> {
    let cause: unknown
    const answer = await rounds<Said, Answer<T>>(
      (to) => post(to, method, params),
      (said) => {
        if ('result' in said) return { result: parse(said.result) }
        return isRevert(said.error) ? { reverted: said.error.message } : undefined
      },
      (missed) => void (cause = missed),
    )
    if (answer) return answer
    throw unavailable(cause)
  }

  const read: Read = async (method, params, parse) => {
    const answer = await ask(method, params, parse)
    if ('result' in answer) return answer.result
    throw unavailable(new Error(answer.reverted))
  }

  function readFrom(to: Endpoint): Read {
    return async (method, params, parse) => {
      const said = await post(to, method, params)
      if ('result' in said) return parse(said.result)
      throw new Error(said.error.message)
    }
  }

  /** All results, or none: an endpoint that knows only some of them is passed over. */
  const batch: Batch = async <T>(
    questions: readonly Question[],
    parse: (said: readonly Json[]) => T,
  ): Promise<T> => {
    let cause: unknown
    const answer = await rounds<readonly Said[], { readonly parsed: T }>(
      (to) => postMany(to, questions),
      (said) => {
        const results = said.flatMap((one) => ('result' in one ? [one.result] : []))
        return results.length === questions.length ? { parsed: parse(results) } : undefined
      },
      (missed) => void (cause = missed),
    )
    if (answer) return answer.parsed
    throw unavailable(cause)
  }

  function batchFrom(to: Endpoint): Batch {
    return async (questions, parse) => {
      const said = await postMany(to, questions)
      return parse(
        said.map((one) => {
          if ('result' in one) return one.result
          throw new Error(one.error.message)
        }),
      )
    }
  }

  return {
    ask,
    async open() {
      const found = await Promise.allSettled(endpoints.map(introduce))
      const faults = found.flatMap((f) => (f.status === 'rejected' ? [f.reason as unknown] : []))
      const wrong = faults.find((fault) => fault instanceof WrongChain)
      if (wrong) throw wrong
      if (faults.length === endpoints.length) throw unavailable(faults[0])
    },
    read,
    async many(method, list, parse) {
      const parts = split(list, MANY_MAX).map((part, i) =>
        batch(
          part.map((params): Question => [method, params]),
          (said) => said.map((one, at) => parse(one, i * MANY_MAX + at)),
        ),
      )
      return (await Promise.all(parts)).flat()
    },
    batch,
    async each<T>(
      count: number,
      work: (read: Read, batch: Batch) => Promise<T>,
    ): Promise<readonly T[]> {
      const done: T[] = []
      let cause: unknown
      for (const to of order()) {
        if (done.length === count) break
        try {
          await prove(to)
          done.push(await work(readFrom(to), batchFrom(to)))
        } catch (error) {
          cause = error
        }
      }
      if (done.length === count) return done
      throw unavailable(cause)
    },
    async broadcast(raw, hash) {
      let maybe = false
      const answer = await rounds<Said, Broadcast>(
        (to) => post(to, 'eth_sendRawTransaction', [raw]),
        (said) => {
          if ('result' in said) return said.result === hash ? 'accepted' : undefined
          const found = classify(said.error.message)
          // A node that was asked before may have it, and then another one's refusal proves nothing.
          return maybe && typeof found === 'object' ? 'unclear' : found
        },
        () => void (maybe = true),
      )
      return answer ?? 'unclear'
    },
    close() {
      closed = true
      client.close()
    },
  }
}

function unavailable(cause: unknown): PaymentError {
  return new PaymentError('rail-unavailable', 'No RPC endpoint of the chain answers.', {
    cause,
    retryable: true,
  })
}

function endpoint(url: string, index: number): Endpoint {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed?.protocol !== 'https:' && parsed?.protocol !== 'http:')
    throw new RangeError(`RPC address ${index + 1} of "rpc" is not an http or https address.`)
  if (parsed.username || parsed.password)
    throw new RangeError(
      `RPC address ${index + 1} of "rpc" has a user name in it, which cannot be sent. Use one with a key in its path.`,
    )
  return { index, url, restsUntilAt: 0, proven: false, singleUntilAt: 0 }
}

function frame(method: string, params: readonly Json[]): JsonObject {
  return { jsonrpc: '2.0', method, params }
}

/** @throws {Error} when it is not the answer to that question. */
function readSaid(answer: Json, asked: number): Said {
  if (!isObject(answer) || answer['id'] !== asked) throw new Error('not the answer to the question')
  const { result, error } = answer
  if (isObject(error)) {
    const { code, message } = error
    return { error: { code: Number(code), message: typeof message === 'string' ? message : '' } }
  }
  if (result === undefined) throw new Error('not a JSON-RPC answer')
  return { result }
}

/**
 * Whether the list as a whole was refused in the words of JSON-RPC (2.0, section 6: one object instead of a list). An error
 * page, an empty body and a plea for patience say nothing of lists.
 */
function isTurnedAway(answer: Json): boolean {
  if (!isObject(answer)) return false
  const { error } = answer
  return isObject(error) && !isBusy(error['code'])
}

/** Too many requests, in the numbers of HTTP and of EIP-1474. */
function isBusy(code: Json | undefined): boolean {
  return code === 429 || code === -32005
}

function split<T>(list: readonly T[], size: number): readonly (readonly T[])[] {
  const count = Math.ceil(list.length / size)
  return Array.from({ length: count }, (_, i) => list.slice(i * size, (i + 1) * size))
}

/** Whether the execution failed, which every honest node would say; anything else is a fault of this node. */
function isRevert({ code, message }: NodeError): boolean {
  return code === 3 || /revert|out of gas|gas required exceeds|invalid opcode/i.test(message)
}

/** What the texts of the common nodes (geth, reth, nethermind, erigon, besu, anvil) mean for a transaction. */
function classify(message: string): Broadcast | undefined {
  if (/already (?:known|imported|exists)|known transaction/i.test(message)) return 'accepted'
  const row = refusals.find(([, pattern]) => pattern.test(message))
  return row && { refused: row[0] }
}

const refusals: readonly (readonly [Refused, RegExp])[] = [
  ['nonce', /nonce (?:is )?too low|replacement transaction|invalid nonce|old nonce/i],
  ['funds', /insufficient (?:funds|balance)/i],
  ['fee', /underpriced|fee cap|max fee per gas less|gas price (?:below|too low)|fee too low/i],
  ['gas', /intrinsic gas|exceeds block gas|gas limit/i],
  ['invalid', /invalid (?:sender|signature|chain)|type not supported|rlp/i],
]

/** Bytes that a node said, in lower case. @throws {Error} if they are not. */
export function readHex(said: Json | undefined): Hex {
  if (typeof said !== 'string' || !/^0x[0-9a-fA-F]*$/.test(said)) throw new Error('not hex')
  return lower(said as Hex)
}

/** A number that a node said. @throws {Error} if it is not one of at most 256 bits. */
export function readNumber(said: Json | undefined): bigint {
  if (typeof said !== 'string' || !/^0x[0-9a-fA-F]{1,64}$/.test(said))
    throw new Error('not a quantity')
  return BigInt(said)
}
