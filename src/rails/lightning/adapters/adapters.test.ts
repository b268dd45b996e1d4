// Every back end that speaks HTTP stands once in the table: what it is asked and what it answers, by its documents and sources. The
// tests are the same for all, each against a stand-in on this machine.
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { describe, test } from 'node:test'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import { PaymentError } from '../../../core/problem.ts'
import { resolveChain } from '../networks.ts'
import type { Capabilities, InvoiceState, LightningNode } from '../node.ts'
import { createCln } from './cln.ts'
import { createEclair } from './eclair.ts'
import { ANSWER_BYTES_MAX } from './http.ts'
import { createLnbits } from './lnbits.ts'
import { createLnd } from './lnd.ts'
import { createPhoenixd } from './phoenixd.ts'
import type { Asked, Made, Reply, StandIn } from './stand-in.test.ts'
import { makeInvoice, makeOfferInvoice, standIn } from './stand-in.test.ts'

const SECRET = 'c0ffee5ec2e7'
const KEY = `02${'ab'.repeat(32)}`
const REGTEST = resolveChain('regtest')

interface Backend {
  readonly name: string
  readonly can: Capabilities
  readonly make: (url: string, timeoutMs?: number) => LightningNode
  /** The header that the credential goes in, and how it stands there. */
  readonly credential: readonly [string, string]
  readonly info: Step
  readonly publicKey: string
  readonly create: (made: Made) => Step
  /** What creating is asked with: 21 satoshis, "coffee", ten minutes. */
  readonly wanted: JsonObject
  readonly invoices: readonly Found[]
  readonly unknown: (made: Made) => Step
  readonly send: Route
  readonly sends: (made: Made) => JsonObject
  /** What it says of a payment that arrived, with a fee of 2 satoshis and that preimage. */
  readonly sent: (made: Made, preimage: string) => Reply
  /** What it says of one that failed. */
  readonly notSent: (made: Made) => Reply
  readonly books: {
    readonly path: (made: Made) => Route
    readonly none: Reply
    readonly flying: (made: Made) => Reply
    readonly paid: (made: Made, preimage: string) => Reply
    readonly failed: (made: Made) => Reply
  }
}

interface Route {
  readonly method: string
  readonly path: string
}

interface Step extends Route {
  readonly reply: Reply
}

interface Found {
  readonly title: string
  readonly step: (made: Made) => Step
  readonly is: InvoiceState
}

const json = (said: Json, status = 200): Reply => ({ status, json: said })
const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')
const urlBase64 = (hex: string): string =>
  encodeURIComponent(base64(hex).replaceAll('+', '-').replaceAll('/', '_'))

const lndInvoice = (rest: JsonObject): ((made: Made) => Step) => {
  return ({ hash, preimage }) => ({
    method: 'GET',
    path: `/v1/invoice/${hash}`,
    reply: json({
      memo: 'coffee',
      r_preimage: base64(preimage),
      r_hash: base64(hash),
      value_msat: '21000',
      ...rest,
    }),
  })
}

const lndPayment = (made: Made, rest: JsonObject): Reply => ({
  text: `${JSON.stringify({
    result: {
      payment_hash: made.hash,
      value_msat: '21000',
      payment_request: made.invoice,
      payment_preimage: '0'.repeat(64),
      fee_msat: '0',
      failure_reason: 'FAILURE_REASON_NONE',
      ...rest,
    },
  })}\n`,
})

const lndPaid = (made: Made, preimage: string): Reply =>
  lndPayment(made, { status: 'SUCCEEDED', payment_preimage: preimage, fee_msat: '2000' })

const lndFailed = (made: Made): Reply =>
  lndPayment(made, { status: 'FAILED', failure_reason: 'FAILURE_REASON_NO_ROUTE' })

const lnd: Backend = {
  name: 'lnd',
  can: {
    ...{ hold: true, msat: true, feeLimit: true, pay: true, lookup: true, offers: false },
    amountless: true,
  },
  make: (url, timeoutMs = 2000) => createLnd({ url, macaroon: SECRET, timeoutMs }),
  credential: ['grpc-metadata-macaroon', SECRET],
  info: {
    method: 'GET',
    path: '/v1/getinfo',
    reply: json({ identity_pubkey: KEY, chains: [{ chain: 'bitcoin', network: 'regtest' }] }),
  },
  publicKey: KEY,
  create: ({ invoice, hash }) => ({
    method: 'POST',
    path: '/v1/invoices',
    reply: json({ r_hash: base64(hash), payment_request: invoice, add_index: '5' }),
  }),
  wanted: { value_msat: '21000', memo: 'coffee', expiry: '600' },
  invoices: [
    {
      title: 'open',
      step: lndInvoice({ state: 'OPEN', amt_paid_msat: '0' }),
      is: { state: 'open', receivedMsat: 0n },
    },
    {
      title: 'open, where the first value of an enumeration is left out',
      step: lndInvoice({}),
      is: { state: 'open', receivedMsat: 0n },
    },
    {
      title: 'held, counted in its parts',
      step: lndInvoice({
        state: 'ACCEPTED',
        amt_paid_msat: '0',
        htlcs: [
          { state: 'ACCEPTED', amt_msat: '20000' },
          { state: 'ACCEPTED', amt_msat: '1000' },
          { state: 'CANCELED', amt_msat: '7000' },
        ],
      }),
      is: { state: 'held', receivedMsat: 21_000n },
    },
    {
      title: 'settled',
      step: lndInvoice({ state: 'SETTLED', amt_paid_msat: '21000', settle_date: '1700000000' }),
      is: { state: 'settled', receivedMsat: 21_000n, settledAt: 1_700_000_000_000 },
    },
    {
      title: 'cancelled',
      step: lndInvoice({ state: 'CANCELED', amt_paid_msat: '0' }),
      is: { state: 'cancelled', receivedMsat: 0n },
    },
  ],
  unknown: ({ hash }) => ({
    method: 'GET',
    path: `/v1/invoice/${hash}`,
    reply: json({ code: 5, message: 'unable to locate invoice', details: [] }, 404),
  }),
  send: { method: 'POST', path: '/v2/router/send' },
  sends: ({ invoice }) => ({
    payment_request: invoice,
    fee_limit_msat: '5000',
    timeout_seconds: 1,
    no_inflight_updates: true,
  }),
  sent: lndPaid,
  notSent: lndFailed,
  books: {
    path: ({ hash }) => ({ method: 'GET', path: `/v2/router/track/${urlBase64(hash)}` }),
    none: json({ error: { code: 5, message: "payment isn't initiated", details: [] } }, 404),
    flying: (made) => lndPayment(made, { status: 'IN_FLIGHT' }),
    paid: lndPaid,
    failed: lndFailed,
  },
}

