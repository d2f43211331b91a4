import type { Models } from '@muster/models'
import type { OutboxLag, StepError, StepKind, Via, Waiting } from '@muster/protocol'
import { type Attributes, context, metrics, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { ActiveRun } from './run/active-run.ts'
import type { Executed, StepState } from './step/step.ts'

/** Spans and metrics of runs and steps. Does nothing unless an OpenTelemetry SDK is set up. */
export interface Telemetry {
  step(run: ActiveRun, step: StepState, status: string, executed?: Executed, error?: StepError): void
  run(run: ActiveRun, status: string, error?: StepError): void
  /** Tells of their breakers from now on. */
  models(models: Models): void
  /** Tells of what waits for workers, and of what this one holds, from now on. */
  worker(worker: WorkerLoad): void
  /** A step, or in the backlog a run, has waited so long for something other than the scheduler. */
  waited(reason: WaitReason, ms: number): void
  /** cedar-wasm would have decided otherwise: see `MUSTER_POLICY_SHADOW`. */
  policyDifference(action: string): void
}

/** What is waited for before a run or a step goes on: so many and no more, since they are told apart in a metric. */
type WaitReason = 'queue' | 'budget' | Waiting['for']

interface WorkerLoad {
  concurrency: number
  held(): number
  lost(): number
  /** Time that steps have waited for a place and for limits, ms. */
  waitedMs(): Readonly<Record<string, number>>
  backlog(): Promise<ReadonlyMap<string, number>>
  lags(): Promise<readonly OutboxLag[]>
}

export const noTelemetry: Telemetry = {
  step() {},
  run() {},
  models() {},
  worker() {},
  waited() {},
  policyDifference() {},
}

const operation: Partial<Record<StepKind, string>> = { model: 'chat', tool: 'execute_tool', agent: 'invoke_agent' }

function modelAttributes({ services }: ActiveRun, route: string, via: Via | undefined): Attributes {
  return {
    'gen_ai.provider.name': services.models.providerOf(route, via?.target),
    'gen_ai.request.model': route,
    ...(via ? { 'muster.model.target': via.target } : {}),
    ...(via?.region === undefined ? {} : { 'cloud.region': via.region }),
  }
}

const BREAKER = { closed: 0, probing: 1, open: 2 }

// Without these a histogram has the bounds of milliseconds. Those of steps and tokens are the conventions' own for model calls.
const STEP_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
const RUN_SECONDS = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400, 604_800]
const TOKENS = Array.from({ length: 14 }, (_, power) => 4 ** power)

/**
 * Names follow OpenTelemetry's semantic conventions for generative AI (`gen_ai.*`); ours begin with
 * `muster.`. A span is made when its step has ended, with its true times, so that a step costs nothing
 * while it is under way. Spans of one run share a trace made from the run's id.
 */
