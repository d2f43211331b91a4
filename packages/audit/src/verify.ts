import { type Entry, entry as entrySchema, type StoredEntry } from '@muster/protocol'
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
  const findings: Finding[] = []
  let head = genesis(run)
  let expectedHead: string | undefined
  let seq = 0
  let erased = 0
  let ended = false
  for await (const stored of entries) {
    seq++
    if (stored.seq !== seq) {
      findings.push({ seq, code: 'gap', message: `entry ${seq} is missing or out of order: found ${stored.seq}` })
      seq = stored.seq
    }
    const computed = link(head, stored.bytes)
    if (computed !== stored.hash) {
      findings.push({
        seq,
        code: 'hash',
        message: `entry ${seq} does not match its hash: it, or the order before it, was changed`,
      })
    }
    // Go on from the stored hash: the next entry is then judged by itself and not blamed for this one.
    head = stored.hash
    if (seq === expected?.entries) expectedHead = head
    const parsed = parseEntry(stored.bytes)
    if (!parsed || parsed.seq !== stored.seq) {
      findings.push({ seq, code: 'format', message: `entry ${seq} is not a journal entry of this place` })
      continue
    }
    if (parsed.content !== undefined) {
      if (stored.content === undefined) erased++
      else if (contentDigest(stored.content) !== parsed.content) {
        findings.push({ seq, code: 'content', message: `the content beside entry ${seq} does not match its digest` })
      }
    } else if (stored.content !== undefined) {
      findings.push({
        seq,
        code: 'content',
        message: `entry ${seq} has no digest, so the content beside it was put there`,
      })
    }
    if (seq === 1 && (parsed.type !== 'run.created' || parsed.run !== run)) {
      findings.push({ seq, code: 'run', message: `the journal does not begin with the creation of run ${run}` })
    }
    if (ended) findings.push({ seq, code: 'run', message: `entry ${seq} follows the end of the run` })
    ended ||= parsed.type === 'run.ended'
    if (parsed.type === 'step.intent' && parsed.decision.effect !== 'allow') {
      findings.push({
        seq,
        code: 'effect-without-allow',
        message: `step ${parsed.step} began without a decision that allows it`,
      })
    }
  }
  if (seq === 0) findings.push({ seq: 1, code: 'run', message: `the journal of run ${run} is empty` })
  // A run that goes on may have grown since `expected` was read: its head is that of its last entry then.
  if (expected && expected.entries > seq) {
    findings.push({ seq: seq + 1, code: 'truncated', message: `entries ${seq + 1} to ${expected.entries} are missing` })
  } else if (expected && expected.head !== expectedHead) {
    findings.push({
      seq: expected.entries,
      code: 'head',
      message: `the hash of entry ${expected.entries} is not the head that the run recorded`,
    })
  }
  return { ok: findings.length === 0, entries: seq, erased, head, findings }
}

function parseEntry(bytes: string): Entry | undefined {
  try {
    const parsed = entrySchema.safeParse(JSON.parse(bytes))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}
