import { hash } from 'node:crypto'
import { joinLabels } from '@muster/governance'
import { type Decision, holds, type Json, type Label, type Limits, MusterError, toMusterError } from '@muster/protocol'
import { afford } from '../limits/afford.ts'
import type { ActiveRun } from '../run/active-run.ts'
import { startChild } from '../run/child.ts'
import { changedInput } from '../run/non-deterministic.ts'
import { noteBegun } from '../run/past.ts'
import { approvalsOf, shownText } from '../run/shown.ts'
import { askPeople } from './approval.ts'
import { awaitCallback, takeCallback } from './callback.ts'
import { endedText, intentText, versionWith, waitingText } from './entry-text.ts'
import { whenHeld } from './lease.ts'
import { redactText } from './redacting.ts'
import {
  Call,
  type ChildSpec,
  type Executed,
  idempotencyKey,
  type Later,
  Outcome,
  type StepState,
  waitingFor,
} from './step.ts'
import { deadlineOf, endDenied, endFailed, endOk } from './step-end.ts'
import { resolve, resolveInput } from './step-input.ts'
import { beginWait } from './waits.ts'

/**
 * The life of one step: resolve its input, decide, journal the intent, wait for the barrier, execute,
 * journal the outcome. The functions below stand in that order.
 */
export function beginStep(run: ActiveRun, step: StepState): void {
  const { spec } = step
  const { operation } = spec
  const { action } = operation
  let input: Json
  let labels: readonly Label[] = []
  let prepared: unknown
  let decision: Decision
  step.beganAt = run.services.clock()
  step.firstAt ||= step.beganAt
  try {
    if (spec.when !== undefined && !isWanted(run, step, spec.when)) return
    ;({ input, labels, redacted: step.redacted } = resolveInput(run, step))
    checkUnchanged(run, step, input)
    if (step.calledBack) {
      takeCallback(run, step)
      return
    }
    // What is revealed is in nobody's hands but the tool's.
    prepared = operation.prepare?.(
      operation.reveals && run.redactor ? run.redactor.restore(input, operation.reveals) : input,
    )
    if (step.undoes === undefined) {
      if ('wait' in action) run.funds.check(0)
      else if (!afford(run, step, input)) return
    }
    if ('wait' in action && step.verdicts.at(-1)?.verdict !== 'deny') {
      beginWait(run, step, action.wait, input, labels)
      return
    }
    decision = decide(run, step, input, labels)
  } catch (error) {
    const failure = toMusterError(error)
    if (failure.code === 'plan.non_deterministic') run.fail(failure)
    // What is wrong with an input can tell what is in it.
    else endFailed(run, step, failure, labels)
    return
  }
  step.decision = decision
  if (step.verdicts.at(-1)?.verdict === 'deny') {
    const doubt = step.verdicts.at(-1)?.doubt
    const message = doubt ? 'a person decided that the step is not to be tried again' : 'a person refused the step'
    const error = new MusterError(doubt ? 'step.in_doubt' : 'approval.denied', message)
    if (doubt) endFailed(run, step, error, labels)
    else endDenied(run, step, error, labels, input)
  } else if (decision.effect === 'deny' || (decision.effect === 'ask' && operation.ofClient)) {
    const by =
      decision.errors?.join('; ') ??
      (decision.effect === 'ask' ? `without the approval of ${decision.role}` : undefined) ??
      (decision.policies.length > 0 ? `by ${decision.policies.join(', ')}` : 'no policy permits it')
    endDenied(
      run,
      step,
      new MusterError(
        'policy.denied',
        `${operation.policy?.action ?? operation.kind} ${operation.policy?.resource.name ?? operation.target} is denied: ${by}`,
      ),
      labels,
      input,
    )
  } else if (decision.effect === 'ask') {
    const { role = OPERATOR, rule } = decision
    askPeople(run, step, { for: 'approval', role, rule, decision }, input, labels)
  } else if (step.inDoubt && operation.effect === 'once' && !step.verdicts.some((verdict) => verdict.doubt)) {
    resolveDoubt(run, step, input, labels)
  } else if (operation.effect === 'pure') {
    step.attempt++
    execute(run, step, input, prepared, labels)
  } else {
    noteBegun(run, step, {
      told(isTold) {
        if (run.over || step.outcome) return
        if (isTold) intend(run, step, input, prepared, labels)
        else beginStep(run, step)
      },
      failed: (error) => endFailed(run, step, error, labels, true),
    })
  }
}

