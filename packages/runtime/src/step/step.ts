import { type Action, type HistoryValues, refusedTargets } from '@muster/governance'
import { Meter, type Spent } from '@muster/models'
import {
  type ApprovalRule,
  type Decision,
  type Effect,
  type GuardrailCounts,
  type Json,
  type Label,
  MusterError,
  type RedactCounts,
  type StepError,
  type StepKind,
  type StepStatus,
  type Usage,
  type Via,
  WAIT_MS_MAX,
} from '@muster/protocol'
import type { Join, StepHandle } from '@muster/scheduler'
import { type Callback, type CallbackOptions, LATER, type Retries, type ToolContext } from '@muster/tools'
import type { Funds } from '../limits/spending.ts'
import type { Services } from '../services.ts'
import { DeltaFeed } from './deltas.ts'

/** What a call needs of its run. */
interface CallingRun {
  id: string
  tenant: string
  epoch: number
  over: boolean
  redactor: unknown
  services: Pick<Services, 'callbacks' | 'clock' | 'live'>
}

/** What a step is given when it is executed; a tool gets it as its context. */
export class Call {
  /** Input with every reference resolved. */
  readonly input: Json
  /** What the operation made of the input when it was checked. */
  readonly prepared: unknown
  readonly labels: readonly Label[]
  readonly run: string
  readonly step: string
  readonly tenant: string
  readonly fencingToken: number
  /** Set once a token was given out. */
  later: Later = { until: undefined }
  readonly #state: StepState
  readonly #run: CallingRun
  /** What a tool has told that it used elsewhere. */
  #told: Pick<Spent, 'usage' | 'costUsd'> | undefined
  #meter: Meter | undefined
  #progress: DeltaFeed | undefined
  #isOver = false

  constructor(run: CallingRun, state: StepState, input: Json, prepared: unknown, labels: readonly Label[]) {
    this.input = input
    this.prepared = prepared
    this.labels = labels
    this.run = run.id
    this.step = state.spec.id
    this.tenant = run.tenant
    this.fencingToken = run.epoch
    this.#state = state
    this.#run = run
    // Made when it is asked for: most tools never do.
    state.abort = undefined
  }

  get idempotencyKey(): string {
    return idempotencyKey(this.run, this.#state)
  }

  get attempt(): number {
    return this.#state.attempt
  }

  /** Why it may not go to targets of its route, by their places there. */
  get refused(): ReadonlyMap<number, string> {
    return refusedTargets(this.#state.decision ?? {})
  }

  /** Aborts on cancel, on timeout and when the worker has lost the run. */
  get signal(): AbortSignal {
    this.#state.abort ??= new AbortController()
    return this.#state.abort.signal
  }

  /** Of a model call. */
  get meter(): Meter {
    this.#meter ??= new Meter()
    return this.#meter
  }

  /** What it has used until now: of models, or as a tool has told. */
  get used(): (Pick<Spent, 'usage' | 'costUsd'> & Partial<Spent>) | undefined {
    return this.#meter ? this.#meter.spent : this.#told
  }

  /** Bound, since tools take it out of their context. */
  get callback(): ToolContext['callback'] {
    return (options) => this.#callback(options)
  }

  /** The same. */
  get spent(): ToolContext['spent'] {
    return (what) => {
      const { usd = 0, inputTokens = 0, outputTokens = 0, cachedTokens = 0 } = what
      const amounts = [usd, inputTokens, outputTokens, cachedTokens]
      if (!amounts.every((amount) => amount >= 0 && amount <= SPENT_MAX))
        throw new MusterError('input.invalid', 'spent takes amounts from 0 on')
      const { costUsd, usage } = this.#told ?? { costUsd: 0, usage: NO_USAGE }
      this.#told = {
        costUsd: costUsd + usd,
        usage: {
          inputTokens: usage.inputTokens + inputTokens,
          outputTokens: usage.outputTokens + outputTokens,
          cachedTokens: usage.cachedTokens + cachedTokens,
        },
      }
    }
  }

  /** The same. */
  get progress(): ToolContext['progress'] {
    return (text) => {
      const { id, over, redactor, services } = this.#run
      // A piece of a text does not show what it is a piece of.
      if (this.#isOver || over || redactor) return
      this.#progress ??= new DeltaFeed(services.live, id, { step: this.step, attempt: this.attempt })
      this.#progress.push(text)
    }
  }

  /** It has its outcome, which says more. */
  end(): void {
    this.#isOver = true
    this.#progress?.end()
  }

  async #callback({ timeoutMs }: CallbackOptions = {}): Promise<Callback> {
    const { callbacks, clock } = this.#run.services
    if (!callbacks)
      throw new MusterError('config.invalid', 'MUSTER_SECRET: callbacks need a secret that signs their tokens')
    if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs <= WAIT_MS_MAX))
      throw new MusterError('input.invalid', 'a callback takes a timeoutMs above 0 and of at most 100 years')
    const until = timeoutMs === undefined ? undefined : clock() + Math.ceil(timeoutMs)
    this.later = { until }
    const { run, step, tenant } = this
    const token = await callbacks.sign({ run, step, tenant }, until)
    return { token, url: callbacks.url, later: LATER as never } // of any type, so that `run` may return it
  }
}

