import { hash } from 'node:crypto'
import { declassify, joinLabels } from '@muster/governance'
import {
  atPointer,
  type Decision,
  type Json,
  type Label,
  MusterError,
  parseReference,
  referenceOf,
  resolveReferences,
  type StepError,
  toMusterError,
  type Usage,
} from '@muster/protocol'
import type { ActiveRun } from './active-run.ts'
import { type ChildReport, childResult, startChild } from './child.ts'
import { changed } from './non-deterministic.ts'
import { isRetryable, retryDelayMs } from './retry.ts'
import type { Call, Executed, StepState } from './step.ts'

/**
 * The life of one step: resolve its input, decide, journal the intent, wait for the barrier, execute,
 * journal the outcome. The functions below stand in that order.
 */
export function beginStep(run: ActiveRun, step: StepState): void {
  const { spec } = step
  let input: Json
  let labels: readonly Label[]
  let decision: Decision
  step.beganAt = run.services.clock()
  try {
    ;({ input, labels } = resolveInput(run, step))
    checkUnchanged(step, input)
    spec.check?.(input)
    run.checkBudget(run.limits.usd === undefined ? 0 : (spec.reserveUsd?.(input) ?? 0))
    decision = decide(run, step, input, labels)
  } catch (error) {
    const failure = toMusterError(error)
    if (failure.code === 'plan.non_deterministic') run.fail(failure)
    else endFailed(run, step, failure, [])
    return
  }
  step.decision = decision
  if (step.verdicts.at(-1)?.verdict === 'deny') {
    const doubt = step.verdicts.at(-1)?.doubt
    const message = doubt ? 'a person decided that the step is not to be tried again' : 'a person refused the step'
    const error = new MusterError(doubt ? 'step.in_doubt' : 'approval.denied', message)
    if (doubt) endFailed(run, step, error, labels)
    else endDenied(run, step, error, labels, input)
  } else if (decision.effect === 'deny') {
    const by =
      decision.errors?.join('; ') ??
      (decision.policies.length > 0 ? `by ${decision.policies.join(', ')}` : 'no policy permits it')
    endDenied(
      run,
      step,
      new MusterError('policy.denied', `${spec.policy.action} ${spec.policy.resource.name} is denied: ${by}`),
      labels,
      input,
    )
  } else if (decision.effect === 'ask') {
    waitForPerson(run, step, 'approval', input, labels, decision)
  } else if (step.inDoubt && spec.effect === 'once' && !step.verdicts.some((verdict) => verdict.doubt)) {
    resolveDoubt(run, step, input, labels)
  } else if (spec.effect === 'pure') {
    step.attempt++
    execute(run, step, input, labels)
  } else {
    step.attempt++
    step.intended = true
    const seq = run.append(
      {
        type: 'step.intent',
        at: step.beganAt,
        ...subject(step, labels),
        effect: spec.effect,
        idempotencyKey: idempotencyKey(run, step),
        decision,
        ...(spec.request ? { request: hash('sha256', run.salt + spec.request(input), 'hex') } : {}),
      },
      spec.keepInput ? input : undefined,
    )
    // The barrier: nothing reaches the outside before the intent, and with it all that came before, is durable.
    run.whenDurable(seq, () => execute(run, step, input, labels))
  }
}

/** On replay: a step that was begun before must be given the same again. */
export function checkReplayed(run: ActiveRun, step: StepState): void {
  if (step.recordedInput !== undefined) checkUnchanged(step, resolveInput(run, step).input)
}

function checkUnchanged({ spec, recordedInput }: StepState, input: Json): void {
  if (recordedInput === undefined || recordedInput === JSON.stringify(input)) return
  throw changed(
    `step "${spec.id}" was given ${recordedInput.slice(0, 200)} and is now given ${JSON.stringify(input).slice(0, 200)}`,
  )
}

/** The input with references replaced, and the labels of what it is made of. */
function resolveInput(run: ActiveRun, step: StepState): { input: Json; labels: readonly Label[] } {
  const { spec } = step
  let labels: readonly Label[] = isAllReferences(spec.input) ? [] : spec.labels
  const input = resolveReferences(spec.input, (ref) => {
    const { step: from, pointer } = parseReference(ref)
    const outcome =
      from === undefined
        ? { status: 'ok', output: run.input, labels: run.created.labels }
        : run.steps.get(from)?.outcome
    if (outcome?.status !== 'ok')
      throw new MusterError('plan.unknown_reference', `"${ref}" names no step that has an output`)
    const value = atPointer(outcome.output, pointer)
    if (value === undefined) throw new MusterError('plan.unknown_reference', `"${ref}" names a field that is not there`)
    labels = joinLabels(labels, outcome.labels)
    return value
  })
  return { input, labels }
}

/** Whether nothing in the input was written by who wrote the step: each top-level value is a reference. */
function isAllReferences(input: Json): boolean {
  if (referenceOf(input) !== undefined) return true
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return false
  return Object.values(input).every((value) => referenceOf(value) !== undefined)
}

