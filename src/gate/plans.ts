import type { Grant } from '../core/credential.ts'
import type { Plan } from '../core/plan.ts'
import type { Ask, Sale } from '../core/ports.ts'
import type { Resource } from '../core/resource.ts'
import type { Rights } from '../core/rights.ts'

/** Below it stands what a payment for a plan is bound to. */
const PLANS_PATH = '/.well-known/tolsey/plans/'

/**
 * What offers of the sale are bound to: the request, or the plan, so that a token is good whichever route its payer was at.
 */
export function boundTo({ resource, sale: { plan }, into }: Ask): Resource {
  if (!plan) return resource
  const { digest: _, ...rest } = resource
  const path = `${PLANS_PATH}${plan.name}${into === undefined ? '' : `/${into}`}`
  return { ...rest, method: 'GET', path, query: '' }
}

/** What a token of the plan may do. The account knows its end, which is later than that of the offer. */
export function rightsOf({ name, rights }: Plan): Rights {
  return { services: [{ name, tier: 0 }], ...rights }
}

/** What a token of the plan is to say once it is paid. */
export function grantOf(plan: Plan, id: string, expiresAt: number): Grant {
  return { id, rights: { ...rightsOf(plan), expiresAt } }
}

/** Whether the sale can be had as a session: a balance that is drawn on by measure, and of which the rest goes back. */
export function isSession({ plan, measure }: Pick<Sale, 'plan' | 'measure'>): boolean {
  return plan?.balance !== undefined && plan.refund !== undefined && measure !== undefined
}
