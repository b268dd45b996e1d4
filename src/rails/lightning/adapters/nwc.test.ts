// A small relay on this machine, the wallet's side and ours both of @getalby/sdk. What the package's wallet side cannot do (hold), or
// an honest one would not (other types, silence), comes from a client that is handed in.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { before, describe, mock, test } from 'node:test'
import { NWCClient, NWCWalletService, NWCWalletServiceKeyPair } from '@getalby/sdk/nwc'
import type { WebSocket } from 'ws'
import { WebSocketServer } from 'ws'
import { systemClock } from '../../../core/clock.ts'
import type { Clock } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import { resolveChain } from '../networks.ts'
import type { LightningNode } from '../node.ts'
import type { NwcClient, NwcSettings } from './nwc.ts'
import { createNwc } from './nwc.ts'
import type { Made } from './stand-in.test.ts'
import { makeInvoice } from './stand-in.test.ts'

/** Who waits when it is told has waited long enough. */
function stopwatch(): { readonly clock: Clock; readonly up: () => void } {
  let end = new AbortController()
  const now = (): number => systemClock.now()
  const sleep: Clock['sleep'] = (ms, signal) =>
    systemClock.sleep(ms, AbortSignal.any([end.signal, signal ?? []].flat()))
  const up = (): void => {
    end.abort()
    end = new AbortController()
  }
  return { clock: { now, sleep }, up }
}

const SECRET = 'c0ffee5ec2e7'

type Handler = Parameters<NWCWalletService['subscribe']>[1]
type Methods = Parameters<NWCWalletService['publishWalletServiceInfoEvent']>[1]

interface NostrEvent {
  readonly id: string
  readonly kind: number
  readonly pubkey: string
  readonly tags: readonly (readonly string[])[]
}
type Filter = Readonly<Record<string, readonly (string | number)[] | number>>

/** Keeps what is to be kept and passes on the rest (NIP-01). */
async function relay(): Promise<{ readonly url: string; readonly close: () => void }> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  const kept: NostrEvent[] = []
  const wishes = new Map<WebSocket, Map<string, readonly Filter[]>>()
  server.on('connection', (socket) => {
    const mine = new Map<string, readonly Filter[]>()
    wishes.set(socket, mine)
    socket.on('close', () => wishes.delete(socket))
    socket.on('message', (data: Buffer) => {
      const [verb, first, ...rest] = JSON.parse(data.toString('utf8')) as [
        string,
        never,
        ...never[],
      ]
      if (verb === 'CLOSE') mine.delete(first)
      if (verb === 'REQ') {
        mine.set(first, rest)
        for (const event of kept.filter((one) => fits(one, rest))) tell(socket, first, event)
        socket.send(JSON.stringify(['EOSE', first]))
      }
      if (verb === 'EVENT') pass(socket, first)
    })
  })
  function pass(socket: WebSocket, event: NostrEvent): void {
    socket.send(JSON.stringify(['OK', event.id, true, '']))
    if (event.kind < 20_000) kept.push(event)
    for (const [other, its] of wishes)
      for (const [id, filters] of its) if (fits(event, filters)) tell(other, id, event)
  }
  const { promise, resolve } = Promise.withResolvers<void>()
  server.on('listening', resolve)
  await promise
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      for (const socket of server.clients) socket.terminate()
      server.close()
    },
  }
}

function tell(socket: WebSocket, id: string, event: NostrEvent): void {
  socket.send(JSON.stringify(['EVENT', id, event]))
}

function fits(event: NostrEvent, filters: readonly Filter[]): boolean {
  return filters.some((filter) =>
    Object.entries(filter).every(([key, list]) => {
      if (typeof list === 'number') return true
      if (key === 'kinds') return list.includes(event.kind)
      if (key === 'authors') return list.includes(event.pubkey)
      return event.tags.some(([tag, value = '']) => `#${tag}` === key && list.includes(value))
    }),
  )
}

const all: Methods = ['get_info', 'make_invoice', 'lookup_invoice', 'pay_invoice']