function decide(run: ActiveRun, step: StepState, input: Json, labels: readonly Label[]): Decision {
  const { definition, by } = run.created
  const { policy } = step.spec
  return run.services.policy.decide({
    tenant: run.tenant,
    principal: { type: definition.kind === 'agent' ? 'Agent' : 'Plan', name: definition.name },
    action: policy.action,
    resource: policy.resource,
    labels,
    approvals: step.verdicts.length === 0 ? [] : approvalsOf(step, shownText(step, input, labels)),
    user: by.user,
    spentUsd: run.totals.costUsd,
    input,
  })
}

/** Roles whose approval holds: for exactly what was shown. */
function approvalsOf(step: StepState, shown: string): string[] {
  return step.verdicts.flatMap(({ verdict, doubt, shownText, role }) =>
    verdict === 'approve' && !doubt && shownText === shown ? [role] : [],
  )
}

function shown(step: StepState, input: Json, labels: readonly Label[]): Json {
  return { step: step.spec.id, kind: step.spec.kind, target: step.spec.target, input, labels: [...labels] }
}

function shownText(step: StepState, input: Json, labels: readonly Label[]): string {
  return JSON.stringify(shown(step, input, labels))
}

function waitForPerson(
  run: ActiveRun,
  step: StepState,
  reason: 'approval' | 'doubt',
  input: Json,
  labels: readonly Label[],
  decision: Decision,
): void {
  const content = shown(step, input, labels)
  const role = decision.role ?? 'operator'
  run.append(
    { type: 'step.waiting', at: run.services.clock(), ...subject(step, labels), for: reason, decision, role },
    content,
  )
  run.wait(step, { for: reason, role, shown: run.lastDigest, shownText: JSON.stringify(content), child: undefined })
}

/** A person has answered; the entry that says so is journaled already. */
export function takeVerdict(run: ActiveRun, step: StepState, verdict: 'approve' | 'deny', role: string): void {
  step.verdicts = [
    ...step.verdicts,
    { verdict, role, shownText: step.waiting?.shownText, doubt: step.waiting?.for === 'doubt' },
  ]
  run.resume(step)
}

/**
 * A `once` step has an intent and no outcome: ask the tool whether it happened. When it did, that is
 * the outcome; when it surely did not, it may run; when nobody can tell, a person decides.
 */
function resolveDoubt(run: ActiveRun, step: StepState, input: Json, labels: readonly Label[]): void {
  const reconcile = 'child' in step.spec.action ? undefined : step.spec.action.reconcile
  const ask = (): void => {
    if (!run.over && step.decision) waitForPerson(run, step, 'doubt', input, labels, step.decision)
  }
  if (!reconcile) {
    ask()
    return
  }
  guarded(step, () => reconcile(call(run, step, input, labels))).then(
    (found) => {
      if (run.over) return
      step.inDoubt = false
      if (found) endOk(run, step, found, labels)
      else beginStep(run, step)
    },
    (error: Error) => {
      run.services.log.warn({ run: run.id, step: step.spec.id, err: error }, 'reconcile failed')
      ask()
    },
  )
}

function execute(run: ActiveRun, step: StepState, input: Json, labels: readonly Label[]): void {
  if (run.over) return
  const { spec } = step
  const what = call(run, step, input, labels)
  const { action } = spec
  if ('child' in action) {
    const agent = run.services.app.agents.get(action.child.agent)
    startChild(run.services, run.created.by, action.child, what, run.limitsLeft(agent?.manifest.limits ?? {})).then(
      (child) => {
        // A quick child may have told of its end before this.
        if (run.over || step.outcome) return
        run.append({ type: 'step.waiting', at: run.services.clock(), ...subject(step, labels), for: 'child', child })
        run.wait(step, { for: 'child', child, role: undefined, shown: undefined, shownText: undefined })
      },
      (error) => endFailed(run, step, toMusterError(error), labels),
    )
    return
  }
  guarded(step, () => action.execute(what)).then(
    (executed) => endOk(run, step, executed, labels),
    (error) => {
      const failure = toMusterError(error, spec.kind === 'tool' ? 'tool.failed' : 'internal')
      // After a time-out nobody knows whether it happened: not to be repeated, and not a plain failure either.
      if (failure.code === 'step.timeout' && spec.effect === 'once' && !run.over) {
        step.inDoubt = true
        resolveDoubt(run, step, input, labels)
      } else endFailed(run, step, failure, labels)
    },
  )
}

function call(run: ActiveRun, step: StepState, input: Json, labels: readonly Label[]): Call {
  step.abort = new AbortController()
  return {
    input,
    labels,
    signal: step.abort.signal,
    idempotencyKey: idempotencyKey(run, step),
    run: run.id,
    step: step.spec.id,
    tenant: run.tenant,
  }
}

function idempotencyKey(run: ActiveRun, step: StepState): string {
  return `${run.id}/${step.spec.id}`
}

