/** What an app and its settings are, for who does not run them: no engine is loaded. */
export {
  newContentKey,
  newLedgerKey,
  openKmsKey,
  originOf,
  readContentKeys,
  readLedgerKeys,
} from '@muster/runtime/keys'
export { ToolLock } from '@muster/tools'
export { loadApp } from './load-app.ts'
export { readPolicies, readToolLock, toolLockPath } from './read-policies.ts'
