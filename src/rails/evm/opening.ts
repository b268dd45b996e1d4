import { assert } from '../../core/assert.ts'
import type { Call, CallAnswer } from './abi.ts'
import { decodeText, selectors, word } from './abi.ts'
import { lower } from './hex.ts'
import type { Network, Token } from './networks.ts'
import type { Rpc } from './rpc.ts'
import { readHex } from './rpc.ts'
import type { Verifier } from './signature.ts'
import type { Reader } from './token.ts'
import { stateCall } from './token.ts'

/**
 * Reads from the chain for which domain the token takes signatures and holds it against the configuration.
 * @returns the domain separator.
 * @throws {RangeError} with what is wrong.
 */
export async function openToken(
  token: Token,
  network: Network,
  { rpc, reader, verifier }: { rpc: Rpc; reader: Reader; verifier: Verifier },
): Promise<Uint8Array> {
  const target = lower(token.address)
  const where = `The token ${token.address} on ${network.id}`
  if ((await rpc.read('eth_getCode', [target, 'latest'], readHex)) === '0x')
    throw new RangeError(`${where} does not exist: there is no contract at this address.`)
  const views = [selectors.domainSeparator, selectors.name, selectors.version]
  const calls = views.map((data): Call => ({ target, data, allowFailure: true }))
  const nonce = stateCall({ token: target, from: target, nonce: `0x${word(0)}` })
  const answers = await reader.batch([...calls, nonce])
  assert(answers !== 'reverted', 'a batch whose calls may fail does not')
  const [separator, name, version, state] = answers
  if (!state?.ok || state.data === '0x')
    throw new RangeError(`${where} does not know EIP-3009: nobody can pay with it here.`)
  const domain = verifier.domain(token, network.chainId)
  const found = {
    separator: separator?.ok && separator.data,
    name: text(name),
    version: text(version),
  }
  const agrees = found.separator
    ? found.separator === `0x${Buffer.from(domain).toString('hex')}`
    : found.name === token.name && found.version === token.version
  if (agrees) return domain
  throw new RangeError(
    `${where} takes signatures for the domain "${found.name}" version "${found.version}"; the settings say "${token.name}" version "${token.version}".`,
  )
}

function text(answer: CallAnswer | undefined): string {
  return (answer?.ok && decodeText(answer.data)) || ''
}

/**
 * A mixed case carries a checksum (EIP-55): the one thing that finds a slip of the pen in an address.
 * @throws {RangeError} when it is wrong.
 */
export function checkCase(
  address: string,
  verifier: Pick<Verifier, 'keccak'>,
  name = 'payTo',
): void {
  const digits = address.slice(2)
  const plain = digits.toLowerCase()
  if (digits === plain || digits === digits.toUpperCase()) return
  const hash = Buffer.from(verifier.keccak(Buffer.from(plain))).toString('hex')
  const right = plain.replace(/[a-f]/g, (digit, at: number) =>
    Number(`0x${hash[at]}`) >= 8 ? digit.toUpperCase() : digit,
  )
  if (digits !== right)
    throw new RangeError(
      `"${name}" is ${address}, whose checksum is wrong: a digit or a letter’s case is not right.`,
    )
}
