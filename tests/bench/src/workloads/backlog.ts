import type { Bench } from '../bench.ts'
import { figure, type Measured, type Row, rowsOf } from '../row.ts'

const workload = 'W3'

/** W3: one-step runs while a constant number of others waits; what a waiting run costs; how fast runs are enqueued. */
export async function backlog(bench: Bench): Promise<Row[]> {
  const { quick, size } = bench.options
  const { place, admin } = await bench.place()
  const rows: Row[] = []
  for (const wanted of quick ? [1000, 10_000] : [1000, 100_000, 1_000_000]) {
    const backlog = Math.max(100, Math.round(wanted * size))
    bench.options.log(`W3 filling two queues with ${backlog.toLocaleString('en')} runs each`)
    const contenders = [
      { name: `backlog ${backlog}`, child: await bench.start('muster-backlog', { ...place, backlog }) },
      { name: `BullMQ, backlog ${backlog}`, child: await bench.start('bullmq-backlog', { ...place, backlog }) },
    ]
    const [subject, reference] = await bench.rounds(workload, contenders)
    await bench.stop()
    await bench.clear(admin)
    if (!subject || !reference) continue
    rows.push(...rowsOf({ workload, unit: 'runs/s' }, subject, [reference]))
    rows.push(...memoryOf(subject, reference))
  }
  const [subject, reference] = await bench.rounds(`${workload} enqueue`, [
    { name: 'enqueue in bulk', child: await bench.start('muster-enqueue', place), empty: admin },
    { name: 'BullMQ addBulk', child: await bench.start('bullmq-enqueue', place), empty: admin },
  ])
  await bench.stop()
  if (subject && reference) rows.push(...rowsOf({ workload, unit: 'runs/s' }, subject, [reference]))
  return rows
}

/** The growth of Redis as it was filled, and the sum of its keys' sizes: measured once, at the start. */
function memoryOf(subject: Measured, reference: Measured): Row[] {
  const unit = 'bytes/queued run'
  const of = (name: string, variant: string) =>
    rowsOf({ workload, unit, of: figure(name), variant: `${subject.name}, ${variant}` }, subject, [reference])
  const rows = [...of('bytesPerRun', 'growth of used_memory'), ...of('keyBytesPerRun', 'MEMORY USAGE of its keys')]
  return rows.map((row) => ({ ...row, cost: null }))
}
