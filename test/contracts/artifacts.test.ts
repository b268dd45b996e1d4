// Compiles, which takes some seconds: the only test that does.
import assert from 'node:assert/strict'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { toFunctionSelector } from 'viem'
import artifact from '../../contracts/TolseyBatcher.json' with { type: 'json' }
import { compile, differences } from '../../scripts/contracts.ts'

const SETTLE = 'settle((address,address,address,uint256,uint256,uint256,bytes32,bytes)[],uint256)'
const contracts = join(import.meta.dirname, '../../contracts')

test('the committed artifacts are what the sources compile to, and one that is not is seen', async () => {
  const wanted = await compile(contracts)
  assert.ok(wanted.has('TolseyBatcher.json'))
  assert.deepEqual(await differences(contracts, wanted), [])
  const copy = await mkdtemp(join(tmpdir(), 'contracts-'))
  try {
    await cp(contracts, copy, { recursive: true })
    const file = join(copy, 'TolseyBatcher.json')
    // One byte of the code.
    const text = (await readFile(file, 'utf8')).replace(/"0x60(?=[0-9a-f]{100})/, '"0x61')
    await writeFile(file, text)
    await writeFile(join(copy, 'Orphan.json'), '{}')
    await rm(join(copy, 'test/TestToken.json'))
    assert.deepEqual(await differences(copy, wanted), [
      'Orphan.json is made by nothing.',
      'TolseyBatcher.json is not up to date.',
      'test/TestToken.json is not up to date.',
    ])
  } finally {
    await rm(copy, { recursive: true })
  }
})

test('the README names the address and the selector that are so', async () => {
  const readme = await readFile(join(contracts, 'README.md'), 'utf8')
  assert.ok(readme.includes(artifact.deployment.address))
  assert.ok(readme.includes(toFunctionSelector(SETTLE)))
})
