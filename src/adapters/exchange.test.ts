// Tokens bought, looked at, topped up and revoked through a whole seller; each attack stands beside the honest request.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ACCOUNT_FRESH_MS } from '../core/ports.ts'
import type { Account } from '../core/plan.ts'
import type { Accounts, Protocol } from '../core/ports.ts'
import type { Rights } from '../core/rights.ts'
import { oauth } from '../protocols/oauth/index.ts'
import {
  createMacaroonMint,
  createMacaroons,
  narrow,
  readToken,
  writeToken,
} from '../tokens/macaroon/index.ts'
import { STATEMENT_LINES_MAX, TOKENS_PATH, wholeOf } from './exchange.ts'
import type { Routes } from './routes.ts'
import { bearer, createHand, createWorld, fake, pay, SECRET, START, textIn } from './shop.test.ts'
import type { Node, Said } from './shop.test.ts'

const DAY_MS = 86_400_000
const routes: Routes = {
  'GET /tries': { plan: 'tries' },
  'GET /read': { price: '0.25 USD', takes: ['tries'] },
}

function shop() {
  const clock = createHand()
  const macaroons = createMacaroons({ secrets: [SECRET] })
  const mints = [createMacaroonMint(macaroons, clock)]
  const protocols: readonly Protocol[] = [fake, oauth({ mints, clock })]
  const plans = {
    tries: { price: '0.10 USD', uses: 2, validForMs: DAY_MS },
    purse: { price: '1 USD', balance: '1 USD', validForMs: DAY_MS },
  }
  return createWorld(routes, { plans, mints, protocols }, clock)
}

async function open(): Promise<{ readonly world: ReturnType<typeof shop>; readonly node: Node }> {
  const world = shop()
  return { world, node: await world.open() }
}

async function buy(node: Node, plan: string, nonce: string, body?: object): Promise<Said> {
  const order = body && { body: JSON.stringify(body) }
  const said = await node.ask(`${TOKENS_PATH}/${plan}`, { method: 'POST', nonce, ...order })
  assert.equal(said.status, 200, said.text)
  return said
}

const tokenOf = (said: Said): string => textIn(said, 'token')

function narrowed(token: string, ...conditions: readonly string[]): string {
  const read = readToken(token)
  const [root] = typeof read === 'string' ? [] : read
  assert.ok(root)
  const made = narrow(root, conditions)
  assert.ok(typeof made === 'object')
  return writeToken([made])
}

const show = (token: string) => ({ fields: bearer(token) })
const codeOf = ({ body }: Said): unknown => body['code']

describe('a token in band', () => {
  test('comes with the answer that it was bought for, and pays the next ones', async () => {
    const { node } = await open()
    const page = { Origin: 'https://page.test' }
    const first = await node.ask('/tries', { nonce: 'n1', fields: page })
    const token = first.fields.get('tolsey-token') ?? ''
    assert.deepEqual([first.status, first.text], [200, 'served'])
    assert.equal(first.fields.get('fake-receipt'), 'tx-n1')
    assert.match(first.fields.get('access-control-expose-headers') ?? '', /Tolsey-Token/)
    const second = await node.ask('/read', show(token))
    assert.deepEqual([second.status, second.fields.get('tolsey-token')], [200, null])
    const third = await node.ask('/tries', show(token))
    assert.deepEqual([third.status, codeOf(third)], [402, 'token-exhausted'])
    assert.equal(node.runs(), 2)
    await node.seller.close()
  })

  test('is not drawn on by work that fails, though it was bought', async () => {
    const { world } = await open()
    const plans = { tries: { price: '0.10 USD', uses: 1 } }
    const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }), world.clock)]
    const protocols = [fake, oauth({ mints, clock: world.clock })]
    let isGood = false
    const failing: Routes = { 'GET /tries': { plan: 'tries', success: () => isGood } }
    const node = await createWorld(failing, { plans, mints, protocols }, world.clock).open()
    const first = await node.ask('/tries', { nonce: 'n1' })
    const token = first.fields.get('tolsey-token') ?? ''
    assert.equal((await node.ask(TOKENS_PATH, show(token))).body['uses'], 1)
    isGood = true
    assert.equal((await node.ask('/tries', show(token))).status, 200)
    assert.equal((await node.ask(TOKENS_PATH, show(token))).body['uses'], 0)
    await node.seller.close()
  })
})

