// The contract that keeps channels, on a real chain with Circle's own token: what may be done, and beside it what strangers try.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Address, Hex } from 'viem'
import {
  createPublicClient,
  encodeFunctionData,
  getAddress,
  http,
  keccak256,
  parseAbi,
  parseSignature,
} from 'viem'
import type { PrivateKeyAccount } from 'viem/accounts'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import artifact from '../../contracts/TolseyChannel.json' with { type: 'json' }
import tax from '../../contracts/test/TestTaxToken.json' with { type: 'json' }
import { ESCROW_CODE_HASH } from '../../src/rails/evm/channel/escrow.ts'
import { ESCROW } from '../../src/rails/evm/channel/terms.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'

const abi = artifact.abi as unknown as ReturnType<typeof parseAbi>
const ZERO: Address = '0x0000000000000000000000000000000000000000'
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
const MAX = 2n ** 128n - 1n
const GRACE_S = 900
const DEPOSIT = 1_000_000n

type Signer = Pick<PrivateKeyAccount, 'address' | 'signTypedData'>

interface Opened {
  readonly channel: Hex
  readonly payer: PrivateKeyAccount
}

describe('the contract that keeps channels', () => {
  let chain: Chain
  let usdc: Address
  let escrow: Address
  let client: ReturnType<typeof createPublicClient>
  let salts = 0
  const payee = privateKeyToAccount(generatePrivateKey())
  const stranger = privateKeyToAccount(generatePrivateKey())

  before(async () => {
    chain = await startChain()
    usdc = chain.usdc as Address
    escrow = chain.escrow as Address
    client = createPublicClient({ transport: http(chain.rpc) })
    for (const { address } of [payee, stranger]) await chain.fundEther(address, 10n ** 19n)
  })
  after(() => chain.stop())

  const salt = (): Hex => `0x${(++salts).toString(16).padStart(64, '0')}`

  async function buyer(amount = DEPOSIT * 10n): Promise<PrivateKeyAccount> {
    const made = privateKeyToAccount(generatePrivateKey())
    await chain.fundEther(made.address, 10n ** 19n)
    await chain.mint(made.address, amount)
    return made
  }

  async function read<T>(functionName: string, args: readonly unknown[] = []): Promise<T> {
    return (await client.readContract({ address: escrow, abi, functionName, args })) as T
  }

  /** Makes the call as somebody; the name of the error if it is refused. */
  async function act(
    by: { readonly address: Address },
    functionName: string,
    args: readonly unknown[],
  ): Promise<string> {
    const data = encodeFunctionData({ abi, functionName, args })
    const why = await refusal(by.address, functionName, args)
    if (why !== undefined) return why
    await chain.send({ from: by.address, to: escrow, data })
    return 'done'
  }

  async function refusal(
    account: Address,
    functionName: string,
    args: readonly unknown[],
  ): Promise<string | undefined> {
    try {
      await client.simulateContract({ address: escrow, abi, functionName, args, account })
      return undefined
    } catch (error) {
      const { cause } = error as { cause?: { data?: { errorName?: string }; reason?: string } }
      return cause?.data?.errorName ?? cause?.reason ?? 'refused'
    }
  }

  async function approve(by: PrivateKeyAccount, amount: bigint, token = usdc): Promise<void> {
    const approval = parseAbi(['function approve(address spender, uint256 amount)'])
    const data = encodeFunctionData({
      abi: approval,
      functionName: 'approve',
      args: [escrow, amount],
    })
    await chain.send({ from: by.address, to: token, data })
  }

  async function open(
    deposit = DEPOSIT,
    signer: Address = ZERO,
    by?: PrivateKeyAccount,
  ): Promise<Opened> {
    const payer = by ?? (await buyer())
    await approve(payer, deposit)
    const chosen = salt()
    const args = [payee.address, usdc, deposit, chosen, signer, [], []]
    assert.equal(await act(payer, 'open', args), 'done')
    const id = [payer.address, payee.address, usdc, chosen, signer]
    return { channel: await read<Hex>('computeChannelId', id), payer }
  }

  const voucher = (by: Signer, channel: Hex, cumulativeAmount: bigint, at = escrow): Promise<Hex> =>
    by.signTypedData({
      domain: {
        name: 'EVM Payment Channel',
        version: '1',
        chainId: chain.chainId,
        verifyingContract: at,
      },
      types: {
        Voucher: [
          { name: 'channelId', type: 'bytes32' },
          { name: 'cumulativeAmount', type: 'uint128' },
        ],
      },
      primaryType: 'Voucher',
      message: { channelId: channel, cumulativeAmount },
    })

  interface Authorized {
    readonly value: bigint
    readonly validAfter: bigint
    readonly validBefore: bigint
    readonly nonce: Hex
    readonly signature: Hex
  }

  async function authorize(
    by: PrivateKeyAccount,
    nonce: Hex,
    more: { readonly value?: bigint; readonly to?: Address; readonly type?: string } = {},
  ): Promise<Authorized> {
    const { value = DEPOSIT, to = escrow, type = 'ReceiveWithAuthorization' } = more
    const said = { value, validAfter: 0n, validBefore: BigInt(2 ** 40), nonce }
    const fields = ['from address', 'to address', 'value uint256', 'validAfter uint256']
    const types = [...fields, 'validBefore uint256', 'nonce bytes32'].map((one) => {
      const [name = '', kind = ''] = one.split(' ')
      return { name, type: kind }
    })
    const signature = await by.signTypedData({
      domain: { name: 'USDC', version: '2', chainId: chain.chainId, verifyingContract: usdc },
      types: { [type]: types },
      primaryType: type,
      message: { from: by.address, to, ...said },
    })
    return { ...said, signature }
  }

  function signed({ validAfter, validBefore, nonce, signature }: Authorized): readonly unknown[] {
    const { r, s, v } = parseSignature(signature)
    return [validAfter, validBefore, nonce, Number(v), r, s]
  }

  const holds = async (): Promise<bigint> => chain.balanceOf(escrow)
  const state = (channel: Hex): Promise<Record<string, unknown>> =>
    read<Record<string, unknown>>('getChannel', [channel])

  test('is the one that rails compare and wallets trust', async () => {
    assert.equal(getAddress(ESCROW), artifact.deployment.address)
    assert.equal(getAddress(escrow), artifact.deployment.address)
    assert.equal(keccak256(artifact.deployedBytecode as Hex), ESCROW_CODE_HASH)
    assert.equal(await read<bigint>('CLOSE_GRACE_PERIOD'), BigInt(GRACE_S))
  })

  test('pays the payee what a voucher promises beyond the one before, and the rest back at the end', async () => {
    const { channel, payer } = await open()
    const [earned, had] = [
      await chain.balanceOf(payee.address),
      await chain.balanceOf(payer.address),
    ]
    const first = await voucher(payer, channel, 300_000n)
    assert.equal(await act(payee, 'settle', [channel, 300_000n, first]), 'done')
    assert.equal(await act(payee, 'settle', [channel, 300_000n, first]), 'AmountNotIncreased')
    const second = await voucher(payer, channel, 400_000n)
    assert.equal(await act(payee, 'settle', [channel, 400_000n, second]), 'done')
    assert.equal((await chain.balanceOf(payee.address)) - earned, 400_000n)
    assert.equal(await act(payee, 'close', [channel, 300_000n, first]), 'AmountNotIncreased')
    assert.equal(await act(payee, 'close', [channel, 400_000n, second]), 'done')
    assert.equal((await chain.balanceOf(payee.address)) - earned, 400_000n)
    assert.equal((await chain.balanceOf(payer.address)) - had, 600_000n)
  })

  test('does nothing for a channel that has ended, and makes none of its name again', async () => {
    const payer = await buyer()
    const chosen = salt()
    const args = [payee.address, usdc, DEPOSIT, chosen, ZERO, [], []]
    await approve(payer, DEPOSIT * 2n)
    assert.equal(await act(payer, 'open', args), 'done')
    assert.equal(await act(payer, 'open', args), 'ChannelExists')
    const channel = await read<Hex>('computeChannelId', [
      payer.address,
      payee.address,
      usdc,
      chosen,
      ZERO,
    ])
    const nothing = await voucher(payer, channel, 0n)
    assert.equal(await act(payee, 'close', [channel, 0n, nothing]), 'done')
    const more = await voucher(payer, channel, 1n)
    for (const [by, name, said] of [
      [payee, 'close', [channel, 0n, nothing]],
      [payee, 'settle', [channel, 1n, more]],
      [payer, 'topUp', [channel, 1n]],
      [payer, 'requestClose', [channel]],
      [payer, 'withdraw', [channel]],
    ] as const)
      assert.equal(await act(by, name, said), 'ChannelFinalized', name)
    assert.equal(await act(payer, 'open', args), 'ChannelExists')
    const unknown: Hex = `0x${'77'.repeat(32)}`
    assert.equal(await act(payee, 'close', [unknown, 0n, nothing]), 'ChannelNotFound')
  })

  test('takes a voucher of its signer alone, for its channel and its contract, in one form', async () => {
    const delegate = privateKeyToAccount(generatePrivateKey())
    const { channel, payer } = await open(DEPOSIT, delegate.address)
    const other = await open()
    const good = await voucher(delegate, channel, 5n)
    const s = (ORDER - BigInt(`0x${good.slice(66, 130)}`)).toString(16).padStart(64, '0')
    const twin = `${good.slice(0, 66)}${s}${good.endsWith('1b') ? '1c' : '1b'}`
    const bad: readonly [string, string][] = [
      [await voucher(payer, channel, 5n), 'SignerMismatch'],
      [await voucher(payee, channel, 5n), 'SignerMismatch'],
      [await voucher(delegate, other.channel, 5n), 'SignerMismatch'],
      [await voucher(delegate, channel, 6n), 'SignerMismatch'],
      [await voucher(delegate, channel, 5n, usdc), 'SignerMismatch'],
      [twin, 'SignatureMalformed'],
      [`${good.slice(0, 130)}00`, 'SignatureMalformed'],
      [good.slice(0, 130), 'SignatureMalformed'],
      [`${good}00`, 'SignatureMalformed'],
      [`0x${'00'.repeat(64)}1b`, 'SignatureMalformed'],
      ['0x', 'SignatureMalformed'],
    ]
    for (const [signature, why] of bad)
      for (const name of ['settle', 'close'])
        assert.equal(await act(payee, name, [channel, 5n, signature]), why, `${name} ${signature}`)
    assert.equal(await act(stranger, 'settle', [channel, 5n, good]), 'NotPayee')
    assert.equal(await act(payer, 'settle', [channel, 5n, good]), 'NotPayee')
    assert.equal(await act(stranger, 'close', [channel, 5n, good]), 'NotPayee')
    assert.equal(await act(payee, 'settle', [channel, 5n, good]), 'done')
  })

  test('pays no more than was deposited, up to the largest sum', async () => {
    const { channel, payer } = await open()
    for (const sum of [DEPOSIT + 1n, MAX])
      assert.equal(
        await act(payee, 'settle', [channel, sum, await voucher(payer, channel, sum)]),
        'AmountExceedsDeposit',
      )
    // The sum of the deposits would not fit.
    assert.equal(await act(payer, 'topUp', [channel, MAX]), 'Panic')
    const all = await voucher(payer, channel, DEPOSIT)
    assert.equal(await act(payee, 'close', [channel, DEPOSIT, all]), 'done')
  })

  test('lets the payer withdraw after the grace and not before, and the payee collect until then', async () => {
    const { channel, payer } = await open()
    assert.equal(await act(payer, 'withdraw', [channel]), 'GraceRunning')
    assert.equal(await act(stranger, 'requestClose', [channel]), 'NotPayer')
    assert.equal(await act(payer, 'requestClose', [channel]), 'done')
    await chain.increaseTime(GRACE_S - 60)
    assert.equal(await act(payer, 'requestClose', [channel]), 'done')
    assert.equal(await act(payer, 'withdraw', [channel]), 'GraceRunning')
    const owed = await voucher(payer, channel, 400_000n)
    assert.equal(await act(payee, 'settle', [channel, 400_000n, owed]), 'done')
    await chain.increaseTime(120)
    assert.equal(await act(stranger, 'withdraw', [channel]), 'NotPayer')
    const had = await chain.balanceOf(payer.address)
    assert.equal(await act(payer, 'withdraw', [channel]), 'done')
    assert.equal((await chain.balanceOf(payer.address)) - had, 600_000n)
    const late = await voucher(payer, channel, 500_000n)
    assert.equal(await act(payee, 'close', [channel, 500_000n, late]), 'ChannelFinalized')
  })

  test('forgets a wish for the end when more is deposited', async () => {
    const { channel, payer } = await open()
    await act(payer, 'requestClose', [channel])
    await approve(payer, DEPOSIT)
    assert.equal(await act(stranger, 'topUp', [channel, 1n]), 'NotPayer')
    assert.equal(await act(payer, 'topUp', [channel, 0n]), 'DepositInvalid')
    assert.equal(await act(payer, 'topUp', [channel, DEPOSIT]), 'done')
    await chain.increaseTime(GRACE_S + 60)
    assert.equal(await act(payer, 'withdraw', [channel]), 'GraceRunning')
    const { deposit, closeRequestedAt } = await state(channel)
    assert.deepEqual([deposit, closeRequestedAt], [DEPOSIT * 2n, 0n])
  })

  test('opens by an authorization that only the contract can use, and for that channel alone', async () => {
    const payer = await buyer()
    const chosen = salt()
    const id = [payer.address, payee.address, usdc, chosen, ZERO]
    const channel = await read<Hex>('computeChannelId', id)
    const nonce = await read<Hex>('depositNonce', [channel, 0n])
    const good = await authorize(payer, nonce)
    const args = (
      one: Authorized,
      { to = payee.address, by = ZERO, named = chosen, deposit = one.value } = {},
    ): readonly unknown[] => [to, usdc, deposit, named, by, payer.address, ...signed(one), [], []]

    // Whoever sees it in the mempool can open no other channel with it,
    const name = 'openWithAuthorization'
    assert.equal(await act(stranger, name, args(good, { to: stranger.address })), 'NonceMismatch')
    assert.equal(await act(stranger, name, args(good, { by: stranger.address })), 'NonceMismatch')
    assert.equal(await act(stranger, name, args(good, { named: salt() })), 'NonceMismatch')
    assert.notEqual(await act(stranger, name, args(good, { deposit: 1n })), 'done')
    // nor bring the money here without one, since the token lets only its receiver submit it.
    const token = parseAbi([
      'function receiveWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
      'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
    ])
    const { r, s, v } = parseSignature(good.signature)
    const direct = [
      payer.address,
      escrow,
      DEPOSIT,
      0n,
      good.validBefore,
      nonce,
      Number(v),
      r,
      s,
    ] as const
    for (const functionName of ['receiveWithAuthorization', 'transferWithAuthorization'] as const) {
      const data = encodeFunctionData({ abi: token, functionName, args: direct })
      await assert.rejects(chain.send({ from: stranger.address, to: usdc, data }))
    }
    // One that anybody could submit is not taken at all.
    const loose = await authorize(payer, nonce, { type: 'TransferWithAuthorization' })
    assert.notEqual(await act(stranger, name, args(loose)), 'done')
    const random = await authorize(payer, `0x${'5a'.repeat(32)}`)
    assert.equal(await act(stranger, name, args(random)), 'NonceMismatch')

    const before = await holds()
    assert.equal(await act(stranger, name, args(good)), 'done')
    assert.equal((await holds()) - before, DEPOSIT)
    assert.equal((await state(channel))['payer'], payer.address)
    assert.equal(await act(stranger, name, args(good)), 'ChannelExists')
  })

  test('tops up by an authorization for that channel and that sum alone, once', async () => {
    const { channel, payer } = await open()
    const other = await open(DEPOSIT, ZERO, payer)
    const nonce = await read<Hex>('depositNonce', [channel, DEPOSIT])
    const good = await authorize(payer, nonce)
    const args = (id: Hex, one: Authorized, from = payer.address): readonly unknown[] => [
      id,
      one.value,
      from,
      ...signed(one),
    ]
    const name = 'topUpWithAuthorization'
    assert.equal(await act(stranger, name, args(other.channel, good)), 'NonceMismatch')
    const rich = await buyer()
    const foreign = await authorize(rich, nonce)
    assert.equal(await act(stranger, name, args(channel, foreign, rich.address)), 'NotPayer')
    assert.equal(await act(stranger, name, args(channel, good)), 'done')
    // Signed a second time, it is the same deposit.
    const twice = await authorize(payer, nonce, { value: 5n })
    for (const one of [good, twice])
      assert.equal(await act(stranger, name, args(channel, one)), 'NonceMismatch')
    assert.equal((await state(channel))['deposit'], DEPOSIT * 2n)
  })

  test('makes no channel for nobody, of nothing, or with splits', async () => {
    const payer = await buyer()
    await approve(payer, DEPOSIT)
    const make = (more: readonly unknown[]): Promise<string> => act(payer, 'open', more)
    assert.equal(await make([ZERO, usdc, DEPOSIT, salt(), ZERO, [], []]), 'PayeeInvalid')
    assert.equal(await make([payee.address, usdc, 0n, salt(), ZERO, [], []]), 'DepositInvalid')
    const split = [[stranger.address], [500]]
    assert.equal(await make([payee.address, usdc, 5n, salt(), ZERO, ...split]), 'SplitsUnsupported')
    assert.equal(
      await make([payee.address, usdc, 5n, salt(), ZERO, [], [500]]),
      'SplitsUnsupported',
    )
    // More than was approved, and a token that is none.
    assert.notEqual(await make([payee.address, usdc, DEPOSIT + 1n, salt(), ZERO, [], []]), 'done')
    for (const none of [stranger.address, escrow])
      assert.equal(await make([payee.address, none, 5n, salt(), ZERO, [], []]), 'TransferFailed')
    assert.equal(await make([payee.address, usdc, 5n, salt(), ZERO, [], []]), 'done')
  })

  test('is covered whatever a token does: keeps a part, lies, or calls back', async () => {
    const payer = await buyer()
    const token = (await chain.deploy(tax.bytecode)) as Address
    const taxed = tax.abi as unknown as ReturnType<typeof parseAbi>
    const tell = async (functionName: string, args: readonly unknown[]): Promise<void> => {
      const data = encodeFunctionData({ abi: taxed, functionName, args })
      await chain.send({ from: stranger.address, to: token, data })
    }
    await tell('mint', [payer.address, 1_000n])
    await tell('mint', [escrow, 1_000n])
    const chosen = salt()
    const args = [payee.address, token, 100n, chosen, ZERO, [], []]
    await tell('set', [1n, false, ZERO, '0x'])
    assert.equal(await act(payer, 'open', args), 'TransferFailed')
    await tell('set', [0n, true, ZERO, '0x'])
    assert.equal(await act(payer, 'open', args), 'TransferFailed')
    // Inside the first deposit a second one, whose money would be counted for both.
    const inner = encodeFunctionData({
      abi,
      functionName: 'open',
      args: [payee.address, token, 100n, salt(), ZERO, [], []],
    })
    await tell('set', [0n, false, escrow, inner])
    assert.equal(await act(payer, 'open', args), 'Reentered')
    await tell('set', [0n, false, ZERO, '0x'])
    assert.equal(await act(payer, 'open', args), 'done')
    const channel = await read<Hex>('computeChannelId', [
      payer.address,
      payee.address,
      token,
      chosen,
      ZERO,
    ])
    const owed = await voucher(payer, channel, 40n)
    const again = encodeFunctionData({ abi, functionName: 'close', args: [channel, 40n, owed] })
    await tell('set', [0n, false, escrow, again])
    assert.equal(await act(payee, 'close', [channel, 40n, owed]), 'Reentered')
    await tell('set', [0n, false, ZERO, '0x'])
    assert.equal(await act(payee, 'close', [channel, 40n, owed]), 'done')
  })
})
