/** Decides every step: Cedar policies, information-flow labels, budgets. */

export { checkBudget, type Spent, tightest } from './budget.ts'
export { isAuthorized, preparsePolicySet, preparseSchema, statefulIsAuthorized } from './cedar/index.ts'
export { hasNewDestination } from './destinations.ts'
export { History, type HistoryState, type HistoryValues } from './history.ts'
export { declassify, joinLabels } from './labels.ts'
export { loadPolicies, type PolicySource } from './load.ts'
export { type Action, type PolicyRequest, PolicySet } from './policy.ts'
export type { StepEvent } from './step-event.ts'
