import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { hashTypedData, toEventSelector, toFunctionSelector } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { CANCELED_TOPIC, TRANSFER_TOPIC, USED_TOPIC, selectors } from './abi.ts'
import type { Hex } from './hex.ts'
import { UINT256_MAX, lower } from './hex.ts'
import { networks } from './networks.ts'
import type { Proof } from './proof.ts'
import { createVerifier } from './signature.ts'
import { typedData } from './typed-data.ts'

const [, base] = networks
const usdc = base?.tokens[0]
assert(base && usdc)
const engines = ['native', 'wasm'] as const
const from = privateKeyToAccount(generatePrivateKey())

function proofOf(changes: Partial<Proof> = {}): Proof {
  return {
    signature: '0x',
    from: lower(from.address),
    to: '0x209693bc6afc0c5328ba36faf03c514ef312287c',
    value: 10_000n,
    validAfter: 0n,
    validBefore: 1_900_000_000n,
    nonce: `0x${'5a'.repeat(32)}`,
    ...changes,
  }
}

async function signed(changes: Partial<Proof> = {}): Promise<Proof> {
  const proof = proofOf(changes)
  assert(usdc)
  const { domain, types, primaryType, message } = typedData(usdc, 8453, proof)
  return { ...proof, signature: await from.signTypedData({ domain, types, primaryType, message }) }
}

const hex = (digits: number): fc.Arbitrary<Hex> =>
  fc
    .array(fc.constantFrom(...'0123456789abcdef'.split('')), {
      minLength: digits,
      maxLength: digits,
    })
    .map((a): Hex => `0x${a.join('')}`)
const uint256 = fc.oneof(
  fc.bigInt({ min: 0n, max: UINT256_MAX }),
  fc.bigInt({ min: 0n, max: 2n ** 64n }),
)

test('the hand-written digest is that of EIP-712, for every authorization', async () => {
  const { digest, domain } = await createVerifier('wasm')
  const separator = domain(usdc, base.chainId)
  const address = hex(40)
  const fields = { from: address, to: address, value: uint256, validAfter: uint256 }
  fc.assert(
    fc.property(fc.record({ ...fields, validBefore: uint256, nonce: hex(64) }), (a) => {
      const { domain, types, primaryType, message } = typedData(usdc, base.chainId, a)
      const expected = hashTypedData({ domain, types, primaryType, message })
      const found = Buffer.from(digest(separator, { ...a, signature: '0x' })).toString('hex')
      assert.equal(`0x${found}`, expected)
    }),
    { numRuns: 60 },
  )
})

for (const engine of engines)
  test(`${engine}: the payer’s own signature is known, and no other one is taken for it`, async () => {
    const verifier = await createVerifier(engine)
    assert.equal(verifier.engine, engine)
    const domain = verifier.domain(usdc, base.chainId)
    const proof = await signed()
    assert.equal(verifier.look(domain, proof), 'payer')
    assert.equal(verifier.look(domain, { ...proof, value: 10_001n }), 'other')
    assert.equal(verifier.look(domain, { ...proof, from: `0x${'11'.repeat(20)}` }), 'other')
    assert.equal(verifier.look(verifier.domain(usdc, 1), proof), 'other')
    assert.equal(verifier.look(domain, proof), 'payer', 'nothing is left over from the last look')
    assert.notEqual(verifier.look(domain, await signed({ from: `0x${'22'.repeat(20)}` })), 'payer')
  })

for (const engine of engines)
  test(`${engine}: what is not of the form that tokens take is odd`, async () => {
    const { look, domain } = await createVerifier(engine)
    const separator = domain(usdc, base.chainId)
    const proof = await signed()
    const r = proof.signature.slice(2, 66)
    const s = BigInt(`0x${proof.signature.slice(66, 130)}`)
    const v = proof.signature.slice(130)
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
    const high = (order - s).toString(16).padStart(64, '0')
    const forms: readonly Hex[] = [
      `0x${r}${high}${v === '1b' ? '1c' : '1b'}`,
      `0x${proof.signature.slice(2, 130)}${v === '1b' ? '00' : '01'}`,
      `0x${proof.signature.slice(2, 130)}`,
      `0x${'ff'.repeat(32)}${proof.signature.slice(66)}`,
      `0x${'00'.repeat(64)}1b`,
      '0x',
    ]
    for (const signature of forms) assert.equal(look(separator, { ...proof, signature }), 'odd')
    assert.equal(look(separator, proof), 'payer')
  })

test('the selectors and topics are those of their signatures', () => {
  const transfer = 'address,address,uint256,uint256,uint256,bytes32'
  assert.deepEqual(selectors, {
    authorizationState: toFunctionSelector('authorizationState(address,bytes32)'),
    balanceOf: toFunctionSelector('balanceOf(address)'),
    transfer: toFunctionSelector('transfer(address,uint256)'),
    transferWithAuthorization: toFunctionSelector(
      `transferWithAuthorization(${transfer},uint8,bytes32,bytes32)`,
    ),
    transferWithAuthorizationBytes: toFunctionSelector(
      `transferWithAuthorization(${transfer},bytes)`,
    ),
    name: toFunctionSelector('name()'),
    version: toFunctionSelector('version()'),
    domainSeparator: toFunctionSelector('DOMAIN_SEPARATOR()'),
    aggregate3: toFunctionSelector('aggregate3((address,bool,bytes)[])'),
    getCurrentBlockTimestamp: toFunctionSelector('getCurrentBlockTimestamp()'),
    settle: toFunctionSelector(
      'settle((address,address,address,uint256,uint256,uint256,bytes32,bytes)[],uint256)',
    ),
  })
  assert.equal(TRANSFER_TOPIC, toEventSelector('Transfer(address,address,uint256)'))
  assert.equal(USED_TOPIC, toEventSelector('AuthorizationUsed(address,bytes32)'))
  assert.equal(CANCELED_TOPIC, toEventSelector('AuthorizationCanceled(address,bytes32)'))
})
