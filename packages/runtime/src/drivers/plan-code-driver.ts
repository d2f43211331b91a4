import { AsyncLocalStorage } from 'node:async_hooks'
import { joinLabels } from '@muster/governance'
import { type ErrorCode, errorCatalog, type Json, type Label, MusterError, toMusterError } from '@muster/protocol'
import { type CodeOptions, markOutput, type Plan, type Settled, type Step, type WaitOptions } from '@muster/sdk'
import { checked } from '@muster/tools'
import type { ActiveRun, Driver } from '../run/active-run.ts'
import type { StepSpec } from '../step/step.ts'
import { agentStep, codeStep, modelStep, type Place, toolStep } from '../step/steps.ts'
import { approvalStep, signalStep, timerInput, timerStep } from '../step/wait-steps.ts'
import { guarded, unguarded } from './plan-guard.ts'

/** Names within one scope: the plan's own, or one call of a `map`. */
interface Scope {
  prefix: string
  used: Map<string, number>
}

const MAP_CONCURRENCY = 10

/**
 * Drives a plan as code: runs its function, turns each `step.…` call into a step of the graph, and
 * resolves the call's promise with the outcome. On replay the function runs anew and is given the
 * recorded outcomes in their order.
 */
export function planCodeDriver(
  run: ActiveRun,
  plan: Plan & { body: { run: (step: Step<never>, input: never) => Promise<unknown> } },
): Driver {
  const scopes = new AsyncLocalStorage<Scope>()
  const before = run.checkpointed
  const top: Scope = { prefix: '', used: new Map(before?.names) }
  const calls = new Map<string, { resolve: (output: Json) => void; reject: (error: Error) => void }>()
  /** Labels of everything that the plan has been given: its literals may be made of any of it. */
  let seen: readonly Label[] = before?.labels ?? run.created.labels

  function nameIt(name: string): string {
    const scope = scopes.getStore() ?? top
    const count = (scope.used.get(name) ?? 0) + 1
    scope.used.set(name, count)
    return `${scope.prefix}${name}${count === 1 ? '' : `.${count}`}`
  }

  function take(name: string, input: unknown, spec: (place: Place) => StepSpec): Promise<Json> {
    const id = nameIt(name)
    const promise = new Promise<Json>((resolve, reject) => calls.set(id, { resolve, reject }))
    // A plan may leave a step behind; its failure is then in the journal and nowhere else.
    promise.catch(() => {})
    // What a plan passes becomes JSON here, so that live and replayed runs see the same.
    const place = { id, input: input === undefined ? null : JSON.parse(JSON.stringify(input)), labels: seen }
    unguarded(() => run.step(spec(place)))
    return promise
  }

  async function map<T, R>(
    items: readonly T[],
    each: (item: T, index: number) => Promise<R>,
    options: { concurrency?: number; settle?: boolean } = {},
  ): Promise<R[] | Settled<R>> {
    const prefix = nameIt('map')
    const results: R[] = new Array(items.length)
    const failed: Settled<R>['failed'] = []
    const failedAt = new Set<number>()
    let next = 0
    const lane = async (): Promise<void> => {
      while (next < items.length) {
        const index = next++
        const item = items[index] as T // index < length
        try {
          results[index] = await scopes.run({ prefix: `${prefix}[${index}].`, used: new Map() }, () =>
            each(item, index),
          )
        } catch (error) {
          if (!options.settle) throw error
          const { code, message } = toMusterError(error, 'plan.failed')
          failed.push({ index, code, message })
          failedAt.add(index)
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(options.concurrency ?? MAP_CONCURRENCY, items.length) }, lane))
    if (!options.settle) return results
    return { ok: results.filter((_, index) => !failedAt.has(index)), failed: failed.sort((a, b) => a.index - b.index) }
  }

  async function any<T>(branches: readonly (() => Promise<T>)[]): Promise<T> {
    const prefix = nameIt('any')
    const scopeOf = (index: number) => `${prefix}[${index}].`
    return Promise.any(
      branches.map(async (branch, index) => {
        const value = await scopes.run({ prefix: scopeOf(index), used: new Map() }, branch)
        unguarded(() => {
          for (const other of branches.keys()) if (other !== index) run.cancelSteps(scopeOf(other))
        })
        return value
      }),
    ).catch((error: AggregateError) => {
      // All have failed: the first says why.
      throw error.errors[0] ?? new MusterError('plan.failed', 'step.any was given no branch')
    })
  }

  /** Checks a signal's payload by the plan's own schema, which may say more than JSON Schema can. */
  function taking(name: string): (payload: Json) => Json {
    const schema = plan.signals[name]
    if (!schema) throw new MusterError('definition.invalid', `plan "${plan.name}" declares no signal "${name}"`)
    return (payload) => checked(schema, payload, 'input.invalid', `signal "${name}"`)
  }

  // The casts below give each call the type that the tool's or agent's schema has checked.
  const step: Step<never> = {
    tool: (tool, input, options) => take(options?.name ?? tool.name, input, (place) => toolStep(tool, place)) as never,
    model: (route, prompt, options) =>
      take(options?.name ?? 'model', prompt, (place) =>
        modelStep(run, route, place, ({ input }) => ({
          messages: [
            ...(options?.instructions === undefined
              ? []
              : [{ role: 'system' as const, content: options.instructions }]),
            { role: 'user', content: typeof input === 'string' ? input : JSON.stringify(input) },
          ],
        })),
      ).then((output) => (output as { text: string | null }).text ?? ''),
    agent: ((
      agent: Parameters<Step['agent']>[0],
      input: unknown,
      options?: { name?: string; until?: 'ended' | 'parked' | 'started' },
    ) =>
      take(options?.name ?? agent.name, input, (place) =>
        agentStep(agent, options?.until ?? 'ended', place),
      )) as Step['agent'],
    run: (name, work, options = {}) =>
      take(name, null, (place) =>
        codeStep(name, plan.name, (call) => work(call), options as CodeOptions<never>, place),
      ) as never,
    sleep: (until, options) =>
      take(options?.name ?? 'sleep', timerInput(until), (place) => timerStep(place)).then(() => undefined),
    signal: (name: string, options: WaitOptions = {}) => {
      const check = taking(name)
      return take(options.name ?? name, null, (place) => ({
        ...signalStep(name, place, check),
        timeoutMs: options.timeoutMs,
      })) as never
    },
    approval: (show, { role, name, timeoutMs, ...rule }) =>
      take(name ?? 'approval', show, (place) => ({
        ...approvalStep(role, rule, place),
        timeoutMs,
      })) as never,
    all: (steps) => Promise.all(steps) as never,
    any: any as Step['any'],
    restored: (schema) =>
      before === undefined
        ? undefined
        : (checked(schema, before.state, 'input.invalid', 'the state of the checkpoint') as never),
    checkpoint: (state) =>
      new Promise((resolve, reject) => {
        const kept = { state: JSON.parse(JSON.stringify(state)), names: [...top.used], labels: seen }
        unguarded(() => run.checkpoint(kept, (error) => (error ? reject(error) : resolve())))
      }),
    patched: (patch) => unguarded(() => run.replay.patched(patch)),
    map: map as Step['map'],
  }

  return {
    asynchronous: true,
    rollback: plan.rollback,
    start() {
      const input = checked(plan.input, run.input, 'input.invalid', `the input of ${plan.name}`)
      guarded(plan.name, () => plan.body.run(step, input as never)).then(
        (output) => run.finish(output === undefined ? null : JSON.parse(JSON.stringify(output)), seen),
        (error) => run.fail(toMusterError(error, 'plan.failed')),
      )
    },
    ended({ spec, outcome }) {
      const call = calls.get(spec.id)
      calls.delete(spec.id)
      if (!call || !outcome) return
      seen = joinLabels(seen, outcome.labels)
      if (outcome.status === 'ok') {
        // Its own, so that the plan cannot change what others read.
        const output: Json = JSON.parse(outcome.text)
        markOutput(output, spec.id)
        call.resolve(output)
      } else {
        const { code = 'internal', message = 'no outcome' } = outcome.error ?? {}
        call.reject(new MusterError(code in errorCatalog ? (code as ErrorCode) : 'tool.failed', message))
      }
    },
  }
}