const NO_USAGE: Usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
/** More than anything uses, and little enough to add up. */
const SPENT_MAX = 1e12

/** What the outside may use to recognise a repeat: the same for every attempt. */
export function idempotencyKey(run: string, step: StepState): string {
  return `${run}/${step.spec.id}`
}

/** A step that goes on outside: it ends when it is called back, or at a time, ms since the epoch. */
export interface Later {
  until: number | undefined
}

/** What executing gives, besides the output: what it adds to labels and what it cost. */
export interface Executed {
  /** The output as JSON text: it is encoded once, for the journal and for whoever reads it. */
  text: string
  /** Labels that the step itself adds to those of its input. */
  labels?: readonly Label[]
  usage?: Usage
  costUsd?: number
  model?: string
  via?: Via | undefined
  /** What a guardrail has found and masked. */
  guardrail?: GuardrailCounts | undefined
  /** No model was asked: an identical call had this answer. */
  cached?: true | undefined
  /** The journal has it already, where the signal came that it is. */
  isSignal?: boolean
}

/** A child run to start instead of executing here. */
export interface ChildSpec {
  agent: string
  until: 'ended' | 'parked' | 'started'
  /** The conversation that the child goes on with, where the run is handed to it. */
  history?: readonly Json[] | undefined
}

/** What a step does, wherever it stands: made once per tool, and shared by all steps that call it. */
export interface Operation {
  kind: StepKind
  /** Tool name, model route, agent or memory operation. */
  target: string
  effect: Effect
  attempts: number
  timeoutMs: number
  /** Milliseconds that the step may take from its first attempt on, with all attempts and the pauses between. */
  deadlineMs?: number | undefined
  /** How attempts are repeated by the class of their error, where it is not as usual. */
  retries?: Retries | undefined
  /** Labels that it puts on its output, and on what it says when it fails. */
  labels?: readonly Label[]
  declassifies?: readonly Label[]
  /** Kinds of redacted values that it is executed with as they were. */
  reveals?: readonly string[] | undefined
  /** Fields that its input has by its schema: the name of any other is a value that somebody wrote. */
  fields?: ReadonlySet<string>
  /** What is asked of the policy; nothing is of a step that only waits. */
  policy?: {
    action: Action
    resource: { type: 'Tool' | 'ClientTool' | 'Model' | 'Memory' | 'Agent' | 'Code'; name: string; effect?: string }
  }
  /** How what it did is undone; `prepare` checks the input for it too. */
  undo?: Undo | undefined
  /**
   * It is of a client of the gateway, which waits for it: never for a person, or a stop to be lifted. What it takes and gives
   * is in the client's words, and holds no references.
   */
  ofClient?: true
  /** Whether the journal keeps the input beside the intent; a model's messages are in the entries before it. */
  keepInput: boolean
  /** Checks the input and gives what `execute` takes; throws when it is not what the step takes. Before the policy is asked. */
  prepare?: (input: Json) => unknown
  /** The most that it may cost on this input, US dollars, and about how many tokens it may use. Of model calls only. */
  reserveUsd?: (input: Json) => number
  reserveTokens?: (input: Json) => number
  /** The exact request of a model call on this input, whose digest the intent holds. */
  request?: (input: Json) => string
  action:
    | {
        execute: (call: Call) => Executed | Later | Promise<Executed | Later>
        /** Checks what it is called back with. Absent of a step that cannot go on outside. */
        receive?: ((output: Json) => Executed) | undefined
        reconcile?: ((call: Call) => Promise<Executed | undefined>) | undefined
      }
    | { child: ChildSpec }
    | { wait: WaitSpec }
}

/** What a step waits for that does nothing itself; the run parks on it. */
export type WaitSpec =
  /** `until` says when it goes off, ms since the epoch, from its input and the time now. */
  | { for: 'timer'; until: (input: Json, now: number) => number }
  /** `take` checks the payload and gives the output; throws when it is not what the step takes. */
  | { for: 'signal'; take?: ((payload: Json) => Json) | undefined }
  | { for: 'approval'; role: string; rule?: ApprovalRule | undefined }