describe('the exchange', () => {
  test('asks for money like any route, and gives a token for it', async () => {
    const { node } = await open()
    const asked = await node.ask(`${TOKENS_PATH}/tries`, { method: 'POST' })
    assert.deepEqual([asked.status, codeOf(asked)], [402, 'payment-required'])
    const said = await buy(node, 'tries', 'n1')
    assert.equal(said.body['plan'], 'tries')
    assert.equal(said.body['type'], 'macaroon')
    assert.equal(said.body['expiresAt'], new Date(START + DAY_MS).toISOString())
    assert.equal(said.fields.get('cache-control'), 'no-store')
    assert.equal(said.fields.get('fake-receipt'), 'tx-n1')
    assert.equal(said.fields.get('access-control-allow-origin'), '*')
    assert.equal((await node.ask('/tries', show(tokenOf(said)))).status, 200)
    await node.seller.close()
  })

  test('gives the same token to whoever shows the same payment again, and takes nothing twice', async () => {
    const { node, world } = await open()
    const first = await buy(node, 'tries', 'n1')
    const { payment = '' } = first
    const again = await node.ask(`${TOKENS_PATH}/tries`, { method: 'POST', payment })
    assert.deepEqual(again.body, first.body)
    assert.equal(again.fields.get('fake-receipt'), 'tx-n1')
    assert.equal((await node.ask('/tries', show(tokenOf(first)))).status, 200)
    assert.equal((await node.ask('/tries', show(tokenOf(again)))).status, 200)
    assert.equal((await node.ask('/tries', show(tokenOf(again)))).status, 402)
    assert.equal(world.moved.size, 1)
    await node.seller.close()
  })

  test('takes no payment for one plan as one for another, or for a route', async () => {
    const { node } = await open()
    await buy(node, 'tries', 'n1')
    const other = await node.ask(`${TOKENS_PATH}/purse`, { method: 'POST', nonce: 'n1' })
    assert.deepEqual([other.status, codeOf(other)], [402, 'payment-spent'])
    const route = await node.ask('/read', { nonce: 'n1' })
    assert.deepEqual([route.status, codeOf(route)], [402, 'payment-spent'])
    const bad = await node.ask(`${TOKENS_PATH}/purse`, { method: 'POST', nonce: 'bad' })
    assert.deepEqual([bad.status, codeOf(bad)], [402, 'proof-invalid'])
    await buy(node, 'purse', 'n2')
    await node.seller.close()
  })

  test('tells what is left', async () => {
    const { node } = await open()
    const token = tokenOf(await buy(node, 'purse', 'n1'))
    assert.equal((await node.ask(TOKENS_PATH, show(token))).body['balance'], '1 USD')
    await node.ask('/read', show(token))
    assert.equal((await node.ask(TOKENS_PATH, show(token))).body['balance'], '0.75 USD')
    const tries = tokenOf(await buy(node, 'tries', 'n2'))
    assert.equal((await node.ask(TOKENS_PATH, show(tries))).body['uses'], 2)
    // Whoever was handed less may still look at how much there is to draw on.
    const handed = await node.ask(TOKENS_PATH, show(narrowed(tries, 'method=GET')))
    assert.equal(handed.body['uses'], 2)
    for (const wish of [{}, show('garbage'), show(narrowed(tries, 'origin=https://b.test'))])
      assert.ok([401, 403].includes((await node.ask(TOKENS_PATH, wish)).status))
    await node.seller.close()
  })

  test('lists what was bought and drawn, page by page, to the holder of the whole token alone', async () => {
    const { node, world } = await open()
    const token = tokenOf(await buy(node, 'purse', 'n1'))
    const stranger = tokenOf(await buy(node, 'purse', 'n2'))
    for (let i = 0; i < 3; i++) {
      world.clock.pass(1)
      assert.equal((await node.ask('/read', show(token))).status, 200)
    }
    const path = `${TOKENS_PATH}/statement`
    const { status, body } = await node.ask(path, show(token))
    assert.equal(status, 200)
    const lines = body['entries'] as readonly Record<string, string>[]
    assert.deepEqual(
      lines.map(({ type, amount, what }) => `${type} ${amount} ${what}`),
      ['bought 1 USD purse', ...Array(3).fill('drawn 0.25 USD GET api.test/read')],
    )
    const theirs = (await node.ask(path, show(stranger))).body['entries'] as readonly unknown[]
    assert.equal(theirs.length, 1)
    for (const less of ['method=GET', 'path=/*', 'uses=5', 'expires=1799999999', 'payer=jkt:a']) {
      const refused = await node.ask(path, show(narrowed(token, less)))
      assert.ok([401, 403].includes(refused.status), `${less} ${refused.text}`)
      assert.equal(refused.body['entries'], undefined)
    }
    const soon = narrowed(token, `expires=${START / 1000 + 60}`)
    assert.equal(codeOf(await node.ask(path, show(soon))), 'token-insufficient')
    assert.equal((await node.ask(`${path}?after=%00`, show(token))).status, 404)
    assert.ok(lines.length < STATEMENT_LINES_MAX)
    await node.seller.close()
  })
})

