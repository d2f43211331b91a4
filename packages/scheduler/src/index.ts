/** The step scheduler: time and events in, steps to start out. Pure and synchronous. */
export type { Join } from './graph.ts'
export type { Limits } from './resources.ts'
export {
  type Kind,
  type Priority,
  type Resource,
  type RunHandle,
  Scheduler,
  type SchedulerOptions,
  type Settled,
  type StepHandle,
} from './scheduler.ts'
export { slotOf } from './steps.ts'
