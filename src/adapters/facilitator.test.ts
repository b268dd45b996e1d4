import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Event } from '../core/event.ts'
import type { Ledger } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { everybody, openFacilitator } from './facilitator.ts'

test('a facilitator is open while what a crash left is still being looked at', async () => {
  const books = memory()
  const looked = Promise.withResolvers<void>()
  const slow: Ledger = {
    ...books,
    pending: () => looked.promise.then(() => books.pending()),
  }
  const facilitator = await openFacilitator({ rails: [], ledger: slow, callers: everybody() })
  looked.resolve()
  await facilitator.close()
})

test('books that fail once while a facilitator starts are told, and it is open', async () => {
  const events: Event[] = []
  const ledger: Ledger = {
    ...memory(),
    pending: () => Promise.reject(new PaymentError('store-unavailable', 'Full.')),
  }
  const observe = (event: Event): void => void events.push(event)
  const facilitator = await openFacilitator({ rails: [], ledger, callers: everybody(), observe })
  await facilitator.close()
  assert.deepEqual(
    events.flatMap((event) => (event.type === 'fault' ? [event.where] : [])),
    ['recover'],
  )
})
