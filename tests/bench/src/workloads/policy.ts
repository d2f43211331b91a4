import type { Bench } from '../bench.ts'
import { type Row, rowsOf } from '../row.ts'
import type { Sample } from '../subject.ts'

/** W6: one decision with 50 policies and labels in its context; and with what happened before in it too. */
export async function policy(bench: Bench): Promise<Row[]> {
  const start = async (name: string, mode: 'compiled' | 'history' | 'cedar', entities: 3 | 51) => ({
    name,
    child: await bench.start('policy', { mode, entities }),
  })
  const [compiled, history, all, few] = await bench.rounds('W6', [
    await start('compiled', 'compiled', 51),
    await start('compiled, 5 terms of history', 'history', 51),
    await start('cedar-wasm, 51 entities', 'cedar', 51),
    await start('cedar-wasm, the 3 entities asked about', 'cedar', 3),
  ])
  await bench.stop()
  if (!compiled || !history || !all || !few) return []
  const what = { workload: 'W6', unit: 'µs/decision', of: ({ elapsedMs, units }: Sample) => (elapsedMs / units) * 1000 }
  return [...rowsOf(what, compiled, [all, few]), ...rowsOf(what, history, [compiled])]
}
