import type { Json } from '@muster/protocol'
import { bytesOf, numberOf, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import { putAll } from './pieces.ts'
import type { Table } from './table.ts'

/** What the runs of a session have done, for policies that ask. */
export interface Pasts {
  /**
   * Of each run what was put last, in the order in which the runs began.
   *
   * @throws MusterError `memory.unavailable`
   */
  read(tenant: string, session: string): Promise<{ run: string; events: Json[] }[]>
  /**
   * Stores what a run has done: all of it, which begins with what was put before.
   *
   * @throws MusterError `memory.unavailable`; `memory.too_large` where the session's name is too long for a key
   */
  put(tenant: string, session: string, run: string, events: readonly Json[]): Promise<void>
}

/** Events of one item: far below what it may hold. */
const CHUNK = 250

export function openPasts(table: Table): Pasts {
  const partitionOf = (tenant: string, session: string) => partition(tenant, 'PAST', session)
  return {
    async read(tenant, session) {
      const pasts: { run: string; events: Json[] }[] = []
      for await (const item of table.query({ pk: partitionOf(tenant, session) })) {
        const run = textOf(item, 'run')
        let past = pasts.at(-1)
        if (past?.run !== run) {
          past = { run, events: [] }
          pasts.push(past)
        }
        // A chunk behind one that is not full is from before that grew: what lies between comes with it.
        if (past.events.length === numberOf(item, 'n') * CHUNK)
          past.events.push(...(await unpack<Json[]>(bytesOf(item, 'events'))))
      }
      return pasts
    },

    async put(tenant, session, run, events) {
      const pk = partitionOf(tenant, session)
      const chunks = Array.from({ length: Math.ceil(events.length / CHUNK) }, (_, n) => n)
      const items = chunks.map(async (n) => ({
        ...{ pk, sk: sort('RUN', run, n), run, n },
        events: await pack(events.slice(n * CHUNK, (n + 1) * CHUNK)),
      }))
      await putAll(table, await Promise.all(items))
    },
  }
}
