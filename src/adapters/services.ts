import type { Credential } from '../core/credential.ts'
import type { Plan } from '../core/plan.ts'
import type {
  Ask,
  Asked,
  Bought,
  Fields,
  Gate,
  Mint,
  Protocol,
  Refusal,
  Service,
  Shop,
} from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import { refusePart, wholeOf } from './exchange.ts'

/** What services are given of a seller. */
export interface ShopParts {
  readonly gate: Pick<Gate, 'sell' | 'accounts' | 'refundRest'>
  readonly protocols: readonly Protocol[]
  readonly plans: ReadonlyMap<string, Plan>
  readonly mints: readonly Mint[]
}

/** A request to a service, as the door tells it. */
export interface Order extends Pick<
  Ask,
  'resource' | 'request' | 'idempotencyKey' | 'mayIssue' | 'statusUrl'
> {
  readonly fields: Fields
  readonly workMs: number
  /** Asked before a challenge is made for a request that pays nothing; what it gives is said instead. */
  readonly unpaid: () => Refusal | undefined
}

/** A request as it comes in at the door. */
interface Brought extends Pick<Asked, 'method' | 'target' | 'fields'> {
  readonly address?: string | undefined
  readonly body?: (bytesMax: number) => Promise<Uint8Array | string>
}

/** A shop that is open for one request, and what became of it. */
export interface OpenShop extends Shop {
  /** Who has read what the request brought, once that was asked for. */
  readonly by: Protocol | undefined
  /** What was sold. */
  readonly sold: Bought | undefined
}

/** The service that answers at a path. The first that names the path has it; whole paths come before what lies below others. */
export function createDirectory(
  services: readonly Service[],
): (path: string) => Service | undefined {
  const places = services.flatMap((service) => service.paths.map((path) => ({ path, service })))
  const whole = new Map(places.toReversed().map(({ path, service }) => [path, service]))
  const below = places.flatMap(({ path, service }) =>
    path.endsWith('/*') ? [{ root: path.slice(0, -1), service }] : [],
  )
  return (path) => whole.get(path) ?? below.find(({ root }) => path.startsWith(root))?.service
}

/** Opens the shop for a request. */
export function openShop(parts: ShopParts, order: Order): OpenShop {
  const { gate, protocols, plans, mints } = parts
  const { fields, workMs, unpaid, ...asked } = order
  const { resource } = asked
  let by: Protocol | undefined
  let sold: Bought | undefined
  let found: Promise<Credential | Problem | undefined> | undefined

  /** The first protocol that finds something of its own decides. */
  async function find(): Promise<Credential | Problem | undefined> {
    for (const protocol of protocols) {
      const credential = await protocol.readCredential(fields, resource)
      if (!credential) continue
      by = protocol
      return credential
    }
    return undefined
  }

  function refuse(brought: Credential | Problem, { name }: Plan): Refusal | undefined {
    // A session is no token: what tops one up must not be handed one for all of it.
    if ('session' in brought && brought.session) return { kind: 'refused', problem: elsewhere }
    if ('code' in brought || !brought.grant || !brought.offer) return undefined
    const why = refusePart(brought.grant, plans.get(name))
    return why && { kind: 'refused', problem: why }
  }

  const credential = (): Promise<Credential | Problem | undefined> => (found ??= find())

  return {
    resource,
    plans,
    mints,
    accounts: gate.accounts,
    credential,
    get by() {
      return by
    },
    get sold() {
      return sold
    },
    async read(token) {
      for (const mint of mints) {
        const grant = await mint.check(token)
        if (typeof grant === 'object') return grant
      }
      const shown = { get: (name: string) => (/^authorization$/i.test(name) ? token : undefined) }
      for (const protocol of protocols) {
        const found = await protocol.readCredential(shown, resource)
        if (found && !('code' in found)) return found.grant
      }
      return undefined
    },
    async buy(plan, into) {
      const brought = await credential()
      const stopped = brought ? refuse(brought, plan) : unpaid()
      if (stopped) return stopped
      const bought = await gate.sell({
        ...asked,
        sale: {
          prices: plan.prices,
          plan,
          settle: 'before-work',
          account: `sales/plans/${plan.name}`,
          description: `A token of the plan ${plan.name}`,
          workMs,
        },
        ...(brought && { credential: brought }),
        ...(into !== undefined && { into }),
      })
      if (bought.kind === 'bought') sold = bought
      return bought
    },
    whole: (grant) => wholeOf(grant, gate.accounts, plans),
    async giveBack({ id: account, plan }, to) {
      const terms = plans.get(plan)?.refund
      return terms && (await gate.refundRest({ account, terms, ...(to !== undefined && { to }) }))
    },
  }
}

/** A request as a service sees it. A body that is too long, or that broke off, has no text. */
export function askedOf({ method, target, fields, address, body }: Brought): Asked {
  return {
    method,
    target,
    fields,
    ...(address !== undefined && { address }),
    async text(bytesMax) {
      if (Number(fields.get('content-length') ?? 0) > bytesMax) return undefined
      const bytes = await body?.(bytesMax)
      return typeof bytes === 'string' ? undefined : Buffer.from(bytes ?? []).toString()
    },
  }
}

const elsewhere = problem(
  'credential-unsupported',
  'Sessions are opened, topped up and closed at the address that they are for. Nothing was taken.',
)
