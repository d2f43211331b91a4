import type { Bench } from '../bench.ts'
import { figure, type Row, rowsOf } from '../row.ts'
import type { Sample } from '../subject.ts'
import { stepsOf } from '../subjects/app.ts'

const LEAVES = 1_000_000
const ENTRIES = 200_000

/** A2: W1 with and without a ledger, and sealing alone, in turns: what it adds is less than W1 differs from itself. */
export async function sealing(bench: Bench): Promise<Row[]> {
  const { place, admin } = await bench.place()
  const start = async (name: string, sealed: boolean) => ({
    name,
    child: await bench.start('muster', { ...place, plan: 'chain', inFlight: 100, outcomes: 'ahead', sealed }),
    empty: admin,
  })
  const [plain, sealed, alone] = await bench.rounds('A2', [
    await start('W1, ahead, without a ledger', false),
    await start('W1, ahead, every run sealed', true),
    { name: 'sealing alone', child: await bench.start('ledger-sealer', { ...place, store: 'DynamoDB' }) },
  ])
  await bench.stop()
  if (!plain || !sealed || !alone) return []
  const cpu = ({ workerCpuMs, units }: Sample) => (workerCpuMs / units) * 1000
  // A run has one head, its end.
  const perStep = { ...alone, samples: alone.samples.map((one) => ({ ...one, units: one.units * stepsOf.chain })) }
  return [
    ...rowsOf({ workload: 'A2', unit: 'steps/s' }, sealed, [plain]),
    ...rowsOf({ workload: 'A2', unit: 'µs of CPU/step', of: cpu }, sealed, [plain]),
    ...rowsOf({ workload: 'A2', unit: 'µs of CPU/step', of: cpu }, perStep, [plain]),
  ]
}

/** A1: leaves into the ledger; receipts of a large one; an export verified on one core. */
export async function ledger(bench: Bench): Promise<Row[]> {
  const { quick, size } = bench.options
  const part = quick ? size / 20 : size
  const { place } = await bench.place()
  const entries = Math.ceil(ENTRIES * part)
  const leaves = Math.ceil((LEAVES * part) / 1000) * 1000
  const one = async (name: string, child: Promise<Awaited<ReturnType<Bench['start']>>>) => ({
    name,
    child: await child,
  })
  const [log, hashes, folder, dynamo, proofs, verify, hashed, unit] = await bench.rounds('A1', [
    await one('the log alone, in memory', bench.start('ledger-leaves', { how: 'log' })),
    await one('SHA-256 of the leaves', bench.start('ledger-leaves', { how: 'hash' })),
    await one('sealer, in files', bench.start('ledger-sealer', { ...place, store: 'folder' })),
    await one('sealer, local DynamoDB', bench.start('ledger-sealer', { ...place, store: 'DynamoDB' })),
    await one(`of ${leaves.toLocaleString('en')} leaves`, bench.start('ledger-proofs', { leaves })),
    await one('verify.mjs on an export', bench.start('ledger-export', { entries, how: 'verify' })),
    await one('SHA-256 of its files and lines', bench.start('ledger-export', { entries, how: 'hash' })),
    await one('SHA-256 of 300 bytes', bench.start('sha256', { bytes: 300 })),
  ])
  await bench.stop()
  if (!log || !hashes || !folder || !dynamo || !proofs || !verify || !hashed || !unit) return []
  const what = { workload: 'A1' }
  const receipt = (variant: string, unit: string, name: string) =>
    rowsOf({ ...what, unit, of: figure(name), variant: `${variant} ${proofs.name}` }, proofs, [])
  return [
    ...rowsOf({ ...what, unit: 'leaves/s' }, log, [hashes]),
    ...rowsOf({ ...what, unit: 'leaves/s' }, folder, [log]),
    ...rowsOf({ ...what, unit: 'leaves/s' }, dynamo, [log]),
    ...receipt('a receipt', 'bytes', 'bytes'),
    ...receipt('make a receipt', 'µs', 'makeUs'),
    ...receipt('check a receipt', 'µs', 'checkUs'),
    ...rowsOf({ ...what, unit: 'entries/s' }, verify, [hashed, unit]),
  ]
}