export function openTelemetry(): Telemetry {
  const tracer = trace.getTracer('muster')
  const meter = metrics.getMeter('muster')
  const steps = meter.createHistogram('muster.step.duration', {
    unit: 's',
    description: 'Time of one step attempt',
    advice: { explicitBucketBoundaries: STEP_SECONDS },
  })
  const runs = meter.createHistogram('muster.run.duration', {
    unit: 's',
    description: 'Time of a run from its first activation',
    advice: { explicitBucketBoundaries: RUN_SECONDS },
  })
  const tokens = meter.createHistogram('gen_ai.client.token.usage', {
    unit: '{token}',
    description: 'Tokens of model calls',
    advice: { explicitBucketBoundaries: TOKENS },
  })
  const cost = meter.createCounter('muster.cost', { unit: 'USD', description: 'Cost of model calls' })

  const differences = meter.createCounter('muster.policy.differences', {
    description: 'Decisions that cedar-wasm makes otherwise',
  })
  const trials = meter.createCounter('muster.policy.trials', {
    description: 'Step attempts that log-only policies would have decided otherwise',
  })

  const breakers = meter.createObservableGauge('muster.model.breaker', {
    description: 'Whether a target of a route is passed over: 0 no, 1 it is being tried again, 2 yes',
  })

  const held = meter.createObservableGauge('muster.worker.runs', {
    unit: '{run}',
    description: 'Runs that the worker holds',
  })
  const places = meter.createObservableGauge('muster.worker.places', {
    unit: '{run}',
    description: 'Runs that the worker may hold at once',
  })
  const lost = meter.createObservableCounter('muster.worker.lost', {
    unit: '{run}',
    description: 'Runs that the worker held and another took',
  })
  const backlog = meter.createObservableGauge('muster.backlog', {
    unit: '{run}',
    description: 'Queued runs of a tenant; every worker tells all of them',
  })

  const outboxWaiting = meter.createObservableGauge('muster.outbox.waiting', {
    unit: '{record}',
    description: 'What the background has not done yet, of all tenants; every worker tells all of it',
  })
  const outboxAge = meter.createObservableGauge('muster.outbox.age', {
    unit: 's',
    description: 'How long the oldest of that has waited',
  })

  const waits = meter.createObservableCounter('muster.waited', {
    unit: 's',
    description: 'Time that runs waited in the backlog, and steps before they went on, all together',
  })
  const waitedMs = new Map<string, number>()
  let ofWorker: WorkerLoad | undefined
  waits.addCallback((result) => {
    for (const [reason, ms] of [...waitedMs, ...Object.entries(ofWorker?.waitedMs() ?? {})])
      result.observe(ms / 1000, { 'muster.reason': reason })
  })

  /** A run's spans hang under one remote parent derived from the run id, whichever worker makes them. */
  const parent = (run: ActiveRun) => {
    const hex = run.id.replaceAll('-', '')
    return trace.setSpanContext(context.active(), {
      traceId: hex,
      spanId: hex.slice(16),
      traceFlags: 1,
      isRemote: true,
    })
  }

  const emit = (run: ActiveRun, name: string, start: number, attributes: Attributes, error?: StepError) => {
    const kind = attributes['gen_ai.operation.name'] === 'chat' ? SpanKind.CLIENT : SpanKind.INTERNAL
    const span = tracer.startSpan(name, { kind, startTime: start, attributes }, parent(run))
    if (error) {
      span.setAttribute('error.type', error.code)
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
    }
    span.end(run.services.clock())
  }

  return {
    models: (models) =>
      breakers.addCallback((result) => {
        for (const { route, target, state } of models.breakers())
          result.observe(BREAKER[state], { 'muster.route': route, 'muster.target': target })
      }),
    waited: (reason, ms) => waitedMs.set(reason, (waitedMs.get(reason) ?? 0) + Math.max(ms, 0)),
    worker(worker) {
      ofWorker = worker
      held.addCallback((result) => result.observe(worker.held()))
      places.addCallback((result) => result.observe(worker.concurrency))
      lost.addCallback((result) => result.observe(worker.lost()))
      const told = new Set<string>()
      backlog.addCallback(async (result) => {
        const waiting = await worker.backlog()
        for (const tenant of waiting.keys()) told.add(tenant)
        // Once nothing waits that is told too: without it the last figure would stand.
        for (const tenant of told) {
          result.observe(waiting.get(tenant) ?? 0, { 'muster.tenant': tenant })
          if (!waiting.has(tenant)) told.delete(tenant)
        }
      })
      meter.addBatchObservableCallback(
        async (result) => {
          for (const lag of await worker.lags()) {
            const attributes = { 'muster.outbox': lag.outbox }
            result.observe(outboxWaiting, lag.waiting, attributes)
            result.observe(outboxAge, lag.ageMs / 1000, attributes)
          }
        },
        [outboxWaiting, outboxAge],
      )
    },
    policyDifference: (action) => differences.add(1, { 'muster.action': action }),
    step(run, step, status, executed, error) {
      const { id, operation: about } = step.spec
      const { kind, target } = about
      const name = operation[kind] ?? kind
      const attributes: Attributes = {
        'gen_ai.operation.name': name,
        'muster.run.id': run.id,
        'muster.step.id': id,
        'muster.step.attempt': step.attempt,
        'muster.step.status': status,
        'muster.tenant': run.tenant,
        ...(step.decision
          ? { 'muster.decision': step.decision.effect, 'muster.policies': step.decision.policies }
          : {}),
        ...(step.decision?.trial ? { 'muster.trial': step.decision.trial.effect } : {}),
        ...(kind === 'tool' ? { 'gen_ai.tool.name': target } : {}),
        ...(kind === 'model' ? modelAttributes(run, target, executed?.via) : {}),
        ...(executed?.model === undefined ? {} : { 'gen_ai.response.model': executed.model }),
        ...(executed?.usage
          ? {
              'gen_ai.usage.input_tokens': executed.usage.inputTokens,
              'gen_ai.usage.output_tokens': executed.usage.outputTokens,
            }
          : {}),
      }
      emit(run, `${name} ${target}`, step.beganAt, attributes, error)
      const dimensions = { 'gen_ai.operation.name': name, 'muster.target': target, 'muster.step.status': status }
      steps.record((run.services.clock() - step.beganAt) / 1000, dimensions)
      const { decision } = step
      if (decision?.trial)
        trials.add(1, {
          'muster.target': target,
          'muster.decision': decision.effect,
          'muster.trial': decision.trial.effect,
        })
      if (executed?.usage) {
        tokens.record(executed.usage.inputTokens, { ...dimensions, 'gen_ai.token.type': 'input' })
        tokens.record(executed.usage.outputTokens, { ...dimensions, 'gen_ai.token.type': 'output' })
      }
      if (executed?.costUsd)
        cost.add(executed.costUsd, { 'muster.tenant': run.tenant, 'gen_ai.response.model': executed.model ?? target })
    },
    run(run, status, error) {
      const { name, version, kind } = run.created.definition
      const attributes: Attributes = {
        'gen_ai.operation.name': kind === 'agent' ? 'invoke_agent' : 'invoke_workflow',
        'gen_ai.agent.name': name,
        'gen_ai.agent.version': version,
        'gen_ai.conversation.id': run.created.session ?? run.id,
        'muster.run.id': run.id,
        'muster.run.status': status,
        'muster.tenant': run.tenant,
        'muster.cost_usd': run.totals.costUsd,
      }
      emit(run, `invoke_agent ${name}`, run.startedAt, attributes, error)
      runs.record((run.services.clock() - run.startedAt) / 1000, {
        'gen_ai.agent.name': name,
        'muster.run.status': status,
      })
    },
  }
}
