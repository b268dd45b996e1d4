import { access, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { readDocument } from '../config/document.ts'
import { DocumentError } from '../config/registry.ts'
import { systemChance } from '../core/chance.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Call, Command } from './command.ts'
import { DOCUMENT } from './gateway.ts'

/** Bytes of a secret that is made. */
const SECRET_BYTES = 33

/** Members of a rail that a document names: what is asked, and what an empty answer means. */
type Questions = Readonly<
  Record<string, readonly [question: string, otherwise: string | undefined]>
>

const first = {
  upstream: ['Where does the API answer that you want to sell?', 'http://127.0.0.1:3000'],
  origin: ['How will payers name it?', 'http://127.0.0.1:8402'],
  rail: ['How do you take money? evm (stablecoins) or lightning.', 'evm'],
} as const satisfies Questions

const ofEvm = {
  route: ['What is sold, and for how much?', 'GET /*=0.01 USD'],
  network: ['On which network do you take money?', 'base-sepolia'],
  'pay-to': ['Which account earns? (0x…)', undefined],
  facilitator: ['Who settles? An x402 facilitator’s address, or nothing for a key of yours.', ''],
  rpc: ['An endpoint of the chain?', 'https://sepolia.base.org'],
} as const satisfies Questions

const ofLightning = {
  route: ['What is sold, and for how much?', 'GET /*=10 SAT'],
  node: ['Which node or wallet? lnd, cln, phoenixd, eclair, lnbits, nwc or lnurl.', 'lnd'],
  'node-url': ['Where does it answer? (for lnurl: the address, shop@wallet.example)', undefined],
} as const satisfies Questions

/** A node by how a document names it: what opens it, and the variable where that is read if no file is named. */
const nodes = {
  lnd: { key: 'macaroon', variable: 'LND_MACAROON' },
  cln: { key: 'rune', variable: 'CLN_RUNE' },
  phoenixd: { key: 'password', variable: 'PHOENIXD_PASSWORD' },
  eclair: { key: 'password', variable: 'ECLAIR_PASSWORD' },
  lnbits: { key: 'key', variable: 'LNBITS_KEY' },
  nwc: { key: 'uri', variable: 'NWC_URI' },
  lnurl: undefined,
} as const satisfies Record<string, { readonly key: string; readonly variable: string } | undefined>

type Answers = Readonly<Record<string, string>>

/** `tolsey init`. */
export const init: Command = {
  wordsMax: 1,
  options: {
    upstream: { type: 'string' },
    origin: { type: 'string' },
    route: { type: 'string', multiple: true },
    network: { type: 'string' },
    'pay-to': { type: 'string' },
    facilitator: { type: 'string' },
    rpc: { type: 'string' },
    rail: { type: 'string' },
    node: { type: 'string' },
    'node-url': { type: 'string' },
    'key-file': { type: 'string' },
    listen: { type: 'string' },
    force: { type: 'boolean' },
  },
  help: [
    'Usage: tolsey init [FILE] [options]',
    '',
    `Writes a first document for "tolsey gateway" (${DOCUMENT}), and a secret beside it. On a terminal it asks for what is not`,
    'given.',
    '',
    'Options:',
    '      --upstream URL     Where the API answers that is sold.',
    '      --origin ORIGIN    How payers name it: https://api.example.com.',
    '      --route TEXT       What is sold, "GET /report/:id=0.01 USD" or "GET /health=free"; may be given again.',
    '      --network NAME     Where money comes: base, base-sepolia, eip155:8453.',
    '      --pay-to ADDRESS   The account that earns.',
    '      --facilitator URL  Who settles; without it a key of yours does, with',
    '      --rpc URL          an endpoint of the chain, and',
    '      --key-file FILE    the file of its key in hex; otherwise it is read from the variable SENDER_KEY.',
    '      --rail NAME        How money comes: evm (stablecoins, if absent) or lightning, with',
    '      --node NAME        lnd, cln, phoenixd, eclair, lnbits, nwc or lnurl,',
    '      --node-url URL     where it answers (for lnurl: the address), and',
    '      --key-file FILE    the file of its macaroon, rune, password, key or address (nwc); otherwise a variable.',
    '      --listen ADDRESS   Where the gateway listens (127.0.0.1:8402).',
    '      --force            Writes over a document that is there.',
    '',
    'Examples:',
    '  tolsey init',
    '  tolsey init --upstream http://127.0.0.1:3000 --origin https://api.example.com --network base \\',
    '    --pay-to 0x… --facilitator https://facilitator.example --route "GET /weather=0.01 USD"',
    '  tolsey init --upstream http://127.0.0.1:3000 --origin https://api.example.com --rail lightning \\',
    '    --node lnd --node-url https://127.0.0.1:8080 --key-file invoice.macaroon --route "GET /weather=10 SAT"',
    '',
    'Exit codes: 0 when it was written, 1 when it could not be, 2 when something is missing.',
  ].join('\n'),
  async run(call) {
    const { arguments: args, cwd, terminal } = call
    const file = args.words[0] ?? DOCUMENT
    const path = resolve(cwd, file)
    if (!args.flag('force') && (await isThere(path)))
      throw new Failure(`There is a ${file} already. Use --force to write over it.`)
    const answers = await ask(call)
    const secret = `${basename(path).replace(/\.\w+$/, '')}.secret`
    const text = write(call, answers, path, secret)
    const read = readDocument(text, file)
    if (!read.ok) throw new DocumentError(file, read.mistakes)
    const beside = join(dirname(path), secret)
    await keepSecret(beside)
    await writeFile(path, text)
    terminal.out(
      `${file} is written, and its secret beside it in ${secret}: keep both, show nobody the second.`,
    )
    terminal.out(`See whether it holds: tolsey check${file === DOCUMENT ? '' : ` ${file}`}`)
    terminal.out(`Then: tolsey gateway${file === DOCUMENT ? '' : ` ${file}`}`)
    return exits.ok
  },
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}

/** A secret that is there signs what is out already, so it stays. */
async function keepSecret(path: string): Promise<void> {
  if (await isThere(path)) return
  const secret = Buffer.from(systemChance(SECRET_BYTES)).toString('base64url')
  await writeFile(path, `${secret}\n`, { mode: 0o600, flag: 'wx' })
}

async function ask({ arguments: args, terminal }: Call): Promise<Answers> {
  const typed = (name: string): string | undefined =>
    name === 'route' ? args.texts('route').join('\n') || undefined : args.text(name)
  const reader = terminal.interactive
    ? createInterface({ input: terminal.stdin, output: terminal.stderr })
    : undefined
  const answers: Record<string, string> = {}
  const through = async (questions: Questions): Promise<void> => {
    for (const [name, [question, otherwise]] of Object.entries(questions)) {
      if (!isNeeded(name, answers)) continue
      const hint = otherwise ? ` [${otherwise}]` : ''
      const said = typed(name) ?? (await reader?.question(`${question}${hint} `))?.trim()
      // Who is not there to be asked has said all that he means with his options.
      const meant = said === '' || (said === undefined && name !== 'upstream') ? otherwise : said
      if (meant === undefined) throw misuse(`Say it with --${name}, or run this on a terminal.`)
      answers[name] = meant
    }
  }
  try {
    await through(first)
    const { rail = '' } = answers
    if (rail !== 'evm' && rail !== 'lightning')
      throw misuse(`There is no rail "${rail}" here: evm or lightning.`)
    await through(rail === 'evm' ? ofEvm : ofLightning)
  } finally {
    reader?.close()
  }
  return answers
}

/** Who has a facilitator settle needs no endpoint; a wallet behind a relay has its address in its secret. */
function isNeeded(name: string, { facilitator, node }: Answers): boolean {
  if (name === 'rpc') return facilitator === ''
  return name !== 'node-url' || node !== 'nwc'
}

/** The lines of the rail. */
function railOf(
  { arguments: args }: Call,
  { rail, network = '', facilitator = '', rpc = '', ...answers }: Answers,
): readonly string[] {
  const file = args.text('key-file')
  const secret = (variable: string): string =>
    file === undefined ? `{ env: ${variable} }` : `{ file: ${text(file)} }`
  if (rail === 'lightning') return nodeOf(answers['node'] ?? '', answers['node-url'] ?? '', secret)
  const settles = facilitator
    ? [`    facilitator: ${text(facilitator)}`]
    : [
        `    rpc: ${text(rpc)}`,
        '    # The key that sends payments and pays their gas, in hex. Never written here.',
        `    signer: ${secret('SENDER_KEY')}`,
      ]
  return [
    '  evm:',
    `    network: ${text(network)}`,
    `    payTo: ${JSON.stringify(answers['pay-to'])}`,
    ...settles,
  ]
}

function nodeOf(
  name: string,
  url: string,
  secret: (variable: string) => string,
): readonly string[] {
  if (!Object.hasOwn(nodes, name))
    throw misuse(`There is no node "${name}" here: ${Object.keys(nodes).join(', ')}.`)
  const opens = nodes[name as keyof typeof nodes]
  const members = [
    ...(name === 'nwc' ? [] : [`${opens ? 'url' : 'address'}: ${JSON.stringify(url)}`]),
    ...(opens ? [`${opens.key}: ${secret(opens.variable)}`] : []),
  ]
  return [
    '  lightning:',
    ...(opens
      ? [
          '    # What opens the node. Never written here; one that may only make invoices is enough.',
        ]
      : []),
    `    ${name}: { ${members.join(', ')} }`,
  ]
}

function write(call: Call, answers: Answers, path: string, secret: string): string {
  const { upstream = '', origin = '', route = '' } = answers
  const { arguments: args } = call
  return [
    `# yaml-language-server: $schema=${schemaFrom(path)}`,
    '',
    '# Where it listens. Put TLS here or a proxy before it: https://api.example.com must reach this address.',
    `listen: ${text(args.text('listen') ?? '127.0.0.1:8402')}`,
    '# Health: /healthz and /readyz. Not for strangers.',
    'admin: 127.0.0.1:8403',
    '# How payers name this service. Requests for other hosts are refused.',
    `origin: ${text(origin)}`,
    '# Signs what is offered.',
    `secret: { file: ${text(secret)} }`,
    '# The books. All processes that earn for the same account share them.',
    'ledger: tolsey.sqlite',
    '',
    'rails:',
    ...railOf(call, answers),
    '',
    'upstreams:',
    `  api: ${text(upstream)}`,
    '',
    '# What is not named here is closed.',
    'routes:',
    ...route.split('\n').map(routeLine),
    '',
  ].join('\n')
}

function routeLine(said: string): string {
  const cut = said.lastIndexOf('=')
  if (cut < 0) throw misuse('A route is written like "GET /report/:id=0.01 USD".')
  return `  ${text(said.slice(0, cut).trim())}: ${text(said.slice(cut + 1).trim())}`
}

/** Plain where YAML takes it for nothing else, in quotes otherwise. */
function text(said: string): string {
  return /^[A-Za-z][A-Za-z0-9._/:-]*[A-Za-z0-9/]$/.test(said) &&
    !/: |^(?:true|false|null|yes|no|on|off)$/i.test(said)
    ? said
    : JSON.stringify(said)
}

/** The schema that came with this program, as an editor finds it from the document. */
function schemaFrom(path: string): string {
  const schema = fileURLToPath(new URL('../../schemas/tolsey.schema.json', import.meta.url))
  const near = relative(dirname(path), schema)
  return near.startsWith('..') ? pathToFileURL(schema).href : `./${near}`
}
