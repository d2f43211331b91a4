import { MusterError, nameOf, type Stop } from '@muster/protocol'
import type { ActiveRun } from '../run/active-run.ts'
import type { StepState } from '../step/step.ts'
import { cutStep } from '../step/step-life.ts'

/** How long after a failure it is tried again to wait for a lift, ms. */
const AGAIN_MS = 1000

/** The stops that hold a run back: of its tenant, of its agent or plan, or of what its steps call. */
export class HeldByStops {
  readonly #run: ActiveRun
  /** By name: whether the run is sure to be woken when it is lifted. */
  readonly #held = new Map<string, boolean>()

  constructor(run: ActiveRun) {
    this.#run = run
  }

  get some(): boolean {
    return this.#held.size > 0
  }

  /** It may leave the worker. */
  get areAwaited(): boolean {
    for (const isAwaited of this.#held.values()) if (!isAwaited) return false
    return true
  }

  /** Whether something stops this step; what does, the run waits for from now on. */
  hold(step: StepState): boolean {
    const run = this.#run
    const stop = stopOf(run, step)
    if (!stop) return false
    const { name, by, reason } = stop
    if (step.spec.operation.ofClient) {
      run.fail({ code: 'stop.active', message: stoppedText(stop) })
      return true
    }
    if (this.#held.has(name)) return true
    const why = reason === undefined ? {} : { reason }
    run.append({ type: 'run.stopped', at: run.services.clock(), stop: name, by, ...why })
    this.#await(name)
    return true
  }

  /** What its journal says of an earlier activation. */
  takeUp(names: Iterable<string>): void {
    for (const name of names) this.#await(name)
    this.heed()
  }

  #await(name: string): void {
    const run = this.#run
    const { controls, log } = run.services
    this.#held.set(name, false)
    controls.await(run.tenant, name, run.id).then(
      () => {
        if (!this.#held.has(name)) return
        this.#held.set(name, true)
        run.considerPark()
      },
      (error) => {
        log.warn({ run: run.id, err: error }, 'stop not awaited; it is tried again')
        setTimeout(() => {
          if (!run.over && this.#held.has(name)) this.#await(name)
        }, AGAIN_MS).unref()
      },
    )
  }

  /** What is under way and may be repeated is cut off by new stops; what was lifted holds nothing any more. */
  heed(): void {
    const run = this.#run
    for (const step of run.steps.values()) {
      const stop = step.pending && step.spec.operation.effect !== 'once' ? stopOf(run, step) : undefined
      if (stop) cutStep(step, new MusterError('stop.active', stoppedText(stop)))
    }
    const stops = run.services.controls.stops(run.tenant)
    for (const name of [...this.#held.keys()]) {
      if (stops?.has(name)) continue
      this.#held.delete(name)
      run.append({ type: 'run.lifted', at: run.services.clock(), stop: name })
      run.goOn()
    }
  }

  /** One was lifted, and perhaps set again: then the next lift is to wake the run too. */
  heedLift(): void {
    this.heed()
    for (const name of this.#held.keys()) this.#await(name)
  }
}

function stoppedText({ name, by, reason }: Stop): string {
  return `"${name}" was stopped by ${by}${reason === undefined ? '' : `: ${reason}`}`
}

/** What stops a step. */
function stopOf({ services, tenant, created }: ActiveRun, { spec }: StepState): Stop | undefined {
  const { controls } = services
  if (!controls.hasStops) return undefined
  const stops = controls.stops(tenant)
  if (!stops) return undefined
  const { kind, name } = created.definition
  const { kind: called, target } = spec.operation
  const of = called === 'agent' ? nameOf(target) : target
  return stops.get('tenant') ?? stops.get(`${kind}:${name}`) ?? stops.get(`${called}:${of}`)
}
