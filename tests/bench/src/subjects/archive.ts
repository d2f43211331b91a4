import { BatchWriteItemCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { newId } from '@muster/protocol'
import { archiveRuns } from '@muster/runtime'
import type { Place, Subject, Task } from '../subject.ts'
import { benchApp } from './app.ts'
import { enqueue, followEnds, openMuster } from './muster.ts'

/** Runs that are made, by a worker without an archive, before each sample. */
const RUNS = 1000
/** Items that an archived run of one step has, and how long they are in the mean. */
const ITEMS = { each: 11, bytes: 450 }
const BATCH_MAX = 25

/** Archives ended runs of one step, so many at once. */
export async function archive({ together, ...place }: Place & { together: number }): Promise<Subject> {
  const app = benchApp()
  const { journal, memory, start, close } = await openMuster(place, `bench-archive-${together}`, app)

  /** The ids of runs that have just ended. */
  async function made(count: number): Promise<string[]> {
    const runs: string[] = []
    const all = Promise.withResolvers<void>()
    const ends = followEnds(journal, (ended) => {
      runs.push(...ended)
      if (runs.length >= count) all.resolve()
    })
    const worker = await start(100, 'ahead')
    await enqueue(journal, memory, app, 'one', count)
    await all.promise
    await worker.close()
    ends.close()
    await journal.redis.xtrim(journal.partitions[0].keys.ended, 'MAXLEN', 0)
    return runs
  }

  const stores = { journal, memory, providerOf: () => '' }
  return {
    async run({ ms }: Task, meter) {
      let units = 0
      let elapsedMs = 0
      const runs = await made(RUNS)
      meter.begin()
      const began = performance.now()
      while (elapsedMs < ms && units < runs.length) {
        const some = runs.slice(units, units + together)
        for (const result of await archiveRuns(stores, some, 0)) if (result.status === 'rejected') throw result.reason
        units += some.length
        elapsedMs = performance.now() - began
      }
      meter.end()
      for (const run of runs.slice(units)) await journal.expire(run, 'bench', 0)
      return { units, elapsedMs }
    },
    close,
  }
}

/** As many items as the archived runs have, written by the SDK alone. */
export async function rawItems({ dynamo }: Place): Promise<Subject> {
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' }
  const client = new DynamoDBClient({ endpoint: dynamo, region: 'local', credentials })
  const data = { S: 'x'.repeat(ITEMS.bytes) }
  const batch = () =>
    client.send(
      new BatchWriteItemCommand({
        RequestItems: {
          bench: Array.from({ length: BATCH_MAX }, () => ({
            PutRequest: { Item: { pk: { S: newId() }, sk: { S: 'RAW' }, data } },
          })),
        },
      }),
    )
  return {
    async run({ ms }: Task) {
      let items = 0
      let elapsedMs = 0
      const began = performance.now()
      while (elapsedMs < ms) {
        await Promise.all(Array.from({ length: 16 }, batch))
        items += 16 * BATCH_MAX
        elapsedMs = performance.now() - began
      }
      return { units: items / ITEMS.each, elapsedMs }
    },
    async close() {
      client.destroy()
    },
  }
}
