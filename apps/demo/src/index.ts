/** The demo's door: where its data lies, the model's script, and the month-end report as text. */
import { fileURLToPath } from 'node:url'

export { type ClerkOutput, clerkOutput } from './clerk.ts'
export type { ChatRequest } from './conversation.ts'
export { type DemoHome, demoHome, documents, prepareDemo } from './demo-home.ts'
export { type Ledger, type LedgerEntry, readLedger } from './ledger.ts'
export { type MonthEndOutput, monthEndOutput } from './month-end.ts'
export { answer, type Reply } from './scripted.ts'
export { summary } from './summary.ts'

/** The module to start a worker with. */
export const demoApp = fileURLToPath(new URL('./agents.ts', import.meta.url))

/** The policies that the demo runs under. */
export const demoPolicy = fileURLToPath(new URL('../policy.cedar', import.meta.url))
