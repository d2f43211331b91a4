import { type Item, numberOf, textsOf } from './item.ts'
import { partition, sort } from './key.ts'
import type { Table } from './table.ts'

/** How far a tenant's runs have been looked through for what expires. */
export interface Sweep {
  tenant: string
  /** The rules by which it was done, as text. */
  rules: string
  /** The run looked at last; '' at the beginning. */
  cursor: string
  /** Until then nobody else looks, ms since the epoch. */
  until: number
  /** Runs that could not be expired, how often in a row that was, and when it is tried again, ms since the epoch. */
  failing: readonly string[]
  tries: number
  againAt: number
  /** 0 where there was none. */
  version: number
}

/** One worker at a time looks through a tenant's runs, and the next goes on where it stopped. */
export interface Sweeps {
  of(tenant: string): Promise<Sweep>
  /** Replaces what was read; undefined where another was first. */
  save(sweep: Sweep): Promise<Sweep | undefined>
}

/** Also for what was saved before runs were tried again. */
const NONE = { rules: '[]', cursor: '', until: 0, failing: [], tries: 0, againAt: 0, version: 0 }

export function openSweeps(table: Table): Sweeps {
  const keyOf = (tenant: string) => ({ pk: partition(tenant, 'RETENTION'), sk: sort('SWEEP') })
  return {
    async of(tenant) {
      const { pk, sk } = keyOf(tenant)
      const item = await table.get(pk, sk)
      return readSweep(tenant, { ...NONE, ...item })
    },

    async save({ tenant, version, ...sweep }) {
      const next = { ...keyOf(tenant), ...sweep, version: version + 1 }
      const isSaved = await (version === 0 ? table.create(next) : table.replace(next, 'version', version))
      return isSaved ? readSweep(tenant, next) : undefined
    },
  }
}

function readSweep(tenant: string, item: Item): Sweep {
  return {
    ...{ tenant, rules: String(item.rules), cursor: String(item.cursor) },
    ...{ until: numberOf(item, 'until'), failing: textsOf(item, 'failing'), tries: numberOf(item, 'tries') },
    ...{ againAt: numberOf(item, 'againAt'), version: numberOf(item, 'version') },
  }
}
