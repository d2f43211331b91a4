import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'

/** What of the context is the same for most steps of a run: the rest (`input`, `spent`) changes with every step. */
const STEADY = new Set(['labels', 'approvals', 'user', 'newDestination'])

/** A policy that looks at what changes with every step, and where it may apply. */
interface Volatile {
  action: string | undefined
  actions: string[] | undefined
  resource: { type: string; id: string } | undefined
}

/**
 * Tells whether a decision may depend on more than principal, action, resource, labels, approvals, user
 * and newDestination. It may only when a policy whose scope fits names `context.input`, `context.spent`, or the
 * context as a whole: Cedar has no other way to reach them. Where it may not, a decision that was made
 * once holds for every like request.
 */
export function volatility(
  policies: Iterable<PolicyJson>,
): (action: string, resource: { type: string; id: string }) => boolean {
  const volatile: Volatile[] = []
  for (const { action, resource, conditions } of policies) {
    if (!conditions.some(({ body }) => namesVolatile(body))) continue
    volatile.push({
      action: action.op === '==' && 'entity' in action ? idOf(action.entity) : undefined,
      actions: action.op === 'in' && 'entities' in action ? action.entities.map(idOf) : undefined,
      resource: resource.op === '==' && 'entity' in resource ? entityOf(resource.entity) : undefined,
    })
  }
  return (action, resource) =>
    volatile.some(
      (policy) =>
        (policy.action === undefined || policy.action === action) &&
        (policy.actions === undefined || policy.actions.includes(action)) &&
        (policy.resource === undefined ||
          (policy.resource.type === resource.type && policy.resource.id === resource.id)),
    )
}

type Uid = { __entity: { type: string; id: string } } | { type: string; id: string }

function entityOf(uid: Uid): { type: string; id: string } {
  return '__entity' in uid ? uid.__entity : uid
}

function idOf(uid: Uid): string {
  return entityOf(uid).id
}

/** Walks an expression in Cedar's JSON form: `context` may stand only under an access to a steady attribute. */
function namesVolatile(expression: unknown): boolean {
  if (Array.isArray(expression)) return expression.some(namesVolatile)
  if (typeof expression !== 'object' || expression === null) return false
  for (const [operator, operand] of Object.entries(expression)) {
    if (operator === 'Value') continue
    if (operator === 'Var') return operand === 'context'
    if ((operator === '.' || operator === 'has') && isSteady(operand)) continue
    if (namesVolatile(operand)) return true
  }
  return false
}

function isSteady(operand: { left?: { Var?: string }; attr?: unknown }): boolean {
  if (operand.left?.Var !== 'context') return false
  const first = Array.isArray(operand.attr) ? operand.attr[0] : operand.attr
  return typeof first === 'string' && STEADY.has(first)
}
