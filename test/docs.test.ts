// The examples of the README are files; they run here, as a user would run them, against a real chain.
import assert from 'node:assert/strict'
import { readFile, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { createBuyer, createSender } from './interop/peers.ts'
import { freePort } from './ports.ts'
import { assertShows, exampleAt, openStage } from './programs.ts'
import type { Stage } from './programs.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
let chain: Chain
let stage: Stage
before(async () => {
  chain = await startChain()
  stage = await openStage()
})
after(async () => {
  await stage?.close()
  await chain?.stop()
})

test('the README shows the examples as they are', async () => {
  await assertShows(await readFile(join(root, 'README.md'), 'utf8'), 'seller.ts', 'buyer.ts')
})

test('the seller of the README sells to its buyer, and the money is there', async () => {
  const payee = await createSender(chain)
  const sender = await createSender(chain)
  const buyer = await createBuyer(chain, 100_000n)
  const port = await freePort()
  const seller = stage.start(exampleAt('seller.ts'), {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    RPC: chain.rpc,
    PAY_TO: payee.address,
    SENDER_KEY: sender.privateKey,
    PORT: `${port}`,
  })
  const url = `http://127.0.0.1:${port}/weather`
  await seller.answers(url, ({ status }) => status === 402)
  const bought = stage.start(exampleAt('buyer.ts'), { PRIVATE_KEY: buyer.privateKey, URL: url })
  assert.equal(await bought.end(), 0)
  assert.match(bought.said(), /\{ sky: 'clear' \} 0x[0-9a-f]{64}/)
  assert.equal(await chain.balanceOf(payee.address), 10_000n)
})

test('every link in the documents leads to a file that is there', async () => {
  const pages = (await readdir(root, { recursive: true })).filter(
    (path) => path.endsWith('.md') && !/node_modules|^dist|^\.git\//.test(path),
  )
  assert.ok(pages.length >= 5)
  const broken: string[] = []
  for (const page of pages) {
    const text = (await readFile(join(root, page), 'utf8')).replaceAll(/```[\s\S]*?```/g, '')
    const links = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map(
      (match) => match[1] ?? '',
    )
    for (const link of links)
      await readFile(join(root, dirname(page), link)).catch(
        (error: { code: string }) => error.code !== 'EISDIR' && broken.push(`${page}: ${link}`),
      )
  }
  assert.deepEqual(broken, [])
})
