import { createPayer, sqlite } from 'tolsey'
import { x402 } from 'tolsey/protocols/x402'
import { fromPrivateKey, wallet } from 'tolsey/rails/evm'
import { narrow, readToken, writeToken } from 'tolsey/tokens/macaroon'

const { PRIVATE_KEY = '', ORIGIN = '' } = process.env
const purse = wallet({ signer: fromPrivateKey(PRIVATE_KEY) })
const payer = createPayer({
  wallets: [purse],
  protocols: [x402([purse])],
  ledger: await sqlite({ file: 'spent.db' }),
  policy: { perRequest: '0.10 USD', perDay: '1 USD' },
})
const tokens = `${ORIGIN}/.well-known/tolsey/tokens`

/** A token that can do less, for somebody else. Nobody is asked, and nobody can undo it. */
function attenuate(token: string, ...conditions: readonly string[]): string {
  const read = readToken(token)
  const [whole] = typeof read === 'string' ? [] : read
  const less = whole ? narrow(whole, conditions) : 'This is no macaroon.'
  if (typeof less === 'string') throw new Error(less)
  return writeToken([less])
}

/** Asks with a token, and says what came back. */
async function ask(what: string, url: string, token: string, method = 'GET'): Promise<void> {
  const headers = { authorization: `Bearer ${token}` }
  const response = await fetch(url, { method, headers })
  console.log(what, response.status, await response.text())
}

const bought = await payer.fetch(`${tokens}/hundred`, { method: 'POST' })
const { token } = (await bought.json()) as { readonly token: string }
await ask('weather', `${ORIGIN}/weather`, token)

const inAnHour = Math.floor(Date.now() / 1000) + 3_600
const handed = attenuate(token, 'path=/weather', 'uses=1', `expires=${inAnHour}`)
await ask('handed', `${ORIGIN}/weather`, handed)
await ask('handed again', `${ORIGIN}/weather`, handed)
await ask('not for the handed', tokens, handed, 'DELETE')

const body = JSON.stringify({ topUp: token })
const more = await payer.fetch(`${tokens}/hundred`, { method: 'POST', body })
const { token: renewed } = (await more.json()) as { readonly token: string }
await ask('left', tokens, renewed)
await ask('statement', `${tokens}/statement`, renewed)
await ask('revoked', tokens, renewed, 'DELETE')
await ask('over', `${ORIGIN}/weather`, handed)
