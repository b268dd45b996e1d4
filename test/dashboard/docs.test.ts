// The page on the dashboard: its program runs here as it stands, over a real chain, and its commands ask it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { systemClock } from '../../src/core/clock.ts'
import { table } from '../../src/admin/table.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { createSender } from '../interop/peers.ts'
import { freePort } from '../ports.ts'
import { command } from '../tolsey.ts'
import { TOKEN } from './stage.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
let page: string
let directory: string
let chain: Chain
let child: ChildProcess | undefined

before(async () => {
  page = await readFile(join(root, 'docs', 'dashboard.md'), 'utf8')
  directory = await mkdtemp(join(tmpdir(), 'tolsey-docs-'))
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  chain = await startChain()
})
after(async () => {
  if (child && child.exitCode === null) {
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
})

test('the program of the page shows a dashboard, and every command of the page is answered by it', async () => {
  const [, code = ''] = /^```ts\n([\s\S]*?)^```$/m.exec(page) ?? []
  const own = code.replaceAll(/from '(tolsey[^']*)'/g, (_, name: string) => {
    const path = name === 'tolsey' ? 'index.ts' : `${name.slice('tolsey/'.length)}/index.ts`
    return `from '${pathToFileURL(join(root, 'src', path)).href}'`
  })
  const file = join(directory, 'dashboard.mts')
  await writeFile(file, own)
  const [port, sender] = [await freePort(), await createSender(chain)]
  const env = {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    ...{ DASHBOARD_TOKEN: TOKEN, RPC: chain.rpc, NETWORK: chain.network, PORT: `${port}` },
    ...{ PAY_TO: sender.address, SENDER_KEY: sender.privateKey },
  }
  child = spawn(process.execPath, [file], {
    cwd: directory,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const url = `http://127.0.0.1:${port}`
  const headers = { authorization: `Bearer ${TOKEN}` }
  for (
    let i = 0;
    !(await fetch(`${url}/api/payments`, { headers }).catch(() => undefined))?.ok;
    i++
  ) {
    assert.ok(i < 200 && child.exitCode === null, 'it listens')
    await systemClock.sleep(100)
  }
  assert.equal((await fetch(`${url}/api/payments`)).status, 401)

  const commands = page.split('\n').filter((line) => line.startsWith('tolsey '))
  assert.ok(commands.length >= 6)
  const asking = { cwd: directory, env: { TOLSEY_ADMIN: url, TOLSEY_ADMIN_TOKEN: TOKEN } }
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
