// The program of docs/channels.md runs as it stands there: a payer leaves without the seller.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import artifact from '../../../../contracts/TolseyChannel.json' with { type: 'json' }
import { openStage, programsIn, readPage } from '../../../../test/programs.ts'
import { createWorld } from './fixture.test.ts'
import { ESCROW_CODE_HASH } from './escrow.ts'
import { channelWallet } from './wallet.ts'

test('the program of the page asks for the end, and takes back what was not collected', async () => {
  const world = await createWorld()
  const stage = await openStage()
  try {
    const { chain, rail } = world
    const key = generatePrivateKey()
    const address = privateKeyToAddress(key)
    await chain.mint(address, 1_000_000n)
    await chain.fundEther(address, 10n ** 18n)
    const wallet = channelWallet({ network: 'base-sepolia', account: key })
    const { offer, proof } = await world.deposit(wallet)
    const id = wallet.channels.idOf(proof)
    await rail.vouchers.accept(id, await wallet.channels.sign(offer, id, 400_000n))
    const [program = '', ...more] = programsIn(await readPage('channels.md'))
    assert.deepEqual(more, [])
    const file = await stage.write(program)
    const act = async (name: string): Promise<string> => {
      const env = { PRIVATE_KEY: key, RPC: chain.rpc, NETWORK: 'base-sepolia', CHANNEL: id }
      const done = stage.start(file, { ...env, ACT: name })
      await done.end()
      return done.said()
    }
    assert.match(await act('ask'), /deposited 1000000n collected 0n\nasked 0x[0-9a-f]{64}/)
    assert.match(await act('take'), /The chain refused/)
    await rail.collect()
    await chain.increaseTime(901)
    assert.match(await act('take'), /collected 400000n\nback 600000n/)
    assert.equal(await chain.balanceOf(address), 600_000n)
  } finally {
    await stage.close()
    await world.stop()
  }
})

test('the pages name the contract that is meant', async () => {
  const { address } = artifact.deployment
  const readme = await readFile(new URL('../../../../contracts/README.md', import.meta.url), 'utf8')
  for (const said of [address, ESCROW_CODE_HASH]) assert.ok(readme.includes(said))
})
