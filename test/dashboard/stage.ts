// A real seller with books on disk, over a rail whose money is a set of keys, and its dashboard on a free port.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAdmin, createHub } from '../../src/admin/index.ts'
import type { AdminSettings } from '../../src/admin/index.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Ledger, Pass, Rail } from '../../src/core/ports.ts'
import type { Settlement } from '../../src/core/ports.ts'
import {
  ask,
  createKeyRail,
  offerOf,
  passed,
  plan,
  planned,
  priced,
} from '../../src/gate/fixture.test.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'

/** What the operator of the stage logs in with. */
export const TOKEN = 'a-token-of-the-operator-0123456789'

/** What a network calls the payment with that proof. */
export function hashOf(proof: string): string {
  return `0x${Buffer.from(proof).toString('hex').padEnd(64, '0').slice(0, 64)}`
}

/** A shop and its dashboard. */
export interface Stage {
  readonly url: string
  readonly ledger: Ledger
  /** Where the books are. */
  readonly file: string
  /** How often money went back, by the key of the refund. */
  readonly returned: ReadonlyMap<string, bigint>
  /** A payment that is being worked on. */
  begin(route: string, price: string, proof: string): Promise<Pass>
  /** A payment from its beginning to its end. */
  pay(route: string, price: string, proof: string): Promise<string>
  /** Buys a token of the plan; its account. */
  buy(proof: string): Promise<string>
  /** Books what lies there and nobody has explained, as a comparison does. */
  find(account: string, units: bigint): Promise<void>
  close(): Promise<void>
}

/** Opens the stage. */
export async function openStage(settings: Partial<AdminSettings> = {}): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-dashboard-'))
  const file = join(directory, 'books.db')
  const ledger = await sqlite({ file })
  const hub = createHub()
  const returned = new Map<string, bigint>()
  const rail = createRail(returned)
  const seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    ...{ rails: [rail], protocols: [], ledger, observe: hub.observe },
  })
  const { gate } = seller
  const admin = createAdmin({
    ...{ token: TOKEN, hub },
    shop: () => ({ gate, ledger, rails: [rail] }),
    explorers: { net: 'https://explorer.example/tx/{reference}' },
    ...settings,
  })
  const server = createServer(admin.handle)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  async function begin(route: string, price: string, proof: string): Promise<Pass> {
    const to = ask(priced(price, { account: `sales/${route}` }))
    const offer = await offerOf(gate, to)
    return passed(await gate.admit({ ...to, credential: { offer, proof } }))
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ledger,
    file,
    returned,
    begin,
    async pay(route, price, proof) {
      const pass = await begin(route, price, proof)
      const outcome = await pass.finish(true)
      assert.equal(outcome.kind, 'serve')
      pass.delivered()
      return pass.key
    },
    async buy(proof) {
      const to = ask(planned(plan('hundred', { uses: 100 })))
      const offer = await offerOf(gate, to)
      const bought = await gate.sell({ ...to, credential: { offer, proof } })
      return bought.kind === 'bought' ? bought.account.id : assert.fail(bought.problem.code)
    },
    async find(account, units) {
      const key = `reconcile/test/net/1/${account}`
      const leg = account.startsWith('world/')
        ? { debit: account, credit: 'world/test/net/seller' }
        : { debit: 'world/test/net/seller', credit: account }
      await ledger.transfer({
        ...{ key, purpose: 'reconcile', asset: 'test:coin', amount: units, legs: [leg] },
        leaseUntilAt: systemClock.now() + 60_000,
        note: {
          ...{ kind: 'mismatch', finding: 'surplus', rail: 'test', network: 'net' },
          account: 'seller',
        },
      })
      await ledger.post(key)
    },
    async close() {
      admin.close()
      server.closeAllConnections()
      server.close()
      await seller.close()
      await ledger.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** A rail whose payers are told apart, that gives money back, and that does not know what became of what begins so. */
function createRail(returned: Map<string, bigint>): Rail<unknown, string> {
  const { rail } = createKeyRail(systemClock)
  const payerOf = (proof: string): string => `0xbuyer${proof.slice(0, 1)}`.padEnd(42, '0')
  const settled = (reference: string, payer: string): Settlement => ({
    ...{ state: 'settled', reference, payer, settledAt: systemClock.now() },
  })
  return {
    ...rail,
    identify: (_, proof) => ({ key: proof, payer: payerOf(proof) }),
    verify: async (_, proof) => ({ ok: true, key: proof, payer: payerOf(proof) }),
    async settle(_, proof, key, log) {
      await log.write({ type: 'prepared', data: { raw: 'as good as money' } })
      if (proof.startsWith('lost'))
        return { state: 'unknown', detail: 'The network did not answer.' }
      return settled(hashOf(key), payerOf(proof))
    },
    find: async () => ({ state: 'unknown', detail: 'The network does not answer.' }),
    async refund(_, payer, { amount }, key, log) {
      await log.write({ type: 'prepared', data: {} })
      returned.set(key, (returned.get(key) ?? 0n) + amount)
      return settled(hashOf(key), payer)
    },
  }
}
