import { GONE, grown, grownFloats, NEXT, NONE, QUEUED, STATE, STATES, STRIDE, type Steps } from './steps.ts'

const PRIORITIES = 3
/** Rings of a lane, one per priority and one that stays empty. */
const RINGS = 4
/** A lower priority that waits is served at least once in so many starts. */
const PATIENCE = 16
/** Bucket of steps that go before all others of their tenant. */
export const TOP_BUCKET = 63
const BUCKETS = 64

// A queue: one tenant's steps of one priority in one lane.
const HEAD = 0
const TAIL = 1
/** The bucket of all steps, as long as they share one. */
const BUCKET = 2
/** Its block of buckets, when they do not. */
const BLOCK = 3
const RING_NEXT = 4
const RING = 5
const TENANT = 6
/** The same tenant's and priority's queue in the main lane. */
const MAIN = 7
const QUEUE_STRIDE = 8

// A block: head and tail of each bucket, then these.
const LOW = BUCKETS * 2
const HIGH = LOW + 1
const POPS = LOW + 2
const CURSOR = LOW + 3
const BLOCK_STRIDE = LOW + 4

/**
 * Ready steps in lanes: lane 0 for those that may start, one lane per resource for those that wait for it. In a lane
 * the priority comes first, with a bound on how long a lower one waits; then tenants take turns by deficit round robin
 * (Shreedhar and Varghese, 1995); then the bucket, higher first; then first come. Everything is O(1).
 */
export class Lanes {
  readonly #steps: Steps
  /** Steps in the main lane, and in all others; some may be gone, until their turn comes. */
  inMain = 0
  inOthers = 0
  #queues = new Int32Array(16 * QUEUE_STRIDE)
  #deficits = new Float64Array(16)
  #queueCount = 0
  #freeQueue = NONE
  #blocks = new Int32Array(BLOCK_STRIDE)
  #blockCount = 0
  #freeBlock = NONE
  /** Per lane and priority the last queue of the ring, whose next is its head. */
  #rings = new Int32Array(8 * RINGS).fill(NONE)
  /** Per lane and priority how often a higher one was served while it waited. */
  #passed = new Int32Array(8 * RINGS)
  #weights = new Float64Array(16).fill(1)
  /** Queues of lanes other than the main one, which live only while they hold something. */
  readonly #waiting = new Map<number, number>()
  /** What `peek` found. */
  #queue = NONE
  #ring = NONE

  constructor(steps: Steps) {
    this.#steps = steps
  }

  get bytes(): number {
    const { byteLength } = this.#queues
    return byteLength + this.#deficits.byteLength + this.#blocks.byteLength + this.#rings.byteLength
  }

