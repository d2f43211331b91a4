import type { RunEvent, StoredEntry } from '@muster/protocol'
import { hex, sha256, utf8 } from './bytes.ts'

/** The first thing that is wrong with a journal comes first. */
export interface Finding {
  seq: number
  message: string
}

export interface Verification {
  entries: number
  /** Entries whose content was erased; the chain holds without it. */
  erased: number
  head: string
  /** Entries of the page that were compared with what is stored. */
  shown: number
  findings: Finding[]
}

/**
 * Checks a run's journal in the browser, as `muster verify` does in a terminal; the server is asked for bytes, not
 * for its opinion. The chain, as in packages/audit/src/chain.ts, with hashes as lowercase hexadecimal text:
 *
 *     h(0) = SHA-256("muster/journal/v1\n" || run id)
 *     h(n) = SHA-256(h(n-1) || bytes(n))
 *
 * @param end how the run's own record says that the journal ends; a run that goes on may have written more since
 * @param shown the events on the page, which must say the same as the bytes that the chain covers
 */
export async function verify(
  run: string,
  journal: AsyncIterable<StoredEntry> | Iterable<StoredEntry>,
  end: { head: string; entries: number },
  shown: readonly RunEvent[] = [],
): Promise<Verification> {
  const findings: Finding[] = []
  let head = await sha256Of(`muster/journal/v1\n${run}`)
  let seq = 0
  let erased = 0
  for await (const { seq: place, hash, bytes, content } of journal) {
    seq++
    const wrong = (message: string) => findings.push({ seq, message })
    if (place !== seq) {
      wrong(`missing or out of order: found entry ${place}`)
      seq = place
    }
    if ((await sha256Of(head + bytes)) !== hash) {
      wrong('does not match its hash: it, or the order before it, was changed')
    }
    // Go on from the stored hash: the next entry is then judged by itself and not blamed for this one.
    head = hash
    if (seq === end.entries && head !== end.head) wrong('its hash is not the head that the run recorded')
    const entry = parse(bytes)
    if (entry?.seq !== place) {
      wrong('not a journal entry of this place')
      continue
    }
    if (entry.content !== undefined) {
      if (content === undefined) erased++
      else if ((await sha256Of(content)) !== entry.content) {
        wrong('the content beside it does not match its digest')
      }
    }
    if (seq === 1 && (entry.type !== 'run.created' || entry.run !== run)) {
      wrong(`the journal does not begin with the creation of run ${run}`)
    }
    if (entry.type === 'step.intent' && entry.decision.effect !== 'allow') {
      wrong(`step ${entry.step} began without a decision that allows it`)
    }
    const event = shown[seq - 1]
    if (event && !says(event, hash, bytes, content)) wrong('what this page shows of it is not what is stored')
  }
  const last = Math.max(end.entries, shown.length)
  if (seq < last) findings.push({ seq: seq + 1, message: `missing, and all up to entry ${last}` })
  return { entries: seq, erased, head, shown: shown.length, findings }
}

/** Salted content is 22 characters of salt, then JSON. */
const SALT_LENGTH = 22

function says(event: RunEvent, hash: string, bytes: string, content: string | undefined): boolean {
  return (
    event.hash === hash &&
    JSON.stringify(event.entry) === JSON.stringify(parse(bytes)) &&
    (content === undefined || JSON.stringify(event.content) === JSON.stringify(parse(content.slice(SALT_LENGTH))))
  )
}

function parse(bytes: string): RunEvent['entry'] | undefined {
  try {
    return JSON.parse(bytes)
  } catch {
    return undefined
  }
}

async function sha256Of(text: string): Promise<string> {
  return hex(await sha256(utf8(text)))
}

/** Browsers give pages cryptography only over a connection that nobody can have changed. */
export function requireCrypto(): void {
  if (!globalThis.crypto.subtle)
    throw new Error('This browser hashes only over HTTPS or on localhost. `muster verify` works everywhere.')
}