const clnInvoice = (rest: JsonObject): ((made: Made) => Step) => {
  return ({ invoice, hash }) => ({
    method: 'POST',
    path: '/v1/listinvoices',
    reply: json(
      {
        invoices: [
          { label: 'x', bolt11: invoice, payment_hash: hash, amount_msat: 21_000, ...rest },
        ],
      },
      201,
    ),
  })
}

const clnPays = (...pays: readonly JsonObject[]): Reply => json({ pays }, 201)

const cln: Backend = {
  name: 'cln',
  can: {
    ...{ hold: false, msat: true, feeLimit: true, pay: true, lookup: true, offers: true },
    amountless: true,
  },
  make: (url, timeoutMs = 2000) => createCln({ url, rune: SECRET, timeoutMs }),
  credential: ['rune', SECRET],
  info: {
    method: 'POST',
    path: '/v1/getinfo',
    reply: json({ id: KEY, alias: 'shop', network: 'regtest', version: 'v25.02' }, 201),
  },
  publicKey: KEY,
  create: ({ invoice, hash }) => ({
    method: 'POST',
    path: '/v1/invoice',
    reply: json({ bolt11: invoice, payment_hash: hash, payment_secret: hash, expires_at: 1 }, 201),
  }),
  wanted: { amount_msat: 21_000, description: 'coffee', expiry: 600 },
  invoices: [
    {
      title: 'open',
      step: clnInvoice({ status: 'unpaid' }),
      is: { state: 'open', receivedMsat: 0n },
    },
    {
      title: 'settled',
      step: clnInvoice({
        status: 'paid',
        amount_received_msat: 21_000,
        paid_at: 1_700_000_000,
        payment_preimage: 'ab'.repeat(32),
      }),
      is: { state: 'settled', receivedMsat: 21_000n, settledAt: 1_700_000_000_000 },
    },
    {
      title: 'settled, with an amount in the old writing',
      step: clnInvoice({ status: 'paid', amount_received_msat: '21000msat' }),
      is: { state: 'settled', receivedMsat: 21_000n },
    },
    {
      title: 'expired',
      step: clnInvoice({ status: 'expired' }),
      is: { state: 'cancelled', receivedMsat: 0n },
    },
  ],
  unknown: () => ({ method: 'POST', path: '/v1/listinvoices', reply: json({ invoices: [] }, 201) }),
  send: { method: 'POST', path: '/v1/xpay' },
  sends: ({ invoice }) => ({ invstring: invoice, maxfee: 5000, retry_for: 1 }),
  sent: (_made, preimage) =>
    json(
      {
        payment_preimage: preimage,
        failed_parts: 0,
        successful_parts: 1,
        amount_msat: 21_000,
        amount_sent_msat: 23_000,
      },
      201,
    ),
  notSent: () => json({ code: 205, message: 'Could not find a route' }, 500),
  books: {
    path: () => ({ method: 'POST', path: '/v1/listpays' }),
    none: clnPays(),
    flying: ({ hash }) =>
      clnPays(
        { payment_hash: hash, status: 'failed', created_at: 1, amount_sent_msat: 0 },
        { payment_hash: hash, status: 'pending', created_at: 2 },
      ),
    paid: ({ hash }, preimage) =>
      clnPays({
        payment_hash: hash,
        status: 'complete',
        preimage,
        amount_msat: 21_000,
        amount_sent_msat: 23_000,
      }),
    failed: ({ hash }) => clnPays({ payment_hash: hash, status: 'failed', amount_sent_msat: 0 }),
  },
}

const phoenixdIncoming = (rest: JsonObject): ((made: Made) => Step) => {
  return ({ hash, preimage, invoice }) => ({
    method: 'GET',
    path: `/payments/incoming/${hash}`,
    reply: json({
      type: 'incoming_payment',
      paymentHash: hash,
      preimage,
      invoice,
      createdAt: 1,
      ...rest,
    }),
  })
}

