import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LocalAccount, TransactionSerializableEIP1559 } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { keyAccount } from './account.ts'
import type { Hex } from './hex.ts'
import { UINT256_MAX } from './hex.ts'
import { networks } from './networks.ts'
import { loadCurve } from './secp256k1.ts'
import type { TypedData } from './typed-data.ts'
import { TRANSFER_FIELDS, typedData } from './typed-data.ts'

const base = networks.find(({ chainId }) => chainId === 8453)
const usdc = base?.tokens[0]
assert(usdc)
const token: Hex = usdc.address
const KEYS = 16

/** The account under test and viem's own, of the same new key. */
function pair(): readonly [ours: LocalAccount, viems: LocalAccount] {
  const privateKey = generatePrivateKey()
  return [keyAccount(privateKey), privateKeyToAccount(privateKey)]
}

function authorization(value: bigint): TypedData {
  assert(usdc)
  const [from, to] = [generatePrivateKey().slice(0, 42), generatePrivateKey().slice(0, 42)] as Hex[]
  assert(from && to)
  const times = { validAfter: 0n, validBefore: 1_900_000_000n }
  return typedData(usdc, 8453, { from, to, value, ...times, nonce: generatePrivateKey() })
}

function sign(account: LocalAccount, said: TypedData): Promise<Hex> {
  const { domain, types, primaryType, message } = said
  return account.signTypedData({ domain, types, primaryType, message })
}

describe('the account of a private key signs byte for byte what viem signs', () => {
  test('of authorizations', async () => {
    for (let i = 0; i < KEYS; i++) {
      const [ours, viems] = pair()
      for (const value of [0n, 1n, 10_000n, UINT256_MAX]) {
        const said = authorization(value)
        assert.equal(await sign(ours, said), await sign(viems, said))
      }
    }
  })

  test('of other typed data, and of an authorization with types of its own', async () => {
    const [ours, viems] = pair()
    const said = authorization(1n)
    const reversed = { TransferWithAuthorization: TRANSFER_FIELDS.toReversed() }
    const mail = { domain: { name: 'x' }, types: { Mail: [{ name: 'to', type: 'string' }] } }
    for (const other of [
      { ...said, types: reversed },
      { ...said, ...mail, primaryType: 'Mail', message: { to: 'you' } } as unknown as TypedData,
      { ...said, domain: { name: 'USDC', chainId: 1 } } as unknown as TypedData,
    ])
      assert.equal(await sign(ours, other), await sign(viems, other))
  })

  test('of transactions', async () => {
    for (let i = 0; i < KEYS; i++) {
      const [ours, viems] = pair()
      const fees = { maxFeePerGas: BigInt(i) * 10n ** 9n + 1n, maxPriorityFeePerGas: 1n }
      const data: Hex = `0x${'5a'.repeat(i * 50)}`
      const call = { to: token, data, gas: 200_000n }
      const said: TransactionSerializableEIP1559 = {
        type: 'eip1559',
        chainId: 8453,
        nonce: i,
        ...call,
        ...fees,
      }
      assert.equal(await ours.signTransaction(said), await viems.signTransaction(said))
      const legacy = { type: 'legacy', chainId: 8453, nonce: i, gasPrice: 1n, ...call } as const
      assert.equal(await ours.signTransaction(legacy), await viems.signTransaction(legacy))
    }
  })

  test('of messages', async () => {
    const [ours, viems] = pair()
    const message = { message: 'hello' }
    assert.equal(await ours.signMessage(message), await viems.signMessage(message))
  })
})

test('what viem refuses is refused', async () => {
  const [ours, viems] = pair()
  const said = authorization(1n)
  for (const message of [
    { ...said.message, value: UINT256_MAX + 1n },
    { ...said.message, value: -1n },
    { ...said.message, to: '0x12' },
  ])
    for (const account of [ours, viems])
      await assert.rejects(sign(account, { ...said, message }), 'a value that has no word')
})

test('both engines sign alike, and recover the key that signed', async () => {
  const [native, wasm] = [await loadCurve('native'), await loadCurve('wasm')]
  for (let i = 0; i < KEYS; i++) {
    const [key, digest] = [bytes(generatePrivateKey()), bytes(generatePrivateKey())]
    const one = native.sign(digest, key)
    const other = wasm.sign(digest, key)
    assert.deepEqual([...other.signature], [...one.signature])
    assert.equal(other.recid, one.recid)
    const recovery = one.recid === 1 ? 1 : 0
    const found = [native, wasm].map(({ recover }) => recover(one.signature, recovery, digest))
    assert(found[0] && found[1])
    assert.deepEqual([...found[1]], [...found[0]])
  }
})

function bytes(hex: Hex): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.slice(2), 'hex'))
}
