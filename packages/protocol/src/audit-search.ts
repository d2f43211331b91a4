import { z } from 'zod'
import { label, name } from './definition.ts'
import { stepStatus } from './entry.ts'

const effect = z.enum(['allow', 'deny', 'ask'])

/** What a step of a run came to, as it is found: no content, but for the numbers that a tool was called with. */
const auditHit = z.object({
  run: z.string(),
  seq: z.number().int().positive().describe("the entry with the step's outcome, or with the run's end"),
  at: z.number().describe('when that was, ms'),
  name: z.string().describe('the agent or plan'),
  version: z.string(),
  by: z.string().describe('who asked for the run'),
  step: z.string().optional().describe('absent for the end of the run itself'),
  kind: z.string().describe("the step's kind, or `run`"),
  target: z.string().describe('tool, model route, agent or memory operation; of a run, the agent or plan'),
  status: z.string().describe('of the step, or of the run'),
  decisions: z.array(effect).describe('what policies said of it, one after the other'),
  policies: z.array(z.string()),
  labels: z.array(label),
  approvers: z.array(z.string()).describe('who answered for it'),
  error: z.string().optional().describe('code'),
  amounts: z.record(z.string(), z.number()).optional().describe("numbers among the fields of a tool's input"),
})
export type AuditHit = z.infer<typeof auditHit>

const text = z.string().min(1).max(256)
const number = z.coerce.number()
/** The last time that JavaScript knows. */
const time = z.coerce.number().int().min(0).max(8.64e15)

/** What is searched for: all that is given must hold of one and the same step. */
export const auditFilter = z.strictObject({
  person: text.optional().describe('asked for the run, or answered an approval of the step'),
  by: text.optional().describe('asked for the run'),
  approver: text.optional().describe('answered an approval of the step'),
  name: name.optional().describe('of the agent or plan'),
  tool: text.optional().describe('called, or not allowed to be'),
  resource: text.optional().describe('what a step of any kind acts on: a tool, model route, agent or memory operation'),
  decision: effect.optional().describe('a policy said so of the step'),
  policy: text.optional().describe('id of a policy that decided'),
  label: label.optional().describe('on what the step was given or gave'),
  error: text.optional().describe('code'),
  status: z.union([stepStatus, z.enum(['succeeded'])]).optional(),
  field: text.optional().describe("field of a tool's input for min and max; `amount` unless given"),
  min: number.optional(),
  max: number.optional(),
  since: time.optional().describe('ms since the epoch; included'),
  until: time.optional().describe('ms since the epoch; excluded'),
})
export type AuditFilter = z.infer<typeof auditFilter>

/** Newest hour first; within an hour the run that began last. */
export const auditPage = z.object({
  hits: z.array(auditHit),
  cursor: z.string().optional().describe('there may be more: also where this page is not full'),
  scanned: z.number().int().describe('what was looked at for this page'),
})
export type AuditPage = z.infer<typeof auditPage>
