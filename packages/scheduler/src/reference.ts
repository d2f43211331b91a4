import type { Priority, Settled } from './scheduler.ts'

interface Step {
  run: Run
  state: 'blocked' | 'ready' | 'running' | 'waiting' | 'delayed' | 'gone'
  /** Dependencies that have not ended; a step named twice counts twice. */
  open: number
  dependents: Step[]
  /** When a delayed step is ready again. */
  at: number
}

interface Run {
  turn: Turn
  steps: Set<Step>
}

/** One tenant's place in one priority: its ready steps, first come first. */
interface Turn {
  tenant: string
  priority: Priority
  queue: Step[]
  deficit: number
}

/**
 * The scheduler as one would write it if time and memory did not matter: arrays, maps and objects, no
 * slot reused. Tests give it the events that `Scheduler` gets and compare what both start.
 */
export class ReferenceScheduler {
  readonly #concurrency: number
  readonly #steps: Step[] = []
  readonly #runs: Run[] = []
  readonly #turns: Turn[] = []
  readonly #weights = new Map<string, number>()
  /** Per priority, who has ready steps, in the order of their turns. */
  readonly #rings: [Turn[], Turn[], Turn[]] = [[], [], []]

  constructor(options: { concurrency: number }) {
    this.#concurrency = options.concurrency
  }

  get running(): number {
    return this.#steps.filter((step) => step.state === 'running').length
  }

  setWeight(tenant: string, weight: number): void {
    this.#weights.set(tenant, Math.max(weight, 0.01))
  }

  openRun(tenant: string, priority: Priority): number {
    const known = this.#turns.find((turn) => turn.tenant === tenant && turn.priority === priority)
    const turn = known ?? { tenant, priority, queue: [], deficit: 0 }
    if (!known) this.#turns.push(turn)
    return this.#runs.push({ turn, steps: new Set() }) - 1
  }

  addStep(run: number, after: readonly number[]): number {
    const on = after.map((id) => this.#steps[id]).filter((step) => step?.state !== 'gone')
    const step: Step = { run: this.#runs[run], state: 'blocked', open: on.length, dependents: [], at: 0 }
    step.run.steps.add(step)
    for (const dependency of on) dependency.dependents.push(step)
    if (step.open === 0) this.#enqueue(step)
    return this.#steps.push(step) - 1
  }

  poll(now: number): number[] {
    const due = this.#steps.filter((step) => step.state === 'delayed' && step.at <= now)
    for (const step of due.sort((a, b) => a.at - b.at)) this.#enqueue(step)
    const started: number[] = []
    for (const ring of this.#rings) {
      while (this.running < this.#concurrency) {
        const step = this.#dequeue(ring)
        if (!step) break
        step.state = 'running'
        started.push(this.#steps.indexOf(step))
      }
    }
    return started
  }

  settle(id: number): Settled {
    const step = this.#steps[id]
    if (step.state === 'gone') return 'stale'
    if (step.state === 'blocked') return 'refused'
    // The order of what becomes ready at one moment is not promised; the newest edge comes first.
    for (const dependent of step.dependents.toReversed()) {
      if (dependent.state === 'blocked' && --dependent.open === 0) this.#enqueue(dependent)
    }
    step.state = 'gone'
    step.run.steps.delete(step)
    return 'settled'
  }

  retry(id: number, at: number): Settled {
    return this.#move(id, 'running', (step) => {
      step.state = 'delayed'
      step.at = at
    })
  }

  wait(id: number): Settled {
    return this.#move(id, 'running', (step) => {
      step.state = 'waiting'
    })
  }

  resume(id: number): Settled {
    return this.#move(id, 'waiting', (step) => this.#enqueue(step))
  }

  closeRun(run: number): void {
    for (const step of this.#runs[run].steps) step.state = 'gone'
    this.#runs[run].steps.clear()
  }

  #move(id: number, from: Step['state'], to: (step: Step) => void): Settled {
    const step = this.#steps[id]
    if (step.state === 'gone') return 'stale'
    if (step.state !== from) return 'refused'
    to(step)
    return 'settled'
  }

  #enqueue(step: Step): void {
    const { turn } = step.run
    const ring = this.#rings[turn.priority]
    step.state = 'ready'
    turn.queue.push(step)
    if (ring.includes(turn)) return
    turn.deficit = 0
    ring.push(turn)
  }

  #dequeue(ring: Turn[]): Step | undefined {
    for (let turn = ring[0]; turn !== undefined; turn = ring[0]) {
      const [step] = turn.queue
      if (step === undefined) {
        ring.shift()
        continue
      }
      // A step that went while it was queued keeps its tenant's place until its turn, and costs nothing.
      if (step.state === 'gone') {
        turn.queue.shift()
        continue
      }
      if (turn.deficit < 1) turn.deficit += this.#weights.get(turn.tenant) ?? 1
      if (turn.deficit >= 1) {
        turn.deficit -= 1
        turn.queue.shift()
        if (turn.queue.length === 0) ring.shift()
        else if (turn.deficit < 1) ring.push(...ring.splice(0, 1))
        return step
      }
      ring.push(...ring.splice(0, 1))
    }
    return undefined
  }
}
