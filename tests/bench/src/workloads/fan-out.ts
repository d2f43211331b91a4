import type { Bench } from '../bench.ts'
import { type Row, rowsOf } from '../row.ts'

/** W2: one run at a time of 1,000 parallel steps joined by one. */
export async function fanOut(bench: Bench): Promise<Row[]> {
  const { place, admin: empty } = await bench.place()
  const muster = (plan: 'fan' | 'fan-code') =>
    bench.start('muster', { ...place, plan, inFlight: 1, outcomes: 'ahead' as const })
  const peers = await bench.peers('fan', 1)
  const contenders = [
    { name: 'plan as data', child: await muster('fan'), empty },
    { name: 'plan as code', child: await muster('fan-code'), empty },
    { name: 'BullMQ FlowProducer', child: await bench.start('bullmq-flow', { ...place, inFlight: 1 }), empty },
    ...peers,
  ]
  const [data, code, flow, ...others] = await bench.rounds('W2', contenders, { leadMs: bench.leadMs })
  await bench.stop()
  const what = { workload: 'W2', unit: 'steps/s' }
  return data && code && flow ? [...rowsOf(what, data, [flow, ...others]), ...rowsOf(what, code, [flow])] : []
}
