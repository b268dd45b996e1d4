// Whole checks of tokens of three kinds, beside npm `macaroon` and `jose` alone. What a token may do is read each time.
import { createLocalJWKSet, jwtVerify } from 'jose'
import type { JSONWebKeySet } from 'jose'
import { Buffer } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Grant } from '../src/core/credential.ts'
import { KNOWN_MAX } from '../src/core/known.ts'
import type { Mint } from '../src/core/ports.ts'
import type { Jwts } from '../src/tokens/jwt/index.ts'
import { createJwts, newJwtKey } from '../src/tokens/jwt/index.ts'
import {
  createMacaroonMint,
  createMacaroons,
  createRootKeys,
  readToken,
} from '../src/tokens/macaroon/index.ts'
import { createOpaques } from '../src/tokens/opaque/index.ts'
import { cpuMicros } from './process.ts'
import type { Bench, Measured, Result } from './result.ts'
import { compare } from './result.ts'

const ROUNDS = 7
const ROUND_MICROS = 300_000
/** How many checks there are between two looks at the clock. */
const CHUNK = 16
/** Tokens that come again and again. */
const FEW = 64
/** More than are remembered, so that each is checked anew. */
const MANY = KNOWN_MAX + 64

const ISSUER = 'https://as.example'
const AUDIENCE = 'https://api.example'

/** What is used of npm `macaroon`, which has no types. */
interface Library {
  importMacaroon(bytes: Uint8Array): {
    verify(rootKey: Uint8Array, check: (condition: string) => null, discharges: unknown[]): void
  }
}

/** A check of the next token, and what its rounds gave. */
interface Entry {
  readonly check: () => unknown
  readonly rates: number[]
}

/** Checks per CPU-second. Each token says six things, and is one of many or of few: few are remembered. */
export const tokens: Bench = async ({ quick, tell }) => {
  tell('minting')
  const macaroons = createMacaroonMint(createMacaroons({ secrets: [secret] }))
  const jwts = createJwts({ keys: [await newJwtKey()], issuer: ISSUER, audience: AUDIENCE })
  const macaroon = await pair(macaroons)
  const jwt = await pair(jwts)
  const opaque = await pair(createOpaques({ secrets: [secret] }))
  const peers = { npm: npmMacaroon(macaroon.texts), jose: joseAlone(jwts, jwt.texts) }
  const pairs = [macaroon, jwt, opaque]
  const entries = [...pairs.flatMap(({ fresh, known }) => [fresh, known]), peers.npm, peers.jose]
  const micros = quick ? ROUND_MICROS / 10 : ROUND_MICROS
  for (const { check } of entries) await rate(check, micros)
  for (let round = 1; round <= (quick ? 3 : ROUNDS); round++) {
    tell(`round ${round}`)
    for (const { check, rates } of entries) rates.push(await rate(check, micros))
  }
  const npm = { name: 'npm macaroon', rounds: peers.npm.rates }
  const jose = { name: 'jose jwtVerify', rounds: peers.jose.rates }
  return [
    ...lines('macaroons of six caveats', macaroon, npm),
    ...lines('JWTs', jwt, jose),
    ...lines('opaque tokens', opaque),
  ]
}

function lines(what: string, { fresh, known }: Pair, peer?: Measured['peer']): readonly Result[] {
  const line = {
    bench: 'tokens',
    unit: 'per CPU-s',
    better: 'more',
    ...(peer && { peer }),
  } as const
  return [
    compare({ ...line, what: `${what}, for the first time`, ours: fresh.rates }),
    compare({ ...line, what: `${what}, seen before`, ours: known.rates }),
  ]
}

const secret = randomBytes(32).toString('base64')

/** The same check of tokens that are not remembered, and of some that are. */
interface Pair {
  readonly texts: readonly string[]
  readonly fresh: Entry
  readonly known: Entry
}

async function pair(mint: Mint): Promise<Pair> {
  const texts = await Promise.all(Array.from({ length: MANY }, async (_, n) => mint.mint(grant(n))))
  const check = (text: string): unknown => {
    const found = mint.check(text)
    return found instanceof Promise ? found.then(good) : good(found)
  }
  const few = await Promise.all(
    Array.from({ length: FEW }, async (_, n) => mint.mint(grant(MANY + n))),
  )
  return { texts, fresh: over(texts, check), known: over(few, check) }
}

function good(found: unknown): void {
  if (typeof found !== 'object') throw new Error('A good token was refused.')
}

function grant(n: number): Grant {
  return {
    id: n.toString(16).padStart(64, '0'),
    rights: {
      services: [{ name: 'api', tier: 0 }],
      paths: ['/v1/*'],
      methods: ['GET', 'POST'],
      tenants: ['acme'],
      expiresAt: Date.now() + 3_600_000,
      uses: [{ scope: '', most: 1000 }],
    },
  }
}

/** Its root key is at hand, where ours is derived each time; its conditions are split and counted, where ours are read. */
function npmMacaroon(texts: readonly string[]): Entry {
  const library = createRequire(import.meta.url)('macaroon') as Library
  const keys = createRootKeys([secret])
  const rootKeys = texts.map((text) => {
    const read = readToken(text)
    const [root] = typeof read === 'string' ? [] : read
    if (root?.caveats.length !== 6) throw new Error('The token has not six caveats.')
    return keys.newest(root.id)
  })
  return over(texts, (text, n) => {
    let said = 0
    const check = (condition: string): null => {
      if (condition.includes('=')) said++
      return null
    }
    const rootKey = rootKeys[n] ?? new Uint8Array()
    library.importMacaroon(Buffer.from(text, 'base64')).verify(rootKey, check, [])
    if (said !== 6) throw new Error('A good token was refused.')
  })
}

function joseAlone(jwts: Jwts, texts: readonly string[]): Entry {
  const set = createLocalJWKSet(jwts.jwks() as unknown as JSONWebKeySet)
  const options = { issuer: ISSUER, audience: AUDIENCE, typ: 'at+jwt', algorithms: ['ES256'] }
  return over(texts, async (text) => {
    const { payload } = await jwtVerify(text, set, options)
    if (payload['conditions'] === undefined) throw new Error('A good token was refused.')
  })
}

/** Goes over the texts again and again. */
function over(texts: readonly string[], check: (text: string, n: number) => unknown): Entry {
  let next = 0
  return {
    rates: [],
    check: () => {
      const n = next++ % texts.length
      return check(texts[n] ?? '', n)
    },
  }
}

async function rate(check: Entry['check'], micros: number): Promise<number> {
  const startedAt = cpuMicros()
  let count = 0
  let used = 0
  for (; used < micros; used = cpuMicros() - startedAt)
    for (let n = 0; n < CHUNK; n++, count++) await check()
  return (count * 1e6) / used
}
