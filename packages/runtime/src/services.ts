import type { PolicySet } from '@muster/governance'
import type { Controls, Journal, Live, Writer } from '@muster/journal'
import type { Memory } from '@muster/memory'
import type { Models } from '@muster/models'
import type { Redaction } from '@muster/redaction'
import type { Scheduler } from '@muster/scheduler'
import type { App } from '@muster/sdk'
import type { Logger } from 'pino'
import type { Indexer } from './archive/indexer.ts'
import type { PolicyUse } from './archive/policy-use.ts'
import type { Exchange } from './gateway/exchange.ts'
import type { Spending } from './limits/spending.ts'
import type { ActiveRun } from './run/active-run.ts'
import type { CallbackTokens } from './step/callback-token.ts'
import type { Kinds } from './step/kinds.ts'
import type { StepState } from './step/step.ts'
import type { ToolFlow } from './step/tool-flow.ts'
import type { Telemetry } from './telemetry.ts'

/** Whether what depends on an outcome waits until that is durable. See `WorkerOptions.outcomes`. */
export type Outcomes = 'ahead' | 'strict'

/** What every active run of a worker shares. */
export interface Services {
  app: App
  journal: Journal
  memory: Memory
  models: Models
  policy: PolicySet
  /** Told of each tenant whose runs are decided on. */
  policyUse: PolicyUse
  /** Told of runs that have parked. */
  indexer: Indexer
  toolFlow: ToolFlow
  scheduler: Scheduler
  kinds: Kinds
  /** What operators stop and limit while this worker runs. */
  controls: Controls
  spending: Spending
  writer: Writer
  telemetry: Telemetry
  log: Logger
  /** Tokens of steps that end by a callback; undefined without a secret. */
  callbacks: CallbackTokens | undefined
  /** Takes personal data and secrets out of what is stored and sent; undefined where nothing is to be. */
  redaction: Redaction | undefined
  /** Where what models write goes while they write. */
  live: Live
  /** Requests of clients that this process holds, by their runs. */
  exchanges: Pick<ReadonlyMap<string, Exchange>, 'get'>
  clock: () => number
  random: () => number
  outcomes: Outcomes
  /** A worker that has not renewed its locks for this long has lost its runs, ms. */
  lockMs: number
  /** Name of this worker, unique among those alive. */
  worker: string
  /** Puts a step under the scheduler; it is begun when its turn comes. */
  schedule: (run: ActiveRun, step: StepState) => void
  /** A step is over; gives those that can start no more because of it. */
  settle: (step: StepState) => readonly StepState[]
  /** Has `expireStep` called for a step that is not over by then, ms since the epoch. */
  expire: (step: StepState, at: number) => void
  /** The scheduler may have something to start. */
  pump: () => void
}
