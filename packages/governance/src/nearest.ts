import { type PolicyJson, policyToJson } from '@cedar-policy/cedar-wasm/nodejs'
import { readUid } from './cedar/json.ts'
import { Uid } from './cedar/value.ts'
import type { Policy } from './policy.ts'
import type { PolicyRequest } from './request.ts'

/** A permit that does not apply, and why not. */
export interface Nearest {
  id: string
  at: string
  misses: ('principal' | 'resource' | 'condition')[]
}

const NEAREST_MAX = 3

/** Of the permits for a request's action, those whose scope misses the least. */
export function nearestPermits(policies: ReadonlyMap<string, Policy>, request: PolicyRequest): Nearest[] {
  const tenant = new Uid('Tenant', request.tenant)
  const principal = [new Uid(request.principal.type, request.principal.name), tenant]
  const resource = [new Uid(request.resource.type, request.resource.name)]
  const action = [new Uid('Action', request.action)]
  const found = [...policies].flatMap(([id, { text, effect, mode, at }]): Nearest[] => {
    if (effect !== 'permit' || mode !== 'enforced') return []
    const parsed = policyToJson(text)
    if (parsed.type === 'failure' || !covers(parsed.json.action, action)) return []
    const misses: Nearest['misses'] = []
    if (!covers(parsed.json.principal, principal)) misses.push('principal')
    if (!covers(parsed.json.resource, resource)) misses.push('resource')
    // It fits and does not permit.
    return [{ id, at, misses: misses.length === 0 ? ['condition'] : misses }]
  })
  const far = ({ misses: [first, second] }: Nearest) => (second ? 2 : first === 'condition' ? 0 : 1)
  const least = Math.min(...found.map(far))
  return found.filter((one) => far(one) === least).slice(0, NEAREST_MAX)
}

type Scope = PolicyJson['principal'] | PolicyJson['action'] | PolicyJson['resource']

/** Whether a scope takes in an entity: the first, or one that the first is in. */
function covers(scope: Scope, [self, ...parents]: readonly Uid[]): boolean {
  const isSelf = (json: unknown) => readUid(json, 'scope').key === self?.key
  const isIn = (json: unknown) => isSelf(json) || parents.some(({ key }) => key === readUid(json, 'scope').key)
  switch (scope.op) {
    case 'All':
      return true
    case '==':
      return 'entity' in scope && isSelf(scope.entity)
    case 'in':
      if ('entities' in scope) return scope.entities.some(isIn)
      return 'entity' in scope && isIn(scope.entity)
    case 'is':
      if (scope.entity_type !== self?.type) return false
      return scope.in === undefined || ('entity' in scope.in && isIn(scope.in.entity))
  }
}
