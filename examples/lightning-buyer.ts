import { createPayer, paymentOf, sqlite } from 'tolsey'
import { l402 } from 'tolsey/protocols/l402'
import { lightningWallet } from 'tolsey/rails/lightning'
import { createLnd } from 'tolsey/rails/lightning/adapters'
import { hashIn } from 'tolsey/tokens/macaroon'

const { NODE = '', KEY = '', URL: url = '' } = process.env
const purse = lightningWallet({ node: createLnd({ url: NODE, macaroon: KEY }) })
const payer = createPayer({
  wallets: [purse],
  protocols: [l402({ parts: [purse], hashIn })],
  ledger: await sqlite({ file: 'spent.db' }),
  policy: { perRequest: '50 SAT', perDay: '1000 SAT' },
})
const response = await payer.fetch(url)
const { state, fee, evidence } = paymentOf(response) ?? {}
console.log(response.status, await response.json(), state, fee?.amount, evidence?.['preimage'])
