// The rail and the wallet over the chain's stand-in. The order of things is that of src/rails/evm: look, write ahead,
// send, wait, judge by the token's own state; after that only evidence closes.
import { createForms } from '../../src/rails/evm/forms.ts'
import type { Details } from '../../src/rails/evm/forms.ts'
import { check } from '../../src/rails/evm/check.ts'
import { exact } from '../../src/rails/evm/exact.ts'
import { networks } from '../../src/rails/evm/networks.ts'
import { readProof, writeProof } from '../../src/rails/evm/proof.ts'
import type { Proof } from '../../src/rails/evm/proof.ts'
import {
  afterSending,
  beforeSending,
  dead,
  failed,
  reverted,
  spent,
  unknown,
} from '../../src/rails/evm/problems.ts'
import type { Offer } from '../../src/core/offer.ts'
import type { Log, Rail, Settlement, Standing, Wallet } from '../../src/core/ports.ts'
import { PaymentError, problem } from '../../src/core/problem.ts'
import type { Dice, Process, Weather } from '../../src/testing/faults.ts'
import type { Chain, Look, Tx } from './chain.ts'
import { signatureOf } from './chain.ts'

const NETWORK = 'eip155:84532'
const network = networks.find(({ id }) => id === NETWORK) ?? failedSetUp()
/** How long a settlement waits for its block. */
const WAIT_MS = 30_000
/** How far the chain must be past the end of an authorization before it is called dead. */
const DEAD_AFTER_MS = 30_000
const WRITTEN_MAX = 8

function failedSetUp(): never {
  throw new Error('The network of the simulation is not in the table.')
}

/** How old a block is when it is final: none that is older comes undone. */
const FINAL_MS = 20_000

/** What both sides need of the outside. */
export interface Outside {
  readonly process: Process
  readonly chain: Chain
  readonly dice: Dice
  readonly weather: Weather
  /** How probable it is that a node is some blocks behind. */
  readonly stale: number
}

export type SimRail = Rail<Details, Proof> & Required<Pick<Rail<Details, Proof>, 'stands'>>

/** One question to a node, which may be down, slow or behind. */
function ask<T>(
  { process, dice, weather, stale }: Outside,
  what: string,
  work: (behind: number) => T,
): Promise<T> {
  const behind = dice.happens(stale) ? 1 + dice.below(2) : 0
  const fault = (): Error => new PaymentError('rail-unavailable', 'The node is down.')
  return process.effect({ what: `node.${what}`, work: () => work(behind), fault, weather })
}

export function createRail(outside: Outside, payTo: string): SimRail {
  const { process, chain, dice } = outside
  const { clock } = process
  const method = exact({ network: NETWORK, payTo })
  const queue = createQueue()
  const newHash = (): string => `0x${Buffer.from(dice.bytes(32)).toString('hex')}`

  const look = (from: string, nonce: string): Promise<Look> =>
    ask(outside, 'look', (behind) => chain.look(from, nonce, behind))

  async function settle(offer: Offer<Details>, proof: Proof, log: Log): Promise<Settlement> {
    const before = await written(log)
    if (before.length > 0)
      return (await search(offer, proof.from, proof.nonce, log)) ?? unknown('Not found yet.')
    const refused = check(offer, proof, network, clock.now(), 0)
    if (refused) return failed(refused)
    try {
      await ask(outside, 'fees', () => undefined)
    } catch (error) {
      return beforeSending(error)
    }
    const tx: Tx = { hash: newHash(), kind: 'pay', proof }
    await write(log, tx)
    await send(tx)
    return conclude(offer, tx, log)
  }

  const write = (log: Log, { hash, proof }: Tx & { kind: 'pay' }): Promise<void> =>
    log.write({ type: 'prepared', data: { hash, proof: { ...writeProof(proof) } } })

  /** A node that does not answer may have taken it all the same, and whoever waits will see. */
  const send = (tx: Tx): Promise<void> =>
    ask(outside, 'send', () => chain.submit(tx)).catch(() => undefined)

  async function conclude(
    offer: Offer<Details>,
    tx: Tx & { kind: 'pay' },
    log: Log,
  ): Promise<Settlement> {
    const [mined] = await Promise.all([
      wait(tx),
      log.write({ type: 'broadcast', data: { hash: tx.hash } }).catch(() => undefined),
    ])
    if (mined === undefined) return unknown('It is in no block yet.')
    return judge(offer, tx, mined).catch(afterSending)
  }

  async function wait(tx: Tx): Promise<boolean | undefined> {
    const untilAt = clock.now() + WAIT_MS
    for (let looks = 1; clock.now() < untilAt; looks++) {
      const found = await ask(outside, 'receipt', (behind) => chain.receipt(tx.hash, behind)).catch(
        () => undefined,
      )
      if (found) return found.ok
      if (looks % 5 === 0) await send(tx)
      await clock.sleep(1_500)
    }
    return undefined
  }

  async function judge(
    offer: Offer<Details>,
    { proof, hash }: Tx & { kind: 'pay' },
    ok: boolean,
  ): Promise<Settlement> {
    if (ok) return settled(proof.from, hash, clock.now())
    const { used } = await look(proof.from, proof.nonce)
    return used ? traced(offer, used, proof.from) : failed(reverted)
  }

  function traced(
    offer: Offer<Details>,
    used: NonNullable<Look['used']>,
    from: string,
  ): Settlement {
    const { proof } = used
    const ours =
      used.moved && proof?.to === offer.payee.toLowerCase() && proof.value === offer.amount.amount
    return ours ? settled(from, used.hash, used.at) : failed(spent)
  }

  async function search(
    offer: Offer<Details>,
    from: string,
    nonce: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    const before = await written(log)
    try {
      return await resume(offer, from, nonce, before, log)
    } catch (error) {
      return afterSending(error)
    }
  }

  async function resume(
    offer: Offer<Details>,
    from: string,
    nonce: string,
    before: readonly (Tx & { kind: 'pay' })[],
    log: Log,
  ): Promise<Settlement | undefined> {
    const { used, at } = await look(from, nonce)
    if (used) return traced(offer, used, from)
    const last = before.at(-1)
    if (!last) return undefined
    if (at >= Number(last.proof.validBefore) * 1000 + DEAD_AFTER_MS) return failed(dead)
    for (const tx of before.toReversed()) {
      const mined = await ask(outside, 'receipt', (behind) => chain.receipt(tx.hash, behind))
      if (mined) return judge(offer, tx, mined.ok)
    }
    if (before.length >= WRITTEN_MAX) return unknown('It was sent too often.')
    await send(last)
    return conclude(offer, last, log)
  }

  /** What is not there is gone once the final block is past the end of the authorization. Until then it is sent again. */
  async function stands(
    offer: Offer<Details>,
    from: string,
    nonce: string,
    log: Log,
  ): Promise<Standing> {
    const { used, at } = await look(from, nonce)
    if (used && traced(offer, used, from).state === 'settled')
      return { state: at - used.at > FINAL_MS ? 'final' : 'open', reference: used.hash }
    const last = (await written(log)).at(-1)
    const over = last && at - FINAL_MS >= Number(last.proof.validBefore) * 1000
    const found = await queue(`${from}/${nonce}`, () => search(offer, from, nonce, log))
    if (found?.state === 'settled') return { state: 'open', reference: found.reference }
    return found?.state === 'failed' && over
      ? { state: 'gone', problem: found.problem }
      : { state: 'open' }
  }

  return {
    ...method,
    stands: (offer, key, _, log) => {
      const [from = '', nonce = ''] = key.split('/').slice(-2)
      return stands(offer, from, nonce, log)
    },
    open: () => Promise.resolve(),
    close: () => Promise.resolve(),
    async verify(offer, proof, payableForMs = 0) {
      const refused = check(offer, proof, network, clock.now(), payableForMs)
      if (refused) return { ok: false, problem: refused }
      const { key, payer } = method.identify(offer, proof)
      if (signatureOf(proof) !== proof.signature)
        return { ok: false, problem: problem('proof-invalid', 'Not signed.'), key, payer }
      const { used, balance } = await look(proof.from, proof.nonce)
      if (used) return { ok: false, problem: spent, key, payer }
      if (balance < proof.value)
        return { ok: false, problem: problem('funds-insufficient', 'Too little.'), key, payer }
      return { ok: true, key, payer }
    },
    settle: (offer, proof, key, log) => queue(key, () => settle(offer, proof, log)),
    find: (offer, key, log) => {
      const [from = '', nonce = ''] = key.split('/').slice(-2)
      return queue(key, () => search(offer, from, nonce, log))
    },
  }
}

