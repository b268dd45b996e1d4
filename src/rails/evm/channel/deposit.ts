import { assert } from '../../../core/assert.ts'
import { isObject } from '../../../core/json.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Clock, Log, Rail, Settlement, Standing, Verdict } from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import type { Budget } from '../budget.ts'
import { check } from '../check.ts'
import type { Final } from '../final.ts'
import type { Hex } from '../hex.ts'
import { lower, quantity } from '../hex.ts'
import { uint } from '../abi.ts'
import { afterSending, beforeSending, failed, unknown, unsent } from '../problems.ts'
import type { Rpc } from '../rpc.ts'
import { readHex, readNumber } from '../rpc.ts'
import { DEAD_AFTER_S, newest } from '../settling.ts'
import type { Written } from '../steps.ts'
import { isHex, written } from '../steps.ts'
import { CHARGE } from '../terms.ts'
import type { Mined, Reader } from '../token.ts'
import { balanceCall } from '../token.ts'
import type { Books } from './books.ts'
import type { Deposit, Escrow, State } from './escrow.ts'
import { depositCall, depositsIn, gas } from './escrow.ts'
import {
  dead,
  expired,
  finalized,
  closing,
  garbled,
  missing,
  notFound,
  notYet,
  otherAmount,
  otherChannel,
  otherNonce,
  otherTerms,
  refused,
  reverted,
  short,
  stranger,
  taken,
  tooMuch,
  used,
} from './problems.ts'
import type { Authorized, Opening, Proof, Sent } from './proof.ts'
import type { Send } from './sending.ts'
import type { Details, Shop } from './terms.ts'
import { SESSION } from './terms.ts'
import type { Channels } from './voucher.ts'
import { EVM_SCHEME } from './voucher.ts'

/** What deposits need. */
export interface DepositParts {
  readonly shop: Shop
  readonly rpc: Rpc
  readonly reader: Reader
  readonly escrow: Escrow
  readonly books: Books
  readonly clock: Clock
  readonly budget: Budget
  readonly send: Send
  /** Who submits. */
  readonly sender: Hex
  readonly confirmations: number
  readonly final: () => Promise<Final | undefined>
  /** The arithmetic, once the rail is open. */
  readonly channels: () => Channels
}

/** The verbs for deposits. */
export type Deposits = Pick<Rail<Details, Proof>, 'verify' | 'settle' | 'find' | 'identify'> &
  Required<Pick<Rail<Details, Proof>, 'stands'>>

/** Which deposit a key names: by its authorization's nonce, or by the transaction that its payer has sent. */
interface Named {
  readonly channel: Hex
  readonly nonce?: Hex
  readonly hash?: Hex
}

