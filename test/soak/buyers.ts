// Honest buyers, each with a key of his own and all with one budget: each buys one thing after the other, and asks for it
// until it is served or refused. What happened stands in a diary, so that the next process goes on where this one died.
import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { PaymentError } from '../../src/core/problem.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { createPayer } from '../../src/payer/payer.ts'
import type { Payer } from '../../src/payer/payer.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { wallet } from '../../src/rails/evm/wallet.ts'
import { createDice } from '../../src/testing/faults.ts'
import { serve } from './child.ts'
import type { BuyersStart, Line } from './messages.ts'
import { PATHS, files } from './messages.ts'
import { createWeather, unreliable } from './weather.ts'

const PAUSE_MS = 300
/** How long one thing is asked for. */
const PATIENCE_MS = 240_000

serve<BuyersStart>(async (start, tell) => {
  const { directory, keys } = start
  const diary = join(directory, files.diary)
  const write = (line: Omit<Line, 'at'>): void =>
    appendFileSync(diary, `${JSON.stringify({ ...line, at: Date.now() })}\n`)
  const weather = createWeather(createDice(start.seed), start.share)
  const books = await sqlite({ file: join(directory, files.books) })
  const ledger = unreliable(books, weather, ['close'])
  const ending = new AbortController()
  const past = readDiary(diary)
  const faults: Record<string, number> = {}

  /** Buys one thing after the other. */
  async function live(key: string, by: number): Promise<void> {
    let now: Pick<Line, 'by' | 'n' | 'url'> = { by, n: 0, url: '' }
    const wallets = [wallet({ signer: fromPrivateKey(key), rpc: { [start.network]: start.rpc } })]
    const payer = createPayer({
      wallets,
      protocols: [x402(wallets)],
      ledger,
      policy: { perRequest: '0.01 USD', total: '1000000 USD', checkReceipts: true },
      observe(event) {
        if (event.type === 'fault') faults[event.where] = (faults[event.where] ?? 0) + 1
      },
      async fetch(input, init) {
        const response = await fetch(input, init)
        if (response.status === 200) write({ ...now, what: 'head' })
        return response
      },
    })
    const mine = past.filter((line) => line.by === by)
    const last = mine.at(-1)
    // What he had before him when he died, he has not read; what he was waiting for, he asks for again.
    if (last?.what === 'head') write({ ...last, what: 'cut', text: 'the buyer died' })
    const open = last?.what === 'asked' || last?.what === 'died' ? last : undefined
    if (open) write({ ...open, what: 'died' })
    const dice = createDice(start.seed).fork()
    for (let n = open?.n ?? (last?.n ?? 0) + 1; !ending.signal.aborted; n++) {
      const path = `${dice.pick(PATHS)}?by=${directory.split('/').at(-1)}-${by}&n=${n}`
      now = { by, n, url: n === open?.n ? open.url : dice.pick(start.origins) + path }
      if (n !== open?.n) write({ ...now, what: 'asked' })
      write({ ...now, ...(await buy(payer, now.url)) })
    }
  }

  const all = Promise.all(keys.map((key, by) => live(key, by)))
  tell({ port: 0 })
  return {
    calm() {
      weather.calm()
      ending.abort()
    },
    async stop() {
      ending.abort()
      await all
      await closeAll(keys, start, books)
      await books.close()
      return { ...faults, ...weather.counts }
    },
  }
})

async function buy(payer: Payer, url: string): Promise<Pick<Line, 'what' | 'text'>> {
  let why = 'nothing'
  const untilAt = Date.now() + PATIENCE_MS
  while (Date.now() < untilAt) {
    const response = await payer
      .fetch(url)
      .catch((error: unknown) => void (why = sentenceOf(error)))
    if (response) {
      const text = await response.text().catch(() => undefined)
      if (response.status === 200)
        return text === undefined ? { what: 'cut' } : { what: 'served', text }
      why = `${response.status} ${text}`
      if (response.status === 410) return { what: 'gone', text: why }
      if (response.status < 500 && ![409, 429].includes(response.status))
        return { what: 'refused', text: why }
    }
    await systemClock.sleep(PAUSE_MS)
  }
  return { what: 'refused', text: `at the end: ${why}` }
}

function sentenceOf(error: unknown): string {
  if (error instanceof PaymentError) return `${error.code}: ${error.message}`
  return error instanceof Error ? error.message : 'other'
}

/** Gives the payer's own recovery time to see what became of what was signed and not answered. */
async function closeAll(
  keys: readonly string[],
  { network, rpc }: BuyersStart,
  ledger: Awaited<ReturnType<typeof sqlite>>,
): Promise<void> {
  const wallets = keys.map((key) =>
    wallet({ signer: fromPrivateKey(key), rpc: { [network]: rpc } }),
  )
  const policy = { perRequest: '0.01 USD', total: '1000000 USD' }
  await createPayer({ wallets, protocols: [x402(wallets)], ledger, policy }).recover()
}

function readDiary(file: string): readonly Line[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line)
  } catch {
    return []
  }
}
