/** Decides every step: Cedar policies, information-flow labels, budgets. */

export { checkBudget, type Spent, tightest } from './budget.ts'
export { hasNewDestination } from './destinations.ts'
export { declassify, joinLabels } from './labels.ts'
export { type Action, loadPolicies, type PolicyRequest, PolicySet, type PolicySource } from './policy.ts'
