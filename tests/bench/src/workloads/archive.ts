import type { Bench } from '../bench.ts'
import { type Row, rowsOf } from '../row.ts'

/** How long a DynamoDB that is not on the same machine takes to answer, ms. */
const AWAY_MS = 5

/** A4: ended runs into the archive, with their items for lists and the audit search. */
export async function archiving(bench: Bench): Promise<Row[]> {
  const { place, admin } = await bench.place()
  const away = { ...place, dynamo: await bench.delayed(place.dynamo, AWAY_MS) }
  const start = async (name: string, on: typeof place, together: number) => ({
    name,
    child: await bench.start('archive', { ...on, together }),
    empty: admin,
  })
  const [many, one, manyAway, oneAway, raw] = await bench.rounds('A4', [
    await start('32 runs at once', place, 32),
    await start('one after the other', place, 1),
    await start(`32 runs at once, answers ${AWAY_MS} ms later`, away, 32),
    await start(`one after the other, answers ${AWAY_MS} ms later`, away, 1),
    { name: 'as many items by bare BatchWriteItem', child: await bench.start('raw-items', place) },
  ])
  await bench.stop()
  if (!many || !one || !manyAway || !oneAway || !raw) return []
  const what = { workload: 'A4', unit: 'runs/s' }
  return [...rowsOf(what, many, [one, raw]), ...rowsOf(what, manyAway, [oneAway])]
}
