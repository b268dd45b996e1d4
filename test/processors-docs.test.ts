// The programs of docs/stripe.md and docs/paypal.md run here as they stand there, but for the names of the packages, against the
// stand-ins.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Fetch, stripe as stripeClient } from 'mppx/client'
import { paypal } from '../src/rails/paypal/index.ts'
import type { PayPalStandIn, StripeStandIn } from '../src/sandbox/processors/index.ts'
import { startPayPal, startStripe } from '../src/sandbox/processors/index.ts'
import { freePort } from './ports.ts'
import { SECRET } from './processors-stage.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Where the packages of the programs are in the sources. */
const sources: Readonly<Record<string, string>> = {
  tolsey: 'src/index.ts',
  'tolsey/node': 'src/adapters/node.ts',
  'tolsey/protocols/bearer': 'src/protocols/bearer/index.ts',
  'tolsey/protocols/mpp': 'src/protocols/mpp/index.ts',
  'tolsey/rails/paypal': 'src/rails/paypal/index.ts',
  'tolsey/rails/stripe': 'src/rails/stripe/index.ts',
  'tolsey/tokens/macaroon': 'src/tokens/macaroon/index.ts',
}

const children: ChildProcess[] = []
const directories: string[] = []
let cards: StripeStandIn
let orders: PayPalStandIn
before(async () => {
  cards = await startStripe()
  orders = await startPayPal()
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await Promise.all([cards?.close(), orders?.close()])
  for (const directory of directories) await rm(directory, { recursive: true, force: true })
})

/** Starts the program of a page, and waits until it answers. */
async function run(name: string, env: Readonly<Record<string, string>>): Promise<string> {
  const page = await readFile(join(root, 'docs', `${name}.md`), 'utf8')
  const code = /^```ts\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? assert.fail('a program')
  const own = code.replaceAll(/from '(tolsey[^']*)'/g, (_, from: string) => {
    const source = sources[from] ?? assert.fail(from)
    return `from '${pathToFileURL(join(root, source)).href}'`
  })
  const directory = await mkdtemp(join(tmpdir(), `tolsey-${name}-`))
  directories.push(directory)
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  await writeFile(join(directory, 'shop.mts'), own)
  const port = await freePort()
  const child = spawn(process.execPath, [join(directory, 'shop.mts')], {
    cwd: directory,
    env: { PATH: process.env['PATH'] ?? '', SECRET, PORT: `${port}`, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  children.push(child)
  const url = `http://127.0.0.1:${port}`
  while (
    !(await fetch(`${url}/report`).then(
      ({ status }) => status === 402,
      () => false,
    ))
  ) {
    assert.equal(child.exitCode, null, `${name} runs`)
    await new Promise((done) => setTimeout(done, 20))
  }
  return url
}

describe('the program of docs/stripe.md', () => {
  let url: string
  before(async () => {
    url = await run('stripe', {
      STRIPE_KEY: cards.secretKey,
      STRIPE_URL: cards.url,
      PROFILE: 'profile_test',
      HOOK_SECRET: cards.webhookSecret,
    })
  })

  function pay(): typeof fetch {
    const method = stripeClient.charge({
      paymentMethod: 'pm_card_visa',
      createToken: async ({ amount }) => cards.state.grant(Number(amount)),
    })
    return Fetch.from({ methods: [method] }) as typeof fetch
  }

  test('sells a report by card, and a hundred of what is too cheap for one', async () => {
    const from = cards.state.charges.size
    const report = await pay()(`${url}/report`)
    assert.deepEqual([report.status, await report.text()], [200, '{"sky":"clear"}'])
    const weather = await pay()(`${url}/weather`)
    assert.equal(weather.status, 200)
    const token = weather.headers.get('tolsey-token') ?? assert.fail('a token')
    for (const _ of [1, 2]) {
      const fields = {
        'x-payment-proof': token,
        'x-payment-timestamp': `${Math.floor(Date.now() / 1000)}`,
      }
      const again = await fetch(`${url}/weather`, { headers: fields })
      assert.equal(again.status, 200, await again.text())
    }
    assert.deepEqual(
      [...cards.state.charges.values()].slice(from).map(({ amount }) => amount),
      [200, 100],
    )
  })

  test('hears what Stripe tells, and nobody else', async () => {
    const hook = `${url}/.well-known/tolsey/stripe/webhook`
    const statuses = await cards.deliver(hook)
    assert.ok(statuses.length > 0 && statuses.every((status) => status === 200), statuses.join())
    const forged = await fetch(hook, { method: 'POST', body: cards.events[0]?.body ?? '' })
    assert.equal(forged.status, 400)
  })
})

describe('the program of docs/paypal.md', () => {
  test('sells a report for an order that was approved, and by a method that is kept', async () => {
    const { clientId, clientSecret } = orders
    const url = await run('paypal', {
      CLIENT_ID: clientId,
      CLIENT_SECRET: clientSecret,
      PAYPAL_URL: orders.url,
      WEBHOOK_ID: orders.webhookId,
    })
    const { vault } = paypal({
      clientId,
      clientSecret,
      url: orders.url,
      mode: 'sandbox',
      vaultSecret: SECRET,
    })
    const { setup = '' } = (await vault?.begin('http://shop.test', 'http://shop.test')) ?? {}
    orders.state.approve(setup)
    const handle = (await vault?.keep(setup)) ?? ''
    const asked = await fetch(`${url}/report`)
    const { payments } = (await asked.json()) as {
      readonly payments: readonly { readonly payment_intent: string }[]
    }
    const fields = {
      'x-payment-intent': payments[0]?.payment_intent ?? '',
      'x-payment-timestamp': `${Math.floor(Date.now() / 1000)}`,
    }
    const send = (proof: string): Promise<Response> =>
      fetch(`${url}/report`, { headers: { ...fields, 'x-payment-proof': proof } })
    assert.equal((await send(handle.replace(/.{43}$/, 'A'.repeat(43)))).status, 403)
    const answer = await send(handle)
    assert.deepEqual([answer.status, await answer.text()], [200, '{"sky":"clear"}'])
    assert.equal([...orders.state.captures.values()].length, 1)
  })
})