const phoenixdOutgoing = ({ hash }: Made, rest: JsonObject): Reply =>
  json({ type: 'outgoing_payment', paymentId: 'u', paymentHash: hash, createdAt: 1, ...rest })

const phoenixd: Backend = {
  name: 'phoenixd',
  can: { hold: false, msat: false, feeLimit: false, pay: true, lookup: true, offers: false },
  make: (url, timeoutMs = 2000) => createPhoenixd({ url, password: SECRET, timeoutMs }),
  credential: ['authorization', `Basic ${Buffer.from(`:${SECRET}`).toString('base64')}`],
  info: {
    method: 'GET',
    path: '/getinfo',
    reply: json({ nodeId: KEY, channels: [], chain: 'regtest', blockHeight: 1, version: '0.7' }),
  },
  publicKey: KEY,
  create: ({ invoice, hash }) => ({
    method: 'POST',
    path: '/createinvoice',
    reply: json({ amountSat: 21, paymentHash: hash, serialized: invoice }),
  }),
  wanted: { amountSat: '21', description: 'coffee', expirySeconds: '600' },
  invoices: [
    {
      title: 'open, and its preimage stays inside',
      step: phoenixdIncoming({ isPaid: false, receivedSat: 0, fees: 0 }),
      is: { state: 'open', receivedMsat: 0n },
    },
    {
      title: 'expired',
      step: phoenixdIncoming({ isPaid: false, isExpired: true, receivedSat: 0, fees: 0 }),
      is: { state: 'cancelled', receivedMsat: 0n },
    },
    {
      title: 'settled, before the fee of the channel that it opened',
      step: phoenixdIncoming({ isPaid: true, receivedSat: 19, fees: 1_234, completedAt: 1234 }),
      is: { state: 'settled', receivedMsat: 21_000n, settledAt: 1234 },
    },
  ],
  unknown: ({ hash }) => ({
    method: 'GET',
    path: `/payments/incoming/${hash}`,
    reply: { status: 404, text: 'Unknown endpoint (check api doc)' },
  }),
  send: { method: 'POST', path: '/payinvoice' },
  sends: ({ invoice }) => ({ invoice }),
  sent: ({ hash }, preimage) =>
    json({
      recipientAmountSat: 21,
      routingFeeSat: 2,
      paymentId: 'u',
      paymentHash: hash,
      paymentPreimage: preimage,
    }),
  notSent: ({ hash }) => json({ paymentHash: hash, reason: 'recipient is offline' }),
  books: {
    path: ({ hash }) => ({ method: 'GET', path: `/payments/outgoingbyhash/${hash}` }),
    none: { status: 404, text: 'Unknown endpoint (check api doc)' },
    flying: (made) => phoenixdOutgoing(made, { isPaid: false, sent: 23, fees: 0 }),
    paid: (made, preimage) =>
      phoenixdOutgoing(made, { isPaid: true, preimage, sent: 23, fees: 2000, completedAt: 2 }),
    // Old versions say `isPaid` of what is over, however it ended.
    failed: (made) => phoenixdOutgoing(made, { isPaid: true, sent: 23, fees: 0, completedAt: 2 }),
  },
}

const lnbitsRow = ({ hash, invoice }: Made, rest: JsonObject): JsonObject => ({
  checking_id: hash,
  payment_hash: hash,
  wallet_id: 'w',
  bolt11: invoice,
  fee: 0,
  memo: 'coffee',
  extra: {},
  ...rest,
})

const lnbitsInvoice = (rest: JsonObject): ((made: Made) => Step) => {
  return (made) => ({
    method: 'GET',
    path: `/api/v1/payments/${made.hash}`,
    reply: json({ paid: rest['status'] === 'success', details: lnbitsRow(made, rest) }),
  })
}

const lnbitsOutgoing = (made: Made, rest: JsonObject): Reply =>
  json({
    paid: rest['status'] === 'success',
    details: lnbitsRow(made, { amount: -21_000, ...rest }),
  })

const lnbits: Backend = {
  name: 'lnbits',
  can: { hold: false, msat: false, feeLimit: false, pay: true, lookup: true, offers: false },
  make: (url, timeoutMs = 2000) =>
    createLnbits({ url, key: SECRET, network: 'regtest', timeoutMs }),
  credential: ['x-api-key', SECRET],
  info: { method: 'GET', path: '/api/v1/wallet', reply: json({ name: 'shop', balance: 0 }) },
  publicKey: '',
  create: (made) => ({
    method: 'POST',
    path: '/api/v1/payments',
    reply: json(lnbitsRow(made, { amount: 21_000, status: 'pending' }), 201),
  }),
  wanted: { out: false, unit: 'sat', amount: 21, memo: 'coffee', expiry: 600 },
  invoices: [
    {
      title: 'open',
      step: lnbitsInvoice({ amount: 21_000, status: 'pending' }),
      is: { state: 'open', receivedMsat: 0n },
    },
    {
      title: 'settled',
      step: lnbitsInvoice({ amount: 21_000, status: 'success' }),
      is: { state: 'settled', receivedMsat: 21_000n },
    },
    {
      title: 'settled, as before version 1',
      step: lnbitsInvoice({ amount: 21_000, pending: false }),
      is: { state: 'settled', receivedMsat: 21_000n },
    },
    {
      title: 'cancelled or expired',
      step: lnbitsInvoice({ amount: 21_000, status: 'failed' }),
      is: { state: 'cancelled', receivedMsat: 0n },
    },
  ],
  unknown: ({ hash }) => ({
    method: 'GET',
    path: `/api/v1/payments/${hash}`,
    reply: json({ detail: 'Payment does not exist.' }, 404),
  }),
  send: { method: 'POST', path: '/api/v1/payments' },
  sends: ({ invoice }) => ({ out: true, bolt11: invoice }),
  sent: (made) => json(lnbitsRow(made, { amount: -21_000, status: 'success', fee: 0 }), 201),
  notSent: () => json({ detail: 'Payment failed: no route', status: 'failed' }, 520),
  books: {
    path: ({ hash }) => ({ method: 'GET', path: `/api/v1/payments/${hash}` }),
    none: json({ detail: 'Payment does not exist.' }, 404),
    flying: (made) => lnbitsOutgoing(made, { status: 'pending' }),
    paid: (made, preimage) => lnbitsOutgoing(made, { status: 'success', preimage, fee: -2000 }),
    failed: (made) => lnbitsOutgoing(made, { status: 'failed' }),
  },
}

