import { createPayer, paymentOf, sqlite } from 'tolsey'
import { x402 } from 'tolsey/protocols/x402'
import { fromPrivateKey, wallet } from 'tolsey/rails/evm'

const { PRIVATE_KEY = '', URL: url = '' } = process.env
const purse = wallet({ signer: fromPrivateKey(PRIVATE_KEY) })
const payer = createPayer({
  wallets: [purse],
  protocols: [x402([purse])],
  ledger: await sqlite({ file: 'spent.db' }),
  policy: { perRequest: '0.05 USD', perDay: '1 USD' },
})
const response = await payer.fetch(url)
console.log(await response.json(), paymentOf(response)?.receipt?.reference)