/** A wallet that does what the handler says, and a node that speaks with it. */
async function start(
  t: TestContext,
  handler: Handler,
  settings: Partial<NwcSettings> = {},
  methods: Methods = all,
): Promise<{ node: LightningNode }> {
  const { url, close } = await relay()
  const walletSecret = randomBytes(32).toString('hex')
  const secret = randomBytes(32).toString('hex')
  const { walletPubkey } = new NWCWalletServiceKeyPair(walletSecret, 'x')
  const uri = `nostr+walletconnect://${walletPubkey}?relay=${encodeURIComponent(url)}&secret=${secret}`
  const reader = new NWCClient({ nostrWalletConnectUrl: uri })
  const { publicKey } = reader
  reader.close()
  const service = new NWCWalletService({ relayUrls: [url] })
  await service.publishWalletServiceInfoEvent(walletSecret, methods, [])
  const unsubscribe = await service.subscribe(
    new NWCWalletServiceKeyPair(walletSecret, publicKey),
    handler,
  )
  const node = createNwc({ uri, ...settings })
  t.after(async () => {
    await node.close()
    unsubscribe()
    service.close()
    // Last: whoever loses a relay looks for it again.
    close()
  })
  return { node }
}

type Found = Awaited<ReturnType<NonNullable<Handler['lookupInvoice']>>>

function row(made: Made, rest: object): Found {
  const result = {
    type: 'incoming',
    invoice: made.invoice,
    payment_hash: made.hash,
    amount: 21_000,
    fees_paid: 0,
    created_at: 1,
    ...rest,
  } as NonNullable<Found['result']>
  return { result, error: undefined }
}

const no = (
  code: string,
): Promise<{ result: undefined; error: { code: string; message: string } }> =>
  Promise.resolve({ result: undefined, error: { code, message: 'no' } })

const request = (made: Made): Parameters<NonNullable<LightningNode['pay']>>[0] => ({
  invoice: made.invoice,
  feeMaxMsat: 5000n,
  timeoutMs: 0,
})

const getInfo: Handler['getInfo'] = async () => ({
  result: {
    alias: 'wallet',
    color: '',
    pubkey: '02ab',
    network: 'regtest',
    block_height: 1,
    block_hash: '',
    methods: all,
  },
  error: undefined,
})

// The package writes every error to the console.
before(() => mock.method(console, 'error', () => undefined))

