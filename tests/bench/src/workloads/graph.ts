import type { Bench } from '../bench.ts'
import type { ShapeName } from '../graph-shape.ts'
import { figure, type Row, rowsOf } from '../row.ts'
import type { Sample } from '../subject.ts'
import type { GraphOptions } from '../subjects/graph.ts'

const workload = 'W5'
/** CPU time, since nothing here waits: what else the machine does matters less. */
const speed = {
  workload,
  unit: 'steps/s of CPU',
  of: ({ units, workerCpuMs }: Sample) => (units / workerCpuMs) * 1000,
}
const SHAPES: readonly ShapeName[] = ['chain', 'fan-out', 'random DAG', 'diamond lattice']

/** W5: the scheduler alone, in memory. Of shapes by size, of many runs at once, and of many tenants. */
export async function graph(bench: Bench): Promise<Row[]> {
  const { quick } = bench.options
  const rows: Row[] = []
  const sizes = quick ? [10_000] : [1000, 10_000, 100_000, 1_000_000]
  // Starting the processes is most of the time of a quick run.
  const shapes = quick ? SHAPES.filter((shape) => shape === 'chain' || shape === 'random DAG') : SHAPES
  for (const shape of shapes) {
    for (const steps of sizes) {
      const name = `${shape} of ${steps.toLocaleString('en')}`
      rows.push(...(await measure(bench, name, { shape, steps, runs: 1, tenants: 1 })))
    }
  }
  for (const runs of quick ? [1000] : [1000, 10_000, 100_000]) {
    const name = `${runs.toLocaleString('en')} chains of 20 at once`
    rows.push(...(await measure(bench, name, { shape: 'chain', steps: 20, runs, tenants: 100 })))
  }
  for (const tenants of quick ? [] : [1, 10_000]) {
    const name = `10,000 chains of 20, ${tenants.toLocaleString('en')} tenants`
    rows.push(...(await measure(bench, name, { shape: 'chain', steps: 20, runs: 10_000, tenants })))
  }
  return rows
}

async function measure(bench: Bench, name: string, options: Omit<GraphOptions, 'mode'>): Promise<Row[]> {
  const start = async (mode: GraphOptions['mode']) => ({
    name: mode === 'bare' ? 'bare scheduler' : `${name}, ${mode}`,
    child: await bench.start('graph', { ...options, mode }),
  })
  const contenders = await Promise.all([start('all'), start('plain'), start('bare')])
  const ms = (bench.options.quick ? 30 : 500) * bench.options.size
  const [all, plain, bare] = await bench.rounds(workload, contenders, { ms })
  await bench.stop()
  if (!all || !plain || !bare) return []
  const memory = { workload, unit: 'bytes/step', of: figure('bytesPerStep') }
  return [
    ...rowsOf(speed, all, [bare]),
    ...rowsOf(speed, plain, [bare]),
    ...rowsOf(memory, all, [bare]).map((row) => ({ ...row, cost: null })),
  ]
}