/** Makes the verbs that take deposits into channels. */
export function createDeposits(parts: DepositParts): Deposits {
  const { shop, rpc, reader, escrow, books, clock, budget, send, sender, final } = parts
  const { network, place } = shop
  const base = `${network.id}/channel:${place.escrow}`
  const payee = lower(shop.payee)

  const identify: Deposits['identify'] = (_, proof) => {
    const { channel } = proof
    if ('authorization' in proof) {
      const { nonce, from } = proof.authorization
      return { key: `${base}/${channel}/${nonce}`, payer: from }
    }
    // What opens a channel has one nonce, whoever submits it, so that it is one deposit however it is shown.
    const tail = proof.opening ? parts.channels().nonceOf(channel, 0n) : `tx:${proof.hash}`
    return { key: `${base}/${channel}/${tail}`, payer: proof.payer }
  }

  function readKey(key: string): Named {
    assert(key.startsWith(`${base}/`), 'a deposit goes under its own key')
    const [id, tail = ''] = key.slice(base.length + 1).split('/')
    const channel = id as Hex
    return tail.startsWith('tx:')
      ? { channel, hash: tail.slice(3) as Hex }
      : { channel, nonce: tail as Hex }
  }

  const isNamed =
    ({ channel, nonce, hash }: Named) =>
    (mined: Mined): Deposit | undefined =>
      depositsIn(mined, escrow.address, channel).find(({ before, amount }) =>
        nonce === undefined
          ? mined.hash === hash && before > 0n && amount > 0n
          : parts.channels().nonceOf(channel, before) === nonce,
      )

  async function verify(offer: Offer<Details>, proof: Proof, payableForMs = 0): Promise<Verdict> {
    const { key, payer } = identify(offer, proof)
    const why =
      'authorization' in proof
        ? await checkAuthorized(offer, proof, payableForMs)
        : await checkSent(offer, proof)
    return why ? { ok: false, problem: why, key, payer } : { ok: true, key, payer }
  }

  async function checkAuthorized(
    offer: Offer<Details>,
    proof: Authorized,
    payableForMs: number,
  ): Promise<Problem | undefined> {
    const { authorization, opening } = proof
    const { from } = authorization
    const wrong =
      checkSigned(offer, proof, payableForMs) ??
      (opening ? checkOpening(offer, proof.channel, opening, from) : await checkKnown(proof))
    return wrong ?? budget.refuses(from) ?? (await simulate(offer, proof))
  }

  /** What can be said without asking anybody. */
  function checkSigned(
    offer: Offer<Details>,
    { authorization, channel, opening }: Authorized,
    payableForMs: number,
  ): Problem | undefined {
    // An authorization as the rail for single payments takes them, whose payee is the contract.
    const { token: asset, escrow: to } = offer.details
    const details = { asset, name: '', version: '' }
    const plain = { ...offer, intent: offer.intent === SESSION ? CHARGE : '', payee: to, details }
    const wrong = check(plain, authorization, network, clock.now(), payableForMs)
    if (wrong || !opening) return wrong
    return authorization.nonce === parts.channels().nonceOf(channel, 0n) ? undefined : otherNonce
  }

  function checkOpening(
    { details }: Offer<Details>,
    channel: Hex,
    { salt, authorizedSigner, voucher }: Opening,
    payer: Hex,
  ): Problem | undefined {
    const token = lower(details.token)
    const descriptor = { payer, payee, token, salt, authorizedSigner }
    const channels = parts.channels()
    if (channels.idOf(descriptor, place) !== channel) return otherChannel
    const signer = channels.signerOf(EVM_SCHEME, place, channel, voucher)
    if (signer === undefined) return garbled
    return signer === (isZero(authorizedSigner) ? payer : authorizedSigner) ? undefined : stranger
  }

  async function checkKnown({ channel, authorization }: Authorized): Promise<Problem | undefined> {
    const known = await books.known(channel)
    if (!known) return notFound
    if (known.isOver || (await books.end(channel))) return finalized
    return known.payer === authorization.from ? undefined : otherTerms
  }

  /** One round trip that decides; what is refused is looked into. */
  async function simulate(offer: Offer<Details>, proof: Authorized): Promise<Problem | undefined> {
    const { channel, opening, authorization } = proof
    const { from, nonce, value } = authorization
    const token = lower(offer.details.token)
    if (opening && opening.voucher.cumulative > value) return tooMuch
    const call = {
      from: sender,
      to: escrow.address,
      data: depositCall(proof, { payee, token }),
      gas: quantity(gas.open),
    }
    const tried = await rpc.ask('eth_call', [call, 'latest'], readHex)
    if ('result' in tried) return undefined
    const { used: isUsed } = await reader.state({ token, from, nonce })
    if (isUsed) return used
    const { state, time } = await escrow.stateAt(channel)
    if (state?.isFinal) return finalized
    // The chain’s clock may be ahead of ours.
    if (time >= authorization.validBefore) return expired
    const before = opening ? 0n : (state?.deposit ?? 0n)
    if (nonce !== parts.channels().nonceOf(channel, before)) return otherNonce
    const { target: to, data } = balanceCall(token, from)
    const balance = await rpc.read('eth_call', [{ to, data }, 'latest'], readHex)
    return (uint(balance) ?? 0n) < value ? short : refused
  }

  async function checkSent(offer: Offer<Details>, proof: Sent): Promise<Problem | undefined> {
    const { channel, hash, opening, payer } = proof
    if (opening) {
      const wrong = checkOpening(offer, channel, opening, payer)
      if (wrong) return wrong
      if (opening.voucher.cumulative > offer.amount.amount) return tooMuch
    } else if (!(await books.known(channel))) return notFound
    const mined = await reader.mined(hash)
    if (!mined || !(await isDeep(mined))) return notYet
    const named = readKey(identify(offer, proof).key)
    const deposit = isNamed(named)(mined)
    if (!deposit) return missing
    const state = await escrow.state(channel)
    return state ? judged(offer, state, deposit, payer) : notYet
  }

  function judged(
    offer: Offer<Details>,
    state: State,
    deposit: Deposit,
    payer: Hex,
  ): Problem | undefined {
    if (deposit.amount !== offer.amount.amount) return otherAmount
    const isOurs = state.payee === payee && state.token === lower(offer.details.token)
    if (!isOurs || deposit.payer !== payer) return otherTerms
    if (state.isFinal) return finalized
    return state.isClosing ? closing : undefined
  }

  async function isDeep({ block }: Mined): Promise<boolean> {
    const { confirmations } = parts
    return confirmations === 1 || (await reader.height()) - block + 1n >= BigInt(confirmations)
  }

  async function settle(
    offer: Offer<Details>,
    proof: Proof,
    key: string,
    log: Log,
  ): Promise<Settlement> {
    assert(identify(offer, proof).key === key, 'a deposit goes under its own key')
    const { channel, opening } = proof
    const before = await log.read()
    if (before.length > 0) return (await search(offer, key, log)) ?? waiting
    if (opening) {
      const payer = 'hash' in proof ? proof.payer : proof.authorization.from
      const wrong = checkOpening(offer, channel, opening, payer)
      if (wrong) return failed(wrong)
      // Before the money moves: with it a channel can be closed, whoever goes on.
      await books.keep(channel, opening.voucher)
    }
    if ('hash' in proof) {
      await log.write({ type: 'prepared', data: { hash: proof.hash } })
      return (await search(offer, key, log)) ?? waiting
    }
    const wrong = checkSigned(offer, proof, 0)
    return wrong ? failed(wrong) : await submit(offer, proof, key, log)
  }

  async function submit(
    offer: Offer<Details>,
    proof: Authorized,
    key: string,
    log: Log,
  ): Promise<Settlement> {
    const { opening, authorization } = proof
    const token = lower(offer.details.token)
    const landed = await send(
      {
        to: escrow.address,
        data: depositCall(proof, { payee, token }),
        gas: opening ? gas.open : gas.topUp,
        kind: 'charge',
        validBefore: authorization.validBefore,
      },
      log,
    ).catch(async (error: unknown) =>
      // What was not written ahead was not sent.
      (await log.read()).length > 0 ? undefined : { fault: error },
    )
    if (landed && 'fault' in landed) return beforeSending(landed.fault)
    if (landed && 'unsent' in landed) return failed(unsent(landed.unsent))
    if (!landed) return waiting
    const done = await concluded(offer, key, landed, log).catch(afterSending)
    if (done.state === 'failed' && done.problem === reverted) budget.failed(authorization.from)
    return done
  }

  /** What a transaction of ours has done. */
  async function concluded(
    offer: Offer<Details>,
    key: string,
    landed: Mined,
    log: Log,
  ): Promise<Settlement> {
    const cost = landed.cost
    const named = readKey(key)
    const found = isNamed(named)(landed)
    if (found) return costing(cost, await paid(offer, key, landed, found))
    // Somebody else may have submitted it before.
    return costing(cost, (await search(offer, key, log)) ?? failed(reverted))
  }

  /** The deposit is there: it counts for this sale, if for no other. */
  async function paid(
    offer: Offer<Details>,
    key: string,
    mined: Mined,
    deposit: Deposit,
  ): Promise<Settlement> {
    const { channel } = readKey(key)
    const state = await escrow.state(channel)
    if (!state || !(await isDeep(mined))) return waiting
    const { amount, payer, before } = deposit
    if (amount !== offer.amount.amount) return failed(otherAmount)
    const token = lower(offer.details.token)
    if (state.payee !== payee || state.token !== token) return failed(otherTerms)
    const { signer } = state
    const minVoucherDelta = BigInt(offer.details.minVoucherDelta)
    await books.remember({ channel, payer: state.payer, signer, token, minVoucherDelta })
    if (!(await books.takeDeposit(channel, before, amount, key))) return failed(taken)
    const settledAt = await timeOf(mined)
    return { state: 'settled', reference: mined.hash, payer, settledAt }
  }

  async function timeOf({ blockHash }: Mined): Promise<number> {
    const time = await rpc.read('eth_getBlockByHash', [blockHash, false], (said) => {
      if (!isObject(said)) throw new Error('not a block')
      return readNumber(said['timestamp'])
    })
    return Number(time) * 1_000
  }

  const search = (offer: Offer<Details>, key: string, log: Log): Promise<Settlement | undefined> =>
    look(offer, key, log).catch(afterSending)

  async function look(
    offer: Offer<Details>,
    key: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    const named = readKey(key)
    const before = await written(log, 'charge')
    const { state, time } = await escrow.stateAt(named.channel)
    const sought = await seek(offer, named, state, before)
    if (sought === 'unseen') return waiting
    if (sought === 'elsewhere') return failed(used)
    const deposit = sought && isNamed(named)(sought)
    if (sought && deposit) {
      const isOwn = before.some(({ hash }) => hash === sought.hash)
      return costing(isOwn ? sought.cost : undefined, await paid(offer, key, sought, deposit))
    }
    if (named.hash !== undefined) return await lookAfter(named.hash, sought, log)
    const last = before.at(-1)
    if (!last) return undefined
    if (time >= last.validBefore + DEAD_AFTER_S) return failed(dead)
    return await resume(offer, key, last, before, log)
  }

  /** Sends again what was written ahead. An authorization can be used once, so that this is safe under any number. */
  async function resume(
    offer: Offer<Details>,
    key: string,
    { to, data, gas: most, validBefore }: Written,
    before: readonly Written[],
    log: Log,
  ): Promise<Settlement> {
    const mined = await newest(reader, before)
    if (mined && !mined.ok) return costing(mined.cost, failed(reverted))
    const landed = await send({ to, data, gas: most, kind: 'charge', validBefore }, log)
    if (!landed || 'unsent' in landed) return waiting
    const deposit = isNamed(readKey(key))(landed)
    return deposit ? costing(landed.cost, await paid(offer, key, landed, deposit)) : waiting
  }

  /** The transaction that has made it, whoever sent it. */
  async function seek(
    offer: Offer<Details>,
    named: Named,
    state: State | undefined,
    before: readonly Written[],
  ): Promise<Mined | 'elsewhere' | 'unseen' | undefined> {
    const { channel, nonce, hash } = named
    if (nonce === undefined) return hash && (await reader.mined(hash))
    for (const one of before.toReversed()) {
      const mined = await reader.mined(one.hash)
      if (mined && isNamed(named)(mined)) return mined
    }
    if (!state) return undefined
    if (nonce === parts.channels().nonceOf(channel, 0n))
      return (
        (await escrow.find(channel, 'deposits', (one) => isNamed(named)(one) !== undefined)) ??
        'unseen'
      )
    // A top-up by its payer’s own transaction uses no nonce, and is another spend.
    const { token, payer: from } = state
    const spend = { token, from, nonce, payee: escrow.address, amount: offer.amount.amount }
    if (!(await reader.state(spend)).used) return undefined
    const trace = await reader.trace(spend)
    return trace.kind === 'paid' ? trace.mined : trace.kind
  }

  /** A transaction of its payer that is in no block, or did something else. */
  async function lookAfter(
    hash: Hex,
    mined: Mined | undefined,
    log: Log,
  ): Promise<Settlement | undefined> {
    if (mined) return failed(missing)
    const isTold = (await log.read()).some(({ data }) => data['hash'] === hash)
    return isTold ? waiting : undefined
  }

  async function stands(
    offer: Offer<Details>,
    key: string,
    reference: string,
    log: Log,
  ): Promise<Standing> {
    // The final block first: a receipt that is missing afterwards was not final before.
    const end = await final()
    const named = readKey(key)
    const mined = isHex(reference) ? await reader.mined(reference) : undefined
    if (mined && isNamed(named)(mined)) {
      const isFinal = end !== undefined && mined.block <= end.block
      return { state: isFinal ? 'final' : 'open', reference }
    }
    const found = await search(offer, key, log)
    if (found?.state === 'settled') return { state: 'open', reference: found.reference }
    const last = (await written(log, 'charge')).at(-1)
    const isOver = end !== undefined && last !== undefined && end.time >= last.validBefore
    if (found?.state !== 'failed' || !isOver) return { state: 'open' }
    await books.dropDeposit(named.channel, key)
    return { state: 'gone', problem: found.problem }
  }

  return { identify, verify, settle, find: search, stands }
}

/** The same, which has cost so much. */
function costing(cost: bigint | undefined, settlement: Settlement): Settlement {
  if (cost === undefined || settlement.state === 'unknown') return settlement
  return { ...settlement, cost }
}

function isZero(address: Hex): boolean {
  return /^0x0+$/.test(address)
}

const waiting: Settlement = unknown('The deposit is in no block yet that is deep enough.')