describe('a wallet by Nostr Wallet Connect, over a relay on this machine', () => {
  test('tells who it is, makes an invoice, and tells what became of it', async (t) => {
    const made = makeInvoice(21)
    const asked: unknown[] = []
    const states = [{ state: 'pending' }, { state: 'settled', settled_at: 5 }, { state: 'expired' }]
    const { node } = await start(t, {
      getInfo,
      async makeInvoice(wanted) {
        asked.push(wanted)
        return row(made, {})
      },
      lookupInvoice: async () => row(made, { preimage: made.preimage, ...states.shift() }),
    })
    assert.deepEqual(await node.open(), { network: resolveChain('regtest'), publicKey: '02ab' })
    const wanted = { msat: 21_000n, memo: 'coffee', expiresInS: 600 }
    assert.deepEqual(await node.createInvoice(wanted), { invoice: made.invoice, hash: made.hash })
    assert.deepEqual(asked, [{ amount: 21_000, description: 'coffee', expiry: 600 }])
    assert.deepEqual(await node.invoice(made.hash), { state: 'open', receivedMsat: 0n })
    assert.deepEqual(await node.invoice(made.hash), {
      state: 'settled',
      receivedMsat: 21_000n,
      settledAt: 5000,
    })
    assert.deepEqual(await node.invoice(made.hash), { state: 'cancelled', receivedMsat: 0n })
  })

  test('pays', async (t) => {
    const made = makeInvoice(21)
    const paid: unknown[] = []
    const { node } = await start(t, {
      lookupInvoice: () => no('NOT_FOUND'),
      async payInvoice(wanted) {
        paid.push(wanted)
        return { result: { preimage: made.preimage, fees_paid: 2000 }, error: undefined }
      },
    })
    assert.deepEqual(await node.pay?.(request(made)), {
      state: 'succeeded',
      preimage: made.preimage,
      feeMsat: 2000n,
    })
    assert.deepEqual(paid, [{ invoice: made.invoice }])
  })

  test('that answers a payment late has paid, and the late answer harms nothing', async (t) => {
    const made = makeInvoice(21)
    const { clock, up } = stopwatch()
    const late = Promise.withResolvers<{ preimage: string; fees_paid: number }>()
    const answers: Promise<unknown>[] = []
    const { node } = await start(
      t,
      {
        async lookupInvoice() {
          if (answers.length === 0) return no('NOT_FOUND')
          return row(made, { type: 'outgoing', state: 'pending' })
        },
        async payInvoice() {
          up()
          return { result: await late.promise, error: undefined }
        },
      },
      {
        clock,
        async connect(uri) {
          const client = new NWCClient({ nostrWalletConnectUrl: uri })
          const pay = client.payInvoice.bind(client)
          client.payInvoice = (wanted) => {
            const answer = pay(wanted)
            answers.push(answer)
            return answer
          }
          return client
        },
      },
    )
    assert.deepEqual(await node.pay?.(request(made)), { state: 'inFlight' })
    late.resolve({ preimage: made.preimage, fees_paid: 1 })
    assert.equal((await Promise.all(answers)).length, 1)
  })

  for (const [code, wanted] of [
    ['PAYMENT_FAILED', 'failed'],
    ['INSUFFICIENT_BALANCE', 'failed'],
    ['QUOTA_EXCEEDED', 'failed'],
    ['INTERNAL', 'inFlight'],
    ['OTHER', 'inFlight'],
  ] as const)
    test(`that answers a payment with ${code} leaves it ${wanted}`, async (t) => {
      const made = makeInvoice(21)
      const { node } = await start(t, {
        lookupInvoice: () => no('NOT_FOUND'),
        payInvoice: () => no(code),
      })
      assert.equal((await node.pay?.(request(made)))?.state, wanted)
    })

  test('that does not allow it says so, at the start and later', async (t) => {
    const made = makeInvoice(21)
    const { node } = await start(
      t,
      { getInfo, lookupInvoice: () => no('NOT_FOUND'), payInvoice: () => no('RESTRICTED') },
      {},
      ['make_invoice', 'lookup_invoice'],
    )
    await assert.rejects(node.open(), { code: 'misconfigured', message: /pay_invoice/ })
    await assert.rejects(async () => node.pay?.(request(made)), { code: 'misconfigured' })
  })

  test('that only receives is enough to sell', async (t) => {
    const { node } = await start(t, { getInfo }, { pay: false, network: 'signet' }, [
      'make_invoice',
      'lookup_invoice',
    ])
    assert.deepEqual(await node.open(), { network: resolveChain('signet'), publicKey: '' })
    assert.ok(!('pay' in node))
  })

  test('is none by another address', async () => {
    assert.throws(() => createNwc({ uri: 'https://x?secret=1' }), RangeError)
    await assert.rejects(createNwc({ uri: 'nostr+walletconnect://x' }).open(), {
      code: 'misconfigured',
    })
  })
})