function settled(payer: string, reference: string, settledAt: number): Settlement {
  return { state: 'settled', reference, payer, settledAt }
}

async function written(log: Log): Promise<readonly (Tx & { kind: 'pay' })[]> {
  const steps = await log.read()
  return steps.flatMap(({ type, data }) => {
    const proof = type === 'prepared' ? readProof(data['proof']) : ''
    const { hash } = data
    if (typeof proof === 'string' || typeof hash !== 'string') return []
    return [{ hash, kind: 'pay', proof }]
  })
}

/** All work on one key is done one after the other. */
function createQueue(): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>()
  return (key, work) => {
    const before = last.get(key) ?? Promise.resolve()
    const next = before.then(work, work)
    last.set(key, next)
    next.catch(() => undefined)
    return next
  }
}

/** What a wallet signed. */
export type Signed = (proof: Proof, offer: Offer<Details>) => void

export function createWallet(
  outside: Outside,
  account: `0x${string}`,
  { sees, onSigned }: { readonly sees: boolean; readonly onSigned: Signed },
): Wallet<Details, Proof> {
  const { process, chain, dice } = outside
  const { clock } = process
  const wallet: Wallet<Details, Proof> = {
    rail: 'evm',
    forms: createForms({ networks: [network] }),
    refuses: (offer) => (offer.network === NETWORK ? undefined : 'Not this network.'),
    async pay(offer, validForMs) {
      await process.effect({
        what: 'signer',
        work: () => undefined,
        fault: () => new Error('The signer is gone.'),
        weather: outside.weather,
      })
      const authorization = {
        from: account,
        to: offer.payee.toLowerCase() as `0x${string}`,
        value: offer.amount.amount,
        validAfter: 0n,
        validBefore: BigInt(Math.floor((clock.now() + validForMs) / 1000)),
        nonce: `0x${Buffer.from(dice.bytes(32)).toString('hex')}` as const,
      }
      const proof: Proof = { ...authorization, signature: signatureOf(authorization) }
      onSigned(proof, offer)
      return proof
    },
    expiresAt: ({ validBefore }) => Number(validBefore) * 1000,
    payer: ({ from }) => from,
  }
  if (!sees) return wallet
  return {
    ...wallet,
    async outcome(offer, proof) {
      const { used, at } = await ask(outside, 'outcome', (behind) =>
        chain.look(proof.from, proof.nonce, behind),
      )
      if (!used) return at >= Number(proof.validBefore) * 1000 + DEAD_AFTER_MS ? 'dead' : 'open'
      return used.moved && used.proof?.to === offer.payee.toLowerCase() ? 'paid' : 'dead'
    },
  }
}
