import { toll } from 'tolsey/next'
import { seller } from '../../seller'

/** Who pays for this is not charged. */
export const GET = toll(seller, '0.01 USD', () => {
  throw new Error('Nothing works today.')
})
