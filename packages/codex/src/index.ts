/** Codex as a tool: a coding agent that works in a folder, its model calls governed by the gateway. */
export { type CodexToolOptions, codexTool } from './codex-tool.ts'
