import { MusterError, within } from '@muster/protocol'
import { type Answers, openAnswers } from './answers.ts'
import { type ApiKeys, openApiKeys } from './api-keys.ts'
import { type Archive, openArchive } from './archive.ts'
import { type AuditIndex, openAuditIndex } from './audit-index.ts'
import { type Blobs, openBlobs } from './blobs.ts'
import { connect } from './connection.ts'
import { ContentKeys, type MasterKey } from './content-keys.ts'
import { type Erasures, type Holds, openErasures, openHolds } from './erasures.ts'
import { type Facts, openFacts } from './facts.ts'
import { atStart } from './failure.ts'
import { type Ledgers, openLedgers } from './ledger.ts'
import { openPasts, type Pasts } from './pasts.ts'
import { openRecords, type Records } from './records.ts'
import { ensureTable } from './schema.ts'
import { openSessions, type Sessions } from './sessions.ts'
import { openSweeps, type Sweeps } from './sweeps.ts'
import { Table } from './table.ts'
import { openTexts, type Texts } from './texts.ts'

export interface MemoryOptions {
  /** A DynamoDB-compatible server; AWS without it. */
  endpoint?: string
  /** AWS region; by default that of the environment, or `local` with an endpoint. */
  region?: string
  table: string
  /** Wraps the keys of tenants; without it they lie open in the table. */
  master?: MasterKey | undefined
  /** How long keys are remembered, ms; see `KEY_CACHE_MS`. */
  keyCacheMs?: number | undefined
  /** Milliseconds since the Unix epoch. */
  clock?: () => number
}

/** What lasts across runs. */
export interface Memory {
  readonly sessions: Sessions
  readonly pasts: Pasts
  readonly facts: Facts
  readonly answers: Answers
  readonly archive: Archive
  readonly auditIndex: AuditIndex
  readonly blobs: Blobs
  /** Policy sets as JSON, by their hash. */
  readonly policies: Texts
  readonly ledgers: Ledgers
  readonly keys: ContentKeys
  readonly apiKeys: ApiKeys
  readonly records: Records
  readonly erasures: Erasures
  readonly holds: Holds
  readonly sweeps: Sweeps
  /**
   * Reads from the table; answers within 5 s.
   *
   * @throws MusterError `memory.unavailable`
   */
  health(): Promise<void>
  /** Closes the connections. */
  close(): void
}

/** Covers what the SDK's own timeouts do not: looking for credentials, resolving the name. */
const answerWithinMs = 4000

/**
 * Opens the table and creates it where it is absent; waits until it can be used. With an endpoint and no AWS credentials in
 * the environment it uses dummy ones.
 *
 * @throws MusterError `memory.unavailable` within 5 s where DynamoDB does not answer; `config.invalid` where `table` cannot
 *   be a table's name, and where DynamoDB refuses what it was asked by these credentials
 */
export async function openMemory({
  table,
  clock = Date.now,
  master,
  keyCacheMs: cacheMs,
  ...options
}: MemoryOptions): Promise<Memory> {
  const { client, where } = connect(options)
  const late = () =>
    new MusterError('memory.unavailable', `DynamoDB at ${where} did not answer within ${answerWithinMs} ms`)
  const inTime = <T>(work: Promise<T>) => within(answerWithinMs, work, late)
  try {
    await ensureTable(client, table, inTime)
  } catch (error) {
    client.destroy()
    throw atStart(error, where)
  }
  const items = new Table(client, table, where)
  const records = openRecords(items)
  const keys = new ContentKeys(items, records, { master, cacheMs, clock })
  return {
    sessions: openSessions(items, keys),
    pasts: openPasts(items, keys),
    facts: openFacts(items, keys, clock),
    answers: openAnswers(items, keys, clock),
    archive: openArchive(items, keys),
    auditIndex: openAuditIndex(items, clock),
    blobs: openBlobs(items, keys),
    policies: openTexts(items, 'POLICY'),
    ledgers: openLedgers(items),
    keys,
    apiKeys: openApiKeys(items),
    records,
    erasures: openErasures(items),
    holds: openHolds(items),
    sweeps: openSweeps(items),
    async health() {
      // A key that nothing is ever stored under.
      await inTime(items.get('T#', 'HEALTH'))
    },
    close: () => client.destroy(),
  }
}
