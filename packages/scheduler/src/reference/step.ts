import type { Join } from '../graph.ts'
import type { Priority, Resource } from '../scheduler.ts'
import type { ReferenceLane } from './lane.ts'
import type { ReferenceResource } from './resource.ts'

export type Lane = ReferenceLane<Step>

export interface Run {
  id: number
  tenant: string
  priority: Priority
  needs: readonly Resource[]
  /** What its calls need besides. */
  calls: readonly Resource[]
  /** Living steps, oldest first. */
  steps: Set<Step>
  /** Steps added since the run was last ranked, oldest first; gone ones too. */
  unranked: Step[]
}

export interface Step {
  id: number
  run: Run
  kind: StepKind
  tokens: number
  needs: readonly ReferenceResource[]
  state: 'blocked' | 'ready' | 'granted' | 'running' | 'waiting' | 'delayed' | 'gone'
  rank: number
  /** Ends that it still needs, and not-ok ends that it can still bear. */
  open: number
  slack: number
  join: Join
  /** One entry for each edge, oldest first. */
  dependents: Step[]
}

export class StepKind {
  readonly needs: readonly Resource[]
  readonly isCall: boolean
  /** How long a step takes, ms, as a float32. */
  duration: number
  #learnt = false

  constructor({
    ms = 1,
    needs = [],
    isCall = false,
  }: { ms?: number; needs?: readonly Resource[]; isCall?: boolean } = {}) {
    this.duration = Math.max(Math.fround(ms), 1 / 16)
    this.needs = needs
    this.isCall = isCall
  }

  learn(ms: number): void {
    const step = Math.fround(Math.fround(ms - this.duration) / 8)
    this.duration = Math.max(this.#learnt ? Math.fround(this.duration + step) : Math.fround(ms), 1 / 16)
    this.#learnt = true
  }
}

/** How many ok ends a step needs of `count` that it comes after, and how many other ends it bears. */
export function needed(join: Join, count: number): { open: number; slack: number } {
  if (join === 'settled') return { open: count, slack: Number.POSITIVE_INFINITY }
  if (join === 'all') return { open: count, slack: 0 }
  const open = Math.min(Math.max(join === 'any' ? 1 : Math.floor(join), 0), count)
  return { open, slack: count - open }
}

/** A rank's quarter of a power of two, from 1/16 on: steps whose ranks are that close are taken as they come. */
export function bucketOf(rank: number): number {
  const bits = new DataView(new ArrayBuffer(4))
  bits.setFloat32(0, rank)
  return Math.min(Math.max((bits.getUint32(0) >>> 22) - 246, 0), 62)
}

/** Ranks steps that were added in this order: the longest way from the start of each to the end of its run. */
export function rank(steps: readonly Step[]): void {
  for (const step of steps.toReversed()) {
    if (step.state === 'gone') continue
    const blocked = step.dependents.filter(({ state }) => state === 'blocked')
    step.rank = Math.fround(step.kind.duration + Math.max(0, ...blocked.map((dependent) => dependent.rank)))
  }
}
