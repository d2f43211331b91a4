/** The step scheduler: time and events in, steps to start out. Pure and synchronous. */
export type { Limits } from './resources.ts'
export {
  type Join,
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
