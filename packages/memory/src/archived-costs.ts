import { type CostLine, costLine, type Run } from '@muster/protocol'
import { type Item, textOf } from './item.ts'
import { laterThan } from './key.ts'
import type { Table } from './table.ts'

/** What the calls of an archived run have cost; undefined where only its journal says it, which a removed run has not. */
export interface ArchivedCosts {
  run: string
  costs: CostLine[] | undefined
}

const PAGE = 500
/** A run that has more, by days and models, is looked up in its journal: an item has its limits. */
const BYTES_MAX = 200_000

const lines = costLine.array()

export function costsItem(costs: readonly CostLine[] | undefined): { costs?: readonly CostLine[] } {
  return costs === undefined || Buffer.byteLength(JSON.stringify(costs)) > BYTES_MAX ? {} : { costs }
}

/** What an item says of them. Of those from before keys were told of, the run beside them says by which it began. */
export function costsOf({ costs, ...item }: Item): CostLine[] | undefined {
  if (costs === undefined) return undefined
  const found = lines.parse(costs)
  if (item.rest === undefined || found.every(({ names }) => names.key !== '')) return found
  const { by }: Partial<Run> = JSON.parse(textOf(item, 'rest')) // as it was put
  return found.map((line) => ({ ...line, names: { ...line.names, key: by?.key ?? '' } }))
}

/** Runs of both partitions in their order, each once. */
export async function* archivedCosts(
  table: Table,
  { there, gone }: { there: string; gone: string },
  after: string | undefined,
): AsyncGenerator<ArchivedCosts> {
  for (let from = after; ; ) {
    const page = async (pk: string) => {
      const items: Item[] = []
      for await (const item of table.query({ pk, ...laterThan(from), page: PAGE })) {
        items.push(item)
        if (items.length === PAGE) break
      }
      return items
    }
    // In this order: what is removed in between is noted before it goes.
    const pages = [await page(there), await page(gone)] as const
    const ends = pages.flatMap((items) => (items.length === PAGE ? [idOf(items.at(-1))] : []))
    const until = ends.sort()[0]
    const found = new Map(pages.flat().map((item) => [idOf(item), item]))
    for (const [run, item] of [...found].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (until !== undefined && run > until) break
      yield { run, costs: costsOf(item) }
    }
    if (until === undefined) return
    from = until
  }
}

function idOf(item: Item | undefined): string {
  return item === undefined ? '' : textOf(item, 'sk').slice('RUN#'.length)
}