const eclairInvoice = (status: JsonObject): ((made: Made) => Step) => {
  return ({ invoice, hash, preimage }) => ({
    method: 'POST',
    path: '/getreceivedinfo',
    reply: json({
      invoice: { prefix: 'lnbcrt', serialized: invoice, paymentHash: hash, amount: 21_000 },
      paymentPreimage: preimage,
      paymentType: 'Standard',
      createdAt: { iso: '2021-10-05T13:12:23.777Z', unix: 1_633_439_543 },
      status,
    }),
  })
}

const eclairPart = ({ hash }: Made, status: JsonObject): JsonObject => ({
  id: '00000000-0000-0000-0000-000000000000',
  paymentHash: hash,
  paymentType: 'Standard',
  amount: 21_000,
  recipientAmount: 21_000,
  status,
})

const eclair: Backend = {
  name: 'eclair',
  can: { hold: false, msat: true, feeLimit: true, pay: true, lookup: true, offers: false },
  make: (url, timeoutMs = 2000) => createEclair({ url, password: SECRET, timeoutMs }),
  credential: ['authorization', `Basic ${Buffer.from(`:${SECRET}`).toString('base64')}`],
  info: {
    method: 'POST',
    path: '/getinfo',
    reply: json({ version: '0.11', nodeId: KEY, alias: 'shop', network: 'regtest' }),
  },
  publicKey: KEY,
  create: ({ invoice, hash }) => ({
    method: 'POST',
    path: '/createinvoice',
    reply: json({ prefix: 'lnbcrt', serialized: invoice, paymentHash: hash, amount: 21_000 }),
  }),
  wanted: { description: 'coffee', amountMsat: '21000', expireIn: '600' },
  invoices: [
    {
      title: 'open',
      step: eclairInvoice({ type: 'pending' }),
      is: { state: 'open', receivedMsat: 0n },
    },
    {
      title: 'expired',
      step: eclairInvoice({ type: 'expired' }),
      is: { state: 'cancelled', receivedMsat: 0n },
    },
    {
      title: 'settled',
      step: eclairInvoice({
        type: 'received',
        amount: 21_000,
        receivedAt: { iso: '2021-10-05T13:12:23.777Z', unix: 1_633_439_543 },
      }),
      is: { state: 'settled', receivedMsat: 21_000n, settledAt: 1_633_439_543_000 },
    },
  ],
  unknown: () => ({
    method: 'POST',
    path: '/getreceivedinfo',
    reply: json({ error: 'Not found' }, 404),
  }),
  send: { method: 'POST', path: '/payinvoice' },
  sends: ({ invoice }) => ({ invoice, maxFeeFlatSat: '5', maxFeePct: '0', blocking: 'true' }),
  sent: ({ hash }, preimage) =>
    json({
      type: 'payment-sent',
      id: 'u',
      paymentHash: hash,
      paymentPreimage: preimage,
      parts: [],
    }),
  notSent: ({ hash }) => json({ type: 'payment-failed', id: 'u', paymentHash: hash, failures: [] }),
  books: {
    path: () => ({ method: 'POST', path: '/getsentinfo' }),
    none: json([]),
    flying: (made) =>
      json([
        eclairPart(made, { type: 'failed', failures: [] }),
        eclairPart(made, { type: 'pending' }),
      ]),
    paid: (made, paymentPreimage) =>
      json([
        eclairPart(made, { type: 'failed', failures: [] }),
        eclairPart(made, { type: 'sent', paymentPreimage, feesPaid: 1500 }),
        eclairPart(made, { type: 'sent', paymentPreimage, feesPaid: 500 }),
      ]),
    failed: (made) => json([eclairPart(made, { type: 'failed', failures: [] })]),
  },
}

const all: readonly Backend[] = [lnd, cln, phoenixd, lnbits, eclair]

/** What was sent, as an object: JSON or a form. */
function bodyOf({ headers, body }: Asked): JsonObject {
  if (headers['content-type'] !== 'application/json')
    return Object.fromEntries(new URLSearchParams(body))
  const said = JSON.parse(body) as Json
  assert.ok(isObject(said))
  return said
}

function is(asked: Route, route: Route): boolean {
  return asked.method === route.method && asked.path === route.path
}

