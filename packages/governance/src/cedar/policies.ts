import { type PolicyJson, type PolicySet, policySetTextToParts } from '@cedar-policy/cedar-wasm/nodejs'
import { Irregular } from './irregular.ts'
import { readUid } from './json.ts'
import { readSource } from './source.ts'
import type { Uid } from './value.ts'

/** A policy to compile: one that is written, or a template with what stands for its slots. */
interface PolicySource {
  id: string
  json: PolicyJson
  /** See `Source.longs`. */
  longs: string
  slots: ReadonlyMap<string, Uid>
}

export type PolicySources = readonly PolicySource[]

const NO_SLOTS: ReadonlyMap<string, Uid> = new Map()

/** Reads a set of policies in the forms that cedar-wasm takes. @throws Irregular with Cedar's message */
export function readPolicies({ staticPolicies = {}, templates = {}, templateLinks = [] }: PolicySet): PolicySources {
  const policies = new Map<string, PolicySource>()
  const add = (source: PolicySource) => {
    if (policies.has(source.id) || Object.hasOwn(templates, source.id))
      throw new Irregular(`duplicate template or policy id \`${source.id}\``)
    policies.set(source.id, source)
  }
  for (const [id, policy] of named(staticPolicies)) add({ id, ...readSource(policy, 'policy'), slots: NO_SLOTS })
  const read = new Map(Object.entries(templates).map(([id, template]) => [id, readSource(template, 'template')]))
  for (const { templateId, newId, values } of templateLinks) {
    const template = read.get(templateId)
    if (template === undefined) throw new Irregular(`failed to find a template with id \`${templateId}\``)
    const slots = new Map(Object.entries(values).map(([slot, uid]) => [slot, readUid(uid, `the value of ${slot}`)]))
    const needed = slotsOf(template.json)
    if (needed.size !== slots.size || !needed.isSubsetOf(slots))
      throw new Irregular(`the link ${newId} must give values for ${[...needed].join(', ')}`)
    add({ id: newId, ...template, slots })
  }
  return [...policies.values()]
}

/** The ids that cedar-wasm gives to policies that come without. */
function named(policies: NonNullable<PolicySet['staticPolicies']>): (readonly [string, PolicyJson | string])[] {
  if (Array.isArray(policies))
    return policies.map((policy) => [typeof policy === 'string' ? 'policy0' : 'JSON policy', policy] as const)
  if (typeof policies !== 'string') return Object.entries(policies)
  const parts = policySetTextToParts(policies)
  if (parts.type === 'failure') throw new Irregular(parts.errors.map((error) => error.message).join('; '))
  if (parts.policy_templates.length > 0) throw new Irregular('static policy set includes a template')
  // Cedar gives them in the order of their ids as texts: `policy10` before `policy2`.
  const ids = parts.policies.map((_, i) => `policy${i}`).sort()
  return parts.policies.map((text, i) => [ids[i], text] as const)
}

function slotsOf({ principal, resource }: PolicyJson): ReadonlySet<string> {
  const slots = new Set<string>()
  for (const scope of [principal, resource]) {
    if ('slot' in scope) slots.add(scope.slot)
    if (scope.op === 'is' && scope.in !== undefined && 'slot' in scope.in) slots.add(scope.in.slot)
  }
  return slots
}
