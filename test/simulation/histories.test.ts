// The recorded histories, lived again by the present code (see histories.ts).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ADVICE, differences, isSame, plans, readHistories, relive } from './histories.ts'

const recorded = await readHistories()

describe('payments live as they were recorded when', () => {
  for (const plan of plans) {
    const { name, seed, facilitated } = plan
    test(`${name} (seed ${seed}${facilitated ? ', through facilitators' : ''})`, async () => {
      const history = recorded.find((one) => isSame(one, plan))
      assert.ok(history, `This was never recorded. ${ADVICE}`)
      assert.ok(Object.keys(history.lives).length > 0, 'nobody lived')
      const found = differences(history.lives, await relive(history))
      assert.equal(found.length, 0, `${found.slice(0, 8).join('\n')}\n${ADVICE}`)
    })
  }

  test('and every kind of row is among them', () => {
    const types = new Set(
      recorded.flatMap(({ lives }) => Object.values(lives).join(' ').split(' ')),
    )
    for (const type of [
      'made',
      'prepared',
      'broadcast',
      'posted',
      'settled',
      'delivered',
      'unknown',
    ])
      assert.ok(types.has(type), type)
    assert.ok([...types].some((type) => type.startsWith('voided')))
  })
})

test('a life that changed is named, with how to record it', () => {
  const was = { 'shop GET /a (1)': 'made posted', 'shop GET /b (1)': 'made' }
  assert.deepEqual(differences(was, was), [])
  assert.deepEqual(differences(was, { 'shop GET /a (1)': 'made voided' }), [
    'shop GET /a (1) was: made posted; and is: made voided.',
    'shop GET /b (1) is not there any more. It was: made.',
  ])
  assert.match(ADVICE, /--record/)
})
