/** Longest line of a stream of events that is looked at, in characters. */
const LINE_CHARS_MAX = 65_536
/** Most lines of data of one event. */
const LINES_MAX = 64

/**
 * Reads along in a stream of events (WHATWG HTML, 9.2) while it goes to its reader as it came. What `hear` throws breaks the stream:
 * whoever waits for what follows would wait in vain.
 */
export function watchEvents(
  response: Response,
  hear: (name: string, data: string) => Promise<void>,
): Response {
  const { body } = response
  if (!body) return response
  const decoder = new TextDecoder()
  let text = ''
  let name = ''
  let data: string[] = []

  function* read(chunk: Uint8Array): Generator<readonly [name: string, data: string]> {
    text += decoder.decode(chunk, { stream: true })
    const lines = text.split(/\r\n|\n|\r(?!$)/)
    text = lines.pop() ?? ''
    // What is so long is none of ours.
    if (text.length > LINE_CHARS_MAX) text = ''
    for (const line of lines) {
      if (line === '') {
        if (name !== '') yield [name, data.join('\n')]
        name = ''
        data = []
      } else if (line.startsWith('event:')) name = line.slice(6).trim()
      else if (data.length >= LINES_MAX) name = ''
      else if (line.startsWith('data:') && name !== '') data.push(line.slice(5).replace(/^ /, ''))
    }
  }

  const watching = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      controller.enqueue(chunk)
      for (const [event, said] of read(chunk))
        hear(event, said).catch((error: unknown) => controller.error(error))
    },
  })
  const { status, statusText, headers } = response
  return new Response(body.pipeThrough(watching), { status, statusText, headers })
}