/** Runs what a tool or model does under the step's time limit, whether or not it heeds its signal. */
async function guarded<T>(step: StepState, work: () => Promise<T>): Promise<T> {
  const { abort } = step
  const { timeoutMs, id } = step.spec
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new MusterError('step.timeout', `step "${id}" took longer than ${timeoutMs} ms`)
      abort?.abort(error)
      reject(error)
    }, timeoutMs)
    abort?.signal.addEventListener('abort', () => reject(abort.signal.reason), { once: true })
  })
  try {
    return await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}

function endOk(run: ActiveRun, step: StepState, executed: Executed, inputLabels: readonly Label[]): void {
  if (run.over || step.outcome) return
  const { spec } = step
  const { kept, removed } = declassify(joinLabels(inputLabels, executed.labels ?? []), spec.declassifies ?? [])
  run.totals.steps++
  addUsage(run, executed.usage, executed.costUsd)
  run.append(
    {
      type: 'step.ended',
      at: run.services.clock(),
      ...subject(step, kept),
      status: 'ok',
      durationMs: run.services.clock() - step.beganAt,
      ...(step.intended || !step.decision ? {} : { decision: step.decision }),
      ...(executed.usage ? { usage: executed.usage } : {}),
      ...(executed.costUsd === undefined ? {} : { costUsd: executed.costUsd }),
      ...(executed.model === undefined ? {} : { model: executed.model }),
      ...(removed.length > 0 ? { declassified: removed } : {}),
    },
    executed.output,
  )
  step.intended = false
  run.services.telemetry.step(run, step, 'ok', executed)
  run.settle(step, { status: 'ok', output: executed.output, labels: kept })
}

function endFailed(run: ActiveRun, step: StepState, error: MusterError, labels: readonly Label[]): void {
  if (run.over || step.outcome) return
  const { spec } = step
  const { clock, random, scheduler } = run.services
  const retry = step.attempt > 0 && step.attempt < spec.attempts && isRetryable(error, spec.effect)
  const failure = endUnsuccessfully(run, step, error, labels, 'failed', retry)
  if (retry && step.handle !== undefined) {
    scheduler.retry(step.handle, clock() + retryDelayMs(step.attempt, random))
    run.services.pump()
    return
  }
  run.settle(step, { status: 'failed', output: null, error: failure, labels })
}

/** The journal keeps what was denied: an auditor asks for it more often than for what was allowed. */
function endDenied(run: ActiveRun, step: StepState, error: MusterError, labels: readonly Label[], input: Json): void {
  const failure = endUnsuccessfully(run, step, error, labels, 'denied', false, step.spec.keepInput ? input : undefined)
  run.settle(step, { status: 'denied', output: null, error: failure, labels })
}

function endUnsuccessfully(
  run: ActiveRun,
  step: StepState,
  error: MusterError,
  labels: readonly Label[],
  status: 'failed' | 'denied',
  retry: boolean,
  content?: Json,
): StepError {
  const { clock } = run.services
  const failure = { code: error.code, message: error.message.slice(0, 4096) }
  if (!retry) run.totals.steps++
  run.append(
    {
      type: 'step.ended',
      at: clock(),
      ...subject(step, labels),
      status,
      durationMs: clock() - step.beganAt,
      ...(step.intended || !step.decision ? {} : { decision: step.decision }),
      error: failure,
      ...(retry ? { retry } : {}),
    },
    content,
  )
  step.intended = false
  run.services.telemetry.step(run, step, status, undefined, failure)
  return failure
}

/** The child run of a step has ended, or waits for a person and the step wanted to know. */
export function childEnded(run: ActiveRun, step: StepState, report: ChildReport): void {
  const until = 'child' in step.spec.action ? step.spec.action.child.until : 'ended'
  const { labels } = report
  const executed: Executed = {
    output: until === 'parked' ? childResult(report) : report.output,
    labels,
    costUsd: report.costUsd,
  }
  if (until === 'parked' || report.status === 'succeeded') {
    endOk(run, step, executed, [])
    return
  }
  addUsage(run, undefined, report.costUsd)
  const error = report.error ?? { code: 'internal', message: `child run ${report.run} is ${report.status}` }
  run.totals.steps++
  run.append({
    type: 'step.ended',
    at: run.services.clock(),
    ...subject(step, labels),
    status: 'failed',
    durationMs: run.services.clock() - step.beganAt,
    costUsd: report.costUsd,
    error,
  })
  step.intended = false
  run.settle(step, { status: 'failed', output: null, error, labels })
}

function addUsage(run: ActiveRun, usage: Usage | undefined, costUsd = 0): void {
  run.totals.costUsd += costUsd
  run.totals.inputTokens += usage?.inputTokens ?? 0
  run.totals.outputTokens += usage?.outputTokens ?? 0
  run.totals.cachedTokens += usage?.cachedTokens ?? 0
}

function subject(step: StepState, labels: readonly Label[]) {
  const { id, kind, target } = step.spec
  return { step: id, kind, target, attempt: Math.max(step.attempt, 1), labels: [...labels] }
}
