// The examples of docs/tokens.md are files; they run here, as a user would run them, against a real chain.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { conditions } from '../src/core/conditions.ts'
import { newJwtKey } from '../src/tokens/jwt/index.ts'
import { createBuyer, createSender } from './interop/peers.ts'
import { freePort } from './ports.ts'
import { assertShows, exampleAt, openStage, readPage } from './programs.ts'
import type { Stage } from './programs.ts'

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

test('the page on tokens shows the examples as they are, and every condition', async () => {
  const page = await readPage('tokens.md')
  await assertShows(page, 'tokens.ts', 'holder.ts')
  for (const { name } of conditions) assert.match(page, new RegExp(`^\\| \`${name}=`, 'm'))
})

test('the holder buys a token, uses it, hands on less, tops up, looks and revokes', async () => {
  const payee = await createSender(chain)
  const sender = await createSender(chain)
  const buyer = await createBuyer(chain, 1_000_000n)
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const seller = stage.start(exampleAt('tokens.ts'), {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    JWT_KEY: JSON.stringify(await newJwtKey()),
    RPC: chain.rpc,
    PAY_TO: payee.address,
    SENDER_KEY: sender.privateKey,
    ORIGIN: origin,
    PORT: `${port}`,
  })
  const metadata = `${origin}/.well-known/oauth-authorization-server`
  await seller.answers(metadata, ({ ok }) => ok)
  const holder = stage.start(exampleAt('holder.ts'), {
    PRIVATE_KEY: buyer.privateKey,
    ORIGIN: origin,
  })
  assert.equal(await holder.end(), 0, holder.said())
  const lines = holder.said().trim().split('\n')
  const starts = [
    'weather 200 {"sky":"clear"}',
    'handed 200 {"sky":"clear"}',
    'handed again 402 ',
    'not for the handed 403 ',
    'left 200 ',
    'statement 200 ',
    'revoked 200 ',
    'over 401 ',
  ]
  assert.deepEqual(
    lines.map((line, i) => line.slice(0, starts[i]?.length)),
    starts,
  )
  assert.match(lines[4] ?? '', /"uses":198/)
  assert.equal(lines[5]?.match(/"type":"drawn"/g)?.length, 2)
  assert.equal(await chain.balanceOf(payee.address), 200_000n)
})
