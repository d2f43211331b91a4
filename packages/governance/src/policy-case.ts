import {
  type AppManifest,
  type Decision,
  type Issue,
  MusterError,
  type PolicyCase,
  type PolicyQuestion,
} from '@muster/protocol'
import { hasNewDestination } from './destinations.ts'
import type { PolicySet } from './policy.ts'
import type { Action, PolicyRequest } from './request.ts'

const RESOURCES: Record<Action, PolicyRequest['resource']['type']> = {
  'tool:call': 'Tool',
  'gateway:tool': 'ClientTool',
  'model:invoke': 'Model',
  'code:run': 'Code',
  'memory:read': 'Memory',
  'memory:write': 'Memory',
  'agent:delegate': 'Agent',
}

/**
 * What the runtime would ask: a tool's effect and destinations are the app's.
 *
 * @param path of the question, for errors
 * @throws MusterError `request.invalid` naming what is missing
 */
export function requestOfQuestion(question: PolicyQuestion, app: AppManifest, path = ''): PolicyRequest {
  const {
    tenant,
    principal,
    action,
    resource: name,
    input,
    labels,
    user,
    key,
    team,
    spent,
    approved,
    target,
  } = question
  const type = RESOURCES[action]
  const tool = type === 'Tool' ? app.tools.find((one) => one.name === name) : undefined
  const effect = question.effect ?? tool?.effect
  if (type === 'Tool' && effect === undefined) throw invalid(`${path}/resource`, `the app has no tool "${name}"`)
  if (type === 'Code' && effect === undefined)
    throw invalid(`${path}/effect`, 'code has an effect: pure, read, write or once')
  const { sends, destinations = [] } = tool ?? {}
  const isNew = sends !== undefined && hasNewDestination(sends, input ?? null, destinations)
  const [kind, ...rest] = principal.split(':')
  return {
    tenant,
    principal: { type: kind === 'agent' ? 'Agent' : 'Plan', name: rest.join(':') },
    action,
    resource: { type, name, ...(effect === undefined ? {} : { effect }), ...(type === 'Tool' ? { approved } : {}) },
    newDestination: question.newDestination ?? isNew,
    labels,
    // Each role that is named alone is another person.
    approvals: question.approvals.map((one, i) => (typeof one === 'string' ? { role: one, by: `${i}:${user}` } : one)),
    user,
    ...(key === undefined ? {} : { key }),
    ...(team === undefined ? {} : { team }),
    spentUsd: spent,
    ...(input === undefined ? {} : { input }),
    ...(target === undefined ? {} : { targets: [{ name: `${target.provider} ${target.model}`, ...target }] }),
  }
}

function invalid(path: string, message: string): MusterError {
  const issue: Issue = { path, message }
  return new MusterError('request.invalid', `${path} ${message}`, { issues: [issue] })
}

/** A case that was tried: what was decided, and in what that differs from what was expected. */
export interface Tried {
  name: string
  decision: Decision
  differences: string[]
}

/** @throws MusterError `request.invalid` where the app does not have what the case is about */
export function tryCase({ name, request, expect }: PolicyCase, set: PolicySet, path = ''): Tried {
  const decision = set.decide(requestOfQuestion(request, set.app, `${path}/request`))
  const differences: string[] = []
  const compare = (what: string, expected: string | undefined, found: string) => {
    if (expected !== undefined && expected !== found)
      differences.push(`${what} is ${found || 'none'}, not ${expected || 'none'}`)
  }
  compare('effect', expect.effect, decision.effect)
  compare('role', expect.role, decision.role ?? '')
  compare('policies', expect.policies?.toSorted().join(', '), decision.policies.toSorted().join(', '))
  if (differences.length > 0) differences.push(...(decision.errors ?? []))
  return { name, decision, differences }
}