async function start(
  t: TestContext,
  backend: Backend,
  answer: (asked: Asked) => Reply,
  timeoutMs?: number,
): Promise<{ node: LightningNode; server: StandIn }> {
  const server = await standIn(answer)
  const node = backend.make(server.url, timeoutMs)
  t.after(async () => {
    await node.close()
    await server.close()
  })
  return { node, server }
}

/** A back end whose books say one thing before a payment is sent, and another after. */
async function buyer(
  t: TestContext,
  backend: Backend,
  made: Made,
  { before, send, after }: { before?: Reply; send: Reply; after: Reply },
): Promise<{ node: LightningNode; sent: () => readonly Asked[] }> {
  let began = false
  const { node, server } = await start(t, backend, (asked) => {
    if (is(asked, backend.send)) {
      began = true
      return send
    }
    assert.ok(is(asked, backend.books.path(made)), `${asked.method} ${asked.path}`)
    return began ? after : (before ?? backend.books.none)
  })
  return { node, sent: () => server.asked.filter((asked) => is(asked, backend.send)) }
}

const request = (made: Made, timeoutMs = 0): Parameters<NonNullable<LightningNode['pay']>>[0] => ({
  invoice: made.invoice,
  feeMaxMsat: 5000n,
  timeoutMs,
})

async function pay(node: LightningNode, made: Made, timeoutMs = 0): Promise<unknown> {
  return node.pay?.(request(made, timeoutMs))
}

function fault(code: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof PaymentError)
    assert.equal(error.code, code)
    assert.ok(!`${error.message}${String(error.cause)}`.includes(SECRET), 'no credential is told')
    assert.ok(!error.message.includes('127.0.0.1'), 'no address is told')
    return true
  }
}

