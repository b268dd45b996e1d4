// Vectors: channels of Tempo as its reference client signs them, and of EVM chains as viem signs them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeAbiParameters, keccak256, parseAbiParameters } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import vectors from './vectors/tempo.json' with { type: 'json' }
import type { Descriptor, Place, TempoDescriptor } from './voucher.ts'
import { EVM_SCHEME, TEMPO_SCHEME, createChannels, voucherData } from './voucher.ts'

const place: Place = { chainId: 84532, escrow: `0x${'e5'.repeat(20)}` }
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

test('ids and vouchers of Tempo are those of its reference client', async () => {
  const channels = await createChannels()
  const tempo = { chainId: vectors.chainId, escrow: vectors.escrow as Hex }
  const id = channels.tempoIdOf(vectors.descriptor as TempoDescriptor, tempo)
  assert.equal(id, vectors.channelId)
  assert.ok(vectors.vouchers.length > 1)
  for (const { cumulativeAmount, signature } of vectors.vouchers) {
    const voucher = { cumulative: BigInt(cumulativeAmount), signature }
    assert.equal(channels.signerOf(TEMPO_SCHEME, tempo, id, voucher), vectors.descriptor.payer)
    const more = { cumulative: voucher.cumulative + 1n, signature }
    assert.notEqual(channels.signerOf(TEMPO_SCHEME, tempo, id, more), vectors.descriptor.payer)
    assert.notEqual(channels.signerOf(EVM_SCHEME, tempo, id, voucher), vectors.descriptor.payer)
  }
})

test('ids and nonces are the hash of what the contract encodes', async () => {
  const channels = await createChannels()
  const descriptor: Descriptor = {
    payer: `0x${'01'.repeat(20)}`,
    payee: `0x${'02'.repeat(20)}`,
    token: `0x${'03'.repeat(20)}`,
    salt: `0x${'04'.repeat(32)}`,
    authorizedSigner: `0x${'05'.repeat(20)}`,
  }
  const { payer, payee, token, salt, authorizedSigner } = descriptor
  const encoded = encodeAbiParameters(
    parseAbiParameters('address, address, address, bytes32, address, address, uint256'),
    [payer, payee, token, salt, authorizedSigner, place.escrow, BigInt(place.chainId)],
  )
  const id = channels.idOf(descriptor, place)
  assert.equal(id, keccak256(encoded))
  const nonce = encodeAbiParameters(parseAbiParameters('bytes32, uint128'), [id, 7n])
  assert.equal(channels.nonceOf(id, 7n), keccak256(nonce))
})

test('a voucher is its signer’s, in one form of signature only', async () => {
  const channels = await createChannels()
  const account = privateKeyToAccount(generatePrivateKey())
  const id: Hex = `0x${'ab'.repeat(32)}`
  const signature = await account.signTypedData(voucherData(EVM_SCHEME, place, id, 250_000n))
  const signerOf = (said: string): Hex | undefined =>
    channels.signerOf(EVM_SCHEME, place, id, { cumulative: 250_000n, signature: said })
  assert.equal(signerOf(signature), lower(account.address))
  const s = (ORDER - BigInt(`0x${signature.slice(66, 130)}`)).toString(16).padStart(64, '0')
  const v = signature.endsWith('1b') ? '1c' : '1b'
  for (const other of [
    `${signature.slice(0, 66)}${s}${v}`,
    `${signature.slice(0, 130)}00`,
    `${signature}00`,
    signature.slice(0, 130),
    signature.toUpperCase().replace('0X', '0x'),
    '0x',
    '',
  ])
    assert.equal(signerOf(other), undefined, other)
})
