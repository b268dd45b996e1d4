// A payer by channels against a real seller over loopback, both over a stand-in for the chain (escrow.test.ts).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import type { Ledger } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { createChannelPayer } from '../payer/channel.ts'
import type { ChannelPayer, ChannelPayerParts } from '../payer/channel.ts'
import { mpp } from '../protocols/mpp/index.ts'
import {
  createChannelRail,
  createChannelWallet,
  createEscrow,
  pathOf,
  sayWords,
} from './escrow.test.ts'
import type { Escrow } from './escrow.test.ts'
import { serve } from './fixture.test.ts'
import { toll } from './node.ts'
import { createSeller } from './seller.ts'
import { SECRET } from './shop.test.ts'

interface Stage {
  readonly origin: string
  readonly escrow: Escrow
  readonly ledger: Ledger
  /** Sums that were signed, in order. */
  readonly signed: readonly bigint[]
  /** What was written down as signed when each voucher left. */
  readonly sent: { readonly said: bigint; readonly written: bigint }[]
  readonly payer: (more?: Partial<ChannelPayerParts>) => ChannelPayer
}

async function open(t: TestContext): Promise<Stage> {
  const escrow = createEscrow()
  const rail = createChannelRail(escrow)
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [mpp({ parts: [rail] })],
    ledger: memory(),
    plans: { purse: { price: '1 USD', balance: '1 USD', refund: true } },
  })
  const routes = {
    'GET /words': { plan: 'purse', meter: { unit: '0.10 USD' } },
    'GET /page': { price: '0.25 USD', takes: ['purse'] },
    'GET /free': 'free',
  } as const
  const { origin, close } = await serve(
    toll(seller, routes, async (request, response) => {
      if (pathOf(request) !== '/words') response.end(pathOf(request))
      else await sayWords(request, response)
    }),
  )
  t.after(async () => {
    await close()
    await seller.close()
  })
  const wallet = createChannelWallet(() => 'one secret')
  const ledger = memory()
  const sent: { readonly said: bigint; readonly written: bigint }[] = []
  return {
    origin,
    escrow,
    ledger,
    signed: wallet.signed,
    sent,
    payer: (more) =>
      createChannelPayer({
        wallet,
        protocol: mpp({ parts: [wallet] }),
        ledger,
        policy: { perRequest: '1 USD', total: '3 USD' },
        most: '2 USD',
        async fetch(input, init) {
          const said = saidIn(new Headers(init?.headers).get('authorization'))
          if (said !== undefined) sent.push({ said, written: await writtenIn(ledger) })
          return await fetch(input, init)
        },
        ...more,
      }),
  }
}

/** The sum of the voucher that a request brings. */
function saidIn(field: string | null): bigint | undefined {
  if (!field?.startsWith('Payment ')) return undefined
  const text = Buffer.from(field.slice('Payment '.length), 'base64url').toString()
  const { payload } = JSON.parse(text) as { payload: { cumulativeAmount?: string } }
  return payload.cumulativeAmount === undefined ? undefined : BigInt(payload.cumulativeAmount)
}

async function writtenIn(ledger: Ledger): Promise<bigint> {
  const [held] = await ledger.under('channel/', '', 1)
  const said = held?.steps.findLast(({ type }) => type === 'signed')?.data['cumulative']
  return typeof said === 'string' ? BigInt(said) : 0n
}

function isOver(error: unknown): boolean {
  return error instanceof PaymentError && error.code === 'budget-exceeded'
}

