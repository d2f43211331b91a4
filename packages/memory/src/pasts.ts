import type { Json } from '@muster/protocol'
import type { ContentKeys } from './content-keys.ts'
import { bytesOf, type Item, numberOf, textOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import { pack, unpack } from './packed.ts'
import { seal, unseal } from './sealed.ts'
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
   * at the same version again succeeds and changes nothing; `whose` is the subject that it is about.
   *
   * @throws MusterError `memory.unavailable`, or `memory.too_large`
   */
  append(tenant: string, session: string, version: number, id: string, deeds: Deeds, whose?: string): Promise<boolean>
  /** Takes out what a run has done. */
  erase(tenant: string, session: string, run: string): Promise<void>
}

export function openPasts(table: Table, keys: ContentKeys): Pasts {
  const partitionOf = (tenant: string, session: string) => partition(tenant, 'PAST', session)
  const placeOf = (tenant: string, session: string, item: Item) => [tenant, 'PAST', session, String(item.version)]

  /** Nothing where it was erased. */
  async function eventsOf(tenant: string, session: string, item: Item): Promise<Json[]> {
    if (item.events === undefined) return []
    const bytes = bytesOf(item, 'events')
    if (item.key === undefined) return unpack<Json[]>(bytes)
    const key = await keys.find(tenant, textOf(item, 'key'))
    return key ? unpack<Json[]>(unseal(key, placeOf(tenant, session, item), bytes)) : []
  }

  return {
    async read(tenant, session, version = 0) {
      const deeds: Deeds[] = []
      const sk = { from: sort('PAST', version + 1), to: sort('PAST', LAST) }
      for await (const item of table.query({ pk: partitionOf(tenant, session), sk })) {
        version = numberOf(item, 'version')
        deeds.push({ run: textOf(item, 'run'), events: await eventsOf(tenant, session, item) })
      }
      return { version, deeds }
    },

    async append(tenant, session, version, id, { run, events }, whose) {
      const [pk, sk] = [partitionOf(tenant, session), sort('PAST', version + 1)]
      const [{ name, key }, packed] = await Promise.all([keys.current(tenant, whose), pack(events)])
      const item = { pk, sk, version: version + 1, id, run, key: name }
      if (await table.create({ ...item, events: seal(key, placeOf(tenant, session, item), packed) })) return true
      const taken = await table.get(pk, sk)
      return taken !== undefined && textOf(taken, 'id') === id
    },

    async erase(tenant, session, run) {
      for await (const item of table.query({ pk: partitionOf(tenant, session), where: { run } })) {
        const { events, key: _key, ...rest } = item
        if (events !== undefined) await table.put(rest)
      }
    },
  }
}