  addLane(lane: number): void {
    while ((lane + 1) * RINGS > this.#rings.length) {
      const rings = new Int32Array(this.#rings.length * 2).fill(NONE)
      rings.set(this.#rings)
      this.#rings = rings
      this.#passed = grown(this.#passed)
    }
  }

  /** Makes a tenant's queues in the main lane: the first of three, by priority. */
  addTenant(tenant: number): number {
    while (tenant >= this.#weights.length) this.#weights = grownFloats(this.#weights)
    this.#weights[tenant] = 1
    // They lie side by side, so none can be one that became free.
    const first = this.#queueCount
    for (let priority = 0; priority < PRIORITIES; priority++) this.#begin(this.#newQueue(), tenant, priority)
    return first
  }

  setWeight(tenant: number, weight: number): void {
    this.#weights[tenant] = weight
  }

  isEmpty(lane: number): boolean {
    const rings = this.#rings
    const ring = lane * RINGS
    return rings[ring] === NONE && rings[ring + 1] === NONE && rings[ring + 2] === NONE
  }

  /** Adds a step to a queue of the main lane. */
  put(queue: number, step: number, bucket: number): void {
    const words = this.#steps.words
    words[step * STRIDE + NEXT] = NONE
    words[step * STRIDE + STATE] |= QUEUED
    const queues = this.#queues
    const at = queue * QUEUE_STRIDE
    if (queues[at + RING] < RINGS) this.inMain++
    else this.inOthers++
    if (queues[at + HEAD] === NONE) {
      queues[at + HEAD] = step
      queues[at + TAIL] = step
      queues[at + BUCKET] = bucket
      this.#join(queue)
    } else if (queues[at + BLOCK] === NONE && queues[at + BUCKET] === bucket) {
      words[queues[at + TAIL] * STRIDE + NEXT] = step
      queues[at + TAIL] = step
    } else {
      this.#putMixed(at, step, bucket)
    }
  }

  /** Adds a step to another lane, at the place of the tenant and priority of `main`, a queue of the main lane. */
  putWaiting(lane: number, main: number, step: number, bucket: number): void {
    const key = lane * 2 ** 26 + main
    let queue = this.#waiting.get(key)
    if (queue === undefined) {
      const from = main * QUEUE_STRIDE
      queue = this.#takeQueue(this.#queues[from + TENANT], lane * RINGS + this.#queues[from + RING])
      this.#queues[queue * QUEUE_STRIDE + MAIN] = main
      this.#waiting.set(key, queue)
    }
    this.put(queue, step, bucket)
  }

  /** The step that is next in a lane, or `NONE`. The same again, until something changes. */
  peek(lane: number): number {
    const first = lane * RINGS
    for (;;) {
      const rings = this.#rings
      let ring = first
      if (rings[ring] === NONE && rings[++ring] === NONE && rings[++ring] === NONE) return NONE
      for (let lower = first + PRIORITIES - 1; lower > ring; lower--) {
        if (rings[lower] === NONE || this.#passed[lower] < PATIENCE - 1) continue
        ring = lower
        break
      }
      const queues = this.#queues
      const queue = queues[rings[ring] * QUEUE_STRIDE + RING_NEXT]
      const at = queue * QUEUE_STRIDE
      this.#queue = queue
      this.#ring = ring
      const step = queues[at + BLOCK] === NONE ? queues[at + HEAD] : this.#headMixed(queues[at + BLOCK])
      if ((this.#steps.words[step * STRIDE] & STATES) === GONE) {
        this.move(step)
        this.#steps.release(step)
        continue
      }
      if (this.#deficits[queue] < 1) {
        this.#deficits[queue] += this.#weights[queues[at + TENANT]]
        if (this.#deficits[queue] < 1) {
          rings[ring] = queue
          continue
        }
      }
      return step
    }
  }

  /** Takes out what `peek` found, without a cost to its tenant. */
  move(step: number): void {
    const words = this.#steps.words
    words[step * STRIDE + STATE] &= ~QUEUED
    this.#remove(words[step * STRIDE + NEXT])
  }

  /** Takes out what `peek` found; it was its tenant's turn. */
  pop(step: number): void {
    const words = this.#steps.words
    const queue = this.#queue
    const ring = this.#ring
    words[step * STRIDE + STATE] &= ~QUEUED
    const deficit = this.#deficits[queue] - 1
    this.#deficits[queue] = deficit
    if (this.#remove(words[step * STRIDE + NEXT]) && deficit < 1) this.#rings[ring] = queue
    const passed = this.#passed
    passed[ring] = 0
    for (let lower = ring + 1; (lower & (RINGS - 1)) !== 0; lower++) if (this.#rings[lower] !== NONE) passed[lower]++
  }

  /** Takes the head out of the queue that `peek` found. False when the queue is empty then, and has left the ring. */
  #remove(next: number): boolean {
    const queues = this.#queues
    const at = this.#queue * QUEUE_STRIDE
    if (this.#ring < RINGS) this.inMain--
    else this.inOthers--
    if (queues[at + BLOCK] !== NONE) {
      if (this.#removeMixed(at, next)) return true
    } else {
      queues[at + HEAD] = next
      if (next !== NONE) return true
    }
    this.#leave()
    return false
  }

  #join(queue: number): void {
    const queues = this.#queues
    const at = queue * QUEUE_STRIDE
    const ring = queues[at + RING]
    const tail = this.#rings[ring]
    if (tail === NONE) {
      queues[at + RING_NEXT] = queue
      this.#passed[ring] = 0
    } else {
      queues[at + RING_NEXT] = queues[tail * QUEUE_STRIDE + RING_NEXT]
      queues[tail * QUEUE_STRIDE + RING_NEXT] = queue
    }
    this.#rings[ring] = queue
    this.#deficits[queue] = 0
  }

  /** The queue at the head of the ring is empty. */
  #leave(): void {
    const queues = this.#queues
    const queue = this.#queue
    const ring = this.#ring
    const tail = this.#rings[ring]
    const at = queue * QUEUE_STRIDE
    if (tail === queue) this.#rings[ring] = NONE
    else queues[tail * QUEUE_STRIDE + RING_NEXT] = queues[at + RING_NEXT]
    if (ring < RINGS) return
    this.#waiting.delete((ring >> 2) * 2 ** 26 + queues[at + MAIN])
    queues[at + RING_NEXT] = this.#freeQueue
    this.#freeQueue = queue
  }

  #takeQueue(tenant: number, ring: number): number {
    const free = this.#freeQueue
    if (free !== NONE) this.#freeQueue = this.#queues[free * QUEUE_STRIDE + RING_NEXT]
    const queue = free === NONE ? this.#newQueue() : free
    this.#begin(queue, tenant, ring)
    return queue
  }

  #newQueue(): number {
    const queue = this.#queueCount++
    if (queue === this.#deficits.length) {
      this.#deficits = grownFloats(this.#deficits)
      this.#queues = grown(this.#queues)
    }
    return queue
  }

  #begin(queue: number, tenant: number, ring: number): void {
    const at = queue * QUEUE_STRIDE
    this.#queues[at + HEAD] = NONE
    this.#queues[at + BLOCK] = NONE
    this.#queues[at + RING] = ring
    this.#queues[at + TENANT] = tenant
  }

  #putMixed(at: number, step: number, bucket: number): void {
    const queues = this.#queues
    let block = queues[at + BLOCK]
    if (block === NONE) {
      block = this.#takeBlock()
      queues[at + BLOCK] = block
      const old = block + queues[at + BUCKET] * 2
      this.#blocks[old] = queues[at + HEAD]
      this.#blocks[old + 1] = queues[at + TAIL]
      this.#mark(block, queues[at + BUCKET])
    }
    const blocks = this.#blocks
    const place = block + bucket * 2
    if (this.#holds(block, bucket)) {
      this.#steps.words[blocks[place + 1] * STRIDE + NEXT] = step
    } else {
      blocks[place] = step
      this.#mark(block, bucket)
    }
    blocks[place + 1] = step
  }

  #headMixed(block: number): number {
    return this.#blocks[block + this.#choose(block) * 2]
  }

  /** Takes the head of the chosen bucket; false when nothing is left. */
  #removeMixed(at: number, next: number): boolean {
    const queues = this.#queues
    const blocks = this.#blocks
    const block = queues[at + BLOCK]
    const bucket = this.#choose(block)
    if (++blocks[block + POPS] % PATIENCE === 0) blocks[block + CURSOR] = bucket
    if (next !== NONE) {
      blocks[block + bucket * 2] = next
      return true
    }
    if (bucket < 32) blocks[block + LOW] &= ~(1 << bucket)
    else blocks[block + HIGH] &= ~(1 << (bucket - 32))
    if ((blocks[block + LOW] | blocks[block + HIGH]) !== 0) return true
    queues[at + HEAD] = NONE
    queues[at + BLOCK] = NONE
    blocks[block] = this.#freeBlock
    this.#freeBlock = block
    return false
  }

