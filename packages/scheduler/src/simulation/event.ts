import type { Join } from '../graph.ts'
import type { Limits } from '../resources.ts'
import type { Kind, Priority, Resource, Scheduler, Settled } from '../scheduler.ts'

/** What the simulator drives: anything with the scheduler's methods. */
export type Subject = Pick<
  Scheduler,
  | 'running'
  | 'nextTimer'
  | 'setWeight'
  | 'resource'
  | 'setLimits'
  | 'setNeeds'
  | 'reconsider'
  | 'inUse'
  | 'fullAt'
  | 'isAwaited'
  | 'kind'
  | 'learn'
  | 'openRun'
  | 'addStep'
  | 'poll'
  | 'settle'
  | 'cancel'
  | 'retry'
  | 'wait'
  | 'resume'
  | 'closeRun'
  | 'correct'
  | 'closeResource'
  | 'expire'
  | 'expired'
>

/**
 * One call as plain data. Runs, steps, kinds and resources have names of their own here, so that a list of
 * events of which some were left out still means the same: what names something unknown is left out too.
 */
export type Event =
  | { do: 'resource'; resource: Resource; limits: Limits }
  | { do: 'setLimits'; resource: Resource; limits: Limits; now?: number }
  | { do: 'correct'; resource: Resource; tokens: number }
  | { do: 'closeResource'; resource: Resource; until: number }
  | { do: 'kind'; kind: Kind; ms: number; needs: readonly Resource[]; isCall?: boolean }
  | { do: 'learn'; kind: Kind; ms: number }
  | { do: 'setWeight'; tenant: string; weight: number }
  | {
      do: 'openRun'
      run: number
      tenant: string
      priority: Priority
      needs: readonly Resource[]
      calls?: readonly Resource[]
    }
  | { do: 'setNeeds'; run: number; needs: readonly Resource[]; calls: readonly Resource[] }
  | { do: 'closeRun'; run: number }
  | { do: 'addStep'; step: number; run: number; after: readonly number[]; kind: Kind; join: Join; tokens: number }
  | { do: 'poll' | 'expired'; now: number }
  | { do: 'settle'; step: number; ok: boolean }
  | { do: 'cancel' | 'wait' | 'resume'; step: number }
  | { do: 'retry' | 'expire'; step: number; at: number }

/** What the scheduler answered to an event, and what can be seen of it then. */
export interface Answer {
  said: Settled | 'done'
  /** Steps that started, expired or were dropped. */
  steps: readonly number[]
  running: number
  nextTimer: number
  /** Of each resource, after a poll and after an event that is about one. */
  resources: readonly { inUse: number; fullAt: number; isAwaited: boolean }[]
}

/** The scheduler did what its rules forbid. */
export class Violation extends Error {}

export function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what)
}
