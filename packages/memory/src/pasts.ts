import type { Json } from '@muster/protocol'
import { bytesOf, numberOf, textOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import type { Table } from './table.ts'

/** What one run of a session did, one thing after the other. */
export interface Deeds {
  run: string
  events: Json[]
}

/** What the runs of a session have done, in one order for all of them, for policies that ask. */
export interface Pasts {
  /**
   * What came after the `version`th append, and how many there are by now.
   *
   * @throws MusterError `memory.unavailable`
   */
  read(tenant: string, session: string, version?: number): Promise<{ version: number; deeds: Deeds[] }>
  /**
   * Appends after `version` appends; false where there are more by now, of which the run should know first. The same `id`
   * at the same version again succeeds and changes nothing.
   *
   * @throws MusterError `memory.unavailable`, or `memory.too_large`
   */
  append(tenant: string, session: string, version: number, id: string, deeds: Deeds): Promise<boolean>
}

export function openPasts(table: Table): Pasts {
  const partitionOf = (tenant: string, session: string) => partition(tenant, 'PAST', session)
  return {
    async read(tenant, session, version = 0) {
      const deeds: Deeds[] = []
      const sk = { from: sort('PAST', version + 1), to: sort('PAST', LAST) }
      for await (const item of table.query({ pk: partitionOf(tenant, session), sk })) {
        version = numberOf(item, 'version')
        deeds.push({ run: textOf(item, 'run'), events: await unpack<Json[]>(bytesOf(item, 'events')) })
      }
      return { version, deeds }
    },

    async append(tenant, session, version, id, { run, events }) {
      const [pk, sk] = [partitionOf(tenant, session), sort('PAST', version + 1)]
      const item = { pk, sk, version: version + 1, id, run, events: await pack(events) }
      if (await table.create(item)) return true
      const taken = await table.get(pk, sk)
      return taken !== undefined && textOf(taken, 'id') === id
    },
  }
}
