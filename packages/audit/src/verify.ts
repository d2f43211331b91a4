import { auditRecord, entry as entrySchema, RECORD_BOOK, type StoredEntry } from '@muster/protocol'
import { contentDigest, genesis, link } from './chain.ts'

/** One thing that is wrong with a journal, and the entry where it shows. */
export interface Finding {
  seq: number
  code: 'gap' | 'hash' | 'format' | 'content' | 'head' | 'run' | 'truncated' | 'effect-without-allow'
  message: string
}

export interface Verification {
  ok: boolean
  entries: number
  /** Entries whose content was erased or never stored; the chain holds without it. */
  erased: number
  head: string
  findings: Finding[]
}

/**
 * Checks a run's journal: order, chain, content digests, and that each effect had a decision that
 * allowed it. Reads entry by entry, so a long journal needs no memory.
 *
 * @param expected what the run's own record says of its journal's end, so that a cut tail is found
 */
export async function verifyJournal(
  run: string,
  entries: AsyncIterable<StoredEntry> | Iterable<StoredEntry>,
  expected?: { head: string; entries: number },
): Promise<Verification> {
  let erased = 0
  let ended = false
  const chain = await verifyChain(run, entries, expected, ({ seq: place, bytes, content }, seq, find) => {
    const parsed = parsedBy(entrySchema, bytes)
    if (!parsed || parsed.seq !== place) {
      find(seq, 'format', `entry ${seq} is not a journal entry of this place`)
      return
    }
    if (parsed.content !== undefined) {
      if (content === undefined) erased++
      else if (contentDigest(content) !== parsed.content)
        find(seq, 'content', `the content beside entry ${seq} does not match its digest`)
    } else if (content !== undefined)
      find(seq, 'content', `entry ${seq} has no digest, so the content beside it was put there`)
    if (seq === 1 && (parsed.type !== 'run.created' || parsed.run !== run))
      find(seq, 'run', `the journal does not begin with the creation of run ${run}`)
    if (ended) find(seq, 'run', `entry ${seq} follows the end of the run`)
    ended ||= parsed.type === 'run.ended'
    if (parsed.type === 'step.intent' && parsed.decision.effect !== 'allow')
      find(seq, 'effect-without-allow', `step ${parsed.step} began without a decision that allows it`)
  })
  return { ...chain, erased }
}

/** Checks a tenant's record book, which is chained as a journal is: order, chain, and that nothing else is in it. */
export async function verifyBook(
  records: AsyncIterable<StoredEntry> | Iterable<StoredEntry>,
  expected?: { head: string; entries: number },
): Promise<Verification> {
  const chain = await verifyChain(RECORD_BOOK, records, expected, ({ seq: place, bytes, content }, seq, find) => {
    if (parsedBy(auditRecord, bytes)?.seq !== place) find(seq, 'format', `entry ${seq} is not a record of this place`)
    if (content !== undefined) find(seq, 'content', `record ${seq} has no content, so what is beside it was put there`)
  })
  return { ...chain, erased: 0 }
}

type Find = (seq: number, code: Finding['code'], message: string) => void

async function verifyChain(
  of: string,
  entries: AsyncIterable<StoredEntry> | Iterable<StoredEntry>,
  expected: { head: string; entries: number } | undefined,
  check: (stored: StoredEntry, seq: number, find: Find) => void,
): Promise<Omit<Verification, 'erased'>> {
  const findings: Finding[] = []
  const find: Find = (seq, code, message) => findings.push({ seq, code, message })
  let head = genesis(of)
  let expectedHead: string | undefined
  let seq = 0
  for await (const stored of entries) {
    seq++
    if (stored.seq !== seq) {
      find(seq, 'gap', `entry ${seq} is missing or out of order: found ${stored.seq}`)
      seq = stored.seq
    }
    if (link(head, stored.bytes) !== stored.hash)
      find(seq, 'hash', `entry ${seq} does not match its hash: it, or the order before it, was changed`)
    // Go on from the stored hash: the next entry is then judged by itself and not blamed for this one.
    head = stored.hash
    if (seq === expected?.entries) expectedHead = head
    check(stored, seq, find)
  }
  if (seq === 0) find(1, 'run', of === RECORD_BOOK ? 'the record book is empty' : `the journal of run ${of} is empty`)
  // What goes on may have grown since `expected` was read: its head is that of its last entry then.
  if (expected && expected.entries > seq)
    find(seq + 1, 'truncated', `entries ${seq + 1} to ${expected.entries} are missing`)
  else if (expected && expected.head !== expectedHead)
    find(expected.entries, 'head', `the hash of entry ${expected.entries} is not the head that was recorded`)
  return { ok: findings.length === 0, entries: seq, head, findings }
}

function parsedBy<T>(schema: { safeParse(value: unknown): { data?: T } }, bytes: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(bytes)).data
  } catch {
    return undefined
  }
}
