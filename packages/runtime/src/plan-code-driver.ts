import { AsyncLocalStorage } from 'node:async_hooks'
import { joinLabels } from '@muster/governance'
import { type ErrorCode, errorCatalog, type Json, type Label, MusterError, toMusterError } from '@muster/protocol'
import { markOutput, type Plan, type Settled, type Step } from '@muster/sdk'
import { checked } from '@muster/tools'
import type { ActiveRun, Driver } from './active-run.ts'
import type { StepSpec } from './step.ts'
import { agentStep, modelStep, type Place, toolStep } from './steps.ts'

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
  plan: Plan & { body: { run: (step: Step, input: never) => Promise<unknown> } },
): Driver {
  const scopes = new AsyncLocalStorage<Scope>()
  const top: Scope = { prefix: '', used: new Map() }
  const calls = new Map<string, { resolve: (output: Json) => void; reject: (error: Error) => void }>()
  /** Labels of everything that the plan has been given: its literals may be made of any of it. */
  let seen: readonly Label[] = run.created.labels

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
    run.step(spec({ id, input: input === undefined ? null : JSON.parse(JSON.stringify(input)), labels: seen }))
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

  // The casts below give each call the type that the tool's or agent's schema has checked.
  const step: Step = {
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
      options?: { name?: string; until?: 'ended' | 'parked' },
    ) =>
      take(options?.name ?? agent.name, input, (place) =>
        agentStep(agent, options?.until ?? 'ended', place),
      )) as Step['agent'],
    map: map as Step['map'],
  }

  return {
    asynchronous: true,
    start() {
      const input = checked(plan.input, run.input, 'input.invalid', `the input of ${plan.name}`)
      plan.body.run(step, input as never).then(
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
