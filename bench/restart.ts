// From SIGKILL to serving again: the seller dies while payments are on their way, and is started on books with a long past.
import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sqlite } from '../src/index.ts'
import type { Ledger } from '../src/core/ports.ts'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { createBuyer, createSender } from '../test/interop/peers.ts'
import { PRICE, createOurBuyers } from './parties.ts'
import type { Start } from './restart-seller.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'

const PAST = 10_000
const OPEN = 50
const ROUNDS = 5
const FUNDS = 100_000_000n
/** What a past payment left in the books is written so many at once. */
const AT_ONCE = 500
const PATIENCE_MS = 20_000

/** The time until the first 402 and until the first paid answer, with new books and with a past. */
export async function restart({ quick, tell }: Run): Promise<readonly Result[]> {
  await using ends = new AsyncDisposableStack()
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  ends.defer(() => rm(directory, { recursive: true }))
  const chain = await startChain()
  ends.defer(() => chain.stop())
  const lines: Result[] = []
  for (const [past, open] of [
    [0, 0],
    [PAST, OPEN],
  ] as const) {
    const rounds: Round[] = []
    for (let n = 1; n <= (quick ? 1 : ROUNDS); n++) {
      tell(`${past} payments before, ${open} open, round ${n}`)
      rounds.push(await round(chain, join(directory, `${past}-${n}`), past, open))
    }
    const what = `${past} payments before, ${open} open`
    const line = { bench: 'restart', unit: 'ms', better: 'less' } as const
    const [listening, served] = [rounds.map((r) => r.listeningMs), rounds.map((r) => r.servedMs)]
    lines.push(compare({ ...line, what: `kill to listening, ${what}`, ours: listening }))
    lines.push(compare({ ...line, what: `kill to a paid answer, ${what}`, ours: served }))
  }
  return lines
}

interface Round {
  readonly listeningMs: number
  readonly servedMs: number
}

async function round(chain: Chain, directory: string, past: number, open: number): Promise<Round> {
  const [payee, sender] = [await createSender(chain), await createSender(chain)]
  const books = `${directory}-seller.db`
  await fill(books, past)
  const start: Start = {
    network: chain.network,
    rpc: chain.rpc,
    payTo: payee.address,
    signer: sender.privateKey,
    books,
    price: PRICE,
  }
  const keys = await Promise.all(Array.from({ length: open + 1 }, () => createBuyer(chain, FUNDS)))
  await using buyers = await openBuyers(keys, `${directory}-buyers`)
  const first = await launch(start)
  // No block is made, so that everything stays on its way.
  await chain.request('evm_setAutomine', [false])
  const leaving = new AbortController()
  const waiting = buyers.fetches
    .slice(1)
    .map((fetch) => buy(fetch, first.port, leaving.signal).catch(() => false))
  await untilWritten(books, open)
  const killedAt = performance.now()
  first.child.kill('SIGKILL')
  const second = await launch(start)
  const listeningMs = performance.now() - killedAt
  await chain.request('evm_setAutomine', [true])
  await chain.mine()
  const [fresh] = buyers.fetches
  if (!fresh || !(await buy(fresh, second.port, AbortSignal.timeout(PATIENCE_MS))))
    throw new Error('Nothing was sold after a kill.')
  const servedMs = performance.now() - killedAt
  leaving.abort()
  await Promise.all(waiting)
  const gone = once(second.child, 'exit')
  second.child.kill('SIGKILL')
  await gone
  return { listeningMs, servedMs }
}

async function launch(start: Start): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL('restart-seller.ts', import.meta.url))
  child.send(start)
  const [port] = (await once(child, 'message')) as [number]
  return { child, port }
}

type Fetch = typeof globalThis.fetch

async function openBuyers(
  keys: Parameters<typeof createOurBuyers>[0],
  directory: string,
): Promise<{ fetches: readonly Fetch[] } & AsyncDisposable> {
  await mkdir(directory)
  const buyers = await createOurBuyers(keys, directory)
  return { fetches: buyers.fetches, [Symbol.asyncDispose]: () => buyers.close() }
}

async function buy(fetch: Fetch, port: number, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/paid`, { signal })
  await response.text()
  return response.status === 200
}

/** Waits until so many payments are written ahead. */
async function untilWritten(file: string, open: number): Promise<void> {
  const ledger = await sqlite({ file })
  try {
    for (;;) {
      const pending = await ledger.pending()
      const ahead = pending.filter(({ note, steps }) => note['kind'] === 'sale' && steps.length > 0)
      if (ahead.length >= open) return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  } finally {
    await ledger.close()
  }
}

/** Books of sales that were made, posted and delivered. */
async function fill(file: string, past: number): Promise<void> {
  const ledger = await sqlite({ file })
  try {
    for (let from = 0; from < past; from += AT_ONCE)
      await Promise.all(
        Array.from({ length: Math.min(AT_ONCE, past - from) }, (_, i) => sell(ledger, from + i)),
      )
  } finally {
    await ledger.close()
  }
}

async function sell(ledger: Ledger, n: number): Promise<void> {
  const nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')
  const asset = 'eip155:84532/erc20:0x036cbd53842c5426634e7929541ec2318f3dcf7e'
  const key = `${asset}/0x857b06519e91e3a54538791bdbb0e22373e36b66/0x${nonce}`
  await ledger.transfer({
    key,
    purpose: `GET http://shop.test/paid?${n}`,
    asset,
    amount: 1_000n,
    legs: [{ debit: 'world/evm', credit: 'sales/GET /paid' }],
    leaseUntilAt: Date.now(),
    note: { kind: 'past', payer: '0x857b06519e91e3a54538791bdbb0e22373e36b66', request: nonce },
  })
  const data = { reference: `0x${nonce}`, deliverBy: 0 }
  await ledger.step(key, { type: 'prepared', data: { raw: nonce.repeat(8) } })
  await ledger.post(key, undefined, { type: 'settled', data })
  await ledger.step(key, { type: 'delivered', data: {} })
}
