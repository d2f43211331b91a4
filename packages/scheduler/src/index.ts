/** The step scheduler: time and events in, steps to start out. Pure and synchronous. */
export {
  type Priority,
  type RunHandle,
  Scheduler,
  type SchedulerOptions,
  type Settled,
  type StepHandle,
  slotOf,
} from './scheduler.ts'
