/** Keys of ledgers and of contents: what needs them alone does not load the engine. */
export { newContentKey, openContentKmsKey, readContentKeys } from './archive/content-master.ts'
export { newLedgerKey, readLedgerKeys } from './ledger/keys.ts'
export { openKmsKey } from './ledger/kms.ts'
export { originOf } from './ledger/origin.ts'
