/** Tools: what an agent or plan may do to the outside, with schemas and effects. */
export {
  type Backoff,
  type Callback,
  type CallbackOptions,
  type CallContext,
  checked,
  type InputOf,
  LATER,
  type OutputOf,
  type Retries,
  type Spent,
  type Text,
  type Tool,
  type ToolContext,
  type ToolOptions,
  toJsonSchema,
  tool,
} from './tool.ts'
export { type ToolDifferences, ToolLock } from './tool-lock.ts'