describe('a client that is handed in', () => {
  const client = (rest: Partial<NwcClient>): NwcClient => {
    const never = (): Promise<unknown> => Promise.reject(new Error('not asked for'))
    return {
      getWalletServiceInfo: never,
      getInfo: never,
      makeInvoice: never,
      makeHoldInvoice: never,
      settleHoldInvoice: never,
      cancelHoldInvoice: never,
      lookupInvoice: never,
      payInvoice: never,
      close: () => undefined,
      ...rest,
    }
  }
  const create = (rest: Partial<NwcClient>, settings: Partial<NwcSettings> = {}): LightningNode =>
    createNwc({
      uri: `nostr+walletconnect://x?secret=${SECRET}`,
      connect: async () => client(rest),
      ...settings,
    })

  for (const [title, found, wanted] of [
    ['knows it as settled', { state: 'settled', fees_paid: 7 }, 'succeeded'],
    ['is one of before and has the preimage', { fees_paid: 7 }, 'succeeded'],
    ['knows it as failed', { state: 'failed' }, 'failed'],
    ['knows it as pending', { state: 'pending', preimage: '' }, 'inFlight'],
    ['has no preimage', { state: 'settled', preimage: '' }, 'inFlight'],
    ['knows nothing of it', undefined, 'inFlight'],
  ] as const)
    test(`that never answers a payment is asked, and it is ${wanted} when it ${title}`, async () => {
      const made = makeInvoice(21)
      const { clock, up } = stopwatch()
      let sent = 0
      const node = create(
        {
          async lookupInvoice() {
            if (sent === 0 || !found) throw Object.assign(new Error('no'), { code: 'NOT_FOUND' })
            return { type: 'outgoing', preimage: made.preimage, ...found }
          },
          payInvoice() {
            sent += 1
            // When we wait for it.
            setImmediate(up)
            return new Promise(() => undefined)
          },
        },
        { clock },
      )
      assert.equal((await node.pay?.(request(made)))?.state, wanted)
      assert.equal(sent, 1)
    })

  test('that does not answer is unavailable, and its secret is not told', async () => {
    const { clock, up } = stopwatch()
    const answers: readonly NwcClient['makeInvoice'][] = [
      () => (setImmediate(up), new Promise(() => undefined)),
      () => Promise.reject(new Error(SECRET)),
    ]
    for (const makeInvoiceBy of answers) {
      const node = create({ makeInvoice: makeInvoiceBy }, { clock })
      const wanted = { msat: 21_000n, memo: 'coffee', expiresInS: 600 }
      await assert.rejects(node.createInvoice(wanted), (error) => {
        assert.ok(error instanceof PaymentError)
        assert.equal(error.code, 'rail-unavailable')
        assert.ok(!`${error.message}${String(error.cause)}`.includes(SECRET))
        return true
      })
    }
  })

  test('holds, settles and cancels where the wallet has the methods', async () => {
    const made = makeInvoice(21)
    let state = 'accepted'
    const final = Object.assign(new Error('final'), { code: 'OTHER' })
    const capabilities = [
      ...all,
      ...['make_hold_invoice', 'settle_hold_invoice', 'cancel_hold_invoice'],
    ]
    const node = create(
      {
        getWalletServiceInfo: async () => ({ capabilities }),
        makeHoldInvoice: async ({ payment_hash }) => ({ invoice: made.invoice, payment_hash }),
        lookupInvoice: async () => ({ type: 'incoming', state, amount: 21_000, settled_at: 9 }),
        async settleHoldInvoice({ preimage }) {
          assert.equal(preimage, made.preimage)
          if (state !== 'accepted') throw final
          state = 'settled'
          return {}
        },
        async cancelHoldInvoice() {
          throw final
        },
      },
      { hold: true, network: 'regtest' },
    )
    await node.open()
    const wanted = { msat: 21_000n, memo: 'coffee', expiresInS: 600, hash: made.hash }
    assert.deepEqual(await node.createInvoice(wanted), { invoice: made.invoice, hash: made.hash })
    assert.deepEqual(await node.invoice(made.hash), { state: 'held', receivedMsat: 21_000n })
    await node.settle?.(made.preimage)
    await node.settle?.(made.preimage)
    assert.equal((await node.invoice(made.hash))?.state, 'settled')
    await assert.rejects(async () => node.cancel?.(made.hash), { code: 'rail-unavailable' })
  })

  test('is not promised a hold that the wallet does not have', async () => {
    const info = { getWalletServiceInfo: async () => ({ capabilities: all }) }
    await assert.rejects(create(info, { hold: true, network: 'regtest' }).open(), {
      code: 'misconfigured',
      message: /make_hold_invoice/,
    })
    assert.ok(await create(info, { network: 'regtest' }).open())
  })

  for (const [title, said] of [
    ['nothing', null],
    ['a text', 'settled'],
    ['a state that is none', { state: 'paid' }],
    ['an amount that is none', { state: 'settled', amount: 1.5 }],
  ] as const)
    test(`that says ${title} is not believed`, async () => {
      const node = create({ lookupInvoice: async () => said })
      await assert.rejects(node.invoice('ab'.repeat(32)), { code: 'rail-unavailable' })
      const made = makeInvoice(21)
      const honest = { state: 'settled', amount: 21_000, preimage: made.preimage }
      const other = create({ lookupInvoice: async () => honest })
      assert.equal((await other.invoice(made.hash))?.state, 'settled')
    })

  test('may prove nothing by another preimage', async () => {
    const made = makeInvoice(21)
    const preimage = 'ee'.repeat(32)
    let sent = false
    const node = create({
      async lookupInvoice() {
        if (!sent) throw Object.assign(new Error('no'), { code: 'NOT_FOUND' })
        return { type: 'outgoing', state: 'settled', preimage }
      },
      async payInvoice() {
        sent = true
        return { preimage, fees_paid: 0 }
      },
    })
    assert.deepEqual(await node.pay?.(request(made)), { state: 'inFlight' })
  })
})
