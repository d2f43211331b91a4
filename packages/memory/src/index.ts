/** Sessions, facts, the run archive and blobs on one DynamoDB table. */

/** Answers of models for identical calls. */
export type { Answers, KeptAnswer } from './answers.ts'
/** Tenants' API keys, by their ids and by the hashes of their secrets. */
export type { ApiKeys, FoundKey } from './api-keys.ts'
/** Ended runs with their journals. */
export type { Archive, Archived } from './archive.ts'
export type { ArchivePut } from './archive-puts.ts'
/** What steps came to, found by who, what and when; the items that are written of it. */
export type { AuditIndex, AuditPut } from './audit-index.ts'
export { auditItemsOf } from './audit-items.ts'
/** Large content by its digest. */
export type { Blobs } from './blobs.ts'
/** Whose content it is; keys of content, and what wraps them. */
export { ITSELF, type MasterKey, type Owner, type Shredded } from './content-keys.ts'
/** What is to be erased, and what must not be. */
export type { Erasures, Holds, OpenErasure } from './erasures.ts'
/** What is known across runs; a fact before and after it is stored. */
export type { Fact, Facts, NewFact } from './facts.ts'
/** Tenants' ledgers: tiles, and the state that decides what is appended. */
export { type LedgerState, type LedgerStore, type Ledgers, placePart, placesByPart } from './ledger.ts'
/** Everything above and below on one table; how to open it. */
export type { Memory, MemoryOptions } from './memory.ts'
/** Opens the table and creates it where it is absent. */
export { openMemory } from './memory.ts'
/** What runs of a session have done. */
export type { Deeds, Pasts } from './pasts.ts'
/** What was done besides runs: tenants' record books. */
export { type BookHead, RECORDS_MAX, type Records } from './records.ts'
/** Which archived runs a list has. */
export type { ArchiveListOptions } from './run-lists.ts'
/** Conversations that last across runs; what one run added to one. */
export type { Sessions, Turn } from './sessions.ts'
/** How far runs were looked through for what expires. */
export type { Sweep, Sweeps } from './sweeps.ts'