/** Undoes a step: takes what it took and gave. */
export type Undo = (prepared: unknown, output: Json, call: Call) => Promise<void>

/** One step as a driver adds it to the graph. */
export interface StepSpec {
  /** Unique within the run and the same on every replay. */
  id: string
  operation: Operation
  /** Steps that must have ended first. */
  after?: readonly StepState[]
  /** Which of their ends let it start; all good ones unless given. */
  join?: Join | undefined
  /** Where it does not hold, the step is skipped. May hold references. */
  when?: Json | undefined
  /** May hold references to outputs of other steps and to the run's input. */
  input: Json
  /** Labels of what in the input is not a reference. */
  labels: readonly Label[]
  /** Where they are not the operation's own. */
  timeoutMs?: number | undefined
  deadlineMs?: number | undefined
}

/** How a step ended. Its output stays JSON text until somebody wants to look into it. */
export class Outcome {
  readonly status: StepStatus
  readonly text: string
  readonly labels: readonly Label[]
  readonly error: StepError | undefined
  #output: Json | undefined

  constructor(status: StepStatus, text: string, labels: readonly Label[], error?: StepError) {
    this.status = status
    this.text = text
    this.labels = labels
    this.error = error
  }

  /** The output; shared by all who read it, so not to be changed. */
  get output(): Json {
    this.#output ??= JSON.parse(this.text) as Json // text is what JSON.stringify gave
    return this.#output
  }
}

export interface Waiting {
  for: 'approval' | 'callback' | 'child' | 'doubt' | 'signal' | 'timer'
  role: string | undefined
  /** What an answer takes, where it is more than one person with the role. */
  rule: ApprovalRule | undefined
  /** Another role may answer as well by now. */
  escalated: boolean
  child: string | undefined
  /** What an approver is shown: digest and JSON text. */
  shown: string | undefined
  shownText: string | undefined
  /** Since when a person is waited for, ms since the epoch. */
  since: number
  /** When the wait ends by itself, ms since the epoch; undefined for never. */
  until: number | undefined
}

export function waitingFor(reason: Waiting['for'], rest: Partial<Omit<Waiting, 'for'>> = {}): Waiting {
  const { role, rule, escalated = false, child, shown, shownText, since = 0, until } = rest
  return { for: reason, role, rule, escalated, child, shown, shownText, since, until }
}

/** A signal that came before any step waited for it. */
export interface Signal {
  /** The place of its entry. */
  seq: number
  /** The payload as JSON text. */
  text: string
  labels: readonly Label[]
}

/** What came from outside for a step by its token: the output as JSON text, or why it failed. */
export type CalledBack = { text: string } | { error: StepError }

/** What a person said of a step, and what they had been shown. */
export interface Verdict {
  verdict: 'approve' | 'deny'
  role: string
  /** The person, and whose hands their key came through. */
  by: string
  hands: readonly string[] | undefined
  shownText: string | undefined
  /** The question was whether a `once` step had happened: approve says that it did not and may run. */
  doubt: boolean
}

/** A step of an active run: its spec and where it stands. */
export interface StepState {
  readonly spec: StepSpec
  handle: StepHandle | undefined
  /** Tokens that each of its attempts takes from buckets before it is known what it uses. */
  tokens: number
  attempt: number
  outcome: Outcome | undefined
  waiting: Waiting | undefined
  /** The signal that it took, by the place of its entry. */
  signal: number | undefined
  /** The step that it undoes. */
  readonly undoes: string | undefined
  /** It was cancelled while the journal was replayed. */
  unwanted: boolean
  verdicts: readonly Verdict[]
  /** JSON text of the input that an approver has put in place of its own. */
  edited: string | undefined
  calledBack: CalledBack | undefined
  /** An intent of an earlier activation has no outcome: it may or may not have taken effect. */
  inDoubt: boolean
  /** JSON text of the input in an earlier activation, where it was kept. */
  recordedInput: string | undefined
  decision: Decision | undefined
  /** What was set aside for it, and why nothing could be. */
  funds: Funds | undefined
  refused: MusterError | undefined
  /** By what of the past an attempt was allowed that has no outcome yet: the next is by the same. */
  decidedBy: HistoryValues | undefined
  /** Its attempt that is under way: what that has used counts, however it ends. */
  call: Call | undefined
  /** What was taken out of its input. */
  redacted: RedactCounts | undefined
  /** This activation has journaled an intent and no outcome yet. */
  intended: boolean
  /** When its last attempt began, ms since the epoch. */
  beganAt: number
  /** When its first attempt began, ms since the epoch; 0 before. */
  firstAt: number
  abort: AbortController | undefined
  /** What is waited for, until `at`, ms since the epoch. */
  pending: { at: number; failed: (error: unknown) => void } | undefined
}
