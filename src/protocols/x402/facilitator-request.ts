import { isObject } from '../../core/json.ts'
import type { Json } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Resource } from '../../core/resource.ts'
import { networkOf } from './networks.ts'
import { take } from './part.ts'
import type { Forms } from './part.ts'
import { FacilitatorRequest, PaymentPayloadV1, PaymentRequirementsV1, read } from './wire.ts'
import type { Version, Words } from './wire.ts'

/** A request to verify or settle, in our own values. */
export interface Order {
  readonly offer: Offer
  readonly proof: unknown
  /** How the answers go out. */
  readonly said: Said
}

/** How the request was put, so far as the answer has to be put in the same way. */
export interface Said {
  readonly version: Version
  /** The network by the name that the request gave it; empty if it gave none. */
  readonly network: string
}

/** Why a request is no order: x402's word for it, and a sentence. */
export interface Misread {
  readonly reason: string
  readonly why: string
  readonly said: Said
}

/** The latest moment that a date can name to us: what a server offered has its end in the proof. */
const NEVER = Number.MAX_SAFE_INTEGER

/** Reads the body of `/verify` or `/settle`, of either version. What the payer wrote beside its proof is not believed. */
export function readOrder(forms: Forms, body: Json | undefined): Order | Misread {
  if (!isObject(body)) return misread('invalid_payload', 'The body is not a JSON object.', nobody)
  const version = body['x402Version']
  if (version === 2) return readV2(forms, body)
  if (version === 1) return readV1(forms, body)
  return misread('invalid_x402_version', 'Versions 1 and 2 of x402 are spoken here.', nobody)
}

function readV2(forms: Forms, body: Json): Order | Misread {
  const request = read(FacilitatorRequest, body)
  if (!request.ok) return misread('invalid_payload', request.why, { version: 2, network: '' })
  const { paymentPayload: payload, paymentRequirements: wanted } = request.value
  const said: Said = { version: 2, network: wanted.network }
  const { scheme, network } = payload.accepted
  if (scheme !== wanted.scheme || network !== wanted.network)
    return misread('invalid_payment_requirements', 'The payment accepts another offer.', said)
  const { amount, asset, payTo, maxTimeoutSeconds } = wanted
  const rest = { scheme, network, amount, asset, payTo, maxTimeoutSeconds }
  const extra = (wanted.extra ?? {}) as Words['extra']
  return orderOf(forms, { ...rest, extra }, payload.payload, payload.resource?.url ?? '', said)
}

function readV1(forms: Forms, body: { readonly [key: string]: Json }): Order | Misread {
  const none: Said = { version: 1, network: '' }
  const payload = read(PaymentPayloadV1, body['paymentPayload'])
  if (!payload.ok) return misread('invalid_payload', payload.why, none)
  const wanted = read(PaymentRequirementsV1, body['paymentRequirements'])
  if (!wanted.ok) return misread('invalid_payment_requirements', wanted.why, none)
  const { scheme, network, asset, payTo, maxTimeoutSeconds, maxAmountRequired } = wanted.value
  const said: Said = { version: 1, network }
  if (payload.value.scheme !== scheme || payload.value.network !== network)
    return misread('invalid_payment_requirements', 'The payment accepts another offer.', said)
  const words = {
    ...{ scheme, network: networkOf(network), amount: maxAmountRequired, asset, payTo },
    maxTimeoutSeconds,
    extra: (wanted.value.extra ?? {}) as Words['extra'],
  }
  return orderOf(forms, words, payload.value.payload, wanted.value.resource, said)
}

function orderOf(
  forms: Forms,
  words: Words,
  payload: unknown,
  url: string,
  said: Said,
): Order | Misread {
  const taken = take(forms, words)
  if (typeof taken === 'string') return misread(reasonFor(forms, words), taken, said)
  const proof = taken.form.readProof(payload)
  if (typeof proof === 'string') return misread('invalid_payload', proof, said)
  const offer = { ...taken.terms, id: '', resource: resourceAt(url), expiresAt: NEVER }
  return { offer, proof, said }
}

/** The first thing that nobody here knows. */
function reasonFor(forms: Forms, { network, scheme }: Words): string {
  const on = forms.filter(({ networks }) => networks.includes(network))
  if (on.length === 0) return 'invalid_network'
  return scheme === 'exact' ? 'invalid_payment_requirements' : 'unsupported_scheme'
}

/** What was bought is the business of payer and seller: its address is kept for people. */
function resourceAt(url: string): Resource {
  return { realm: '', method: '', authority: '', path: '', query: '', url }
}

function misread(reason: string, why: string, said: Said): Misread {
  return { reason, why, said }
}

const nobody: Said = { version: 2, network: '' }
