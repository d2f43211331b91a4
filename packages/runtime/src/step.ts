import type { Action } from '@muster/governance'
import type { Decision, Effect, Json, Label, StepError, StepKind, StepStatus, Usage } from '@muster/protocol'
import type { StepHandle } from '@muster/scheduler'

/** What a step is given when it is executed. */
export interface Call {
  /** Input with every reference resolved. */
  input: Json
  labels: readonly Label[]
  signal: AbortSignal
  idempotencyKey: string
  run: string
  step: string
  tenant: string
}

/** What executing gives, besides the output: what it adds to labels and what it cost. */
export interface Executed {
  output: Json
  /** Labels that the step itself adds to those of its input. */
  labels?: readonly Label[]
  usage?: Usage
  costUsd?: number
  model?: string
}

/** A child run to start instead of executing here. */
export interface ChildSpec {
  agent: string
  until: 'ended' | 'parked'
}

/** One step as a driver adds it to the graph. */
export interface StepSpec {
  /** Unique within the run and the same on every replay. */
  id: string
  kind: StepKind
  /** Tool name, model route, agent or memory operation. */
  target: string
  /** Steps that must have ended first. */
  after?: readonly StepState[]
  /** May hold references to outputs of other steps and to the run's input. */
  input: Json
  /** Labels of what in the input is not a reference. */
  labels: readonly Label[]
  effect: Effect
  attempts: number
  timeoutMs: number
  declassifies?: readonly Label[]
  /** Throws when the input is not what the step takes; asked before the policy is. */
  check?: (input: Json) => void
  policy: { action: Action; resource: { type: 'Tool' | 'Model' | 'Memory' | 'Agent'; name: string; effect?: string } }
  /** Whether the journal keeps the input beside the intent; a model's messages are in the entries before it. */
  keepInput: boolean
  /** The most that it may cost on this input, US dollars. */
  reserveUsd?: (input: Json) => number
  /** The exact request of a model call on this input, whose digest the intent holds. */
  request?: (input: Json) => string
  action:
    | {
        execute: (call: Call) => Promise<Executed>
        reconcile?: ((call: Call) => Promise<Executed | undefined>) | undefined
      }
    | { child: ChildSpec }
}

/** How a step ended. */
export interface Outcome {
  status: StepStatus
  output: Json
  error?: StepError | undefined
  labels: readonly Label[]
}

export interface Waiting {
  for: 'approval' | 'child' | 'doubt'
  role: string | undefined
  child: string | undefined
  /** What an approver is shown: digest and JSON text. */
  shown: string | undefined
  shownText: string | undefined
}

/** What a person said of a step, and what they had been shown. */
export interface Verdict {
  verdict: 'approve' | 'deny'
  role: string
  shownText: string | undefined
  /** The question was whether a `once` step had happened: approve says that it did not and may run. */
  doubt: boolean
}

/** A step of an active run: its spec and where it stands. */
export interface StepState {
  readonly spec: StepSpec
  handle: StepHandle | undefined
  attempt: number
  outcome: Outcome | undefined
  waiting: Waiting | undefined
  verdicts: readonly Verdict[]
  /** An intent of an earlier activation has no outcome: it may or may not have taken effect. */
  inDoubt: boolean
  /** JSON text of the input in an earlier activation, where it was kept. */
  recordedInput: string | undefined
  decision: Decision | undefined
  /** This activation has journaled an intent and no outcome yet. */
  intended: boolean
  /** Milliseconds since the epoch. */
  beganAt: number
  abort: AbortController | undefined
}