describe('a top-up', () => {
  test('brings as much again and a later end, by a token or by what stands in Authorization', async () => {
    const { node, world } = await open()
    const token = tokenOf(await buy(node, 'tries', 'n1'))
    world.clock.pass(DAY_MS / 2)
    const more = await buy(node, 'tries', 'n2', { topUp: token })
    assert.equal(more.body['expiresAt'], new Date(START + 1.5 * DAY_MS).toISOString())
    assert.equal((await node.ask(TOKENS_PATH, show(tokenOf(more)))).body['uses'], 4)
    await buy(node, 'tries', 'n3', { topUp: `Bearer ${tokenOf(more)}` })
    assert.equal((await node.ask(TOKENS_PATH, show(token))).body['uses'], 6)
    const { payment = '' } = more
    // Whoever has lost the answer has the old token only.
    for (const topUp of [token, tokenOf(more)]) {
      const lost = { method: 'POST', payment, body: JSON.stringify({ topUp }) }
      const again = await node.ask(`${TOKENS_PATH}/tries`, lost)
      assert.deepEqual([again.status, again.body], [200, more.body])
    }
    assert.equal(world.moved.size, 3)
    assert.equal((await node.ask(TOKENS_PATH, show(token))).body['uses'], 6)
    // The old token ends when it said that it does; the new one goes on.
    world.clock.pass(DAY_MS / 2)
    assert.equal((await node.ask('/tries', show(token))).status, 401)
    assert.equal((await node.ask('/tries', show(tokenOf(more)))).status, 200)
    await node.seller.close()
  })

  test('of a token that is foreign, narrowed, of another plan, revoked or over takes nothing', async () => {
    const { node, world } = await open()
    const token = tokenOf(await buy(node, 'tries', 'n1'))
    const purse = tokenOf(await buy(node, 'purse', 'n2'))
    const ended = tokenOf(await buy(node, 'tries', 'n3'))
    const old = createMacaroonMint(createMacaroons({ secrets: [SECRET] }), world.clock)
    assert.equal((await node.ask(TOKENS_PATH, { method: 'DELETE', ...show(ended) })).status, 200)
    const unpaid = old.mint({ id: 'ab'.repeat(32), rights: {} })
    const foreign = createMacaroonMint(
      createMacaroons({ secrets: ['Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'] }),
      world.clock,
    ).mint({ id: textIn(await node.ask(TOKENS_PATH, show(token)), 'account'), rights: {} })
    const payment = { method: 'POST' }
    const { offers } = (await node.ask(`${TOKENS_PATH}/tries`, payment)).body
    const [offer] = Array.isArray(offers) ? offers : []
    const order = (topUp: unknown) =>
      node.ask(`${TOKENS_PATH}/tries`, {
        ...payment,
        body: JSON.stringify({ topUp }),
        fields: { 'Fake-Payment': pay(offer, 'n4') },
      })
    for (const [topUp, code] of [
      [purse, 'token-insufficient'],
      [ended, 'token-invalid'],
      [unpaid, 'token-invalid'],
      [foreign, 'token-invalid'],
      ['garbage', 'token-invalid'],
      [7, 'token-invalid'],
      // Else whoever was handed one use could buy the whole of another's account for the price of a plan.
      [narrowed(token, 'uses=1'), 'token-insufficient'],
      [narrowed(token, 'path=/tries'), 'token-insufficient'],
    ] as const) {
      const said = await order(topUp)
      assert.equal(codeOf(said), code, said.text)
      assert.equal(said.body['token'], undefined)
    }
    for (const body of ['[]', '{', '"a"', 'x'.repeat(40_000)]) {
      const said = await node.ask(`${TOKENS_PATH}/tries`, { ...payment, body })
      assert.equal(codeOf(said), 'credential-malformed')
    }
    assert.deepEqual([...world.moved].toSorted(), ['n1', 'n2', 'n3'])
    await buy(node, 'tries', 'n4', { topUp: token })
    await node.seller.close()
  })

  test('pays into one account alone: its payment buys nothing for another', async () => {
    const { node } = await open()
    const [mine, yours] = [
      tokenOf(await buy(node, 'tries', 'n1')),
      tokenOf(await buy(node, 'tries', 'n2')),
    ]
    await buy(node, 'tries', 'n3', { topUp: mine })
    const order = { method: 'POST', nonce: 'n3' }
    const theft = await node.ask(`${TOKENS_PATH}/tries`, {
      ...order,
      body: JSON.stringify({ topUp: yours }),
    })
    assert.deepEqual([theft.status, codeOf(theft)], [402, 'payment-spent'])
    assert.equal(codeOf(await node.ask(`${TOKENS_PATH}/tries`, order)), 'payment-spent')
    assert.equal((await node.ask(TOKENS_PATH, show(yours))).body['uses'], 2)
    assert.equal((await node.ask(TOKENS_PATH, show(mine))).body['uses'], 4)
    await node.seller.close()
  })
})

