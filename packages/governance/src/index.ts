/** Decides every step: Cedar policies, information-flow labels, budgets. */

export { budgetsOf, checkBudget, type PeriodBudget, type Spent, tightest } from './budget.ts'
export { isAuthorized, preparsePolicySet, preparseSchema, statefulIsAuthorized } from './cedar/index.ts'
export { comparePolicies, type PolicyDifferences } from './compare.ts'
export { hasNewDestination } from './destinations.ts'
export { possibleRequests, type Replayed, replay } from './dry-run.ts'
export { type Change, type Explanation, explain } from './explain.ts'
export { declassify, joinLabels } from './labels.ts'
export { loadPolicies, readPolicyTexts } from './load.ts'
export { type Action, type Policy, type PolicyRequest, PolicySet } from './policy.ts'
export { requestOfQuestion, type Tried, tryCase } from './policy-case.ts'
export { decisionsOf, type RecordedDecision } from './recorded.ts'
