import { toll } from 'tolsey/next'
import { seller } from '../../seller'

export const GET = toll(seller, '0.01 USD', () => Response.json({ sky: 'clear' }))

export const POST = toll(seller, '0.01 USD', async (request) =>
  Response.json({ said: await request.text() }),
)

/** Tells pages of other origins that they may pay. */
export const OPTIONS = GET
