import {
  type EntityJson,
  preparsePolicySet,
  type StatefulAuthorizationCall,
  statefulIsAuthorized,
} from '@cedar-policy/cedar-wasm/nodejs'
import { History, loadPolicies, type PolicyRequest } from '@muster/governance'
import { collect, plan, tool } from '@muster/sdk'
import { z } from 'zod'
import type { Subject } from '../subject.ts'

export interface PolicyOptions {
  /**
   * `compiled`: through the policy set that a worker uses; `history`: with five terms that every decision reads, of a
   * run that goes on paying; `cedar`: by cedar-wasm, its policies parsed before.
   */
  mode: 'compiled' | 'history' | 'cedar'
  /** With `cedar`: only the entities that the question is about, or all 51. */
  entities: 3 | 51
}

const TOOLS = 49
const AMOUNTS = 64
const REQUESTS = 128

const toolNames = Array.from({ length: TOOLS }, (_, i) => `bench.pay${i}`)

/** 50 policies: one permit; for each tool a rule on labels and the amount. */
const policies: Record<string, string> = {
  all: 'permit (principal, action, resource);',
  ...Object.fromEntries(
    toolNames.map((name) => [
      name,
      `forbid (principal, action == Action::"tool:call", resource == Tool::"${name}")
       when { context.labels.contains("untrusted")
           || (context.input has amount && context.input.amount.greaterThan(decimal("1000.0"))) };`,
    ]),
  ),
}

/** One more policy, which reads all of its terms and never forbids. */
const remembering = `
  @id("history")
  @history("paid = sum bench.pay0 input.amount within 1h; same = count bench.pay0 with amount within 1m;
    before = previous bench.pay0; failed = count * failed; ever = formerly bench.pay0 with amount")
  forbid (principal, action == Action::"tool:call", resource)
  when { context.history.paid.lessThan(decimal("0.0")) || context.history.failed < 0
      || ((context.history.before || !context.history.ever) && context.history.same < 0) };`

const tools = toolNames.map((name) =>
  tool({
    name,
    effect: 'write',
    input: z.object({ amount: z.number() }),
    output: z.object({}),
    run: () => ({}),
  }),
)
const app = collect({
  pay: plan({
    name: 'pay',
    version: '1.0.0',
    input: z.object({}),
    tools,
    steps: { pay: { tool: 'bench.pay0', input: { amount: 1 } } },
  }),
})

function question(name: string, i: number): PolicyRequest {
  return {
    tenant: 'bench',
    principal: { type: 'Plan', name: 'pay' },
    action: 'tool:call',
    resource: { type: 'Tool', name, effect: 'write' },
    labels: i % 8 === 0 ? ['pii', 'untrusted'] : ['pii', 'tenant:bench'],
    approvals: [],
    user: 'ann',
    spentUsd: 0.25,
    input: { amount: (i % AMOUNTS) * 20 },
  }
}

/** What the rules above say, told independently of any policy engine. */
function expected({ labels, input }: PolicyRequest): 'allow' | 'deny' {
  const amount = typeof input === 'object' && input !== null && 'amount' in input ? Number(input.amount) : 0
  return labels.includes('untrusted') || amount > 1000 ? 'deny' : 'allow'
}

/** Policy decisions one after the other: 50 policies, labels in the context. */
export async function policy({ mode, entities }: PolicyOptions): Promise<Subject> {
  const requests = Array.from({ length: REQUESTS }, (_, i) => question(toolNames[i % TOOLS] ?? '', i))
  const decide =
    mode === 'cedar' ? cedar(requests, entities) : mode === 'history' ? withHistory(requests) : governed(requests)
  for (const [i, request] of requests.entries()) {
    if (decide(i) !== expected(request)) throw new Error(`wrong decision of ${mode}: ${JSON.stringify(request)}`)
  }
  return {
    async run({ ms }) {
      const began = performance.now()
      let units = 0
      let elapsedMs = 0
      while (elapsedMs < ms) {
        for (let i = 0; i < 32; i++) decide(units++ % requests.length)
        elapsedMs = performance.now() - began
      }
      return { units, elapsedMs }
    },
    async close() {},
  }
}

function setOf(...more: string[]) {
  const text = Object.entries(policies).map(([id, policy]) => `@id("${id}") ${policy}`)
  return loadPolicies([{ file: 'bench.cedar', text: [...text, ...more].join('\n') }], app.manifest)
}

/** Every tenth decision is followed by a payment, a millisecond after the one before. */
function withHistory(requests: readonly PolicyRequest[]): (i: number) => string {
  const set = setOf(remembering)
  if (!set.history) throw new Error('the set has no terms')
  const past = new History(set.history)
  const event = { kind: 'tool', target: 'bench.pay0', people: [] }
  let now = 0
  return (i) => {
    const request = requests[i] as PolicyRequest // i < length
    const input = request.input ?? null
    const { effect } = set.decide({ ...request, history: { past, step: '', now } })
    if (i % 10 === 0) past.add({ ...event, what: 'ended', status: 'ok', step: `${now}`, at: ++now, input })
    return effect
  }
}

function governed(requests: readonly PolicyRequest[]): (i: number) => string {
  const set = setOf()
  return (i) => set.decide(requests[i] as PolicyRequest).effect // i < length
}

function cedar(requests: readonly PolicyRequest[], entities: 3 | 51): (i: number) => string {
  const parsed = preparsePolicySet('bench', { staticPolicies: policies })
  if (parsed.type === 'failure') throw new Error(parsed.errors.map(({ message }) => message).join())
  const tenant = { type: 'Tenant', id: 'bench' }
  const all: EntityJson[] = [
    { uid: tenant, attrs: {}, parents: [] },
    { uid: { type: 'Plan', id: 'pay' }, attrs: { name: 'pay' }, parents: [tenant] },
    ...toolNames.map((name) => ({
      uid: { type: 'Tool', id: name },
      attrs: { name, effect: 'write' },
      parents: [],
    })),
  ]
  const calls = requests.map(
    ({ principal, action, resource, labels, approvals, user, spentUsd, input }): StatefulAuthorizationCall => ({
      principal: { type: principal.type, id: principal.name },
      action: { type: 'Action', id: action },
      resource: { type: resource.type, id: resource.name },
      context: {
        labels: [...labels],
        approvals: approvals.map(({ role }) => role),
        user,
        spent: decimal(spentUsd),
        input: { amount: decimal((input as { amount: number }).amount) }, // as `question` makes it
      },
      entities: all.slice(0, entities),
      preparsedPolicySetId: 'bench',
    }),
  )
  return (i) => {
    const answer = statefulIsAuthorized(calls[i] as StatefulAuthorizationCall) // i < length
    if (answer.type === 'failure') throw new Error(answer.errors.map(({ message }) => message).join())
    return answer.response.decision
  }
}

function decimal(value: number) {
  return { __extn: { fn: 'decimal', arg: value.toFixed(4) } }
}
