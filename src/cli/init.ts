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

/** What is asked where it was not typed, and what an empty answer means. */
const questions = {
  upstream: ['Where does the API answer that you want to sell?', 'http://127.0.0.1:3000'],
  origin: ['How will payers name it?', 'http://127.0.0.1:8402'],
  route: ['What is sold, and for how much?', 'GET /*=0.01 USD'],
  network: ['On which network do you take money?', 'base-sepolia'],
  'pay-to': ['Which account earns? (0x…)', undefined],
  facilitator: ['Who settles? An x402 facilitator’s address, or nothing for a key of yours.', ''],
  rpc: ['An endpoint of the chain?', 'https://sepolia.base.org'],
} as const satisfies Record<string, readonly [question: string, otherwise: string | undefined]>

type Name = keyof typeof questions
type Answers = Readonly<Record<Name, string>>

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
    '      --listen ADDRESS   Where the gateway listens (127.0.0.1:8402).',
    '      --force            Writes over a document that is there.',
    '',
    'Examples:',
    '  tolsey init',
    '  tolsey init --upstream http://127.0.0.1:3000 --origin https://api.example.com --network base \\',
    '    --pay-to 0x… --facilitator https://facilitator.example --route "GET /weather=0.01 USD"',
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
  const typed = (name: Name): string | undefined =>
    name === 'route' ? args.texts('route').join('\n') || undefined : args.text(name)
  const reader = terminal.interactive
    ? createInterface({ input: terminal.stdin, output: terminal.stderr })
    : undefined
  const answers: Record<string, string> = {}
  try {
    for (const [key, [question, otherwise]] of Object.entries(questions)) {
      const name = key as Name
      if (name === 'rpc' && answers['facilitator'] !== '') continue
      const hint = otherwise ? ` [${otherwise}]` : ''
      const said = typed(name) ?? (await reader?.question(`${question}${hint} `))?.trim()
      // Who is not there to be asked has said all that he means with his options.
      const meant = said === '' || (said === undefined && name !== 'upstream') ? otherwise : said
      if (meant === undefined) throw misuse(`Say it with --${name}, or run this on a terminal.`)
      answers[name] = meant
    }
  } finally {
    reader?.close()
  }
  return answers as Answers
}

function write({ arguments: args }: Call, answers: Answers, path: string, secret: string): string {
  const { upstream, origin, network, facilitator, rpc } = answers
  const key = args.text('key-file')
  const settles = facilitator
    ? [`    facilitator: ${text(facilitator)}`]
    : [
        `    rpc: ${text(rpc)}`,
        '    # The key that sends payments and pays their gas, in hex. Never written here.',
        `    signer: ${key === undefined ? '{ env: SENDER_KEY }' : `{ file: ${text(key)} }`}`,
      ]
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
    '  evm:',
    `    network: ${text(network)}`,
    `    payTo: ${JSON.stringify(answers['pay-to'])}`,
    ...settles,
    '',
    'upstreams:',
    `  api: ${text(upstream)}`,
    '',
    '# What is not named here is closed.',
    'routes:',
    ...answers.route.split('\n').map(routeLine),
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
