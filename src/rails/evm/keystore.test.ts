import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readKeystore, toKeystore } from './keystore.ts'
import { fromKeystore, fromPrivateKey, fromProvider } from './signer.ts'

// The test vectors of the Web3 Secret Storage Definition. Its scrypt one breaks a limit of RFC 7914: our own file stands in for it.
const key = '0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d'
const password = 'testpassword'
const pbkdf2 = {
  crypto: {
    cipher: 'aes-128-ctr',
    cipherparams: { iv: '6087dab2f9fdbbfaddc31a909735c1e6' },
    ciphertext: '5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46',
    kdf: 'pbkdf2',
    kdfparams: {
      c: 262144,
      dklen: 32,
      prf: 'hmac-sha256',
      salt: 'ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd',
    },
    mac: '517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2',
  },
  id: '3198bc9c-6672-5ab3-d995-4942343ae5b6',
  version: 3,
}
const scrypt = {
  crypto: {
    cipher: 'aes-128-ctr',
    cipherparams: { iv: '83dbcc02d8ccb40e466191a123791e0e' },
    ciphertext: 'd172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c',
    kdf: 'scrypt',
    kdfparams: {
      dklen: 32,
      n: 262144,
      p: 8,
      r: 1,
      salt: 'ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19',
    },
    mac: '2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097',
  },
  id: '3198bc9c-6672-5ab3-d995-4942343ae5b6',
  version: 3,
}

test('the standard’s own file is read, with either spelling of its member', async () => {
  assert.equal(await readKeystore(JSON.stringify(pbkdf2), password), key)
  const { crypto: Crypto, ...rest } = pbkdf2
  assert.equal(await readKeystore(JSON.stringify({ ...rest, Crypto }), password), key)
})

test('a file that we write is read again, and only with its password', async () => {
  const text = await toKeystore(key, 'pass')
  const signer = await fromKeystore(text, 'pass')
  assert.equal(signer.address, fromPrivateKey(key).address)
  assert.doesNotMatch(text, new RegExp(key.slice(2, 20)))
  await assert.rejects(fromKeystore(text, 'Pass'), /password does not open/)
})

test('a file that asks for too much work, or is none, is refused before any is done', async () => {
  const { crypto } = scrypt
  const params = (more: object): string =>
    JSON.stringify({
      ...scrypt,
      crypto: { ...crypto, kdfparams: { ...crypto.kdfparams, ...more } },
    })
  const hostile = [
    params({ n: 2 ** 30 }),
    params({ n: 2 ** 22, r: 8 }),
    params({ n: 2 ** 20, r: 64 }),
    params({ p: 10_000 }),
    params({}),
    params({ n: 3 }),
    params({ n: -8 }),
    params({ dklen: 2 ** 30 }),
    params({ salt: '00'.repeat(5_000) }),
    JSON.stringify({ ...pbkdf2, crypto: { ...pbkdf2.crypto, kdfparams: { c: 10 ** 12 } } }),
    JSON.stringify({ ...pbkdf2, version: 1 }),
    '{}',
    'not json',
    ' '.repeat(100_000),
  ]
  for (const text of hostile)
    await assert.rejects(readKeystore(text, password), RangeError, text.slice(0, 80))
})

test('a private key with a slip of the pen is refused without being told', () => {
  assert.throws(
    () => fromPrivateKey('0xsecret'),
    (error) => error instanceof RangeError && !error.message.includes('secret'),
  )
})

test('a provider is asked for typed data with the domain’s own type and numbers as text', async () => {
  const asked: unknown[] = []
  const address = fromPrivateKey(key).address
  const signer = fromProvider(
    { request: async (request) => (asked.push(request), `0x${'11'.repeat(65)}`) },
    address,
  )
  const domain = { name: 'USDC', version: '2', chainId: 1, verifyingContract: address }
  const types = { T: [{ name: 'value', type: 'uint256' }] }
  await signer.signTypedData({ domain, types, primaryType: 'T', message: { value: 2n ** 70n } })
  const [{ method, params }] = asked as [{ method: string; params: [string, string] }]
  assert.equal(method, 'eth_signTypedData_v4')
  const sent = JSON.parse(params[1]) as { types: object; message: object }
  assert.deepEqual(Object.keys(sent.types), ['EIP712Domain', 'T'])
  assert.deepEqual(sent.message, { value: '1180591620717411303424' })
  const liar = fromProvider({ request: async () => 'yes' }, address)
  await assert.rejects(
    liar.signTypedData({ domain, types, primaryType: 'T', message: { value: 1n } }),
    /not a signature/,
  )
})
