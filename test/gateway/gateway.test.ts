// A gateway as a process of its own, in front of servers that know nothing of payments, on a real chain.
import assert from 'node:assert/strict'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { verifyWebhook } from '../../src/outbox/index.ts'
import { createTrustCheck } from '../../src/gateway/trust.ts'
import { freePort } from '../ports.ts'
import { tolsey } from '../tolsey.ts'
import {
  createBuyerOf,
  DASHBOARD_TOKEN,
  openStage,
  serve,
  startGateway,
  UPSTREAM_SECRET,
  WEBHOOK_SECRET,
} from './stage.ts'
import type { Stage } from './stage.ts'

let stage: Stage
before(async () => {
  stage = await openStage()
})
after(async () => {
  await stage?.close()
})

describe('tolsey gateway', () => {
  test('sells what is behind it, and tells the upstream who has paid', async (t) => {
    const check = createTrustCheck(UPSTREAM_SECRET)
    const seen: (ReturnType<typeof check> & object)[] = []
    const upstream = await serve((request, response) => {
      const trusted = check(request)
      if (trusted) seen.push(trusted)
      else response.statusCode = 403
      response.end(`${request.method} ${request.url}`)
    })
    t.after(upstream.close)
    const gateway = await startGateway(
      stage,
      [
        'upstreams:',
        `  api: { url: "${upstream.url}/base", secret: { env: UPSTREAM_SECRET } }`,
        'routes:',
        '  GET /v1/*: { price: 0.01 USD, rewrite: /api/* }',
        '  GET /open: free',
        '',
      ].join('\n'),
    )
    t.after(gateway.stop)
    const payer = await createBuyerOf(stage.chain)
    const unpaid = await fetch(`${gateway.origin}/v1/weather`)
    assert.equal(unpaid.status, 402)
    assert.equal(seen.length, 0)
    const forged = { 'tolsey-payer': '0xme', Tolsey_Payer: '0xme', 'tolsey-signature': 'v1=00' }
    const paid = await payer.fetch(`${gateway.origin}/v1/weather?city=x%20y`, { headers: forged })
    assert.deepEqual([paid.status, await paid.text()], [200, 'GET /base/api/weather?city=x%20y'])
    const [said] = seen
    assert.match(said?.payer ?? '', /^0x[0-9a-f]{40}$/i)
    assert.match(said?.key ?? '', /^eip155:84532\//)
    const open = await fetch(`${gateway.origin}/open`, { headers: forged })
    assert.deepEqual([open.status, await open.text()], [200, 'GET /base/open'])
    assert.deepEqual([seen[1]?.payer, seen[1]?.key], [undefined, undefined])
    assert.equal((await fetch(`${gateway.origin}/elsewhere`)).status, 404)
    assert.equal((await fetch(`${upstream.url}/base/api/weather`)).status, 403)
    assert.equal((await fetch(`${gateway.admin}/readyz`)).status, 200)
    assert.equal(await gateway.stop(), 0)
  })

  test('shows its operator what happens, and tells it to others', async (t) => {
    const upstream = await serve((_, response) => response.end('goods'))
    t.after(upstream.close)
    const told: string[] = []
    const hook = await serve((request, response) => {
      void text(request).then((body) => {
        const fields = new Headers(request.headers as Record<string, string>)
        const said = verifyWebhook(fields, body, { secrets: WEBHOOK_SECRET })
        told.push(said.ok ? (JSON.parse(body) as { readonly type: string }).type : said.why)
        response.end()
      })
    })
    t.after(hook.close)
    const file = join(stage.directory, 'events.ndjson')
    const gateway = await startGateway(
      stage,
      [
        'dashboard: { token: { env: DASHBOARD_TOKEN } }',
        `events: { file: "${file}", webhooks: [{ url: "${hook.url}", secret: { env: WEBHOOK_SECRET }, private: true }] }`,
        `upstreams: { api: "${upstream.url}" }`,
        'routes: { GET /goods: 0.01 USD }',
        '',
      ].join('\n'),
    )
    t.after(gateway.stop)
    const payer = await createBuyerOf(stage.chain)
    assert.equal(await (await payer.fetch(`${gateway.origin}/goods`)).text(), 'goods')

    const scraped = await (await fetch(`${gateway.admin}/metrics`)).text()
    assert.match(scraped, /^tolsey_sales_total\{[^}]*rail="evm"[^}]*\} 1$/m)
    const page = await fetch(gateway.admin, { headers: { accept: 'text/html' } })
    assert.match(await page.text(), /<!doctype html>/i)
    assert.equal((await fetch(`${gateway.admin}/api/payments`)).status, 401)
    const headers = { authorization: `Bearer ${DASHBOARD_TOKEN}` }
    const listed = await fetch(`${gateway.admin}/api/payments`, { headers })
    assert.deepEqual([listed.status, (await listed.text()).includes('GET /goods')], [200, true])

    while (!told.includes('tolsey.sale.posted')) await new Promise((done) => setTimeout(done, 20))
    assert.equal(await gateway.stop(), 0)
    assert.match(await readFile(file, 'utf8'), /"type":"tolsey.sale.posted"/)
    assert.ok(
      told.every((type) => type.startsWith('tolsey.')),
      told.join(),
    )
  })

  test('that begins to stop serves whoever is within, says so, and lets nobody new in', async (t) => {
    const begun = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    const upstream = await serve((_, response) => {
      begun.resolve()
      void go.promise.then(() => response.end('done'))
    })
    t.after(upstream.close)
    const gateway = await startGateway(
      stage,
      `upstreams: { api: "${upstream.url}" }\nroutes: { GET /slow: free }\n`,
    )
    t.after(gateway.stop)
    const within = fetch(`${gateway.origin}/slow`)
    await begun.promise
    const stopped = gateway.stop()
    for (;;) {
      const status = await fetch(`${gateway.admin}/readyz`).then(({ status }) => status)
      if (status === 503) break
    }
    assert.equal((await fetch(`${gateway.admin}/healthz`)).status, 200)
    await assert.rejects(fetch(`${gateway.origin}/slow`))
    go.resolve()
    assert.equal(await (await within).text(), 'done')
    assert.equal(await stopped, 0)
  })

  test('reads its document anew without dropping a request, and keeps the one before if it is wrong', async (t) => {
    const go = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    const named = (name: string) =>
      serve((request, response) => {
        if (request.url !== '/slow') return void response.end(name)
        begun.resolve()
        return void go.promise.then(() => response.end(`slow ${name}`))
      })
    const [one, two] = [await named('one'), await named('two')]
    t.after(one.close)
    t.after(two.close)
    const document = (url: string, price: string): string =>
      `upstreams: { api: "${url}" }\nroutes: { GET /*: free, GET /paid: ${price} }\n`
    const gateway = await startGateway(stage, document(one.url, '0.01 USD'))
    t.after(gateway.stop)
    const head = (await readFile(gateway.file, 'utf8')).split('upstreams:')[0] ?? ''
    const payer = await createBuyerOf(stage.chain)
    assert.equal(await (await payer.fetch(`${gateway.origin}/paid`)).text(), 'one')
    const within = fetch(`${gateway.origin}/slow`)
    await begun.promise

    await writeFile(gateway.file, head + document(two.url, '0.0x USD'))
    gateway.child.kill('SIGHUP')
    assert.match(await gateway.note(/stays as it was/), /:\d+:\d+: routes › GET \/paid: A price/)
    assert.equal(await (await fetch(`${gateway.origin}/fast`)).text(), 'one')

    const asking = { more: true }
    const answers: string[] = []
    const asked = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (asking.more) answers.push(await (await fetch(`${gateway.origin}/fast`)).text())
      }),
    )
    await writeFile(gateway.file, head + document(two.url, '0.02 USD'))
    gateway.child.kill('SIGHUP')
    await gateway.note(/was read anew/)
    const since = answers.length
    while (answers.length < since + 50) await new Promise((done) => setImmediate(done))
    asking.more = false
    await asked
    assert.ok(answers.every((text) => text === 'one' || text === 'two'))
    assert.equal(answers.at(-1), 'two')
    assert.equal(await (await payer.fetch(`${gateway.origin}/paid`)).text(), 'two')
    go.resolve()
    assert.equal(await (await within).text(), 'slow one')
  })

  test('that cannot listen ends, with all that it had begun', async (t) => {
    const taken = await serve((_, response) => response.end())
    t.after(taken.close)
    const { port } = new URL(taken.url)
    const file = join(stage.directory, 'taken.yaml')
    const document = `origin: ${taken.url}\nlisten: ${port}\nledger: taken.sqlite\n`
    const sold = `upstreams: { api: "${taken.url}" }\nroutes: { GET /a: 0.01 USD }\n`
    await writeFile(file, document + stage.common + sold)
    const told = await tolsey(['gateway', file], { cwd: stage.directory, env: stage.env })
    assert.equal(told.code, 1)
    assert.match(told.stderr, new RegExp(port))
  })

  test('does not start with a document that is wrong, and says where and why', async () => {
    const file = join(stage.directory, 'wrong.yaml')
    await writeFile(
      file,
      `${stage.common}listen: 1\norigin: http://x\nupstream: {}\nroutes: { GET /a: free }\n`,
    )
    const { code, stderr } = await tolsey(['gateway', file], {
      cwd: stage.directory,
      env: stage.env,
    })
    assert.equal(code, 2)
    assert.match(
      stderr,
      /wrong\.yaml:10:1: upstream: There is no "upstream" here\. Did you mean "upstreams"\?/,
    )
    const unset = await tolsey(['check', 'wrong.yaml', '--offline'], {
      cwd: stage.directory,
      env: {},
    })
    assert.equal(unset.code, 2)
  })
})

