/** What developers import: `agent()`, `tool()`, `plan()`, `ref()`, and the typed client. */
export { filePart, imagePart, MusterError, type Part, type Prompt, part, prompt, textPart } from '@muster/protocol'
export {
  type Callback,
  type CallbackOptions,
  type CallContext,
  type InputOf,
  type OutputOf,
  type Tool,
  type ToolContext,
  type ToolOptions,
  tool,
} from '@muster/tools'
export { type Agent, type AgentOptions, agent, askName, handoffName, type LimitOptions, wireName } from './agent.ts'
export { type App, collect } from './app.ts'
export type { Answered, ApprovalsClient } from './approvals.ts'
export type { AuditClient } from './audit.ts'
export {
  type Acted,
  type ActionOptions,
  type ClientOptions,
  createMuster,
  type EventOptions,
  type ForkOptions,
  type Muster,
  type RunAction,
  type RunHandle,
  type SignalOptions,
  type Started,
  type StartOptions,
} from './client.ts'
export type { ErasuresClient, HoldsClient, RetentionClient } from './erasures.ts'
export type { KeysClient, NewKey } from './keys.ts'
export type { LedgerClient } from './ledger.ts'
export type { BudgetsClient, CostsClient, LimitsClient, StopsClient } from './operations.ts'
export {
  type Approved,
  type ChildResult,
  type CodeContext,
  type CodeOptions,
  type Plan,
  type PlanOptions,
  plan,
  type Settled,
  type Signals,
  type Step,
  type StepOptions,
  type WaitOptions,
} from './plan.ts'
export type { PoliciesClient } from './policies.ts'
export { markOutput, ref } from './ref.ts'
export type { ScheduleOptions, SchedulesClient, ShownSchedule } from './schedules.ts'
export { verifyWebhook, type WebhookOptions, type WebhooksClient } from './webhooks.ts'
