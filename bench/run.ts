// All benches, or those that are named: `npm run bench -- [--quick] [name…]`.
import { readFile, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { facilitator } from './facilitator.ts'
import { gas } from './gas.ts'
import { gatewayTraffic } from './gateway-traffic.ts'
import { gateway } from './gateway.ts'
import { install } from './install.ts'
import { ledgerPostgres } from './ledger-postgres.ts'
import { ledger } from './ledger.ts'
import { lightning } from './lightning.ts'
import { memory } from './memory.ts'
import { paid } from './paid.ts'
import { pinned } from './process.ts'
import { restart } from './restart.ts'
import type { Bench, Result } from './result.ts'
import { rpcCalls } from './rpc-calls.ts'
import { signatures } from './signatures.ts'
import { say, writeTable } from './table.ts'
import { tokenPaid } from './token-paid.ts'
import { tokens } from './tokens.ts'
import { unpaid } from './unpaid.ts'
import { verify } from './verify.ts'

const benches: Readonly<Record<string, Bench>> = {
  signatures,
  verify,
  'rpc-calls': rpcCalls,
  unpaid,
  paid,
  facilitator,
  lightning,
  tokens,
  'token-paid': tokenPaid,
  gateway,
  'gateway-traffic': gatewayTraffic,
  ledger,
  'ledger-postgres': ledgerPostgres,
  memory,
  gas,
  restart,
  install,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false } },
})
const { quick } = values
const stranger = positionals.find((name) => !Object.hasOwn(benches, name))
if (stranger !== undefined) {
  console.error(`There is no bench "${stranger}". There are: ${Object.keys(benches).join(', ')}.`)
  process.exit(1)
}

const results: Result[] = []
for (const [name, bench] of Object.entries(benches)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue
  say(name)
  const found = await bench({ quick, tell: (text) => say(`${name}: ${text}`) })
  say('')
  console.log(writeTable(found))
  results.push(...found)
}
if (!quick) await keep([...(await others()), ...results])
const short = results.filter((result) => result.met === false)
for (const { bench, what } of short) console.log(`Short of its goal: ${bench}, ${what}.`)

/** What is on record of the benches that were not run now, each on the machine and day of its own. */
async function others(): Promise<readonly Result[]> {
  if (positionals.length === 0) return []
  const text = await readFile(new URL('results.json', import.meta.url), 'utf8')
  const { results: kept } = JSON.parse(text) as { readonly results: readonly Result[] }
  return kept.filter(({ bench }) => Object.hasOwn(benches, bench) && !positionals.includes(bench))
}

/** What the figures were measured on: enough to judge them, nothing of whose machine it was. */
async function keep(found: readonly Result[]): Promise<void> {
  const order = Object.keys(benches)
  const results = found.toSorted((a, b) => order.indexOf(a.bench) - order.indexOf(b.bench))
  const machine = {
    date: new Date().toISOString().slice(0, 10),
    cores: availableParallelism(),
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
    pinned,
  }
  const facts = `Measured ${machine.date} on ${machine.cores} cores, ${machine.platform}, Node ${machine.node}.`
  const said = `# Figures\n\n${facts} Medians, with the least and the most in brackets; \`npm run bench\` measures anew.\n`
  await writeFile(
    new URL('results.json', import.meta.url),
    `${JSON.stringify({ machine, results }, null, 2)}\n`,
  )
  await writeFile(new URL('results.md', import.meta.url), `${said}\n${writeTable(results)}`)
}