describe('tolsey init and tolsey check', () => {
  test('the document that the one writes holds before the other, and what can be gone around is told', async (t) => {
    const api = await serve((_, response) => void response.end('goods'))
    t.after(api.close)
    const port = await freePort()
    const typed = [
      ...['init', 'shop.yaml', '--upstream', api.url, '--origin', `http://127.0.0.1:${port}`],
      ...['--network', 'base-sepolia', '--pay-to', stage.payTo, '--rpc', stage.chain.rpc],
      ...[
        '--listen',
        `127.0.0.1:${port}`,
        '--route',
        'GET /report/:id=0.01 USD',
        '--route',
        'GET /health=free',
      ],
    ]
    const place = { cwd: stage.directory, env: stage.env }
    const made = await tolsey(typed, place)
    assert.equal(made.code, 0, made.stderr)
    assert.equal((await tolsey(typed, place)).code, 1)
    const secret = await stat(join(stage.directory, 'shop.secret'))
    assert.equal(secret.mode & 0o077, 0)
    const text = await readFile(join(stage.directory, 'shop.yaml'), 'utf8')
    assert.match(text, /^# yaml-language-server: \$schema=.*tolsey\.schema\.json\n/)

    const checked = await tolsey(['check', 'shop.yaml'], place)
    assert.equal(checked.code, 0, checked.stdout + checked.stderr)
    const { findings } = JSON.parse(checked.stdout) as {
      readonly findings: readonly {
        readonly what: string
        readonly state: string
        readonly sentence: string
      }[]
    }
    const states = Object.fromEntries(findings.map(({ what, state }) => [what, state]))
    assert.deepEqual(states, {
      'rail evm': 'good',
      'upstream api': 'good',
      'route GET /report/:id': 'good',
      'route GET /health': 'good',
      'around GET /report/:id': 'warning',
    })
    assert.match(
      findings.find(({ what }) => what.startsWith('route GET /report'))?.sentence ?? '',
      /x402 \(\d/,
    )

    const unset = await tolsey(['check', 'shop.yaml'], { ...place, env: {} })
    assert.equal(unset.code, 2)
    assert.match(
      unset.stderr,
      /shop\.yaml:\d+:\d+: rails › evm › signer: The environment has no variable SENDER_KEY\./,
    )
    await api.close()
    const dead = await tolsey(['check', 'shop.yaml'], place)
    assert.equal(dead.code, 1)
    assert.match(dead.stdout, /Nothing answers/)
  })
})