describe('a payer by channels', () => {
  test('opens one, signs a unit ahead, answers a stream that asks, and ends it at what was spent', async (t) => {
    const stage = await open(t)
    const payer = stage.payer()
    const answer = await payer.fetch(`${stage.origin}/words?n=4`)
    assert.match(await answer.text(), /word 3\n\ndata: \[DONE\]/)
    assert.deepEqual(stage.signed.slice(0, 4), [100_000n, 200_000n, 300_000n, 400_000n])
    const page = await payer.fetch(`${stage.origin}/page`)
    assert.equal(await page.text(), '/page')
    const [channel, lying] = [...stage.escrow.channels][0] ?? []
    const done = await payer.close(stage.origin)
    assert.deepEqual([done?.channel, done?.spent], [channel, 650_000n])
    assert.equal(lying?.collected, 650_000n)
    assert.match(done?.reference ?? '', /^0x/)
    assert.equal(await payer.standing(stage.origin), undefined)
    for (const { said, written } of stage.sent) assert.ok(said <= written || said === 0n)
  })

  test('knows its channel again after a crash, and never signs less than it may have', async (t) => {
    const stage = await open(t)
    const first = stage.payer()
    await (await first.fetch(`${stage.origin}/words?n=2`)).text()
    const second = stage.payer()
    assert.equal(await (await second.fetch(`${stage.origin}/page`)).text(), '/page')
    assert.equal(stage.escrow.channels.size, 1)
    const done = await second.close(stage.origin)
    assert.equal(done?.spent, 450_000n)
  })

  test('tops up within its budget, and signs no further than its limit', async (t) => {
    const stage = await open(t)
    const payer = stage.payer({ most: '1.5 USD' })
    const answer = await payer.fetch(`${stage.origin}/words?n=13`)
    assert.match(await answer.text(), /word 12\n/)
    assert.equal([...stage.escrow.channels.values()][0]?.deposit, 2_000_000n)
    await assert.rejects(async () => {
      const over = await payer.fetch(`${stage.origin}/words?n=5`)
      await over.text()
    }, isOver)
    assert.ok(stage.signed.every((sum) => sum <= 1_500_000n))
    const done = await payer.close(stage.origin)
    assert.ok(done && done.spent <= 1_500_000n && done.spent >= 1_300_000n)
    // The honest request beside it: with a higher limit it is served.
    const free = await payer.fetch(`${stage.origin}/free`)
    assert.equal(await free.text(), '/free')
  })

  test('lets one request sign away only so much', async (t) => {
    const stage = await open(t)
    const payer = stage.payer({ perRequest: '0.2 USD' })
    await (await payer.fetch(`${stage.origin}/words?n=1`)).text()
    await assert.rejects(payer.fetch(`${stage.origin}/page`), isOver)
    await assert.rejects(
      async () => (await payer.fetch(`${stage.origin}/words?n=3`)).text(),
      isOver,
    )
    assert.ok(stage.signed.every((sum) => sum <= 500_000n))
    const done = await stage.payer().fetch(`${stage.origin}/page`)
    assert.equal(done.status, 200)
  })

  test('signs no step that is larger than what one request may sign away', async (t) => {
    const stage = await open(t)
    const protocol = mpp({ parts: [createChannelWallet()] })
    const { channels } = protocol
    assert.ok(channels)
    const steps = (step: bigint): Partial<ChannelPayerParts> => ({
      perRequest: '0.2 USD',
      protocol: { ...protocol, channels: { ...channels, terms: () => ({ unit: 100_000n, step }) } },
    })
    await assert.rejects(stage.payer(steps(900_000n)).fetch(`${stage.origin}/words?n=1`), isOver)
    assert.deepEqual([...new Set(stage.signed)], [])
    // The honest request beside it: a step that is within the limit is signed.
    const answer = await stage.payer(steps(150_000n)).fetch(`${stage.origin}/words?n=1`)
    assert.match(await answer.text(), /word 0/)
    assert.equal(stage.signed.at(-1), 150_000n)
  })

  test('is not led on from voucher to voucher by a seller who does not close', async (t) => {
    const stage = await open(t)
    const protocol = mpp({ parts: [createChannelWallet()] })
    const { channels } = protocol
    assert.ok(channels)
    const small = { ...channels, terms: () => ({ unit: 1_000n, step: 0n }) }
    const first = stage.payer({ protocol: { ...protocol, channels: small } })
    await (await first.fetch(`${stage.origin}/words?n=1`)).text()
    const [channel = ''] = stage.escrow.channels.keys()
    const honest = await writtenIn(stage.ledger)
    let written = 0n
    const payer = stage.payer({
      // It tells each time that as much was spent as may have been signed.
      protocol: {
        ...protocol,
        channels: { ...small, read: () => ({ channel, accepted: written, spent: written }) },
      },
      async fetch() {
        written = await writtenIn(stage.ledger)
        return new Response(null, { status: 402 })
      },
    })
    await assert.rejects(payer.close(stage.origin), /does not close/)
    assert.ok(stage.signed.length > 2)
    assert.ok(stage.signed.every((sum) => sum <= honest + 1n))
    // The honest seller beside it.
    assert.equal((await stage.payer().close(stage.origin))?.spent, 100_000n)
  })

  test('serves itself by one channel, however many requests come at once', async (t) => {
    const stage = await open(t)
    const payer = stage.payer()
    await (await payer.fetch(`${stage.origin}/words?n=1`)).text()
    const answers = await Promise.all(
      Array.from({ length: 3 }, () => payer.fetch(`${stage.origin}/page`)),
    )
    for (const answer of answers) assert.equal(await answer.text(), '/page')
    assert.equal(stage.escrow.channels.size, 1)
    assert.equal((await payer.close(stage.origin))?.spent, 850_000n)
  })
})
