import { readFileSync } from 'node:fs'
import {
  type CedarValueJson,
  isAuthorized,
  policySetTextToParts,
  policyToJson,
  type ValidationAnswer,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs'
import { demoPolicy } from './index.ts'

/** The schema that the runtime makes from the demo's tools, as far as the policies use it. */
const schema = `
  type Seen = { labels: Set<String>, approvals: Set<String>, user: String, spent: decimal };
  entity Tenant;
  entity Agent in [Tenant] { name: String };
  entity Plan in [Tenant] { name: String };
  entity Model { name: String };
  entity Memory { name: String };
  entity Tool { name: String, effect: String };
  entity ClientTool { name: String };
  action "model:invoke" appliesTo { principal: [Agent, Plan], resource: [Model], context: Seen };
  action "memory:read", "memory:write" appliesTo { principal: [Agent, Plan], resource: [Memory], context: Seen };
  action "agent:delegate" appliesTo { principal: [Agent, Plan], resource: [Agent], context: Seen };
  action "gateway:tool" appliesTo { principal: [Agent, Plan], resource: [ClientTool], context: Seen };
  action "tool:call" appliesTo { principal: [Agent, Plan], resource: [Tool], context: {
    labels: Set<String>, approvals: Set<String>, user: String, spent: decimal,
    input: {
      file?: String, folder?: String, document?: String, reason?: String,
      payee?: String, iban?: String, amount?: decimal, currency?: String, invoice?: String, order?: String
    }
  } };
`

interface Policy {
  text: string
  ask: string | undefined
}

/** The shipped policies by their `@id`. */
export const policies: ReadonlyMap<string, Policy> = new Map(
  partsOf(readFileSync(demoPolicy, 'utf8')).map((text): [string, Policy] => {
    const parsed = policyToJson(text)
    if (parsed.type === 'failure') throw new Error(parsed.errors[0]?.message)
    const { id, ask } = parsed.json.annotations ?? {}
    if (!id) throw new Error(`a policy has no @id: ${text}`)
    return [id, { text, ask: ask ?? undefined }]
  }),
)

const staticPolicies = Object.fromEntries([...policies].map(([id, { text }]) => [id, text]))

function partsOf(text: string): string[] {
  const parts = policySetTextToParts(text)
  if (parts.type === 'failure') throw new Error(parts.errors[0]?.message)
  return parts.policies
}

export function validatePolicies(): ValidationAnswer {
  return validate({ schema, policies: { staticPolicies } })
}

export interface Question {
  principal?: 'Agent' | 'Plan'
  name?: string
  action: string
  resource: { type: string; name: string; effect?: string }
  labels?: readonly string[]
  approvals?: readonly string[]
  input?: Record<string, unknown>
}

/** Decides as the runtime does: a forbid with `@ask` asks, when nothing else stands in the way. */
export function decide(question: Question): { effect: 'allow' | 'deny' | 'ask'; policies: string[] } {
  const { principal: type = 'Agent', name = 'payables.clerk', resource, action, input = {} } = question
  const principal = { type, id: name }
  const target = { type: resource.type, id: resource.name }
  const typed: Record<string, CedarValueJson> = {}
  for (const [field, value] of Object.entries(input)) {
    if (typeof value === 'number') typed[field] = { __extn: { fn: 'decimal', arg: value.toFixed(4) } }
    if (typeof value === 'string') typed[field] = value
  }
  const answer = isAuthorized({
    principal,
    action: { type: 'Action', id: action },
    resource: target,
    context: {
      labels: [...(question.labels ?? [])],
      approvals: [...(question.approvals ?? [])],
      user: 'test',
      spent: { __extn: { fn: 'decimal', arg: '0.0' } },
      ...(action === 'tool:call' ? { input: typed } : {}),
    },
    schema,
    validateRequest: true,
    policies: { staticPolicies },
    entities: [
      { uid: { type: 'Tenant', id: 'test' }, attrs: {}, parents: [] },
      { uid: principal, attrs: { name }, parents: [{ type: 'Tenant', id: 'test' }] },
      {
        uid: target,
        attrs: { name: resource.name, ...(resource.effect === undefined ? {} : { effect: resource.effect }) },
        parents: [],
      },
    ],
  })
  if (answer.type === 'failure') throw new Error(answer.errors.map(({ message }) => message).join('; '))
  const { decision, diagnostics } = answer.response
  if (diagnostics.errors.length > 0) throw new Error(JSON.stringify(diagnostics.errors))
  const reasons = diagnostics.reason
  if (decision === 'allow') return { effect: 'allow', policies: reasons }
  const asked = reasons.length > 0 && reasons.every((id) => policies.get(id)?.ask !== undefined)
  return { effect: asked ? 'ask' : 'deny', policies: reasons }
}
