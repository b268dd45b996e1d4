import assert from 'node:assert/strict'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { load, SettingError } from './load.ts'
import { Secret } from './secret.ts'

const here = '/somewhere'

describe('what the environment says', () => {
  test('nothing gives the defaults, with keys and books away from what may be deleted', () => {
    const settings = load({}, here, 'linux')
    assert.equal(settings.port, 8402)
    assert.equal(settings.sandbox, '/somewhere/.tolsey/sandbox')
    assert.equal(settings.home, join(homedir(), '.local', 'share', 'tolsey'))
    assert.deepEqual(settings.budget, {
      request: { currency: 'USD', amount: 1n, scale: 0 },
      day: { currency: 'USD', amount: 10n, scale: 0 },
    })
    assert.equal(settings.privateKey, undefined)
    assert.equal(settings.colour, 'auto')
  })

  test('TOLSEY_STATE holds everything, the sandbox in a directory of its own', () => {
    const settings = load({ TOLSEY_STATE: 'state' }, here, 'linux')
    assert.equal(settings.home, '/somewhere/state')
    assert.equal(settings.sandbox, '/somewhere/state/sandbox')
  })

  test('the directories that the system names are used', () => {
    assert.equal(load({ XDG_DATA_HOME: '/data' }, here, 'linux').home, join('/data', 'tolsey'))
    assert.equal(load({ LOCALAPPDATA: '/local' }, here, 'win32').home, join('/local', 'tolsey'))
    assert.notEqual(load({ LOCALAPPDATA: '/local' }, here, 'linux').home, join('/local', 'tolsey'))
  })

  test('a Lightning node is an address with a file, or one secret address', () => {
    const lnd = { TOLSEY_LND: 'https://127.0.0.1:8080', TOLSEY_LND_MACAROON: 'admin.macaroon' }
    const macaroonFile = '/somewhere/admin.macaroon'
    assert.deepEqual(load(lnd, here).lnd, { url: 'https://127.0.0.1:8080', macaroonFile })
    const ca = load({ ...lnd, TOLSEY_LND_CA: '/tls.cert' }, here).lnd
    assert.equal(ca?.caFile, '/tls.cert')
    const nwc = 'nostr+walletconnect://abc?secret=def'
    const found = load({ TOLSEY_NWC: nwc }).nwc
    assert.equal(found?.reveal(), nwc)
    assert.doesNotMatch(inspect(found), /def/)
    for (const wrong of [
      { ...lnd, TOLSEY_LND_MACAROON: '' },
      { ...lnd, TOLSEY_LND: 'here' },
    ])
      assert.throws(() => load(wrong, here), /TOLSEY_LND must be the address/)
  })

  test('a port is a number between 0 and 65535', () => {
    assert.equal(load({ TOLSEY_PORT: '0' }).port, 0)
    assert.equal(load({ TOLSEY_PORT: '65535' }).port, 65_535)
    for (const port of ['65536', '-1', '80.5', 'http', '1e3', ' 80'])
      assert.throws(() => load({ TOLSEY_PORT: port }), {
        name: 'SettingError',
        message: /TOLSEY_PORT/,
      })
  })

  test('endpoints are listed by network, in order, and may hold commas nowhere and = anywhere', () => {
    const { rpc } = load({
      TOLSEY_RPC: 'base=https://a.example/?k=1==, eip155:1=http://b.example base=https://c.example',
    })
    assert.deepEqual(
      { ...rpc },
      {
        base: ['https://a.example/?k=1==', 'https://c.example'],
        'eip155:1': ['http://b.example'],
      },
    )
  })

  test('an endpoint that cannot be used is refused without repeating it, for it may hold a key', () => {
    for (const text of ['https://a.example/KEY', 'base=KEY', 'base=ftp://KEY', 'base=https://'])
      assert.throws(
        () => load({ TOLSEY_RPC: text }),
        (error) => error instanceof SettingError && !error.message.includes('KEY'),
      )
  })

  test('limits are prices', () => {
    const { budget } = load({ TOLSEY_MAX: '0.05 USD', TOLSEY_MAX_TOTAL: '20 USD' })
    assert.deepEqual(budget.request, { currency: 'USD', amount: 5n, scale: 2 })
    assert.deepEqual(budget.total, { currency: 'USD', amount: 20n, scale: 0 })
    assert.throws(() => load({ TOLSEY_MAX_DAY: '10' }), { message: /TOLSEY_MAX_DAY/ })
  })

  test('NO_COLOR wins over FORCE_COLOR, and an empty variable is none', () => {
    assert.equal(load({ NO_COLOR: '1', FORCE_COLOR: '1' }).colour, 'never')
    assert.equal(load({ NO_COLOR: '', FORCE_COLOR: '1' }).colour, 'always')
    assert.equal(load({ FORCE_COLOR: '0' }).colour, 'never')
    assert.equal(load({ TERM: 'dumb' }).colour, 'never')
  })

  test('a secret shows itself to nobody but who asks for it', () => {
    const { privateKey, password } = load({ TOLSEY_PRIVATE_KEY: '0xsecret', TOLSEY_PASSWORD: 'pw' })
    assert.ok(privateKey instanceof Secret && password instanceof Secret)
    assert.equal(privateKey.reveal(), '0xsecret')
    for (const text of [
      String(privateKey),
      JSON.stringify({ privateKey }),
      inspect({ privateKey }, { showHidden: true, depth: 9 }),
      ['', privateKey].join(),
    ])
      assert.doesNotMatch(text, /0xsecret/)
  })
})
