import { isEnded } from '@muster/protocol'
import type { Report } from './campaign.ts'
import { readEffects, runOf } from './checker.ts'
import { Deployment } from './deployment.ts'

/** One call of a tool that takes many times as long as the lock, with an idle worker beside it and nothing going wrong. */
export async function runLongCall(seed: number, ms: number): Promise<Report> {
  // The lock is that of a deployment as it comes.
  const deployment = await Deployment.start({ seed, workers: 2, partitions: 1, unreliable: 0, lockMs: 10_000 })
  try {
    const run = await deployment.muster.runs.start('rocket', { ms })
    let state = await run.get()
    for (const end = performance.now() + ms + 60_000; !isEnded(state.status) && performance.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 1000))
      state = await run.get()
    }
    const effects = readEffects(deployment.effectsFile).filter((effect) => runOf(effect) === run.id)
    const onces = effects.filter(({ kind }) => kind === 'once').length
    const violations = [...deployment.deaths]
    if (state.status !== 'succeeded') violations.push(`the call of ${ms} ms: its run is ${state.status}`)
    if (onces !== 1) violations.push(`the call of ${ms} ms was made ${onces} times`)
    if (state.epoch !== 1) violations.push(`the call of ${ms} ms: its run was taken ${state.epoch} times`)
    const none = { answers: 0, faults: 0, usedUsd: 0, byFault: {}, byStatus: { [state.status]: 1 } }
    return { seed, runs: 1, effects: effects.length, checkpoints: 0, violations, ...none }
  } finally {
    await deployment.close()
  }
}
