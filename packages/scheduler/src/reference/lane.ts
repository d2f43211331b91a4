import type { Priority } from '../scheduler.ts'

/** What a lane needs to know of a step. */
export interface Queued {
  state: string
  run: { tenant: string; priority: Priority }
}

/** The steps of one tenant in one priority: a list for each bucket. */
interface Queue<S> {
  tenant: string
  deficit: number
  buckets: Map<number, S[]>
  /** Whether it has held more than one bucket since it was empty. */
  mixed: boolean
  /** Steps taken since then, and the bucket that the last 16th of them came from. */
  pops: number
  cursor: number
}

interface Head<S> {
  step: S
  priority: number
  queue: Queue<S>
  bucket: number
}

/** Ready steps by priority, then by tenants in turn, then by bucket. */
export class ReferenceLane<S extends Queued> {
  readonly #rings: [Queue<S>[], Queue<S>[], Queue<S>[]] = [[], [], []]
  /** Steps of higher priorities that went by while a priority waited. */
  readonly #passed: [number, number, number] = [0, 0, 0]
  readonly #weightOf: (tenant: string) => number

  constructor(weightOf: (tenant: string) => number) {
    this.#weightOf = weightOf
  }

  /** Steps that ended in their queue count until they are looked at. */
  get isEmpty(): boolean {
    return this.#rings.every((ring) => ring.length === 0)
  }

  put(step: S, bucket: number): void {
    const { tenant, priority } = step.run
    const ring = this.#rings[priority]
    if (ring.length === 0) this.#passed[priority] = 0
    let queue = ring.find((other) => other.tenant === tenant)
    if (!queue) {
      queue = { tenant, deficit: 0, buckets: new Map(), mixed: false, pops: 0, cursor: 63 }
      ring.push(queue)
    }
    const list = queue.buckets.get(bucket)
    if (list) list.push(step)
    else queue.buckets.set(bucket, [step])
    if (queue.buckets.size > 1) queue.mixed = true
  }

  /** The step whose turn it is. It stays; asking again gives the same. */
  peek(): S | undefined {
    return this.#head()?.step
  }

  /** Takes the step that `peek` gives, at its tenant's cost or not. */
  pop(charged: boolean): void {
    const head = this.#head()
    if (!head) return
    this.#take(head)
    if (!charged) return
    const { queue, priority } = head
    const ring = this.#rings[priority]
    queue.deficit -= 1
    if (ring[0] === queue && queue.deficit < 1) ring.push(...ring.splice(0, 1))
    this.#passed[priority] = 0
    for (let lower = priority + 1; lower < 3; lower++) if (this.#rings[lower].length > 0) this.#passed[lower] += 1
  }

  #head(): Head<S> | undefined {
    for (;;) {
      const priority = this.#priority()
      if (priority === undefined) return undefined
      const ring = this.#rings[priority]
      const [queue] = ring
      const bucket = nextBucket(queue)
      const [step] = queue.buckets.get(bucket) ?? []
      const head = { step, priority, queue, bucket }
      if (step.state === 'gone') this.#take(head)
      else {
        if (queue.deficit < 1) queue.deficit += this.#weightOf(queue.tenant)
        if (queue.deficit >= 1) return head
        ring.push(...ring.splice(0, 1))
      }
    }
  }

  #priority(): number | undefined {
    const waiting = [0, 1, 2].filter((priority) => this.#rings[priority].length > 0)
    const [top] = waiting
    return waiting.findLast((priority) => priority !== top && this.#passed[priority] >= 15) ?? top
  }

  #take({ queue, bucket, priority }: Head<S>): void {
    const list = queue.buckets.get(bucket) ?? []
    list.shift()
    if (list.length === 0) queue.buckets.delete(bucket)
    if (queue.mixed) {
      queue.pops += 1
      if (queue.pops % 16 === 0) queue.cursor = bucket
    }
    if (queue.buckets.size === 0) this.#rings[priority].shift()
  }
}

/** The highest; but every 16th time the next below the one so served last, so that none waits for ever. */
function nextBucket<S>({ buckets, mixed, pops, cursor }: Queue<S>): number {
  const highestFirst = [...buckets.keys()].sort((a, b) => b - a)
  if (!mixed || (pops + 1) % 16 !== 0) return highestFirst[0]
  return highestFirst.find((bucket) => bucket < cursor) ?? highestFirst[0]
}
