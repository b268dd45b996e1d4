// A person pays by card at the stand-ins for Stripe and for its script: neither was ever Stripe's.
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { Stripe } from 'stripe'
import { toll } from '../../src/adapters/node.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { systemClock } from '../../src/core/clock.ts'
import { memory } from '../../src/ledger/memory.ts'
import { page as createPage } from '../../src/page/index.ts'
import type { CardScript, StripeStandIn } from '../../src/sandbox/processors/index.ts'
import { startCardScript, startStripe } from '../../src/sandbox/processors/index.ts'
import { stripe } from '../../src/rails/stripe/rail.ts'
import { barriers, beside, LOOK_MS, openPlace, openStage, skip, SECRET } from './stage.ts'
import type { Place, Stage } from './stage.ts'

describe('a person pays by card', { skip }, () => {
  let stage: Stage
  let standIn: StripeStandIn
  let card: CardScript
  let place: Place
  let seller: OpenSeller
  let runs = 0

  before(async () => {
    stage = await openStage()
    standIn = await startStripe()
    place = await openPlace()
    card = await startCardScript(standIn)
    const { secretKey, port } = standIn
    const sdk = { host: '127.0.0.1', port, protocol: 'http', telemetry: false } as const
    const rail = stripe({ client: new Stripe(secretKey, sdk), mode: 'test' })
    seller = await createSeller({
      ...{ secret: SECRET, rails: [rail], protocols: [], ledger: memory(), origin: place.url },
      page: createPage({
        file: stage.file,
        name: 'Prints',
        card: {
          script: card.script,
          publishableKey: standIn.publishableKey,
          origins: card.origins,
        },
      }),
    })
    place.serve(
      toll(seller, { 'GET /print': '5.00 USD' }, (_, response) => {
        runs++
        response.setHeader('content-type', 'text/plain; charset=utf-8').end('A fine print')
      }),
    )
  })
  beforeEach(() => {
    runs = 0
  })
  after(async () => {
    await stage?.close()
    await place?.close()
    await card?.close()
    await seller?.close()
    await standIn?.close()
  })

  test('is told when it is declined, pays with another card, and a reload does not pay again', async () => {
    const { page, said, context } = await stage.visit()
    const asked: string[] = []
    page.on('request', (request) => asked.push(new URL(request.url()).origin))
    await page.goto(`${place.url}/print`)
    await page.getByRole('button', { name: /Pay by card/ }).waitFor()
    // Nobody elsewhere hears of a reader who does not want to pay by card.
    assert.deepEqual([...new Set(asked)], [place.url])
    await page.getByRole('button', { name: /Pay by card/ }).click()
    const number = page.frameLocator('iframe').getByLabel('Number')
    await number.fill('4000000000000002')
    await page.getByRole('button', { name: 'Pay 5 USD' }).click()
    await page
      .getByRole('alert')
      .getByText('The card was not charged: Your card was declined.')
      .waitFor()
    await stage.shoot(page, 'card-declined')
    assert.deepEqual(await barriers(page, 'card'), [])
    await number.fill('4242424242424242')
    await page.getByRole('button', { name: 'Pay 5 USD' }).click()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.getByText('A fine print').waitFor()
    await page.reload()
    await page.getByText('A fine print').waitFor()
    assert.equal(runs, 1)
    const paid = [...standIn.state.intents.values()].filter(({ status }) => status === 'succeeded')
    assert.deepEqual(
      paid.map(({ amount }) => amount),
      [500],
    )
    assert.deepEqual(
      [...new Set(asked)].toSorted(),
      [place.url, new URL(card.script).origin, standIn.url].toSorted(),
    )
    // The processor answers a declined card with 402.
    assert.deepEqual(beside(said), [])
    await context.close()
  })

  test('whose browser hears nothing of the charge finds it paid after a reload, and is not charged again', async () => {
    const { page, context } = await stage.visit()
    await page.route(`${standIn.url}/**/confirm`, (route) => void route.fetch())
    await page.goto(`${place.url}/print?lost`)
    await page.getByRole('button', { name: /Pay by card/ }).click()
    await page.frameLocator('iframe').getByLabel('Number').fill('4242424242424242')
    const charged = standIn.state.charges.size + 1
    await page.getByRole('button', { name: 'Pay 5 USD' }).click()
    while (standIn.state.charges.size < charged) await systemClock.sleep(LOOK_MS)
    await page.reload()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.getByText('A fine print').waitFor()
    assert.equal(runs, 1)
    assert.equal(standIn.state.charges.size, charged)
    await context.close()
  })

  test('whose processor’s script lost the answer is not told that nothing was charged, and is shown what he paid', async () => {
    const { page, context } = await stage.visit()
    // What Stripe's script says of a connection that broke: an error that is the answer, and not a throw.
    await page.route(card.script, async (route) => {
      const answer = await route.fetch()
      const body = `${await answer.text()}
        const make = window.Stripe
        window.Stripe = (key) => {
          const made = make(key)
          const error = { type: 'api_connection_error', message: 'It broke.' }
          return { ...made, confirmPayment: (said) => made.confirmPayment(said).catch(() => ({ error })) }
        }`
      await route.fulfill({ response: answer, body })
    })
    await page.route(`${standIn.url}/**/confirm`, async (route) => {
      await route.fetch()
      await route.abort()
    })
    const charged = standIn.state.charges.size + 1
    await page.goto(`${place.url}/print?broken`)
    await page.getByRole('button', { name: /Pay by card/ }).click()
    await page.frameLocator('iframe').getByLabel('Number').fill('4242424242424242')
    await page.getByRole('button', { name: 'Pay 5 USD' }).click()
    const wrong = page.getByText('The card was not charged')
    const open = page.getByRole('button', { name: 'Show what you bought' })
    await open.or(wrong).waitFor()
    assert.equal(await wrong.count(), 0)
    await open.click()
    await page.getByText('A fine print').waitFor()
    assert.equal(runs, 1)
    assert.equal(standIn.state.charges.size, charged)
    await context.close()
  })

  test('is told when the processor cannot be reached, and nothing is paid', async () => {
    const { page, context } = await stage.visit()
    await page.route(`${new URL(card.script).origin}/**`, (route) => route.abort())
    await page.goto(`${place.url}/print`)
    await page.getByRole('button', { name: /Pay by card/ }).click()
    await page.getByRole('alert').getByText('The card processor cannot be reached.').waitFor()
    assert.equal(runs, 0)
    await context.close()
  })
})
