import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { command } from '../../test/tolsey.ts'
import { readDocument } from '../config/document.ts'
import { upstream } from '../gateway/fixture.test.ts'
import { startFacilitator } from '../gateway/market.test.ts'
import { startLnd } from '../sandbox/lightning/doubles/lnd.ts'
import { startLightning } from '../sandbox/lightning/network.ts'

let cwd: string
before(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'init-'))
})
after(async () => {
  await rm(cwd, { recursive: true, force: true })
})

const common = ['--upstream', 'http://127.0.0.1:3000', '--origin', 'https://api.example.com']

async function init(name: string, ...typed: readonly string[]) {
  const made = await command(['init', name, ...common, ...typed], { cwd })
  const text = made.code === 0 ? await readFile(join(cwd, name), 'utf8') : ''
  return { ...made, text }
}

describe('tolsey init', () => {
  for (const [node, typed, expected] of [
    [
      'lnd',
      ['--node-url', 'https://127.0.0.1:8080', '--key-file', 'a.macaroon'],
      /lnd: \{ url: "https:\/\/127\.0\.0\.1:8080", macaroon: \{ file: a\.macaroon \} \}/,
    ],
    [
      'cln',
      ['--node-url', 'http://127.0.0.1:3010'],
      /cln: \{ url: .*, rune: \{ env: CLN_RUNE \} \}/,
    ],
    ['phoenixd', ['--node-url', 'http://127.0.0.1:9740'], /phoenixd: .*PHOENIXD_PASSWORD/],
    ['eclair', ['--node-url', 'http://127.0.0.1:8080'], /eclair: .*ECLAIR_PASSWORD/],
    ['lnbits', ['--node-url', 'https://lnbits.example'], /lnbits: .*LNBITS_KEY/],
    ['nwc', [], /nwc: \{ uri: \{ env: NWC_URI \} \}/],
    [
      'lnurl',
      ['--node-url', 'shop@wallet.example'],
      /lnurl: \{ address: "shop@wallet\.example" \}/,
    ],
  ] as const)
    test(`writes a document for ${node}`, async () => {
      const { code, stderr, text } = await init(
        `${node}.yaml`,
        ...['--rail', 'lightning', '--node', node, ...typed],
      )
      assert.equal(code, 0, stderr)
      assert.match(text, expected)
      assert.match(text, /"GET \/\*": "10 SAT"/)
      assert.ok(readDocument(text, 'a.yaml').ok)
    })

  for (const [what, typed, expected] of [
    ['a rail that is none', ['--rail', 'lighting'], /no rail "lighting"/],
    [
      'a node that is none',
      ['--rail', 'lightning', '--node', 'lmd', '--node-url', 'x'],
      /no node "lmd"/,
    ],
    ['a node of which nobody says where it is', ['--rail', 'lightning'], /--node-url/],
    ['an account of nobody', ['--rail', 'evm'], /--pay-to/],
  ] as const)
    test(`says what is missing: ${what}`, async () => {
      const { code, stderr } = await init('none.yaml', ...typed)
      assert.equal(code, 2)
      assert.match(stderr, expected)
    })
})

interface Finding {
  readonly what: string
  readonly state: string
  readonly sentence: string
}

async function check(name: string, env: Readonly<Record<string, string>> = {}) {
  const { code, stdout, stderr } = await command(['check', name], { cwd, env })
  assert.ok(stdout, stderr)
  const { findings } = JSON.parse(stdout) as { readonly findings: readonly Finding[] }
  return { code, findings, states: findings.map(({ what, state }) => `${what}: ${state}`) }
}

describe('tolsey check', () => {
  test('holds a document over Lightning before the node that it names', async (t) => {
    const net = await startLightning()
    t.after(() => net.close())
    const lnd = await startLnd(net.seller, 'abcd12')
    t.after(() => lnd.close())
    const api = await upstream(t, (_, response) => response.end('goods'))
    const typed = ['--rail', 'lightning', '--node-url', lnd.url, '--upstream', api]
    const { text } = await init('node.yaml', ...typed, '--route', 'GET /a=10 SAT')
    await writeFile(
      join(cwd, 'node.yaml'),
      text.replace('lightning:', 'lightning:\n    network: regtest'),
    )
    const { code, states } = await check('node.yaml', { LND_MACAROON: 'abcd12' })
    assert.deepEqual(states, [
      ...['rail lightning: good', 'upstream api: good', 'route GET /a: good'],
      'around GET /a: warning',
    ])
    assert.equal(code, 0)
  })

  test('asks a route with each verb that has a price, and each rail by itself', async (t) => {
    const facilitator = await startFacilitator(t)
    const api = await upstream(t, (_, response) => response.writeHead(403).end())
    const entry = `payTo: "0x${'11'.repeat(20)}"`
    await writeFile(
      join(cwd, 'verbs.yaml'),
      `listen: 0
origin: https://api.example.com
secret: { env: SECRET }
rails:
  evm:
    - { network: base-sepolia, ${entry}, facilitator: "${facilitator.url}" }
    - { network: base, ${entry}, facilitator: "http://127.0.0.1:1" }
upstreams: { api: "${api}" }
routes:
  /orders: { price: { base: 0.01 USD, when: [{ method: PUT, price: 0.02 USD }] } }
  DELETE /orders/:id: 0.01 USD
  GET /days/:days: { price: { each: { unit: day, price: 0.01 USD, param: days } } }
`,
    )
    const secret = { SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA' }
    const { states, findings, code } = await check('verbs.yaml', secret)
    assert.deepEqual(states, [
      ...['rail evm: good', 'rail evm: bad', 'upstream api: good'],
      ...['route /orders, GET: good', 'route /orders, POST: good', 'route /orders, PUT: good'],
      ...['route DELETE /orders/:id: good', 'route GET /days/:days: good'],
      ...['around /orders: good', 'around GET /days/:days: good'],
    ])
    assert.match(findings.find(({ state }) => state === 'bad')?.sentence ?? '', /^eip155:8453: /)
    assert.equal(code, 1)
  })
})
