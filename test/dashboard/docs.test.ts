// The page on the dashboard: its program runs here as it stands, over a real chain, and its commands ask it.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { table } from '../../src/admin/table.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { createSender } from '../interop/peers.ts'
import { freePort } from '../ports.ts'
import { openStage, programsIn, readPage } from '../programs.ts'
import type { Stage } from '../programs.ts'
import { command } from '../tolsey.ts'
import { TOKEN } from './stage.ts'

let page: string
let stage: Stage
let chain: Chain

before(async () => {
  page = await readPage('dashboard.md')
  stage = await openStage()
  chain = await startChain()
})
after(async () => {
  await stage?.close()
  await chain?.stop()
})

test('the program of the page shows a dashboard, and every command of the page is answered by it', async () => {
  const [code = ''] = programsIn(page)
  const [port, sender] = [await freePort(), await createSender(chain)]
  const env = {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    ...{ DASHBOARD_TOKEN: TOKEN, RPC: chain.rpc, NETWORK: chain.network, PORT: `${port}` },
    ...{ PAY_TO: sender.address, SENDER_KEY: sender.privateKey },
  }
  const url = `http://127.0.0.1:${port}`
  await stage
    .start(await stage.write(code), env)
    .answers(`${url}/api/payments`, ({ status }) => status === 401)
  const headers = { authorization: `Bearer ${TOKEN}` }
  assert.equal((await fetch(`${url}/api/payments`, { headers })).status, 200)
  assert.equal((await fetch(`${url}/api/payments`)).status, 401)

  const commands = page.split('\n').filter((line) => line.startsWith('tolsey '))
  assert.ok(commands.length >= 6)
  const asking = { cwd: stage.directory, env: { TOLSEY_ADMIN: url, TOLSEY_ADMIN_TOKEN: TOKEN } }
  for (const line of commands) {
    const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(
      ([, quoted, word]) => quoted ?? word ?? '',
    )
    const end = await command(words.slice(1), asking)
    // There is nothing with the key of the page, and that is said in a sentence.
    const isRefund = words[1] === 'refund'
    assert.equal(end.code, isRefund ? 3 : 0, `${line}: ${end.stderr}`)
    if (isRefund) assert.equal((JSON.parse(end.stdout) as { code: string }).code, 'sale-unknown')
  }
})

test('the paths of the page are there', () => {
  const known = table.map(({ path }) => path)
  for (const [, path = ''] of page.matchAll(/(\/api\/[a-z]+)/g)) {
    const isThere = known.some((one) => one.startsWith(path))
    assert.ok(isThere, path)
  }
})
