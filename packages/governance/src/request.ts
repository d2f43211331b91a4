import type { Approval, Json } from '@muster/protocol'
import type { HistoryQuestion } from './history.ts'
import type { ModelTarget } from './target.ts'

export type Action =
  | 'model:invoke'
  | 'tool:call'
  | 'gateway:tool'
  | 'code:run'
  | 'memory:read'
  | 'memory:write'
  | 'agent:delegate'

/** One question: may this agent or plan do that, with this data? */
export interface PolicyRequest {
  tenant: string
  principal: { type: 'Agent' | 'Plan'; name: string }
  action: Action
  resource: {
    type: 'Tool' | 'ClientTool' | 'Model' | 'Memory' | 'Agent' | 'Code'
    name: string
    effect?: string
    approved?: boolean
  }
  /** Of `tool:call`: data goes where none is known to go. */
  newDestination?: boolean
  /** Labels of everything that goes into the step. */
  labels: readonly string[]
  /** Who has approved this very step, as it is. */
  approvals: readonly Approval[]
  /** Who began the run: the user, by which key, of which team. */
  user: string
  key?: string | undefined
  team?: string | undefined
  /** Whose hands that key came through; see `areApart`. */
  hands?: readonly string[] | undefined
  /** US dollars that the run has cost so far. */
  spentUsd: number
  input?: Json
  /** The input is not known: a policy that looks into it fails to evaluate. */
  unrecorded?: true
  /** What happened before, for the terms of `@history`. */
  history?: HistoryQuestion | undefined
  /** Of `model:invoke`: where it may go. Not known, a policy that looks at it fails to evaluate. */
  targets?: readonly ModelTarget[] | undefined
}
