import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isProblem, readRoutes } from './routes.ts'
import type { Routes } from './routes.ts'

/** What a look-up found: a key, `free`, or a problem's code. */
function finder(routes: Routes) {
  const table = readRoutes(routes)
  return (method: string, path: string): string => {
    const found = table.find(method, path)
    if (found === 'free') return found
    return isProblem(found) ? found.code : found.key
  }
}

describe('a route table', () => {
  const find = finder({
    'GET /paid': '0.01 USD',
    'GET /report/:id': '0.02 USD',
    'GET /report/today': '0.03 USD',
    'POST /report/:id': '0.04 USD',
    '/files/*': '0.05 USD',
    'GET /files/index': 'free',
    'GET /health': 'free',
    'GET /a/:b/c': '0.06 USD',
    'GET /café': '0.07 USD',
  })

  test('finds a route by verb and pattern, the most specific first', () => {
    assert.equal(find('GET', '/paid'), 'GET /paid')
    assert.equal(find('GET', '/report/7'), 'GET /report/:id')
    assert.equal(find('GET', '/report/today'), 'GET /report/today')
    assert.equal(find('POST', '/report/today'), 'POST /report/:id')
    assert.equal(find('DELETE', '/files/a/b/c'), '/files/*')
    assert.equal(find('GET', '/files'), '/files/*')
  })

  test('gates HEAD as GET, and finds the route of any verb for OPTIONS', () => {
    assert.equal(find('HEAD', '/paid'), 'GET /paid')
    assert.equal(find('OPTIONS', '/report/7'), 'GET /report/:id')
  })

  test('is closed where nothing is declared', () => {
    assert.equal(find('GET', '/nowhere'), 'route-undeclared')
    assert.equal(find('POST', '/paid'), 'route-undeclared')
    assert.equal(find('GET', '/paid/more'), 'route-undeclared')
  })

  test('takes every spelling that some router takes for a paid path', () => {
    for (const path of [
      '/PAID',
      '/paid/',
      '//paid',
      '///paid//',
      '/%70aid',
      '/p%41id',
      '/paid;v=1',
      '/Paid/;x',
    ])
      assert.equal(find('GET', path), 'GET /paid', path)
    for (const path of ['/caf%C3%A9', '/CAF%C3%89'])
      assert.equal(find('GET', path), 'GET /café', path)
  })

  test('counts an empty segment also as an empty name', () => {
    assert.equal(find('GET', '/report/'), 'GET /report/:id')
    assert.equal(find('GET', '/a//c'), 'GET /a/:b/c')
    assert.equal(find('GET', '/report'), 'route-undeclared')
  })

  test('refuses a path that routers read in different ways', () => {
    for (const path of [
      '/report/a%2Fb',
      '/report/a%5cb',
      '/report/a\\b',
      '/report/%00',
      '/report/a%0a',
      '/report/%7f',
      '/report/%ff',
      '/report/%',
      '/report/%2531',
      '/report/..',
      '/report/%2e%2E/paid',
      '/./paid',
      '/report/a#b',
      '/report/é',
      'http://host/paid',
      '*',
      '',
      `/${'a/'.repeat(5_000)}`,
    ])
      assert.equal(find('GET', path), 'path-ambiguous', path.slice(0, 40))
  })

  test('refuses a spelling that is one paid route here and another there', () => {
    assert.equal(find('GET', '/report/TODAY'), 'path-ambiguous')
    assert.equal(find('GET', '/report/tomorrow'), 'GET /report/:id')
  })

  test('paid wins over free, but for a literal free path sent as declared', () => {
    assert.equal(find('GET', '/files/index'), 'free')
    assert.equal(find('GET', '/files/INDEX'), '/files/*')
    assert.equal(find('GET', '/files/index/'), '/files/*')
    assert.equal(find('GET', '/health'), 'free')
    const open = finder({ '* /*': 'free', 'GET /report/:id': '0.01 USD' })
    assert.equal(open('GET', '/report/1'), 'GET /report/:id')
    assert.equal(open('GET', '/REPORT/1;x'), 'GET /report/:id')
    assert.equal(open('POST', '/report/1'), 'free')
    assert.equal(open('GET', '/anything/else'), 'free')
  })

  test('tells what stands in the place of a name', () => {
    const table = readRoutes({ 'GET /a/:b/c/:d': '0.01 USD' })
    const found = table.find('GET', '/A/x%20y/c/2')
    assert.ok(typeof found === 'object' && !isProblem(found))
    assert.deepEqual(table.params(found, '/A/x%20y/c/2'), { b: 'x y', d: '2' })
  })

  test('charges 2xx unless the route says otherwise', () => {
    const [plain, own] = [{ price: '1 USD' }, { price: '1 USD', success: (s: number) => s === 302 }]
    const { paid } = readRoutes({ 'GET /a': plain, 'GET /b': own })
    const charged = paid.map(({ success }) => [200, 204, 302, 304, 404, 500].filter(success))
    assert.deepEqual(charged, [[200, 204], [302]])
  })
})

describe('a wrong route table stops the start with a sentence', () => {
  const wrong: readonly [string, unknown, RegExp][] = [
    ['GET /a', '0.01', /"GET \/a" has no good price.*is not a price/],
    ['GET /a', '0 USD', /written "free"/],
    ['GET /a', '-1 USD', /is not a price/],
    ['GET /a', undefined, /needs a price/],
    ['GET /a', { price: 1 }, /needs a price/],
    ['GET /a', { price: '1 USD', sucess: 1 }, /"sucess"/],
    ['GET /a', { price: '1 USD', settle: 'later' }, /before-response/],
    ['GET /a', { price: '1 USD', body: 'none' }, /"bind" or "free"/],
    ['GET /a', { price: '1 USD', rails: [] }, /names no rail/],
    ['GET a', '1 USD', /begin with a slash/],
    ['get /a', '1 USD', /capitals/],
    ['HEAD /a', '1 USD', /HEAD follows GET/],
    ['OPTIONS /a', '1 USD', /never sold/],
    ['GET /a/*/b', '1 USD', /last segment/],
    ['GET /a*', '1 USD', /last segment/],
    ['GET /[id]', '1 USD', /neither plain text nor :name/],
    ['GET /:id/:id', '1 USD', /same name/],
    ['GET /a//b', '1 USD', /empty segment/],
    ['GET /a/../b', '1 USD', /more than one way/],
    ['GET /a?b=1', '1 USD', /neither plain text/],
    [`GET ${'/a'.repeat(31)}`, '1 USD', /more than 30 segments/],
  ]
  for (const [key, value, sentence] of wrong)
    test(`${key.slice(0, 20)}: ${JSON.stringify(value)}`, () => {
      assert.throws(() => readRoutes({ [key]: value } as Routes), sentence)
    })

  test('two keys that are one to a router', () => {
    const twins: readonly (readonly [string, string])[] = [
      ['GET /a', 'GET /A'],
      ['GET /x/:a', 'GET /x/:b'],
      ['/a', '* /a/'],
      ['GET /a b'.replace(' b', '%62'), 'GET /ab'],
    ]
    for (const [one, two] of twins)
      assert.throws(() => readRoutes({ [one]: '1 USD', [two]: 'free' }), /the same to a router/)
    assert.equal(readRoutes({ 'GET /a': '1 USD', 'POST /a': '1 USD' }).paid.length, 2)
  })
})
