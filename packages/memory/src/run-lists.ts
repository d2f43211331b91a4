import type { Run, RunStatus } from '@muster/protocol'
import { type Item, textsOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import type { Query } from './query.ts'

export interface ArchiveListOptions {
  /** Runs at most. */
  limit: number
  /** Only runs older than this run id. */
  before?: string | undefined
  status?: RunStatus | undefined
  /** Name of the agent or plan. */
  name?: string | undefined
  /** Code of the error with which it ended. */
  error?: string | undefined
  session?: string | undefined
  /** Who began it. */
  user?: string | undefined
}

/*
 * A run's summary stands in the list of all runs of its tenant, and what a list tells of it once more in that of who began it
 * and that of its session: a page of these reads no others. These items come after the summary and go before it, so no list
 * names a run that is not there.
 *
 * Each list is a partition, which takes 1,000 runs a second; none is given more than that of all. Names have at most 128
 * characters, so that they fit into a key, whatever they are.
 */

/** The list of all runs. */
export function allRuns(tenant: string): string {
  return partition(tenant, 'RUNS')
}

/** What a run's summary says of its other lists. The user as text: a name may be one that DynamoDB's own types do not hold. */
export function inLists({ tenant, session, by: { user } }: Run): { user: string; lists: string[] } {
  const lists = [userList(tenant, user), ...(session === undefined ? [] : [sessionList(tenant, session)])]
  return { user: JSON.stringify(user), lists }
}

/** The partitions of a run's other lists; none where it was archived before there were such lists. */
export function listsOf(summaryItem: Item): string[] {
  return summaryItem.lists === undefined ? [] : textsOf(summaryItem, 'lists')
}

export function listItems(summaryItem: Item): Item[] {
  const { sk, status, name, summary, user } = summaryItem
  return listsOf(summaryItem).map((pk) => ({ pk, sk, status, name, summary, user }))
}

/** The shortest list that has all of them, newest first. Whoever reads it looks at errors; with `since` it has `before`, too. */
export function listQuery(
  tenant: string,
  { limit, before, since, status, name, error, session, user }: ArchiveListOptions & { since?: string | undefined },
): Query {
  const where = {
    ...(status === undefined ? {} : { status }),
    ...(name === undefined ? {} : { name }),
    // A session may be of several; all in the list of a user are theirs.
    ...(user === undefined || session === undefined ? {} : { user: JSON.stringify(user) }),
  }
  const own = user === undefined ? allRuns(tenant) : userList(tenant, user)
  const isFiltered = Object.keys(where).length > 0 || error !== undefined
  return {
    pk: session === undefined ? own : sessionList(tenant, session),
    ...olderThan(before, since),
    descending: true,
    where,
    // With a filter the answer may need many more items than it has runs.
    ...(isFiltered ? {} : { page: limit }),
  }
}

function olderThan(before: string | undefined, since: string | undefined): Pick<Query, 'sk'> {
  if (since !== undefined)
    return { sk: { from: sort('RUN', since), to: before === undefined ? `RUN#${LAST}` : sort('RUN', before) } }
  return before === undefined ? {} : { sk: { below: sort('RUN', before) } }
}

function userList(tenant: string, user: string): string {
  return partition(tenant, 'RUNS', 'USER', user)
}

function sessionList(tenant: string, session: string): string {
  return partition(tenant, 'RUNS', 'SESSION', session)
}
