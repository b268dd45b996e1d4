import type { Seller } from '../adapters/http.ts'
import type { Observe } from '../core/event.ts'
import type { Ask, Fields, Gate, Protocol, Read } from '../core/ports.ts'
import type { Resource } from '../core/resource.ts'

/** What became known of a request while it went through the door. */
export interface Paid {
  /** The request's id. */
  readonly request: string
  /** What let it in. */
  readonly by: Protocol
  key?: string
  payer?: string
  account?: string
  plan?: string
  /** Whether the answer is held until it is whole, to be kept. */
  readonly keeps: boolean
}

/** Watches what passes through a seller's gate, so that a request's upstream can be told who has paid for it. */
export interface Watch {
  /** Told of the gate's events. */
  readonly observe: Observe
  /** The same seller, watched. */
  seller<S extends Seller>(seller: S): S
  /** The same fields, by which the request will be known. */
  bring(fields: Fields): Brought
}

/** The fields of a request, and what became known of it. */
export interface Brought extends Fields {
  /** Undefined where nothing was paid. */
  paid: Paid | undefined
}

class BroughtFields implements Brought {
  paid: Paid | undefined = undefined
  readonly #fields: Fields
  constructor(fields: Fields) {
    this.#fields = fields
  }
  get(name: string): string | null | undefined {
    return this.#fields.get(name)
  }
}

/** Who has read a credential in which fields, for which resource. */
interface Found {
  readonly resource: Resource
  readonly fields: BroughtFields
  readonly by: Protocol
}

/** Makes a watch. A request is known by its fields, of which every request has its own, and at the gate by its resource. */
export function createWatch(): Watch {
  const found = new WeakMap<Resource, Found>()
  const asking = new Map<string, Paid>()
  /** What was read last is mostly asked for next, so only what is not goes where it costs something to keep it. */
  let last: Found | undefined

  function remember(one: Found): void {
    if (last) found.set(last.resource, last)
    last = one
  }

  function take(resource: Resource): Found | undefined {
    if (last?.resource !== resource) return found.get(resource)
    const one = last
    last = undefined
    return one
  }

  function watchProtocol(protocol: Protocol): Protocol {
    const told = (read: Read, fields: Fields, resource: Resource): Read => {
      if (read && fields instanceof BroughtFields) remember({ resource, fields, by: protocol })
      return read
    }
    return {
      ...protocol,
      readCredential(fields, resource) {
        const read = protocol.readCredential(fields, resource)
        return read instanceof Promise
          ? read.then((later) => told(later, fields, resource))
          : told(read, fields, resource)
      },
    }
  }

  function begin(ask: Ask): Paid | undefined {
    const { credential } = ask
    if (!credential || 'code' in credential) return undefined
    const who = take(ask.resource)
    if (!who) return undefined
    const { grant } = credential
    const plan = ask.sale.plan?.name ?? grant?.rights.services?.[0]?.name
    const said: Paid = {
      request: ask.request,
      by: who.by,
      keeps: ask.sale.keep === true,
      ...(grant && { account: grant.id }),
      ...(plan !== undefined && { plan }),
    }
    who.fields.paid = said
    return said
  }

  function watchGate(gate: Gate): Gate {
    const admitNow = gate.admitNow && ((ask: Ask) => gate.admitNow?.(ask))
    return {
      ...gate,
      async admit(ask) {
        const said = begin(ask)
        if (said) asking.set(ask.request, said)
        try {
          const entry = await gate.admit(ask)
          if (said && entry.kind === 'pass') said.key = entry.key
          return entry
        } finally {
          asking.delete(ask.request)
        }
      },
      ...(admitNow && {
        admitNow(ask: Ask) {
          const pass = admitNow(ask)
          // What is not let in now is asked for again.
          const said = pass && begin(ask)
          if (said) said.key = pass.key
          return pass
        },
      }),
    }
  }

  return {
    observe(event) {
      if (event.type !== 'held') return
      const said = asking.get(event.request ?? '')
      if (said) said.payer = event.payer
    },
    seller: (seller) => ({
      ...seller,
      gate: watchGate(seller.gate),
      protocols: seller.protocols.map(watchProtocol),
    }),
    bring: (fields) => new BroughtFields(fields),
  }
}