  /** The highest bucket; now and then the next lower one than the last time, so that none waits for ever. */
  #choose(block: number): number {
    const blocks = this.#blocks
    const low = blocks[block + LOW]
    const high = blocks[block + HIGH]
    if ((blocks[block + POPS] + 1) % PATIENCE === 0) {
      const cursor = blocks[block + CURSOR]
      const below = highest(
        cursor >= 32 ? low : low & ((1 << cursor) - 1),
        cursor > 32 ? high & ((1 << (cursor - 32)) - 1) : 0,
      )
      if (below !== NONE) return below
    }
    return highest(low, high)
  }

  #holds(block: number, bucket: number): boolean {
    const mask = this.#blocks[block + (bucket < 32 ? LOW : HIGH)]
    return ((mask >>> (bucket & 31)) & 1) === 1
  }

  #mark(block: number, bucket: number): void {
    this.#blocks[block + (bucket < 32 ? LOW : HIGH)] |= 1 << (bucket & 31)
  }

  #takeBlock(): number {
    let block = this.#freeBlock
    if (block !== NONE) {
      this.#freeBlock = this.#blocks[block]
    } else {
      block = this.#blockCount++ * BLOCK_STRIDE
      if (block === this.#blocks.length) this.#blocks = grown(this.#blocks)
    }
    this.#blocks[block + LOW] = 0
    this.#blocks[block + HIGH] = 0
    this.#blocks[block + POPS] = 0
    this.#blocks[block + CURSOR] = TOP_BUCKET
    return block
  }
}

/** The highest bit that is set in two words, or `NONE`. */
function highest(low: number, high: number): number {
  if (high !== 0) return 63 - Math.clz32(high)
  return low === 0 ? NONE : 31 - Math.clz32(low)
}
