import { startHarness } from '/work/main/tests/src/harness.ts'
const h = await startHarness(); await h.worker()
for (let i = 0; i < 4; i++) {
  const t = performance.now()
  const run = await h.muster.runs.start('chain', { n: 2, ms: 0 })
  const t1 = performance.now()
  const seen: number[] = []
  for await (const e of run.events()) seen.push(Date.now() - e.entry.at)
  const t2 = performance.now()
  await run.result()
  console.log((t1 - t).toFixed(1), (t2 - t1).toFixed(1), (performance.now() - t2).toFixed(1), seen.join(' '))
  const t3 = performance.now()
  await (await h.muster.runs.start('chain', { n: 2, ms: 0 })).result()
  console.log('start+result', (performance.now() - t3).toFixed(1))
}
await h.close()
