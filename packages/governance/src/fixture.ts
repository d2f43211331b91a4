import type { AppManifest, JsonSchema } from '@muster/protocol'
import type { PolicyRequest } from './request.ts'

/** An app of tools with these input fields, as the SDK would publish it. */
export function appOf(tools: Record<string, Record<string, JsonSchema>>): AppManifest {
  return {
    hash: 'app',
    definitions: [],
    tools: Object.entries(tools).map(([name, properties]) => ({
      name,
      description: '',
      hash: name,
      effect: 'once',
      labels: [],
      declassifies: [],
      input: { type: 'object', properties },
      output: {},
    })),
  }
}

/** An agent's call of a tool; change what a test is about. */
export function toolCall(change: Partial<PolicyRequest> = {}): PolicyRequest {
  return {
    tenant: 'acme',
    principal: { type: 'Agent', name: 'clerk' },
    action: 'tool:call',
    resource: { type: 'Tool', name: 'ledger.pay', effect: 'once' },
    labels: [],
    approvals: [],
    user: 'ann',
    spentUsd: 0,
    input: {},
    ...change,
  }
}
