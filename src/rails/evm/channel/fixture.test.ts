// A seller and a buyer with channels between them, on a real chain with Circle's own token, where a block is final after four more.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../../core/clock.ts'
import { createMac } from '../../../core/mac.ts'
import { readPrice } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import { createOffers } from '../../../core/offers.ts'
import type { Clock, Ledger, Log, Settlement, Step } from '../../../core/ports.ts'
import type { Resource } from '../../../core/resource.ts'
import { memory } from '../../../ledger/memory.ts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import type { Token } from '../networks.ts'
import type { Proof } from './proof.ts'
import type { ChannelRail, ChannelSettings } from './rail.ts'
import { channel } from './rail.ts'
import type { Details } from './terms.ts'
import type { ChannelWallet } from './wallet.ts'
import { channelWallet } from './wallet.ts'

const realm = 'api.example.com'
const resource: Resource = {
  ...{ realm, method: 'GET', authority: realm, path: '/', query: '' },
  url: `https://${realm}/`,
}

/** What came of a deposit. */
export interface Deposited {
  readonly offer: Offer<Details>
  readonly proof: Proof
  readonly key: string
  readonly settled: Settlement & { readonly state: 'settled' }
}

/** A log that a test can look into. */
export interface OpenLog extends Log {
  readonly steps: Step[]
}

/** A seller, a buyer, and their chain. */
export interface World {
  readonly chain: Chain
  readonly ledger: Ledger
  readonly clock: Clock
  readonly token: Token
  readonly payee: string
  readonly rail: ChannelRail
  readonly wallet: ChannelWallet
  /** Moves our clock, not the chain's. */
  skip(ms: number): void
  /** The chain's clock goes along with ours. */
  align(): Promise<void>
  /** Another process of the same seller. */
  another(more?: Partial<ChannelSettings>): Promise<ChannelRail>
  /** Another buyer, with a hundred dollars. */
  buyer(): Promise<ChannelWallet>
  offer(price?: string): Offer<Details>
  log(): OpenLog
  deposit(by?: ChannelWallet): Promise<Deposited>
  stop(): Promise<void>
}

export async function createWorld(more: Partial<ChannelSettings> = {}): Promise<World> {
  const chain = await startChain({ slotsInAnEpoch: 2 })
  let skippedMs = 0
  let nonce = 0
  const clock: Clock = {
    now: () => Date.now() + skippedMs,
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
  }
  const token: Token = {
    ...{ address: chain.usdc as Token['address'], code: 'USDC', scale: 6, currency: 'USD' },
    ...{ name: 'USDC', version: '2' },
  }
  const ledger = memory({ clock })
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const signer = privateKeyToAccount(generatePrivateKey())
  await chain.fundEther(signer.address, 10n ** 19n)
  const rails: ChannelRail[] = []
  const wallets: ChannelWallet[] = []
  const { network, rpc } = chain

  async function another(other: Partial<ChannelSettings> = {}): Promise<ChannelRail> {
    const rail = channel({
      ...{ network, assets: [token], rpc, payTo: signer.address, signer, ledger, clock },
      ...more,
      ...other,
    })
    rails.push(rail)
    await rail.open()
    return rail
  }

  async function buyer(): Promise<ChannelWallet> {
    const account = privateKeyToAccount(generatePrivateKey())
    await chain.fundEther(account.address, 10n ** 19n)
    await chain.mint(account.address, 100_000_000n)
    const wallet = channelWallet({ network, assets: [token], account, rpc, clock })
    wallets.push(wallet)
    return wallet
  }

  function offer(price = '1 USD'): Offer<Details> {
    const [terms] = rail.quote(readPrice(price))
    assert.ok(terms)
    return offers.bind(terms, resource, clock.now() + 300_000, String(nonce++))
  }

  function log(): OpenLog {
    const steps: Step[] = []
    return { steps, read: async () => steps, write: async (step) => void steps.push(step) }
  }

  const [rail, wallet] = [await another(), await buyer()]
  return {
    ...{ chain, ledger, clock, token, payee: signer.address, rail, wallet },
    skip: (ms) => void (skippedMs += ms),
    async align() {
      const time = Math.floor(clock.now() / 1000)
      await chain.request('evm_setNextBlockTimestamp', [time])
      await chain.mine()
    },
    another,
    buyer,
    offer,
    log,
    async deposit(by = wallet) {
      const made = offer()
      const proof = await by.pay(made, 60_000)
      const verdict = await rail.verify(made, proof)
      assert.ok(verdict.ok, inspect(verdict))
      const settled = await rail.settle(made, proof, verdict.key, log())
      assert.ok(settled.state === 'settled', inspect(settled))
      return { offer: made, proof, key: verdict.key, settled }
    },
    async stop() {
      for (const one of wallets) one.close()
      await Promise.all(rails.map((one) => one.close()))
      await ledger.close()
      await chain.stop()
    },
  }
}
