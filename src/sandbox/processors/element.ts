import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { StripeStandIn } from './stripe.ts'

/** What stands in for Stripe's script on a page, as far as a page knows it. It is not Stripe's, and nothing of it is. */
export interface CardScript {
  /** The script's address. Its origin shows the frame in which a number is typed. */
  readonly script: string
  /** Origins that a page must let it ask and show. */
  readonly origins: readonly string[]
  close(): Promise<void>
}

/** Starts a server of the script for the stand-in. */
export async function startCardScript({ url }: Pick<StripeStandIn, 'url'>): Promise<CardScript> {
  let here = ''
  const server = createServer((request, response) => {
    const isFrame = request.url === '/frame'
    response.setHeader('content-type', isFrame ? 'text/html; charset=utf-8' : 'text/javascript')
    response.end(isFrame ? FRAME : scriptFor(url, here))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  here = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    script: `${here}/script.js`,
    origins: [url],
    async close() {
      server.closeAllConnections()
      server.close()
      if (server.listening) await once(server, 'close')
    },
  }
}

/** The number is typed in a frame of another origin, as Stripe's is, and goes to the stand-in alone. */
function scriptFor(api: string, here: string): string {
  return `
window.Stripe = (key) => ({
  elements: ({ clientSecret }) => {
    let frame
    return {
      clientSecret,
      create: () => ({
        mount(place) {
          frame = document.createElement('iframe')
          frame.title = 'Card number'
          frame.src = '${here}/frame'
          place.append(frame)
        },
      }),
      async number() {
        const { port1, port2 } = new MessageChannel()
        const said = new Promise((done) => (port1.onmessage = ({ data }) => done(data)))
        frame.contentWindow.postMessage('say', '${here}', [port2])
        return await said
      },
    }
  },
  async confirmPayment({ elements, redirect }) {
    const id = elements.clientSecret.split('_secret_')[0]
    const body = new URLSearchParams({
      key,
      client_secret: elements.clientSecret,
      'payment_method_data[type]': 'card',
      'payment_method_data[card][number]': await elements.number(),
    })
    const answer = await fetch('${api}/v1/payment_intents/' + id + '/confirm', { method: 'POST', body })
    const said = await answer.json()
    return said.error ? { error: { type: said.error.type, message: 'Your card was declined.' } } : { paymentIntent: said }
  },
})`
}

/** The test number is there already: nobody should type his own. */
const FRAME = `<!doctype html><html lang="en"><meta name="color-scheme" content="light dark"><title>Card</title>
<style>body { font: 16px system-ui, sans-serif; margin: 0 } input { font: inherit; width: 14em }</style>
<label>Number <input id="number" value="4242424242424242" inputmode="numeric" autocomplete="off"></label>
<p>A stand-in for Stripe: play money, and no card of yours.</p>
<script>onmessage = ({ ports: [port] }) => port.postMessage(document.querySelector('#number').value)</script>`
