import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPublic, systemResolve } from './addresses.ts'

test('an address is on the internet or it is not, however it is written', () => {
  const inner =
    '127.0.0.1 10.1.2.3 172.31.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 ' +
    '::1 :: ::ffff:8.8.8.8 64:ff9b::808:808 fe80::1 fc00::1 ff02::1 2001:db8::1 2002:7f00:1::1 2001::1 3fff::1'
  for (const address of inner.split(' ')) assert.equal(isPublic(address), false, address)
  for (const address of ['8.8.8.8', '172.32.0.1', '100.128.0.1', '2606:4700:4700::1111'])
    assert.equal(isPublic(address), true, address)
  for (const address of ['', 'localhost', '8.8.8', '8.8.8.8 ', '[::1]'])
    assert.equal(isPublic(address), false, address)
})

test('the machine says what a name means', async () => {
  const found = await systemResolve('localhost')
  assert.ok(found.length > 0 && found.every((address) => !isPublic(address)))
})
