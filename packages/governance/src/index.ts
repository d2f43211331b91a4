/** Decides every step: Cedar policies, information-flow labels, budgets. */

export { checkBudget, type Spent, tightest } from './budget.ts'
export { isAuthorized, preparsePolicySet, preparseSchema, statefulIsAuthorized } from './cedar/index.ts'
export { hasNewDestination } from './destinations.ts'
export { declassify, joinLabels } from './labels.ts'
export { loadPolicies, readPolicyTexts } from './load.ts'
export { type Action, type Policy, type PolicyRequest, PolicySet } from './policy.ts'