for (const backend of all) {
  const { name, books } = backend
  const wrong = 'ee'.repeat(32)
  describe(`${name}, against a stand-in by documented shapes`, () => {
    test('tells who it is, and shows its credential', async (t) => {
      const { node, server } = await start(t, backend, (asked) => {
        assert.ok(is(asked, backend.info))
        return backend.info.reply
      })
      assert.deepEqual(await node.open(), { network: REGTEST, publicKey: backend.publicKey })
      const [header, value] = backend.credential
      assert.equal(server.asked[0]?.headers[header], value)
      assert.deepEqual(node.can, backend.can)
    })

    test('makes an invoice', async (t) => {
      const made = makeInvoice(21)
      const step = backend.create(made)
      const { node, server } = await start(t, backend, () => step.reply)
      const got = await node.createInvoice({ msat: 21_000n, memo: 'coffee', expiresInS: 600 })
      assert.deepEqual(got, { invoice: made.invoice, hash: made.hash })
      const [asked] = server.asked
      assert.ok(asked && is(asked, step))
      const { label, ...wanted } = bodyOf(asked)
      assert.deepEqual(wanted, backend.wanted)
      assert.equal(label !== undefined, name === 'cln')
    })

    for (const { title, step, is: wanted } of backend.invoices)
      test(`reads an invoice that is ${title}`, async (t) => {
        const made = makeInvoice(21)
        const { node, server } = await start(t, backend, () => step(made).reply)
        const found = await node.invoice(made.hash)
        assert.deepEqual(found, wanted)
        const [asked] = server.asked
        assert.ok(asked && is(asked, step(made)))
        assert.ok(`${asked.path}${asked.body}`.includes(made.hash))
      })

    test('does not know an invoice of somebody else', async (t) => {
      const made = makeInvoice(21)
      const step = backend.unknown(made)
      const { node, server } = await start(t, backend, () => step.reply)
      assert.equal(await node.invoice(made.hash), undefined)
      assert.ok(server.asked[0] && is(server.asked[0], step))
    })

    test('pays, once, with the limit that it was given', async (t) => {
      const made = makeInvoice(21)
      const { node, sent } = await buyer(t, backend, made, {
        send: backend.sent(made, made.preimage),
        after: books.paid(made, made.preimage),
      })
      const succeeded = { state: 'succeeded', preimage: made.preimage, feeMsat: 2000n }
      assert.deepEqual(await pay(node, made, 1000), succeeded)
      const [asked, ...more] = sent()
      assert.ok(asked)
      assert.deepEqual(bodyOf(asked), backend.sends(made))
      assert.deepEqual(more, [])
      assert.deepEqual(await node.payment?.(made.hash), succeeded)
    })

    test('has failed where the node says so', async (t) => {
      const made = makeInvoice(21)
      const { node } = await buyer(t, backend, made, {
        send: backend.notSent(made),
        after: books.failed(made),
      })
      const found = await node.pay?.(request(made))
      assert.equal(found?.state, 'failed')
      assert.equal((await node.payment?.(made.hash))?.state, 'failed')
    })

    test('is still on its way when the answer says failed and the books say otherwise', async (t) => {
      const made = makeInvoice(21)
      const { node } = await buyer(t, backend, made, {
        send: backend.notSent(made),
        after: books.flying(made),
      })
      assert.deepEqual(await pay(node, made), { state: 'inFlight' })
    })

    test('has paid when the answer is lost and the books say so', async (t) => {
      const made = makeInvoice(21)
      const { node, sent } = await buyer(t, backend, made, {
        send: 'hang up',
        after: books.paid(made, made.preimage),
      })
      const succeeded = { state: 'succeeded', preimage: made.preimage, feeMsat: 2000n }
      assert.deepEqual(await pay(node, made), succeeded)
      assert.equal(sent().length, 1)
    })

    for (const [title, send] of [
      ['is lost', 'hang up'],
      ['is an error of the server', { status: 502, text: 'Bad gateway' }],
      ['cannot be read', { text: '<html>' }],
    ] as const)
      test(`is on its way when the answer ${title} and the books say nothing`, async (t) => {
        const made = makeInvoice(21)
        const { node, sent } = await buyer(t, backend, made, { send, after: books.none })
        assert.deepEqual(await pay(node, made), { state: 'inFlight' })
        assert.equal(sent().length, 1)
        assert.equal(await node.payment?.(made.hash), undefined)
      })

    test('is on its way when the answer is lost and the books tell only of an earlier try', async (t) => {
      const made = makeInvoice(21)
      const { node } = await buyer(t, backend, made, {
        before: books.failed(made),
        send: 'hang up',
        after: books.failed(made),
      })
      assert.deepEqual(await pay(node, made), { state: 'inFlight' })
    })

    test('has failed when the answer is lost and the books tell of this try', async (t) => {
      const made = makeInvoice(21)
      const { node } = await buyer(t, backend, made, {
        send: 'hang up',
        after: books.failed(made),
      })
      assert.equal((await node.pay?.(request(made)))?.state, 'failed')
    })

    test('sends nothing while an earlier payment is on its way, or has arrived', async (t) => {
      for (const [before, wanted] of [
        [books.flying, 'inFlight'],
        [(made: Made) => books.paid(made, made.preimage), 'succeeded'],
      ] as const) {
        const made = makeInvoice(21)
        const { node, sent } = await buyer(t, backend, made, {
          before: before(made),
          send: backend.sent(made, made.preimage),
          after: books.none,
        })
        assert.equal((await node.pay?.(request(made)))?.state, wanted)
        assert.deepEqual(sent(), [])
      }
    })

    test('sends once when it is asked twice at once', async (t) => {
      const made = makeInvoice(21)
      const { node, sent } = await buyer(t, backend, made, {
        send: backend.sent(made, made.preimage),
        after: books.paid(made, made.preimage),
      })
      const both = await Promise.all([pay(node, made), pay(node, made)])
      const succeeded = { state: 'succeeded', preimage: made.preimage, feeMsat: 2000n }
      assert.deepEqual(both, [succeeded, succeeded])
      assert.equal(sent().length, 1)
    })

    test('does not believe a preimage that is not the payment’s', async (t) => {
      const made = makeInvoice(21)
      const { node } = await buyer(t, backend, made, {
        send: backend.sent(made, wrong),
        after: books.paid(made, wrong),
      })
      assert.deepEqual(await pay(node, made), { state: 'inFlight' })
      assert.deepEqual(await node.payment?.(made.hash), { state: 'inFlight' })
    })

    test('pays nothing that is no invoice, and nothing after the caller has gone', async (t) => {
      const made = makeInvoice(21)
      const { node, server } = await start(t, backend, () => 'hang up')
      const bent = { ...request(made), invoice: `${made.invoice.slice(0, -1)}b` }
      assert.equal((await node.pay?.(bent))?.state, 'failed')
      const gone = AbortSignal.abort(new Error('gone'))
      await assert.rejects(async () => node.pay?.(request(made), gone), { message: 'gone' })
      assert.deepEqual(server.asked, [])
    })

    test('waits for what is on its way as long as it may', async (t) => {
      const made = makeInvoice(21)
      let looks = 0
      const { node } = await start(t, backend, (asked) => {
        assert.ok(is(asked, books.path(made)))
        looks += 1
        return looks < 3 ? books.flying(made) : books.paid(made, made.preimage)
      })
      assert.equal((await node.pay?.(request(made, 30_000)))?.state, 'succeeded')
    })

    for (const [title, reply, code] of [
      ['does not take the credential', { status: 401, text: '{}' }, 'misconfigured'],
      ['forbids it', { status: 403, text: '{}' }, 'misconfigured'],
      ['fails', { status: 500, text: `{"message":"oh ${SECRET}"}` }, 'rail-unavailable'],
      ['sends no JSON', { text: '<html>' }, 'rail-unavailable'],
      ['sends a list', { text: '[1]' }, 'rail-unavailable'],
      ['sends other types', { json: wrongTypes() }, 'rail-unavailable'],
      ['hangs up', 'hang up', 'rail-unavailable'],
      ['says too much', { text: ' '.repeat(ANSWER_BYTES_MAX + 1) }, 'rail-unavailable'],
    ] as const)
      test(`says ${code} when the server ${title}`, async (t) => {
        const { node } = await start(t, backend, () => reply)
        const { hash } = makeInvoice(21)
        const wanted = { msat: 21_000n, memo: 'coffee', expiresInS: 600 }
        // LNbits is asked only whether it knows us.
        if (name !== 'lnbits' || !title.startsWith('sends other'))
          await assert.rejects(node.open(), fault(code))
        await assert.rejects(node.createInvoice(wanted), fault(code))
        await assert.rejects(node.invoice(hash), fault(code))
        await assert.rejects(async () => node.payment?.(hash), fault(code))
      })

    test('says rail-unavailable when there is no answer in time', async (t) => {
      const { node } = await start(t, backend, () => 'silence', 30)
      await assert.rejects(node.open(), fault('rail-unavailable'))
    })

    test('follows nobody elsewhere', async (t) => {
      const elsewhere = await standIn(() => backend.info.reply)
      t.after(() => elsewhere.close())
      const { node } = await start(t, backend, () => ({ status: 307, to: `${elsewhere.url}/` }))
      await assert.rejects(node.open(), fault('rail-unavailable'))
      assert.deepEqual(elsewhere.asked, [])
    })

    test('has no verb that it cannot do', () => {
      const node = backend.make('http://127.0.0.1:1')
      assert.equal(node.settle !== undefined, backend.can.hold)
      assert.equal(node.cancel !== undefined, backend.can.hold)
      assert.equal(node.pay !== undefined && node.payment !== undefined, backend.can.pay)
      assert.equal(node.fetchInvoice !== undefined, backend.can.offers)
    })

    test('uses no wrong address or credential, and repeats none', () => {
      for (const url of ['', 'ftp://x', `http://user:${SECRET}@x`, `http://x/?key=${SECRET}`])
        assert.throws(
          () => backend.make(url),
          (error) => error instanceof RangeError && !error.message.includes(SECRET),
        )
    })
  })
}

