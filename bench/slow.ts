import { setTimeout as sleep } from 'node:timers/promises'

/** How long a slow reader looks away at first, and how often and how long after that. */
const FIRST_MS = 500
const EVERY_BYTES = 2 ** 21
const PAUSE_MS = 5

/** Reads a body as somebody with a slow connection does. How many bytes there were. */
export async function readSlowly(response: Response): Promise<number> {
  if (response.status !== 200 || !response.body)
    throw new Error(`The answer was ${response.status}.`)
  await sleep(FIRST_MS)
  let bytes = 0
  let pauseAt = EVERY_BYTES
  for await (const chunk of response.body) {
    bytes += (chunk as Uint8Array).length
    if (bytes < pauseAt) continue
    pauseAt += EVERY_BYTES
    await sleep(PAUSE_MS)
  }
  return bytes
}