test('a payment that comes with a narrowed token of its own buys no whole one', async () => {
  // As in L402, where the token is handed out with the invoice and may be narrowed before it is shown with the preimage.
  const id = 'cd'.repeat(32)
  const services = [{ name: 'tries', tier: 0 }]
  const carrying = (rights: Rights): Protocol => ({
    ...fake,
    async readCredential(fields, resource) {
      const found = await fake.readCredential(fields, resource)
      return found && !('code' in found) ? { ...found, grant: { id, rights } } : found
    },
  })
  const world = shop()
  const plans = { tries: { price: '0.10 USD', uses: 2 } }
  const sell = async (rights: Rights, payment?: string): Promise<Said> => {
    const protocols = [carrying(rights)]
    const node = await createWorld(routes, { plans, protocols }, world.clock, world).open()
    const paid = payment === undefined ? { nonce: 'n1' } : { payment }
    const said = await node.ask(`${TOKENS_PATH}/tries`, { method: 'POST', ...paid })
    await node.seller.close()
    return said
  }
  const less: readonly Rights[] = [
    { services, methods: ['GET'] },
    { services, expiresAt: START + 9_000 },
    { services: [] },
    {},
  ]
  for (const rights of less) assert.equal(codeOf(await sell(rights)), 'token-insufficient')
  assert.equal(world.moved.size, 0)
  const bought = await sell({ services })
  assert.deepEqual([bought.status, bought.body['account']], [200, id])
  // The same proof with less shown: what was handed on opens no more than it says.
  const { payment } = bought
  for (const rights of less) assert.equal(codeOf(await sell(rights, payment)), 'token-insufficient')
  assert.equal((await sell({ services }, payment)).status, 200)
})