/** Journals that the step is about to happen, and begins it when that is durable. */
function intend(run: ActiveRun, step: StepState, input: Json, prepared: unknown, labels: readonly Label[]): void {
  const { operation } = step.spec
  const { decision = NOT_ASKED } = step
  step.attempt++
  step.intended = true
  step.decidedBy = undefined
  const seq = run.appendText(
    intentText(step, labels, decision, {
      idempotencyKey: idempotencyKey(run.id, step),
      ...(operation.request ? { request: hash('sha256', run.salt + operation.request(input), 'hex') } : {}),
      ...(step.redacted ? { redacted: step.redacted } : {}),
    }),
    operation.keepInput ? JSON.stringify(input) : undefined,
    versionWith(decision, step.redacted),
  )
  // The barrier: nothing reaches the outside before the intent, and with it all that came before, is durable.
  const since = performance.now()
  const begin = () => execute(run, step, input, prepared, labels)
  run.whenDurable(seq, operation.effect === 'once' ? () => whenHeld(run, since, begin) : begin)
}

/** Whether a step's condition holds; where not, it ends as skipped, with the labels of what that was read from. */
function isWanted(run: ActiveRun, step: StepState, when: Json): boolean {
  let labels: readonly Label[] = []
  const wanted = holds(when, (value) => {
    const resolved = resolve(run, step, value, [])
    labels = joinLabels(labels, resolved.labels)
    return resolved.value
  })
  if (!wanted) {
    run.appendText(endedText(step, run.services.clock(), labels, 'skipped'))
    run.settle(step, new Outcome('skipped', 'null', labels))
  }
  return wanted
}

/** On replay: a step that was begun before must be given the same again. */
export function checkReplayed(run: ActiveRun, step: StepState): void {
  if (step.recordedInput !== undefined) checkUnchanged(run, step, resolveInput(run, step).input)
}

function checkUnchanged({ redactor }: ActiveRun, { spec, recordedInput }: StepState, input: Json): void {
  if (recordedInput === undefined || recordedInput === JSON.stringify(input)) return
  // It may have been recorded before redaction was turned on.
  if (redactor && redactText(redactor, recordedInput).text === JSON.stringify(input)) return
  throw changedInput(spec.id, recordedInput, input)
}

/** Who answers where no policy names a role. */
const OPERATOR = 'operator'

const NOT_ASKED: Decision = { effect: 'deny', policies: [], set: '', errors: ['no policy was asked'] }

function decide(run: ActiveRun, step: StepState, input: Json, labels: readonly Label[]): Decision {
  const { operation } = step.spec
  if (!operation.policy) return NOT_ASKED
  const { action, resource } = operation.policy
  const { toolFlow } = run.services
  const ofTool = action === 'tool:call'
  const approved = !ofTool || toolFlow.isApproved(resource.name)
  const newDestination = ofTool && toolFlow.hasNewDestination(resource.name, run.tenant, input)
  const { definition, by } = run.created
  const decision = run.policy.decide({
    tenant: run.tenant,
    principal: { type: definition.kind === 'agent' ? 'Agent' : 'Plan', name: definition.name },
    action,
    resource: ofTool ? { ...resource, approved } : resource,
    newDestination,
    labels,
    approvals: step.verdicts.length === 0 ? [] : approvalsOf(step, shownText(step, input, labels)),
    ...{ user: by.user, key: by.key, team: by.team, hands: by.hands },
    spentUsd: run.totals.costUsd,
    input,
    targets:
      run.policy.ofTarget && action === 'model:invoke' ? run.services.models.targetsOf(resource.name) : undefined,
    history: run.past && {
      ...{ past: run.past, step: step.spec.id, now: step.beganAt, session: run.created.session },
      recorded: step.inDoubt ? step.decidedBy : undefined,
    },
  })
  // The journal tells what else it was decided on; where all is as usual, the decision is one object for many.
  if (approved && !newDestination) return decision
  return {
    ...decision,
    ...(approved ? {} : { unapproved: true as const }),
    ...(newDestination ? { newDestination: true as const } : {}),
  }
}

/**
 * A `once` step has an intent and no outcome: ask the tool whether it happened. When it did, that is
 * the outcome; when it surely did not, it may run; when nobody can tell, a person decides.
 */
function resolveDoubt(run: ActiveRun, step: StepState, input: Json, labels: readonly Label[]): void {
  const { action } = step.spec.operation
  const reconcile = 'execute' in action ? action.reconcile : undefined
  const ask = (): void => {
    const { decision } = step
    if (!run.over && decision)
      askPeople(run, step, { for: 'doubt', role: OPERATOR, rule: undefined, decision }, input, labels)
  }
  if (!reconcile) {
    ask()
    return
  }
  within(
    run,
    step,
    reconcile(new Call(run, step, input, undefined, labels)),
    (found) => {
      if (run.over) return
      step.inDoubt = false
      if (found) endOk(run, step, found, labels)
      else beginStep(run, step)
    },
    (error) => {
      run.services.log.warn({ run: run.id, step: step.spec.id, err: error }, 'reconcile failed')
      ask()
    },
  )
}

