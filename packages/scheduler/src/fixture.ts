import type { Scheduler, StepHandle } from './scheduler.ts'

/** The steps that start now. */
export function poll(scheduler: Scheduler, now = 0): StepHandle[] {
  const out: StepHandle[] = []
  if (scheduler.poll(now, out) !== out.length) throw new Error('poll does not give the number of steps that it started')
  return out
}
