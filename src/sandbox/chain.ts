import { access, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { assert } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import { isObject } from '../core/json.ts'
import type { Clock } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { Anvil, Call } from './anvil.ts'
import { startAnvil } from './anvil.ts'
import { createJournal } from './journal.ts'
import type { Journal } from './journal.ts'
import contracts from './contracts.json' with { type: 'json' }

/** Base Sepolia's number: nothing signed here is worth anything on a chain with real money. */
const CHAIN_ID = 84532

/** Gas of a block, Base's order of magnitude. */
const BLOCK_GAS = 400_000_000

/** Gas of one transaction, below the cap of EIP-7825. */
const TRANSACTION_GAS = '0xf00000'

/** What a chain is started with. */
export interface ChainOptions {
  /** Where its state is kept between two runs. Without it the chain is new and leaves nothing behind. */
  readonly stateFile?: string
  /** Time between blocks. Without it every transaction is a block at once. */
  readonly blockTimeMs?: number
  /** Name of the rules. Before `osaka`, the default, the node does not hold the gas cap of EIP-7825, which Base does. */
  readonly hardfork?: string
  /** Blocks of an epoch: what is two epochs old is final. As the node has it, 32, if absent. */
  readonly slotsInAnEpoch?: number
  /** Port of the node; a free one if absent. */
  readonly port?: number
  readonly clock?: Clock
  /** Told, in a sentence, when a kept state could not be read and the chain began anew. */
  readonly notice?: (sentence: string) => void
}

/** A transaction without a signature: the node sends it for `from`, whoever that is. */
export interface Unsigned {
  readonly from?: string
  readonly to?: string
  readonly data?: string
  readonly value?: bigint
}

/** A real EVM node on loopback that carries Circle's USDC, Multicall3, Permit2, our batcher and our channels at their known addresses. */
export interface Chain {
  readonly rpc: string
  readonly chainId: number
  /** CAIP-2. */
  readonly network: string
  readonly usdc: string
  /** Where `contracts/TolseyBatcher.sol` is. */
  readonly batcher: string
  /** Where `contracts/TolseyChannel.sol` is. */
  readonly escrow: string
  /** The node's process. */
  readonly pid: number
  /** Any JSON-RPC method, for instance `evm_snapshot`, `evm_revert`, `anvil_reorg`. */
  request(method: string, params?: readonly unknown[]): Promise<unknown>
  /** Makes USDC out of nothing, in its smallest unit. */
  mint(to: string, amount: bigint): Promise<void>
  /** USDC held, in its smallest unit. */
  balanceOf(address: string): Promise<bigint>
  /** Sets the balance in ether. */
  fundEther(address: string, wei: bigint): Promise<void>
  /** Sends as anybody, by default as the token's owner, and waits for the block. The hash; throws if it reverted. */
  send(transaction: Unsigned): Promise<string>
  /** Deploys creation code and gives the contract's address. */
  deploy(bytecode: string): Promise<string>
  mine(blocks?: number): Promise<void>
  /** Moves the chain's clock and makes a block, so that calls see the new time. */
  increaseTime(seconds: number): Promise<void>
  /** Notes a signed transaction that the node has taken, so that it survives a kill before the next save. */
  record(raw: string): Promise<void>
  /** Writes the state file now; nothing without one. */
  save(): Promise<void>
  /** Saves, ends the node and resolves when its process is gone. Safe to call twice. */
  stop(): Promise<void>
}

/**
 * Starts a chain; it ends with this process at the latest.
 * @throws {PaymentError} with what to do, when the node is not installed or does not start.
 */
export async function startChain(options: ChainOptions = {}): Promise<Chain> {
  const { stateFile, clock = systemClock } = options
  const kept = stateFile === undefined ? undefined : keeping(stateFile, clock)
  const old = kept !== undefined && (await exists(kept.file))
  const anvil = await (old ? resume(kept, options) : begin(options))
  await anvil.request('anvil_impersonateAccount', [contracts.operator])
  return withVerbs(anvil, kept)
}

interface Kept {
  readonly file: string
  readonly journal: Journal
}

function keeping(file: string, clock: Clock): Kept {
  return { file, journal: createJournal(`${file}.transactions`, clock) }
}

/** Starts from the kept state, or anew if the node cannot read it. */
async function resume(kept: Kept, options: ChainOptions): Promise<Anvil> {
  const args = [...flags(options), '--load-state', kept.file]
  const anvil = await startAnvil(args, options.port).catch(() => undefined)
  if (anvil === undefined) return replace(kept, options)
  // A chain that was kept by an older version lacks some of our contracts, and what is replayed may need them.
  const alloc = new Map(Object.entries(contracts.alloc))
  for (const address of [contracts.batcher, contracts.escrow])
    await anvil.request('anvil_setCode', [address, alloc.get(address)?.code])
  await kept.journal.replay(anvil)
  // A loaded chain goes on at its own time; ours is now, and calls look at the latest block.
  await anvil.batch([
    ['anvil_setTime', [secondsOf(options)]],
    ['anvil_mine', ['0x1']],
  ])
  return anvil
}

/** Nothing is moved before a new chain stands: the fault may lie elsewhere, in the port for instance. */
async function replace({ file, journal }: Kept, options: ChainOptions): Promise<Anvil> {
  const anvil = await begin(options)
  const aside = `${file}.unreadable`
  await rename(file, aside)
  const drop = await journal.turn()
  await drop()
  options.notice?.(`The kept chain cannot be read and lies in ${aside} now. A new one has begun.`)
  return anvil
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  )
}

