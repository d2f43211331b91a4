import type { Bench } from '../bench.ts'
import { figure, type Measured, median, type Row, rate, rowsOf } from '../row.ts'
import { CHAIN } from '../subjects/app.ts'

const workload = 'W4'
const inFlight = 100

/** W4: W1 with `read` effects: intent, barrier, outcome; then the latency that each step adds at half of that rate. */
export async function effects(bench: Bench): Promise<Row[]> {
  const { leadMs } = bench
  const { place, admin: empty } = await bench.place()
  const muster = (plan: 'read' | 'read-code') => bench.start('muster', { ...place, plan, inFlight, outcomes: 'ahead' })
  const contenders = [
    { name: 'plan as data', child: await muster('read'), empty },
    { name: 'plan as code', child: await muster('read-code'), empty },
    { name: 'BullMQ, one job per step', child: await bench.start('bullmq-chain', { ...place, inFlight }), empty },
  ]
  const full = await bench.rounds(workload, contenders, { leadMs })
  const half: Measured[] = []
  for (const [i, contender] of contenders.entries()) {
    const runsPerS = median(full[i]?.samples.map(rate) ?? []) / CHAIN / 2
    half.push(...(await bench.rounds(`${workload} half load`, [contender], { runsPerS, leadMs })))
  }
  await bench.stop()
  const rows: Row[] = []
  const [, , fullReference] = full
  const [, , halfReference] = half
  if (!fullReference || !halfReference) return rows
  for (const subject of full.slice(0, 2)) rows.push(...rowsOf({ workload, unit: 'steps/s' }, subject, [fullReference]))
  for (const subject of half.slice(0, 2)) {
    for (const p of ['p50', 'p99']) {
      const variant = `${subject.name}, ${p} of a step at half load`
      const of = figure(`${p}Ms`)
      rows.push(...rowsOf({ workload, unit: 'ms', of, variant }, subject, [halfReference]))
    }
  }
  return rows
}
