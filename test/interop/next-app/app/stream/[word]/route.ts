import { toll } from 'tolsey/next'
import { seller } from '../../../seller'

interface Context {
  readonly params: Promise<{ word: string }>
}

/** Says the word until nobody listens any more. The payment is settled before it is said first. */
export const GET = toll(seller, '0.01 USD', async (_: Request, { params }: Context) => {
  const { word } = await params
  const words = new ReadableStream<string>({
    async pull(sink) {
      sink.enqueue(`data: ${word}\n\n`)
      await new Promise((wake) => setTimeout(wake, 20))
    },
  })
  return new Response(words.pipeThrough(new TextEncoderStream()), {
    headers: { 'content-type': 'text/event-stream' },
  })
})
