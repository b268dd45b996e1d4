import type { JsonObject } from '../core/json.ts'
import type { Clock, Rail } from '../core/ports.ts'
import type { Hub, Told } from './hub.ts'
import type { AdminShop } from './shop.ts'

/** How long a look at a rail may take. */
export const PROBE_MS = 5_000
/** How long what was seen is said again: every open page asks. */
export const PROBE_FRESH_MS = 15_000

/** How the rails are. */
export interface Health {
  read(shop: AdminShop): Promise<JsonObject>
  close(): void
}

interface Heard {
  lastSettledAt?: number
  settled: number
}

interface Seen {
  readonly at: number
  readonly trouble: Promise<string | undefined>
}

/** Makes it: what a look finds, where one can be had, and what was heard of each rail since the start. */
export function createHealth(hub: Hub, clock: Clock): Health {
  const heard = new Map<string, Heard>()
  const looks = new WeakMap<Rail, Seen>()
  let faults = 0
  let lastFault: { readonly at: number; readonly where: string } | undefined

  function hear({ event }: Told): void {
    if (event.type === 'fault') {
      faults++
      lastFault = { at: event.at, where: event.where }
    }
    if (event.type !== 'settled') return
    const name = nameOf(event.rail ?? '', event.network ?? '')
    const { settled = 0 } = heard.get(name) ?? {}
    heard.set(name, { settled: settled + 1, lastSettledAt: event.at })
  }
  const deafen = hub.listen(hear)

  function look(rail: Rail, probe: NonNullable<AdminShop['probe']>): Promise<string | undefined> {
    const before = looks.get(rail)
    if (before && clock.now() - before.at < PROBE_FRESH_MS) return before.trouble
    const done = new AbortController()
    const late = clock.sleep(PROBE_MS, done.signal).then(() => 'It did not answer in time.')
    const found = Promise.race([probe(rail), late])
      // What went wrong may name an address of ours.
      .catch(() => 'It cannot be reached. The log says why.')
      .finally(() => done.abort('done'))
    looks.set(rail, { at: clock.now(), trouble: found })
    return found
  }

  return {
    async read({ rails, probe }) {
      const said = rails.map(async (rail): Promise<JsonObject> => {
        const { name, network } = rail
        const { settled = 0, lastSettledAt } = heard.get(nameOf(name, network)) ?? {}
        const trouble = probe && (await look(rail, probe))
        const state = probe ? (trouble === undefined ? 'good' : 'bad') : 'not looked at'
        return {
          name,
          network,
          state,
          ...(trouble !== undefined && { trouble }),
          settled,
          ...(lastSettledAt !== undefined && {
            lastSettled: new Date(lastSettledAt).toISOString(),
          }),
          refunds: rail.refund !== undefined,
        }
      })
      return {
        rails: await Promise.all(said),
        since: new Date(hub.epoch).toISOString(),
        ...hub.counts(),
        faults,
        ...(lastFault && {
          lastFault: { time: new Date(lastFault.at).toISOString(), where: lastFault.where },
        }),
      }
    },
    close: () => deafen?.(),
  }
}

function nameOf(rail: string, network: string): string {
  return `${rail} ${network}`
}
