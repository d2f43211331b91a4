/** Takes personal data and secrets out of JSON, and restores what may be. */
export { openRedaction } from './read-rules.ts'
export { createRedaction, createRedactor, type Redacted, type Redaction, type Redactor } from './redactor.ts'