test('a grant is whole by one of the ends that were paid for, and with the keys that were bound', async () => {
  const end = START
  const account = { id: 'ab'.repeat(32), plan: 'tries', expiresAt: end + 9_000, revoked: false }
  const plan = { name: 'tries', prices: [], validForMs: 1, rights: { methods: ['GET'] } }
  const services = [{ name: 'tries', tier: 0 }]
  const isWhole = async (rights: Rights, more: Partial<Account> = {}): Promise<boolean> => {
    const find = async (): Promise<Account> => ({ ...account, ...more })
    const books = { find } as unknown as Accounts
    const found = await wholeOf({ id: account.id, rights }, books, new Map([['tries', plan]]))
    return !('code' in found)
  }
  const all = { services, methods: ['GET'], expiresAt: end + 9_000 }
  const payerKeys = ['jkt:mine']
  const ends = [end, end + 9_000]
  assert.equal(await isWhole(all), true)
  assert.equal(await isWhole({ ...all, expiresAt: end }, { ends }), true)
  assert.equal(await isWhole({ ...all, payerKeys }, { payerKeys }), true)
  assert.equal(await isWhole({ ...all, expiresAt: end }), false)
  assert.equal(await isWhole({ ...all, expiresAt: end + 1_000 }, { ends }), false)
  assert.equal(await isWhole({ ...all, payerKeys }), false)
  assert.equal(await isWhole({ ...all, payerKeys: ['jkt:other'] }, { payerKeys }), false)
  assert.equal(await isWhole(all, { payerKeys }), false)
  assert.equal(await isWhole({ ...all, methods: [] }), false)
  assert.equal(await isWhole({ ...all, services: [] }), false)
})

describe('a revocation', () => {
  test('holds at once here, and everywhere within the time that it says', async () => {
    const { node, world } = await open()
    const other = await world.open()
    const token = tokenOf(await buy(node, 'purse', 'n1'))
    assert.equal((await other.ask('/read', show(token))).status, 200)
    const { status, body } = await node.ask(TOKENS_PATH, { method: 'DELETE', ...show(token) })
    assert.deepEqual([status, body['revoked']], [200, true])
    assert.equal(body['everywhereInMs'], ACCOUNT_FRESH_MS)
    assert.equal((await node.ask('/read', show(token))).status, 401)
    world.clock.pass(ACCOUNT_FRESH_MS)
    assert.equal((await other.ask('/read', show(token))).status, 401)
    assert.equal((await other.ask('/read', show(narrowed(token, 'method=GET')))).status, 401)
    await node.seller.close()
    await other.seller.close()
  })

  test('is not for whoever was handed less', async () => {
    const { node } = await open()
    const token = tokenOf(await buy(node, 'purse', 'n1'))
    for (const less of ['method=DELETE', 'uses=1', 'payer=jkt:a', `expires=${START / 1000 + 9}`]) {
      const refused = await node.ask(TOKENS_PATH, {
        method: 'DELETE',
        ...show(narrowed(token, less)),
      })
      assert.ok([401, 403].includes(refused.status), refused.text)
    }
    assert.equal((await node.ask(TOKENS_PATH, { method: 'DELETE' })).status, 401)
    assert.equal((await node.ask('/read', show(token))).status, 200)
    assert.equal((await node.ask(TOKENS_PATH, { method: 'DELETE', ...show(token) })).status, 200)
    await node.seller.close()
  })
})

