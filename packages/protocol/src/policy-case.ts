import { z } from 'zod'
import { effect, json, label } from './definition.ts'

const role = z.string().min(1).max(128)

/** A question to policies, as a person writes it. */
export const policyQuestion = z.strictObject({
  tenant: z.string().min(1).default('test'),
  principal: z.string().regex(/^(agent|plan):.+$/, '"agent:" or "plan:" and a name'),
  action: z
    .enum(['tool:call', 'gateway:tool', 'model:invoke', 'code:run', 'memory:read', 'memory:write', 'agent:delegate'])
    .default('tool:call'),
  /** A tool, ours or one of a client of the gateway, a model's route, a kind of memory, an agent, or `plan/name` of code. */
  resource: z.string().min(1),
  /** Of code; a tool has its own unless given. */
  effect: effect.optional(),
  input: json.optional(),
  labels: z.array(label).default([]),
  /** A role for each person who has approved, or the role and the person. */
  approvals: z.array(z.union([role, z.strictObject({ role, by: z.string().min(1) })])).default([]),
  /** Who began the run: the user, by which key, of which team. */
  user: z.string().default('user'),
  key: z.string().optional(),
  team: z.string().optional(),
  /** US dollars. */
  spent: z.number().nonnegative().default(0),
  /** `false`: the tool is not as it was approved. */
  approved: z.boolean().default(true),
  /** By the tool's own destinations unless given. */
  newDestination: z.boolean().optional(),
  /** Of `model:invoke`: where it would go, where policies look at that. */
  target: z.strictObject({ provider: z.string(), model: z.string(), region: z.string().default('') }).optional(),
})
export type PolicyQuestion = z.infer<typeof policyQuestion>

/** What policies must answer. */
export const policyCase = z.strictObject({
  name: z.string().min(1),
  request: policyQuestion,
  expect: z.strictObject({
    effect: z.enum(['allow', 'deny', 'ask']),
    /** Exactly these decide, in any order. */
    policies: z.array(z.string()).optional(),
    /** With `ask`: who is. */
    role: role.optional(),
  }),
})
export type PolicyCase = z.infer<typeof policyCase>

/** At least one, each under a name of its own. */
export const policyCases = z
  .array(policyCase)
  .min(1)
  .superRefine((cases, context) => {
    const names = new Set<string>()
    for (const [i, { name }] of cases.entries()) {
      if (names.has(name))
        context.addIssue({ code: 'custom', path: [i, 'name'], message: 'another case has this name' })
      names.add(name)
    }
  })
