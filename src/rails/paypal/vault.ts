import { createHmac, timingSafeEqual } from 'node:crypto'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import { checkSecret } from '../../core/mac.ts'
import { PaymentError } from '../../core/problem.ts'
import type { PayPalClient } from './client.ts'
import { unreachable } from './client.ts'
import { isHandle } from './forms.ts'

/** Payment methods that their owners keep with us: an agent pays with one where nobody can approve an order. */
export interface Vault {
  /**
   * Begins to keep a method: where its owner agrees to that, and comes back to us with the id.
   * @throws {PaymentError} when PayPal cannot be asked.
   */
  begin(
    returnUrl: string,
    cancelUrl: string,
  ): Promise<{ readonly setup: string; readonly approveUrl: string }>
  /**
   * Keeps the method whose owner has agreed, and makes the handle for it. Whoever has the handle can pay here by it, and nowhere
   * else.
   * @throws {PaymentError} when he has not, or PayPal cannot be asked.
   */
  keep(setup: string): Promise<string>
}

/** Handles of ours: PayPal's id of a method with a MAC, so that an id alone pays nothing. */
export interface Handles {
  write(source: string, id: string): string
  /** Undefined for a text that is no handle of ours. */
  read(handle: string): { readonly source: string; readonly id: string } | undefined
}

/**
 * Makes handles over a secret of at least 32 bytes.
 * @throws {RangeError} for a secret that must not be used.
 */
export function createHandles(secret: string): Handles {
  checkSecret(secret)
  const sign = (source: string, id: string): string =>
    createHmac('sha256', secret).update(`paypal-vault/${source}/${id}`).digest('base64url')
  return {
    write: (source, id) => `ppv_${source}_${id}_${sign(source, id)}`,
    read(handle) {
      if (!isHandle(handle)) return undefined
      const [, source = '', id = ''] = handle.split('_', 3)
      const given = Buffer.from(handle.slice(`ppv_${source}_${id}_`.length))
      const wanted = Buffer.from(sign(source, id))
      const isOurs = given.length === wanted.length && timingSafeEqual(given, wanted)
      return isOurs ? { source, id } : undefined
    },
  }
}

/** Makes the vault. */
export function createVault({ call }: Pick<PayPalClient, 'call'>, handles: Handles): Vault {
  return {
    async begin(returnUrl, cancelUrl) {
      const context = {
        return_url: returnUrl,
        cancel_url: cancelUrl,
        shipping_preference: 'NO_SHIPPING',
      }
      const answer = await call('POST', '/v3/vault/setup-tokens', {
        payment_source: { paypal: { usage_type: 'MERCHANT', experience_context: context } },
      })
      if (answer.kind !== 'done') throw unreachable(answer)
      const { id, links } = answer.object
      const approve = Array.isArray(links)
        ? (links as readonly unknown[]).filter(isObject).find(({ rel }) => rel === 'approve')?.[
            'href'
          ]
        : undefined
      if (typeof id === 'string' && typeof approve === 'string')
        return { setup: id, approveUrl: approve }
      throw new PaymentError('rail-unavailable', 'PayPal answers with something else.')
    },
    async keep(setup) {
      const source = { token: { id: setup, type: 'SETUP_TOKEN' } }
      const body: JsonObject = { payment_source: source }
      const answer = await call('POST', '/v3/vault/payment-tokens', body, `tolsey-keep-${setup}`)
      if (answer.kind !== 'done') throw unreachable(answer)
      const { id, payment_source: kept } = answer.object
      const [kind] = isObject(kept) ? Object.keys(kept) : []
      if (typeof id !== 'string' || kind === undefined)
        throw new PaymentError('rail-unavailable', 'PayPal answers with something else.')
      const handle = handles.write(kind, id)
      if (isHandle(handle)) return handle
      throw new PaymentError('rail-unavailable', 'PayPal names a payment method in an unknown way.')
    },
  }
}