describe('what is left of a token', () => {
  const giving = (refund?: true | string) => {
    const clock = createHand()
    const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }), clock)]
    const protocols: readonly Protocol[] = [fake, oauth({ mints, clock })]
    const purse = { price: '1 USD', balance: '1 USD', ...(refund && { refund }) }
    const sold: Routes = { 'GET /read': '0.25 USD' }
    return createWorld(sold, { plans: { purse }, mints, protocols }, clock)
  }
  const giveBack = (node: Node, token: string, more: object = {}): Promise<Said> =>
    node.ask(TOKENS_PATH, {
      method: 'POST',
      body: JSON.stringify({ refund: 'rest', ...more }),
      ...show(token),
    })

  test('goes back to whoever holds all of it, less the fee, once, and closes the token', async () => {
    const node = await giving('10%').open()
    const token = tokenOf(await buy(node, 'purse', 'n1'))
    assert.equal((await node.ask('/read', show(token))).status, 200)
    for (const less of ['method=POST', 'uses=1', 'payer=jkt:a', `expires=${START / 1000 + 60}`]) {
      const refused = await giveBack(node, narrowed(token, less))
      assert.ok([401, 403].includes(refused.status), refused.text)
    }
    assert.equal((await node.ask(TOKENS_PATH, { method: 'POST' })).status, 400)
    const said = await giveBack(node, token)
    assert.deepEqual([said.status, said.body['refund']], [200, 'refunded'])
    const [part] = said.body['parts'] as readonly Record<string, string>[]
    assert.deepEqual([part?.['amount'], part?.['to']], ['0.675 COIN', 'buyer'])
    assert.deepEqual((await giveBack(node, token)).body, said.body)
    assert.equal((await node.ask('/read', show(token))).status, 401)
    const more = { method: 'POST', body: JSON.stringify({ topUp: token }) }
    assert.equal(codeOf(await node.ask(`${TOKENS_PATH}/purse`, more)), 'token-invalid')
    await node.seller.close()
  })

  test('is not given back where the plan does not say so', async () => {
    const node = await giving().open()
    const token = tokenOf(await buy(node, 'purse', 'n1'))
    const said = await giveBack(node, token)
    assert.deepEqual([said.status, codeOf(said)], [403, 'token-insufficient'])
    assert.equal((await node.ask('/read', show(token))).status, 200)
    await node.seller.close()
  })
})

test('the exchange closes what it does not know, and is nowhere without plans', async () => {
  const { node } = await open()
  for (const [method, path] of [
    ['POST', `${TOKENS_PATH}/nothing`],
    ['PUT', TOKENS_PATH],
    ['GET', `${TOKENS_PATH}/tries`],
    ['POST', `${TOKENS_PATH}/constructor`],
  ] as const)
    assert.equal((await node.ask(path, { method })).status, 404, `${method} ${path}`)
  assert.equal((await node.ask(TOKENS_PATH, { method: 'OPTIONS' })).status, 204)
  await node.seller.close()
  const bare = await createWorld({ '* /*': 'free' }, {}).open()
  assert.equal((await bare.ask(TOKENS_PATH)).text, 'served')
  await bare.seller.close()
})

test('a request that its payer has named is charged once, and a name that is none is refused', async () => {
  const { node } = await open()
  const token = tokenOf(await buy(node, 'purse', 'p'))
  const send = (name: string, path = '/read'): Promise<Said> =>
    node.ask(path, { fields: { ...bearer(token), 'Idempotency-Key': name } })
  assert.equal((await send('"a b"')).status, 200)
  assert.equal((await send('"a b"')).status, 410)
  assert.equal((await send('"a b"', '/read?other')).status, 422)
  assert.equal((await send('another')).status, 200)
  for (const name of ['', '"', '""', 'a b', 'x'.repeat(256), 'é'])
    assert.equal((await send(name)).status, 400, name)
  assert.equal(node.runs(), 2)
  const said = await node.ask(TOKENS_PATH, { fields: bearer(token) })
  assert.equal(textIn(said, 'balance'), '0.5 USD')
})