/** Every member that any of them reads, as something else. */
function wrongTypes(): JsonObject {
  const keys = [
    ...['identity_pubkey', 'chains', 'network', 'id', 'nodeId', 'chain', 'r_hash', 'result'],
    ...['payment_request', 'bolt11', 'payment_hash', 'serialized', 'paymentHash', 'state'],
    ...[
      'invoices',
      'pays',
      'status',
      'details',
      'amount',
      'receivedSat',
      'completedAt',
      'preimage',
    ],
  ]
  return { isPaid: true, ...Object.fromEntries(keys.map((key) => [key, -1.5])) }
}

describe('only here', () => {
  test('lnd says with status 500 that a macaroon does not do', async (t) => {
    const { node } = await start(t, lnd, () =>
      json({ code: 2, message: 'verification failed: signature mismatch', details: [] }, 500),
    )
    await assert.rejects(node.open(), fault('misconfigured'))
    await assert.rejects(async () => node.payment?.('ab'.repeat(32)), fault('misconfigured'))
  })

  test('lnd sells with an invoice macaroon, which may not ask who the node is', async (t) => {
    const server = await standIn(({ path }) =>
      path.startsWith('/v1/invoices?')
        ? json({ invoices: [] })
        : json({ code: 2, message: 'permission denied' }, 500),
    )
    t.after(() => server.close())
    const settings = { url: server.url, macaroon: SECRET, pay: false }
    const node = createLnd({ ...settings, network: 'regtest' })
    assert.deepEqual(await node.open(), { network: REGTEST, publicKey: '' })
    assert.ok(!('pay' in node))
    assert.equal(node.can.pay, false)
    await assert.rejects(createLnd(settings).open(), fault('misconfigured'))
  })

  test('lnd holds, settles and cancels, and is content with what is done already', async (t) => {
    const made = makeInvoice(21)
    let state = 'OPEN'
    const { node, server } = await start(t, lnd, ({ path }) => {
      if (path === '/v2/invoices/hodl') return json({ payment_request: made.invoice })
      if (path.startsWith('/v1/invoice/')) return json({ state, amt_paid_msat: '21000' })
      const wanted = path.endsWith('settle') ? 'SETTLED' : 'CANCELED'
      if (state !== 'OPEN') return json({ code: 2, message: 'invoice already settled' }, 500)
      state = wanted
      return json({})
    })
    const wanted = { msat: 21_000n, memo: 'coffee', expiresInS: 600, hash: made.hash }
    assert.deepEqual(await node.createInvoice(wanted), { invoice: made.invoice, hash: made.hash })
    assert.equal(bodyOf(server.asked[0] as Asked)['hash'], base64(made.hash))
    await node.settle?.(made.preimage)
    assert.equal(bodyOf(server.asked[1] as Asked)['preimage'], base64(made.preimage))
    await node.settle?.(made.preimage)
    await assert.rejects(async () => node.cancel?.(made.hash), fault('rail-unavailable'))
    state = 'OPEN'
    await node.cancel?.(made.hash)
    await node.cancel?.(made.hash)
    await assert.rejects(async () => node.settle?.(made.preimage), fault('rail-unavailable'))
  })

  test('lnd is told what a payment may cost even when that is nothing', async (t) => {
    const made = makeInvoice(21)
    const { node, sent } = await buyer(t, lnd, made, {
      send: lndPaid(made, made.preimage),
      after: lnd.books.none,
    })
    await node.pay?.({ ...request(made), feeMaxMsat: 0n })
    assert.equal(bodyOf(sent()[0] as Asked)['fee_limit_msat'], '0')
  })

  test('lnd that goes on without an end is left', async (t) => {
    const made = makeInvoice(21)
    const endless = `${JSON.stringify({ result: { status: 'IN_FLIGHT' } })}\n`.repeat(20_000)
    const { node } = await buyer(t, lnd, made, {
      send: { text: endless },
      after: lnd.books.none,
    })
    assert.deepEqual(await pay(node, made), { state: 'inFlight' })
  })

  test('cln holds through the plugin, if it is said to be there', async (t) => {
    const made = makeInvoice(21)
    let state = 'accepted'
    const server = await standIn(({ path }) => {
      if (path === '/v1/holdinvoice') return json({ bolt11: made.invoice }, 201)
      if (path === '/v1/listinvoices') return json({ invoices: [] }, 201)
      if (path === '/v1/listholdinvoices')
        return json(
          {
            holdinvoices: [
              {
                id: 1,
                payment_hash: made.hash,
                invoice: made.invoice,
                state,
                created_at: '2025-01-01T00:00:00',
                ...(state === 'paid' && { settled_at: '2025-01-01T00:00:05' }),
                htlcs: [
                  { state, msat: 20_000 },
                  { state, msat: 1_000 },
                ],
              },
            ],
          },
          201,
        )
      if (state !== 'accepted') return json({ code: -32_603, message: 'state is final' }, 500)
      state = path === '/v1/settleholdinvoice' ? 'paid' : 'cancelled'
      return json({}, 201)
    })
    t.after(() => server.close())
    const node = createCln({ url: server.url, rune: SECRET, hold: true })
    const wanted = { msat: 21_000n, memo: 'coffee', expiresInS: 600, hash: made.hash }
    assert.deepEqual(await node.createInvoice(wanted), { invoice: made.invoice, hash: made.hash })
    assert.deepEqual(await node.invoice(made.hash), { state: 'held', receivedMsat: 21_000n })
    await node.settle?.(made.preimage)
    await node.settle?.(made.preimage)
    const settledAt = Date.UTC(2025, 0, 1, 0, 0, 5)
    assert.deepEqual(await node.invoice(made.hash), {
      state: 'settled',
      receivedMsat: 21_000n,
      settledAt,
    })
    await assert.rejects(async () => node.cancel?.(made.hash), fault('rail-unavailable'))
  })

  test('cln pays with the older command where it is told to', async (t) => {
    const made = makeInvoice(21)
    const server = await standIn(({ path }) =>
      path === '/v1/pay'
        ? json(
            {
              payment_preimage: made.preimage,
              payment_hash: made.hash,
              status: 'complete',
              amount_msat: 21_000,
              amount_sent_msat: 21_001,
              parts: 1,
            },
            201,
          )
        : json({ pays: [] }, 201),
    )
    t.after(() => server.close())
    const node = createCln({ url: server.url, rune: SECRET, payWith: 'pay' })
    const succeeded = { state: 'succeeded', preimage: made.preimage, feeMsat: 1n }
    assert.deepEqual(await node.pay?.(request(made)), succeeded)
  })

  test('cln refuses what an offer gave for another amount', async (t) => {
    const invoice = makeOfferInvoice(1_000_000)
    const { node, server } = await start(t, cln, () => json({ invoice, changes: {} }, 201))
    assert.equal(await node.fetchInvoice?.('lno1abc', 1_000_000n), invoice)
    assert.deepEqual(bodyOf(server.asked[0] as Asked), { offer: 'lno1abc', amount_msat: 1_000_000 })
    await assert.rejects(
      async () => node.fetchInvoice?.('lno1abc', 1_000_001n),
      fault('rail-unavailable'),
    )
  })

  test('lnbits tells the whole truth to the owner of the wallet only', async (t) => {
    const { hash, preimage } = makeInvoice(21)
    const { node } = await start(t, lnbits, () => json({ paid: true, preimage }))
    await assert.rejects(node.invoice(hash), fault('misconfigured'))
  })

  test('lnbits does not take a payment for an invoice, nor the other way round', async (t) => {
    const made = makeInvoice(21)
    let amount = -21_000
    const { node } = await start(t, lnbits, () =>
      json({ paid: true, details: lnbitsRow(made, { amount, status: 'success' }) }),
    )
    assert.equal(await node.invoice(made.hash), undefined)
    amount = 21_000
    assert.equal(await node.payment?.(made.hash), undefined)
  })

  test('lnd counts what is locked and what commitments of its own channels cost', async (t) => {
    const amount = (msat: string): JsonObject => ({ sat: '0', msat })
    const { node } = await start(t, lnd, ({ path }) =>
      path === '/v1/channels'
        ? json({
            channels: [
              { initiator: true, commit_fee: '700', local_balance: '1' },
              { initiator: false, commit_fee: '900' },
            ],
          })
        : json({
            local_balance: amount('21000001'),
            unsettled_local_balance: amount('5000'),
            remote_balance: amount('77'),
          }),
    )
    assert.equal(await node.balance?.(), 21_000_001n + 5_000n + 700_000n)
  })

  test('phoenixd and lnbits tell what they hold, each in its own unit', async (t) => {
    const phoenix = await start(t, phoenixd, () => json({ balanceSat: 21, feeCreditSat: 3 }))
    assert.equal(await phoenix.node.balance?.(), 21_000n)
    const bits = await start(t, lnbits, () => json({ name: 'shop', balance: 21_001 }))
    assert.equal(await bits.node.balance?.(), 21_001n)
  })

  test('what a back end tells of its balance in no number is not believed', async (t) => {
    const { node } = await start(t, lnbits, () => json({ name: 'shop', balance: -1 }))
    await assert.rejects(node.balance?.() ?? Promise.resolve(), fault('rail-unavailable'))
  })
})
