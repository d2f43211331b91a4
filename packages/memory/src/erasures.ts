import { type Erasure, erasure, type Hold, hold, MusterError } from '@muster/protocol'
import { type Item, numberOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import type { Table } from './table.ts'

/** An erasure that somebody carries on. */
export interface OpenErasure {
  tenant: string
  erasure: Erasure
  version: number
  /** Until then another has it, ms since the epoch. */
  until: number
}

/** So many of a list, the newest first; those that are older than the one with this id. */
interface Newest {
  limit: number
  before?: string | undefined
}

/** What tenants have asked to be erased. One that is not done lies where every worker finds it. */
export interface Erasures {
  create(tenant: string, made: Erasure): Promise<void>
  /** Those of all tenants that are not done. */
  open(): Promise<OpenErasure[]>
  openOf(tenant: string): Promise<OpenErasure[]>
  /** Replaces what was read; undefined where another was first. */
  save(open: OpenErasure): Promise<OpenErasure | undefined>
  /** Puts it where those lie that are done. */
  close(open: OpenErasure): Promise<void>
  list(tenant: string, page: Newest): Promise<Erasure[]>
  /** @throws MusterError `erasure.not_found` */
  get(tenant: string, id: string): Promise<Erasure>
}

/** What is neither erased nor expires. */
export interface Holds {
  place(tenant: string, made: Hold): Promise<void>
  /** Takes back one that was refused. */
  remove(tenant: string, id: string): Promise<void>
  /** All, those that were lifted too, the newest first. */
  list(tenant: string): Promise<Hold[]>
  page(tenant: string, page: Newest): Promise<Hold[]>
  /** @throws MusterError `hold.not_found` where it is not there, or is lifted */
  lift(tenant: string, id: string, lifted: NonNullable<Hold['lifted']>): Promise<Hold>
}

/** A tenant has a name: this is of none. */
const OPEN = partition('', 'ERASURES')

export function openErasures(table: Table): Erasures {
  const doneOf = (tenant: string) => partition(tenant, 'ERASURES')
  const itemOf = ({ tenant, erasure: made, version, until }: OpenErasure): Item => ({
    ...{ pk: OPEN, sk: sort('ERASURE', tenant, made.id), version, until },
    content: JSON.stringify({ tenant, erasure: made }),
  })
  const openOf = async (tenant?: string): Promise<OpenErasure[]> => {
    const prefix = tenant === undefined ? 'ERASURE#' : `${sort('ERASURE', tenant)}#`
    return (await Array.fromAsync(table.query({ pk: OPEN, sk: { prefix } }))).map(readOpen)
  }
  return {
    async create(tenant, made) {
      await table.create(itemOf({ tenant, erasure: made, version: 1, until: 0 }))
    },

    open: () => openOf(),

    openOf,

    async save(open) {
      const next = { ...open, version: open.version + 1 }
      return (await table.replace(itemOf(next), 'version', open.version)) ? next : undefined
    },

    async close({ tenant, erasure: made }) {
      const sk = sort('ERASURE', made.id)
      await table.put({ pk: doneOf(tenant), sk, content: JSON.stringify(made) })
      await table.remove(OPEN, sort('ERASURE', tenant, made.id))
    },

    async list(tenant, page) {
      // In this order: one that is done meanwhile is in the second.
      const open = await newest(table, { pk: OPEN, prefix: `${sort('ERASURE', tenant)}#` }, page)
      const done = await newest(table, { pk: doneOf(tenant), prefix: 'ERASURE#' }, page)
      const all = [
        ...open.map((item) => readOpen(item).erasure),
        ...done.map(({ content }) => erasure.parse(JSON.parse(String(content)))),
      ]
      const byId = new Map(all.map((one) => [one.id, one]))
      return [...byId.values()].sort((one, other) => (one.id < other.id ? 1 : -1)).slice(0, page.limit)
    },

    async get(tenant, id) {
      // In this order: it is done once it is no longer open, as runs are refused until then.
      const open = await table.get(OPEN, sort('ERASURE', tenant, id))
      if (open) return readOpen(open).erasure
      const item = await table.get(doneOf(tenant), sort('ERASURE', id))
      if (item) return erasure.parse(JSON.parse(String(item.content)))
      throw new MusterError('erasure.not_found', `There is no erasure ${id.slice(0, 64)}`)
    },
  }
}

function readOpen(item: Item): OpenErasure {
  const { tenant, erasure: made } = JSON.parse(String(item.content))
  return {
    ...{ tenant, erasure: erasure.parse(made) },
    ...{ version: numberOf(item, 'version'), until: numberOf(item, 'until') },
  }
}

export function openHolds(table: Table): Holds {
  const holdsOf = (tenant: string) => partition(tenant, 'HOLDS')
  const itemOf = (tenant: string, made: Hold): Item => ({
    ...{ pk: holdsOf(tenant), sk: sort('HOLD', made.id), version: made.lifted ? 2 : 1 },
    content: JSON.stringify(made),
  })
  return {
    async place(tenant, made) {
      await table.create(itemOf(tenant, made))
    },

    async remove(tenant, id) {
      await table.remove(holdsOf(tenant), sort('HOLD', id))
    },

    async list(tenant) {
      const items = await Array.fromAsync(table.query({ pk: holdsOf(tenant), descending: true }))
      return items.map(({ content }) => hold.parse(JSON.parse(String(content))))
    },

    async page(tenant, page) {
      const items = await newest(table, { pk: holdsOf(tenant), prefix: 'HOLD#' }, page)
      return items.map(({ content }) => hold.parse(JSON.parse(String(content))))
    },

    async lift(tenant, id, lifted) {
      const item = await table.get(holdsOf(tenant), sort('HOLD', id))
      const made = item && { ...hold.parse(JSON.parse(String(item.content))), lifted }
      // Of several that lift it the first has said why.
      if (made && (await table.replace(itemOf(tenant, made), 'version', 1))) return made
      throw new MusterError('hold.not_found', `There is no hold ${id.slice(0, 64)}, or it is lifted`)
    },
  }
}

/** Of items whose sort keys end with their ids, which are in the order of time. */
async function newest(
  table: Table,
  { pk, prefix }: { pk: string; prefix: string },
  { limit, before }: Newest,
): Promise<Item[]> {
  const found: Item[] = []
  const last = `${prefix}${before ?? LAST}`
  for await (const item of table.query({ pk, sk: { from: prefix, to: last }, descending: true, page: limit + 1 })) {
    if (item.sk === last) continue
    found.push(item)
    if (found.length === limit) break
  }
  return found
}
