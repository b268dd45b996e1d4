import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Broadcast, Rpc } from './rpc.ts'
import { ANSWER_BYTES_MAX, RPC_TIMEOUT_MS, createRpc, readNumber } from './rpc.ts'

const clock: Clock = { now: () => 0, sleep: () => new Promise(() => undefined) }
/** Waits nowhere, except for its own end. */
const hasty: Clock = {
  now: () => 0,
  sleep: (ms) => (ms > 1_000 ? new Promise(() => undefined) : Promise.resolve()),
}

type Node = (method: string) => unknown

/** A client whose endpoints are functions: what they give is the answer, what they throw is their fault. */
function client(nodes: readonly Node[], used: Clock = hasty): Rpc {
  return createRpc({
    urls: nodes.map((_, index) => `https://node${index}.example/secret-key`),
    chainId: 8453,
    clock: used,
    fetch: async (url, init) => {
      const index = Number(/node(\d)/.exec(url as string)?.[1])
      const { id, method } = JSON.parse(init?.body as string) as { id: number; method: string }
      const said = method === 'eth_chainId' ? { result: '0x2105' } : nodes[index]?.(method)
      if (said instanceof Response) return said
      return Response.json({ jsonrpc: '2.0', id, ...(said as object) })
    },
  })
}

const refuse =
  (message: string, code = -32000): Node =>
  () => ({ error: { code, message } })
const down: Node = () => {
  throw new TypeError('connect refused')
}
const hash = `0x${'ab'.repeat(32)}` as const
const take: Node = () => ({ result: hash })

function broadcast(...nodes: Node[]): Promise<Broadcast> {
  return client(nodes).broadcast('0x02', hash)
}

test('the words of the common nodes for a transaction are understood', async () => {
  const rows: readonly (readonly [string, Broadcast])[] = [
    ['already known', 'accepted'],
    ['transaction already imported', 'accepted'],
    ['nonce too low: next nonce 5, tx nonce 4', { refused: 'nonce' }],
    ['replacement transaction underpriced', { refused: 'nonce' }],
    ['insufficient funds for gas * price + value', { refused: 'funds' }],
    ['max fee per gas less than block base fee', { refused: 'fee' }],
    ['transaction underpriced', { refused: 'fee' }],
    ['intrinsic gas too low', { refused: 'gas' }],
    ['something else went wrong', 'unclear'],
  ]
  for (const [message, expected] of rows)
    assert.deepEqual(await broadcast(refuse(message)), expected, message)
  assert.equal(await broadcast(take), 'accepted')
})

test('a transaction that one node may have is unclear, whatever the next one says', async () => {
  assert.equal(await broadcast(down, refuse('nonce too low')), 'unclear')
  assert.equal(await broadcast(down, down), 'unclear')
  assert.equal(await broadcast(down, take), 'accepted')
  assert.equal(await broadcast(() => ({ result: '0x00' }), refuse('insufficient funds')), 'unclear')
})

test('a revert is an answer and is not asked of anybody else; another error is a fault of that node', async () => {
  let asked = 0
  const second: Node = () => {
    asked++
    return { result: '0x2' }
  }
  const reverting = client([refuse('execution reverted', 3), second])
  assert('reverted' in (await reverting.ask('eth_call', [], readNumber)))
  assert.equal(asked, 0)
  for (const first of [refuse('header not found'), refuse('limit exceeded', -32005), down])
    assert.equal(await client([first, second]).read('eth_call', [], readNumber), 2n)
})

test('a node that failed is asked last for a while', async () => {
  const asked: number[] = []
  const first: Node = () => {
    asked.push(0)
    throw new TypeError('down')
  }
  const second: Node = () => {
    asked.push(1)
    return { result: '0x1' }
  }
  const rpc = client([first, second])
  await rpc.read('eth_blockNumber', [], readNumber)
  await rpc.read('eth_blockNumber', [], readNumber)
  assert.deepEqual(asked, [0, 1, 1])
})