/** Starts from the contracts alone. */
async function begin(options: ChainOptions): Promise<Anvil> {
  const directory = await mkdtemp(join(tmpdir(), 'chain-'))
  try {
    const file = join(directory, 'genesis.json')
    await writeFile(file, JSON.stringify(genesis(options)))
    return await startAnvil([...flags(options), '--init', file], options.port)
  } finally {
    await rm(directory, { recursive: true })
  }
}

function flags({
  blockTimeMs,
  hardfork = 'osaka',
  slotsInAnEpoch: slots,
}: ChainOptions): readonly string[] {
  const epochs = slots === undefined ? [] : ['--slots-in-an-epoch', String(slots)]
  const interval = blockTimeMs === undefined ? [] : ['--block-time', String(blockTimeMs / 1000)]
  const rules = ['--hardfork', hardfork, '--enable-tx-gas-limit', '--gas-limit', String(BLOCK_GAS)]
  // No accounts: the well-known keys would hold ether here, and somebody would get used to them.
  return ['--chain-id', String(CHAIN_ID), '--accounts', '0', ...rules, ...interval, ...epochs]
}

function secondsOf({ clock = systemClock }: ChainOptions): number {
  return Math.floor(clock.now() / 1000)
}

function genesis(options: ChainOptions): unknown {
  const zero = `0x${'0'.repeat(64)}`
  const accounts = Object.entries(contracts.alloc).map(([address, account]) => {
    const { balance, nonce, code, storage } = account
    return [address, { balance, nonce, code, storage }] as const
  })
  return {
    config: { chainId: CHAIN_ID },
    nonce: '0x0',
    timestamp: hex(secondsOf(options)),
    extraData: '0x',
    gasLimit: hex(BLOCK_GAS),
    difficulty: '0x0',
    mixHash: zero,
    coinbase: zero.slice(0, 42),
    alloc: Object.fromEntries(accounts),
  }
}

function withVerbs(anvil: Anvil, kept: Kept | undefined): Chain {
  const { usdc, batcher, escrow, operator } = contracts
  const sending = queue()
  const saving = queue()
  const call = async (calls: readonly Call[]): Promise<void> => void (await anvil.batch(calls))

  const receipt = async (transaction: Unsigned): Promise<Receipt> => {
    const { from = operator, to, data = '0x', value = 0n } = transaction
    if (from !== operator) await anvil.request('anvil_impersonateAccount', [from])
    // One after the other: the node gives two at once the same number.
    const said = await sending(() =>
      anvil.request('eth_sendTransactionSync', [
        { from, data, value: hex(value), gas: TRANSACTION_GAS, ...(to !== undefined && { to }) },
      ]),
    )
    if (from !== operator) await anvil.request('anvil_stopImpersonatingAccount', [from])
    assert(isObject(said), 'a transaction that was sent has a receipt')
    const { status, transactionHash: hash, contractAddress: made } = said
    if (status !== '0x1' || typeof hash !== 'string')
      throw new PaymentError('settlement-failed', 'The transaction reverted.', { cause: said })
    return { hash, made: typeof made === 'string' ? made : '' }
  }

  const save = async (): Promise<void> => {
    if (kept) await saving(() => write(kept, anvil))
  }

  const end = async (): Promise<void> => {
    await save().catch(() => undefined)
    await anvil.stop()
  }
  let ended: Promise<void> | undefined

  return {
    rpc: anvil.rpc,
    chainId: CHAIN_ID,
    network: `eip155:${CHAIN_ID}`,
    usdc,
    batcher,
    escrow,
    pid: anvil.pid,
    request: (method, params) => anvil.request(method, params),
    async mint(to, amount) {
      await receipt({ to: usdc, data: `0x40c10f19${word(to)}${word(hex(amount))}` })
    },
    async balanceOf(address) {
      const data = `0x70a08231${word(address)}`
      return BigInt(String(await anvil.request('eth_call', [{ to: usdc, data }, 'latest'])))
    },
    fundEther: (address, wei) => call([['anvil_setBalance', [address, hex(wei)]]]),
    send: async (transaction) => (await receipt(transaction)).hash,
    deploy: async (data) => (await receipt({ data })).made,
    mine: (blocks = 1) => call([['anvil_mine', [hex(blocks)]]]),
    increaseTime: (seconds) =>
      call([
        ['evm_increaseTime', [hex(seconds)]],
        ['anvil_mine', ['0x1']],
      ]),
    record: async (raw) => kept?.journal.append(raw),
    save,
    stop: () => (ended ??= end()),
  }
}

interface Receipt {
  readonly hash: string
  readonly made: string
}

/** Runs one after the other; what failed does not hold up the next. */
function queue(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const turn = last.then(work, work)
    last = turn.catch(() => undefined)
    return turn
  }
}

/** Whole or not at all: a crash while writing leaves the state before. */
async function write({ file, journal }: Kept, anvil: Anvil): Promise<void> {
  const part = `${file}.part`
  const drop = await journal.turn()
  const dumped = String(await anvil.request('anvil_dumpState'))
  await writeFile(part, await unzip(Buffer.from(dumped.slice(2), 'hex')), { flush: true })
  await rename(part, file)
  await drop()
}

const unzip = promisify(gunzip)

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`
}

/** An argument of a call: 32 bytes, without the prefix. */
function word(value: string): string {
  assert(/^0x[0-9a-fA-F]{1,64}$/.test(value), 'an argument is hex of at most 32 bytes')
  return value.slice(2).toLowerCase().padStart(64, '0')
}
