import { TRANSFER_TOPIC, USED_TOPIC, padded, uint } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import { PERMIT2 } from '../permit/terms.ts'
import type { LogLine } from '../token.ts'
import type { Sighting } from './look.ts'
import type { Details } from './terms.ts'

/** `Paid(address indexed,address indexed,bytes32 indexed,uint256)` of `contracts/TolseyReceiver.sol`. */
export const PAID_TOPIC: Hex = '0x5930b66d376a694925a50ae27e37b3c28a8e004df4af675ecfd0b3fbdf71f7d9'

/** `TransferWithMemo(address indexed,address indexed,uint256,bytes32 indexed)` (TIP-20). */
const MEMO_TOPIC: Hex = '0x57bc7354aa85aed339e000bccffabbc529466af35f0772c8f8ee1145927de7f0'
/** How a memo begins that names a challenge (draft-tempo-charge, attribution memo). */
const CHALLENGE_MEMO = '0xef1ed71201'

/** Money that came to the payee by one log of a transaction, or, of the chain's own coin, by the transaction itself. */
export interface Transfer {
  /** The place among the transaction's own logs; `value` where the transaction itself carried it. */
  readonly at: number | 'value'
  readonly from: Hex
  readonly amount: bigint
  /** What the payer named with it, where there is room for that. */
  readonly reference?: Hex
}

/** All that came to the payee by the transaction, of what the details name, from somebody else and above zero. */
export function transfersOf(sighting: Sighting, details: Details, payee: Hex): readonly Transfer[] {
  return allOf(sighting, details, payee).filter(({ from }) => from !== payee)
}

/** Whether the payee has paid himself there. */
export function selfTransfers(sighting: Sighting, details: Details, payee: Hex): boolean {
  return allOf(sighting, details, payee).some(({ from }) => from === payee)
}

function allOf(sighting: Sighting, details: Details, payee: Hex): readonly Transfer[] {
  const { to, sender: from, value: amount } = sighting
  const logged = transfersIn(sighting, details, payee)
  const isSent = sighting.ok && 'receiver' in details && to === payee && amount > 0n
  return isSent ? [...logged, { at: 'value', from, amount }] : logged
}

/** Those that stand in its log. */
export function transfersIn(
  mined: { readonly ok: boolean; readonly logs: readonly LogLine[] },
  details: Details,
  payee: Hex,
): readonly Transfer[] {
  if (!mined.ok) return []
  const all =
    'token' in details
      ? tokenTransfers(mined.logs, lower(details.token), payee)
      : coinTransfers(mined.logs, lower(details.receiver), payee)
  return all.filter(({ amount }) => amount > 0n)
}

/** By the token's own log alone: what the calldata says has often not happened. */
function tokenTransfers(logs: readonly LogLine[], token: Hex, payee: Hex): readonly Transfer[] {
  return logs.flatMap(({ address, topics, data }, at) => {
    const [topic, from, to] = topics
    if (address !== token || topic !== TRANSFER_TOPIC || topics.length !== 3) return []
    const payer = addressOf(from)
    if (to !== `0x${padded(payee)}` || !payer || data.length !== 66) return []
    return [{ at, from: payer, amount: uint(data as Hex) ?? 0n }]
  })
}

/** Through the receiver, which tells of it. What another contract sends on leaves no record. */
function coinTransfers(logs: readonly LogLine[], receiver: Hex, payee: Hex): readonly Transfer[] {
  return logs.flatMap(({ address, topics, data }, at): readonly Transfer[] => {
    const [topic, from, to, reference] = topics
    if (address !== receiver || topic !== PAID_TOPIC || topics.length !== 4) return []
    const payer = addressOf(from)
    if (to !== `0x${padded(payee)}` || !payer || data.length !== 66) return []
    return [{ at, from: payer, amount: uint(data as Hex) ?? 0n, reference: reference as Hex }]
  })
}

/** Whether the payer's signed authorization was used in the transaction: then the spend is that, and has its own name. */
export function isAuthorized({ logs }: Sighting, details: Details, from: Hex): boolean {
  return (
    'token' in details &&
    logs.some(
      ({ address, topics: [topic, authorizer] }) =>
        address === lower(details.token) &&
        topic === USED_TOPIC &&
        authorizer === `0x${padded(from)}`,
    )
  )
}

/**
 * Whether a permit of the payer's was used in the transaction: then the spend is that, and has its own name. It may be one for
 * another shop, in which somebody here has a share.
 */
export function isPermitted({ to, sender }: Sighting, from: Hex): boolean {
  return to === PERMIT2 && sender !== from
}

/** Whether the payer's memo names a challenge: then the spend is that of the rail `tempo`, and has its own name. */
export function isAttributed({ logs }: Sighting, details: Details, from: Hex): boolean {
  return (
    'token' in details &&
    logs.some(
      ({ address, topics: [topic, payer, , memo = ''] }) =>
        address === lower(details.token) &&
        topic === MEMO_TOPIC &&
        payer === `0x${padded(from)}` &&
        memo.startsWith(CHALLENGE_MEMO),
    )
  )
}

/** An address in a topic; undefined if there is more in the word than that. */
function addressOf(topic: string | undefined): Hex | undefined {
  const found = /^0x0{24}([0-9a-f]{40})$/.exec(topic ?? '')?.[1]
  return found === undefined ? undefined : `0x${found}`
}