test('where all rest, the one whose rest ends soonest is asked first', async () => {
  let now = 0
  const asked: number[] = []
  const up = new Set<number>()
  const nodes = [0, 1].map((index) => () => {
    asked.push(index)
    if (!up.has(index)) throw new TypeError('down')
    return { result: '0x1' }
  })
  const rpc = client(nodes, { ...hasty, now: () => (now += 1) })
  await assert.rejects(rpc.read('eth_blockNumber', [], readNumber), PaymentError)
  up.add(1)
  assert.equal(await rpc.read('eth_blockNumber', [], readNumber), 1n)
  asked.length = 0
  // The first has failed once more meanwhile.
  await rpc.read('eth_blockNumber', [], readNumber)
  assert.deepEqual(asked, [1])
})

test('a moment in which nobody is there is waited for, but not for longer than one answer may take', async () => {
  for (const count of [1, 2]) {
    let failures = 3
    const node: Node = () => {
      if (failures-- > 0) throw new TypeError('down')
      return { result: '0x1' }
    }
    const rpc = client(Array.from({ length: count }, () => node))
    assert.equal(await rpc.read('eth_blockNumber', [], readNumber), 1n)
  }
  let [asked, now] = [0, 0]
  const hanging: Node = () => {
    asked++
    now += RPC_TIMEOUT_MS
    throw new TypeError('time is up')
  }
  const rpc = client([hanging], { ...hasty, now: () => now })
  await assert.rejects(rpc.read('eth_blockNumber', [], readNumber), PaymentError)
  assert.equal(asked, 2)
})

test('a start asks for the chain once more before it gives up', async () => {
  for (const failures of [1, 2]) {
    let left = failures
    const rpc = createRpc({
      urls: ['https://node.example'],
      chainId: 8453,
      clock: hasty,
      fetch: async (_, init) => {
        if (left-- > 0) throw new TypeError('connect refused')
        return Response.json(echo(JSON.parse(init?.body as string) as Asked))
      },
    })
    if (failures === 1) await rpc.open()
    else await assert.rejects(rpc.open(), PaymentError)
  }
})

test('an endless, a huge and a foreign answer are faults, told without an address', async () => {
  const huge: Node = () => new Response(' '.repeat(ANSWER_BYTES_MAX + 1))
  const foreign: Node = () => Response.json({ jsonrpc: '2.0', id: 99_999, result: '0x1' })
  const moved: Node = () => new Response('', { status: 301, headers: { location: 'https://evil' } })
  const notNumber: Node = () => ({ result: { no: 'number' } })
  for (const node of [huge, foreign, moved, notNumber, down])
    await assert.rejects(client([node]).read('eth_blockNumber', [], readNumber), (error) => {
      assert(error instanceof PaymentError)
      assert.equal(error.code, 'rail-unavailable')
      assert.doesNotMatch(error.message, /secret|node0|http/)
      return true
    })
})

test('a node that hangs is left when its time is up, and closing ends what is waiting', async () => {
  const now: Clock = { now: () => 0, sleep: async () => undefined }
  const hang = createRpc({
    urls: ['https://a.example', 'https://b.example'],
    chainId: 1,
    clock: now,
    fetch: () => new Promise(() => undefined),
  })
  await assert.rejects(hang.read('eth_blockNumber', [], readNumber), PaymentError)
  const waiting = createRpc({
    urls: ['https://a.example'],
    chainId: 1,
    clock,
    fetch: () => new Promise(() => undefined),
  })
  const read = waiting.read('eth_blockNumber', [], readNumber)
  waiting.close()
  await assert.rejects(read, PaymentError)
})

test('addresses that cannot be endpoints are refused when the client is made', () => {
  const make = (url: string): Rpc => createRpc({ urls: [url], chainId: 1 })
  assert.throws(() => make('ws://node.example'), /not an http or https/)
  assert.throws(() => make('node'), /not an http or https/)
  assert.throws(
    () => make('https://user:secret@node.example'),
    (error) => {
      return error instanceof RangeError && !error.message.includes('secret')
    },
  )
  assert.throws(() => createRpc({ urls: [], chainId: 1 }), /between one and/)
})

