import {
  type CostLine,
  type Erased,
  isEnded,
  MusterError,
  type Run,
  runSummary,
  type StoredEntry,
} from '@muster/protocol'
import { costsItem } from './archived-costs.ts'
import type { ContentKeys } from './content-keys.ts'
import { digestOf } from './digest.ts'
import { type Item, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import { pack } from './packed.ts'
import { piecesOf } from './pieces.ts'
import { allRuns, inLists, listItems } from './run-lists.ts'
import { seal } from './sealed.ts'
import { lastSeq, requireOrder, segmentsOf } from './segment.ts'
import { each, fulfilled, type Settled, together } from './settled.ts'
import type { Place, Table } from './table.ts'

/** An ended run, its journal, and what its calls have cost. */
export interface ArchivePut {
  tenant: string
  run: Run
  entries: readonly StoredEntry[]
  costs?: readonly CostLine[] | undefined
}

/** What is written of a run; no contents where its summary is there. */
interface Draft {
  contents: Item[]
  summary: Item
  isThere: boolean
}

/** Runs of which something is done at once that is of each alone. */
const RUNS_MAX = 32
/** A tenant has a name: this is of none. */
export const TENANTS = partition('', 'TENANTS')

/** Puts runs into the archive, each for itself: see `archive.ts`. What is not on a condition shares requests. */
export function openArchivePuts(
  table: Table,
  keys: ContentKeys,
): (puts: readonly ArchivePut[]) => Promise<Settled<void>[]> {
  const noted = new Map<string, Promise<void>>()

  /** Once for each process and tenant. */
  async function note(tenant: string): Promise<void> {
    const known = noted.get(tenant)
    if (known) return known
    const noting = table.put({ pk: TENANTS, sk: sort('TENANT', tenant), name: JSON.stringify(tenant) })
    noted.set(tenant, noting)
    noting.catch(() => noted.delete(tenant))
    return noting
  }

  async function draftOf({ tenant, run, entries, costs }: ArchivePut, place: Place): Promise<Draft> {
    const { input, plan, output, ...bare } = run
    const [whole, segments, key] = await Promise.all([
      pack({ input, plan, output }),
      segmentsOf(entries),
      keys.ofRun({ tenant, run: run.id, subject: run.subject }),
      note(tenant),
    ])
    const sealed = (what: string, content: Uint8Array | undefined) =>
      key && content ? [seal(key, [tenant, run.id, what], content)] : []
    const parts = [
      ...sealed('run', whole).map((content) => ({ place: ['WHOLE'] as const, last: [], content })),
      ...segments.flatMap(({ last, entries, contents }) => [
        { place: ['SEGMENT'] as const, last: [last], content: entries },
        ...sealed(String(last), contents).map((content) => ({ place: ['CONTENT'] as const, last: [last], content })),
      ]),
    ]
    const set = digestOf(parts.map(({ content }) => content))
    const pk = partition(tenant, 'RUN', run.id)
    const { sk } = place
    const { subject } = run
    const summary = runSummary.parse(run)
    const rest = Object.fromEntries(Object.entries(bare).filter(([name]) => !Object.hasOwn(summary, name)))
    return {
      isThere: false,
      contents: [
        ...parts.flatMap(({ place: [kind], last, content }) => piecesOf(pk, [kind, set, ...last], content)),
        ...(subject === undefined ? [] : [{ pk: partition(tenant, 'SUBJECT', subject), sk, run: run.id }]),
      ],
      summary: {
        ...place,
        status: run.status,
        name: run.name,
        summary,
        ...inLists(run),
        // As text: it may have what DynamoDB's own types do not hold.
        rest: JSON.stringify(rest),
        set,
        last: lastSeq(entries),
        ...costsItem(costs),
        // Its key was destroyed before it came here.
        ...(key ? {} : { erased: { at: run.endedAt ?? run.createdAt, by: 'erasure' } satisfies Erased }),
      },
    }
  }

  /** Puts the summary where there is none; gives the items of the lists of that which stands. */
  async function finish({ summary, isThere }: Draft): Promise<Item[]> {
    // Whoever has put it there may have died before it was in its lists.
    if (isThere || (await table.create(summary))) return listItems(summary)
    const first = await table.get(textOf(summary, 'pk'), textOf(summary, 'sk'))
    return first ? listItems(first) : []
  }

  // One that is named twice is put by two at once, as by two archivers.
  return async (puts) => {
    const right = await each(RUNS_MAX, puts.map(fulfilled), async (put) => {
      requirePut(put)
      return { put, pk: allRuns(put.tenant), sk: sort('RUN', put.run.id) }
    })
    const looked = await together(right, async (all) => (await table.getAll(all)).map(fulfilled))
    const drafts = await each(RUNS_MAX, looked, async ([{ put, pk, sk }, there]) =>
      there ? { contents: [], summary: there, isThere: true } : draftOf(put, { pk, sk }),
    )
    const filled = await together(drafts, (all) => table.putGroups(all, ({ contents }) => contents))
    const lists = await each(RUNS_MAX, filled, finish)
    const listed = await together(lists, (all) => table.putGroups(all, (items) => items))
    return each(RUNS_MAX, listed, async () => undefined)
  }
}

/** @throws MusterError `internal`, `journal.corrupt` */
function requirePut({ tenant, run, entries }: ArchivePut): void {
  if (!isEnded(run.status)) throw new MusterError('internal', `The run ${run.id} is ${run.status}: not to be archived`)
  if (run.tenant !== tenant) throw new MusterError('internal', `The run ${run.id} belongs to another tenant`)
  requireOrder(entries)
}
