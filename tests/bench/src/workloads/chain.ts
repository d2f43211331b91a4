import { resolve } from 'node:path'
import type { Bench, Contender } from '../bench.ts'
import { type Measured, type Row, rowsOf } from '../row.ts'
import type { Outcomes } from '../subjects/muster.ts'

/** Runs under way at once. */
const IN_FLIGHT = 100
const EVERY_STEP_A_JOB = 'BullMQ, one job per step'

/** W1: runs of 20 sequential pure steps, each with a result of 200 bytes. */
export async function chain(bench: Bench): Promise<Row[]> {
  const everysec = await bench.place()
  const { prof, quick, size } = bench.options
  const profiled = (wanted: boolean) => (prof && wanted ? ['--cpu-prof', `--cpu-prof-dir=${resolve(prof)}`] : [])
  const muster = async (
    plan: 'chain' | 'chain-code',
    outcomes: Outcomes,
    on = everysec,
    governed = false,
  ): Promise<Contender> => ({
    name: `${outcomes}, plan as ${plan === 'chain' ? 'data' : 'code'}${on === everysec ? '' : ', appendfsync always'}${governed ? ', all of governance' : ''}`,
    child: await bench.start(
      'muster',
      { ...on.place, plan, inFlight: IN_FLIGHT, outcomes, governed },
      profiled(on === everysec && plan === 'chain'),
    ),
    empty: on.admin,
  })
  const bullmq = async (
    subject: 'bullmq-chain' | 'bullmq-progress',
    name: string,
    on = everysec,
  ): Promise<Contender> => ({
    name,
    child: await bench.start(subject, { ...on.place, inFlight: IN_FLIGHT }),
    empty: on.admin,
  })
  const raw = async (batch: number, name: string): Promise<Contender> => ({
    name,
    child: await bench.start('raw-append', { ...everysec.place, batch }),
    empty: everysec.admin,
  })
  const data = await muster('chain', 'ahead')
  const strict = await muster('chain', 'strict')
  const job = await bullmq('bullmq-chain', EVERY_STEP_A_JOB)
  const append = await raw(1, 'raw: one Lua call per append, 100 chains')
  const core = [data, strict, job, append]
  const peers = await bench.peers('chain', IN_FLIGHT)
  if (quick) {
    // A sample must last for several generations of runs; in twenty seconds that leaves room for these.
    const rows = rowsBetween(await bench.rounds('W1', [...core, ...peers], { ms: 350 * size }))
    await bench.stop()
    return [...rows(data, [job, append, ...peers]), ...rows(strict, [job, append, ...peers])]
  }
  const always = await bench.place('always')
  const code = await muster('chain-code', 'ahead')
  const governed = await muster('chain', 'ahead', everysec, true)
  const strictGoverned = await muster('chain', 'strict', everysec, true)
  const dataAlways = await muster('chain', 'ahead', always)
  const strictAlways = await muster('chain', 'strict', always)
  const progress = await bullmq('bullmq-progress', 'BullMQ, one job with updateProgress')
  const batch = await raw(100, 'raw: one Lua call for 100 appends')
  const jobAlways = await bullmq('bullmq-chain', `${EVERY_STEP_A_JOB}, appendfsync always`, always)
  const contenders = [
    ...core,
    code,
    governed,
    strictGoverned,
    dataAlways,
    strictAlways,
    progress,
    batch,
    jobAlways,
    ...peers,
  ]
  const rows = rowsBetween(await bench.rounds('W1', contenders, { leadMs: bench.leadMs }))
  await bench.stop()
  return [
    ...rows(data, [job, progress, append, batch, ...peers]),
    ...rows(code, [job, data]),
    ...rows(governed, [job, data]),
    ...rows(strictGoverned, [job, strict]),
    ...rows(dataAlways, [jobAlways, data]),
    ...rows(strict, [job, progress, append, batch, ...peers]),
    ...rows(strictAlways, [jobAlways, strict]),
  ]
}

/** Gives rows of one contender beside others, by what was measured of them all. */
function rowsBetween(measured: readonly Measured[]) {
  const of = ({ name }: Contender) => measured.filter((one) => one.name === name)
  return (subject: Contender, against: Contender[]) =>
    of(subject).flatMap((one) => rowsOf({ workload: 'W1', unit: 'steps/s' }, one, against.flatMap(of)))
}
