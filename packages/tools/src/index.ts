/** Tools: what an agent or plan may do to the outside, with schemas and effects. */
export {
  type Backoff,
  checked,
  type InputOf,
  type OutputOf,
  type Retries,
  type Tool,
  type ToolContext,
  type ToolOptions,
  toJsonSchema,
  tool,
  zodIssues,
} from './tool.ts'
