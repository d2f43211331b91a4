import { hash } from 'node:crypto'
import { genesis, link } from '@muster/audit'
import { type EntryOf, pinOf } from '@muster/protocol'

/** What is known of a run when it is created: its first entry without what the journal adds. */
export type NewRun = Omit<EntryOf<'run.created'>, 'v' | 'seq' | 'content' | 'type' | 'at'>

/** The first entry of a run, whole and in the parts in which a queued run keeps it. */
export interface FirstEntry {
  bytes: string
  hash: string
  /** What the run has for itself: a piece of JSON, empty for most. */
  own: string
  /** What it has in common with many others: a piece of JSON, stored once. */
  shape: string
}

/**
 * Writes a run's first entry so that it can be taken apart and put together again byte by byte:
 * place, time and id; own fields; shape; digest of the content.
 */
export function firstEntry(run: NewRun, at: number, digest: string): FirstEntry {
  const { run: id, parent, session, schedule, origin, redacted, shares, subject, ...common } = run
  const fields = JSON.stringify({ parent, session, schedule, origin, redacted, shares, subject }).slice(1, -1)
  const own = fields === '' ? '' : `,${fields}`
  const shape = JSON.stringify(common).slice(1, -1)
  const v = shares || subject !== undefined || run.by.team !== undefined ? 3 : redacted ? 2 : 1
  const bytes = `{"v":${v},"seq":1,"at":${at},"type":"run.created","run":"${id}"${own},${shape},"content":"${digest}"}`
  return { bytes, hash: link(genesis(id), bytes), own, shape }
}

/** 128 bits of SHA-256 as 32 hexadecimal digits: by what a shape or an idempotency key is stored. */
export function shortDigest(text: string): string {
  return hash('sha256', text, 'hex').slice(0, 32)
}

let lastShape = ''
let lastDigest = shortDigest('')

/** By what a shape is stored. Runs that are created together mostly have the same. */
export function shapeDigest(shape: string): string {
  if (shape !== lastShape) {
    lastShape = shape
    lastDigest = shortDigest(shape)
  }
  return lastDigest
}

const HEADER_BYTES = 80

/**
 * A queued run as it is stored: `commands/queued.lua` says how, and reads it. `content` is what lies
 * beside the entry; `digest` is that of the content itself, wherever it lies.
 */
export function queuedRecord(entry: FirstEntry, parts: { at: number; digest: string; content: string }): Buffer {
  const text = `${parts.at}${entry.own}\n${parts.content}`
  const record = Buffer.allocUnsafe(HEADER_BYTES + Buffer.byteLength(text))
  record.write(entry.hash, 0, 'hex')
  record.write(parts.digest, 32, 'hex')
  record.write(shapeDigest(entry.shape), 64, 'hex')
  record.write(text, HEADER_BYTES)
  return record
}

/** What a run of this shape is pinned to: a worker that does not carry it leaves the run to others. See `pinOf`. */
export function shapeDefinition(shape: string): string {
  // Written by `firstEntry` from a NewRun.
  const { definition } = JSON.parse(`{${shape}}`) as Pick<NewRun, 'definition'>
  return pinOf(definition)
}