/** A client with one node that sees whole bodies. */
function seen(answer: (body: unknown) => unknown): {
  readonly rpc: Rpc
  readonly bodies: unknown[]
} {
  const bodies: unknown[] = []
  const rpc = createRpc({
    urls: ['https://node.example'],
    chainId: 8453,
    clock: hasty,
    fetch: async (_, init) => {
      const body: unknown = JSON.parse(init?.body as string)
      bodies.push(body)
      const said = answer(body)
      return said instanceof Response ? said : Response.json(said)
    },
  })
  return { rpc, bodies }
}

interface Asked {
  readonly id: number
  readonly method: string
  readonly params: readonly string[]
}

const echo = ({ id, method, params }: Asked): object => ({
  jsonrpc: '2.0',
  id,
  result: method === 'eth_chainId' ? '0x2105' : (params[0] ?? ''),
})

test('many questions take one round trip, whatever the order of the answers', async () => {
  const { rpc, bodies } = seen((body) =>
    Array.isArray(body) ? (body as Asked[]).map(echo).toReversed() : echo(body as Asked),
  )
  const list = ['0x1', '0x2', '0x3'].map((one) => [one])
  assert.deepEqual(await rpc.many('eth_any', list, readNumber), [1n, 2n, 3n])
  assert.equal(bodies.length, 2)
})

test('a node that does not take many at once is asked one by one, and not tried again', async () => {
  const { rpc, bodies } = seen((body) =>
    Array.isArray(body)
      ? { jsonrpc: '2.0', id: null, error: { code: -32600 } }
      : echo(body as Asked),
  )
  for (const _ of [1, 2])
    assert.deepEqual(await rpc.many('eth_any', [['0x1'], ['0x2']], readNumber), [1n, 2n])
  assert.equal(bodies.filter(Array.isArray).length, 1)
})

test('what is no answer to a list says nothing of lists: an error page, an empty body, a plea for patience', async () => {
  const misses: readonly (() => Response)[] = [
    () => new Response('<html>', { status: 502 }),
    () => new Response(null, { status: 500 }),
    () => Response.json({ error: 'Too Many Requests' }, { status: 429 }),
    () => Response.json({ jsonrpc: '2.0', id: null, error: { code: -32005 } }),
  ]
  for (const miss of misses) {
    let missed = false
    const { rpc, bodies } = seen((body) => {
      if (!Array.isArray(body)) return echo(body as Asked)
      if (missed) return (body as Asked[]).map(echo)
      missed = true
      return miss()
    })
    for (const _ of [1, 2])
      assert.deepEqual(await rpc.many('eth_any', [['0x1'], ['0x2']], readNumber), [1n, 2n])
    assert.equal(bodies.filter(Array.isArray).length, 3)
  }
})

test('one by one, a single miss does not cost the others their answers', async () => {
  let misses = 1
  const { rpc, bodies } = seen((body) => {
    if (Array.isArray(body)) return { jsonrpc: '2.0', id: null, error: { code: -32600 } }
    const asked = body as Asked
    return asked.params[0] === '0x2' && misses-- > 0 ? new Response('<html>') : echo(asked)
  })
  const list = [['0x1'], ['0x2'], ['0x3']]
  assert.deepEqual(await rpc.many('eth_any', list, readNumber), [1n, 2n, 3n])
  // The chain, the list, three, and one of them again.
  assert.equal(bodies.length, 6)
})

test('each of several endpoints is asked by itself; fewer than asked for is a fault', async () => {
  const answers: Node[] = [take, down, take]
  const found = await client(answers).each(2, (read) => read('eth_any', [], (said) => said))
  assert.deepEqual(found, [hash, hash])
  await assert.rejects(
    client(answers).each(3, (read) => read('eth_any', [], (said) => said)),
    PaymentError,
  )
})
