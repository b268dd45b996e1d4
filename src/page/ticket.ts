import { Buffer } from 'node:buffer'
import type { Offer } from '../core/offer.ts'
import { readOffer, writeOffer } from '../core/offer.ts'
import type { JsonObject } from '../core/json.ts'
import { readJson } from '../core/json.ts'
import type { Pages, Protocol, Rail } from '../core/ports.ts'
import { problem } from '../core/problem.ts'

/** By which a page shows what it was told of a payment: the offer, sealed, and behind a point what the world calls the payment. */
export const TICKET_FIELD = 'Tolsey-Ticket'
/** Longest ticket, in characters. */
export const TICKET_CHARS_MAX = 4_096
/** Longest name of a payment, in characters. */
const NAME_CHARS_MAX = 128

/** What the tickets of a page are made of. */
export interface Tickets {
  /** Undefined where the rail cannot see by itself that an offer was paid. */
  write(offer: Offer): string | undefined
  /** The offer as the processor's part of the page begins its payment; undefined where nothing must be begun. */
  begin(offer: Offer): JsonObject | undefined
  readonly protocol: Protocol
}

/**
 * A ticket is an offer, sealed. It is written on one page, for one person, and nowhere else; it is not in what the person
 * pays by. So whoever shows it is whom the offer was made for, and what he cannot prove himself (who scans an invoice with his
 * phone has the preimage there, and not here) the rail is asked for.
 */
export function createTickets({ rails, seal, open }: Parameters<Pages>[0]): Tickets {
  const railOf = ({ rail, network }: Pick<Offer, 'rail' | 'network'>): Rail | undefined =>
    rails.find((one) => one.name === rail && one.network === network)

  function read(said: string): Omit<Offer, 'resource'> | undefined {
    const opened = open(Buffer.from(said, 'base64url'))
    const json = opened && readJson(Buffer.from(opened).toString(), TICKET_CHARS_MAX)
    return json === undefined ? undefined : readOffer(json)
  }

  return {
    write(offer) {
      if (!railOf(offer)?.seen) return undefined
      const { resource: _, invoice: __, ...rest } = writeOffer(offer)
      const sealed = seal(Buffer.from(JSON.stringify(rest)))
      const text = Buffer.from(sealed).toString('base64url')
      return text.length <= TICKET_CHARS_MAX - NAME_CHARS_MAX ? text : undefined
    },
    begin: (offer) => (railOf(offer)?.begin ? writeOffer(offer) : undefined),
    protocol: {
      name: 'page',
      fields: { request: [TICKET_FIELD], response: [] },
      writeChallenge: () => ({ fields: [] }),
      readChallenge: () => undefined,
      writeCredential: () => ({ fields: [] }),
      readCredential(fields, resource) {
        const said = fields.get(TICKET_FIELD)
        if (said === null || said === undefined) return undefined
        const [, ticket = '', name] = /^([\w-]+)(?:\.([\w-]{1,128}))?$/.exec(said) ?? []
        const found = said.length <= TICKET_CHARS_MAX ? read(ticket) : undefined
        const proof = found && railOf(found)?.seen?.(name)
        if (!found || proof === undefined) return garbled
        return { offer: { ...found, resource }, proof }
      },
      writeReceipt: () => ({ fields: [] }),
      readReceipt: () => undefined,
    },
  }
}

const garbled = problem(
  'proof-invalid',
  'The ticket was not written here, or not for this. Load the page anew.',
)
