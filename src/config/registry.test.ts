import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { readDocument } from './document.ts'
import { DocumentError, fingerprint, openParts } from './registry.ts'
import type { Source } from './registry.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const environment: Record<string, string> = { SECRET, KEY: 'ab'.repeat(32), SHORT: 'short' }

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'registry-'))
})
after(async () => {
  await rm(directory, { recursive: true, force: true })
})

function sourceOf(rails: string, more = ''): Source {
  const text = [
    'listen: 0',
    'origin: https://api.example.com',
    ...(more.includes('secret:') ? [] : ['secret: { env: SECRET }']),
    `rails: ${rails}`,
    'upstreams: { api: "http://127.0.0.1:1" }',
    'routes: { GET /a: free }',
    more,
  ].join('\n')
  const read = readDocument(text, 'a.yaml')
  assert.ok(read.ok, read.ok ? '' : JSON.stringify(read.mistakes))
  return { ...read, directory, variable: (name) => environment[name] }
}

const nowhere = 'url: "http://127.0.0.1:1"'
const dead = `{ evm: { network: base, payTo: "0x${'11'.repeat(20)}", facilitator: "http://127.0.0.1:1" } }`

describe('the parts of a document', () => {
  for (const [kind, rails] of [
    ['lnd', `{ lightning: { lnd: { ${nowhere}, macaroon: { env: KEY } }, network: regtest } }`],
    ['lnd, binary', `{ lightning: { lnd: { ${nowhere}, macaroon: { file: binary } } } }`],
    ['cln', `{ lightning: { cln: { ${nowhere}, rune: { env: KEY } } } }`],
    ['phoenixd', `{ lightning: { phoenixd: { ${nowhere}, password: { env: KEY } } } }`],
    ['eclair', `{ lightning: { eclair: { ${nowhere}, password: { env: KEY } } } }`],
    ['lnbits', `{ lightning: { lnbits: { ${nowhere}, key: { env: KEY } } } }`],
    [
      'evm',
      `{ evm: { network: base, payTo: "0x${'11'.repeat(20)}", rpc: "http://127.0.0.1:1", signer: { env: KEY } } }`,
    ],
    [
      'channels',
      dead.replace('base', 'base, rpc: "http://127.0.0.1:1", channels: { key: { env: KEY } }'),
    ],
    ['a facilitator', dead],
    ['a facilitator that is looked after', dead.replace('base', 'base, rpc: "http://127.0.0.1:1"')],
    ['lnurl', '{ lightning: { lnurl: { address: "shop@127.0.0.1:1" } } }'],
    [
      'compared',
      `{ lightning: { compare: true, phoenixd: { ${nowhere}, password: { env: KEY } } } }`,
    ],
  ] as const)
    test(`${kind}: opens as far as the world lets it`, async () => {
      await writeFile(join(directory, 'binary'), Buffer.from('00ff10', 'hex'))
      await assert.rejects(openParts(sourceOf(rails), { ledger: memory() }), PaymentError)
    })

  for (const [what, rails, more, expected] of [
    ['a variable that is not set', dead, 'secret: { env: NONE }', /no variable NONE/],
    ['a file that is not there', dead, 'secret: { file: none }', /file none cannot be read/],
    ['a secret that is too short', dead, 'secret: { env: SHORT }', /shorter than 32 bytes/],
    [
      'a node that does not tell what it holds',
      '{ lightning: { compare: true, lnurl: { address: shop@shop.example } } }',
      '',
      /:4:.*Leave "compare" out/,
    ],
    ['a network that nobody knows', dead.replace('base', 'bess'), '', /bess/],
    [
      'a key that is none',
      `{ evm: { network: base, payTo: "0x${'11'.repeat(20)}", rpc: "http://127.0.0.1:1", signer: { env: SHORT } } }`,
      '',
      /./,
    ],
  ] as const)
    test(`${what} is told with its line, and never its value`, async () => {
      const opened = openParts(sourceOf(rails, more), { ledger: memory() })
      await assert.rejects(opened, (error) => {
        assert.ok(error instanceof DocumentError, String(error))
        assert.match(error.message, /^:\d+:\d+: /)
        assert.match(error.message, expected)
        assert.doesNotMatch(error.message, /"short"| short[. ]/)
        return true
      })
    })

  test('are the same as long as neither what is said nor a secret has changed', async () => {
    const one = await fingerprint(sourceOf(dead))
    assert.equal(await fingerprint(sourceOf(dead)), one)
    assert.notEqual(await fingerprint(sourceOf(dead, 'realm: other')), one)
    const changed = { ...sourceOf(dead), variable: () => `${SECRET}x` }
    assert.notEqual(await fingerprint(changed), one)
    assert.equal(await fingerprint(sourceOf(dead, 'timeouts: { drain: 1s }')), one)
  })
})