function execute(run: ActiveRun, step: StepState, input: Json, prepared: unknown, labels: readonly Label[]): void {
  // Cancelled while its intent was on its way.
  if (run.over || step.outcome) return
  const { kind, effect, action } = step.spec.operation
  // Begun by `beginWait`, and never executed.
  if ('wait' in action) return
  const call = new Call(run, step, input, prepared, labels)
  step.call = call
  if ('child' in action) {
    waitForChild(run, step, action.child, call)
    return
  }
  const failed = (error: unknown) => {
    call.end()
    const failure = toMusterError(error, kind === 'tool' ? 'tool.failed' : 'internal')
    // After a time-out nobody knows whether it happened: not to be repeated, and not a plain failure either.
    if (failure.code === 'step.timeout' && effect === 'once' && !run.over) {
      step.inDoubt = true
      resolveDoubt(run, step, input, labels)
    } else endFailed(run, step, failure, labels)
  }
  const done = (executed: Executed | Later) => {
    call.end()
    if ('text' in executed) endOk(run, step, executed, labels)
    else awaitCallback(run, step, executed, labels)
  }
  let executed: ReturnType<typeof action.execute>
  try {
    executed = action.execute(call)
  } catch (error) {
    failed(error)
    return
  }
  // What is done at once needs no promise and no time limit.
  if (executed instanceof Promise) within(run, step, executed, done, failed)
  else done(executed)
}

function waitForChild(run: ActiveRun, step: StepState, child: ChildSpec, call: Call): void {
  const agent = run.services.app.agents.get(child.agent)
  let limits: Limits
  try {
    limits = run.funds.limitsOfChild(agent?.manifest.limits ?? {})
  } catch (error) {
    endFailed(run, step, toMusterError(error), call.labels, true)
    return
  }
  shareFunds(run)
    .then(() => startChild(run.services, run.created, child, call, { limits, shares: run.funds.shares }))
    .then(
      (id) => {
        // A quick child may have told of its end before this.
        if (run.over || step.outcome) return
        if (child.until === 'started') {
          endOk(run, step, { text: JSON.stringify({ run: id }) }, call.labels)
          return
        }
        run.appendText(waitingText(step, run.services.clock(), call.labels, { for: 'child', child: id }))
        run.wait(step, waitingFor('child', { child: id }))
      },
      (error) => endFailed(run, step, toMusterError(error), call.labels),
    )
}

/** What runs below this one use is of its money and tokens too, and what it has used itself counts before they begin. */
async function shareFunds(run: ActiveRun): Promise<void> {
  const { usd, tokens } = run.limits
  if (usd !== undefined || tokens !== undefined) await run.services.spending.share(run)
}

/** Waits for what a tool or model does under the step's time limits, whether or not it heeds its signal. */
function within<T>(
  run: ActiveRun,
  step: StepState,
  work: Promise<T>,
  done: (value: T) => void,
  failed: (error: unknown) => void,
): void {
  const { expire, clock } = run.services
  const pending = { at: Math.min(clock() + timeoutOf(step), deadlineOf(step)), failed }
  step.pending = pending
  // Replaced or taken away when nobody waits for it any more.
  const over = () => {
    if (step.pending !== pending) return true
    step.pending = undefined
    return false
  }
  expire(step, pending.at)
  work.then(
    (value) => {
      if (!over()) done(value)
    },
    (error) => {
      if (!over()) failed(error)
    },
  )
}

function timeoutOf({ spec }: StepState): number {
  return spec.timeoutMs ?? spec.operation.timeoutMs
}

/** A time limit of the step has passed, perhaps that of an attempt which is over. */
export function expireStep(step: StepState, now: number): void {
  const { pending } = step
  if (!pending || now < pending.at) return
  step.pending = undefined
  const limit =
    now < deadlineOf(step)
      ? `${timeoutOf(step)} ms`
      : `the ${deadlineOf(step) - step.firstAt} ms that it has with all attempts`
  const error = new MusterError('step.timeout', `step "${step.spec.id}" took longer than ${limit}`)
  abortStep(step, error)
  pending.failed(error)
}

/** The step is cut off, and tried again when it may. */
export function cutStep(step: StepState, error: MusterError): void {
  const { pending } = step
  abortStep(step, error)
  pending?.failed(error)
}

/** Tells what is under way that nobody waits for it any more. A signal that is asked for later has aborted already. */
export function abortStep(step: StepState, reason: MusterError): void {
  step.pending = undefined
  step.abort ??= new AbortController()
  step.abort.abort(reason)
}
