import type { Join } from '../graph.ts'
import type { Priority } from '../scheduler.ts'
import type { ResourceModel } from './resource-model.ts'

export const STATES = ['blocked', 'ready', 'running', 'delayed', 'waiting', 'gone'] as const
export type State = (typeof STATES)[number]

/** Steps that need the same resources. */
export interface Group {
  resources: readonly ResourceModel[]
  /** How many of them are ready and wait to start. */
  ready: number
}

export interface RunModel {
  readonly name: number
  readonly tenant: string
  readonly priority: Priority
  needs: readonly number[]
  calls: readonly number[]
  readonly living: Set<StepModel>
  /** Names of steps, oldest first, gone ones too. */
  readonly added: number[]
  isOpen: boolean
  place: number
}

export interface StepModel {
  readonly name: number
  readonly run: RunModel
  readonly kind: number
  group: Group
  readonly tokens: number
  readonly join: Join
  /** Edges to it, and how many of the steps at their other ends have ended how. */
  readonly edges: number
  good: number
  bad: number
  /** One for each edge, oldest first. */
  dependents: StepModel[]
  state: State
  place: number
  /** Of a delayed step. */
  dueAt: number
}

/** What the ends so far mean for a step that comes after others. */
export function verdict({ join, edges, good, bad }: StepModel): 'ready' | 'blocked' | 'dropped' {
  if (join === 'settled') return good + bad === edges ? 'ready' : 'blocked'
  const wanted = join === 'all' ? edges : Math.min(Math.max(join === 'any' ? 1 : join, 0), edges)
  if (good >= wanted) return 'ready'
  return edges - bad >= wanted ? 'blocked' : 'dropped'
}
